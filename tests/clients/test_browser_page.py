"""docs/browser.md: its page, served from another origin as it says, hears what its command publishes."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import sys
from pathlib import Path

import pytest
from aiohttp import web
from listening import KEY
from playwright.async_api import Browser
from services import ROOT

from hub.app import Hub, running
from hub.settings import Settings

PAGE = (ROOT / "docs" / "browser.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
(HTML,) = (code for language, code in FENCES if language == "html")
(PUBLISH,) = (code for language, code in FENCES if language == "sh" and " publish " in code)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_page_of_another_origin_hears_what_is_published(
    shared_chromium: Browser, unused_tcp_port: int
) -> None:
    site = f"http://127.0.0.1:{unused_tcp_port}"
    hub = Hub(Settings(key=KEY, origins=(site,)))
    app = web.Application()
    hub.setup(app)
    async with running(app, hub) as url:
        elsewhere = web.Application()

        async def index(_: web.Request) -> web.Response:
            return web.Response(text=HTML.replace("http://localhost:8000", url), content_type="text/html")

        elsewhere.router.add_get("/", index)
        runner = web.AppRunner(elsewhere)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
        try:
            page = await (await shared_chromium.new_context()).new_page()
            await page.goto(site)
            await page.wait_for_function("Fanout.status == 'websocket'")
            # Again and again: the page is connected before it has subscribed.
            shown = page.wait_for_function("document.querySelector('#heard').textContent == '{\"id\":3}'")
            waiting = asyncio.ensure_future(shown)
            while not waiting.done():
                assert "published" in await published(url)
            await waiting
        finally:
            await runner.cleanup()


async def published(url: str) -> str:
    """What the page's command prints, for the hub at this URL."""
    command = PUBLISH.replace(".venv/bin/fanfare", f"{Path(sys.executable).with_name('fanfare')}")
    env = os.environ | {"HUB_URL": url, "FANOUT_KEY": base64.b64encode(KEY).decode()}
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", command, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    return (await process.communicate())[0].decode()


async def test_every_option_of_subscribe_is_on_the_page() -> None:
    types = (ROOT / "static" / "fanout.d.ts").read_text(encoding="utf-8")
    there = re.search(r"interface WatchOptions \{(.*?)^\}", types, re.DOTALL | re.MULTILINE)
    assert there is not None
    options = set(re.findall(r"^  (\w+)\?:", there[1], re.MULTILINE))
    table = PAGE[PAGE.index("| option |") :].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == options
    # The defaults, as the code has them.
    code = (ROOT / "static" / "fanout" / "watch.js").read_text(encoding="utf-8")
    found = re.search(r"const defaults = \{(.*?)\}", code)
    assert found is not None
    for name, value in re.findall(r"(\w+): (\d+)", found[1]):
        assert re.search(rf"^\| `{name}` \|.*\| {value} \|$", table, re.MULTILINE), name
