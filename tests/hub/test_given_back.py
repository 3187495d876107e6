"""What is over is given back at once, though the wheel would have looked at it some time later."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Callable
from typing import Any

from aiohttp import ClientSession
from listening import KEY, REALM, serving
from wire import request, say

from hub.app import Hub
from hub.polls import Poll
from hub.protocol import tokens
from hub.protocol.access import Grant
from hub.sessions.session import Session

SHAKE = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}


def waiting(hub: Hub, callback: Callable[..., Any]) -> int:
    """Entries of the wheel."""
    return sum(len(slot.get(callback, ())) for slot in hub.node.wheel._slots.values())


def alive(kind: type) -> int:
    gc.collect()
    # Not isinstance: an object of another test that makes itself when its class is asked for would.
    return sum(issubclass(type(each), kind) for each in gc.get_objects())


async def test_poll_that_was_answered_is_not_kept_until_it_was_due() -> None:
    """The wheel had each held connect with its answer for up to 45 s: 400 polls that carried 500 kB were 250 MiB."""
    async with serving(client_publish=("/open/*",), connect_timeout=45.0) as (url, hub):

        async def tell(*messages: dict[str, object]) -> list[dict[str, object]]:
            answer = await say(url, request("POST /bayeux", body=json.dumps(messages).encode()))
            replies: list[dict[str, object]] = json.loads(answer.body)
            return replies

        client, other = [(await tell(SHAKE))[0]["clientId"] for _ in range(2)]
        await tell({"channel": "/meta/subscribe", "clientId": client, "subscription": "/open/a"})
        connect = {"channel": "/meta/connect", "clientId": client, "connectionType": "long-polling"}
        await tell(connect)
        before = alive(Poll)
        for number in range(20):
            held = asyncio.create_task(tell(connect))
            while hub.node.registry.sessions[str(client)].hold is None:
                await asyncio.sleep(0.001)
            await tell({"channel": "/open/a", "clientId": other, "data": number})
            assert [each["data"] for each in await held if "data" in each] == [number]
        assert alive(Poll) <= before + 1
        assert waiting(hub, hub.node.deadlines.hold_is_due) == 1


async def test_held_poll_is_answered_when_it_is_due_whatever_was_due_before() -> None:
    async with serving(connect_timeout=45.0) as (url, hub):

        async def tell(message: dict[str, object]) -> float:
            begun = time.monotonic()
            answer = await say(url, request("POST /bayeux", body=json.dumps([message]).encode()))
            assert json.loads(answer.body)[0]["successful"]
            return time.monotonic() - begun

        answer = await say(url, request("POST /bayeux", body=json.dumps([SHAKE]).encode()))
        client = json.loads(answer.body)[0]["clientId"]
        connect = {"channel": "/meta/connect", "clientId": client, "connectionType": "long-polling"}
        await tell(connect)
        session = hub.node.registry.sessions[client]
        long = asyncio.create_task(say(url, request("POST /bayeux", body=json.dumps([connect]).encode())))
        while session.hold is None:
            await asyncio.sleep(0.001)
        # Each takes the place of the one before.
        for milliseconds in (300, 900, 300):
            took = await tell({**connect, "advice": {"timeout": milliseconds}})
            assert milliseconds / 1000 <= took < milliseconds / 1000 + 1.0
        await long
        assert session.hold is None


async def test_grant_of_a_session_that_is_over_is_not_kept() -> None:
    """The wheel had each session with its token for a minute: 10,000 polls with one of a hundred names were 76 MiB."""
    token = tokens.sign(REALM, KEY, time.time(), life=3600, channels=[f"private-{each}" for each in range(100)])
    async with serving() as (url, _):
        target = f"GET /poll?channel=private-0&token={token}"
        assert (await say(url, request(target))).status == 200
        before = alive(Grant), alive(Session)
        for _ in range(20):
            await say(url, request(target))
        assert (alive(Grant), alive(Session)) <= (before[0] + 1, before[1] + 1)


async def test_tokens_that_are_shown_in_turn_are_not_kept() -> None:
    """As many as a client had shown were kept for a minute each, which nothing bounded."""
    two = [
        tokens.sign(REALM, KEY, time.time(), life=3600, channels=["private-0", f"private-{each}"]) for each in (1, 2)
    ]
    async with serving() as (url, hub), ClientSession() as http, http.ws_connect(f"{url}/ws") as ws:
        before = alive(Grant)
        for number in range(20):
            await ws.send_json({"subscribe": ["private-0"], "token": two[number % 2]})
            assert "subscribed" in await ws.receive_json()
        assert alive(Grant) <= before + 2
        assert waiting(hub, hub.node.deadlines.grant_is_due) == 1


async def test_newer_token_that_expires_sooner_is_watched_all_the_same() -> None:
    late, soon = (tokens.sign(REALM, KEY, time.time(), life=life, channels=["private-0"]) for life in (3600, 2))
    async with (
        serving(token_leeway=0.0) as (url, _),
        ClientSession() as http,
        http.ws_connect(f"{url}/ws") as ws,
        asyncio.timeout(10),
    ):
        for token in (late, soon):
            await ws.send_json({"subscribe": ["private-0"], "token": token})
            assert "subscribed" in await ws.receive_json()
        message = await ws.receive()
        assert message.extra == "token expired"
