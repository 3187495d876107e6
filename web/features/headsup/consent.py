"""What the links in mails lead to: yes, I want these; and no more.

Neither takes a session: who has the mail has the link. A GET changes nothing, as programs that look at mails follow
links.
"""

from __future__ import annotations

from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ...pages import keys
from ...pages.requests import read_fields, redirect
from ...pages.templating import render
from .models import HeadsupAddress, HeadsupProject
from .setting_up import confirm, take_out
from .settings import HeadsupSettings


async def show_confirm(request: web.Request) -> web.StreamResponse:
    """GET /headsup/confirm/{token}."""
    return await _page(request, "headsup/confirm.html")


async def post_confirm(request: web.Request) -> web.StreamResponse:
    """POST /headsup/confirm/{token}: `answer` is yes or no."""
    fields = await read_fields(request)
    async with request.app[keys.database].saving() as session:
        address, _ = await _find(session, request)
        if fields.get("answer") == "no":
            take_out(address)
        else:
            settings = request.app[keys.settings][HeadsupSettings]
            await confirm(session, request.app[keys.jobs], settings, address)
    return redirect(f"/headsup/confirm/{address.token}")


async def show_out(request: web.Request) -> web.StreamResponse:
    """GET /headsup/out/{token}."""
    return await _page(request, "headsup/out.html")


async def post_out(request: web.Request) -> web.StreamResponse:
    """POST /headsup/out/{token}: from the page, or by a mail program's own button.

    Those follow no redirect (RFC 8058 §3.1): this is the answer itself.
    """
    async with request.app[keys.database].saving() as session:
        address, name = await _find(session, request)
        take_out(address)
    return render(request, "headsup/out.html", {"address": address, "name": name}, cache="no-store")


async def _page(request: web.Request, template: str) -> web.StreamResponse:
    async with request.app[keys.database].reading() as session:
        address, name = await _find(session, request)
    return render(request, template, {"address": address, "name": name}, cache="no-store")


async def _find(session: AsyncSession, request: web.Request) -> tuple[HeadsupAddress, str]:
    token = request.match_info["token"]
    if "\0" in token:
        raise web.HTTPNotFound(text="This link is not known.")
    asked = (
        select(HeadsupAddress, HeadsupProject.name)
        .join(HeadsupProject, HeadsupProject.id == HeadsupAddress.project_id)
        .where(HeadsupAddress.token == token)
    )
    row = (await session.execute(asked)).one_or_none()
    if row is None:
        raise web.HTTPNotFound(text="This link is not known: the project it was of may be gone.")
    return row[0], row[1]
