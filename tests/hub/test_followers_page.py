"""What docs/followers.md shows is so."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from listening import KEY, REALM, serving
from test_follower import until

from hub.brokers.redis.broker import HEARS_SECONDS
from hub.follower import FakeFollowers, FollowBounds, Heard, Lost, Reason
from hub.remote import HEARS_SECONDS as REMOTE_SECONDS
from hub.settings import Settings
from hub.tops import MAX_TOPS

PAGE = (Path(__file__).parents[2] / "docs" / "followers.md").read_text()


def example(name: str) -> Any:
    """A function that the page shows."""
    (block,) = (each for each in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if f"def {name}(" in each)
    found: dict[str, Any] = {}
    exec(block, found)
    return found[name]


async def test_page_s_follower_hears() -> None:
    async with serving() as (_, hub):
        counts: dict[str, int] = {}
        task = asyncio.create_task(example("keep_count")(hub, counts))
        await until(lambda: len(hub.followers) == 1)
        for channel in ("comments-1", "comments-1", "news/a/b", "other"):
            await hub.publisher.publish(channel, 1)
        await until(lambda: counts == {"comments-1": 2, "news/a/b": 1})
        hub.node.lost(None)
        await until(lambda: not counts)
        task.cancel()


async def test_page_s_cache_is_good_while_nothing_was_told() -> None:
    followers, kept, made = FakeFollowers(), dict[str, Any](), 0

    async def make() -> int:
        nonlocal made
        made += 1
        return made

    async def get() -> int:
        found: int = await example("page")(followers, kept, ["a", "b"], make)
        return found

    assert [await get(), await get()] == [1, 1]
    followers.tell("b")
    assert [await get(), await get()] == [2, 2]
    followers.tell("c")
    assert await get() == 2
    followers.lose()
    assert [await get(), await get()] == [3, 3]
    followers.hearing = False
    assert [await get(), await get()] == [4, 5]
    followers.hearing = True
    assert await get() == 5


async def test_page_s_remote_follower_hears() -> None:
    async with serving() as (url, hub):
        heard: list[Any] = []
        task = asyncio.create_task(example("follow_from_elsewhere")(url, REALM, KEY, heard))
        await until(lambda: bool(hub.node.registry.sessions))
        for number in range(100):
            await hub.publisher.publish("comments-1", number)
            if heard:
                break
            await asyncio.sleep(0.05)
        await until(lambda: bool(heard))
        assert isinstance(heard[0][0], Heard)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_figures_of_the_page() -> None:
    bounds, settings = FollowBounds(), Settings()
    assert (bounds.count, bounds.bytes) == (settings.follower_count, settings.follower_bytes) == (10_000, 16 * 1024**2)
    assert f"{MAX_TOPS:,} channels" in PAGE
    assert f"{HEARS_SECONDS:g} seconds at the most" in PAGE
    assert f"for {REMOTE_SECONDS:g} seconds" in PAGE


@pytest.mark.parametrize("reason", Reason.__args__)  # type: ignore[attr-defined]  # what a Literal has
def test_every_reason_is_on_the_page(reason: str) -> None:
    assert f"| `{reason}` |" in PAGE
    assert Lost("a", reason)  # type: ignore[arg-type]  # one of them
