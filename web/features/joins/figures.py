"""What many durations come to. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

#: Of a normal distribution, how many deviations 95 of 100 are within.
_WITHIN = 1.96

#: Parts of all that are drawn: so much of the durations is at most so long.
PARTS = tuple(part / 100 for part in (1, *range(5, 96, 5)))


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds. low, high: where the median is with 95 % certainty. parts: as PARTS says."""

    count: int
    median: float
    average: float
    deviation: float
    p95: float
    p99: float
    low: float
    high: float
    parts: tuple[float, ...]


def figures_of(nanoseconds: Sequence[int]) -> Figures | None:
    """What durations come to; None of none."""
    if not nanoseconds:
        return None
    times = sorted(each / 1e6 for each in nanoseconds)
    low, high = interval(times)
    return Figures(
        len(times),
        statistics.median(times),
        statistics.fmean(times),
        statistics.stdev(times) if len(times) > 1 else 0.0,
        part_of(times, 0.95),
        part_of(times, 0.99),
        low,
        high,
        tuple(part_of(times, part) for part in PARTS),
    )


def part_of(ordered: Sequence[float], part: float) -> float:
    """The smallest number that this part of them do not exceed."""
    return ordered[min(len(ordered) - 1, max(0, math.ceil(part * len(ordered)) - 1))]


def interval(ordered: Sequence[float]) -> tuple[float, float]:
    """Between which of the numbers their median is with 95 % certainty, whatever their distribution."""
    count = len(ordered)
    half = _WITHIN * math.sqrt(count) / 2
    return ordered[max(0, math.floor(count / 2 - half))], ordered[min(count - 1, math.ceil(count / 2 + half))]


@dataclass(frozen=True, slots=True)
class Change:
    """How much longer or shorter something takes than another, each time on the same row: -0.3 is 30 % less.

    part: by the median of all pairs; low, high: where that is with 95 % certainty.
    """

    part: float
    low: float
    high: float

    @property
    def is_certain(self) -> bool:
        """Whether it is other than none."""
        return self.low > 0 or self.high < 0


def change_of(before: Sequence[int], after: Sequence[int]) -> Change | None:
    """From one to the other, both in the order of the same rows; None of none."""
    ratios = sorted(two / one - 1 for one, two in zip(before, after, strict=True) if one > 0)
    if not ratios:
        return None
    return Change(statistics.median(ratios), *interval(ratios))


def words_of(change: Change | None, than: str) -> str:
    """A change in words."""
    if change is None:
        return ""
    if not change.is_certain:
        return f"no different from {than}, as far as this tells"
    return f"{abs(change.part):.0%} {'less' if change.part < 0 else 'more'} than {than}"
