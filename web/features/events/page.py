"""An event's page, and its comments: a thread of `comments`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web
from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from ...pages import keys
from ...pages.kept import Kept, Reading
from ...pages.page import answer, kept_beside_pages, pages
from ...pages.templating import render
from ..comments.forms import CommentForm
from ..comments.hints import comments_channel
from ..comments.queries import read_discussion
from ..comments.views import before_of, listed, posted
from .hints import event_channel
from .models import Event

_EVENT = select(Event).where(Event.id == bindparam("id")).options(joinedload(Event.category))


@dataclass(frozen=True, slots=True)
class Found:
    """The event that a path names."""

    id: int
    thread_id: int


#: Events by slug, for what needs no more of them than their ids.
found_events: web.AppKey[Kept[Found]] = web.AppKey("found events", Kept)


def setup(app: web.Application) -> None:
    """Put what the views need into the application."""
    app[found_events] = kept_beside_pages(app)


async def show(request: web.Request) -> web.StreamResponse:
    """GET /events/{slug}, with ?before=id for older comments."""
    slug, before = _slug(request), before_of(request)

    async def make(reading: Reading) -> web.Response:
        return await _page(request, reading, slug, before, CommentForm())

    return await answer(request, ("event", slug, before), make)


async def comments(request: web.Request) -> web.StreamResponse:
    """GET /events/{slug}/comments.json, with ?before=id for older ones."""
    return await listed(request, (await _find(request, _slug(request))).thread_id)


async def about(request: web.Request) -> web.StreamResponse:
    """GET /events/{slug}/about: the part of the page that follows the event, and no comments."""
    slug = _slug(request)

    async def make(reading: Reading) -> web.Response:
        found = await _find(request, slug)
        positions = await reading.at(event_channel(found.id))
        async with request.app[keys.database].reading() as session:
            context = {"positions": positions, "event": await _get(session, found, slug)}
        return render(request, "events/about.html", context)

    # A manager sees a way to edit.
    return await answer(request, ("event about", slug), make)


async def post(request: web.Request) -> web.StreamResponse:
    """POST /events/{slug}/comments: the comment as JSON for a script, back to the page for a browser."""
    slug = _slug(request)
    found = await _find(request, slug)

    async def again(form: CommentForm) -> web.StreamResponse:
        async def make(reading: Reading) -> web.Response:
            return await _page(request, reading, slug, None, form, status=422)

        return await request.app[pages].unkept(make)

    return await posted(request, found.thread_id, f"/events/{slug}", again)


async def _page(
    request: web.Request, reading: Reading, slug: str, before: int | None, form: CommentForm, status: int = 200
) -> web.Response:
    found = await _find(request, slug)
    positions = await reading.at(event_channel(found.id), comments_channel(found.thread_id))
    context: dict[str, Any] = {"positions": positions, "before": before, "form": form}
    async with request.app[keys.database].reading() as session:
        context["event"] = await _get(session, found, slug)
        context["discussion"] = await read_discussion(session, found.thread_id, before)
    return render(request, "events/event.html", context, status=status)


def _slug(request: web.Request) -> str:
    slug = request.match_info["slug"]
    if "\0" in slug:
        # PostgreSQL has no text with a NUL in it, and would fail rather than find nothing.
        raise web.HTTPNotFound(text="There is no such event.")
    return slug


async def _find(request: web.Request, slug: str) -> Found:
    """The event that the path names. A rename that was told is known here."""

    async def find(reading: Reading) -> Found:
        async with request.app[keys.database].reading() as session:
            asked = select(Event.id, Event.thread_id).where(Event.slug == slug)
            row = (await session.execute(asked)).one_or_none()
            if row is None:
                raise web.HTTPNotFound(text="There is no such event.")
            # Only now is its channel known: what was renamed before that is not this event any more.
            reading.follow(event_channel(row.id))
            await session.rollback()
            if (await session.execute(asked)).one_or_none() != row:
                raise web.HTTPNotFound(text="There is no such event.")
        return Found(*row)

    found, _ = await request.app[found_events].get(slug, find)
    return found


async def _get(session: AsyncSession, found: Found, slug: str) -> Event:
    event = await session.scalar(_EVENT, {"id": found.id})
    if event is None or event.slug != slug:
        # Removed or renamed since it was found.
        raise web.HTTPNotFound(text="There is no such event.")
    return event
