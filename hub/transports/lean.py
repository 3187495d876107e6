"""The two requests that come by the thousand, without a web framework: polls and publishes.

A `POST` to the Bayeux mount or to the publish API whose head has nothing unusual is read, decided
by the same code as aiohttp's handlers (`polling`, `publish`) and answered with the same bytes, with
no task, request object or coroutine; a held poll is a `Poll` and nothing else. Whatever is unusual
in a request, be it the first on its connection or the hundredth, goes byte for byte to aiohttp's
own request handler, which then keeps the connection for as long as it must (`lent`). An application's
middlewares do not see what is answered here; they do not see upgrades either.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from dataclasses import dataclass
from functools import partial
from typing import cast

from ..bayeux.names import LONG_POLLING
from ..errors import HeadError
from ..node import Node
from ..origins import is_host
from ..peers import Peer
from ..polls import Poll
from ..protocol.heads import Head, read_head, refusal
from ..protocol.messages import client_in, join
from ..realms import Directory
from .answers import Answer, Writer
from .front import Answered, Door, agent_of
from .halves import HURRY_SECONDS, LAST_SECONDS, sends_no_more
from .polling import Polling, Reading, is_long_form, replied
from .publish import Endpoint, late, wants_json

logger = logging.getLogger(__name__)

#: How a request must begin to be looked at.
_STARTS = (b"POST /bayeux", b"POST /realm/", b"POST /publish", b"POST /r/")

#: Paths that are the same in every spelling: no escapes, no empty segments, no dots between slashes.
_PLAIN_PATH = re.compile(rb"(?:/(?!\.)[A-Za-z0-9_~.\-]+)+/?")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_PUBLISH_PATH = re.compile(r"/publish/?|/realm/([^/]+)/publish(?:/(.*))?")

#: Fields that change what a request means, and the one value of each that changes nothing.
_UNUSUAL = {
    b"connection": b"keep-alive",
    b"content-encoding": None,
    b"expect": None,
    b"te": None,
    b"trailer": None,
    b"transfer-encoding": None,
    b"upgrade": None,
}

#: Bytes of a body that is read here: all that are taken, for what one client sends must not go two ways of different
#: length. CometD's and Faye's are under 2 KiB, a batch of a hundred items 20.
BODY_BYTES = 1024 * 1024

#: Bytes read ahead of the request under way before the connection is not read any more.
AHEAD_BYTES = 64 * 1024

#: Bytes of a body that may be costly to decode, and seconds between two requests of a connection that asks much:
#: such requests wait for their turn. A browser's poll is 200 bytes, and its next one as long away as a message.
LARGE_BYTES = 8 * 1024
HASTE_SECONDS = 0.005

#: Heads remembered with what they mean, up to so long a one each: a client repeats its own.
MAX_PLANS = 1024
PLAN_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Counter:
    """Who serves the polls and publishes of a realm."""

    node: Node
    polling: Polling
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Plan:
    """What a head asks for, and of which counter. length: of the body. refused: the answer whatever the body is.

    publishes: whether to the publish API, with the realm and channel of the URL, else it is a poll.
    headers: of a poll's answer, with and without messages. agent, quiet: what a publisher says of itself, where
    somebody counts.
    """

    counter: Counter
    length: int
    publishes: bool
    cors: dict[str, str]
    headers: dict[str, str]
    refused: Answer | None = None
    realm: str | None = None
    channel: str | None = None
    authorization: str | None = None
    as_json: bool = False
    visitor: str | None = None
    forwarded: tuple[str, ...] = ()
    browser: str = ""
    agent: str = ""
    quiet: bool = False


class Desk:
    """What all lean connections share. door: counts them, and has aiohttp's handler for what is unusual."""

    def __init__(
        self,
        counters: Directory[Counter],
        door: Door,
        *,
        message_bytes: int,
        head_bytes: int,
        head_timeout: float,
        body_timeout: float,
        idle_timeout: float,
    ) -> None:
        self.counters = counters
        #: The default realm's, for what is of no realm: the time, and what is due.
        self.node = counters.default.node
        self.door = door
        self.body_bytes = min(BODY_BYTES, message_bytes)
        self.head_bytes = head_bytes
        self.head_timeout = head_timeout
        self.body_timeout = body_timeout
        self.idle_timeout = idle_timeout
        self.writer = Writer()
        self.connections: set[Lean] = set()
        self.requests = 0
        self._plans: dict[bytes, Plan] = {}

    def plan(self, raw: bytes) -> Plan | None:
        """What a whole head, blank line included, asks for; None if that is for aiohttp to find out."""
        plan = self._plans.get(raw)
        if plan is None:
            plan = self._plan(raw)
            # Who a visitor is can change, so it is asked each time; and a new browser's cookie is for it alone.
            if plan is not None and len(raw) <= PLAN_BYTES and plan.visitor is None and not _is_new(plan):
                if len(self._plans) >= MAX_PLANS:
                    self._plans.clear()
                self._plans[raw] = plan
        return plan

    def _plan(self, raw: bytes) -> Plan | None:
        try:
            found = read_head(raw, self.head_bytes)
        except HeadError:
            return None
        if found is None:
            return None
        head, _ = found
        fields = head.headers
        if head.version != b"HTTP/1.1" or head.method != b"POST" or _PLAIN_PATH.fullmatch(head.target) is None:
            return None
        # What comes twice has an order or a meaning that is aiohttp's to know.
        if len({name for name, _ in fields}) != len(fields):
            return None
        if any(name in _UNUSUAL and value.lower() != _UNUSUAL[name] for name, value in fields):
            return None
        digits = head.get(b"content-length")
        if digits is None or len(digits) > 9 or int(digits) > self.body_bytes:
            return None
        length = int(digits)
        target = head.target.decode("ascii")
        host = _text(head, b"host")
        if host is not None and not is_host(host):
            return None
        if self.door.misdirected(host, target):
            return None
        counter, path = self.counters.find(target, host)
        if counter is not None and (path == "/bayeux" or path.startswith("/bayeux/")):
            origin, cookie = _text(head, b"origin"), _text(head, b"cookie")
            cors, refused = counter.polling.admit(origin, host)
            browser, made = counter.polling.browser(cookie, origin, host, target)
            forwarded = _text(head, self.door.proxies.field)
            return Plan(
                counter,
                length,
                False,
                cors,
                replied(cors) | made,
                refused,
                visitor=counter.polling.visitor(cookie),
                forwarded=() if forwarded is None else (forwarded,),
                browser=browser,
            )
        match = _PUBLISH_PATH.fullmatch(target)
        if match is None:
            return None
        agent, quiet = ("", False) if self.door.watch is None else agent_of(head)
        forwarded = _text(head, self.door.proxies.field)
        return Plan(
            self.counters.publishing(match[1], host),
            length,
            True,
            {},
            {},
            realm=match[1],
            channel=match[2] or None,
            authorization=_text(head, b"authorization"),
            as_json=wants_json(_text(head, b"accept") or ""),
            forwarded=() if forwarded is None else (forwarded,),
            agent=agent,
            quiet=quiet,
        )

    def protocol(self) -> Lean:
        """A protocol for a connection that begins with a POST."""
        return Lean(self)

    def close(self) -> None:
        """Close every connection that waits for a request; the others follow when they have been answered."""
        for connection in list(self.connections):
            if not connection.busy and not connection.waits:
                connection.close()


class Lean(asyncio.Protocol):
    """A connection that has sent polls and publishes only."""

    __slots__ = (
        "_armed",
        "_blocked",
        "_buffer",
        "_deadline",
        "_desk",
        "_ended",
        "_found",
        "_in_turn",
        "_lane",
        "_paused",
        "_plan",
        "_poll",
        "_served",
        "_transport",
        "_waits",
        "busy",
    )

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._transport: asyncio.Transport | None = None
        self._buffer: bytes | bytearray = b""
        # The request whose body is awaited, or that is being answered (busy).
        self._plan: Plan | None = None
        # What the head at the beginning of the buffer means, and its length, while its request waits for its turn.
        self._found: tuple[Plan, int] | None = None
        # The client in whose lane that is.
        self._lane: str | None = None
        self.busy = False
        self._poll: LeanPoll | None = None
        self._blocked = False
        self._paused = False
        # Whether it is read on when its turn has come.
        self._in_turn = False
        # Whether a request waits for its turn, and when the last one was served (loop time).
        self._waits = False
        self._served = 0.0
        # When something must have happened, 0 while a poll is held; and when the wheel looks next.
        self._deadline = 0.0
        self._armed = 0.0
        # When it is closed whatever is under way, since its client sends no more; 0 while it may.
        self._ended = 0.0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._desk.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._desk.door.leave(self)
        self._forget()
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.node.abandon(poll)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        if not buffer:
            self._buffer = data
        elif isinstance(buffer, bytearray):
            buffer += data
        else:
            # From the second piece on; bytes would be copied for every piece of a body that comes in crumbs.
            self._buffer = bytearray(buffer) + data
        if not self.busy and not self._blocked and not self._waits:
            self._serve()
        elif len(self._buffer) > AHEAD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    @property
    def waits(self) -> bool:
        """Whether a whole request waits for its turn."""
        return self._waits

    def eof_received(self) -> bool:
        """The client sends no more. What it asked for whole is answered first; a held poll at once."""
        if self._transport is None or not (self.busy or self._waits or (self._blocked and self._buffer)):
            return False
        self._ended = self._desk.node.time() + LAST_SECONDS
        self._hurry()
        return True

    def _hurry(self) -> None:
        poll = self._poll
        if self._transport is not None:
            self._expect(HURRY_SECONDS, again=True)
        if poll is not None:
            poll.node.hurry(poll)

    def pause_writing(self) -> None:
        self._blocked = True
        self._desk.door.paused(self, self._transport)

    def resume_writing(self) -> None:
        self._blocked = False
        self._desk.door.unread.resumed(self)
        if not self.busy:
            self._serve()

    # Requests

    def _take_turn(self) -> bool:
        self._waits = False
        self._serve(granted=True)
        self._lane = None
        return False

    def _serve(self, *, granted: bool = False) -> None:
        """Answer what is there, one request after the other. granted: whether the first need not wait for its turn."""
        if self._waits:
            return
        try:
            while self._buffer and not self.busy and not self._blocked and self._transport is not None:
                if not self._serve_one(granted):
                    break
                granted = False
        except Exception:
            # A bug must not leave the client waiting, nor the loop with a traceback of the transport's.
            logger.exception("request failed")
            self._fail(500, "Internal server error")
            return
        if self._ended and not (self.waits or self.busy or self._blocked):
            # What is left of its last request will never come.
            self.close()
        if self._paused and not (self.waits or self.busy or self._blocked or self._in_turn):
            self._read_on()

    def _read_in_turn(self) -> None:
        """Read the rest of a large body in rounds of its own.

        The loop reads up to 256 KB of each connection, and of a hundred that send at once it would in every round.
        """
        if not self._in_turn and self._transport is not None and not self._transport.is_closing():
            self._in_turn = self._paused = True
            self._transport.pause_reading()
            self._desk.door.turns.add(self._read_some)

    def _read_some(self) -> bool:
        self._in_turn = False
        self._read_on()
        self._desk.door.turns.end_round()
        return False

    def _read_on(self) -> None:
        self._paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _serve_one(self, granted: bool) -> bool:
        """Take one whole request from the buffer and begin to answer it; False while it is incomplete, or must wait."""
        desk, buffer = self._desk, self._buffer
        plan, start = self._plan, 0
        if self._found is not None:
            (plan, start), self._found = self._found, None
        elif plan is None:
            if not buffer.startswith(_STARTS):
                # aiohttp would wait for the rest of a head for too long.
                incomplete = b"A" <= buffer[:1] <= b"Z" and buffer.find(b"\r\n\r\n", 0, desk.head_bytes) < 0
                if incomplete and len(buffer) < desk.head_bytes and _BARE_LF.search(buffer) is None:
                    self._expect(desk.head_timeout)
                else:
                    self._hand_over()
                return False
            end = buffer.find(b"\r\n\r\n", 0, desk.head_bytes)
            if end < 0:
                # Bare line feeds and what is too long are aiohttp's to refuse.
                if len(buffer) >= desk.head_bytes or _BARE_LF.search(buffer) is not None:
                    self._hand_over()
                else:
                    self._expect(desk.head_timeout)
                return False
            start = end + 4
            plan = desk.plan(bytes(buffer[:start]))
            if plan is None:
                self._hand_over()
                return False
        size = start + plan.length
        if len(buffer) < size:
            if start:
                self._plan, self._buffer = plan, bytearray(buffer[start:])
                self._expect(desk.body_timeout, again=True)
            if plan.length > LARGE_BYTES:
                self._read_in_turn()
            return False
        now = desk.node.time()
        if not granted and (plan.length > LARGE_BYTES or now - self._served < HASTE_SECONDS):
            self._waits, self._deadline = True, 0.0
            self._found = (plan, start)
            if plan.publishes:
                desk.door.turns.add(self._take_turn)
            else:
                self._lane = client_in(buffer, start, size)
                plan.counter.node.lanes.add(self._lane, self._take_turn)
            return False
        self._served = now
        # A slice of a bytearray would be copied twice.
        body = bytes(memoryview(buffer)[start:size])
        self._buffer = bytes(buffer[size:])
        self._plan, self.busy, self._deadline = plan, True, 0.0
        desk.requests += 1
        if plan.publishes:
            self._publish(plan, body)
        elif plan.refused is not None:
            self._answer(plan.refused)
        else:
            self._exchange(plan, body)
        return True

    def _exchange(self, plan: Plan, body: bytes) -> None:
        if plan.length <= LARGE_BYTES or not is_long_form(body):
            self._take(plan, plan.counter.polling.read(body, plan.cors))
            return
        reading = plan.counter.polling.reading(body, plan.cors)
        if self._read(plan, reading):
            # The rest of a long form has turns of its own. Nothing that its client sends next overtakes it.
            plan.counter.node.lanes.hold(self._lane)
            self._desk.door.turns.add(partial(self._read_rest, plan, reading, self._lane))

    def _read_rest(self, plan: Plan, reading: Reading, lane: str | None) -> bool:
        more = False
        self._lane = lane
        try:
            more = self._transport is not None and self._read(plan, reading)
        except Exception:
            logger.exception("request failed")
            self._fail(500, "Internal server error")
        finally:
            self._lane = None
            if not more:
                plan.counter.node.lanes.free(lane)
        return more

    def _read(self, plan: Plan, reading: Reading) -> bool:
        """Read some of a body, and take its messages at its end; whether there is more of it."""
        try:
            next(reading)
        except StopIteration as end:
            self._take(plan, end.value)
            return False
        return True

    def _take(self, plan: Plan, messages: list[object] | Answer) -> None:
        counter = plan.counter
        if isinstance(messages, Answer):
            self._answer(messages)
            return
        address = counter.polling.address(self._transport, plan.forwarded)
        peer = Peer(address, plan.visitor, plan.browser)
        poll = self._poll = LeanPoll(self, counter.node, peer)
        # The lane is this request's alone; what is behind it in the buffer came after all that waits there.
        lane, self._lane = self._lane, None
        counter.node.accept(messages, LONG_POLLING, poll, lane=lane)

    def _publish(self, plan: Plan, body: bytes) -> None:
        endpoint = plan.counter.endpoint
        began = 0.0 if self._desk.door.watch is None else time.perf_counter()
        refused = endpoint.admit(plan.authorization, plan.realm)
        if refused is not None:
            self._published(plan, refused, began)
            return
        items = endpoint.read(body, plan.channel)
        if isinstance(items, Answer):
            self._published(plan, items, began)
            return
        answer = endpoint.try_accept(items, plan.as_json)
        if answer is not None:
            self._published(plan, answer, began)
            return

        async def publish() -> None:
            try:
                self._published(plan, await endpoint.accept(items, plan.as_json), began)
            except Exception:
                # As in `_serve`: the client gets an answer, and the log the reason.
                logger.exception("request failed")
                self._fail(500, "Internal server error")

        plan.counter.node.spawn(publish())

    # Answers

    def _published(self, plan: Plan, answer: Answer, began: float) -> None:
        """Answer a publish. began: by `perf_counter`, where somebody counts."""
        watch = self._desk.door.watch
        if watch is not None:
            route = "/publish/" if plan.realm is None else "/realm/{realm}/publish/"
            took = time.perf_counter() - began
            address = self._desk.door.address(self._transport, plan.forwarded)
            # Whoever is not refused has shown the realm's key.
            realm = "" if answer.status in {401, 403} else plan.counter.endpoint.realm
            route += "{channel}" if plan.channel else ""
            watch(Answered("POST", route, answer.status, took, plan.agent, address, plan.quiet, realm))
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        self._written(self._desk.writer.encode(answer), close=answer.close)

    def poll_sent(self, poll: LeanPoll, parts: list[bytes]) -> None:
        """The node has the answer of a poll."""
        plan = self._plan
        if self._poll is not poll or plan is None:
            # The client is gone.
            poll.node.abandon(poll)
            return
        self._poll = None
        transport = self._transport
        over = poll.is_counted and (
            bool(self._ended)
            or transport is None
            # A fan-out to thousands need not ask for each: the loop has read their ends a slice ago.
            or (not poll.node.delivery.has_read and sends_no_more(transport))
        )
        body = join(parts)
        head = self._desk.writer.head(poll.status, plan.headers, len(body))
        if self._written(head + body) and not over:
            if poll.carried is not None:
                poll.node.written(poll)
        else:
            poll.node.abandon(poll)

    def _written(self, data: bytes, *, close: bool = False) -> bool:
        """Write an answer, and be ready for the next request; False if the connection is gone."""
        transport = self._transport
        self._plan, self.busy = None, False
        if transport is None or transport.is_closing():
            return False
        try:
            transport.write(data)
        except RuntimeError:
            # uvloop's word for a closed handle, between the close and `connection_lost`.
            return False
        if close or self._desk.node.draining or (self._ended and not self._buffer):
            self.close()
            return True
        self._expect(self._desk.idle_timeout, again=True)
        if self._buffer or self._paused:
            # Not from here: the node may be in the midst of a fan-out.
            asyncio.get_running_loop().call_soon(self._serve)
        return True

    def _fail(self, status: int, words: str) -> None:
        transport = self._transport
        self.close(refusal(status, words) if transport is not None and not transport.is_closing() else b"")

    def close(self, last: bytes = b"") -> None:
        """Close the connection once everything is written."""
        transport = self._transport
        self._forget()
        if transport is not None and not transport.is_closing():
            if last:
                transport.write(last)
            transport.close()

    def _forget(self) -> None:
        self._transport = None
        self._plan = self._found = None
        self._buffer = b""
        self._deadline = 0.0
        self._desk.connections.discard(self)

    def _hand_over(self) -> None:
        """Give the connection, and what is unread, to aiohttp."""
        transport, buffer = self._transport, bytes(self._buffer)
        self._forget()
        if transport is None:
            return
        if self._paused:
            transport.resume_reading()
        door = self._desk.door
        lent = door.lend(transport, door.leave(self), buffer)
        if self._ended and not lent.eof_received():
            transport.close()

    # What is due

    def _expect(self, seconds: float, *, again: bool = False) -> None:
        """Something must come within `seconds`; an expectation that stands is kept unless `again`."""
        desk = self._desk
        now = desk.node.time()
        if not again and self._deadline and self._deadline - now <= seconds:
            return
        self._deadline = now + seconds
        if not 0 < self._armed <= self._deadline:
            self._armed = self._deadline
            desk.node.wheel.add(self._deadline, _look, self)

    def look(self) -> None:
        """The wheel's turn: see whether what was expected has come."""
        node = self._desk.node
        now = node.time()
        if now < self._armed:
            # An earlier look was ordered after this one.
            return
        self._armed = 0.0
        if self._ended and self._transport is not None:
            if now >= self._ended:
                self._transport.abort()
            else:
                self._hurry()
            return
        if not self._deadline:
            return
        if now < self._deadline:
            self._armed = self._deadline
            node.wheel.add(self._deadline, _look, self)
        elif self._plan is not None:
            self._desk.door.count("bodies")
            self._answer(late())
        else:
            if self._buffer:
                self._desk.door.count("heads")
            self.close()


def _look(connection: Lean) -> None:
    connection.look()


class LeanPoll(Poll):
    """A poll whose answer is written where it came from."""

    __slots__ = ("_connection", "node")

    def __init__(self, connection: Lean, node: Node, peer: Peer) -> None:
        super().__init__(peer)
        self._connection = connection
        self.node = node

    def send(self, parts: list[bytes]) -> None:
        if self.parts is not None:
            logger.error("request answered twice")
            return
        self.parts = parts
        self._connection.poll_sent(self, parts)


def _is_new(plan: Plan) -> bool:
    return "Set-Cookie" in plan.headers


def _text(head: Head, name: bytes) -> str | None:
    value = head.get(name)
    # As aiohttp reads it, so that both ways compare the same.
    return None if value is None else value.decode("utf-8", "surrogateescape")
