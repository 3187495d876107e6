"""The site's parts put together: with `cli` and `settings` the one place that knows them all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from importlib.metadata import version

from aiohttp import web
from aiohttp.typedefs import Handler
from argon2 import PasswordHasher
from prometheus_client import Metric

from hub.errors import SettingsError
from hub.files import ROOT
from hub.follower import Following
from hub.forwarded import Proxies
from hub.inside.insider import Inside
from hub.publisher import Publisher

from .db import counting
from .db.database import Database, Hints
from .db.settings import DatabaseSettings
from .feature import Feature, Route, allow
from .features.accounts.feature import FEATURE as ACCOUNTS
from .features.blog.feature import FEATURE as BLOG
from .features.comments.feature import FEATURE as COMMENTS
from .features.components.feature import FEATURE as COMPONENTS
from .features.css.feature import FEATURE as CSS
from .features.events.feature import FEATURE as EVENTS
from .features.headsup.feature import FEATURE as HEADSUP
from .features.hubpage.feature import FEATURE as HUBPAGE
from .features.joins.feature import FEATURE as JOINS
from .features.pictures.feature import FEATURE as PICTURES
from .features.podcasts.feature import FEATURE as PODCASTS
from .features.redislab.feature import FEATURE as REDISLAB
from .features.search.feature import FEATURE as SEARCH
from .features.views.feature import FEATURE as VIEWS
from .identity.passwords import Passwords
from .identity.roles import Permission
from .identity.settings import IdentitySettings
from .identity.visitors import Signer
from .middleware.stack import site_middlewares
from .pages import keys, templating
from .pages.assets import PREFIX, Assets
from .pages.documents import Documents, declare
from .pages.kept import Deaf, Kept, Tops
from .pages.links import Link
from .pages.listening import Listening, deaf
from .pages.page import Page, pages
from .pages.requests import redirect
from .pages.settings import PageSettings
from .services.addresses import Guard
from .services.cache.cache import Cache
from .services.cache.codecs import codec
from .services.cache.settings import CacheSettings
from .services.jobs.hints import Hinter
from .services.jobs.queue import Queue
from .services.jobs.runner import Runner
from .services.jobs.settings import JobSettings
from .services.mail.jobs import MAIL, POST_OFFICE, PostOffice
from .services.mail.postmen import FilePostman, SmtpPostman
from .services.mail.settings import NOBODY, MailSettings
from .services.outbound import Outbound
from .services.settings import ServiceSettings
from .settings import Settings

#: All there are; what a feature needs comes before it.
FEATURES: tuple[Feature, ...] = (
    ACCOUNTS,
    COMMENTS,
    PICTURES,
    EVENTS,
    BLOG,
    PODCASTS,
    HEADSUP,
    SEARCH,
    HUBPAGE,
    COMPONENTS,
    CSS,
    JOINS,
    REDISLAB,
    VIEWS,
)

#: Seconds for which a connection to the mail server is kept for the next mail.
_KEEP_SMTP = 2.0

#: Bytes of a body that the application reads; the site's forms are bounded below that by themselves,
#: and the hub, which may be mounted beside them, answers longer ones in its own words.
_MAX_BODY = 8 * 1024**2


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The site's settings, with those of the features that are on. Raises SettingsError."""
    return Settings.from_environ(environ, FEATURES)


def hints_of(features: tuple[Feature, ...] = FEATURES) -> Hints:
    """What the features' rows tell, for `Database`."""
    return tuple(feature.hints for feature in features)


def all_hints_of(features: tuple[Feature, ...] = FEATURES) -> Hints:
    """The same, and what is told for who looks for documents."""
    documents = documents_of(features)
    return (*hints_of(features), lambda notify: declare(notify, documents))


def documents_of(features: tuple[Feature, ...]) -> tuple[Documents, ...]:
    """What can be found, if anybody looks for it."""
    if not any(feature.finds for feature in features):
        return ()
    return tuple(each for feature in features for each in feature.documents)


def check_files() -> None:
    """Raise SettingsError unless the pages and scripts are there.

    An installation without them said it was ready, and answered each page with 500.
    """
    for name in ("templates", "static"):
        if not (ROOT / name).is_dir():
            raise SettingsError(f"{ROOT / name} is not there: the installation lacks its files; install it again")


def create_app(
    settings: Settings,
    publisher: Publisher,
    *,
    database: Database | None = None,
    following: Following | None = None,
    tops: Tops | None = None,
    hasher: PasswordHasher | None = None,
    max_body: int = _MAX_BODY,
    body_timeout: float = 30.0,
    when_late: Callable[[], None] = lambda: None,
    with_jobs: bool | None = None,
    listening: Listening = deaf,
    inside: Inside | None = None,
) -> web.Application:
    """The site as an application, to be served alone or with a hub beside it.

    settings: with a secret. publisher: where hints go; closed by whoever made it. database: one that
    is started and closed elsewhere; else the settings' own is, with the application. following: who follows the
    log in this process, if somebody does. tops: how far this process has
    heard the log (`Hub.followers`); without it no page is kept. hasher: cheaper than the library's own, for tests.
    max_body: bytes of a request that a neighbour may read. body_timeout: seconds a form may take to arrive; when_late
    is called for one that did not. with_jobs: whether jobs are done here; None: as the settings have it.
    listening: makes tokens for browsers, to hear channels that take one (`Hub.token`). inside: the hub seen from
    inside, where it is in this process (`Hub.inside`).
    """
    features, chosen = settings.features, settings[PageSettings]
    secret = settings[IdentitySettings].secret
    if secret is None:
        raise ValueError("the site needs a secret: settings.with_secret()")
    routes = routes_of(settings)
    within = [each for feature in features for each in feature.middlewares]
    forms = {route.definition.handler: route.form for route in routes if route.form is not None}
    clocked = any(feature.clocks for feature in features)
    timed = bool(chosen.server_timing)
    own = site_middlewares(_permissions(routes), forms, _from_anywhere(routes), timed=timed, clocked=clocked)
    middlewares = [*own, *within]
    app = web.Application(middlewares=middlewares, client_max_size=max_body)
    app[keys.settings] = settings
    app[keys.publisher] = publisher
    app[keys.listening] = listening
    if inside is not None:
        app[keys.inside] = inside
    app[keys.proxies] = Proxies(chosen.proxies, chosen.proxy_header)
    where = settings[DatabaseSettings]
    app[keys.database] = database or Database(where.url, publisher, where.direct, hints=all_hints_of(features))
    if timed:
        counting.listen(app[keys.database].engine)
    app[keys.assets] = Assets(ROOT / "static")
    app[keys.signer] = Signer(secret, secure=chosen.is_https)
    app[keys.passwords] = Passwords(hasher)
    app[keys.body_timeout] = body_timeout
    app[keys.when_late] = when_late
    app[pages] = Kept[Page](
        Deaf() if tops is None else tops,
        lambda channel: publisher.position(channel),
        lambda page: page.size,
        seconds=chosen.age,
        most=chosen.bytes,
        on=chosen.keeps,
    )
    app[keys.cache] = _cache(settings, Deaf() if tops is None else tops, publisher)
    app[keys.documents] = documents_of(features)
    if following is not None:
        app[keys.following] = following
    homes = app[keys.homes] = _homes(features)
    app[keys.parts] = tuple(each.part for each in features if each.part is not None and homes.get(each.name) != "/")
    app[keys.sitemaps] = tuple(each.sitemap for each in features if each.sitemap is not None)
    links = [link for feature in features for link in feature.links]
    links += [Link(each.home.link, homes[each.name], order=each.home.order) for each in features if each.home]
    app[keys.links] = tuple(sorted(links, key=lambda link: (link.order, link.name)))
    templating.setup(app, ROOT / "templates", _globals(features))
    for feature in features:
        feature.setup(app)
    app.add_routes([route.definition for route in routes])
    app.router.add_get(PREFIX + "{name:.+}", app[keys.assets].serve)
    _check_routes(app, routes)
    app.cleanup_ctx.append(_fetching)
    app.cleanup_ctx.append(_keeping)
    app.cleanup_ctx.append(_posting)
    if database is None:
        app.cleanup_ctx.append(_telling)
    app.cleanup_ctx.extend(context for feature in features for context in feature.contexts)
    app[POST_OFFICE] = _post_office(settings)
    app[keys.jobs] = Queue()
    app[keys.runner] = Runner(
        app[keys.database],
        (MAIL, *(kind for feature in features for kind in feature.jobs)),
        publisher,
        periodic=[each for feature in features for each in feature.periodic],
        options=settings[JobSettings].options,
        app=app,
    )
    if settings[JobSettings].serve if with_jobs is None else with_jobs:
        # The last to start and the first to stop: jobs need all the rest.
        app.cleanup_ctx.append(_working)
        app.on_shutdown.append(_leaving)
    else:
        app.cleanup_ctx.append(_hinting)
    return app


def _homes(features: Sequence[Feature]) -> dict[str, str]:
    """Where each home page is: the last one at `/`."""
    found = {feature.name: feature.home.path for feature in features if feature.home is not None}
    return found | dict.fromkeys(list(found)[-1:], "/")


async def _to_home(request: web.Request) -> web.StreamResponse:
    return redirect("/")


def routes_of(settings: Settings) -> list[Route]:
    """Every route of the site: what its features hand in, and their homes."""
    found: list[Route] = []
    homes = _homes(settings.features)
    for feature in settings.features:
        if feature.home is not None:
            found += allow(Permission.READ, web.get(homes[feature.name], feature.home.view))
            if homes[feature.name] == "/":
                found += allow(Permission.READ, web.get(feature.home.path, _to_home))
        for route in (*feature.routes, *feature.routes_by(settings)):
            if not isinstance(route, Route):
                raise ValueError(f"{feature.name}: {route} does not say who may use it: `web.feature.allow`")
            found.append(route)
    return found


def _permissions(routes: Sequence[Route]) -> Mapping[Handler, Permission]:
    """What each view takes; raises ValueError for one that takes different permissions on different routes."""
    found: dict[Handler, Permission] = {}
    for route in routes:
        if found.setdefault(route.definition.handler, route.permission) != route.permission:
            raise ValueError(
                f"{route.definition} has its view from a route that takes {found[route.definition.handler]!r}"
            )
    return found


def _from_anywhere(routes: Sequence[Route]) -> frozenset[Handler]:
    """The views that find out by themselves who sent a form."""
    return frozenset(route.definition.handler for route in routes if route.from_anywhere)


async def metrics_of_features(app: web.Application, features: Sequence[Feature]) -> list[Metric]:
    """What features count."""
    return [metric for each in features if each.metrics is not None for metric in await each.metrics(app)]


def _check_routes(app: web.Application, routes: Sequence[Route]) -> None:
    """Raise ValueError for a route that was put in past `Feature.routes`: no permission would be asked for it."""
    known = {route.definition.handler for route in routes} | {app[keys.assets].serve}
    for route in app.router.routes():
        if route.handler not in known:
            raise ValueError(f"{route.method} {route.resource} does not say who may use it: `web.feature.allow`")


def _globals(features: tuple[Feature, ...]) -> dict[str, object]:
    """What templates may use; raises ValueError for a name that two features hand in."""
    found: dict[str, object] = {
        "corners": [feature.corner for feature in features if feature.corner is not None],
        "homes": _homes(features),
    }
    for feature in features:
        for name, value in feature.globals.items():
            if name in found:
                raise ValueError(f"{feature.name}: templates have {name!r} already")
            found[name] = value
    return found


async def _fetching(app: web.Application) -> AsyncIterator[None]:
    settings = app[keys.settings]
    url = settings[PageSettings].url
    about = f" (+{url})" if url else ""
    guard = Guard(settings[ServiceSettings].outbound_allow)
    outbound = app[keys.outbound] = Outbound(guard, f"Fanfare/{version('fanfare')}{about}")
    yield
    await outbound.close()


def _cache(settings: Settings, tops: Tops, publisher: Publisher) -> Cache:
    chosen = settings[CacheSettings]
    far = None
    if chosen.redis_url is not None and chosen.far:
        # A client library that a site without Redis has no use for.
        from .services.cache.far import Far

        far = Far(chosen.redis_url, chosen.patience)
    return Cache(
        tops,
        publisher,
        codec(chosen.codec),
        far=far,
        seconds=chosen.age,
        most=chosen.bytes,
        entry_bytes=chosen.entry_bytes,
    )


async def _keeping(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[keys.cache].close()


def _post_office(settings: Settings) -> PostOffice:
    mail = settings[MailSettings]
    if mail.server is None or mail.sender is None:
        folder = settings[DatabaseSettings].var / "mail"
        return PostOffice(FilePostman(folder, mail.files), mail.sender or NOBODY)
    return PostOffice(SmtpPostman(mail.server, mail.sender.domain, keep=_KEEP_SMTP), mail.sender)


async def _posting(app: web.Application) -> AsyncIterator[None]:
    yield
    postman = app[POST_OFFICE].postman
    if isinstance(postman, SmtpPostman):
        await postman.close()


async def _working(app: web.Application) -> AsyncIterator[None]:
    runner = app[keys.runner]
    app[keys.jobs].listeners.append(runner.wake)
    await runner.start()
    yield
    await runner.stop()


async def _hinting(app: web.Application) -> AsyncIterator[None]:
    hinter = Hinter(app[keys.publisher])
    app[keys.jobs].listeners.append(hinter)
    yield
    await hinter.close()


async def _leaving(app: web.Application) -> None:
    # While connections are drained: both have their seconds, and whoever stops us counts them once.
    app[keys.runner].leave()


async def _telling(app: web.Application) -> AsyncIterator[None]:
    await app[keys.database].start()
    yield
    await app[keys.database].close()
