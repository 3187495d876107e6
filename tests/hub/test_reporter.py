"""Who is in a channel, served: over every way in, as JSON, and over several workers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse
from conversation import TYPES
from listening import KEY, REALM, serving
from rounds import pieces
from services import RedisFactory
from shell import Shell
from stopwatch import Stopwatch
from wire import request, say

from hub.app import Hub
from hub.cli import main
from hub.presence.everywhere import MAX_NAMES, Room
from hub.presence.reports import REPORTS
from hub.protocol import tokens
from hub.protocol.publications import Draft
from hub.reporter import MOST_NAMES, Reporter

RULES = """
[[rule]]
channels = ["hidden-*"]
presence = "closed"

[[rule]]
channels = ["team/**"]
subscribe = "token"
presence = "token"

[[rule]]
channels = ["comments-*", "rooms/*"]
presence = "open"
"""


def token(user: str | None = None, *channels: str, **claims: Any) -> str:
    who = {} if user is None else {"sub": user}
    return tokens.sign(REALM, KEY, time.time(), **({"channels": channels or ["x"]} | who | claims))


BEARER = {"Authorization": f"Bearer {tokens.sign(REALM, KEY, time.time(), life=3600)}"}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(RULES, encoding="utf-8")
    return path


class Page:
    """A WebSocket without Bayeux, subscribed to channels as some user."""

    def __init__(self, http: ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self.sockets: list[ClientWebSocketResponse] = []

    async def come(self, channel: str, user: str | None = None, **claims: Any) -> ClientWebSocketResponse:
        socket = await self.come_unheard(channel, user, **claims)
        assert channel in (await socket.receive_json())["subscribed"]
        return socket

    async def come_unheard(self, channel: str, user: str | None = None, **claims: Any) -> ClientWebSocketResponse:
        """As `come`, without waiting for an answer."""
        shown = token(user, channel, **claims)
        socket = await self._http.ws_connect(f"{self._url}/ws?channel={channel}&token={shown}")
        self.sockets.append(socket)
        return socket


@contextlib.asynccontextmanager
async def browsing(url: str) -> AsyncIterator[Page]:
    async with ClientSession() as http:
        page = Page(http, url)
        yield page
        for socket in page.sockets:
            await socket.close()


async def state(url: str, channel: str, **query: str) -> dict[str, Any]:
    async with ClientSession() as http, http.get(f"{url}/presence", params={"channel": channel} | query) as response:
        assert response.status == 200, await response.text()
        found: dict[str, Any] = await response.json()
        return found


async def until(url: str, channel: str, users: list[str], count: int, seconds: float = 60.0) -> None:
    """Wait until the state is this; fail with what it is."""
    found: dict[str, Any] = {}
    for _ in range(round(seconds / 0.05)):
        with contextlib.suppress(AssertionError):
            found = await state(url, channel)
            if (sorted(each["user"] for each in found["users"]), found["count"]) == (users, count):
                return
        await asyncio.sleep(0.05)
    raise AssertionError(found)


async def hear(socket: ClientWebSocketResponse, name: str, user: str, seconds: float = 60.0) -> dict[str, Any]:
    """The next event that says that a user joined or left."""
    async with asyncio.timeout(seconds):
        while True:
            message = await socket.receive_json()
            if user in message.get("data", {}).get(name, ()):
                data: dict[str, Any] = message["data"]
                return data


async def test_page_hears_who_comes_and_who_goes(rules: Path) -> None:
    async with serving(rules=rules, presence_leave=0.5) as (url, _), browsing(url) as page:
        watcher = await page.come("presence/comments-17")
        alice = await page.come("comments-17", "alice")
        assert await hear(watcher, "joined", "alice") == {"joined": ["alice"], "left": [], "users": 1, "count": 1}
        await page.come("comments-17")
        await until(url, "comments-17", ["alice"], 2)
        await alice.close()
        assert await hear(watcher, "left", "alice") == {"joined": [], "left": ["alice"], "users": 0, "count": 1}


async def test_page_that_loads_the_state_and_subscribes_from_its_position_misses_nothing(rules: Path) -> None:
    async with serving(rules=rules, presence_leave=0.5) as (url, _), browsing(url) as page:
        await page.come("comments-17", "alice")
        await until(url, "comments-17", ["alice"], 1)
        found = await state(url, "comments-17")
        await page.come("comments-17", "bob")
        await until(url, "comments-17", ["alice", "bob"], 2)
        async with ClientSession() as http:
            query = {"channel": "presence/comments-17", "position": found["position"]}
            names: list[str] = []
            while names != ["bob"]:
                async with http.get(f"{url}/poll", params=query) as response:
                    answer = await response.json()
                assert answer["recovered"]
                query["position"] = answer["position"]
                names += [user for each in answer["messages"] for user in each["data"]["joined"] if user != "alice"]


async def test_bayeux_session_is_present_while_it_has_a_connection(rules: Path) -> None:
    """It lives on for HUB_SESSION_TTL without one, but its user is not kept waiting in the list so long."""
    async with serving(rules=rules, presence_leave=0.5) as (url, hub), ClientSession() as http:
        shown = token("alice")
        async with http.ws_connect(f"{url}/bayeux") as socket:
            shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": TYPES}
            await socket.send_json([shake | {"ext": {"token": shown}}])
            client = (await socket.receive_json())[0]["clientId"]
            subscribe = {"channel": "/meta/subscribe", "clientId": client, "subscription": "/comments-17"}
            connect = {"channel": "/meta/connect", "clientId": client, "connectionType": "websocket"}
            await socket.send_json([subscribe, connect])
            await until(url, "comments-17", ["alice"], 1)
            ask = {"channel": "/service/presence", "clientId": client, "id": "7"}
            await socket.send_json([ask | {"data": {"channel": "comments-17"}}])
            answers = [each for _ in range(2) for each in await socket.receive_json() if each.get("id") == "7"]
            data = next(each["data"] for each in answers if "data" in each)
            assert (data["count"], data["users"]) == (1, [{"user": "alice"}])
        await until(url, "comments-17", [], 0)
        assert hub.node.registry.get(client) is not None
        async with http.ws_connect(f"{url}/bayeux") as socket:
            await socket.send_json([connect])
            await until(url, "comments-17", ["alice"], 1)


async def test_page_that_is_loaded_again_is_no_leave(rules: Path) -> None:
    # Longer than a machine stands still between the two.
    async with serving(rules=rules, presence_leave=4.0) as (url, _), browsing(url) as page:
        watcher = await page.come("presence/comments-17")
        for _ in range(3):
            alice = await page.come("comments-17", "alice")
            await until(url, "comments-17", ["alice"], 1)
            await alice.close()
        await page.come("comments-17", "bob")
        events = []
        async with asyncio.timeout(60):
            while not events or "alice" not in events[-1]["left"]:
                events.append((await watcher.receive_json())["data"])
        assert sum("alice" in each["joined"] for each in events) == 1
        assert sum("alice" in each["left"] for each in events) == 1


async def test_token_that_expires_and_a_kick_take_a_user_away(rules: Path) -> None:
    async with serving(rules=rules, presence_leave=0.5, token_leeway=0.0) as (url, hub), browsing(url) as page:
        stays = await page.come("comments-17", "alice", life=5)
        await page.come("comments-17", "bob")
        await until(url, "comments-17", ["alice", "bob"], 2)
        # An open channel needs no token: whoever it was is still there, and nobody in particular.
        await until(url, "comments-17", ["bob"], 2)
        await hub.kick("bob")
        await until(url, "comments-17", [], 1)
        await stays.send_json({"subscribe": ["comments-17"], "token": token("carol")})
        await until(url, "comments-17", ["carol"], 1)


async def test_presence_is_heard_and_seen_by_who_may(rules: Path) -> None:
    async with serving(rules=rules) as (url, _), ClientSession() as http:

        async def ask(path: str, channel: str, shown: str | None = None) -> int:
            query = {"channel": channel} | ({} if shown is None else {"token": shown})
            async with http.get(f"{url}{path}", params=query) as response:
                return response.status

        for path, prefix in (("/presence", ""), ("/poll", "presence/")):
            assert await ask(path, prefix + "comments-17") == 200
            assert await ask(path, prefix + "rooms/1") == 200
            for channel in ("news", "rooms/1/a", "hidden-1"):
                assert await ask(path, prefix + channel) == 403
                assert await ask(path, prefix + channel, token("alice", "**")) == 403
            assert await ask(path, prefix + "team/a") == 403
            assert await ask(path, prefix + "team/a", token("alice", "team/b")) == 403
            assert await ask(path, prefix + "team/a", token("alice", "team/a")) == 200
            assert await ask(path, prefix + "team/a", "x.y.z") == 401
        assert await ask("/poll", "presence/*") == await ask("/poll", "presence/**") == 403
        assert await ask("/poll", "presence/rooms/*") == 200
        assert await ask("/poll", "presence/team/**", token("alice", "team/**")) == 200
        assert await ask("/presence", "rooms/*") == await ask("/presence", "") == 400
        async with http.get(
            f"{url}/presence?channel=comments-17", headers={"Origin": "https://evil.example"}
        ) as answer:
            assert answer.status == 403


async def test_wildcard_hears_of_nobody_whom_it_may_not_see(rules: Path) -> None:
    async with serving(rules=rules) as (url, _), browsing(url) as page:
        watcher = await page.come("**")
        await page.come("team/a", "alice")
        await page.come("hidden-1", "bob")
        await page.come("comments-17", "carol")
        assert (await hear(watcher, "joined", "carol"))["count"] == 1
        # Had they been told, it would have been at the same tick or the next.
        await page.come("comments-18", "dora")
        async with asyncio.timeout(60):
            while "dora" not in (message := await watcher.receive_json())["data"]["joined"]:
                assert message["channel"].startswith("presence/comments-")


async def test_only_the_hub_says_who_is_there(rules: Path) -> None:
    async with serving(rules=rules, client_publish=("/**",)) as (url, _), ClientSession() as http:
        shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": TYPES}
        async with http.post(f"{url}/bayeux", json=[shake]) as response:
            client = (await response.json())[0]["clientId"]
        for channel, allowed in (("/presence/comments-17", False), ("/presence/news", False), ("/presence", True)):
            message = {"channel": channel, "clientId": client, "data": {"joined": ["alice"]}}
            async with http.post(f"{url}/bayeux", json=[message]) as response:
                assert (await response.json())[0]["successful"] is allowed
        body = {"items": [{"channel": "news", "json-object": 1}, {"channel": "presence/comments-17", "json-object": 1}]}
        async with http.post(f"{url}/publish/", json=body, headers=BEARER) as response:
            assert (response.status, "are the hub's" in await response.text()) == (400, True)


async def test_without_a_rule_the_names_are_a_site_s_own() -> None:
    async with serving() as (url, hub), ClientSession() as http:
        assert hub.node.registry.attendance is None
        async with http.ws_connect(f"{url}/ws?channel=presence/comments-17") as socket:
            assert "presence/comments-17" in (await socket.receive_json())["subscribed"]
            body = {"items": [{"channel": "presence/comments-17", "json-object": 1}]}
            async with http.post(f"{url}/publish/", json=body, headers=BEARER) as response:
                assert response.status == 200
            assert (await socket.receive_json())["data"] == 1
        async with http.get(f"{url}/presence?channel=comments-17") as response:
            assert response.status == 404


async def test_server_sees_everybody_with_the_key(rules: Path) -> None:
    async with serving(rules=rules) as (url, _), browsing(url) as page, ClientSession() as http:
        await page.come("team/a", "alice")
        await page.come("comments-17", "bob")
        await until(url, "comments-17", ["bob"], 1)
        path = f"{url}/realm/{REALM}/presence/"
        async with http.get(f"{path}?channel=team/a&channel=comments-17", headers=BEARER) as response:
            states = (await response.json())["channels"]
        assert [(each["channel"], each["count"], each["users"]) for each in states] == [
            ("team/a", 1, [{"user": "alice"}]),
            ("comments-17", 1, [{"user": "bob"}]),
        ]
        for headers, query, status in (
            ({}, "channel=team/a", 401),
            (BEARER, "channel=news", 403),
            (BEARER, "channel=team/*", 400),
            (BEARER, "", 400),
        ):
            async with http.get(f"{path}?{query}", headers=headers) as response:
                assert response.status == status


async def test_long_list_is_cut_and_metrics_count(rules: Path) -> None:
    async with serving(rules=rules, presence_users=1005) as (url, hub):
        assert hub.realms[REALM].reporter is not None
        here = hub.realms[REALM].reporter.rules.here
        for number in range(1010):
            here.came(f"s{number}", f"user{number}", "/comments-17")
        async with asyncio.timeout(60):
            while (found := await state(url, "comments-17"))["count"] != 1010:
                await asyncio.sleep(0.05)
        assert (len(found["users"]), found["more"]) == (1000, 5)
        async with ClientSession() as http, http.get(f"{url}/metrics") as response:
            text = await response.text()
        assert "hub_presence_users 1005.0" in text
        assert "hub_presence_channels 1.0" in text
        assert "hub_presence_unnamed_total 5.0" in text


async def test_report_that_can_t_be_read_is_passed_over(rules: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(rules=rules) as (url, hub), browsing(url) as page:
        junk = [
            b"7",
            b"[]",
            b"{}",
            b'{"worker":7}',
            b'{"worker":"x","snapshot":{"/a":[1]}}',
            b'{"worker":"x","snapshot":7}',
        ]
        junk += [b'{"worker":"x","channels":{"/a":[1,[],[7]]}}', b'{"worker":"x","channels":{"/a":["1",[],[]]}}']
        await hub.node.publish([Draft(REPORTS, data) for data in junk])
        await page.come("comments-17", "alice")
        await until(url, "comments-17", ["alice"], 1)
    assert sum(record.message == "report can't be read" for record in caplog.records) == len(junk)


@contextlib.asynccontextmanager
async def two_workers(redis_url: str, rules: Path) -> AsyncIterator[tuple[tuple[str, Hub], tuple[str, Hub]]]:
    async with (
        serving(redis_url=redis_url, rules=rules, presence_leave=1.0) as one,
        serving(redis_url=redis_url, rules=rules, presence_leave=1.0) as two,
    ):
        yield one, two


async def test_every_worker_tells_the_same(redis_url: str, rules: Path) -> None:
    async with two_workers(redis_url, rules) as ((one, _), (two, _)), browsing(one) as here, browsing(two) as there:
        watcher = await there.come("presence/comments-1")
        alice = await here.come("comments-1", "alice")
        await hear(watcher, "joined", "alice")
        await there.come("comments-1", "bob")
        await hear(watcher, "joined", "bob")
        for url in (one, two):
            await until(url, "comments-1", ["alice", "bob"], 2)
        # To the other worker and back.
        await alice.close()
        again = await there.come("comments-1", "alice")
        await again.close()
        await here.come("comments-1", "alice")
        await there.come("comments-1", "carol")
        async with asyncio.timeout(60):
            while "carol" not in (message := await watcher.receive_json())["data"]["joined"]:
                assert "alice" not in message["data"]["joined"] + message["data"]["left"]
        for url in (one, two):
            await until(url, "comments-1", ["alice", "bob", "carol"], 3)


async def test_nothing_is_missed_of_many_channels_that_change_at_once(redis_url: str, rules: Path) -> None:
    """What changes is told a hundred channels at a time, by one worker or another."""
    names = [f"comments-{number}" for number in range(300)]
    runs = [names[at : at + 100] for at in range(0, len(names), 100)]

    async with (
        two_workers(redis_url, rules) as ((one, hub), (two, _)),
        ClientSession() as http,
        contextlib.AsyncExitStack() as stack,
    ):
        heard: dict[str, set[str]] = {name: set() for name in names}
        last: dict[str, dict[str, Any]] = {}

        async def come(url: str, channels: list[str], user: str | None = None) -> ClientWebSocketResponse:
            asked = [("channel", name) for name in channels]
            shown = [] if user is None else [("token", token(user, *channels))]
            socket = await http.ws_connect(url + "/ws", params=[*asked, *shown])
            stack.push_async_callback(socket.close)
            assert len((await socket.receive_json())["subscribed"]) == len(channels)
            return socket

        async def listen(watcher: ClientWebSocketResponse) -> None:
            while True:
                message = await watcher.receive_json()
                name = message["channel"].removeprefix("presence/")
                last[name] = data = message["data"]
                heard[name] = (heard[name] | set(data["joined"])) - set(data["left"])

        async def settle(users: set[str], count: int) -> None:
            async with asyncio.timeout(60):
                while not all(
                    heard[name] == users and (last[name]["users"], last[name]["count"]) == (len(users), count)
                    for name in names
                ):
                    await asyncio.sleep(0.05)

        for number, run in enumerate(runs):
            watcher = await come((one, two)[number % 2], [f"presence/{name}" for name in run])
            task = asyncio.create_task(listen(watcher))
            stack.callback(task.cancel)
        alices = [await come(one, run, "alice") for run in runs]
        for url in (one, two):
            for run in runs:
                await come(url, run, "bob")
        await settle({"alice", "bob"}, 3)
        # They go; and all that is known at one worker is told anew meanwhile.
        for socket in alices:
            await socket.close()
        reporter = hub.node.registry.attendance
        assert isinstance(reporter, Reporter)
        reporter.lost()
        for run in runs:
            await come(two, run, "carol")
        await settle({"bob", "carol"}, 3)


async def test_polling_session_counts_at_one_worker_only(redis_url: str, rules: Path) -> None:
    """Its polls go to one worker and to the other, and either remembers it for HUB_SESSION_TTL."""
    async with two_workers(redis_url, rules) as ((one, first), (two, _)), ClientSession() as http:

        async def say(url: str, message: dict[str, Any]) -> dict[str, Any]:
            async with http.post(f"{url}/bayeux", json=[message]) as response:
                return next(each for each in await response.json() if each["channel"] == message["channel"])

        shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": TYPES}
        client = (await say(one, shake | {"ext": {"token": token("alice")}}))["clientId"]
        await say(one, {"channel": "/meta/subscribe", "clientId": client, "subscription": "/comments-8"})
        connect = {"channel": "/meta/connect", "clientId": client, "connectionType": "long-polling"}
        await say(one, connect)
        await until(two, "comments-8", ["alice"], 1)
        for url in (two, one, two):
            assert (await say(url, connect | {"advice": {"timeout": 0}}))["successful"]
            async with browsing(two) as page:
                await page.come("comments-8", "bob")
                await until(one, "comments-8", ["alice", "bob"], 2)
            await until(one, "comments-8", ["alice"], 1)
        assert first.node.registry.get(client) is not None, "it is not forgotten"


async def test_users_of_a_worker_that_dies_leave(redis_url: str, rules: Path) -> None:
    async with (
        two_workers(redis_url, rules) as ((one, dying), (two, hub)),
        browsing(one) as here,
        browsing(two) as there,
    ):
        watcher = await there.come("presence/comments-2")
        await here.come("comments-2", "alice")
        await there.come("comments-2", "bob")
        for url in (one, two):
            await until(url, "comments-2", ["alice", "bob"], 2)
        # Without a word: neither reads nor writes the log any more.
        dying.node.wheel.stop()
        await dying.node.broker.close()
        with Stopwatch() as watch:
            event = await hear(watcher, "left", "alice")
        assert (event["left"], event["users"], event["count"]) == (["alice"], 1, 1)
        assert watch.seconds < 10
        await until(two, "comments-2", ["bob"], 1)
        assert hub.realms[REALM].reporter is not None
        assert len(hub.realms[REALM].reporter.rules.everywhere.workers) == 1


async def test_users_of_a_process_that_is_killed_leave(redis_url: str, rules: Path, tmp_path: Path) -> None:
    environ = {
        "REDIS_URL": redis_url,
        "HUB_RULES": str(rules),
        "HUB_PRESENCE_LEAVE": "1s",
        "FANOUT_REALM": REALM,
        "FANOUT_KEY": base64.b64encode(KEY).decode(),
    }
    one, two = Shell(tmp_path), Shell(tmp_path)
    with one.serving(**environ) as process, two.serving(**environ):
        async with browsing(one.url) as here, browsing(two.url) as there:
            watcher = await there.come("presence/comments-6")
            await here.come("comments-6", "alice")
            await there.come("comments-6", "bob")
            for url in (one.url, two.url):
                await until(url, "comments-6", ["alice", "bob"], 2)
            process.kill()
            event = await hear(watcher, "left", "alice")
            assert (event["left"], event["users"], event["count"]) == (["alice"], 1, 1)


async def test_worker_that_comes_later_knows_who_is_there(redis_url: str, rules: Path) -> None:
    async with serving(redis_url=redis_url, rules=rules) as (one, _), browsing(one) as here:
        await here.come("comments-3", "alice")
        await until(one, "comments-3", ["alice"], 1)
        async with serving(redis_url=redis_url, rules=rules) as (two, _), browsing(two) as there:
            await until(two, "comments-3", ["alice"], 1)
            await there.come("comments-3", "bob")
            await until(one, "comments-3", ["alice", "bob"], 2)
        await until(one, "comments-3", ["alice"], 1)


async def test_hub_that_restarts_tells_of_who_did_not_come_back(redis_url: str, rules: Path) -> None:
    """Nobody is left who knew: it is read from the log."""
    async with serving(redis_url=redis_url, rules=rules, presence_leave=1.0) as (url, _), browsing(url) as page:
        await page.come("comments-4", "alice")
        await page.come("comments-4", "bob")
        await until(url, "comments-4", ["alice", "bob"], 2)
        place = (await state(url, "comments-4"))["position"]
    async with serving(redis_url=redis_url, rules=rules, presence_leave=1.0) as (url, _), browsing(url) as page:
        await page.come("comments-4", "alice")
        async with ClientSession() as http:
            names: list[str] = []
            async with asyncio.timeout(60):
                while "bob" not in names:
                    query = {"channel": "presence/comments-4", "position": place}
                    async with http.get(f"{url}/poll", params=query) as response:
                        answer = await response.json()
                    place = answer["position"]
                    names += [user for each in answer["messages"] for user in each["data"]["left"]]
        assert names == ["bob"]
        await until(url, "comments-4", ["alice"], 1)


async def test_log_that_was_lost_is_told_anew(redis_url: str, rules: Path) -> None:
    async with two_workers(redis_url, rules) as ((one, lost), (two, _)), browsing(one) as here, browsing(two) as there:
        await here.come("comments-5", "alice")
        await there.come("comments-5", "bob")
        for url in (one, two):
            await until(url, "comments-5", ["alice", "bob"], 2)
        lost.node.lost(None)
        async with ClientSession() as http, http.get(f"{one}/presence?channel=comments-5") as response:
            # It can't say before it has heard from the others, and waits for that.
            assert response.status in (200, 503)
        await until(one, "comments-5", ["alice", "bob"], 2)


async def test_redis_that_comes_back_empty_is_told_who_is_there(new_redis: RedisFactory, rules: Path) -> None:
    redis = new_redis()
    async with two_workers(redis.url, rules) as ((one, _), (two, _)), browsing(one) as here, browsing(two) as there:
        watcher = await there.come("presence/comments-7")
        await here.come("comments-7", "alice")
        await hear(watcher, "joined", "alice")
        redis.kill()
        carol = await here.come_unheard("comments-7", "carol")
        redis.start()
        await there.come_unheard("comments-7", "bob")
        for url in (one, two):
            await until(url, "comments-7", ["alice", "bob", "carol"], 3)
        await carol.close()
        assert (await hear(watcher, "left", "carol"))["count"] == 2


async def test_check_explains_who_may_see(
    rules: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HUB_RULES", str(rules))

    def explain(name: str) -> str:
        assert main(["check", "channel", name]) == 0
        return capsys.readouterr().out

    assert f"presence   yes  open to anyone   [HUB_RULES {rules} rule 3: comments-*, rooms/*]" in explain("comments-1")
    assert "presence   no   closed" in explain("news")
    assert "subscribe  no   needs a token" in explain("presence/team/a")
    assert "publish    no   closed" in explain("presence/comments-1")
    assert f"but not heard with it: who is in what takes token in [HUB_RULES {rules} rule 2: team/**]" in explain("**")
    assert "who is in" not in explain("rooms/*")


PRESENCE_RULES = '[[rule]]\nchannels = ["room-*"]\npresence = "open"\n'


@pytest.mark.parametrize("way", ["Bayeux", "WebSocket", "plain WebSocket", "stream"])
async def test_address_opens_so_many_channels_that_are_nobody_s_and_is_not_counted_in_more(
    way: str, tmp_path: Path
) -> None:
    """Each name that a client invented had the hub publish who is there, and keep it: a hundred times the bytes that it
    took to say it, for ten minutes, until Redis was full.
    """
    rules = tmp_path / "rules.toml"
    rules.write_text(PRESENCE_RULES)
    # A hundred seconds' worth is saved up.
    async with serving(rules=rules, proxies=1, presence_rate=1) as (url, hub), ClientSession() as http:
        reporter = hub.node.registry.attendance
        assert isinstance(reporter, Reporter)
        here = reporter.rules.here

        async def subscribe(address: str, *names: str) -> None:
            headers = {"X-Forwarded-For": address}
            if "plain" in way or way == "stream":
                path = f"{url}/{'ws' if 'plain' in way else 'sse'}"
                query = [("channel", name) for name in names]
                if way == "stream":
                    answer = await http.get(path, params=query, headers=headers)
                    stack.push_async_callback(answer.release)
                    while b"subscribed" not in await answer.content.readline():
                        pass
                else:
                    socket = await stack.enter_async_context(http.ws_connect(path, params=query, headers=headers))
                    assert "subscribed" in await socket.receive_json()
                return
            shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["websocket"]}
            asked = {"channel": "/meta/subscribe", "subscription": [f"/{name}" for name in names]}
            if way == "WebSocket":
                socket = await stack.enter_async_context(http.ws_connect(f"{url}/bayeux", headers=headers))
                await socket.send_json(shake)
                client = (await socket.receive_json())[0]["clientId"]
                await socket.send_json(asked | {"clientId": client})
                [reply] = await socket.receive_json()
            else:
                async with http.post(f"{url}/bayeux", json=[shake], headers=headers) as answer:
                    client = (await answer.json())[0]["clientId"]
                async with http.post(f"{url}/bayeux", json=[asked | {"clientId": client}], headers=headers) as answer:
                    [reply] = await answer.json()
            assert reply["successful"]

        async with contextlib.AsyncExitStack() as stack:
            await subscribe("192.0.2.1", *(f"room-{number}" for number in range(60)))
            await subscribe("192.0.2.1", *(f"room-{number}" for number in range(60, 100)))
            assert here.channels == 100
            await subscribe("192.0.2.1", *(f"room-{number}" for number in range(100, 180)))
            assert 100 <= here.channels < 110
            assert here.uncounted > 70
            # Where others are already it costs nothing, and another address has its own.
            counted = here.channels
            await subscribe("192.0.2.1", "room-5")
            assert reporter.rules.knows("/room-5")
            assert here.channels == counted
            await subscribe("192.0.2.7", "room-500", "news")
            assert here.channels == counted + 1


async def test_address_that_comes_and_goes_in_channels_of_others_is_told_of_at_a_rate(tmp_path: Path) -> None:
    """Only opening had one: who came and went in a thousand channels of others had a thousand events published each
    time, in one piece of 60 ms.
    """
    rules = tmp_path / "rules.toml"
    rules.write_text(PRESENCE_RULES)
    async with (
        serving(rules=rules, proxies=1, presence_rate=5, presence_leave=0.2) as (url, hub),
        ClientSession() as http,
    ):
        reporter = hub.node.registry.attendance
        assert isinstance(reporter, Reporter)
        here = reporter.rules.here
        names = [f"room-{number}" for number in range(100)]

        async def come(address: str) -> ClientWebSocketResponse:
            headers = {"X-Forwarded-For": address}
            socket = await http.ws_connect(f"{url}/ws", params=[("channel", each) for each in names], headers=headers)
            assert "subscribed" in await socket.receive_json()
            return socket

        async def told(count: int) -> None:
            """Until it is told, or waits."""
            counted = reporter.rules.everywhere.count
            while not here.held and any(counted(f"/{name}") != count for name in names):
                await asyncio.sleep(0.05)

        async with await come("192.0.2.7"):
            await until(url, names[-1], [], 1)
            comes = 0
            async with asyncio.timeout(60):
                while not here.held:
                    comes += 1
                    async with await come("192.0.2.1"):
                        await told(2)
                    await told(1)
            assert 2 <= comes < 30
            async with await come("192.0.2.9"):
                for name in (names[0], names[-1]):
                    await until(url, name, [], 2)
            for name in (names[0], names[-1]):
                await until(url, name, [], 1)
        for name in (names[0], names[-1]):
            await until(url, name, [], 0)


async def test_many_full_channels_are_told_of_in_little_time(rules: Path) -> None:
    """A question for a hundred channels of a thousand users each, which anybody may ask where presence is open, was a
    piece of 20 ms and an answer of 2 MB, as often as it was asked.
    """
    async with serving(rules=rules) as (url, hub):
        reporter = hub.node.registry.attendance
        assert isinstance(reporter, Reporter)
        names = [f"comments-{number}" for number in range(100)]
        for number, name in enumerate(names):
            room = reporter.rules.everywhere.rooms[f"/{name}"] = Room()
            room.users = dict.fromkeys((f"user {number} {each}" for each in range(1200)), 1)
            room.count = 1200
        target = "GET /presence?" + "&".join(f"channel={name}" for name in names)
        told = json.loads((await say(url, request(target))).body)["channels"]
        assert [len(each["users"]) for each in told[:3]] == [MAX_NAMES, MOST_NAMES - MAX_NAMES, 0]
        assert all(len(each["users"]) + each["more"] == each["count"] == 1200 for each in told)
        alone = json.loads((await say(url, request("GET /presence?channel=comments-99"))).body)
        assert (len(alone["users"]), alone["more"]) == (MAX_NAMES, 200)
        least = 1.0
        for _ in range(8):
            with pieces() as each:
                await say(url, request(target))
            least = min(least, max(each))
        assert least < 0.006
