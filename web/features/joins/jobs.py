"""A run that was begun on the page: makes the songs if need be, measures, and writes down what came of it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from ...db.database import Database
from ...db.settings import DatabaseSettings
from ...pages import keys
from ...services.jobs.kinds import GiveUp, Job, Kind
from . import runs
from .measuring import Options, Result, WrongCount, measure
from .settings import JoinsSettings
from .store import Refused, Store

#: Seconds between two writings of what came of it so far: open pages draw it anew each time.
_WRITE = 1.0


async def _run(job: Job) -> None:
    settings = job.app[keys.settings]
    chosen = settings[JoinsSettings]
    database: Database = job.app[keys.database]
    run = int(job.data["run"])
    store = Store(settings[DatabaseSettings].url)
    try:
        if not await _write(database, run, state=runs.MAKING):
            raise GiveUp("the run is no more")
        size = await store.make(job.data["songs"], lambda done, total, words: job.progress(done, total, words))
        await _write(database, run, state=runs.MEASURING)
        telling = _Telling(job, database, run)
        options = Options(job.data["seconds"], chosen.looks, shuffle=run)
        result = await measure(store, size, options, telling.report)
        await telling.over()
        job.progress(1, 1, f"{result.took:.1f} s")
    except (Refused, WrongCount, SQLAlchemyError, OSError) as error:
        words = runs.short(str(error).partition("\n")[0] or type(error).__name__)
        await _write(database, run, state=runs.FAILED, words=words)
        raise GiveUp(words) from error
    finally:
        await store.close()
    async with job.saving() as session:
        await runs.change(session, run, state=runs.DONE, found=runs.kept(result))
        await runs.prune(session, chosen.kept)


class _Telling:
    """Tells how far a run is, and now and then writes it down: one writing at a time, and none waits for it."""

    def __init__(self, job: Job, database: Database, run: int) -> None:
        self._job, self._database, self._run = job, database, run
        self._next = time.monotonic() + _WRITE
        self._task: asyncio.Task[Any] | None = None

    def report(self, done: int, total: int, so_far: Any) -> None:
        """For `measure`."""
        self._job.progress(done, total, f"{done:,} of {total:,} songs, each in three ways")
        if time.monotonic() >= self._next and (self._task is None or self._task.done()):
            self._next = time.monotonic() + _WRITE
            result: Result = so_far()
            writing = _write(self._database, self._run, found=runs.kept(result, done, total))
            self._task = asyncio.create_task(writing)

    async def over(self) -> None:
        """Wait for the last writing."""
        if self._task is not None:
            await asyncio.wait([self._task])


async def _write(database: Database, run: int, **values: Any) -> bool:
    async with database.saving() as session:
        return await runs.change(session, run, **values)


#: A killed worker's run is measured once more from the beginning.
MEASURING = Kind(name="joins", run=_run, at_once=1, attempts=2, limit=1800.0)


async def _drop(job: Job) -> None:
    store = Store(job.app[keys.settings][DatabaseSettings].url)
    try:
        await store.drop()
    except (Refused, OSError) as error:
        raise GiveUp(runs.short(str(error))) from error
    finally:
        await store.close()


#: As long as it takes to have the songs' lock.
DROPPING = Kind(name="joins-drop", run=_drop, at_once=1, attempts=2)
