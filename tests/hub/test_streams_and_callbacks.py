"""The transports of old browsers: lost answers, acknowledgements and several connects over EventSource and JSONP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import ClientResponse, ClientSession
from listening import serving

from hub.app import Hub
from hub.settings import Settings


class Client:
    """A client of one of the two."""

    def __init__(self, url: str, http: ClientSession, kind: str) -> None:
        self.url = url + "/bayeux"
        self.http = http
        self.kind = kind
        self.id = ""

    async def say(self, *messages: dict[str, Any]) -> list[dict[str, Any]]:
        """A request: a script that is called for, or a post beside a stream."""
        batch = [{"clientId": self.id} | message for message in messages]
        if self.kind == "eventsource":
            async with self.http.post(self.url, json=batch) as response:
                return list(await response.json())
        query = {"message": json.dumps(batch), "jsonp": "f"}
        async with self.http.get(self.url, params=query) as response:
            text = await response.text()
            assert text.startswith("/**/f(")
            return list(json.loads(text[6:-2]))

    async def start(self, channel: str, **fields: Any) -> None:
        """Handshake, subscribe, and the first connect."""
        types = {"version": "1.0", "supportedConnectionTypes": [self.kind]}
        self.id = (await self.say({"channel": "/meta/handshake"} | types | fields))[0]["clientId"]
        await self.say({"channel": "/meta/subscribe", "subscription": channel})
        await self.connect("1")

    async def connect(self, number: str, **fields: Any) -> list[dict[str, Any]]:
        return await self.say({"channel": "/meta/connect", "connectionType": self.kind, "id": number} | fields)

    async def stream(self, **headers: str) -> ClientResponse:
        return await self.http.get(f"{self.url}/{self.id}", headers={"Accept": "text/event-stream", **headers})


async def event(response: ClientResponse) -> tuple[str, list[Any]]:
    """The next event's id and data."""
    identity = ""
    async with asyncio.timeout(60):
        async for line in response.content:
            if line.startswith(b"id: "):
                identity = line[4:].decode().strip()
            elif line.startswith(b"data: "):
                return identity, [message["data"] for message in json.loads(line[6:])]
    raise AssertionError("the stream ended")


def data(messages: list[dict[str, Any]]) -> list[Any]:
    return [message["data"] for message in messages if "data" in message]


class TestStreams:
    async def test_connect_beside_a_stream_leaves_it_alone(self) -> None:
        """It took the stream's place, so the browser had to open one anew after each connect."""
        async with serving() as (url, hub), ClientSession() as http:
            client = Client(url, http, "eventsource")
            await client.start("/a")
            response = await client.stream()
            for number in ("2", "3"):
                (reply,) = await client.connect(number)
                assert reply["successful"]
                assert (reply["advice"]["timeout"], reply["advice"]["interval"]) == (0, 2000)
                await hub.publisher.publish("a", number)
                assert (await event(response))[1] == [number]
            response.close()

    async def test_first_connect_under_the_handshake_s_transport_leaves_a_stream_alone(self) -> None:
        """Faye sends it while its stream opens. It took the stream's place: no message for the 2 s until the next."""
        async with serving() as (url, hub), ClientSession() as http:
            client = Client(url, http, "eventsource")
            types = {"version": "1.0", "supportedConnectionTypes": ["eventsource", "long-polling"]}
            client.id = (await client.say({"channel": "/meta/handshake"} | types))[0]["clientId"]
            response = await client.stream()
            while not hub.node.links:
                await asyncio.sleep(0.01)
            connect = {"channel": "/meta/connect", "connectionType": "long-polling"}
            replies = await client.say(connect | {"id": "1"}, {"channel": "/meta/subscribe", "subscription": "/a"})
            assert [reply["successful"] for reply in replies] == [True, True]
            await hub.publisher.publish("a", 1)
            assert (await event(response))[1] == [1]
            # A later one means that its client has given the stream up, and may have missed what went into it.
            assert data(await client.say(connect | {"id": "2"})) == [1]
            assert b"data" not in await asyncio.wait_for(response.read(), 60)

    async def test_connect_beside_a_stream_that_is_gone_takes_nothing_from_the_next(self) -> None:
        """What a cut stream had carried came after what was published later: the connect in between got that."""
        async with serving() as (url, hub), ClientSession() as http:
            client = Client(url, http, "eventsource")
            await client.start("/a")
            first = await client.stream()
            await hub.publisher.publish("a", 1)
            assert (await event(first))[1] == [1]
            first.close()
            while hub.node.links:
                await asyncio.sleep(0.01)
            await hub.publisher.publish("a", 2)
            assert data(await client.connect("2")) == []
            second = await client.stream()
            assert (await event(second))[1] == [1, 2], "the client may not have got the first"
            second.close()

    async def test_stream_that_died_is_continued_after_the_event_that_was_seen_last(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            client = Client(url, http, "eventsource")
            await client.start("/a")
            first = await client.stream()
            seen = ""
            for number in (1, 2, 3):
                await hub.publisher.publish("a", number)
                identity, _ = await event(first)
                seen = seen or identity
            second = await client.stream(**{"Last-Event-ID": seen})
            assert (await event(second))[1] == [2, 3]
            third = await client.stream()
            assert (await event(third))[1] == [2, 3], "who does not say gets all that may be missing"
            await hub.publisher.publish("a", 4)
            assert (await event(third))[1] == [4]
            for response in (first, second, third):
                response.close()

    async def test_stream_whose_loss_is_forgotten_is_no_session_s_any_more(self) -> None:
        async with serving(recent_bytes=0) as (url, hub), ClientSession() as http:
            client = Client(url, http, "eventsource")
            await client.start("/a")
            first = await client.stream()
            await hub.publisher.publish("a", 1)
            await event(first)
            second = await client.stream()
            assert b"data" not in await asyncio.wait_for(second.read(), 60)
            (reply,) = await client.connect("2")
            assert reply["error"].startswith("402:")
            assert reply["advice"]["reconnect"] == "handshake"
            first.close()

    async def test_stream_is_announced_with_redis_too(self) -> None:
        """It was not: another worker that got one of its connects took the session away from the stream."""
        for settings in (Settings(), Settings(redis_url="redis://127.0.0.1:1")):
            assert "eventsource" in Hub(settings).node.bayeux.types

    async def test_session_that_acknowledges_gets_its_batches_by_connects_only(self) -> None:
        async with serving() as (url, _), ClientSession() as http:
            client = Client(url, http, "eventsource")
            await client.start("/a", ext={"ack": True})
            response = await client.stream()
            assert response.status == 404


class TestCallbacks:
    async def test_answer_that_was_lost_is_given_again(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            client = Client(url, http, "callback-polling")
            await client.start("/a")
            await hub.publisher.publish("a", 1)
            assert data(await client.connect("2")) == [1]
            assert data(await client.connect("2")) == [1], "the same id: it was not seen"
            held = asyncio.create_task(client.connect("3"))
            await hub.publisher.publish("a", 2)
            assert data(await held) == [2]

    async def test_batch_that_is_not_acknowledged_is_given_again(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            client = Client(url, http, "callback-polling")
            await client.start("/a", ext={"ack": True})
            await hub.publisher.publish("a", 1)
            first, reply = await client.connect("2", ext={"ack": 1})
            assert (first["data"], reply["ext"]["ack"]) == (1, 2)
            first, reply = await client.connect("3", ext={"ack": 1})
            assert (first["data"], reply["ext"]["ack"]) == (1, 3)

    async def test_newer_connect_releases_the_older(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            client = Client(url, http, "callback-polling")
            await client.start("/a")
            older = asyncio.create_task(client.connect("2"))
            session = hub.node.registry.get(client.id)
            assert session is not None
            while session.hold is None:
                await asyncio.sleep(0.01)
            newer = asyncio.create_task(client.connect("3"))
            (reply,) = await older
            assert reply["error"].startswith("408::Superseded")
            assert reply["advice"]["interval"] == 2000
            await hub.publisher.publish("a", 1)
            assert data(await newer) == [1]

    async def test_script_that_was_given_up_takes_nothing_with_it(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            client = Client(url, http, "callback-polling")
            await client.start("/a")
            session = hub.node.registry.get(client.id)
            assert session is not None
            gone = asyncio.create_task(client.connect("2"))
            while session.hold is None:
                await asyncio.sleep(0.01)
            gone.cancel()
            while session.hold is not None:
                await asyncio.sleep(0.01)
            await hub.publisher.publish("a", 1)
            assert data(await client.connect("3")) == [1]
