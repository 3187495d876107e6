"""Views added up, as the tables have them. Pure."""

from __future__ import annotations

from collections import Counter
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
    """Whose, and which."""

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
        for view in views:
            at = view.at
            where = Endpoint(view.source, view.endpoint)
            hour = int(at // HOUR) * HOUR
            count = Count(hour, where, view.kind, view.status)
            self.calls[count] += 1
            if view.micros >= 0:
                self.micros[count] += view.micros
                self.times[Time(hour, where, bucket_of(view.micros))] += 1
            if view.caller:
                call = Call(int(at // DAY) * DAY, where, view.kind, view.caller[:MAX_CALLER])
                if call in self.callers or len(self.callers) < most:
                    self.callers[call] += 1
                else:
                    self.uncalled += 1
            self.minutes[int(at // MINUTE) * MINUTE, view.kind] += 1
            seen = self.seen.get(where)
            self.seen[where] = (at, at) if seen is None else (min(at, seen[0]), max(at, seen[1]))

    @property
    def total(self) -> int:
        """How many views these are."""
        return sum(self.calls.values())
