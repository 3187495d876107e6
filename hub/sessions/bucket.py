"""An allowance of so many a second: a token bucket."""

from __future__ import annotations


class Bucket:
    """A token bucket: an allowance of `rate` a second, of which up to `burst` are saved up. now: in seconds."""

    __slots__ = ("_at", "_left")

    def __init__(self, now: float, burst: float) -> None:
        self._at = now
        self._left = burst

    def take(self, now: float, rate: float, burst: float) -> bool:
        """Take one; False if there is none."""
        self._left = min(burst, self._left + (now - self._at) * rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def full(self, now: float, rate: float, burst: float) -> bool:
        """Whether it is full, so that a new one would be the same."""
        return self._left + (now - self._at) * rate >= burst
