"""What the front door remembers of the heads that it has seen."""

from __future__ import annotations

import asyncio
import base64
import contextlib

import pytest
from listening import serving

from hub.protocol.heads import read_head, upgrade
from hub.transports import front

KEYS = [base64.b64encode(bytes([number]) * 16) for number in range(3)]


def head(key: bytes, *lines: str, target: str = "/bayeux") -> bytes:
    fields = ("Host: a", *lines, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    return "\r\n".join((f"GET {target} HTTP/1.1", *fields, f"Sec-WebSocket-Key: {key.decode()}", "", "")).encode()


async def answer(url: str, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(data)
    async with asyncio.timeout(60):
        said = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return said


def proof(data: bytes) -> bytes:
    found = read_head(data)
    assert found is not None
    return b"Sec-WebSocket-Accept: " + upgrade(found[0]).accept + b"\r\n"


class TestWays:
    async def test_head_that_was_seen_is_answered_for_the_new_key(self) -> None:
        async with serving() as (url, hub):
            for key in KEYS:
                asked = head(key)
                said = await answer(url, asked)
                assert said.startswith(b"HTTP/1.1 101 ")
                assert proof(asked) in said
            assert len(hub.door._ways) == 1
            assert hub.door.upgraded == 3

    async def test_frame_behind_a_head_that_was_seen_is_not_lost(self) -> None:
        async with serving() as (url, _):
            await answer(url, head(KEYS[0]))
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(head(KEYS[1]) + b"\x89\x81\0\0\0\0p")
            async with asyncio.timeout(60):
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(3) == b"\x8a\x01p"
            writer.close()

    async def test_draining_hub_refuses_heads_that_it_has_seen(self) -> None:
        async with serving() as (url, hub):
            await answer(url, head(KEYS[0]))
            hub.node.draining = True
            assert (await answer(url, head(KEYS[1]))).startswith(b"HTTP/1.1 503 ")
            hub.node.draining = False

    @pytest.mark.parametrize(
        ("asked", "status"),
        [
            (head(KEYS[0]), b"503"),
            (b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", b"200"),
            (b"POST /bayeux HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n[]", b"400"),
        ],
    )
    async def test_who_was_let_in_right_before_the_process_goes_is_answered(self, asked: bytes, status: bytes) -> None:
        """In a rolling restart one of 2,000 connections was closed without a word."""
        async with contextlib.AsyncExitStack() as stack, asyncio.timeout(60):
            url, hub = await stack.enter_async_context(serving())
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            while not hub.door.waiting:
                await asyncio.sleep(0)
            leaving = asyncio.create_task(stack.pop_all().aclose())
            while not hub.node.draining:
                await asyncio.sleep(0)
            writer.write(asked)
            assert (await reader.readline()).startswith(b"HTTP/1.1 " + status)
            writer.close()
            await leaving

    async def test_who_says_nothing_keeps_no_process_from_going(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(front, "LAST_SECONDS", 0.05)
        async with asyncio.timeout(60):
            async with serving() as (url, hub):
                reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
                while not hub.door.waiting:
                    await asyncio.sleep(0)
            assert await reader.read() == b""
            writer.close()

    async def test_other_origin_is_refused_each_time(self) -> None:
        async with serving() as (url, hub):
            for key in KEYS:
                assert (await answer(url, head(key, "Origin: https://b"))).startswith(b"HTTP/1.1 403 ")
            assert not hub.door._ways
            assert hub.door.refused == 3

    @pytest.mark.parametrize(
        ("line", "target"),
        [
            ("Cookie: a=b", "/bayeux"),
            ("X-Forwarded-For: 192.0.2.1", "/bayeux"),
            ("Authorization: Bearer a", "/bayeux"),
            ("Accept: a", "/ws?token=a"),
            ("Accept: " + "a" * front.WAY_BYTES, "/bayeux"),
        ],
    )
    async def test_what_tells_one_visitor_from_another_is_not_remembered(self, line: str, target: str) -> None:
        async with serving() as (url, hub):
            assert (await answer(url, head(KEYS[0], line, target=target))).startswith(b"HTTP/1.1 101 ")
            assert not hub.door._ways

    async def test_no_more_than_so_many_are_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(front, "MAX_WAYS", 2)
        async with serving() as (url, hub):
            for number in range(5):
                await answer(url, head(KEYS[0], f"Accept: {number}"))
                assert 1 <= len(hub.door._ways) <= 2
