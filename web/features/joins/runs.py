"""What was measured here, as rows. The page follows them, and who measures writes down how far he is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Float, String, Text, delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from hub.orm.sqlalchemy import AsyncNotifier

from ...db.tables import Base, Moment, now
from ...services.jobs import rows as jobs
from .measuring import Result

#: What the page follows: a run was begun, has come further, or is over; `true`.
RUNS = "lab-joins"

WAITING, MAKING, MEASURING, DONE, FAILED = "waiting", "making", "measuring", "done", "failed"
#: A run that nobody is at any more, and that has no result.
LOST = "lost"
_MAX_STATE, _MAX_WORDS = 16, 500


class JoinsRun(Base):
    """One run. job: who does it. found: how far it is, and what came of it, as JSON. words: why it failed."""

    __tablename__ = "joins_runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(Moment, default=now)
    job: Mapped[int | None]
    state: Mapped[str] = mapped_column(String(_MAX_STATE), default=WAITING)
    songs: Mapped[int]
    seconds: Mapped[float] = mapped_column(Float)
    found: Mapped[str | None] = mapped_column(Text)
    words: Mapped[str] = mapped_column(String(_MAX_WORDS), default="")


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it is shown. done, total: songs read, of how many."""

    id: int
    at: datetime
    job: int | None
    state: str
    songs: int
    seconds: float
    result: Result | None
    words: str
    done: int = 0
    total: int = 0

    @property
    def is_on(self) -> bool:
        """Whether it waits or is measured."""
        return self.state in {WAITING, MAKING, MEASURING}


def declare(notify: AsyncNotifier) -> None:
    """Say to a notifier what rows that are made, changed or removed tell."""
    notify.declare(JoinsRun, RUNS)


async def newest(session: AsyncSession, count: int) -> Sequence[Run]:
    """The newest runs, the newest first. One whose job has ended without a word of it is lost."""
    rows = list(await session.scalars(select(JoinsRun).order_by(JoinsRun.id.desc()).limit(count)))
    found = [_shown(row) for row in rows]
    if found and found[0].is_on and found[0].job is not None:
        number = found[0].job
        job = await session.run_sync(lambda session: jobs.get(session.connection(), number))
        if job is None or job.outcome is not None:
            found[0] = _shown(rows[0], LOST)
    return found


async def change(session: AsyncSession, id: int, **values: object) -> bool:
    """Write down how far a run is; False if it is no more."""
    row = await session.get(JoinsRun, id)
    if row is None:
        return False
    for name, value in values.items():
        setattr(row, name, value)
    return True


def kept(result: Result, done: int = 0, total: int = 0) -> str:
    """What came of a run, as a row keeps it."""
    return json.dumps({"done": done, "total": total, "result": result.as_json()}, separators=(",", ":"))


def short(words: str) -> str:
    """Words that fit a row."""
    return " ".join(words.split())[:_MAX_WORDS]


async def prune(session: AsyncSession, count: int) -> None:
    """Forget all but the newest."""
    last = await session.scalar(select(JoinsRun.id).order_by(JoinsRun.id.desc()).offset(count - 1).limit(1))
    if last is not None:
        await session.execute(delete(JoinsRun).where(JoinsRun.id < last))


def _shown(row: JoinsRun, state: str | None = None) -> Run:
    result, done, total = None, 0, 0
    if row.found is not None:
        try:
            found = json.loads(row.found)
            result, done, total = Result.of(found["result"]), int(found["done"]), int(found["total"])
        except (TypeError, LookupError, ValueError):
            # Another release wrote it.
            result = None
    return Run(row.id, row.at, row.job, state or row.state, row.songs, row.seconds, result, row.words, done, total)
