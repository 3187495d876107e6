"""What every template may use.

asset(name)          the versioned URL of a static file
fanout_script()      the tag of the browser client, with its integrity hash
position(channel)    the channel's position as the view read it, before its rows
csrf_field()         the hidden field that every form needs where somebody is signed in; csrf_token() its value alone
user                 who is signed in, or none
may(Permission.…)    whether the visitor may do this
links                who may see which part of the site
and what features hand in (`Feature.globals`), such as their channels
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any, cast

import aiohttp_jinja2
import jinja2
from aiohttp import web
from markupsafe import Markup, _escape_inner, escape  # type: ignore[attr-defined]  # what `escape` itself calls

from hub.publisher import Publisher

from ..identity import roles
from . import keys
from .assets import Assets
from .requests import USER, form_token, role_of
from .seldom import seldom
from .settings import PageSettings

logger = logging.getLogger(__name__)

#: Where the hub answers on our own host.
HUB_PATH = "/bayeux"

Positions = Mapping[str, str]

#: Seconds that a long page is written in one go.
_TURN = 0.002


def _shown(value: Any) -> str:
    """`escape` for what is written into the page at once: not made a Markup of, which took three times as long."""
    kind = type(value)
    if kind is str:
        return _escape_inner(value)
    if kind is Markup:
        return cast("Markup", value)
    if kind is int:
        return str(value)
    return escape(value)


class _Template(jinja2.Template):
    """Its code escapes nothing but what it writes."""

    @classmethod
    def from_code(
        cls,
        environment: jinja2.Environment,
        code: CodeType,
        globals: MutableMapping[str, Any],
        uptodate: Callable[[], bool] | None = None,
    ) -> jinja2.Template:
        template = super().from_code(environment, code, globals, uptodate)
        template.root_render_func.__globals__["escape"] = _shown
        return template


class _Environment(jinja2.Environment):
    """Templates that have no globals of their own, so that all share one dict.

    Jinja otherwise lays a mapping over it for each, and compares the two name by name wherever one template imports
    from another: a sixth of the time that a page took.
    """

    template_class = _Template

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        return super().make_globals(d) if d else self.globals


class _Loader(jinja2.FileSystemLoader):
    """Looks once a second whether a template's file is another one; Jinja does for each template of each page."""

    def get_source(self, environment: jinja2.Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        source, path, is_same = super().get_source(environment, template)
        return source, path, seldom(is_same)


def setup(app: web.Application, folder: Path, more: Mapping[str, object]) -> None:
    """Make templates of `folder` ready for `render`. more: what features let theirs use."""
    environment = app[aiohttp_jinja2.APP_KEY] = _Environment(
        loader=_Loader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    assets = app[keys.assets]
    settings = app[keys.settings][PageSettings]
    environment.globals.update(
        asset=assets.url,
        fanout_script=lambda: fanout_script(assets),
        position=_position,
        Permission=roles.Permission,
        poll=f"{settings.poll:g}",
        calm_poll=f"{settings.calm_poll:g}",
        **more,
    )
    environment.filters.update(moment=moment, machine_time=machine_time)


def render(
    request: web.Request, template: str, context: dict[str, Any], *, status: int = 200, cache: str | None = None
) -> web.Response:
    """A page. cache: its Cache-Control, if not the site's usual one."""
    response = aiohttp_jinja2.render_template(template, request, _context(request) | context, status=status)
    if cache is not None:
        response.headers["Cache-Control"] = cache
    return response


async def render_long(request: web.Request, template: str, context: dict[str, Any]) -> web.Response:
    """As `render`, for a page that may have hundreds of rows: others have their turn while it is made.

    The context must not change meanwhile, so hand in what was read.
    """
    parts = []
    until = time.perf_counter() + _TURN
    for part in _written(request, template, _context(request) | context):
        parts.append(part)
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + _TURN
    return web.Response(text="".join(parts), content_type="text/html", charset="utf-8")


def _written(request: web.Request, template: str, context: dict[str, Any]) -> Iterator[str]:
    return request.app[aiohttp_jinja2.APP_KEY].get_template(template).generate(context)


async def read_positions(publisher: Publisher, *channels: str) -> Positions:
    """Where channels stand now. Call it before reading the rows: then what changes between is told again."""
    positions = {}
    for channel in channels:
        positions[channel] = await publisher.position(channel) or ""
    return positions


def fanout_script(assets: Assets) -> Markup:
    """The script tag of the browser client, as any page of any site may use it."""
    return _script(assets.url("fanout.js"), assets.get("fanout.js").integrity)


@lru_cache(maxsize=8)
def _script(url: str, integrity: str) -> Markup:
    tag = Markup('<script src="{}" integrity="{}" crossorigin="anonymous" data-url="{}" defer></script>')
    return tag.format(url, integrity, HUB_PATH)


# A page that is made anew has the times that it had.
@lru_cache(maxsize=4096)
def moment(when: datetime) -> str:
    """A time as a page says it before the browser knows better: Thu 26 Nov 2026, 18:30 UTC."""
    return f"{when:%a} {when.day} {when:%b %Y, %H:%M} UTC"


@lru_cache(maxsize=4096)
def machine_time(when: datetime) -> str:
    """A time as programs read it, RFC 3339."""
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"


@jinja2.pass_context
def _position(context: jinja2.runtime.Context, channel: str) -> str:
    # A KeyError is a view that forgot to read the position before its rows.
    positions: Positions = context["positions"]
    return positions[channel]


def _context(request: web.Request) -> dict[str, Any]:
    def csrf_token() -> str:
        # Pages of who is not signed in are the same for all; `middleware.forgery` says what protects their forms.
        return form_token(request) if USER in request else ""

    def csrf_field() -> Markup:
        if USER not in request:
            return Markup()
        return Markup('<input type="hidden" name="csrf_token" value="{}">').format(csrf_token())

    role = role_of(request)
    return {
        "user": request.get(USER),
        "may": lambda permission: roles.may(role, permission),
        "links": [link for link in request.app[keys.links] if link.is_for(role)],
        "path": request.path,
        "csrf_token": csrf_token,
        "csrf_field": csrf_field,
    }
