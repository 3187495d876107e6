"""How long the event loop is kept from everybody else by one piece of work."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

from cpu import slowness


@contextlib.contextmanager
def pieces() -> Iterator[list[float]]:
    """The CPU seconds of each callback that the loop runs inside, a step of a task being one.

    CPU time of this thread, as a quiet machine would take: what other processes do meanwhile is not in it. It is there
    when the block ends.
    """
    found: list[float] = []
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        found.append(time.thread_time() - began)

    asyncio.Handle._run = timed  # type: ignore[method-assign]  # asyncio has nothing of the kind but debug's wall time
    try:
        yield found
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
        # No limit is shorter than half a millisecond, and most pieces are.
        if found and max(found) > 0.0005:
            slow = slowness()
            found[:] = [seconds / slow for seconds in found]
