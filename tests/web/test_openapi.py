"""The running site answers as docs/openapi.json says, to what it describes and to what it does not."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from aiohttp.test_utils import TestServer
from argon2 import PasswordHasher
from blogging import Blog
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from services import Redis
from visiting import PASSWORD, Browser, Calendar, Forms

from hub.app import Hub
from hub.publisher import RecordingPublisher
from hub.settings import Settings as HubSettings
from web.app import FEATURES, create_app, read_settings
from web.features.accounts.people import create_user
from web.features.podcasts import demo
from web.features.search.service import search
from web.pages import keys

DESCRIPTION = json.loads((Path(__file__).parents[2] / "docs/openapi.json").read_text(encoding="utf-8"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

schema = schemathesis.openapi.from_dict(DESCRIPTION).include(tag="site")


@dataclass
class Site:
    """A site with one event, one post, six podcasts, and a manager who has signed in."""

    url: str
    session: requests.Session
    token: str
    slug: str
    id: int
    post: str


@pytest.fixture(scope="module")
def site(migrated_file: Path, redis_server: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """In a thread of its own: who asks it waits for each answer."""
    path = tmp_path_factory.mktemp("site") / "site.db"
    shutil.copyfile(migrated_file, path)
    environ = {
        "DATABASE_URL": f"sqlite:///{path}",
        "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
        "SITE_COMMENT_RATE": "0",
        # To be measured, and for the cache; the hub's log is in memory.
        "REDIS_URL": redis_server.url,
        # Nobody elsewhere is asked.
        "PODCASTS_DIRECTORY": "",
        "PODCASTS_FETCH": "false",
        "PODCASTS_ADD_RATE": "0",
        "SITE_HEADSUP_API": "false",
    }
    loop = asyncio.new_event_loop()
    publisher = RecordingPublisher()
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

    async def start() -> tuple[TestServer, str, int, str]:
        # Search follows the hub; without one it would rest.
        hub = Hub(HubSettings(drain_timeout=1.0))
        ways = {"following": hub.followers, "tops": hub.followers}
        app = create_app(read_settings(environ), hub.publisher, hasher=hasher, **ways)
        hub.setup(app)
        server = TestServer(app)
        await server.start_server()
        async with asyncio.timeout(10):
            while not app[search].indexer.state.ready:
                await asyncio.sleep(0.01)
        database = app[keys.database]
        await create_user(database, app[keys.passwords], "ada", PASSWORD)
        calendar = Calendar(database, publisher)
        event = await calendar.event("Brass on the Quay", await calendar.category("Music"))
        await demo.load(database)
        post = await Blog(database, publisher, app[keys.jobs]).post("First snow")
        return server, event.slug, event.id, post.slug

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        server, slug, number, post = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
        url = str(server.make_url("/")).rstrip("/")
        with requests.Session() as session:
            yield Site(url, session, sign_in(session, url), slug, number, post)
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def sign_in(session: requests.Session, url: str) -> str:
    """Sign in; returns the token of the manager's forms."""

    def token(path: str, action: str) -> str:
        page = session.get(url + path, headers={"Accept": "text/html"}, timeout=30).text
        return Forms.of(page)[action]["csrf_token"]

    fields, headers = {"name": "ada", "password": PASSWORD}, {"Origin": url}
    answer = session.post(f"{url}/login", data=fields, headers=headers, allow_redirects=False, timeout=30)
    assert answer.status_code == 303
    return token("/manage/events/new", "/manage/events")


# The site, in its own thread, throws dice meanwhile; Hypothesis takes that for its strategies' doing.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@schema.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_are_as_described(case: Any, site: Site) -> None:
    headers = {"Accept": "application/json", "X-CSRF-Token": site.token}
    # What is made up for a cookie would hide what is behind it; others test what happens without.
    case.cookies = {}
    parameters = case.path_parameters or {}
    # Half of them reach what is behind the name of the event or the post.
    if "slug" in parameters and len(str(parameters["slug"])) % 2:
        parameters["slug"] = site.post if case.operation.path.startswith("/posts/") else site.slug
    if "id" in parameters and str(parameters["id"])[-1:] in "13579":
        parameters["id"] = site.id
    case.call_and_validate(base_url=site.url, session=site.session, headers=headers, checks=CHECKS, timeout=60)


def _described() -> set[tuple[str, str]]:
    return {
        (method.upper(), path)
        for path, operations in DESCRIPTION["paths"].items()
        for method in operations
        if method != "parameters"
    }


def _routes(begin: str) -> set[tuple[str, str]]:
    routes = [each.definition for feature in FEATURES for each in feature.routes]
    return {
        (each.method, re.sub(r":[^{}]*(?:\{[^{}]*\})?[^{}]*\}", "}", each.path))
        for each in routes
        if each.path.startswith(begin)
    }


#: Routes of the blog and of comments that answer with no JSON; of posts' comments and their pictures others say so.
PAGES_AND_FORMS = re.compile(
    r"GET /comments/\{id\}(/reply|/edit)?|GET /manage/(comments|posts(/new|/\{id\}(/newer|/history(/\{edition\})?)?)?)"
    r"|POST /manage/posts/(drafts/discard|\{id\}/history/\{edition\}/restore)"
    r"|[A-Z]+ /comments/(moderate|mail)/\{link\}|[A-Z]+ /manage/posts/\{id\}/picture|GET /manage/posts/token"
)


@pytest.mark.parametrize("begin", ["/manage/posts", "/manage/comments", "/comments/"])
def test_what_answers_with_json_is_described(begin: str) -> None:
    """The desk's and the moderators' routes had no description, though they all answer scripts with JSON."""
    routes = {f"{method} {path}" for method, path in _routes(begin)}
    described = {f"{method} {path}" for method, path in _described() if path.startswith(begin)}
    assert described == {each for each in routes if not PAGES_AND_FORMS.fullmatch(each)}


@pytest.mark.parametrize("begin", ["/api/", "/headsup/hook"])
def test_every_route_of_an_api_is_described(begin: str) -> None:
    mine = _routes(begin)
    assert mine
    assert mine == {each for each in _described() if each[1].startswith(begin)}


def test_a_described_answer_has_every_field_that_is_given(site: Site) -> None:
    """A schema that let any other field through would hold whatever is answered."""
    answer = site.session.get(f"{site.url}/api/podcasttime/find?ids=1", timeout=30).json()
    described = DESCRIPTION["components"]["schemas"]
    assert set(answer["items"][0]) - {"_updating"} == set(described["Podcast"]["required"])
    answer = site.session.get(f"{site.url}/api/podcasttime/stats?ids=1,2", timeout=30).json()
    assert set(answer) == set(described["PodcastTime"]["properties"])
    answer = site.session.get(f"{site.url}/api/podcasttime/podcasts/episodes/1", timeout=30).json()
    assert set(answer["episodes"][0]) == set(described["Episodes"]["properties"]["episodes"]["items"]["required"])
    fields = {
        "github_full_name": "ada/engine",
        "github_webhook_secret": "a secret of enough letters",
        "send_to": "ada@example.com",
    }
    headers = {"X-CSRF-Token": site.token, "Origin": site.url}
    answer = site.session.post(f"{site.url}/api/projects/add", json=fields, headers=headers, timeout=30).json()
    assert set(answer["project"]) == set(described["HeadsupProject"]["required"])


@pytest.mark.parametrize("slug", ["%00", "a%00b", "%ED%A0%80", "%F0%9F%8E%BA", "x" * 3000])
async def test_names_that_nothing_has_are_404(browser: Browser, slug: str) -> None:
    """PostgreSQL refuses a text with a NUL in it."""
    for what in ("events", "posts"):
        assert (await browser.fetch(f"/{what}/{slug}/comments.json")).status == 404
