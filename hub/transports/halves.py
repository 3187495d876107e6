"""Clients that end their sending side behind a request, and wait for its answer.

`nc -N`, h1spec and some health checkers do so (RFC 9112 §9.6 lets them). It looks like a client that has left: both
send a FIN, and only a write tells them apart. So what is under way is answered, what would wait is answered at once,
with nothing taken for it, and then the connection is closed; after a time it is closed in any case. What an answer to
such a client carries counts as not arrived, and the next connect of its session is given it (again).
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import Callable, Iterator
from typing import Any, cast

from aiohttp import StreamReader, web

from .handlers import Misdirected, RequestHandler
from .repeats import SEEN, STANDS, Repeats, Seen, Stands

#: Seconds that the answer to somebody who sends no more may take; six times as many while it is being sent.
LAST_SECONDS = 10.0

#: Seconds between askings to come to an end: what a request waits for may begin later than its client's end.
HURRY_SECONDS = 0.2


#: What the kernel says of a connection whose other side has ended. Only Linux does; elsewhere it is known once read.
_RDHUP: int = getattr(select, "POLLRDHUP", 0)


def sends_no_more(transport: asyncio.BaseTransport) -> bool:
    """Whether a client has ended its sending side, though nobody has read that yet: one system call, about 1 µs.

    A worker that stood still finds a request and the end of its connection together, and reads them one after the
    other.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or not _RDHUP:
        return False
    asked = select.poll()
    asked.register(sock.fileno(), _RDHUP)
    return bool(asked.poll(0))


class Handler(RequestHandler):
    """aiohttp's handler of a connection, which answers before it closes one whose client sends no more."""

    __slots__ = ("_hurry", "_looks", "_payload", "asked", "has_ended", "repeats", "when_paused", "when_resumed")

    def __init__(self, server: web.Server, misdirected: Misdirected = lambda host, path: None) -> None:
        super().__init__(server, misdirected)
        #: Of the request that was begun last.
        self._payload: StreamReader | None = None
        self._hurry: Callable[[], None] | None = None
        self._looks = 0
        self.has_ended = False
        #: The bytes of the request under way, where they are known to be its own and no other's; and who remembers.
        self.asked = b""
        self.repeats: Repeats | None = None
        #: Called when the transport pauses writing, and when it resumes.
        self.when_paused: Callable[[object, asyncio.Transport | None], None] | None = None
        self.when_resumed: Callable[[object], None] | None = None

    def renew(self) -> None:
        """A request on the connection was answered without this handler, which must not close it as idle."""
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout

    def made(self, message: Any, payload: StreamReader, *more: Any) -> web.BaseRequest:
        self._payload = payload
        return super().made(message, payload, *more)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.when_paused is not None:
            self.when_paused(self, self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.when_resumed is not None:
            self.when_resumed(self)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio asks for it; aiohttp returns None only
        waiting = [payload for _, payload in self._messages]
        # Else it waits for the next request.
        is_busy = self._waiter is None or self._waiter.done()
        if is_busy and self._payload is not None:
            waiting.append(self._payload)
        if self._payload_parser is not None or not waiting or not all(payload.is_eof() for payload in waiting):
            # Nothing is asked, or the rest of it will never come.
            return None
        self.has_ended = True
        self._look()
        return True

    @contextlib.contextmanager
    def hurried(self, hurry: Callable[[], None]) -> Iterator[None]:
        """While a request waits for what may take long: `hurry` is called once its client ended, perhaps repeatedly."""
        self._hurry = hurry
        if self.has_ended:
            hurry()
        try:
            yield
        finally:
            self._hurry = None

    async def finish_response(self, request: web.BaseRequest, response: web.StreamResponse, *more: Any) -> Any:
        done = await super().finish_response(request, response, *more)
        stands = request.get(STANDS)
        if stands is not None and self.repeats is not None and self.asked:
            seen = cast(Seen | None, request.get(SEEN))
            self.repeats.remember(self.asked, response, not response.keep_alive, cast(Stands, stands), seen)
        self.asked = b""
        if self.has_ended and not self._messages:
            self.close()
        return done

    def _look(self) -> None:
        transport = self.transport
        if transport is None:
            return
        seconds = self._looks * HURRY_SECONDS
        sends = transport.get_write_buffer_size() > 0
        if seconds > (6 * LAST_SECONDS if sends else LAST_SECONDS):
            transport.abort()
            return
        self._looks += 1
        if self._hurry is not None:
            self._hurry()
        self._loop.call_later(HURRY_SECONDS, self._look)


def is_over(request: web.Request) -> bool:
    """Whether the client of a request has ended its sending side, and perhaps is not there any more."""
    handler, transport = request.protocol, request.transport
    return (isinstance(handler, Handler) and handler.has_ended) or transport is None or sends_no_more(transport)


def hurried(request: web.Request, hurry: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
    """As `Handler.hurried`, for the connection of a request."""
    handler = request.protocol
    return handler.hurried(hurry) if isinstance(handler, Handler) else contextlib.nullcontext()
