"""Server-Sent Events: a response that stays open and is written to like a WebSocket.

`EventStream` is the link; `BayeuxStream` carries a Bayeux session's deliveries to Faye's
`eventsource` transport, whose connects travel as polls beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable

from aiohttp import HttpVersion11, hdrs, web

from ..errors import BrokerUnavailable, LinkClosed, TooMany, Unavailable
from ..node import Node
from ..protocol import events
from ..protocol.close_codes import GOING_AWAY
from ..protocol.messages import dumps, join
from ..sessions.links import Batch
from ..sessions.session import Session
from .front import Door, Entrance
from .halves import hurried

#: Seconds between comments on a quiet stream: proxies cut what is silent for 60 s, some for 30 s. As WebSockets' pings.
COMMENT_SECONDS = 12.0

#: Unsent bytes from which on a stream's messages wait in its session's queue.
HIGH_WATER = 64 * 1024

#: Seconds between looks at a full buffer: aiohttp keeps the transport's own signal for itself.
LOOK_SECONDS = 0.2


#: The id of the event that says that a session is unknown.
TOLD = "unknown"


class EventStream(ABC):
    """A response of text/event-stream as a session's link."""

    __slots__ = (
        "__weakref__",
        "_door",
        "_ended",
        "_handler",
        "_is_chunked",
        "_node",
        "_transport",
        "blocked",
        "closing",
        "response",
        "session",
    )

    closed_by = ""

    def __init__(self, node: Node, door: Door) -> None:
        self._node = node
        self._door = door
        self.blocked = False
        self.closing = False
        self.session: Session | None = None
        self.response = web.StreamResponse(headers=events.HEADERS)
        self.response.force_close()
        self._is_chunked = True
        self._transport: asyncio.Transport | None = None
        self._handler: object = None
        self._ended = asyncio.Event()

    async def start(self, request: web.Request, headers: dict[str, str]) -> None:
        """Send the head and the first bytes."""
        self.response.headers.update(headers)
        # HTTP/1.0, which nginx speaks by default, has no chunks: the stream ends with the connection.
        self._is_chunked = request.version >= HttpVersion11
        if self._is_chunked:
            self.response.enable_chunked_encoding()
        await self.response.prepare(request)
        await self.response.write(events.retry(self._door.delay()) + events.PADDING + b"\n")
        self._transport, self._handler = request.transport, request.protocol
        self._node.wheel.add(self._node.time() + COMMENT_SECONDS, _comment_due, self)

    async def ended(self) -> None:
        """Wait until the node has sent this stream away; the client's leaving cancels the handler."""
        await self._ended.wait()

    def end(self) -> None:
        """End the stream behind what was written."""
        self._ended.set()

    def write(self, data: bytes) -> None:
        """Write event bytes, if the response is still open."""
        with contextlib.suppress(LinkClosed):
            self.deliver(data)

    def deliver(self, data: bytes) -> int:
        """Write what must not get lost; raises LinkClosed. Returns how many bytes are unsent."""
        transport = self._transport
        if self.closing or transport is None or transport.is_closing():
            raise LinkClosed
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
        unsent = transport.get_write_buffer_size()
        if not self.blocked and unsent > HIGH_WATER:
            self.blocked = True
            # The transport may be paused still: it resumes at less than this stream does.
            self._door.unread.grew(self._handler)
            if self.session is not None:
                self.session.settle()
            self.look_again()
        return unsent

    def look_again(self) -> None:
        """Have `drained` called once there is room again."""
        self._node.wheel.add(self._node.time() + LOOK_SECONDS, _look_again, self)

    def drained(self) -> None:
        """What was written is on its way: there is room again."""
        self.blocked = False
        if self.session is not None:
            self._node.writable(self.session)

    def comment(self) -> None:
        """Show the client, and whatever is between, that the stream lives."""
        # A process that is killed tells nobody when to come back, so they know beforehand.
        self.write(b":\n" + events.retry(self._door.delay()))

    @abstractmethod
    def offer(self, batch: Batch) -> None:
        """Write a batch as events."""

    def send(self, parts: list[bytes]) -> None:
        """Bayeux replies travel in the polls beside the stream."""

    @abstractmethod
    def tell_lost(self, channels: Iterable[str]) -> bool:
        """Say that publications of these channels may have been missed."""

    def leave(self, code: int, reason: str) -> None:
        if code == GOING_AWAY:
            # All of them are sent away: how many there are is known now.
            self.write(events.retry(self._door.delay()))
        self.closing = True
        self._node.links.discard(self)
        self._ended.set()


class BayeuxStream(EventStream):
    """Deliveries of a Bayeux session as events; the id of an event is the position of its last publication."""

    __slots__ = ()

    def tell_lost(self, channels: Iterable[str]) -> bool:
        """The session ends: a connect's answer, which could say more, may be a hold away, and what is newer is not."""
        if self.session is not None:
            self._node.end_session(self.session, "lost")
        return True

    def offer(self, batch: Batch) -> None:
        data = batch.forms.get("bayeux-sse")
        if data is None:
            messages = join([publication.message for publication in batch.publications])
            position = str(batch.publications[-1].position).encode()
            data = batch.forms["bayeux-sse"] = b"id: %b\ndata: %b\n\n" % (position, messages)
        self.deliver(data)


class Streams:
    """The handler of `GET /bayeux/{clientId}` with Accept: text/event-stream."""

    def __init__(self, entrance: Entrance) -> None:
        self._node = entrance.node
        self._entrance = entrance
        self._origins = entrance.origins

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Attach a stream to a session that exists. Of any other a client is told, and the stream ends.

        A 404 would end its EventSource for good, and Faye would learn it from its next connect only, up to 45 s later.
        """
        origin = request.headers.get(hdrs.ORIGIN)
        host = request.headers.get(hdrs.HOST)
        cors = self._origins.headers(origin, host)
        refused = self._origins.refuse(origin, host)
        if refused:
            return web.Response(status=403, text=refused + "\n", headers=cors)
        client_id = request.path.rstrip("/").rpartition("/")[2]
        try:
            session = await self._node.session(client_id)
        except BrokerUnavailable:
            return come_back(self._entrance.door, Unavailable().wire(), cors)
        if session is None and not self._was_told(request):
            data = join([dumps(self._node.bayeux.unknown(client_id))])
            return ended(self._entrance.door, events.event(data, TOLD), cors)
        if session is None or session.ack is not None:
            # One that acknowledges gets its batches with its connects.
            return web.Response(status=404, text="402::Unknown client\n", headers=cors)
        try:
            self._entrance.door.count_stream(request)
        except TooMany as error:
            return come_back(self._entrance.door, error.wire(), cors)
        return await self._stream(request, cors, session)

    def _was_told(self, request: web.Request) -> bool:
        """Whether it comes back for a session of which it has been told that there is none: no client needs that."""
        return events.last_id(request.headers.get("Last-Event-ID"), request.query.items()) == TOLD

    async def _stream(self, request: web.Request, cors: dict[str, str], session: Session) -> web.StreamResponse:
        stream = BayeuxStream(self._node, self._entrance.door)
        await stream.start(request, cors)
        try:
            found = await self._node.session_still(session)
        except BrokerUnavailable:
            found = None
        if found is None or found.ended:
            # Its client comes back, and is told then if there is none.
            return stream.response
        session = found
        self._node.attach(stream)
        self._node.move(session, stream, events.last_id(request.headers.get("Last-Event-ID"), request.query.items()))
        try:
            with hurried(request, stream.end):
                await stream.ended()
        finally:
            self._node.detach(stream, session)
        return stream.response


def come_back(door: Door, reason: str, headers: dict[str, str], least: float = events.LATER) -> web.Response:
    """A stream that ends at once, in place of a refusal that passes: any other status ends an EventSource for good.

    least: seconds until it may come back.
    """
    return ended(door, events.comment(reason), headers, least)


def ended(door: Door, body: bytes, headers: dict[str, str], least: float = events.SOON) -> web.Response:
    """A stream that ends behind its first bytes."""
    made = web.Response(body=events.retry(door.delay(least)) + body, headers={**events.HEADERS, **headers})
    made.force_close()
    return made


def _comment_due(stream: EventStream) -> None:
    if stream.closing or stream._transport is None or stream._transport.is_closing():
        return
    stream.comment()
    stream._node.wheel.add(stream._node.time() + COMMENT_SECONDS, _comment_due, stream)


def _look_again(stream: EventStream) -> None:
    transport = stream._transport
    if stream.closing or transport is None or transport.is_closing():
        return
    if transport.get_write_buffer_size() > HIGH_WATER // 2:
        stream._node.wheel.add(stream._node.time() + LOOK_SECONDS, _look_again, stream)
        return
    stream.drained()
