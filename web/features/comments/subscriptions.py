"""The pages of the links in mails about answers."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from ...pages import keys
from ...pages.templating import render
from .mails import seals
from .models import Subscription
from .owners import find_owners

_WORDS = {
    "confirm": ("Send answers here", "Answers to your comments are sent to you, once an hour at the most."),
    "stop": ("Send no more", "No more mail about this discussion is sent to you."),
}


async def show(request: web.Request) -> web.StreamResponse:
    """GET /comments/mail/{link}: what the link would do. Nothing is done: programs open links, too."""
    number, what = _linked(request)
    async with request.app[keys.database].reading() as session:
        found = await session.get(Subscription, number)
        if found is None and what == "confirm":
            raise web.HTTPNotFound(text="Nobody waits for this to be confirmed any more.")
        return await _page(request, session, found, what, done=found is None)


async def post(request: web.Request) -> web.StreamResponse:
    """POST /comments/mail/{link}: do it. Mail programs send it by themselves (RFC 8058), and have no form of ours."""
    number, what = _linked(request)
    async with request.app[keys.database].saving() as session:
        found = await session.get(Subscription, number)
        if what == "confirm":
            if found is None:
                raise web.HTTPNotFound(text="Nobody waits for this to be confirmed any more.")
            found.confirmed_at = found.confirmed_at or now()
        elif found is not None:
            await session.delete(found)
        return await _page(request, session, found, what, done=True)


def _linked(request: web.Request) -> tuple[int, str]:
    found = request.app[seals].linked("mail", request.match_info["link"])
    if found is None or found[1] not in _WORDS:
        raise web.HTTPNotFound(text="This link is not one of ours, or was cut short.")
    return found


async def _page(
    request: web.Request, session: AsyncSession, found: Subscription | None, what: str, *, done: bool
) -> web.Response:
    owner = None
    if found is not None:
        owner = (await find_owners(request.app, session, [found.thread_id])).get(found.thread_id)
    act, said = _WORDS[what]
    context = {"act": act, "said": said, "owner": owner, "link": request.match_info["link"], "done": done}
    return render(request, "comments/mail.html", context, cache="no-store")
