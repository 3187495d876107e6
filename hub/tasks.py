"""Work of a node that goes on whatever becomes of the request that began it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger(__name__)

#: Seconds that work which was begun may still take at the end.
LAST_SECONDS = 5.0


class Tasks:
    """The tasks of one node. Made inside a running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.running: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what must be finished whatever becomes of the request; `finish` waits for it."""
        task = self._loop.create_task(work)
        self.running.add(task)
        task.add_done_callback(self._done)

    async def finish(self) -> None:
        """Wait for what was begun, at most LAST_SECONDS."""
        if self.running:
            await asyncio.wait(self.running, timeout=LAST_SECONDS)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("request failed", exc_info=error)
