"""What else must work for the hub to be ready, such as the database of the site beside it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

#: Raises whatever it likes when something is not well; the first line of its words is the reason.
Check = Callable[[], Awaitable[None]]

#: Seconds a probe waits for the checks. Kubernetes gives a probe one second unless told otherwise.
PATIENCE = 0.8


class Checks:
    """Checks that are made when a probe asks; for all who ask at a time, once."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._checks: list[Check] = []
        self._patience = patience
        self._look: asyncio.Task[str] | None = None
        self._noted = ""

    def append(self, check: Check) -> None:
        """Ask this one too, after the others."""
        self._checks.append(check)

    async def reason(self) -> str:
        """Why this process isn't ready, in one line; "" when all is well. Answers in time, whatever they do."""
        if not self._checks:
            return ""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._ask())
        try:
            async with asyncio.timeout(self._patience):
                # The next probe finds the answer that came too late for this one.
                reason = await asyncio.shield(self._look)
        except TimeoutError:
            reason = f"a check takes longer than {self._patience:g} s"
        # Probes come every few seconds; a log line is worth it when the answer is another one.
        if reason and reason != self._noted:
            logger.warning("not ready", extra={"reason": reason})
        self._noted = reason
        return reason

    def close(self) -> None:
        """Make no more checks: what they look at is about to be closed."""
        self._checks.clear()
        if self._look is not None:
            self._look.cancel()

    async def _ask(self) -> str:
        for check in self._checks:
            try:
                await check()
            # A check belongs to whoever gave it: any error of it means that this process isn't ready.
            except Exception as error:
                logger.debug("check failed", exc_info=True)
                return (str(error).strip().splitlines() or [type(error).__name__])[0]
        return ""
