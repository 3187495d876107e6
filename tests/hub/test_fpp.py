"""Fanout's FPP at a running hub, spoken as its client speaks it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from aiohttp import ClientSession, web
from hypothesis import given
from hypothesis import strategies as st
from listening import KEY, REALM, serving

from hub.app import Hub, running
from hub.ids import new_id
from hub.protocol import tokens
from hub.protocol.publications import Position
from hub.settings import Settings
from hub.transports.fpp import _instruction, _since


class Client:
    """An FPP client, by HTTP or by scripts. Cursors and sid are the last it was told."""

    def __init__(self, url: str, http: ClientSession, base: str = "/fpp") -> None:
        self.url = url + base
        self._http = http
        self.sid = ""
        self.cursors: dict[str, str] = {}

    async def subscribe(self, *names: str, **fields: str) -> tuple[int, Any]:
        form = [*fields.items(), *(("ci", f"name={quote(name, safe='')}") for name in names)]
        async with self._http.post(f"{self.url}/subscribe/", data=urlencode(form)) as response:
            return self._took(response.status, await response.text())

    @property
    def query(self) -> str:
        instructions = [
            ("ci", f"name={quote(name, safe='')}&since={quote('cursor:' + cursor, safe='')}")
            for name, cursor in self.cursors.items()
        ]
        return urlencode([("sid", self.sid), *instructions])

    async def feed(self) -> tuple[int, Any]:
        async with self._http.get(f"{self.url}/feed/?{self.query}") as response:
            return self._took(response.status, await response.text())

    async def by_script(self, path: str, query: str, callback: str = 'fo_jsonp_get_callback("0")') -> tuple[int, Any]:
        """Fetch a script as its client makes one, and run it."""
        async with self._http.get(f"{self.url}{path}?{query}&callback={quote(callback)}") as response:
            assert response.status == 200, await response.text()
            assert response.content_type == "text/javascript"
            script = await response.text()
        match = re.fullmatch(re.escape(f"/**/{callback}(") + r"(.*)\);\n?", script, re.DOTALL)
        assert match is not None, script
        said = json.loads(match[1])
        assert set(said) == {"code", "reason", "headers", "body"}
        return self._took(said["code"], said["body"])

    def _took(self, status: int, body: str) -> tuple[int, Any]:
        if status != 200:
            return status, body
        told = json.loads(body)
        self.sid = told.get("sid", self.sid)
        for name, state in told["channels"].items():
            if "last_cursor" in state:
                self.cursors[name] = state["last_cursor"]
        return status, told["channels"]


@pytest.mark.parametrize("base", ["/fpp", "/pubsub", f"/r/{REALM}", f"/r/{REALM}/fpp"])
async def test_what_is_published_after_the_cursor_comes_in_full(base: str) -> None:
    async with serving() as (url, hub), ClientSession() as http:
        await hub.publisher.publish("a/b", "before")
        client = Client(url, http, base)
        status, channels = await client.subscribe("a/b", "+x")
        assert (status, set(channels)) == (200, {"a/b", "+x"})
        for data in (None, {"é": [1]}, 2**60):
            await hub.publisher.publish("a/b", data)
        assert await client.feed() == (
            200,
            {"a/b": {"last_cursor": client.cursors["a/b"], "items": [None, {"é": [1]}, 2**60]}},
        )
        await hub.publisher.publish("+x", "last")
        assert (await client.feed())[1]["+x"]["items"] == ["last"]


async def test_a_poll_waits_for_what_comes_first() -> None:
    async with serving(connect_timeout=30.0) as (url, hub), ClientSession() as http:
        client = Client(url, http)
        await client.subscribe("a")
        waiting = asyncio.create_task(client.feed())
        while not hub.node.subscribers("/a"):
            await asyncio.sleep(0.005)
        await hub.publisher.publish("a", 1)
        assert (await waiting)[1]["a"]["items"] == [1]
        assert not hub.node.registry.sessions


async def test_a_poll_ends_with_nothing_when_its_time_is_over() -> None:
    async with serving(connect_timeout=0.1) as (url, _), ClientSession() as http:
        client = Client(url, http)
        await client.subscribe("a")
        assert await client.feed() == (200, {})


async def test_every_worker_knows_the_sid_and_the_cursors(redis_url: str) -> None:
    name = new_id()
    async with (
        serving(redis_url=redis_url) as (one, hub),
        serving(redis_url=redis_url) as (two, _),
        ClientSession() as http,
    ):
        client = Client(one, http)
        await client.subscribe(name)
        await hub.publisher.publish(name, 1)
        client.url = f"{two}/fpp"
        assert (await client.feed())[1][name]["items"] == [1]


async def test_a_lost_sid_is_401_and_the_cursors_stay_good() -> None:
    async with serving() as (url, hub), ClientSession() as http:
        client = Client(url, http)
        await client.subscribe("a")
        cursor = client.cursors["a"]
        await hub.publisher.publish("a", 1)
        for lost in ("", "x", client.sid[:-2], tokens.sign(REALM, KEY, time.time())):
            client.sid = lost
            assert (await client.feed())[0] == 401
        await client.subscribe("a")
        client.cursors["a"] = cursor
        assert (await client.feed())[1]["a"]["items"] == [1]


@pytest.mark.parametrize("cursor", ["", "x", "gone.4", "null"])
async def test_a_bad_cursor_is_404(cursor: str) -> None:
    async with serving() as (url, _), ClientSession() as http:
        client = Client(url, http)
        await client.subscribe("a")
        client.cursors["a"] = cursor
        assert await client.feed() == (404, "Cursor not known.\n")


async def test_a_cursor_whose_history_is_gone_is_404_and_so_is_a_loss_while_waiting() -> None:
    async with serving(history_count=2) as (url, hub), ClientSession() as http:
        client = Client(url, http)
        await client.subscribe("a")
        waiting = asyncio.create_task(client.feed())
        while not hub.node.subscribers("/a"):
            await asyncio.sleep(0.005)
        hub.node.lost(["/a"])
        assert (await waiting)[0] == 404
        for number in range(3):
            await hub.publisher.publish("a", number)
        assert (await client.feed())[0] == 404


async def test_channels_that_may_not_be_had_are_refused_one_by_one() -> None:
    async with serving() as (url, hub), ClientSession() as http:
        client = Client(url, http)
        status, channels = await client.subscribe("a", "private-x", "a/*", "meta/kick")
        assert status == 200
        assert {name: state.get("error_code") for name, state in channels.items()} == {
            "a": None,
            "private-x": 403,
            "a/*": 400,
            "meta/kick": 400,
        }
        client.cursors["private-x"] = str(await hub.publisher.position("private-x"))
        await hub.publisher.publish("private-x", "secret")
        assert await client.feed() == (200, {"private-x": {"error_code": 403}})


def listener(*channels: str, user: str = "alice") -> str:
    now = time.time()
    return tokens.sign(REALM, KEY, now, channels=list(channels), sub=user, iat=now - 1)


async def test_a_token_opens_what_it_names_until_its_user_is_kicked() -> None:
    async with serving(connect_timeout=30.0) as (url, hub), ClientSession() as http:
        client = Client(url, http)
        assert (await client.subscribe("private-x", auth_token="x"))[0] == 401
        assert "last_cursor" in (await client.subscribe("private-x", auth_token=listener("private-x")))[1]["private-x"]
        await hub.publisher.publish("private-x", 1)
        assert (await client.feed())[1]["private-x"]["items"] == [1]
        held = asyncio.create_task(client.feed())
        while not hub.node.subscribers("/private-x"):
            await asyncio.sleep(0.005)
        await hub.kick("alice")
        assert await held == (200, {})
        assert (await client.feed())[0] == 401
        assert (await client.subscribe("private-x", sid=client.sid))[0] == 401


async def test_a_sid_is_kept_with_its_token_and_changes_with_another() -> None:
    async with serving() as (url, _), ClientSession() as http:
        client = Client(url, http)
        await client.subscribe("a")
        first = client.sid
        await client.subscribe("a", "b", sid=first)
        assert client.sid == first
        await client.subscribe("private-x", sid=first, auth_token=listener("private-x"))
        assert client.sid != first
        assert "last_cursor" in (await client.subscribe("private-x", sid=client.sid))[1]["private-x"]


async def test_a_sid_publishes_nothing() -> None:
    async with serving() as (url, _), ClientSession() as http:
        client = Client(url, http)
        await client.subscribe("a")
        body = {"items": [{"channel": "a", "json-object": 1}]}
        async with http.post(
            f"{url}/publish/", json=body, headers={"Authorization": f"Bearer {client.sid}"}
        ) as response:
            assert response.status == 401


@pytest.mark.parametrize("prefix", ["", "_"])
async def test_browsers_without_cors_ask_by_scripts(prefix: str) -> None:
    """Pushpin's names begin with an underscore; the script that Fanout gave out has none."""
    async with serving() as (url, hub), ClientSession() as http:
        client = Client(url, http)
        form = urlencode([("ci", "name=a")])
        query = urlencode([(f"{prefix}method", "POST"), (f"{prefix}headers", "{}"), (f"{prefix}body", form)])
        assert (await client.by_script("/subscribe/", query))[0] == 200
        await hub.publisher.publish("a", "\u2028</script>")
        assert (await client.by_script("/feed/", client.query, "a.b"))[1]["a"]["items"] == ["\u2028</script>"]
        client.sid = "x"
        assert (await client.by_script("/feed/", client.query))[0] == 401
        assert (await client.by_script("/subscribe/", ""))[0] == 405
        assert (await client.by_script("/feed/", query))[0] == 405


@pytest.mark.parametrize("callback", ["", "a b", "alert(1)", 'a("x")', 'a("1")("2")', "a;b", "x" * 200])
async def test_a_callback_that_is_no_function_is_refused(callback: str) -> None:
    async with serving() as (url, _), ClientSession() as http:
        async with http.get(f"{url}/fpp/feed/?callback={quote(callback)}") as response:
            assert (response.status, response.content_type) == (400, "text/plain")


async def test_a_scripts_cookies_do_not_count() -> None:
    """Any page can have a script fetched with its visitor's cookies, and read what it says."""
    app = web.Application()
    hub = Hub(Settings(key=KEY, realm=REALM), identify=lambda cookie: "alice")
    hub.setup(app)
    who: list[str | None] = []
    hub.on("handshake", lambda session_id, channel, each: who.append(each.visitor))
    async with running(app, hub) as url, ClientSession() as http:
        http.headers["Cookie"] = "session=alice"
        client = Client(url, http)
        await client.subscribe("a")
        await hub.publisher.publish("a", 1)
        cursor = client.cursors["a"]
        await client.feed()
        client.cursors["a"] = cursor
        assert (await client.by_script("/feed/", client.query))[1]["a"]["items"] == [1]
    assert who == ["alice", None]


async def test_pages_of_other_origins_are_let_in_by_the_list() -> None:
    async with serving(origins=("https://good.example",)) as (url, _), ClientSession() as http:
        form = urlencode([("ci", "name=a")])
        for origin, status in (("https://good.example", 200), ("https://bad.example", 403)):
            headers = {"Origin": origin, "Content-Type": "application/x-www-form-urlencoded"}
            async with http.post(f"{url}/fpp/subscribe/", data=form, headers=headers) as response:
                assert response.status == status
                allowed = response.headers.get("Access-Control-Allow-Origin")
                assert allowed == (origin if status == 200 else "*")
            async with http.options(f"{url}/fpp/subscribe/", headers=headers) as response:
                assert ("Access-Control-Allow-Methods" in response.headers) is (status == 200)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "subscribe/", b"", 400),
        ("POST", "subscribe/", b"\xff", 400),
        ("POST", "subscribe", b"ci=nothing", 200),
        ("POST", "subscribe/", b"sid=x", 400),
        ("POST", "subscribe/", b"ci=name%3Da&" * 101, 400),
        ("POST", "subscribe/", b"x" * (256 * 1024 + 1), 413),
        ("GET", "subscribe/", b"", 405),
        ("POST", "feed/", b"", 405),
        ("GET", "feed/", b"", 401),
    ],
)
async def test_what_is_not_fpp_is_refused_in_one_line(method: str, path: str, body: bytes, status: int) -> None:
    async with serving() as (url, _), ClientSession() as http:
        async with http.request(method, f"{url}/fpp/{path}", data=body) as response:
            assert response.status == status
            assert (await response.text()).count("\n") == (status != 200)


async def test_a_hub_that_is_full_is_503_for_upon_429_the_client_would_give_up() -> None:
    async with serving(max_sessions=1) as (url, hub), ClientSession() as http:
        client = Client(url, http)
        await client.subscribe("a")
        async with http.ws_connect(f"{url}/ws?channel=a") as socket:
            await socket.receive_json()
            assert (await client.feed())[0] == 503
            assert hub.node.bayeux.limited["sessions"] == 1


async def test_an_unknown_realm_is_404() -> None:
    async with serving() as (url, _), ClientSession() as http:
        async with http.get(f"{url}/r/other/feed/") as response:
            assert response.status == 404


@given(st.text())
def test_any_instruction_is_read_or_is_none(text: str) -> None:
    found = _instruction(text)
    assert all(isinstance(value, str) for value in found.values())
    assert _since(None) is None
    assert isinstance(_since(text), Position)
    assert _since("cursor:e.7") == Position("e", 7)
