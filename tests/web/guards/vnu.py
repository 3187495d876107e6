"""The Nu Html Checker: one process for all workers of a run, which ends with the last of them, however that ends.

As a program it is that process's keeper: `python vnu.py FOLDER COMMAND…` starts it, and stops it when nobody has a lock
on FOLDER/users any more.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

#: Seconds until it answers. It reads the HTML specification first.
START_SECONDS = 120.0


class Vnu:
    """A connection to it. `start` returns at once; `check` waits until it answers."""

    def __init__(self, command: list[str]) -> None:
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
        self._folder = Path(tempfile.gettempdir()) / f"fanfare-vnu-{run}"
        self._command = command
        self._users: IO[str] | None = None
        self._connection: http.client.HTTPConnection | None = None

    def start(self) -> None:
        """Join the process of this run, or begin it."""
        if self._users is not None:
            return
        while True:
            self._folder.mkdir(exist_ok=True)
            users = (self._folder / "users").open("a")
            fcntl.flock(users, fcntl.LOCK_SH)
            # The last of the others may have left between the two, and the folder with it.
            if _is_at(users, self._folder / "users"):
                break
            users.close()
        self._users = users
        try:
            (self._folder / "begun").touch(exist_ok=False)
        except FileExistsError:
            return
        # It forks and returns: nobody has to wait for its end.
        subprocess.run([sys.executable, __file__, str(self._folder), *self._command], check=True)

    def check(self, document: str) -> list[dict[str, Any]]:
        """What it says of an HTML document."""
        self.start()
        try:
            status, body = self._ask(document.encode())
        except (http.client.RemoteDisconnected, ConnectionError):
            # It closes connections that were not used for half a minute.
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            status, body = self._ask(document.encode())
        if status != 200:
            raise RuntimeError(f"vnu answered {status}: {body[:500]!r}")
        found: list[dict[str, Any]] = json.loads(body)["messages"]
        return found

    def _ask(self, document: bytes) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port(), timeout=60)
        headers = {"Content-Type": "text/html; charset=utf-8", "User-Agent": "tests"}
        self._connection.request("POST", "/?out=json", document, headers)
        with self._connection.getresponse() as response:
            return response.status, response.read()

    def close(self) -> None:
        """Leave it to the others, if there are any."""
        if self._connection is not None:
            self._connection.close()
        if self._users is not None:
            self._users.close()
        self._connection = self._users = None

    def _port(self) -> int:
        limit = time.monotonic() + START_SECONDS
        while not (self._folder / "port").exists():
            if time.monotonic() > limit or (self._folder / "failed").exists():
                lines = [line for line in (self._folder / "log").read_text().splitlines() if not line.startswith("\t")]
                raise RuntimeError("vnu did not start: " + "\n".join(lines[-20:]))
            time.sleep(0.02)
        return int((self._folder / "port").read_text())


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _keep(folder: Path, command: list[str]) -> None:
    from services import free_port

    port = free_port()
    whole = [word.replace("PORT", str(port)) for word in command]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(whole, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        while not answers(port):
            if process.poll() is not None:
                (folder / "failed").touch()
                break
            time.sleep(0.02)
        else:
            (folder / "port.new").write_text(str(port))
            (folder / "port.new").rename(folder / "port")
        with (folder / "users").open("a") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    """Whether something speaks HTTP on a port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("HEAD", "/")
        connection.getresponse().read()
    except OSError:
        return False
    finally:
        connection.close()
    return True


def main() -> None:
    """Become a process of its own, which no Ctrl-C of the tests reaches, and keep the checker."""
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    _keep(Path(sys.argv[1]), sys.argv[2:])


if __name__ == "__main__":
    main()
