"""The comments of a thread, as pages show them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from ...db.database import Database
from .models import Comment, Thread

#: Comments on a page and in a JSON answer, the newest first.
SHOWN = 100


@dataclass(frozen=True, slots=True)
class Discussion:
    """Some of a thread's comments, the newest first. older: the id before which the next ones are."""

    thread_id: int
    comments: list[Comment]
    total: int
    older: int | None
    is_open: bool


async def read_discussion(database: Database, thread_id: int, before: int | None) -> Discussion:
    """The newest comments of a thread, or those before an id."""
    of_thread = Comment.thread_id == thread_id
    statement = select(Comment).where(of_thread).order_by(Comment.id.desc()).limit(SHOWN + 1)
    if before is not None:
        statement = statement.where(Comment.id < before)
    async with database.reading() as session:
        is_open = await session.scalar(select(Thread.is_open).where(Thread.id == thread_id))
        found = list(await session.scalars(statement))
        if before is None and len(found) <= SHOWN:
            total = len(found)
        else:
            total = await session.scalar(select(func.count()).select_from(Comment).where(of_thread)) or 0
    shown = found[:SHOWN]
    return Discussion(thread_id, shown, total, shown[-1].id if len(found) > SHOWN else None, bool(is_open))
