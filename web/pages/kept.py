"""What was made from rows is kept, and given again, as long as the channels stand where they stood before it was made.

A change of a row is told after its commit, and each worker hears what is told. Who names the channels before the rows
are read (`Reading.follow`, `Reading.at`) and finds, later, each of them where it stood, knows that nothing was told
since. A worker that does not hear the log gives nothing that was kept. What nobody told of, such as a row changed by
hand, is bounded by an age.

What many ask for at one moment is made once: who comes while it is made waits for it, if its channels still stand where
the maker found them; else for the next, which begins to read after they came. So one thing is made by one task at a
time, however many ask and whatever they ask with.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

T = TypeVar("T")
U = TypeVar("U")

#: How an answer came about. hit: it was kept; shared: it was being made for another; made: for this one; own: it is for
#: one user, or keeping is off.
How = Literal["hit", "shared", "made", "own"]

#: Bytes that keeping something costs beside its size, with a key of up to so many.
OVERHEAD = 1024
_USUAL_KEY = 512


def _weight(key: object) -> int:
    """Bytes of a key's texts. What a stranger asks with may stand in it, and be longer than what was made."""
    if isinstance(key, str):
        return sys.getsizeof(key)
    if isinstance(key, tuple | frozenset):
        return sum(map(_weight, key))
    if dataclasses.is_dataclass(key):
        return sum(_weight(getattr(key, each.name)) for each in dataclasses.fields(key))
    return 0


class Tops(Protocol):
    """How far this process has heard the log (`hub.follower.Following`)."""

    @property
    def hears(self) -> bool:
        """Whether it hears the log now; known without asking anyone."""

    def positions(self, channels: Iterable[str]) -> tuple[str, ...]:
        """Where channels stand: equal to what it was before if nothing was heard, and nothing may have been missed."""

    async def reached(self, channel: str, position: str, timeout: float = 0.0) -> bool:
        """Whether what stands at a position was heard, or is within `timeout` seconds."""


class Deaf:
    """Where nobody says how far the log was heard: nothing is kept; what is asked for at one moment is still shared."""

    hears = False

    def positions(self, channels: Iterable[str]) -> tuple[str, ...]:
        return tuple("" for _ in channels)

    async def reached(self, channel: str, position: str, timeout: float = 0.0) -> bool:
        return False


class Reading:
    """One making: the channels whose rows it reads, and where they stood before."""

    def __init__(self, tops: Tops, position: Callable[[str], Awaitable[str | None]], *, keeps: bool = True) -> None:
        self._tops = tops
        self._position = position
        self.channels: tuple[str, ...] = ()
        self.stood: tuple[str, ...] = ()
        #: False once it is known that what is made must not be given again, or will not be.
        self.keeps = keeps and tops.hears

    def follow(self, *channels: str) -> None:
        """Name channels, before the rows are read whose changes are told there."""
        new = tuple(channel for channel in dict.fromkeys(channels) if channel not in self.channels)
        self.keeps = self.keeps and self._tops.hears
        self.stood += self._tops.positions(new)
        self.channels += new

    async def at(self, *channels: str) -> dict[str, str]:
        """Name channels that the page's browsers will follow: their positions in the log, "" for what isn't known."""
        self.follow(*channels)
        found = {channel: await self._position(channel) or "" for channel in channels}
        # A page without its position makes each browser ask again.
        self.keeps = self.keeps and all(found.values())
        return found

    def stands(self) -> bool:
        """Whether nothing was heard since the channels were named. Nothing was read before the first was."""
        return self._tops.hears and self._tops.positions(self.channels) == self.stood


@dataclass(slots=True)
class _Entry(Generic[T]):
    value: T
    channels: tuple[str, ...]
    stood: tuple[str, ...]
    until: float
    size: int


class _Making(Generic[T]):
    """reading: None until it begins. next: what who can't use this one waits for."""

    __slots__ = ("next", "reading", "task")

    def __init__(self) -> None:
        self.reading: Reading | None = None
        self.next: _Making[T] | None = None
        self.task: asyncio.Task[T] | None = None

    def is_good(self) -> bool:
        """Whether who comes now may have what is being made."""
        return self.reading is None or self.reading.stands()


class Kept(Generic[T]):
    """Values by key. size: bytes of a value; most: bytes of all; seconds: the longest that one is given again.

    position: a channel's newest position in the log, from the publisher. on: False to make everything each time.
    """

    def __init__(
        self,
        tops: Tops,
        position: Callable[[str], Awaitable[str | None]],
        size: Callable[[T], int],
        *,
        seconds: float,
        most: int,
        on: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tops = tops
        self.on = on
        self.counts: Counter[How] = Counter()
        #: Bytes of all that is kept.
        self.bytes = 0
        self._position = position
        self._size = size
        self._seconds = seconds
        self._most = most
        self._clock = clock
        # The one that was not asked for the longest time comes first.
        self._entries: dict[Hashable, _Entry[T]] = {}
        self._makings: dict[Hashable, _Making[T]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: Hashable, make: Callable[[Reading], Awaitable[T]], *, anew: bool = False) -> tuple[T, How]:
        """The value of a key, kept or made, and how it came about. Raises what `make` raises.

        anew: it must be made of rows that are read from now on.
        """
        if not self.on:
            return await self.alone(make), "own"
        if not anew and (value := self._look(key)) is not None:
            self.counts["hit"] += 1
            return value, "hit"
        making = self._makings.get(key)
        how: How = "shared"
        if making is None:
            how = "made"
            making = self._makings[key] = self._begin(key, make, None)
        elif making.reading is not None and (anew or not making.is_good()):
            if making.next is None:
                how = "made"
                making.next = self._begin(key, make, making)
            making = making.next
        self.counts[how] += 1
        assert making.task is not None
        # The first to ask may leave; the others still wait for it.
        return await asyncio.shield(making.task), how

    def holds(self, key: Hashable, value: T) -> bool:
        """Whether this value is kept."""
        entry = self._entries.get(key)
        return entry is not None and entry.value is value

    def gives(self, key: Hashable, value: T) -> bool:
        """Whether the value of a key is still this one; counts as a hit if it is."""
        if not self.on or self._look(key) is not value:
            return False
        self.counts["hit"] += 1
        return True

    async def alone(self, make: Callable[[Reading], Awaitable[T]]) -> T:
        """A value that is made for one, and not kept."""
        self.counts["own"] += 1
        return await self.unkept(make)

    async def unkept(self, make: Callable[[Reading], Awaitable[U]]) -> U:
        """Something else that names channels and is not kept."""
        return await make(Reading(self.tops, self._position, keeps=False))

    def grown(self, key: Hashable, value: T) -> None:
        """Look at the size of a value again."""
        entry = self._entries.get(key)
        if entry is not None and entry.value is value:
            self._drop(key)
            self._put(key, entry)

    def clear(self) -> None:
        """Forget all of it."""
        self._entries.clear()
        self.bytes = 0

    def _look(self, key: Hashable) -> T | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if not self.tops.hears:
            # It may be good again once what was missed is read.
            return None
        if entry.until <= self._clock() or self.tops.positions(entry.channels) != entry.stood:
            self._drop(key)
            return None
        # Taken out and put back: the last to be dropped.
        self._entries[key] = self._entries.pop(key)
        return entry.value

    def _begin(self, key: Hashable, make: Callable[[Reading], Awaitable[T]], before: _Making[T] | None) -> _Making[T]:
        making = _Making[T]()
        making.task = asyncio.create_task(self._make(key, make, making, before))
        # If all who asked have left, nobody is there to hear of its error.
        making.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return making

    async def _make(
        self, key: Hashable, make: Callable[[Reading], Awaitable[T]], making: _Making[T], before: _Making[T] | None
    ) -> T:
        if before is not None and before.task is not None:
            await asyncio.wait([before.task])
        reading = making.reading = Reading(self.tops, self._position)
        began = self._clock()
        try:
            value = await make(reading)
            if reading.keeps and reading.channels:
                self._put(key, _Entry(value, reading.channels, reading.stood, began + self._seconds, 0))
            return value
        finally:
            if making.next is None:
                del self._makings[key]
            else:
                self._makings[key] = making.next

    def _put(self, key: Hashable, entry: _Entry[T]) -> None:
        self._drop(key)
        entry.size = self._size(entry.value) + OVERHEAD + max(0, _weight(key) - _USUAL_KEY)
        # One alone must not drive out all others.
        if entry.size > self._most // 4:
            return
        self._entries[key] = entry
        self.bytes += entry.size
        while self.bytes > self._most:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.size
