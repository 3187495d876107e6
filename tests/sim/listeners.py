"""Clients of `/ws`, which speaks no Bayeux: a session that lives as long as its connection, recovered by position.

The transport's own part (hub/transports/plain.py) is told again here in a few lines, for it knows aiohttp; the node's
part is the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from hub.errors import BrokerUnavailable, ProtocolError
from hub.protocol.access import Who, refusal
from hub.protocol.publications import Position

from .books import Book, Books
from .hosts import Exchange, Host, Socket, Wires
from .world import World


class PlainSocket(Socket):
    """A connection to `/ws`, as hub/transports/plain.py serves it."""

    closed_by = "ws-message"

    def __init__(self, host: Host, client: Any) -> None:
        super().__init__(host, client)
        self._orders: list[Callable[[], Awaitable[None]]] = []
        self._task: asyncio.Task[Any] | None = None

    def _opened(self) -> None:
        super()._opened()
        self.session = self.host.node.open_session(self)

    def _closed(self) -> None:
        session = self.session
        super()._closed()
        self.session = None
        if session is not None:
            self.host.node.end_session(session, "closed")

    def _text(self, messages: list[dict[str, Any]]) -> None:
        self._seen = self.host.node.time()
        if self.closing:
            return
        for message in messages:
            if "subscribe" in message:
                self._orders.append(lambda message=message: self._subscribe(message))  # type: ignore[misc]
            else:
                self._orders.append(lambda message=message: self._unsubscribe(message))  # type: ignore[misc]
        if self._task is None:
            self._task = self.process.create_task(self._carry_out())

    async def _carry_out(self) -> None:
        try:
            while self._orders and self.session is not None:
                await self._orders.pop(0)()
        finally:
            self._task = None

    async def _subscribe(self, message: dict[str, Any]) -> None:
        positions = {
            channel: None if since is None else Position.parse(since) for channel, since in message["subscribe"].items()
        }
        node, session, token = self.host.node, self.session, message.get("token")
        if session is None:
            return
        try:
            grant = session.grant if token is None else node.bayeux.newer_grant(session, token)
            who = Who(session.user, grant)
            for channel in positions:
                decision = node.bayeux.access.decide("subscribe", channel, who)
                if not decision.allowed:
                    raise refusal(decision, channel)
            if token is not None:
                # Its turn, with many channels.
                await node.turns.wait()
                if self.session is None:
                    return
                node.take_grant(session, grant)
        except ProtocolError as error:
            self._tell({"error": list(positions), "refused": error.wire()})
            return
        try:
            found = await node.subscribe(session, positions)
        except BrokerUnavailable:
            self._tell({"error": list(positions)})
            return
        self._tell({"subscribed": {channel: (str(top), complete) for channel, (top, complete) in found.items()}})
        node.writable(session)

    async def _unsubscribe(self, message: dict[str, Any]) -> None:
        if self.session is None:
            return
        for channel in message["unsubscribe"]:
            self.host.node.registry.unsubscribe(self.session, channel)
        self._tell({"unsubscribed": message["unsubscribe"]})

    def _tell(self, message: dict[str, Any]) -> None:
        if not self.closing:
            self._write([message])

    def send(self, parts: list[bytes]) -> None:
        pass

    def tell_lost(self, channels: Iterable[str]) -> bool:
        self._tell({"lost": sorted(channels)})
        return True


class Listener:
    """A client of `/ws`. It has one book for its life: what it misses while it has no connection it asks for."""

    def __init__(self, number: int, world: World, wires: Wires, hosts: list[Host], books: Books) -> None:
        self.number = number
        self.name = f"client{number}"
        self.world = world
        self.wires = wires
        self.hosts = hosts
        self.books = books
        self.dice = world.dice(200 + number)
        self.wants: dict[str, None] = {}
        self.at: dict[str, str] = {}
        self.here = self.asleep = False
        self.lose_next = self.copy_next = False
        self.socket: PlainSocket | None = None
        self.book: Book = books.open(self.name, "websocket", "plain")
        # Channels of which it was told that something is missing, and not yet from where on it has all.
        self._missed: set[str] = set()
        # When what is under way was sent, by what it is about.
        self._asked: dict[str, float] = {}

    def appear(self) -> None:
        if not self.here:
            self.here = True
            self._connect()

    def subscribe(self, channel: str) -> None:
        if channel not in self.wants:
            self.wants[channel] = None
            self._ask(channel)

    both = subscribe

    def unsubscribe(self, channel: str) -> None:
        if self.wants.pop(channel, 1) is None:
            self.at.pop(channel, None)
            self._missed.discard(channel)
            asked = self.book.asks(channel, adds=False)
            if self.socket is None:
                asked.settled = self.world.now
            else:
                self._asked[f"-{channel}"] = self.world.now
                self._say({"unsubscribe": [channel]})

    def batch(self, channel: str, other: str, number: int) -> None:
        self.unsubscribe(other)
        self.subscribe(channel)

    def publish(self, channel: str, number: int) -> None:
        pass

    def poll_twice(self) -> None:
        pass

    def move(self) -> None:
        if self.socket is not None:
            self.socket.cut(silently=self.dice.random() < 0.3)

    def nap(self, seconds: float) -> None:
        if self.here and not self.asleep:
            self.asleep = True
            if self.socket is not None:
                self.socket.cut(silently=True)
            self.world.after(seconds, self.wake)

    def wake(self) -> None:
        if self.asleep:
            self.asleep = False
            self._drop()
            if self.here:
                self._connect()

    def reload(self) -> None:
        if self.here and not self.asleep:
            self._drop()
            self._connect()

    leave = reload

    def notice(self) -> None:
        if self.socket is not None and self.socket.dead:
            self.socket._client_closed()

    def depart(self) -> None:
        self.here = False
        self._drop()

    def _drop(self) -> None:
        if self.socket is not None:
            socket, self.socket = self.socket, None
            self._settle()
            socket.close()

    def _connect(self) -> None:
        ready = [host for host in self.hosts if host.up and not host.leaving]
        if not ready:
            self.world.after(0.2, self._again)
            return
        self.socket = PlainSocket(self.dice.choice(ready), self)
        self.socket.open()
        for channel in self.wants:
            self._ask(channel)

    def _again(self) -> None:
        if self.here and not self.asleep and self.socket is None:
            self._connect()

    def _ask(self, channel: str) -> None:
        if self.socket is not None:
            self.book.asks(channel, adds=True)
            self._asked[f"+{channel}"] = self.world.now
            self._say({"subscribe": {channel: self.at.get(channel)}})

    def _say(self, message: dict[str, Any]) -> None:
        if self.world.trace is not None:
            self.world.say(self.name, f"sends {message}")
        assert self.socket is not None
        self.socket.say([message])

    def _settle(self) -> None:
        """The session of a connection ends with it, and what was asked of it too."""
        for account in self.book.accounts.values():
            for attempt in account.attempts:
                if attempt.settled is None:
                    attempt.settled = self.world.now

    # What comes back

    def was_answered(self, socket: Socket, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            names = message.get("subscribed") or message.get("unsubscribed") or message.get("lost")
            if names:
                message["tops"] = {name: self.books.store.position(name).offset for name in names}

    def heard(self, socket: Socket, messages: list[dict[str, Any]]) -> None:
        if socket is not self.socket:
            return
        if self.world.trace is not None:
            self.world.say(self.name, f"gets {messages}")
        for message in messages:
            if "data" in message:
                channel, at = message["channel"], message["id"]
                first = self.book.hears(channel, int(at.partition(".")[2]), socket.order)
                if first and channel in self.wants and channel not in self._missed:
                    self.at[channel] = at
            elif "subscribed" in message:
                self._subscribed(message)
            elif "unsubscribed" in message:
                for channel in message["unsubscribed"]:
                    self._done(channel, message["tops"], adds=False)
            elif "lost" in message:
                for channel in message["lost"]:
                    self.book.told_lost(channel, message["tops"][channel])
                    self.at.pop(channel, None)
                    if channel in self.wants:
                        self._missed.add(channel)
                        self._ask(channel)
            else:
                self.book.must_be_justified(f"is refused {message}")
                self.world.after(0.3, self._ask_again, message["error"], socket)

    def _ask_again(self, channels: list[str], socket: Socket) -> None:
        if self.socket is socket:
            for channel in channels:
                if channel in self.wants:
                    self._ask(channel)

    def _subscribed(self, message: dict[str, Any]) -> None:
        for channel, (top, complete) in message["subscribed"].items():
            if channel in self._missed:
                self._missed.discard(channel)
                complete = False
            if not complete:
                self.book.told_lost(channel, message["tops"][channel])
            if channel in self.wants and (not complete or channel not in self.at):
                if channel not in self.at:
                    self.book.begins_anew(channel)
                self.at[channel] = top
            self._done(channel, message["tops"], adds=True)

    def _done(self, channel: str, tops: dict[str, int], *, adds: bool) -> None:
        for attempt in self.book.account(channel).attempts:
            if attempt.adds is adds and attempt.settled is None:
                attempt.settled = self.world.now
                break
        sent = self._asked.get(("+" if adds else "-") + channel, 0.0)
        self.book.granted(channel, sent, tops[channel], adds=adds)

    def disconnected(self, socket: Socket) -> None:
        if socket is self.socket:
            self.socket = None
            self._settle()
            if self.here and not self.asleep:
                self.world.after(0.05 + self.dice.random() * 0.3, self._again)

    def failed(self, exchange: Exchange, reason: str) -> None:
        pass

    def doomed(self, exchange: Exchange) -> None:
        pass
