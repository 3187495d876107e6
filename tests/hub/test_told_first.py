"""A client is told that something is missing before it is given what is newer.

The ledger met it once in ten runs with a Redis that had lost its data: a client subscribed with its position while
others published. Its history was read, and was gone; while its session's record was saved, what came live was written
to its socket; then came the answer, which said "not recovered". Had the socket broken in between, the client would have
come back from the newer position, and never learned what was missing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import Mock

import pytest
from conversation import Wire, new_rules
from test_node import Client, publish, until

from hub.bayeux.names import LONG_POLLING, WEBSOCKET
from hub.brokers.memory import MemoryBroker
from hub.errors import BrokerUnavailable
from hub.node import Bounds, Node
from hub.protocol.publications import History, Position
from hub.transports.eventsource import BayeuxStream


class SlowBroker(MemoryBroker):
    """Answers as MemoryBroker, but questions wait while their gates are shut. keeps_sessions: as with Redis."""

    worker = "this"

    def __init__(self, *, keeps_sessions: bool) -> None:
        super().__init__()
        self.keeps_sessions = keeps_sessions  # type: ignore[misc]  # of each test's own
        self.saves, self.histories = asyncio.Event(), asyncio.Event()
        self.saves.set()
        self.histories.set()
        #: What waits, by channel or session.
        self.waiting: list[str] = []
        self.is_away = False

    def shut(self) -> None:
        """Let saves wait from now on."""
        self.saves.clear()
        self.waiting.clear()

    @property
    def life(self) -> int:
        return 1

    async def history(self, channel: str, since: Position | None) -> History:
        found = await super().history(channel, since)
        self.waiting.append(channel)
        await self.histories.wait()
        if self.is_away:
            raise BrokerUnavailable("away")
        return found

    async def save_session(
        self, session_id: str, fence: int, record: bytes, seconds: float, *, release: bool = False
    ) -> bool:
        self.waiting.append(session_id)
        await self.saves.wait()
        return True


@contextlib.asynccontextmanager
async def slow_node(*, keeps_sessions: bool = True, **limits: Any) -> AsyncIterator[tuple[Node, SlowBroker]]:
    broker = SlowBroker(keeps_sessions=keeps_sessions)
    node = Node(broker, new_rules(**limits), Bounds(tick=0.0))
    await node.start()
    try:
        yield node, broker
    finally:
        broker.saves.set()
        broker.histories.set()
        await node.stop()


async def rest(node: Node) -> None:
    while node.tasks.running:
        await asyncio.wait(node.tasks.running)


async def begin(node: Node, transport: str = WEBSOCKET, **fields: Any) -> Client:
    """A client that has connected once."""
    alice = Client(node, transport)
    types = {"version": "1.0", "supportedConnectionTypes": [transport]}
    alice.say({"channel": "/meta/handshake"} | types | fields)
    await rest(node)
    alice.id = alice.wire.take()[0]["clientId"]
    alice.connect()
    await rest(node)
    alice.wire.take()
    return alice


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    """In which order: answers by their channel, publications by their data."""
    return [str(each["data"]) if "data" in each else each["channel"].removeprefix("/meta/") for each in messages]


#: Ways to subscribe from a place that the log does not know any more.
WAYS = {"position": {"position": {"/a": "gone.7"}}, "replay": {"replay": {"/a": 7}}}


class TestSubscribe:
    @pytest.mark.parametrize("way", WAYS)
    async def test_socket_is_answered_before_it_gets_what_came_meanwhile(self, way: str) -> None:
        async with slow_node() as (node, broker):
            await publish(node, "/a", 1)
            alice = await begin(node)
            broker.shut()
            alice.say(alice.meta("subscribe", subscription="/a", ext=WAYS[way]))
            await until(lambda: alice.id in broker.waiting)
            await publish(node, "/a", 2)
            assert alice.wire.messages == []
            broker.saves.set()
            await rest(node)
            told = alice.wire.take()
            # Of an id that says too little, all is replayed that there is.
            assert kinds(told) == ["subscribe", *["1"] * (way == "replay"), "2"]
            assert told[0]["ext"]["recovered"] == {"/a": False}
            await publish(node, "/a", 3)
            assert alice.wire.data() == [3]

    async def test_what_was_recovered_comes_behind_the_answer_too(self) -> None:
        async with slow_node() as (node, broker):
            since = str(await node.broker.position("/a"))
            await publish(node, "/a", 1)
            alice = await begin(node)
            broker.shut()
            alice.say(alice.meta("subscribe", subscription="/a", ext={"position": {"/a": since}}))
            await until(lambda: alice.id in broker.waiting)
            await publish(node, "/a", 2)
            broker.saves.set()
            await rest(node)
            assert kinds(alice.wire.take()) == ["subscribe", "1", "2"]

    @pytest.mark.parametrize("keeps_sessions", [True, False])
    async def test_so_it_is_while_the_history_of_another_session_in_the_batch_is_read(
        self, *, keeps_sessions: bool
    ) -> None:
        """In one process as well: the first session's recovery was over while the second one's history was read."""
        async with slow_node(keeps_sessions=keeps_sessions) as (node, broker):
            await publish(node, "/a", 1)
            alice, bob = await begin(node), await begin(node)
            subscribes = [
                each.meta("subscribe", subscription=name, ext={"position": {name: "gone.7"}})
                for each, name in ((alice, "/a"), (bob, "/b"))
            ]
            history = broker.history

            async def slower(channel: str, since: Position | None) -> History:
                if channel == "/b":
                    broker.histories.clear()
                return await history(channel, since)

            broker.history = slower  # type: ignore[method-assign]  # of this test's own
            alice.say(*subscribes)
            await until(lambda: "/b" in broker.waiting)
            await publish(node, "/a", 2)
            assert alice.wire.messages == []
            broker.histories.set()
            await rest(node)
            assert kinds(alice.wire.take()) == ["subscribe", "subscribe", "2"]

    async def test_held_poll_waits_for_the_answer_to_the_subscribe_beside_it(self) -> None:
        """And is answered once, with what came: while a history was read it was answered again and again, with
        nothing.
        """
        async with slow_node(timeout=60) as (node, broker):
            await publish(node, "/a", 1)
            alice = await begin(node, LONG_POLLING)
            held = alice.connect(id="held")
            broker.shut()
            beside = alice.say(alice.meta("subscribe", subscription="/a", ext={"position": {"/a": "gone.7"}}))
            assert held is not None
            assert beside is not None
            await until(lambda: alice.id in broker.waiting)
            await publish(node, "/a", 2)
            assert held.parts is None
            assert beside.parts is None
            broker.saves.set()
            await rest(node)
            assert kinds(alice.wire.take()) == ["subscribe", "2", "connect"]

    async def test_poll_that_comes_meanwhile_is_held_and_answered_then(self) -> None:
        async with slow_node(timeout=60) as (node, broker):
            await publish(node, "/a", 1)
            alice = await begin(node, LONG_POLLING)
            broker.shut()
            alice.say(alice.meta("subscribe", subscription="/a", ext={"position": {"/a": "gone.7"}}))
            await until(lambda: alice.id in broker.waiting)
            await publish(node, "/a", 2)
            poll = alice.connect(id="next")
            assert poll is not None
            assert poll.parts is None
            broker.saves.set()
            await rest(node)
            assert kinds(alice.wire.take()) == ["subscribe", "2", "connect"]

    async def test_socket_that_acknowledges_is_answered_first_and_its_connect_then(self) -> None:
        async with slow_node(timeout=60) as (node, broker):
            await publish(node, "/a", 1)
            alice = await begin(node, ext={"ack": True})
            alice.connect(id="held", ext={"ack": alice.session.ack})
            broker.shut()
            alice.say(alice.meta("subscribe", subscription="/a", ext={"position": {"/a": "gone.7"}}))
            await until(lambda: alice.id in broker.waiting)
            await publish(node, "/a", 2)
            assert alice.wire.messages == []
            broker.saves.set()
            await rest(node)
            assert kinds(alice.wire.take()) == ["subscribe", "2", "connect"]


class TestLost:
    """What the hub itself may have missed is told in a connect's answer, and a socket has no connect held at times."""

    async def tracking(self, node: Node, transport: str = WEBSOCKET) -> Client:
        alice = await begin(node, transport)
        alice.say(alice.meta("subscribe", subscription="/a", ext={"position": {"/a": None}}))
        await rest(node)
        alice.wire.take()
        return alice

    @pytest.mark.parametrize("keeps_sessions", [True, False])
    async def test_publications_wait_for_the_answer_to_the_next_connect(self, *, keeps_sessions: bool) -> None:
        async with slow_node(keeps_sessions=keeps_sessions, timeout=60) as (node, _):
            alice = await self.tracking(node)
            node.lost(None)
            await publish(node, "/a", 1, 2)
            assert alice.wire.messages == []
            alice.connect(id="1")
            await rest(node)
            told = alice.wire.take()
            assert kinds(told) == ["connect", "1", "2"]
            assert told[0]["ext"]["lost"] == ["/a"]
            await publish(node, "/a", 3)
            assert alice.wire.data() == [3]

    async def test_held_connect_tells_at_once_and_nothing_waits(self) -> None:
        async with slow_node(timeout=60) as (node, _):
            alice = await self.tracking(node)
            alice.connect(id="1")
            node.lost(["/a"])
            await publish(node, "/a", 1)
            assert kinds(alice.wire.take()) == ["connect", "1"]

    async def test_answer_of_a_poll_that_could_not_be_written_is_told_again(self) -> None:
        """Its publications were kept for the next poll, and the word that some were missing before them was not."""
        async with slow_node(timeout=60) as (node, _):
            alice = await self.tracking(node, LONG_POLLING)
            node.lost(["/a"])
            await publish(node, "/a", 1)
            poll = alice.connect(id="1")
            assert poll is not None
            assert kinds(alice.wire.take()) == ["1", "connect"]
            node.abandon(poll)
            alice.connect(id="2")
            told = alice.wire.take()
            assert kinds(told) == ["1", "connect"]
            assert told[1]["ext"]["lost"] == ["/a"]

    @pytest.mark.parametrize("before", [True, False])
    async def test_stream_ends_the_session_since_it_can_say_nothing_else(self, *, before: bool) -> None:
        """The word came with the answer to the next connect, up to 45 s behind what was newer."""
        async with slow_node(timeout=60) as (node, _):
            alice = await self.tracking(node, LONG_POLLING)
            session, stream = alice.session, BayeuxStream(node, Mock())
            node.attach(stream)
            if before:
                node.lost(["/a"])
            node.move(session, stream, "")
            if not before:
                node.lost(["/a"])
            assert session.ended
            assert stream.closing


class TestPlain:
    """Clients that speak no Bayeux are answered by their transports, in the turn in which `subscribe` returns."""

    async def test_subscription_whose_history_could_not_be_read_hears_nothing(self) -> None:
        """Its client was refused, and got what was newer; it asked again from there, and what was in between was
        missing for good.
        """
        async with slow_node() as (node, broker):
            wire = Wire()
            session = node.open_session(wire)
            await node.subscribe(session, {"/b": None})
            since = await broker.position("/a")
            await publish(node, "/a", 1)
            broker.is_away = True
            broker.histories.clear()
            asked = asyncio.create_task(node.subscribe(session, {"/a": since, "/b": None}))
            await until(lambda: "/a" in broker.waiting)
            await publish(node, "/a", 2)
            await publish(node, "/b", 3)
            broker.histories.set()
            with pytest.raises(BrokerUnavailable):
                await asked
            node.writable(session)
            await publish(node, "/a", 4)
            assert wire.data() == [3]
            broker.is_away = False
            found = await node.subscribe(session, {"/a": since})
            node.writable(session)
            assert found["/a"][1]
            assert wire.data() == [1, 2, 4]


class TestUnsubscribe:
    @pytest.mark.parametrize("way", ["position", "history"])
    async def test_what_was_looked_up_for_a_subscription_that_has_ended_is_not_kept(self, way: str) -> None:
        """The place where it had begun came after the unsubscribe, and stayed: a worker that took the session over gave
        it, once it had subscribed again, what was published while it had not."""
        async with slow_node() as (node, broker):
            await publish(node, "/a", 1)
            since = str(await broker.position("/a"))
            await publish(node, "/a", 2)
            alice = await begin(node)
            gate = asyncio.Event()
            looked_up = MemoryBroker.position if way == "position" else MemoryBroker.history

            async def slow(*arguments: Any) -> Any:
                found = await looked_up(broker, *arguments)
                await gate.wait()
                return found

            setattr(broker, way, slow)
            alice.say(
                alice.meta(
                    "subscribe", subscription="/a", ext={"position": {"/a": None if way == "position" else since}}
                )
            )
            await asyncio.sleep(0)
            alice.say(alice.meta("unsubscribe", subscription="/a"))
            gate.set()
            await rest(node)
            session = node.registry.get(alice.id)
            assert session is not None
            assert "/a" not in (session.delivered or {})
            assert alice.wire.data() == []
