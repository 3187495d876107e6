"""Reading a request's body through aiohttp, with bounds on what is kept, how long it takes and what is unpacked.

aiohttp is told to leave bodies packed (`app.running`): it would unpack a body to its end in one go, also one that
nobody reads, and 194 kB held the event loop for half a second.
"""

from __future__ import annotations

import asyncio
import zlib
from time import monotonic

from aiohttp import hdrs, web

from ..errors import BadEncoding, BadMessage, TooLarge
from ..protocol.escapes import Fields
from ..protocol.frames import BOMB_BYTES, BOMB_RATIO
from ..turns import Turns

#: Bytes of a body that are decoded without waiting for one's turn.
SMALL_BYTES = 8 * 1024

#: Bytes that are unpacked in one go, and packed bytes that are: a quarter of a millisecond at the most. Packed ones may
#: become nothing, and blocks that only say how the next ones are packed took 0.6 s for 8 MiB. And seconds after which
#: the next go waits for its turn.
INFLATE_STEP = 64 * 1024
_PACKED_STEP = 4 * 1024
_UNPACK_SECONDS = 0.00025

#: Bytes of a form's field: a name with each character escaped twice, or a hundred channels' place, which is 6 KB.
#: And bytes that take as long as a field itself.
FIELD_BYTES = 12 * 1024
_FIELD_COST = 100

#: Members of a gzip body (RFC 1952 §2.2): one, or one a writer that appended. Each costs the sender 20 bytes and us an
#: inflater, 10 µs.
MAX_MEMBERS = 16

_NOT_AS_SAID = "Body is not what its Content-Encoding or Transfer-Encoding says."
_ENCODINGS = ("gzip", "x-gzip", "deflate")


async def read_body(request: web.Request, limit: int, seconds: float, turns: Turns, *, wait: bool = True) -> bytes:
    """The body, unpacked. Of a large one, when its turn to be decoded has come: do that before anything is awaited.

    wait: whether it is waited for that; else the caller does, with bodies of more than SMALL_BYTES.

    Raises TooLarge before more than `limit` bytes are kept, TimeoutError when it takes longer than
    `seconds`, BadEncoding for one that is packed in a way that is not read here, BadMessage for one that is not what
    its encoding says; the connection is then of no more use.
    """
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()
    if encoding not in ("", "identity", *_ENCODINGS):
        raise BadEncoding
    if (request.content_length or 0) > limit:
        raise TooLarge(text=f"Body is longer than {limit} bytes")
    size = 0
    parts = []
    try:
        async with asyncio.timeout(seconds):
            async for part in request.content.iter_any():
                size += len(part)
                if size > limit:
                    raise TooLarge(text=f"Body is longer than {limit} bytes")
                parts.append(part)
    except TimeoutError:
        # Told that there is no more, aiohttp does not wait for it before it closes the connection.
        request.content.feed_eof()
        raise
    except web.RequestPayloadError:
        # Nothing of it can be read any more; told so, aiohttp doesn't try, and log a traceback.
        request.content.feed_eof()
        raise BadMessage(text=_NOT_AS_SAID) from None
    if wait and size > SMALL_BYTES:
        await turns.wait()
    body = b"".join(parts)
    return await _unpack(body, encoding, limit, turns) if encoding in _ENCODINGS else body


async def _unpack(body: bytes, encoding: str, limit: int, turns: Turns) -> bytes:
    if encoding == "deflate":
        # zlib's format (RFC 9110 §8.4.1.2), or without its two bytes, as some send it.
        window = zlib.MAX_WBITS if body[:1] and body[0] & 15 == zlib.DEFLATED else -zlib.MAX_WBITS
    else:
        # With gzip's header.
        window = 16 + zlib.MAX_WBITS
    inflater = zlib.decompressobj(window)
    # As of a WebSocket's message: 8 kB that are 8 MB took 20 ms to find out that it is too much.
    limit = min(limit, max(BOMB_BYTES, BOMB_RATIO * len(body)))
    size, members, at = 0, 1, 0
    parts = []
    packed = memoryview(body)
    ends = monotonic() + _UNPACK_SECONDS
    while True:
        piece = packed[at : at + _PACKED_STEP]
        try:
            part = inflater.decompress(piece, min(INFLATE_STEP, limit + 1 - size))
        except zlib.error:
            raise BadMessage(text=_NOT_AS_SAID) from None
        size += len(part)
        if size > limit:
            raise TooLarge(text=f"Body is longer than {limit} bytes")
        if part:
            parts.append(part)
        # At a member's end, what is behind it is in both.
        at += len(piece) - len(inflater.unused_data if inflater.eof else inflater.unconsumed_tail)
        if inflater.eof:
            if at == len(body):
                return b"".join(parts)
            if window <= zlib.MAX_WBITS or members == MAX_MEMBERS:
                raise BadMessage(text=_NOT_AS_SAID)
            inflater, members = zlib.decompressobj(window), members + 1
        elif not part and at == len(body):
            raise BadMessage(text=_NOT_AS_SAID)
        if monotonic() >= ends:
            await turns.wait()
            ends = monotonic() + _UNPACK_SECONDS


async def read_form(body: bytes, most: int, turns: Turns) -> list[tuple[str, str]]:
    """The fields of a form (application/x-www-form-urlencoded), decoded in pieces. Raises ValueError.

    most: fields that there may be. Each has a name and a value of up to FIELD_BYTES as they came, in UTF-8.
    """
    if not body:
        return []
    parts = body.split(b"&", most)
    if len(parts) > most or max(map(len, parts)) > FIELD_BYTES:
        raise ValueError("too much")
    reader = Fields()
    fields = []
    done = 0
    for part in parts:
        done += len(part) + _FIELD_COST
        if done > SMALL_BYTES:
            done = len(part)
            await turns.wait()
        name, equals, value = part.partition(b"=")
        if not equals:
            raise ValueError("a field without =")
        fields.append((reader.whole(name).decode(), reader.whole(value).decode()))
    return fields
