"""Wakes the workers of other processes: a hint on a channel, after commits that have jobs in them.

It is given after the commit and may get lost: the rows are the truth, and are looked for every few seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from hub.errors import HubError
from hub.publisher import Publisher

logger = logging.getLogger(__name__)

#: Where hints are told; all that is said there is `true`.
CHANNEL = "fanfare-jobs"

#: Seconds between two hints of one process.
_PAUSE = 0.1


class Hinter:
    """A listener of a `Queue` that tells other processes."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._task: asyncio.Task[None] | None = None
        self._more = False

    def __call__(self) -> None:
        """Tell it, now or as soon as the pause is over. Only from the loop's thread."""
        self._more = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._tell(), name="web.services.jobs.hints")

    async def close(self) -> None:
        """Stop; a hint that was not told yet is not needed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _tell(self) -> None:
        while self._more:
            self._more = False
            try:
                await self._publisher.publish(CHANNEL, True, hint=True)
            except HubError as error:
                logger.info("workers could not be woken, they look by themselves", extra={"error": str(error)})
            await asyncio.sleep(_PAUSE)


async def wake_by(
    follow: Callable[[str], AbstractAsyncContextManager[AsyncIterator[object]]], wake: Callable[[], None]
) -> None:
    """Call `wake` for each hint, and when some may be lost, until cancelled. follow: a hub's (`hub.follower`)."""
    async with follow(CHANNEL) as follower:
        async for _ in follower:
            wake()
