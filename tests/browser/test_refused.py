"""A page of a site that the hub does not know, in Chromium: its builder is told what to set."""

from __future__ import annotations

import pytest
from aiohttp import web
from listening import serving
from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_console_of_a_page_of_another_origin_names_the_setting(shared_chromium: Browser) -> None:
    """Chromium said "Unexpected response code: 403" and "blocked by CORS policy"; the sentence that helps was in a
    body that no browser shows, and the hub's log had nothing."""
    async with serving() as (url, _):

        async def page(request: web.Request) -> web.Response:
            script = f'Fanout.configure({{url: "{url}/bayeux"}}); Fanout.subscribe("a", () => {{}})'
            text = f'<script src="{url}/bayeux/static/fanout.js"></script><script>{script}</script>'
            return web.Response(text=text, content_type="text/html")

        app = web.Application()
        app.router.add_get("/", page)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        # The same machine under its other name is another origin, as for who types 127.0.0.1 and localhost by turns.
        origin = f"http://localhost:{runner.addresses[0][1]}"
        context = await shared_chromium.new_context()
        opened = await context.new_page()
        said: list[str] = []
        opened.on("console", lambda message: said.append(message.text))
        await opened.goto(origin)
        await opened.wait_for_function("() => Fanout.reason", timeout=60_000)
        reason = await opened.evaluate("() => Fanout.reason")
        assert reason == (
            f"the hub at {url}/bayeux refuses pages from {origin}. Origin not allowed. Add it to HUB_ORIGINS."
        )
        assert f"Fanout: {reason}" in said
        await context.close()
        await runner.cleanup()
