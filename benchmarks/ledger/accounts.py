"""What one client got, and whether it adds up. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Account:
    """The books of one client of one channel, whose changes are numbered from 1.

    upto: every number up to it was delivered, or covered by a fetch. flagged: numbers that a fetch
    after "lost" covered. silent: numbers that were passed over without a word. holes: which.
    """

    upto: int
    deliveries: int = 0
    duplicates: int = 0
    flagged: int = 0
    silent: int = 0
    losses: int = 0
    holes: list[tuple[int, int, float]] = field(default_factory=list)

    def got(self, number: int, now: float = 0.0) -> None:
        """A change was delivered."""
        self.deliveries += 1
        if number <= self.upto:
            self.duplicates += 1
            return
        if number != self.upto + 1:
            self.silent += number - self.upto - 1
            self.holes.append((self.upto + 1, number - 1, now))
        self.upto = number

    def fetched(self, newest: int, now: float = 0.0, grace: float = 0.0) -> None:
        """The client was told "lost" and fetched the state, whose newest change is this.

        grace: seconds that may pass between the word and the fetch (fanout.js waits a little, so that
        a thousand pages don't fetch at once); what was passed over in that time is covered by it.
        """
        self.losses += 1
        for hole in [hole for hole in self.holes if grace and hole[2] >= now - grace and hole[1] <= newest]:
            self.holes.remove(hole)
            self.silent -= hole[1] - hole[0] + 1
            self.flagged += hole[1] - hole[0] + 1
        if newest > self.upto:
            self.flagged += newest - self.upto
            self.upto = newest

    def close(self, newest: int) -> None:
        """The run is over, and this was the channel's newest change: what is missing now is lost."""
        if newest > self.upto:
            self.silent += newest - self.upto
            self.holes.append((self.upto + 1, newest, 0.0))
            self.upto = newest


@dataclass(slots=True)
class Page:
    """A page that is made from the database and given again while its top stands.

    doubt: seconds for which it may be given although something newer was told. kept: its top, and the newest change in
    it. given, made: how often. old: how often it lacked a change that was told longer ago.
    """

    doubt: float
    kept: tuple[str, int] | None = None
    given: int = 0
    made: int = 0
    old: int = 0
    _told: deque[tuple[float, int]] = field(default_factory=deque)
    _due: int = 0

    def ask(self, top: str, hears: bool, newest: Callable[[], int], told: int, now: float) -> None:
        """A visitor asks. newest: reads the rows; told: the newest change that the hub has accepted."""
        self._told.append((now, told))
        while self._told and self._told[0][0] <= now - self.doubt:
            self._due = self._told.popleft()[1]
        if self.kept is None or not hears or self.kept[0] != top:
            self.kept = (top, newest())
            self.made += 1
            return
        self.given += 1
        if self.kept[1] < self._due:
            self.old += 1


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of the values lies; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
