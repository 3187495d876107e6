"""Tells a service of views: from a bounded queue, in batches, later again if it fails, and never in a request's way.

    taken → waits → sent | dropped and why
        full       more waited than may: the oldest go
        refused    the service said no (4xx), or it can't be asked at all
        failed     it did not answer, or with 5xx or 429, as often as it was tried
        ignored    it took the request, and not the view
        left       the process ended before it was sent

A view that was sent and not answered is sent again: a service may count it twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Callable

from ...services.outbound import BadAnswer, Fetched, Forbidden, Limits, Outbound, OutboundError
from .breaker import Breaker
from .records import View
from .targets.target import Call, Target

logger = logging.getLogger(__name__)

#: How often a request is sent, and seconds before it is sent again, doubled each time; half of that is by chance.
TRIES = 3
PAUSE = 0.5

#: Views taken from the queue at a time, requests under way at a time, and seconds that a batch waits to grow.
BATCH = 100
AT_ONCE = 2
GROW = 1.0


class Sender:
    """Tells one service. outbound: gives the client, which is there once the application runs."""

    def __init__(
        self,
        target: Target,
        outbound: Callable[[], Outbound],
        *,
        most: int,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.target = target
        self.breaker = Breaker()
        #: Views by what became of them.
        self.counts: Counter[str] = Counter()
        self._outbound = outbound
        self._most = most
        self._limits = Limits(wire=64 * 1024, body=64 * 1024, connect=timeout, gap=timeout, total=timeout)
        self._clock = clock
        self._waiting: deque[View] = deque()
        self._some = asyncio.Event()
        self._under_way = 0
        self._ending = asyncio.Event()
        self._said: set[str] = set()

    @property
    def waiting(self) -> int:
        """Views that are not sent yet."""
        return len(self._waiting) + self._under_way

    def add(self, view: View) -> None:
        """Take a view. Of too many the oldest goes."""
        self.counts["taken"] += 1
        if len(self._waiting) >= self._most:
            self._waiting.popleft()
            self.counts["full"] += 1
        self._waiting.append(view)
        self._some.set()

    async def run(self) -> None:
        """Send what comes, until cancelled."""
        while True:
            await self._some.wait()
            if len(self._waiting) < BATCH:
                await self._pause(GROW)
            if pause := self.breaker.wait(self._clock()):
                await asyncio.sleep(pause)
            await self._send_some()
            if not self._waiting:
                self._some.clear()

    async def close(self, task: asyncio.Task[None], linger: float) -> None:
        """Let what waits be sent, for so many seconds; what is left then is dropped, and counted. task: of `run`."""
        self._ending.set()
        until = self._clock() + linger
        # What failed long enough to open the breaker is not waited for again.
        while self.waiting and not self.breaker.is_open and self._clock() < until:  # noqa: ASYNC110  # once, and bounded
            await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
        self.counts["left"] += len(self._waiting)
        self._waiting.clear()

    async def _pause(self, seconds: float) -> None:
        """Wait for so many seconds, or until sending is to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()

    async def _send_some(self) -> None:
        # One, to see, where the last ones failed.
        size = 1 if self.breaker.is_open else BATCH
        some = [self._waiting.popleft() for _ in range(min(size, len(self._waiting)))]
        calls = deque(self.target.calls(some))
        # What a call says of itself was made from these; what can't be told makes none.
        self.counts["refused"] += len(some) - sum(call.views for call in calls)
        self._under_way = sum(call.views for call in calls)
        try:
            await asyncio.gather(*(self._send_in_turn(calls) for _ in range(AT_ONCE)))
        finally:
            # Cancelled, with some not sent or not answered.
            self.counts["left"] += self._under_way
            self._under_way = 0

    async def _send_in_turn(self, calls: deque[Call]) -> None:
        while calls:
            call = calls.popleft()
            outcome, ignored = await self._send(call)
            self.counts[outcome] += call.views - ignored
            self.counts["ignored"] += ignored
            self._under_way -= call.views

    async def _send(self, call: Call) -> tuple[str, int]:
        """What became of a call, and how many of its views were ignored."""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(PAUSE * 2**attempt * (0.5 + random.random() / 2))
            if wait := self.breaker.wait(self._clock()):
                await asyncio.sleep(wait)
            try:
                answer = await self._outbound().fetch(
                    call.url, method="POST", headers=call.headers, data=call.body, limits=self._limits
                )
            except (Forbidden, BadAnswer) as error:
                self._say(str(error))
                self.breaker.fail(self._clock())
                return "refused", 0
            except OutboundError as error:
                self._failed(str(error))
                continue
            except Exception:
                # A bug of ours with this one; the others wait.
                logger.exception("views not sent", extra={"target": self.target.name})
                return "refused", 0
            if answer.ok:
                return self._taken(call, answer)
            if answer.status != 429 and answer.status < 500:
                # It is there, and would say the same again.
                self.breaker.succeed()
                self._say(f"it answers {answer.status}")
                return "refused", 0
            self._failed(f"it answers {answer.status}")
            if answer.retry_after:
                self.breaker.rest(self._clock(), answer.retry_after)
        return "failed", 0

    def _taken(self, call: Call, answer: Fetched) -> tuple[str, int]:
        self.breaker.succeed()
        self._said.clear()
        taken = self.target.taken(call, answer.headers, answer.body)
        if taken.ignored:
            self._say(taken.why)
        return "sent", min(taken.ignored, call.views)

    def _failed(self, why: str) -> None:
        self.breaker.fail(self._clock())
        self._say(why)

    def _say(self, why: str) -> None:
        # Each reason once until it works again: it may be the same for thousands.
        if why not in self._said and len(self._said) < 20:
            self._said.add(why)
            logger.warning("views are not taken", extra={"target": self.target.name, "why": why})
