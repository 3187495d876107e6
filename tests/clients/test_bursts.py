"""A hundred publishes at once, by unmodified libraries on each of their transports, are taken in order.

Faye's client cuts them into requests of about 2 KB and sends these on several connections. The first is taken at once;
the second comes within 5 ms on its connection and waits for its turn, the third need not wait, and so on: a page that
published a line of a drawing, point by point, saw it drawn in knots. In a browser some of the connections had served
the page before, and their requests came later than those of the others.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from clients.driven import Driven, driven, restartable, scene, visiting
from clients.test_browser_builds import Way, uses
from playwright.async_api import Browser

from hub.transports.front import Front
from hub.transports.lean import Lean
from hub.transports.lent import Lent

#: Bursts a client sends, one after the other.
BURSTS = 3
COUNT = 100

#: Of the hubs. Faye sends again what has no answer after 1.2 times the first; with 2 s, a busy machine got it twice.
CHANGES: dict[str, Any] = {"connect_timeout": 30.0, "publish_rate": 0.0}

WAYS = [
    Way("websocket", "same"),
    Way("eventsource", "same", disable=("websocket",)),
    Way("long-polling", "same", disable=("websocket", "eventsource")),
    Way("cross-origin-long-polling", "listed", disable=("websocket",)),
    Way("callback-polling", "listed", disable=("websocket", "cross-origin-long-polling")),
]


class Arrivals:
    """The numbers of a burst in the order in which the requests that carry them were read to their end.

    A browser on a busy machine sends them in another order than its page did, which no server can know.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.numbers: list[int] = []
        self._read: dict[object, bytes] = {}
        self._watching = False
        for protocol in Front, Lean, Lent:
            monkeypatch.setattr(protocol, "data_received", self._watched(protocol.data_received))

    def _watched(self, receive: Callable[[Any, bytes], None]) -> Callable[[Any, bytes], None]:
        def data_received(protocol: Any, data: bytes) -> None:
            if self._watching:
                # Handed on by another.
                receive(protocol, data)
                return
            read = self._read.pop(protocol._transport, b"") + data
            text = unquote(read.decode())
            if text.endswith("}]" if text.startswith("POST") else "\r\n\r\n"):
                self.numbers += map(int, re.findall(r'"data":\[(\d+),', text))
            else:
                self._read[protocol._transport] = read
            self._watching = True
            receive(protocol, data)
            self._watching = False

        return data_received


async def bursts_arrive_in_order(client: Driven, arrivals: Arrivals | None = None) -> None:
    client.tell("subscribe", channel="/chat/a")
    await client.hear("subscribed")
    dice = random.Random(1)
    for burst in range(BURSTS):
        # Of a few bytes, so that a request has many; of some hundred, so that they are many; and mixed.
        size = (10, 400, dice.randint(0, 1000))[burst % 3]
        values: list[Any] = [[number, "x" * dice.randint(0, size)] for number in range(COUNT)]
        client.tell("burst", channel="/chat/a", values=values)
        heard = [number for number, _ in await client.messages(COUNT)]
        if arrivals is None:
            assert heard == list(range(COUNT))
        else:
            arrived, arrivals.numbers = arrivals.numbers, []
            assert sorted(arrived) == list(range(COUNT))
            assert heard == arrived


@pytest.mark.parametrize(
    ("library", "transport"),
    [
        ("faye", "websocket"),
        ("faye", "long-polling"),
        ("cometd", "websocket"),
        ("cometd", "long-polling"),
    ],
)
async def test_burst_of_a_library_in_node_arrives_in_order(
    library: str, transport: str, node: str, node_modules: Path
) -> None:
    async with (
        restartable(**CHANGES) as hub,
        driven(node, node_modules, library, hub.url, transport) as client,
    ):
        await bursts_arrive_in_order(client)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_burst_of_faye_in_a_page_is_taken_in_order(
    way: Way, shared_chromium: Browser, node_modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What arrives over a WebSocket does so in order.
    arrivals = None if way.transport == "websocket" else Arrivals(monkeypatch)
    async with scene(node_modules, way.origin, **CHANGES) as there:
        # The road between would have an order of its own.
        base = there.hub.url.removesuffix("/bayeux") if way.origin == "same" else there.base
        options = {"url": there.hub.url, "disable": way.disable}
        async with visiting(shared_chromium, base, "faye", **options) as visit:
            visit.tell("subscribe", channel="/first")
            await visit.hear("subscribed")
            # Between transports it may be given something twice, or later.
            await uses(visit, way.transport)
            await bursts_arrive_in_order(visit, arrivals)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("transport", ["websocket", "long-polling", "callback-polling"])
async def test_burst_of_cometd_in_a_page_is_taken_in_order(
    transport: str, shared_chromium: Browser, node_modules: Path
) -> None:
    async with restartable(node_modules, **CHANGES) as hub:
        base = hub.url.removesuffix("/bayeux")
        async with visiting(shared_chromium, base, "cometd", url=hub.url, transport=transport) as visit:
            await bursts_arrive_in_order(visit)
