"""The desk's editor: a post as a form, with what it will look like beside it.

What is typed is kept while it is typed (`drafts`). A save that was made from an older edition is refused, and shows
both texts. All of it works by plain forms; static/blog/desk.js saves, previews and keeps without leaving the page.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from aiohttp import web
from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ...pages import keys
from ...pages.requests import USER, json_response, read_fields, redirect, wants_json
from ...pages.templating import machine_time, read_positions, render
from . import drafts, text, versions
from .desk import standing_of
from .differences import Difference, compare
from .drafts import Draft, TooManyDrafts
from .forms import PostForm
from .hints import DESK
from .models import MAX_DRAFTS, Format, Post, PostCategory, State
from .posts import (
    BadPost,
    Edited,
    NoPost,
    Ready,
    create,
    find_uid,
    most_text,
    publish,
    unpublish,
    update,
    writing_of,
)
from .versions import Version
from .zones import names

#: What a form can be sent for; what the page says once it was done.
DONE = {
    "saved": "Saved.",
    "published": "Published: everybody can read it now.",
    "planned": "Planned: it will be public at the time below, by itself.",
    "unpublished": "It is a draft again. What its address was leads to it once it is published.",
    "restored": "That version is what the post says now.",
    "discarded": "What was not saved is forgotten.",
}
_ACTS = ("save", "publish", "unpublish")

#: Categories that are offered.
_OFFERED = 200


@dataclass(frozen=True, slots=True)
class Conflict:
    """What somebody else has saved meanwhile, and how ours differs from it."""

    theirs: Version
    difference: Difference


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page of the editor shows besides the form."""

    post: Post | None = None
    preview: Markup | None = None
    #: The preview can't be made, and why.
    trouble: str = ""
    draft: Draft | None = None
    conflict: Conflict | None = None
    done: str = ""
    #: The form has what was typed, and is not saved.
    is_typed: bool = False
    others: int = 0


async def new(request: web.Request) -> web.StreamResponse:
    """GET /manage/posts/new, with ?draft=… for one that was begun."""
    uid = request.query.get("draft", "")
    draft = None
    if uid:
        async with request.app[keys.database].reading() as session:
            draft = await drafts.read(session, uid, request[USER].id) if drafts.is_uid(uid) else None
            post = await find_uid(session, uid) if drafts.is_uid(uid) else None
        if post is not None:
            return redirect(f"/manage/posts/{post.id}")
        if draft is None:
            raise web.HTTPNotFound(text="There is no such draft: it was saved, or forgotten.")
    form = PostForm(uid=str(uuid4())) if draft is None else PostForm.read({**draft.fields, "uid": uid})
    return await _page(request, form, Shown(draft=draft, done=_done(request)))


async def post_new(request: web.Request) -> web.StreamResponse:
    """POST /manage/posts. Sent twice it makes one post."""
    return await _save(request, None)


async def edit(request: web.Request) -> web.StreamResponse:
    """GET /manage/posts/{id}: with what the writer has typed and not saved, if there is any."""
    async with request.app[keys.database].reading() as session:
        post = await _get(session, request)
        form = PostForm.of(post, await writing_of(session, post))
        draft = await drafts.read(session, post.uid, request[USER].id)
        others = await drafts.others(session, post, request[USER].id)
        conflict = None
        if draft is not None:
            typed = PostForm.read({**draft.fields, "uid": post.uid, "edition": str(post.edition)})
            if typed.typed() == form.typed():
                draft = None
            else:
                form = typed
                if draft.edition != post.edition:
                    conflict = await _conflict(session, post, form)
    state = Shown(post=post, draft=draft, conflict=conflict, done=_done(request), others=others)
    if draft is None:
        # As it was rendered at its save.
        state = replace(state, preview=Markup(post.html))
    return await _page(request, form, state)


async def post_edit(request: web.Request) -> web.StreamResponse:
    """POST /manage/posts/{id}; 409 when someone else has edited the post since the form was made."""
    return await _save(request, int(request.match_info["id"]))


async def preview(request: web.Request) -> web.StreamResponse:
    """POST /manage/posts/preview: what the text will look like; for a browser the form again, with that beside it."""
    form = PostForm.read(await read_fields(request))
    html, trouble = await _render(form)
    if wants_json(request):
        return json_response({"html": html or "", "error": trouble})
    async with request.app[keys.database].reading() as session:
        post = await find_uid(session, form.uid) if drafts.is_uid(form.uid) else None
    return await _page(request, form, Shown(post=post, preview=html, trouble=trouble, is_typed=True))


async def post_draft(request: web.Request) -> web.StreamResponse:
    """POST /manage/posts/drafts: keep what was typed, as it is; says which edition the post has by now."""
    form = PostForm.read(await read_fields(request))
    if not drafts.is_uid(form.uid):
        raise web.HTTPBadRequest(text="The form does not say which post it is of.")
    try:
        try:
            saved_at, edition = await _keep(request, form)
        except IntegrityError:
            # Two at the same moment; now the other is there.
            saved_at, edition = await _keep(request, form)
    except TooManyDrafts:
        words = f"You have begun {MAX_DRAFTS} posts and saved none of them: save or discard one."
        raise web.HTTPConflict(text=words) from None
    return json_response({"saved_at": machine_time(saved_at), "edition": edition})


async def discard(request: web.Request) -> web.StreamResponse:
    """POST /manage/posts/drafts/discard: forget what was typed and not saved."""
    uid = (await read_fields(request)).get("uid", "")
    if not drafts.is_uid(uid):
        return redirect("/manage/posts")
    async with request.app[keys.database].saving() as session:
        post = await find_uid(session, uid)
        await drafts.forget(session, uid, request[USER].id)
    return redirect("/manage/posts" if post is None else f"/manage/posts/{post.id}?done=discarded")


async def newer(request: web.Request) -> web.StreamResponse:
    """GET /manage/posts/{id}/newer?edition=3: the part of the editor that says that another has saved the post."""
    edition = request.query.get("edition", "")
    positions = await read_positions(request.app[keys.publisher], DESK)
    async with request.app[keys.database].reading() as session:
        post = await _get(session, request)
    context = {"positions": positions, "post": post, "edition": edition}
    return render(request, "blog/newer.html", context, cache="no-store")


async def _keep(request: web.Request, form: PostForm) -> tuple[datetime, int]:
    """When the draft was kept, and the edition that the post has by now; 0 if there is none yet."""
    async with request.app[keys.database].saving() as session:
        post = await find_uid(session, form.uid)
        post_id, edition = (None, 0) if post is None else (post.id, post.edition)
        return await drafts.keep(session, form.uid, request[USER].id, post_id, form.edition, form.typed()), edition


async def _save(request: web.Request, post_id: int | None) -> web.StreamResponse:
    fields = await read_fields(request)
    form, act = PostForm.read(fields), fields.get("do", "save")
    if act not in _ACTS or not drafts.is_uid(form.uid):
        raise web.HTTPBadRequest(text="The form is not one of the desk’s.")
    database = request.app[keys.database]
    try:
        ready, at = await form.ready()
        try:
            post, done = await _write(request, post_id, form, ready, at, act)
        except IntegrityError:
            # Sent twice at the same moment; now the other is there.
            post, done = await _write(request, post_id, form, ready, at, act)
    except NoPost:
        raise web.HTTPNotFound(text="There is no such post.") from None
    except BadPost as error:
        form.errors.update(error.errors)
        async with database.reading() as session:
            known = await find_uid(session, form.uid)
        if wants_json(request):
            what = {"error": "The post was not saved.", "next": "Correct it and send it again.", "fields": form.errors}
            return json_response(what, status=422)
        return await _page(request, form, Shown(post=known), status=422)
    except Edited:
        if wants_json(request):
            what = {"error": "Someone else has edited this post.", "next": "Send it as a form to see both."}
            return json_response(what, status=409)
        async with database.reading() as session:
            current = await find_uid(session, form.uid)
            if current is None:
                raise web.HTTPNotFound(text="There is no such post.") from None
            conflict = await _conflict(session, current, form)
        return await _page(request, form.at(current.edition), Shown(post=current, conflict=conflict), status=409)
    if wants_json(request):
        return json_response(
            {
                "id": post.id,
                "edition": post.edition,
                "slug": post.slug,
                "state": standing_of(post.state, post.published_at),
                "done": DONE[done],
            },
            status=201 if post_id is None else 200,
        )
    return redirect(f"/manage/posts/{post.id}?done={done}")


async def _write(
    request: web.Request, post_id: int | None, form: PostForm, ready: Ready, at: datetime | None, act: str
) -> tuple[Post, str]:
    """The post as it is then, and what was done, a key of DONE. Raises BadPost, Edited, NoPost, IntegrityError."""
    jobs, user = request.app[keys.jobs], request[USER]
    async with request.app[keys.database].saving() as session:
        known = await find_uid(session, form.uid) if post_id is None else None
        if post_id is None and known is None:
            post = await create(session, jobs, ready, by=user.name, uid=form.uid)
        else:
            edition = form.edition or 1
            post = await update(session, jobs, post_id or (known.id if known else 0), ready, edition, by=user.name)
        if at is not None and post.published_at is not None and form.shows(post.published_at):
            # To the minute as it was shown: nobody has changed it.
            at = post.published_at
        is_moved = post.state is State.PUBLISHED and at not in (None, post.published_at)
        if act == "publish" or (act == "save" and is_moved):
            await publish(session, jobs, post.id, at)
        elif act == "unpublish":
            await unpublish(session, post.id)
        elif post.state is State.DRAFT:
            post.planned_at = at if at != post.published_at else None
        await drafts.forget(session, post.uid, user.id)
    if act == "unpublish":
        return post, "unpublished"
    standing = standing_of(post.state, post.published_at)
    return post, standing if act == "publish" or standing == "planned" else "saved"


async def _conflict(session: AsyncSession, post: Post, form: PostForm) -> Conflict:
    theirs = await versions.read(session, post, post.edition)
    assert theirs is not None
    # As it would be kept; what was typed may end in other line ends.
    ours = form.text.replace("\r\n", "\n").strip()
    return Conflict(theirs, await asyncio.to_thread(compare, theirs.text, ours))


async def _render(form: PostForm) -> tuple[Markup | None, str]:
    """What the text becomes, or why it can't."""
    most = most_text(form.shown_format)
    if len(form.text) > 2 * most:
        return None, f"A post has at most {most:,} characters; this one has {len(form.text):,}."
    try:
        made = await asyncio.to_thread(text.render, form.text, format=form.shown_format.value)
    except text.TextError as error:
        return None, str(error)
    # The renderer has made it safe.
    return Markup(made.html), ""


async def _get(session: AsyncSession, request: web.Request) -> Post:
    post = await session.get(Post, int(request.match_info["id"]))
    if post is None:
        raise web.HTTPNotFound(text="There is no such post.")
    return post


def _done(request: web.Request) -> str:
    return DONE.get(request.query.get("done", ""), "")


async def _page(request: web.Request, form: PostForm, state: Shown, *, status: int = 200) -> web.Response:
    positions = await read_positions(request.app[keys.publisher], DESK) if state.post else {}
    if state.preview is None and not state.trouble:
        html, trouble = await _render(form)
        state = replace(state, preview=html, trouble=trouble)
    async with request.app[keys.database].reading() as session:
        offered = list(await session.scalars(select(PostCategory.name).order_by(PostCategory.name).limit(_OFFERED)))
    context: dict[str, Any] = {
        "positions": positions,
        "form": form,
        "page": state,
        "post": state.post,
        "standing_now": standing_of(state.post.state, state.post.published_at) if state.post else "new",
        "offered": offered,
        "zones": await asyncio.to_thread(names),
        "formats": [(each.value, each.label) for each in Format],
    }
    return render(request, "blog/editor.html", context, status=status, cache="no-store")
