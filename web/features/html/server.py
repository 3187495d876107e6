"""The validator as a server of this machine: begun when it is first asked, shared, started again if it dies.

Nothing is ever sent elsewhere: it is asked at 127.0.0.1, by a plain connection that knows no proxy.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from . import keeper
from .private import private
from .verdicts import Message, Unchecked, read

#: Seconds that one document may take.
SECONDS = 60.0

#: Seconds that it is kept for the next run: it takes some to begin, and knows its way after a hundred pages.
KEPT_SECONDS = 600.0

#: Seconds to wait for one that died to be noticed by its keeper.
_NOTICED = 3.0


class Server:
    """A connection to it, for one thread. command: how it is started, asked for once it is; `PORT` stands for the port.
    name: who gives the same name shares one process; None: who has the same command. kept: seconds that it lives on
    after the last who used it, for who begins it."""

    def __init__(
        self, command: Callable[[], list[str]], name: str | None = "", *, seconds: float = SECONDS, kept: float = 0.0
    ) -> None:
        self._command = command
        self._name = str(os.getpid()) if name == "" else name
        self._seconds = seconds
        self._kept = kept
        self._folder: Path | None = None
        self._users: IO[str] | None = None
        self._connection: http.client.HTTPConnection | None = None

    @property
    def folder(self) -> Path:
        """Where its keeper says how it is. Raises Unchecked."""
        if self._folder is None:
            self._folder = private() / (self._name or _name_of(self._command()))
        return self._folder

    def start(self) -> None:
        """Join the process of this name, or begin it; returns at once. Raises Unchecked."""
        if self._users is not None:
            return
        command = self._command()
        while True:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            users = (self.folder / "users").open("a")
            fcntl.flock(users, fcntl.LOCK_SH)
            # The last of the others may have left between the two, and the folder with it.
            if _is_at(users, self.folder / "users"):
                break
            users.close()
        self._users = users
        self._begin(command)

    def is_decided(self) -> bool:
        """Whether it is known where it is, or why it is not: `check` doesn't wait for it to begin."""
        return (self.folder / "port").exists() or (self.folder / "failed").exists()

    def check(self, body: bytes, content_type: str) -> tuple[list[Message], str]:
        """What it says of a document, and its version. Raises Unchecked."""
        self.start()
        limit, first = 0.0, None
        while True:
            port = None
            try:
                port = self.port() if self._connection is None else self._connection.port
                return read(*self._ask(port, body, content_type))
            except TimeoutError:
                self._forget()
                raise Unchecked(f"the validator took longer than {self._seconds:g} s") from None
            except (OSError, http.client.HTTPException) as error:
                self._forget()
                if first is None:
                    first, limit = port, time.monotonic() + _NOTICED
                # It closes connections that were not used for half a minute; it, or its keeper, may have died, and its
                # port be open for a moment longer. A document of which the next one dies too is not tried again.
                elif port != first or time.monotonic() > limit:
                    raise Unchecked(f"the validator is gone: {error}") from None
                else:
                    time.sleep(0.05)
                self._begin(self._command())

    def open(self) -> Asking:
        """A connection of its own, to be asked while something else is done; not before `is_decided`. Raises
        Unchecked."""
        return Asking(http.client.HTTPConnection("127.0.0.1", self.port(), timeout=self._seconds), self._seconds)

    def close(self) -> None:
        """Leave it to the others, if there are any."""
        self._forget()
        if self._users is not None:
            self._users.close()
        self._users = None

    def port(self) -> int:
        """Where it is. Waits until it answers; raises Unchecked."""
        limit = time.monotonic() + keeper.START_SECONDS
        while True:
            try:
                return int((self.folder / "port").read_text())
            except (FileNotFoundError, ValueError):
                pass
            try:
                raise Unchecked(f"the validator did not start: {(self.folder / 'failed').read_text()}")
            except FileNotFoundError:
                pass
            if time.monotonic() > limit:
                raise Unchecked(f"the validator did not start within {keeper.START_SECONDS:g} s")
            time.sleep(0.02)

    def _begin(self, command: list[str]) -> None:
        """Begin a keeper, unless one lives: that has the lock."""
        with (self.folder / "keeper").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            # What one said that was killed.
            for name in ("port", "failed"):
                (self.folder / name).unlink(missing_ok=True)
            # It forks and returns: nobody has to wait for its end. The lock is its own from then on.
            subprocess.run(
                [sys.executable, keeper.__file__, str(self.folder), f"{self._kept:g}", *command],
                check=True,
                pass_fds=(lock.fileno(),),
            )

    def _ask(self, port: int, body: bytes, content_type: str) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=self._seconds)
        _post(self._connection, body, content_type)
        with self._connection.getresponse() as response:
            return response.status, response.read()

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class Asking:
    """A connection that is asked now, and heard later: one document after the other."""

    def __init__(self, connection: http.client.HTTPConnection, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds

    def ask(self, body: bytes, content_type: str) -> None:
        """Send a document. Raises Unchecked."""
        try:
            _post(self._connection, body, content_type)
        except (OSError, http.client.HTTPException) as error:
            raise Unchecked(f"the validator is gone: {error}") from None

    def is_answered(self, *, waits: bool) -> bool:
        """Whether `hear` returns at once. waits: until it does, or the time for one document is over."""
        sock = self._connection.sock
        return sock is None or bool(select.select([sock], [], [], self._seconds if waits else 0)[0])

    def hear(self) -> tuple[list[Message], str]:
        """What it said of the document, and its version. Raises Unchecked."""
        try:
            with self._connection.getresponse() as response:
                return read(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise Unchecked(f"the validator is gone: {error}") from None

    def close(self) -> None:
        """Close it; what it was asked is not heard."""
        self._connection.close()


def _post(connection: http.client.HTTPConnection, body: bytes, content_type: str) -> None:
    connection.request("POST", "/?out=json", body, {"Content-Type": content_type, "User-Agent": "fanfare-html"})


def _name_of(command: list[str]) -> str:
    """Of all who start the same, by the same keeper."""
    words = [*command, sys.executable, Path(keeper.__file__).read_text(encoding="utf-8")]
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False
