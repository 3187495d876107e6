"""A breaker: after some failures in a row nobody is asked for a while, and then one, to see. Pure."""

from __future__ import annotations

from dataclasses import dataclass

#: Failures in a row that open it; seconds that it stays open, doubled each time it fails again, to the longest.
FAILURES = 5
FIRST = 15.0
LONGEST = 600.0


@dataclass(slots=True)
class Breaker:
    """The state of it. Times are of one clock of the caller's. pause: the last one, 0 before the first."""

    first: float = FIRST
    failed: int = 0
    until: float = 0.0
    pause: float = 0.0
    #: How often it opened.
    opened: int = 0

    @property
    def is_open(self) -> bool:
        """Whether the last attempts failed: until one succeeds, one at a time is made."""
        return self.failed >= FAILURES

    def wait(self, now: float) -> float:
        """Seconds until something may be tried."""
        return max(0.0, self.until - now)

    def succeed(self) -> None:
        """It worked."""
        self.failed, self.until, self.pause = 0, 0.0, 0.0

    def fail(self, now: float) -> None:
        """It did not."""
        self.failed += 1
        if self.failed >= FAILURES:
            self.opened += 1
            self.pause = min(LONGEST, self.pause * 2) or self.first
            self.until = now + self.pause

    def rest(self, now: float, seconds: float) -> None:
        """The other end asks to be left alone for a while."""
        self.until = max(self.until, now + min(seconds, LONGEST))
