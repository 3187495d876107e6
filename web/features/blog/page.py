"""A post's page, and its comments: a thread of `comments`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ...pages import keys
from ...pages.kept import Kept, Reading
from ...pages.origin import origin_of
from ...pages.page import answer, kept_beside_pages, pages
from ...pages.templating import machine_time, render
from ..comments.forms import CommentForm
from ..comments.hints import comments_channel
from ..comments.owners import Owner, finders
from ..comments.queries import Page, read_discussion
from ..comments.views import kept_text, listed, page_of, posted, shown_with, talk
from .addresses import post_path
from .hints import CATEGORIES, post_channel
from .models import OldSlug, Post
from .queries import Listed, public, read_post


@dataclass(frozen=True, slots=True)
class Found:
    """The post that a path names. slug: its own; another than the path's is one that it had."""

    id: int
    thread_id: int
    slug: str


#: Posts by slug, for what needs no more of them than their ids.
found_posts: web.AppKey[Kept[Found]] = web.AppKey("found posts", Kept)


def setup(app: web.Application) -> None:
    """Put what the views need into the application."""
    app[found_posts] = kept_beside_pages(app)
    app[finders].append(_owners)


async def show(request: web.Request) -> web.StreamResponse:
    """GET /posts/{slug}; ?order=oldest&start=17-19 is a page of its comments."""
    found, page, origin = await find(request), page_of(request), origin_of(request)

    async def make(reading: Reading, own: Collection[int]) -> web.Response:
        return await _page(request, reading, found, page, CommentForm(), origin, own)

    return await shown_with(request, found.thread_id, ("post", origin, found, page), make)


async def about(request: web.Request) -> web.StreamResponse:
    """GET /posts/{slug}/about: the part of the page that follows the post, and no comments."""
    found = await find(request)

    async def make(reading: Reading) -> web.Response:
        positions = await reading.at(post_channel(found.id))
        reading.follow(CATEGORIES)
        async with request.app[keys.database].reading() as session:
            context = {"positions": positions, "post": await get(session, found)}
        return render(request, "blog/about.html", context)

    return await answer(request, ("post about", found), make)


async def comments(request: web.Request) -> web.StreamResponse:
    """GET /posts/{slug}/comments.json: a page of them."""
    return await listed(request, (await find(request)).thread_id)


async def post(request: web.Request) -> web.StreamResponse:
    """POST /posts/{slug}/comments: the comment as JSON for a script, back to the page for a browser.

    At an address that the post had too: nothing is lost of what was typed while it was renamed.
    """
    try:
        found = await _found(request, _slug(request))
    except web.HTTPNotFound as error:
        return await kept_text(request, error)
    origin = origin_of(request)

    async def again(form: CommentForm) -> web.StreamResponse:
        async def make(reading: Reading) -> web.Response:
            return await _page(request, reading, found, Page(), form, origin)

        return await request.app[pages].unkept(make)

    return await posted(request, found.thread_id, post_path(found.slug), again)


async def find(request: web.Request) -> Found:
    """The post that the path names; raises HTTPNotFound, and HTTPMovedPermanently at an address that it had."""
    slug = _slug(request)
    found = await _found(request, slug)
    if found.slug != slug:
        rest = request.path.removeprefix(post_path(slug))
        query = f"?{request.rel_url.raw_query_string}" if request.query_string else ""
        raise web.HTTPMovedPermanently(post_path(found.slug) + rest + query)
    return found


async def get(session: AsyncSession, found: Found) -> Listed:
    """The post that was found; raises HTTPNotFound if it was removed or renamed since."""
    post = await read_post(session, found.id)
    if post is None or post.slug != found.slug:
        raise _no_post()
    return post


async def _page(
    request: web.Request,
    reading: Reading,
    found: Found,
    page: Page,
    form: CommentForm,
    origin: str,
    own: Collection[int] = (),
) -> web.Response:
    positions = await reading.at(post_channel(found.id), comments_channel(found.thread_id))
    reading.follow(CATEGORIES)
    async with request.app[keys.database].reading() as session:
        post = await get(session, found)
        discussion = await session.run_sync(
            lambda plain: read_discussion(plain.connection(), found.thread_id, page, own=own)
        )
    context: dict[str, Any] = {
        "positions": positions,
        "post": post,
        "origin": origin,
        "data": _data(post, discussion.total, origin),
    }
    return render(request, "blog/post.html", context | talk(request, discussion, form, post_path(post.slug)))


async def _owners(session: AsyncSession, thread_ids: Collection[int]) -> Mapping[int, Owner]:
    """The posts whose threads these are, as far as they may be read."""
    asked = select(Post.thread_id, Post.slug, Post.title).where(Post.thread_id.in_(thread_ids), public())
    return {thread: Owner(post_path(slug), title) for thread, slug, title in await session.execute(asked)}


def _data(post: Listed, comments: int, origin: str) -> dict[str, object]:
    """The post in schema.org's words, as search engines read them."""
    url = origin + post_path(post.slug)
    shown = post.shown_picture
    site = {"@type": "Organization", "name": "Fanfare", "url": f"{origin}/"}
    return {
        "@context": "https://schema.org",
        "@type": "BlogPosting",
        "@id": f"urn:uuid:{post.uid}",
        "headline": post.title,
        "description": post.summary,
        **({"image": origin + shown.src} if shown and shown.ready else {}),
        "url": url,
        "mainEntityOfPage": url,
        "datePublished": machine_time(post.published_at),
        "dateModified": machine_time(post.updated_at),
        "author": site,
        "publisher": site,
        "articleSection": list(post.categories),
        "keywords": post.keywords,
        "commentCount": comments,
        "inLanguage": "en",
    }


def _no_post() -> web.HTTPNotFound:
    return web.HTTPNotFound(text="There is no such post.")


def _slug(request: web.Request) -> str:
    slug = request.match_info["slug"]
    if "\0" in slug:
        # PostgreSQL has no text with a NUL in it, and would fail rather than find nothing.
        raise _no_post()
    return slug


async def _found(request: web.Request, slug: str) -> Found:
    """The post that has or had a slug, if it may be read. A change that was told is known here."""

    async def find(reading: Reading) -> Found:
        async with request.app[keys.database].reading() as session:
            row = await _row(session, slug)
            if row is None:
                raise _no_post()
            # Only now is its channel known: what was renamed before that is not this post any more.
            reading.follow(post_channel(row.id))
            await session.rollback()
            if await _row(session, slug) != row:
                raise _no_post()
        return row

    found, _ = await request.app[found_posts].get(slug, find)
    return found


async def _row(session: AsyncSession, slug: str) -> Found | None:
    columns = select(Post.id, Post.thread_id, Post.slug).where(public())
    had = columns.join(OldSlug, OldSlug.post_id == Post.id).where(OldSlug.slug == slug)
    # The one that has it now comes first, whoever had it.
    for asked in (columns.where(Post.slug == slug), had):
        row = (await session.execute(asked)).one_or_none()
        if row is not None:
            return Found(*row)
    return None
