"""The comments of a thread, as pages show them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import and_, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from .models import Comment, Thread

#: Comments on a page and in a JSON answer, the newest first.
SHOWN = 100

_MOST_ID = 2**31 - 1

# Columns and no objects, built once: this is most of what making a page costs.
_NEWEST = (
    select(Thread.is_open, Comment.id, Comment.name, Comment.text, Comment.posted_at)
    .outerjoin(Comment, and_(Comment.thread_id == Thread.id, Comment.id < bindparam("before")))
    .where(Thread.id == bindparam("thread"))
    .order_by(Comment.id.desc())
    .limit(SHOWN + 1)
)
_TOTAL = select(func.count()).select_from(Comment).where(Comment.thread_id == bindparam("thread"))


class Shown(Protocol):
    """A comment as it is shown: a row of the database."""

    id: int
    name: str
    text: str
    posted_at: datetime


@dataclass(frozen=True, slots=True)
class Discussion:
    """Some of a thread's comments, the newest first. older: the id before which the next ones are."""

    thread_id: int
    comments: Sequence[Shown]
    total: int
    older: int | None
    is_open: bool


async def read_discussion(session: AsyncSession, thread_id: int, before: int | None) -> Discussion:
    """The newest comments of a thread, or those before an id. A thread that is gone has none, and is closed."""
    rows = (await session.execute(_NEWEST, {"thread": thread_id, "before": before or _MOST_ID})).all()
    found = [row for row in rows if row.id is not None]
    total = len(found)
    if before is not None or total > SHOWN:
        total = await session.scalar(_TOTAL, {"thread": thread_id}) or 0
    shown: Sequence[Shown] = found[:SHOWN]
    older = shown[-1].id if len(found) > SHOWN else None
    return Discussion(thread_id, shown, total, older, bool(rows and rows[0].is_open))


async def count_comments(session: AsyncSession, thread_ids: Collection[int]) -> dict[int, int]:
    """How many comments each of these threads has; one that has none is not in it."""
    if not thread_ids:
        return {}
    counts = select(Comment.thread_id, func.count()).where(Comment.thread_id.in_(thread_ids))
    found = await session.execute(counts.group_by(Comment.thread_id))
    return dict(found.all())
