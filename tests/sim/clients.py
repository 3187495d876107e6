"""Clients, as unmodified ones behave: each request to whichever worker the balancer picks, answers lost on the way.

A client wants channels. It shakes hands, subscribes, keeps a connect under way, obeys advice and begins again when it
is told to. `kind` says how it copes with lost answers:

repeating      Faye: sends again under the same id what got no answer
forgetting     CometD without extensions: connects anew under a new id
acknowledging  CometD with its ack extension
positioned     asks for positions, notices gaps, and recovers by them
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from .books import LATE_SECONDS, Attempt, Batch, Book, Books
from .hosts import HOLD, TTL, Exchange, Host, Socket, Stream, Wires, brief
from .world import World

KINDS = ("repeating", "forgetting", "acknowledging", "positioned")
TRANSPORTS = ("long-polling", "callback-polling", "websocket", "eventsource")

#: Seconds for which a client waits for an answer beyond what the hub holds a connect for.
PATIENCE = 10.0


class Ask:
    """Something a client wants of the hub: one message, sent until it is answered."""

    __slots__ = ("attempts", "done", "first", "message", "noted", "session", "what")

    def __init__(self, what: str, message: dict[str, Any], session: Book | None) -> None:
        self.what = what
        self.message = message
        self.session = session
        self.first = -1.0
        self.attempts: list[Exchange | Socket] = []
        self.noted: list[Attempt] = []
        self.done = False


class Client:
    """One client. hops: whether each request goes to a worker picked anew."""

    def __init__(
        self,
        number: int,
        kind: str,
        transport: str,
        hops: bool,
        world: World,
        wires: Wires,
        hosts: list[Host],
        books: Books,
    ) -> None:
        self.number = number
        self.name = f"client{number}"
        self.kind = kind
        self.transport = transport
        self.hops = hops
        self.world = world
        self.wires = wires
        self.hosts = hosts
        self.books = books
        self.dice: Random = world.dice(200 + number)
        self.wants: dict[str, None] = {}
        self.book: Book | None = None
        self.client_id = ""
        self.here = False
        self.asleep = False
        self.home = number % len(hosts)
        self.socket: Socket | None = None
        # Under way, oldest first; what waits for the socket to open; connects that are not answered.
        self.asks: dict[Ask, None] = {}
        self.connects = 0
        self._ids = 0
        self._ack = 0
        #: When a connect was answered last.
        self.rested = 0.0
        #: What the next request or its answer meets with.
        self.lose_next = self.copy_next = False
        self.at: dict[str, str] = {}
        # Channels of which it knows that something is missing, and not yet from where on it has all.
        self._missed: set[str] = set()
        # Until when what is not after the position of a channel is no repeat: what was published while the hub looked
        # the position up is below it, and still to come.
        self._soft: dict[str, float] = {}
        self._sockets: list[Socket] = []
        # An event stream beside the polls, and the last id that it brought.
        self.stream: Stream | None = None
        self._last_id = ""
        # Whether one has opened in this session: until then it polls, as Faye does.
        self._streams = False

    # What a story has it do

    def appear(self) -> None:
        """The page is opened."""
        if not self.here:
            self.here = True
            self._shake()

    def subscribe(self, channel: str) -> None:
        self.wants[channel] = None
        if self.book is not None:
            self._subscribe(channel)

    def unsubscribe(self, channel: str) -> None:
        self._forget(channel)
        if self.book is not None:
            message = {"channel": "/meta/unsubscribe", "subscription": channel}
            self._send(self._ask("unsubscribe", message))

    def _forget(self, channel: str) -> None:
        self.wants.pop(channel, None)
        self.at.pop(channel, None)
        self._missed.discard(channel)
        if self.book is not None:
            self.book.account(channel).sure = None

    def publish(self, channel: str, number: int) -> None:
        if self.book is not None:
            self.books.publishes(number, channel)
            self._send(self._ask("publish", {"channel": channel, "data": number}))

    def both(self, channel: str) -> None:
        """Subscribe and connect at the same moment."""
        self.wants[channel] = None
        if self.book is not None:
            self._subscribe(channel)
            self._connect()

    def batch(self, channel: str, other: str, number: int) -> None:
        """Several messages in one request."""
        if self.book is None:
            return
        asks = []
        self.wants[channel] = None
        asks.append(self._subscription(channel))
        if other in self.wants and other != channel:
            self._forget(other)
            asks.append(self._ask("unsubscribe", {"channel": "/meta/unsubscribe", "subscription": other}))
        self.books.publishes(number, channel)
        asks.append(self._ask("publish", {"channel": channel, "data": number}))
        self._send(*asks)

    def poll_twice(self) -> None:
        """Connect once more, whatever is under way."""
        if self.book is not None:
            self._connect()

    def move(self) -> None:
        """Change the network: what is under way is cut, and the next request goes elsewhere."""
        self.home = self.dice.randrange(len(self.hosts))
        if self.socket is not None:
            self.socket.cut(silently=self.dice.random() < 0.3)
            return
        if self.stream is not None:
            self.stream.cut(silently=self.dice.random() < 0.3)
        for ask in list(self.asks):
            for attempt in ask.attempts:
                if isinstance(attempt, Exchange) and not attempt.gone and not attempt.done:
                    self._close(attempt)
                    self.wires.later(self.dice.random() * 0.01, self._failed, ask, "network changed")

    def nap(self, seconds: float) -> None:
        """Say nothing for a while, as a laptop that is shut."""
        if self.asleep or not self.here:
            return
        self.asleep = True
        if self.book is not None and seconds + 3.0 > TTL:
            self.book.excuse = "it slept"
        for ask in list(self.asks):
            if ask.what == "connect" and ask.session is not None:
                # Its worker may be on the way to take the session from where the client is by then: nothing tells it
                # that a socket is dead which was not closed.
                ask.session.polled_twice = True
            for attempt in ask.attempts:
                if isinstance(attempt, Exchange) and not attempt.gone and not attempt.done:
                    self._close(attempt)
        for socket in (self.socket, self.stream):
            if socket is not None:
                socket.cut(silently=True)
        self.world.after(seconds, self.wake)

    def wake(self) -> None:
        if not self.asleep:
            return
        self.asleep = False
        if self.socket is not None:
            self.socket.over = True
            self.socket = None
        if self.stream is not None:
            self.stream.over = True
            self.stream = None
        self._open_stream()
        for ask in list(self.asks):
            self._failed(ask, "slept")
        if self.here and self.book is not None and not self.connects:
            self._connect()

    def leave(self) -> None:
        """Disconnect, with the poll still held perhaps."""
        if self.book is not None:
            self.book.excuse = "it disconnected"
            self._send(self._ask("disconnect", {"channel": "/meta/disconnect"}))

    def reload(self) -> None:
        """The page is loaded anew: a new handshake, and the old session is left to itself."""
        if not self.here or self.asleep:
            return
        self._drop()
        self._shake()

    def notice(self) -> None:
        """Learn that connections are dead, if any is."""
        for socket in (self.socket, self.stream):
            if socket is not None and socket.dead:
                socket._client_closed()

    def depart(self) -> None:
        """Close the page without a word."""
        self.here = False
        self._drop()

    def _drop(self) -> None:
        if self.book is not None:
            # Nobody hears on it any more.
            self.book.over = True
            self.book = None
        for ask in list(self.asks):
            for attempt in ask.attempts:
                if isinstance(attempt, Exchange) and not attempt.gone and not attempt.done:
                    self._close(attempt)
            self._finish(ask)
        self.connects = 0
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        self._close_stream()

    def _close_stream(self) -> None:
        if self.stream is not None:
            stream, self.stream = self.stream, None
            stream.close()

    def _open_stream(self) -> None:
        if self.transport == "eventsource" and self.book is not None and self.stream is None and not self.asleep:
            self.stream = Stream(self._pick(), self, self.client_id, self._last_id)
            self._sockets.append(self.stream)
            self.stream.open()

    def stream_opened(self, stream: Stream) -> None:
        if stream is self.stream:
            self._streams = True

    # What it sends

    def _shake(self) -> None:
        if not self.here or self.book is not None or any(ask.what == "handshake" for ask in self.asks):
            return
        self.client_id = ""
        types = {"version": "1.0", "supportedConnectionTypes": ["websocket", "long-polling", "callback-polling"]}
        message: dict[str, Any] = {"channel": "/meta/handshake"} | types
        if self.kind == "acknowledging":
            message["ext"] = {"ack": True}
        self._send(self._ask("handshake", message))

    def _subscription(self, channel: str) -> Ask:
        message: dict[str, Any] = {"channel": "/meta/subscribe", "subscription": channel}
        if self.kind == "positioned":
            message["ext"] = {"position": {channel: self.at.get(channel)}}
        return self._ask("subscribe", message)

    def _subscribe(self, channel: str) -> None:
        self._send(self._subscription(channel))

    def _connect(self) -> None:
        kind = "long-polling" if self.transport == "eventsource" and not self._streams else self.transport
        message: dict[str, Any] = {"channel": "/meta/connect", "connectionType": kind}
        if self.kind == "acknowledging":
            message["ext"] = {"ack": self._ack}
        if self.connects and self.book is not None:
            self.book.doubled = self.book.polled_twice = True
        self.connects += 1
        self._send(self._ask("connect", message))

    def _ask(self, what: str, message: dict[str, Any]) -> Ask:
        self._ids += 1
        message["id"] = str(self._ids)
        if self.client_id:
            message["clientId"] = self.client_id
        ask = Ask(what, message, self.book)
        self.asks[ask] = None
        return ask

    def _send(self, *asks: Ask) -> None:
        if self.asleep:
            return
        now = self.world.now
        for ask in asks:
            if ask.first < 0:
                ask.first = now
            book, message = ask.session, ask.message
            if book is not None and ask.what in ("subscribe", "unsubscribe"):
                ask.noted.append(book.asks(message["subscription"], adds=ask.what == "subscribe"))
        messages = [ask.message for ask in asks]
        if self.world.trace is not None:
            self.world.say(self.name, f"sends {brief(messages)}")
        if self.transport == "websocket":
            self._say(asks, messages)
        else:
            self._post(asks, messages)

    def _post(self, asks: tuple[Ask, ...], messages: list[dict[str, Any]]) -> None:
        exchange = self._exchange(asks, messages)
        for ask in asks:
            ask.attempts.append(exchange)
        exchange.lose, self.lose_next = self.lose_next, False
        host = self._pick()
        host.request(exchange)
        if self.copy_next:
            self.copy_next = False
            copy = self._exchange(asks, messages)
            copy.copy = True
            for ask in asks:
                if ask.session is not None and ask.what == "connect":
                    ask.session.polled_twice = True
                if ask.session is not None and ask.what in ("subscribe", "unsubscribe"):
                    # It may take effect too, and later.
                    ask.noted.append(ask.session.asks(ask.message["subscription"], adds=ask.what == "subscribe"))
            self._pick().request(copy)
        self.world.after(HOLD + PATIENCE, self._out_of_patience, exchange)

    def _exchange(self, asks: tuple[Ask, ...], messages: list[dict[str, Any]]) -> Exchange:
        transport = "long-polling" if self.transport == "eventsource" else self.transport
        exchange = Exchange(self, asks, messages, transport, self.world.now)
        for ask in asks:
            if ask.what == "connect" and ask.session is not None:
                ask.session.connects.append((exchange, ask.message["id"]))
        return exchange

    def _say(self, asks: tuple[Ask, ...], messages: list[dict[str, Any]]) -> None:
        socket = self.socket
        if socket is None or socket.over:
            socket = self.socket = Socket(self._pick(), self)
            self._sockets.append(socket)
            socket.open()
        for ask in asks:
            ask.attempts.append(socket)
        socket.say(messages)

    def _pick(self) -> Host:
        hosts = self.hosts
        host = hosts[self.dice.randrange(len(hosts)) if self.hops else self.home]
        if host.up and not host.leaving:
            return host
        ready = [each for each in hosts if each.up and not each.leaving]
        # A balancer notices after a while.
        return self.dice.choice(ready) if ready and self.dice.random() < 0.7 else host

    def _close(self, exchange: Exchange) -> None:
        exchange.gone = True
        for ask in exchange.why:
            if ask.what == "connect" and ask.session is not None:
                # The hub may take it for the newer one of two that are under way, for a second.
                ask.session.polled_twice = True
        # What an owner elsewhere has sent in answer it puts back once it learns of this, unless it dies before.
        self.doomed(exchange)
        if exchange.host is not None:
            exchange.host.left(exchange)

    def _out_of_patience(self, exchange: Exchange) -> None:
        if exchange.done or exchange.gone:
            return
        if not self.books.faults and not exchange.lose and not self.wires.lossy:
            self.world.accuse(f"{self.name} got no answer to {brief(exchange.messages)} for {HOLD + PATIENCE:.0f} s")
        self._close(exchange)
        self.failed(exchange, "no answer")

    # What comes back

    def was_answered(self, to: Exchange | Socket, messages: list[dict[str, Any]]) -> None:
        """A worker has just given an answer: what the log holds now is what it speaks of."""
        store = self.books.store
        asks = to.why if isinstance(to, Exchange) else ()
        if isinstance(to, Exchange) and _for_now(to, messages):
            # Its owner may have it all the same, and learns that nobody waits for the answer, unless it dies before.
            self.doomed(to)
        for ask in asks:
            for noted in ask.noted:
                if noted.settled is None and noted.sent == to.sent:
                    noted.settled = self.world.now + (LATE_SECONDS if _for_now(to, messages) else 0.0)
                    break
        for message in messages:
            channel = message.get("channel")
            if channel in ("/meta/subscribe", "/meta/unsubscribe") and message.get("successful"):
                subscription = message["subscription"]
                message["top"] = store.position(subscription).offset
            elif channel == "/meta/connect":
                if isinstance(to, Exchange) and str(message.get("error")).startswith("503"):
                    to.refused = True
                if message.get("successful") and message.get("advice", {}).get("reconnect") == "handshake":
                    self.world.accuse(f"{self.name} is answered a successful connect that advises a handshake")
                lost = message.get("ext", {}).get("lost")
                if lost:
                    message["tops_lost"] = {name: store.position(name).offset for name in lost}

    def answered(self, exchange: Exchange, messages: list[dict[str, Any]]) -> None:
        """Handle an answer that has arrived."""
        exchange.done = True
        self._take(messages, exchange)
        for ask in exchange.why:
            if not ask.done and ask in self.asks:
                self.world.accuse(f"{self.name} got an answer without a reply to {brief([ask.message])}")

    def heard(self, socket: Socket, messages: list[dict[str, Any]]) -> None:
        """Handle a frame that has arrived."""
        if socket is self.socket:
            self._take(messages, socket)
        elif socket is self.stream:
            self._last_id = messages[-1]["id"]
            self._take(messages, socket)

    def doomed(self, exchange: Exchange) -> None:
        """A worker died with this request, or its client gave it up and a worker may die before it knows that."""
        for ask in exchange.why:
            if ask.what == "connect" and ask.session is not None:
                ask.session.doomed.append((exchange, ask.message["id"], self.world.now))

    def missed(self, exchange: Exchange, messages: list[dict[str, Any]]) -> None:
        """Note that an answer arrived after its client had gone."""
        carried = [
            (message["channel"], int(message["id"].partition(".")[2]))
            for message in messages
            if "data" in message and "successful" not in message
        ]
        connect = next((ask for ask in exchange.why if ask.what == "connect"), None)
        if connect is not None and connect.session is not None:
            connect.session.missed(exchange, connect.message["id"], carried)
        if self.world.trace is not None:
            self.world.say(self.name, f"never gets {brief(messages)}")

    def failed(self, exchange: Exchange, reason: str) -> None:
        """A request broke; whether it was taken nobody knows."""
        if exchange.done or (exchange.gone and reason != "no answer"):
            return
        exchange.gone = True
        if exchange.copy:
            return
        for ask in exchange.why:
            self._failed(ask, reason)

    def disconnected(self, socket: Socket) -> None:
        """Handle the end of a socket."""
        for ask in list(self.asks):
            if socket in ask.attempts:
                # What was on its way may have arrived just before.
                for noted in ask.noted:
                    noted.settled = self.world.now
        if socket is self.stream:
            self.stream = None
            self._later(0.05 + self.dice.random() * 0.3, self._open_stream)
        if socket is not self.socket:
            return
        self.socket = None
        if self.book is not None:
            self.book.cut = True
        if self.asleep:
            return
        self.world.say(self.name, "loses its socket")
        waiting = [ask for ask in self.asks if ask.attempts and ask.attempts[-1] is socket]
        connecting = any(ask.what in ("connect", "handshake") for ask in waiting)
        for ask in waiting:
            self._failed(ask, "socket closed")
        if not connecting and self.book is not None and self.here:
            self._connect()
        if self.kind == "positioned" and self.book is not None:
            # What was written to the old one may be nowhere.
            for channel in self.wants:
                self._later(0.4, self._subscribe_again, channel, self.book)

    def _failed(self, ask: Ask, reason: str) -> None:
        if ask.done or not self.here or ask not in self.asks:
            return
        if ask.session is not self.book:
            self._finish(ask)
            return
        if self.world.trace is not None:
            self.world.say(self.name, f"gets no answer to {brief([ask.message])}: {reason}")
        if ask.what == "disconnect" and self.dice.random() < 0.5:
            # Browsers that close a page send it once.
            self._drop()
            self._later(1.0, self._shake)
            return
        self._later(0.05 + self.dice.random() * 0.3, self._again, ask)

    def _again(self, ask: Ask) -> None:
        if ask.done or not self.here or self.asleep or ask not in self.asks or ask.session is not self.book:
            return
        if ask.what == "connect" and self.kind != "repeating":
            self._finish(ask)
            if not self.connects:
                self._connect()
            return
        if ask.what in _OPPOSITES and (ask.what == "subscribe") is not (ask.message["subscription"] in self.wants):
            # It has changed its mind.
            self._finish(ask)
            return
        self._send(ask)

    def _finish(self, ask: Ask) -> None:
        if not ask.done:
            ask.done = True
            if ask.what == "connect" and ask.session is self.book:
                self.connects -= 1
        self.asks.pop(ask, None)

    def _later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        self.world.after(seconds, call, *arguments)

    def _take(self, messages: list[dict[str, Any]], by: Exchange | Socket) -> None:
        if self.world.trace is not None and messages:
            self.world.say(self.name, f"gets {brief(messages)}")
        batch = self._batch(messages, by)
        for message in messages:
            channel = message.get("channel", "")
            if "data" in message and "successful" not in message:
                self._hear(message, by, batch)
                continue
            ask = self._asked(message, by)
            if ask is None:
                continue
            handler = getattr(self, _REPLIES.get(channel, "_published"))
            handler(ask, message)

    def _batch(self, messages: list[dict[str, Any]], by: Exchange | Socket) -> Batch | None:
        """Which batch this is, and up to which one the connect that it answers said that all had come, if it could."""
        if self.kind != "acknowledging":
            polls = isinstance(by, Exchange) and self.kind in _BY_ID and self.transport in _POLLING
            return Batch(self.world.now, by.sent) if polls else None
        for message in messages:
            if message.get("channel") == "/meta/connect" and "ack" in message.get("ext", {}):
                for ask in by.why if isinstance(by, Exchange) else self.asks:
                    if ask.what == "connect" and ask.message["id"] == message.get("id"):
                        return Batch(message["ext"]["ack"], ask.message["ext"]["ack"])
        return None

    def _asked(self, message: dict[str, Any], by: Exchange | Socket) -> Ask | None:
        candidates = by.why if isinstance(by, Exchange) else self.asks
        for ask in candidates:
            if ask.message["id"] == message.get("id") and ask.message["channel"] == message.get("channel"):
                if ask.done or ask not in self.asks:
                    return None
                self._finish(ask)
                return ask
        if isinstance(by, Exchange):
            self.world.accuse(f"{self.name} got a reply that it did not ask for: {message}")
        return None

    def _hear(self, message: dict[str, Any], by: Exchange | Socket, batch: Batch | None) -> None:
        book = by.why[0].session if isinstance(by, Exchange) else self.book
        if book is None:
            return
        channel = message["channel"]
        epoch, _, digits = message["id"].partition(".")
        offset = int(digits)
        if self.kind == "positioned":
            at = self.at.get(channel)
            if channel in self._missed:
                at = None
            if at is not None:
                before = int(at.partition(".")[2])
                if offset <= before:
                    got = book.account(channel).heard
                    if self._soft.get(channel, 0.0) > self.world.now and (not got or offset > max(got)):
                        book.hears(channel, offset, by.order)
                    else:
                        book.repeats(channel, offset)
                    return
                if offset > before + 1 and book is self.book and channel in self.wants:
                    # It notices by itself, and asks for what is between.
                    self.books.world.say(self.name, f"notices a gap of {channel} before {offset}")
                    # Its place may be of a subscription that has ended: what came after that, and before the next one
                    # began, was promised to nobody.
                    sure = book.account(channel).sure
                    promised = sure is not None and offset - 1 > sure
                    kept = not book.lost and not book.doubled and not book.gave_up_answers and not self._was_cut()
                    if promised and kept:
                        book.must_be_justified(f"misses {channel} {before + 1} to {offset - 1}")
                    self._subscribe(channel)
                    return
            if channel in self.wants and channel not in self._missed:
                self.at[channel] = f"{epoch}.{offset}"
        # Who goes by positions and unsubscribed has given its position up, and does nothing with what still comes. A
        # subscribe from there that the hub took after the unsubscribe gives again what an answer that got lost had.
        minds = self.kind != "positioned" or book is not self.book or channel in self.wants
        book.hears(channel, offset, by.order, minds=minds, batch=batch)

    def _was_cut(self) -> bool:
        return any(socket.dead for socket in self._sockets)

    # Replies

    def _handshaken(self, ask: Ask, reply: dict[str, Any]) -> None:
        if not reply["successful"]:
            if not self.books.faults:
                self.world.accuse(f"{self.name}'s handshake is refused without a fault: {reply.get('error')}")
            self._later(0.3, self._shake)
            return
        self.client_id = reply["clientId"]
        kind = "websocket" if self.transport == "websocket" and self.kind not in _SURE else self.kind
        self.book = self.books.open(self.name, kind, self.client_id)
        self.connects = 0
        self._ack = 0
        self._last_id = ""
        self._streams = False
        self.book.doubled = self.transport == "eventsource"
        self._open_stream()
        roll = self.dice.random()
        if roll < 0.3 and self.wants and self.transport != "websocket":
            self._send(*[self._subscription(channel) for channel in self.wants])
            self._connect()
        elif roll < 0.6:
            for channel in self.wants:
                self._subscribe(channel)
            self._connect()
        else:
            self._connect()
            for channel in self.wants:
                self._subscribe(channel)

    def _connected(self, ask: Ask, reply: dict[str, Any]) -> None:
        book = ask.session
        if book is None or book is not self.book:
            return
        self.rested = self.world.now
        advice = reply.get("advice") or {}
        ext = reply.get("ext") or {}
        if "ack" in ext:
            self._ack = ext["ack"]
        for channel, top in reply.get("tops_lost", {}).items():
            book.told_lost(channel, top)
            if self.kind == "positioned" and channel in self.wants:
                self.at.pop(channel, None)
                self._missed.add(channel)
                self._subscribe(channel)
        if advice.get("reconnect") == "handshake":
            book.refused(f"is told to shake hands again ({reply.get('error')})")
            self._begin_again()
            return
        if advice.get("reconnect") == "none":
            if not book.excuse:
                self.world.accuse(f"{self.name} is told to give up")
            return
        if not reply["successful"] and not (book.polled_twice and str(reply.get("error")).startswith("408")):
            book.must_be_justified(f"is refused a connect ({reply.get('error')})")
        tops = ext.get("tops")
        if tops and self.kind == "positioned":
            self._later(0.5, self._compare, tops, book)
        if not self.connects:
            seconds = advice.get("interval", 0) / 1000
            self._later(seconds + self.dice.random() * 0.02, self._go_on, book)

    def _compare(self, tops: dict[str, str], book: Book) -> None:
        """A heartbeat names a position that has not been seen: it went missing at the end."""
        if book is not self.book:
            return
        for channel, top in tops.items():
            at = self.at.get(channel)
            if at is not None and channel in self.wants and int(at.partition(".")[2]) < int(top.partition(".")[2]):
                self._subscribe(channel)

    def _go_on(self, book: Book) -> None:
        if book is self.book and not self.connects and not self.asleep and self.here:
            self._connect()

    def _begin_again(self) -> None:
        self.book = None
        self.client_id = ""
        for ask in list(self.asks):
            for attempt in ask.attempts:
                if isinstance(attempt, Exchange) and not attempt.gone and not attempt.done:
                    self._close(attempt)
            self._finish(ask)
        self.connects = 0
        self._close_stream()
        self._later(0.01 + self.dice.random() * 0.1, self._shake)

    def _subscribed(self, ask: Ask, reply: dict[str, Any]) -> None:
        book, channel = ask.session, ask.message["subscription"]
        if book is None:
            return
        if not reply["successful"]:
            self._not_done(ask, reply)
            return
        adds, top = ask.what == "subscribe", reply["top"]
        if self.transport == "websocket":
            # Of requests `was_answered` knows which was answered: a copy may take effect later.
            for noted in ask.noted[-1:]:
                noted.settled = self.world.now if noted.settled is None else noted.settled
        if adds and self.kind == "positioned" and channel in self.wants:
            ext = reply.get("ext") or {}
            since = ask.message["ext"]["position"][channel]
            told = ext.get("position", {}).get(channel)
            if told is None:
                # The hub could not say where the channel is, nor give again what was missed. From its old position it
                # would be given that after what has come meanwhile.
                self._missed.add(channel)
                self.at.pop(channel, None)
                self._later(0.3, self._subscribe_again, channel, book)
            elif channel in self._missed or (since is not None and not ext.get("recovered", {}).get(channel)):
                self._missed.discard(channel)
                book.told_lost(channel, reply["top"])
                self.at[channel] = told
                self._soft[channel] = self.world.now + HOLD
            elif since is None:
                book.begins(channel)
                epoch, _, offset = self.at.get(channel, told).partition(".")
                if channel not in self.at:
                    self.at[channel] = told
                    self._soft[channel] = self.world.now + HOLD
                elif told.startswith(f"{epoch}."):
                    # Publications were faster than this answer. It reads its rows now, and they are in them.
                    top = max(top, int(offset))
        book.granted(channel, ask.first, top, adds=adds)

    def _subscribe_again(self, channel: str, book: Book) -> None:
        if book is not self.book or channel not in self.wants:
            return
        if self.asleep:
            # A timer that falls due meanwhile goes off when it wakes.
            self._later(0.3, self._subscribe_again, channel, book)
        else:
            self._subscribe(channel)

    def _not_done(self, ask: Ask, reply: dict[str, Any]) -> None:
        book, error = ask.session, str(reply.get("error"))
        if book is None or book is not self.book:
            return
        book.must_be_justified(f"is refused {ask.message['channel']} ({error})")
        # What is refused with 402 the next connect's answer deals with, what is refused otherwise is asked again.
        if not error.startswith("402"):
            channel = ask.message["subscription"]
            if (ask.what == "subscribe") == (channel in self.wants):
                again = self._ask(ask.what, {**ask.message})
                self._later(0.3, self._again, again)

    def _published(self, ask: Ask, reply: dict[str, Any]) -> None:
        if reply["successful"]:
            self.books.was_published(ask.message["data"])
        elif ask.session is not None:
            ask.session.must_be_justified(f"is refused a publish ({reply.get('error')})")

    def _disconnected(self, ask: Ask, reply: dict[str, Any]) -> None:
        book = ask.session
        if book is None:
            return
        if not reply["successful"]:
            if not str(reply.get("error")).startswith("402"):
                book.must_be_justified(f"is refused a disconnect ({reply.get('error')})")
                self._later(0.3, self._again, self._ask("disconnect", {**ask.message}))
                return
        else:
            book.left = True
        if book is self.book:
            book.over = True
            self._drop()
            self._later(0.2 + self.dice.random() * 2, self._shake)


def _for_now(to: Exchange | Socket, messages: list[dict[str, Any]]) -> bool:
    """Whether an answer refuses a request for now."""
    return (isinstance(to, Exchange) and to.refused) or any(
        str(message.get("error")).startswith("503") for message in messages
    )


_OPPOSITES = ("subscribe", "unsubscribe")

#: Those whose next connect says that the last one's answer has come, and what has no other way to them than those.
_BY_ID = ("repeating", "forgetting")
_POLLING = ("long-polling", "callback-polling")

_SURE = ("acknowledging", "positioned")

_REPLIES = {
    "/meta/handshake": "_handshaken",
    "/meta/connect": "_connected",
    "/meta/subscribe": "_subscribed",
    "/meta/unsubscribe": "_subscribed",
    "/meta/disconnect": "_disconnected",
}
