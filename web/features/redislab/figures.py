"""What measurements say: averages, intervals, what the line adds, who wins and the Pareto front. Pure.

Times are nanoseconds; figures are milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: Reads for each write when one time is made of both: a cache is read more often than it is written. As memtier has it.
READS = 10

_NS = 1e6


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: nanoseconds of a read and of a write, and the bytes that were stored."""

    read: int
    write: int
    size: int


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds. low, high: the interval that has the true median with 95 % confidence."""

    mean: float
    median: float
    sd: float
    p95: float
    p99: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one configuration and payload. count: measurements, without the warm-up. size: the newest's bytes."""

    count: int
    read: Times
    write: Times
    size: int

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Figures:
        """As `as_json` made it."""
        return cls(found["count"], Times(**found["read"]), Times(**found["write"]), found["size"])

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def figures(samples: Sequence[Sample], *, count: int | None = None, warm_up: int = 0) -> Figures | None:
    """None where there is nothing to say. warm_up: that many of the first are dropped.

    count: how many there were in all, if `samples` are only the newest of them.
    """
    total = len(samples) if count is None else max(count, len(samples))
    # Those that are not here any more were the first.
    dropped = max(0, warm_up - (total - len(samples)))
    left = samples[dropped:]
    if not left:
        return None
    read, write = times([each.read for each in left]), times([each.write for each in left])
    return Figures(max(total - warm_up, len(left)), read, write, left[-1].size)


def times(nanoseconds: Iterable[int]) -> Times:
    """The times of one or more measurements, in nanoseconds."""
    ordered = sorted(nanoseconds)
    count = len(ordered)
    mean = sum(ordered) / count
    sd = math.sqrt(sum((each - mean) ** 2 for each in ordered) / (count - 1)) if count > 1 else 0.0
    low, high = interval(ordered)
    found = (mean, median(ordered), sd, percentile(ordered, 0.95), percentile(ordered, 0.99), low, high)
    return Times(*(each / _NS for each in found))


def median(ordered: Sequence[float]) -> float:
    """The middle of what is sorted: of an even number the mean of the two in the middle."""
    half = len(ordered) // 2
    return float(ordered[half]) if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest number that is not less than `share` of what is sorted."""
    return float(ordered[max(0, math.ceil(len(ordered) * share) - 1)])


def interval(ordered: Sequence[float]) -> tuple[float, float]:
    """Between which two of the sorted numbers the true median is, with 95 % confidence, however they are spread.

    How many of n are below the median is binomial (n, 1/2); its normal approximation gives the ranks.
    """
    count = len(ordered)
    reach = 1.96 * math.sqrt(count) / 2
    low = math.floor(count / 2 - reach)
    high = math.ceil(count / 2 + reach)
    return float(ordered[max(0, low)]), float(ordered[min(count - 1, high)])


# What the line adds


def line_ms(size: int, megabits: float) -> float:
    """Milliseconds that bytes take on a line; 0 megabits a second is a line that costs nothing, as loopback is."""
    return size * 8 / (megabits * 1000) if megabits else 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """A configuration at a line: milliseconds of an operation, at READS reads to a write, with its interval."""

    name: str
    ms: float
    low: float
    high: float
    size: int


def point(name: str, found: Figures, megabits: float = 0.0) -> Point:
    """Where a configuration is."""
    line = line_ms(found.size, megabits)

    def both(read: float, write: float) -> float:
        return (READS * read + write) / (READS + 1) + line

    return Point(
        name,
        both(found.read.median, found.write.median),
        both(found.read.low, found.write.low),
        both(found.read.high, found.write.high),
        found.size,
    )


def front(points: Iterable[Point]) -> list[Point]:
    """The points than which none is both faster and smaller, the fastest first."""
    found: list[Point] = []
    for each in sorted(points, key=lambda point: (point.ms, point.size, point.name)):
        if not found or each.size < found[-1].size:
            found.append(each)
    return found


def winners(points: Iterable[Point]) -> list[Point]:
    """The fastest, and behind it those whose intervals reach into its own: more measurements may turn them round."""
    ordered = sorted(points, key=lambda point: (point.ms, point.size, point.name))
    return [each for each in ordered if each.low <= ordered[0].high]
