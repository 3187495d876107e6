"""A song and its artist, read in three ways."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import ForeignKey, MetaData, String
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship, selectinload

#: The schema that PostgreSQL has them in. SQLite has a file of its own for them, and no schema.
SCHEMA = "lab_joins"


class LabBase(AsyncAttrs, DeclarativeBase):
    """Not the site's: migrations know nothing of these tables, and they may be gone at any time."""

    metadata = MetaData(schema=SCHEMA)


class Artist(LabBase):
    __tablename__ = "artists"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(60))


class Song(LabBase):
    __tablename__ = "songs"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    title: Mapped[str] = mapped_column(String(80))
    seconds: Mapped[int]
    artist_id: Mapped[int] = mapped_column(ForeignKey(Artist.id), index=True)
    # Nowhere else on the site does a row load another by itself; here that is what is measured.
    artist: Mapped[Artist] = relationship(lazy="select")


class Made(LabBase):
    """That they were made to the end, and how many."""

    __tablename__ = "made"

    songs: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


Read = Callable[[AsyncSession, int], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Way:
    """read: the name of a song's artist, by the song's id; None if there is no such song. queries: how many that asks.

    code: as one would write it.
    """

    name: str
    title: str
    queries: int
    code: str
    read: Read


async def _lookup(session: AsyncSession, id: int) -> str | None:
    song = await session.get(Song, id)
    if song is None:
        return None
    artist: Artist = await song.awaitable_attrs.artist
    return artist.name


async def _join(session: AsyncSession, id: int) -> str | None:
    song = await session.get(Song, id, options=_JOINED)
    return None if song is None else song.artist.name


async def _select_in(session: AsyncSession, id: int) -> str | None:
    song = await session.get(Song, id, options=_SELECTED)
    return None if song is None else song.artist.name


_JOINED = (joinedload(Song.artist, innerjoin=True),)
_SELECTED = (selectinload(Song.artist),)

WAYS: Sequence[Way] = (
    Way(
        "lookup",
        "Look-up",
        2,
        "song = await session.get(Song, id)\nartist = await song.awaitable_attrs.artist",
        _lookup,
    ),
    Way(
        "join",
        "Join",
        1,
        "song = await session.get(Song, id, options=[joinedload(Song.artist, innerjoin=True)])\nartist = song.artist",
        _join,
    ),
    Way(
        "selectin",
        "Select-in",
        2,
        "song = await session.get(Song, id, options=[selectinload(Song.artist)])\nartist = song.artist",
        _select_in,
    ),
)
