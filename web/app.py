"""The site's parts put together: the one place that knows them all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from pathlib import Path

from aiohttp import web
from argon2 import PasswordHasher

from hub.errors import SettingsError
from hub.forwarded import Proxies
from hub.publisher import Publisher

from . import accounts, events, home, keys, manage, templating
from .assets import PREFIX, Assets
from .db import Database
from .middlewares import site_middlewares
from .requests import Limiter
from .services.addresses import Guard
from .services.outbound import Outbound
from .settings import Settings
from .shared import Shared
from .visitors import Passwords, Signer

_ROOT = Path(__file__).resolve().parent.parent

#: Bytes of a body that the application reads; the site's forms are bounded below that by themselves,
#: and the hub, which may be mounted beside them, answers longer ones in its own words.
_MAX_BODY = 8 * 1024**2


def check_files() -> None:
    """Raise SettingsError unless the pages and scripts are there, as they are in a checkout.

    An installation without them said it was ready, and answered each page with 500.
    """
    for name in ("templates", "static"):
        if not (_ROOT / name).is_dir():
            raise SettingsError(
                f"{_ROOT / name} is not there: a package has no pages; install a clone with `pip install -e`"
            )


def create_app(
    settings: Settings,
    publisher: Publisher,
    *,
    database: Database | None = None,
    hasher: PasswordHasher | None = None,
    max_body: int = _MAX_BODY,
    body_timeout: float = 30.0,
    when_late: Callable[[], None] = lambda: None,
) -> web.Application:
    """The site as an application, to be served alone or with a hub beside it.

    settings: with a secret. publisher: where hints go; closed by whoever made it. database: one that
    is started and closed elsewhere; else the settings' own is, with the application. hasher:
    cheaper than the library's own, for tests. max_body: bytes of a request that a neighbour may read. body_timeout:
    seconds a form may take to arrive; when_late is called for one that did not.
    """
    if settings.secret is None:
        raise ValueError("the site needs a secret: settings.with_secret()")
    site = (
        web.get("/", home.home),
        web.get("/events", home.to_home),
        web.get("/events/{slug}", events.show),
        web.get("/events/{slug}/about", events.about),
        web.get("/events/{slug}/comments.json", events.comments),
        web.post("/events/{slug}/comments", events.post),
        web.get("/login", accounts.login),
        web.post("/login", accounts.post_login),
        web.post("/logout", accounts.post_logout),
        web.get("/manage/events", manage.table),
        web.post("/manage/events", manage.post_new),
        web.get("/manage/events/new", manage.new),
        web.get(r"/manage/events/{id:\d{1,9}}/edit", manage.edit),
        web.post(r"/manage/events/{id:\d{1,9}}/edit", manage.post_edit),
        web.post(r"/manage/events/{id:\d{1,9}}/status", manage.post_status),
    )
    app = web.Application(
        middlewares=site_middlewares(frozenset(route.handler for route in site)), client_max_size=max_body
    )
    app[keys.settings] = settings
    app[keys.publisher] = publisher
    app[keys.proxies] = Proxies(settings.proxies, settings.proxy_header)
    app[keys.database] = database or Database(settings.database_url, publisher, settings.direct)
    app[keys.assets] = Assets(_ROOT / "static")
    app[keys.signer] = Signer(settings.secret, secure=settings.is_https)
    app[keys.passwords] = Passwords(hasher)
    app[keys.body_timeout] = body_timeout
    app[keys.when_late] = when_late
    app[keys.answers] = Shared()
    app[keys.event_ids] = Shared()
    app[events.comment_limiter] = Limiter(settings.comment_rate, 60.0)
    templating.setup(app, _ROOT / "templates")
    app.add_routes(site)
    app.router.add_get(PREFIX + "{name:.+}", app[keys.assets].serve)
    app.cleanup_ctx.append(_fetching)
    if database is None:
        app.cleanup_ctx.append(_telling)
    return app


async def _fetching(app: web.Application) -> AsyncIterator[None]:
    settings = app[keys.settings]
    about = f" (+{settings.url})" if settings.url else ""
    outbound = app[keys.outbound] = Outbound(Guard(settings.outbound_allow), f"Fanfare/{version('fanfare')}{about}")
    yield
    await outbound.close()


async def _telling(app: web.Application) -> AsyncIterator[None]:
    await app[keys.database].start()
    yield
    await app[keys.database].close()
