"""A document as it is sent to the validator: unpacked, wrapped if it is a piece, named by its bytes. Pure."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import brotli

from ...pages.encodings import zstd
from .verdicts import Message, Unchecked

#: Bytes of one that is sent.
MAX_BYTES = 1024**2

#: What the checker takes, by the beginning of a Content-Type.
TYPES = ("text/html", "application/xhtml+xml", "image/svg+xml", "text/css", "application/xml")

#: What makes a body new each time; both are looked at once.
CHANGING = (
    re.compile(rb'nonce="[^"]*"'),
    re.compile(rb'(name="csrf\w*"[^>]*value=")[^"]*"'),
)

_HEAD = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A piece</title></head><body>\n'
_TAIL = "\n</body></html>\n"

#: Where something in the text comes from: a line and a column to a place, "" where that isn't known.
Locate = Callable[[int | None, int | None], str]


def nowhere(line: int | None, column: int | None) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Document:
    """A document. source: what it is called, an address or a file. is_piece: of a page, such as what a script fetches.
    locate: where a line of it comes from."""

    source: str
    body: bytes
    content_type: str = "text/html; charset=utf-8"
    is_piece: bool = False
    locate: Locate = nowhere

    def sent(self) -> tuple[bytes, int]:
        """What is sent, and the lines that are before the document's own."""
        if not self.is_piece:
            return self.body, 0
        return _HEAD.encode() + self.body + _TAIL.encode(), 1

    def key(self) -> bytes:
        """What a verdict of it is kept by."""
        body = self.body
        for pattern in CHANGING:
            body = pattern.sub(b"", body)
        what = f"\0{self.content_type}\0{self.is_piece}".encode()
        return hashlib.sha256(body + what).digest()

    def placed(self, messages: Sequence[Message], before: int) -> list[Message]:
        """Messages with their lines in the document, and where those come from."""
        found = []
        for message in messages:
            line = None if message.line is None else max(1, message.line - before)
            place = self.locate(line, message.column)
            found.append(replace(message, line=line, place=place))
        return found


def is_document(content_type: str) -> bool:
    """Whether the checker takes what has this Content-Type."""
    return content_type.partition(";")[0].strip().lower() in TYPES


def unpacked(body: bytes, coding: str) -> bytes:
    """A body without its Content-Encoding. Raises Unchecked."""
    for each in reversed([part.strip().lower() for part in coding.split(",") if part.strip()]):
        try:
            if each in {"gzip", "x-gzip"}:
                body = gzip.decompress(body)
            elif each == "deflate":
                body = zlib.decompress(body)
            elif each == "br":
                body = brotli.decompress(body)
            elif each == "zstd":
                body = zstd.decompress(body)
            elif each != "identity":
                raise Unchecked(f"it is packed as {each}")
        except (OSError, EOFError, zlib.error, brotli.error, zstd.ZstdError, ValueError) as error:
            raise Unchecked(f"it is not {each}: {error}") from None
    return body
