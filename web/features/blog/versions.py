"""What a post was: a row for each edition that has passed, so that one who restores it, or looks, finds it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from .models import MAX_VERSIONS, Filing, Format, Post, PostCategory, PostVersion


@dataclass(frozen=True, slots=True)
class Listed:
    """A version in a list. is_now: it is the post as it is."""

    edition: int
    changed_at: datetime
    changed_by: str
    title: str
    is_now: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    """A post as it was at an edition, or is."""

    edition: int
    changed_at: datetime
    changed_by: str
    title: str
    slug: str
    format: Format
    summary: str
    categories: tuple[str, ...]
    keywords: str
    text: str

    def facts(self) -> dict[str, str]:
        """All but the text, by what people call it."""
        return {
            "Title": self.title,
            "Address": self.slug,
            "Format": self.format.label,
            "Summary": self.summary,
            "Categories": ", ".join(self.categories),
            "Keywords": self.keywords,
        }


async def keep(session: AsyncSession, post: Post) -> None:
    """Keep a post as it is, in the transaction that changes it next. Of many versions the oldest go."""
    session.add(
        PostVersion(
            post_id=post.id,
            edition=post.edition,
            changed_at=post.changed_at,
            changed_by=post.changed_by,
            title=post.title,
            slug=post.slug,
            format=post.format,
            keywords=post.keywords,
            categories=json.dumps(await categories_of(session, post.id), ensure_ascii=False),
            summary=post.summary,
            text=post.text,
        )
    )
    await session.flush()
    # Editions are counted by one, and each but the newest has its row.
    oldest = post.edition - MAX_VERSIONS
    await session.execute(delete(PostVersion).where(PostVersion.post_id == post.id, PostVersion.edition <= oldest))


async def categories_of(session: AsyncSession, post_id: int) -> tuple[str, ...]:
    """The names of a post's categories, in their order."""
    filed = (
        select(PostCategory.name)
        .join(Filing, Filing.category_id == PostCategory.id)
        .where(Filing.post_id == post_id)
        .order_by(Filing.place)
    )
    return tuple(await session.scalars(filed))


async def listed(session: AsyncSession, post: Post) -> Sequence[Listed]:
    """All versions that are kept of a post, the newest first; the first is the post as it is."""
    columns = (PostVersion.edition, PostVersion.changed_at, PostVersion.changed_by, PostVersion.title)
    rows = await session.execute(
        select(*columns).where(PostVersion.post_id == post.id).order_by(PostVersion.edition.desc())
    )
    present = Listed(post.edition, post.changed_at, post.changed_by, post.title, is_now=True)
    return [present, *(Listed(*row) for row in rows)]


async def read(session: AsyncSession, post: Post, edition: int) -> Version | None:
    """A post at an edition; None if that is not kept."""
    if edition == post.edition:
        return Version(
            post.edition,
            post.changed_at,
            post.changed_by,
            post.title,
            post.slug,
            post.format,
            post.summary,
            await categories_of(session, post.id),
            post.keywords,
            post.text,
        )
    found = await session.scalar(
        select(PostVersion).where(PostVersion.post_id == post.id, PostVersion.edition == edition)
    )
    if found is None:
        return None
    return Version(
        found.edition,
        found.changed_at,
        found.changed_by,
        found.title,
        found.slug,
        found.format,
        found.summary,
        tuple(json.loads(found.categories)),
        found.keywords,
        found.text,
    )
