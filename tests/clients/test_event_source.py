"""Chromium's own EventSource on /sse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from clients.driven import scene, until, visiting
from listening import serving
from playwright.async_api import Browser, Route

from hub.publisher import HttpPublisher

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("origin", ["same", "listed"])
@pytest.mark.parametrize("query", ["channel=a", "channel=a&channel=b"])
async def test_it_gets_what_it_missed_while_the_hub_was_restarted(
    origin: str, query: str, shared_chromium: Browser, node_modules: Path, redis_url: str
) -> None:
    async with scene(node_modules, origin, redis_url=redis_url) as there:
        url = f"{there.road.url}/sse?{query}"
        async with visiting(shared_chromium, there.base, "EventSource", url=url) as visit:
            await visit.hear("subscribed")
            await there.hub.publish("/a", 1)
            assert await visit.messages(1) == [1]
            await there.hub.stop()
            elsewhere = HttpPublisher(redis_url)
            await elsewhere.publish("a", 2)
            await elsewhere.publish("a", 3)
            await elsewhere.close()
            await there.hub.start()
            assert await visit.messages(2) == [2, 3]
            await there.hub.publish("/a", 4)
            assert await visit.messages(1) == [4]
            visit.tell("close")
            await until(lambda: not there.hub.node.registry.sessions)


async def test_it_is_told_what_a_restart_without_redis_has_lost(shared_chromium: Browser, node_modules: Path) -> None:
    async with scene(node_modules, "same") as there:
        url = f"{there.road.url}/sse?channel=a"
        async with visiting(shared_chromium, there.base, "EventSource", url=url) as visit:
            await visit.hear("subscribed")
            await there.hub.publish("/a", 1)
            assert await visit.messages(1) == [1]
            await there.hub.stop()
            await there.hub.start()
            assert (await visit.hear("lost"))["data"] == ["a"]
            await there.hub.publish("/a", 2)
            assert await visit.messages(1) == [2]


async def test_page_of_the_docs_makes_another_where_a_proxy_s_502_ended_it(shared_chromium: Browser) -> None:
    """The docs said that an EventSource comes back by itself; a status but 200 ends it, and the page was dead."""
    text = (Path(__file__).parents[2] / "docs" / "plain.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```js\n(.*?)```", text, re.DOTALL) if "listen" in block]
    async with serving() as (url, hub):
        page = await shared_chromium.new_page()
        heard: list[str] = []
        page.on("console", lambda message: heard.append(message.text))
        asked: list[str] = []

        async def pass_on(route: Route) -> None:
            asked.append(route.request.url)
            if len(asked) == 2:
                await route.fulfill(status=502, body="Bad Gateway")
            else:
                await route.continue_()

        try:
            await page.goto(f"{url}/test")
            await page.route("**/sse?*", pass_on)
            await page.evaluate(code.replace("https://hub.example.org", url))
            await until(lambda: hub.node.subscribers("/comments-17"))
            await hub.publisher.publish("comments-17", 1)
            await until(lambda: any('"data":1' in line for line in heard))
            (link,) = hub.node.links
            link.leave(1000, "restart")
            await until(lambda: not hub.node.links)
            await hub.publisher.publish("comments-17", 2)
            await until(lambda: any('"data":2' in line for line in heard))
            assert len(asked) >= 3
            assert sum('"data":1' in line for line in heard) == 1
        finally:
            await page.close()
