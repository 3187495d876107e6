"""One answer for many: what everyone asks for at the same moment is read once.

A hint makes every browser on a page fetch the same thing within milliseconds. The position of the
page's channel says whether an answer is still good: rows are read after the position, and every
change is told after its commit, so an answer made at a position lacks nothing that was told up to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

#: Seconds an answer is given again. It bounds the age of what nobody was told of: a row changed by
#: hand, or a hint that could not be given.
SECONDS = 1.0

#: Answers kept; a page of comments is 20 kB.
MOST = 256


@dataclass(frozen=True, slots=True)
class _Answer(Generic[T]):
    position: str
    asked: float
    task: asyncio.Task[T]


class Shared(Generic[T]):
    """Answers by key. `made` counts those that had to be made; `seconds` is how long one is given again."""

    def __init__(
        self, *, seconds: float = SECONDS, most: int = MOST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds = seconds
        self._most = most
        self._clock = clock
        self._answers: dict[Hashable, _Answer[T]] = {}
        self.made = 0

    async def get(self, key: Hashable, position: str, make: Callable[[], Awaitable[T]]) -> T:
        """The answer made at this position, if it is new enough; else what `make` returns, for all who ask meanwhile.

        position: read before calling; empty when it isn't known, and then nothing is shared.
        Raises what `make` raises.
        """
        if not position:
            return await make()
        now = self._clock()
        answer = self._answers.get(key)
        if answer is None or answer.position != position or answer.asked <= now - self.seconds:
            answer = _Answer(position, now, asyncio.create_task(self._make(key, make)))
            # If all who asked have left, nobody is there to hear of its error.
            answer.task.add_done_callback(lambda task: task.cancelled() or task.exception())
            # Taken out and put back, so that the first key is the one longest not made.
            self._answers.pop(key, None)
            self._answers[key] = answer
            if len(self._answers) > self._most:
                del self._answers[next(iter(self._answers))]
        # The first to ask may leave; the others still wait for it.
        return await asyncio.shield(answer.task)

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        self.made += 1
        try:
            return await make()
        except BaseException:
            answer = self._answers.get(key)
            if answer is not None and answer.task is asyncio.current_task():
                del self._answers[key]
            raise
