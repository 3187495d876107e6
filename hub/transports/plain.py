"""The same channels without Bayeux: a WebSocket, Server-Sent Events, a poll with a position.

    GET /ws?channel=a&channel=b[&position=…]     JSON messages; subscribe and unsubscribe while open
    GET /sse?channel=a[&position=…]              EventSource; resumes by Last-Event-ID
    GET /poll?channel=a[&position=…][&timeout=s] one request: what came after the position, or the next
    POST /poll                                   the same fields as a form, when they are too long for a URL

Each listener is a session that lives as long as its connection; what it missed in between it asks
for by position, and is told when it can't have it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

from aiohttp import hdrs, web
from multidict import MultiDict, MultiDictProxy
from yarl import URL

from ..errors import BadMessage, BadToken, BrokerUnavailable, ForbiddenChannel, LinkClosed, ProtocolError, TooMany
from ..node import Node
from ..protocol import events
from ..protocol.access import Access, Who, refusal
from ..protocol.channels import is_wild, to_fanout
from ..protocol.close_codes import TRY_AGAIN_LATER
from ..protocol.frames import text_frame
from ..protocol.heads import Head
from ..protocol.messages import check_values, dumps, loads
from ..protocol.plain import MAX_CHANNELS, UNKNOWN, Place, channels_of, encode, format_place, parse_place
from ..protocol.publications import Position, Publication
from ..sessions.links import Batch
from ..sessions.session import Session
from ..turns import FEW, PIECE
from .bodies import read_body, read_form
from .eventsource import HIGH_WATER, EventStream, come_back
from .front import Door, Entrance
from .halves import hurried
from .websocket import Connection, intervals

#: Bytes of a poll's form: a hundred channels of the longest names (HUB_MAX_CHANNEL), percent-encoded, and a place.
FORM_BYTES = 128 * 1024

#: Orders of a socket that may wait while one waits for the broker.
MAX_ORDERS = 100

#: Seconds for which a ping waits for fan-out that is far behind.
PING_SECONDS = 5.0

#: Fields of a query that is looked at: MAX_CHANNELS and a few, with room for what others put there.
MAX_FIELDS = 400

#: Values of a message over `/ws`, as `check_values` has them, and halves of surrogate pairs, which no name has: 64 KiB
#: of empty lists or of halves took 1 and 4 ms.
MAX_VALUES = 5_000
MAX_HALVES = 20

#: Where a stream of nothing but patterns is: no position, so that who comes back with it is told "lost".
NOWHERE = b"*"

#: Events of its own that a stream writes at once, and about how many bytes: a slice of a fan-out may write to a hundred
#: such. What is more it writes in turns, and then so many bytes of it: 0.1 ms.
FEW_EVENTS = 4
FEW_BYTES = 8 * 1024
PIECE_BYTES = 32 * 1024

#: Unsent bytes from which on the rest of a long batch waits.
MOST_UNSENT = 1024 * 1024

#: What `/test/…` listens to.
_TEST = "channel=test"


class PlainSocket(Connection):
    """`/ws`: publications as JSON objects, one a frame."""

    __slots__ = ("_access", "_asked", "_orders", "_task", "session")

    closed_by = "ws-message"

    def __init__(
        self,
        node: Node,
        access: Access,
        head: Head,
        *,
        limit: int,
        interval: float,
        window: int = 0,
    ) -> None:
        super().__init__(node, limit=min(limit, 64 * 1024), interval=interval, window=window)
        self._access = access
        query = head.target.partition(b"?")[2]
        self._asked = fields_of(query.decode("latin-1")) if query.count(b"&") < MAX_FIELDS else None
        #: What was asked for and is not done, with how many channels it is about: a subscribe may have to wait for the
        #: broker or its turn, and nothing overtakes it.
        self._orders: list[tuple[int, Callable[[Session], Awaitable[None]]]] = []
        self._task: asyncio.Task[None] | None = None
        self.session: Session | None = None

    def opened(self) -> None:
        self.node.attach(self)
        try:
            self.node.bayeux.check_opening(self.peer.address, self.node.time())
        except ProtocolError as error:
            self._refuse(error)
            self.leave(TRY_AGAIN_LATER, "try again later")
            return
        self.session = self.node.open_session(self, Who(self.peer.visitor), self.peer.address)
        asked, self._asked = self._asked, None
        if asked is None:
            self._refuse(BadMessage(text="Too many fields"))
        elif names := [name for name in asked.getall("channel", []) if name]:
            self._subscribe(names, asked.get("position", ""), asked.get("token") or None)

    def closed(self) -> None:
        session, self.session = self.session, None
        self.node.detach(self, session)
        if session is not None:
            self.node.end_session(session, "closed")

    def text(self, payload: bytes) -> None:
        """`{"subscribe": ["a"], "position": "…", "token": "…"}`, `{"unsubscribe": ["a"]}` or `{"ping": 1}`.

        Anything else is answered with an error.
        """
        try:
            check_values(payload, MAX_VALUES)
            message = loads(payload, MAX_HALVES)
            if not isinstance(message, dict):
                raise BadMessage(text="Message must be an object")
            if "subscribe" in message:
                position = message.get("position")
                place = position if isinstance(position, str) else ""
                self._subscribe(_names(message["subscribe"]), place, message.get("token"))
            elif "unsubscribe" in message:
                self._unsubscribe(_names(message["unsubscribe"]))
            elif "ping" in message:
                self._ping(message["ping"])
            else:
                raise BadMessage(text="Send subscribe or unsubscribe with a list of channels")
        except ProtocolError as error:
            self._refuse(error)

    def _subscribe(self, names: list[str], place: str, token: object) -> None:
        async def subscribe(session: Session) -> None:
            try:
                grant, known = session.grant, None
                if token is not None:
                    renewal = self.node.bayeux.renewal(session, token)
                    while renewal.ask_some():
                        await self.node.turns.wait()
                    known = renewal.known
                    grant = self.node.bayeux.newer_grant(session, token, known)
                who = Who(session.user, grant)
                positions = await _allowed(self.node, self._access, names, place, who)
                # Before anything may be delivered: nothing comes between that and the answer.
                hidden = await self._hidden(positions, who)
                if self.session is None:
                    return
                self.node.bayeux.check_room(session, positions)
                if token is not None and grant is not None:
                    self.node.take_grant(session, grant, known)
                found = await self.node.subscribe(session, positions)
            except BrokerUnavailable:
                self._say({"error": "503::Positions not known - ask again"})
                return
            except ProtocolError as error:
                self._refuse(error)
                return
            state = _state(positions, found)
            if session.who != who:
                # The token has expired meanwhile.
                hidden = [
                    pattern for pattern in positions if is_wild(pattern) and self._access.hides(pattern, session.who)
                ]
            for pattern in hidden:
                # Whoever follows what it stands for would take silence for news that there is none.
                state[to_fanout(pattern)]["hidden"] = True
            self._say({"subscribed": state})
            self.node.writable(session)

        self._order(len(names), subscribe)

    async def _hidden(self, patterns: Iterable[str], who: Who) -> list[str]:
        """The wildcards that hide something from a client."""
        access, turns = self._access, self.node.turns
        wild = list(filter(is_wild, patterns))
        found = []
        for number, some in enumerate(_pieces(wild, access, who)):
            if number:
                await turns.wait()
            found += [each for each in some if access.hides(each, who)]
        return found

    def _unsubscribe(self, names: list[str]) -> None:
        channels = channels_of(names)

        async def unsubscribe(session: Session) -> None:
            for channel in channels:
                self.node.registry.unsubscribe(session, channel)
            self._say({"unsubscribed": names})

        self._order(len(names), unsubscribe)

    def _ping(self, number: object) -> None:
        """Say whether this worker hears the log, behind all that it had heard when it was asked."""
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**53:
            raise BadMessage("ping", text="Not a number")

        async def ping(session: Session) -> None:
            hears = self.node.broker.hears
            try:
                async with asyncio.timeout(PING_SECONDS):
                    await self.node.delivered()
            except TimeoutError:
                hears = False
            # What waits for a slow reader comes after this.
            self._say({"pong": number, "hears": hears and session.queue is None})

        self._order(1, ping)

    def _order(self, weight: int, order: Callable[[Session], Awaitable[None]]) -> None:
        if len(self._orders) >= MAX_ORDERS:
            self._refuse(TooMany(limit="subscriptions"))
            return
        self._orders.append((weight, order))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._carry_out())

    async def _carry_out(self) -> None:
        try:
            done = 0
            while self._orders and self.session is not None:
                weight, order = self._orders.pop(0)
                done += weight
                if done > FEW:
                    done = 0
                    await self.node.turns.wait()
                session = self.session
                if session is not None:
                    await order(session)
        finally:
            self._task = None

    def _refuse(self, error: ProtocolError) -> None:
        self.node.bayeux.count(error)
        self._say({"error": error.wire()})

    def _say(self, message: dict[str, Any]) -> None:
        if not self.closing:
            self.write(text_frame(dumps(message)))

    # The node's side

    def send(self, parts: list[bytes]) -> None:
        """Bayeux replies have no place here."""

    def offer(self, batch: Batch) -> None:
        data = batch.forms.get("plain")
        if data is None:
            data = b"".join(text_frame(encode(publication)) for publication in batch.publications)
            batch.forms["plain"] = data
        self.deliver(data)

    def tell_lost(self, channels: Iterable[str]) -> bool:
        """These channels must be fetched anew."""
        self._say({"lost": sorted(to_fanout(channel) for channel in channels)})
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.session is not None:
            self.session.settle()

    def drained(self) -> None:
        if self.session is not None:
            self.node.writable(self.session)

    def leave(self, code: int, reason: str) -> None:
        self.node.links.discard(self)
        super().leave(code, reason)


class PlainStream(EventStream):
    """`/sse`: an event a publication; its id is the place of the whole listener."""

    __slots__ = ("_rest", "places")

    closed_by = "http-stream"

    def __init__(self, node: Node, door: Door) -> None:
        super().__init__(node, door)
        self.places = Place({})
        # What is written in turns, before anything that comes later.
        self._rest: deque[Publication] = deque()

    @property
    def place(self) -> bytes:
        """The id that a client comes back with; NOWHERE if it has but patterns, for else it would say nothing."""
        return str(self.places).encode() if self.places.positions else NOWHERE

    def offer(self, batch: Batch) -> None:
        publications = batch.publications
        if self._rest:
            self._rest += publications
            return
        is_lone = len(self.places.positions) == 1 and batch.channel in self.places.positions
        if is_lone and (batch.number or len(publications) < PIECE):
            data = batch.forms.get("sse")
            if data is None:
                data = batch.forms["sse"] = b"".join(
                    b"id: %b\ndata: %b\n\n" % (str(publication.position).encode(), encode(publication))
                    for publication in publications
                )
            self.places.move(batch.channel, publications[-1].position)
            self.deliver(data)
            return
        # With several channels the id says where all of them are: no two listeners share it. What
        # came by a wildcard has no place in it, for there is no end to such channels.
        size = len(publications) * len(self.place) + sum(publication.size for publication in publications)
        # What waited for this stream has no number, and may be a thousand batches in a row.
        if batch.number and len(publications) <= FEW_EVENTS and size <= FEW_BYTES:
            self.deliver(b"".join(map(self._event, publications)))
            return
        # A place of a hundred channels has 2 KB: of 30 such listeners a batch of 100 took 0.1 s at once.
        self._rest += publications
        if self.blocked:
            # `drained` goes on.
            return
        self.blocked = True
        if self.session is not None:
            self.session.settle()
        self._node.turns.add(self._go_on)

    def _event(self, publication: Publication) -> bytes:
        if publication.channel in self.places.positions:
            self.places.move(publication.channel, publication.position)
        return b"id: %b\ndata: %b\n\n" % (self.place, encode(publication))

    def _go_on(self) -> bool:
        """Write a piece of what is left; whether there is more to write now."""
        rest, parts, size = self._rest, list[bytes](), 0
        while rest and size < PIECE_BYTES:
            parts.append(self._event(rest.popleft()))
            size += len(parts[-1])
        try:
            unsent = self.deliver(b"".join(parts))
        except LinkClosed:
            # Whoever comes back says how far it got.
            rest.clear()
            return False
        if unsent > (MOST_UNSENT if rest else HIGH_WATER):
            self.look_again()
            return False
        if rest:
            return True
        self.drained()
        return False

    def drained(self) -> None:
        if self._rest:
            self._node.turns.add(self._go_on)
        else:
            super().drained()

    def tell_lost(self, channels: Iterable[str]) -> bool:
        names = dumps(sorted(to_fanout(channel) for channel in channels))
        self.write(b"event: lost\ndata: %b\n\n" % names)
        return True


class PlainPoll:
    """`/poll`: takes what comes first, and is done."""

    __slots__ = ("_answered", "blocked", "found", "lost", "places", "session")

    closed_by = ""

    def __init__(self) -> None:
        self.blocked = False
        self.session: Session | None = None
        self.found: list[bytes] = []
        #: Where the newest of each channel among them is.
        self.places: dict[str, Position] = {}
        self.lost: list[str] = []
        self._answered = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Until something came, or for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._answered.wait()
        except TimeoutError:
            pass

    def offer(self, batch: Batch) -> None:
        self.found += (encode(publication) for publication in batch.publications)
        self.places[batch.channel] = batch.publications[-1].position
        self.answer()

    def answer(self) -> None:
        """Wait no longer."""
        self._answered.set()

    def send(self, parts: list[bytes]) -> None:
        """Bayeux replies have no place here."""

    def tell_lost(self, channels: Iterable[str]) -> bool:
        self.lost += (to_fanout(channel) for channel in channels)
        self._answered.set()
        return True

    def leave(self, code: int, reason: str) -> None:
        self._answered.set()


class Plain:
    """The handlers of `/sse` and `/poll`, and the maker of `/ws` connections."""

    def __init__(
        self,
        entrance: Entrance,
        access: Access,
        *,
        limit: int,
        interval: float,
        hold: float,
        body_timeout: float,
    ) -> None:
        self._body_timeout = body_timeout
        self._node = entrance.node
        self._entrance = entrance
        self._access = access
        self._limit = limit
        self._intervals = intervals(interval)
        self._hold = hold

    def websocket(self, head: Head, window: int) -> PlainSocket:
        """The connection object of an accepted upgrade of `/ws`."""
        return PlainSocket(
            self._node, self._access, head, limit=self._limit, interval=next(self._intervals), window=window
        )

    def test_websocket(self, head: Head, window: int) -> PlainSocket:
        """`/test/ws`, as at Fanout: a `/ws` that has the channel `test`."""
        return self.websocket(Head(head.method, b"/ws?" + _TEST.encode(), head.version, head.headers), window)

    async def test_events(self, request: web.Request) -> web.StreamResponse:
        """GET /test/sse: likewise."""
        return await self.events(request.clone(rel_url=f"/sse?{_TEST}"))

    async def test(self, request: web.Request) -> web.Response:
        """GET /test: says that requests arrive."""
        return web.Response(text="Requests arrive. Publish to the channel test, and listen at /test/sse or /test/ws.\n")

    async def upgrade(self, request: web.Request) -> web.StreamResponse:
        """`/ws` on a connection that carried other requests, or without an upgrade."""
        if "websocket" in request.headers.get(hdrs.UPGRADE, "").lower():
            return await self._entrance.door.take_over(request)
        return web.Response(status=426, text="Open a WebSocket here.\n", headers={"Upgrade": "websocket"})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """GET /sse. What passes by itself is told on a stream that ends; only what can't succeed is refused."""
        cors, door = self.cors(request), self._entrance.door
        try:
            await self.turn(request)
            last = events.last_id(request.headers.get("Last-Event-ID"), request.query.items())
            positions = await self._resumed(request, last or request.query.get("position", ""), self.who(request))
            # Asked again, since who was judged may have been kicked while others had their turn.
            who = self.who(request)
            if self._node.draining:
                return come_back(door, "Going away", cors, events.SOON)
            self._node.bayeux.check_opening(door.address_of(request), self._node.time())
            door.count_stream(request)
            return await self._stream(request, cors, who, positions)
        except TooMany as error:
            self._node.bayeux.count(error)
            return come_back(door, error.wire(), cors)
        except ProtocolError as error:
            return self._refused(error, cors)

    async def _stream(
        self, request: web.Request, cors: dict[str, str], who: Who, positions: dict[str, Position | None]
    ) -> web.StreamResponse:
        stream = PlainStream(self._node, self._entrance.door)
        await stream.start(request, cors)
        session = stream.session = self._node.open_session(stream, who, self._entrance.door.address_of(request))
        self._node.attach(stream)
        try:
            found = await self._node.subscribe(session, positions)
            lost = [channel for channel, (_, complete) in found.items() if not complete]
            # Of a pattern nothing is recovered, so who comes back must fetch what it stands for.
            lost += [pattern for pattern, since in positions.items() if since is not None and is_wild(pattern)]
            # What is recovered has older ids than the top: the place moves on with it.
            stream.places = Place(
                {
                    channel: top if since is None or channel in lost else since
                    for channel, (top, _) in found.items()
                    for since in [positions[channel]]
                }
            )
            state = dumps(_state(positions, found))
            stream.write(b"id: %b\nevent: subscribed\ndata: %b\n\n" % (stream.place, state))
            if lost:
                stream.tell_lost(lost)
            self._node.writable(session)
            with hurried(request, stream.end):
                await stream.ended()
        except BrokerUnavailable:
            # EventSource comes back by itself, with the id it has.
            stream.leave(TRY_AGAIN_LATER, "broker")
        finally:
            self._node.detach(stream, session)
            self._node.end_session(session, "closed")
        return stream.response

    async def poll_form(self, request: web.Request) -> web.StreamResponse:
        """POST /poll: the fields of the URL as a form."""
        cors = self.cors(request)
        try:
            body = await read_body(request, FORM_BYTES, self._body_timeout, self._node.turns)
            fields = await read_form(body, MAX_FIELDS, self._node.turns)
        except TimeoutError:
            self._node.bayeux.limited["bodies"] += 1
            return web.Response(
                status=408, text="Body did not arrive in time.\n", headers={**cors, "Connection": "close"}
            )
        except ValueError:
            return self._refused(BadMessage(text="Body is not a form"), cors)
        except ProtocolError as error:
            refused = self._refused(error, cors)
            # What is left of the body would be taken for the next request.
            refused.force_close()
            return refused
        return await self.poll(request, fields)

    async def poll(self, request: web.Request, form: Sequence[tuple[str, str]] = ()) -> web.StreamResponse:
        """GET /poll: `{"messages": […], "position": "…", "recovered": true}`. form: fields besides the URL's."""
        cors = self.cors(request)
        try:
            many = await self.turn(request)
            asked = MultiDict([*request.query.items(), *form])
            many = many or len(form) > FEW
            place, token = asked.get("position", ""), asked.get("token")
            names = asked.getall("channel", [])
            positions = await _allowed(self._node, self._access, names, place, self.who(request, token))
            # As for `/sse`.
            who = self.who(request, token)
            seconds = _seconds(asked.get("timeout"), self._hold)
            self._node.bayeux.check_sessions()
        except ProtocolError as error:
            return self._refused(error, cors)
        poll = PlainPoll()
        session = poll.session = self._node.open_session(poll, who, self._entrance.door.address_of(request))
        self._node.attach(poll)
        try:
            found = await self._node.subscribe(session, positions)
            complete = all(known for _, known in found.values())
            self._node.writable(session)
            # Without a position there is nothing to wait for: the answer is where things stand.
            if complete and place and not poll.found:
                with hurried(request, poll.answer):
                    await poll.wait(seconds)
            if many:
                await self._node.turns.wait()
        except BrokerUnavailable:
            return web.Response(status=503, text="Try again.\n", headers={**cors, "Retry-After": "1"})
        finally:
            self._node.detach(poll, session)
            self._node.end_session(session, "closed")
        tops = {channel: top for channel, (top, _) in found.items()} | poll.places
        body = b'{"messages":[%b],"position":%b,"recovered":%b}' % (
            b",".join(poll.found),
            dumps(format_place(tops)),
            b"true" if complete and not poll.lost else b"false",
        )
        return web.Response(
            body=body, headers={**cors, "Cache-Control": "no-store", "Content-Type": "application/json"}
        )

    def who(self, request: web.Request, token: str | None = None) -> Who:
        """Who asks, by their cookie and `?token=`, or another token.

        Raises ForbiddenChannel for a page of another site, BadToken.
        """
        refused = self._entrance.origins.refuse(request.headers.get(hdrs.ORIGIN), request.headers.get(hdrs.HOST))
        if refused:
            raise ForbiddenChannel(text=refused)
        token = request.query.get("token") if token is None else token
        grant = None if token is None else self._access.grant(token, self._node.bayeux.wall())
        return Who(self._entrance.visitor(request.headers.get(hdrs.COOKIE)), grant)

    async def turn(self, request: web.Request) -> bool:
        """Wait for one's turn with a query for many channels; whether it is one. Raises BadMessage, too many."""
        fields = request.rel_url.raw_query_string.count("&")
        if fields >= MAX_FIELDS:
            raise BadMessage(text="Too many fields")
        if fields < FEW:
            return False
        await self._node.turns.wait()
        return True

    async def _asked(self, request: web.Request, place: str, who: Who) -> dict[str, Position | None]:
        return await _allowed(self._node, self._access, request.query.getall("channel", []), place, who)

    async def _resumed(self, request: web.Request, place: str, who: Who) -> dict[str, Position | None]:
        """As `_asked`, for a stream: where its place says nothing that can be had, its client is told "lost".

        An EventSource says its last id again and again, also one of the server that was here before, and a
        refusal would end it for good.
        """
        positions = await self._asked(request, "", who)
        if not place:
            return positions
        try:
            found = parse_place(place, list(positions))
        except ProtocolError:
            return dict.fromkeys(positions, UNKNOWN)
        return {channel: self._known(channel, since, who) for channel, since in found.items()}

    def _known(self, channel: str, since: Position | None, who: Who) -> Position | None:
        if is_wild(channel) or (since is not None and not self._access.may_recover(channel, who)):
            return UNKNOWN
        return since

    def _refused(self, error: ProtocolError, headers: dict[str, str]) -> web.Response:
        self._node.bayeux.count(error)
        return refuse(error, headers)

    def cors(self, request: web.Request) -> dict[str, str]:
        """CORS headers of the answer."""
        return self._entrance.origins.headers(request.headers.get(hdrs.ORIGIN), request.headers.get(hdrs.HOST))


async def _allowed(node: Node, access: Access, names: list[str], place: str, who: Who) -> dict[str, Position | None]:
    bayeux = node.bayeux
    channels = channels_of(names, min(MAX_CHANNELS, bayeux.limits.max_subscriptions))
    for number, some in enumerate(_pieces(channels, access, who)):
        if number:
            await node.turns.wait()
        for channel in some:
            bayeux.grammar.check_size(channel)
            decision = access.decide("subscribe", channel, who)
            if not decision.allowed:
                raise refusal(decision, channel)
    positions = parse_place(place, channels)
    recovered = [channel for channel, since in positions.items() if since is not None]
    for number, some in enumerate(_pieces(recovered, access, who)):
        if number:
            await node.turns.wait()
        for channel in some:
            if not access.may_recover(channel, who):
                raise ForbiddenChannel(channel, text="Forbidden channel - no history")
    return positions


def _pieces(names: Sequence[str], access: Access, who: Who) -> Iterator[Sequence[str]]:
    """Names to ask the rules about, so many at a time."""
    begin = 0
    while begin < len(names):
        some = access.piece(names, begin, PIECE, who)
        begin += len(some)
        yield some


def _state(
    positions: dict[str, Position | None], found: dict[str, tuple[Position, bool]]
) -> dict[str, dict[str, object]]:
    """What a subscriber is told of each channel: its position, and whether what it missed will come."""
    state: dict[str, dict[str, object]] = {}
    for channel, since in positions.items():
        entry: dict[str, object] = {}
        if not is_wild(channel):
            top, complete = found[channel]
            entry["position"] = str(top)
            if since is not None:
                entry["recovered"] = complete
        state[to_fanout(channel)] = entry
    return state


def fields_of(query: str) -> MultiDictProxy[str]:
    """The fields of a query. The library's own `parse_qs` took 1.5 ms for 30 KB of escapes, up to 9 for bad ones."""
    return URL.build(path="/", query_string=query, encoded=True).query


def _names(value: object) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadMessage(text="Channels must be a list of names")
    return names


def _seconds(text: str | None, most: float) -> float:
    try:
        return most if text is None else max(0.0, min(float(text), most))
    except ValueError:
        raise BadMessage("timeout", text="Not a number of seconds") from None


def refuse(error: ProtocolError, headers: dict[str, str]) -> web.Response:
    """An error as the answer to a request."""
    status = 401 if isinstance(error, BadToken) else 400
    if 400 <= error.code < 500 and error.code not in (401, 402, 405):
        status = error.code
    if isinstance(error, TooMany):
        headers = headers | {"Retry-After": "5"}
    return web.Response(status=status, text=error.wire() + "\n", headers=headers)
