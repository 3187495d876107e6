"""A picture's forms are made when it is saved, in another process: first what it looks like from afar, then all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from ...pages import keys
from ...services.jobs.kinds import GiveUp, Job, Kind, TryAgain
from ...services.jobs.queue import Queue
from .forms import Shown
from .keys import engine_name, store
from .making import Forms, make_forms, make_thumb
from .models import owner_of


@dataclass(frozen=True, slots=True)
class Work:
    """The picture of a row: another one by now, and there is nothing to do."""

    table: str
    id: int
    hash: str

    @classmethod
    def from_data(cls, data: Any) -> Work:
        return cls(str(data["table"]), int(data["id"]), str(data["hash"]))


async def plan(session: AsyncSession, jobs: Queue, table: str, id: int, hash: str) -> None:
    """Have a picture's forms made, once this is committed."""
    await jobs.add(session, MAKING, {"table": table, "id": id, "hash": hash}, key=f"picture:{table}:{id}")


async def _make(job: Job) -> None:
    work: Work = job.data
    where, name = job.app[store], job.app[engine_name]
    source, folder = str(where.original(work.hash)), str(where.forms(work.hash))
    thumb = await job.in_process(make_thumb, name, source)
    if thumb:
        async with job.app[keys.database].saving() as session:
            await _put(session, work, lambda shown: replace(shown, thumb=thumb))
    made: Forms = await job.in_process(make_forms, name, source, folder)
    if made.full:
        raise TryAgain(made.error)
    async with job.saving() as session:
        await tell(session, work, made)
    if made.error:
        raise GiveUp(made.error)


async def tell(session: AsyncSession, work: Work, made: Forms) -> None:
    """Write what was made into its row."""
    await _put(session, work, lambda shown: _with(shown, made))


def _with(shown: Shown, made: Forms) -> Shown:
    if made.size is None:
        return replace(shown, error=made.error)
    return replace(
        shown, size=made.size, thumb=made.thumb, sizes=made.sizes, formats=made.formats, ready=True, error=""
    )


async def _put(session: AsyncSession, work: Work, change: Callable[[Shown], Shown]) -> None:
    row: Any = await session.get(owner_of(work.table), work.id, with_for_update=True)
    shown = None if row is None else row.shown_picture
    if shown is not None and shown.hash == work.hash:
        row.picture = change(shown).as_row()


#: Two at a time: each takes a processor.
MAKING = Kind(name="picture", run=_make, parse=Work.from_data, limit=60.0, attempts=5, at_once=2)
