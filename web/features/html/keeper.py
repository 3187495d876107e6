"""Keeps one validator for all who use it, and stops it when nobody does any more, however that came.

As a program: `python keeper.py FOLDER SECONDS COMMAND…`. Users hold a lock on FOLDER/users; so many seconds after the
last one is gone, killed perhaps, the validator ends and the folder with it. One that dies before is started again.
FOLDER/port says where it is, FOLDER/failed why it is not. Who starts this hands down a lock on FOLDER/keeper, which is
held as long as this lives. Imports nothing of ours: it is started by its path.
"""

from __future__ import annotations

import ctypes
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

#: Starts in a row: a port may be taken between looking and using it, a process may be killed. Then it is given up.
STARTS = 5

#: Seconds after which one that dies has not failed to start.
STEADY = 60.0

#: Seconds that it may take to answer: it reads the HTML specification first.
START_SECONDS = 120.0

_SAMPLE = b'<!doctype html><html lang="en"><head><title>x</title></head><body><p>x</p></body></html>'


#: It refuses who doesn't say who he is.
_HEADERS = {"Content-Type": "text/html; charset=utf-8", "User-Agent": "fanfare-html"}


def is_validator(port: int) -> bool:
    """Whether what answers on a port is one: another program's 200 would make every page valid."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/?out=json", _SAMPLE, _HEADERS)
        found = json.loads(connection.getresponse().read())
        return isinstance(found, dict) and isinstance(found.get("messages"), list)
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def keep(folder: Path, seconds: float, command: list[str]) -> None:
    """Keep it until nobody had a lock on the users' file for so long."""
    process: subprocess.Popen[bytes] | None = None
    starts, begun, alone_since = 0, 0.0, None
    try:
        with (folder / "users").open("a") as users:
            while True:
                is_alone, is_up = _is_alone(users), process is not None and process.poll() is None
                now = time.monotonic()
                alone_since = None if not is_alone else now if alone_since is None else alone_since
                # One that died, or can't be started, is not kept for the next.
                if alone_since is not None and (now - alone_since >= seconds or (process is not None and not is_up)):
                    break
                if not is_up:
                    (folder / "port").unlink(missing_ok=True)
                    if process is not None and now - begun > STEADY:
                        starts = 0
                    if starts == STARTS:
                        _say(folder / "failed", f"it ended {STARTS} times{_last_line(folder / 'log')}")
                        time.sleep(0.2)
                        continue
                    starts, begun = starts + 1, now
                    process = _started(folder, command, gives_up=seconds == 0)
                if is_alone:
                    # It was taken to look whether anybody has it.
                    fcntl.flock(users, fcntl.LOCK_UN)
                time.sleep(0.1)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        if process is not None:
            process.kill()
            process.wait()


def _is_alone(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _started(folder: Path, command: list[str], *, gives_up: bool) -> subprocess.Popen[bytes]:
    """gives_up: if nobody is left meanwhile."""
    port = free_port()
    whole = [word.replace("PORT", str(port)) for word in command]
    with (folder / "log").open("ab") as log:
        try:
            process = subprocess.Popen(
                whole,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_parent,  # noqa: PLW1509  # there is one thread here
            )
        except OSError as error:
            log.write(f"{error}\n".encode())
            return subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"], stderr=subprocess.DEVNULL)
    limit = time.monotonic() + START_SECONDS
    with (folder / "users").open("a") as users:
        while process.poll() is None and time.monotonic() < limit and not (gives_up and _is_alone(users)):
            if is_validator(port):
                _say(folder / "port", str(port))
                break
            time.sleep(0.05)
    return process


def _end_with_parent() -> None:
    # PR_SET_PDEATHSIG of prctl(2): a keeper that is killed leaves no Java behind. Linux only.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _say(path: Path, text: str) -> None:
    with suppress(OSError):
        new = path.with_name(path.name + ".new")
        new.write_text(text)
        new.rename(path)


def _last_line(log: Path) -> str:
    with suppress(OSError):
        lines = [line for line in log.read_text(errors="replace").splitlines() if line and not line.startswith("\t")]
        if lines:
            return f": {lines[-1]}"
    return ""


def main() -> None:
    """Become a process of its own, which no Ctrl-C of its user reaches, and keep the validator."""
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    keep(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])


if __name__ == "__main__":
    main()
