"""Pictures are given and taken: the forms to everybody, the page where an owner gets one to who may change it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import hdrs, web

from ...feature import Route, allow
from ...identity.roles import Permission
from ...pages import keys
from ...pages.requests import clean_line, read_fields, redirect
from ...pages.templating import read_positions, render
from ...pages.uploads import read_file, takes_files
from . import jobs, sweeping
from .engines import FORMATS
from .focus import click_size, has_focus, read_focus
from .forms import Shown, format_of
from .heic import is_taken
from .keys import store
from .making import keep
from .settings import PictureSettings
from .sniffing import NoPicture

#: Characters of what a picture shows, in words.
MAX_ALT = 300


async def show(request: web.Request) -> web.StreamResponse:
    """GET /pictures/{hash}/{form}: a form, for ever. Nothing is made here, and nothing opened but the file."""
    hash, name = request.match_info["hash"], request.match_info["form"]
    found = format_of(hash, name)
    if found is None:
        raise web.HTTPNotFound(text="There is no such picture.")
    path = request.app[store].forms(hash) / name
    if not await asyncio.to_thread(path.is_file):
        raise web.HTTPNotFound(text="There is no such picture.")
    return web.FileResponse(
        path,
        headers={
            hdrs.CONTENT_TYPE: FORMATS[found],
            hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cross-Origin-Resource-Policy": "cross-origin",
        },
    )


@dataclass(frozen=True, slots=True)
class Owner:
    """What the page of an owner's picture must know. home: where what is changed there is shown. channel: what tells
    of every change of the row. scripts: assets by which a browser may hear that."""

    model: type[Any]
    home: Callable[[Any], str]
    channel: Callable[[int], str]
    scripts: Sequence[str] = ()


def owner_routes(owner: Owner, permission: Permission, path: str) -> tuple[Route, ...]:
    """The page of an owner's picture: `path` has `{id}`."""

    async def page(request: web.Request) -> web.StreamResponse:
        return await _page(request, owner)

    async def save(request: web.Request) -> web.StreamResponse:
        return await _save(request, owner)

    return allow(permission, web.get(path, page), web.post(path, takes_files(save)))


async def _page(request: web.Request, owner: Owner, error: str = "", status: int = 200) -> web.Response:
    id = _id(request)
    channel = owner.channel(id)
    positions = await read_positions(request.app[keys.publisher], channel)
    async with request.app[keys.database].reading() as session:
        row = await session.get(owner.model, id)
    if row is None:
        raise web.HTTPNotFound(text="There is no such thing.")
    settings = request.app[keys.settings][PictureSettings]
    context = {
        "row": row,
        "home": owner.home(row),
        "channel": channel,
        "positions": positions,
        "scripts": owner.scripts,
        "error": error,
        "most": settings.bytes // 1024**2,
        "max_alt": MAX_ALT,
        "action": request.path,
        "click_size": click_size,
        "heic": is_taken(),
    }
    return render(request, "pictures/page.html", context, status=status)


async def _save(request: web.Request, owner: Owner) -> web.StreamResponse:
    fields = await read_fields(request)
    if has_focus(fields):
        return await _point(request, owner, fields)
    sent = await read_file(request, request.app[keys.settings][PictureSettings].bytes)
    alt = clean_line(fields.get("alt", ""), MAX_ALT)[:MAX_ALT]
    shown: Shown | None = None
    if sent:
        try:
            shown = await asyncio.to_thread(keep, request.app[store], sent, alt)
        except NoPicture as error:
            return await _page(request, owner, str(error), 422)
    async with request.app[keys.database].saving() as session:
        row = await session.get(owner.model, _id(request))
        if row is None:
            raise web.HTTPNotFound(text="There is no such thing.")
        before: Shown | None = row.shown_picture
        if before is not None and (fields.get("remove") or (shown is not None and shown.hash != before.hash)):
            await sweeping.plan(session, request.app[keys.jobs], before.hash)
        if fields.get("remove"):
            row.picture = None
        elif shown is not None:
            row.picture = shown.as_row()
            await jobs.plan(session, request.app[keys.jobs], owner.model.__tablename__, row.id, shown.hash)
        elif row.shown_picture is not None:
            row.picture = replace(row.shown_picture, alt=alt).as_row()
        where = owner.home(row)
    return redirect(where)


async def _point(request: web.Request, owner: Owner, fields: Mapping[str, str]) -> web.StreamResponse:
    """Take the focus that a form says; its crops are made by a job."""
    async with request.app[keys.database].saving() as session:
        row = await session.get(owner.model, _id(request), with_for_update=True)
        if row is None:
            raise web.HTTPNotFound(text="There is no such thing.")
        shown: Shown | None = row.shown_picture
        error, status = "", 200
        if shown is None:
            error, status = "The picture is gone; there is nothing to point at.", 409
        elif fields.get("of", shown.hash) != shown.hash:
            error, status = "This is another picture by now. Look where its point is.", 409
        else:
            try:
                focus = read_focus(fields, shown.shown)
            except ValueError as wrong:
                error, status = str(wrong), 422
            else:
                if focus != shown.focus:
                    row.picture = replace(shown, focus=focus).as_row()
                    await jobs.plan(session, request.app[keys.jobs], owner.model.__tablename__, row.id, shown.hash)
    if error:
        return await _page(request, owner, error, status)
    return redirect(f"{request.path}#focus")


def _id(request: web.Request) -> int:
    text = request.match_info["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise web.HTTPNotFound(text="There is no such thing.")
    return int(text)
