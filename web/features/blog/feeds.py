"""Feeds of posts and of a post's comments, the sitemap, robots.txt: what machines ask for.

Each is kept as a page is, with its tag: a reader that has it already gets 304.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from html import escape
from uuid import UUID, uuid5

from aiohttp import hdrs, web

from ...pages import keys
from ...pages.kept import Reading
from ...pages.origin import origin_of
from ...pages.page import answer
from ...pages.sitemaps import Place
from ..comments.hints import comments_channel
from ..comments.queries import published, read_discussion
from ..pictures.forms import Shown
from . import websub
from .addresses import FEEDS, ListAddress, post_path
from .hints import POSTS, post_channel
from .page import find, get
from .queries import Listed, read_categories, read_list
from .settings import BlogSettings
from .syndication import WRITERS, Entry, Feed, sitemap, sitemap_index

#: Posts of a feed.
SHOWN = 20

#: Pages in a part of the sitemap. Its protocol takes 50,000, of which making the text would halt the loop for a second.
IN_PART = 500

AUTHOR = "Fanfare"


async def of_list(request: web.Request, address: ListAddress) -> web.StreamResponse:
    """GET /rss.xml, /oc-Django/atom.xml, …: the newest posts, whole."""
    origin = origin_of(request)

    async def make(reading: Reading) -> web.Response:
        return await make_list(request.app, reading, address, origin)

    response = await answer(request, key_of(address, origin), make, personal=False)
    if _has_hub(request.app):
        response.headers[hdrs.LINK] = websub.links(origin, origin + address.path)
    return response


def key_of(address: ListAddress, origin: str) -> Hashable:
    """What the feed of a list is kept under."""
    return "feed", origin, address


async def make_list(app: web.Application, reading: Reading, address: ListAddress, origin: str) -> web.Response:
    """The feed of a list; raises HTTPNotFound for one of categories that are not there."""
    reading.follow(POSTS)
    async with app[keys.database].reading() as session:
        ids = await read_categories(session, address.names) if address.names else {}
        if missing := [name for name in address.names if name not in ids]:
            raise web.HTTPNotFound(text=f"Unrecognized categories: {', '.join(missing)}")
        posts, _ = await read_list(session, ids.values(), 1, full=True, count=SHOWN)
    name = ", ".join(address.names)
    feed = Feed(
        title=f"Fanfare: {name}" if name else "Fanfare",
        subtitle=f"Posts under {name}" if name else "Newest posts",
        page=origin + ListAddress(address.names).path,
        url=origin + address.path,
        author=AUTHOR,
        entries=[_entry(post, origin, address.feed) for post in posts],
        hub=origin + websub.HUB_PATH if _has_hub(app) else "",
    )
    return await _written(feed, address.feed)


def _has_hub(app: web.Application) -> bool:
    return app[keys.settings][BlogSettings].websub_subscribers > 0


async def of_comments(request: web.Request) -> web.StreamResponse:
    """GET /posts/{slug}/rss.xml, …: the newest comments."""
    file, origin = request.match_info["file"], origin_of(request)
    found = await find(request)

    async def make(reading: Reading) -> web.Response:
        reading.follow(post_channel(found.id), comments_channel(found.thread_id))
        async with request.app[keys.database].reading() as session:
            post = await get(session, found)
            discussion = await session.run_sync(lambda plain: read_discussion(plain.connection(), found.thread_id))
        url = origin + post_path(post.slug)
        entries = [
            Entry(
                uid=uuid5(UUID(post.uid), f"comment-{comment.id}").urn,
                url=f"{url}#comment-{comment.id}",
                title=f"{comment.name} on “{post.title}”",
                html=comment.html,
                published_at=comment.posted_at,
                updated_at=comment.edited_at or comment.posted_at,
                author=comment.name,
            )
            for comment in published(discussion.comments)
        ]
        feed = Feed(
            title=f"Comments on “{post.title}”",
            subtitle=f"What is said about “{post.title}”",
            page=url,
            url=f"{url}/{file}",
            author=AUTHOR,
            entries=entries,
        )
        return await _written(feed, file)

    return await answer(request, ("comments feed", origin, found, file), make, personal=False)


async def site_map(request: web.Request) -> web.StreamResponse:
    """GET /sitemap.xml, and /zitemap.xml: of many pages only where the parts are, /sitemap-posts-1.xml and so on."""
    origin = origin_of(request)
    # Those that begin with lists come first.
    handed = request.app[keys.sitemaps]
    maps = sorted(handed, key=lambda each: each.first is None)
    name, part = request.match_info.get("name", ""), int(request.match_info.get("part", 0))
    if name and name not in {each.name for each in maps}:
        raise _no_part()

    async def make(reading: Reading) -> web.Response:
        reading.follow(*(channel for each in maps for channel in each.channels))
        async with request.app[keys.database].reading() as session:
            wanted = [each for each in maps if not part or each.name == name]
            counts = {each: await each.count(session) for each in wanted}
            if part and part > _parts(sum(counts.values())):
                raise _no_part()
            if not part and sum(counts.values()) > IN_PART:
                body = sitemap_index(
                    f"{origin}/sitemap-{each.name}-{number}.xml"
                    for each, count in counts.items()
                    for number in range(1, _parts(count) + 1)
                    if count
                )
            else:
                places: list[Place] = []
                skip = IN_PART * max(0, part - 1)
                for each in wanted:
                    if not skip and each.first is not None:
                        places += [(path, None) for path in await each.first(session)]
                    places += await each.read(session, skip, IN_PART)
                body = sitemap((origin + path, when) for path, when in places)
        return web.Response(body=body, content_type="application/xml")

    return await answer(request, ("sitemap", origin, name, part), make, personal=False)


def _parts(count: int) -> int:
    return max(1, -(-count // IN_PART))


def _no_part() -> web.HTTPNotFound:
    return web.HTTPNotFound(text="There is no such part of the sitemap.")


async def robots(request: web.Request) -> web.StreamResponse:
    """GET /robots.txt."""
    text = f"User-agent: *\nDisallow: /manage/\nDisallow: /login\n\nSitemap: {origin_of(request)}/sitemap.xml\n"
    return web.Response(text=text)


async def _written(feed: Feed, file: str) -> web.Response:
    # Twenty posts may be long ones.
    body = await asyncio.to_thread(WRITERS[file], feed)
    kind = next(each.content_type for each in FEEDS if each.file == file)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: f"{kind}; charset=utf-8"})


def _entry(post: Listed, origin: str, file: str) -> Entry:
    url = origin + post_path(post.slug)
    shown = post.shown_picture
    if shown is not None and not shown.ready:
        shown = None
    return Entry(
        uid=UUID(post.uid).urn,
        url=url,
        title=post.title,
        # Readers show the text and nothing else.
        html=(_picture(shown) if shown else "") + post.html,
        summary=post.summary,
        published_at=post.published_at,
        updated_at=post.updated_at,
        categories=post.categories,
        comments=f"{url}/{file}",
        image=shown.src if shown else "",
    )


def _picture(shown: Shown) -> str:
    size = shown.shown
    return f'<p><img src="{shown.src}" alt="{escape(shown.alt)}" width="{size.width}" height="{size.height}"></p>\n'
