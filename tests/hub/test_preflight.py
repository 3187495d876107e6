"""What a browser asks before a page of another site sends more than a form: on every path that may be called."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from listening import KEY, REALM, serving

from hub.app import Hub
from hub.protocol import tokens
from hub.settings import Settings

ORIGIN = "https://app.example"

#: Who calls these holds the realm's key, or is not a page.
NOT_FOR_PAGES = (
    "/publish",
    "/realm/{realm}/publish",
    "/realm/{realm}/http",
    "/realm/{realm}/kick",
    "/realm/{realm}/position",
    "/realm/{realm}/inside",
)
SIMPLE = ("/health", "/ready", "/metrics", "/openapi.json")


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text('[[rule]]\nchannels = ["**"]\npresence = "open"\n')
    return path


def paths(rules: Path) -> list[str]:
    """Of every route of the hub, with something in the place of its variables."""
    app = web.Application()
    Hub(Settings(key=KEY, realm=REALM, rules=rules)).setup(app)
    shapes = {str(route.resource.canonical) for route in app.router.routes() if route.resource is not None}
    wanted = [shape for shape in sorted(shapes) if not shape.startswith(NOT_FOR_PAGES) and shape not in SIMPLE]
    return [shape.replace("{realm}", REALM).replace("{name}", "fanout.js").replace("{rest}", "x") for shape in wanted]


async def test_every_path_answers_it_as_bayeux_does(rules: Path) -> None:
    """@microsoft/fetch-event-source connected once: with its last id it needs a preflight, which was a 405."""
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "last-event-id, authorization, cache-control",
    }
    async with serving(origins=(ORIGIN,), rules=rules) as (url, _), ClientSession() as http:
        found = paths(rules)
        assert {"/sse", "/poll", "/presence", f"/r/{REALM}/sse", f"/realm/{REALM}/subscriptions/stream/"} <= set(found)
        for path in found:
            async with http.options(url + path, headers=asked) as response:
                assert response.status == 204, path
                headers = response.headers
                assert headers["Access-Control-Allow-Origin"] == ORIGIN, path
                assert {"GET", "POST"} <= set(headers["Access-Control-Allow-Methods"].split(", ")), path
                allowed = headers["Access-Control-Allow-Headers"].lower().split(", ")
                assert {"last-event-id", "authorization", "cache-control", "content-type"} <= set(allowed), path
                assert int(headers["Access-Control-Max-Age"]) > 3600, path
                assert headers["Vary"] == "Origin", path
            async with http.options(url + path, headers=asked | {"Origin": "https://evil.example"}) as response:
                assert response.status == 204, path
                assert "Access-Control-Allow-Methods" not in response.headers, path
                assert "Access-Control-Allow-Headers" not in response.headers, path


async def test_what_is_asked_for_then_may_be_read(rules: Path) -> None:
    bearer = {"Authorization": f"Bearer {tokens.sign(REALM, KEY, 2e9)}"}
    async with serving(origins=(ORIGIN,), rules=rules, connect_timeout=0.01) as (url, _), ClientSession() as http:
        for path in (
            "/sse?channel=a",
            "/poll?channel=a",
            "/poll",
            "/presence?channel=a",
            f"/realm/{REALM}/presence/?channel=a",
            f"/realm/{REALM}/subscriptions/items/",
            f"/realm/{REALM}/subscriptions/items/?since=cursor:x",
            f"/realm/{REALM}/subscriptions/stream",
            "/fpp/feed/",
            "/bayeux",
        ):
            for shown in (bearer, {}):
                async with http.get(url + path, headers={"Origin": ORIGIN, **shown}) as response:
                    if path != "/bayeux":
                        assert response.headers.get("Access-Control-Allow-Origin") == ORIGIN, (path, response.status)
