"""A connection lent to aiohttp, which comes back when the next it asks for is a poll or a publish.

A browser sends its polls over the connections that its page came by. What is read there by aiohttp reaches the node
some rounds of the loop later than what `lean` reads on the next connection, so that a page's messages were taken in
another order than it sent them in. So aiohttp keeps a connection only while it must.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import cast

from .halves import Handler

#: Gets back a connection from its handler, with what was read and is not the handler's.
TakeBack = Callable[[Handler, asyncio.Transport, bytes], None]

_BODILESS = (b"GET ", b"HEAD ", b"OPTIONS ")
#: Fields of requests with a body, and of those that change the connection; for heads in lower case. Each has a literal
#: prefix, which `re` searches quickly; as one alternation they took 18 ns a byte, 43 % of what a flood of long
#: heads cost.
_MORE = tuple(
    re.compile(rb"\n%b[ \t]*:" % name) for name in (b"content-length", b"transfer-encoding", b"upgrade", b"expect")
)


class Lent(asyncio.Protocol):
    """The protocol of a connection that `handler` serves.

    It comes back only while there is no doubt about where its requests end: all came in one piece each, had no body
    and have been answered. Once there is, it is the handler's for good.
    """

    __slots__ = ("_begun", "_blocked", "_handler", "_take_back", "_transport")

    def __init__(self, handler: Handler, take_back: TakeBack) -> None:
        self._handler = handler
        self._begun = False
        self._take_back = take_back
        self._blocked = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        handler, transport = self._handler, self._transport
        is_idle = not self._blocked and _is_idle(handler)
        if transport is not None and is_idle:
            if data[:1] == b"P":
                self._transport = None
                self._take_back(handler, transport, data)
                return
            repeats = handler.repeats
            if repeats is not None and (repeat := repeats.find(data, transport)) is not None:
                transport.write(repeats.bytes_of(repeat))
                if repeat.closes:
                    transport.close()
                else:
                    handler.renew()
                return
        is_whole = _is_whole(data)
        # The first comes before the handler has begun to wait for it.
        handler.asked = data if is_whole and (is_idle or not self._begun) else b""
        self._begun = True
        if transport is not None and not is_whole:
            transport.set_protocol(handler)
        handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._transport = None
        self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        self._blocked = True
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._blocked = False
        self._handler.resume_writing()


def _is_whole(data: bytes) -> bool:
    """Whether this is one request, all of it and nothing else."""
    if not data.startswith(_BODILESS) or data.find(b"\r\n\r\n") != len(data) - 4:
        return False
    if data.count(b"\n") != data.count(b"\r\n"):
        # A bare line feed ends a line too (RFC 9112 §2.2).
        return False
    lowered = data.lower()
    length, coding, upgrade, expect = _MORE
    return not (length.search(lowered) or coding.search(lowered) or upgrade.search(lowered) or expect.search(lowered))


def _is_idle(handler: Handler) -> bool:
    """Whether it waits for a request. aiohttp has no public word for that; without its own, nothing comes back."""
    waiter = getattr(handler, "_waiter", None)
    return waiter is not None and not waiter.done()
