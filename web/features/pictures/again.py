"""All pictures' forms are made again: after an engine or the widths have changed, or files were lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from ...db.database import Database
from . import jobs
from .forms import Shown
from .making import make_forms
from .models import HasPicture
from .store import Store

#: Done, of how many, and what was done last.
Bar = Callable[[int, int, str], None]


async def make_again(database: Database, store: Store, name: str, bar: Bar) -> tuple[int, int]:
    """Make them by an engine's name; how many there are, and how many failed."""
    failed = 0
    rows: list[tuple[Any, int, Shown]] = []
    async with database.reading() as session:
        for model in _owners():
            found = await session.execute(select(model.id, model.picture).where(model.picture.is_not(None)))
            rows += [(model, id, Shown.from_row(data)) for id, data in found]
    for number, (model, id, shown) in enumerate(rows, 1):
        source, folder = str(store.original(shown.hash)), str(store.forms(shown.hash))
        made = await asyncio.to_thread(make_forms, name, source, folder, shown.focus, bounded=False)
        failed += bool(made.error)
        async with database.saving() as session:
            await jobs.tell(session, jobs.Work(model.__tablename__, id, shown.hash), made)
        bar(number, len(rows), f"{model.__tablename__} {id}{': ' + made.error if made.error else ''}")
    return len(rows), failed


def _owners() -> list[Any]:
    return list(HasPicture.__subclasses__())
