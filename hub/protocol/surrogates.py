"""Halves of surrogate pairs in a JSON text, which no encoding can say, replaced by U+FFFD before it is decoded.

As browsers do it of all they send (WebIDL, USVString). It is done in the bytes, since only the library's own decoder
bears them, and a megabyte takes that 4 to 20 ms of the loop; here it is 1 to 2.
"""

from __future__ import annotations

import codecs
import re

#: A half as three bytes of its own, as CESU-8 has them, or a pair of such.
_RAW = re.compile(rb"\xed(?:[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]|[\xa0-\xbf][\x80-\xbf])")
_REPLACEMENT = "\ufffd".encode()
_ESCAPED_REPLACEMENT = rb"\ufffd"

#: An escape that may be half a pair, or is a whole one (first group), or a Korean syllable (second group).
_HALF = re.compile(rb"\\u[dD](?:([89abAB]..\\u[dD][c-fC-F]..)|([0-7])|[89a-fA-F]..)", re.DOTALL)

#: Escapes that are looked at for one half that a text may have. An escape takes 0.3 µs. A text without a half alone
#: never comes here.
_LOOKS = 3

#: Bytes that are decoded in one go to find what is no UTF-8: the decoder is in C, an expression looks at each byte.
_STRETCH = 64 * 1024
#: After half a pair as few, and twice as many each time: what the decoder raises has a copy of all that it was given.
_AFTER = 2 * 1024
#: Backslashes that are counted in one go, the most first.
_RUNS = b"\\" * 4096, b"\\" * 512, b"\\" * 64


class TooMany(ValueError):
    """More halves than a text may have."""


def replaced(text: bytes, most: int, first: int | None = None) -> bytes:
    """JSON in UTF-8 without halves that are alone; itself if there are none. Raises TooMany above `most` of them.

    What is no JSON or no UTF-8 otherwise stays so. The two halves of a pair that is in CESU-8 count too.

    first: where the first of them is, or some place before it that is in no pair, in a text that is UTF-8; None if none
    of that is known.
    """
    if first is not None:
        return _escaped_replaced(text, most, _LOOKS * most, first)
    text, found = _raw_replaced(text, most)
    return _escaped_replaced(text, most - found, _LOOKS * most, 0)


def _raw_replaced(text: bytes, most: int) -> tuple[bytes, int]:
    if text.isascii():
        return text, 0
    pieces: list[bytes | memoryview] = []
    kept = found = at = 0
    view = memoryview(text)
    size = _STRETCH
    while at < len(text):
        stretch = view[at : at + size]
        try:
            # A letter that is cut at the end waits for the next stretch; at the end of all it is no UTF-8.
            at += codecs.utf_8_decode(stretch, "strict", len(stretch) < size)[1]
            size = min(2 * size, _STRETCH)
            continue
        except UnicodeDecodeError as error:
            at += error.start
        match = _RAW.match(text, at)
        if match is None:
            break
        half = match[0]
        found += len(half) // 3
        if found > most:
            raise TooMany
        pieces += view[kept:at], _REPLACEMENT if len(half) == 3 else _joined(half)
        kept = at = match.end()
        size = _AFTER
    return (b"".join([*pieces, view[kept:]]) if pieces else text), found


def _joined(pair: bytes) -> bytes:
    """A pair in CESU-8 as UTF-8 has it."""
    return pair.decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass").decode("utf-16-le").encode()


def _escaped_replaced(text: bytes, most: int, looks: int, start: int) -> bytes:
    # Each copy of a megabyte is half a millisecond.
    pieces: list[bytes | memoryview] = []
    view = memoryview(text)
    kept = found = 0
    at = start
    while at >= 0:
        matches, at = _HALF.finditer(text, at), -1
        for match in matches:
            looks -= 1
            if looks < 0:
                raise TooMany
            place = match.start()
            if text[place - 1 : place] == b"\\" and _backslashes_before(text, place) % 2:
                # No escape, but what comes behind may be one.
                at = place + 2
                break
            if match.lastindex:
                continue
            found += 1
            if found > most:
                raise TooMany
            pieces += view[kept:place], _ESCAPED_REPLACEMENT
            kept = place + 6
    return b"".join([*pieces, view[kept:]]) if pieces else text


def _backslashes_before(text: bytes, at: int) -> int:
    end = at
    # `rstrip` takes 5 ns for each, which is 5 ms for a megabyte of them.
    for run in _RUNS:
        while text.endswith(run, 0, at):
            at -= len(run)
    before = text[max(0, at - len(_RUNS[-1])) : at]
    return end - at + len(before) - len(before.rstrip(b"\\"))
