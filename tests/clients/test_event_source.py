"""Chromium's own EventSource on /sse."""

from __future__ import annotations

from pathlib import Path

import pytest
from clients.driven import scene, until, visiting
from playwright.async_api import Browser

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
