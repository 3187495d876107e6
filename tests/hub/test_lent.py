"""Connections that aiohttp serves come back for polls, and only while nobody can doubt where their requests end."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote

import pytest
from listening import serving
from test_lean import HANDSHAKE, UNUSUAL, Line, line, post

from hub.app import Hub

GET = b"GET /health HTTP/1.1\r\nHost: hub.example\r\n\r\n"
PREFLIGHT = b"OPTIONS /bayeux HTTP/1.1\r\nHost: hub.example\r\nOrigin: http://hub.example\r\n\r\n"
SHAKE = post("/bayeux", [HANDSHAKE])


def by_us(hub: Hub) -> int:
    assert hub.desk is not None
    return hub.desk.requests


async def shaken(talk: Line, data: bytes = SHAKE) -> None:
    status, _, body = await talk.ask(data)
    assert status == 200
    assert json.loads(body)[0]["successful"]


async def test_polls_on_a_connection_that_brought_a_page_are_as_those_on_one_of_their_own() -> None:
    """Of a page's requests, sent at once over six connections, those over two came later than the rest."""
    async with serving() as (url, hub), line(url) as talk:
        for number in range(3):
            assert (await talk.ask(GET))[0] == 200
            await shaken(talk)
            assert by_us(hub) == 2 * number + 1
            await shaken(talk)
        assert len(hub.door._peers) == 1


async def test_poll_after_a_preflight_comes_back() -> None:
    async with serving() as (url, hub), line(url) as talk:
        talk.say(PREFLIGHT)
        head = await talk.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 204")
        await shaken(talk)
        assert by_us(hub) == 1


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(SHAKE.replace(b"Host", UNUSUAL.encode() + b"\r\nHost", 1), id="a body that only aiohttp reads"),
        pytest.param(GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\nbody"), id="GET with a body"),
        pytest.param(
            GET.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), id="GET with an empty body"
        ),
        pytest.param(GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"), id="GET that speaks of a body"),
    ],
)
async def test_connection_with_doubtful_requests_stays_with_aiohttp(before: bytes) -> None:
    async with serving() as (url, hub), line(url) as talk:
        assert (await talk.ask(before))[0] == 200
        await shaken(talk)
        assert by_us(hub) == 0


async def test_what_comes_behind_a_request_in_one_piece_is_answered_in_order() -> None:
    async with serving() as (url, hub), line(url) as talk:
        talk.say(GET + SHAKE + GET)
        assert [(await talk.answer())[0] for _ in range(3)] == [200] * 3
        await shaken(talk)
        assert by_us(hub) == 0


async def test_poll_that_comes_before_the_last_answer_waits_for_it() -> None:
    async with serving() as (url, hub), line(url) as first, line(url) as talk:
        (reply,) = await first.bayeux(HANDSHAKE)
        connect = {"channel": "/meta/connect", "clientId": reply["clientId"], "connectionType": "callback-polling"}
        await first.bayeux(connect)
        script = b"GET /bayeux?message=%b HTTP/1.1\r\nHost: hub.example\r\n\r\n" % quote(json.dumps(connect)).encode()
        talk.say(script)
        session = hub.node.registry.sessions[reply["clientId"]]
        async with asyncio.timeout(30):
            while session.hold is None:
                await asyncio.sleep(0.005)
        talk.say(SHAKE)
        await asyncio.sleep(0.05)
        hub.node.end_session(session, "tested")
        assert "callback" in (await talk.answer())[2].decode()
        status, _, body = await talk.answer()
        assert (status, json.loads(body)[0]["channel"]) == (200, "/meta/handshake")


async def test_head_in_two_pieces_is_not_taken_for_two_requests() -> None:
    """What begins with POST may be the middle of somebody's field: behind a proxy that would be another's request."""
    async with serving() as (url, hub), line(url) as talk:
        assert (await talk.ask(GET))[0] == 200
        talk.say(b"GET /health HTTP/1.1\r\nHost: hub.example\r\nX-Said: ")
        await asyncio.sleep(0.1)
        talk.say(b"POST /bayeux HTTP/1.1\r\n\r\n")
        assert (await talk.answer())[0] == 200
        await shaken(talk)
        assert by_us(hub) == 0
