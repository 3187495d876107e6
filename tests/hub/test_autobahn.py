"""Autobahn's cases, all of 1 to 13, against the real connection class with an echo in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

import pytest
from kosoku import FailureError, run_fuzzingclient
from listening import serving

from hub.node import Node
from hub.protocol.frames import BINARY, TEXT, deflate, frame
from hub.protocol.heads import read_head, switching, upgrade
from hub.transports.websocket import Connection

#: Case 9 sends messages of 16 MiB.
LIMIT = 16 * 1024 * 1024

#: In groups, so that test processes share them: 12 and 13 are zlib's work on both sides.
GROUPS = [
    "1.*,2.*,3.*,4.*,5.*,6.*,7.*,9.*,10.*",
    *(f"12.{part}.*" for part in range(1, 6)),
    *(f"13.{part}.*" for part in range(1, 8)),
]


class Echo(Connection):
    """Says what it is told, compressed when that was agreed on."""

    def __init__(self, node: Node, window: int) -> None:
        super().__init__(node, limit=LIMIT, interval=25.0, deflates=window > 0)
        self.window = window

    def text(self, payload: bytes) -> None:
        self.say(TEXT, payload)

    def binary(self, payload: bytes) -> None:
        self.say(BINARY, payload)

    def say(self, opcode: int, payload: bytes) -> None:
        if self.window:
            self.transport.write(frame(opcode, deflate(payload, self.window), rsv1=True))
        else:
            self.transport.write(frame(opcode, payload))


class Door(asyncio.Protocol):
    """A front door with nothing but the echo behind it, which takes every compression window.

    The hub's own door takes only the largest, and cases 13.3, 13.5 and 13.7 want the smallest.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.head += data
        found = read_head(self.head)
        if found is None:
            return
        accepted = upgrade(found[0], smallest=9)
        echo = Echo(self.node, accepted.window)
        self.transport.set_protocol(echo)
        self.transport.write(switching(accepted))
        echo.connection_made(self.transport)
        if self.head[found[1] :]:
            echo.data_received(self.head[found[1] :])


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[str]:
    async with serving() as (_, hub):
        server = await asyncio.get_running_loop().create_server(lambda: Door(hub.node), "127.0.0.1", 0)
        try:
            yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            await server.wait_closed()


# The suite leaves its own test data open.
@pytest.mark.filterwarnings("ignore:unclosed file .*kosoku:ResourceWarning")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("group", GROUPS)
async def test_a_connection_passes_autobahn(group: str) -> None:
    async with echoing() as url:
        try:
            results = await run_fuzzingclient(url, cases=group.split(","), concurrency=4)
        except FailureError as failure:
            results = failure.results
    assert results
    failed = [
        f"{each.case_id}: {each.behavior.value}, close {each.behavior_close.value}. {each.result}"
        for each in results
        if not each.passed
    ]
    assert not failed, "\n".join(failed)
