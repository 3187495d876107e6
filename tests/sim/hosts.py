"""Workers of one hub: real nodes with real rules, each in a process that can be killed, stopped and started again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import orjson

from hub.bayeux.limits import Limits
from hub.bayeux.rules import Bayeux
from hub.errors import BrokerUnavailable, LinkClosed
from hub.node import Bounds, Node
from hub.peers import UNKNOWN
from hub.polls import Poll
from hub.protocol.access import Access
from hub.protocol.messages import join
from hub.sessions.links import Batch
from hub.sessions.registry import Registry
from hub.sessions.session import Session
from hub.turns import Turns

from .redis import SimBroker, Store, Trouble
from .sealed import Sealed
from .world import Process, World

if TYPE_CHECKING:
    from .clients import Client

#: Seconds a poll is held and a session lives without a client; short, so that a run sees both end.
HOLD = 5.0
TTL = 10.0

#: Seconds between a WebSocket's pings; two that are not answered end it.
PING = 3.0

_LIMITS = Limits(timeout=HOLD, session_ttl=TTL)
_BOUNDS = Bounds(tick=0.002, session_ttl=TTL)
_ACCESS = Access(["/**"])


class Wires:
    """The network between clients and workers. lossy: the chance that an answer is lost on its way.

    healed: whether nothing is lost any more.
    """

    def __init__(self, world: World, dice: Random) -> None:
        self.world = world
        self.dice = dice
        self.lossy = 0.0
        self.healed = False

    def now(self) -> float:
        return self.world.now

    def later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        self.world.after(seconds, call, *arguments)

    def delay(self) -> float:
        """How long something travels: mostly about a millisecond, sometimes a second."""
        roll = self.dice.random()
        if roll < 0.85:
            return 0.0002 + roll * 0.002
        if roll < 0.98:
            return (roll - 0.85) * 0.5
        return (roll - 0.98) * 40


class Exchange:
    """One HTTP request to a worker, and what becomes of it. ask: what the client wanted by it."""

    __slots__ = (
        "answered",
        "arrived",
        "client",
        "copy",
        "done",
        "gone",
        "host",
        "life",
        "lose",
        "messages",
        "order",
        "poll",
        "refused",
        "sent",
        "transport",
        "why",
    )

    def __init__(self, client: Client, why: Any, messages: list[dict[str, Any]], transport: str, sent: float) -> None:
        self.client = client
        self.why = why
        self.messages = messages
        self.transport = transport
        self.sent = sent
        self.arrived: float | None = None
        # When the worker answered, the client gave up or lost its connection, and all of it was over.
        self.answered: float | None = None
        #: The number of the answer, in the order in which workers gave them.
        self.order = 0
        self.gone = False
        self.done = False
        # Whether the answer refuses it for now.
        self.refused = False
        self.lose = False
        # A second copy of a request that a proxy sent again; nobody reads its answer.
        self.copy = False
        self.host: Host | None = None
        self.life = 0
        self.poll: Poll | None = None


class Host:
    """A place for a worker. up: whether it takes connections. life: how many workers it has had."""

    def __init__(self, number: int, world: World, wires: Wires, store: Store, trouble: Trouble, seal: Sealed) -> None:
        self.number = number
        self.name = f"node{number}"
        self.world = world
        self.wires = wires
        self.store = store
        self.trouble = trouble
        self.seal = seal
        self.dice = world.dice(100 + number)
        self.life = 0
        self.up = False
        self.leaving = False
        self.exchanges: dict[Exchange, None] = {}
        self.sockets: dict[Socket, None] = {}
        self.processes: list[Process] = []
        self.nodes: list[Node] = []
        #: Told of each node that has started, in its process.
        self.started: Callable[[Host, Node], None] | None = None
        #: What a worker's rules are made by.
        self.access: Callable[[], Access] = lambda: _ACCESS
        self._ready: Node | None = None

    def start(self) -> None:
        """Start a worker, unless one runs."""
        if self.up or self.leaving:
            return
        self.life += 1
        process = Process(self.world, self.name, self.dice, offset=1000.0 * self.number + 17.0 * self.life)
        broker = SimBroker(
            self.store,
            self.wires,
            self.trouble,
            worker=f"{self.name}-{self.life}",
            arrive=process.arrive,
            halted=lambda: process.stopped,
        )
        self.process, self.broker = process, broker
        if self.world.trace is not None:
            broker.tell = self._tell
        self.processes.append(process)
        self._ready = None
        process.call_soon(self._start, process, broker)
        self.up = True

    def _tell(self, what: tuple[Any, ...], found: Any) -> None:
        told = " ".join(each.decode() if isinstance(each, bytes) else str(each) for each in what)
        self.world.say("redis", f"for {self.name}: {told} -> {found}".replace("0" * 30, ""))

    def _start(self, process: Process, broker: SimBroker) -> None:
        wall: Callable[[], float] = lambda: self.world.now + 1.7e9  # noqa: E731  # short
        rules = Bayeux(Registry(), self.seal.new_id, limits=_LIMITS, access=self.access(), wall=wall)
        self.node = Node(broker, rules, _BOUNDS, turns=Turns(clock=lambda: self.world.now))
        self.nodes.append(self.node)
        process.create_task(self._open(self.node))

    async def _open(self, node: Node) -> None:
        while True:
            try:
                await node.start()
            except BrokerUnavailable:
                await asyncio.sleep(0.3)
            else:
                if self.started is not None:
                    self.started(self, node)
                self._ready = node
                return

    @property
    def is_ready(self) -> bool:
        """Whether it takes connections. Not before it has started: the server listens only then (`hub.app`).

        A worker that took them while Redis was away, before its reader knew where the log is, missed what came between.
        """
        return self.up and not self.leaving and self._ready is not None

    def kill(self) -> None:
        """SIGKILL: its state is gone, its connections are cut, what it asked of Redis is perhaps done, perhaps not."""
        if not self.up:
            return
        self.world.say(self.name, "killed")
        self.up = self.leaving = False
        self.process.kill()
        self.broker.vanish()
        for exchange in list(self.exchanges):
            if exchange.answered is None:
                exchange.answered = self.world.now
                exchange.client.doomed(exchange)
                self.wires.later(self.wires.delay(), exchange.client.failed, exchange, "connection reset")
            elif self.dice.random() < 0.5:
                self.wires.later(self.wires.delay(), exchange.client.failed, exchange, "connection reset")
        self.exchanges.clear()
        for socket in list(self.sockets):
            socket.reset()
        self.sockets.clear()

    def leave(self) -> None:
        """SIGTERM: drain, finish what was begun, go."""
        if not self.up or self.leaving or self.process.stopped:
            return
        self.world.say(self.name, "asked to stop")
        self.leaving = True
        self.process.arrive(lambda: self.process.create_task(self._leave(self.node)) and None)

    async def _leave(self, node: Node) -> None:
        process = self.process
        await node.stop()
        self.wires.later(0.001, self._left, process)

    def _left(self, process: Process) -> None:
        if not process.dead:
            self.kill()

    # HTTP

    def request(self, exchange: Exchange) -> None:
        """A request is on its way here."""
        self.wires.later(self.wires.delay(), self._take, exchange)

    def _take(self, exchange: Exchange) -> None:
        if not self.is_ready:
            self.wires.later(self.wires.delay(), exchange.client.failed, exchange, "connection refused")
            return
        if exchange.gone:
            return
        exchange.host, exchange.life = self, self.life
        exchange.arrived = self.world.now
        self.exchanges[exchange] = None
        self.process.arrive(self._accept, exchange)

    def _accept(self, exchange: Exchange) -> None:
        if self.world.trace is not None:
            self.world.say(self.name, f"takes {exchange.client.name}'s {brief(exchange.messages)}")
        poll = exchange.poll = Poll()
        poll.when_sent(partial(self._answered, exchange, self.process))
        self.node.accept(exchange.messages, exchange.transport, poll)

    def _answered(self, exchange: Exchange, process: Process, parts: list[bytes]) -> None:
        if process.dead:
            return
        if exchange.answered is not None:
            self.world.accuse(f"{self.name} answered {exchange.client.name}'s request twice")
            return
        exchange.answered = self.world.now
        exchange.order = next_number(self.world)
        messages = orjson.loads(join(parts))
        if getattr(exchange.poll, "status", 200) != 200 and exchange.transport == "long-polling":
            # A script can't have another status: its client gets the messages.
            self.exchanges.pop(exchange, None)
            exchange.refused = True
            exchange.client.was_answered(exchange, [])
            self.wires.later(self.wires.delay(), exchange.client.failed, exchange, "HTTP 503")
            return
        if self.world.trace is not None:
            self.world.say(self.name, f"answers {exchange.client.name}: {brief(messages)}")
        exchange.client.was_answered(exchange, messages)
        if exchange.poll is not None and not exchange.poll.gone:
            if exchange.transport == "long-polling":
                # As hub/transports/lean.py, which writes at once, and hub/transports/polling.py, which waits.
                self.node.written(exchange.poll)
            else:
                process.call_soon(self._written, exchange.poll, process)
        if (exchange.lose and not self.wires.healed) or self.dice.random() < self.wires.lossy:
            self.wires.later(self.wires.delay(), self._lost, exchange, messages)
        else:
            self.wires.later(self.wires.delay(), self._deliver, exchange, messages)

    def _written(self, poll: Poll, process: Process) -> None:
        if process is self.process:
            self.node.written(poll)

    def _deliver(self, exchange: Exchange, messages: list[dict[str, Any]]) -> None:
        self.exchanges.pop(exchange, None)
        if exchange.gone or exchange.done or exchange.copy:
            exchange.client.missed(exchange, messages)
        else:
            exchange.client.answered(exchange, messages)

    def _lost(self, exchange: Exchange, messages: list[dict[str, Any]]) -> None:
        self.exchanges.pop(exchange, None)
        exchange.client.missed(exchange, messages)
        # The client learns of it by a reset, or by its own patience.
        soon = self.wires.delay() if self.dice.random() < 0.8 else 3.0
        self.wires.later(soon, exchange.client.failed, exchange, "connection reset")

    def left(self, exchange: Exchange) -> None:
        """The client has closed its connection; a worker that reads it notices, some proxies never tell."""
        if exchange.host is self and exchange.life == self.life and self.dice.random() < 0.85:
            self.wires.later(self.wires.delay(), self.process.arrive, self._abandon, exchange)

    def _abandon(self, exchange: Exchange) -> None:
        if exchange.poll is not None and exchange.answered is None:
            self.world.say(self.name, f"notices that {exchange.client.name} has gone")
            self.exchanges.pop(exchange, None)
            self.node.abandon(exchange.poll)

    # What publishers do

    def publish(self, drafts: list[Any], done: Callable[[list[Any] | None], None]) -> None:
        """Publish by the API; `done` gets what became of it, None for "not known"."""
        if not self.is_ready:
            self.wires.later(self.wires.delay(), done, None)
            return
        self.wires.later(
            self.wires.delay(),
            self.process.arrive,
            lambda: self.process.create_task(self._publish(drafts, done)) and None,
        )

    async def _publish(self, drafts: list[Any], done: Callable[[list[Any] | None], None]) -> None:
        try:
            found = await self.node.publish(drafts)
        except BrokerUnavailable:
            self.wires.later(self.wires.delay(), done, None)
        else:
            self.wires.later(self.wires.delay(), done, found)


class Socket:
    """A WebSocket, both its ends: the node's link, and where the client's frames go. Frames keep their order."""

    closed_by = ""
    peer = UNKNOWN

    def __init__(self, host: Host, client: Client) -> None:
        self.host = host
        self.client = client
        self.world = host.world
        self.process = host.process
        self.life = host.life
        self.blocked = False
        self.session: Session | None = None
        self.number = next_number(host.world)
        #: The worker has closed it or knows that it is closed; the client has or does.
        self.closing = False
        self.over = False
        #: Nothing gets through any more, and nobody knows.
        self.dead = False
        #: The number of the frame that the client reads.
        self.order = 0
        self._seen = 0.0
        self._up = self._down = 0.0
        self._inbox: list[list[dict[str, Any]]] = []
        self._waits = False

    def __hash__(self) -> int:
        return self.number

    # The client's end

    def open(self) -> None:
        self._to_node(self._opened)

    def say(self, messages: list[dict[str, Any]]) -> None:
        """Send a frame."""
        self._to_node(self._text, messages)

    def cut(self, *, silently: bool) -> None:
        """The connection breaks: both ends notice, or neither until it is silent for too long."""
        if self.over or self.dead:
            return
        self.dead = True
        if not silently:
            self._later(self.process.arrive, self._closed)
            self._later(self._client_closed)
        else:
            self.world.after(2.5 * PING, self._client_closed)

    def close(self) -> None:
        """Close the socket from the client's side."""
        if not self.over:
            self._to_node(self._closed)
            self.over = True

    def reset(self) -> None:
        """End the socket as its worker was killed."""
        self._later(self._client_closed)

    def _client_closed(self) -> None:
        self.dead = True
        if not self.over:
            self.over = True
            self.client.disconnected(self)

    def _later(self, call: Callable[..., None], *arguments: Any) -> None:
        self.host.wires.later(self.host.wires.delay(), call, *arguments)

    def _to_node(self, call: Callable[..., None], *arguments: Any) -> None:
        self._up = max(self._up, self.world.now + self.host.wires.delay())
        self.world.at(self._up, self._arrive, call, arguments)

    def _arrive(self, call: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if self.process.dead or (call == self._opened and not self.host.is_ready):
            self._client_closed()
        elif not self.dead:
            if call == self._opened:
                # The machine takes connections for a worker that stands still, and resets them if that is killed.
                self.host.sockets[self] = None
            self.process.arrive(call, *arguments)

    # The worker's end

    def _opened(self) -> None:
        self.host.sockets[self] = None
        node = self.host.node
        node.attach(self)
        self._seen = node.time()
        node.wheel.add(node.time() + PING, _ping, self)

    def _closed(self) -> None:
        self.host.sockets.pop(self, None)
        if not self.closing:
            self.closing = True
        self.host.node.detach(self, self.session)

    def _text(self, messages: list[dict[str, Any]]) -> None:
        self._seen = self.host.node.time()
        if self.closing:
            return
        self._inbox.append(messages)
        if not self._waits:
            self._go_on()

    def _go_on(self) -> None:
        self._waits = False
        node = self.host.node
        while self._inbox and not self._waits and not self.closing:
            messages = self._inbox.pop(0)
            if self.world.trace is not None:
                self.world.say(self.host.name, f"reads {self.client.name}'s {brief(messages)}")
            node.accept(messages, "websocket", self, self, 100)
            self._waits = node.is_busy(self, self._go_on)

    def _write(self, messages: list[dict[str, Any]]) -> None:
        if self.process.dead:
            return
        if self.world.trace is not None:
            self.world.say(self.host.name, f"writes to {self.client.name}: {brief(messages)}")
        self.client.was_answered(self, messages)
        self._down = max(self._down, self.world.now + self.host.wires.delay())
        self.world.at(self._down, self._read, messages, next_number(self.world))

    def _read(self, messages: list[dict[str, Any]], number: int) -> None:
        if self.dead or self.over:
            return
        self.order = number
        self.client.heard(self, messages)

    def ping(self) -> None:
        node = self.host.node
        if self.closing:
            return
        heard = max(self._seen, node.wheel.awake)
        if node.time() - heard >= 2 * PING - 0.6:
            self._closed()
            return
        session, mark = self.session, None
        if session is not None and session.arrived is not None and session.sink is self:
            mark = node.registry.recent.written
        self._down = max(self._down, self.world.now + self.host.wires.delay())
        self.world.at(self._down, self._pong, mark)
        node.wheel.add(node.time() + PING, _ping, self)

    def _pong(self, mark: int | None) -> None:
        if not self.dead and not self.over:
            self._to_node(self._ponged, mark)

    def _ponged(self, mark: int | None) -> None:
        self._seen = self.host.node.time()
        if mark is not None and self.session is not None:
            self.host.node.registry.arrived(self.session, mark)

    # hub.sessions.Link

    def offer(self, batch: Batch) -> None:
        if self.closing:
            raise LinkClosed
        messages = batch.forms.get("simulated")
        if messages is None:
            messages = batch.forms["simulated"] = [  # type: ignore[assignment]  # ours alone reads it
                orjson.loads(publication.message) for publication in batch.publications
            ]
        self._write(messages)  # type: ignore[arg-type]  # as above

    def send(self, parts: list[bytes]) -> None:
        if not self.closing:
            self._write(orjson.loads(join(parts)))

    def tell_lost(self, channels: Iterable[str]) -> bool:
        return False

    def leave(self, code: int, reason: str) -> None:
        if self.closing:
            return
        self.world.say(self.host.name, f"closes {self.client.name}'s socket: {code} {reason}")
        self.closing = True
        node = self.host.node
        node.links.discard(self)
        self._down = max(self._down, self.world.now + self.host.wires.delay())
        self.world.at(self._down, self._told_to_go)

    def _told_to_go(self) -> None:
        if not self.dead:
            # The answer to the close frame, and the end of the connection.
            self._later(self.process.arrive, self._closed)
            self._client_closed()


class Stream(Socket):
    """An event stream of a Bayeux session, as hub/transports/eventsource.py serves it. It only writes."""

    def __init__(self, host: Host, client: Client, client_id: str, last: str) -> None:
        super().__init__(host, client)
        self._client_id = client_id
        self._last = last

    def _opened(self) -> None:
        self.host.sockets[self] = None
        self.process.create_task(self._attach())

    async def _attach(self) -> None:
        node = self.host.node
        try:
            session = await node.session(self._client_id)
        except BrokerUnavailable:
            session = None
        if session is None or session.ack is not None or self.closing:
            self.world.say(self.host.name, f"has no session for {self.client.name}'s stream")
            self._refuse()
            return
        # The head is written: its client knows by it that the stream has opened.
        self._down = max(self._down, self.world.now + self.host.wires.delay())
        self.world.at(self._down, self._has_opened)
        await asyncio.sleep(0)
        try:
            session = await node.session_still(session)
        except BrokerUnavailable:
            session = None
        if session is None or session.ended or self.closing:
            self._refuse()
            return
        node.attach(self)
        self._attached = session
        node.move(session, self, self._last)

    def _has_opened(self) -> None:
        if not self.dead and not self.over:
            self.client.stream_opened(self)

    def _refuse(self) -> None:
        self.host.sockets.pop(self, None)
        self._later(self._client_closed)

    def cut(self, *, silently: bool) -> None:
        super().cut(silently=silently)
        if silently:
            # What is written meets no answer, and after a while the worker's machine gives up.
            self.world.after(8.0, self.process.arrive, self._closed)

    def _closed(self) -> None:
        self.host.sockets.pop(self, None)
        session = getattr(self, "_attached", None)
        if not self.closing or session is not None:
            self.closing = True
            self.host.node.detach(self, session)

    def send(self, parts: list[bytes]) -> None:
        """Replies travel in the polls beside it."""

    def tell_lost(self, channels: Iterable[str]) -> bool:
        if self.session is not None:
            self.host.node.end_session(self.session, "lost")
        return True


def _ping(socket: Socket) -> None:
    socket.ping()


def next_number(world: World) -> int:
    """A number that no other thing of this world has."""
    world._number += 1
    return world._number


def brief(messages: list[dict[str, Any]]) -> str:
    """Messages as one line of the trace."""
    return " ".join(map(_brief, messages)) or "nothing"


def _brief(message: dict[str, Any]) -> str:
    channel = str(message.get("channel"))
    if not channel.startswith("/meta/"):
        told = "" if "data" not in message else f"={message['data']}"
        done = "" if "successful" not in message else f" {_result(message)}"
        return f"{channel}{told}{done}" + (f"@{message['id']}" if "." in str(message.get("id")) else "")
    words = [channel[6:]]
    if "id" in message:
        words.append(f"#{message['id']}")
    if "subscription" in message:
        words.append(str(message["subscription"]))
    if "successful" in message:
        words.append(_result(message))
    advice = message.get("advice")
    if advice and ("reconnect" in advice and (advice["reconnect"] != "retry" or advice.get("interval"))):
        words.append(f"advice {advice['reconnect']} {advice.get('interval')}")
    if message.get("ext"):
        words.append(str(message["ext"]))
    return "[" + " ".join(words) + "]"


def _result(message: dict[str, Any]) -> str:
    return "ok" if message["successful"] else f"refused {message.get('error')}"
