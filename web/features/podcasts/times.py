"""How much time podcasts take: the formula, and its words. Pure.

Per podcast: the known seconds of its episodes in the window, by the length of the window, which is from 300 days ago,
or from its first episode ever if that is later, until now; at least a day and at least its median gap, so that the
first episode of a weekly show is a seventh of it a day, and a daily one's is all of it. Several podcasts: each by
itself, then their sum; so a new one changes nothing of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

#: Days that are looked back.
WINDOW_DAYS = 300
WINDOW = timedelta(days=WINDOW_DAYS)

DAY = 86400.0
MONTH = 365 / 12

#: Speeds that players have.
SLOWEST, FASTEST = 1.0, 3.0

#: In the words of the page.
FORMULA = (
    "For each podcast: the length of its episodes of the last 300 days (or since its first one, if that is later),"
    " divided by those days; by a day, or by its usual gap between episodes, if that is more. Then the sum over your"
    " podcasts. A week is 7 of those days, a month 365/12. Episodes of unknown length are not counted, so it is at"
    " least this much; where no length is known it is 0."
)


@dataclass(frozen=True, slots=True)
class Heard:
    """A podcast's episodes in its window.

    seconds: of the known; known, count: episodes with a known length, and all. first: its first episode ever. gap:
    median seconds between episodes. oldest, newest: in the window.
    """

    seconds: int
    known: int
    count: int
    first: datetime | None
    gap: float | None = None
    oldest: datetime | None = None
    newest: datetime | None = None


@dataclass(frozen=True, slots=True)
class Time:
    """Hours, and what they were made of."""

    per_day: float = 0.0
    known: int = 0
    count: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None

    @property
    def per_week(self) -> float:
        return self.per_day * 7

    @property
    def per_month(self) -> float:
        return self.per_day * MONTH

    @property
    def words(self) -> str:
        """Of how much it was made: "from 34 of 50 episodes with known length"."""
        if not self.count:
            return "no episodes in the last 300 days"
        if not self.known:
            return f"none of {counted(self.count, 'episode')} has a known length"
        if self.known == self.count:
            return f"from {counted(self.count, 'episode')}, all with known length"
        return f"from {self.known} of {counted(self.count, 'episode')} with known length"


def window_days(heard: Heard, now: datetime) -> float:
    """Days of a podcast's window."""
    start = now - WINDOW
    if heard.first is not None:
        start = max(start, heard.first)
    return max((now - start).total_seconds() / DAY, 1.0, (heard.gap or 0.0) / DAY)


def hours_per_day(heard: Heard, now: datetime) -> float:
    """Hours a day that a podcast takes; 0 if nothing is known of it."""
    return heard.seconds / window_days(heard, now) / 3600 if heard.seconds > 0 else 0.0


def time_of(podcasts: Iterable[Heard], now: datetime, speed: float = 1.0) -> Time:
    """What several podcasts take together. speed: at which they are played."""
    found = list(podcasts)
    oldest = [each.oldest for each in found if each.oldest is not None]
    newest = [each.newest for each in found if each.newest is not None]
    return Time(
        sum(hours_per_day(each, now) for each in found) / speed,
        sum(each.known for each in found),
        sum(each.count for each in found),
        min(oldest, default=None),
        max(newest, default=None),
    )


def by_hour(counts: Mapping[int, int]) -> list[list[int]]:
    """Episodes by weekday (Monday first) and hour, UTC. counts: by hour of a week that begins on a Thursday."""
    found = [[0] * 24 for _ in range(7)]
    for place, count in counts.items():
        found[(place // 24 + 3) % 7][place % 24] += count
    return found


def counted(count: int, noun: str) -> str:
    """1 episode, 2 episodes."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
