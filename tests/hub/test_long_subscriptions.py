"""A message that subscribes to much is looked at in pieces, and taken as if it had been looked at in one go.

Nine hundred names in one message kept the loop for 3 ms, which many clients could do again and again. Between the
pieces others have their turn: the session may get another token, be sent away or be over, and the site may change the
message. What is decided then is decided by what is so when the subscriptions are made.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from conversation import Talk, Wire
from hypothesis import given, settings
from hypothesis import strategies as st
from test_node import Client, publish, until

from hub.bayeux.checks import FEW_PATTERNS
from hub.bayeux.limits import Limits
from hub.bayeux.names import LONG_POLLING, WEBSOCKET
from hub.bayeux.outcome import Recovery, Request
from hub.bayeux.rules import Bayeux
from hub.brokers.memory import MemoryBroker
from hub.node import Bounds, Node
from hub.protocol import tokens
from hub.protocol.access import Access, Grant, Rule
from hub.protocol.dialects import Dialect
from hub.protocol.publications import Position
from hub.sessions.registry import Registry
from hub.turns import PIECE, Turns

REALM, KEY, NOW = "test", b"k" * 32, 1.7e9
RULES = (
    Rule(("/private-*",), {"subscribe": "token"}, "test"),
    Rule(("/closed/**",), {"subscribe": "closed"}, "test"),
    Rule(("/past-*",), {"history": "token"}, "test"),
)

NAMES = [f"/a/{number}" for number in range(5 * FEW_PATTERNS // 2)]
OTHERS = [f"/b/{number}" for number in range(3 * FEW_PATTERNS)]


def new_rules(dialect: Dialect = "spec", **limits: Any) -> Bayeux:
    ids = itertools.count(1)
    return Bayeux(
        Registry(),
        # As long as the node's, by which it knows a client's lane.
        lambda: f"{next(ids):040}",
        limits=Limits(**limits),
        access=Access((), RULES, realm=REALM, keys=[KEY]),
        dialect=dialect,
        wall=lambda: NOW,
    )


def token(*channels: str, user: str | None = None) -> str:
    return tokens.sign(REALM, KEY, NOW, channels=list(channels), **({} if user is None else {"sub": user}))


def grant(*channels: str) -> Grant:
    return Grant(tuple("/" + channel.lstrip("/") for channel in channels), (), NOW + 60)


def begin(talk: Talk, *messages: Any) -> Request:
    return talk.rules.begin(messages, talk.now, LONG_POLLING, Wire())


def finish(talk: Talk, request: Request) -> list[dict[str, Any]]:
    """Take the messages as the node does."""
    while request.taken < len(request.messages):
        if not talk.rules.check(request):
            talk.rules.step(request)
    return request.outcome.replies


def state(rules: Bayeux) -> object:
    registry = rules.registry
    return (
        {each.id: (each.patterns, each.grant, each.seen, each.recovering) for each in registry.sessions.values()},
        {pattern: {each.id for each in found} for pattern, found in registry.audiences.items()},
        registry.subscribed,
        rules.limited,
    )


def pair(dialect: Dialect = "spec", **limits: Any) -> tuple[Talk, Talk]:
    """Two clients of equal hubs."""
    talks = Talk(new_rules(dialect, **limits)), Talk(new_rules(dialect, **limits))
    for talk in talks:
        talk.handshake()
    return talks


def asked_of(recoveries: list[Recovery]) -> list[tuple[str, Position | None]]:
    return [(each.channel, each.since) for each in recoveries]


LISTS: dict[str, list[object]] = {
    "all new": [*NAMES],
    "some twice": [*NAMES, *NAMES[:10]],
    "all the same": ["/a"] * (2 * FEW_PATTERNS),
    "wildcards": [*NAMES, "/a/*", "/**"],
    "a service": [*NAMES, "/service/x"],
    "no pattern": [*NAMES, "bad", *OTHERS],
    "no pattern at first": ["bad", *NAMES],
    "no pattern after what is forbidden": ["/closed/a", *NAMES, "bad"],
    "a number": [*NAMES, 7],
    "a list": [*NAMES, []],
    "an object": [*NAMES, {"a": 1}],
    "a long name": [*NAMES, "/" + "x" * 300],
    "of the protocol": [*NAMES, "/meta/connect"],
    "forbidden": [*NAMES, "/closed/a", *OTHERS],
    "forbidden without a token": ["/private-a", *NAMES],
    "as many as there may be": [f"/{number}" for number in range(1000)],
    "too many": [f"/{number}" for number in range(1001)],
    "few": ["/a", "/b"],
    "one more than few": NAMES[: FEW_PATTERNS + 1],
}


@pytest.mark.parametrize("dialect", ["spec", "faye"])
@pytest.mark.parametrize("asked", LISTS)
@pytest.mark.parametrize("shown", ["none", "good", "bad"])
def test_it_is_answered_as_in_one_go(asked: str, shown: str, dialect: Dialect) -> None:
    at_once, in_pieces = pair(dialect)
    places = [None, "e1.2", "no place"]
    ext = {"position": {name: places[number % 3] for number, name in enumerate([*NAMES, "/a/*", *OTHERS[:9]])}}
    shows = {"none": {}, "good": {"token": token("private-*")}, "bad": {"token": "x"}}
    for talk in (at_once, in_pieces):
        talk.subscribe("/a/3", "/a/4")
    messages = [
        at_once.meta("subscribe", subscription=LISTS[asked], id=1, ext=ext | shows[shown]),
        at_once.meta("subscribe", subscription=[*OTHERS], id=2),
        at_once.meta("subscribe", subscription=[*LISTS[asked], *OTHERS[:200]], id=3),
        at_once.meta("unsubscribe", subscription=NAMES[:200], id=4),
        at_once.meta("subscribe", subscription=NAMES, id=5, clientId="nobody"),
        {"channel": "/meta/subscribe", "subscription": NAMES, "id": 6},
    ]
    expected = at_once.say(*messages)
    request = begin(in_pieces, *messages)
    assert finish(in_pieces, request) == expected.replies
    assert asked_of(request.outcome.recoveries) == asked_of(expected.recoveries)
    assert state(in_pieces.rules) == state(at_once.rules)


def test_nothing_is_changed_before_all_has_been_looked_at() -> None:
    rules = new_rules()
    alice = Talk(rules)
    alice.handshake()
    before = state(rules)
    request = begin(alice, alice.meta("subscribe", subscription=NAMES))
    alice.now = 5.0
    pieces = 1
    while rules.check(request):
        pieces += 1
        assert state(rules) == before
        assert request.taken == 0
    assert pieces == 6, "as many for the grammar as for the rules"
    rules.step(request)
    assert alice.session.patterns == NAMES


@pytest.mark.parametrize("subscription", [NAMES[:FEW_PATTERNS], "/a", None, 7, {}, [f"/{n}" for n in range(1001)]])
def test_what_is_short_or_will_be_refused_is_not_looked_at(subscription: object) -> None:
    alice = Talk(new_rules())
    alice.handshake()
    for message in (
        alice.meta("subscribe", subscription=subscription),
        alice.meta("subscribe", subscription=NAMES, clientId="nobody"),
        alice.meta("subscribe", subscription=NAMES, clientId={}),
        alice.meta("unsubscribe", subscription=NAMES),
    ):
        assert not alice.rules.check(begin(alice, message))
    handshake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["websocket"]}
    assert not alice.rules.check(begin(alice, alice.meta("subscribe", subscription=NAMES), handshake))
    assert not alice.rules.check(begin(alice))


def test_flood_of_names_does_not_drive_out_those_that_come_again() -> None:
    rules = new_rules()
    alice = Talk(rules)
    alice.handshake()
    alice.subscribe("/known")
    for number in range(40):
        request = begin(alice, alice.meta("subscribe", subscription=[f"/{number}/{each}" for each in range(900)]))
        finish(alice, request)
        alice.reply(alice.meta("unsubscribe", subscription=alice.session.patterns))
    assert len(rules.access._of_stranger["subscribe"]) < FEW_PATTERNS
    assert len(rules.grammar._pattern_fits) < FEW_PATTERNS


# What changes meanwhile


def take(*channels: str) -> Callable[[Talk], object]:
    return lambda talk: talk.rules.take_grant(talk.session, grant(*channels))


def drop_grant(talk: Talk) -> None:
    talk.session.authorize(None)


PRIVATE = [f"/private-{number}" for number in range(2 * FEW_PATTERNS)]


@pytest.mark.parametrize("checks", range(6))
@pytest.mark.parametrize(
    ("before", "meanwhile", "allowed"),
    [
        (take("private-*"), take("other"), False),
        (take("private-*"), take(*PRIVATE[:-1]), False),
        (take("private-*"), drop_grant, False),
        (take("private-*"), take(*PRIVATE), True),
        (take("other"), take("private-*"), True),
        (drop_grant, take("private-*"), True),
        (take("private-*"), lambda talk: None, True),
    ],
)
def test_newest_grant_counts(
    checks: int, before: Callable[[Talk], object], meanwhile: Callable[[Talk], object], allowed: bool
) -> None:
    """Permission never rests on an older grant, and nobody is refused for what an older one lacked."""
    alice = Talk(new_rules())
    alice.handshake()
    before(alice)
    request = begin(alice, alice.meta("subscribe", subscription=PRIVATE))
    for _ in range(checks):
        alice.rules.check(request)
    meanwhile(alice)
    [reply] = finish(alice, request)
    assert reply["successful"] is allowed
    assert alice.session.patterns == (PRIVATE if allowed else [])


@pytest.mark.parametrize("checks", range(6))
@pytest.mark.parametrize(
    ("before", "meanwhile", "allowed"),
    [
        (take("past-*"), take("other"), False),
        (take("past-*"), drop_grant, False),
        (take("past-*"), lambda talk: None, True),
        (drop_grant, take("past-*"), True),
        (drop_grant, lambda talk: None, False),
    ],
)
def test_newest_grant_counts_for_what_came_before(
    checks: int, before: Callable[[Talk], object], meanwhile: Callable[[Talk], object], allowed: bool
) -> None:
    alice = Talk(new_rules())
    alice.handshake()
    before(alice)
    names = [f"/past-{number}" for number in range(2 * FEW_PATTERNS)]
    ext = {"position": dict.fromkeys(names[FEW_PATTERNS:], "e1.2")}
    request = begin(alice, alice.meta("subscribe", subscription=names, ext=ext))
    for _ in range(checks):
        alice.rules.check(request)
    meanwhile(alice)
    [reply] = finish(alice, request)
    assert reply["successful"] is allowed
    assert len(request.outcome.recoveries) == (FEW_PATTERNS if allowed else 0)


@pytest.mark.parametrize("checks", range(6))
def test_token_of_the_message_is_looked_at_again(checks: int) -> None:
    """Its user was sent away after the rules had been asked for it."""
    alice = Talk(new_rules())
    alice.handshake()
    shown = token("private-*", user="alice")
    request = begin(alice, alice.meta("subscribe", subscription=PRIVATE, ext={"token": shown}))
    for _ in range(checks):
        alice.rules.check(request)
    alice.rules.access.revoke("alice", NOW + 1)
    assert not finish(alice, request)[0]["successful"]
    assert alice.session.patterns == []
    assert alice.session.grant is None


@pytest.mark.parametrize("checks", range(6))
def test_session_that_ends_meanwhile_is_unknown(checks: int) -> None:
    alice = Talk(new_rules())
    alice.handshake()
    request = begin(alice, alice.meta("subscribe", subscription=NAMES))
    for _ in range(checks):
        alice.rules.check(request)
    alice.rules.registry.end(alice.session)
    assert finish(alice, request)[0]["error"] == f"402:{1:040}:Unknown client"
    assert alice.rules.registry.audiences == {}


@pytest.mark.parametrize("checks", range(6))
def test_room_is_counted_when_they_are_made(checks: int) -> None:
    alice = Talk(new_rules(max_subscriptions=300))
    alice.handshake()
    request = begin(alice, alice.meta("subscribe", subscription=NAMES))
    for _ in range(checks):
        alice.rules.check(request)
    alice.rules.registry.subscribe_all(alice.session, OTHERS[:100])
    assert "Too many subscriptions" in finish(alice, request)[0]["error"]
    assert alice.session.patterns == OTHERS[:100]


@pytest.mark.parametrize("in_place", [True, False])
def test_message_that_code_of_the_site_changes_is_looked_at_again(in_place: bool) -> None:
    alice = Talk(new_rules())
    alice.handshake()

    def change(message: dict[str, Any], who: object) -> None:
        if message["channel"] == "/meta/subscribe":
            if not in_place:
                message["subscription"] = list(message["subscription"])
            message["subscription"][7] = "/closed/a"

    alice.rules.incoming.append(change)
    request = begin(alice, alice.meta("subscribe", subscription=[*NAMES]))
    assert finish(alice, request)[0]["error"].startswith("403:/closed/a:")
    assert alice.session.patterns == []


CHANGES = st.one_of(
    st.tuples(st.just("grant"), st.sampled_from([(), ("private-*",), ("private-1",), tuple(PRIVATE)])),
    st.tuples(st.just("subscribe"), st.lists(st.sampled_from([*NAMES, *PRIVATE, *OTHERS]), max_size=5)),
    st.tuples(st.just("unsubscribe"), st.lists(st.sampled_from([*NAMES, *PRIVATE, *OTHERS]), max_size=5)),
    st.tuples(st.just("check"), st.integers(1, 3)),
)


@settings(max_examples=100, deadline=None)
@given(
    changes=st.lists(CHANGES, max_size=12),
    asked=st.lists(st.sampled_from([*NAMES, *PRIVATE, *OTHERS, "/closed/a", "/meta/x", "bad"]), max_size=30),
    most=st.sampled_from([300, 1000]),
    shown=st.sampled_from([None, "private-*", "other"]),
)
def test_whatever_happens_meanwhile_it_is_taken_as_in_one_go(
    changes: list[tuple[str, Any]], asked: list[str], most: int, shown: str | None
) -> None:
    at_once, in_pieces = pair(max_subscriptions=most)
    names = [*NAMES[:FEW_PATTERNS], *asked, *OTHERS[:50]]
    message = at_once.meta("subscribe", subscription=names) | ({"ext": {"token": token(shown)}} if shown else {})
    request = begin(in_pieces, message)
    for what, value in changes:
        if what == "check":
            for _ in range(value):
                in_pieces.rules.check(request)
            continue
        for talk in (at_once, in_pieces):
            registry, session = talk.rules.registry, talk.session
            if what == "grant":
                talk.rules.take_grant(session, grant(*value))
            elif what == "subscribe":
                registry.subscribe_all(session, registry.news(session, dict.fromkeys(value)))
            else:
                registry.unsubscribe_all(session, value)
    assert finish(in_pieces, request) == at_once.say(message).replies
    assert state(in_pieces.rules) == state(at_once.rules)


# In a node


@contextlib.asynccontextmanager
async def new_node() -> AsyncIterator[Node]:
    """A node that does one piece of costly work in a round of the loop, and flushes at once."""
    node = Node(MemoryBroker(), new_rules(), Bounds(tick=0.0), turns=Turns(0.0))
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


class TestNode:
    @pytest.fixture(autouse=True)
    def _small_pieces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A piece is one step."""
        monkeypatch.setattr("hub.intake.PIECE_SECONDS", 0.0)

    @pytest.mark.parametrize("transport", [WEBSOCKET, LONG_POLLING])
    async def test_others_are_served_meanwhile_and_the_client_waits(self, transport: str) -> None:
        async with new_node() as node:
            alice, bob = Client(node, transport), Client(node)
            alice.start()
            bob.start("/b")
            alice.wire.take()
            alice.say(alice.meta("subscribe", subscription=NAMES, id=1))
            alice.say(alice.meta("unsubscribe", subscription=NAMES[0], id=2))
            alice.say(alice.meta("subscribe", subscription=OTHERS, id=3))
            await publish(node, "/b", 1)
            assert bob.wire.data() == [1]
            assert not alice.wire.messages
            assert alice.session.patterns == []
            await until(lambda: len(alice.wire.messages) == 3)
            assert [(each["id"], each["successful"]) for each in alice.wire.take()] == [(1, True), (2, True), (3, True)]
            assert alice.session.patterns == [*NAMES[1:], *OTHERS]
            assert not node.lanes.taken
            assert not node.store._working

    async def test_what_is_published_before_they_are_made_is_not_heard_and_what_comes_after_is(self) -> None:
        async with new_node() as node:
            alice = Client(node)
            alice.start()
            alice.connect()
            alice.wire.take()
            alice.say(alice.meta("subscribe", subscription=NAMES))
            numbers = itertools.count(1)
            first = 0
            while alice.session.patterns == []:
                first = next(numbers)
                await publish(node, NAMES[0], first)
                await asyncio.sleep(0)
            last = next(numbers)
            await publish(node, NAMES[0], last)
            await until(lambda: alice.wire.messages)
            said = alice.wire.take()
            assert said[0]["channel"] == "/meta/subscribe", "its answer goes before what it hears"
            assert [each["data"] for each in said[1:]] == [last]
            assert first > 3

    async def test_histories_are_read_in_pieces_and_the_client_waits(self) -> None:
        """Nine hundred were read in one go, which took 5 ms."""
        async with new_node() as node:
            alice, bob = Client(node), Client(node)
            alice.start()
            alice.connect()
            bob.start("/b")
            bob.connect()
            await publish(node, NAMES[-1], 1)
            top = await node.broker.position(NAMES[-1])
            assert top is not None
            alice.wire.take()
            bob.wire.take()
            places = dict.fromkeys(NAMES, f"{top.epoch}.0")
            alice.say(alice.meta("subscribe", subscription=NAMES, id=1, ext={"position": places}))
            alice.say(alice.meta("unsubscribe", subscription=NAMES[-1], id=2))
            await until(lambda: alice.session.recovering > 0)
            others = 0
            while not alice.wire.messages:
                await publish(node, "/b", others)
                others += 1
                await publish(node, NAMES[-1], 2)
                await asyncio.sleep(0)
            assert bob.wire.data() == list(range(others))
            assert others > len(NAMES) // PIECE
            await until(lambda: len(alice.wire.messages) >= 3 + others and not node.lanes.taken)
            said = alice.wire.take()
            assert said[0]["id"] == 1
            assert list(said[0]["ext"]["position"]) == NAMES
            heard = [each["data"] for each in said if "data" in each]
            assert heard == [1, *[2] * others]
            assert [each["id"] for each in said if "data" not in each] == [1, 2]
            assert not node.store._working

    async def test_who_is_sent_away_meanwhile_hears_none_of_them(self) -> None:
        async with new_node() as node:
            alice = Client(node)
            alice.start()
            alice.session.authorize(Grant(("**",), (), 2e9, "alice", 1.0))
            alice.say(alice.meta("subscribe", subscription=NAMES))
            await node.kick("alice")
            await until(lambda: not len(node.turns))
            assert node.registry.sessions == {}
            assert node.registry.audiences == {}
            assert alice.wire.left == (1000, "kicked")

    async def test_socket_that_goes_meanwhile_subscribes_to_nothing(self) -> None:
        async with new_node() as node:
            alice = Client(node)
            alice.start()
            alice.say(alice.meta("subscribe", subscription=NAMES))
            node.detach(alice.wire, alice.session)
            await until(lambda: not len(node.turns))
            assert alice.session.patterns == []
            assert not node.lanes.taken

    async def test_bug_in_a_step_leaves_nobody_waiting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with new_node() as node:
            alice = Client(node)
            alice.start()

            def fail(request: Request) -> bool:
                raise ValueError("a bug")

            monkeypatch.setattr(node.bayeux, "check", fail)
            alice.say(alice.meta("subscribe", subscription=NAMES))
            alice.say(alice.meta("subscribe", subscription="/a", id="next"))
            await until(lambda: alice.session.patterns == ["/a"])
            assert not node.lanes.taken
            assert not node.store._working


async def test_session_is_not_given_to_another_worker_between_two_pieces() -> None:
    """It would be unknown here when its subscriptions are to be made."""
    async with new_node() as node:
        alice = Client(node)
        alice.start()
        alice.say(alice.meta("subscribe", subscription=NAMES))
        resting = asyncio.create_task(node.store._rest(alice.id))
        await asyncio.sleep(0)
        assert not resting.done()
        await until(resting.done)
        assert alice.session.patterns == NAMES
