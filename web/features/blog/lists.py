"""Lists of posts: the newest of all, or of some categories; and their feeds."""

from __future__ import annotations

from aiohttp import web

from ...pages import keys
from ...pages.kept import Reading
from ...pages.origin import origin_of
from ...pages.page import answer
from ...pages.templating import Positions, render
from ..comments.hints import COUNTS, comments_channel
from ..comments.queries import count_comments
from . import feeds
from .addresses import TOO_FAR, ListAddress, NoAddress, parse_list
from .hints import POSTS
from .queries import offered, read_categories, read_list


async def show(request: web.Request) -> web.StreamResponse:
    """GET /, /p2, /oc-Django, /oc-A/oc-B/p2: ten posts, the newest first; and /rss.xml, /oc-Django/rss.xml."""
    raw = request.rel_url.raw_path
    try:
        address = parse_list(raw)
    except NoAddress as error:
        raise web.HTTPNotFound(text=str(error)) from None
    if not address.names and raw != address.path:
        # `/oc-` without a category, `/p1`.
        raise web.HTTPMovedPermanently(address.path)
    if address.feed:
        return await feeds.of_list(request, address)
    origin = origin_of(request)

    async def make(reading: Reading) -> web.Response:
        return await _page(request, reading, address, origin)

    return await answer(request, ("posts", origin, address), make)


async def _page(request: web.Request, reading: Reading, address: ListAddress, origin: str) -> web.Response:
    parts = () if address.names else request.app[keys.parts]
    positions: Positions = await reading.at(POSTS, *(part.channel for part in parts))
    # Not followed: comments on other posts change nothing here.
    counts_at = await request.app[keys.publisher].position(COUNTS) or ""
    async with request.app[keys.database].reading() as session:
        ids = await read_categories(session, address.names) if address.names else {}
        if missing := [name for name in address.names if name not in ids]:
            raise web.HTTPNotFound(text=f"Unrecognized categories: {', '.join(missing)}")
        posts, older = await read_list(session, ids.values(), address.page)
        if not posts and address.page > 1:
            raise web.HTTPNotFound(text=TOO_FAR)
        # A comment makes the page anew; browsers that have it are told the number.
        reading.follow(*(comments_channel(post.thread_id) for post in posts))
        context = {
            "positions": positions,
            "counts_at": counts_at,
            "address": address,
            "source": address.path,
            "origin": origin,
            "posts": posts,
            "counts": await count_comments(session, [post.thread_id for post in posts]),
            "older": address.at(address.page + 1).path if older else None,
            "newer": address.at(address.page - 1).path if address.page > 1 else None,
            "categories": [] if address.names else await offered(session),
            "parts": [(part, await part.read(session)) for part in parts],
            "data": _data(address, origin),
        }
    return render(request, "blog/list.html", context)


def _data(address: ListAddress, origin: str) -> dict[str, object]:
    """The page in schema.org's words."""
    kind = "CollectionPage" if address.names else "Blog"
    name = ", ".join(address.names) if address.names else "Fanfare"
    return {"@context": "https://schema.org", "@type": kind, "name": name, "url": origin + address.path}
