"""What a writer has typed and not saved: a row for each post and writer, written while they type."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from .models import MAX_DRAFTS, Post, PostDraft


class TooManyDrafts(Exception):
    """A writer has begun as many posts as may be without saving one."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What was typed: the fields of the form. edition: of the post that it was typed into; 0 for a new one."""

    uid: str
    edition: int
    saved_at: datetime
    fields: Mapping[str, str]

    @property
    def title(self) -> str:
        """What a list calls it."""
        return self.fields.get("title", "").strip() or "Untitled"


def is_uid(text: str) -> bool:
    """Whether a text names a post, as ours are written."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


async def keep(
    session: AsyncSession, uid: str, user_id: int, post_id: int | None, edition: int, fields: Mapping[str, str]
) -> datetime:
    """Keep what a writer has typed by now, and return when that was. Raises TooManyDrafts."""
    moment, text = now(), json.dumps(dict(fields), ensure_ascii=False)
    row = await session.scalar(select(PostDraft).where(PostDraft.uid == uid, PostDraft.user_id == user_id))
    if row is None:
        if post_id is None:
            begun = select(func.count()).select_from(PostDraft)
            count = await session.scalar(begun.where(PostDraft.user_id == user_id, PostDraft.post_id.is_(None)))
            if (count or 0) >= MAX_DRAFTS:
                raise TooManyDrafts
        row = PostDraft(uid=uid, user_id=user_id)
        session.add(row)
    row.post_id, row.edition, row.saved_at, row.fields = post_id, edition, moment, text
    await session.flush()
    return moment


async def read(session: AsyncSession, uid: str, user_id: int) -> Draft | None:
    """What a writer has typed into a post and not saved."""
    row = await session.scalar(select(PostDraft).where(PostDraft.uid == uid, PostDraft.user_id == user_id))
    return None if row is None else _draft(row)


async def begun(session: AsyncSession, user_id: int) -> Sequence[Draft]:
    """New posts that a writer has begun and not saved, the newest first."""
    rows = await session.scalars(
        select(PostDraft)
        .where(PostDraft.user_id == user_id, PostDraft.post_id.is_(None))
        .order_by(PostDraft.saved_at.desc(), PostDraft.id.desc())
    )
    return [_draft(row) for row in rows]


async def forget(session: AsyncSession, uid: str, user_id: int) -> None:
    """Forget what a writer has typed: it was saved, or is not wanted."""
    await session.execute(delete(PostDraft).where(PostDraft.uid == uid, PostDraft.user_id == user_id))


async def others(session: AsyncSession, post: Post, user_id: int) -> int:
    """How many other writers have typed something into a post that is not saved."""
    found = select(func.count()).select_from(PostDraft).where(PostDraft.uid == post.uid, PostDraft.user_id != user_id)
    return await session.scalar(found) or 0


def _draft(row: PostDraft) -> Draft:
    return Draft(row.uid, row.edition, row.saved_at, json.loads(row.fields))
