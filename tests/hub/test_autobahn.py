"""Autobahn's cases, all of 1 to 13, through the hub's own front door, with an echo behind it.

Each of 12 and 13 sends a message of one size a thousand times, the next when the last has come back, and so walks
through a file over and over: 907 MB for the 18 cases of a group. Here a case sends 4 MiB, or the thousand where that is
less: all sizes, fragments, files and offers, and where fewer are sent, each file four times or more, cut at other
places. The rest of the thousand is more such cuts and nothing else: a message is packed and unpacked by itself, as both
sides agree to keep no context, and the connection has nothing left of it when the next comes. The test asserts both.
`make autobahn` sends them all; so does pytest with AUTOBAHN=whole in its environment.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from hashlib import sha1
from importlib import import_module

import pytest
from kosoku import FailureError, run_fuzzingclient
from kosoku._caseindex import initialize_shims
from listening import REALM, serving

from hub.node import Node
from hub.protocol.frames import BINARY, TEXT, deflate, frame
from hub.transports.websocket import Connection

#: Case 9 sends messages of 16 MiB.
LIMIT = 16 * 1024 * 1024

#: Bytes of the messages that a case of 12 or 13 sends: the largest of the files has one of these four megabytes.
BYTES = 4 * 1024 * 1024

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
        self.answered = False
        self.clean = True

    def data_received(self, data: bytes) -> None:
        # The client sends its next message when it has the answer to the last.
        if self.answered:
            self.clean = self.clean and self._reader is None and self._rest is None
            self.answered = False
        super().data_received(data)

    def text(self, payload: bytes) -> None:
        self.say(TEXT, payload)

    def binary(self, payload: bytes) -> None:
        self.say(BINARY, payload)

    def say(self, opcode: int, payload: bytes) -> None:
        self.answered = True
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


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many messages the cases of 12 and 13 send, by the case's number; from here on they do."""
    initialize_shims()
    autobahn = import_module("case12_x_x")
    found = {}
    for case in autobahn.Case12_X_X + autobahn.Case13_X_X:
        if os.environ.get("AUTOBAHN") != "whole":
            monkeypatch.setattr(case, "COUNT", min(case.COUNT, BYTES // case.LEN))
        found[case.__name__.removeprefix("Case").replace("_", ".")] = case.COUNT
    return found


@contextlib.asynccontextmanager
async def echoing(packed: dict[tuple[bytes, int], bytes]) -> AsyncIterator[tuple[str, list[Echo]]]:
    """The hub's own front door with the echo behind it; gives its URL, and the connections as they come."""
    echoes: list[Echo] = []

    async with serving() as (url, hub):

        def echo(head: object, window: int) -> Echo:
            echoes.append(Echo(hub.node, window, packed))
            return echoes[-1]

        hub.realms[REALM].entrance.paths = {"/echo": echo}
        yield url.replace("http", "ws") + "/echo", echoes


# The suite leaves its own test data open.
@pytest.mark.filterwarnings("ignore:unclosed file .*kosoku:ResourceWarning")
@pytest.mark.timeout(900)
@pytest.mark.long
@pytest.mark.parametrize("group", GROUPS)
async def test_a_connection_passes_autobahn(
    group: str, packed_json: dict[tuple[bytes, int], bytes], counts: dict[str, int]
) -> None:
    async with echoing(packed_json if group.startswith(("12.1.", "13.")) else {}) as (url, echoes):
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
    for each in results:
        if (count := counts.get(each.case_id)) is None:
            continue
        answer = each.http_response
        assert "; server_no_context_takeover; client_no_context_takeover" in answer, each.case_id
        # A frame each, besides the close.
        assert sum(each.rx_frame_stats.values()) == count + 1, each.case_id
    if group.startswith(("12.", "13.")):
        assert all(echo.clean for echo in echoes)
