"""The short way answers what the long way would, and leaves what it would leave."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from changed_rules import set_access
from conversation import TYPES, Wire, new_rules
from hypothesis import given
from hypothesis import strategies as st

from hub.bayeux.names import LONG_POLLING, WEBSOCKET
from hub.bayeux.rules import Bayeux
from hub.bayeux.usual import Usual
from hub.brokers.memory import MemoryBroker
from hub.node import Bounds, Node
from hub.peers import UNKNOWN, Peer
from hub.polls import Poll
from hub.protocol.access import Access, parse_rules
from hub.protocol.publications import Position
from hub.sessions.links import Batch
from hub.sessions.session import Session

CHANNELS = (
    "/a",
    "/chat/b",
    "/chat/b",
    "/private-x",
    "/a/*",
    "/**",
    "/service/x",
    "/meta/x",
    "/meta/connect",
    "a",
    "/ä",
)
RULES = parse_rules(
    """
    [[rule]]
    channels = ["/chat/unkept"]
    history = "closed"
    [[rule]]
    channels = ["/chat/kept"]
    subscribe = "closed"
    history = "open"
    """
)
#: Of a session; its hold is looked into.
REMEMBERED = sorted({*Session.__slots__} - {"__weakref__", "hold"})
CLIENTS = ("client1", "client2", "client3")


class Socket(Wire):
    """A wire of a visitor's, which also keeps the bytes."""

    def __init__(self, visitor: str | None) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.peer = Peer("192.0.2.1", visitor)

    def send(self, parts: list[bytes]) -> None:
        super().send(parts)
        self.sent.extend(parts)

    def offer(self, batch: Batch) -> None:
        super().offer(batch)
        self.sent.extend(publication.message for publication in batch.publications)


class Side:
    """A node with two sockets, of which the second is that of somebody the site knows; long: without the short way."""

    def __init__(self, limits: dict[str, Any], *, long: bool, extended: bool) -> None:
        self.broker = MemoryBroker()
        # Epochs are derived from it, so both ways give the same.
        self.broker._secret = b"of both ways"
        rules = new_rules(**limits)
        set_access(rules, Access(["/chat/**", "/*"], RULES))
        self.node = Node(self.broker, rules, Bounds())
        if long:
            self.node.intake._usual = None
        if extended:
            self.node.bayeux.outgoing.append(lambda reply, who: reply.update(seen=True))
        self.sockets = [Socket(None), Socket("carol")]
        self.old: list[Socket] = []
        self.polls: list[Any] = []

    def take(self, step: tuple[Any, ...]) -> None:
        kind, at, *rest = step
        socket = self.sockets[at]
        if kind == "say":
            self.node.accept(orjson.loads(orjson.dumps(rest[0])), WEBSOCKET, socket, socket)
        elif kind == "poll":
            poll = Poll()
            poll.when_sent(self.polls.append)
            self.node.accept(orjson.loads(orjson.dumps(rest[0])), LONG_POLLING, poll)
        elif kind == "break":
            self.node.detach(socket, socket.session)
            self.old.append(socket)
            self.sockets[at] = Socket(socket.peer.visitor)
        elif kind == "lose":
            self.node.lost([rest[0]])
        elif kind == "stream":
            session = self.node.registry.get(rest[0])
            if session is not None:
                self.node.move(session, socket, "")
        elif kind == "block":
            socket.blocked = not socket.blocked
            if socket.session is not None:
                self.node.writable(socket.session)

    def state(self) -> str:
        """All that was sent and is remembered, in words that are the same for equal nodes."""
        node = self.node
        links = {id(link): f"link{number}" for number, link in enumerate([*self.old, *self.sockets])}

        def shown(value: Any) -> Any:
            if id(value) in links:
                return links[id(value)]
            if isinstance(value, Session | Poll):
                return value.id if isinstance(value, Session) else "a poll"
            if hasattr(type(value), "__slots__") and not isinstance(value, tuple | str | dict | list):
                return {name: shown(getattr(value, name)) for name in value.__slots__ if name != "__weakref__"}
            return value

        told = {
            "sent": [(link.sent, shown(link.session), link.left) for link in (*self.old, *self.sockets)],
            "polls": self.polls,
            "sessions": {
                key: {name: shown(getattr(each, name)) for name in REMEMBERED}
                | {"held": None if each.hold is None else (each.hold.id, each.hold.deadline, shown(each.hold.to))}
                for key, each in node.registry.sessions.items()
            },
            "audiences": {name: sorted(each.id for each in found) for name, found in node.registry.audiences.items()},
            "counters": {name: getattr(node.counters, name) for name in node.counters.__slots__},
            "limited": node.bayeux.limited,
            "allowances": {name: (each._left, each._at) for name, each in node.bayeux.crowd.addresses.items()},
            "due": {
                slot: [(callback.__name__, len(things)) for callback, things in entries.items()]
                for slot, entries in node.wheel._slots.items()
            },
            "recent": (node.registry.recent.newest, node.registry.recent.written),
            "channels": list(self.broker._rings),
        }
        return repr(told)


async def both(steps: list[tuple[Any, ...]], limits: dict[str, Any], *, extended: bool) -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    loop.time = lambda: now  # type: ignore[method-assign]  # this loop's alone, which ends with the test
    short, long = (Side(limits, long=long, extended=extended) for long in (False, True))
    for side in (short, long):
        await side.node.start()
    try:
        for step in steps:
            if step[0] == "turn":
                now += 0.5
                for _ in range(4):
                    await asyncio.sleep(0)
            else:
                short.take(step)
                long.take(step)
            assert short.state() == long.state(), step
    finally:
        del loop.time
        for side in (short, long):
            for socket in side.sockets:
                side.node.detach(socket, socket.session)
            await side.node.stop()


IDS = st.just("1") | st.sampled_from(["1", "a7", "x" * 128, "x" * 129, "", '"', "é", "a-b", 7, True, None])
CLIENT = st.sampled_from([*CLIENTS[:1] * 6, *CLIENTS, "unknown", 7, None])
PATTERN = st.sampled_from(CHANNELS)
#: Most have no field but the usual ones: else hardly a run would come as far as a second message.
MORE = st.one_of(
    st.just({}),
    st.just({}),
    st.fixed_dictionaries(
        {},
        optional={
            "ext": st.sampled_from([{}, {"ack": True}, {"ack": 0}, {"token": "t"}, {"timesync": {"tc": 1}}, [], None]),
            "advice": st.sampled_from([{"timeout": 0}, {}, None]),
            "minimumVersion": st.sampled_from(["1.0", "2.0"]),
        },
    ),
)
HANDSHAKE = st.fixed_dictionaries(
    {
        "channel": st.just("/meta/handshake"),
        "id": st.just("1") | IDS,
        "version": st.just("1.0") | st.sampled_from(["1.0", "1.1", 1, "0.9", None]),
        "supportedConnectionTypes": st.just(TYPES)
        | st.sampled_from([["websocket"], ["long-polling"], [], "websocket", [7]]),
    }
)
SUBSCRIBE = st.fixed_dictionaries(
    {
        "channel": st.just("/meta/subscribe"),
        "id": st.just("2") | IDS,
        "clientId": CLIENT,
        "subscription": PATTERN | st.lists(PATTERN, max_size=2),
    }
)
ASK = st.builds(
    lambda client, pattern, other, since: {
        "channel": "/meta/subscribe",
        "id": "2",
        "clientId": client,
        "subscription": pattern,
        "ext": {"position": {other: since}},
    },
    CLIENT,
    PATTERN,
    PATTERN,
    st.sampled_from([None, None, "e.1", 7]),
) | st.builds(
    lambda client, pattern: {
        "channel": "/meta/subscribe",
        "id": "2",
        "clientId": client,
        "subscription": pattern,
        "ext": {"position": {pattern: None}},
    },
    CLIENT,
    PATTERN,
)
CONNECT = st.fixed_dictionaries(
    {
        "channel": st.just("/meta/connect"),
        "id": st.just("3") | IDS,
        "clientId": CLIENT,
        "connectionType": st.just("websocket") | st.sampled_from(["long-polling", "eventsource", "iframe", None]),
    }
)
OTHER = st.fixed_dictionaries(
    {
        "channel": st.sampled_from(["/chat/b", "/a", "/meta/unsubscribe", "/meta/disconnect", "/meta/x", ["/a"], None]),
        "id": IDS,
        "clientId": CLIENT,
        "subscription": PATTERN,
        "data": st.integers(0, 9),
    }
)
MESSAGE = st.one_of(
    HANDSHAKE,
    SUBSCRIBE,
    ASK,
    CONNECT,
    st.builds(lambda message, more: message | more, st.one_of(HANDSHAKE, SUBSCRIBE, CONNECT, OTHER), MORE),
    st.sampled_from([7, None, [], {}]),
)
BATCH = st.lists(MESSAGE, min_size=1, max_size=1) | st.lists(MESSAGE, min_size=1, max_size=2)
SOCKET = st.sampled_from([0, 0, 1])
STEP = st.one_of(
    st.tuples(st.just("say"), SOCKET, BATCH),
    st.tuples(st.just("say"), SOCKET, BATCH),
    st.tuples(st.just("poll"), SOCKET, BATCH),
    st.tuples(st.sampled_from(["break", "block", "turn", "turn"]), SOCKET),
)
#: What a run begins with, so that most have a session.
HELLO = ("say", 0, [{"channel": "/meta/handshake", "id": "1", "version": "1.0", "supportedConnectionTypes": TYPES}])
LIMITS = st.fixed_dictionaries(
    {
        "max_subscriptions": st.sampled_from([1, 2, 1000]),
        "max_sessions": st.sampled_from([0, 2]),
        "subscription_bytes": st.sampled_from([0, 0, 100, 400]),
        "handshake_rate": st.sampled_from([0.0, 0.15]),
    }
)


@given(st.lists(STEP, max_size=14), LIMITS, st.sampled_from([False, False, False, True]))
def test_both_ways_send_and_remember_the_same(
    steps: list[tuple[Any, ...]], limits: dict[str, Any], extended: bool
) -> None:
    asyncio.run(both([HELLO, *steps], limits, extended=extended))


def ask(pattern: str, **fields: Any) -> dict[str, Any]:
    return {"channel": "/meta/subscribe", "clientId": "client1", "id": "2", "subscription": pattern} | fields


def ask_where(pattern: str) -> dict[str, Any]:
    return ask(pattern, ext={"position": {pattern: None}})


def connect(client: str = "client1", **fields: Any) -> dict[str, Any]:
    return {"channel": "/meta/connect", "clientId": client, "connectionType": "websocket", "id": "3"} | fields


def shake(**fields: Any) -> dict[str, Any]:
    return {"channel": "/meta/handshake", "id": "1", "version": "1.0", "supportedConnectionTypes": TYPES} | fields


PUBLISH = {"channel": "/chat/b", "clientId": "client1", "data": 1}
TURN = ("turn", 0)

#: Conversations in which something is not as usual, or just is; messages are said on the first socket.
CONVERSATIONS: dict[str, list[Any]] = {
    "nothing unusual": [shake(), ask("/a"), ask_where("/chat/b"), connect(), PUBLISH, TURN],
    "the same subscription twice": [shake(), ask("/a"), ask("/a"), connect()],
    "publications before": [shake(), PUBLISH, TURN, ask_where("/chat/b"), connect()],
    "publications between": [shake(), ask_where("/chat/b"), PUBLISH, TURN, connect(), PUBLISH, TURN],
    "a subscription while something waits": [shake(), ask("/chat/b"), PUBLISH, TURN, ask("/a"), ask_where("/a")],
    "publications of this tick": [shake(), ask("/chat/b"), PUBLISH, PUBLISH, ask_where("/chat/b"), TURN],
    "acknowledgements": [shake(ext={"ack": True}), ask("/a"), connect()],
    "more of a handshake": [shake(advice={"timeout": 0}), shake(minimumVersion="2.0"), shake(ext={"token": "no"})],
    "more of a connect": [shake(), connect(ext={"timesync": {"tc": 1}})],
    "more of a subscription": [shake(), ask("/a", ext={"token": "no"}), ask("/a", ext={"position": {"/b": None}})],
    "more beside a position": [shake(), ask("/a", ext={"position": {"/a": None}, "timesync": {"tc": 1}})],
    "a second connect": [shake(), connect(), connect(id="4"), connect(id="4")],
    "another session on the socket": [shake(), connect(), shake(), connect("client2"), connect("client1")],
    "a lost connection": [shake(), ask("/chat/b"), connect(), PUBLISH, TURN, ("break", 0), connect(), TURN],
    "a held poll": [shake(), ("poll", 0, [connect(connectionType="long-polling")]), connect()],
    "an unanswered poll": [
        shake(),
        ask("/chat/b"),
        PUBLISH,
        TURN,
        ("poll", 0, [connect(connectionType="long-polling")]),
        connect(),
    ],
    "a stream that has it": [shake(), ask("/chat/b"), ("stream", 1, "client1"), connect(), PUBLISH, TURN],
    "a stream that had it": [
        shake(),
        ask("/chat/b"),
        ("stream", 1, "client1"),
        PUBLISH,
        TURN,
        ("break", 1),
        connect(),
        TURN,
    ],
    "a full buffer": [shake(), ask("/chat/b"), ("block", 0), connect(), PUBLISH, TURN, ask("/a"), ("block", 0), TURN],
    "a pattern's position": [shake(), ask_where("/a/*"), ask_where("/**")],
    "what takes a token": [shake(), ask("/private-x"), ask_where("/private-x")],
    "what may be heard and not recovered": [shake(), ask("/chat/unkept"), ask_where("/chat/unkept")],
    "what may be recovered and not heard": [shake(), ask("/chat/kept"), ask_where("/chat/kept")],
    "versions": [shake(version=each) for each in ("1.1", "0.9", 1, None)],
    "several patterns": [shake(), ask("/a") | {"subscription": ["/a", "/b"]}, ask("/a") | {"subscription": {"a": 1}}],
    "more beside the extension": [shake(), ask_where("/a") | {"advice": {}}, ask_where("/b") | {"more": 1}],
    "connects by other ways": [shake(), *(connect(connectionType=each) for each in ("iframe", None, "long-polling"))],
    "a loss": [shake(), ask_where("/a"), ("lose", 0, "/a"), connect()],
    "types that are none": [shake(supportedConnectionTypes=each) for each in ("my-websocket", "websocket", 7, [7])],
    "a poll that was answered": [
        shake(),
        ask("/chat/b"),
        PUBLISH,
        TURN,
        ("poll", 0, [connect(connectionType="long-polling"), {"channel": "/meta/x"}]),
        connect(),
    ],
    "no channel of anybody's": [shake(), ask("/meta/x"), ask("/service/x"), ask("a"), ask("/ä")],
    "ids of many kinds": [shake(id=each) for each in ("é", '"', "x" * 129, "", 7, None, True, "a-b")],
    "somebody the site knows": [("say", 1, [shake()]), ("say", 1, [ask("/a")]), ("say", 1, [connect()])],
}


@pytest.mark.parametrize(
    "limits", [{}, {"max_subscriptions": 1}, {"subscription_bytes": 128}, {"max_sessions": 1, "handshake_rate": 0.3}]
)
@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_both_ways_agree_where_something_is_unusual(name: str, extended: bool, limits: dict[str, Any]) -> None:
    steps = [each if isinstance(each, tuple) else ("say", 0, [each]) for each in CONVERSATIONS[name]]
    await both(steps, limits, extended=extended)


def new_usual(rules: Bayeux, position: Position | None = None) -> Usual:
    return Usual(rules, lambda channel: position, tops=lambda session: {}, opened=lambda session: None)


class TestWhatIsUsual:
    """Else the two ways would be the same by being one."""

    @pytest.fixture
    def usual(self) -> Usual:
        return new_usual(new_rules(), Position("e", 1))

    def test_first_messages_of_faye_and_of_our_own_client(self, usual: Usual) -> None:
        wire = Wire()
        for message in (shake(), ask("/a"), ask_where("/b"), connect()):
            reply = usual.answer(message, 0.0, wire, wire.peer)
            assert reply is not None
            assert orjson.loads(reply)["successful"]

    def test_nothing_is_while_code_of_the_site_looks_at_messages(self) -> None:
        rules = new_rules()
        rules.incoming.append(lambda message, who: None)
        usual = new_usual(rules)
        assert usual.answer(shake(), 0.0, Wire(), UNKNOWN) is None

    def test_subscribe_whose_position_takes_waiting_is_not(self) -> None:
        rules = new_rules()
        usual = new_usual(rules)
        session = rules.new_session(0.0, None)
        rules.registry.add(session)
        assert usual.answer(ask_where("/a"), 0.0, Wire(), UNKNOWN) is None
        assert not session.patterns
        assert not session.tracks
