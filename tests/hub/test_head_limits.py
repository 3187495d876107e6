"""Long heads, targets in absolute form, kept connections: the same on every way in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web
from listening import KEY, REALM, serving
from wire import request, say, upgrade

from hub.app import Hub, running
from hub.settings import Settings

SHAKE = b'[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]'

WAYS: dict[str, Callable[..., list[bytes]]] = {
    "poll": lambda *lines: [request("POST /bayeux", *lines, body=SHAKE)],
    "poll on a kept connection": lambda *lines: [request("GET /health"), request("POST /bayeux", *lines, body=SHAKE)],
    "second poll": lambda *lines: [
        request("POST /bayeux", body=SHAKE),
        request("POST /bayeux", *lines, body=SHAKE),
    ],
    "WebSocket": lambda *lines: [upgrade("/bayeux", *lines)],
    "WebSocket on a kept connection": lambda *lines: [request("GET /health"), upgrade("/ws?channel=a", *lines)],
    "/ws": lambda *lines: [upgrade("/ws?channel=a", *lines)],
    "/sse": lambda *lines: [request("GET /sse?channel=a", *lines)],
    "/poll": lambda *lines: [request("GET /poll?channel=a", *lines)],
    "/health": lambda *lines: [request("GET /health", *lines)],
    "HEAD": lambda *lines: [request("OPTIONS /bayeux", *lines)],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [8 * 1024, 16 * 1024, 30 * 1024])
async def test_long_cookie_passes_everywhere(way: str, size: int) -> None:
    """Above 8 KB of cookies WebSockets came in, while pages and streams of the same browser were refused."""
    async with serving() as (url, _):
        assert (await say(url, *WAYS[way]("Cookie: a=" + "x" * size))).status in {101, 200, 204}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("field", ["Cookie: a={}", "X{}: a"])
async def test_longer_head_is_431_with_a_word(way: str, field: str) -> None:
    async with serving(head_bytes=8 * 1024) as (url, _):
        reply = await say(url, *WAYS[way](field.format("x" * 8 * 1024)))
        assert (reply.status, reply.body) == (431, "Request head too large\n")


@pytest.mark.parametrize("way", WAYS)
async def test_limit_is_a_setting(way: str) -> None:
    async with serving(head_bytes=100 * 1024) as (url, _):
        assert (await say(url, *WAYS[way]("Cookie: a=" + "x" * 90 * 1024))).status in {101, 200, 204}


async def test_too_many_fields_are_431() -> None:
    async with serving() as (url, _):
        for way in ("poll", "WebSocket", "/health"):
            reply = await say(url, *WAYS[way](*[f"X-{number}: a" for number in range(200)]))
            assert reply.status == 431
            assert reply.body.count("\n") == 1


class TestAbsoluteForm:
    """`GET http://host/bayeux`, as clients behind a forward proxy send it (RFC 9112 §3.2.2)."""

    @pytest.mark.parametrize(
        "form", ["http://hub{}", "HTTP://HUB{}", "https://hub:8443{}", "ws://hub{}", "wss://hub{}"]
    )
    async def test_upgrade_in_absolute_form_is_taken(self, form: str) -> None:
        async with serving() as (url, _):
            for first in ([], [request("GET /health")]):
                for target in ("/bayeux", "/ws?channel=a", "/r/a1b2c3d4/bayeux"):
                    assert (await say(url, *first, upgrade(form.format(target)))).status == 101

    @pytest.mark.parametrize(
        "line", ["GET http://hub/health", "GET http://hub/poll?channel=a", "POST http://hub/bayeux"]
    )
    async def test_other_requests_too(self, line: str) -> None:
        async with serving() as (url, _):
            body = SHAKE if line.startswith("POST") else b""
            for first in ([], [request("GET /health")]):
                assert (await say(url, *first, request(line, body=body))).status == 200

    @pytest.mark.parametrize("scheme", ["ftp", "javascript", "x+y"])
    async def test_other_schemes_are_refused_on_every_way_in(self, scheme: str) -> None:
        """Pages were served for any scheme, and without SITE_URL it got into their links."""
        async with serving() as (url, _):
            target = f"{scheme}://hub/bayeux"
            asked = request(f"GET {scheme}://hub/health"), request(f"POST {target}", body=SHAKE), upgrade(target)
            for each in asked:
                assert (await say(url, each)).status == 400
                assert (await say(url, request("GET /health"), each)).status == 400

    async def test_empty_path_is_the_first_page(self) -> None:
        """`GET http://hub` was 404, as aiohttp looked for an empty path (RFC 9110 §4.2.3)."""

        async def first(request: web.Request) -> web.Response:
            return web.Response(text=f"{request.path_qs} of {request.headers['Host']}")

        app = web.Application()
        app.router.add_get("/", first)
        hub = Hub(Settings(key=KEY, realm=REALM))
        hub.setup(app)
        async with running(app, hub) as url:
            for target, path in (("", "/"), ("/", "/"), ("?a=%2F", "/?a=%2F"), ("?a=/b", "/?a=/b")):
                reply = await say(url, request(f"GET http://own.example:80{target}"))
                assert (reply.status, reply.body) == (200, f"{path} of own.example:80")

    async def test_host_of_the_target_is_the_host(self) -> None:
        """Two hosts in a request are two answers to whose page it is."""
        async with serving() as (url, _):
            own, other = "Origin: http://own.example", "Origin: http://other.example"
            target = "http://own.example/bayeux"
            assert (await say(url, upgrade(target, own, host="other.example"))).status == 101
            assert (await say(url, upgrade(target, other, host="other.example"))).status == 403

    @pytest.mark.parametrize(
        "target",
        ["http://", "http:///bayeux", "http://a b/bayeux", "http://u:p@hub/bayeux", "http://a,b/bayeux", "*", "hub:80"],
    )
    async def test_rest_is_refused(self, target: str) -> None:
        async with serving() as (url, _):
            assert (await say(url, upgrade(target))).status in {400, 404}


async def test_idle_connection_is_kept_as_long_as_the_setting_says() -> None:
    """nginx and Amazon's balancers keep a connection for 60 s: whoever closes first makes the other's request fail."""
    async with serving(idle_timeout=0.2) as (url, _):
        for asked in (request("GET /health"), request("POST /bayeux", body=SHAKE)):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(asked)
            async with asyncio.timeout(60):
                # The answer, and then the end.
                assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
            writer.close()
