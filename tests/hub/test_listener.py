"""The listener of `fanfare subscribe`: what ends it, and what only makes it wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import ClientSession
from listening import serving

from hub.listener import Heard, Listener, Refused

SHAKE = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}


def first(listener: Listener) -> str:
    """The data of what is heard first."""
    for heard in listener.listen():
        assert isinstance(heard, Heard)
        return str(heard.data)
    raise AssertionError


def noting(reasons: list[str]) -> Callable[[str, float], None]:
    return lambda reason, seconds: reasons.append(reason)


async def test_hub_that_is_full_is_asked_again() -> None:
    """It ended for good: a restart of a hub with many listeners left those that came too late deaf."""
    async with serving(max_sessions=1) as (url, hub), ClientSession() as http:
        async with http.post(f"{url}/bayeux", json=[SHAKE]) as response:
            client_id = (await response.json())[0]["clientId"]
        reasons: list[str] = []
        listener = Listener(url, ["a"], on_pause=noting(reasons))
        heard = asyncio.create_task(asyncio.to_thread(first, listener))
        while not reasons:
            await asyncio.sleep(0.01)
        assert "429" in reasons[0]
        async with http.post(f"{url}/bayeux", json=[{"channel": "/meta/disconnect", "clientId": client_id}]):
            pass
        while not hub.node.subscribers("/a"):
            await asyncio.sleep(0.01)
        await hub.publisher.publish("a", "heard")
        assert await asyncio.wait_for(heard, 60) == "heard"
        listener.close()


async def test_channel_that_is_not_allowed_ends_it() -> None:
    async with serving() as (url, _):
        listener = Listener(url, ["private-a"])
        with pytest.raises(Refused, match="403"):
            await asyncio.to_thread(first, listener)
        listener.close()
