"""Posts as lists, feeds and pages show them: as columns, a page in a few statements however many posts there are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from markupsafe import Markup
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from ...pages.sitemaps import Place
from ..pictures.forms import Shown
from .addresses import category_path, post_path
from .models import Filing, Post, PostCategory, State

#: Posts of a page.
SHOWN = 10

#: Categories that are offered as a filter.
MAX_OFFERED = 40

_NEWEST = (Post.published_at.desc(), Post.id.desc())

_IN_LIST = (
    Post.id,
    Post.thread_id,
    Post.title,
    Post.slug,
    Post.published_at,
    Post.summary,
    Post.excerpt,
)
_IN_FEED = (*_IN_LIST, Post.uid, Post.changed_at, Post.keywords, Post.html, Post.picture)


@dataclass(frozen=True, slots=True)
class Listed:
    """A post of a list. html, uid, changed_at and keywords: in feeds and on its own page only."""

    id: int
    thread_id: int
    title: str
    slug: str
    published_at: datetime
    summary: str
    categories: tuple[str, ...]
    uid: str = ""
    changed_at: datetime | None = None
    keywords: str = ""
    html: str = ""
    picture: Mapping[str, Any] | None = None

    @property
    def shown_picture(self) -> Shown | None:
        """The post's picture, if it has one."""
        return None if self.picture is None else Shown.from_row(self.picture)

    @property
    def body(self) -> Markup:
        """The HTML for a template: the renderer has made it safe."""
        return Markup(self.html)

    @property
    def updated_at(self) -> datetime:
        """The last time that it became other, as a reader sees it: what was written before it was published is not."""
        return max(self.published_at, self.changed_at or self.published_at)


def public() -> ColumnElement[bool]:
    """What may be read by everybody now."""
    return (Post.state == State.PUBLISHED) & (Post.published_at <= now())


async def read_categories(session: AsyncSession, names: Sequence[str]) -> Mapping[str, int]:
    """The ids of categories by name; of those that there are."""
    found = await session.execute(select(PostCategory.name, PostCategory.id).where(PostCategory.name.in_(names)))
    return dict(found.all())


async def offered(session: AsyncSession) -> Sequence[str]:
    """The names of categories to choose from."""
    return list(await session.scalars(select(PostCategory.name).order_by(PostCategory.name).limit(MAX_OFFERED)))


async def read_list(
    session: AsyncSession, category_ids: Collection[int], page: int, *, full: bool = False, count: int = SHOWN
) -> tuple[list[Listed], bool]:
    """A page of the newest posts, of all or of those in any of some categories; and whether there are older ones."""
    # The ids first, out of the index alone: what is on the pages before is not read.
    ids = select(Post.id).where(public())
    if category_ids:
        filed = select(Filing.post_id).where(Filing.post_id == Post.id, Filing.category_id.in_(category_ids))
        ids = ids.where(filed.exists())
    # One more than is shown tells whether there are others.
    ids = ids.order_by(*_NEWEST).offset((page - 1) * count).limit(count + 1)
    posts = select(*(_IN_FEED if full else _IN_LIST)).where(Post.id.in_(ids.scalar_subquery())).order_by(*_NEWEST)
    rows = (await session.execute(posts)).all()
    return await _listed(session, list(rows[:count])), len(rows) > count


async def read_post(session: AsyncSession, post_id: int) -> Listed | None:
    """A post that may be read now."""
    rows = (await session.execute(select(*_IN_FEED).where(Post.id == post_id, public()))).all()
    return next(iter(await _listed(session, rows)), None)


async def count_posts(session: AsyncSession) -> int:
    """How many posts may be read now."""
    return await session.scalar(select(func.count()).select_from(Post).where(public())) or 0


async def read_places(session: AsyncSession, skip: int, most: int) -> Sequence[Place]:
    """Where public posts are and when they changed, the oldest first: what is on one part of them stays there."""
    ids = select(Post.id).where(public()).order_by(Post.published_at, Post.id).offset(skip).limit(most)
    columns = select(Post.slug, Post.published_at, Post.changed_at).where(Post.id.in_(ids.scalar_subquery()))
    rows = await session.execute(columns.order_by(Post.published_at, Post.id))
    return [(post_path(slug), max(since, changed)) for slug, since, changed in rows if since is not None]


async def read_lists(session: AsyncSession) -> Sequence[str]:
    """Where lists of posts are."""
    return ["/", *map(category_path, await offered(session))]


async def _listed(session: AsyncSession, rows: Sequence[Any]) -> list[Listed]:
    categories: dict[int, list[str]] = {}
    if rows:
        filed = (
            select(Filing.post_id, PostCategory.name)
            .join(PostCategory, PostCategory.id == Filing.category_id)
            .where(Filing.post_id.in_([row.id for row in rows]))
            .order_by(Filing.post_id, Filing.place)
        )
        for post_id, name in await session.execute(filed):
            categories.setdefault(post_id, []).append(name)
    found = []
    for row in rows:
        values = dict(row._mapping)
        values["summary"] = values["summary"] or values["excerpt"]
        del values["excerpt"]
        found.append(Listed(**values, categories=tuple(categories.get(row.id, ()))))
    return found
