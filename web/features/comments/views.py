"""What an owner's routes answer with. The owner finds its thread, and says where its page is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import hdrs, web
from sqlalchemy import select

from ...pages import keys
from ...pages.kept import Reading
from ...pages.limits import Limiter
from ...pages.page import answer
from ...pages.requests import address_of, json_response, read_fields, read_number, redirect, wants_json
from ...pages.templating import machine_time
from .forms import CommentForm
from .hints import comments_channel
from .models import Comment, Thread
from .queries import Shown, read_discussion
from .settings import CommentSettings

_MOST_ID = 2**31 - 1

limiter = web.AppKey("comment limiter", Limiter)


def setup(app: web.Application) -> None:
    """Put what the views need into the application."""
    app[limiter] = Limiter(app[keys.settings][CommentSettings].rate, 60.0)


def before_of(request: web.Request) -> int | None:
    """The id before which comments are asked for, ?before=id; None for the newest."""
    return read_number(request, "before", default=0, most=_MOST_ID) or None


async def listed(request: web.Request, thread_id: int) -> web.StreamResponse:
    """The thread's comments as JSON, with ?before=id for older ones."""
    before = before_of(request)
    channel = comments_channel(thread_id)

    async def make(reading: Reading) -> web.Response:
        position = (await reading.at(channel))[channel]
        async with request.app[keys.database].reading() as session:
            discussion = await read_discussion(session, thread_id, before)
        data = {
            "comments": [_as_json(comment) for comment in discussion.comments],
            "total": discussion.total,
            "older": discussion.older and f"{request.path}?before={discussion.older}",
            "channel": channel,
            "position": position or None,
        }
        return web.Response(body=orjson.dumps(data), content_type="application/json")

    return await answer(request, ("comments", request.path, before), make, personal=False)


async def posted(
    request: web.Request, thread_id: int, page: str, again: Callable[[CommentForm], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """A comment taken from a form: as JSON for a script, back to the page for a browser.

    page: the path of the owner's page. again: that page with the form as it was filled in, and its errors.
    """
    form = await CommentForm.read(await read_fields(request))
    if form.errors:
        if not wants_json(request):
            return await again(form)
        what = {"error": "The comment was not posted.", "next": "Correct it and send it again."}
        return json_response(what | {"fields": dict(form.errors)}, status=422)
    wait = request.app[limiter].take(address_of(request))
    if wait:
        raise web.HTTPTooManyRequests(
            text="Too many comments from your address.", headers={hdrs.RETRY_AFTER: str(int(wait) + 1)}
        )
    async with request.app[keys.database].saving() as session:
        # Locked, so that a thread that is being removed or closed doesn't take the comment's row from under it.
        is_open = await session.scalar(select(Thread.is_open).where(Thread.id == thread_id).with_for_update(read=True))
        if is_open is None:
            raise web.HTTPNotFound(text="There is no such discussion.")
        if not is_open:
            raise web.HTTPConflict(text="This discussion is closed.")
        comment = Comment(thread_id=thread_id, name=form.name, text=form.text)
        session.add(comment)
    if wants_json(request):
        return json_response({"comment": _as_json(comment)}, status=201)
    return redirect(f"{page}#comment-{comment.id}")


def _as_json(comment: Comment | Shown) -> dict[str, Any]:
    return {
        "id": comment.id,
        "name": comment.name,
        "text": comment.text,
        "posted_at": machine_time(comment.posted_at),
    }
