"""Views added up, as the tables have them. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from .buckets import bucket_of
from .callers import DAY, MAX_CALLER
from .records import View

MINUTE, HOUR = 60, 3600

#: Rows that one writing may have for callers; of more it is not known who called. 100,000 are some 20 MB.
MOST_CALLERS = 100_000


class Endpoint(NamedTuple):
    """An endpoint of a source: of the site, or of another server that reports to it."""

    source: str
    name: str


class Count(NamedTuple):
    """What a sum of calls is of. hour: when it begins, in seconds since 1970."""

    hour: int
    endpoint: Endpoint
    kind: str
    status: int


class Time(NamedTuple):
    """What a sum of durations' buckets is of."""

    hour: int
    endpoint: Endpoint
    bucket: int


class Call(NamedTuple):
    """What a sum of a caller's calls is of. day: when it begins, in seconds since 1970."""

    day: int
    endpoint: Endpoint
    kind: str
    caller: str


@dataclass(slots=True)
class Totals:
    """Sums of views. seen: when each endpoint was called first and last. uncalled: calls of callers beyond `most`."""

    calls: Counter[Count] = field(default_factory=Counter)
    micros: Counter[Count] = field(default_factory=Counter)
    times: Counter[Time] = field(default_factory=Counter)
    callers: Counter[Call] = field(default_factory=Counter)
    minutes: Counter[tuple[int, str]] = field(default_factory=Counter)
    seen: dict[Endpoint, tuple[float, float]] = field(default_factory=dict)
    uncalled: int = 0

    def __bool__(self) -> bool:
        return bool(self.calls)

    def add(self, views: Iterable[View], most: int = MOST_CALLERS) -> None:
        """Add views."""
        # Views of one minute that differ by duration and caller alone: there are few such heaps, and the rest is done
        # once for each of them. One by one a view took four times as long.
        heaps: defaultdict[tuple[float, str, str, str, int], list[View]] = defaultdict(list)
        for view in views:
            heaps[view.at // MINUTE, view.source, view.endpoint, view.kind, view.status].append(view)
        for (minute, source, name, kind, status), heap in heaps.items():
            self._add_heap(int(minute) * MINUTE, Endpoint(source, name), kind, status, heap, most)

    def _add_heap(self, minute: int, where: Endpoint, kind: str, status: int, heap: list[View], most: int) -> None:
        hour = minute // HOUR * HOUR
        count = Count(hour, where, kind, status)
        self.calls[count] += len(heap)
        self.minutes[minute, kind] += len(heap)
        durations = [view.micros for view in heap if view.micros >= 0]
        if durations:
            self.micros[count] += sum(durations)
            for bucket, calls in Counter(map(bucket_of, durations)).items():
                self.times[Time(hour, where, bucket)] += calls
        day = minute // DAY * DAY
        for caller, calls in Counter([view.caller for view in heap if view.caller]).items():
            call = Call(day, where, kind, caller[:MAX_CALLER])
            if call in self.callers or len(self.callers) < most:
                self.callers[call] += calls
            else:
                self.uncalled += calls
        moments = [view.at for view in heap]
        if where in self.seen:
            moments += self.seen[where]
        self.seen[where] = (min(moments), max(moments))

    @property
    def total(self) -> int:
        """How many views these are."""
        return sum(self.calls.values())
