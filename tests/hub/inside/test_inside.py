"""What a hub says of itself when somebody looks: one process, and a fleet over Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, web
from listening import KEY, REALM, listening, serving

from hub.app import Hub, running
from hub.cli import HUB_COMMANDS
from hub.inside.fields import NAMES, PLACE
from hub.inside.insider import Inside
from hub.protocol import tokens
from hub.settings import Settings
from hub.top import Style, screen, way

Message = dict[str, Any]


def bearer() -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.sign(REALM, KEY, time.time())}"}


async def look(url: str, what: str, **query: str) -> Any:
    async with (
        ClientSession() as http,
        http.get(f"{url}/realm/{REALM}/inside/{what}/", params=query, headers=bearer()) as it,
    ):
        assert it.status == 200, await it.text()
        return await it.json()


class Socket:
    """A Bayeux client on a WebSocket."""

    def __init__(self, ws: ClientWebSocketResponse) -> None:
        self.ws = ws
        self.id = ""
        self.handshake: Message = {}

    async def say(self, message: Message) -> Message:
        await self.ws.send_json([message])
        while True:
            for reply in await self.ws.receive_json():
                if reply["channel"] == message["channel"] and "successful" in reply:
                    return dict(reply)

    async def begin(self, *channels: str) -> None:
        hello = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["websocket"], "id": "1"}
        self.handshake = await self.say(hello)
        self.id = self.handshake["clientId"]
        for channel in channels:
            await self.say({"channel": "/meta/subscribe", "clientId": self.id, "subscription": channel})
        await self.say({"channel": "/meta/connect", "clientId": self.id, "connectionType": "websocket"})

    async def take(self) -> Message:
        while True:
            for message in await self.ws.receive_json():
                if "data" in message:
                    return dict(message)


@contextlib.asynccontextmanager
async def connected(url: str, *channels: str) -> AsyncIterator[Socket]:
    async with ClientSession() as http, http.ws_connect(f"{url}/bayeux") as ws:
        client = Socket(ws)
        await client.begin(*channels)
        yield client


def inside_of(hub: Hub) -> Inside:
    assert hub.inside is not None
    return hub.inside


async def sampled(hub: Hub, name: str, least: float, seconds: float = 900) -> float:
    """A number, once the history has so much of it."""
    inside = inside_of(hub)
    async with asyncio.timeout(10):
        while True:
            [answer] = (await inside.ask("history", seconds=seconds, until=time.time())).values()
            place = list(answer["names"]).index(name) + 2
            total = sum(column[place] or 0 for column in answer["columns"] if len(column) > place)
            if total >= least:
                return float(total)
            await asyncio.sleep(0.1)


async def test_what_is_counted_is_in_the_history_and_in_the_metrics() -> None:
    async with serving(seen_rate=1) as (url, hub), connected(url, "/a") as client:
        # The first sample is where the counting begins.
        await sampled(hub, "starts", 1)
        for number in range(5):
            await hub.publisher.publish("a", number)
            await client.take()
        assert await sampled(hub, "delivered", 5) == 5
        assert await sampled(hub, "received", 5) == 5
        async with ClientSession() as http, http.get(f"{url}/metrics") as response:
            text = await response.text()
        assert "hub_delivered_total 5.0" in text
        assert "hub_inside_cpu_seconds_total" in text


async def test_history_outlives_the_process_and_two_never_write_to_one_file(tmp_path: Path) -> None:
    settings = Settings(key=KEY, realm=REALM, var=tmp_path)

    @contextlib.asynccontextmanager
    async def kept() -> AsyncIterator[Hub]:
        hub, app = Hub(settings, keep=True), web.Application()
        hub.setup(app)
        async with running(app, hub):
            yield hub

    async with kept() as hub:
        await sampled(hub, "starts", 1)
        path = tmp_path / "inside" / "worker-0.ring"
        assert path.stat().st_size <= 2 * 1024 * 1024
        async with kept() as other:
            # It has its own in memory while the first one lives.
            assert await sampled(other, "starts", 1) == 1
            assert inside_of(other)._file is None
    async with kept() as hub:
        assert await sampled(hub, "starts", 2) == 2


async def test_a_handshake_tells_how_often_and_a_client_s_word_is_counted_by_transport() -> None:
    async with serving(seen_rate=7) as (url, hub), connected(url, "/a") as client:
        assert client.handshake["ext"]["seen"] == 7
        await hub.publisher.publish("a", 1)
        got = await client.take()
        seen = {"channel": "/service/seen", "clientId": client.id, "data": [got["channel"], got["id"]]}
        assert (await client.say(seen))["successful"]
        # What it never heard, or nobody published, is no sight.
        for data in (["/b", got["id"]], ["/a", "nowhere.1"], ["/a", got["id"] + "0"]):
            assert (await client.say(seen | {"data": data}))["successful"]
        for data in (None, ["/a"], ["/a", 1], ["/a b", "x.1"]):
            assert not (await client.say(seen | {"data": data}))["successful"]
        spread = hub.node.bayeux.seen.spreads["websocket"]
        assert sum(spread.counts) == 1
        [now] = (await look(url, "now"))["workers"]
        assert now["latency"]["websocket"]["count"] == 1
        async with ClientSession() as http, http.get(f"{url}/metrics") as response:
            assert 'hub_seen_seconds_count{transport="websocket"} 1.0' in await response.text()


async def test_without_the_setting_nobody_is_asked_and_older_clients_never_notice() -> None:
    async with serving(seen_rate=0) as (url, _), connected(url, "/a") as client:
        assert client.handshake["ext"] == {"replay": True}
        seen = {"channel": "/service/seen", "clientId": client.id, "data": ["/a", "x.1"]}
        assert not (await client.say(seen))["successful"]


async def test_a_client_is_found_by_whatever_is_known_of_it_and_its_world_is_shown() -> None:
    async with serving() as (url, hub), connected(url, "/a", "/b") as client:
        await hub.publisher.publish("a", {"x": 1})
        await client.take()
        for by, text in (("channel", "a"), ("channel", "/b"), ("session", client.id[:6])):
            found = await look(url, "find", **{by: text})
            assert [each["session"] for each in found["clients"]] == [client.id]
        assert (await look(url, "find", user="nobody"))["clients"] == []
        world = await look(url, "client", session=client.id)
        assert world["transport"] == "websocket"
        assert [each["channel"] for each in world["channels"]] == ["a", "b"]
        assert [each["data"] for each in world["messages"]] == ['{"x":1}']
        await inside_of(hub).kick("ada", session=client.id)
        world = await look(url, "client", session=client.id)
        assert world["ended"] == "ended: kicked"
        assert (await look(url, "find", session=client.id[:6]))["clients"][0]["ended"] == "ended: kicked"


async def test_what_became_of_a_connection_is_remembered() -> None:
    async with serving() as (url, hub):
        async with connected(url, "/a") as client:
            session_id = client.id
        async with asyncio.timeout(5):
            while not hub.node.notes.events:
                await asyncio.sleep(0.01)
        world = await look(url, "client", session=session_id)
        assert [each["what"] for each in world["history"]] == ["connection lost"]
        async with ClientSession() as http:
            poll = {"channel": "/meta/connect", "clientId": session_id, "connectionType": "long-polling"}
            poll["advice"] = {"timeout": 0}  # type: ignore[assignment]  # JSON
            async with http.post(f"{url}/bayeux", json=[poll]) as response:
                assert (await response.json())[-1]["successful"]
        world = await look(url, "client", session=session_id)
        assert [each["what"] for each in world["history"]] == ["connection lost", "goes on by polling"]


async def test_the_way_of_a_message_is_told() -> None:
    async with serving(ping_interval=0.3) as (url, hub), connected(url, "/a") as client, listening(url, "/a") as poller:
        async with ClientSession() as http:
            body = {"items": [{"channel": "a", "json-object": {"x": 1}}]}
            async with http.post(f"{url}/realm/{REALM}/publish/", json=body, headers=bearer()) as response:
                assert response.status == 200
        await client.take()
        await poller.take(1)
        await hub.publisher.publish("a", 2)
        first = await look(url, "trace", channel="a", offset="1")
        assert first["published"]["by"] == "a server with the realm's key"
        assert first["log"]["state"] == "kept"
        assert first["log"]["data"] == '{"x":1}'
        [worker] = first["workers"]
        assert (worker["heard"], worker["written"], worker["reach"], worker["listeners"]) == (True, True, 2, 2)
        newest = await look(url, "trace", channel="/a")
        assert newest["position"].endswith(".2")
        assert newest["published"]["by"] == "the site"
        # aiohttp's client answers pings while it reads.
        reading = asyncio.create_task(client.ws.receive())
        async with asyncio.timeout(10):
            while (await look(url, "trace", channel="a", offset="1"))["workers"][0]["acknowledged"] < 2:
                await poller._connect()
        reading.cancel()
        lines = way(newest, Style(colours=False))
        assert lines[0] == f"a {newest['position']}"
        assert any("by the site" in line for line in lines)


async def test_what_can_t_be_traced_is_said() -> None:
    async with serving() as (url, _), ClientSession() as http:
        found = await look(url, "trace", channel="quiet")
        assert "nothing was published" in found["log"]["state"]
        found = await look(url, "trace", channel="quiet", offset="7")
        assert "nothing has been published there yet" in found["log"]["state"]
        for query in ({"channel": "a", "offset": "x y"}, {"channel": ""}):
            at = f"{url}/realm/{REALM}/inside/trace/"
            async with http.get(at, params=query, headers=bearer()) as response:
                assert response.status == 400, query
                assert (await response.text()).strip()


@pytest.mark.parametrize("what", ["now", "history", "find", "client", "trace", "setup"])
async def test_nothing_is_told_without_the_key(what: str) -> None:
    async with serving() as (url, _), ClientSession() as http:
        async with http.get(f"{url}/realm/{REALM}/inside/{what}/") as response:
            assert response.status == 401
        async with http.get(f"{url}/realm/another/inside/{what}/", headers=bearer()) as response:
            assert response.status == 403
    async with serving(inside=False) as (url, _), ClientSession() as http:
        async with http.get(f"{url}/realm/{REALM}/inside/{what}/", headers=bearer()) as response:
            assert response.status == 404


@pytest.mark.parametrize(("what", "query"), [("history", "seconds=x"), ("find", ""), ("find", "user=a&session=b")])
async def test_a_wrong_question_is_answered_in_a_line(what: str, query: str) -> None:
    async with serving() as (url, _), ClientSession() as http:
        async with http.get(f"{url}/realm/{REALM}/inside/{what}/?{query}", headers=bearer()) as response:
            assert response.status == 400
        async with http.get(f"{url}/realm/{REALM}/inside/client/?session=x", headers=bearer()) as response:
            assert response.status == 404


async def test_the_only_worker_is_not_drained_and_acts_are_noted_with_who() -> None:
    async with serving() as (_, hub):
        inside = inside_of(hub)
        assert "only worker" in await inside.drain("ada", inside.worker, on=True)
        assert "no such worker" in await inside.drain("ada", "x", on=True)
        published = await inside.publish_test("ada")
        [now] = (await inside.ask("now")).values()
        assert [(act["who"], act["what"]) for act in now["acts"]] == [("ada", "published a test to fanfare-test")]
        found = await inside.trace("fanfare-test", published["position"])
        assert found["published"]["by"] == "ada, as a test"


async def test_workers_say_how_they_are_only_while_somebody_looks() -> None:
    async with serving() as (url, hub):
        inside = inside_of(hub)
        await sampled(hub, "starts", 1)
        await inside.ask("now")
        await asyncio.sleep(1.2)
        assert (await hub.publisher.position("private-hub") or "").endswith(".0")
        await inside.ask("now", live=True)
        async with asyncio.timeout(5):
            while (await hub.publisher.position("private-hub") or "").endswith(".0"):
                await asyncio.sleep(0.05)
        # It takes a token.
        async with ClientSession() as http, http.get(f"{url}/poll?channel=private-hub") as response:
            assert response.status in (401, 403)


@pytest.mark.redis
async def test_all_workers_of_a_fleet_answer(redis_url: str) -> None:
    async with (
        serving(redis_url=redis_url) as (first, _),
        serving(redis_url=redis_url) as (second, other),
        connected(first, "/a") as one,
        connected(second, "/a") as two,
    ):
        now = await look(first, "now")
        assert len(now["workers"]) == 2
        assert now["silent"] == []
        await other.publisher.publish("a", 1)
        await one.take()
        await two.take()
        found = await look(first, "trace", channel="a")
        assert found["published"]["by"] == "the site"
        assert [(each["heard"], each["written"], each["reach"]) for each in found["workers"]] == [(True, True, 1)] * 2
        clients = (await look(second, "find", channel="a"))["clients"]
        assert {each["session"] for each in clients} == {one.id, two.id}
        assert (await look(second, "client", session=one.id))["transport"] == "websocket"
        began = time.monotonic()
        for _ in range(5):
            assert len((await look(first, "now"))["workers"]) == 2
        # Who is known is waited for no longer than it takes.
        assert time.monotonic() - began < 2
        # One is drained by the other, and opened again.
        inside = inside_of(other)
        [there] = [each["worker"] for each in now["workers"] if each["worker"] != inside.worker]
        assert await inside.drain("ada", there, on=True) == ""
        assert "only worker" in await inside.drain("ada", inside.worker, on=True)
        await two.ws.close()
        async with ClientSession() as http, http.get(f"{first}/ready") as response:
            assert response.status == 503
        assert await inside.drain("ada", there, on=False) == ""
        async with ClientSession() as http, http.get(f"{first}/ready") as response:
            assert response.status == 200


@pytest.mark.redis
async def test_a_worker_that_does_not_answer_is_named(redis_url: str) -> None:
    async with serving(redis_url=redis_url) as (first, _):
        async with serving(redis_url=redis_url) as (_, other):
            assert len((await look(first, "now"))["workers"]) == 2
            name = inside_of(other).worker
        now = await look(first, "now")
        assert len(now["workers"]) == 1
        assert now["silent"] == [name]
        assert (await look(first, "now"))["silent"] == []


async def test_the_terminal_s_view_has_it_all() -> None:
    async with serving() as (url, hub), connected(url, "/a") as client:
        await hub.publisher.publish("a", 1)
        await client.take()
        await sampled(hub, "starts", 1)
        lines = screen(await look(url, "now"), await look(url, "history"), 100, Style(colours=False))
        assert lines[0] == "All well: 1 worker, log in memory"
        assert any(line.startswith("a ") for line in lines)
        assert all(len(line) <= 100 for line in lines)
        coloured = screen(await look(url, "now"), None, 100, Style(colours=True))
        assert "\x1b[1m" in coloured[0]


def test_the_commands_are_there() -> None:
    assert {"top", "trace", "doctor"} <= {command.name for command in HUB_COMMANDS}
    assert len(NAMES) == len(PLACE)
    assert json.dumps(NAMES)
