"""What a feature's folder hands in: one frozen value, `FEATURE` in its `feature.py`.

`web.app.FEATURES` is the explicit tuple of them all. SITE_FEATURES leaves some out, and with a feature go its routes,
links, jobs, settings, middlewares and demo content. Its tables stay: turned on again, it has its rows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import Metric

from hub.orm.sqlalchemy import AsyncNotifier

from .db.database import Database
from .db.tables import Base
from .identity.roles import Permission
from .pages.documents import Documents
from .pages.keys import Tables
from .pages.links import Link
from .pages.parts import Part
from .pages.sitemaps import SiteMap
from .services.jobs.kinds import Every, Kind

#: Fills an empty database; returns lines for whoever started it, such as "demo content: 13 events".
Demo = Callable[[Database], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Route:
    """A route, and what a visitor must be allowed to use it.

    form: bytes that a form may have, if more than others'. from_anywhere: what is posted there need not come from a
    page of ours: the view finds out by itself who sent it.
    """

    permission: Permission
    definition: web.RouteDef
    form: int | None = None
    from_anywhere: bool = False


def allow(
    permission: Permission, *definitions: web.RouteDef, form: int | None = None, from_anywhere: bool = False
) -> tuple[Route, ...]:
    """Routes for those who have a permission: `*allow(Permission.READ, web.get("/", home), …)`.

    form: bytes that their forms may have; without it as many as `pages.requests.MAX_FORM` says.
    """
    return tuple(Route(permission, definition, form, from_anywhere) for definition in definitions)


@dataclass(frozen=True, slots=True)
class Home:
    """A page that can be the site's home page, for everybody to read.

    view: a GET. path: where it is if a later feature has one too; if none has, it is at `/`, and `path` leads there.
    link: what the navigation calls it; order: its place there. `homes.<feature>` in templates, and
    `app[keys.homes][<feature>]`, say where it is.
    """

    view: Handler
    path: str
    link: str
    order: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """What a feature hands in. All but the name may be left out.

    name: of its folders too: templates/<name>/, static/<name>.js, tests/web/<name>/. needs: features that it can't go
    without; they come before it in FEATURES. routes: made by `allow`, each with the permission that it takes; one view
    has one permission. home: the page that it would have at `/`; part: what is there of it if another has.
    sitemap: its pages for search engines.
    routes_by: those that are there by a setting. tables: its models; made by migrations whether the
    feature is on or not. hints: says to the notifier what its rows tell. settings: its dataclass of
    `hub.settings.setting` fields, read with `request.app[keys.settings][ThatClass]`. globals: what its templates may
    use beside the common; two features can't hand in one name. setup: puts its parts into the application, under keys
    of its own, before it starts. contexts: as aiohttp's cleanup contexts. middlewares: around its own and the other
    features' views, inside the site's own. clocks: whether it asks of requests when they came, `BEGAN`.
    corner: a template of its own that every page has at the end of its navigation, an item of a list.
    documents: which of its rows can be found, if a feature `finds`: without one their changes are not told for it.
    statics: its files in static/. jobs and periodic: the kinds of jobs it has, and those that come again and again
    (docs/jobs.md). metrics: what it counts, for /metrics.
    counted: patterns of channels of which everybody may know how many hear them. statics: its files in static/. jobs
    and periodic: the kinds of jobs it has, and those that come again and again (docs/jobs.md). metrics: what it counts,
    for /metrics.
    """

    name: str
    needs: tuple[str, ...] = ()
    routes: Sequence[Route] = ()
    home: Home | None = None
    part: Part | None = None
    sitemap: SiteMap | None = None
    routes_by: Callable[[Tables], Sequence[Route]] = lambda settings: ()
    tables: Sequence[type[Base]] = ()
    hints: Callable[[AsyncNotifier], None] = lambda notify: None
    settings: type[Any] | None = None
    links: Sequence[Link] = ()
    globals: Mapping[str, object] = field(default_factory=dict)
    corner: str | None = None
    statics: Sequence[str] = ()
    counted: Sequence[str] = ()
    middlewares: Sequence[Middleware] = ()
    clocks: bool = False
    setup: Callable[[web.Application], None] = lambda app: None
    contexts: Sequence[Callable[[web.Application], AsyncIterator[None]]] = ()
    jobs: Sequence[Kind] = ()
    periodic: Sequence[Every] = ()
    demo: Demo | None = None
    metrics: Callable[[web.Application], Awaitable[Sequence[Metric]]] | None = None
    documents: Sequence[Documents] = ()
    finds: bool = False
