"""An event's page, and its comments: a thread of `comments`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web
from sqlalchemy import Connection, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import columns_of
from ...pages import keys
from ...pages.kept import Kept, Reading
from ...pages.page import answer, kept_beside_pages, pages
from ...pages.templating import render
from ..comments.forms import CommentForm
from ..comments.hints import comments_channel
from ..comments.models import Thread
from ..comments.owners import Owner, finders
from ..comments.queries import Discussion, Page, read_discussion
from ..comments.views import kept_text, listed, page_of, posted, shown_with, talk
from ..pictures.forms import Shown as ShownPicture
from .hints import event_channel
from .models import Category, Event, Status

# Built once: building a statement costs more than running it.
_COLUMNS, _CATEGORY, _THREAD = columns_of(Event), columns_of(Category), columns_of(Thread)
_FOUND = select(_COLUMNS.id, _COLUMNS.thread_id).where(_COLUMNS.slug == bindparam("slug"))
_EVENT = (
    select(
        *(_COLUMNS[name] for name in ("id", "title", "slug", "description", "starts_at", "status", "picture")),
        *(_CATEGORY[name].label(f"category_{name}") for name in ("id", "name", "slug")),
        _THREAD.is_open,
    )
    .join(Category.__table__, _CATEGORY.id == _COLUMNS.category_id)
    .join(Thread.__table__, _THREAD.id == _COLUMNS.thread_id)
    .where(_COLUMNS.id == bindparam("id"))
)


@dataclass(frozen=True, slots=True)
class Found:
    """The event that a path names."""

    id: int
    thread_id: int


@dataclass(frozen=True, slots=True)
class ShownCategory:
    """A category as a page shows it."""

    id: int
    name: str
    slug: str


@dataclass(frozen=True, slots=True)
class Shown:
    """An event as its page shows it."""

    id: int
    title: str
    slug: str
    description: str
    starts_at: datetime
    status: Status
    category: ShownCategory
    shown_picture: ShownPicture | None = None
    takes_comments: bool = True


#: Events by slug, for what needs no more of them than their ids.
found_events: web.AppKey[Kept[Found]] = web.AppKey("found events", Kept)


def setup(app: web.Application) -> None:
    """Put what the views need into the application."""
    app[found_events] = kept_beside_pages(app)
    app[finders].append(_owners)


async def show(request: web.Request) -> web.StreamResponse:
    """GET /events/{slug}; ?order=oldest&start=17-19 is a page of its comments."""
    slug, page = _slug(request), page_of(request)
    found = await _find(request, slug)

    async def make(reading: Reading, own: Collection[int]) -> web.Response:
        return await _page(request, reading, slug, page, CommentForm(), own)

    return await shown_with(request, found.thread_id, ("event", slug, page), make)


async def comments(request: web.Request) -> web.StreamResponse:
    """GET /events/{slug}/comments.json: a page of them."""
    return await listed(request, (await _find(request, _slug(request))).thread_id)


async def about(request: web.Request) -> web.StreamResponse:
    """GET /events/{slug}/about: the part of the page that follows the event, and no comments."""
    slug = _slug(request)

    async def make(reading: Reading) -> web.Response:
        found = await _find(request, slug)
        positions = await reading.at(event_channel(found.id))
        event = await request.app[keys.database].look(lambda rows: _get(rows, found, slug))
        context = {"positions": positions, "event": event}
        return render(request, "events/about.html", context)

    # A manager sees a way to edit.
    return await answer(request, ("event about", slug), make)


async def post(request: web.Request) -> web.StreamResponse:
    """POST /events/{slug}/comments: the comment as JSON for a script, back to the page for a browser."""
    slug = _slug(request)
    try:
        found = await _find(request, slug)
    except web.HTTPNotFound as error:
        return await kept_text(request, error)

    async def again(form: CommentForm) -> web.StreamResponse:
        async def make(reading: Reading) -> web.Response:
            return await _page(request, reading, slug, Page(), form)

        return await request.app[pages].unkept(make)

    return await posted(request, found.thread_id, f"/events/{slug}", again)


async def _page(
    request: web.Request, reading: Reading, slug: str, page: Page, form: CommentForm, own: Collection[int] = ()
) -> web.Response:
    found = await _find(request, slug)
    positions = await reading.at(event_channel(found.id), comments_channel(found.thread_id))

    def read(rows: Connection) -> tuple[Shown, Discussion]:
        event = _get(rows, found, slug)
        return event, read_discussion(rows, found.thread_id, page, own=own, is_open=event.takes_comments)

    event, discussion = await request.app[keys.database].look(read)
    context: dict[str, Any] = {"positions": positions, "event": event}
    return render(request, "events/event.html", context | talk(request, discussion, form, f"/events/{slug}"))


async def _owners(session: AsyncSession, thread_ids: Collection[int]) -> Mapping[int, Owner]:
    """The events whose threads these are."""
    asked = select(Event.thread_id, Event.slug, Event.title).where(Event.thread_id.in_(thread_ids))
    return {thread: Owner(f"/events/{slug}", title) for thread, slug, title in await session.execute(asked)}


def _slug(request: web.Request) -> str:
    slug = request.match_info["slug"]
    if "\0" in slug:
        # PostgreSQL has no text with a NUL in it, and would fail rather than find nothing.
        raise web.HTTPNotFound(text="There is no such event.")
    return slug


async def _find(request: web.Request, slug: str) -> Found:
    """The event that the path names. A rename that was told is known here."""

    async def find(reading: Reading) -> Found:
        def read(rows: Connection) -> Found | None:
            row = rows.execute(_FOUND, {"slug": slug}).one_or_none()
            return None if row is None else Found(*row)

        look = request.app[keys.database].look
        row = await look(read)
        if row is not None and reading.keeps:
            # Only now is its channel known: what was renamed before that is not this event any more.
            reading.follow(event_channel(row.id))
            if await look(read) != row:
                row = None
        if row is None:
            raise web.HTTPNotFound(text="There is no such event.")
        return row

    found, _ = await request.app[found_events].get(slug, find)
    return found


def _get(rows: Connection, found: Found, slug: str) -> Shown:
    row = rows.execute(_EVENT, {"id": found.id}).one_or_none()
    if row is None or row.slug != slug:
        # Removed or renamed since it was found.
        raise web.HTTPNotFound(text="There is no such event.")
    category = ShownCategory(row.category_id, row.category_name, row.category_slug)
    picture = None if row.picture is None else ShownPicture.from_row(row.picture)
    shown = row.id, row.title, row.slug, row.description, row.starts_at, row.status
    return Shown(*shown, category, picture, row.is_open)
