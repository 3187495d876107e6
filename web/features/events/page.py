"""An event's page, and its comments: a thread of `comments`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from ...db.database import Database
from ...pages import keys
from ...pages.requests import USER
from ...pages.shared import Shared
from ...pages.templating import Positions, body_of, page_of, read_positions, render
from ..comments.forms import CommentForm
from ..comments.hints import comments_channel
from ..comments.queries import read_discussion
from ..comments.views import before_of, listed, posted
from .hints import event_channel
from .models import Event


@dataclass(frozen=True, slots=True)
class Found:
    """The event that a path names."""

    id: int
    thread_id: int


#: Events by slug.
found_events: web.AppKey[Shared[Found]] = web.AppKey("found events", Shared)


def setup(app: web.Application) -> None:
    """Put what the views need into the application."""
    app[found_events] = Shared()


async def show(request: web.Request) -> web.StreamResponse:
    """GET /events/{slug}, with ?before=id for older comments."""
    return await _page(request, await _find(request), CommentForm())


async def comments(request: web.Request) -> web.StreamResponse:
    """GET /events/{slug}/comments.json, with ?before=id for older ones."""
    return await listed(request, (await _find(request)).thread_id)


async def about(request: web.Request) -> web.StreamResponse:
    """GET /events/{slug}/about: the part of the page that follows the event, and no comments."""
    event_id = (await _find(request)).id
    channel = event_channel(event_id)
    positions = await read_positions(request.app[keys.publisher], channel)

    async def make() -> bytes:
        context = {"positions": positions, "event": await _get(request.app[keys.database], event_id)}
        return body_of(render(request, "events/about.html", context))

    # A manager sees a way to edit.
    if USER in request:
        return page_of(await make())
    return page_of(await request.app[keys.answers].get(("about", event_id), positions[channel], make))


async def post(request: web.Request) -> web.StreamResponse:
    """POST /events/{slug}/comments: the comment as JSON for a script, back to the page for a browser."""
    found = await _find(request)

    async def again(form: CommentForm) -> web.StreamResponse:
        return await _page(request, found, form, status=422)

    return await posted(request, found.thread_id, f"/events/{request.match_info['slug']}", again)


async def _page(request: web.Request, found: Found, form: CommentForm, status: int = 200) -> web.Response:
    database = request.app[keys.database]
    channels = event_channel(found.id), comments_channel(found.thread_id)
    positions: Positions = await read_positions(request.app[keys.publisher], *channels)
    before = before_of(request)
    context: dict[str, Any] = {
        "positions": positions,
        "event": await _get(database, found.id),
        "discussion": await read_discussion(database, found.thread_id, before),
        "before": before,
        "form": form,
    }
    return render(request, "events/event.html", context, status=status)


async def _find(request: web.Request) -> Found:
    """The event that the path names; a renamed one is found by its old name for a moment longer."""
    slug = request.match_info["slug"]
    if "\0" in slug:
        # PostgreSQL has no text with a NUL in it, and would fail rather than find nothing.
        raise web.HTTPNotFound(text="There is no such event.")

    async def find() -> Found:
        async with request.app[keys.database].reading() as session:
            row = (await session.execute(select(Event.id, Event.thread_id).where(Event.slug == slug))).one_or_none()
        if row is None:
            raise web.HTTPNotFound(text="There is no such event.")
        return Found(*row)

    return await request.app[found_events].get(slug, "any", find)


async def _get(database: Database, event_id: int) -> Event:
    async with database.reading() as session:
        event = await session.get(Event, event_id, options=[joinedload(Event.category)])
    if event is None:
        raise web.HTTPNotFound(text="There is no such event.")
    return event
