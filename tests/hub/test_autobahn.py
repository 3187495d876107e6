"""Autobahn's cases, all of 1 to 13, through the hub's own front door, with an echo behind it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from hashlib import sha1

import pytest
from kosoku import FailureError, run_fuzzingclient
from listening import REALM, serving

from hub.node import Node
from hub.protocol.frames import BINARY, TEXT, deflate, frame
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
    """Says what it is told, compressed when that was agreed on.

    packed: what connections have compressed. Seven in ten bytes of 12 and 13 are messages that came in another
    case too, in other fragments; as in the hub, one compression serves every connection.
    """

    def __init__(self, node: Node, window: int, packed: dict[tuple[bytes, int], bytes]) -> None:
        super().__init__(node, limit=LIMIT, interval=25.0, window=window)
        self.packed = packed

    def text(self, payload: bytes) -> None:
        self.say(TEXT, payload)

    def binary(self, payload: bytes) -> None:
        self.say(BINARY, payload)

    def say(self, opcode: int, payload: bytes) -> None:
        if self.window:
            # By hash: the messages themselves are 130 MB and more.
            key = (sha1(payload).digest(), self.window)
            if key not in self.packed:
                self.packed[key] = deflate(payload, self.window)
            self.write(frame(opcode, self.packed[key], rsv1=True))
        else:
            self.write(frame(opcode, payload))


@pytest.fixture(scope="module")
def packed_json() -> dict[tuple[bytes, int], bytes]:
    """What 12.1 and all of 13 have compressed: the same messages, under other terms."""
    return {}


@contextlib.asynccontextmanager
async def echoing(packed: dict[tuple[bytes, int], bytes]) -> AsyncIterator[str]:
    """The hub's own front door with the echo behind it; gives its URL."""
    async with serving() as (url, hub):
        hub.realms[REALM].entrance.paths = {"/echo": lambda head, window: Echo(hub.node, window, packed)}
        yield url.replace("http", "ws") + "/echo"


# The suite leaves its own test data open.
@pytest.mark.filterwarnings("ignore:unclosed file .*kosoku:ResourceWarning")
@pytest.mark.timeout(900)
@pytest.mark.long
@pytest.mark.parametrize("group", GROUPS)
async def test_a_connection_passes_autobahn(group: str, packed_json: dict[tuple[bytes, int], bytes]) -> None:
    async with echoing(packed_json if group.startswith(("12.1.", "13.")) else {}) as url:
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
