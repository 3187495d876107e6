"""The versions of a post: what each changed, and back to one of them."""

from __future__ import annotations

import asyncio

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncSession

from ...pages import keys
from ...pages.requests import USER, read_fields, redirect
from ...pages.templating import render
from . import drafts, versions
from .differences import compare
from .models import Post
from .posts import BadPost, Edited, Writing, ready, split_keywords, update, writing_of
from .versions import Version


async def show(request: web.Request) -> web.StreamResponse:
    """GET /manage/posts/{id}/history: all versions that are kept."""
    async with request.app[keys.database].reading() as session:
        post = await _post(session, request)
        context = {"post": post, "versions": await versions.listed(session, post)}
    return render(request, "blog/history.html", context, cache="no-store")


async def version(request: web.Request) -> web.StreamResponse:
    """GET /manage/posts/{id}/history/{edition}: what it changed, with ?from=… for since which, and ?view=lines."""
    edition = int(request.match_info["edition"])
    given = request.query.get("from", str(edition - 1))
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise _none()
    async with request.app[keys.database].reading() as session:
        post = await _post(session, request)
        found = await versions.read(session, post, edition)
        before = await versions.read(session, post, int(given))
        known = [each.edition for each in await versions.listed(session, post)]
    if found is None or (before is None and "from" in request.query):
        raise _none()
    old = before.facts() if before else dict.fromkeys(found.facts(), "")
    difference = await asyncio.to_thread(compare, before.text if before else "", found.text)
    context = {
        "post": post,
        "version": found,
        "before": before,
        "facts": [(name, old[name], value) for name, value in found.facts().items() if old[name] != value],
        "difference": difference,
        "view": "lines" if request.query.get("view") == "lines" else "sides",
        "older": next((each for each in known if each < edition), None),
        "newer": next((each for each in reversed(known) if each > edition), None),
    }
    return render(request, "blog/version.html", context, cache="no-store")


async def restore(request: web.Request) -> web.StreamResponse:
    """POST /manage/posts/{id}/history/{edition}/restore: what it said then is what it says now, as a new edition.

    409 when someone else has edited the post since the page was made.
    """
    fields = await read_fields(request)
    seen, edition = fields.get("edition", ""), int(request.match_info["edition"])
    async with request.app[keys.database].reading() as session:
        post = await _post(session, request)
        found = await versions.read(session, post, edition)
        now = await writing_of(session, post)
    if found is None:
        raise _none()
    try:
        new = await ready(_again(found, now))
        async with request.app[keys.database].saving() as session:
            number = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 10 else 0
            await update(session, request.app[keys.jobs], post.id, new, number, by=request[USER].name)
            await drafts.forget(session, post.uid, request[USER].id)
    except BadPost as error:
        # Its bounds have changed since.
        raise web.HTTPUnprocessableEntity(text=" ".join(error.errors.values())) from None
    except Edited:
        raise web.HTTPConflict(text="Someone else has edited this post. Look at its versions again.") from None
    return redirect(f"/manage/posts/{post.id}?done=restored")


def _again(version: Version, now: Writing) -> Writing:
    """What to write to have a version again. Its address stays, and whether comments are open."""
    return Writing(
        title=version.title,
        text=version.text,
        format=version.format,
        summary=version.summary,
        categories=version.categories,
        keywords=tuple(split_keywords(version.keywords)),
        comments=now.comments,
    )


async def _post(session: AsyncSession, request: web.Request) -> Post:
    post = await session.get(Post, int(request.match_info["id"]))
    if post is None:
        raise web.HTTPNotFound(text="There is no such post.")
    return post


def _none() -> web.HTTPNotFound:
    return web.HTTPNotFound(text="This version is not kept.")
