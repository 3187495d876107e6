"""Clients whose network went away without a FIN, on every way in that stays open, and what the hub notices of it."""

from __future__ import annotations

import asyncio
import ctypes
import json
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import pytest
from aiohttp import ClientSession
from listening import KEY, REALM, serving
from stopwatch import Stopwatch

from hub.protocol import tokens
from hub.transports.half_open import bound_silence
from hub.transports.lean import Lean

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the options are Linux's")

_SO_ATTACH_FILTER = 26


def vanish(sock: socket.socket) -> None:
    """Let this socket get nothing any more, not even an acknowledgement: what a peer sees of a network that is gone.

    A filter of one instruction, "return 0", drops each packet before TCP has seen it; that takes no privileges.
    """
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))


class Wire:
    """Requests as a browser writes them, on one connection."""

    def __init__(self, url: str, user: str) -> None:
        self.port = urlsplit(url).port
        self.token = tokens.sign(REALM, KEY, time.time(), sub=user, channels=["**"])
        self.sock = socket.socket()

    async def open(self) -> None:
        self.sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(self.sock, ("127.0.0.1", self.port))

    async def write(self, method: str, target: str, body: str = "", *headers: str) -> None:
        head = [f"{method} {target} HTTP/1.1", "Host: x", *headers]
        if body:
            head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        text = "\r\n".join([*head, "", body])
        await asyncio.get_running_loop().sock_sendall(self.sock, text.encode())

    async def answer(self) -> str:
        """The body of an answer that has a length."""
        text = b""
        while True:
            text += await asyncio.get_running_loop().sock_recv(self.sock, 65536)
            head, _, body = text.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            if len(body) >= length:
                return body.decode()

    async def bayeux(self, kind: str) -> str:
        """Handshake, subscribe and the first connect; returns the clientId."""
        types = {"version": "1.0", "supportedConnectionTypes": [kind]}
        hello = {"channel": "/meta/handshake", "ext": {"token": self.token}, **types}
        await self.write("POST", "/bayeux", json.dumps([hello]))
        client = str(json.loads(await self.answer())[0]["clientId"])
        connect = {"channel": "/meta/connect", "clientId": client, "connectionType": kind, "advice": {"timeout": 0}}
        subscribe = {"channel": "/meta/subscribe", "clientId": client, "subscription": "/room"}
        await self.write("POST", "/bayeux", json.dumps([subscribe, connect]))
        assert all(reply["successful"] for reply in json.loads(await self.answer()))
        return client


async def ws(wire: Wire) -> None:
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    await wire.write("GET", f"/ws?channel=room&token={wire.token}", "", *upgrade, f"Sec-WebSocket-Key: {'x' * 22}==")


async def sse(wire: Wire) -> None:
    await wire.write("GET", f"/sse?channel=room&token={wire.token}")


async def poll(wire: Wire) -> None:
    await wire.write("GET", f"/poll?channel=room&token={wire.token}")
    position = json.loads(await wire.answer())["position"]
    await wire.write("GET", f"/poll?channel=room&token={wire.token}&position={quote(position)}")


async def fpp(wire: Wire) -> None:
    form = urlencode({"ci": "name=room", "auth_token": wire.token})
    kind = "Content-Type: application/x-www-form-urlencoded"
    await wire.write("POST", "/fpp/subscribe/", "", kind, f"Content-Length: {len(form)}\r\n\r\n{form}")
    said = json.loads(await wire.answer())
    ci = urlencode({"name": "room", "since": "cursor:" + said["channels"]["room"]["last_cursor"]})
    await wire.write("GET", "/fpp/feed/?" + urlencode({"sid": said["sid"], "ci": ci}))


def _connect(client: str, kind: str) -> str:
    return json.dumps([{"channel": "/meta/connect", "clientId": client, "connectionType": kind, "id": "2"}])


async def long_polling(wire: Wire) -> None:
    client = await wire.bayeux("long-polling")
    await wire.write("POST", "/bayeux", _connect(client, "long-polling"))


async def callback_polling(wire: Wire) -> None:
    client = await wire.bayeux("callback-polling")
    query = urlencode({"message": _connect(client, "callback-polling"), "jsonp": "f"})
    await wire.write("GET", "/bayeux?" + query)


async def eventsource(wire: Wire) -> None:
    client = await wire.bayeux("eventsource")
    await wire.write("GET", f"/bayeux/{client}", "", "Accept: text/event-stream")


WAYS = [ws, sse, poll, fpp, long_polling, callback_polling, eventsource]


async def test_who_vanished_without_a_word_is_gone_alike_on_every_way_in(tmp_path: Path) -> None:
    """On an event stream a ghost stayed for 957 s, until the kernel had tried fifteen times; a WebSocket's for 28."""
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nchannels = ["**"]\npresence = "open"\n', encoding="utf-8")
    # Held for longer than the test may take: an answer to a poll would be no sign of its client, but end the poll.
    times = {"ping_interval": 3.0, "presence_leave": 0.5, "session_ttl": 600.0, "connect_timeout": 600.0}
    async with serving(rules=rules, **times) as (url, _), ClientSession(url) as http:

        async def there() -> set[str]:
            async with http.get("/presence?channel=room") as response:
                return {each["user"] for each in (await response.json())["users"]}

        async def until(fact: Callable[[set[str]], bool], seconds: float) -> None:
            async with asyncio.timeout(seconds):
                while not fact(await there()):
                    await asyncio.sleep(0.05)

        users = {way.__name__ for way in WAYS}
        wires = {way: Wire(url, way.__name__) for way in WAYS}
        # Who is polite stays, however quiet it is: these acknowledge, which is the kernel's business.
        kept = {way: Wire(url, "kept-" + way.__name__) for way in WAYS if way is not ws}
        for way, wire in [*wires.items(), *kept.items()]:
            await wire.open()
            await way(wire)
        stay = {"kept-" + way.__name__ for way in kept}
        await until(lambda found: found >= users | stay, 60)
        for wire in wires.values():
            vanish(wire.sock)
        with Stopwatch() as watch:
            # A WebSocket takes two intervals at the most, whatever else is open about 5 s. The kernel alone takes 900.
            await until(lambda found: not found & users, 120)
        assert watch.seconds > 1, "they were not believed gone at once"
        await asyncio.sleep(1)
        assert await there() == stay
        for wire in [*wires.values(), *kept.values()]:
            wire.sock.close()


async def test_who_acknowledges_and_reads_nothing_is_gone_alike_on_every_way_in() -> None:
    # Nothing else of the hub's ends them before the test does, but pings: those end the WebSocket.
    times = {"ping_interval": 3.0, "session_ttl": 600.0, "connect_timeout": 600.0, "idle_timeout": 600.0}
    async with serving(**times) as (url, hub):
        wires = {way: Wire(url, way.__name__) for way in WAYS}
        for way, wire in wires.items():
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await wire.open()
            await way(wire)
        async with asyncio.timeout(60):
            while len(hub.node.registry.audiences["/room"]) < len(wires):
                await asyncio.sleep(0.01)
        await hub.publisher.publish("room", "x" * 900_000)
        with Stopwatch() as watch:
            async with asyncio.timeout(120):
                while hub.door.clients:
                    await asyncio.sleep(0.05)
        assert watch.seconds > 1, "they were given time"
        for wire in wires.values():
            wire.sock.close()


def _poll(client: str, position: str) -> str:
    return f"GET /poll?channel=a&position={position} HTTP/1.1\r\nHost: x\r\n\r\n"


def _replay(client: str, position: str) -> str:
    messages = [
        {"channel": "/meta/subscribe", "clientId": client, "subscription": "/a", "ext": {"position": {"/a": position}}},
        {"channel": "/meta/connect", "clientId": client, "connectionType": "long-polling", "advice": {"timeout": 0}},
    ]
    body = json.dumps(messages)
    return f"POST /bayeux HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}"


@pytest.mark.parametrize("request_of", [_poll, _replay])
async def test_one_answer_waits_for_who_reads_none(request_of: Callable[[str, str], str]) -> None:
    """However much it asks for in one breath: here 12 MB, of which the kernel takes up to four by itself."""
    async with serving(idle_timeout=600.0) as (url, hub), ClientSession() as http:
        position = str(await hub.publisher.position("a"))
        await hub.publisher.publish("a", "x" * 300_000)
        wire = Wire(url, "deaf")
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await wire.open()
        client = await wire.bayeux("long-polling")
        await asyncio.get_running_loop().sock_sendall(wire.sock, 40 * request_of(client, position).encode())

        def waits() -> int:
            """Bytes that the kernel has not taken, of whoever serves the connection by now."""
            peer = next(iter(hub.door._peers))
            transport = peer._transport if isinstance(peer, Lean) else peer.transport
            return int(transport.get_write_buffer_size())

        async with asyncio.timeout(60):
            while waits() < 64 * 1024:
                await asyncio.sleep(0.01)
        for _ in range(20):
            # Others are served meanwhile.
            async with http.get(f"{url}/poll?channel=b") as response:
                assert response.status == 200
            assert waits() < 64 * 1024 + 301_000
        wire.sock.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_accepted_connections_inherit_the_bound(host: str) -> None:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        bound_silence(listener.fileno(), 12.0)
        with socket.create_connection(listener.getsockname()[:2]), listener.accept()[0] as accepted:
            options = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_USER_TIMEOUT]
            assert [accepted.getsockopt(socket.IPPROTO_TCP, each) for each in options] == [12, 6, 18_000]
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_sockets_without_a_network_are_left_alone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "hub"))
        bound_silence(listener.fileno(), 12.0)


def test_pings_of_a_moment_do_not_end_connections_in_a_moment() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bound_silence(listener.fileno(), 0.05)
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 1
