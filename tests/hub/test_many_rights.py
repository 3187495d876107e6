"""Who may do what is asked about in pieces, and once for all who have the same rights.

Three hundred listeners of everything, with a token of a hundred patterns each, were asked about one after the other at
each publication, twice; a token that took the place of another was compared with a thousand channels at once. What is
decided is the same: nobody is given what the newest token does not allow.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from conversation import Wire
from hypothesis import given
from hypothesis import strategies as st
from test_node import Client, publish, until

from hub.bayeux import Bayeux, Limits
from hub.brokers.memory import MemoryBroker
from hub.delivery import SLICE
from hub.node import Bounds, Node
from hub.protocol import tokens
from hub.protocol.access import Access, Grant, Rule
from hub.protocol.channels import matches
from hub.protocol.fanout import Item
from hub.protocol.publications import Draft
from hub.sessions import Registry, Session
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
            late.session.authorize(grant(*hundred("others")))
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
