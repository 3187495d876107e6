"""Answers to requests that are byte for byte like one that was answered before, given without a web framework.

Thousands open the same page with the same browser, and what aiohttp makes of each of their requests (a parsed head, a
request, a task, a response) costs ten times as much as the answer. So an application may say of an answer that it
stands for as long as a function says so (`again`), and whoever sends the very same head meanwhile gets the very same
bytes, but for the date. Nobody's own answer can be among them: it has no cookie in either direction, and no
authorization.

    if repeats.may_repeat(request):
        repeats.again(request, lambda: kept.has(page))

Who counts answers is told of each that is given so: `repeats.count(request, seen)`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, cast

from aiohttp import HttpVersion11, hdrs, web

from ..forwarded import FIELDS

if TYPE_CHECKING:
    from .front import Door

#: Heads that are remembered, up to so many bytes of each: browsers of one build send the same, 600 to 900 bytes.
MAX_REPEATS = 4096
HEAD_BYTES = 2048

#: Bytes of a body that is given so: what is longer would be written to many in one round of the loop.
BODY_BYTES = 256 * 1024

Stands = Callable[[], bool]

#: Is told that an answer was given again: over which connection, and to which bytes. Must not wait, nor raise.
Seen = Callable[[asyncio.BaseTransport | None, bytes], None]

STANDS: Final = web.RequestKey("stands", object)
SEEN: Final = web.RequestKey("seen", object)

#: Fields of a request whose answer may be its sender's own; with a body, or in part.
_OWN = re.compile(
    rb"\n(?:cookie|authorization|content-length|transfer-encoding|upgrade|expect|range|if-range)[ \t]*:", re.IGNORECASE
)
#: What proxies say of who asks. Answers that stand for all don't depend on it; on the scheme and the host, they do.
_ADDRESSES = re.compile(
    rb"\r\n(?:%b)[ \t]*:[^\r\n]*"
    % b"|".join((*FIELDS, b"x-real-ip", b"x-request-id", b"cf-connecting-ip", b"cf-ray", b"traceparent")),
    re.IGNORECASE,
)


@dataclass(slots=True, frozen=True)
class Repeat:
    """An answer. before, after: its head, around the date. closes: whether the connection ends with it.

    seen: is told each time that it is given; None if nobody counts.
    """

    before: bytes
    after: bytes
    body: bytes
    closes: bool
    stands: Stands
    seen: Seen | None = None


class Repeats:
    """The answers of a process that stand, by the head of the request. now: seconds since 1970.

    behind_proxies: whether heads differ by what proxies of ours say of each client.
    """

    def __init__(self, now: Callable[[], float], *, behind_proxies: bool) -> None:
        self._now = now
        self._behind_proxies = behind_proxies
        self._found: dict[bytes, Repeat] = {}
        self._second = -1
        self._date = b""
        #: Answers that were given so.
        self.given = 0
        #: Connections whose every request was answered so.
        self.connections: set[Repeating] = set()

    def find(self, head: bytes, transport: asyncio.BaseTransport | None = None) -> Repeat | None:
        """The answer to a request whose bytes these are, no more and no less, if one stands; it is to be given then.

        transport: over which they came, for who counts.
        """
        if not self._found or len(head) > HEAD_BYTES:
            return None
        key = self._key(head)
        repeat = self._found.get(key)
        if repeat is None:
            return None
        if not repeat.stands():
            self._found.pop(key, None)
            return None
        self.given += 1
        if repeat.seen is not None:
            repeat.seen(transport, head)
        return repeat

    def bytes_of(self, repeat: Repeat) -> bytes:
        """What is written, with the date of now (RFC 9110 §6.6.1)."""
        second = int(self._now())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode()
        return b"".join((repeat.before, self._date, repeat.after, repeat.body))

    def remember(
        self, head: bytes, response: web.StreamResponse, closes: bool, stands: Stands, seen: Seen | None = None
    ) -> None:
        """Give this answer, which was just given, to whoever asks in the same bytes. seen: is told each time."""
        body = response.body if isinstance(response, web.Response) else None
        if response.status == 304:
            body = b""
        headers = response.headers
        date = headers.get(hdrs.DATE)
        if (
            response.status not in {200, 304}
            or not isinstance(body, bytes)
            or len(body) > BODY_BYTES
            or len(head) > HEAD_BYTES
            or date is None
            or hdrs.SET_COOKIE in headers
            or hdrs.TRANSFER_ENCODING in headers
            or (response.status == 200 and headers.get(hdrs.CONTENT_LENGTH) != str(len(body)))
        ):
            return
        lines = [f"HTTP/1.1 {response.status} {response.reason}"]
        lines += (f"{name}: {value}" for name, value in headers.items() if name != hdrs.DATE)
        before = "\r\n".join([*lines, "Date: "]).encode()
        if len(self._found) >= MAX_REPEATS:
            # Whoever asks in ever new words makes others' answers slow again, and nothing more.
            self._found.clear()
        self._found[self._key(head)] = Repeat(before, b"\r\n\r\n", body, closes, stands, seen)

    def _key(self, head: bytes) -> bytes:
        return _ADDRESSES.sub(b"", head) if self._behind_proxies else head

    def close(self) -> None:
        """Close the connections; none of them waits for an answer."""
        for connection in list(self.connections):
            connection.close()


def may_repeat(request: web.BaseRequest) -> bool:
    """Whether the answer to a request may be given to others who ask in the same bytes."""
    return (
        request.method == hdrs.METH_GET
        and request.version == HttpVersion11
        and bool(getattr(request.protocol, "asked", b""))
        and _OWN.search(request.protocol.asked) is None  # type: ignore[attr-defined]  # ours, see above
    )


def again(request: web.BaseRequest, stands: Stands) -> None:
    """Let the answer to a request be given to all who ask in the same bytes, while `stands()` is true.

    It is asked for each of them, without waiting, and must be cheap and raise nothing.
    """
    request[STANDS] = stands


def count(request: web.BaseRequest, seen: Seen) -> None:
    """Be told each time that the answer to a request is given again, if it may be."""
    if STANDS in request:
        request[SEEN] = seen


class Repeating(asyncio.Protocol):
    """A connection whose every request so far was like one that was answered before."""

    __slots__ = ("_armed", "_blocked", "_deadline", "_door", "_transport")

    def __init__(self, door: Door) -> None:
        self._door = door
        self._transport: asyncio.Transport | None = None
        self._blocked = False
        self._deadline = self._armed = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._door.repeats.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.leave(self)
        self._forget()

    def pause_writing(self) -> None:
        # Whoever reads no answers is asked for no more requests.
        self._blocked = True
        self._door.paused(self, self._transport)
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._blocked = False
        self._door.unread.resumed(self)
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        repeat = None if self._blocked else self._door.repeats.find(data, transport)
        if repeat is not None:
            self.answer(repeat)
            return
        self._forget()
        address = self._door.leave(self)
        if data[:1] == b"P":
            self._door.receive_post(transport, address, data)
        else:
            self._door.lend(transport, address, data)

    def answer(self, repeat: Repeat) -> None:
        """Answer the request that has come."""
        transport, door = self._transport, self._door
        assert transport is not None
        transport.write(door.repeats.bytes_of(repeat))
        if repeat.closes:
            self.close()
            return
        self._deadline = door.node.time() + door.idle_timeout
        if not self._armed:
            self._arm()

    def close(self) -> None:
        """Close the connection once everything is written."""
        transport = self._transport
        self._forget()
        if transport is not None:
            transport.close()

    def look(self) -> None:
        """The wheel's turn: close a connection that has been idle for too long."""
        self._armed = 0.0
        if self._transport is None:
            return
        if self._door.node.time() >= self._deadline:
            self.close()
        else:
            self._arm()

    def _arm(self) -> None:
        self._armed = self._deadline
        self._door.node.wheel.add(self._deadline, _look, self)

    def _forget(self) -> None:
        self._transport = None
        self._door.repeats.connections.discard(self)


def _look(connection: Repeating) -> None:
    connection.look()
