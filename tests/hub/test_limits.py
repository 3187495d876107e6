"""Each limit: it has a setting and a counter, and whoever reaches it gets an answer that says so, in every way in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, WSMsgType
from conversation import TYPES, Talk, new_rules
from listening import KEY, REALM, read_events, serving

from hub.app import Hub
from hub.bayeux.limits import LIMITS
from hub.protocol import tokens
from hub.settings import Settings, describe

SHAKE: dict[str, Any] = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": TYPES}


@contextlib.asynccontextmanager
async def limited(**settings: Any) -> AsyncIterator[tuple[str, Hub, ClientSession]]:
    async with serving(client_publish=("/**",), **settings) as (url, hub), ClientSession() as http:
        yield url, hub, http


async def say(http: ClientSession, url: str, *messages: Any) -> list[dict[str, Any]]:
    async with http.post(f"{url}/bayeux", json=messages) as response:
        assert response.status == 200
        replies: list[dict[str, Any]] = await response.json()
        return replies


async def shake(http: ClientSession, url: str) -> str:
    client: str = (await say(http, url, SHAKE))[0]["clientId"]
    return client


async def counted(http: ClientSession, url: str, name: str) -> int:
    async with http.get(f"{url}/metrics") as response:
        match = re.search(rf"^hub_{name}_refused_total (\d+)", await response.text(), re.MULTILINE)
    assert match is not None
    return int(match[1])


def publish(http: ClientSession, url: str, *items: dict[str, Any]) -> Any:
    token = tokens.sign(REALM, KEY, time.time())
    return http.post(f"{url}/publish/", json={"items": items}, headers={"Authorization": f"Bearer {token}"})


async def raw(url: str, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    try:
        writer.write(data)
        async with asyncio.timeout(60):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def test_every_limit_is_documented_with_its_counter(pytestconfig: pytest.Config) -> None:
    page = (pytestconfig.rootpath / "docs/access.md").read_text(encoding="utf-8").partition("## Limits")[2]
    for name in LIMITS:
        assert f"`hub_{name}_refused_total`" in page
    known = {row.variable for row in describe(Settings)}
    assert set(re.findall(r"`(HUB_[A-Z_]+)`", page)) <= known


class TestSizes:
    async def test_batch_that_is_too_long_is_refused_message_by_message(self) -> None:
        async with limited(message_bytes=300, body_bytes=2000) as (url, _, http):
            message = {"channel": "/a", "id": "7", "data": "x" * 400}
            told = {"channel": "/a", "id": "7", "successful": False, "error": "413::Message too large"}
            assert await say(http, url, message) == [told]
            async with http.ws_connect(f"{url}/bayeux") as socket:
                await socket.send_json([message])
                assert await socket.receive_json() == [told]
            assert await counted(http, url, "large") == 2

    async def test_item_that_is_too_long_is_413(self) -> None:
        async with limited(message_bytes=300, body_bytes=2000) as (url, _, http):
            async with publish(http, url, {"channel": "a", "json-object": "x" * 400}) as response:
                assert response.status == 413
            assert await counted(http, url, "large") == 1

    async def test_body_that_is_not_read_is_413(self) -> None:
        async with limited(message_bytes=300, body_bytes=500) as (url, _, http):
            async with http.post(f"{url}/bayeux", data=b"[" * 1000) as response:
                assert response.status == 413
            assert await counted(http, url, "large") == 1

    @pytest.mark.parametrize("path", ["/bayeux", "/ws?channel=a"])
    async def test_frame_that_is_not_read_closes_with_1009(self, path: str) -> None:
        async with limited(message_bytes=300, body_bytes=500) as (url, _, http):
            async with http.ws_connect(url + path) as socket:
                await socket.send_str("[" * 100_000)
                while (message := await socket.receive()).type is not WSMsgType.CLOSE:
                    pass
                assert message.data == 1009
            assert await counted(http, url, "large") == 1

    async def test_batch_of_too_many_values_is_400_in_every_way_in(self) -> None:
        async with limited() as (url, _, http):
            dense = b"[" + b"[]," * 200_000 + b"1]"
            refusal = {"successful": False, "error": "400::Too many values"}
            async with http.post(f"{url}/bayeux", data=dense) as response:
                assert (response.status, await response.text()) == (400, "400::Too many values\n")
            async with http.ws_connect(f"{url}/bayeux", compress=15) as socket:
                await socket.send_str(dense.decode())
                assert await socket.receive_json() == [refusal]
            headers = {"Authorization": f"Bearer {tokens.sign(REALM, KEY, time.time())}"}
            async with http.post(f"{url}/publish/", data=dense, headers=headers) as response:
                assert (response.status, await response.text()) == (400, "Too many values\n")
            assert await counted(http, url, "values") == 3

    async def test_nesting_ends_where_the_setting_says(self) -> None:
        async with limited(max_depth=5) as (url, _, http):
            client = await shake(http, url)
            for depth, successful in ((5, True), (6, False)):
                data = json.loads("[" * depth + "]" * depth)
                [reply] = await say(http, url, {"channel": "/a", "clientId": client, "data": data})
                assert reply["successful"] is successful
                async with publish(http, url, {"channel": "a", "json-object": data}) as response:
                    assert (response.status == 200) is successful
            assert reply["error"] == "400:/a:Nested more than 5 deep"
            assert await counted(http, url, "deep") == 2


class TestNames:
    @pytest.mark.parametrize("name", ["a" * 20, "a/a/a/a"], ids=["characters", "segments"])
    async def test_long_name_is_refused_in_every_way_in(self, name: str) -> None:
        async with limited(max_channel=16, max_segments=3) as (url, _, http):
            client = await shake(http, url)
            subscribe = {"channel": "/meta/subscribe", "clientId": client, "subscription": f"/{name}"}
            replies = await say(http, url, subscribe, {"channel": f"/{name}", "clientId": client, "data": 1})
            assert [reply["error"] for reply in replies] == [f"405:/{name}:Channel name too long"] * 2
            async with publish(http, url, {"channel": name, "json-object": 1}) as response:
                assert response.status == 400
                assert "Channel name too long" in await response.text()
            for path in ("/sse", "/poll"):
                async with http.get(url + path, params={"channel": name}) as response:
                    assert response.status == 400
            async with http.ws_connect(f"{url}/ws?channel={name}") as socket:
                assert (await socket.receive_json())["error"].endswith("Channel name too long")
            assert await counted(http, url, "channels") == 6
            async with publish(http, url, {"channel": "a/a/a", "json-object": 1}) as response:
                assert response.status == 200


class TestCounts:
    async def test_messages_of_a_request(self) -> None:
        async with limited(max_messages=3, publish_rate=0) as (url, _, http):
            client = await shake(http, url)
            replies = await say(http, url, *[{"channel": "/a", "clientId": client, "data": 1}] * 5)
            assert [reply["successful"] for reply in replies] == [True] * 3 + [False] * 2
            assert replies[-1]["error"] == "429::Too many messages in one request"
            async with publish(http, url, *[{"channel": "a", "json-object": 1}] * 4) as response:
                assert response.status == 413
            assert await counted(http, url, "messages") == 3

    async def test_a_million_messages_are_not_answered_one_by_one(self) -> None:
        """An answer of seventy bytes to two of the request's made 28 MB of one body."""
        talk = Talk(new_rules(max_messages=10))
        replies = talk.say(*[{}] * 100_000).replies
        assert len(replies) == 21
        assert replies[-1] == {"successful": False, "error": "429::Too many messages in one request"}

    async def test_what_is_no_message_is_not_answered_beyond_the_bound(self) -> None:
        """Nobody waits for the answer: ten thousand of them were 30 ms of everybody's time."""
        talk = Talk(new_rules(max_messages=10))
        replies = talk.say(*[1] * 100_000).replies
        assert len(replies) == 11
        assert replies[-1] == {"successful": False, "error": "429::Too many messages in one request"}

    async def test_subscriptions_of_a_request(self) -> None:
        """Each of two hundred messages had as many as one may have: half a second's work."""
        alice = Talk(new_rules(max_subscriptions=10))
        alice.handshake()
        names = [f"/chat/{number}" for number in range(10)]
        replies = alice.say(*[alice.meta("subscribe", subscription=names)] * 200).replies
        assert [reply["successful"] for reply in replies] == [True] * 2 + [False] * 198
        assert alice.rules.limited["subscriptions"] == 198

    async def test_subscriptions_of_a_plain_socket_over_all_its_messages(self) -> None:
        async with limited(max_subscriptions=5) as (url, hub, http), http.ws_connect(f"{url}/ws") as socket:
            await socket.send_json({"subscribe": ["a", "b", "c"]})
            assert "subscribed" in await socket.receive_json()
            await socket.send_json({"subscribe": ["c", "d", "e", "f"]})
            assert (await socket.receive_json())["error"] == "403:/d:Too many subscriptions"
            await socket.send_json({"subscribe": ["d", "e"]})
            assert "subscribed" in await socket.receive_json()
            assert len(hub.node.registry.audiences) == 5
            assert await counted(http, url, "subscriptions") == 1

    @pytest.mark.parametrize("path", ["/sse", "/poll"])
    async def test_channels_of_a_plain_request(self, path: str) -> None:
        async with limited(max_subscriptions=2) as (url, _, http):
            async with http.get(url + path, params=[("channel", name) for name in "abc"]) as response:
                assert response.status == 403
            assert await counted(http, url, "subscriptions") == 1


@pytest.mark.parametrize("bounds", [{"queue_count": 25}, {"queue_bytes": 30_000}], ids=["count", "bytes"])
class TestRecoveries:
    """What is recovered waits until it is written: a history that is longer than what may wait is lost, and told so."""

    @staticmethod
    async def missed(hub: Hub) -> dict[str, str]:
        """Where channels were, of which the second has more since then than may wait for anybody."""
        since = {}
        for name, count in (("a", 20), ("b", 30)):
            since[name] = str(await hub.publisher.position(name))
            for number in range(count):
                await hub.publisher.publish(name, {"n": number, "text": "x" * 1000})
        return since

    async def test_over_a_socket(self, bounds: dict[str, int]) -> None:
        async with limited(**bounds) as (url, hub, http), http.ws_connect(f"{url}/ws") as socket:
            since = await self.missed(hub)
            place = ",".join(f"{name}@{position}" for name, position in since.items())
            await socket.send_json({"subscribe": ["a", "b"], "position": place})
            state = (await socket.receive_json())["subscribed"]
            assert {name: each["recovered"] for name, each in state.items()} == {"a": True, "b": False}
            heard = [await socket.receive_json() for _ in range(20)]
            assert [(each["channel"], each["data"]["n"]) for each in heard] == [("a", n) for n in range(20)]
            await hub.publisher.publish("b", "on from there")
            assert (await socket.receive_json())["data"] == "on from there"
            assert hub.node.counters.oversized == 1

    async def test_over_an_event_stream(self, bounds: dict[str, int]) -> None:
        async with limited(**bounds) as (url, hub, http):
            since = await self.missed(hub)
            place = ",".join(f"{name}@{position}" for name, position in since.items())
            query = "/sse?channel=a&channel=b"
            async with http.get(url + query, headers={"Last-Event-ID": place}) as stream:
                state, lost, *heard = await read_events(stream, 22)
                assert {name: each["recovered"] for name, each in json.loads(state["data"]).items()} == {
                    "a": True,
                    "b": False,
                }
                assert (lost["event"], lost["data"]) == ("lost", '["b"]')
                messages = [json.loads(each["data"]) for each in heard]
                assert [(each["channel"], each["data"]["n"]) for each in messages] == [("a", n) for n in range(20)]
                await hub.publisher.publish("b", "on from there")
                (event,) = await read_events(stream, 1)
                assert json.loads(event["data"])["data"] == "on from there"
            # Who comes back has been told: it is not lost again.
            async with http.get(url + query, headers={"Last-Event-ID": event["id"]}) as stream:
                (state,) = await read_events(stream, 1)
                assert all(each["recovered"] for each in json.loads(state["data"]).values())
            assert hub.node.counters.oversized == 1

    async def test_by_a_poll(self, bounds: dict[str, int]) -> None:
        async with limited(**bounds) as (url, hub, http):
            since = await self.missed(hub)
            place = ",".join(f"{name}@{position}" for name, position in since.items())
            asked = [("channel", "a"), ("channel", "b")]
            async with http.get(f"{url}/poll", params=[*asked, ("position", place)]) as response:
                answer = await response.json()
            assert answer["recovered"] is False
            heard = answer["messages"]
            assert [(each["channel"], each["data"]["n"]) for each in heard] == [("a", n) for n in range(20)]
            await hub.publisher.publish("b", "on from there")
            async with http.get(f"{url}/poll", params=[*asked, ("position", answer["position"])]) as response:
                answer = await response.json()
            assert (answer["recovered"], answer["messages"][0]["data"]) == (True, "on from there")
            assert hub.node.counters.oversized == 1

    async def test_by_fanouts_own_feed(self, bounds: dict[str, int]) -> None:
        """It has one word for it, upon which its client begins anew: 404."""
        async with limited(**bounds) as (url, hub, http):
            async with http.post(f"{url}/fpp/subscribe/", data=[("ci", "name=a"), ("ci", "name=b")]) as response:
                sid = (await response.json())["sid"]
            since = await self.missed(hub)

            async def feed(*names: str) -> tuple[int, Any]:
                asked = [("ci", f"name={name}&since=cursor:{since[name]}") for name in names]
                async with http.get(f"{url}/fpp/feed/", params=[("sid", sid), *asked]) as response:
                    body = await response.text()
                return response.status, json.loads(body)["channels"] if response.status == 200 else body

            for names in (("b",), ("a", "b")):
                assert await feed(*names) == (404, "Cursor not known.\n")
            status, channels = await feed("a")
            assert (status, [each["n"] for each in channels["a"]["items"]]) == (200, list(range(20)))
            async with http.post(f"{url}/fpp/subscribe/", data=[("sid", sid), ("ci", "name=b")]) as response:
                since["b"] = (await response.json())["channels"]["b"]["last_cursor"]
            await hub.publisher.publish("b", "on from there")
            assert (await feed("b"))[1]["b"]["items"] == ["on from there"]
            assert hub.node.counters.oversized == 2

    @pytest.mark.parametrize("replay", ["all", "id"])
    async def test_by_replay(self, bounds: dict[str, int], replay: str) -> None:
        async with limited(**bounds) as (url, hub, http):
            since = await self.missed(hub)
            client = await shake(http, url)
            asked = {f"/{name}": -2 if replay == "all" else position for name, position in since.items()}
            subscribe = {"channel": "/meta/subscribe", "clientId": client, "subscription": list(asked)}
            connect = {"channel": "/meta/connect", "clientId": client, "connectionType": "long-polling"}
            [reply] = await say(http, url, subscribe | {"ext": {"replay": asked}})
            assert reply["ext"]["recovered"] == {"/a": True, "/b": False}
            *heard, _ = await say(http, url, connect)
            assert [(each["channel"], each["data"]["n"]) for each in heard] == [("/a", n) for n in range(20)]
            await hub.publisher.publish("b", "on from there")
            *heard, _ = await say(http, url, connect)
            assert [each["data"] for each in heard] == ["on from there"]
            assert hub.node.counters.oversized == 1


def turned_away(stream: str) -> str:
    """Why a stream ended at once: any status but 200 would end an EventSource for good."""
    found = re.fullmatch(r"retry: (\d+)\n\n: (.*)\n\n", stream)
    assert found is not None, stream
    assert int(found[1]) >= 5000
    return found[2]


class TestOpening:
    async def test_plain_listeners_count_as_sessions(self) -> None:
        async with limited(max_sessions=1) as (url, _, http):
            await shake(http, url)
            async with http.get(f"{url}/poll?channel=a") as response:
                assert (response.status, response.headers["Retry-After"]) == (429, "5")
            async with http.get(f"{url}/sse?channel=a") as response:
                assert turned_away(await response.text()) == "429::Too many sessions"
            async with http.ws_connect(f"{url}/ws?channel=a") as socket:
                assert await socket.receive_json() == {"error": "429::Too many sessions"}
                assert (await socket.receive()).data == 1013
            assert await counted(http, url, "sessions") == 3

    async def test_plain_listeners_open_no_faster_than_an_address_may_shake_hands(self) -> None:
        async with limited(handshake_rate=1, proxies=1) as (url, _, http):
            headers = {"X-Forwarded-For": "192.0.2.1"}

            async def open_one() -> ClientResponse:
                return await http.get(f"{url}/sse?channel=a", headers=headers)

            answers = [await open_one()]
            while answers[-1].content_length is None and len(answers) < 100:
                answers.append(await open_one())
            assert len(answers) > 10
            assert turned_away(await answers[-1].text()) == "429::Too many handshakes"
            for answer in answers:
                answer.close()
            async with http.ws_connect(f"{url}/ws", headers=headers) as socket:
                assert await socket.receive_json() == {"error": "429::Too many handshakes"}
            assert await counted(http, url, "handshakes") >= 2


class TestConnections:
    async def test_http_connections_of_an_address_count_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with limited(address_connections=3) as (url, hub, http):
            # Loopback is nobody's address; as seen from the internet it would be.
            hub.door.local = False
            monkeypatch.setattr("hub.transports.front.is_near", lambda address: False)
            port = int(url.rpartition(":")[2])
            get = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
            post = b"POST /bayeux HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n[]"
            lines = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            for (reader, writer), data in zip(lines, (get, post), strict=True):
                writer.write(data)
                await reader.readuntil(b"\r\n\r\n")
            socket = await http.ws_connect(f"{url}/bayeux")
            assert hub.node.addresses == {"127.0.0.1": 3}
            answer = await raw(url, get)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 5" in answer
            assert hub.node.bayeux.limited["connections"] == 1
            # A connection that becomes a WebSocket, or goes from the desk to the framework, is still one.
            lines[1][1].write(get)
            await lines[1][0].readuntil(b"HTTP/1.1 200 ")
            assert hub.node.addresses == {"127.0.0.1": 3}
            await socket.close()
            for _, writer in lines:
                writer.close()
            while hub.node.addresses:
                await asyncio.sleep(0.01)

    async def test_upgrade_on_a_used_connection_counts_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with limited(address_connections=1, max_connections=1) as (url, hub, _):
            hub.door.local = False
            monkeypatch.setattr("hub.transports.front.is_near", lambda address: False)
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            await reader.readuntil(b"}")
            writer.write(
                b"GET /bayeux HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            await reader.readuntil(b"HTTP/1.1 101 ")
            assert hub.node.addresses == {"127.0.0.1": 1}
            writer.close()
            while hub.node.addresses:
                await asyncio.sleep(0.01)

    async def test_event_stream_counts_once(self) -> None:
        async with limited(max_connections=2) as (url, hub, http):
            stream = await http.get(f"{url}/sse?channel=a")
            assert stream.status == 200
            async with http.get(f"{url}/health") as response:
                assert response.status == 200
            assert hub.node.bayeux.limited["connections"] == 0
            stream.close()

    async def test_event_streams_behind_a_proxy_count_by_the_address_it_wrote(self) -> None:
        async with limited(proxies=1, address_connections=1) as (url, hub, http):
            headers = {"X-Forwarded-For": "192.0.2.1"}
            stream = await http.get(f"{url}/sse?channel=a", headers=headers)
            async with http.get(f"{url}/sse?channel=a", headers=headers) as response:
                assert turned_away(await response.text()) == "429::Too many connections from one address"
            stream.close()
            while hub.node.addresses:
                await asyncio.sleep(0.01)

    async def test_connections_that_say_nothing_are_bounded_too(self) -> None:
        async with limited(max_connections=5) as (url, hub, _):
            port = int(url.rpartition(":")[2])
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
            while hub.node.bayeux.limited["connections"] < 3:
                await asyncio.sleep(0.01)
            assert len(hub.door.waiting) == 5
            for _, writer in silent:
                writer.close()

    async def test_without_a_setting_open_files_are_the_bound(self) -> None:
        async with limited() as (_, hub, _):
            assert hub.door.max_connections > 0


class TestTime:
    @pytest.mark.parametrize("start", [b"PUT /a HTTP/1.1\r\nX", b"POST /login HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n"])
    async def test_head_that_does_not_come_is_given_up(self, start: bytes) -> None:
        """What was for aiohttp went there at its first byte, and could take an hour to come."""
        async with limited(head_timeout=0.2) as (url, hub, _):
            assert await raw(url, start) == b""
            assert hub.node.bayeux.limited["heads"] == 1

    async def test_many_late_heads_are_given_up_a_few_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two thousand that were due together were cut in one turn of the loop, of 60 ms."""
        monkeypatch.setattr("hub.transports.front.CUT", 3)
        async with limited(head_timeout=0.2) as (url, hub, _):
            port = int(url.rpartition(":")[2])
            lines = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
            assert [await reader.read() for reader, _ in lines] == [b""] * 20
            assert (hub.node.bayeux.limited["heads"], hub.door.waiting) == (20, {})
            assert await raw(url, b"PUT") == b"", "and it looks at those who come later"
            for _, writer in lines:
                writer.close()

    async def test_later_head_that_does_not_come_is_given_up(self) -> None:
        async with limited(head_timeout=0.2) as (url, hub, _):
            answered = b"POST /bayeux HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n[{}]"
            assert (await raw(url, answered + b"DELETE /x HTTP/1.1\r\nX: ")).startswith(b"HTTP/1.1 200 ")
            assert hub.node.bayeux.limited["heads"] == 1

    async def test_head_that_is_too_long_is_431(self) -> None:
        async with limited() as (url, hub, _):
            answer = await raw(url, b"PUT /a HTTP/1.1\r\nX: " + b"y" * 16_500)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
            assert hub.node.bayeux.limited["heads"] == 1

    @pytest.mark.parametrize(
        "head",
        [
            b"POST /bayeux HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n",
            b"POST /bayeux HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
            b"POST /publish/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer %b\r\n",
        ],
    )
    async def test_body_that_does_not_come_is_408(self, head: bytes) -> None:
        async with limited(body_timeout=0.2) as (url, hub, _):
            if b"%b" in head:
                head %= tokens.sign(REALM, KEY, time.time()).encode()
            assert (await raw(url, head + b"\r\n")).startswith(b"HTTP/1.1 408 ")
            assert hub.node.bayeux.limited["bodies"] == 1


class TestClaims:
    async def test_socket_that_sends_on_while_the_broker_stalls_is_not_read_from_and_then_answered(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It was told to come back (1013) when 1,000 batches waited, for what the broker had done."""
        async with limited(queue_count=30) as (url, hub, http):
            asked, answers = asyncio.Event(), asyncio.Event()

            async def claim(session_id: str, seconds: float, *, against: int = 0) -> None:
                asked.set()
                await answers.wait()

            monkeypatch.setattr(hub.node.broker, "keeps_sessions", True)
            monkeypatch.setattr(hub.node.broker, "claim_session", claim)
            async with http.ws_connect(f"{url}/bayeux") as socket:
                await socket.send_json([{"channel": "/a", "clientId": "a" * 40, "data": 1, "id": 0}])
                await asked.wait()
                for number in range(1, 50):
                    await socket.send_json([{"channel": "/a", "clientId": "a" * 40, "data": 1, "id": number}])
                answers.set()
                for number in range(50):
                    (reply,) = await socket.receive_json()
                    assert (reply["id"], reply["error"][:3]) == (number, "402")

    async def test_socket_whose_session_can_not_be_asked_for_is_answered_all_the_same(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with limited() as (url, hub, http):

            async def claim(session_id: str, seconds: float, *, against: int = 0) -> None:
                raise ZeroDivisionError

            monkeypatch.setattr(hub.node.broker, "keeps_sessions", True)
            monkeypatch.setattr(hub.node.broker, "claim_session", claim)
            async with http.ws_connect(f"{url}/bayeux") as socket:
                for count in (1, 50, 1):
                    await socket.send_json([{"channel": "/a", "clientId": "a" * 40, "data": 1}] * count)
                for count in (1, 50, 1):
                    replies = await socket.receive_json()
                    assert [each["error"][:3] for each in replies] == ["402"] * count
            assert "session not claimed" in caplog.text


class TestReaders:
    async def test_client_that_asks_and_does_not_read_is_not_read_from(self) -> None:
        """Its answers piled up in the write buffer for as long as it went on asking."""
        async with limited() as (url, hub, _):
            port = int(url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport too
            writer.write(
                b"GET /bayeux HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            ping = b"\x89\xfd\0\0\0\0" + b"p" * 125
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(15):
                    for _ in range(400):
                        writer.write(ping * 500)
                        async with asyncio.timeout(1):
                            await writer.drain()
            [link] = hub.node.links
            assert link.transport.get_write_buffer_size() < 1024 * 1024  # type: ignore[attr-defined]  # a socket's
            writer.transport.abort()
            del reader

    async def test_forty_thousand_frames_in_one_read_leave_the_loop_to_others(self) -> None:
        async with limited() as (url, hub, http), http.ws_connect(f"{url}/bayeux") as socket:
            await socket.ping()
            [link] = hub.node.links
            loop = asyncio.get_running_loop()
            turns = 0

            def turn() -> None:
                nonlocal turns
                turns += 1
                if link._rest is not None:  # type: ignore[attr-defined]  # a socket's
                    loop.call_soon(turn)

            link.data_received(b"\x89\x80\0\0\0\0" * 40_000)  # type: ignore[attr-defined]  # a socket's
            assert link._rest is not None  # type: ignore[attr-defined]  # a socket's
            turn()
            while link._rest is not None:  # type: ignore[attr-defined]  # a socket's
                await asyncio.sleep(0)
            assert turns > 3
