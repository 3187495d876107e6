"""What a dead WebSocket took with it is delivered again, to clients that know nothing of positions."""

from __future__ import annotations

import asyncio
from typing import Any

from changed_rules import set_access
from conversation import Wire
from hypothesis import given, settings
from hypothesis import strategies as st
from test_node import Client, new_node, publish

from hub.bayeux.names import LONG_POLLING, WEBSOCKET
from hub.node import Node
from hub.protocol.access import Access, parse_rules
from hub.protocol.channels import matches
from hub.transports.websocket import BayeuxSocket


def ping(node: Node, client: Client) -> int | None:
    """What a ping now would carry, None if it says nothing. The socket's own rule, without the socket."""
    socket = BayeuxSocket(node, limit=1000, interval=10.0)
    session = socket.session = client.session
    sink = session.sink
    # In the place of the wire, if batches are written straight to it.
    session.sink = socket if sink is client.wire else sink
    said = socket.mark()
    session.sink = sink
    return int(said) if said else None


def reconnect(client: Client, transport: str = WEBSOCKET) -> list[Any]:
    """The connection died without a word; the client comes back. What it is delivered."""
    client.wire = Wire()
    client.transport = transport
    client.connect(advice={"timeout": 0})
    return client.wire.data()


async def test_what_was_written_and_not_confirmed_is_written_again() -> None:
    async with new_node() as node:
        alice = Client(node)
        alice.start("/a")
        await publish(node, "/a", 1, 2)
        number = ping(node, alice)
        assert number is not None
        node.registry.arrived(alice.session, number)
        await publish(node, "/a", 3)
        await publish(node, "/b", 4)
        assert reconnect(alice) == [3]
        assert reconnect(alice) == [3], "nothing has been confirmed since"
        await publish(node, "/a", 5)
        assert alice.wire.data() == [5]


async def test_socket_that_was_seen_to_close_may_have_lost_something_too() -> None:
    async with new_node() as node:
        alice = Client(node)
        alice.start("/a")
        await publish(node, "/a", 1)
        node.detach(alice.wire, alice.session)
        await publish(node, "/a", 2)
        assert reconnect(alice) == [1, 2]


async def test_it_is_given_to_a_poll_too_once() -> None:
    async with new_node() as node:
        alice = Client(node)
        alice.start("/a", "/b/*")
        await publish(node, "/a", 1)
        await publish(node, "/b/c", 2)
        assert reconnect(alice, LONG_POLLING) == [1, 2]
        assert reconnect(alice, LONG_POLLING) == []
        await publish(node, "/a", 3)
        assert reconnect(alice) == [3], "what waited for the poll is written to the socket"
        assert reconnect(alice) == [3], "and may have been lost there"


async def test_who_says_what_it_has_gets_nothing_twice() -> None:
    """fanout.js subscribes again with its position, CometD's clients acknowledge."""
    async with new_node() as node:
        alice, bob = Client(node), Client(node)
        alice.start()
        alice.say(alice.meta("subscribe", subscription="/a", ext={"position": {"/a": None}}))
        bob.start("/a", ext={"ack": True})
        bob.connect(ext={"ack": 1})
        await asyncio.sleep(0)
        await publish(node, "/a", 1)
        assert alice.wire.data() == bob.wire.data() == [1]
        assert reconnect(alice) == []
        bob.wire = Wire()
        bob.connect(ext={"ack": 2}, advice={"timeout": 0})
        assert bob.wire.data() == []


async def test_subscription_gets_nothing_from_before_it() -> None:
    async with new_node() as node:
        alice, bob = Client(node), Client(node)
        alice.start("/a")
        bob.start("/b")
        await publish(node, "/a", 1)
        await publish(node, "/b", 2)
        alice.say(alice.meta("subscribe", subscription="/b"))
        await publish(node, "/b", 3)
        assert reconnect(alice) == [1, 3]
        number = ping(node, alice)
        assert number is not None
        node.registry.arrived(alice.session, number)
        assert alice.session.begun is None


async def test_subscription_gets_nothing_from_before_it_however_often_connections_break() -> None:
    async with new_node() as node:
        alice, bob = Client(node), Client(node)
        alice.start("/a")
        bob.start("/b")
        await publish(node, "/a", 1)
        await publish(node, "/b", 2)
        alice.say(alice.meta("subscribe", subscription="/b"))
        await publish(node, "/b", 3)
        assert reconnect(alice) == [1, 3]
        assert reconnect(alice) == [1, 3]
        assert reconnect(alice, LONG_POLLING) == [1, 3]


async def test_wildcard_is_given_again_only_what_it_may_hear_now() -> None:
    rules = parse_rules('[[rule]]\nchannels = ["/a/secret"]\nsubscribe = "closed"\n', "test")
    async with new_node() as node:
        bob = Client(node)
        bob.start("/a/secret")
        set_access(node.bayeux, Access((), rules))
        alice = Client(node)
        alice.start("/a/*")
        await publish(node, "/a/secret", 1)
        await publish(node, "/a/open", 2)
        assert alice.wire.data() == [2]
        assert reconnect(alice) == [2]


async def test_session_whose_loss_is_forgotten_ends_and_is_counted() -> None:
    async with new_node() as node:
        recent = node.registry.recent
        recent.seconds = 0.0
        alice, bob = Client(node), Client(node)
        alice.start("/a")
        bob.start("/quiet")
        await publish(node, "/a", 1)
        await asyncio.sleep(0.01)
        await publish(node, "/a", 2)
        old = alice.wire
        alice.wire = Wire()
        alice.connect(id="9")
        (reply,) = alice.wire.take()
        assert reply["error"].startswith("402:")
        assert reply["advice"]["reconnect"] == "handshake"
        assert old.left == (1000, "continued elsewhere")
        assert node.registry.get(alice.id) is None
        assert recent.forgotten == 1
        bob.wire = Wire()
        bob.connect(advice={"timeout": 0})
        assert bob.wire.take()[-1]["successful"], "others' publications are not its loss"


async def test_more_than_a_session_may_have_waiting_is_not_given_again() -> None:
    async with new_node() as node:
        node.registry.recent.session_size = 1000
        alice = Client(node)
        alice.start("/a")
        await publish(node, "/a", *range(20))
        assert reconnect(alice) == []
        assert node.registry.get(alice.id) is None


async def test_history_that_was_asked_for_once_is_not_lost_without_a_word() -> None:
    """A replay is not among what was published lately: until a pong says it arrived, the session can't go on."""
    async with new_node() as node:
        await publish(node, "/a", 1, 2)
        alice = Client(node)
        alice.start()
        before = ping(node, alice)
        alice.say(alice.meta("subscribe", subscription="/a", ext={"replay": {"/a": -2}}))
        async with asyncio.timeout(60):
            while alice.wire.data() != [1, 2]:
                await asyncio.sleep(0.01)
        assert before is not None
        node.registry.arrived(alice.session, before)
        assert reconnect(alice) == []
        assert node.registry.get(alice.id) is None


async def test_history_is_not_given_again_without_what_nobody_here_heard() -> None:
    """The first of a replay was delivered here lately, for somebody else; not all of it was."""
    async with new_node() as node:
        alice, bob = Client(node), Client(node)
        bob.start("/a")
        await publish(node, "/a", 1)
        bob.say(bob.meta("unsubscribe", subscription="/a"))
        await publish(node, "/a", 2)
        bob.say(bob.meta("subscribe", subscription="/a"))
        await publish(node, "/a", 3)
        alice.handshake()
        alice.say(alice.meta("subscribe", subscription="/a", ext={"replay": {"/a": -2}}))
        async with asyncio.timeout(60):
            while alice.session.recovering:
                await asyncio.sleep(0.01)
        alice.connect()
        assert alice.wire.data() == [1, 2, 3]
        assert reconnect(alice) == []
        assert node.registry.get(alice.id) is None


async def test_blocked_link_confirms_nothing_that_still_waits() -> None:
    async with new_node() as node:
        alice = Client(node)
        alice.start("/a")
        alice.wire.blocked = True
        alice.session.settle()
        await publish(node, "/a", 1)
        assert ping(node, alice) is None


NAMES = ["/a", "/b", "/a/b", "/a/c"]
PATTERNS = [*NAMES, "/*", "/a/*", "/a/**"]
STEP = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from(NAMES)),
    st.tuples(st.just("publish"), st.sampled_from(NAMES)),
    st.tuples(st.just("subscribe"), st.sampled_from(PATTERNS)),
    st.tuples(st.just("unsubscribe"), st.sampled_from(PATTERNS)),
    st.tuples(st.just("ping"), st.just("")),
    st.tuples(st.just("carry"), st.integers(1, 6)),
    st.tuples(st.just("die"), st.sampled_from([WEBSOCKET, LONG_POLLING])),
    st.tuples(st.just("block"), st.booleans()),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=60))
def test_whatever_dies_each_publication_arrives_in_its_channel_s_order(script: list[tuple[str, Any]]) -> None:
    """What is on the way is lost when the connection dies; a ping is answered once it has arrived."""

    async def act() -> None:
        async with new_node() as node:
            alice = Client(node)
            alice.start()
            received: list[tuple[str, int]] = []
            expected: list[tuple[str, int]] = []
            patterns: set[str] = set()

            def arrive(count: int) -> None:
                for message in [alice.wire.messages.pop(0) for _ in range(min(count, len(alice.wire.messages)))]:
                    if "ping" in message:
                        node.registry.arrived(alice.session, message["ping"])
                    elif "data" in message and (message["channel"], message["data"]) not in received:
                        received.append((message["channel"], message["data"]))

            def die(transport: str) -> None:
                alice.wire = Wire()
                alice.transport = transport
                alice.connect(advice={"timeout": 0})
                if transport == LONG_POLLING:
                    # An answer that arrived; lost ones are told by the connect's id or by an acknowledgement.
                    arrive(1000)

            for count, (what, how) in enumerate(script):
                if what == "publish":
                    await publish(node, how, count)
                    if any(matches(pattern, how) for pattern in patterns):
                        expected.append((how, count))
                elif what == "subscribe":
                    alice.say(alice.meta("subscribe", subscription=how))
                    patterns.add(how)
                elif what == "unsubscribe":
                    # What was on its way and is lost now is no loss to who unsubscribed.
                    alice.wire.blocked = False
                    node.writable(alice.session)
                    arrive(1000)
                    if alice.transport == LONG_POLLING:
                        die(LONG_POLLING)
                    alice.say(alice.meta("unsubscribe", subscription=how))
                    patterns.discard(how)
                elif what == "ping" and alice.transport == WEBSOCKET:
                    number = ping(node, alice)
                    if number is not None:
                        alice.wire.messages.append({"ping": number})
                elif what == "carry":
                    arrive(how)
                elif what == "block" and alice.transport == WEBSOCKET:
                    alice.wire.blocked = how
                    alice.session.settle()
                    node.writable(alice.session)
                elif what == "die":
                    die(how)
            die(LONG_POLLING)
            for name in NAMES:
                assert [entry for entry in received if entry[0] == name] == [
                    entry for entry in expected if entry[0] == name
                ]
            assert set(received) == set(expected), "and nothing that was not subscribed to"

    asyncio.run(act())
