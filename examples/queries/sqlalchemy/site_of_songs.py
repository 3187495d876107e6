"""A site of songs and artists, in aiohttp with async SQLAlchemy and Jinja. Some views ask for their rows one by one."""

from pathlib import Path

import aiohttp_jinja2
import jinja2
from aiohttp import web
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship, selectinload

TEMPLATES = Path(__file__).parent / "templates"
ENGINE = web.AppKey("engine", object)


class Base(AsyncAttrs, DeclarativeBase):
    pass


class Artist(Base):
    __tablename__ = "artists"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    songs: Mapped[list["Song"]] = relationship(back_populates="artist")


class Song(Base):
    __tablename__ = "songs"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    artist_id: Mapped[int] = mapped_column(ForeignKey(Artist.id))
    artist: Mapped[Artist] = relationship(back_populates="songs")


async def songs_by_row(request):
    """A query for each song's artist."""
    async with AsyncSession(request.app[ENGINE]) as session:
        songs = list(await session.scalars(select(Song)))
        lines = []
        for song in songs:
            artist = await song.awaitable_attrs.artist
            lines.append(f"{song.title} by {artist.name}")
    return _list(lines)


async def songs(request):
    """The same with one query."""
    async with AsyncSession(request.app[ENGINE]) as session:
        found = await session.scalars(select(Song).options(joinedload(Song.artist)))
        return _list(f"{song.title} by {song.artist.name}" for song in found)


async def artists_by_row(request):
    """A query for each artist's songs, asked by the template."""

    def page(session):
        found = session.scalars(select(Artist)).all()
        return aiohttp_jinja2.render_string("artists.html", request, {"artists": found})

    async with AsyncSession(request.app[ENGINE]) as session:
        return web.Response(text=await session.run_sync(page), content_type="text/html")


async def artists(request):
    """The same with two queries."""
    async with AsyncSession(request.app[ENGINE]) as session:
        found = await session.scalars(select(Artist).options(selectinload(Artist.songs)))
        return aiohttp_jinja2.render_template("artists.html", request, {"artists": found.all()})


async def counts_by_row(request):
    """A query for each artist's number of songs, written by hand."""
    lines = []
    async with AsyncSession(request.app[ENGINE]) as session:
        for artist in list(await session.scalars(select(Artist))):
            count = await session.scalar(select(func.count(Song.id)).where(Song.artist_id == artist.id))
            lines.append(f"{artist.name}: {count}")
    return _list(lines)


async def counts(request):
    """The same with one query."""
    async with AsyncSession(request.app[ENGINE]) as session:
        rows = await session.execute(select(Artist.name, func.count()).join(Artist.songs).group_by(Artist.id))
        return _list(f"{name}: {count}" for name, count in rows)


async def looked_up_by_row(request):
    """A query for each song, from nothing that was loaded."""
    async with AsyncSession(request.app[ENGINE]) as session:
        found = [await session.get(Song, number) for number in range(1, 6)]
        return _list(song.title for song in found)


async def looked_up(request):
    """The same with one query."""
    async with AsyncSession(request.app[ENGINE]) as session:
        found = await session.scalars(select(Song).where(Song.id.in_(range(1, 6))))
        return _list(song.title for song in found)


async def paged(request):
    """Goes through a table page by page: no question is for one row."""
    last, lines = 0, []
    async with AsyncSession(request.app[ENGINE]) as session:
        while page := (await session.scalars(select(Song).where(Song.id > last).order_by(Song.id).limit(3))).all():
            last = page[-1].id
            lines += [song.title for song in page]
    return _list(lines)


def _list(lines):
    return web.Response(text="\n".join(lines))


PAIRS = [(songs_by_row, songs), (artists_by_row, artists), (counts_by_row, counts), (looked_up_by_row, looked_up)]
VIEWS = [view for pair in PAIRS for view in pair] + [paged]


async def _database(app):
    engine = app[ENGINE] = create_async_engine("sqlite+aiosqlite://")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session:
        for number in range(4):
            songs = [Song(title=f"Song {number}-{each}") for each in range(2)]
            session.add(Artist(name=f"Artist {number}", songs=songs))
        await session.commit()
    yield
    await engine.dispose()


def create_app():
    """The site, with four artists that have two songs each."""
    app = web.Application()
    aiohttp_jinja2.setup(app, loader=jinja2.FileSystemLoader(TEMPLATES))
    app.cleanup_ctx.append(_database)
    app.add_routes([web.get(f"/{view.__name__}", view) for view in VIEWS])
    return app
