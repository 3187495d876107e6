"""An event's page and its comments: shown, listed as JSON, posted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import hdrs, web
from sqlalchemy import func, select
from sqlalchemy.orm import joinedload

from . import keys
from .db import Database
from .hints import comments_channel, event_channel
from .models import MAX_COMMENT, MAX_NAME, Comment, Event
from .requests import (
    USER,
    Limiter,
    address_of,
    clean_line,
    clean_long,
    json_response,
    read_fields,
    read_number,
    redirect,
    wants_json,
)
from .templating import Positions, body_of, machine_time, page_of, read_positions, render

#: Comments on a page and in a JSON answer, the newest first.
SHOWN = 100

_MOST_ID = 2**31 - 1

comment_limiter = web.AppKey("comment limiter", Limiter)


@dataclass(frozen=True, slots=True)
class Discussion:
    """Some of an event's comments, the newest first. older: the id before which the next ones are."""

    comments: list[Comment]
    total: int
    older: int | None


@dataclass(frozen=True, slots=True)
class CommentForm:
    """What someone wrote, and by field what is wrong with it."""

    name: str = ""
    text: str = ""
    errors: tuple[tuple[str, str], ...] = ()

    @classmethod
    async def read(cls, fields: dict[str, str]) -> CommentForm:
        """A form as it came in, cleaned and checked."""
        name = clean_line(fields.get("name", ""), MAX_NAME)
        text = await clean_long(fields.get("text", ""), MAX_COMMENT)
        errors = []
        if not name:
            errors.append(("name", "Say who you are; any name will do."))
        elif len(name) > MAX_NAME:
            errors.append(("name", f"Names have at most {MAX_NAME} characters."))
        if not text:
            errors.append(("text", "Write something first."))
        elif len(text) > MAX_COMMENT:
            errors.append(("text", f"Comments have at most {MAX_COMMENT} characters; this one has {len(text)}."))
        return cls(name, text, tuple(errors))

    def error(self, field: str) -> str | None:
        """What is wrong with a field."""
        return dict(self.errors).get(field)


async def show(request: web.Request) -> web.StreamResponse:
    """GET /events/{slug}, with ?before=id for older comments."""
    return await _page(request, CommentForm())


async def comments(request: web.Request) -> web.StreamResponse:
    """GET /events/{slug}/comments.json, with ?before=id for older ones."""
    event_id = await _find(request)
    before = _before(request)
    channel = comments_channel(event_id)
    # The channel's name has the event's id in it, which never changes; all else is read after the position.
    position = (await read_positions(request.app[keys.publisher], channel))[channel]

    async def make() -> bytes:
        discussion = await _discussion(request.app[keys.database], event_id, before)
        data = {
            "comments": [_as_json(comment) for comment in discussion.comments],
            "total": discussion.total,
            "older": discussion.older and f"{request.path}?before={discussion.older}",
            "channel": channel,
            "position": position or None,
        }
        return orjson.dumps(data)

    body = await request.app[keys.answers].get(("comments", request.path, before), position, make)
    return web.Response(body=body, content_type="application/json")


async def about(request: web.Request) -> web.StreamResponse:
    """GET /events/{slug}/about: the part of the page that follows the event, and no comments."""
    event_id = await _find(request)
    channel = event_channel(event_id)
    positions = await read_positions(request.app[keys.publisher], channel)

    async def make() -> bytes:
        context = {"positions": positions, "event": await _get(request.app[keys.database], event_id)}
        return body_of(render(request, "about.html", context))

    # A manager sees a way to edit.
    if USER in request:
        return page_of(await make())
    return page_of(await request.app[keys.answers].get(("about", event_id), positions[channel], make))


async def post(request: web.Request) -> web.StreamResponse:
    """POST /events/{slug}/comments: the comment as JSON for a script, back to the page for a browser."""
    event_id = await _find(request)
    form = await CommentForm.read(await read_fields(request))
    if form.errors:
        if not wants_json(request):
            return await _page(request, form, status=422)
        what = {"error": "The comment was not posted.", "next": "Correct it and send it again."}
        return json_response(what | {"fields": dict(form.errors)}, status=422)
    wait = request.app[comment_limiter].take(address_of(request))
    if wait:
        raise web.HTTPTooManyRequests(
            text="Too many comments from your address.", headers={hdrs.RETRY_AFTER: str(int(wait) + 1)}
        )
    async with request.app[keys.database].saving() as session:
        # Locked, so that an event that is being removed doesn't take the comment's row from under it.
        found = await session.scalar(select(Event.id).where(Event.id == event_id).with_for_update(read=True))
        if found is None:
            raise web.HTTPNotFound(text="There is no such event.")
        comment = Comment(event_id=event_id, name=form.name, text=form.text)
        session.add(comment)
    if wants_json(request):
        return json_response({"comment": _as_json(comment)}, status=201)
    return redirect(f"/events/{request.match_info['slug']}#comment-{comment.id}")


async def _page(request: web.Request, form: CommentForm, status: int = 200) -> web.Response:
    database = request.app[keys.database]
    event_id = await _find(request)
    channels = event_channel(event_id), comments_channel(event_id)
    positions: Positions = await read_positions(request.app[keys.publisher], *channels)
    before = _before(request)
    context: dict[str, Any] = {
        "positions": positions,
        "event": await _get(database, event_id),
        "discussion": await _discussion(database, event_id, before),
        "before": before,
        "form": form,
    }
    return render(request, "event.html", context, status=status)


async def _find(request: web.Request) -> int:
    """The id of the event that the path names; a renamed one is found by its old name for a moment longer."""
    slug = request.match_info["slug"]
    if "\0" in slug:
        # PostgreSQL has no text with a NUL in it, and would fail rather than find nothing.
        raise web.HTTPNotFound(text="There is no such event.")

    async def find() -> int:
        async with request.app[keys.database].reading() as session:
            event_id = await session.scalar(select(Event.id).where(Event.slug == slug))
        if event_id is None:
            raise web.HTTPNotFound(text="There is no such event.")
        return event_id

    return await request.app[keys.event_ids].get(slug, "any", find)


async def _get(database: Database, event_id: int) -> Event:
    async with database.reading() as session:
        event = await session.get(Event, event_id, options=[joinedload(Event.category)])
    if event is None:
        raise web.HTTPNotFound(text="There is no such event.")
    return event


async def _discussion(database: Database, event_id: int, before: int | None) -> Discussion:
    of_event = Comment.event_id == event_id
    statement = select(Comment).where(of_event).order_by(Comment.id.desc()).limit(SHOWN + 1)
    if before is not None:
        statement = statement.where(Comment.id < before)
    async with database.reading() as session:
        found = list(await session.scalars(statement))
        if before is None and len(found) <= SHOWN:
            total = len(found)
        else:
            total = await session.scalar(select(func.count()).select_from(Comment).where(of_event)) or 0
    shown = found[:SHOWN]
    return Discussion(shown, total, shown[-1].id if len(found) > SHOWN else None)


def _before(request: web.Request) -> int | None:
    return read_number(request, "before", default=0, most=_MOST_ID) or None


def _as_json(comment: Comment) -> dict[str, Any]:
    return {
        "id": comment.id,
        "name": comment.name,
        "text": comment.text,
        "posted_at": machine_time(comment.posted_at),
    }
