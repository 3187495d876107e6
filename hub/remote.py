"""Following the channels of a hub in another process, over its `/ws`.

    async with RemoteHub("http://127.0.0.1:8000", ["comments-*", "events"], realm=realm, key=key) as hub:
        kept = hub.positions(["events", "comments-17"])
        async with hub.follow("comments-*") as follower: ...

It is what `Hub.followers` is in the hub's process (`hub.follower.Following`). It connects by itself, again and again,
with back-off; names are then recovered from their positions, and patterns count as lost. It never takes silence for
news: a channel that none of its patterns matches has another top each time it is asked for, and while the hub does not
answer, does not hear its own log, or keeps some of the channels from this listener, `hears` is False.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
import secrets
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import aiohttp

from .errors import BrokerUnavailable, ForbiddenChannel, HubError
from .follower import MAX_KNOWN, FollowBounds, Follower, Followers, check_pattern, is_glob, wire_pattern
from .protocol import tokens
from .protocol.access import covers
from .protocol.channels import from_fanout, to_fanout
from .protocol.messages import dumps, loads
from .protocol.plain import MAX_CHANNELS, format_place
from .protocol.publications import History, Position, Publication
from .tops import Tops

logger = logging.getLogger(__name__)

#: Seconds between questions whether the hub hears its log, and for which the answer that it does is good, counted from
#: the question. So long may this process be mistaken beside the hub itself.
PING_SECONDS = 0.5
HEARS_SECONDS = 2.0

#: Seconds without an answer after which a connection is taken for dead; also to open one, and for a history.
SILENCE_SECONDS = 5.0

#: Seconds between attempts to connect: doubled each time, with full jitter.
FIRST_PAUSE = 0.1
LAST_PAUSE = 5.0

#: Longest message that is read: a hub's longest publication (HUB_MAX_BODY) is 1 MiB by default.
MAX_MESSAGE = 64 * 1024 * 1024

#: Seconds before its token ends from which on a listener is not sure to hear what takes one.
TOKEN_MARGIN = 30.0

#: What a connection, or a hub that speaks otherwise than expected, may raise. RuntimeError: aiohttp's, of a closed one.
_FAULTS = (aiohttp.ClientError, OSError, TimeoutError, ValueError, LookupError, TypeError, RuntimeError, HubError)


class _Wire:
    """A name or pattern that is subscribed to. users: followers that need it; None: it is there for good.

    at: up to where a name was heard, if that is known. granted: whether the hub has said that it is subscribed to.
    waiting: who waits for that.
    """

    __slots__ = ("at", "granted", "pattern", "users", "waiting")

    def __init__(self, pattern: str, users: int | None) -> None:
        self.pattern = pattern
        self.users = users
        self.at: Position | None = None
        self.granted = False
        self.waiting: list[asyncio.Future[None]] = []


class _Order(NamedTuple):
    """What is said to the hub. number: of a ping. wires: of a subscribe; again: they are subscribed to already."""

    message: dict[str, Any]
    number: int | None = None
    wires: Sequence[_Wire] = ()
    again: bool = False


class RemoteHub(Followers):
    """A hub in another process. `async with` connects, and does not wait for it: see `hears` and `reason`.

    url: the hub's, `http://…` or `https://…`, with the path of its realm if it has one. patterns: of the channels whose
    tops are asked for; all by default. realm, key: the realm's name and decoded key, where channels take a token.
    bounds: of each follower. http: used instead of a client session of its own. Raises ValueError for a bad URL,
    InvalidChannel for a bad pattern.
    """

    def __init__(
        self,
        url: str,
        patterns: Sequence[str] = ("**",),
        *,
        realm: str = "",
        key: bytes = b"",
        bounds: FollowBounds | None = None,
        http: aiohttp.ClientSession | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"not the URL of a hub: {url!r}")
        super().__init__(Tops(secrets.token_hex(5)), self._is_sure, self._read_history, bounds)
        #: Why it does not hear the hub; empty while it does, or has not tried yet.
        self.reason = ""
        #: Connections made.
        self.connections = 0
        self._url = url.rstrip("/")
        self._realm = realm
        self._key = key
        self._given_http = http
        self._http: aiohttp.ClientSession | None = None
        wanted = dict.fromkeys(wire_pattern(check_pattern(pattern)) for pattern in patterns)
        self._wires = {
            pattern: _Wire(pattern, None)
            for pattern in wanted
            if not (is_glob(pattern) and any(other != pattern and covers(other, pattern) for other in wanted))
        }
        self._used: dict[Follower, list[_Wire]] = {}
        # Whether a channel is of the patterns, by its name.
        self._covered: dict[str, bool] = {}
        self._unknown = itertools.count(1)
        # What is to be sent; None without a connection.
        self._outbox: asyncio.Queue[_Order] | None = None
        self._numbers = itertools.count(1)
        # When pings were sent that are not answered, and when the newest was that was answered with "hears".
        self._pings: dict[int, float] = {}
        self._sure = -math.inf
        # Subscribes that are not answered, in the order in which they are.
        self._asked: deque[_Order] = deque()
        # Patterns of which some channels are kept from this listener.
        self._hidden: set[str] = set()
        # When the token was made that the hub was given last, seconds since 1970.
        self._token_made = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> RemoteHub:
        self._http = self._given_http or aiohttp.ClientSession()
        self._task = asyncio.create_task(self._live(), name="remote hub")
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Disconnect; followers end."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.close()
        http, self._http = self._http, None
        if http is not None and self._given_http is None:
            await http.close()

    def position(self, channel: str) -> str:
        name = channel if channel.startswith("/") else "/" + channel
        covered = self._covered.get(name)
        if covered is None:
            if len(self._covered) >= MAX_KNOWN:
                self._covered.clear()
            mine = (wire.pattern for wire in self._wires.values() if wire.users is None)
            covered = self._covered[name] = any(covers(pattern, name) for pattern in mine)
        # What is not listened to may have changed at any moment.
        return self.tops.of(name) if covered else f"~?{next(self._unknown)}"

    def marks(self, channels: Sequence[str]) -> tuple[object, ...]:
        return self.positions(channels)

    def _is_sure(self) -> bool:
        if time.monotonic() - self._sure >= HEARS_SECONDS or self._hidden:
            return False
        return not self._key or time.time() < self._token_made + tokens.LIFE_SECONDS - TOKEN_MARGIN

    # Who follows

    async def _entered(self, follower: Follower) -> None:
        wires = self._used[follower] = [self._use(pattern) for pattern in follower.patterns]
        for wire in wires:
            if not wire.granted:
                future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                wire.waiting.append(future)
                await future

    def _left(self, follower: Follower) -> None:
        for wire in self._used.pop(follower, ()):
            if wire.users is None:
                continue
            wire.users -= 1
            if not wire.users:
                self._drop(wire)

    def _drop(self, wire: _Wire) -> None:
        if self._wires.get(wire.pattern) is wire:
            del self._wires[wire.pattern]
            self._hidden.discard(wire.pattern)
            if self._outbox is not None:
                self._outbox.put_nowait(_Order({"unsubscribe": [to_fanout(wire.pattern)]}))

    def _use(self, pattern: str) -> _Wire:
        """The subscription by which a pattern is heard, one more time used; perhaps a new one.

        A name has its own, even where a pattern has it too, for only names are recovered.
        """
        needed = wire_pattern(pattern)
        wire = self._wires.get(needed)
        if wire is None and is_glob(needed):
            others = (each for each in self._wires.values() if is_glob(each.pattern))
            wire = next((each for each in others if covers(each.pattern, needed)), None)
        if wire is None:
            wire = self._wires[needed] = _Wire(needed, 0)
            if self._outbox is not None:
                self._subscribe([wire], self._outbox)
        if wire.users is not None:
            wire.users += 1
        return wire

    # The connection

    async def _live(self) -> None:
        """Connect for ever."""
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                await self._listen()
            except _FAULTS as error:
                reason = str(error) or type(error).__name__
            except Exception as error:
                # A bug. Who follows is told, and hears what comes later.
                logger.exception("following failed")
                reason = repr(error)
                self._lost(None)
            else:
                reason = "connection closed"
            if reason != self.reason:
                logger.warning("hub lost", extra={"url": self._url, "error": reason})
                self.reason = reason
            if time.monotonic() - began > SILENCE_SECONDS:
                pause = FIRST_PAUSE
            # Full jitter: sites that lost a hub together must not come back together.
            await asyncio.sleep(random.uniform(0.01, pause))
            pause = min(pause * 2, LAST_PAUSE)

    async def _listen(self) -> None:
        """One connection, until it ends."""
        assert self._http is not None, "inside `async with`"
        url = "ws" + self._url.removeprefix("http") + "/ws"
        timeout = aiohttp.ClientWSTimeout(ws_close=0.5)
        async with asyncio.timeout(SILENCE_SECONDS):
            socket = await self._http.ws_connect(url, max_msg_size=MAX_MESSAGE, timeout=timeout)
        outbox: asyncio.Queue[_Order] = asyncio.Queue()
        self.connections += 1
        self._pings.clear()
        self._asked.clear()
        self._hidden.clear()
        self._outbox = outbox
        # Names before patterns: else something newer could come of a name before what is recovered of it.
        self._subscribe(sorted(self._wires.values(), key=lambda wire: is_glob(wire.pattern)), outbox)
        outbox.put_nowait(self._ping())
        sending = asyncio.create_task(self._send_on(socket, outbox))
        try:
            while True:
                message = await socket.receive(SILENCE_SECONDS)
                if message.type is not aiohttp.WSMsgType.TEXT:
                    if sending.done():
                        sending.result()
                    raise BrokerUnavailable(f"connection closed ({socket.close_code or message.type.name})")
                self._take(loads(message.data))
        finally:
            self._outbox = None
            self._sure = -math.inf
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await socket.close()

    async def _send_on(self, socket: aiohttp.ClientWebSocketResponse, outbox: asyncio.Queue[_Order]) -> None:
        """Send what is to be sent, a ping now and then, and a new token in time."""
        try:
            due = time.monotonic() + PING_SECONDS
            while True:
                try:
                    async with asyncio.timeout(max(0.0, due - time.monotonic())):
                        order = await outbox.get()
                except TimeoutError:
                    due = time.monotonic() + PING_SECONDS
                    order = self._next_order()
                if order.wires:
                    self._asked.append(order)
                elif order.number is not None:
                    self._pings[order.number] = time.monotonic()
                await socket.send_str(dumps(order.message).decode())
        except Exception:
            # Who listens ends with it.
            await socket.close()
            raise

    def _next_order(self) -> _Order:
        """What is to be said now and then: a ping, or a newer token."""
        if self._pings and time.monotonic() - min(self._pings.values()) > SILENCE_SECONDS:
            raise BrokerUnavailable("hub does not answer")
        wire = next(iter(self._wires.values()), None)
        if self._key and wire is not None and time.time() > self._token_made + tokens.LIFE_SECONDS / 2:
            return self._asking([wire], again=wire.granted)
        return self._ping()

    def _ping(self) -> _Order:
        number = next(self._numbers)
        return _Order({"ping": number}, number)

    def _subscribe(self, wires: Sequence[_Wire], outbox: asyncio.Queue[_Order]) -> None:
        """Ask for these, in their order; what a follower has asked for alone, for it may be refused."""
        group: list[_Wire] = []
        for wire in wires:
            if group and (len(group) == MAX_CHANNELS or _is_fresh(wire) or _is_fresh(group[0])):
                outbox.put_nowait(self._asking(group))
                group = []
            if group and (group[0].at is None) is not (wire.at is None):
                # A lone position in a message belongs to the one name there is.
                outbox.put_nowait(self._asking(group))
                group = []
            group.append(wire)
        if group:
            outbox.put_nowait(self._asking(group))

    def _asking(self, wires: Sequence[_Wire], *, again: bool = False) -> _Order:
        """A subscribe, with the positions that are known, and a token if there is a key."""
        message: dict[str, Any] = {"subscribe": [to_fanout(wire.pattern) for wire in wires]}
        if places := {wire.pattern: wire.at for wire in wires if wire.at is not None}:
            message["position"] = format_place(places)
        if self._key:
            self._token_made = time.time()
            message["token"] = self._token(self._token_made)
        return _Order(message, wires=tuple(wires), again=again)

    def _token(self, now: float) -> str:
        """A token for every pattern: a newer one must allow what was subscribed to by an older one."""
        names = ["**"] if len(self._wires) > MAX_CHANNELS else [to_fanout(pattern) for pattern in self._wires]
        return tokens.sign(self._realm, self._key, now, channels=names)

    # What the hub says

    def _take(self, message: dict[str, Any]) -> None:
        if "channel" in message:
            self._heard(message)
        elif "pong" in message:
            self._ponged(message)
        elif "subscribed" in message:
            order = self._asked.popleft()
            states = {from_fanout(name): state for name, state in message["subscribed"].items()}
            for wire in order.wires:
                if self._wires.get(wire.pattern) is wire:
                    self._subscribed(wire, states[wire.pattern], again=order.again)
        elif "lost" in message:
            self._lose([from_fanout(name) for name in message["lost"]])
        elif "error" in message:
            self._refused(str(message["error"]))

    def _refused(self, words: str) -> None:
        """A subscribe was refused: a follower's first one for good, any other until the next connection."""
        wires = self._asked.popleft().wires if self._asked else ()
        error = ForbiddenChannel(text=f"hub refused: {words}"[:200])
        if not words.startswith(_FOR_GOOD) or not wires or not _is_fresh(wires[0]):
            raise error
        (wire,) = wires
        self._wires.pop(wire.pattern, None)
        for future in wire.waiting:
            if not future.done():
                future.set_exception(error)

    def _heard(self, message: dict[str, Any]) -> None:
        channel, position = from_fanout(message["channel"]), Position.parse(message["id"])
        known, wire = self.tops.heard.get(channel), self._wires.get(channel)
        if known is not None and known.epoch == position.epoch and position.offset <= known.offset:
            # It came by a pattern, and by what was recovered of the name.
            return
        if wire is not None and (
            wire.at is None or wire.at.epoch != position.epoch or wire.at.offset < position.offset
        ):
            wire.at = position
        tops = self.tops
        tops.heard[channel] = position
        if len(tops.heard) > tops.most:
            tops.trim()
        if self.active:
            self.take([Publication(channel, dumps(message["data"]), position)])

    def _ponged(self, message: dict[str, Any]) -> None:
        sent = self._pings.pop(message["pong"], None)
        if sent is None or message["hears"] is not True:
            self._sure = -math.inf
            self.reason = "the hub does not hear its log"
            return
        self._sure = sent
        self.reason = f"this listener may not hear all of {', '.join(sorted(self._hidden))}" if self._hidden else ""

    def _subscribed(self, wire: _Wire, state: dict[str, Any], *, again: bool) -> None:
        pattern = wire.pattern
        if state.get("hidden"):
            if pattern not in self._hidden:
                logger.error("some channels are kept from this listener", extra={"pattern": to_fanout(pattern)})
            self._hidden.add(pattern)
        else:
            self._hidden.discard(pattern)
        if again and state.get("recovered") is not False:
            return
        if state.get("recovered") is not True:
            if wire.granted:
                self._lose([pattern])
            else:
                # What was heard of it by another subscription, long ago, says nothing any more.
                self.tops.lost(None if is_glob(pattern) else [pattern])
            if not is_glob(pattern):
                wire.at = Position.parse(state["position"])
        wire.granted = True
        waiting, wire.waiting = wire.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _lose(self, names: Iterable[str]) -> None:
        """Publications of names or patterns may have been missed."""
        for name in names:
            if is_glob(name):
                self.tops.lost(None)
                for follower, wires in self._used.items():
                    mine = zip(follower.patterns, wires, strict=True)
                    follower.lose([own for own, wire in mine if wire.pattern == name], "missed")
            else:
                wire = self._wires.get(name)
                if wire is not None:
                    # Until something comes it is not known where it stands, and coming back means "lost".
                    wire.at = None
                self._lost([name])

    def _lost(self, channels: Sequence[str] | None) -> None:
        self.tops.lost(channels)
        self.lost(channels)

    async def _read_history(self, channel: str, since: Position) -> History:
        """What came after a position, asked by `/poll`."""
        assert self._http is not None, "inside `async with`"
        fields = {"channel": to_fanout(channel), "position": str(since), "timeout": "0"}
        if self._key:
            fields["token"] = tokens.sign(self._realm, self._key, time.time(), channels=[to_fanout(channel)])
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                # As a form: a URL is logged by proxies, with the token.
                async with self._http.post(
                    f"{self._url}/poll", data=urlencode(fields), headers={"Content-Type": _FORM}
                ) as response:
                    text = await response.text()
            if response.status in (400, 401, 403):
                raise ForbiddenChannel(channel, text=text.strip()[:200])
            if response.status != 200:
                raise BrokerUnavailable(f"{self._url}: answered {response.status}")
            answer = loads(text)
            found = [
                Publication(channel, dumps(each["data"]), Position.parse(each["id"])) for each in answer["messages"]
            ]
            return History(tuple(found), Position.parse(answer["position"]), answer["recovered"] is True)
        except ForbiddenChannel:
            raise
        except _FAULTS as error:
            raise BrokerUnavailable(f"{self._url}: {error}") from None


def _is_fresh(wire: _Wire) -> bool:
    """Whether a follower waits for it for the first time."""
    return wire.users is not None and not wire.granted


_FORM = "application/x-www-form-urlencoded"

#: What begins the errors of subscribes that can't succeed.
_FOR_GOOD = ("400", "403", "405")
