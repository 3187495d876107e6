"""Looks at files that seldom change: once a second, however often somebody asks."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds between two looks at a file.
SECONDS = 1.0


def seldom(is_same: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> Callable[[], bool]:
    """The same question, asked again only when the last time it was is SECONDS ago. Made when the file was read."""
    until = clock() + SECONDS

    def asked() -> bool:
        nonlocal until
        now = clock()
        if now < until:
            return True
        until = now + SECONDS
        return is_same()

    return asked
