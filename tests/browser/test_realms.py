"""A page of another site, with a client of Fanout's day, at a realm's own host."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from listening import serving
from playwright.async_api import Browser

#: The library of the page. Faye's own stands for the hosted service's, which was made of it.
SCRIPTS = {"ours": "{hub}/bayeux/static/faye.js", "faye": "/faye.js"}


@pytest.mark.parametrize("script", SCRIPTS)
async def test_a_page_of_another_site_hears_the_realm_of_the_host_it_names(
    script: str,
    chromium: Browser,
    node_modules: Path,
    tmp_path: Path,
    aiohttp_server: Callable[[web.Application], Awaitable[TestServer]],
) -> None:
    hub_url = ""

    async def page_of_the_site(request: web.Request) -> web.Response:
        src = SCRIPTS[script].format(hub=hub_url)
        return web.Response(text=f"<!doctype html><script src='{src}'></script>", content_type="text/html")

    async def faye(request: web.Request) -> web.FileResponse:
        return web.FileResponse(node_modules / "faye" / "client" / "faye-browser-min.js")

    app = web.Application()
    app.router.add_get("/", page_of_the_site)
    app.router.add_get("/faye.js", faye)
    server = await aiohttp_server(app)
    # Browsers take every name below localhost for the machine itself.
    site = f"http://www.example.localhost:{server.port}"
    realms = tmp_path / "realms.toml"
    key = base64.b64encode(b"2" * 32).decode()
    realms.write_text(
        f'[[realm]]\nname = "a1b2"\nkey = "{key}"\norigins = ["{site}"]\n\n'
        f'[[realm]]\nname = "c3d4"\nkey = "{base64.b64encode(b"3" * 32).decode()}"\n'
    )
    async with serving(realms=realms) as (url, hub):
        port = urlsplit(url).port
        hub_url = f"http://a1b2.hub.localhost:{port}"
        page = await (await chromium.new_context()).new_page()
        await page.goto(site + "/")
        await page.evaluate(
            """async (url) => {
                window.heard = [];
                window.client = new Faye.Client(url);
                await window.client.subscribe('/chat', (data) => window.heard.push(data));
            }""",
            hub_url + "/bayeux",
        )
        for name in ("c3d4", "a1b2"):
            await hub.realms[name].publisher.publish("chat", {"for": name})
        await page.wait_for_function("() => window.heard.length === 1")
        assert await page.evaluate("() => window.heard") == [{"for": "a1b2"}]
        assert [len(realm.node.registry.sessions) for realm in hub.realms.values()] == [0, 1, 0]
        # The other realm has not listed this site.
        refused = await page.evaluate(
            """(url) => fetch(url, {method: 'POST', body: '[]'}).then((answer) => answer.status, () => 'unreadable')""",
            f"http://c3d4.hub.localhost:{port}/bayeux",
        )
        assert refused == 403, "which it may read, to say why"
