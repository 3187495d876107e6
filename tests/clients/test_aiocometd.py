"""PyPI aiocometd-ng 0.5.6, unmodified, against a served hub on both of its transports."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiocometd_ng import Client, ConnectionType, Extension
from aiocometd_ng.exceptions import ServerError
from clients.driven import restartable, until

pytestmark = [
    # It calls aiohttp's ws_connect as one did in 2024.
    pytest.mark.filterwarnings("ignore:.* is deprecated, please use:DeprecationWarning"),
    pytest.mark.parametrize(
        "transport", [ConnectionType.WEBSOCKET, ConnectionType.LONG_POLLING], ids=lambda t: t.value
    ),
]


class Replay(Extension):  # type: ignore[misc]  # Any to mypy
    """Salesforce's replay, as its users add it: asks for what came after the last message that was seen."""

    def __init__(self, start: int) -> None:
        self.seen = start

    async def outgoing(self, payload: list[dict[str, Any]], headers: dict[str, str]) -> None:
        for message in payload:
            if message["channel"] == "/meta/subscribe":
                message.setdefault("ext", {})["replay"] = {message["subscription"]: self.seen}

    async def incoming(self, payload: list[dict[str, Any]], headers: Any = None) -> None:
        for message in payload:
            if not message["channel"].startswith("/meta/") and "data" in message:
                self.seen = int(message["id"].rpartition(".")[2])


async def take(client: Client, count: int) -> list[Any]:
    """The data of the next messages."""
    async with asyncio.timeout(60):
        return [(await client.receive())["data"] for _ in range(count)]


async def test_it_receives_publishes_and_says_goodbye(transport: ConnectionType) -> None:
    async with restartable() as hub:
        async with Client(hub.url, transport) as client:
            assert client.connection_type == transport
            await client.subscribe("/comments-17")
            await client.subscribe("/chat/**")
            values = [17, True, None, "", {"a": ["é☃", None]}, "\u2028"]
            await hub.publish("/comments-17", *values)
            assert await take(client, len(values)) == values
            await client.publish("/chat/a/b", {"x": 1})
            assert await take(client, 1) == [{"x": 1}]
            with pytest.raises(ServerError) as caught:
                await client.publish("/comments-17", 1)
            assert caught.value.error_code == 403
            with pytest.raises(ServerError, match="Subscribe request failed"):
                await client.subscribe("/meta/x")
            await client.unsubscribe("/comments-17")
            await hub.publish("/comments-17", "unheard")
            await hub.publish("/chat/c", "heard")
            assert await take(client, 1) == ["heard"]
        await until(lambda: not hub.node.registry.sessions)


async def test_it_recovers_by_itself_when_the_hub_is_restarted(transport: ConnectionType) -> None:
    async with restartable() as hub, Client(hub.url, transport, connection_timeout=20) as client:
        await client.subscribe("/comments-17")
        await hub.publish("/comments-17", 1)
        assert await take(client, 1) == [1]
        await hub.stop()
        await hub.start()
        await until(lambda: hub.node.subscribers("/comments-17"))
        await hub.publish("/comments-17", 2)
        assert await take(client, 1) == [2]


async def test_salesforce_s_replay_gives_what_was_published_before(transport: ConnectionType) -> None:
    async with restartable() as hub:
        await hub.publish("/topic/x", 1, 2, 3)
        everything, some, new = Replay(-2), Replay(2), Replay(-1)
        for replay, values in ((everything, [1, 2, 3]), (some, [3]), (new, [])):
            async with Client(hub.url, transport, extensions=[replay]) as client:
                await client.subscribe("/topic/x")
                assert await take(client, len(values)) == values
        async with Client(hub.url, transport, extensions=[everything]) as client:
            await hub.publish("/topic/x", 4)
            await client.subscribe("/topic/x")
            assert await take(client, 1) == [4]
            await hub.publish("/topic/x", 5)
            assert await take(client, 1) == [5]
