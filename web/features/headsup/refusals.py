"""Deliveries that were refused are counted, without anything of theirs: in memory, and every few seconds in the table.

Who sends rubbish makes no row and no write of each; at most a row a day, project and reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress

from aiohttp import web
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ...db.database import Database
from ...db.tables import now
from .models import HeadsupProject, HeadsupRefusal

logger = logging.getLogger(__name__)

#: Seconds between two writes.
_PAUSE = 5.0

#: Counters that are kept between two writes; who asks for projects at random makes many.
_MOST = 1000

#: Why a delivery is refused, as the log's readers see it.
UNSIGNED, BAD_SIGNATURE, UNKNOWN = (
    "without a signature",
    "with a wrong signature",
    "of a repository that nobody watches",
)
TOO_LONG, BAD_TYPE, TOO_SLOW = "longer than allowed", "of a type that is not JSON", "that did not arrive in time"
NO_ROOM = "that found no room beside others"


class Refusals:
    """Counts refusals. totals: by reason, since this process began."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: Counter[tuple[int, str]] = Counter()
        self._task: asyncio.Task[None] | None = None
        self.totals: Counter[str] = Counter()

    def count(self, reason: str, project_id: int = 0) -> None:
        """Count one. project_id: of a project there is; 0 for none."""
        self.totals[reason] += 1
        if len(self._waiting) < _MOST or (project_id, reason) in self._waiting:
            self._waiting[project_id, reason] += 1

    async def start(self) -> None:
        """Begin to write them down."""
        self._task = asyncio.create_task(self._on())

    async def stop(self) -> None:
        """Write down what is left."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.flush()

    async def flush(self) -> None:
        """Write down what was counted."""
        waiting, self._waiting = self._waiting, Counter()
        moment = now()
        day = f"{moment:%Y-%m-%d}"
        for (project_id, reason), count in waiting.items():
            key = {"project_id": project_id, "day": day, "reason": reason}
            try:
                await self._add(key, count)
            except IntegrityError:
                # Another process was the first of this day.
                with suppress(SQLAlchemyError):
                    await self._add(key, count)
            except SQLAlchemyError as error:
                logger.warning("refused deliveries are not noted", extra={"error": str(error)[:200]})

    async def _add(self, key: dict[str, object], count: int) -> None:
        async with self._database.saving() as session:
            statement = update(HeadsupRefusal).filter_by(**key)
            done = await session.execute(statement.values(count=HeadsupRefusal.count + count, last_at=now()))
            if done.rowcount:  # type: ignore[attr-defined]  # of an UPDATE there is one
                return
            project_id = key["project_id"]
            # It may have been deleted since; the row would be left to a later one of its id.
            if not project_id or await session.get(HeadsupProject, project_id) is not None:
                session.add(HeadsupRefusal(**key, count=count, last_at=now()))

    async def _on(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE)
            await self.flush()


refusals: web.AppKey[Refusals] = web.AppKey("headsup refusals", Refusals)
