"""A batch to many is written in slices, and what is for few goes between them; what was promised holds."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from conversation import Wire
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_node import Client, new_node
from test_redelivery import ping

import hub.delivery
from hub.bayeux.names import LONG_POLLING, WEBSOCKET
from hub.node import Node
from hub.protocol.channels import matches
from hub.protocol.publications import Draft
from hub.sessions.links import Batch

CROWD, FEW = "/crowd", "/few"


@pytest.fixture(autouse=True)
def _short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.delivery, "SLICE", 2)


def say(node: Node, channel: str, *data: int) -> None:
    """Publish, and wait for nothing."""
    node.broker.try_publish([Draft(channel, str(item).encode()) for item in data])


async def settled(node: Node) -> None:
    async with asyncio.timeout(30):
        while node.delivery.pending or node.delivery._jobs:
            await asyncio.sleep(0)


def started(node: Node, count: int, *patterns: str) -> list[Client]:
    clients = [Client(node) for _ in range(count)]
    for client in clients:
        client.start(*patterns)
    return clients


def waiting(clients: list[Client]) -> int:
    """How many have heard nothing."""
    return sum(not client.wire.messages for client in clients)


async def test_message_to_few_goes_between_the_slices_of_one_to_many() -> None:
    """15,000 had one page open; what was said on another came 190 ms late, when all of these had heard."""
    async with new_node() as node:
        crowd, few = started(node, 40, CROWD), started(node, 2, FEW)
        say(node, CROWD, 1)
        await asyncio.sleep(0)
        for number in range(3):
            before = waiting(crowd)
            say(node, FEW, number)
            for _ in range(2):
                await asyncio.sleep(0)
            assert [client.wire.data() for client in few] == [[number]] * 2
            assert waiting(crowd) >= before - 4 > 20
        await settled(node)
        assert [client.wire.data() for client in crowd] == [[1]] * 40


async def test_what_is_for_few_does_not_keep_the_many_from_theirs() -> None:
    """Though something comes for few all the time, every other round is the crowd's."""
    async with new_node() as node:
        crowd = started(node, 10, CROWD)
        started(node, 2, FEW)
        say(node, CROWD, 1)
        for number in range(12):
            say(node, FEW, number)
            await asyncio.sleep(0)
        assert not waiting(crowd)


async def test_crowds_of_different_sizes_take_turns() -> None:
    async with new_node() as node:
        large, small = started(node, 100, CROWD), started(node, 6, FEW)
        say(node, CROWD, 1)
        await asyncio.sleep(0)
        say(node, FEW, 2)
        while waiting(small):
            await asyncio.sleep(0)
        assert waiting(large) > 80
        await settled(node)
        assert not waiting(large)


async def test_channel_that_is_being_written_gathers_what_comes_for_it() -> None:
    async with new_node() as node:
        crowd = started(node, 10, CROWD)
        flushes = node.counters.flushes
        say(node, CROWD, 0)
        for number in range(1, 4):
            say(node, CROWD, number)
            await asyncio.sleep(0)
        await settled(node)
        assert node.counters.flushes - flushes <= 3
        assert [client.wire.data() for client in crowd] == [[0, 1, 2, 3]] * 10


async def test_nothing_counts_as_handed_over_before_what_it_overtook() -> None:
    """Its client answered a ping after the later batch, and had yet to get the earlier: that was not given again."""
    async with new_node() as node:
        started(node, 9, CROWD)
        alice = Client(node)
        alice.start(CROWD, FEW)
        say(node, CROWD, 1)
        say(node, FEW, 2)
        await asyncio.sleep(0)
        assert alice.wire.data() == [2]
        number = ping(node, alice)
        assert number is not None
        node.registry.arrived(alice.session, number)
        # And as an event stream says it.
        newest = node.delivery.tops[FEW]
        node.registry.saw(alice.session, str(newest))
        await settled(node)
        node.registry.saw(alice.session, str(newest))
        alice.wire = Wire()
        alice.connect(advice={"timeout": 0})
        assert 1 in alice.wire.data()


async def test_connection_ends_after_what_was_published_before_though_others_are_still_written_to() -> None:
    """As soon as that has been written, and not when nothing is: on a busy hub there is always something."""
    async with new_node() as node:
        started(node, 9, CROWD)
        ended: list[int] = []
        node.delivery._hearer.done = lambda: ended.append(node.registry.recent.written)  # type: ignore[method-assign]
        say(node, CROWD, 1)
        first = node.registry.recent.newest
        for _ in range(60):
            say(node, CROWD, 2)
            await asyncio.sleep(0)
            if any(number >= first for number in ended):
                break
        else:
            pytest.fail("never done")
        await settled(node)


CHANNELS = [CROWD, FEW, "/crowd/a", "/few/b"]
PATTERNS = [*CHANNELS, CROWD, "/*", "/crowd/*", "/**"]
#: Of so many, the others are a crowd that nothing happens to.
COUNT = 6
WHO = st.integers(0, 1)
STEP = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from(CHANNELS), st.integers(1, 2)),
    st.tuples(st.just("overtake"), WHO, st.sampled_from(["ping", "leave", "block", "nothing"])),
    st.tuples(st.just("overtake"), WHO, st.sampled_from(["ping", "leave", "block", "nothing"])),
    st.tuples(st.just("round"), st.integers(1, 4), st.just(0)),
    st.tuples(st.just("subscribe"), WHO, st.sampled_from(PATTERNS)),
    st.tuples(st.just("unsubscribe"), WHO, st.sampled_from(PATTERNS)),
    st.tuples(st.just("ping"), WHO, st.just(0)),
    st.tuples(st.just("carry"), WHO, st.integers(1, 6)),
    st.tuples(st.just("leave"), WHO, st.just(0)),
    st.tuples(st.just("die"), WHO, st.sampled_from([WEBSOCKET, LONG_POLLING])),
    st.tuples(st.just("block"), WHO, st.booleans()),
)


class Reader:
    """A client, with what it should have heard and what it has."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.client = Client(node)
        self.client.start()
        self.patterns: set[str] = set()
        self.expected: list[tuple[str, int]] = []
        self.received: list[tuple[str, int]] = []
        #: Whether its link was ever lost: then it may be given something twice.
        self.again = False

    def subscribe(self, pattern: str) -> None:
        self.client.say(self.client.meta("subscribe", subscription=pattern))
        self.patterns.add(pattern)

    def arrive(self, count: int) -> None:
        wire = self.client.wire
        for message in [wire.messages.pop(0) for _ in range(min(count, len(wire.messages)))]:
            if "ping" in message:
                self.node.registry.arrived(self.client.session, message["ping"])
            elif "data" in message:
                self.received.append((message["channel"], message["data"]))

    def ping(self) -> None:
        number = ping(self.node, self.client) if self.client.transport == WEBSOCKET else None
        if number is not None:
            self.client.wire.messages.append({"ping": number})

    def block(self, blocked: bool) -> None:
        if self.client.transport == WEBSOCKET:
            self.client.wire.blocked = blocked
            self.client.session.settle()
            self.node.writable(self.client.session)

    def leave(self) -> None:
        """Its connection is seen to close: nothing reaches it, and it may fall asleep."""
        self.again = True
        if self.client.transport == WEBSOCKET:
            self.node.detach(self.client.wire, self.client.session)
            self.client.wire.messages.clear()

    def come(self, transport: str) -> None:
        """What was on its way is lost, and it comes back."""
        self.again = True
        self.client.wire = Wire()
        self.client.transport = transport
        self.client.connect(advice={"timeout": 0})
        if transport == LONG_POLLING:
            self.arrive(1000)

    def check(self) -> None:
        for channel in CHANNELS:
            heard = [entry for entry in self.received if entry[0] == channel]
            wanted = [entry for entry in self.expected if entry[0] == channel]
            assert list(dict.fromkeys(heard)) == wanted
            if not self.again:
                assert heard == wanted, "and once"
        assert set(Counter(self.received)) == set(self.expected), "and nothing that was not subscribed to"


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=40))
# One that slept by a wildcard since a later batch woke with the crowd's newest, and then got the one before it.
@example(
    [
        ("die", 1, LONG_POLLING),
        ("overtake", 1, "nothing"),
        ("subscribe", 1, "/*"),
        ("publish", FEW, 2),
        ("overtake", 1, "nothing"),
        ("subscribe", 1, "/few/b"),
    ]
)
# One fell asleep at the crowd's batch, and woke with what went before that and it had subscribed to afterwards.
@example(
    [
        ("subscribe", 0, "/few/b"),
        ("unsubscribe", 1, FEW),
        ("overtake", 1, "leave"),
        ("subscribe", 1, "/few/b"),
        ("publish", "/few/b", 2),
        ("overtake", 1, "nothing"),
        ("subscribe", 1, "/**"),
    ]
)
# One subscribed while a batch from before was still being written, and got it when its connection died.
@example(
    [("unsubscribe", 0, CROWD), ("publish", CROWD, 1), ("subscribe", 0, CROWD), ("die", 0, WEBSOCKET)],
)
def test_whatever_goes_first_each_session_gets_each_channel_in_its_order(script: list[tuple[str, Any, Any]]) -> None:
    """Random channels and crowds, links that block, die and come back, sessions that sleep, in the midst of slices."""

    steps: list[tuple[str, Any, Any]] = []
    for step in script:
        if step[0] == "overtake":
            # What is for few comes when the many have begun to get theirs, and then something happens to a reader.
            happens = (step[2], step[1], True)
            steps += [("publish", CROWD, 1), ("publish", FEW, 1), ("round", 1, 0), happens, ("carry", step[1], 3)]
        else:
            steps.append(step)

    async def act() -> None:
        async with new_node() as node:
            readers = [Reader(node) for _ in range(COUNT)]
            for reader in readers:
                reader.subscribe(CROWD)
            for reader in readers[:2]:
                reader.subscribe(FEW)
            for number, (what, how, more) in enumerate(steps):
                if what == "publish":
                    data = [10 * number + each for each in range(more)]
                    say(node, how, *data)
                    for reader in readers:
                        if any(matches(pattern, how) for pattern in reader.patterns):
                            reader.expected += ((how, each) for each in data)
                elif what == "round":
                    for _ in range(how):
                        await asyncio.sleep(0)
                elif what == "subscribe":
                    readers[how].subscribe(more)
                elif what == "unsubscribe":
                    # What is on its way may or may not arrive: so let it.
                    await settled(node)
                    reader = readers[how]
                    reader.block(False)
                    reader.come(LONG_POLLING)
                    reader.client.say(reader.client.meta("unsubscribe", subscription=more))
                    reader.patterns.discard(more)
                elif what == "ping":
                    readers[how].ping()
                elif what == "carry":
                    readers[how].arrive(more)
                elif what == "leave":
                    readers[how].leave()
                elif what == "die":
                    readers[how].come(more)
                elif what == "block":
                    readers[how].block(more)
            await settled(node)
            for reader in readers:
                if reader.again:
                    reader.come(LONG_POLLING)
                else:
                    reader.block(False)
                    reader.arrive(10_000)
                reader.check()
            recent = node.registry.recent
            assert recent.written == recent.newest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub.delivery, "SLICE", 2)
        asyncio.run(act())


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("late", [0.0, 0.2])
def test_sockets_are_read_between_slices(new_loop: Callable[[], asyncio.AbstractEventLoop], late: float) -> None:
    """After two of them nobody asks whether a client of a poll is there still, which is a system call each.

    late: seconds that the process stands still before, with a fan-out due as it goes on.
    """

    async def fan_out() -> list[tuple[bool, int]]:
        loop, sent, seen = asyncio.get_running_loop(), [0, 0], []
        ours, theirs = socket.socketpair()
        ours.setblocking(False)

        def read() -> None:
            sent[1] += len(ours.recv(1000))

        class Watched(Wire):
            def offer(self, batch: Batch) -> None:
                seen.append((node.delivery.has_read, sent[0] - sent[1]))
                sent[0] += theirs.send(b".")
                super().offer(batch)

        with ours, theirs:
            async with new_node() as node:
                loop.add_reader(ours, read)
                crowd = started(node, 20, CROWD)
                for client in crowd:
                    client.wire.__class__ = Watched
                if late:
                    loop.call_later(late / 2, say, node, CROWD, 1)
                    time.sleep(late)  # noqa: ASYNC251  # as a process that is stopped
                    sent[0] += theirs.send(b".")
                    await asyncio.sleep(0)
                else:
                    say(node, CROWD, 1)
                while waiting(crowd):
                    await asyncio.sleep(0)
                assert not node.delivery.has_read
                loop.remove_reader(ours)
        return seen

    with asyncio.Runner(loop_factory=new_loop) as runner:
        seen = runner.run(fan_out())
    assert len(seen) == 20
    assert not seen[0][0]
    assert sum(has_read for has_read, _ in seen) >= 12
    assert all(unread < 4 for has_read, unread in seen if has_read), "what was sent two slices ago has been read"


async def test_what_was_read_before_a_process_stood_still_does_not_count() -> None:
    """It was stopped amid a slice, and its clients had hung up when it went on."""
    seen = []

    class Watched(Wire):
        def offer(self, batch: Batch) -> None:
            seen.append(node.delivery.has_read)
            if len(seen) == 11:
                time.sleep(2 * hub.delivery.READ_SECONDS)
            super().offer(batch)

    async with new_node() as node:
        crowd = started(node, 20, CROWD)
        for client in crowd:
            client.wire.__class__ = Watched
        say(node, CROWD, 1)
        await settled(node)
    assert seen[8:11] == [True] * 3
    assert not any(seen[11:14]), "not before the loop has read its sockets, and called who waits for them"
    assert all(seen[14:])
