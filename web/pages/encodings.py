"""Content codings: which a browser would have, and a body in it. Pure."""

from __future__ import annotations

import gzip
import re
import sys
from functools import lru_cache

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["CODINGS", "choose", "pack", "zstd"]

#: The best first, where a browser likes several as much: Brotli is the smallest for text.
CODINGS = ("br", "zstd", "gzip")

#: Characters of an Accept-Encoding that are looked at; a browser's has 25.
_MAX_ACCEPT = 200

#: RFC 9110 §12.5.3 and §12.4.2.
_PART = re.compile(r"[ \t]*([A-Za-z0-9*_-]+)[ \t]*(?:;[ \t]*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)[ \t]*)?")


@lru_cache(maxsize=256)
def choose(accept: str) -> str:
    """The coding for an Accept-Encoding, "" for none: of those that the browser likes best, our first."""
    weights: dict[str, float] = {}
    for part in accept[:_MAX_ACCEPT].split(","):
        match = _PART.fullmatch(part)
        if match is not None:
            weights[match[1].lower()] = float(match[2] or 1)
    others = weights.get("*", 0.0)
    found = {coding: weights.get(coding, others) for coding in CODINGS}
    best = max(found.values())
    return next(coding for coding in CODINGS if found[coding] == best) if best > 0 else ""


def pack(body: bytes, coding: str) -> bytes:
    """A body in a coding. What is packed once is sent many times, so some milliseconds for 100 kB are well spent."""
    if coding == "br":
        packed: bytes = brotli.compress(body, mode=brotli.MODE_TEXT, quality=6)
        return packed
    if coding == "zstd":
        return zstd.compress(body, 9)
    return gzip.compress(body, 6, mtime=0)
