"""The front door: what a new connection says first decides who serves it.

A WebSocket upgrade of a hub path becomes a WebSocket connection there and then: no request
object, no handler task, no coroutine. A POST goes to the desk for polls and publishes (`lean`).
Everything else goes, byte for byte, to aiohttp's own request handler on the same transport.
Measured, that is what makes 15,000 idle sockets cost a tenth of aiohttp's own (docs/benchmarks.md).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, cast

from aiohttp import web

from ..errors import HeadError, TooMany
from ..forwarded import FIELDS, Proxies, is_near
from ..hosts import Hosts
from ..node import Node
from ..origins import is_host
from ..peers import Peer
from ..protocol import events
from ..protocol.heads import (
    HEAD_BYTES,
    Head,
    Upgrade,
    chosen,
    is_upgrade,
    origin_form,
    read_head,
    refusal,
    split_key,
    switching,
    upgrade,
)
from ..realms import Directory
from ..turns import Turns
from .halves import Handler
from .lent import Lent
from .origins import Origins
from .repeats import Repeat, Repeating, Repeats
from .unread import Unread
from .websocket import Connection

logger = logging.getLogger(__name__)
access = logging.getLogger("hub.access")

#: Heads of upgrades remembered with what they mean, up to so long a one each: browsers of one build send the same.
MAX_WAYS = 512
WAY_BYTES = 2048

#: Seconds that who was let in right before this process goes has to say what it wants.
LAST_SECONDS = 1.0

#: Connections whose head is late that are cut in a round of the loop, at 30 µs each.
CUT = 16

#: Fields that tell one visitor from another, as a query can (it may have a token): such heads are not remembered.
_PERSONAL = (b"authorization", b"cookie", *FIELDS)

#: Makes the connection object of an accepted upgrade; `window` is the compression agreed on, 0 for none.
MakeConnection = Callable[[Head, int], Connection]


class Answered(NamedTuple):
    """What was answered without a web framework, for who counts what is answered.

    route: such as `/ws`, or `/realm/{realm}/publish/`. status: 101 for a WebSocket. seconds: that it took; -1 where
    that says nothing. realm: whose key was shown; "" if nobody's. quiet: its sender wants nothing to be kept.
    """

    method: str
    route: str
    status: int
    seconds: float
    agent: str
    address: str
    quiet: bool
    realm: str = ""


#: Is told of it; must not wait, nor raise.
Watch = Callable[[Answered], None]


def agent_of(head: Head) -> tuple[str, bool]:
    """What a request says of its sender: the User-Agent, and whether nothing is to be kept (DNT, Sec-GPC)."""
    return _text(head.get(b"user-agent")) or "", b"1" in (head.get(b"dnt"), head.get(b"sec-gpc"))


@dataclass(slots=True, eq=False)
class Entrance:
    """A realm's part of the door: who may come in there, and to what.

    paths: what an upgrade is made into, by path. with_site: whether the visitors that the site knows are this realm's.
    """

    door: Door
    node: Node
    origins: Origins
    paths: dict[str, MakeConnection] = field(default_factory=dict)
    with_site: bool = True

    def visitor(self, cookie: str | None) -> str | None:
        """The site's visitor of a request with this Cookie header, None if there is none or nobody tells."""
        return self.door.visitor(cookie) if self.with_site else None

    def visitor_of(self, head: Head) -> str | None:
        """The site's visitor of an upgrade, None for pages of any origin: browsers send cookies with theirs too."""
        cookie = head.get(b"cookie")
        if cookie is None or not self.origins.trusts(_text(head.get(b"origin")), _text(head.get(b"host"))):
            return None
        return self.visitor(cookie.decode("latin-1"))


class Way(NamedTuple):
    """An upgrade that may be had as far as its head tells: to what, and how it is answered."""

    head: Head
    entrance: Entrance
    make: MakeConnection
    accepted: Upgrade


@dataclass(slots=True)
class Door:
    """What every new connection shares, whichever realm it is for.

    entrances: of the realms; set before the first connection. addresses: how many connections an address has.
    address_unread: bytes that may wait for an address whose clients don't read.
    turns: where costly work waits. idle_timeout: seconds that a connection is kept between requests. repeats: answers
    that are given again.
    watch: is told of what is answered here, past the application's middlewares.
    posts: makes the protocol of a connection that begins with a POST. waiting: who has not sent a
    head yet, with when it must have come. local: whether only this machine can connect. hosts: the names that are ours.
    """

    server: Callable[[], Handler] | None = None
    posts: Callable[[], asyncio.Protocol] | None = None
    waiting: dict[Front, float] = field(default_factory=dict)
    head_timeout: float = 10.0
    head_bytes: int = HEAD_BYTES
    max_connections: int = 0
    address_connections: int = 0
    address_unread: int = 0
    proxies: Proxies = field(default_factory=Proxies)
    local: bool = False
    hosts: Hosts = field(default_factory=lambda: Hosts(["*"]))
    identify: Callable[[str], str | None] | None = None
    watch: Watch | None = None
    refused: int = 0
    upgraded: int = 0
    addresses: dict[str, int] = field(default_factory=dict)
    turns: Turns = field(default_factory=Turns)
    idle_timeout: float = 75.0
    repeats: Repeats = field(init=False)
    unread: Unread = field(init=False)
    entrances: Directory[Entrance] = field(init=False)
    # HTTP connections, with their addresses, empty for those that are not counted by it.
    _peers: dict[object, str] = field(default_factory=dict, init=False)
    _watching: bool = field(default=False, init=False)
    # By the head without its key.
    _ways: dict[bytes, Way] = field(default_factory=dict, init=False)
    _warned: bool = field(default=False, init=False)
    _named: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.repeats = Repeats(time.time, behind_proxies=self.proxies.count > 0)
        self.unread = Unread(
            self.address_unread,
            lambda: self.count("unread"),
            lambda: self.node.time(),
            lambda look: self.node.wheel.add(self.node.time(), _call, look),
        )

    @property
    def node(self) -> Node:
        """The default realm's, for what is of no realm: the time, and what is due."""
        return self.entrances.default.node

    @property
    def sockets(self) -> int:
        """WebSockets open, of all realms."""
        count = 0
        # Each connection asks; `sum` of a generator takes three times as long.
        for entrance in self.entrances.things:
            count += entrance.node.sockets
        return count

    def find(self, head: Head) -> Way | None:
        """Where an upgrade leads, None if nowhere; HeadError with the answer if its head is reason to refuse it."""
        entrance, path = self.entrances.find(_path(head.target), _text(head.get(b"host")))
        make = None if entrance is None else entrance.paths.get(path)
        if entrance is None or make is None:
            return None
        try:
            accepted = upgrade(head, smallest=9)
            if not is_host(_text(head.get(b"host")) or ""):
                raise HeadError(400, "Bad Host")
            misdirected = self.misdirected(_text(head.get(b"host")), path)
            if misdirected:
                raise HeadError(421, misdirected)
            refused = entrance.origins.refuse(_text(head.get(b"origin")), _text(head.get(b"host")))
            if refused:
                raise HeadError(403, refused)
        except HeadError:
            self.refused += 1
            raise
        return Way(head, entrance, make, accepted)

    def misdirected(self, host: str | None, path: str) -> str | None:
        """Why a request is not for us, by its Host field and its path without a query; None if it is (421)."""
        refused = self.hosts.refuse(host, path)
        if refused and not self._named:
            # Once: whoever set it up wrongly looks here, and whoever attacks must not fill the log.
            self._named = True
            logger.warning("host refused", extra={"host": (host or "")[:100], "setting": "HUB_HOSTS"})
        return refused

    def recall(self, buffer: bytes) -> Way | None:
        """As `find`, for a buffer that is a whole head and differs from a remembered one by its key alone."""
        parts = split_key(buffer) if len(buffer) <= WAY_BYTES else None
        if parts is None:
            return None
        key, rest = parts
        way = self._ways.get(rest)
        if way is None:
            return None
        # Not `_replace`, which takes three times as long.
        return Way(way.head, way.entrance, way.make, way.accepted.with_key(key))

    def remember(self, buffer: bytes, way: Way) -> None:
        """Remember where a buffer that is a whole head leads, unless that is for one visitor alone."""
        head = way.head
        parts = split_key(buffer) if len(buffer) <= WAY_BYTES else None
        if parts is None or b"?" in head.target or any(head.get(name) is not None for name in _PERSONAL):
            return
        if len(self._ways) >= MAX_WAYS:
            self._ways.clear()
        self._ways[parts[1]] = way

    def protocol(self) -> Front:
        """The protocol factory for `loop.create_server`."""
        return Front(self)

    def await_head(self, front: Front) -> None:
        """Cut this connection unless its first head comes in time."""
        due = self.waiting[front] = self.node.time() + self.head_timeout
        if not self._watching:
            self._watching = True
            self.node.wheel.add(due, _heads_due, self)

    def heads_due(self) -> None:
        """Cut who is late, a few in a round of the loop. All have the same time: those who came first are due first."""
        now = self.node.time()
        self._watching = False
        cut = 0
        while self.waiting:
            front, due = next(iter(self.waiting.items()))
            if due > now or cut == CUT:
                self._watching = True
                if due > now:
                    self.node.wheel.add(due, _heads_due, self)
                else:
                    asyncio.get_running_loop().call_soon(self.heads_due)
                return
            cut += 1
            del self.waiting[front]
            self.count("heads")
            front.give_up()

    async def last_heads(self) -> None:
        """Wait until who was let in lately has said what it wants, LAST_SECONDS at the most; then cut the others.

        Else a client that came right before this process goes would get no answer.
        """
        while self.waiting:
            let_in = self.waiting[next(reversed(self.waiting))] - self.head_timeout
            if self.node.time() - let_in > LAST_SECONDS:
                break
            await asyncio.sleep(LAST_SECONDS / 50)
        # A browser opens connections that it may need.
        for front in list(self.waiting):
            front.give_up()

    def serve_by(self, server: web.Server) -> None:
        """Let aiohttp serve what is HTTP, and be told when one of its connections is lost."""
        self.server = partial(Handler, server, self.misdirected)
        lost = server.connection_lost

        def connection_lost(handler: web.RequestHandler, exc: BaseException | None = None) -> None:
            self.leave(handler)
            lost(handler, exc)

        # The one place where aiohttp tells the end of a connection to someone who outlives it.
        server.connection_lost = connection_lost  # type: ignore[method-assign]  # the same promise

    def handler(self) -> Handler:
        """aiohttp's handler for one connection."""
        assert self.server is not None, "the door is open before there is a server behind it"
        handler = self.server()
        handler.when_paused, handler.when_resumed = self.paused, self.unread.resumed
        return handler

    def paused(self, peer: object, transport: asyncio.Transport | None) -> None:
        """An HTTP connection paused writing: its client does not read."""
        self.unread.paused(peer, self._peers.get(peer, ""), transport)

    def lend(self, transport: asyncio.Transport, address: str, buffer: bytes) -> asyncio.Protocol:
        """Have aiohttp serve a connection that has sent `buffer`, until it comes back; returns what serves it.

        address: whose it is.
        """
        handler = self.handler()
        handler.repeats = self.repeats
        lent = handler if self.posts is None else Lent(handler, self._take_back)
        self.enter(handler, address)
        transport.set_protocol(lent)
        lent.connection_made(transport)
        lent.data_received(buffer)
        return lent

    def repeat(self, transport: asyncio.Transport, address: str, repeat: Repeat) -> None:
        """Answer the first request of a connection, which is like one that was answered before."""
        protocol = Repeating(self)
        self.enter(protocol, address)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.answer(repeat)

    def _take_back(self, handler: web.RequestHandler, transport: asyncio.Transport, buffer: bytes) -> None:
        address = self.leave(handler)
        # For the handler the connection is lost, and it would close what it has.
        handler.transport = None
        handler.connection_lost(None)
        self.receive_post(transport, address, buffer)

    def receive_post(self, transport: asyncio.Transport, address: str, buffer: bytes) -> None:
        """Have a connection whose next request is a POST served."""
        if self.posts is None:
            self.lend(transport, address, buffer)
            return
        protocol = self.posts()
        self.enter(protocol, address)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(buffer)

    @property
    def is_full(self) -> bool:
        """Whether there are as many connections as there may be."""
        return self.max_connections > 0 and self.clients >= self.max_connections

    @property
    def is_crowded(self) -> bool:
        """Whether as many again wait to say what they want."""
        return self.max_connections > 0 and len(self.waiting) >= self.max_connections

    def check_room(self, address: str) -> None:
        """Raise HeadError 503 if another connection, or another of this address, would be too many."""
        if self.is_full:
            words = "Too many connections"
        elif self.address_connections and self.addresses.get(address, 0) >= self.address_connections:
            words = "Too many connections from one address"
        else:
            return
        self.count("connections")
        raise HeadError(503, words, (("Retry-After", "5"),))

    def count(self, limit: str) -> None:
        """Count a refusal that is a limit's, by its name in the metrics."""
        self.node.bayeux.limited[limit] += 1

    def enter(self, peer: object, address: str) -> None:
        """Count an HTTP connection, by its protocol, until it leaves."""
        self._peers[peer] = address
        if address:
            self.node.count_address(address, 1)

    def leave(self, peer: object) -> str:
        """It has gone, if it was there, or is to be counted as something else; returns its address."""
        self.unread.resumed(peer)
        address = self._peers.pop(peer, "")
        if address:
            self.node.count_address(address, -1)
        return address

    @property
    def clients(self) -> int:
        """Connections of this process."""
        return self.sockets + len(self._peers)

    def delay(self, least: float = events.SOON) -> int:
        """Milliseconds before an event stream of now should come back: all of them at once would be too many."""
        return events.delay(self.clients, random.random(), least)

    def cors_of_events(self, buffer: bytes) -> dict[str, str] | None:
        """The CORS headers for a request that wants an event stream; None for any other, or one that isn't whole."""
        if not buffer.startswith(b"GET ") or b"text/event-stream" not in buffer:
            return None
        try:
            found = read_head(buffer, self.head_bytes)
        except HeadError:
            return None
        if found is None or b"text/event-stream" not in (found[0].get(b"accept") or b""):
            return None
        head = found[0]
        entrance, _ = self.entrances.find(_path(head.target), _text(head.get(b"host")))
        origins = (entrance or self.entrances.default).origins
        return origins.headers(_text(head.get(b"origin")), _text(head.get(b"host")))

    def count_stream(self, request: web.Request) -> None:
        """Count a connection by the address that a proxy of ours wrote, as it carries an event stream and nothing more.

        Until it has gone, not until the stream has ended: what was written may wait. Without proxies it is counted
        already. TooMany if the address has too many.
        """
        address = self.address_of(request) if self.proxies.count else ""
        if self.address_connections and self.addresses.get(address, 0) >= self.address_connections:
            self.count("connections")
            raise TooMany(text="Too many connections from one address")
        if address and request.protocol in self._peers:
            self.leave(request.protocol)
            self.enter(request.protocol, address)

    def peer_address(self, transport: asyncio.BaseTransport) -> str:
        """Whose an HTTP connection is; empty behind proxies, whose connections carry everybody's requests."""
        return "" if self.proxies.count else self.address(transport, ())

    def address_of(self, request: web.Request) -> str:
        """Whose a request is: as `address`, from its own transport and lines."""
        return self.address(request.transport, request.headers.getall(self.proxies.header, ()))

    def address(self, transport: asyncio.BaseTransport | None, forwarded: Sequence[str]) -> str:
        """What a connection is counted by, for the limits by address; empty where nothing is counted.

        forwarded: the lines of the request's field `proxies.header`, believed as far as there are proxies of ours.
        Without any, what comes from this machine or a private network is not counted: it may be a
        balancer that nobody told us of, with all the visitors behind it.
        """
        if not self.proxies.count and forwarded and not self._warned:
            self._warned = True
            logger.warning(
                "a proxy names its clients and is not believed: limits by address don't see them",
                extra={"header": self.proxies.header, "setting": "HUB_PROXIES=1, if the proxy is yours"},
            )
        if not self.proxies.count and (self.local or transport is None):
            # Asking costs a system call, and an object that stays with the connection.
            return ""
        peername = None if transport is None else transport.get_extra_info("peername")
        peer = str(peername[0]) if isinstance(peername, tuple) and peername else ""
        return self.proxies.client("" if is_near(peer) else peer, forwarded)

    def visitor(self, cookie: str | None) -> str | None:
        """The site's visitor of a request with this Cookie header, None if there is none or nobody tells."""
        if self.identify is None or not cookie:
            return None
        try:
            return self.identify(cookie)
        except Exception:
            # Code of the site: who it can't tell is a stranger.
            logger.exception("visitor not identified")
            return None

    def admit(self, way: Way, transport: asyncio.BaseTransport | None) -> Connection:
        """The connection object for an upgrade that may be had now, else HeadError with the answer."""
        head, entrance, make, accepted = way
        forwarded = _text(head.get(self.proxies.field))
        address = self.address(transport, () if forwarded is None else (forwarded,))
        try:
            if entrance.node.draining:
                raise HeadError(503, "Going away", (("Retry-After", "1"),))
            self.check_room(address)
        except HeadError:
            self.refused += 1
            raise
        self.upgraded += 1
        connection = make(head, accepted.window)
        visitor = entrance.visitor_of(head)
        if address or visitor is not None:
            connection.peer = Peer(address, visitor)
        connection.unread = self.unread
        if address:
            entrance.node.count_address(address, 1)
        if self.watch is not None:
            path = self.entrances.find(_path(head.target), _text(head.get(b"host")))[1]
            agent, quiet = agent_of(head)
            self.watch(Answered("WS", path, 101, -1.0, agent, address, quiet))
        return connection

    async def take_over(self, request: web.Request) -> web.StreamResponse:
        """An upgrade on a connection that already carried other requests.

        Clients with a pool and proxies with kept-alive upstreams send those. Returns, or is cancelled,
        when the WebSocket has ended; a refusal is an ordinary response.
        """
        headers = [(name.lower(), value) for name, value in request.raw_headers]
        head = Head(request.method.encode(), request.raw_path.encode(), b"HTTP/%d.%d" % request.version, headers)
        # One connection is not to be counted twice.
        address = self.leave(request.protocol)
        try:
            head = origin_form(head)
            way = self.find(head)
            if way is None:
                raise HeadError(404, "No WebSocket here")
            connection = self.admit(way, request.transport)
        except HeadError as error:
            self.enter(request.protocol, address)
            return web.Response(status=error.status, text=error.text + "\n", headers=dict(error.headers))
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("client left")
        # aiohttp gives its parser what came behind the head; from then on bytes come to us.
        rest = _Rest()
        request.protocol.set_parser(rest)  # type: ignore[arg-type]  # it calls feed_data and feed_eof, no more
        ended = asyncio.get_running_loop().create_future()
        handler = request.protocol

        def closed() -> None:
            if not ended.done():
                ended.set_result(None)
            handler.connection_lost(None)

        connection.on_closed = closed
        _continue(transport, connection, way, bytes(rest.data))
        await ended
        return web.Response()


class Front(asyncio.Protocol):
    """A connection that has not said yet what it is."""

    __slots__ = ("_buffer", "_door", "_transport")

    def __init__(self, door: Door) -> None:
        self._door = door
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._door.is_crowded:
            self._door.count("connections")
            self.give_up()
            return
        self._door.await_head(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._door.waiting.pop(self, None)

    def give_up(self) -> None:
        """Close a connection that has not sent its head in time: slow heads hold nothing."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        known = self._door.recall(buffer)
        if known is not None:
            self._upgrade(known, b"")
            return
        # aiohttp has its own answers for what isn't HTTP; but it would wait for the rest of a head for ever.
        whole = buffer.find(b"\r\n\r\n", 0, self._door.head_bytes) >= 0 or not b"A" <= buffer[:1] <= b"Z"
        if whole and buffer.startswith(b"PRI "):
            # How HTTP/2 begins. aiohttp's parser would wait for the rest of that.
            self._refuse(HeadError(505, "HTTP/1.1 only"))
            return
        # Only a GET can be an upgrade; anything else needs no look at its head.
        if whole and not buffer.startswith(b"GET "):
            self._hand_over(buffer)
            return
        try:
            found = read_head(buffer, self._door.head_bytes)
        except HeadError as error:
            if whole:
                self._hand_over(buffer)
            else:
                self._door.count("heads")
                self._refuse(error)
            return
        if found is None:
            return
        head, end = found
        if not is_upgrade(head):
            self._hand_over(buffer)
            return
        try:
            way = self._door.find(head)
        except HeadError as error:
            self._refuse(error)
            return
        if way is None:
            self._hand_over(buffer)
            return
        if end == len(buffer):
            self._door.remember(buffer, way)
        self._upgrade(way, buffer[end:])

    def _upgrade(self, way: Way, rest: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        try:
            connection = self._door.admit(way, transport)
        except HeadError as error:
            self._refuse(error)
            return
        self._leave()
        _continue(transport, connection, way, rest)

    def _hand_over(self, buffer: bytes) -> None:
        transport, door = self._transport, self._door
        if transport is None:
            return
        address = door.peer_address(transport)
        try:
            door.check_room(address)
        except HeadError as error:
            if (cors := door.cors_of_events(buffer)) is not None:
                self._leave()
                transport.write(_turned_away(door.delay(events.LATER), error.text, cors))
                transport.close()
            else:
                self._refuse(error)
            return
        self._leave()
        if buffer[:1] == b"P":
            door.receive_post(transport, address, buffer)
        elif (repeat := door.repeats.find(buffer, transport)) is not None:
            door.repeat(transport, address, repeat)
        else:
            door.lend(transport, address, buffer)

    def _leave(self) -> None:
        self._transport = None
        self._buffer = b""
        self._door.waiting.pop(self, None)

    def _refuse(self, error: HeadError) -> None:
        transport = self._transport
        self._leave()
        if transport is not None and not transport.is_closing():
            transport.write(refusal(error.status, error.text, error.headers))
            transport.close()


class _Rest:
    """Takes what aiohttp had read behind a head."""

    def __init__(self) -> None:
        self.data = bytearray()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        pass


def _continue(transport: asyncio.Transport, connection: Connection, way: Way, rest: bytes) -> None:
    """Make the transport a WebSocket's."""
    transport.set_protocol(connection)
    transport.write(switching(way.accepted, chosen(way.accepted.protocols)))
    connection.connection_made(transport)
    if access.isEnabledFor(logging.INFO):
        # The path alone: a query may have a token in it, and who it is says the address.
        access.info("upgraded", extra={"path": _path(way.head.target)})
    if rest:
        connection.data_received(rest)


def _turned_away(milliseconds: int, reason: str, cors: dict[str, str]) -> bytes:
    """The whole answer to an EventSource for which there is no room: any status but 200 would end it for good."""
    body = events.retry(milliseconds) + events.comment(reason)
    fields = {**events.HEADERS, **cors, "Content-Length": str(len(body)), "Connection": "close"}
    lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _call(function: Callable[[], None]) -> None:
    function()


def _heads_due(door: Door) -> None:
    door.heads_due()


def _path(target: bytes) -> str:
    return target.partition(b"?")[0].decode("latin-1").rstrip("/")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
