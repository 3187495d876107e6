"""Whole conversations, of sense and nonsense, against a model of what the replies said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from ledgered import World

CHANNELS = ["/chat/a", "/chat/b", "/chat/*", "/**", "/x", "/service/s", "/private-1", "/meta/x", "/", "a", "/a" * 200]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(CHANNELS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
CLIENTS = st.integers(1, 6).map(lambda number: f"client{number}")
SUBSCRIPTIONS = st.sampled_from(CHANNELS) | st.lists(st.sampled_from(CHANNELS[:5]), max_size=8)
EXT = st.fixed_dictionaries(
    {},
    optional={
        "ack": st.booleans() | st.integers(-2, 5) | JUNK,
        "position": st.dictionaries(st.sampled_from(CHANNELS), st.sampled_from([None, "e.1", "x"]) | JUNK, max_size=3),
        "replay": st.dictionaries(st.sampled_from(CHANNELS), st.integers(-3, 9) | JUNK, max_size=3) | JUNK,
        "timesync": st.fixed_dictionaries({"tc": st.integers() | JUNK, "l": JUNK, "o": JUNK}) | JUNK,
        "token": JUNK,
        "binary": JUNK,
    },
)
IDS = st.sampled_from(["1", "2", 3]) | JUNK


def message(channel: str, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """A message that may be right, or has any of its fields missing or wrong."""
    right = st.fixed_dictionaries({"channel": st.just(channel), **fields}, optional={"id": IDS, "ext": EXT | JUNK})
    names = st.sampled_from(["channel", "clientId", "id", "ext", "advice", *fields])
    spoilt = st.tuples(right, names, JUNK).map(lambda each: each[0] | {each[1]: each[2]})
    lacking = st.tuples(right, names).map(lambda each: {n: v for n, v in each[0].items() if n != each[1]})
    return right | right | spoilt | lacking


KINDS = st.sampled_from(["websocket", "long-polling", "callback-polling", "eventsource", "flash"])
HANDSHAKES = message("/meta/handshake", version=st.just("1.0"), supportedConnectionTypes=st.lists(KINDS, min_size=1))
CONNECTS = message("/meta/connect", clientId=CLIENTS, connectionType=KINDS)
SUBSCRIBES = message("/meta/subscribe", clientId=CLIENTS, subscription=SUBSCRIPTIONS)
UNSUBSCRIBES = message("/meta/unsubscribe", clientId=CLIENTS, subscription=SUBSCRIPTIONS)
DISCONNECTS = message("/meta/disconnect", clientId=CLIENTS)
PUBLISHES = st.sampled_from(CHANNELS).flatmap(lambda channel: message(channel, clientId=CLIENTS, data=JUNK))
ANY = HANDSHAKES | CONNECTS | SUBSCRIBES | UNSUBSCRIBES | DISCONNECTS | PUBLISHES | JUNK


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(each=HANDSHAKES, socket=st.booleans())
    def shake_hands(self, each: Any, socket: bool) -> None:
        self.world.receive([each], socket=socket)

    @rule(batch=st.lists(ANY, min_size=1, max_size=7), socket=st.booleans())
    def say(self, batch: list[Any], socket: bool) -> None:
        self.world.receive(batch, socket=socket)

    @rule(each=SUBSCRIBES)
    def subscribe(self, each: Any) -> None:
        self.world.receive([each])

    @rule(each=CONNECTS, socket=st.booleans())
    def connect(self, each: Any, socket: bool) -> None:
        self.world.receive([each], socket=socket)

    @rule(client=CLIENTS)
    def lose_an_answer(self, client: str) -> None:
        session = self.world.registry.get(client)
        if session is not None:
            session.put_back(session.take())
            self.world.check()

    @rule(client=CLIENTS)
    def expire(self, client: str) -> None:
        self.world.end(client)
        self.world.check()

    @rule(channel=st.sampled_from(["/chat/a", "/chat/b", "/x"]))
    def publish_by_the_api(self, channel: str) -> None:
        self.world.deliver(channel, b"1")
        self.world.check()

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds


# Hypothesis names a strategy in its notes, and these are long.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
class TestConversation(Conversation.TestCase):  # type: ignore[name-defined,misc]  # hypothesis makes it
    settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
