"""Adds jobs to a session's transaction, and says when it was committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from . import rows
from .kinds import Kind
from .rows import New

_KEY = "web.services.jobs"


class Queue:
    """Where saves put work for later."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        #: Called, in the loop's thread, after each commit that has jobs in it; must not wait.
        self.listeners: list[Callable[[], None]] = []

    async def add(
        self, session: AsyncSession, kind: Kind | str, data: Any = None, *, key: str | None = None, after: float = 0.0
    ) -> int:
        """Add a job to the transaction; return its id. It is done, soon, if and only if that is committed.

        data: a JSON value. key: if a job with this key waits, it has the newer data and the earlier time from now on,
        and its id is returned. after: seconds before it is due. Raises ValueError for data that isn't JSON or is
        too long.
        """
        name = kind if isinstance(kind, str) else kind.name
        return (await self.add_many(session, [New(name, data, key, self._clock() + after)]))[0]

    async def add_many(self, session: AsyncSession, jobs: Sequence[New]) -> list[int]:
        """Add many jobs in two statements at most; return their ids, in their order."""
        if not jobs:
            return []
        return await session.run_sync(self._add, jobs)

    def _add(self, session: Session, jobs: Sequence[New]) -> list[int]:
        ids = rows.add(session.connection(), jobs, self._clock())
        session.info[_KEY] = True
        if not event.contains(session, "after_commit", self._committed):
            event.listen(session, "after_commit", self._committed)
        return ids

    def _committed(self, session: Session) -> None:
        # The event comes for savepoints too; those rows are not committed yet.
        if session.in_nested_transaction() or not session.info.pop(_KEY, False):
            return
        for listener in self.listeners:
            listener()
