"""Programs of tokens, expiries, kicks, subscriptions and publications: nobody hears what their token doesn't allow.

Rights were asked for once, at the subscribe. A subscription then outlived its token, or a kick, if any other token was
shown meanwhile; and what had come by a wildcard waited in a queue for a client that was not to have it any more. Here
one worker, without Redis, is told all of it in any order, on virtual time; tests/sim does the same with several
workers that die, stand still and take each other's sessions over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import pytest
from conversation import TYPES, Wire
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.bayeux.limits import Limits
from hub.bayeux.rules import Bayeux
from hub.brokers.memory import MemoryBroker
from hub.deadlines import Deadlines
from hub.errors import ProtocolError
from hub.kicks import Kicks
from hub.node import Bounds, Node
from hub.polls import Poll
from hub.protocol import tokens
from hub.protocol.access import Access, Grant, Rule, Who, covers
from hub.protocol.messages import join
from hub.protocol.publications import Draft
from hub.sessions.registry import Registry
from tests.sim.sealed import Sealed, sealed
from tests.sim.world import Process, World

REALM, KEY, EPOCH = "test", b"k" * 32, 1.7e9

RULES = (Rule(("/private-*",), {"subscribe": "token", "publish": "token", "presence": "token"}, "test"),)
CHANNELS = ("/open", "/private-a", "/private-a", "/private-b", "/presence/private-b")
PATTERNS = ("/private-a", "/private-b", "/presence/private-b", "/**", "/**", "/*")

#: Seconds that the wheel of the simulated worker may be late with an expiry.
GRACE = 0.6

USERS = st.sampled_from([None, None, "alice", "bob"])
NAMED = st.sampled_from([["private-a"], ["private-b"], ["private-a", "private-b"], ["private-*"], ["lobby"], []])
LIVES = st.sampled_from([1.0, 3.0, 60.0])
SESSIONS = st.integers(0, 1)
KINDS = ("poll", "held", "websocket", "slow websocket", "plain")

KINDS_OF_TWO = st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS))

TOKENS = st.tuples(USERS, NAMED, LIVES)
PROGRAMS = st.lists(
    st.one_of(
        st.tuples(st.just("subscribe"), SESSIONS, st.sampled_from(PATTERNS), st.none() | TOKENS | st.just("older")),
        st.tuples(st.just("unsubscribe"), SESSIONS, st.sampled_from(PATTERNS)),
        st.tuples(st.just("publish"), st.sampled_from(CHANNELS)),
        st.tuples(st.just("publish"), st.sampled_from(CHANNELS)),
        st.tuples(st.just("read"), SESSIONS),
        st.tuples(st.just("kick"), st.sampled_from(["alice", "bob"])),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 1.0, 4.0])),
    ),
    min_size=8,
    max_size=40,
)


@dataclass
class Visitor:
    """A client, and the newest token that was taken from it."""

    kind: str
    link: Wire
    client: str = ""
    grant: Grant | None = None
    #: The user of the newest token that named one, and when it was made.
    bearer: tuple[str, float] | None = None
    shown: str = ""
    poll: Poll | None = None
    ended: bool = False


class Hub:
    """A worker with a client of each kind, and what each of them may hear."""

    def __init__(self, seal: Sealed, kinds: Sequence[str]) -> None:
        self.world = World(1)
        seal.begin(self.world)
        self.process = Process(self.world, "node", self.world.dice(1))
        self.access = Access(["/open"], RULES, realm=REALM, keys=[KEY])
        self.heard = 0
        self.kicked: dict[str, float] = {}
        self.number = 0
        self.process.call_soon(self._start, seal)
        self.run(0.1)
        self.visitors = [Visitor(kind, Wire()) for kind in kinds]
        for visitor in self.visitors:
            self.appear(visitor)

    def _start(self, seal: Sealed) -> None:
        wall = lambda: self.world.now + EPOCH  # noqa: E731  # short
        rules = Bayeux(Registry(), seal.new_id, limits=Limits(timeout=600.0), access=self.access, wall=wall)
        self.node = Node(MemoryBroker(clock=lambda: self.world.now), rules, Bounds(session_ttl=600.0))
        self.process.create_task(self.node.start())

    def run(self, seconds: float = 0.02) -> None:
        self.world.run(self.world.now + seconds)
        assert not self.world.broken, self.world.broken

    def do(self, work: Any) -> Any:
        """Run something in the worker, and all that comes of it."""
        found: list[Any] = []
        self.process.arrive(lambda: found.append(work()))
        self.run()
        return found[0]

    # Clients

    def appear(self, visitor: Visitor) -> None:
        visitor.grant, visitor.bearer, visitor.ended = None, None, False
        if visitor.kind == "plain":
            visitor.link.session = self.do(partial(self.node.open_session, visitor.link))
            return
        [reply] = self.say(visitor, {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": TYPES})
        visitor.client = reply["clientId"]
        self.connect(visitor)
        self.connect(visitor)

    def is_link(self, visitor: Visitor) -> bool:
        return visitor.kind.endswith("websocket")

    def say(self, visitor: Visitor, message: dict[str, Any]) -> list[dict[str, Any]]:
        """The replies to a message; publications that come with them are looked at."""
        if self.is_link(visitor):
            self.do(partial(self.node.accept, [message], "websocket", visitor.link, visitor.link))
            return self.hear(visitor, visitor.link.take())
        poll = Poll()
        self.do(partial(self.node.accept, [message], "long-polling", poll))
        if poll.parts is None:
            visitor.poll = poll
            return []
        return self.hear(visitor, orjson.loads(join(poll.parts)))

    def connect(self, visitor: Visitor) -> None:
        kind = "websocket" if self.is_link(visitor) else "long-polling"
        advice = {"timeout": 0} if visitor.kind == "poll" else {}
        message = {"channel": "/meta/connect", "clientId": visitor.client, "connectionType": kind, "advice": advice}
        self.say(visitor, message)

    def subscribe(self, visitor: Visitor, pattern: str, shown: str | None) -> None:
        taken, asked = False, self.world.now
        if visitor.kind == "plain":
            session = visitor.link.session
            assert session is not None
            try:
                grant = session.grant if shown is None else self.node.bayeux.newer_grant(session, shown)
                if not self.access.may_subscribe(pattern, Who(None, grant)):
                    return
            except ProtocolError:
                return
            if shown is not None and grant is not None:
                self.do(partial(self.node.take_grant, session, grant))
            self.process.arrive(
                lambda: self.process.create_task(self.node.subscribe(session, {pattern: None})) and None
            )
            self.run()
            taken = True
        else:
            message: dict[str, Any] = {
                "channel": "/meta/subscribe",
                "clientId": visitor.client,
                "subscription": pattern,
            }
            if shown is not None:
                message["ext"] = {"token": shown}
            replies = self.say(visitor, message)
            taken = any(each["channel"] == "/meta/subscribe" and each["successful"] for each in replies)
        if taken and shown is not None:
            # As it was when it was shown: it may have expired since.
            visitor.grant = grant = Access(realm=REALM, keys=[KEY]).grant(shown, asked + EPOCH)
            if grant.user is not None and grant.made is not None:
                visitor.bearer = grant.user, grant.made

    def unsubscribe(self, visitor: Visitor, pattern: str) -> None:
        if visitor.kind == "plain":
            assert visitor.link.session is not None
            self.do(partial(self.node.registry.unsubscribe, visitor.link.session, pattern))
        else:
            message = {"channel": "/meta/unsubscribe", "clientId": visitor.client, "subscription": pattern}
            self.say(visitor, message)

    def read(self, visitor: Visitor) -> None:
        """The client's next request; one that was slow reads what waits."""
        if visitor.kind == "slow websocket":
            session = self.node.registry.get(visitor.client)
            visitor.link.blocked = False
            if session is not None:
                self.do(partial(self.node.writable, session))
            self.look(visitor)
            visitor.link.blocked = True
        elif visitor.kind != "plain":
            self.connect(visitor)

    def look(self, visitor: Visitor) -> None:
        """Look at what has come, and come again if the session is over."""
        if visitor.poll is not None and visitor.poll.parts is not None:
            poll, visitor.poll = visitor.poll, None
            self.hear(visitor, orjson.loads(join(poll.parts or [])))
            if not visitor.ended:
                self.connect(visitor)
        self.hear(visitor, visitor.link.take())
        gone = visitor.ended or visitor.link.left is not None
        if gone or (visitor.kind != "plain" and self.node.registry.get(visitor.client) is None):
            visitor.link = Wire()
            self.appear(visitor)

    def hear(self, visitor: Visitor, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Look at what a client is given: it must be allowed now."""
        now, grant = self.world.now + EPOCH, visitor.grant
        for message in messages:
            if message.get("channel") == "/meta/connect" and not message["successful"]:
                visitor.ended = True
            if "data" not in message:
                continue
            self.heard += 1
            channel = message["channel"]
            if visitor.bearer is not None:
                user, made = visitor.bearer
                # An expired token leaves the open channels, unless its user was kicked.
                assert self.kicked.get(user, 0.0) < made, f"{visitor.kind} hears {channel} after {user} was kicked"
            if channel != "/open":
                name = channel.removeprefix("/presence")
                assert grant is not None, f"{visitor.kind} hears {channel} without a token"
                assert any(covers(claim, name) for claim in grant.channels), f"{visitor.kind} hears {channel}: {grant}"
                assert now <= grant.expires + GRACE + 1e-6, (
                    f"{visitor.kind} hears {channel}, {now - grant.expires} s too late"
                )
        return [message for message in messages if "data" not in message]

    # Programs

    def step(self, what: str, *arguments: Any) -> None:
        if what == "publish":
            self.number += 1
            self.do(partial(self.node.try_publish, [Draft(arguments[0], b"%d" % self.number)]))
        elif what == "kick":
            self.kicked[arguments[0]] = self.world.now + EPOCH
            self.process.arrive(lambda: self.process.create_task(self.node.kick(arguments[0])) and None)
            self.run()
        elif what == "wait":
            self.run(arguments[0])
        else:
            visitor = self.visitors[arguments[0]]
            if what == "subscribe":
                shown = arguments[2]
                if isinstance(shown, tuple):
                    user, named, life = shown
                    claims = {"channels": named, "iat": self.world.now + EPOCH} | ({"sub": user} if user else {})
                    shown = visitor.shown = tokens.sign(REALM, KEY, self.world.now + EPOCH, life=life, **claims)
                elif shown == "older":
                    shown = visitor.shown or None
                self.subscribe(visitor, arguments[1], shown)
            elif what == "unsubscribe":
                self.unsubscribe(visitor, arguments[1])
            else:
                self.read(visitor)
        for visitor in self.visitors:
            self.look(visitor)


def run(seal: Sealed, program: Sequence[tuple[Any, ...]], kinds: Sequence[str]) -> int:
    """Carry out a program; how many publications were heard."""
    hub = Hub(seal, kinds)
    try:
        for step in program:
            hub.step(*step)
        return hub.heard
    finally:
        hub.process.kill()
        hub.world.end()


@pytest.fixture(scope="module")
def seal() -> Iterator[Sealed]:
    with sealed() as seal:
        yield seal


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(program=PROGRAMS, kinds=KINDS_OF_TWO)
def test_nobody_hears_what_the_newest_token_does_not_allow(
    seal: Sealed, program: list[tuple[Any, ...]], kinds: tuple[str, str]
) -> None:
    run(seal, program, kinds)


A, B, BOTH = (None, ["private-a"], 60.0), (None, ["private-b"], 60.0), (None, ["private-*"], 60.0)
ALICE = ("alice", ["private-a"], 60.0)

#: By what would be heard if rights were not asked for again, a program in which it would.
STORIES = {
    # What came by a wildcard, allowed by a token that has been replaced since, waited for the client's next poll.
    "queue of an older token": [
        ("subscribe", 0, "/**", A),
        ("publish", "/private-a"),
        ("publish", "/private-a"),
        ("subscribe", 0, "/**", B),
        ("read", 0),
    ],
    "queue of a token that expired": [
        ("subscribe", 0, "/**", (None, ["private-a"], 3.0)),
        ("publish", "/private-a"),
        ("publish", "/private-a"),
        ("wait", 4.0),
        ("read", 0),
    ],
    # It was unsubscribed, and so the newer token needed not name it; what had come before still waited.
    "queue of a channel that was left": [
        ("subscribe", 0, "/private-a", A),
        ("publish", "/private-a"),
        ("publish", "/private-a"),
        ("unsubscribe", 0, "/private-a"),
        ("subscribe", 0, "/private-b", B),
        ("read", 0),
    ],
    "anybody's token after one's own": [
        ("subscribe", 0, "/private-a", ALICE),
        ("subscribe", 0, "/private-b", B),
        ("kick", "alice"),
        ("publish", "/private-a"),
        ("read", 0),
    ],
    "token with less": [
        ("subscribe", 0, "/private-a", A),
        ("subscribe", 0, "/private-b", B),
        ("publish", "/private-a"),
        ("read", 0),
    ],
    # The session stayed on an open channel, and the hub had forgotten whose it was.
    "token that expired before the kick": [
        ("subscribe", 0, "/open", ("alice", [], 1.0)),
        ("wait", 4.0),
        ("kick", "alice"),
        ("publish", "/open"),
        ("read", 0),
    ],
    "token that expired, and another user's after it": [
        ("subscribe", 0, "/open", ("alice", [], 1.0)),
        ("wait", 4.0),
        ("subscribe", 0, "/open", A),
        ("kick", "alice"),
        ("publish", "/open"),
        ("read", 0),
    ],
    "refused token": [
        ("subscribe", 0, "/private-a", (None, ["private-a"], 1.0)),
        ("subscribe", 0, "/private-b", A),
        ("wait", 4.0),
        ("publish", "/private-a"),
        ("read", 0),
    ],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STORIES)
def test_story(seal: Sealed, name: str, kind: str) -> None:
    run(seal, STORIES[name], [kind, "poll"])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_allowed_is_heard(seal: Sealed, kind: str) -> None:
    program = [
        ("subscribe", 0, "/private-a", A),
        ("subscribe", 0, "/private-b", BOTH),
        ("publish", "/private-a"),
        ("publish", "/private-b"),
        ("read", 0),
        ("read", 0),
    ]
    assert run(seal, program, [kind]) == 2


#: What makes each promise true, taken out, and what the programs then find. Who is "held" hears at once.
MENDS: dict[str, tuple[type, str, Any]] = {
    "another's token, or one with less, is refused": (Access, "check_newer", lambda *_: None),
    "what waits is judged again": (Registry, "judge_again", lambda *_: None),
    "an expiry is watched": (Deadlines, "_grant_due", lambda *_: None),
    "a kick ends sessions": (Kicks, "take", lambda *_: None),
}


@pytest.mark.parametrize("mend", MENDS)
def test_mend_that_is_taken_out_is_missed(seal: Sealed, mend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, instead = MENDS[mend]
    monkeypatch.setattr(owner, name, instead)
    found = {
        story
        for story in STORIES
        for kind in ("poll", "slow websocket", "held")
        if not _is_kept(seal, STORIES[story], kind)
    }
    assert found


def _is_kept(seal: Sealed, program: Sequence[tuple[Any, ...]], kind: str) -> bool:
    try:
        run(seal, program, [kind, "poll"])
    except AssertionError:
        return False
    return True
