"""The node: holds, wakes, fans out, recovers, expires, drains. With the memory broker."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import Mock

import pytest
from changed_rules import set_access, set_wall
from conversation import Wire, new_rules
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.bayeux.names import LONG_POLLING, WEBSOCKET
from hub.bayeux.outcome import Request
from hub.brokers import Claim
from hub.brokers.memory import MemoryBroker
from hub.delivery import pause
from hub.errors import LinkClosed
from hub.ids import new_id
from hub.node import Bounds, Node
from hub.polls import Poll
from hub.protocol import tokens
from hub.protocol.access import Access
from hub.protocol.channels import matches
from hub.protocol.publications import Draft
from hub.sessions.links import Batch
from hub.sessions.session import Session


@contextlib.asynccontextmanager
async def new_node(bounds: Bounds | None = None, **limits: Any) -> AsyncIterator[Node]:
    """A started node that flushes at once."""
    node = Node(MemoryBroker(), new_rules(**limits), bounds or Bounds(tick=0.0))
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


class Client:
    """A client of a node: a WebSocket, or polls."""

    def __init__(self, node: Node, transport: str = WEBSOCKET) -> None:
        self.node = node
        self.transport = transport
        self.wire = Wire()
        self.id = ""
        self.poll: Poll | None = None

    def say(self, *messages: dict[str, Any]) -> Poll | None:
        if self.transport == WEBSOCKET:
            self.node.accept(messages, WEBSOCKET, self.wire, self.wire)
            return None
        poll = Poll()
        poll.when_sent(self.wire.send)
        self.node.accept(messages, LONG_POLLING, poll)
        return poll

    def meta(self, name: str, **fields: Any) -> dict[str, Any]:
        return {"channel": f"/meta/{name}", "clientId": self.id} | fields

    def handshake(self, **fields: Any) -> None:
        types = {"version": "1.0", "supportedConnectionTypes": [self.transport]}
        self.say({"channel": "/meta/handshake"} | types | fields)
        self.id = self.wire.take()[0]["clientId"]

    def connect(self, **fields: Any) -> Poll | None:
        return self.say(self.meta("connect", connectionType=self.transport, **fields))

    def start(self, *patterns: str, **fields: Any) -> None:
        """Handshake, subscribe, and let the first connect be answered."""
        self.handshake(**fields)
        for pattern in patterns:
            self.say(self.meta("subscribe", subscription=pattern))
        self.connect()
        self.wire.take()

    @property
    def session(self) -> Session:
        session = self.node.registry.get(self.id)
        assert session is not None
        return session


def skip(seconds: float) -> None:
    """Let the loop's clock be so much later: what is due by then is due now."""
    loop, now = asyncio.get_running_loop(), asyncio.get_running_loop().time
    loop.time = lambda: now() + seconds  # type: ignore[method-assign]  # this loop's alone, which ends with the test


async def until(fact: Callable[[], object]) -> None:
    """Wait until the node has done what it was about to do."""
    async with asyncio.timeout(60):
        while not fact():
            await asyncio.sleep(0)


async def publish(node: Node, channel: str, *data: Any, hint: bool = False) -> None:
    await node.publish([Draft(channel, str(item).encode(), hint=hint) for item in data])


@contextlib.asynccontextmanager
async def one_by_one(bounds: Bounds | None = None) -> AsyncIterator[Node]:
    """A node that does one piece of costly work in a round of the loop."""
    async with new_node(bounds) as node:
        node.turns._seconds = 0.0
        yield node


class TestBatchesOfSeveralSessions:
    """One batch may speak for several sessions. Each was left with what the rules note for one."""

    async def test_connects_of_several_sessions_on_a_socket_don_t_keep_them_for_ever(self) -> None:
        """Of two that were held only the last had a time when it was answered. The other session counted as reachable
        from then on: a client that shook hands by the thousand and left had the hub keep all of it for good.
        """
        async with new_node(Bounds(tick=0.0, session_ttl=0.1), timeout=0.2) as node:
            wire = Wire()
            clients = [Client(node) for _ in range(3)]
            for client in clients:
                client.wire = wire
                client.start("/a")
            clients[0].say(*(each.meta("connect", connectionType=WEBSOCKET) for each in clients))
            assert node.registry.sessions
            for session in list(node.registry.sessions.values()):
                node.detach(wire, session)
            async with asyncio.timeout(60):
                while node.registry.sessions:
                    await asyncio.sleep(0.05)

    async def test_each_token_of_a_batch_is_watched(self) -> None:
        """Only the last session of a batch was looked at when its token expired; the others heard on."""
        async with new_node(Bounds(tick=0.0, session_ttl=1000.0)) as node:
            wall = 1e9
            set_wall(node.bayeux, lambda: wall)
            set_access(node.bayeux, Access(realm="r", keys=[b"k" * 32]))
            shown = tokens.sign("r", b"k" * 32, wall, life=5, channels=["private-1"])
            clients = [Client(node, LONG_POLLING) for _ in range(3)]
            for client in clients:
                client.start()
            subscribes = [each.meta("subscribe", subscription="/private-1", ext={"token": shown}) for each in clients]
            clients[0].say(*subscribes)
            assert [each["successful"] for each in clients[0].wire.take()] == [True] * 3
            wall += 6
            skip(6)
            await until(lambda: not node.registry.sessions)

    async def test_what_waits_for_a_session_goes_before_its_own_reply(self) -> None:
        """It went with the first connect's reply, which another session got: its acknowledgement number too."""
        async with new_node() as node:
            alice, bob = Client(node, LONG_POLLING), Client(node, LONG_POLLING)
            alice.start()
            bob.start("/a", ext={"ack": True})
            await publish(node, "/a", 1)
            alice.say(*(each.meta("connect", connectionType=LONG_POLLING) for each in (alice, bob)))
            numbered = [each["clientId"] for each in alice.wire.take() if "ack" in each.get("ext", {})]
            assert numbered == [bob.id]

    async def test_each_socket_that_lost_its_session_is_told(self) -> None:
        """Only the last was: the others stayed open, and heard nothing."""
        async with new_node() as node:
            clients = [Client(node) for _ in range(2)]
            for client in clients:
                client.start("/a")
            wire = Wire()
            connects = [each.meta("connect", connectionType=WEBSOCKET) for each in clients]
            node.accept(connects, WEBSOCKET, wire, wire)
            assert [each.wire.left for each in clients] == [(1000, "continued elsewhere")] * 2


class TestLongBatches:
    """A batch that takes its time is worked off in pieces, between which everybody else is served."""

    @pytest.fixture(autouse=True)
    def _small_pieces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A piece is one message."""
        monkeypatch.setattr("hub.intake.PIECE_SECONDS", 0.0)

    @staticmethod
    def subscribes(client: Client, count: int = 50) -> list[dict[str, Any]]:
        return [client.meta("subscribe", subscription=f"/a/{number}", id=number) for number in range(count)]

    @pytest.mark.parametrize("transport", [WEBSOCKET, LONG_POLLING])
    async def test_others_are_served_meanwhile_and_it_gets_one_answer(self, transport: str) -> None:
        async with one_by_one() as node:
            alice, bob = Client(node, transport), Client(node)
            alice.start()
            alice.say(*self.subscribes(alice))
            await until(lambda: len(alice.session.patterns) > 5)
            assert len(alice.session.patterns) < 50
            bob.start("/b")
            await publish(node, "/b", 1)
            assert bob.wire.data() == [1]
            assert not alice.wire.messages
            answers = alice.wire.answers
            await until(lambda: alice.wire.messages)
            assert alice.wire.answers == answers + 1
            assert [each["id"] for each in alice.wire.take()] == list(range(50))

    async def test_batches_of_a_socket_keep_their_order(self) -> None:
        async with one_by_one() as node:
            alice = Client(node)
            alice.start()
            ready: list[bool] = []
            alice.say(*self.subscribes(alice, 20))
            assert node.is_busy(alice.wire, lambda: ready.append(True))
            alice.say(alice.meta("unsubscribe", subscription="/a/19", id="alone"))
            alice.say(*(alice.meta("unsubscribe", subscription=f"/a/{number}", id=number) for number in range(18)))
            alice.say(alice.meta("subscribe", subscription="/c", id="last"))
            await until(lambda: ready)
            assert [each["id"] for each in alice.wire.take()] == [*range(20), "alone", *range(18), "last"]
            assert alice.session.patterns == ["/a/18", "/c"]
            assert not node.is_busy(alice.wire, lambda: None)

    async def test_socket_that_goes_meanwhile_keeps_no_session(self) -> None:
        """Its session would have a link that nobody hears of again, and never expire."""
        async with one_by_one(Bounds(tick=0.0, session_ttl=0.1)) as node:
            alice = Client(node)
            alice.start()
            rest = self.subscribes(alice)
            alice.say(alice.meta("connect", connectionType=WEBSOCKET), *rest)
            await until(lambda: alice.session.patterns)
            node.detach(alice.wire, alice.session)
            await until(lambda: not len(node.turns))
            assert alice.session.link is None
            assert len(alice.session.patterns) < 50
            await until(lambda: node.counters.expired == 1)

    async def test_handshake_of_a_socket_that_goes_meanwhile_expires(self) -> None:
        async with one_by_one(Bounds(tick=0.0, session_ttl=0.1)) as node:
            alice = Client(node)
            shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": [WEBSOCKET]}
            alice.say(shake, *[{"channel": "/a"}] * 50)
            await until(lambda: node.registry.sessions)
            assert len(node.registry.sessions) == 1
            node.detach(alice.wire, None)
            await until(lambda: node.counters.expired == 1)

    async def test_poll_that_goes_meanwhile_takes_nothing_with_it(self) -> None:
        async with one_by_one() as node:
            alice = Client(node, LONG_POLLING)
            alice.start("/b")
            await publish(node, "/b", 1)
            poll = alice.say(alice.meta("connect", connectionType=LONG_POLLING, id="gone"), *self.subscribes(alice))
            assert poll is not None
            node.abandon(poll)
            await until(lambda: poll.parts is not None)
            alice.wire.take()
            alice.connect(id="next")
            assert alice.wire.data() == [1]

    async def test_socket_that_sends_on_and_on_meanwhile_is_told_to_come_back(self) -> None:
        async with one_by_one(Bounds(tick=0.0, queue_count=3)) as node:
            alice = Client(node)
            alice.start()
            alice.say(*self.subscribes(alice))
            for number in range(4):
                alice.say(alice.meta("subscribe", subscription="/b", id=number))
            assert alice.wire.left == (1013, "try again later")
            assert node.bayeux.limited["claims"] == 1
            await until(lambda: not len(node.turns))
            assert "/b" not in alice.session.patterns

    async def test_bug_in_the_midst_leaves_nobody_waiting(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with one_by_one() as node:
            alice = Client(node)
            alice.start()
            step = node.bayeux.step

            def fail(request: Request) -> bool:
                if request.taken == 30:
                    raise ZeroDivisionError
                return step(request)

            monkeypatch.setattr(node.bayeux, "step", fail)
            alice.say(*self.subscribes(alice))
            alice.say(alice.meta("subscribe", subscription="/b", id="next"))
            await until(lambda: "/b" in alice.session.patterns)
            assert [each["id"] for each in alice.wire.take()] == [*range(30), "next"]
            assert "request failed" in caplog.text


class TestDelivery:
    async def test_publication_reaches_a_websocket_at_once(self) -> None:
        async with new_node() as node:
            alice = Client(node)
            alice.start("/a")
            await publish(node, "/a", 1, 2)
            assert alice.wire.data() == [1, 2]

    async def test_connect_is_answered_whatever_else_is_in_its_batch(self) -> None:
        """What is no message has a reply without a channel, which was asked for it: the whole batch got no answer."""
        async with new_node() as node:
            alice = Client(node)
            alice.handshake(ext={"ack": True})
            connect = alice.meta("connect", connectionType="websocket")
            alice.say(7, connect | {"connectionType": "iframe"}, connect)  # type: ignore[arg-type]  # a bad client's
            nothing, refused, answered = alice.wire.take()
            assert [each["successful"] for each in (nothing, refused, answered)] == [False, False, True]
            assert "ext" not in refused
            assert answered["ext"] == {"ack": 1}

    async def test_publication_waits_for_the_next_connect_of_a_poll(self) -> None:
        async with new_node() as node:
            alice = Client(node, LONG_POLLING)
            alice.start("/a")
            await publish(node, "/a", 1)
            assert alice.wire.data() == []
            alice.connect()
            assert alice.wire.data() == [1]

    async def test_held_connect_is_answered_with_the_publication_before_its_reply(self) -> None:
        async with new_node() as node:
            alice = Client(node, LONG_POLLING)
            alice.start("/a")
            alice.connect(id="7")
            await publish(node, "/a", 1)
            first, reply = alice.wire.take()
            assert first["data"] == 1
            assert (reply["channel"], reply["id"], reply["successful"]) == ("/meta/connect", "7", True)
            assert reply["advice"]["reconnect"] == "retry"

    async def test_what_waits_for_its_tick_is_not_for_who_subscribes_meanwhile(self) -> None:
        """A replay of nothing old (-1) got what had been published in the 2 ms before it, if it was quick."""
        async with new_node(Bounds(tick=10.0)) as node:
            alice, bob, carol = Client(node), Client(node), Client(node, LONG_POLLING)
            alice.start("/a")
            await publish(node, "/a", 0)
            await asyncio.sleep(0)
            assert alice.wire.data() == [0], "the first goes at once, and begins a tick"
            await publish(node, "/a", 1)
            bob.start("/a")
            assert alice.wire.data() == [1]
            await publish(node, "/a", 2)
            plain = Wire()
            await node.subscribe(node.open_session(plain), {"/a": None})
            await publish(node, "/a", 3)
            carol.start("/a")
            carol.connect()
            assert [client.data() for client in (alice.wire, bob.wire, plain, carol.wire)] == [[2, 3], [2, 3], [3], []]

    async def test_large_audience_under_way_keeps_its_order_when_somebody_subscribes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hub.delivery.SLICE", 2)
        async with new_node() as node:
            clients = [Client(node) for _ in range(5)]
            for client in clients:
                client.start("/a")
            await publish(node, "/a", 1)
            await publish(node, "/a", 2)
            late = Client(node)
            late.start("/a")
            await publish(node, "/a", 3)
            async with asyncio.timeout(60):
                while len(late.wire.messages) < 1 or any(len(client.wire.messages) < 3 for client in clients):
                    await asyncio.sleep(0)
            assert [client.wire.data() for client in clients] == [[1, 2, 3]] * 5
            assert late.wire.data() == [3]

    async def test_held_connect_is_answered_when_its_time_is_up(self) -> None:
        async with new_node() as node:
            alice = Client(node, LONG_POLLING)
            alice.start("/a")
            answered = asyncio.Event()
            poll = alice.connect(advice={"timeout": 50})
            assert poll is not None
            poll.when_sent(lambda parts: answered.set())
            await asyncio.wait_for(answered.wait(), 60)

    async def test_overlapping_subscriptions_deliver_once(self) -> None:
        async with new_node() as node:
            alice = Client(node)
            alice.start("/a/b", "/a/*", "/a/**", "/**")
            await publish(node, "/a/b", 1)
            assert alice.wire.data() == [1]

    async def test_client_that_waits_for_its_own_message_waits_for_no_tick(self) -> None:
        """A thousand messages, each sent when the last had come back, took a millisecond each on an idle hub."""
        async with new_node(Bounds(tick=60.0)) as node:
            alice = Client(node)
            alice.start("/a")
            for number in range(5):
                await publish(node, "/a", number)
                await asyncio.sleep(0)
                assert alice.wire.data() == [number]

    async def test_what_comes_within_a_tick_goes_out_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hub.delivery.LONE", 0)
        async with new_node(Bounds(tick=60.0)) as node:
            alice = Client(node)
            alice.start("/a")
            await publish(node, "/a", 0)
            await publish(node, "/a", 1)
            assert alice.wire.data() == [], "what was read in one turn of the loop goes together"
            await asyncio.sleep(0)
            assert alice.wire.data() == [0, 1], "the first go at once"
            for number in range(2, 5):
                await publish(node, "/a", number)
            await asyncio.sleep(0)
            assert alice.wire.data() == []
            skip(60.0)
            await until(lambda: bool(alice.wire.messages))
            assert alice.wire.data() == [2, 3, 4]

    def test_pause_after_a_fan_out_is_as_long_as_it_was_costly(self) -> None:
        # A whole tick after ten sockets made nine in ten of 400 messages a second wait, for nobody's good.
        assert pause(0.002, took=0.00025) == 0.001
        assert pause(0.002, took=0.003) == 0.002, "a tick at the most"
        assert pause(0.002, took=0.00001) == 0.0005
        assert pause(0.0, took=1.0) == 0.0

    async def test_large_audience_is_served_in_slices_in_order(self) -> None:
        async with new_node() as node:
            clients = [Client(node) for _ in range(1300)]
            for client in clients:
                client.start("/a")
            await publish(node, "/a", 1)
            await publish(node, "/a", 2)
            while node.registry.recent.written < 2:
                await asyncio.sleep(0)
            assert all(client.wire.data() == [1, 2] for client in clients)

    async def test_many_small_audiences_are_served_in_slices_too(self) -> None:
        """A batch for a thousand channels of a hundred sockets was one turn of the loop, of half a second."""
        async with new_node() as node:
            clients = [Client(node) for _ in range(800)]
            for number, client in enumerate(clients):
                client.start(f"/a/{number // 100}")
            await node.publish([Draft(f"/a/{number}", b"1") for number in range(8)])
            assert [bool(client.wire.messages) for client in clients] == [True] * 100 + [False] * 700
            await publish(node, "/a/7", 2)
            await until(lambda: len(clients[-1].wire.messages) == 2)
            assert clients[-1].wire.data() == [1, 2]
            assert all(client.wire.data() == [1] for client in clients[:700])

    async def test_own_publication_comes_back(self) -> None:
        async with new_node() as node:
            alice = Client(node)
            alice.start("/chat/a")
            alice.say({"channel": "/chat/a", "clientId": alice.id, "data": 5, "id": "9"})
            messages = alice.wire.take()
            assert {"channel": "/chat/a", "successful": True, "id": "9"} in messages
            assert [message["data"] for message in messages if "data" in message] == [5]

    async def test_repeated_publish_is_delivered_once(self) -> None:
        """Faye publishes again under the same id when it got no answer (its issue 32)."""
        async with new_node() as node:
            alice = Client(node)
            alice.start("/chat/a")
            for _ in range(2):
                alice.say({"channel": "/chat/a", "clientId": alice.id, "data": 5, "id": "9"})
            messages = alice.wire.take()
            assert sum("data" in message for message in messages) == 1
            assert sum(message.get("successful", False) for message in messages) == 2


class Broken(Wire):
    """A link whose writing fails."""

    error: Exception = LinkClosed()

    def offer(self, batch: Batch) -> None:
        raise self.error


class TestBrokenLinks:
    async def test_closed_link_keeps_nothing_from_the_others_and_its_session_keeps_the_batch(self) -> None:
        """Connections cut all at once: between a close and its report uvloop's transports raise.

        The exception went through the fan-out up to the broker's reader: a message was lost for
        everyone behind the closed link, and once the reader itself ended. The ledger found it.
        """
        async with new_node() as node:
            clients = [Client(node) for _ in range(5)]
            clients[2].wire = Broken()
            for client in clients:
                client.start("/a")
            await publish(node, "/a", 1)
            await publish(node, "/a", 2)
            for number in (0, 1, 3, 4):
                assert clients[number].wire.data() == [1, 2]
            again = Client(node)
            again.id = clients[2].id
            again.connect()
            assert again.wire.data() == [1, 2]

    async def test_link_that_closes_as_its_queue_is_written_takes_nothing_with_it(self) -> None:
        """Its session went on holding the connect that had come on it, and the next publication was an answer to that,
        with all that waited.
        """
        async with new_node() as node:
            alice = Client(node)
            alice.wire = Broken()
            alice.start("/a")
            alice.connect()
            assert alice.session.hold is not None
            alice.wire.blocked = True
            alice.session.settle()
            await publish(node, "/a", 1)
            alice.wire.blocked = False
            node.writable(alice.session)
            await publish(node, "/a", 2)
            assert not alice.wire.messages
            again = Client(node)
            again.id = alice.id
            again.connect()
            assert again.wire.data() == [1, 2]

    @pytest.mark.parametrize("blocked", [False, True])
    async def test_who_notices_first_that_a_link_is_gone_does_all_that_follows(self, *, blocked: bool) -> None:
        """Found out by a write it was not reported to presence, where the user stayed until the session expired; and
        that came at once, counted from what the client had said last.
        """
        async with new_node() as node:
            alice, away = Client(node), list[Session]()
            alice.wire = Broken()
            alice.start("/a")
            node.registry.attendance = Mock(away=away.append)
            alice.wire.blocked = blocked
            alice.session.settle()
            skip(25.0)
            await publish(node, "/a", 1)
            alice.wire.blocked = False
            session = node.registry.sessions[alice.id]
            node.writable(session)
            assert away == [session]
            node.detach(alice.wire, session)
            assert away == [session], "once"
            assert node.time() - session.seen < 20
            node.registry.attendance = None

    async def test_bug_in_one_link_ends_its_session_alone(self) -> None:
        async with new_node() as node:
            alice, bob = Client(node), Client(node)
            alice.wire = Broken()
            alice.wire.error = ZeroDivisionError()
            alice.start("/a")
            bob.start("/a")
            await publish(node, "/a", 1)
            assert bob.wire.data() == [1]
            assert node.registry.get(alice.id) is None


class TestLostAnswers:
    async def test_repeated_connect_gets_the_lost_answer_again(self) -> None:
        """Faye repeats a connect it got no answer to under the same id."""
        async with new_node() as node:
            alice = Client(node, LONG_POLLING)
            alice.start("/a")
            alice.connect(id="7")
            await publish(node, "/a", 1)
            assert alice.wire.data() == [1]
            alice.connect(id="7")
            assert alice.wire.data() == [1]
            alice.connect(id="8")
            await publish(node, "/a", 2)
            assert alice.wire.data() == [2], "a new id says that the answer arrived"

    async def test_abandoned_hold_takes_nothing_with_it(self) -> None:
        async with new_node() as node:
            alice = Client(node, LONG_POLLING)
            alice.start("/a")
            poll = alice.connect()
            assert poll is not None
            node.abandon(poll)
            await publish(node, "/a", 1)
            assert alice.wire.data() == []
            alice.connect()
            assert alice.wire.data() == [1]

    async def test_answer_that_could_not_be_written_is_given_again(self) -> None:
        async with new_node() as node:
            alice = Client(node, LONG_POLLING)
            alice.start("/a")
            poll = alice.connect(id="7")
            await publish(node, "/a", 1)
            assert poll is not None
            node.abandon(poll)
            alice.wire.take()
            alice.connect(id="8")
            assert alice.wire.data() == [1]

    async def test_acknowledged_batches_are_not_sent_again(self) -> None:
        """CometD's ack extension."""
        async with new_node() as node:
            alice = Client(node)
            alice.start("/a", ext={"ack": True})
            alice.connect(ext={"ack": 1})
            await publish(node, "/a", 1)
            (delivery, reply) = alice.wire.take()
            assert (delivery["data"], reply["ext"]["ack"]) == (1, 2)
            alice.connect(ext={"ack": 1})
            (delivery, reply) = alice.wire.take()
            assert (delivery["data"], reply["ext"]["ack"]) == (1, 3), "batch 2 was not acknowledged"
            alice.connect(ext={"ack": 3})
            assert alice.wire.data() == []

    @pytest.mark.parametrize("way", ["no acknowledgement", "a repeated connect"])
    async def test_answers_that_never_arrive_do_not_grow_for_ever(self, way: str) -> None:
        """Each held all that was sent before and what was new: 10 MB after 10,000 messages, and on."""
        async with new_node(Bounds(tick=0.0, queue_count=10)) as node:
            alice = Client(node, LONG_POLLING)
            alice.start("/a", ext={"ack": True} if way == "no acknowledgement" else {})
            sizes = []
            for number in range(30):
                await publish(node, "/a", number)
                alice.connect(id="1", ext={"ack": 0}, advice={"timeout": 0})
                replies = alice.wire.take()
                if not replies[-1]["successful"]:
                    break
                sizes.append(len(replies) - 1)
            assert sizes == list(range(1, 11))
            assert replies[-1]["error"].startswith("402:")
            assert replies[-1]["advice"]["reconnect"] == "handshake"
            assert not node.registry.sessions


class TestRecovery:
    @pytest.mark.parametrize(("count", "size"), [(25, 10**6), (1000, 30 * 103)])
    async def test_history_longer_than_what_may_wait_is_lost(self, count: int, size: int) -> None:
        """A question of 700 bytes, for the histories of 20 channels, held 36 MiB until somebody read them."""
        async with new_node(Bounds(tick=0.0, queue_count=count, queue_bytes=size)) as node:
            since = {}
            for name in ("/a", "/b", "/c"):
                since[name] = str(await node.broker.position(name))
                await publish(node, name, *range(20))
            alice = Client(node)
            alice.start()
            alice.say(alice.meta("subscribe", subscription=list(since), ext={"position": since}))
            await asyncio.sleep(0)
            replies = alice.wire.take()
            reply = next(each for each in replies if each["channel"] == "/meta/subscribe")
            assert reply["ext"]["recovered"] == {"/a": True, "/b": False, "/c": False}
            assert len([each for each in replies if "data" in each]) == 20
            assert node.counters.oversized == 2
            await publish(node, "/b", 20)
            assert alice.wire.data() == [20], "and it goes on from there"

    async def test_what_is_recovered_twice_takes_the_place_of_itself(self) -> None:
        """A worker woke up with an old subscribe of a session: both histories together were too long, what waited was
        dropped, and the word went to a client that had left. In the ledger 367 changes were passed over so.
        """
        async with new_node(Bounds(tick=0.0, queue_count=25)) as node:
            since = {"/a": str(await node.broker.position("/a"))}
            alice = Client(node, LONG_POLLING)
            alice.start()
            await publish(node, "/a", *range(20))
            for _ in range(2):
                alice.say(alice.meta("subscribe", subscription="/a", ext={"position": since}))
                await asyncio.sleep(0)
                (reply,) = alice.wire.take()
                assert reply["ext"]["recovered"] == {"/a": True}
            alice.connect(id="1", advice={"timeout": 0})
            assert alice.wire.data() == list(range(20))

    async def test_what_waits_is_not_dropped_without_a_word(self) -> None:
        async with new_node(Bounds(tick=0.0, queue_count=25)) as node:
            old = {"/a": str(await node.broker.position("/a"))}
            alice = Client(node, LONG_POLLING)
            alice.start()
            await publish(node, "/a", *range(10))
            known = {"/a": str(await node.broker.position("/a"))}
            await publish(node, "/a", *range(20))
            for since, recovered in ((known, True), (old, False)):
                alice.say(alice.meta("subscribe", subscription="/a", ext={"position": since}))
                await asyncio.sleep(0)
                (reply,) = alice.wire.take()
                assert reply["ext"]["recovered"] == {"/a": recovered}
            alice.connect(id="1", advice={"timeout": 0})
            (reply,) = alice.wire.take()
            assert reply["ext"]["lost"] == ["/a"], "whoever sent the second may have left"

    async def test_hints_of_a_long_history_are_conflated_first(self) -> None:
        async with new_node(Bounds(tick=0.0, queue_count=5)) as node:
            since = str(await node.broker.position("/a"))
            await node.publish([Draft("/a", b"%d" % number, hint=True) for number in range(20)])
            alice = Client(node)
            alice.start()
            alice.say(alice.meta("subscribe", subscription="/a", ext={"position": {"/a": since}}))
            await asyncio.sleep(0)
            assert alice.wire.data() == [19]

    async def test_subscribe_with_a_position_gets_what_came_after_it(self) -> None:
        async with new_node() as node:
            await publish(node, "/a", 1)
            since = str(await node.broker.position("/a"))
            await publish(node, "/a", 2, 3)
            alice = Client(node)
            alice.start()
            alice.say(alice.meta("subscribe", subscription="/a", ext={"position": {"/a": since}}))
            await publish(node, "/a", 4)
            await until(lambda: len(alice.wire.messages) == 4)
            await publish(node, "/a", 5)
            reply, *deliveries = alice.wire.take()
            assert reply["ext"]["recovered"] == {"/a": True}
            assert [message["data"] for message in deliveries] == [2, 3, 4, 5]

    async def test_unknown_epoch_is_told_as_lost(self) -> None:
        async with new_node() as node:
            await publish(node, "/a", 1)
            alice = Client(node)
            alice.start()
            alice.say(alice.meta("subscribe", subscription="/a", ext={"position": {"/a": "other.1"}}))
            await until(lambda: alice.wire.messages)
            (reply,) = alice.wire.take()
            assert reply["ext"]["recovered"] == {"/a": False}
            assert reply["ext"]["position"]["/a"] == str(await node.broker.position("/a"))

    async def test_lost_ends_sessions_that_keep_no_positions(self) -> None:
        async with new_node() as node:
            alice, bob = Client(node), Client(node)
            alice.start("/a")
            bob.start()
            bob.say(bob.meta("subscribe", subscription="/a", ext={"position": {"/a": None}}))
            for client in (alice, bob):
                client.connect(id="9")
            await until(lambda: bob.wire.messages)
            bob.wire.take()
            node.lost(["/a"])
            (reply,) = alice.wire.take()
            assert reply["advice"]["reconnect"] == "handshake"
            assert not reply["successful"], "CometD's client throws at a success with this advice"
            (told,) = bob.wire.take()
            assert told["ext"]["lost"] == ["/a"]


class TestSleep:
    """Ten thousand sessions whose clients had gone kept the loop for 10 ms a message of their channel."""

    async def test_what_is_published_costs_the_same_however_many_sleep(self) -> None:
        async with new_node() as node:
            gone = [Client(node, LONG_POLLING) for _ in range(50)]
            for client in gone:
                client.start("/a")
            await publish(node, "/a", 1)
            assert node.registry.sleeping == 0, "they may be between two polls"
            await publish(node, "/a", 2)
            assert node.registry.sleeping == 50
            assert len(node.registry.audience("/a")) == 0
            assert node.subscribers("/a") == 50
            await publish(node, "/a", 3)
            for client in gone:
                client.connect()
            assert [client.wire.data() for client in gone] == [[1, 2, 3]] * 50
            assert (node.registry.sleeping, node.registry.asleep) == (0, {})
            assert node.counters.delivered == 150

    async def test_who_never_connected_sleeps_at_once(self) -> None:
        async with new_node() as node:
            alice = Client(node, LONG_POLLING)
            alice.handshake()
            alice.say(alice.meta("subscribe", subscription="/a"))
            await publish(node, "/a", 1)
            assert node.registry.sleeping == 1
            alice.wire.take()
            alice.connect()
            assert alice.wire.data() == [1]

    async def test_wakes_on_a_websocket_too(self) -> None:
        async with new_node() as node:
            alice = Client(node)
            alice.handshake()
            alice.say(alice.meta("subscribe", subscription="/a"))
            await publish(node, "/a", 1, 2)
            alice.connect()
            await publish(node, "/a", 3)
            assert alice.wire.data() == [1, 2, 3]

    @pytest.mark.parametrize(("count", "heard", "left"), [(2, [1, 2, 3], None), (9, [], (1013, "slow"))])
    async def test_who_falls_asleep_while_its_stream_is_opened_wakes_on_it(
        self, count: int, heard: list[int], left: tuple[int, str] | None
    ) -> None:
        """It would have had a stream that nothing is written to."""
        async with new_node(Bounds(tick=0.0, queue_count=5)) as node:
            alice, stream = Client(node, LONG_POLLING), Wire()
            alice.handshake()
            alice.say(alice.meta("subscribe", subscription="/a"))
            session = alice.session
            for number in range(1, count + 1):
                await publish(node, "/a", number)
            assert node.registry.sleeping == 1
            node.move(session, stream, "")
            await publish(node, "/a", 3)
            assert (stream.data(), stream.left) == (heard, left)

    async def test_what_came_for_several_patterns_comes_once_and_in_order(self) -> None:
        async with new_node() as node:
            alice = Client(node, LONG_POLLING)
            alice.start("/a/b", "/a/*", "/c", "/**")
            # The second goes to sleep on one pattern, later ones on others too.
            for number, channel in enumerate(["/y", "/y", "/c", "/a/b", "/a/x", "/y", "/c", "/a/b"]):
                await publish(node, channel, number)
            assert node.registry.sleeping == 1
            alice.connect()
            assert alice.wire.data() == [0, 1, 2, 3, 4, 5, 6, 7]

    async def test_more_than_may_wait_for_one_ends_it_when_it_wakes(self) -> None:
        async with new_node(Bounds(tick=0.0, queue_count=3)) as node:
            alice, bob = Client(node, LONG_POLLING), Client(node)
            alice.start("/a")
            bob.start("/a")
            for number in range(6):
                await publish(node, "/a", number)
            assert node.counters.slow == 0
            assert alice.wire.take() == []
            alice.connect()
            (reply,) = alice.wire.take()
            assert (reply["successful"], reply["error"][:3]) == (False, "402")
            assert reply["advice"]["reconnect"] == "handshake"
            assert node.counters.slow == 1
            assert bob.wire.data() == [0, 1, 2, 3, 4, 5]

    async def test_many_patterns_are_no_way_to_have_more_waiting(self) -> None:
        """A session of a thousand busy channels would have been given a million publications in one go."""
        async with new_node(Bounds(tick=0.0, queue_count=10)) as node:
            alice = Client(node, LONG_POLLING)
            alice.start(*(f"/a/{number}" for number in range(60)))
            for number in range(60):
                await publish(node, f"/a/{number}", number)
            alice.connect()
            (reply,) = alice.wire.take()
            assert reply["error"][:3] == "402"
            assert node.counters.slow == 1

    async def test_hints_conflate_meanwhile(self) -> None:
        async with new_node(Bounds(tick=0.0, queue_count=3)) as node:
            alice = Client(node, LONG_POLLING)
            alice.start("/**")
            for number in range(0, 100, 2):
                await publish(node, "/a", number, hint=True)
                await publish(node, "/b", number + 1, hint=True)
            alice.connect()
            assert alice.wire.data()[-2:] == [98, 99]
            assert node.counters.slow == 0

    async def test_wildcard_does_not_wake_to_what_it_may_not_hear(self) -> None:
        async with new_node() as node:
            alice = Client(node, LONG_POLLING)
            alice.start("/**")
            for number, channel in enumerate(["/a", "/b", "/private-x", "/c"]):
                await publish(node, channel, number)
            assert node.registry.sleeping == 1
            assert len(node.registry.subscribers("/private-x")) == 0
            assert len(node.registry.subscribers("/c")) == 1
            alice.connect()
            assert alice.wire.data() == [0, 1, 3]

    async def test_unsubscribing_or_expiring_leaves_nothing_behind(self) -> None:
        async with new_node() as node:
            alice, bob = Client(node, LONG_POLLING), Client(node, LONG_POLLING)
            for client in (alice, bob):
                client.start("/a", "/b")
            await publish(node, "/a", 1)
            await publish(node, "/a", 2)
            assert node.registry.sleeping == 2
            alice.say(alice.meta("unsubscribe", subscription="/a"))
            assert node.registry.sleeping == 1
            for session in list(node.registry.sessions.values()):
                node.end_session(session, "expired")
            assert (node.registry.sleeping, node.registry.asleep, node.registry.audiences) == (0, {}, {})


class TestBounds:
    async def test_slow_session_is_ended_and_told_to_come_back(self) -> None:
        async with new_node(Bounds(tick=0.0, queue_count=3)) as node:
            alice, bob = Client(node), Client(node)
            alice.start("/a")
            bob.start("/a")
            alice.wire.blocked = True
            alice.session.settle()
            await publish(node, "/a", 1, 2, 3)
            assert alice.wire.left is None
            await publish(node, "/a", 4)
            assert alice.wire.left == (1013, "slow")
            assert node.registry.get(alice.id) is None
            assert bob.wire.data() == [1, 2, 3, 4]
            assert node.counters.slow == 1

    async def test_hints_conflate_before_a_session_is_called_slow(self) -> None:
        async with new_node(Bounds(tick=0.0, queue_count=3)) as node:
            alice = Client(node)
            alice.start("/a")
            alice.wire.blocked = True
            alice.session.settle()
            await publish(node, "/a", *range(100), hint=True)
            alice.wire.blocked = False
            node.writable(alice.session)
            assert alice.wire.data()[-1] == 99

    async def test_silent_session_expires(self) -> None:
        async with new_node(Bounds(tick=0.0, session_ttl=0.1)) as node:
            alice = Client(node, LONG_POLLING)
            alice.start("/a")
            async with asyncio.timeout(60):
                while node.registry.sessions:
                    await asyncio.sleep(0.05)
            assert node.registry.audiences == {}
            assert node.counters.expired == 1

    async def test_session_does_not_expire_for_what_was_not_read_while_the_process_stood_still(self) -> None:
        """Pollers came back after 40 s of a machine that stood still, and were unknown."""
        async with new_node(Bounds(tick=0.0, session_ttl=5.0)) as node:
            alice = Client(node, LONG_POLLING)
            alice.start("/a")
            session = alice.session
            session.seen -= 40.0
            node.wheel.awake = node.time()
            node.deadlines._session_due(session)
            assert not session.ended
            node.wheel.awake -= 40.0
            node.deadlines._session_due(session)
            assert session.ended

    async def test_session_without_a_connect_is_a_flood_s_and_soon_forgotten(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hub.deadlines.UNCONNECTED_SECONDS", 0.1)
        async with new_node() as node:
            alice, bob = Client(node, LONG_POLLING), Client(node, LONG_POLLING)
            alice.start("/a")
            bob.handshake()
            async with asyncio.timeout(60):
                while len(node.registry.sessions) > 1:
                    await asyncio.sleep(0.05)
            assert node.registry.get(alice.id) is not None, "who has connected has the whole time"

    async def test_drain_answers_held_connects_and_leaves_links(self) -> None:
        async with new_node() as node:
            alice, bob = Client(node), Client(node, LONG_POLLING)
            alice.start("/a")
            bob.start("/a")
            node.attach(alice.wire)
            bob.connect(id="3")
            await node.drain()
            assert alice.wire.left == (1001, "going away")
            assert [message["id"] for message in bob.wire.take()] == ["3"]
            assert not node.health.well


async def delivered(node: Node) -> None:
    """Return when everything that was published has been."""
    while node.delivery.pending or node.registry.recent.written < node.registry.recent.newest:
        await asyncio.sleep(0)


NAMES = ["/a", "/b", "/a/b", "/a/c"]
PATTERNS = [*NAMES, "/*", "/a/*", "/**", "/a/**"]
STEP = st.one_of(
    st.tuples(st.just("subscribe"), st.integers(0, 2), st.sampled_from(PATTERNS)),
    st.tuples(st.just("unsubscribe"), st.integers(0, 2), st.sampled_from(PATTERNS)),
    st.tuples(st.just("publish"), st.just(0), st.sampled_from(NAMES)),
    st.tuples(st.just("take"), st.integers(0, 2), st.just("")),
    st.tuples(st.just("expire"), st.integers(0, 2), st.just("")),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, max_size=40), st.sampled_from([1, 2, 512]))
def test_each_session_gets_each_matching_publication_once_in_order(
    monkeypatch: pytest.MonkeyPatch, script: list[tuple[str, int, str]], size: int
) -> None:
    """Client 0 is a WebSocket, 1 polls, 2 acknowledges; `take` is a connect that is not held.

    In slices smaller than an audience, the next step comes while the fan-out before is under way.
    """
    monkeypatch.setattr("hub.delivery.SLICE", size)
    channels = [where for _, _, where in script]

    def by_channel(numbers: list[int]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for number in numbers:
            found.setdefault(channels[number], []).append(number)
        return found

    async def act() -> None:
        async with new_node() as node:
            clients = [Client(node), Client(node, LONG_POLLING), Client(node, LONG_POLLING)]
            patterns: list[set[str]] = [set(), set(), set()]
            expected: list[list[int]] = [[], [], []]
            received: list[list[int]] = [[], [], []]
            acked = [0, 0, 0]
            for number, client in enumerate(clients):
                client.start(**({"ext": {"ack": True}} if number == 2 else {}))

            def take(who: int) -> None:
                ext = {"ext": {"ack": acked[who]}} if who == 2 else {}
                clients[who].connect(advice={"timeout": 0}, **ext)
                collect(who)

            def collect(who: int) -> None:
                for message in clients[who].wire.take():
                    if "data" in message:
                        received[who].append(message["data"])
                    acked[who] = message.get("ext", {}).get("ack", acked[who])

            for count, (what, who, where) in enumerate(script):
                client = clients[who]
                if what == "subscribe":
                    client.say(client.meta("subscribe", subscription=where))
                    patterns[who].add(where)
                elif what == "unsubscribe":
                    client.say(client.meta("unsubscribe", subscription=where))
                    patterns[who].discard(where)
                elif what == "publish":
                    await publish(node, where, count)
                    for one, mine in enumerate(patterns):
                        if any(matches(pattern, where) for pattern in mine):
                            expected[one].append(count)
                elif what == "take":
                    take(who)
                else:
                    await delivered(node)
                    take(who)
                    node.end_session(client.session, "expired")
                    client.wire = Wire()
                    client.start(**({"ext": {"ack": True}} if who == 2 else {}))
                    patterns[who], acked[who] = set(), 0
            await delivered(node)
            for who in range(3):
                take(who)
                # Channels have no order among them where one is written while the next comes.
                assert by_channel(received[who]) == by_channel(expected[who])
                assert size < 512 or received[who] == expected[who]

    asyncio.run(act())


def test_forked_processes_make_different_ids() -> None:
    """Random bytes are fetched for a hundred ids at once; a child must not go on with its parent's."""
    new_id()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert told.read() not in {new_id() for _ in range(100)}


class StallingBroker(MemoryBroker):
    """Keeps sessions, and takes its time to say what it knows of one."""

    keeps_sessions = True

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()

    async def claim_session(self, session_id: str, seconds: float, *, against: int = 0) -> Claim | None:
        await self.answers.wait()
        return None


class TestClaims:
    """What a WebSocket sends while the broker is asked for its session."""

    @contextlib.asynccontextmanager
    async def claiming(self, **bounds: Any) -> AsyncIterator[tuple[Node, StallingBroker, Client]]:
        broker = StallingBroker()
        node = Node(broker, new_rules(), Bounds(tick=0.0, **bounds))
        await node.start()
        try:
            alice = Client(node)
            alice.id = new_id()
            node.attach(alice.wire)
            alice.connect(id="0")
            yield node, broker, alice
        finally:
            await node.stop()

    async def settled(self, node: Node) -> None:
        while node.tasks.running:
            await asyncio.wait(node.tasks.running, timeout=5)

    async def test_batches_wait_for_the_claim_and_keep_their_order(self) -> None:
        async with self.claiming(queue_count=100) as (node, broker, alice):
            for number in range(1, 101):
                alice.connect(id=str(number))
            assert alice.wire.messages == []
            broker.answers.set()
            await self.settled(node)
            assert [reply["id"] for reply in alice.wire.take()] == [str(number) for number in range(101)]
            assert alice.wire.left is None

    @pytest.mark.parametrize(("bounds", "size"), [({"queue_count": 100}, 0), ({"queue_bytes": 2000}, 20)])
    async def test_too_many_of_them_close_the_link_and_none_is_taken(self, bounds: dict[str, int], size: int) -> None:
        async with self.claiming(**bounds) as (node, broker, alice):
            message = alice.meta("connect", connectionType=WEBSOCKET)
            for _ in range(100):
                node.accept([message], WEBSOCKET, alice.wire, alice.wire, size)
            assert alice.wire.left is None
            node.accept([message], WEBSOCKET, alice.wire, alice.wire, size)
            assert alice.wire.left == (1013, "try again later")
            assert node.bayeux.limited["claims"] == 1
            broker.answers.set()
            await self.settled(node)
            assert alice.wire.messages == []

    async def test_link_that_goes_meanwhile_leaves_no_session_with_it(self) -> None:
        """The session would have been attached to a dead connection, which nothing ever ends."""
        async with self.claiming() as (node, broker, alice):
            types = {"version": "1.0", "supportedConnectionTypes": [WEBSOCKET]}
            alice.say({"channel": "/meta/handshake"} | types)
            node.detach(alice.wire, None)
            broker.answers.set()
            await self.settled(node)
            assert not node.registry.sessions
            assert alice.wire.messages == []
