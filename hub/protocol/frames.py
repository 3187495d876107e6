"""WebSocket frames, server side, sans-I/O: RFC 6455, and RFC 7692 without context takeover.

Out: `frame`, `text_frame`, `close_frame` make bytes once, for any number of sockets.
In: `read_one` is the path of nearly every message a hub receives, one short frame in one piece;
`Reader` is for the rest, and exists only while a message is incomplete.
"""

from __future__ import annotations

import codecs
import zlib

from ..errors import FrameError

CONTINUATION, TEXT, BINARY = 0x0, 0x1, 0x2
CLOSE, PING, PONG = 0x8, 0x9, 0xA

#: Bytes that end a deflated message on the wire and are left out (RFC 7692 §7.2.1).
_TAIL = b"\x00\x00\xff\xff"

#: Close codes a peer may send: defined ones, and those for libraries and applications (RFC 6455 §7.4).
_CLOSE_CODES = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))


def frame(opcode: int, payload: bytes, *, rsv1: bool = False) -> bytes:
    """A whole unmasked frame. rsv1 marks a deflated payload."""
    first = 0x80 | opcode | (0x40 if rsv1 else 0)
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126, size >> 8, size & 255)) + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def text_frame(payload: bytes) -> bytes:
    """A text message in one frame; the payload is UTF-8."""
    return frame(TEXT, payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; the reason is cut to what a control frame holds (123 bytes)."""
    text = reason.encode()[:123].decode(errors="ignore").encode()
    return frame(CLOSE, code.to_bytes(2, "big") + text)


def unmask(mask: bytes, payload: bytes) -> bytes:
    """The payload without its mask. Linear: one XOR of two long integers, 1 GB/s measured."""
    size = len(payload)
    repeated = mask * (size // 4) + mask[: size % 4]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")


def read_one(data: bytes) -> bytes | None:
    """The payload if `data` is exactly one whole, final, uncompressed, short (< 126 bytes) or 16-bit-long text frame.

    None for anything else, valid or not: that is for a Reader. UTF-8 is not checked here; the
    caller's JSON parser does.
    """
    size = len(data)
    if size < 6 or data[0] != 0x81:
        return None
    length = data[1] & 0x7F
    if not data[1] & 0x80:
        return None
    if length < 126:
        if size != length + 6:
            return None
        return unmask(data[2:6], data[6:])
    if length == 126 and size >= 8:
        length = data[2] << 8 | data[3]
        if length >= 126 and size == length + 8:
            return unmask(data[4:8], data[8:])
    return None


class Reader:
    """What a client sends, in any pieces, as whole messages.

    limit: bytes a message may have, before and after inflating. deflates: whether
    permessage-deflate was agreed on.
    """

    __slots__ = ("_deflated", "_have", "_inflates", "_limit", "_message", "_need", "_opcode", "_parts", "_size", "_utf8")

    def __init__(self, limit: int, deflates: bool = False) -> None:
        self._limit = limit
        self._inflates = deflates
        # Bytes of an incomplete frame: parts, how many there are, how many the next step needs.
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 2
        # A message of several frames: its payloads so far.
        self._message: list[bytes] = []
        self._size = 0
        self._opcode = CONTINUATION
        self._deflated = False
        self._utf8: codecs.IncrementalDecoder | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is kept: the reader can be dropped."""
        return not self._have and self._opcode == CONTINUATION

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take bytes as they came; returns (opcode, payload) of every message and control frame now complete.

        Raises FrameError at the first violation; its `messages` are those that were complete before
        it. Nothing may be fed afterwards.
        """
        found: list[tuple[int, bytes]] = []
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need:
            # The header said how much is missing: a frame in many pieces is joined once.
            return found
        buffer = data if len(self._parts) == 1 else b"".join(self._parts)
        at = 0
        try:
            while True:
                step = self._frame(buffer, at, found)
                if step == 0:
                    break
                at += step
        except FrameError as error:
            error.messages = found
            raise
        rest = buffer[at:] if at else buffer
        self._parts = [rest] if rest else []
        self._have = len(rest)
        return found

    def _frame(self, buffer: bytes, at: int, found: list[tuple[int, bytes]]) -> int:
        """Read one frame at `at`; returns its length, 0 when it is incomplete (and `_need` says how long it is)."""
        available = len(buffer) - at
        if available < 2:
            self._need = 2
            return 0
        first, second = buffer[at], buffer[at + 1]
        opcode, length = first & 0x0F, second & 0x7F
        self._check_header(first, second)
        head = 2
        if length == 126:
            head = 4
        elif length == 127:
            head = 10
        if available < head + 4:
            self._need = head + 4
            return 0
        if length >= 126:
            length = int.from_bytes(buffer[at + 2 : at + head], "big")
            if length < (126 if head == 4 else 65536) or length >> 63:
                raise FrameError(1002, "length not minimal")
        if opcode < CLOSE and self._size + length > self._limit:
            raise FrameError(1009, "message too big")
        end = head + 4 + length
        if available < end:
            self._need = end
            return 0
        self._need = 2
        payload = unmask(buffer[at + head : at + head + 4], buffer[at + head + 4 : at + end])
        if opcode >= CLOSE:
            if opcode == CLOSE:
                _check_close(payload)
            found.append((opcode, payload))
        else:
            self._data(opcode, bool(first & 0x80), bool(first & 0x40), payload, found)
        return end

    def _check_header(self, first: int, second: int) -> None:
        opcode = first & 0x0F
        if first & 0x30 or (first & 0x40 and not self._inflates):
            raise FrameError(1002, "reserved bit")
        if 0x3 <= opcode <= 0x7 or opcode > PONG:
            raise FrameError(1002, "reserved opcode")
        if not second & 0x80:
            raise FrameError(1002, "not masked")
        if opcode >= CLOSE:
            if not first & 0x80 or second & 0x7F > 125 or first & 0x40:
                raise FrameError(1002, "bad control frame")
        elif opcode == CONTINUATION:
            if self._opcode == CONTINUATION or first & 0x40:
                raise FrameError(1002, "nothing to continue")
        elif self._opcode != CONTINUATION:
            raise FrameError(1002, "message not finished")

    def _data(self, opcode: int, final: bool, deflated: bool, payload: bytes, found: list[tuple[int, bytes]]) -> None:
        if opcode != CONTINUATION:
            self._opcode = opcode
            self._deflated = deflated
            if final:
                self._finish(payload, found)
                return
        self._message.append(payload)
        self._size += len(payload)
        if self._opcode == TEXT and not self._deflated:
            # Fragments are checked as they come, so that a peer learns of bad text at once.
            if self._utf8 is None:
                self._utf8 = _decoder()
            try:
                self._utf8.decode(payload, final)
            except UnicodeDecodeError:
                raise FrameError(1007, "not UTF-8") from None
        if len(self._message) > 65536:
            # A message of empty fragments would grow the list for ever.
            self._message = [b"".join(self._message)]
        if final:
            self._finish(b"".join(self._message), found, checked=self._utf8 is not None)

    def _finish(self, payload: bytes, found: list[tuple[int, bytes]], checked: bool = False) -> None:
        opcode = self._opcode
        if self._deflated:
            payload = inflate(payload, self._limit)
        if opcode == TEXT and not checked:
            try:
                payload.decode()
            except UnicodeDecodeError:
                raise FrameError(1007, "not UTF-8") from None
        self._opcode = CONTINUATION
        self._deflated = False
        self._message = []
        self._size = 0
        self._utf8 = None
        found.append((opcode, payload))


def _check_close(payload: bytes) -> None:
    if not payload:
        return
    if len(payload) == 1:
        raise FrameError(1002, "bad close")
    code = int.from_bytes(payload[:2], "big")
    if code not in _CLOSE_CODES and not 3000 <= code <= 4999:
        raise FrameError(1002, "bad close code")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise FrameError(1007, "not UTF-8") from None


def deflate(payload: bytes) -> bytes:
    """A message deflated without context takeover: the same bytes serve every socket."""
    # Level 1 is a third of level 6's time for 10 % more bytes on JSON; wbits 15 is what we announce.
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]


def inflate(payload: bytes, limit: int) -> bytes:
    """A deflated message's bytes; raises FrameError beyond `limit` (without inflating further) or if broken."""
    unpacker = zlib.decompressobj(-15)
    try:
        data = unpacker.decompress(payload + _TAIL, limit + 1)
    except zlib.error:
        raise FrameError(1007, "not deflated") from None
    if len(data) > limit or unpacker.unconsumed_tail:
        raise FrameError(1009, "message too big")
    return data


def negotiate_deflate(offers: str) -> str | None:
    """The Sec-WebSocket-Extensions answer to a client's offers, or None to go without.

    Always without context takeover in both directions: a message is compressed once for everyone,
    and an idle connection keeps no window.
    """
    for offer in offers.split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name != "permessage-deflate":
            continue
        answer = ["permessage-deflate", "server_no_context_takeover", "client_no_context_takeover"]
        seen = set()
        for parameter in parameters:
            key, equals, value = (part.strip().strip('"') for part in parameter.partition("="))
            if key in seen:
                break
            seen.add(key)
            if key in ("server_no_context_takeover", "client_no_context_takeover"):
                if equals:
                    break
            elif key == "client_max_window_bits":
                # We inflate any window; nothing to ask for.
                if equals and value not in _WINDOW_BITS:
                    break
            elif key == "server_max_window_bits":
                # One compressed form serves all, so only the largest window can be promised.
                if value != "15":
                    break
                answer.append("server_max_window_bits=15")
            else:
                break
        else:
            return "; ".join(answer)
    return None


_WINDOW_BITS = frozenset(str(bits) for bits in range(8, 16))
_decoder = codecs.getincrementaldecoder("utf-8")
