"""What is stored and read. Pure.

times    a list of floats that grows by each measurement, as the post's did
rows     fifty rows of a table, as a JSON answer has them
html     a page's text
counters some small numbers
keys     a sample of your own keys, as they were when they were read
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import orjson

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # since Python 3.14
except ImportError:
    from backports import zstd

#: Of each payload: what it is, for people.
ABOUT: Mapping[str, str] = {
    "times": "a growing list of times",
    "rows": "rows as dicts",
    "html": "HTML text",
    "counters": "small counters",
    "keys": "your own keys",
}
NAMES = tuple(ABOUT)

#: Values of the growing list, after which it begins anew: the post's longest had 3,849.
MOST_TIMES = 4000

_WORDS = tuple(
    "brass quay harbour winter programme listens answer window morning engine ticket reader comment station "  # noqa: SIM905
    "northern weather season bright quiet river concert evening letter travel copper market garden signal".split()
)
_ROWS = 50


def rows() -> list[dict[str, Any]]:
    """Fifty rows; the same each time."""
    dice = random.Random(50)
    return [
        {
            "id": 4000 + number,
            "slug": "-".join(dice.choices(_WORDS, k=3)),
            "title": " ".join(dice.choices(_WORDS, k=6)).capitalize(),
            "published": f"2026-{dice.randrange(1, 13):02}-{dice.randrange(1, 28):02}T{dice.randrange(24):02}:30:00Z",
            "score": round(dice.uniform(0, 5), 3),
            "comments": dice.randrange(400),
            "open": dice.random() < 0.7,
            "picture": None,
        }
        for number in range(_ROWS)
    ]


def html() -> str:
    """A page of some twelve kilobytes; the same each time."""
    dice = random.Random(12)
    parts = ['<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>What’s on</title></head><body>']
    for number in range(40):
        words = " ".join(dice.choices(_WORDS, k=28)).capitalize()
        parts.append(
            f'<article class="card" id="event-{number}"><h2><a href="/events/{dice.choice(_WORDS)}-{number}">'
            f"{dice.choice(_WORDS).capitalize()} {dice.choice(_WORDS)}</a></h2>\n<p>{words}.</p></article>"
        )
    return "\n".join([*parts, "</body></html>\n"])


def counters() -> dict[str, int]:
    """A few numbers; the same each time."""
    return {"views": 18342, "visitors": 5121, "likes": 77, "comments": 12, "shares": 3}


def fixed(name: str) -> Any:
    """A payload that does not grow, by its name. Raises KeyError."""
    return {"rows": rows, "html": html, "counters": counters}[name]()


# Your own keys


@dataclass(frozen=True, slots=True)
class Sampled:
    """Values of your own keys. left: by reason, how many keys were not taken."""

    values: tuple[Any, ...]
    left: Mapping[str, int]


#: Bytes of a value that is taken from a key, unpacked.
MOST_BYTES = 1024**2


def read_value(data: bytes) -> Any:
    """What a key's bytes stand for: unpacked if they are packed, and read if they are JSON, MessagePack or text.

    Else the bytes themselves. A pickle is never loaded: it is bytes.
    """
    plain = _unpacked(data)
    if plain[:1] in (b"{", b"[", b'"') or plain[:1].isdigit() or plain in (b"true", b"false", b"null"):
        try:
            return orjson.loads(plain)
        except ValueError:
            pass
    try:
        return plain.decode()
    except UnicodeDecodeError:
        pass
    # A small number is MessagePack too, and so would be any byte below 128.
    if plain[:1] and (0x80 <= plain[0] <= 0x9F or plain[0] in (0xDC, 0xDD, 0xDE, 0xDF)) and plain[:2] not in _PICKLES:
        try:
            return msgpack.unpackb(plain)
        except (ValueError, msgpack.UnpackException):
            pass
    return plain


_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


def _unpacked(data: bytes) -> bytes:
    try:
        if data[:2] == b"\x1f\x8b":
            return _bounded(zlib.decompressobj(16 + zlib.MAX_WBITS), data)
        if data[:1] == b"\x78" and len(data) > 2 and int.from_bytes(data[:2], "big") % 31 == 0:
            return _bounded(zlib.decompressobj(), data)
        if data[:4] == b"\x28\xb5\x2f\xfd":
            unpacker = zstd.ZstdDecompressor()
            found = unpacker.decompress(data, max_length=MOST_BYTES)
            return bytes(found) if unpacker.eof else data
    except (zlib.error, gzip.BadGzipFile, zstd.ZstdError, ValueError):
        pass
    return data


def _bounded(unpacker: Any, data: bytes) -> bytes:
    found = unpacker.decompress(data, MOST_BYTES)
    return bytes(found) if unpacker.eof else data


def values_of(name: str, sampled: Sequence[Any]) -> Sequence[Any]:
    """The values that are measured in turn: of your own keys there are several."""
    return sampled if name == "keys" else [fixed(name)]
