"""Answers that nobody reads: what may wait for the clients of one address."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock, patch
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, HttpVersion11
from hypothesis import given
from hypothesis import strategies as st
from listening import serving

from hub.protocol.close_codes import GOING_AWAY
from hub.transports.eventsource import BayeuxStream
from hub.transports.front import Door
from hub.transports.unread import MOMENT, SPARED, UNSENT, Unread, bound_unsent

LIMIT = 2_000_000
ANSWER = 900_000

FORWARDED = "X-Forwarded-For: 198.51.100.7\r\n"
UPGRADE = (
    f"Sec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
)


class Transport:
    """One that has so many bytes to write."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.size

    def abort(self) -> None:
        self.aborted = True


class Clock:
    """What may wait for addresses, while time stands still until it is moved."""

    def __init__(self, most: int) -> None:
        self.now = 0.0
        self.cuts = 0
        self.due: list[Callable[[], None]] = []
        self.unread = Unread(most, self._count, lambda: self.now, self.due.append)

    def _count(self) -> None:
        self.cuts += 1

    def pause(self, size: int, connection: object = None, address: str = "a") -> Any:
        """A connection that pauses, with so many bytes to write; returns its transport."""
        transport: Any = Transport(size)
        self.unread.paused(transport if connection is None else connection, address, transport)
        return transport

    async def wait(self, seconds: float) -> None:
        """Let time go on, and have called what is due."""
        self.now += seconds
        due = self.due.copy()
        self.due.clear()
        for look in due:
            look()
        await asyncio.sleep(0)


MOVES = st.one_of(
    st.tuples(st.just("pauses"), st.integers(0, 9), st.integers(1, 120), st.sampled_from(["a", "b"])),
    st.tuples(st.just("resumes"), st.integers(0, 9)),
    st.tuples(st.just("reads"), st.integers(0, 9), st.integers(0, 100)),
    st.tuples(st.just("grows"), st.integers(0, 9), st.integers(1, 120)),
    st.tuples(st.just("waits"), st.sampled_from([0.1, MOMENT, 2 * MOMENT])),
)


@given(st.lists(MOVES, max_size=80))
def test_who_has_not_read_for_longest_is_cut(moves: list[tuple[Any, ...]]) -> None:
    """Far too much is never there, and too much for a moment only."""

    async def run() -> None:
        clock = Clock(100)
        held: dict[int, tuple[str, float, Any]] = {}
        gone = 0
        for what, *more in moves:
            known = held.get(more[0])
            if what == "waits":
                await clock.wait(more[0])
            elif what == "pauses" and known is None:
                held[more[0]] = more[2], clock.now, clock.pause(more[1], more[0], more[2])
            elif what == "resumes":
                clock.unread.resumed(more[0])
                held.pop(more[0], None)
            elif what == "reads" and known is not None:
                # Nobody is told of it.
                known[2].size = known[2].size * more[1] // 100
            elif what == "grows" and known is not None:
                known[2].size += more[1]
                clock.unread.grew(more[0])
            await asyncio.sleep(0)
            for address in ("a", "b"):
                theirs = [(each, since, one) for each, (whose, since, one) in held.items() if whose == address]
                cut = [one.aborted for _, _, one in theirs]
                assert cut == sorted(cut, reverse=True), "who paused first goes first"
                for each, since, one in theirs:
                    if one.aborted:
                        assert what in ("pauses", "grows") or since <= clock.now - MOMENT
                        del held[each]
                        gone += 1
                left = [(since, one.size) for _, since, one in theirs if not one.aborted]
                waits = clock.unread.bytes.get(address, 0)
                assert sum(size for _, size in left) <= waits <= SPARED * 100
                if waits > 100:
                    assert len(clock.due) == 1
                    assert what != "waits" or left[0][0] > clock.now - MOMENT
            assert set(clock.unread.bytes) == {address for address, _, _ in held.values()}
            assert clock.cuts == gone

    asyncio.run(run())


async def test_readers_who_are_paused_for_a_moment_are_spared() -> None:
    """A publish of 900 KB to 120 readers of one address cut 21 of them in its tick, before any of them could read."""
    clock = Clock(64 << 20)
    transports = [clock.pause(900_000) for _ in range(120)]
    await clock.wait(MOMENT / 2)
    for transport in transports:
        transport.size = 70_000
    for _ in range(10):
        await clock.wait(MOMENT)
    assert clock.cuts == 0
    assert not clock.due, "there is nothing to look at"


async def test_who_goes_on_reading_nothing_is_cut_without_a_word_from_anybody() -> None:
    clock = Clock(1000)
    transports = [clock.pause(200) for _ in range(8)]
    await clock.wait(MOMENT / 2)
    assert clock.cuts == 0
    await clock.wait(MOMENT / 2)
    assert [one.aborted for one in transports] == [True] * 3 + [False] * 5


async def test_far_too_much_is_cut_at_once() -> None:
    clock = Clock(1000)
    transports = [clock.pause(1000) for _ in range(SPARED + 3)]
    await asyncio.sleep(0)
    assert [one.aborted for one in transports] == [True] * 3 + [False] * SPARED


async def test_who_is_cut_in_the_midst_of_its_write_is_not_counted_again() -> None:
    clock = Clock(1000)
    transport = clock.pause(SPARED * 1000 + 1)
    clock.unread.grew(transport)
    await asyncio.sleep(0)
    assert transport.aborted
    assert clock.cuts == 1
    assert clock.unread.bytes == {}


async def test_a_stream_that_is_written_to_while_its_transport_is_paused_counts() -> None:
    """It takes more from 32 KiB on, and the transport resumes at 16."""
    clock = Clock(10_000_000)
    handler, transport = object(), Mock(is_closing=lambda: False)
    stream = BayeuxStream(Mock(time=lambda: 0.0), Mock(unread=clock.unread, delay=lambda: 1000))
    with patch.object(stream.response, "prepare", AsyncMock()), patch.object(stream.response, "write", AsyncMock()):
        await stream.start(Mock(transport=transport, protocol=handler, version=HttpVersion11), {})
    transport.get_write_buffer_size.return_value = 70_000
    clock.unread.paused(handler, "a", transport)
    # Its client has read down to 32 KiB, and a megabyte is written.
    transport.get_write_buffer_size.return_value = 1_030_000
    stream.deliver(b"data: a megabyte\n\n")
    assert stream.blocked
    assert clock.unread.bytes == {"a": 1_030_000}


def test_without_a_limit_or_an_address_nothing_is_counted() -> None:
    for most, address in ((0, "a"), (10, "")):
        clock = Clock(most)
        clock.pause(1000, address=address)
        assert clock.unread.bytes == {}


async def test_what_a_socket_is_answered_while_it_reads_nothing_counts() -> None:
    """It was counted once, when it paused: 2.7 MB of 92, for all that had come in one read was answered."""
    async with serving(address_unread=250_000, proxies=1) as (url, hub):
        with await connected(url) as sock:
            head = f"GET /ws?channel=a HTTP/1.1\r\nHost: x\r\n{FORWARDED}{UPGRADE}\r\n"
            # The shortest message that is answered with an error.
            await asyncio.get_running_loop().sock_sendall(sock, head.encode() + b"\x81\x81\0\0\0\x001" * 35_000)
            async with asyncio.timeout(60):
                while not hub.node.bayeux.limited["unread"]:
                    await asyncio.sleep(0.01)
                while hub.node.addresses:
                    await asyncio.sleep(0.01)


async def test_a_stream_counts_for_its_address_until_all_is_read_or_it_is_gone() -> None:
    """Behind a proxy it counted until it had ended: its client could have the next, and the next, and read none."""
    async with serving(proxies=1, address_connections=1) as (url, hub):
        position = str(await hub.publisher.position("a"))
        await hub.publisher.publish("a", "x" * ANSWER)
        with await connected(url) as sock:
            request = requests("streams behind a proxy", position, 0)[0]
            await asyncio.get_running_loop().sock_sendall(sock, request)
            async with asyncio.timeout(60):
                while not hub.door.unread.bytes:
                    await asyncio.sleep(0.01)
                for link in list(hub.node.links):
                    link.leave(GOING_AWAY, "going away")
                while hub.node.registry.sessions:
                    await asyncio.sleep(0.01)
            assert hub.node.addresses == {"198.51.100.7": 1}
            assert hub.door.unread.bytes["198.51.100.7"] > ANSWER // 2
        async with asyncio.timeout(60):
            while hub.node.addresses or hub.door.unread.bytes:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", ["polls", "long-polling", "sockets", "streams", "streams behind a proxy"])
async def test_clients_that_read_nothing_hold_what_one_address_may(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand connections of an address, each with an answer of a megabyte that nobody read, held two gigabytes.

    Then it was the kernel that held them, up to 4 MiB of each, where no limit of ours counted: the client's buffers are
    small here, as of a peer that acknowledges little, but not the hub's.
    """
    is_behind = way.endswith("proxy")
    if not is_behind:
        monkeypatch.setattr(Door, "peer_address", lambda *_: "198.51.100.7")
        monkeypatch.setattr(Door, "address", lambda *_: "198.51.100.7")
    async with (
        contextlib.AsyncExitStack() as ends,
        serving(address_unread=LIMIT, idle_timeout=600.0, proxies=int(is_behind)) as (url, hub),
        ClientSession() as http,
    ):
        position = str(await hub.publisher.position("a"))
        await hub.publisher.publish("a", "x" * ANSWER)
        socks = []
        for number in range(12):
            sock = ends.enter_context(await connected(url))
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


async def connected(url: str) -> socket.socket:
    """A connection whose kernel takes little."""
    place = urlsplit(url)
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.get_running_loop().sock_connect(sock, (place.hostname, place.port))
    return sock


def requests(way: str, position: str, number: int) -> list[bytes]:
    """What a client sends to be given the whole message."""
    return {
        "polls": [f"GET /poll?channel=a&position={position} HTTP/1.1\r\nHost: x\r\n\r\n".encode()],
        "streams": [f"GET /sse?channel=a&position={position} HTTP/1.1\r\nHost: x\r\n\r\n".encode()],
        "sockets": [f"GET /ws?channel=a&position={position} HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n".encode()],
        "streams behind a proxy": [
            f"GET /sse?channel=a&position={position} HTTP/1.1\r\nHost: x\r\n{FORWARDED}\r\n".encode()
        ],
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
