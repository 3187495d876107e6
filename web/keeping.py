"""One server after the other on the same sockets: an upgrade without a connection refused.

The keeper opens the listening sockets, starts `fanfare serve` with them, and does little else, since it runs the code
that it was started with until it ends. On SIGHUP it starts another server, from what is installed by then. That one
accepts from the same queues as the first; when it serves, the first is told to end. If it does not come up, the first
goes on.

Keeper and server talk as systemd does: LISTEN_FDS and LISTEN_PID say which sockets, READY=1 to NOTIFY_SOCKET says that
it serves (sd_listen_fds(3), sd_notify(3)). So `fanfare serve` takes systemd's own sockets too, and fits `Type=notify`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

#: The first descriptor of those that are handed over (sd_listen_fds(3)).
FIRST = 3

#: Seconds a new server may take until it serves; it brings the database's tables up to date before.
START_SECONDS = 300.0

#: Seconds a server may take to end beyond what its workers have for it.
END_SECONDS = 10.0

#: Puts the process id where the server looks for it; only the process itself knows it.
_WITH_PID = 'LISTEN_PID=$$ exec "$@"'


def handed_over(environ: Mapping[str, str]) -> list[socket.socket]:
    """The listening sockets that this process was started with; none if they are not meant for it."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    sockets = []
    for number in range(FIRST, FIRST + int(environ.get("LISTEN_FDS", "0"))):
        os.set_inheritable(number, False)
        sock = socket.socket(fileno=number)
        sock.setblocking(False)
        sockets.append(sock)
    return sockets


def one_for_each(sockets: Sequence[socket.socket], workers: int) -> list[socket.socket]:
    """A socket for each worker. Where there are fewer, some share one: they accept from the same queue.

    Raises ValueError if there are more sockets than workers: nobody would accept from the rest.
    """
    if len(sockets) > workers:
        raise ValueError(f"{len(sockets)} sockets for {workers} workers: WEB_CONCURRENCY is too low")
    shared = [sockets[number % len(sockets)].dup() for number in range(len(sockets), workers)]
    return [*sockets, *shared]


def tell_ready(environ: Mapping[str, str]) -> None:
    """Tell who started this server that it serves, if they want to know."""
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.sendto(b"READY=1", address)


class Keeper:
    """Keeps a server running. command: starts one. patience: seconds a server has to end before it is killed.

    Takes the sockets over, as descriptors from FIRST on. Made before there is a loop, whose own descriptors would be
    in the way.
    """

    def __init__(
        self, command: Sequence[str], sockets: Sequence[socket.socket], environ: Mapping[str, str], patience: float
    ) -> None:
        self._command = command
        self._environ = environ
        self._patience = patience
        # Out of the way first: one may have the number that another is to have.
        high = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, FIRST + 1000) for sock in sockets]
        for sock in sockets:
            sock.close()
        self._numbers = range(FIRST, FIRST + len(high))
        for number, there in zip(self._numbers, high, strict=True):
            os.dup2(there, number, inheritable=False)
            os.close(there)
        self._renew = asyncio.Event()
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Until SIGTERM or SIGINT, or until the server ends by itself; returns the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._renew.set)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        server = await self._start()
        if server is None:
            return 0 if self._stop.is_set() else 1
        tell_ready(self._environ)
        while True:
            happened = await self._first(server.wait(), self._renew.wait(), self._stop.wait())
            if self._stop.is_set():
                return await self._end(server)
            if happened == 0:
                return server.returncode or 0
            self._renew.clear()
            logger.info("starting what is installed now")
            newer = await self._start()
            if newer is None:
                if not self._stop.is_set():
                    logger.error("what is installed now does not serve; the server from before goes on")
                continue
            older, server = server, newer
            await self._end(older)
            logger.info("server replaced")

    async def _start(self) -> asyncio.subprocess.Process | None:
        """Start a server and wait until it serves; None if it doesn't, or if the keeper is to stop."""
        with tempfile.TemporaryDirectory(prefix="fanfare-") as folder:
            path = Path(folder, "ready")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
                ready.bind(str(path))
                ready.setblocking(False)
                environ = {**self._environ, "LISTEN_FDS": str(len(self._numbers)), "NOTIFY_SOCKET": str(path)}
                server = await asyncio.create_subprocess_exec(
                    "/bin/sh", "-c", _WITH_PID, "sh", *self._command, env=environ, pass_fds=self._numbers
                )
                told = asyncio.get_running_loop().sock_recv(ready, 100)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(START_SECONDS):
                        if await self._first(told, server.wait(), self._stop.wait()) == 0:
                            return server
        await self._end(server)
        return None

    async def _end(self, server: asyncio.subprocess.Process) -> int:
        """Tell a server to end, and wait for it; its exit code."""
        with contextlib.suppress(ProcessLookupError):
            server.terminate()
        try:
            async with asyncio.timeout(self._patience + END_SECONDS):
                await server.wait()
        except TimeoutError:
            logger.warning("server killed")
            server.kill()
            await server.wait()
        return server.returncode or 0

    @staticmethod
    async def _first(*waits: Coroutine[Any, Any, object]) -> int:
        """Which of these is done first; the others are cancelled."""
        tasks = [asyncio.ensure_future(each) for each in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(number for number, task in enumerate(tasks) if task.done())
        finally:
            for task in tasks:
                task.cancel()
