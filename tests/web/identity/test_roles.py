"""Who may do what: one table, and every route of the site is in it."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from visiting import PASSWORD, Browser

from hub.publisher import RecordingPublisher
from web.app import FEATURES, create_app, read_settings, routes_of
from web.db.database import Database
from web.feature import Feature, Route, allow
from web.features.accounts.cli import ROLES
from web.features.accounts.people import create_user
from web.features.events.models import Event
from web.identity.passwords import Passwords
from web.identity.roles import GIVEN, MAY, Permission, Role, may, role_of
from web.pages.assets import PREFIX
from web.settings import Settings

READ, COMMENT, SIGN_IN = Permission.READ, Permission.COMMENT, Permission.SIGN_IN
OWN, EVENTS, WRITE = Permission.OWN_ACCOUNT, Permission.MANAGE_EVENTS, Permission.WRITE_POSTS
WATCH = Permission.WATCH_REPOSITORIES
SEARCH = Permission.MANAGE_SEARCH
HUB = Permission.MANAGE_HUB
MODERATE = Permission.MODERATE_COMMENTS
VIEWS = Permission.MANAGE_VIEWS
LABS = Permission.RUN_LABS

#: Every route of the site, by hand: a new one is written down here too, with what it takes.
ROUTES = {
    "GET /": READ,
    "GET /events": READ,
    "GET /events/{slug}": READ,
    "GET /events/{slug}/about": READ,
    "GET /events/{slug}/comments.json": READ,
    "POST /events/{slug}/comments": COMMENT,
    "GET /comments/{id}": READ,
    "GET /comments/{id}/reply": READ,
    "GET /comments/work": COMMENT,
    "GET /comments/{id}/edit": COMMENT,
    "POST /comments/{id}/edit": COMMENT,
    "POST /comments/{id}/delete": COMMENT,
    "GET /comments/moderate/{link}": READ,
    "POST /comments/moderate/{link}": READ,
    "GET /comments/mail/{link}": READ,
    "POST /comments/mail/{link}": READ,
    "GET /manage/comments": MODERATE,
    "POST /manage/comments/{id}": MODERATE,
    "POST /manage/comments/unblock": MODERATE,
    "GET /pictures/{hash}/{form}": READ,
    "GET /manage/posts/{id}/picture": Permission.WRITE_POSTS,
    "POST /manage/posts/{id}/picture": Permission.WRITE_POSTS,
    "GET /manage/events/{id}/picture": EVENTS,
    "POST /manage/events/{id}/picture": EVENTS,
    "GET /manage/events": EVENTS,
    "POST /manage/events": EVENTS,
    "GET /manage/events/new": EVENTS,
    "GET /manage/events/{id}/edit": EVENTS,
    "POST /manage/events/{id}/edit": EVENTS,
    "POST /manage/events/{id}/status": EVENTS,
    "GET /login": SIGN_IN,
    "POST /login": SIGN_IN,
    "POST /login/github": SIGN_IN,
    "GET /login/github/back": SIGN_IN,
    "POST /logout": OWN,
    "GET /account": OWN,
    "GET /manage": OWN,
    "POST /account/password": OWN,
    "POST /account/sign-ins/end-others": OWN,
    "POST /account/sign-ins/{id}/end": OWN,
    "POST /account/github": OWN,
    "POST /account/github/disconnect": OWN,
    "GET /posts": READ,
    "GET /p{page}": READ,
    "GET /oc-{names}": READ,
    "GET /rss.xml": READ,
    "GET /atom.xml": READ,
    "GET /feed.json": READ,
    "GET /posts/{slug}": READ,
    "GET /posts/{slug}/about": READ,
    "GET /posts/{slug}/comments.json": READ,
    "GET /posts/{slug}/{file}": READ,
    "POST /posts/{slug}/comments": COMMENT,
    "POST /websub": READ,
    "GET /manage/posts": WRITE,
    "POST /manage/posts": WRITE,
    "GET /manage/posts/token": WRITE,
    "GET /manage/posts/new": WRITE,
    "GET /manage/posts/{id}": WRITE,
    "POST /manage/posts/{id}": WRITE,
    "GET /manage/posts/{id}/newer": WRITE,
    "POST /manage/posts/{id}/state": WRITE,
    "POST /manage/posts/preview": WRITE,
    "POST /manage/posts/drafts": WRITE,
    "POST /manage/posts/drafts/discard": WRITE,
    "GET /manage/posts/{id}/history": WRITE,
    "GET /manage/posts/{id}/history/{edition}": WRITE,
    "POST /manage/posts/{id}/history/{edition}/restore": WRITE,
    "GET /sitemap.xml": READ,
    "GET /zitemap.xml": READ,
    "GET /sitemap-{name}-{part}.xml": READ,
    "GET /robots.txt": READ,
    "GET /headsup": READ,
    "GET /headsup/try": READ,
    "GET /headsup/hook": READ,
    "GET /headsup/confirm/{token}": READ,
    "GET /headsup/out/{token}": READ,
    "GET /api/signedin": READ,
    "GET /api/csrf": READ,
    "GET /api/projects": READ,
    "GET /api/preview-github-project": READ,
    "POST /headsup/hook": READ,
    "POST /headsup/hook/{project}": READ,
    "POST /headsup/out/{token}": READ,
    "POST /api/projects/add": READ,
    "POST /api/projects/delete/{project}": READ,
    "POST /headsup/try": COMMENT,
    "POST /headsup/confirm/{token}": COMMENT,
    "GET /headsup/new": WATCH,
    "POST /headsup/new": WATCH,
    "GET /headsup/names": WATCH,
    "GET /headsup/{project}": WATCH,
    "POST /headsup/{project}/secret": WATCH,
    "POST /headsup/{project}/secret/end": WATCH,
    "POST /headsup/{project}/secret/example": WATCH,
    "POST /headsup/{project}/sha1": WATCH,
    "POST /headsup/{project}/delete": WATCH,
    "POST /headsup/{project}/addresses/{address}/ask": WATCH,
    "GET /headsup/{project}/rules/new": WATCH,
    "POST /headsup/{project}/rules/new": WATCH,
    "POST /headsup/{project}/targets/{target}/again": WATCH,
    "GET /headsup/{project}/rules/{rule}": WATCH,
    "POST /headsup/{project}/rules/{rule}": WATCH,
    "POST /headsup/{project}/rules/{rule}/delete": WATCH,
    "GET /headsup/{project}/log": WATCH,
    "GET /headsup/{project}/log/{delivery}": WATCH,
    "POST /headsup/{project}/log/{delivery}/replay": WATCH,
    "GET /podcasts": READ,
    "GET /podcasts/mine": READ,
    "GET /podcasts/mine/{ids}": READ,
    "GET /podcasts/mine/{ids}/podcasts.opml": READ,
    "GET /podcasts/picks": READ,
    "GET /podcasts/{id}": READ,
    "GET /podcasts/{id}/{slug}": READ,
    "GET /podcasts/{id}/{slug}/comments.json": READ,
    "GET /podcasts/{id}/{slug}/feed": READ,
    "POST /podcasts/{id}/{slug}/comments": COMMENT,
    "POST /podcasts/{id}/{slug}/retry": COMMENT,
    "POST /podcasts/add": COMMENT,
    "GET /api/podcasttime/find": READ,
    "GET /api/podcasttime/picks/data/": READ,
    "GET /api/podcasttime/podcasts/data/": READ,
    "GET /api/podcasttime/podcasts/table/": READ,
    "GET /api/podcasttime/podcasts/episodes/{id}": READ,
    "GET /api/podcasttime/general-stats/numbers": READ,
    "GET /api/podcasttime/stats": READ,
    "GET /api/podcasttime/stats/episodes": READ,
    "POST /api/podcasttime/picked": COMMENT,
    "GET /podcasts/push/{id}/{token}": READ,
    "POST /podcasts/push/{id}/{token}": READ,
    "POST /views": READ,
    "GET /manage/views": VIEWS,
    "GET /manage/views.json": VIEWS,
    "GET /manage/views.csv": VIEWS,
    "GET /manage/views/now": VIEWS,
    "GET /manage/views/{id}": VIEWS,
    "POST /manage/views/keys": VIEWS,
    "POST /manage/views/keys/{id}/remove": VIEWS,
    "GET /lab/joins": READ,
    "GET /lab/joins.json": READ,
    "POST /lab/joins": LABS,
    "POST /lab/joins/drop": LABS,
    "GET /lab/redis": READ,
    "GET /lab/redis/random": READ,
    "GET /lab/redis/summary": READ,
    "GET /lab/redis/{name}": READ,
    "POST /lab/redis/reset": LABS,
    "GET /search": READ,
    "GET /search.json": READ,
    "GET /autocomplete": READ,
    "GET /autocompete/v1": READ,
    "POST /search/clicks": READ,
    "GET /manage/search": SEARCH,
    "POST /manage/search/synonyms": SEARCH,
    "POST /manage/search/pins": SEARCH,
    "POST /manage/search/synonyms/{id}/remove": SEARCH,
    "POST /manage/search/pins/{id}/remove": SEARCH,
    "GET /manage/hub": HUB,
    "GET /manage/hub.json": HUB,
    "GET /manage/hub/pictures": HUB,
    "GET /manage/hub/token": HUB,
    "GET /manage/hub/trace": HUB,
    "GET /manage/hub/clients": HUB,
    "GET /manage/hub/clients/{session}": HUB,
    "POST /manage/hub/publish": HUB,
    "POST /manage/hub/kick": HUB,
    "POST /manage/hub/drain": HUB,
    "GET /components": READ,
    "POST /components": COMMENT,
    "POST /components/job": EVENTS,
}

#: What stands in an address for a part of a route.
PARTS = {"page": "2", "names": "Django", "file": "rss.xml", "part": "1", "ids": "1-2"}
PARTS |= {"name": "posts", "edition": "1"}
PARTS |= {"project": "1", "rule": "1", "delivery": "1", "address": "1", "target": "1", "token": "token"}
PARTS |= {"link": "x", "session": "0123456789abcdef"}
PARTS |= {"hash": "0" * 32, "form": "348.webp"}

GITHUB = {"GITHUB_CLIENT_ID": "x", "GITHUB_CLIENT_SECRET": "y", "GITHUB_ANYBODY": "true"}
SECRET = {"SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA=="}


@pytest.fixture
def settings(site_url: str) -> Settings:
    """Every route there can be."""
    return read_settings({"DATABASE_URL": site_url, **SECRET, **GITHUB})


def _path(route: web.AbstractRoute) -> str:
    assert route.resource is not None
    return route.resource.canonical


def test_every_route_says_what_it_takes_and_is_written_down() -> None:
    settings = read_settings({**SECRET, **GITHUB})
    found = {}
    for route in routes_of(settings):
        path = re.sub(r"\{(\w+):(?:[^{}/]|\{[^{}]*\})*\}", r"{\1}", route.definition.path)
        found[f"{route.definition.method} {path}"] = route.permission
    assert found == ROUTES


async def test_application_has_no_other_route(
    settings: Settings, publisher: RecordingPublisher, database: Database
) -> None:
    app = create_app(settings, publisher, database=database)
    found = {
        f"{route.method.replace('HEAD', 'GET')} {_path(route)}"
        for route in app.router.routes()
        if not _path(route).startswith(PREFIX)
    }
    assert found == set(ROUTES)


@pytest.mark.parametrize("route", [web.get("/x", lambda request: web.Response())])
def test_route_that_does_not_say_stops_the_start(route: web.RouteDef, publisher: RecordingPublisher) -> None:
    feature = Feature(name="x", routes=(route,))  # type: ignore[arg-type]  # what mypy would refuse
    with pytest.raises(ValueError, match=r"^x: .* does not say who may use it"):
        create_app(Settings.from_environ(SECRET, [feature]), publisher)


def test_route_that_is_put_in_past_the_table_stops_the_start(publisher: RecordingPublisher) -> None:
    async def view(request: web.Request) -> web.Response:
        return web.Response()

    feature = Feature(name="x", setup=lambda app: app.router.add_get("/x", view) and None)
    with pytest.raises(ValueError, match="does not say who may use it"):
        create_app(Settings.from_environ(SECRET, [feature]), publisher)


def test_view_has_one_permission(publisher: RecordingPublisher) -> None:
    async def view(request: web.Request) -> web.Response:
        return web.Response()

    routes = (*allow(READ, web.get("/a", view)), *allow(EVENTS, web.get("/b", view)))
    with pytest.raises(ValueError, match="has its view from"):
        create_app(Settings.from_environ(SECRET, [Feature(name="x", routes=routes)]), publisher)


def test_every_permission_is_in_the_table_and_what_is_not_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(MAY) == set(Permission)
    monkeypatch.setattr("web.identity.roles.MAY", {})
    assert not any(may(role, permission) for role in Role for permission in Permission)


@pytest.mark.parametrize(
    ("text", "role"),
    [(None, Role.VISITOR), ("manager", Role.MANAGER), ("visitor", Role.USER), ("", Role.USER), ("admin", Role.USER)],
)
def test_role_that_is_unknown_is_none(text: str | None, role: Role) -> None:
    assert role_of(text) is role


def test_command_offers_the_roles_that_there_are() -> None:
    assert tuple(map(str, GIVEN)) == ROLES


def test_who_may_more_may_all_that_others_may() -> None:
    order = [Role.VISITOR, Role.USER, Role.WRITER, Role.MANAGER]
    for less, more in pairwise(order):
        assert {each for each in Permission if may(less, each)} <= {each for each in Permission if may(more, each)}


async def _status(browser: Browser, name: str, event: Event, token: str) -> int:
    method, path = name.split()
    for part, value in {"slug": event.slug, "id": "987654321", **PARTS}.items():
        path = path.replace(f"{{{part}}}", value)
    if method == "GET":
        return (await browser.fetch(path, allow_redirects=False)).status
    headers = {"Accept": "application/json", "Content-Type": "application/json", "Origin": browser.origin}
    response = await browser.client.post(path, json={"csrf_token": token}, headers=headers, allow_redirects=False)
    return response.status


@pytest.mark.parametrize("role", list(Role))
async def test_every_route_asks_the_table(
    role: Role,
    settings: Settings,
    publisher: RecordingPublisher,
    database: Database,
    passwords: Passwords,
    concert: Event,
) -> None:
    """Each route, asked for by each role: refused by 401 or 403 exactly where the table says so."""

    # The routes and their permissions are the site's; the views only say that they were reached.
    def hollow(route: Route) -> Route:
        async def view(request: web.Request) -> web.Response:
            return web.Response(status=299)

        old = route.definition
        return Route(
            route.permission, web.RouteDef(old.method, old.path, view, old.kwargs), route.form, route.from_anywhere
        )

    keep = {"GET /login", "POST /login"}
    routes = [
        route if f"{route.definition.method} {route.definition.path}" in keep else hollow(route)
        for route in routes_of(settings)
    ]
    accounts = next(feature for feature in FEATURES if feature.name == "accounts")
    whole = Settings(
        (Feature(name="hollow", routes=routes, globals=accounts.globals, setup=accounts.setup),), settings.values
    )
    app = create_app(whole, publisher, database=database)
    if role is not Role.VISITOR:
        await create_user(database, passwords, "ada", PASSWORD, role)
    async with TestClient(TestServer(app)) as client:
        browser = Browser(client)
        if role is not Role.VISITOR:
            assert (await browser.sign_in()).status == 303
        await browser.look("/login")
        for name, permission in ROUTES.items():
            if name in keep:
                continue
            token = await _token(browser, app)
            status = await _status(browser, name, concert, token)
            if may(role, permission):
                assert status == 299, name
            else:
                assert status == (401 if role is Role.VISITOR else 403), name


async def _token(browser: Browser, app: web.Application) -> str:
    """The form token of whoever this is, as a page would have it."""
    from aiohttp.test_utils import make_mocked_request

    from web.pages import keys

    signer = app[keys.signer]
    cookies = {cookie.key: cookie.value for cookie in browser.client.session.cookie_jar}
    head = {"Cookie": f"{signer.cookie}={cookies.get(signer.cookie, '')}"}
    visitor = signer.read(make_mocked_request("GET", "/", head))
    return "" if visitor is None else signer.form_token(visitor)
