"""The load generator counts what it should, and does not count a run in which anything went wrong."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Callable

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from hub.bench import Generator, Load, LoadFailed, Phase, http_request, marker, server_at

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="the load generator needs a C compiler"
)

#: What the server sends for the n-th message that is published, from 0.
Rule = Callable[[int, str], list[str]]


def relay(rule: Rule) -> web.Application:
    """A server that gives its subscribers what `rule` says."""
    subscribers: list[web.WebSocketResponse] = []

    async def subscribe(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        subscribers.append(socket)
        await socket.receive()
        return socket

    async def publish(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        count = 0
        async for message in socket:
            assert message.type == WSMsgType.TEXT
            for text in rule(count, message.data):
                for subscriber in subscribers:
                    await subscriber.send_str(text)
            count += 1
        return socket

    app = web.Application()
    app.router.add_get("/sub", subscribe)
    app.router.add_get("/pub", publish)
    return app


async def sent(rule: Rule, stall: float = 30.0) -> Phase:
    """Forty messages to five subscribers of a server with this rule; `stall` seconds without a delivery end it."""
    server = TestServer(relay(rule), host="127.0.0.1")
    await server.start_server()
    try:
        assert server.port is not None
        load = Load("127.0.0.1", server.port, "websocket", "/sub", "websocket", "/pub", marker(100), stall=stall)
        return await asyncio.to_thread(send, load)
    finally:
        await server.close()


def send(load: Load) -> Phase:
    with Generator(load, None) as generator:
        generator.open(5)
        generator.open_publisher()
        return generator.flood(4, 20.0, 40)


async def test_what_arrives_is_counted_and_timed() -> None:
    phase = await sent(lambda number, text: [text])
    assert (phase.messages, phase.deliveries, phase.expected) == (40, 200, 200)
    assert (phase.duplicates, phase.gaps, phase.refused) == (0, 0, 0)
    assert 0 < phase.p50_us <= phase.p90_us <= phase.p99_us
    assert phase.peak_in_flight <= 4


async def test_a_message_sent_twice_spoils_the_run() -> None:
    with pytest.raises(LoadFailed, match="5 twice"):
        await sent(lambda number, text: [text, text] if number == 7 else [text])


async def test_a_lost_message_spoils_the_run() -> None:
    with pytest.raises(LoadFailed, match=r"nothing arrived .* 5 missing"):
        await sent(lambda number, text: [] if number == 7 else [text], stall=2.0)


async def test_messages_in_the_wrong_order_spoil_the_run() -> None:
    kept: list[str] = []

    def swap(number: int, text: str) -> list[str]:
        if number == 5:
            kept.append(text)
            return []
        return [text, kept[0]] if number == 6 else [text]

    with pytest.raises(LoadFailed, match="out of order"):
        await sent(swap, stall=2.0)


async def test_a_refused_upgrade_spoils_the_run() -> None:
    server = TestServer(relay(lambda number, text: [text]), host="127.0.0.1")
    await server.start_server()
    try:
        assert server.port is not None
        load = Load("127.0.0.1", server.port, "websocket", "/nothing", "websocket", "/pub", marker(100))
        with pytest.raises(LoadFailed, match=r"no upgrade: HTTP/1\.1 404"):
            await asyncio.to_thread(send, load)
    finally:
        await server.close()


def test_a_server_nobody_runs_is_said_so() -> None:
    with pytest.raises(LoadFailed, match="no connection: Connection refused"):
        send(Load("127.0.0.1", 1, "websocket", "/sub", "websocket", "/pub", marker(100)))


def test_a_port_leads_to_the_process_that_listens_on_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = server_at("127.0.0.1", listening.getsockname()[1])
        assert server is not None
        assert server.resident() > 1_000_000
        assert server.cpu() > 0
    assert server_at("127.0.0.1", 1) is None


def test_a_request_states_its_length() -> None:
    head, _, body = http_request("host:1", "/pub", marker(30)).partition("\r\n\r\n")
    assert len(body) == 30
    assert "Content-Length: 30" in head.split("\r\n")
