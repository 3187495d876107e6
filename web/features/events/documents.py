"""Events as they are found, and the comments on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from hub.orm.declarations import Change

from ...pages.documents import Document, Documents, Shown, Told
from ..comments.documents import comments_of
from ..comments.queries import count_comments
from .models import Category, Event

KIND = "event"


def event_path(slug: str) -> str:
    """Where an event is."""
    return f"/events/{slug}"


async def _read(session: AsyncSession, ids: Collection[int]) -> Sequence[Document]:
    columns = (Event.id, Event.thread_id, Event.title, Event.slug, Event.description, Event.starts_at, Category.name)
    rows = (await session.execute(select(*columns).join(Event.category).where(Event.id.in_(ids)))).all()
    counts = await count_comments(session, [row.thread_id for row in rows])
    return [
        Document(
            id=row.id,
            page=f"{KIND}-{row.id}",
            url=event_path(row.slug),
            title=row.title,
            text=row.description,
            categories=(row.name,),
            at=row.starts_at,
            comments=counts.get(row.thread_id, 0),
        )
        for row in rows
    ]


async def _concerned(session: AsyncSession, name: str, ids: Collection[int]) -> Collection[int]:
    if name == "event-category":
        return list(await session.scalars(select(Event.id).where(Event.category_id.in_(ids))))
    return ids


async def _after(session: AsyncSession, last: int, most: int) -> Sequence[int]:
    return list(await session.scalars(select(Event.id).where(Event.id > last).order_by(Event.id).limit(most)))


async def _look(session: AsyncSession, ids: Collection[int]) -> Mapping[int, Shown]:
    rows = await session.execute(select(Event.id, Event.slug, Event.title).where(Event.id.in_(ids)))
    return {id: Shown(event_path(slug), title) for id, slug, title in rows}


def _moves_comments(event: Event, change: Change) -> bool:
    """Whether comments on it are found elsewhere than before."""
    return bool(change.fields & {"title", "slug"}) or change.kind == "deleted"


DOCUMENTS = (
    Documents(
        kind=KIND,
        label="Event",
        labels="Events",
        told=(Told("event", Event), Told("event-category", Category, {"on": ["changed"]})),
        concerned=_concerned,
        read=_read,
        after=_after,
        look=_look,
    ),
    comments_of(Event, KIND, Event.title, Event.slug, lambda _, slug: event_path(slug), None, _moves_comments),
)
