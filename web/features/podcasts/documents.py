"""Podcasts as they are found, and the comments on them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from html import unescape

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from hub.orm.declarations import Change

from ...pages.documents import Document, Documents, Shown, Told
from ..comments.documents import comments_of
from .models import Podcast

KIND = "podcast"

#: Columns that are found, or say whether one is.
_LOOKED_AT = ("name", "slug", "author", "subtitle", "summary", "is_listed")

_TAG = re.compile(r"<[^<>]{0,1000}>")


def _listed() -> ColumnElement[bool]:
    """Which of them may be found: a feed may say that it does not want to be."""
    return Podcast.is_listed.is_(True)


def _path(id: int, slug: str) -> str:
    return f"/podcasts/{id}/{slug}"


async def _read(session: AsyncSession, ids: Collection[int]) -> Sequence[Document]:
    columns = (
        *(Podcast.id, Podcast.slug, Podcast.name, Podcast.author, Podcast.subtitle, Podcast.summary),
        *(Podcast.latest_at, Podcast.created_at),
    )
    rows = (await session.execute(select(*columns).where(Podcast.id.in_(ids), _listed()))).all()
    return [
        Document(
            id=row.id,
            page=f"{KIND}-{row.id}",
            url=_path(row.id, row.slug),
            title=row.name,
            text="\n".join(filter(None, (row.author, row.subtitle, unescape(_TAG.sub(" ", row.summary))))),
            at=row.latest_at or row.created_at,
        )
        for row in rows
    ]


async def _concerned(session: AsyncSession, name: str, ids: Collection[int]) -> Collection[int]:
    return ids


async def _after(session: AsyncSession, last: int, most: int) -> Sequence[int]:
    ids = select(Podcast.id).where(_listed(), Podcast.id > last).order_by(Podcast.id).limit(most)
    return list(await session.scalars(ids))


async def _look(session: AsyncSession, ids: Collection[int]) -> Mapping[int, Shown]:
    rows = await session.execute(select(Podcast.id, Podcast.slug, Podcast.name).where(Podcast.id.in_(ids), _listed()))
    return {id: Shown(_path(id, slug), name) for id, slug, name in rows}


def _moves_comments(podcast: Podcast, change: Change) -> bool:
    """Whether comments on it are found elsewhere, or by others, than before."""
    return bool(change.fields & {"name", "slug", "is_listed"}) or change.kind == "deleted"


DOCUMENTS = (
    Documents(
        kind=KIND,
        label="Podcast",
        labels="Podcasts",
        told=(Told("podcast", Podcast, {"watch": _LOOKED_AT}),),
        concerned=_concerned,
        read=_read,
        after=_after,
        look=_look,
    ),
    comments_of(Podcast, KIND, Podcast.name, Podcast.slug, _path, _listed, _moves_comments),
)
