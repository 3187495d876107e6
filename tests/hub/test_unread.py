"""Answers that nobody reads: what may wait for the clients of one address."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st
from listening import serving

from hub.transports.front import Door
from hub.transports.unread import UNSENT, Unread, bound_unsent

LIMIT = 2_000_000
ANSWER = 900_000


class Transport:
    """One that has so many bytes to write."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.size

    def abort(self) -> None:
        self.aborted = True


@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.sampled_from(["a", "b"]), st.integers(1, 120)), max_size=60)
)
def test_who_has_not_read_for_longest_is_cut(moves: list[tuple[int, bool, str, int]]) -> None:
    async def run() -> None:
        cut: list[int] = []
        unread = Unread(100, lambda: cut.append(1))
        held: dict[int, tuple[str, Any]] = {}
        gone = 0
        for connection, stops, address, size in moves:
            if not stops:
                unread.resumed(connection)
                held.pop(connection, None)
            elif connection not in held:
                held[connection] = address, (transport := Transport(size))
                unread.paused(connection, address, cast(asyncio.Transport, transport))
                await asyncio.sleep(0)
                theirs = [(each, one) for each, (whose, one) in held.items() if whose == address]
                while sum(one.size for _, one in theirs) > 100:
                    each, one = theirs.pop(0)
                    assert one.aborted
                    del held[each]
                    gone += 1
            assert not any(one.aborted for _, one in held.values())
            assert len(cut) == gone
            sums: dict[str, int] = {}
            for whose, one in held.values():
                sums[whose] = sums.get(whose, 0) + one.size
            assert unread.bytes == sums

    asyncio.run(run())


def test_without_a_limit_or_an_address_nothing_is_counted() -> None:
    transport: Any = Transport(1000)
    for most, address in ((0, "a"), (10, "")):
        unread = Unread(most, lambda: None)
        unread.paused(object(), address, transport)
        assert unread.bytes == {}


@pytest.mark.parametrize("way", ["polls", "long-polling", "sockets", "streams"])
async def test_clients_that_read_nothing_hold_what_one_address_may(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand connections of an address, each with an answer of a megabyte that nobody read, held two gigabytes.

    Then it was the kernel that held them, up to 4 MiB of each, where no limit of ours counted: the client's buffers are
    small here, as of a peer that acknowledges little, but not the hub's.
    """
    monkeypatch.setattr(Door, "peer_address", lambda *_: "198.51.100.7")
    monkeypatch.setattr(Door, "address", lambda *_: "198.51.100.7")
    async with (
        contextlib.AsyncExitStack() as ends,
        serving(address_unread=LIMIT, idle_timeout=600.0) as (url, hub),
        ClientSession() as http,
    ):
        position = str(await hub.publisher.position("a"))
        await hub.publisher.publish("a", "x" * ANSWER)
        place = urlsplit(url)
        socks = []
        for number in range(12):
            sock = ends.enter_context(socket.socket())
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await asyncio.get_running_loop().sock_connect(sock, (place.hostname, place.port))
            for request in requests(way, position, number):
                await asyncio.get_running_loop().sock_sendall(sock, request)
                if way == "long-polling":
                    # The clientId is in the answer.
                    break
            socks.append(sock)
            if way == "long-polling":
                answer = (await asyncio.get_running_loop().sock_recv(sock, 4000)).decode()
                client = json.loads(answer.partition("\r\n\r\n")[2])[0]["clientId"]
                await asyncio.get_running_loop().sock_sendall(sock, recovery(client, position))
        async with asyncio.timeout(60):
            while not hub.node.bayeux.limited["unread"]:
                await asyncio.sleep(0.01)
        async with asyncio.timeout(60):
            while sum(hub.door.unread.bytes.values()) > LIMIT:
                await asyncio.sleep(0.01)
        # Who reads is answered, though of the same address.
        async with http.get(f"{url}/poll", params={"channel": "a", "position": position}) as response:
            assert len(await response.read()) > ANSWER
        async with http.get(f"{url}/metrics") as response:
            assert "hub_unread_refused_total" in await response.text()
        for sock in socks:
            sock.close()
        async with asyncio.timeout(60):
            while hub.door.unread.bytes:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_accepted_connections_inherit_what_the_kernel_may_take(host: str) -> None:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        bound_unsent(listener.fileno())
        with socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0] as accepted:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            accepted.setblocking(False)
            taken = 0
            with contextlib.suppress(BlockingIOError):
                while taken < 16 * UNSENT:
                    taken += accepted.send(bytes(16_384))
            assert taken < 4 * UNSENT


def test_sockets_without_a_network_are_left_alone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "hub"))
        bound_unsent(listener.fileno())


def requests(way: str, position: str, number: int) -> list[bytes]:
    """What a client sends to be given the whole message."""
    key = (
        f"Sec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    )
    return {
        "polls": [f"GET /poll?channel=a&position={position} HTTP/1.1\r\nHost: x\r\n\r\n".encode()],
        "streams": [f"GET /sse?channel=a&position={position} HTTP/1.1\r\nHost: x\r\n\r\n".encode()],
        "sockets": [f"GET /ws?channel=a&position={position} HTTP/1.1\r\nHost: x\r\n{key}\r\n".encode()],
        "long-polling": [
            post({"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]})
        ],
    }[way]


def recovery(client: str, position: str) -> bytes:
    return post(
        {"channel": "/meta/subscribe", "clientId": client, "subscription": "/a", "ext": {"position": {"/a": position}}},
        {"channel": "/meta/connect", "clientId": client, "connectionType": "long-polling", "advice": {"timeout": 0}},
    )


def post(*messages: dict[str, Any]) -> bytes:
    body = json.dumps(messages).encode()
    return b"POST /bayeux HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
