"""Following channels from code: as a session does, without a socket.

    async with hub.followers.follow("comments-*") as follower:
        async for entry in follower:
            match entry:
                case Heard(channel, data, position): ...
                case Lost(channel, reason): ...      # may have missed something: fetch it

What is promised to a follower is what is promised to a session: what is accepted after it was entered comes at least
once and for the first time in order per channel, or there is a `Lost` for its channel or its pattern; never silence.

Beside that, `tops`: how far this process has heard each channel, to look up without waiting (`Following`). Nothing is
subscribed to for it: every worker reads the whole log.

`hub.app.Hub.followers` follows in the hub's process, `hub.remote.RemoteHub` from another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from .errors import BrokerUnavailable, InvalidChannel
from .protocol.access import covers
from .protocol.channels import from_fanout, is_meta, is_wild, to_fanout
from .protocol.messages import loads
from .protocol.publications import History, Position, Publication
from .tops import Tops

logger = logging.getLogger(__name__)

#: Why something may have been missed. missed: this process did not hear the log for a while, or the log lost entries;
#: slow: more came than may wait for the follower; gone: what came after `since` is not kept any more, or was never
#: named there; pattern: nothing is recovered of a pattern, so who comes back to one must fetch.
Reason = Literal["missed", "slow", "gone", "pattern"]

#: Channels of which it is remembered who follows them. Beyond, all are looked up anew.
MAX_KNOWN = 32_768

#: Events taken one after the other before the loop gets its turn, however many wait.
TURN = 64

#: Seconds between attempts to read a history while the log is away: doubled each time, with jitter.
_FIRST_PAUSE = 0.05
_LAST_PAUSE = 2.0


class Heard(NamedTuple):
    """A publication: its channel in Fanout form (`comments-17`), its data as JSON values, its position there."""

    channel: str
    data: Any
    position: Position


class Lost(NamedTuple):
    """Publications of a channel, or of a pattern's channels, may be missing here. Both in Fanout form.

    What was made from them has to be made anew, from rows that are read after this.
    """

    channel: str
    reason: Reason


class Following(Protocol):
    """What code that follows channels is given; channels in either form. In the hub's process and apart from it."""

    @property
    def hears(self) -> bool:
        """Whether this process hears the log now. Known without asking anyone.

        False from when it knows that it does not until it has read what it missed. How long it may be mistaken is
        bounded: `brokers.redis.HEARS_SECONDS` in the hub's process, `remote.HEARS_SECONDS` more apart from it. What is
        made from rows, and kept, must not be given while this is False.
        """

    @abstractmethod
    def position(self, channel: str) -> str:
        """The channel's top: compare it with another of this process, for equality and nothing else (`hub.tops`).

        Read it before the rows. While it is the same and `hears` is True, nothing was told of the channel since.
        """

    def positions(self, channels: Iterable[str]) -> tuple[str, ...]:
        """The tops of several channels."""
        return tuple(map(self.position, channels))

    def marks(self, channels: Sequence[str]) -> tuple[object, ...]:
        """As `positions`, for who compares often: of channels in Bayeux form, and what they are is no text."""
        return self.positions(channels)

    @abstractmethod
    async def reached(self, channel: str, position: str | Position, timeout: float = 0.0) -> bool:
        """Whether this process has heard up to a position, or does within `timeout` seconds.

        False also when it cannot tell, or the channel lost something meanwhile. Raises BadMessage for no position.
        """

    @abstractmethod
    def follow(
        self, *patterns: str, since: Mapping[str, str | Position] | None = None
    ) -> AbstractAsyncContextManager[Follower]:
        """Follow names and patterns: `news`, `news/*`, `news/**`, `comments-*`.

        since: None follows from now on. Else who follows comes back, having heard each channel up to a position: of
        what is named neither here nor recovered, it is told `Lost`. Entering waits until that is known, and while the
        log is away. Raises InvalidChannel, and BadMessage for what is no position.
        """


@dataclass(frozen=True, slots=True)
class FollowBounds:
    """What may wait for one follower."""

    count: int = 10_000
    bytes: int = 16 * 1024 * 1024


class Follower(AsyncIterator[Heard | Lost]):
    """What was heard and is not taken yet. For one task; it never keeps anybody else waiting.

    patterns: in Bayeux form. slow: called when more came than may wait.
    """

    def __init__(self, patterns: Sequence[str], bounds: FollowBounds, slow: Callable[[], None]) -> None:
        self.patterns = tuple(dict.fromkeys(patterns))
        self._bounds = bounds
        self._slow = slow
        self._waiting: deque[Publication | Lost] = deque()
        self._bytes = 0
        # Where histories ended that were read ahead of what comes live.
        self._floors: dict[str, Position] = {}
        self._wake: asyncio.Future[None] | None = None
        self._taken = 0
        self._closed = False

    def __len__(self) -> int:
        """How many entries wait."""
        return len(self._waiting)

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> Heard | Lost:
        self._taken += 1
        if self._taken % TURN == 0:
            await asyncio.sleep(0)
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        entry = self._waiting.popleft()
        if isinstance(entry, Lost):
            return entry
        self._bytes -= entry.size
        return Heard(to_fanout(entry.channel), loads(entry.data), entry.position)

    def close(self) -> None:
        """Nothing comes any more; what waits can still be taken."""
        self._closed = True
        self._rouse()

    # What the registry of followers does

    def offer(self, publication: Publication) -> None:
        """Take what was published to a channel that it follows."""
        if self._floors and self._is_old(publication):
            return
        self._put(publication)
        self._rouse()

    def lose(self, names: Iterable[str], reason: Reason) -> None:
        """Say that publications of these names or patterns, in Bayeux form, may be missing."""
        names = list(names)
        if len(names) + len(self._waiting) > self._bounds.count:
            # As many words as channels would be no bound.
            names = list(self.patterns)
            self._waiting = deque(each for each in self._waiting if not isinstance(each, Lost))
        for name in names:
            self._floors.pop(name, None)
            entry = Lost(to_fanout(name), reason)
            # A follower that sleeps through ten losses needs one word.
            if not self._waiting or entry not in self._tail():
                self._waiting.append(entry)
        self._rouse()

    def begin(self, found: Mapping[str, History], lost: Sequence[tuple[str, Reason]]) -> None:
        """Put what was recovered, and what was not, before what came meanwhile."""
        later, self._waiting, self._bytes = self._waiting, deque(), 0
        for name, reason in lost:
            self._waiting.append(Lost(to_fanout(name), reason))
        for channel, history in found.items():
            self._floors[channel] = history.top
            for publication in history.publications:
                self._put(publication)
        for entry in later:
            if isinstance(entry, Lost):
                self._waiting.append(entry)
            elif not self._is_old(entry):
                self._put(entry)
        self._rouse()

    def _tail(self) -> list[Lost]:
        """The losses that wait with nothing behind them."""
        found: list[Lost] = []
        for entry in reversed(self._waiting):
            if not isinstance(entry, Lost):
                break
            found.append(entry)
        return found

    def _is_old(self, publication: Publication) -> bool:
        """Whether it came with its channel's history already."""
        floor = self._floors.get(publication.channel)
        if floor is None:
            return False
        if floor.epoch == publication.position.epoch and publication.position.offset <= floor.offset:
            return True
        del self._floors[publication.channel]
        return False

    def _put(self, publication: Publication) -> None:
        self._waiting.append(publication)
        self._bytes += publication.size
        if len(self._waiting) <= self._bounds.count and (self._bytes <= self._bounds.bytes or len(self._waiting) == 1):
            return
        self._waiting = deque(Lost(to_fanout(pattern), "slow") for pattern in self.patterns)
        self._bytes = 0
        self._slow()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class Followers(Following):
    """Who follows what in one process, and who waits for a position.

    tops: what is heard. hears, history: the log's. bounds: of each follower. While nobody is here (`active` is False)
    it costs nothing; else whoever hears the log gives it what comes (`take`) and what is lost.
    """

    def __init__(
        self,
        tops: Tops,
        hears: Callable[[], bool],
        history: Callable[[str, Position], Awaitable[History]],
        bounds: FollowBounds | None = None,
    ) -> None:
        self.tops = tops
        #: Whether anybody follows or waits.
        self.active = False
        #: How often a follower was too slow.
        self.slow = 0
        self._hears = hears
        self._history = history
        self._bounds = bounds or FollowBounds()
        self._followers: list[Follower] = []
        # Who follows a channel, by its name.
        self._known: dict[str, tuple[Follower, ...]] = {}
        self._waiting: dict[str, list[tuple[Position, asyncio.Future[bool]]]] = {}

    @property
    def hears(self) -> bool:
        return self._hears()

    @property
    def waiting(self) -> int:
        """How many entries wait for followers."""
        return sum(map(len, self._followers))

    def __len__(self) -> int:
        return len(self._followers)

    def position(self, channel: str) -> str:
        return self.tops.of(channel if channel.startswith("/") else "/" + channel)

    def marks(self, channels: Sequence[str]) -> tuple[object, ...]:
        return self.tops.marks(channels)

    async def reached(self, channel: str, position: str | Position, timeout: float = 0.0) -> bool:
        name, place = from_fanout(channel), _place(position)
        if self.tops.has(name, place):
            return True
        if timeout <= 0:
            return False
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        entry = (place, future)
        self._waiting.setdefault(name, []).append(entry)
        self.active = True
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            return False
        finally:
            waiting = self._waiting.get(name, [])
            if entry in waiting:
                waiting.remove(entry)
            if not waiting:
                self._waiting.pop(name, None)
            self._settle()

    @contextlib.asynccontextmanager
    async def follow(
        self, *patterns: str, since: Mapping[str, str | Position] | None = None
    ) -> AsyncIterator[Follower]:
        names = [check_pattern(pattern) for pattern in patterns]
        places = None if since is None else {from_fanout(name): _place(place) for name, place in since.items()}
        if not names:
            raise InvalidChannel("")
        for name in places or ():
            if not any(covers(pattern, name) for pattern in names):
                raise InvalidChannel(name)
        follower = Follower(names, self._bounds, self._was_slow)
        self._followers.append(follower)
        self._known.clear()
        self.active = True
        try:
            await self._entered(follower)
            if places is not None:
                await self._recover(follower, places)
            yield follower
        finally:
            self._followers.remove(follower)
            self._known.clear()
            follower.close()
            self._settle()
            self._left(follower)

    async def _entered(self, follower: Follower) -> None:
        """Return once what is accepted from now on is heard."""

    def _left(self, follower: Follower) -> None:
        """Nobody needs what this one followed, perhaps."""

    async def _recover(self, follower: Follower, since: Mapping[str, Position]) -> None:
        lost: list[tuple[str, Reason]] = []
        found: dict[str, History] = {}
        for pattern in follower.patterns:
            if is_glob(pattern):
                lost.append((pattern, "pattern"))
            elif pattern not in since:
                lost.append((pattern, "gone"))
        for channel, place in since.items():
            history = await self._ask(channel, place)
            if not history.recovered:
                lost.append((channel, "gone"))
            found[channel] = history
        follower.begin(found, lost)

    async def _ask(self, channel: str, place: Position) -> History:
        """What came after a place, once the log can tell."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._history(channel, place)
            except BrokerUnavailable as error:
                logger.debug("history not read", extra={"channel": channel, "error": str(error)})
                await asyncio.sleep(random.uniform(pause / 2, pause))
                pause = min(pause * 2, _LAST_PAUSE)

    # What is heard

    def take(self, publications: Sequence[Publication]) -> None:
        """Take what the log accepted, after the tops have."""
        for publication in publications:
            channel = publication.channel
            for follower in self._of(channel):
                follower.offer(publication)
        if self._waiting:
            self._look(dict.fromkeys(publication.channel for publication in publications))

    def lost(self, channels: Sequence[str] | None) -> None:
        """Publications of these channels, or of any, may have been missed; the tops know."""
        for follower in self._followers:
            if channels is None:
                follower.lose(follower.patterns, "missed")
            elif mine := [name for name in channels if follower in self._of(name)]:
                follower.lose(mine, "missed")
        for name in list(self._waiting) if channels is None else channels:
            for _, future in self._waiting.get(name, ()):
                if not future.done():
                    future.set_result(False)

    def close(self) -> None:
        """End every follower."""
        for follower in self._followers:
            follower.close()

    def _look(self, channels: Iterable[str]) -> None:
        for name in channels:
            for place, future in self._waiting.get(name, ()):
                if not future.done() and self.tops.has(name, place):
                    future.set_result(True)

    def _of(self, channel: str) -> tuple[Follower, ...]:
        found = self._known.get(channel)
        if found is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            found = self._known[channel] = (
                ()
                if is_meta(channel)
                else tuple(
                    follower
                    for follower in self._followers
                    if any(covers(pattern, channel) for pattern in follower.patterns)
                )
            )
        return found

    def _settle(self) -> None:
        self.active = bool(self._followers or self._waiting)

    def _was_slow(self) -> None:
        self.slow += 1
        logger.warning("follower is too slow", extra={"count": self._bounds.count, "bytes": self._bounds.bytes})


class FakeFollowers(Followers):
    """For tests: hears what it is told, and nothing else. `hearing` may be set."""

    def __init__(self) -> None:
        super().__init__(Tops("fake"), lambda: self.hearing, self._no_history)
        self.hearing = True
        self._offsets: dict[str, int] = {}

    def tell(self, channel: str, data: object = None, *, heard: bool = True) -> Position:
        """A publication is accepted, and heard unless that is False; where it stands."""
        name = from_fanout(channel)
        self._offsets[name] = self._offsets.get(name, 0) + 1
        position = Position("fake", self._offsets[name])
        if heard:
            self.tops.heard[name] = position
            self.take([Publication(name, b"null", position).with_data(data)])
        return position

    def lose(self, *channels: str) -> None:
        """Publications of these channels, or of any, may have been missed."""
        names = [from_fanout(channel) for channel in channels] or None
        self.tops.lost(names)
        self.lost(names)

    async def _no_history(self, channel: str, since: Position) -> History:
        return History((), Position("fake", self._offsets.get(channel, 0)), False)


def check_pattern(pattern: str) -> str:
    """A name or pattern in Bayeux form: a `*` within a segment stands for any of its characters, `/**` ends one.

    Raises InvalidChannel.
    """
    name = from_fanout(pattern)
    if "**" in name.removesuffix("/**"):
        raise InvalidChannel(re.sub(r"[^A-Za-z0-9\-_!~()$@/*.]", "_", name[:80]))
    return name


def is_glob(pattern: str) -> bool:
    """Whether a pattern stands for more than one name."""
    return "*" in pattern


def wire_pattern(pattern: str) -> str:
    """The narrowest name or pattern with all of a pattern's names that one can subscribe to."""
    if not is_glob(pattern) or (is_wild(pattern) and "*" not in pattern.rpartition("/")[0]):
        return pattern
    segments = pattern.split("/")
    at = next(number for number, segment in enumerate(segments) if "*" in segment)
    end = "*" if at == len(segments) - 1 and segments[at] != "**" else "**"
    return "/".join([*segments[:at], end])


def _place(position: str | Position) -> Position:
    return position if isinstance(position, Position) else Position.parse(position)
