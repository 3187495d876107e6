"""What an owner's routes answer with. The owner finds its thread, and says where its page is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from datetime import timedelta
from typing import Any

import orjson
from aiohttp import hdrs, web
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from ...db.tables import now
from ...identity.settings import IdentitySettings
from ...identity.visitors import derive
from ...pages import keys
from ...pages.kept import Reading
from ...pages.limits import Limiter
from ...pages.page import answer, kept_beside_pages
from ...pages.requests import (
    VISITOR,
    address_of,
    json_response,
    read_fields,
    redirect,
    visitor_of,
    wants_json,
    wants_page,
)
from ...pages.templating import machine_time, render
from . import judging, mails, owners
from .forms import CommentForm
from .hints import as_data, comments_channel
from .mails import seals
from .models import Comment, Record, Status
from .queries import ORDERS, Discussion, Page, Place, Shown, read_discussion
from .saving import NoThread, NotTaken, Sender, create, find_sent, lock_thread
from .seals import Seals
from .settings import CommentSettings
from .spam import Reason
from .work import Work

limiter = web.AppKey("comment limiter", Limiter)
works = web.AppKey("comment work", Work)


def setup(app: web.Application) -> None:
    """Put what the views need into the application."""
    settings = app[keys.settings]
    app[limiter] = Limiter(settings[CommentSettings].rate, 60.0)
    app[owners.finders] = []
    app[judging.learned] = kept_beside_pages(app)
    mails.setup(app)
    secret = settings[IdentitySettings].secret or b""
    app[seals] = Seals(secret)
    comments = settings[CommentSettings]
    # Without checks its result would not be used.
    app[works] = Work(derive(secret, b"comment work"), comments.work if comments.judges else 0)


def page_of(request: web.Request) -> Page:
    """Which page of a thread is asked for, ?order=oldest&start=17-19. Raises HTTPNotFound for what is none."""
    order, start = request.query.get("order", "newest"), request.query.get("start")
    try:
        place = None if start is None else Place.parse(start)
    except ValueError:
        place, order = None, ""
    for each in ORDERS:
        if order == each:
            return Page(each, place)
    raise web.HTTPNotFound(text="There is no such page.")


async def own_of(request: web.Request, thread_id: int) -> frozenset[int]:
    """The comments of a thread that are its visitor's to edit, or that only the visitor sees."""
    if VISITOR not in request:
        # Who has written something is known by a cookie.
        return frozenset()
    since = now() - window(request.app)
    mine = (
        select(Comment.id)
        .join(Record)
        .where(
            Record.visitor == sender_of(request).visitor,
            Comment.thread_id == thread_id,
            (Comment.status == Status.HELD) | ((Comment.status == Status.PUBLISHED) & (Comment.posted_at > since)),
        )
    )
    async with request.app[keys.database].reading() as session:
        return frozenset(await session.scalars(mine.order_by(Comment.id.desc()).limit(50)))


async def shown_with(
    request: web.Request,
    thread_id: int,
    key: Hashable,
    make: Callable[[Reading, frozenset[int]], Awaitable[web.Response]],
) -> web.StreamResponse:
    """The owner's page: the same for everybody; of who has comments on it that are their own, a page of their own."""
    own = await own_of(request, thread_id)
    return await answer(request, key, lambda reading: make(reading, own), own=bool(own))


async def listed(request: web.Request, thread_id: int) -> web.StreamResponse:
    """The thread's comments as JSON, a page of them."""
    page = page_of(request)
    channel = comments_channel(thread_id)

    async def make(reading: Reading) -> web.Response:
        position = (await reading.at(channel))[channel]
        discussion = await request.app[keys.database].look(lambda rows: read_discussion(rows, thread_id, page))
        following = discussion.next_page
        data = {
            "comments": [_as_json(comment) for comment in discussion.comments],
            "total": discussion.total,
            "older": following and f"{request.path}{following.query}",
            "open": discussion.is_open,
            "channel": channel,
            "position": position or None,
        }
        return web.Response(body=orjson.dumps(data), content_type="application/json")

    return await answer(request, ("comments", request.path, page), make, personal=False)


async def posted(
    request: web.Request, thread_id: int, page: str, again: Callable[[CommentForm], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """A comment taken from a form: as JSON for a script, back to the page for a browser.

    page: the path of the owner's page. again: that page with the form as it was filled in, and its errors.
    """
    form = await CommentForm.read(await read_fields(request))
    if form.errors:
        return await _refused(request, form, again, 422)
    wait = request.app[limiter].take(address_of(request))
    if wait:
        words = f"Too many comments from your address. Send it again in {int(wait) + 1} seconds."
        response = await _refused(request, form.wrong(words), again, 429)
        response.headers[hdrs.RETRY_AFTER] = str(int(wait) + 1)
        return response
    visitor_of(request)
    try:
        comment, reasons = await _save(request, thread_id, form)
    except NoThread as error:
        return await kept_text(request, web.HTTPNotFound(text=str(error)))
    except NotTaken as error:
        return await _refused(request, form.wrong(str(error)), again, 409)
    if comment.status is Status.REFUSED:
        words = "This was not taken, as it looks like spam. If it is none, say it in other words, without links."
        return await _refused(request, form.wrong(" ".join([words, *(each.words for each in reasons)])), again, 422)
    if wants_json(request):
        is_held = comment.status is Status.HELD
        until = machine_time(comment.posted_at + window(request.app))
        data = {"comment": as_data(comment) | {"text": comment.text}, "held": is_held, "until": until}
        return json_response(data, status=201)
    return redirect(f"{page}#comment-{comment.id}")


async def show_work(request: web.Request) -> web.Response:
    """What a browser has to compute before it sends a comment, as JSON."""
    work = request.app[works]
    if not work.rounds:
        raise web.HTTPNotFound(text="No work is asked for comments.")
    return json_response(work.challenge())


async def _save(request: web.Request, thread_id: int, form: CommentForm) -> tuple[Comment, tuple[Reason, ...]]:
    app, sender = request.app, sender_of(request)
    key = form.named(thread_id, sender.address)
    age = app[seals].form_age(form.form) if form.form and not form.key else None
    wrong = await app[works].wrong(form.work) if app[works].rounds else None
    try:
        async with app[keys.database].saving() as session:
            await lock_thread(session, thread_id)
            if (found := await find_sent(session, key)) is not None:
                return found, ()
            verdict = await judging.judge(app, session, form, sender, age, wrong or "")
            comment, record = await create(session, thread_id, form, sender, verdict, key)
            if form.mail and comment.status is not Status.REFUSED:
                await mails.subscribe(app, session, comment, record, form.mail, sender.address)
            if comment.status is Status.HELD:
                await mails.tell_moderators(app, session, comment, record)
            elif comment.status is Status.PUBLISHED:
                await mails.plan_digests(app, session, comment)
            return comment, tuple(each for each in verdict.reasons if each.weight > 0)[:3]
    except IntegrityError:
        async with app[keys.database].reading() as session:
            if (found := await find_sent(session, key)) is None:
                raise
        return found, ()


async def _refused(
    request: web.Request,
    form: CommentForm,
    again: Callable[[CommentForm], Awaitable[web.StreamResponse]],
    status: int,
) -> web.StreamResponse:
    if not wants_json(request):
        response = await again(form)
        response.set_status(status)
        return response
    fields = {field: words for field, words in form.errors if field}
    what = form.error("") or "The comment was not posted."
    step = "Correct it and send it again." if fields else "What you wrote is still here."
    return json_response({"error": what, "next": step, "fields": fields}, status=status)


async def kept_text(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    """What was sent can't be taken, and there is no form to show it in again: says so, with what was typed."""
    fields = await read_fields(request) if request.method == hdrs.METH_POST else {}
    if not wants_page(request):
        raise error
    context = {"words": error.text, "text": fields.get("text", "")}
    return render(request, "comments/lost.html", context, status=error.status, cache="no-store")


def sender_of(request: web.Request) -> Sender:
    """Who has sent a request."""
    hashed = request.app[seals].hashed
    return Sender(hashed("visitor", visitor_of(request).id), hashed("address", address_of(request)))


def window(app: web.Application) -> timedelta:
    """How long a comment's writer may edit and delete it."""
    return timedelta(seconds=app[keys.settings][CommentSettings].window)


def talk(request: web.Request, discussion: Discussion, form: CommentForm, path: str) -> dict[str, Any]:
    """What the template `comments/_thread.html` needs. path: of the owner's page."""
    return {
        "discussion": discussion,
        "form": form,
        "page": path,
        "form_seal": request.app[seals].form(),
        "asks_work": request.app[works].rounds > 0,
        "takes_mail": mails.origin(request.app) is not None,
        "editable_since": now() - window(request.app),
    }


def _as_json(comment: Shown) -> dict[str, Any]:
    if comment.is_gone:
        return {"id": comment.id, "parent": comment.parent_id, "edition": comment.edition, "gone": True}
    return as_data(comment) | {"text": comment.text}
