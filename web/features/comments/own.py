"""One comment: where it is, a page to answer it, and what its writer may do with it for a while."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from ...pages import keys
from ...pages.requests import VISITOR, clean_long, json_response, read_fields, redirect, wants_json
from ...pages.templating import render
from . import mails
from .forms import CommentForm, rendered
from .hints import as_data
from .mails import seals
from .models import MAX_COMMENT, Comment, Record, Status
from .owners import Owner, find_owner
from .queries import place_of
from .saving import NoThread, change_status, edit, lock_thread
from .views import kept_text, sender_of, window, works

_GONE = "That comment is not there any more."


async def show(request: web.Request) -> web.StreamResponse:
    """GET /comments/{id}: leads to the page that has it now."""
    number = int(request.match_info["id"])
    async with request.app[keys.database].reading() as session:
        found = await place_of(session, number)
        if found is None:
            raise web.HTTPNotFound(text=_GONE)
        thread_id, page = found
        owner = await find_owner(request.app, session, thread_id)
    return redirect(f"{owner.path}{page.query}#comment-{number}")


async def reply(request: web.Request) -> web.StreamResponse:
    """GET /comments/{id}/reply: the comment, and a form to answer it."""
    async with request.app[keys.database].reading() as session:
        comment = await session.get(Comment, int(request.match_info["id"]))
        if comment is None or comment.status is not Status.PUBLISHED:
            raise web.HTTPNotFound(text=_GONE)
        owner = await find_owner(request.app, session, comment.thread_id)
    form = CommentForm(parent=comment.id)
    context = {
        "comment": comment,
        "owner": owner,
        "form": form,
        "form_seal": request.app[seals].form(),
        "asks_work": request.app[works].rounds > 0,
        "takes_mail": mails.origin(request.app) is not None,
    }
    return render(request, "comments/reply.html", context)


async def show_edit(request: web.Request) -> web.StreamResponse:
    """GET /comments/{id}/edit: the writer's form."""
    try:
        async with request.app[keys.database].reading() as session:
            comment, owner = await _own(request, session)
    except web.HTTPException as error:
        return await kept_text(request, error)
    return _form(request, comment, owner, comment.text)


async def post_edit(request: web.Request) -> web.StreamResponse:
    """POST /comments/{id}/edit: other words."""
    text = await clean_long((await read_fields(request)).get("text", ""), MAX_COMMENT)
    html, wrong = await rendered(text)
    try:
        async with request.app[keys.database].saving() as session:
            comment, owner = await _own(request, session, lock=True)
            if wrong is None:
                edit(comment, text, html, now())
    except web.HTTPException as error:
        return await kept_text(request, error)
    if wrong is None:
        return _done(request, comment, owner)
    if wants_json(request):
        what = {"error": wrong, "next": "Correct it and send it again.", "fields": {"text": wrong}}
        return json_response(what, status=422)
    return _form(request, comment, owner, text, wrong)


async def post_delete(request: web.Request) -> web.StreamResponse:
    """POST /comments/{id}/delete."""
    try:
        async with request.app[keys.database].saving() as session:
            comment, owner = await _own(request, session, lock=True)
            await change_status(session, comment, Status.DELETED)
    except web.HTTPException as error:
        return await kept_text(request, error)
    return _done(request, comment, owner)


async def _own(request: web.Request, session: AsyncSession, *, lock: bool = False) -> tuple[Comment, Owner]:
    """The visitor's comment that the path names; raises HTTPNotFound, and HTTPForbidden with the reason."""
    comment = await session.get(Comment, int(request.match_info["id"]))
    if comment is not None and lock:
        try:
            await lock_thread(session, comment.thread_id, open_or_not=True)
        except NoThread:
            comment = None
        else:
            await session.refresh(comment)
    if comment is None or comment.status not in (Status.PUBLISHED, Status.HELD):
        raise web.HTTPNotFound(text=_GONE)
    record = await session.get(Record, comment.id)
    # Without a cookie of ours nobody is anyone's writer.
    if VISITOR not in request or record is None or record.visitor != sender_of(request).visitor:
        raise web.HTTPForbidden(text="Only who wrote a comment may change it, in the browser it was written in.")
    if comment.posted_at <= now() - window(request.app):
        minutes = window(request.app).total_seconds() / 60
        raise web.HTTPForbidden(text=f"A comment may be changed for {minutes:g} minutes, and they are over.")
    return comment, await find_owner(request.app, session, comment.thread_id)


def _form(request: web.Request, comment: Comment, owner: Owner, text: str, wrong: str | None = None) -> web.Response:
    errors = {} if wrong is None else {"text": wrong}
    context = {"comment": comment, "owner": owner, "text": text, "errors": errors}
    return render(request, "comments/edit.html", context, status=200 if wrong is None else 422, cache="no-store")


def _done(request: web.Request, comment: Comment, owner: Owner) -> web.StreamResponse:
    is_deleted = comment.status is Status.DELETED
    if wants_json(request):
        return json_response({"gone": comment.id} if is_deleted else {"comment": as_data(comment)})
    return redirect(f"{owner.path}#comments-title" if is_deleted else f"/comments/{comment.id}")
