"""CPU seconds as a quiet machine would take them, of the kind that the limits were set on.

Limits of cost are milliseconds of that machine. Another takes up to twice as long for the same work, and so does this
one while its neighbours are busy: CPU time counts the cycles that a core's other half took. So work whose cost is known
is timed beside what is tested, and tells how slow the machine is at that moment.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator

#: Seconds that the yardstick takes on a quiet machine of two cores (2026-12, Python 3.11; least of 200).
QUIET = 0.0002

#: What is slower by more than this is not made up for: a limit should fail before anybody waits a minute.
MOST = 4.0

_DOCUMENT = json.dumps([{"name": f"row {number}", "values": list(range(12))} for number in range(120)])


def yardstick() -> None:
    """Work whose cost is known, as requests have it: decode, look through, count, join."""
    rows = json.loads(_DOCUMENT)
    names = [row["name"].upper() for row in rows if sum(row["values"]) % 2 == 0]
    total = 0
    for number in range(2_000):
        total += number % 7
    "".join(names).encode().split(b" ")


def slowness(tries: int = 5) -> float:
    """How many times a quiet machine's time this one takes now, from 1 to MOST: the least of some tries."""
    least = float("inf")
    for _ in range(tries):
        began = time.thread_time()
        yardstick()
        least = min(least, time.thread_time() - began)
    return min(max(least / QUIET, 1.0), MOST)


class Taken:
    """What a block took; `seconds` is set at its end."""

    seconds = float("inf")


@contextlib.contextmanager
def taking(clock: Callable[[], float] = time.thread_time) -> Iterator[Taken]:
    """Measure a block. clock: `time.process_time` where other threads do the work."""
    taken = Taken()
    before = slowness()
    began = clock()
    yield taken
    seconds = clock() - began
    taken.seconds = seconds / min(before, slowness())


def least(work: Callable[[], object], tries: int = 7, enough: float = 0.0) -> float:
    """CPU seconds of this thread for a call, the least of some tries. enough: seconds below which no more is tried."""
    found = float("inf")
    for _ in range(tries):
        with taking() as taken:
            work()
        found = min(found, taken.seconds)
        if found < enough:
            break
    return found
