"""The road between browser and site: a TCP proxy that can refuse WebSockets, refuse the hub, cut, or be closed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Road:
    """A proxy to one port. Set the flags; `cut` ends what is under way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = ""
        self.open = True
        self.refuses_sockets = False
        self.refuses_hub = False
        #: What the hub answers gets lost on the way; its sender doesn't learn of it.
        self.loses_answers = False
        #: Bytes that got lost so.
        self.lost = 0
        #: Request lines in the order they came, as "GET /events/x".
        self.requests: list[str] = []
        #: Seconds after which a WebSocket is cut, as some proxies do.
        self.patience: float | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        # What each browser's connection last asked for, and those that carry nothing any more.
        self._latest: dict[asyncio.StreamWriter, str] = {}
        self._forgotten: set[asyncio.StreamWriter] = set()

    def seen(self, start: str) -> int:
        """How many requests have begun with these bytes."""
        return sum(request.startswith(start) for request in self.requests)

    def cut(self) -> None:
        """Reset every connection, without a close handshake."""
        for writer in list(self._ends):
            writer.transport.abort()

    def forget(self, path: str = "") -> None:
        """Carry nothing more for the connections whose last request named this: a NAT that has forgotten them."""
        self._forgotten |= {writer for writer, line in self._latest.items() if path in line}

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        if not self.open:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            # Nobody is at home: as if the browser had come to the closed port itself.
            writer.transport.abort()
            return
        self._ends |= {writer, far_writer}
        try:
            await asyncio.gather(self._forth(reader, writer, far_writer), self._back(far_reader, writer))
        except ConnectionError:
            pass
        finally:
            self._ends -= {writer, far_writer}
            self._forgotten.discard(writer)
            self._latest.pop(writer, None)
            writer.transport.abort()
            far_writer.transport.abort()

    async def _forth(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: asyncio.StreamWriter
    ) -> None:
        is_socket = False
        # A browser sends no request before it has the answer to the last, so one begins a chunk.
        while chunk := await reader.read(65536):
            if writer in self._forgotten:
                continue
            line = chunk.split(b"\r\n", 1)[0].decode("latin-1")
            if not is_socket and line.endswith(" HTTP/1.1"):
                self.requests.append(line.removesuffix(" HTTP/1.1"))
                self._latest[writer] = line
                is_socket = b"upgrade: websocket" in chunk.lower()
                if self._refuses(line, is_socket):
                    writer.write(_REFUSED)
                    await writer.drain()
                    break
                if is_socket and self.patience is not None:
                    asyncio.get_running_loop().call_later(self.patience, writer.transport.abort)
            far.write(chunk)
            await far.drain()
        far.transport.abort()

    async def _back(self, far: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await far.read(65536):
            if self.loses_answers or writer in self._forgotten:
                self.lost += len(chunk)
                continue
            writer.write(chunk)
            await writer.drain()
        writer.close()

    def _refuses(self, line: str, is_socket: bool) -> bool:
        return (self.refuses_sockets and is_socket) or (self.refuses_hub and " /bayeux" in line)


@contextlib.asynccontextmanager
async def road_to(port: int) -> AsyncIterator[Road]:
    """A road to a loopback port, on a free one."""
    road = Road(port)
    server = await asyncio.start_server(road.take, "127.0.0.1", 0)
    road.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield road
    finally:
        server.close()
        road.cut()
        await server.wait_closed()
