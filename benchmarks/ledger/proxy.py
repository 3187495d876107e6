"""A TCP proxy that misbehaves on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast


class _Side(asyncio.Protocol):
    """One end of a pair; what it reads goes to the other."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.other: _Side | None = None
        self.transport: asyncio.Transport | None = None
        self.early: list[bytes] = []
        self.stalled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.proxy.sides.add(self)

    def data_received(self, data: bytes) -> None:
        if self.stalled:
            return
        other = self.other
        if other is None or other.transport is None:
            self.early.append(data)
        else:
            other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.proxy.sides.discard(self)
        self.transport = None
        if self.other is not None and self.other.transport is not None and not self.stalled:
            self.other.transport.close()


class _Near(_Side):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self.proxy.open:
            self.transport.abort()  # type: ignore[union-attr]  # set by super
            return
        task = asyncio.get_running_loop().create_task(self.dial())
        self.proxy.tasks.add(task)
        task.add_done_callback(self.proxy.tasks.discard)

    async def dial(self) -> None:
        try:
            _, far = await asyncio.get_running_loop().create_connection(lambda: _Side(self.proxy), *self.proxy.target())
        except OSError:
            if self.transport is not None:
                self.transport.abort()
            return
        far.other, self.other = self, far
        if self.transport is None:
            if far.transport is not None:
                far.transport.abort()
            return
        for data in self.early:
            far.transport.write(data)  # type: ignore[union-attr]  # just connected
        if self.proxy.lifetime:
            asyncio.get_running_loop().call_later(self.proxy.lifetime, self.cut)

    def cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Proxy:
    """Listens on a free loopback port and carries bytes to `target()`.

    open: whether new connections are taken. lifetime: seconds after which each is cut; 0 for never.
    """

    def __init__(self, target: Callable[[], tuple[str, int]]) -> None:
        self.target = target
        self.open = True
        self.lifetime = 0.0
        self.sides: set[_Side] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Near(self), "127.0.0.1", 0, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Reset every connection."""
        for side in list(self.sides):
            if side.transport is not None:
                side.transport.abort()

    def stall(self) -> None:
        """Carry nothing more on what is open, and close nothing: half-open connections."""
        for side in self.sides:
            side.stalled = True

    async def stop(self) -> None:
        self.open = False
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in list(self.tasks):
            task.cancel()
