"""WebSocket frames, server side: RFC 6455, and permessage-deflate (RFC 7692) without context takeover.

Bytes in, messages out; nothing here waits or writes. Most of what browsers send is one short text
frame in one read, or two: `read_short` takes those without making an object. Everything else goes through a
`Reader`, which a connection makes when it needs one and drops when it is `idle` again.

No context takeover, in either direction: a message is compressed once and the bytes shared by
every subscriber, and an idle connection keeps no window (32 KiB and more each way).
"""

from __future__ import annotations

import zlib
from codecs import utf_8_decode

from ..errors import FrameError
from .close_codes import INVALID_DATA, PROTOCOL_ERROR, TOO_BIG

CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

#: What a peer may put into a close frame: the registry's codes less 1004, 1005, 1006 and 1015,
#: which never travel, and the ranges for libraries and applications.
_CLOSE_CODES = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)))

#: RFC 6455 §5.5: control frames have at most 125 bytes; two of a close frame's are its code.
_MAX_CONTROL = 125
MAX_REASON_BYTES = _MAX_CONTROL - 2

#: What deflate ends a message with and permessage-deflate leaves out (RFC 7692 §7.2.1).
_TAIL = b"\x00\x00\xff\xff"
#: An empty last block: after the tail it ends the stream if, and only if, the message was whole.
_LAST_BLOCK = b"\x01\x00\x00\xff\xff"

#: Bytes that one `feed` inflates, however many messages share it: a quarter of a millisecond of work. A compressed byte
#: can become a thousand, so that a read of 4 KiB could otherwise be 4 MiB.
INFLATE_STEP = 128 * 1024

#: Bytes of a message under way that are kept in one piece; what comes in crumbs is put together to such.
_PART = 16 * 1024

#: Text shrinks tenfold. What is longer than this, and was packed tighter than a hundredfold, is a bomb.
BOMB_BYTES = 1024 * 1024
BOMB_RATIO = 100

#: Bytes of a read that `read_short` takes: above a handshake and below any sensible limit.
_SHORT = 1031

_TEXT_HEADS = tuple(bytes((0x80 | TEXT, size)) for size in range(126))


# Writing


def text_frame(payload: bytes) -> bytes:
    """One whole text message, as the server sends it; payload is UTF-8, unchecked."""
    size = len(payload)
    if size < 126:
        return _TEXT_HEADS[size] + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def frame(opcode: int, payload: bytes = b"", *, rsv1: bool = False) -> bytes:
    """One final, unmasked frame. rsv1 marks a payload that `deflate` made.

    Raises ValueError for a control frame of more than 125 bytes.
    """
    first = (0xC0 if rsv1 else 0x80) | opcode
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if opcode >= CLOSE:
        raise ValueError("a control frame has at most 125 bytes")
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def may_close_with(code: int) -> bool:
    """Whether a close frame may have this code."""
    return code in _CLOSE_CODES


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; the reason is cut, between characters, to the 123 bytes it may have."""
    text = reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore")
    return frame(CLOSE, code.to_bytes(2, "big") + text.encode())


# Reading


def unmask(mask: bytes, payload: bytes) -> bytes:
    """Exclusive or with the repeated mask of four bytes; linear, as two big integers."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def read_short(data: bytes) -> list[bytes] | None:
    """The payloads, if data is nothing but whole text frames of ASCII, short enough together; else None.

    None says nothing about data: give it to a `Reader`, which also checks UTF-8 and the limit.
    Clients send a subscribe and a connect in one write, two frames.
    """
    at, end = 0, len(data)
    if end > _SHORT:
        return None
    payloads = []
    while end - at > 6:
        if data[at] != 0x81:
            return None
        size = data[at + 1] - 128
        start = at + 6
        if size == 126:
            size = data[at + 2] << 8 | data[at + 3]
            start = at + 8
            if size < 126:
                return None
        elif size == 127:
            # Eight bytes of length follow; nothing short says it so.
            return None
        at = start + size
        if not 0 < size < _SHORT or at > end:
            return None
        # As in unmask; a call less.
        key = (data[start - 4 : start] * 256)[:size]
        masked = int.from_bytes(data[start:at], "little")
        payload = (masked ^ int.from_bytes(key, "little")).to_bytes(size, "little")
        if not payload.isascii():
            return None
        payloads.append(payload)
    return payloads if payloads and at == end else None


class Reader:
    """Takes a client's bytes as they come, and gives messages and control frames.

    limit: bytes a message may have, after inflating; a frame that announces more is refused
    before any of it is kept. deflate: whether permessage-deflate was agreed on.

    While it is `unfinished` after a feed, feed it b"" before anything else comes, as often as that is so: a feed
    inflates INFLATE_STEP bytes at the most, and others may have a turn between two.
    """

    __slots__ = (
        "_deflate",
        "_done",
        "_final",
        "_inflated",
        "_inflater",
        "_left",
        "_limit",
        "_mask",
        "_opcode",
        "_parts",
        "_pending",
        "_size",
        "_unchecked",
        "_wire",
    )

    def __init__(self, limit: int, deflate: bool = False) -> None:
        self._limit = limit
        self._deflate = deflate
        self._done = False
        # The start of a frame that can't be judged yet: a header, or a control frame, under 132 bytes. Or what is
        # left of a feed that has inflated all it may.
        self._pending = b""
        # The message under way: its opcode (0: none), and what is known of it.
        self._opcode = 0
        self._parts: list[bytes | bytearray] = []
        self._size = 0
        self._wire = 0
        # The beginning of a character whose rest is to come.
        self._unchecked = b""
        self._inflater: zlib._Decompress | None = None
        self._inflated = 0
        # The data frame under way: bytes still to come, the mask for the next of them.
        self._left = 0
        self._mask = b""
        self._final = False

    @property
    def idle(self) -> bool:
        """Whether a new Reader would do as well. Never again after a close frame or an error."""
        return not (self._pending or self._opcode or self._done)

    @property
    def unfinished(self) -> bool:
        """Whether the last feed left something that the next one can go on with."""
        return self._inflated >= INFLATE_STEP and bool(self._pending) and not self._done

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return what became complete, in order: (TEXT or BINARY, message), (PING, PONG or CLOSE, payload).

        A CLOSE payload is checked: empty, or a code that may travel and UTF-8. What follows a
        close frame is ignored (RFC 6455 §5.5.1). Raises FrameError when the peer broke a rule;
        its `messages` are those that came before. From then on feed returns nothing.
        """
        messages: list[tuple[int, bytes]] = []
        if self._done:
            return messages
        if self._pending:
            data = self._pending + data
            self._pending = b""
        self._inflated = 0
        try:
            self._read(data, messages)
        except FrameError as error:
            self._done = True
            self._drop_message()
            error.messages = messages
            raise
        return messages

    def _read(self, data: bytes, messages: list[tuple[int, bytes]]) -> None:
        at, end = 0, len(data)
        while True:
            if self._left:
                at = self._continue_frame(data, at, end)
                if self._left:
                    break
                if self._final:
                    messages.append(self._finish())
            if end - at < 2 or self._inflated >= INFLATE_STEP:
                break
            first, size = data[at], data[at + 1] - 128
            if size < 0:
                raise FrameError(PROTOCOL_ERROR, "frames of a client are masked")
            opcode = first & 0x0F
            if first & 0x70 and not (first & 0x70 == 0x40 and self._deflate and TEXT <= opcode <= BINARY):
                raise FrameError(PROTOCOL_ERROR, "reserved bits")

            if opcode >= CLOSE:
                if opcode > PONG:
                    raise FrameError(PROTOCOL_ERROR, "reserved opcode")
                if first < 0x80:
                    raise FrameError(PROTOCOL_ERROR, "fragmented control frame")
                if size > _MAX_CONTROL:
                    raise FrameError(PROTOCOL_ERROR, "control frame over 125 bytes")
                start = at + 6
                stop = start + size
                if stop > end:
                    break
                payload = unmask(data[at + 2 : start], data[start:stop])
                at = stop
                if opcode == CLOSE:
                    _check_close(payload)
                    messages.append((CLOSE, payload))
                    self._done = True
                    self._drop_message()
                    return
                messages.append((opcode, payload))
                continue

            if opcode > BINARY:
                raise FrameError(PROTOCOL_ERROR, "reserved opcode")
            if opcode == CONTINUATION:
                if not self._opcode:
                    raise FrameError(PROTOCOL_ERROR, "nothing to continue")
            elif self._opcode:
                raise FrameError(PROTOCOL_ERROR, "a message inside a message")

            start = at + 6
            if size == 126:
                start = at + 8
                if end - at < 4:
                    break
                size = int.from_bytes(data[at + 2 : at + 4], "big")
                if size < 126:
                    raise FrameError(PROTOCOL_ERROR, "length not minimal")
            elif size == 127:
                start = at + 14
                if end - at < 10:
                    break
                size = int.from_bytes(data[at + 2 : at + 10], "big")
                if size < 65536 or size >> 63:
                    raise FrameError(PROTOCOL_ERROR, "length not minimal or over 63 bits")
            packed = first & 0x40 or self._inflater is not None
            if self._wire + size > (_packed_limit(self._limit) if packed else self._limit):
                raise FrameError(TOO_BIG, "message too big")
            if start > end:
                break

            stop = start + size
            if stop <= end and opcode and first & 0xC0 == 0x80:
                # A whole message in one frame, not compressed: nothing to remember.
                payload = unmask(data[start - 4 : start], data[start:stop])
                if opcode == TEXT and not payload.isascii():
                    _check_utf8(payload)
                messages.append((opcode, payload))
                at = stop
                continue
            if opcode:
                self._opcode = opcode
                if first & 0x40:
                    self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            self._wire += size
            self._final = first >= 0x80
            self._left = size
            self._mask = data[start - 4 : start]
            at = start
            if not size and self._final:
                messages.append(self._finish())
        self._pending = data[at:]

    def _continue_frame(self, data: bytes, at: int, end: int) -> int:
        """Take what data has of the frame's payload, as far as it may be inflated; return where that ends."""
        stop = min(at + self._left, end)
        chunk = unmask(self._mask, data[at:stop])
        if self._inflater is not None:
            chunk = self._inflate(self._inflater, chunk, INFLATE_STEP - self._inflated)
            stop -= len(self._inflater.unconsumed_tail)
        taken = stop - at
        self._left -= taken
        turn = taken & 3
        if turn:
            self._mask = self._mask[turn:] + self._mask[:turn]
        self._take(chunk)
        return stop

    def _take(self, chunk: bytes) -> None:
        """Add to the message under way, and check what is text at once, so that bad UTF-8 ends it early."""
        self._size += len(chunk)
        if self._opcode == TEXT and (self._unchecked or not chunk.isascii()):
            new = self._unchecked + chunk
            self._unchecked = new[_check_utf8(new, final=False) :]
        parts = self._parts
        if len(chunk) >= _PART:
            # As it is: to make a block of megabytes larger copies it, and freeing it took milliseconds.
            parts.append(chunk)
        elif parts and isinstance(parts[-1], bytearray) and len(parts[-1]) < _PART:
            parts[-1] += chunk
        else:
            parts.append(bytearray(chunk))

    def _finish(self) -> tuple[int, bytes]:
        """The message is complete: return it and forget it."""
        inflater = self._inflater
        # RFC 7692 §7.2.3.6 wants a byte for an empty message; a client that sends none means the same.
        if inflater is not None and self._wire and not inflater.eof:
            # Besides the tail, what a step ended short of: a match, and what a few bits may say.
            self._take(self._inflate(inflater, _TAIL + _LAST_BLOCK, INFLATE_STEP))
            if not _is_whole(inflater):
                raise FrameError(INVALID_DATA, "compressed data ends too early")
        opcode = self._opcode
        if self._unchecked:
            _check_utf8(self._unchecked)
        payload = b"".join(self._parts)
        self._drop_message()
        return opcode, payload

    def _drop_message(self) -> None:
        self._opcode = 0
        self._parts = []
        self._size = 0
        self._wire = 0
        self._unchecked = b""
        self._inflater = None
        self._left = 0

    def _inflate(self, inflater: zlib._Decompress, chunk: bytes, most: int) -> bytes:
        # One byte more than there is room for tells too much from just enough.
        room = self._limit - self._size + 1
        try:
            chunk = inflater.decompress(chunk, min(room, most))
        except zlib.error:
            raise FrameError(INVALID_DATA, "not deflate") from None
        self._inflated += len(chunk)
        size = self._size + len(chunk)
        if len(chunk) >= room or size > max(BOMB_BYTES, BOMB_RATIO * self._wire):
            raise FrameError(TOO_BIG, "message too big when inflated")
        # A block marked as the last is allowed, with the padding of RFC 7692 §7.2.3.4 after it.
        if inflater.eof and inflater.unused_data not in (b"", b"\x00"):
            raise FrameError(INVALID_DATA, "data after the last block")
        return chunk


def _is_whole(inflater: zlib._Decompress) -> bool:
    return inflater.eof and not inflater.unused_data


def _packed_limit(limit: int) -> int:
    """Bytes a compressed message may have: what doesn't shrink grows a little; empty blocks inflate to nothing."""
    return limit + (limit >> 3) + 64


def _check_utf8(data: bytes, final: bool = True) -> int:
    """Return how many bytes are whole characters; when final, all of them are."""
    try:
        return utf_8_decode(data, "strict", final)[1]
    except UnicodeDecodeError:
        raise FrameError(INVALID_DATA, "text is not UTF-8") from None


def _check_close(payload: bytes) -> None:
    if not payload:
        return
    if int.from_bytes(payload[:2], "big") not in _CLOSE_CODES:
        raise FrameError(PROTOCOL_ERROR, "bad close code")
    _check_utf8(payload[2:])


# permessage-deflate


def deflate(payload: bytes, window: int = zlib.MAX_WBITS) -> bytes:
    """A message's payload for a frame with rsv1. window: base-2 logarithm of the agreed window, 9 to 15."""
    # A window that just holds the message finds the same matches and is set up in an eighth of
    # the time: 8 µs for 1 KiB of JSON. Level 6 makes 16 % less of 16 kB than level 1 does, in 170 µs
    # for 100; that pays, as all subscribers share the bytes, until the loop would feel it.
    size = len(payload)
    bits = min(window, max(9, size.bit_length()))
    packer = zlib.compressobj(6 if size < 16384 else 1, zlib.DEFLATED, -bits, min(8, bits - 4))
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


#: The narrowest window that zlib compresses with.
SMALLEST = 9

#: Characters of a Sec-WebSocket-Extensions header that are read. Browsers offer one extension in 50.
MAX_OFFERS = 1024


def negotiate_deflate(header: str, smallest: int = zlib.MAX_WBITS) -> str | None:
    """Our answer to a Sec-WebSocket-Extensions header, or None when nothing in it suits us.

    The first offer that we can keep is taken, without context takeover either way. Offers with
    unknown, repeated or ill-formed parameters are declined (RFC 7692 §5.1, §7). smallest: the
    narrowest window the caller compresses with on demand, 9 to 15, as `deflate` takes it; zlib
    can't do 8. Who asks for less than 15 gives `window_bits` of the answer to `deflate`.
    """
    # Those that don't fit are not looked at: 8 KB of commas took 5 ms.
    for offer in header[:MAX_OFFERS].split(","):
        name, *params = offer.split(";")
        if name.strip().lower() != "permessage-deflate":
            continue
        window = _check_params(params)
        if window is None or 0 < window < max(SMALLEST, smallest):
            continue
        answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        return f"{answer}; server_max_window_bits={window}" if window else answer
    return None


def window_bits(answer: str) -> int:
    """The window to compress with, for `deflate`, by an answer of `negotiate_deflate`, which names the largest.

    The smallest will do for whoever asks for less than all: a client that opened a socket for each of seven windows had
    every publication compressed seven times.
    """
    _, named, bits = answer.partition("server_max_window_bits=")
    return zlib.MAX_WBITS if not named or int(bits) == zlib.MAX_WBITS else SMALLEST


def _check_params(params: list[str]) -> int | None:
    """The server_max_window_bits of an offer (0: not asked for), or None for an offer to decline."""
    window = 0
    seen = set()
    for param in params:
        name, equals, value = (part.strip() for part in param.partition("="))
        name = name.lower()
        if name in seen:
            return None
        seen.add(name)
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if equals:
                return None
        elif name == "client_max_window_bits":
            # Ours to narrow, and we don't: without takeover a window is short-lived anyway.
            if equals and value not in _WINDOWS:
                return None
        elif name == "server_max_window_bits":
            if value not in _WINDOWS:
                return None
            window = int(value)
        else:
            return None
    return window


_WINDOWS = frozenset(str(bits) for bits in range(8, 16))
