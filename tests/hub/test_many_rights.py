"""Who may do what is asked about in pieces, and once for all who have the same rights.

Three hundred listeners of everything, with a token of a hundred patterns each, were asked about one after the other at
each publication, twice; a token that took the place of another was compared with a thousand channels at once. What is
decided is the same: nobody is given what the newest token does not allow.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import listening
import pytest
from aiohttp import ClientSession
from conversation import Talk, Wire
from hypothesis import example, given
from hypothesis import strategies as st
from listening import serving
from test_node import Client, publish, until

from hub.bayeux.checks import FEW_PATTERNS
from hub.bayeux.limits import Limits
from hub.bayeux.names import LONG_POLLING
from hub.bayeux.rules import Bayeux
from hub.brokers.memory import MemoryBroker
from hub.delivery import SLICE
from hub.node import Bounds, Node
from hub.protocol import tokens
from hub.protocol.access import NOBODY, Access, Grant, Rule, Who, parse_rules
from hub.protocol.channels import matches
from hub.protocol.fanout import Item
from hub.protocol.publications import Draft, Position, Publication
from hub.sessions.registry import Registry
from hub.sessions.session import Session
from hub.settings import Settings
from hub.transports.publish import Endpoint
from hub.turns import Turns

REALM, KEY, NOW = "test", b"k" * 32, 1.7e9

#: Questions of one piece of work at the most: as many take less than a millisecond.
MOST = 300


def token(*channels: str) -> str:
    return tokens.sign(REALM, KEY, NOW, channels=list(channels))


def hundred(of: object) -> list[str]:
    """A hundred patterns of a token, none of which another's has."""
    return [f"private-{of}-{number}-*" for number in range(100)]


def grant(*channels: str) -> Grant:
    return Grant(tuple(f"/{channel}" for channel in channels), (), NOW + 60)


class Asked:
    """How often the rules were asked, in all and at the most between two looks."""

    def __init__(self) -> None:
        self.count = self.most = self._seen = 0
        self._depth = 0

    def look(self) -> None:
        self.most = max(self.most, self.count - self._seen)
        self._seen = self.count

    def counting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*arguments: Any) -> Any:
            self.count += not self._depth
            self._depth += 1
            try:
                return method(*arguments)
            finally:
                self._depth -= 1

        return ask

    @contextlib.asynccontextmanager
    async def each_round(self) -> AsyncIterator[None]:
        """Look once a round of the loop."""

        async def look() -> None:
            while True:
                self.look()
                await asyncio.sleep(0)

        self.look()
        self.most = 0
        watching = asyncio.create_task(look())
        try:
            yield
        finally:
            self.look()
            watching.cancel()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    for name in ("may_subscribe", "may_hear", "decide", "decide_once", "hides"):
        monkeypatch.setattr(Access, name, asked.counting(getattr(Access, name)))
    return asked


def new_rules(*rules: Rule, **limits: Any) -> Bayeux:
    ids = itertools.count(1)
    access = Access((), rules, realm=REALM, keys=[KEY])
    return Bayeux(Registry(), lambda: f"{next(ids):040}", limits=Limits(**limits), access=access, wall=lambda: NOW)


@contextlib.asynccontextmanager
async def new_node(*rules: Rule) -> AsyncIterator[Node]:
    node = Node(MemoryBroker(), new_rules(*rules), Bounds(tick=0.0), turns=Turns(0.0))
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


def crowd(registry: Registry, count: int, rights: Callable[[int], Grant | None]) -> list[Session]:
    """Sessions that listen to everything."""
    sessions = [Session(f"s{number}", 0.0) for number in range(count)]
    for number, session in enumerate(sessions):
        session.authorize(rights(number))
        session.attach(Wire())
        registry.add(session)
        registry.subscribe(session, "/**")
    return sessions


# Publications to guarded channels


@pytest.mark.parametrize("channel", ["/private-1-2-x", "/private-none"])
def test_who_has_the_same_rights_is_asked_about_once(asked: Asked, channel: str) -> None:
    """300 tokens of the same 100 patterns took 6 ms a publication."""
    rules = new_rules()
    sessions = crowd(rules.registry, 300, lambda _: grant(*hundred(1)))
    found = rules.registry.audience(channel)
    assert set(found) == (set(sessions) if channel.startswith("/private-1-") else set())
    assert rules.registry.count(channel) == len(found)
    assert asked.count <= 2


def test_strangers_are_not_asked_about(asked: Asked) -> None:
    """1,500 took 2.4 ms a publication, and again when it was delivered."""
    rules = new_rules()
    crowd(rules.registry, 1500, lambda _: None)
    for number in range(50):
        assert rules.registry.count(f"/private-{number}") == 0
    assert asked.count == 0


RIGHTS = [None, grant("private-a"), grant("private-*"), grant("private-b", "other"), grant("private-a")]
PATTERNS = ["/**", "/*", "/private-a", "/private-b", "/x/*", "/x/**"]
CHANNELS = ["/private-a", "/private-b", "/open", "/x/1", "/me/7", "/closed"]
ACCESS = Access(
    (),
    [
        Rule(("/closed",), {"subscribe": "closed"}, "test"),
        Rule(("/me/*",), {"subscribe": "session"}, "test"),
        Rule(("/x/*",), {"subscribe": "token"}, "test"),
    ],
)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["subscribe", "unsubscribe", "authorize", "all", "end", "look"]),
            st.sampled_from(PATTERNS),
            st.sampled_from(RIGHTS),
        ),
        max_size=30,
    ),
    st.integers(0, 12),
)
@example([(0, "subscribe", "/**", None), (0, "authorize", "", RIGHTS[1]), (0, "authorize", "", RIGHTS[3])], 12)
@example([(0, "authorize", "", RIGHTS[1]), (0, "subscribe", "/**", None), (0, "unsubscribe", "/**", None)], 12)
@example([(1, "subscribe", "/**", None), (3, "subscribe", "/**", None), (3, "unsubscribe", "/**", None)], 12)
@example([(1, "subscribe", "/**", None), (3, "all", "", None), (1, "end", "", None)], 12)
@example([(1, "subscribe", "/*", None), (3, "all", "", None), (3, "end", "", None)], 12)
def test_it_reaches_whoever_may_hear_it_now(program: list[tuple[int, str, str, Grant | None]], most: int) -> None:
    """What is remembered of listeners is never older than their rights and subscriptions."""
    registry = Registry()
    registry.access = ACCESS
    sessions = [Session(f"s{number}", 0.0, "visitor" if number % 2 else None) for number in range(4)]
    for session in sessions:
        registry.add(session)
    for number, what, pattern, rights in program:
        session = sessions[number]
        if session.ended:
            continue
        if what == "subscribe":
            registry.subscribe(session, pattern)
        elif what == "unsubscribe":
            registry.unsubscribe(session, pattern)
        elif what == "authorize":
            session.authorize(rights)
        elif what == "all":
            registry.subscribe_all(session, registry.news(session, PATTERNS))
        elif what == "end":
            registry.end(session)
        for channel in CHANNELS:
            expected = {
                each
                for each in sessions
                if channel in each.patterns
                or (any(matches(own, channel) for own in each.patterns) and ACCESS.may_hear(channel, each.who))
            }
            assert set(registry.audience(channel)) == expected
            found, left, _ = registry.reach(channel, most)
            assert set(found) <= expected
            assert {*found, *(each for each in left if registry.may_hear(each, channel))} == expected
            assert not set(found).intersection(left)


async def test_listeners_with_rights_of_their_own_are_asked_about_in_slices(asked: Asked) -> None:
    """2,000 listeners of everything, each with a token of its own, kept the loop for as long as all of them took."""
    async with new_node() as node:
        clients = [Client(node) for _ in range(1000)]
        for number, client in enumerate(clients):
            client.start("/**")
            client.session.authorize(grant(*hundred(number), *(["private-all"] if number % 2 else [])))
        late = clients[-1]
        async with asked.each_round():
            await publish(node, "/private-all", 1)
            assert node.bayeux.take_grant(late.session, grant(*hundred("others")))
            await publish(node, "/private-all", 2)
            await until(
                lambda: clients[-3].wire.messages[-1:] and not node.delivery.pending and not node.delivery._jobs
            )
        assert asked.most <= MOST
        for number, client in enumerate(clients):
            heard = client.wire.data()
            assert heard == ([1, 2] if number % 2 and client is not late else []), number


async def test_what_is_on_its_way_is_not_for_who_may_not_hear_it_any_more() -> None:
    """A large batch is written in slices; those behind still got it with a token that did not name its channel."""
    async with new_node() as node:
        clients = [Client(node) for _ in range(2 * SLICE)]
        for client in clients:
            client.start("/**")
            client.session.authorize(grant("private-*"))
        assert node.try_publish([Draft("/private-a", b"1"), Draft("/open", b"2")]) is not None
        late = [client for client in clients if not client.wire.data()][-2:]
        assert node.bayeux.take_grant(late[0].session, grant("private-b"))
        node.registry.judge_again(late[1].session)
        await until(lambda: not node.delivery._jobs)
        assert late[0].wire.data() == [2]
        assert late[1].wire.data() == [1, 2]


async def test_names_of_a_body_are_counted_in_turns(asked: Asked) -> None:
    """A body of 100 guarded names was counted in one piece of 0.7 s."""
    async with new_node() as node:
        endpoint = Endpoint(node, Settings(key=KEY, realm=REALM))
        crowd(node.registry, 100, lambda number: grant(*hundred(number), "private-all"))
        names = [f"/private-{number}-7-x" for number in range(50)]
        items = [Item(channel, Draft(channel, b"1")) for channel in [*names, "/private-all"]]
        async with asked.each_round():
            assert endpoint.try_accept(items, True) is None, "and nothing was published"
            assert node.counters.received == 0
            answer = await endpoint.accept(items, False)
        assert answer.headers["Fanfare-Subscribers"] == str(50 + 100)
        assert asked.most <= 2 * MOST, "a round has a turn of counting and one of delivering"


# Tokens that take the place of others


CHANNELS_OF_ALICE = [f"/private-99-{number}" for number in range(1000)]
OLDER = [f"private-{number}-*" for number in range(1, 100)]


def pieces(talk: Talk, asked: Asked, *messages: Any) -> list[dict[str, Any]]:
    """Take messages as the node does, and look after each piece."""
    request = talk.rules.begin(messages, talk.now, LONG_POLLING, Wire())
    while request.taken < len(messages):
        if not talk.rules.check(request):
            talk.rules.step(request)
        asked.look()
    return request.outcome.replies


def holder(*waiting: str) -> Talk:
    """Who subscribes to a thousand channels by a token."""
    alice = Talk(new_rules(max_subscriptions=1001))
    alice.handshake(ext={"token": token(*OLDER)})
    assert alice.reply(alice.meta("subscribe", subscription=CHANNELS_OF_ALICE))["successful"]
    alice.session.enqueue([Publication(each, b"1", Position("e", 1)) for each in waiting], 10_000, 10**7)
    return alice


@pytest.mark.parametrize("newer", [OLDER, OLDER[::-1], ["news", *OLDER]])
def test_token_that_allows_no_less_needs_no_questions(asked: Asked, newer: list[str]) -> None:
    """A hundred patterns and a thousand channels took 25 ms each time, and 200 times in a request."""
    alice = holder(*CHANNELS_OF_ALICE[:900])
    before = asked.count
    message = alice.meta("subscribe", subscription="/news", ext={"token": token(*newer)})
    assert pieces(alice, asked, message)[0]["successful"]
    assert asked.count <= before + 2
    assert len(alice.session.queue or ()) == 900


@pytest.mark.parametrize("allowed", [True, False])
def test_token_is_compared_with_what_is_subscribed_to_in_pieces(asked: Asked, allowed: bool) -> None:
    """In one it took 25 ms, and with as much that waits 50."""
    alice = holder(*CHANNELS_OF_ALICE[:900], "/private-98-x")
    newer = [*OLDER[:97], "private-99-*"] if allowed else [*OLDER[:97], "private-99-1*"]
    older = alice.session.grant
    asked.look()
    asked.most = 0
    message = alice.meta("subscribe", subscription="/news", ext={"token": token(*newer)})
    assert alice.rules.is_long(message)
    [reply] = pieces(alice, asked, message)
    assert reply["successful"] is allowed
    assert asked.most <= MOST
    waits = {each.channel for each in alice.session.queue or ()}
    if allowed:
        assert waits == set(CHANNELS_OF_ALICE[:900]), "what it does not allow is dropped"
    else:
        assert waits == {*CHANNELS_OF_ALICE[:900], "/private-98-x"}
        assert alice.session.grant == older


@pytest.mark.parametrize("when", range(0, 30, 3))
def test_what_came_while_a_token_was_looked_at_is_judged_too(when: int) -> None:
    """The pieces are about what was there when they began."""
    alice = holder(*CHANNELS_OF_ALICE[:20])
    newer = [*OLDER[:97], "private-99-*"]
    message = alice.meta("subscribe", subscription="/news", ext={"token": token(*newer)})
    request = alice.rules.begin([message], 0.0, LONG_POLLING, Wire())
    for _ in range(when):
        alice.rules.check(request)
    alice.session.enqueue([Publication("/private-98-x", b"1", Position("e", 1))], 10_000, 10**7)
    if when % 2:
        # Another request of the client's: the older token allows it, the newer does not.
        alice.rules.registry.unsubscribe(alice.session, CHANNELS_OF_ALICE[0])
        alice.rules.registry.subscribe(alice.session, "/private-98-y")
    while alice.rules.check(request):
        pass
    alice.rules.step(request)
    [reply] = request.outcome.replies
    waits = {each.channel for each in alice.session.queue or ()}
    assert reply["successful"] is not bool(when % 2)
    assert ("/private-98-x" in waits) is bool(when % 2)


async def test_token_that_expires_is_looked_at_in_pieces(asked: Asked) -> None:
    """A session of a thousand channels that could hear them without it took 10 ms where rules are many."""
    async with new_node(Rule(("/open-*",), {"subscribe": "open"}, "test")) as node:
        alice = Client(node)
        alice.start()
        node.registry.subscribe_all(alice.session, [f"/open-{number}" for number in range(1000)])
        session = alice.session
        session.authorize(Grant(tuple(f"/{each}" for each in OLDER), (), NOW - 1))
        async with asked.each_round():
            node.deadlines._check_grant(session)
            await until(lambda: session.grant is None)
        assert not session.ended
        assert asked.most <= MOST
        session.authorize(Grant(("/private-*",), (), NOW - 1))
        node.registry.subscribe(session, "/private-1")
        async with asked.each_round():
            node.deadlines._check_grant(session)
            await until(lambda: session.ended)
        assert alice.wire.left == (1000, "token expired")


async def test_newer_token_meanwhile_counts() -> None:
    """One that is shown while an expired one is looked at keeps the session."""
    async with new_node() as node:
        alice = Client(node)
        alice.start()
        session = alice.session
        session.authorize(Grant(("/private-*",), (), NOW - 1))
        node.registry.subscribe_all(session, [f"/private-{number}" for number in range(1000)])
        node.deadlines._check_grant(session)
        newer = Grant(("/private-*",), (), NOW + 60)
        assert node.bayeux.take_grant(session, newer)
        await until(lambda: not len(node.turns))
        assert session.grant is newer
        assert not session.ended


async def test_plain_socket_s_token_is_looked_at_in_pieces(asked: Asked) -> None:
    """The same over `/ws`: nobody else was served meanwhile."""

    def shown(*channels: str) -> str:
        return tokens.sign(listening.REALM, listening.KEY, time.time(), channels=list(channels))

    async with serving() as (url, _), ClientSession() as http, http.ws_connect(f"{url}/ws") as socket:
        for part in range(5):
            names = [f"private-99-{part}-{number}" for number in range(100)]
            await socket.send_json({"subscribe": names, "token": shown(*OLDER)})
            assert "subscribed" in await socket.receive_json()
        async with asked.each_round():
            await socket.send_json({"subscribe": ["news"], "token": shown(*OLDER[:97], "private-99-*")})
            assert "subscribed" in await socket.receive_json()
            await socket.send_json({"subscribe": ["news"], "token": shown("private-99-1-*")})
            assert (await socket.receive_json())["error"].startswith("403:/private-99-0-0:")
        assert asked.most <= MOST


# Wildcards where rules are many

MANY = parse_rules(
    "\n".join(
        f'[[rule]]\nchannels = ["team-{number}/*/news", "x{number}-*", "y{number}/**"]\nsubscribe = "token"\n'
        for number in range(10)
    )
)
DEEP = ["/" + "/".join(["ab"] * 30) + f"/{number}/*" for number in range(100)]


def test_wildcards_of_a_message_are_judged_in_pieces_by_how_many_rules_there_are(asked: Asked) -> None:
    """A hundred with ten rules took 6 ms in one piece, as few as they are."""
    assert len(DEEP) <= FEW_PATTERNS
    alice = Talk(new_rules(*MANY))
    alice.handshake()
    message = alice.meta("subscribe", subscription=DEEP)
    assert alice.rules.is_long(message)
    asked.look()
    asked.most = 0
    assert pieces(alice, asked, message)[0]["successful"]
    assert asked.most <= 10
    assert alice.session.patterns == DEEP
    assert not alice.rules.is_long(alice.meta("subscribe", subscription=[f"/a/{n}" for n in range(20)]))


def test_what_a_wildcard_hides_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred wildcards took 3 to 12 ms each time that they were asked for."""
    looked: list[str] = []
    touches = Rule.touches
    monkeypatch.setattr(Rule, "touches", lambda rule, pattern: looked.append(pattern) or touches(rule, pattern))
    access = Access((), MANY)
    for pattern in ["/**", "/x/*", "/team-1/**", *DEEP]:
        access.hides(pattern, NOBODY)
    looked.clear()
    assert access.hides("/**", NOBODY)
    assert access.hides("/team-1/**", Who(None, grant("team-1/*/news")))
    assert not access.hides("/team-1/**", Who(None, grant("team-1/**")))
    assert not any(access.hides(pattern, NOBODY) for pattern in DEEP)
    assert not looked


async def test_plain_socket_s_wildcards_are_judged_in_turns(asked: Asked, tmp_path: Path) -> None:
    """A hundred of them were decided and looked through in one piece."""
    path = tmp_path / "rules.toml"
    text = "\n".join(f'[[rule]]\nchannels = ["a{n}-*", "b{n}/**", "c{n}/*/d"]\nsubscribe = "token"' for n in range(10))
    path.write_text(text, encoding="utf-8")
    async with serving(rules=path) as (url, hub), ClientSession() as http, http.ws_connect(f"{url}/ws") as socket:
        hub.node.turns._seconds = 0.0
        async with asked.each_round():
            await socket.send_json({"subscribe": [*(each[1:] for each in DEEP[2:]), "open/*", "**"]})
            answer = await socket.receive_json()
            assert "subscribed" in answer, answer
            said = answer["subscribed"]
        assert [name for name, state in said.items() if state.get("hidden")] == ["**"]
        # Node.subscribe asks again about 32 at a time, which are remembered by then.
        assert asked.most <= 40
