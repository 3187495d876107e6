"""Polls and publishes without a framework: the same bytes as aiohttp's, and aiohttp for all that is unusual."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from listening import KEY, REALM, serving
from stopwatch import Stopwatch

from hub.app import Hub
from hub.protocol import tokens
from hub.transports.lean import AHEAD_BYTES, BODY_BYTES, Desk, Lean

HANDSHAKE = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}
PUBLISH = f"/realm/{REALM}/publish/"
ITEM = {"items": [{"channel": "a", "json-object": 1}]}

#: A field that changes nothing, but that only aiohttp is trusted with.
UNUSUAL = "TE: trailers"


def token() -> str:
    return f"Authorization: Bearer {tokens.sign(REALM, KEY, time.time())}"


def post(path: str, body: object, *fields: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", "Host: hub.example", *fields, f"Content-Length: {len(data)}", "", ""]
    return "\r\n".join(head).encode() + data


class Line:
    """A connection to a served hub, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, str, bytes]:
        """Status, head without its date, and body of the next answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)content-length: (\d+)", head)
        assert length is not None, head
        body = await self.reader.readexactly(int(length[1]))
        return int(head.split()[1]), re.sub(r"Date: [^\r]*", "Date: then", head), body

    async def ask(self, data: bytes) -> tuple[int, str, bytes]:
        self.say(data)
        return await self.answer()

    async def bayeux(self, *messages: dict[str, Any]) -> list[dict[str, Any]]:
        status, _, body = await self.ask(post("/bayeux", list(messages)))
        assert status == 200
        found: list[dict[str, Any]] = json.loads(body)
        return found


@contextlib.asynccontextmanager
async def line(url: str) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def desk_of(hub: Hub) -> Desk:
    assert hub.desk is not None
    return hub.desk


async def until(said: Any) -> None:
    """Wait until a condition holds that the loop is about to bring about."""
    async with asyncio.timeout(60):
        while not said():
            await asyncio.sleep(0.001)


class Wire(asyncio.Transport):
    """A transport that keeps what is written. `refuses`: as uvloop's does once its handle is closed."""

    def __init__(self, refuses: bool = False) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.reading = True
        self.refuses = refuses
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: Any) -> None:
        if self.refuses:
            raise RuntimeError("unable to perform operation; the handler is closed")
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class Framework(asyncio.Protocol):
    """Stands where aiohttp's handler does and keeps what it is handed."""

    def __init__(self) -> None:
        self.got = b""
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data


def beginning(hub: Hub, *, refuses: bool = False) -> tuple[Lean, Wire, Framework]:
    """A lean connection on a wire, with somebody to hand it over to."""
    framework = Framework()
    desk = desk_of(hub)
    desk.door.server = cast(Any, lambda: framework)
    lean, wire = desk.protocol(), Wire(refuses)
    lean.connection_made(wire)
    return lean, wire, framework


async def its_turn(lean: Lean) -> None:
    """Return when nothing that came on a lean connection waits."""
    async with asyncio.timeout(10):
        # Between two requests it waits for a round of the loop, too.
        while lean.waits or (lean._buffer and not lean.busy and lean._plan is None and b"\r\n\r\n" in lean._buffer):
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("/bayeux", b"", ()),
        ("/bayeux", b"[]", ()),
        ("/bayeux", b"[null", ()),
        ("/bayeux", b'[{"channel":"/meta/connect","clientId":"x","id":"1"}]', ()),
        ("/bayeux/connect", b'{"channel":"/meta/connect"}', ("Origin: http://hub.example",)),
        ("/bayeux", b"message=%5B%7B%7D%5D", ("Content-Type: application/x-www-form-urlencoded",)),
        ("/bayeux", b"[{}]", ("Origin: https://elsewhere.example",)),
        ("/bayeux", b"[{}]", ("Origin: https://listed.example",)),
        ("/bayeux", b"[{}]", ("Origin: https://\xc3\xa9.example",)),
        (PUBLISH, ITEM, ("Authorization: TOKEN",)),
        (PUBLISH.rstrip("/"), ITEM, ("Authorization: TOKEN", "Accept: text/plain, application/json")),
        (PUBLISH + "a", {"items": [{"fpp": 1}]}, ("Authorization: TOKEN",)),
        (PUBLISH + "a/b/", {"items": [{"fpp": 1}]}, ("Authorization: TOKEN",)),
        (PUBLISH + "b", ITEM, ("Authorization: TOKEN",)),
        ("/publish", ITEM, ("Authorization: TOKEN", "Connection: Keep-Alive")),
        ("/publish/", {}, ("Authorization: TOKEN",)),
        ("/publish/", {"items": []}, ("Authorization: TOKEN", "Accept: application/json")),
        ("/realm/other/publish", ITEM, ("Authorization: TOKEN",)),
        (PUBLISH, ITEM, ()),
        (PUBLISH, {"items": [{"channel": "meta/x", "json-object": 1}]}, ("Authorization: TOKEN",)),
    ],
)
async def test_both_ways_answer_with_the_same_bytes(path: str, body: object, fields: tuple[str, ...]) -> None:
    shown = [field.replace("Authorization: TOKEN", token()) for field in fields]
    async with serving(origins=("https://listed.example",)) as (url, hub), line(url) as lean, line(url) as other:
        mine = await lean.ask(post(path, body, *shown))
        assert desk_of(hub).requests == 1
        theirs = await other.ask(post(path, body, *shown, UNUSUAL))
        assert desk_of(hub).requests == 1
        assert mine == theirs


async def test_connection_is_kept_and_pipelined_requests_are_answered_in_order() -> None:
    async with serving() as (url, hub), line(url) as talk:
        publish = post(PUBLISH, ITEM, token())
        bad = post("/bayeux", b"[")
        talk.say(publish + bad + publish + bad)
        assert [(await talk.answer())[0] for _ in range(4)] == [200, 400, 200, 400]
        assert (await talk.ask(publish))[0] == 200
        assert desk_of(hub).requests == 5


async def test_unusual_request_takes_the_connection_to_aiohttp_for_good() -> None:
    """Also when it comes with others in one piece: what was before it is answered first."""
    async with serving() as (url, hub), line(url) as talk:
        publish = post(PUBLISH, ITEM, token())
        chunked = post(PUBLISH, b"", token(), "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
        data = json.dumps(ITEM).encode()
        chunked += b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
        get = b"GET /health HTTP/1.1\r\nHost: hub.example\r\n\r\n"
        talk.say(publish + get + publish + chunked + publish)
        answers = [await talk.answer() for _ in range(5)]
        assert [status for status, _, _ in answers] == [200] * 5
        assert json.loads(answers[1][2])["ready"] is True
        assert desk_of(hub).requests == 1


@pytest.mark.parametrize(
    "data",
    [
        post("/bayeux", b"[{}]", "Transfer-Encoding: chunked"),
        post("/bayeux", b"[{}]", "Content-Length: 2"),
        post("/bayeux", b"[{}]", "Content-Length: 4"),
        post("/bayeux", b"[{}]").replace(b"Content-Length: 4", b"Content-Length: +4"),
        post("/bayeux", b"[{}]").replace(b"Content-Length: 4", b"Content-Length: 4, 4"),
        post("/bayeux", b"[{}]").replace(b"Content-Length: 4", b"Content-Length : 4"),
        post("/bayeux", b"[{}]").replace(b"Content-Length: 4\r\n", b""),
        post("/bayeux", b"[{}]").replace(b"\r\nHost", b"\nHost"),
        post("/bayeux", b"[{}]").replace(b"\r\n", b"\n"),
        post("/bayeux", b"[{}]").replace(b"Host: hub.example\r\n", b""),
        post("/bayeux", b"[{}]", "Host: other.example"),
        post("/bayeux", b"[{}]").replace(b"HTTP/1.1", b"HTTP/1.0"),
        post("/bayeux", b"[{}]").replace(b"HTTP/1.1", b"HTTP/2.0"),
        post("/bayeux", b"[{}]", "X: \x01"),
        post("/bayeux", b"[{}]", " folded"),
        post("/bayeux", b"[{}]", "Expect: 100-continue"),
        post("/bayeux", b"[{}]", "Connection: close"),
        post("/bayeux", b"[{}]", "Connection: upgrade", "Upgrade: h2c"),
        post("/bayeux", b"[{}]", "Content-Encoding: gzip"),
        # By its head alone: a body of more than BODY_BYTES.
        post("/bayeux", b"[{}]").replace(b"Content-Length: 4", b"Content-Length: %d" % (BODY_BYTES + 1)),
        post("/bayeux", b"[{}]", "X: " + "x" * 40_000),
        post("/bayeux/../publish/", b"{}"),
        post("/bayeux//", b"[{}]"),
        post("/bayeux?a", b"[{}]"),
        post("/bayeuxes", b"[{}]"),
        post("/%62ayeux", b"[{}]"),
        post("http://hub.example/bayeux", b"[{}]"),
        post("/realm/a/position/", b""),
        post("/event/x", b""),
        b"\r\n" + post("/bayeux", b"[{}]"),
        b"PUT /bayeux HTTP/1.1\r\n\r\n",
        b"POSTER / HTTP/1.1\r\n\r\n",
    ],
)
async def test_whatever_could_be_read_in_two_ways_is_handed_over_byte_for_byte(data: bytes) -> None:
    """One parser decides where the next request begins: what this one is not sure of is not its to answer."""
    async with serving() as (_, hub):
        for size in (len(data), 1000, 1):
            lean, wire, framework = beginning(hub)
            pieces = [data[start : start + size] for start in range(0, len(data), size)]
            for piece in pieces:
                cast(asyncio.Protocol, wire.protocol or lean).data_received(piece)
            assert framework.got == data
            assert framework.transport is wire
            assert not wire.written
        assert desk_of(hub).requests == 0
        assert not [each for each in desk_of(hub).connections if each.busy]


@pytest.mark.parametrize(
    "data",
    [
        post("/bayeux", b"[{}]", "Transfer-Encoding: chunked"),
        post("/bayeux", b"[{}]", "Content-Length: 2"),
        post("/bayeux", b"[{}]").replace(b"Content-Length: 4", b"Content-Length: 4, 5"),
        post("/bayeux", b"[{}]").replace(b"Content-Length: 4", b"Content-Length : 4"),
    ],
)
async def test_smuggled_request_is_refused_and_never_answered(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="hub")
    async with serving() as (url, hub), line(url) as talk:
        talk.say(data + post(PUBLISH, ITEM, token()))
        status, _, _ = await talk.answer()
        assert status == 400
        assert await talk.reader.read() == b""
        assert hub.node.counters.published == 0
    # A client's mistake is a line at debug: aiohttp's traceback took a millisecond, whoever sent the request.
    (told,) = [each for each in caplog.records if each.getMessage() == "request refused"]
    assert (told.levelname, told.exc_info) == ("DEBUG", None)
    assert not [each for each in caplog.records if each.exc_info]


async def test_requests_may_be_split_anywhere() -> None:
    async with serving() as (_, hub):
        data = post(PUBLISH, ITEM, token()) + post("/bayeux/", b"[", "Origin: http://hub.example")
        lean, wire, _ = beginning(hub)
        lean.data_received(data)
        await its_turn(lean)
        whole = re.sub(rb"Date: [^\r]*", b"", wire.written)
        for at in range(1, len(data)):
            lean, wire, framework = beginning(hub)
            lean.data_received(data[:at])
            lean.data_received(data[at:])
            await its_turn(lean)
            assert re.sub(rb"Date: [^\r]*", b"", wire.written) == whole
            assert not framework.got
        lean, wire, _ = beginning(hub)
        for byte in data:
            lean.data_received(bytes([byte]))
        await its_turn(lean)
        assert re.sub(rb"Date: [^\r]*", b"", wire.written) == whole


async def test_one_who_asks_without_a_pause_waits_for_its_turn_and_keeps_its_order() -> None:
    async with serving() as (_, hub):
        lean, wire, _ = beginning(hub)
        for number in range(20):
            lean.data_received(post("/bayeux", b'[{"channel":"/meta/connect","clientId":"x","id":"%d"}]' % number))
        assert wire.written.count(b"HTTP/1.1 200") == 1
        assert lean.waits
        await its_turn(lean)
        assert re.findall(rb'"id":"(\d+)"', wire.written) == [b"%d" % number for number in range(20)]


async def test_quiet_one_is_served_before_the_large_that_came_earlier() -> None:
    async with serving() as (_, hub):
        busy = [beginning(hub) for _ in range(8)]
        for lean, _, _ in busy:
            lean.data_received(post("/bayeux", b"[" + b"0," * 20_000 + b"0]"))
        quiet, wire, _ = beginning(hub)
        quiet.data_received(post(PUBLISH, ITEM, token()))
        assert wire.written.startswith(b"HTTP/1.1 200")
        assert not any(each.written for _, each, _ in busy)
        async with asyncio.timeout(60):
            # Taken in pieces, each of them.
            while not all(each.written.startswith(b"HTTP/1.1 200") for _, each, _ in busy):
                await asyncio.sleep(0)
        assert hub.door.turns.taken >= 8


async def test_of_large_bodies_that_come_together_one_is_read_on_in_a_round() -> None:
    """Four senders of a megabyte each kept the loop reading for most of its time, 256 KB of each in every round."""
    async with serving() as (_, hub):
        whole = post("/bayeux", b"[" + b"0," * 20_000 + b"0]")
        senders = [beginning(hub) for _ in range(8)]
        for lean, wire, _ in senders:
            lean.data_received(whole[:10_000])
            assert not wire.reading
        reading = []
        async with asyncio.timeout(60):
            while len(reading) < 8:
                await asyncio.sleep(0)
                found = [
                    number for number, (_, wire, _) in enumerate(senders) if wire.reading and number not in reading
                ]
                assert len(found) <= 1
                reading += found
        assert reading == list(range(8))
        gone, _, _ = beginning(hub)
        gone.data_received(whole[:10_000])
        gone.connection_lost(None)
        for lean, wire, _ in senders:
            lean.data_received(whole[10_000:20_000])
            assert not wire.reading
        async with asyncio.timeout(60):
            while not all(wire.reading for _, wire, _ in senders):
                await asyncio.sleep(0)
        for lean, _, _ in senders:
            lean.data_received(whole[20_000:])
        async with asyncio.timeout(60):
            while not all(wire.written.startswith(b"HTTP/1.1 200") for _, wire, _ in senders):
                await asyncio.sleep(0)


async def test_one_that_leaves_while_it_waits_is_forgotten() -> None:
    async with serving() as (_, hub):
        lean, wire, _ = beginning(hub)
        lean.data_received(post("/bayeux", b"[" + b"0," * 20_000 + b"0]"))
        lean.connection_lost(None)
        await its_turn(lean)
        assert not wire.written
        assert not hub.desk or lean not in hub.desk.connections


class TestHeldPolls:
    async def held(self, talk: Line, hub: Hub) -> Any:
        """Handshake, subscribe to /a, connect, and connect again, which is held."""
        (shake,) = await talk.bayeux(HANDSHAKE)
        me = {"clientId": shake["clientId"]}
        connect = {"channel": "/meta/connect", "connectionType": "long-polling"} | me
        await talk.bayeux({"channel": "/meta/subscribe", "subscription": "/a"} | me)
        await talk.bayeux(connect)
        talk.say(post("/bayeux", [connect]))
        session = hub.node.registry.get(shake["clientId"])
        assert session is not None
        await until(lambda: session.hold is not None)
        return session, connect

    async def test_what_is_published_is_the_answer_and_the_next_request_follows(self) -> None:
        async with serving() as (url, hub), line(url) as talk:
            _, connect = await self.held(talk, hub)
            # Pipelined behind the held one, so it has to wait for that one's answer.
            talk.say(post("/bayeux", b"["))
            await hub.publisher.publish("a", {"x": 1})
            delivery, _ = json.loads((await talk.answer())[2])
            assert delivery["data"] == {"x": 1}
            assert (await talk.answer())[0] == 400
            talk.say(post("/bayeux", [connect]))
            await hub.publisher.publish("a", 2)
            assert json.loads((await talk.answer())[2])[0]["data"] == 2

    @pytest.mark.parametrize("how", ["close", "abort"])
    async def test_client_that_leaves_takes_nothing_with_it(self, how: str) -> None:
        async with serving() as (url, hub):
            async with line(url) as talk:
                session, connect = await self.held(talk, hub)
                getattr(talk.writer.transport, how)()
                await until(lambda: session.hold is None)
            await hub.publisher.publish("a", 1)
            async with line(url) as talk:
                assert (await talk.bayeux(connect))[0]["data"] == 1

    async def test_answer_that_can_not_be_written_is_kept_for_the_next_poll(self) -> None:
        async with serving() as (url, hub):
            async with line(url) as talk:
                session, connect = await self.held(talk, hub)
                wire = Wire(refuses=True)
                session.hold.to._connection._transport = wire
                await hub.publisher.publish("a", 1)
                await until(lambda: session.hold is None)
            async with line(url) as talk:
                assert (await talk.bayeux(connect))[0]["data"] == 1

    async def test_shutdown_answers_and_closes(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            async with serving(connect_timeout=30.0) as (url, hub):
                talk = await stack.enter_async_context(line(url))
                idle = await stack.enter_async_context(line(url))
                await self.held(talk, hub)
                await idle.bayeux(HANDSHAKE)
            (reply,) = json.loads((await talk.answer())[2])
            assert reply["advice"]["reconnect"] == "retry"
            assert await talk.reader.read() == b""
            assert await idle.reader.read() == b""

    async def test_idle_held_poll_costs_no_task(self) -> None:
        async with serving() as (url, hub), line(url) as talk:
            before = len(asyncio.all_tasks())
            await self.held(talk, hub)
            assert len(asyncio.all_tasks()) == before


class TestSlowness:
    async def test_head_that_never_ends_is_cut(self) -> None:
        async with serving(head_timeout=0.2) as (url, hub), line(url) as talk:
            await talk.bayeux(HANDSHAKE)
            talk.say(b"POST /bayeux HTTP/1.1\r\nHost")
            assert await talk.reader.read() == b""
            await until(lambda: not desk_of(hub).connections)

    async def test_crumbs_do_not_buy_a_head_more_time(self) -> None:
        async with serving(head_timeout=0.3) as (url, _), line(url) as talk:
            talk.say(b"POST /bayeux HTTP/1.1\r\nX: ")

            async def drip() -> None:
                with contextlib.suppress(ConnectionError):
                    while True:
                        talk.say(b"x")
                        await asyncio.sleep(0.05)

            dripping = asyncio.create_task(drip())
            with Stopwatch() as watch, contextlib.suppress(ConnectionError):
                assert await talk.reader.read() == b""
            dripping.cancel()
            assert watch.seconds < 2

    @pytest.mark.parametrize("path", ["/bayeux", PUBLISH])
    async def test_body_that_stalls_is_told_so(self, path: str) -> None:
        async with serving(body_timeout=0.2) as (url, _), line(url) as talk:
            status, head, _ = await talk.ask(post(path, ITEM, token())[:-1])
            assert status == 408
            assert "Connection: close" in head
            assert await talk.reader.read() == b""

    async def test_who_sends_and_does_not_read_is_not_read_from(self) -> None:
        """Requests behind a held poll, or behind answers that nobody takes, wait in the sender's own buffers."""
        async with serving() as (_, hub):
            lean, wire, _ = beginning(hub)
            request = post("/bayeux", b"[")
            lean.pause_writing()
            for _ in range(AHEAD_BYTES // len(request) + 1):
                lean.data_received(request)
            assert not wire.reading
            assert not wire.written
            lean.resume_writing()
            await its_turn(lean)
            assert wire.reading
            assert wire.written.count(b"HTTP/1.1 400 ") == AHEAD_BYTES // len(request) + 1


async def test_bug_in_the_hub_is_a_500_with_a_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as (url, hub), line(url) as talk:

        def fails(*args: object, **named: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(hub.node, "accept", fails)
        status, _, _ = await talk.ask(post("/bayeux", [HANDSHAKE]))
        assert status == 500
        assert await talk.reader.read() == b""
        assert "ZeroDivisionError" in caplog.text


async def test_remembered_heads_are_bounded_and_tokens_in_them_still_expire() -> None:
    async with serving(token_leeway=0.0) as (url, hub), line(url) as talk:
        brief = f"Authorization: Bearer {tokens.sign(REALM, KEY, time.time(), life=1.2)}"
        assert (await talk.ask(post(PUBLISH, ITEM, brief)))[0] == 200
        for number in range(1100):
            desk_of(hub).plan(post("/bayeux", b"", f"X: {number}"))
        assert len(desk_of(hub)._plans) <= 1024
        async with asyncio.timeout(60):
            while (await talk.ask(post(PUBLISH, ITEM, brief)))[0] == 200:
                await asyncio.sleep(0.05)
