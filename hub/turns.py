"""Whose turn it is: costly work of all connections together gets a small part of each round of the event loop.

A connection that asks for little is served as soon as it is read. What is costly waits here, first come, first
served, in pieces; when the pieces of one round have taken `TURN_SECONDS`, the loop goes round before the next.
So a hundred busy connections keep a quiet one waiting for as long as one busy connection does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import TypeVar

logger = logging.getLogger(__name__)

#: Seconds of costly work in one round of the loop, unless HUB_TURN says otherwise. The last piece of a round may end
#: later: work that can't be divided, such as decoding a body, takes as long as it takes, but there is one such piece
#: in a round.
TURN_SECONDS = 0.00025

#: Channels that somebody may ask for without waiting for their turn, and how many a piece of such work then has: 10 µs
#: each, to judge, to subscribe, or to say where it is.
FEW, PIECE = 16, 32

T = TypeVar("T")

#: Does a piece of work, and says whether there is more of it.
Work = Callable[[], bool]


def finished(steps: Generator[None, None, T]) -> T:
    """What the steps of some work return, done in one go."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found


def _soon(callback: Callable[[], None]) -> None:
    # The loop looks at its sockets before it calls what was added during a round, in the order of that: a round later,
    # what a quiet connection's request has led to, such as a fan-out, goes before the costly work too.
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.call_soon, callback)


class Turns:
    """The queue of a process's costly work. A connection has one piece in it at most, so connections bound it.

    seconds: of costly work in a round. soon: calls a function in one of the loop's next rounds. `cut` counts rounds
    that left work for the next one, `taken` pieces of work, `waited` the seconds that they waited in all.
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
        # What goes before all that, one after the other.
        self._begun: deque[tuple[Work, float]] = deque()
        self._ordered = False
        # Whether the turn under way is over whatever its time.
        self._end = False
        self.cut = 0
        self.taken = 0
        self.waited = 0.0

    def __len__(self) -> int:
        return len(self._begun) + len(self._queue)

    def add(self, work: Work) -> None:
        """Have `work` called in a later round, and again until it returns False. What it raises is logged."""
        self._queue.append((work, self._clock()))
        self._order()

    def begin(self, work: Work) -> None:
        """As `add`, for the rest of what has begun: before what waits, and after what began earlier is done with.

        What is under way has its messages decoded: of hundreds of requests taken alternately, all were. And what
        began later must not go first: two requests of one client would be taken in the wrong order.
        """
        self._begun.append((work, self._clock()))
        self._order()

    async def wait(self) -> None:
        """Return when the caller may do something costly; nobody else is let in for the rest of the round."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def grant() -> bool:
            if not granted.done():
                granted.set_result(None)
                self.end_round()
            return False

        self.add(grant)
        await granted

    async def through(self, steps: Generator[None, None, T]) -> T:
        """What the steps of some work return, each of which but the first waits for its turn."""
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: T = end.value
                return found
            await self.wait()

    def end_round(self) -> None:
        """Let nobody else in for the rest of the round under way: what was let in is costly, and not done here."""
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
        # At least one, however little time they have: else nothing would ever be done.
        while begun or queue:
            work, since = begun[0] if begun else queue.popleft()
            is_begun = bool(begun)
            self.taken += 1
            self.waited += now - since
            try:
                more = work()
            except Exception:
                # A bug in the work of one must not take the turns of all.
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
