"""Sessions outlive connections and workers: two nodes over one Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from conversation import new_rules

from hub.bayeux import LONG_POLLING
from hub.brokers.redis import RedisBroker
from hub.node import Bounds, Node, Poll, new_id
from hub.protocol.messages import loads
from hub.protocol.publications import Draft


@contextlib.asynccontextmanager
async def two_nodes(redis_url: str) -> AsyncIterator[tuple[Node, Node]]:
    prefix = new_id()[:8]
    nodes = []
    for _ in range(2):
        rules = new_rules(timeout=5.0)
        rules._new_id = new_id
        node = Node(RedisBroker(redis_url, prefix=prefix), rules, Bounds(tick=0.0))
        await node.start()
        nodes.append(node)
    try:
        yield nodes[0], nodes[1]
    finally:
        for node in nodes:
            await node.stop()


async def say(node: Node, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """One poll: its messages, answered."""
    poll = Poll()
    answered: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
    poll.when_sent(answered.set_result)
    node.accept(messages, LONG_POLLING, poll)
    return [loads(part) for part in await asyncio.wait_for(answered, 10)]


async def start(node: Node, *patterns: str) -> str:
    types = {"version": "1.0", "supportedConnectionTypes": ["long-polling"]}
    client_id: str = (await say(node, {"channel": "/meta/handshake"} | types))[0]["clientId"]
    for pattern in patterns:
        subscribe = {"channel": "/meta/subscribe", "clientId": client_id, "subscription": pattern}
        assert (await say(node, subscribe))[0]["successful"]
    return client_id


def connect(client_id: str, timeout: int = 0) -> dict[str, Any]:
    advice = {"advice": {"timeout": timeout}}
    return {"channel": "/meta/connect", "clientId": client_id, "connectionType": "long-polling"} | advice


def data(messages: list[dict[str, Any]]) -> list[Any]:
    return [message["data"] for message in messages if "data" in message]


async def test_any_worker_continues_a_polling_session(redis_url: str) -> None:
    """No sticky routing: each request of a session goes to another node, and nothing is missed."""
    async with two_nodes(redis_url) as (one, two):
        client_id = await start(one, "/a")
        received: list[Any] = []
        for turn in range(10):
            await one.publish([Draft("/a", str(turn).encode())])
            node = (two, one)[turn % 2]
            messages = await say(node, connect(client_id, 2000))
            if not data(messages):
                messages = await say(node, connect(client_id, 2000))
            received += data(messages)
        assert list(dict.fromkeys(received)) == list(range(10))
        assert one.counters.adopted + two.counters.adopted >= 2


async def test_session_of_a_worker_that_died_goes_on(redis_url: str) -> None:
    async with two_nodes(redis_url) as (one, two):
        client_id = await start(one, "/a")
        await say(one, connect(client_id))
        await one.broker.close()
        await two.publish([Draft("/a", b"1"), Draft("/a", b"2")])
        assert data(await say(two, connect(client_id))) == [1, 2]


async def test_wildcards_can_not_be_recovered_and_the_client_is_told(redis_url: str) -> None:
    async with two_nodes(redis_url) as (one, two):
        client_id = await start(one, "/a/*")
        await say(one, connect(client_id))
        (reply,) = await say(two, connect(client_id))
        assert not reply["successful"]
        assert reply["advice"]["reconnect"] == "handshake"


@pytest.mark.parametrize("client_id", ["x" * 40, "nobody"])
async def test_unknown_session_is_nowhere(redis_url: str, client_id: str) -> None:
    async with two_nodes(redis_url) as (one, _):
        (reply,) = await say(one, connect(client_id))
        assert reply["error"].startswith("402:")
        assert not one.registry.sessions


async def test_disconnect_ends_a_session_everywhere(redis_url: str) -> None:
    async with two_nodes(redis_url) as (one, two):
        client_id = await start(one, "/a")
        await say(one, {"channel": "/meta/disconnect", "clientId": client_id})
        await asyncio.wait(one._tasks, timeout=2) if one._tasks else None
        assert (await say(two, connect(client_id)))[0]["error"].startswith("402:")
