"""Bodies as they were before they were packed, by count: 50 KB may unpack to 50 MB, or to 50 GB. Pure."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: Codings that are asked for and unpacked, as Accept-Encoding has them.
CODINGS = "gzip, deflate, br, zstd"

#: Bytes that are unpacked at a time.
STEP = 64 * 1024

#: Codings of one body, one over the other.
MAX_CODINGS = 3

#: Members of a gzip body, or frames of a zstd one: one, or one a writer that appended. Each costs its sender 8 to 20
#: bytes, and us an inflater and a copy of all that is behind it: 800 kB of empty ones took four seconds, 8 MB minutes,
#: in a thread that nobody could stop.
MAX_MEMBERS = 100

#: Bytes of the window that a zstd frame may ask for: what browsers grant (RFC 8878 §3.1.1.1.2 recommends 8 MiB).
_WINDOW_LOG = 23


class TooLong(Exception):
    """It unpacks to more than was allowed."""


class NotPacked(Exception):
    """It is not what its coding says, or ends too early, or is in a coding that is not known."""


def unpack(body: bytes, codings: str, limit: int) -> bytes:
    """A body without its codings (a Content-Encoding header), of at most `limit` bytes; raises TooLong or NotPacked.

    A gzip body that nobody says is one is unpacked too: some servers forget the header, or a proxy took it away.
    """
    names = [name.strip().lower() for name in codings.split(",") if name.strip()]
    names = [name for name in names if name != "identity"]
    if len(names) > MAX_CODINGS:
        raise NotPacked(f"{len(names)} codings")
    for name in reversed(names):
        unpacker = _UNPACKERS.get(name)
        if unpacker is None:
            raise NotPacked(f"unknown coding {name[:20]!r}")
        body = _join(unpacker(body), limit)
    if not names and body.startswith(b"\x1f\x8b\x08"):
        body = _join(_gzip(body), limit)
    if len(body) > limit:
        raise TooLong(f"more than {limit} bytes")
    return body


def _join(parts: Iterator[bytes], limit: int) -> bytes:
    found, size = [], 0
    for part in parts:
        size += len(part)
        if size > limit:
            raise TooLong(f"unpacks to more than {limit} bytes")
        found.append(part)
    return b"".join(found)


def _gzip(body: bytes) -> Iterator[bytes]:
    # Several members may follow each other (RFC 1952 §2.2); what follows that is none is padding, which gzip ignores.
    rest, members = body, 0
    while rest.startswith(b"\x1f\x8b") or not members:
        members += 1
        _check_members(members)
        inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
        yield from _inflate(inflater, rest)
        rest = inflater.unused_data


def _deflate(body: bytes) -> Iterator[bytes]:
    # zlib's format (RFC 9110 §8.4.1.2), or without its header, as some servers have it.
    wrapped = body[:1] and body[0] & 15 == zlib.DEFLATED
    yield from _inflate(zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS), body)


def _inflate(inflater: zlib._Decompress, rest: bytes) -> Iterator[bytes]:
    try:
        while not inflater.eof:
            part = inflater.decompress(rest, STEP)
            rest = inflater.unconsumed_tail
            if not part and not rest and not inflater.eof:
                raise NotPacked("ends too early")
            yield part
    except zlib.error as error:
        raise NotPacked(str(error)) from None


def _brotli(body: bytes) -> Iterator[bytes]:
    unpacker = brotli.Decompressor()
    try:
        yield unpacker.process(body, output_buffer_limit=STEP)
        while not unpacker.is_finished():
            part = unpacker.process(b"", output_buffer_limit=STEP)
            if not part:
                raise NotPacked("ends too early")
            yield part
    except brotli.error as error:
        raise NotPacked(str(error)) from None


def _zstd(body: bytes) -> Iterator[bytes]:
    options = {int(zstd.DecompressionParameter.window_log_max): _WINDOW_LOG}
    rest, frames = body, 0
    try:
        while rest:
            frames += 1
            _check_members(frames)
            unpacker = zstd.ZstdDecompressor(options=options)
            chunk = rest
            while not unpacker.eof:
                part = unpacker.decompress(chunk, STEP)
                chunk = b""
                if not part and unpacker.needs_input and not unpacker.eof:
                    raise NotPacked("ends too early")
                yield part
            rest = unpacker.unused_data
    except zstd.ZstdError as error:
        raise NotPacked(str(error)) from None


def _check_members(members: int) -> None:
    if members > MAX_MEMBERS:
        raise NotPacked(f"more than {MAX_MEMBERS} members")


_UNPACKERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
