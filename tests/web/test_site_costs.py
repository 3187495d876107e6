"""What the longest and worst texts of strangers cost the site: headers, cookies, addresses and the fields of each form.

As tests/test_costs.py has it for the hub; what the page itself costs, which is asked for as usual first, is not in it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web
from argon2 import PasswordHasher
from test_costs import ALLOWED, FIELD, WORST, cut, longest
from visiting import PASSWORD

sys.path.append(str(Path(__file__).parents[1] / "hub"))

from wire import request, say

from hub.publisher import RecordingPublisher
from web.app import create_app
from web.db.database import Database
from web.features.accounts.people import create_user
from web.features.events.models import Event
from web.identity.passwords import Passwords
from web.pages.requests import MAX_FORM
from web.settings import Settings

#: What the site or aiohttp reads of a request; pages are asked for as browsers do.
HEADERS = (
    *(
        "Cookie",
        "Accept",
        "Accept-Encoding",
        "Accept-Language",
        "If-None-Match",
        "If-Modified-Since",
        "Range",
        "Origin",
    ),
    *("Referer", "Sec-Fetch-Site", "Hub-Heard", "X-Forwarded-For", "X-CSRF-Token", "Content-Type", "User-Agent"),
)
PAGES = (
    *("/", "/events", "/events/brass-on-the-quay", "/events/brass-on-the-quay/comments.json", "/rss.xml"),
    *("/login", "/static/fanout.js"),
)
ADDRESSES = (
    *("/?{}", "/events/{}", "/events/brass-on-the-quay?before={}", "/oc-{}", "/posts/{}", "/posts/{}/rss.xml"),
    *("/login?next={}", "/static/{}"),
)
FORMS = {
    "/login": ("name", "password", "next", "csrf_token"),
    "/events/brass-on-the-quay/comments": ("name", "text", "csrf_token"),
    "/manage/events": ("title", "slug", "description", "starts_at", "category", "status", "edition"),
}


@pytest.fixture(params=["sqlite"])
def site_url(request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path) -> str:
    """The database costs the same whatever is asked; of one kind is enough."""
    path = tmp_path / "site.db"
    path.write_bytes(migrated_file.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture
async def site(
    settings: Settings, database: Database, publisher: RecordingPublisher, concert: Event
) -> AsyncIterator[str]:
    """The URL of a site that reads heads as the hub in front of it does."""
    app = create_app(
        settings, publisher, database=database, hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    )
    runner = web.AppRunner(app, max_line_size=32 * 1024, max_field_size=32 * 1024)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0)
    await server.start()
    assert server._server is not None
    yield f"http://127.0.0.1:{server._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    await runner.cleanup()


async def too_long(url: str, usual: bytes, worst: dict[object, bytes]) -> dict[object, float]:
    """Of requests, those that take the loop longer in one piece than the usual one, and by how much."""
    for _ in range(3):
        await say(url, usual)
    base = await longest(lambda: say(url, usual))

    async def late(keys: list[object]) -> dict[object, float]:
        took = {key: await longest(lambda key=key: say(url, worst[key])) - base for key in keys}
        return {key: each for key, each in took.items() if each > ALLOWED}

    # A busy neighbour can slow all tries of one text, so the slow ones are asked once more when all others were.
    return await late([*await late([*worst])])


@pytest.mark.parametrize("page", PAGES)
async def test_headers_of_a_page(page: str, site: str) -> None:
    accept = "Accept: text/html"
    worst: dict[object, bytes] = {
        (name, content): request(f"GET {page}", accept, f"{name}: {cut(content, FIELD).strip()}")
        for name in HEADERS
        for content in WORST
    }
    for content in WORST:
        pairs = "; ".join(f"{number}={cut(content, 40).strip()}" for number in range(600))
        worst["many cookies", content] = request(f"GET {page}", accept, f"Cookie: {pairs}")
        worst["wrote", content] = request(f"GET {page}", accept, f"Cookie: wrote={cut(content, FIELD).strip()}")
        worst["visitor", content] = request(f"GET {page}", accept, f"Cookie: visitor={cut(content, FIELD).strip()}")
    assert await too_long(site, request(f"GET {page}", accept), worst) == {}


@pytest.mark.parametrize("address", ADDRESSES)
async def test_addresses(address: str, site: str) -> None:
    accept = "Accept: text/html"
    worst: dict[object, bytes] = {
        content: request("GET " + address.format(quote(cut(content, FIELD // 9))), accept) for content in WORST
    }
    assert await too_long(site, request("GET " + address.format("1"), accept), worst) == {}


@pytest.mark.parametrize(
    "page",
    [
        "/search",
        "/autocomplete",
        "/podcasts/mine",
        "/events/brass-on-the-quay",
        "/login",
        "/static/fanout.js",
        "/nothing",
    ],
)
async def test_fields_of_a_query(page: str, site: str) -> None:
    """15,000 fields of a query, 30 kB, were decoded for any page: 3 to 5 ms of the loop. The hub had a bound."""
    for fields in ("a", "%41=%", ""):
        more = "&".join([fields] * 400)
        answer = await say(site, request(f"GET {page}?q=x&{more}", "Accept: text/html"))
        assert (answer.status, "400 fields" in answer.body) == (400, True)
    usual = await say(site, request(f"GET {page}?q=x", "Accept: text/html"))
    assert (await say(site, request(f"GET {page}?q=x{'&a' * 399}", "Accept: text/html"))).status == usual.status


@pytest.mark.parametrize("form", FORMS)
async def test_fields_of_a_form(form: str, site: str, database: Database, passwords: Passwords) -> None:
    """Sent from a page of ours and with a token that is right, or nothing of it would be read."""
    fields = ["Origin: http://hub", "Content-Type: application/x-www-form-urlencoded", "Accept: text/html"]
    begin = "next=/"
    if form.startswith("/manage"):
        await create_user(database, passwords, "ada", PASSWORD)
        body = f"name=ada&password={quote(PASSWORD)}".encode()
        signed_in = await say(site, request("POST /login", *fields, body=body))
        assert signed_in.status == 303
        found = re.search(r"(?i)set-cookie: ((?:__Host-)?visitor=[^;]+)", signed_in.head)
        assert found is not None
        fields.append(f"Cookie: {found[1]}")
        page = await say(site, request("GET /manage/events/new", *fields))
        token = re.search(r'name="csrf_token" value="([^"]+)"', page.body)
        assert token is not None
        begin = f"csrf_token={quote(token[1])}"
    worst: dict[object, bytes] = {}
    for name in FORMS[form]:
        for content in WORST:
            text = quote(cut(content, MAX_FORM // 4))[: MAX_FORM - 2000].rstrip("%")
            start = "" if name == "csrf_token" else f"{begin}&"
            worst[name, content] = request(f"POST {form}", *fields, body=f"{start}{name}={text}".encode())
            worst[name, content, "kept"] = request(
                f"POST {form}", *fields, body=f"{start}{name}={quote(WORST[content][:20_000])}"[: MAX_FORM - 9].encode()
            )
    usual = request(f"POST {form}", *fields, body=f"{begin}&name=a".encode())
    assert await too_long(site, usual, worst) == {}
