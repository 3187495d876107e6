"""Several processes on one port: a parent that starts them, replaces those that die, and stops them.

The parent opens a listening socket for each worker (SO_REUSEPORT: the kernel spreads connections
over them) and keeps it open, so that what had been accepted into a dead worker's backlog waits for
its successor instead of being reset. The parent runs no event loop and no thread: it forks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

from .errors import HubError

logger = logging.getLogger(__name__)

#: Connections waiting to be accepted; the kernel bounds it by net.core.somaxconn.
BACKLOG = 4096

#: A worker that ends sooner than this is started again only after as long: one that can't start
#: must not spin.
EARLY_SECONDS = 2.0

#: What a worker that crashed ends with (EX_SOFTWARE of sysexits.h).
_CRASHED = 70

#: What a worker does: given its number, its socket, and whether it takes a dead one's place; returns its exit code.
Work = Callable[[int, socket.socket, bool], int]

#: A worker of a rolling restart must have lived so long before the next one is told to go.
SETTLE_SECONDS = 1.0

_AWAITED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})


def listen(host: str, port: int, count: int, *, shared: bool = False) -> list[socket.socket]:
    """`count` sockets listening on one port; raises OSError. Port 0 takes a free one, the same for all.

    shared: others may listen there already. Without it that is an OSError, though the kernel would let several in that
    all ask for it: a second hub started by mistake would take half of the connections.
    """
    sockets: list[socket.socket] = []
    if not shared:
        _listener(host, port, reuse=False).close()
    try:
        for _ in range(count):
            sockets.append(_listener(host, port))
            port = sockets[0].getsockname()[1]
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _listener(host: str, port: int, *, reuse: bool = True) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6 and host == "::":
            # "Every interface" means IPv4 too.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def supervise(
    sockets: list[socket.socket], work: Work, *, patience: float, check: Callable[[], None] = lambda: None
) -> int:
    """Run `work` in a process for each socket until SIGTERM or SIGINT; returns the exit code.

    SIGHUP restarts the workers one after the other: each drains, is replaced, and its successor has
    settled before the next one goes. check: raises HubError where new workers could not start; then
    those that run are left alone, and the log says why.

    patience: seconds the workers then get to end before they are killed. A worker that crashes is
    replaced. One that returns before it has lived EARLY_SECONDS can't start, and ends all with its code.
    """
    crew = _Crew(sockets, work, check)
    # Blocked and waited for, so that none can come between a look and a wait; children unblock them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    try:
        return crew.run(patience)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Crew:
    def __init__(self, sockets: list[socket.socket], work: Work, check: Callable[[], None]) -> None:
        self._sockets = sockets
        self._check = check
        self._work = work
        # Process ids and what they are: the worker's number, and when it started.
        self._running: dict[int, tuple[int, float]] = {}
        # Workers to start, and when.
        self._due = dict.fromkeys(range(len(sockets)), 0.0)
        self._begun: set[int] = set()
        self._proven: set[int] = set()
        self._code: int | None = None
        # A rolling restart: workers that still have to go, and the one that is going.
        self._rolling: list[int] = []
        self._going: int | None = None
        self._settled = 0.0

    def run(self, patience: float) -> int:
        while self._code is None:
            now = time.monotonic()
            for number in [number for number, when in self._due.items() if when <= now]:
                del self._due[number]
                self._start(number)
            self._roll(now)
            wait = min([*self._due.values(), *([self._settled] if self._rolling else [])], default=now + 60) - now
            found = signal.sigtimedwait(_AWAITED, max(wait, 0.01))
            if found is not None and found.si_signo == signal.SIGHUP:
                self._begin_rolling()
            elif found is not None and found.si_signo != signal.SIGCHLD:
                self._code = 0
            self._reap()
        self._end(patience)
        return self._code

    def _begin_rolling(self) -> None:
        try:
            self._check()
        except HubError as error:
            logger.error("no rolling restart", extra={"error": str(error)})
            return
        logger.info("rolling restart")
        self._rolling = list(range(len(self._sockets)))

    def _roll(self, now: float) -> None:
        """The next step of a rolling restart, when the last one is done and has settled."""
        if not self._rolling or self._going is not None or now < self._settled or self._due:
            return
        self._going = self._rolling.pop(0)
        for pid, (number, _) in self._running.items():
            if number == self._going:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)

    def _end(self, patience: float) -> None:
        self._tell(signal.SIGTERM)
        deadline = time.monotonic() + patience
        while self._running and (left := deadline - time.monotonic()) > 0:
            signal.sigtimedwait({signal.SIGCHLD}, left)
            self._reap()
        if self._running:
            logger.warning("workers killed", extra={"count": len(self._running)})
            self._tell(signal.SIGKILL)
            for pid in self._running:
                os.waitpid(pid, 0)

    def _tell(self, number: int) -> None:
        for pid in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _start(self, number: int) -> None:
        again = number in self._begun
        self._begun.add(number)
        pid = os.fork()
        if pid:
            self._running[pid] = (number, time.monotonic())
            return
        code = _CRASHED
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
            for other, each in enumerate(self._sockets):
                if other != number:
                    each.close()
            code = self._work(number, self._sockets[number], again)
        # Whatever it was, a child must never return into the parent's code.
        except BaseException:
            logger.exception("worker failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        for pid in list(self._running):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._ended(*self._running.pop(pid), os.waitstatus_to_exitcode(status))

    def _ended(self, number: int, started: float, code: int) -> None:
        lived = time.monotonic() - started
        if lived >= EARLY_SECONDS:
            self._proven.add(number)
        if self._code is not None:
            return
        if number == self._going:
            self._going = None
            self._settled = time.monotonic() + SETTLE_SECONDS
            self._due[number] = 0.0
            return
        if number not in self._proven and 0 <= code != _CRASHED:
            self._code = code
            return
        logger.error("worker ended, starting another", extra={"worker": number, "code": code})
        self._due[number] = started + max(EARLY_SECONDS, lived)
