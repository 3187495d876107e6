"""The front door: what a new connection says first decides who serves it.

A WebSocket upgrade of a hub path becomes a WebSocket connection there and then: no request
object, no handler task, no coroutine. Everything else goes, byte for byte, to aiohttp's own
request handler on the same transport. Measured, that is what makes 15,000 idle sockets cost a
tenth of aiohttp's own (docs/benchmarks.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from ..errors import HeadError
from ..node import Node
from ..protocol.heads import Head, is_upgrade, read_head, refusal, switching, upgrade
from .origins import Origins
from .websocket import Connection

logger = logging.getLogger(__name__)
access = logging.getLogger("hub.access")

#: Bytes a request's head may have before we decide; aiohttp's own bound is 8,190 a line.
HEAD_BYTES = 16 * 1024

#: Makes the connection object of an accepted upgrade; `deflates` says whether compression was agreed.
MakeConnection = Callable[[Head, bool], Connection]


@dataclass(slots=True)
class Door:
    """What every new connection shares."""

    node: Node
    server: web.Server
    origins: Origins
    paths: Mapping[str, MakeConnection]
    head_timeout: float = 10.0
    max_connections: int = 0
    refused: int = 0
    upgraded: int = 0

    def protocol(self) -> Front:
        """The protocol factory for `loop.create_server`."""
        return Front(self)


class Front(asyncio.Protocol):
    """A connection that has not said yet what it is."""

    __slots__ = ("_buffer", "_door", "_transport")

    def __init__(self, door: Door) -> None:
        self._door = door
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        node = self._door.node
        node.wheel.add(node.time() + self._door.head_timeout, _head_due, self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        # Only a GET can be an upgrade; anything else needs no look at its head.
        if not (buffer.startswith(b"GET ") or b"GET ".startswith(buffer[:4])):
            self._hand_over(buffer)
            return
        try:
            found = read_head(buffer, HEAD_BYTES)
        except HeadError:
            # aiohttp has its own answers for what isn't HTTP, and its own limits.
            self._hand_over(buffer)
            return
        if found is None:
            return
        head, end = found
        if not is_upgrade(head):
            self._hand_over(buffer)
            return
        make = self._door.paths.get(_path(head.target))
        if make is None:
            self._hand_over(buffer)
            return
        self._upgrade(head, buffer[end:], make)

    def _upgrade(self, head: Head, rest: bytes, make: MakeConnection) -> None:
        transport, door = self._transport, self._door
        if transport is None:
            return
        origin, host = head.get(b"origin"), head.get(b"host")
        try:
            accepted = upgrade(head)
            if not door.origins.allows(_text(origin), _text(host)):
                raise HeadError(403, "Origin not allowed. Add it to HUB_ORIGINS.")
            if door.node.draining:
                raise HeadError(503, "Going away", (("Retry-After", "1"),))
            if door.max_connections and len(door.node.links) >= door.max_connections:
                raise HeadError(503, "Too many connections", (("Retry-After", "5"),))
        except HeadError as error:
            door.refused += 1
            self._transport = None
            transport.write(refusal(error.status, error.text, error.headers))
            transport.close()
            return
        self._transport = None
        door.upgraded += 1
        connection = make(head, accepted.deflate is not None)
        transport.set_protocol(connection)
        transport.write(switching(accepted))
        connection.connection_made(transport)
        if access.isEnabledFor(logging.INFO):
            access.info("upgraded", extra={"peer": transport.get_extra_info("peername"), "target": head.target.decode("latin-1")})
        if rest:
            connection.data_received(rest)

    def _hand_over(self, buffer: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        self._transport = None
        self._buffer = b""
        handler = self._door.server()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(buffer)


def _head_due(front: Front) -> None:
    """A connection that has not sent its first head in time is closed: slow heads hold nothing."""
    transport = front._transport
    if transport is not None:
        front._transport = None
        transport.abort()


def _path(target: bytes) -> str:
    return target.partition(b"?")[0].decode("latin-1").rstrip("/")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
