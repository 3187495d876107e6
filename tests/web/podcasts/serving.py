"""A server of feeds, and podcasts that are fetched from it, for tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from feeding import feed
from sqlalchemy import select, update

from web.db.database import Database
from web.features.podcasts import jobs, store
from web.features.podcasts.addresses import canonical
from web.features.podcasts.models import Episode, Feed, Fetch, Podcast
from web.features.podcasts.schedule import Outcome
from web.features.podcasts.settings import PodcastSettings
from web.pages import keys

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def here(function: Callable[..., Any], *args: Any, limit: float | None = None) -> Any:
    """Calls what is made for another process in this one: starting one takes a second."""
    return function(*args)


@dataclass
class Publisher:
    """A server of feeds. body, status, headers: of its answers; or a handler answers. asked: the requests."""

    url: str = ""
    body: bytes = field(default_factory=feed)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    handler: Handler | None = None
    asked: list[web.Request] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if self.handler is not None:
            return await self.handler(request)
        return web.Response(body=self.body, status=self.status, headers=self.headers)


@dataclass
class Podcasts:
    """Podcasts of the site, and what a worker does with them."""

    app: dict[Any, Any]
    database: Database

    async def add(self, url: str, name: str = "") -> int:
        async with self.database.saving() as session:
            podcast, _ = await store.add(session, canonical(url), name)
        return podcast.id

    async def fetch(self, id: int, **options: Any) -> tuple[Outcome, str]:
        return await jobs.fetch(self.app, id, here, **options)

    async def get(self, id: int) -> Podcast:
        async with self.database.reading() as session:
            return await session.get_one(Podcast, id)

    async def feed(self, id: int) -> Feed:
        async with self.database.reading() as session:
            return await session.get_one(Feed, id)

    async def episodes(self, id: int) -> list[Episode]:
        async with self.database.reading() as session:
            return list(await session.scalars(select(Episode).where(Episode.podcast_id == id).order_by(Episode.id)))

    async def fetches(self, id: int) -> list[Fetch]:
        async with self.database.reading() as session:
            return list(await session.scalars(select(Fetch).where(Fetch.podcast_id == id).order_by(Fetch.id)))

    async def change_feed(self, id: int, **values: Any) -> None:
        async with self.database.saving() as session:
            await session.execute(update(Feed).where(Feed.podcast_id == id).values(**values))

    def settings(self, **values: Any) -> None:
        self.app[keys.settings] = {PodcastSettings: PodcastSettings(**values)}
