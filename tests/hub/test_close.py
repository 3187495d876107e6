"""`close`: who holds the realm's key ends connections of a channel, on every worker, after what it published before."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType
from conversation import new_rules
from listening import KEY, REALM, listening, serving
from test_plain import events

from hub.brokers.memory import MemoryBroker
from hub.ids import new_id
from hub.node import Bounds, Node
from hub.protocol import tokens
from hub.protocol.channels import close_channel
from hub.protocol.publications import Draft
from hub.sessions.links import Batch
from hub.sessions.session import Session

BYE = {"ws-message": {"action": "close", "code": 4001, "reason": "bye"}}
END = {"http-stream": {"action": "close"}}


async def publish(http: ClientSession, url: str, *items: dict[str, Any]) -> str:
    headers = {"Authorization": f"Bearer {tokens.sign(REALM, KEY, time.time())}"}
    async with http.post(f"{url}/publish/", json={"items": items}, headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.text()


async def goodbye(socket: ClientWebSocketResponse) -> tuple[list[Any], int | None, Any]:
    """The data that comes until the socket is closed, the code, and the reason."""
    data = []
    while (message := await asyncio.wait_for(socket.receive(), 60)).type is WSMsgType.TEXT:
        data.append(message.json().get("data"))
    assert message.type is WSMsgType.CLOSE
    return data, socket.close_code, message.extra


@contextlib.asynccontextmanager
async def socket_of(http: ClientSession, url: str, *names: str) -> AsyncIterator[ClientWebSocketResponse]:
    query = "&".join(f"channel={name}" for name in names)
    async with http.ws_connect(f"{url}/ws?{query}") as socket:
        assert "subscribed" in await socket.receive_json()
        yield socket


async def test_sockets_of_the_channel_are_closed_with_the_code_after_what_came_before() -> None:
    async with serving() as (url, hub), ClientSession() as http:
        async with (
            socket_of(http, url, "a") as one,
            socket_of(http, url, "b", "a") as several,
            socket_of(http, url, "b") as other,
            socket_of(http, url, "*") as wild,
        ):
            items = [{"channel": "a", "json-object": number} for number in range(20)]
            await publish(http, url, *items, {"channel": "a", **BYE})
            for socket in (one, several):
                assert await goodbye(socket) == (list(range(20)), 4001, "bye")
            await publish(http, url, {"channel": "b", "json-object": "b"})
            assert (await other.receive_json())["data"] == "b"
            assert [(await wild.receive_json())["channel"] for _ in range(21)] == ["a"] * 20 + ["b"]
        while hub.node.registry.sessions:
            await asyncio.sleep(0.005)


async def test_without_a_code_it_is_1000() -> None:
    async with serving() as (url, _), ClientSession() as http, socket_of(http, url, "a") as socket:
        await publish(http, url, {"channel": "a", "ws-message": {"action": "close"}})
        assert await goodbye(socket) == ([], 1000, "")


async def test_streams_of_the_channel_end_and_sockets_stay() -> None:
    async with serving() as (url, _), ClientSession() as http, socket_of(http, url, "a") as socket:
        async with http.get(f"{url}/sse?channel=a") as stream:
            await events(stream, 1)
            await publish(http, url, {"channel": "a", "json-object": 1, **END})
            (event,) = await events(stream, 1)
            assert '"data":1' in event["data"]
            assert await asyncio.wait_for(stream.content.read(), 60) == b""
        assert (await socket.receive_json())["data"] == 1
        await publish(http, url, {"channel": "a", "json-object": 2})
        assert (await socket.receive_json())["data"] == 2


async def test_bayeux_clients_and_polls_are_untouched() -> None:
    async with serving() as (url, hub), listening(url, "/a") as listener, ClientSession() as http:
        position = await hub.publisher.position("a")
        poll = asyncio.create_task(http.get(f"{url}/poll?channel=a&position={position}"))
        while hub.node.subscribers("/a") < 2:
            await asyncio.sleep(0.005)
        await publish(http, url, {"channel": "a", **BYE, **END})
        await publish(http, url, {"channel": "a", "json-object": 1})
        assert await listener.take(1) == [("/a", 1)]
        async with await poll as response:
            assert [message["data"] for message in (await response.json())["messages"]] == [1]


async def test_a_repeated_close_is_done_once() -> None:
    async with serving() as (url, _), ClientSession() as http:
        await publish(http, url, {"channel": "a", "id": "1", **BYE})
        async with socket_of(http, url, "a") as socket:
            await publish(http, url, {"channel": "a", "id": "1", **BYE})
            await publish(http, url, {"channel": "a", "json-object": 1})
            assert (await socket.receive_json())["data"] == 1


async def test_every_worker_closes_its_own(redis_url: str) -> None:
    name = new_id()
    async with (
        serving(redis_url=redis_url) as (one, _),
        serving(redis_url=redis_url) as (two, _),
        ClientSession() as http,
        socket_of(http, one, name) as here,
        socket_of(http, two, name) as there,
    ):
        items = [{"channel": name, "json-object": number} for number in range(50)]
        await publish(http, one, *items, {"channel": name, **BYE})
        for socket in (here, there):
            assert await goodbye(socket) == (list(range(50)), 4001, "bye")


@pytest.mark.parametrize("name", ["/meta/close/a", "meta/close/a", "meta/kick"])
async def test_nobody_publishes_or_subscribes_to_what_nodes_tell_each_other(name: str) -> None:
    async with serving(client_publish=("/**",)) as (url, hub), ClientSession() as http, socket_of(http, url, "a"):
        headers = {"Authorization": f"Bearer {tokens.sign(REALM, KEY, time.time())}"}
        body = {"items": [{"channel": name, "json-object": {"ws-message": [4001, "bye"]}}]}
        async with http.post(f"{url}/publish/", json=body, headers=headers) as response:
            assert response.status == 400
        shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}
        async with http.post(f"{url}/bayeux", json=shake) as response:
            client_id = (await response.json())[0]["clientId"]
        channel = "/" + name.strip("/")
        message = {"channel": channel, "clientId": client_id, "data": {"ws-message": [4001, "bye"]}}
        subscribe = {"channel": "/meta/subscribe", "clientId": client_id, "subscription": channel}
        async with http.post(f"{url}/bayeux", json=[message, subscribe]) as response:
            assert [reply["successful"] for reply in await response.json()] == [False, False]
        async with http.ws_connect(f"{url}/ws?channel={name}") as socket:
            assert "error" in await socket.receive_json()
        assert hub.node.counters.published == 0


class Slow:
    """A plain link whose buffer is full until the test says otherwise."""

    closed_by = "ws-message"

    def __init__(self) -> None:
        self.blocked = True
        self.session: Session | None = None
        self.offered: list[bytes] = []
        self.left: tuple[int, str] | None = None

    def offer(self, batch: Batch) -> None:
        self.offered += [publication.data for publication in batch.publications]

    def send(self, parts: list[bytes]) -> None: ...

    def tell_lost(self, channels: object) -> bool:
        return True

    def leave(self, code: int, reason: str) -> None:
        self.left = self.left or (code, reason)


async def test_a_slow_reader_gets_what_came_before_and_is_closed_then() -> None:
    node = Node(MemoryBroker(), new_rules(), Bounds(tick=0.0))
    await node.start()
    link = Slow()
    session = link.session = node.open_session(link)
    await node.subscribe(session, {"/a": None})
    close = Draft(close_channel("/a"), b'{"ws-message":[4001,"bye"]}')
    await node.publish([Draft("/a", b"1"), close])
    for _ in range(5):
        await asyncio.sleep(0)
    assert (link.offered, link.left) == ([], None)
    link.blocked = False
    node.writable(session)
    assert (link.offered, link.left) == ([b"1"], (4001, "bye"))
    assert session.ended
    await node.stop()
