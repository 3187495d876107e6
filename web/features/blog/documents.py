"""Posts as they are found, and the comments on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import unescape

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from hub.orm.declarations import Change

from ...pages.documents import MAX_TEXT, Document, Documents, Listed, Shown, Told
from ...pages.markdown import pieces
from ..comments.documents import comments_of
from ..comments.queries import count_comments
from .addresses import post_path
from .hints import concerns_readers
from .models import Filing, Post, PostCategory
from .queries import public

KIND = "post"

_TOGETHER = {
    *("a", "abbr", "b", "cite", "code", "del", "em", "i", "ins", "kbd", "mark", "q", "s", "samp", "small", "span"),
    *("strong", "sub", "sup", "time", "u", "var"),
}
_HEADINGS = {"h2", "h3", "h4", "h5", "h6"}


def texts_of(html: str) -> tuple[tuple[str, ...], str]:
    """The headings of a post's HTML, and its whole text, a line for each paragraph."""
    lines: list[str] = []
    headings: list[str] = []
    line: list[str] = []
    length = 0
    for slash, tag, _, text in pieces(html):
        if not tag:
            line.append(text)
            length += len(text)
        elif tag not in _TOGETHER:
            said = " ".join(unescape("".join(line)).split())
            line = []
            if said:
                lines.append(said)
                if slash and tag in _HEADINGS:
                    headings.append(said)
            if length > MAX_TEXT:
                break
    lines.append(" ".join(unescape("".join(line)).split()))
    return tuple(headings[:200]), "\n".join(lines).strip()


async def _read(session: AsyncSession, ids: Collection[int]) -> Sequence[Document]:
    columns = (Post.id, Post.thread_id, Post.title, Post.slug, Post.published_at, Post.keywords, Post.html)
    rows = (await session.execute(select(*columns).where(Post.id.in_(ids), public()))).all()
    counts = await count_comments(session, [row.thread_id for row in rows])
    filed: dict[int, list[str]] = {}
    names = (
        select(Filing.post_id, PostCategory.name)
        .join(PostCategory, PostCategory.id == Filing.category_id)
        .where(Filing.post_id.in_([row.id for row in rows]))
        .order_by(Filing.post_id, Filing.place)
    )
    for post_id, name in await session.execute(names):
        filed.setdefault(post_id, []).append(name)
    found = []
    for row in rows:
        headings, text = texts_of(row.html)
        found.append(
            Document(
                id=row.id,
                page=f"{KIND}-{row.id}",
                url=post_path(row.slug),
                title=row.title,
                headings=headings,
                text=text,
                categories=tuple(filed.get(row.id, ())),
                keywords=tuple(word.strip() for word in row.keywords.split(",") if word.strip()),
                at=row.published_at,
                comments=counts.get(row.thread_id, 0),
            )
        )
    return found


async def _concerned(session: AsyncSession, name: str, ids: Collection[int]) -> Collection[int]:
    if name == "post-category":
        return list(await session.scalars(select(Filing.post_id).where(Filing.category_id.in_(ids)).distinct()))
    return ids


async def _after(session: AsyncSession, last: int, most: int) -> Sequence[int]:
    return list(await session.scalars(select(Post.id).where(public(), Post.id > last).order_by(Post.id).limit(most)))


async def _look(session: AsyncSession, ids: Collection[int]) -> Mapping[int, Shown]:
    rows = await session.execute(select(Post.id, Post.slug, Post.title).where(Post.id.in_(ids), public()))
    return {id: Shown(post_path(slug), title) for id, slug, title in rows}


async def _newest(session: AsyncSession, most: int) -> Sequence[Listed]:
    newest = select(Post.slug, Post.title, Post.published_at).where(public())
    rows = await session.execute(newest.order_by(Post.published_at.desc(), Post.id.desc()).limit(most))
    return [Listed(post_path(slug), title, at) for slug, title, at in rows if at is not None]


def _moves_comments(post: Post, change: Change) -> bool:
    """Whether comments on it are found elsewhere, or by others, than before."""
    return bool(change.fields & {"title", "slug", "state", "published_at"}) or change.kind == "deleted"


DOCUMENTS = (
    Documents(
        kind=KIND,
        label="Post",
        labels="Posts",
        told=(
            Told("post", Post, {"when": concerns_readers}),
            Told("post-category", PostCategory, {"on": ["changed", "deleted"]}),
        ),
        concerned=_concerned,
        read=_read,
        after=_after,
        look=_look,
        newest=_newest,
    ),
    comments_of(Post, KIND, Post.title, Post.slug, lambda _, slug: post_path(slug), public, _moves_comments),
)
