"""The validator as a server of this machine: begun when it is first asked, shared, started again if it dies.

Nothing is ever sent elsewhere: it is asked at 127.0.0.1, by a plain connection that knows no proxy.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from . import keeper
from .verdicts import Message, Unchecked, read

#: Seconds that one document may take.
SECONDS = 60.0


class Server:
    """A connection to it, for one thread. command: how it is started, asked for once it is; `PORT` stands for the port.
    name: who gives the same name shares one process."""

    def __init__(self, command: Callable[[], list[str]], name: str = "", *, seconds: float = SECONDS) -> None:
        self.folder = Path(tempfile.gettempdir()) / f"fanfare-vnu-{name or os.getpid()}"
        self._command = command
        self._seconds = seconds
        self._users: IO[str] | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._port: int | None = None

    def start(self) -> None:
        """Join the process of this name, or begin it; returns at once. Raises Unchecked."""
        if self._users is not None:
            return
        command = self._command()
        while True:
            self.folder.mkdir(exist_ok=True)
            users = (self.folder / "users").open("a")
            fcntl.flock(users, fcntl.LOCK_SH)
            # The last of the others may have left between the two, and the folder with it.
            if _is_at(users, self.folder / "users"):
                break
            users.close()
        self._users = users
        try:
            (self.folder / "begun").touch(exist_ok=False)
        except FileExistsError:
            return
        # It forks and returns: nobody has to wait for its end.
        subprocess.run([sys.executable, keeper.__file__, str(self.folder), *command], check=True)

    def is_decided(self) -> bool:
        """Whether it is known where it is, or why it is not: `check` doesn't wait for it to begin."""
        return (self.folder / "port").exists() or (self.folder / "failed").exists()

    def check(self, body: bytes, content_type: str) -> tuple[list[Message], str]:
        """What it says of a document, and its version. Raises Unchecked."""
        self.start()
        try:
            answer = self._ask(body, content_type)
        except TimeoutError:
            self._forget()
            raise Unchecked(f"the validator took longer than {self._seconds:g} s") from None
        except (OSError, http.client.HTTPException):
            # It closes connections that were not used for half a minute, and it may have died: once more.
            self._forget()
            try:
                answer = self._ask(body, content_type)
            except (OSError, http.client.HTTPException) as error:
                self._forget()
                raise Unchecked(f"the validator is gone: {error}") from None
        return read(*answer)

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

    def _ask(self, body: bytes, content_type: str) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port(), timeout=self._seconds)
        self._connection.request(
            "POST", "/?out=json", body, {"Content-Type": content_type, "User-Agent": "fanfare-html"}
        )
        with self._connection.getresponse() as response:
            return response.status, response.read()

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False
