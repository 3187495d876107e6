"""How often somebody may do something."""

from __future__ import annotations

import time
from collections.abc import Callable


class Limiter:
    """At most `count` takes of one key in any `seconds`; 0 for no limit. Of one process.

    It remembers `most` keys; beyond that the oldest is forgotten, so a flood from many addresses
    costs a bounded memory.
    """

    def __init__(
        self, count: int, seconds: float, *, most: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count = count
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._taken: dict[str, list[float]] = {}

    def take(self, key: str) -> float:
        """0.0 if it may go on; else the seconds to wait, and nothing is taken."""
        if not self._count:
            return 0.0
        now = self._clock()
        # Taken out and put back, so that the first key is the one longest unheard of.
        taken = [at for at in self._taken.pop(key, ()) if at > now - self._seconds]
        self._taken[key] = taken
        if len(self._taken) > self._most:
            del self._taken[next(iter(self._taken))]
        if len(taken) >= self._count:
            return taken[0] + self._seconds - now
        taken.append(now)
        return 0.0
