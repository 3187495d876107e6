"""A picture's forms are made when it is saved, in another process: first what it looks like from afar, then all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from ...pages import keys
from ...services.jobs.kinds import GiveUp, Job, Kind, TryAgain
from ...services.jobs.queue import Queue
from . import sweeping
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
    async with job.app[keys.database].reading() as session:
        row: Any = await session.get(owner_of(work.table), work.id)
        shown: Shown | None = None if row is None else row.shown_picture
    if shown is None or shown.hash != work.hash:
        return
    if shown.ready and shown.cropped != shown.focus:
        await _crop(job, shown, source, folder)
        return
    thumb = await job.in_process(make_thumb, name, source)
    if thumb:
        async with job.app[keys.database].saving() as session:
            await _put(session, work, lambda shown: replace(shown, thumb=thumb))
    made: Forms = await job.in_process(make_forms, name, source, folder, shown.focus)
    if made.full:
        raise TryAgain(made.error)
    async with job.saving() as session:
        await tell(session, work, made)
    if made.error:
        raise GiveUp(made.error)


async def _crop(job: Job, shown: Shown, source: str, folder: str) -> None:
    """The squares alone, for another focus. The picture is there, whatever comes of them."""
    work: Work = job.data
    made: Forms = await job.in_process(
        partial(make_forms, only_crops=True), job.app[engine_name], source, folder, shown.focus
    )
    if made.full:
        raise TryAgain(made.error)
    if made.error:
        raise GiveUp(made.error)
    async with job.saving() as session:
        await _put(session, work, lambda shown: _cropped(shown, made))
        # The squares that were shown until now.
        await sweeping.plan(session, job.app[keys.jobs], work.hash)


async def tell(session: AsyncSession, work: Work, made: Forms) -> None:
    """Write what was made into its row."""
    await _put(session, work, lambda shown: _with(shown, made))


def _with(shown: Shown, made: Forms) -> Shown:
    if made.size is None:
        return replace(shown, error=made.error)
    shown = _cropped(shown, made)
    return replace(
        shown,
        size=made.size,
        thumb=made.thumb,
        sizes=made.sizes,
        formats=made.formats,
        moving=made.moving,
        ready=True,
        error="",
    )


def _cropped(shown: Shown, made: Forms) -> Shown:
    # Who has said another focus since has another job waiting.
    return replace(shown, cropped=made.cropped) if made.cropped == shown.focus else shown


async def _put(session: AsyncSession, work: Work, change: Callable[[Shown], Shown]) -> None:
    row: Any = await session.get(owner_of(work.table), work.id, with_for_update=True)
    shown = None if row is None else row.shown_picture
    if shown is not None and shown.hash == work.hash:
        row.picture = change(shown).as_row()


#: Two at a time: each takes a processor.
MAKING = Kind(name="picture", run=_make, parse=Work.from_data, limit=60.0, attempts=5, at_once=2)
