"""One client's requests are taken in the order in which they arrived; other clients' are not delayed by that."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
from aiohttp import web
from conversation import new_rules
from hypothesis import given, settings
from hypothesis import strategies as st
from listening import KEY, REALM
from test_lean import HANDSHAKE, post
from test_turns import Rounds

import hub.delivery
from hub.app import Hub
from hub.bayeux.names import CALLBACK_POLLING, LONG_POLLING
from hub.brokers.memory import MemoryBroker
from hub.lanes import Lanes
from hub.node import Node
from hub.polls import Poll
from hub.protocol.messages import client_in, client_of
from hub.protocol.publications import Draft, Publication, Published
from hub.settings import Settings
from hub.transports.lean import Lean

#: A client.
ANN = "a" * 40
BOB = "b" * 40


class Road(Rounds):
    """Lanes on a loop whose rounds are begun by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes(self.turns)

    def add(self, client: str | None, name: str) -> None:
        self.lanes.add(client, lambda: self.done.append(name))

    def go_on(self) -> list[str]:
        """Rounds until nothing is left to do; what was done."""
        done: list[str] = []
        while not self.idle:
            done += self.go_round()
        return done


def test_what_waits_in_a_lane_is_done_in_its_order() -> None:
    road = Road()
    for name in "123":
        road.add(ANN, name)
    assert road.go_on() == ["1", "2", "3"]
    assert not road.lanes.taken


def test_nothing_begins_in_a_lane_while_it_is_held() -> None:
    road = Road()
    road.lanes.hold(ANN)
    road.add(ANN, "ann")
    road.add(BOB, "bob")
    road.add(None, "somebody")
    assert road.go_on() == ["bob", "somebody"]
    road.lanes.hold(ANN)
    road.lanes.free(ANN)
    assert road.idle
    road.lanes.free(ANN)
    assert road.go_on() == ["ann"]
    assert not road.lanes.taken


def test_what_is_begun_in_a_lane_may_hold_it_for_longer() -> None:
    road = Road()
    road.lanes.add(ANN, lambda: road.lanes.hold(ANN))
    road.add(ANN, "next")
    assert road.go_on() == []
    road.lanes.free(ANN)
    assert road.go_on() == ["next"]


def test_a_lane_is_free_after_work_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    road = Road()

    def fail() -> None:
        raise ValueError("a bug")

    road.lanes.add(ANN, fail)
    road.add(ANN, "next")
    assert road.go_on() == ["next"]
    assert "a bug" in caplog.text


def test_a_lane_gives_its_client_no_more_turns_than_others_have() -> None:
    """What waits in a lane waits for a turn once it is free: else one round would have all of it."""
    road = Road()
    for number in range(3):
        road.add(ANN, f"ann {number}")
    road.add(BOB, "bob")
    assert road.go_on() == ["ann 0", "bob", "ann 1", "ann 2"]


async def test_task_that_was_cancelled_leaves_the_lane_free() -> None:
    lanes = Lanes(Node(MemoryBroker(), new_rules()).turns)
    lanes.hold(ANN)
    waiting, let_in = (asyncio.create_task(lanes.wait(client)) for client in (ANN, BOB))
    await asyncio.sleep(0)
    waiting.cancel()
    # Cancelled in the same round in which it is let in, before it goes on.
    while not lanes.taken[BOB].holds or lanes._turns.taken < 1:
        await asyncio.sleep(0)
    let_in.cancel()
    await asyncio.wait([waiting, let_in])
    lanes.free(ANN)
    async with asyncio.timeout(5):
        while lanes.taken:
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "body",
    [
        b'[{"channel":"/a","clientId":"%s"}]',
        b'[{"clientId" : "%s"}]',
        b'[{"data":{"clientId":"mine"},"clientId":\n"%s"}]',
        b"message=%%5B%%7B%%22channel%%22%%3A%%22%%2Fa%%22%%2C%%22clientId%%22%%3A%%22%s%%22%%7D%%5D",
        b"message=[{%%22clientId%%22:+%%22%s%%22}]",
    ],
)
def test_client_of_a_body_is_found_without_decoding_it(body: bytes) -> None:
    assert client_in(body % ANN.encode()) == ANN
    assert client_in(bytearray(b"clientId" * 9 + body % ANN.encode()), 72) == ANN
    assert client_in(body % b"x") is None
    assert client_in(body % ANN.encode(), 0, 30) is None


def test_client_is_found_before_long_data_and_behind_it() -> None:
    body, data = b'[{"clientId":"%s"}]' % ANN.encode(), b'"clientId":"x",' * 20 + b"x" * 1_000_000
    assert client_in(body + data) == client_in(data + body) == ANN


def test_client_of_a_batch_is_the_first_it_names() -> None:
    assert client_of([1, {}, {"clientId": 7}, {"clientId": "x"}, {"clientId": BOB}, {"clientId": ANN}]) == BOB
    assert client_of([]) is None


class Writes:
    """A connection's transport, to nowhere."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str) -> None:
        return None


class Moody(MemoryBroker):
    """Keeps sessions, and takes some rounds of the loop for everything; what is published first is first."""

    keeps_sessions = True

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._dice = dice

    async def _dawdle(self) -> None:
        for _ in range(self._dice.choice((0, 0, 1, 5, 20))):
            await asyncio.sleep(0)

    async def claim_session(self, session_id: str, worker: str) -> bytes | None:
        await self._dawdle()
        return None

    async def save_session(self, session_id: str, worker: str, record: bytes, seconds: float) -> bool:
        await self._dawdle()
        return True

    def try_publish(self, drafts: Sequence[Draft]) -> Any:
        return None

    async def publish(self, drafts: Sequence[Draft]) -> list[Published]:
        published = super().try_publish(drafts)
        await self._dawdle()
        return published


@dataclass(frozen=True)
class Sent:
    """A request: of which client, over which connection (None: as a script), whether its first half comes earlier, how
    many rounds of the loop after it, and the sizes of the messages' data."""

    client: int
    connection: int | None
    halved: bool
    rounds: int
    sizes: tuple[int, ...]


SIZES = st.one_of(
    st.lists(st.integers(0, 300), min_size=1, max_size=60),
    st.lists(st.integers(0, 6000), min_size=1, max_size=5),
    st.just([70_000]),
).map(tuple)
SENT = st.builds(
    Sent,
    client=st.sampled_from((0, 0, 0, 1)),
    connection=st.one_of(st.none(), st.integers(0, 3)),
    halved=st.booleans(),
    rounds=st.sampled_from((0, 0, 0, 1, 2, 9)),
    sizes=SIZES,
)


class World:
    """A hub's connections without their sockets, so that what arrives first is ours to say."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.hub = Hub(Settings(key=KEY, realm=REALM, client_publish=("/**",), publish_rate=0.0), broker)
        self.hub.setup(web.Application())
        self.node = self.hub.node
        self.ids: list[str] = []
        self.taken: dict[int, list[int]] = {0: [], 1: []}
        self.arrived: dict[int, list[int]] = {0: [], 1: []}
        self._lines: dict[int, Lean] = {}
        self._polls: list[Poll] = []
        self.node.published.append(self._see)

    async def open(self) -> None:
        """Start, and let the clients shake hands."""
        await self.node.start()
        for _ in range(2):
            poll = Poll()
            self.node.accept([HANDSHAKE], LONG_POLLING, poll)
            while poll.parts is None:
                await asyncio.sleep(0)
            self.ids.append(json.loads(poll.parts[0])["clientId"])

    def _see(self, publication: Publication) -> Publication:
        client, number, _ = json.loads(publication.data)
        self.taken[client].append(number)
        return publication

    def _line(self, number: int) -> Lean:
        line = self._lines.get(number)
        if line is None or line.busy or line.waits:
            # A client sends nothing over a connection before it has its answer.
            assert self.hub.desk is not None
            line = self._lines[number] = self.hub.desk.protocol()
            line.connection_made(cast(asyncio.Transport, Writes()))
        return line

    async def send(self, requests: Sequence[Sent]) -> None:
        """Send them all; return when they have been answered."""
        lines: list[Lean] = []
        for sent in requests:
            first = len(self.arrived[sent.client])
            numbers = range(first, first + len(sent.sizes))
            messages: list[Any] = [
                {"channel": "/a", "data": [sent.client, number, "x" * size], "clientId": self.ids[sent.client]}
                for number, size in zip(numbers, sent.sizes, strict=True)
            ]
            if sent.connection is None:
                self._polls.append(Poll())
                self.node.accept(messages, CALLBACK_POLLING, self._polls[-1])
            else:
                line = self._line(sent.connection)
                lines.append(line)
                data = post("/bayeux", messages)
                if sent.halved:
                    line.data_received(data[: len(data) // 2])
                    await self._go_round(sent.rounds)
                    data = data[len(data) // 2 :]
                line.data_received(data)
            self.arrived[sent.client] += numbers
            await self._go_round(sent.rounds)
        async with asyncio.timeout(30):
            while any(line.busy or line.waits for line in lines) or any(poll.parts is None for poll in self._polls):
                await asyncio.sleep(0)

    async def _go_round(self, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0)


@settings(max_examples=100, deadline=None)
@given(
    requests=st.lists(SENT, min_size=2, max_size=12),
    moody=st.booleans(),
    backlog=st.sampled_from((hub.delivery.BACKLOG, 10)),
    seed=st.integers(0, 1000),
)
def test_messages_are_taken_in_the_order_in_which_their_requests_arrived(
    requests: list[Sent], moody: bool, backlog: int, seed: int
) -> None:
    """Whatever their sizes and connections, and whatever some of them wait for."""

    async def act() -> None:
        world = World(Moody(random.Random(seed)) if moody else MemoryBroker())
        await world.open()
        try:
            await world.send(requests)
        finally:
            await world.node.stop()
        assert world.taken == world.arrived
        assert not world.node.lanes.taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub.delivery, "BACKLOG", backlog)
        asyncio.run(act())
