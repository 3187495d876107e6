"""Comments as they are found: parts of the page of their thread's owner."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from hub.orm.declarations import Change

from ...pages.documents import Document, Documents, Shown, Told
from .models import Comment

#: What a comment counts beside a page.
WEIGHT = 0.4

#: Where comments have a status, only what is published is for everybody.
_STATUS: Any = getattr(Comment, "status", None)


def comments_of(
    owner: Any,
    kind: str,
    title: Any,
    slug: Any,
    path: Callable[[int, str], str],
    public: Callable[[], ColumnElement[bool]] | None,
    moves: Callable[[Any, Change], bool],
) -> Documents:
    """The comments of one kind of owner.

    owner: its model, a `HasThread`. kind: what its own documents are called. title, slug: its columns; path: where one
    is, by its id and slug.
    public: which of the owners everybody may read. moves: whether a change of an owner makes its comments other.
    """
    page_told = f"{kind}-page"

    def visible(statement: Any) -> Any:
        statement = statement.join(owner, owner.thread_id == Comment.thread_id)
        if _STATUS is not None:
            statement = statement.where(_STATUS.type.enum_class("published") == _STATUS)
        return statement if public is None else statement.where(public())

    async def concerned(session: AsyncSession, name: str, ids: Collection[int]) -> Collection[int]:
        if name != page_told:
            return ids
        return list(await session.scalars(visible(select(Comment.id)).where(owner.id.in_(ids))))

    async def read(session: AsyncSession, ids: Collection[int]) -> Sequence[Document]:
        columns = (Comment.id, Comment.name, Comment.text, Comment.posted_at)
        statement = visible(select(*columns, owner.id.label("owner_id"), title.label("title"), slug.label("slug")))
        rows = (await session.execute(statement.where(Comment.id.in_(ids)))).all()
        return [
            Document(
                id=row.id,
                page=f"{kind}-{row.owner_id}",
                url=f"{path(row.owner_id, row.slug)}#comment-{row.id}",
                # Not its page's title: that would find all comments of a page by what it is called.
                title="",
                text=row.text,
                at=row.posted_at,
                weight=WEIGHT,
            )
            for row in rows
        ]

    async def after(session: AsyncSession, last: int, most: int) -> Sequence[int]:
        statement = visible(select(Comment.id)).where(Comment.id > last).order_by(Comment.id).limit(most)
        return list(await session.scalars(statement))

    async def look(session: AsyncSession, ids: Collection[int]) -> Mapping[int, Shown]:
        rows = await session.execute(visible(select(Comment.id, owner.id, slug, title)).where(Comment.id.in_(ids)))
        return {id: Shown(f"{path(on, where)}#comment-{id}", called) for id, on, where, called in rows}

    return Documents(
        kind=f"{kind}-comment",
        label="Comment",
        labels="Comments",
        told=(Told("comment", Comment), Told(page_told, owner, {"when": moves, "on": ["changed", "deleted"]})),
        concerned=concerned,
        read=read,
        after=after,
        look=look,
        parts_of=(page_told, kind),
    )
