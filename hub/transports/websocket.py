"""WebSocket connections: an asyncio.Protocol each, no task, no timer, no buffer while idle.

`Connection` is RFC 6455 over a transport; `BayeuxSocket` speaks Bayeux over it. Bytes are parsed
by `hub.protocol.frames`; a parser object exists only while a message is incomplete.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import cast

from ..bayeux.names import WEBSOCKET
from ..errors import BadMessage, FrameError, LinkClosed, ProtocolError, TooLarge
from ..node import Node
from ..peers import UNKNOWN
from ..protocol.close_codes import INVALID_DATA, TOO_BIG
from ..protocol.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Reader,
    close_frame,
    deflate,
    frame,
    read_short,
    text_frame,
)
from ..protocol.messages import dumps, join, parse_batch, skim
from ..sessions.links import Batch
from ..sessions.session import Session
from .unread import Unread

logger = logging.getLogger(__name__)

#: Messages shorter than this are not worth compressing: the frame would shrink by less than
#: a packet, and inflating costs the browser more than reading.
DEFLATE_FROM = 1024

#: Longer ones go as they are: half a millisecond at the most, where a recovery of a megabyte was 8 to 15, for each who
#: asked for it.
DEFLATE_TO = 64 * 1024

#: Bytes of publications put into one frame; aiohttp's client refuses messages over 4 MiB by default.
FRAME_BYTES = 512 * 1024

#: Batches that aren't JSON before the peer is told to go (1007): a client that means well sends none.
MAX_BAD_BATCHES = 5

#: Bytes of what came in one read that are looked at before the clock is; and seconds after which other connections'
#: costly work goes first (`hub.turns`). Of the smallest frames, such a piece has 350, or a millisecond of work.
PIECE = 2048
PIECE_SECONDS = 0.00025

#: Seconds the peer has to answer a close frame (RFC 6455 §7.1.1 leaves it to us).
CLOSE_SECONDS = 2.0

_EMPTY_PING = frame(PING, b"")

#: Names of a batch's forms by window. All browsers ask for the largest, so one is made for them all, and one for who
#: asks for less.
_FORMS = ("bayeux", *(f"bayeux-deflate-{window}" for window in range(1, 16)))


def intervals(longest: float) -> Iterator[float]:
    """The ping intervals of connections, in turn: `longest` seconds, and a quarter less at the least.

    Sockets that were opened together, as after a restart, would else be pinged together: 15,000 pings and pongs in a
    second, every twelve. Few values, so that a connection does not cost a number of its own.
    """
    return itertools.cycle([longest * (1 - number / 64) for number in range(16)])


class Connection(asyncio.Protocol):
    """An established WebSocket, server side. Subclasses say what a message means.

    limit: bytes a message may have. interval: seconds between pings while nothing comes.
    window: the compression window agreed on (base-2 logarithm, 9 to 15), 0 without compression.
    peer: whose it is, which who accepts the connection says before it is opened.
    """

    __slots__ = (
        "_corked",
        "_deaf",
        "_reader",
        "_rest",
        "_stalled",
        "blocked",
        "busy",
        "closing",
        "interval",
        "limit",
        "node",
        "on_closed",
        "peer",
        "seen",
        "transport",
        "unread",
        "window",
    )

    def __init__(self, node: Node, *, limit: int, interval: float, window: int = 0) -> None:
        self.node = node
        self.limit = limit
        self.interval = interval
        self.window = window
        self.blocked = False
        self.closing = False
        self.peer = UNKNOWN
        self.unread: Unread | None = None
        self.on_closed: Callable[[], None] | None = None
        self._reader: Reader | None = None
        self._corked: list[bytes] | None = None
        # What was received and is not looked at yet; whether the peer is not read from, because it does not read.
        self._rest: memoryview | None = None
        self._deaf = False
        # Whether a batch is under way, and what was received after it waits for that.
        self.busy = self._stalled = False
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.seen = 0.0

    closed_by = ""

    # What subclasses answer

    def text(self, payload: bytes) -> None:
        """A text message arrived. UTF-8 is checked, unless it came as one short frame."""

    def binary(self, payload: bytes) -> None:
        """A binary message arrived."""

    def opened(self) -> None:
        """The connection can be written to."""

    def mark(self) -> bytes:
        """What the next ping carries: what the peer has got once it has answered it."""
        return b""

    def unsure(self) -> bool:
        """Whether a ping should go out though the peer isn't quiet: something may not have arrived."""
        return False

    def ponged(self, mark: bytes) -> None:
        """The peer has answered the ping that carried this."""

    def closed(self) -> None:
        """The connection is gone, politely or not."""

    def drained(self) -> None:
        """The write buffer has room again."""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.seen = self.node.time()
        self.node.sockets += 1
        self.node.wheel.add(self.seen + self.interval, _ping_due, self)
        self.opened()

    def data_received(self, data: bytes) -> None:
        if self.closing and self._reader is None:
            self._reader = Reader(self.limit, self.window > 0)
        self.seen = self.node.time()
        if self._reader is None:
            payloads = read_short(data)
            if payloads is not None:
                if len(payloads) == 1:
                    self.text(payloads[0])
                else:
                    self._answer_together(payloads)
                return
            self._reader = Reader(self.limit, self.window > 0)
        if len(data) <= PIECE:
            reader = self._reader
            self._feed(reader, data)
            if reader.unfinished:
                self._rest = memoryview(b"")
                self.transport.pause_reading()
                self.node.turns.add(self._go_on)
        else:
            # Forty thousand frames fit into one read; nobody else would be served while they are looked at.
            self._rest = memoryview(data)
            self.transport.pause_reading()
            self.node.turns.add(self._go_on)

    def _go_on(self) -> bool:
        """Look at some of what was received; whether there is more."""
        if self._stall():
            return False
        rest, reader, time = self._rest, self._reader, monotonic
        ends = time() + PIECE_SECONDS
        while reader is not None and (rest or reader.unfinished):
            if reader.unfinished:
                self._feed(reader, b"")
            elif rest:
                self._feed(reader, bytes(rest[:PIECE]))
                rest = rest[PIECE:]
            reader = self._reader = self._reader or (Reader(self.limit, self.window > 0) if rest else None)
            if self.busy or time() >= ends or (reader is not None and reader.unfinished):
                # A step of inflating is a piece: eight peers with bombs would else be served for 16 ms before anybody.
                break
        if reader is not None and (rest or reader.unfinished) and not self.transport.is_closing():
            self._rest = rest
            return not self._stall()
        self._rest = None
        self._listen()
        return False

    def _listen(self) -> None:
        """Read on, unless there is a reason not to."""
        if self._rest is None and not (self._deaf or self.busy) and not self.transport.is_closing():
            self.transport.resume_reading()

    def _stall(self) -> bool:
        """Whether the rest waits for what the peer sent before; `ready` goes on with it."""
        self._stalled = self.busy
        return self.busy

    def wait(self) -> None:
        """Look at no more of what the peer sends until `ready`: what it sent last is still worked off."""
        self.busy = True
        self.transport.pause_reading()

    def ready(self) -> None:
        """Look at what came after that."""
        self.busy = False
        self.seen = self.node.time()
        if self._stalled:
            self._stalled = False
            self.node.turns.add(self._go_on)
        else:
            self._listen()

    def _feed(self, reader: Reader, data: bytes) -> None:
        try:
            messages = reader.feed(data)
        except FrameError as error:
            self._handle(error.messages)
            if error.close_code == TOO_BIG:
                self.node.bayeux.limited["large"] += 1
            self.leave(error.close_code, error.reason)
            return
        self._handle(messages)
        if reader.idle:
            self._reader = None

    def _handle(self, messages: list[tuple[int, bytes]]) -> None:
        if len(messages) < 2:
            self._take(messages)
            return
        # What is answered to messages that came together goes together: a write costs more than a message.
        self._corked = []
        try:
            self._take(messages)
        finally:
            self._uncork()

    def _answer_together(self, texts: list[bytes]) -> None:
        # As `_handle` for nothing but short texts, which is how clients begin: 1.5 of their 20 µs less.
        self._corked = []
        try:
            for text in texts:
                if not self.closing:
                    self.text(text)
        finally:
            self._uncork()

    def _take(self, messages: list[tuple[int, bytes]]) -> None:
        for opcode, payload in messages:
            if opcode == CLOSE:
                self._peer_closed(payload)
                return
            if self.closing:
                continue
            if opcode == TEXT:
                self.text(payload)
            elif opcode == BINARY:
                self.binary(payload)
            elif opcode == PING:
                self.write(frame(PONG, payload))
            elif opcode == PONG:
                self.ponged(payload)

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self._reader = self._rest = None
        self.node.sockets -= 1
        if self.unread is not None:
            self.unread.resumed(self)
        if self.peer.address:
            self.node.count_address(self.peer.address, -1)
        self.closed()
        if self.on_closed is not None:
            self.on_closed()

    def pause_writing(self) -> None:
        self.blocked = True
        if self.unread is not None:
            self.unread.paused(self, self.peer.address, self.transport)

    def resume_writing(self) -> None:
        self.blocked = False
        if self.unread is not None:
            self.unread.resumed(self)
        if self._deaf:
            self._deaf = False
            self._listen()
        self.drained()

    def write(self, data: bytes) -> None:
        """Write bytes. A transport that is closed takes nothing: its end is reported when its turn comes."""
        if self._corked is not None:
            self._corked.append(data)
            return
        if self.blocked and not self._deaf and not self.closing:
            # It asks and does not read the answers: they would pile up for as long as it goes on.
            self._deaf = True
            self.transport.pause_reading()
        try:
            self.transport.write(data)
        except RuntimeError:
            # uvloop's word for a closed handle, between the close and `connection_lost`.
            self.closing = True
        if self.blocked and self.unread is not None:
            self.unread.grew(self)

    def _uncork(self) -> None:
        corked, self._corked = self._corked, None
        if corked:
            self.write(b"".join(corked))

    def deliver(self, data: bytes) -> None:
        """Write what must not get lost; raises LinkClosed."""
        if self._corked:
            self._uncork()
        try:
            self.transport.write(data)
        except RuntimeError:
            self.closing = True
            raise LinkClosed from None
        if self.blocked and self.unread is not None:
            self.unread.grew(self)

    # Leaving

    def leave(self, code: int, reason: str) -> None:
        """Send a close frame, and end the connection when the peer has answered, or soon."""
        if self.closing:
            return
        self.closing = True
        if self.transport.is_closing():
            return
        self.write(close_frame(code, reason))
        self.node.wheel.add(self.node.time() + CLOSE_SECONDS, _cut, self)

    def _peer_closed(self, payload: bytes) -> None:
        if not self.closing:
            self.closing = True
            self.write(frame(CLOSE, payload[:2]))
        if self._corked:
            self._uncork()
        self.transport.close()


def _ping_due(connection: Connection) -> None:
    """Ping a quiet peer; cut one that has given no sign of life for two intervals."""
    if connection.closing:
        return
    now = connection.node.time()
    # What a peer said while this process stood still, or had its last batch to do, has not been read yet: that was
    # no silence.
    heard = now if connection.busy else max(connection.seen, connection.node.wheel.awake)
    silent = now - heard
    if silent >= 2 * connection.interval - 0.2:
        connection.closing = True
        connection.transport.abort()
        return
    quiet = silent >= connection.interval - 0.2
    if (quiet or connection.unsure()) and not connection.transport.is_closing():
        mark = connection.mark()
        connection.write(frame(PING, mark) if mark else _EMPTY_PING)
    if not quiet:
        # Counted from what came last: a fixed beat can miss the ping, and find two intervals of silence next time.
        connection.node.wheel.add(heard + connection.interval, _ping_due, connection)
        return
    connection.node.wheel.add(now + connection.interval, _ping_due, connection)


def _cut(connection: Connection) -> None:
    if not connection.transport.is_closing():
        connection.transport.abort()


class BayeuxSocket(Connection):
    """Bayeux over a WebSocket: the link of at most one session."""

    __slots__ = ("_bad", "session")

    def __init__(self, node: Node, *, limit: int, interval: float, window: int = 0) -> None:
        super().__init__(node, limit=limit, interval=interval, window=window)
        self.session: Session | None = None
        self._bad = 0

    def opened(self) -> None:
        self.node.attach(self)

    def closed(self) -> None:
        self.node.detach(self, self.session)

    def text(self, payload: bytes) -> None:
        limits = self.node.bayeux.limits
        is_large = len(payload) > limits.message_bytes
        if is_large:
            short = skim(payload, limits.message_bytes)
            if short is None:
                self._refuse(TooLarge())
                return
            payload = short
        try:
            messages = parse_batch(payload, limits.max_values)
        except BadMessage as error:
            self._refuse(error)
            return
        if is_large:
            self.send([dumps(reply) for reply in self.node.bayeux.too_large(messages)])
            return
        if not messages:
            # Faye before 1.3 keeps its socket alive with empty batches.
            self.write(text_frame(b"[]"))
            return
        self.node.accept(messages, WEBSOCKET, self, self, len(payload))
        if self.node.is_busy(self, self.ready):
            self.wait()

    # Some clients (CometD's Java one) can be told to send binary frames.
    binary = text

    def _refuse(self, error: ProtocolError) -> None:
        self._bad += 1
        self.node.bayeux.count(error)
        self.send([dumps({"successful": False, "error": error.wire()})])
        if self._bad >= MAX_BAD_BATCHES:
            self.leave(INVALID_DATA, "not Bayeux")

    # What has arrived

    def mark(self) -> bytes:
        session = self.session
        if session is None or session.arrived is None or session.sink is not self:
            # What waits in the queue will be written after this ping.
            return b""
        return b"%d" % self.node.registry.recent.written

    def unsure(self) -> bool:
        session = self.session
        if session is None or session.arrived is None:
            return False
        return session.arrived != self.node.registry.recent.written

    def ponged(self, mark: bytes) -> None:
        # A ping's answer repeats what it carried (RFC 6455 §5.5.3); a client that makes one up harms itself alone.
        if self.session is not None and mark.isdigit() and len(mark) < 20:
            self.node.registry.arrived(self.session, int(mark))

    # The node's side

    def send(self, parts: list[bytes]) -> None:
        if self.closing:
            return
        self.write(self._frame(join(parts)))

    def offer(self, batch: Batch) -> None:
        form = _FORMS[self.window]
        data = batch.forms.get(form)
        if data is None:
            data = self._encode(batch)
            batch.forms[form] = data
        self.deliver(data)

    def tell_lost(self, channels: Iterable[str]) -> bool:
        return False

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.session is not None:
            self.session.settle()

    def drained(self) -> None:
        if self.session is not None:
            self.node.writable(self.session)

    def leave(self, code: int, reason: str) -> None:
        self.node.links.discard(self)
        super().leave(code, reason)

    def _encode(self, batch: Batch) -> bytes:
        messages = [publication.message for publication in batch.publications]
        if sum(map(len, messages)) <= FRAME_BYTES:
            return self._frame(join(messages))
        frames: list[bytes] = []
        chunk: list[bytes] = []
        size = 0
        for message in messages:
            if chunk and size + len(message) > FRAME_BYTES:
                frames.append(self._frame(join(chunk)))
                chunk, size = [], 0
            chunk.append(message)
            size += len(message)
        frames.append(self._frame(join(chunk)))
        return b"".join(frames)

    def _frame(self, payload: bytes) -> bytes:
        if self.window and DEFLATE_FROM <= len(payload) <= DEFLATE_TO:
            return frame(TEXT, deflate(payload, self.window), rsv1=True)
        return text_frame(payload)
