"""A client that ends its sending side behind its request, as `nc -N` and some health checkers do: it gets its answer.

Each got no byte, by every way in: the end of what it sent was taken for the end of the connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from aiohttp import ClientSession
from listening import KEY, REALM, serving

from hub.app import Hub
from hub.protocol import tokens
from hub.transports import halves, lean

BEARER = f"Authorization: Bearer {tokens.sign(REALM, KEY, 2e9)}\r\n"


async def ask(url: str, request: str, *, before: Callable[[], bool] | None = None) -> bytes:
    """What is answered to a request whose sender sends no more, until the end. before: what is awaited before that."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(request.encode())
    while before is not None and not before():
        await asyncio.sleep(0.01)
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer


def get(path: str, fields: str = "", version: str = "1.1") -> str:
    return f"GET {path} HTTP/{version}\r\nHost: a\r\n{fields}\r\n"


def post(path: str, body: str, fields: str = "") -> str:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n{fields}\r\n{body}"


async def session_of(http: ClientSession, url: str, channel: str) -> str:
    types = ["long-polling", "eventsource", "callback-polling"]
    shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": types}
    async with http.post(url + "/bayeux", json=[shake]) as answer:
        client_id = str((await answer.json())[0]["clientId"])
    subscribe = {"channel": "/meta/subscribe", "clientId": client_id, "subscription": channel}
    connect = {"channel": "/meta/connect", "clientId": client_id, "connectionType": "long-polling"}
    for message in (subscribe, connect):
        async with http.post(url + "/bayeux", json=[message]) as answer:
            assert (await answer.json())[0]["successful"]
    return client_id


def connect_of(client_id: str) -> str:
    return json.dumps([{"channel": "/meta/connect", "clientId": client_id, "connectionType": "long-polling"}])


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("fields", ["", "Connection: close\r\n", "Connection: keep-alive\r\n"])
async def test_what_needs_no_waiting_is_answered(version: str, fields: str) -> None:
    async with serving() as (url, _):
        for path in (
            "/health",
            "/ready",
            "/metrics",
            "/test",
            "/poll?channel=a",
            "/bayeux/fanout.js",
            "/nothing",
            "/bayeux",
        ):
            answer = await ask(url, get(path, fields, version))
            assert answer.startswith(b"HTTP/1."), path
        shake = '[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]'
        assert b'"clientId"' in await ask(url, post("/bayeux", shake, fields))
        assert b'"clientId"' in await ask(url, post("/bayeux?x=1", shake, fields))
        assert b" 200 " in await ask(url, post("/publish/", '{"items":[]}', fields + BEARER))
        assert b" 401 " in await ask(url, post("/publish/", '{"items":[]}', fields))


@pytest.mark.parametrize("path", ["/bayeux", "/bayeux?by=aiohttp"])
@pytest.mark.parametrize("is_late", [False, True])
async def test_held_connect_is_answered_at_once_with_nothing_lost(path: str, is_late: bool) -> None:
    """It may have left as well: what is published afterwards is for its next poll."""
    async with serving(connect_timeout=600) as (url, hub), ClientSession() as http:
        client_id = await session_of(http, url, "/a")

        def is_held() -> bool:
            session = hub.node.registry.get(client_id)
            return session is not None and session.hold is not None

        answer = await ask(url, post(path, connect_of(client_id)), before=is_held if is_late else None)
        assert b'"successful":true' in answer
        await hub.publisher.publish("a", 1)
        async with http.post(url + "/bayeux", data=connect_of(client_id)) as response:
            assert [each["data"] for each in await response.json() if "data" in each] == [1]


@pytest.mark.parametrize("path", ["/bayeux", "/bayeux?by=aiohttp"])
async def test_what_its_answer_carries_is_given_to_the_next_connect(path: str) -> None:
    """It may have left before: a worker that stood still for ten seconds found the poll of a client that had asked
    another one since, and what was written to nobody counted as arrived.
    """
    async with serving(connect_timeout=600) as (url, hub), ClientSession() as http:
        client_id = await session_of(http, url, "/a")
        await hub.publisher.publish("a", 1)
        # The request and the end of the connection are there before either is read.
        answer = await ask(url, post(path, connect_of(client_id)))
        assert b'"data":1' in answer
        for expected in ([1], []):
            asked = json.loads(connect_of(client_id))
            asked[0]["advice"] = {"timeout": 0}
            async with http.post(url + "/bayeux", json=asked) as response:
                assert [each["data"] for each in await response.json() if "data" in each] == expected


async def test_callback_poll_is_answered_at_once() -> None:
    async with serving(connect_timeout=600) as (url, _), ClientSession() as http:
        client_id = await session_of(http, url, "/a")
        answer = await ask(url, get(f"/bayeux?jsonp=f&message={quote(connect_of(client_id))}"))
        assert b"/**/f(" in answer


@pytest.mark.parametrize("is_late", [False, True])
async def test_polls_and_streams_end_behind_what_there_is(is_late: bool) -> None:
    async with serving(connect_timeout=600) as (url, hub), ClientSession() as http:
        position = str(await hub.publisher.position("a"))
        client_id = await session_of(http, url, "/a")

        def waits() -> bool:
            return bool(hub.node.links)

        before = waits if is_late else None
        answer = await ask(url, get(f"/poll?channel=a&position={position}"), before=before)
        assert b'"messages":[]' in answer
        async with http.post(f"{url}/fpp/subscribe/", data="ci=name%3Da") as response:
            sid = (await response.json())["sid"]
        fpp = f"/fpp/feed/?sid={sid}&ci=name%3Da%26since%3Dcursor%3A{position}"
        assert b'{"channels":{}}' in await ask(url, get(fpp), before=before)
        await hub.publisher.publish("a", 7)
        for version in ("1.1", "1.0"):
            answer = await ask(url, get(f"/sse?channel=a&position={position}", version=version), before=before)
            assert b"event: subscribed" in answer
            assert b'"data":7' in answer
            if version == "1.1":
                assert answer.endswith(b"\r\n0\r\n\r\n"), "ends as HTTP does"
        accept = "Accept: text/event-stream\r\n"
        assert b'"data":7' in await ask(url, get(f"/bayeux/{client_id}", accept), before=before)
        feed = get(f"/realm/{REALM}/subscriptions/stream/", BEARER)
        assert b" 200 " in await ask(url, feed, before=before)
        while hub.node.links:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("first", ["get", "post"])
async def test_each_of_several_requests_is_answered(first: str) -> None:
    async with serving() as (url, _):
        requests = [get("/health"), get("/test"), get("/poll?channel=a")]
        if first == "post":
            body = '{"items":[{"channel":"a","json-object":1}]}'
            requests = [post("/publish/", body, BEARER), post("/publish/", body, BEARER), *requests]
        answer = await ask(url, "".join(requests))
        assert answer.count(b"HTTP/1.1 200 ") == len(requests)


@pytest.mark.parametrize(
    "request_",
    ["", "GET /health HTTP/1.1\r\nHost: a\r\n", "POST /bayeux HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n[]"],
    ids=["nothing", "half a head", "half a body"],
)
async def test_what_is_not_whole_is_not_waited_for(request_: str) -> None:
    async with serving() as (url, hub):
        assert await ask(url, request_) == b""
        assert await ask(url, request_.replace("/bayeux", "/poll")) == b""
        while hub.door.waiting or hub.door.clients:
            await asyncio.sleep(0.01)


async def test_idle_connection_closes_at_once() -> None:
    async with serving() as (url, hub):
        for request in (get("/health"), post("/publish/", '{"items":[]}', BEARER)):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(request.encode())
            await reader.readuntil(b"\r\n\r\n")
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 60)
            writer.close()
            while hub.door.clients:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", ["/publish/", "/publish/?by=aiohttp"])
async def test_who_gets_no_answer_in_time_is_kept_no_longer(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is gone for good looks the same, so it is bounded."""
    for module in (halves, lean):
        monkeypatch.setattr(module, "LAST_SECONDS", 0.5)
        monkeypatch.setattr(module, "HURRY_SECONDS", 0.05)
    async with serving(order_wait=600) as (url, hub):
        body = '{"items":[{"channel":"a","json-object":1,"id":"1"}]}'
        assert b" 200 " in await ask(url, post(path, body, BEARER))
        body = '{"items":[{"channel":"a","json-object":1,"id":"3","prev-id":"2"}]}'
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(post(path, body, BEARER).encode())
        while not _waits_for_order(hub):
            await asyncio.sleep(0.01)
        writer.write_eof()
        try:
            assert await asyncio.wait_for(reader.read(), 60) == b""
        except ConnectionResetError:
            pass
        writer.close()
        while hub.door.clients:
            await asyncio.sleep(0.01)


def _waits_for_order(hub: Hub) -> bool:
    return bool(next(iter(hub.realms.values())).endpoint._ordering.waiting)
