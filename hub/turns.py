"""Time slices for costly work, of which all connections together get a small part of each round of the event loop.

A cheap request is served as soon as it is read. Costly work queues here and is done in pieces, first come, first
served. When the pieces of a round have taken `TURN_SECONDS`, the rest waits for the next round. So a quiet connection
waits no longer beside a hundred busy ones than beside one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import TypeVar

logger = logging.getLogger(__name__)

#: Seconds of costly work in one round of the loop, unless HUB_TURN says otherwise. A round's last piece may take
#: longer: some work, such as decoding a body, can't be divided, but there is only one such piece in a round.
TURN_SECONDS = 0.00025

#: A request for up to FEW channels is done at once; for more it queues, in pieces of PIECE channels. To check, to
#: subscribe to, or to look up a channel takes 10 µs.
FEW, PIECE = 16, 32

T = TypeVar("T")

#: Does one piece of work; returns True if there is more to do.
Work = Callable[[], bool]


def finished(steps: Generator[None, None, T]) -> T:
    """Do all steps of some work in one go; returns what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found


def _soon(callback: Callable[[], None]) -> None:
    # Two rounds later: callbacks that were added during a round run after the sockets were polled, in the order they
    # were added. So what a quiet connection's request leads to in the next round, such as a fan-out, also goes first.
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.call_soon, callback)


class Turns:
    """The queue of a process's costly work. Each connection has at most one entry, so it is as long as there are these.

    seconds: costly work in a round. soon: has a function called in one of the loop's next rounds.

    cut: rounds that left work for the next one. taken: pieces of work done. waited: seconds that they waited, in all.
    """

    __slots__ = ("_begun", "_clock", "_end", "_ordered", "_queue", "_seconds", "_soon", "cut", "taken", "waited")

    def __init__(
        self,
        seconds: float = TURN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        soon: Callable[[Callable[[], None]], None] = _soon,
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._soon = soon
        self._queue: deque[tuple[Work, float]] = deque()
        # Work that goes before all of that, in order.
        self._begun: deque[tuple[Work, float]] = deque()
        self._ordered = False
        # Whether the round under way may do no more costly work, even if it has time left.
        self._end = False
        self.cut = 0
        self.taken = 0
        self.waited = 0.0

    def __len__(self) -> int:
        return len(self._begun) + len(self._queue)

    def add(self, work: Work) -> None:
        """Have `work` called in a later round, and again and again until it returns False. What it raises is logged."""
        self._queue.append((work, self._clock()))
        self._order()

    def begin(self, work: Work) -> None:
        """As `add`, for the rest of a request that was begun: before all that waits, after requests begun earlier.

        A begun request is decoded in memory; if hundreds took turns, all of them would be. And if a later one went
        first, two requests of one client could be processed in the wrong order.
        """
        self._begun.append((work, self._clock()))
        self._order()

    async def wait(self) -> None:
        """Return when the caller may do something costly; the round under way then does no other costly work."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def grant() -> bool:
            if not granted.done():
                granted.set_result(None)
                self.end_round()
            return False

        self.add(grant)
        await granted

    async def through(self, steps: Generator[None, None, T]) -> T:
        """Do the steps of some work, each but the first in its turn; returns what they return."""
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: T = end.value
                return found
            await self.wait()

    def end_round(self) -> None:
        """Do no more costly work in this round: what was begun is costly, and is done outside of this queue."""
        self._end = True

    def _order(self) -> None:
        if not self._ordered:
            self._ordered = True
            self._soon(self._turn)

    def _turn(self) -> None:
        clock, queue, begun = self._clock, self._queue, self._begun
        self._ordered = self._end = False
        now = clock()
        ends = now + self._seconds
        # At least one piece, however little time there is; else nothing would ever be done.
        while begun or queue:
            work, since = begun[0] if begun else queue.popleft()
            is_begun = bool(begun)
            self.taken += 1
            self.waited += now - since
            try:
                more = work()
            except Exception:
                # A bug in one's work must not stop everybody's.
                logger.exception("work failed")
                more = False
            now = clock()
            if is_begun:
                begun.popleft()
                if more:
                    begun.appendleft((work, now))
            elif more:
                queue.append((work, now))
            if now >= ends or self._end:
                break
        if begun or queue:
            self.cut += 1
            self._order()
