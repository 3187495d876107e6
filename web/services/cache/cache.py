"""The cache: what many ask for and is costly to make, made once.

    figures = await cache.get("lab:rows", ["lab-redis"], make)

The channels are those on which changes of what it is made of are told. `make` is called once however many ask at one
moment, and not at all while what was made still stands: in this process, or in Redis, where another has put it.

What is promised: who asks after this process has heard a hint gets nothing that was made before it. A process that does
not hear the log keeps nothing. Redis that is away, slow, empty or rolled back makes values cost more, and never older.

Values are what JSON can say, and come back as the codec has them, whether they were made or kept: a tuple is a list.
They are shared: who changes one changes everybody's.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from .codecs import Codec, NoCodec, codec
from .entries import Entry, judge, pack, place, stands, unpack
from .errors import FarAway
from .local import MISSING, Local, Tops, marks_of

#: Characters of a key.
MAX_KEY = 200

#: Values on their way to Redis at a time; more are not sent, and made again by who asks.
MAX_SENDING = 64

Make = Callable[[], Awaitable[Any]]


class Far(Protocol):
    """What all workers keep (`far.Far`). Both raise FarAway."""

    counts: Counter[str]

    async def get(self, key: str) -> tuple[bytes, float] | None:
        """The bytes of a key and the seconds that they have left."""

    async def put(self, key: str, data: bytes, seconds: float) -> None: ...

    async def close(self) -> None: ...


class Log(Protocol):
    """Who knows where channels stand in the log (`hub.publisher.Publisher`)."""

    async def position(self, channel: str) -> str | None:
        """A channel's newest position, "epoch.offset"; None where it isn't known."""


class _Flight:
    """One making. stood: None until it begins. next: what who can't have this one waits for."""

    __slots__ = ("channels", "next", "stood", "task")

    def __init__(self, channels: tuple[str, ...]) -> None:
        self.channels = channels
        self.stood: tuple[object, ...] | None = None
        self.next: _Flight | None = None
        self.task: asyncio.Task[Any] | None = None


class Cache:
    """tops: how far this process has heard the log; log: where it stands. far: None to keep in this process only.

    seconds: the longest that a value is given again. most: bytes of all in this process; entry_bytes: of one.
    """

    def __init__(
        self,
        tops: Tops,
        log: Log,
        chosen: Codec,
        *,
        far: Far | None = None,
        seconds: float = 60.0,
        most: int = 16 * 1024**2,
        entry_bytes: int = 1024**2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.codec = chosen
        self.far = far
        self.local = Local(tops, most, clock)
        #: How answers came about: redis, shared, made; and what was not kept as it is too long.
        self.counts: Counter[str] = Counter()
        #: Answers from this process's memory: a number of its own, as it is counted in a part of a microsecond.
        self.hits = 0
        self._tops = tops
        self._marks = marks_of(tops)
        self._log = log
        self._seconds = seconds
        self._entry_bytes = entry_bytes
        self._clock = clock
        self._look = self.local.look
        self._flights: dict[str, _Flight] = {}
        self._sending: set[asyncio.Task[None]] = set()

    async def get(self, key: str, channels: Sequence[str], make: Make) -> Any:
        """The value of a key. Raises what `make` raises, TypeError for what the codec can't say.

        channels: names that are told of changes; always the same for one key, and at least one. Raises ValueError for
        none, and for a key of more than MAX_KEY characters.
        """
        value = self._look(key)
        if value is not MISSING:
            self.hits += 1
            return value
        return await self._miss(key, channels, make)

    async def close(self) -> None:
        """Wait for what is on its way to Redis, and let go of it."""
        if self._sending:
            await asyncio.wait(self._sending)
        if self.far is not None:
            await self.far.close()

    async def _miss(self, key: str, channels: Sequence[str], make: Make) -> Any:
        names = tuple(channel if channel.startswith("/") else f"/{channel}" for channel in dict.fromkeys(channels))
        if not names or not 0 < len(key) <= MAX_KEY:
            raise ValueError(f"a key has 1 to {MAX_KEY} characters, and at least one channel: {key[:40]!r}")
        flight = self._flights.get(key)
        shared = True
        if flight is None:
            shared = False
            flight = self._flights[key] = self._begin(key, names, make, None)
        elif not self._is_good(flight):
            # It reads what was before a hint that was heard meanwhile. The next one begins once it has ended: one
            # thing is made by one task at a time, however often it changes.
            if flight.next is None:
                shared = False
                flight.next = self._begin(key, names, make, flight)
            flight = flight.next
        if shared:
            self.counts["shared"] += 1
        assert flight.task is not None
        # The first to ask may leave; the others still wait for it.
        return await asyncio.shield(flight.task)

    def _is_good(self, flight: _Flight) -> bool:
        return flight.stood is None or (self._tops.hears and self._marks(flight.channels) == flight.stood)

    def _begin(self, key: str, channels: tuple[str, ...], make: Make, before: _Flight | None) -> _Flight:
        flight = _Flight(channels)
        flight.task = asyncio.create_task(self._fly(key, make, flight, before))
        # If all who asked have left, nobody is there to hear of its error.
        flight.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return flight

    async def _fly(self, key: str, make: Make, flight: _Flight, before: _Flight | None) -> Any:
        if before is not None and before.task is not None:
            await asyncio.wait([before.task])
        # Before anything is read, here or in Redis.
        stood = flight.stood = self._marks(flight.channels)
        tops = self._tops.positions(flight.channels) if self._tops.hears else ()
        began = self._clock()
        try:
            positions: Sequence[str | None] = ()
            if tops and self.far is not None:
                value, positions = await self._from_far(self.far, key, flight.channels, stood, tops)
                if value is not MISSING:
                    self.counts["redis"] += 1
                    return value
            self.counts["made"] += 1
            made = await make()
            data = self.codec.encode(made)
            value = self.codec.decode(data)
            if tops and self._marks(flight.channels) == stood:
                self._keep(key, value, data, flight.channels, stood, positions, began)
            return value
        finally:
            if flight.next is None:
                del self._flights[key]
            else:
                self._flights[key] = flight.next

    async def _from_far(
        self, far: Far, key: str, channels: tuple[str, ...], stood: tuple[object, ...], tops: tuple[str, ...]
    ) -> tuple[Any, Sequence[str | None]]:
        """What Redis has, if it is good; and where the channels stood before, as far as it is known."""
        try:
            found = await far.get(key)
        except FarAway:
            return MISSING, ()
        entry = None if found is None else unpack(found[0])
        verdict = "old" if entry is None else judge(entry, channels, tops)
        log: Sequence[str | None] = tops
        if verdict == "ask" or not all(place(top) for top in tops):
            # Asked after the entry was read: if it stands there now it stood there then.
            log = await asyncio.gather(*(self._log.position(channel) for channel in channels))
        if entry is None or found is None or verdict == "old":
            return MISSING, log
        if verdict == "ask" and not stands(entry, channels, log):
            return MISSING, log
        try:
            value = (self.codec if entry.codec == self.codec.name else codec(entry.codec)).decode(entry.body)
        except (NoCodec, ValueError):
            # Another worker has libraries that this one has not, or somebody else has written there.
            self.counts["unread"] += 1
            return MISSING, log
        self.local.put(key, value, channels, stood, self._clock() + min(found[1], self._seconds), len(entry.body))
        return value, log

    def _keep(
        self,
        key: str,
        value: Any,
        data: bytes,
        channels: tuple[str, ...],
        stood: tuple[object, ...],
        positions: Sequence[str | None],
        began: float,
    ) -> None:
        if len(data) > self._entry_bytes:
            self.counts["long"] += 1
            return
        self.local.put(key, value, channels, stood, began + self._seconds, len(data))
        left = began + self._seconds - self._clock()
        if self.far is None or len(positions) != len(channels) or left <= 0 or len(self._sending) >= MAX_SENDING:
            return
        known = {
            channel: position
            for channel, position in zip(channels, positions, strict=True)
            if position is not None and place(position) is not None
        }
        if len(known) == len(channels):
            task = asyncio.create_task(self._send(self.far, key, pack(Entry(self.codec.name, known, data)), left))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, far: Far, key: str, data: bytes, seconds: float) -> None:
        try:
            await far.put(key, data, seconds)
        except FarAway:
            # It is counted there, and others make it for themselves.
            return
