"""A podcast's page: what it is, its episodes, its comments; and the state of its feed, with the last fetches."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from ...pages import keys
from ...pages.kept import Kept, Reading
from ...pages.page import answer, kept_beside_pages, pages
from ...pages.requests import read_number, redirect
from ...pages.templating import render
from ..comments.forms import CommentForm
from ..comments.hints import comments_channel
from ..comments.owners import Owner, finders
from ..comments.queries import Page, read_discussion
from ..comments.views import kept_text, listed, page_of, posted, shown_with, talk
from . import jobs, queries
from .hints import feed_channel, podcast_channel
from .limits import check_adds
from .models import Episode, Feed, Fetch, Podcast
from .queries import Options
from .shown import item
from .times import time_of

#: Episodes on a page.
EPISODES = 50

_MOST_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Found:
    """The podcast that a path names. slug: its own; another than the path's is one that it had."""

    id: int
    thread_id: int
    slug: str


found_podcasts: web.AppKey[Kept[Found]] = web.AppKey("found podcasts", Kept)


def setup(app: web.Application) -> None:
    """Put what the views need into the application."""
    app[found_podcasts] = kept_beside_pages(app)
    app[finders].append(_owners)


def podcast_path(podcast: Any) -> str:
    """The address of a podcast's page."""
    return f"/podcasts/{podcast.id}/{podcast.slug}"


async def show(request: web.Request) -> web.StreamResponse:
    """GET /podcasts/{id}/{slug}, with ?page=n for older episodes, ?order=oldest&start=17-19 for a page of comments."""
    found = await find(request)
    of_comments, page = page_of(request), read_number(request, "page", default=1, most=_MOST_PAGE)

    async def make(reading: Reading, own: Collection[int]) -> web.Response:
        return await _page(request, reading, found, of_comments, page, CommentForm(), own)

    return await shown_with(request, found.thread_id, ("podcast", found, of_comments, page), make)


async def comments(request: web.Request) -> web.StreamResponse:
    """GET /podcasts/{id}/{slug}/comments.json: a page of them."""
    return await listed(request, (await find(request)).thread_id)


async def post(request: web.Request) -> web.StreamResponse:
    """POST /podcasts/{id}/{slug}/comments."""
    try:
        found = await find(request)
    except web.HTTPNotFound as error:
        return await kept_text(request, error)

    async def again(form: CommentForm) -> web.StreamResponse:
        async def make(reading: Reading) -> web.Response:
            return await _page(request, reading, found, Page(), 1, form)

        return await request.app[pages].unkept(make)

    return await posted(request, found.thread_id, podcast_path(found), again)


async def feed(request: web.Request) -> web.StreamResponse:
    """GET /podcasts/{id}/{slug}/feed: how its feed is, and the last fetches."""
    found = await find(request)

    async def make(reading: Reading) -> web.Response:
        channel = feed_channel(found.id)
        positions = await reading.at(channel)
        reading.follow(podcast_channel(found.id))
        async with request.app[keys.database].reading() as session:
            podcast = await _get(session, found)
            state = await session.get(Feed, found.id)
            fetches = list(
                await session.scalars(select(Fetch).where(Fetch.podcast_id == found.id).order_by(Fetch.id.desc()))
            )
        context = {
            "positions": positions,
            "podcast": podcast,
            "feed": state,
            "fetches": fetches,
            "next": None if state is None or state.next is None else _moment(state.next),
            "since": None if state is None or state.since is None else _moment(state.since),
            "page": podcast_path(podcast),
        }
        return render(request, "podcasts/feed.html", context)

    return await answer(request, ("podcast feed", found), make)


async def retry(request: web.Request) -> web.StreamResponse:
    """POST /podcasts/{id}/{slug}/retry: fetch a feed that fails, or is gone, once more; soon."""
    found = await find(request)
    check_adds(request)
    async with request.app[keys.database].saving() as session:
        await ask_again(session, request.app, found.id)
    return redirect(f"{podcast_path(found)}/feed")


async def ask_again(session: AsyncSession, app: Any, podcast_id: int) -> bool:
    """Let a feed be fetched soon that fails, is gone, or was never fetched; False for one that is well."""
    state = await session.get(Feed, podcast_id)
    if state is None or (not state.failures and state.next is not None and state.outcome):
        return False
    await session.execute(update(Feed).where(Feed.podcast_id == podcast_id).values(next=time.time()))
    await jobs.plan(session, app[keys.jobs], state.host)
    return True


async def find(request: web.Request) -> Found:
    """The podcast that the path names; raises HTTPNotFound, and HTTPMovedPermanently at an address that it had."""
    id = int(request.match_info["id"])

    async def read(reading: Reading) -> Found:
        reading.follow(podcast_channel(id))
        async with request.app[keys.database].reading() as session:
            asked = select(Podcast.id, Podcast.thread_id, Podcast.slug).where(Podcast.id == id)
            row = (await session.execute(asked)).one_or_none()
        if row is None:
            raise web.HTTPNotFound(text="There is no such podcast.")
        return Found(*row)

    found, _ = await request.app[found_podcasts].get(id, read)
    slug = request.match_info.get("slug")
    if slug is not None and slug != found.slug and request.method in {"GET", "HEAD"}:
        rest = request.path.partition(f"/{found.id}/")[2].partition("/")[2]
        raise web.HTTPMovedPermanently(podcast_path(found) + (f"/{rest}" if rest else ""))
    return found


async def to_page(request: web.Request) -> web.StreamResponse:
    """GET /podcasts/{id}: leads to the page."""
    return redirect(podcast_path(await find(request)))


async def _page(
    request: web.Request,
    reading: Reading,
    found: Found,
    of_comments: Page,
    page: int,
    form: CommentForm,
    own: Collection[int] = (),
) -> web.Response:
    channel = podcast_channel(found.id)
    positions = await reading.at(channel, comments_channel(found.thread_id))
    at = now()
    async with request.app[keys.database].reading() as session:
        podcast = await _get(session, found)
        heard = await queries.heard(session, [found.id], Options(), at)
        episodes = list(
            await session.scalars(
                select(Episode)
                .where(Episode.podcast_id == found.id)
                .order_by(Episode.at.desc().nulls_last(), Episode.season.desc(), Episode.number.desc(), Episode.id)
                .offset((page - 1) * EPISODES)
                .limit(EPISODES + 1)
            )
        )
        feed = await session.get(Feed, found.id)
        discussion = await session.run_sync(
            lambda plain: read_discussion(plain.connection(), found.thread_id, of_comments, own=own)
        )
    context: dict[str, Any] = {
        "positions": positions,
        "podcast": podcast,
        "item": item(podcast, at),
        "time": time_of(heard.values(), at),
        "shown_episodes": episodes[:EPISODES],
        "older": len(episodes) > EPISODES,
        "at_page": page,
        "feed": feed,
    }
    return render(request, "podcasts/podcast.html", context | talk(request, discussion, form, podcast_path(found)))


async def _owners(session: AsyncSession, thread_ids: Collection[int]) -> Mapping[int, Owner]:
    """The podcasts whose threads these are."""
    found = await session.scalars(select(Podcast).where(Podcast.thread_id.in_(thread_ids)))
    return {podcast.thread_id: Owner(podcast_path(podcast), podcast.name) for podcast in found}


async def _get(session: AsyncSession, found: Found) -> Podcast:
    podcast = await session.get(Podcast, found.id)
    if podcast is None:
        raise web.HTTPNotFound(text="There is no such podcast.")
    return podcast


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
