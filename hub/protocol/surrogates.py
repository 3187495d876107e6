"""Halves of surrogate pairs in a JSON text, which no encoding can say, replaced by U+FFFD before it is decoded.

As browsers do it of all they send (WebIDL, USVString). It is done in the bytes, since only the library's own decoder
bears them, and a megabyte takes that 4 to 20 ms of the loop; here it is 2 to 4.
"""

from __future__ import annotations

import codecs
import re

#: A half as three bytes of its own, as CESU-8 has them, or a pair of such.
_RAW = re.compile(rb"\xed(?:[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]|[\xa0-\xbf][\x80-\xbf])")
_REPLACEMENT = "\ufffd".encode()
_ESCAPED_REPLACEMENT = rb"\ufffd"

#: Escapes that are looked at for one half that a text may have. An escape takes 0.3 µs. Emoji that are escaped are two,
#: Korean syllables one; a text without a half alone never comes here.
_LOOKS = 5

_FIRST = b"89abAB"
_SECOND = b"cdefCDEF"
#: How an escape of each begins.
_FIRSTS = frozenset(b"\\%b%c" % (mark, kind) for mark in (b"ud", b"uD") for kind in _FIRST)
_SECONDS = frozenset(b"\\%b%c" % (mark, kind) for mark in (b"ud", b"uD") for kind in _SECOND)
#: Bytes that are decoded in one go to find what is no UTF-8: the decoder is in C, an expression looks at each byte.
_STRETCH = 64 * 1024
#: Bytes before an escape in which the backslashes are counted, at first.
_RUN = 64


class TooMany(ValueError):
    """More halves than a text may have."""


def replaced(text: bytes, most: int) -> bytes:
    """JSON in UTF-8 without halves that are alone; itself if there are none. Raises TooMany above `most` of them.

    What is no JSON or no UTF-8 otherwise stays so. The two halves of a pair that is in CESU-8 count too.
    """
    text, found = _raw_replaced(text, most)
    return _escaped_replaced(text, most - found, _LOOKS * most)


def _raw_replaced(text: bytes, most: int) -> tuple[bytes, int]:
    if text.isascii():
        return text, 0
    pieces: list[bytes] = []
    kept = found = at = 0
    view = memoryview(text)
    while at < len(text):
        stretch = view[at : at + _STRETCH]
        try:
            # A letter that is cut at the end waits for the next stretch; at the end of all it is no UTF-8.
            at += codecs.utf_8_decode(stretch, "strict", len(stretch) < _STRETCH)[1]
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
        pieces += text[kept:at], _REPLACEMENT if len(half) == 3 else _joined(half)
        kept = at = match.end()
    return (b"".join(pieces) + text[kept:] if pieces else text), found


def _joined(pair: bytes) -> bytes:
    """A pair in CESU-8 as UTF-8 has it."""
    return pair.decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass").decode("utf-16-le").encode()


def _escaped_replaced(text: bytes, most: int, looks: int) -> bytes:
    # One way to write them after the other: where neither is, looking takes 1 to 2 ms for a megabyte.
    text, found = _mark_replaced(text, b"\\ud", most, looks)
    return _mark_replaced(text, b"\\uD", most - found, looks)[0]


def _mark_replaced(text: bytes, mark: bytes, most: int, looks: int) -> tuple[bytes, int]:
    pieces: list[bytes] = []
    kept = found = 0
    at = text.find(mark)
    while at >= 0:
        looks -= 1
        if looks < 0:
            raise TooMany
        if _is_alone(text, at):
            found += 1
            if found > most:
                raise TooMany
            pieces += text[kept:at], _ESCAPED_REPLACEMENT
            kept = at + 6
        at = text.find(mark, at + 1)
    return (b"".join(pieces) + text[kept:] if pieces else text), found


def _is_alone(text: bytes, at: int) -> bool:
    """Whether the escape at a place is one of half a pair whose other half is not beside it."""
    kind = text[at + 3 : at + 4]
    if not kind or (text[at - 1 : at] == b"\\" and _backslashes_before(text, at) % 2):
        return False
    if kind in _FIRST:
        return text[at + 6 : at + 10] not in _SECONDS
    if kind in _SECOND:
        return at < 6 or text[at - 6 : at - 2] not in _FIRSTS or _backslashes_before(text, at - 6) % 2 == 1
    return False


def _backslashes_before(text: bytes, at: int) -> int:
    width = _RUN
    while True:
        before = text[max(0, at - width) : at]
        run = len(before) - len(before.rstrip(b"\\"))
        if run < len(before) or width >= at:
            return run
        width *= 16
