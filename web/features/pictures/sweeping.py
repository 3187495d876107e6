"""Files that no row shows any more go a day later: until then pages that others have kept show them.

Feeds name another picture as often as they like, and every new focus has squares of its own; without this all would
stay for ever. Who replaces a picture plans it; every hour all files are looked at, for what nobody planned: rows that
were deleted, by whatever means, other widths, pieces that a killed process left.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Text, cast, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...pages import keys
from ...services.jobs.kinds import Every, Job, Kind
from ...services.jobs.queue import Queue
from ...services.jobs.rows import New
from .forms import Shown
from .keys import store
from .models import HasPicture
from .store import Store

#: Seconds.
AFTER = 24 * 3600.0

#: Seconds in which a file may not be in a row yet, or is being written.
_FRESH = 3600.0

#: Rows that are read at once, and jobs that are planned at once.
_BATCH = 500

#: The names of a picture's files that rows show; None for whatever there is, while it is being made.
Names = frozenset[str] | None

_HASH = re.compile("[0-9a-f]{32}")


async def plan(session: AsyncSession, jobs: Queue, hash: str) -> None:
    """Have those of a picture's files taken away that no row shows a day from now."""
    await jobs.add(session, SWEEPING, hash, key=_key(hash), after=AFTER)


async def _sweep(job: Job) -> None:
    hash: str = job.data
    shown: dict[str, Names] = {}
    async with job.app[keys.database].reading() as session:
        for model in _owners():
            having = select(model.picture).where(cast(model.picture, Text).contains(hash))
            for data in await session.scalars(having):
                _add(shown, data)
    await asyncio.to_thread(_take_away, job.app[store], hash, shown)


async def _look(job: Job) -> None:
    """Plan the sweep of every picture that has files too many."""
    shown: dict[str, Names] = {}
    async for data in _rows(job):
        _add(shown, data)
    found = await asyncio.to_thread(lambda: list(_unused(job.app[store], shown)))
    due = time.time() + AFTER
    for start in range(0, len(found), _BATCH):
        new = [New(SWEEPING.name, hash, _key(hash), due) for hash in found[start : start + _BATCH]]
        async with job.app[keys.database].saving() as session:
            await job.app[keys.jobs].add_many(session, new)


async def _rows(job: Job) -> AsyncIterator[Mapping[str, Any]]:
    """The pictures of all rows, some at a time: the loop goes on between them."""
    for model in _owners():
        last, rows = 0, list[Any]()
        while not last or len(rows) == _BATCH:
            asked = select(model.id, model.picture).where(model.id > last, model.picture.is_not(None))
            async with job.app[keys.database].reading() as session:
                rows = list((await session.execute(asked.order_by(model.id).limit(_BATCH))).all())
            if not rows:
                break
            last = rows[-1].id
            for row in rows:
                yield row.picture


def _add(found: dict[str, Names], data: Mapping[str, Any]) -> None:
    # Two rows may have one picture, each with a focus of its own.
    shown = Shown.from_row(data)
    before = found.get(shown.hash, frozenset())
    found[shown.hash] = None if before is None or shown.files is None else before | shown.files


def _unused(store: Store, shown: Mapping[str, Names]) -> Iterator[str]:
    """Hashes of pictures with files that rows don't show. Blocks."""
    for path in store.originals():
        if path.name.startswith(".new-"):
            _unlink_old(path)
        elif path.name not in shown and _HASH.fullmatch(path.name):
            yield path.name
    for folder in store.all_forms():
        if _HASH.fullmatch(folder.name) and any(_surplus(folder, shown.get(folder.name, frozenset()))):
            yield folder.name


def _surplus(folder: Path, names: Names) -> Iterator[Path]:
    if names is not None:
        with suppress(FileNotFoundError):
            yield from (each for each in folder.iterdir() if each.name not in names)


def _take_away(store: Store, hash: str, shown: Mapping[str, Names]) -> None:
    original = store.original(hash)
    if hash in shown:
        for path in list(_surplus(store.forms(hash), shown[hash])):
            _unlink_old(path)
    elif not _is_fresh(original):
        shutil.rmtree(store.forms(hash), ignore_errors=True)
        original.unlink(missing_ok=True)


def _unlink_old(path: Path) -> None:
    if not _is_fresh(path):
        path.unlink(missing_ok=True)


def _is_fresh(path: Path) -> bool:
    try:
        return path.stat().st_mtime > time.time() - _FRESH
    except FileNotFoundError:
        return False


def _owners() -> list[Any]:
    return list(HasPicture.__subclasses__())


def _key(hash: str) -> str:
    return f"picture unused:{hash}"


def _hash(data: Any) -> str:
    if not isinstance(data, str) or _HASH.fullmatch(data) is None:
        raise ValueError("a picture is named by its hash")
    return data


SWEEPING = Kind(name="picture unused", run=_sweep, parse=_hash, attempts=3, at_once=1)
LOOKING = Kind(name="pictures swept", run=_look, limit=600.0, attempts=3, at_once=1)
PERIODIC = (Every(name="pictures swept", kind=LOOKING.name, seconds=3600.0, offset=2700.0),)
