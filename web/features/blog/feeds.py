"""Feeds of posts and of a post's comments, the sitemap, robots.txt: what machines ask for.

Each is kept as a page is, with its tag: a reader that has it already gets 304.
"""

from __future__ import annotations

import asyncio
from html import escape
from uuid import UUID, uuid5

from aiohttp import hdrs, web

from ...pages import keys
from ...pages.kept import Reading
from ...pages.page import answer
from ..comments.hints import comments_channel
from ..comments.queries import read_discussion
from .addresses import FEEDS, ListAddress, category_path, post_path
from .hints import CATEGORIES, POSTS, post_channel
from .origin import origin_of
from .page import find, get
from .queries import Listed, count_posts, offered, read_categories, read_list, read_slugs
from .syndication import WRITERS, Entry, Feed, sitemap, sitemap_index

#: Posts of a feed.
SHOWN = 20

#: Posts in a part of the sitemap. Its protocol takes 50,000, of which making the text would halt the loop for a second.
IN_PART = 500

AUTHOR = "Fanfare"


async def of_list(request: web.Request, address: ListAddress) -> web.StreamResponse:
    """GET /rss.xml, /oc-Django/atom.xml, …: the newest posts, whole."""
    origin = origin_of(request)

    async def make(reading: Reading) -> web.Response:
        reading.follow(POSTS)
        async with request.app[keys.database].reading() as session:
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
        )
        return await _written(feed, address.feed)

    return await answer(request, ("feed", origin, address), make, personal=False)


async def of_comments(request: web.Request) -> web.StreamResponse:
    """GET /posts/{slug}/rss.xml, …: the newest comments."""
    file, origin = request.match_info["file"], origin_of(request)
    found = await find(request)

    async def make(reading: Reading) -> web.Response:
        reading.follow(post_channel(found.id), comments_channel(found.thread_id))
        async with request.app[keys.database].reading() as session:
            post = await get(session, found)
            discussion = await read_discussion(session, found.thread_id, None)
        url = origin + post_path(post.slug)
        entries = [
            Entry(
                uid=uuid5(UUID(post.uid), f"comment-{comment.id}").urn,
                url=f"{url}#comment-{comment.id}",
                title=f"{comment.name} on “{post.title}”",
                html="".join(f"<p>{escape(line)}</p>" for line in comment.text.split("\n") if line.strip()),
                published_at=comment.posted_at,
                updated_at=comment.posted_at,
                author=comment.name,
            )
            for comment in discussion.comments
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
    """GET /sitemap.xml, and /zitemap.xml: of many posts only where the parts are, /sitemap-1.xml and so on."""
    origin = origin_of(request)
    part = int(request.match_info.get("part", 0))

    async def make(reading: Reading) -> web.Response:
        reading.follow(POSTS, CATEGORIES)
        async with request.app[keys.database].reading() as session:
            parts = max(1, -(-await count_posts(session) // IN_PART))
            if part > parts:
                raise web.HTTPNotFound(text="There is no such part of the sitemap.")
            if parts > 1 and not part:
                body = sitemap_index(f"{origin}/sitemap-{number}.xml" for number in range(1, parts + 1))
            else:
                skip = IN_PART * max(0, part - 1)
                found = [(origin + post_path(slug), when) for slug, when in await read_slugs(session, skip, IN_PART)]
                lists = [] if skip else ["/", *map(category_path, await offered(session))]
                body = sitemap([*((origin + path, None) for path in lists), *found])
        return web.Response(body=body, content_type="application/xml")

    return await answer(request, ("sitemap", origin, part), make, personal=False)


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
    return Entry(
        uid=UUID(post.uid).urn,
        url=url,
        title=post.title,
        html=post.html,
        summary=post.summary,
        published_at=post.published_at,
        updated_at=post.updated_at,
        categories=post.categories,
        comments=f"{url}/{file}",
    )
