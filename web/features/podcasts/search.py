"""Finding podcasts: those that are here by name, those of the directory by question, a feed by its URL."""

from __future__ import annotations

import asyncio

from aiohttp import web
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from ...pages import keys
from ...pages.kept import Kept, Reading
from ...pages.page import kept_beside_pages
from . import jobs, store
from .addresses import BadUrl, canonical, host_of
from .directory import Directory, DirectoryError, Itunes, Nowhere
from .finding import MOST, Name, Names
from .hints import PODCASTS
from .models import Podcast
from .settings import PodcastSettings

names: web.AppKey[Kept[Names]] = web.AppKey("podcast names", Kept)
directory: web.AppKey[Directory] = web.AppKey("podcast directory")


def setup(app: web.Application) -> None:
    """Put what the views need into the application."""
    app[names] = kept_beside_pages(app)
    settings = app[keys.settings][PodcastSettings]
    app[directory] = Nowhere()
    if settings.directory:
        database = app[keys.database]
        app[directory] = Itunes(settings.directory, lambda: app[keys.outbound], database, settings.directory_rate)


async def by_name(request: web.Request, question: str, most: int = MOST) -> tuple[list[int], int]:
    """Ids of podcasts by name, the best first, and how many there are in all."""

    async def make(reading: Reading) -> Names:
        reading.follow(PODCASTS)
        async with request.app[keys.database].reading() as session:
            asked = select(Podcast.id, Podcast.name, Podcast.times_picked).where(Podcast.is_listed)
            rows = (await session.execute(asked)).all()
        # 3 µs each.
        return await asyncio.to_thread(lambda: Names(Name(*row) for row in rows))

    found, _ = await request.app[names].get("names", make)
    steps = found.find(question, most)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: tuple[list[int], int] = end.value
            return value
        await asyncio.sleep(0)


def as_url(question: str) -> str | None:
    """The canonical URL that a question is, if it is one."""
    text = question.strip()
    if "://" not in text and not text.lower().startswith(("feed:", "itpc:", "pcast:")):
        return None
    try:
        return canonical(text)
    except BadUrl:
        return None


async def add_url(app: web.Application, url: str, name: str = "", image: str = "") -> int:
    """The id of the podcast whose feed is at a canonical URL; a new one is fetched soon."""
    try:
        return await _add(app, url, name, image)
    except IntegrityError:
        # Somebody else has added it at the same moment.
        return await _add(app, url, name, image)


async def _add(app: web.Application, url: str, name: str, image: str) -> int:
    async with app[keys.database].saving() as session:
        podcast, is_new = await store.add(session, url, name, image=image)
        if is_new:
            await jobs.plan(session, app[keys.jobs], host_of(url)[:255])
    return podcast.id


async def submitted(app: web.Application, question: str) -> tuple[list[int], str]:
    """Ids of podcasts for what somebody has typed and sent: a feed's URL, else what the directory has. And what went
    wrong, in words, or ""."""
    url = as_url(question)
    if url is not None:
        return [await add_url(app, url)], ""
    try:
        found = await app[directory].search(question)
    except DirectoryError as error:
        return [], str(error)
    ids = []
    for each in found[:MOST]:
        ids.append(await add_url(app, each.url, each.name, each.image))
    return list(dict.fromkeys(ids)), ""
