"""Bayeux messages: JSON in and out, and the batches they travel in.

orjson does the work. Two things it refuses are legal on the wire and are handled here: half a surrogate
pair in a string (JavaScript makes them by cutting an emoji in half) and integers beyond 64 bits.

No encoding can say half a pair, and readers in most languages refuse the text that has its escape. So it becomes
U+FFFD here, as browsers make it of one in all they send (WebIDL, USVString), in both directions: nothing that is
stored can have one. In names and ids U+FFFD is refused, since two broken names would be one. NaN, Infinity and
numbers beyond a double are refused in both directions too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

import orjson

from ..errors import BadMessage, TooDeep, TooDense
from . import surrogates

Message = dict[str, Any]

#: Bytes that mean "this is JSON" whatever the Content-Type says.
_JSON_STARTS = (b"[", b"{")
_BOM = b"\xef\xbb\xbf"

#: Values that a text of a client may have, as far as brackets and commas tell; a list or an object counts as ten.
#: Decoding costs by the value, and one text is decoded in one go: so many take 0.5 to 3 ms (a value 10 to 60 ns).
#: 3 bytes of `[],` become 64, and 8 MiB of them would be seconds of everybody's time.
MAX_VALUES = 50_000
#: The same for who has shown the realm's key.
MAX_KEYED_VALUES = 1_000_000
_CONTAINER = 10
#: How often something is looked for in a text, from one place to the next.
_FEW = 5_000
#: Bytes that are looked through before there may be too much in a text already.
_STRETCH = 64 * 1024
#: Bytes of a string that is worth leaving out: clientIds, channels and message ids are shorter.
_LONG = 1_000
#: Bytes of a skimmed text that is decoded: so many, and twice as many as a message may have.
_SKIMMED = 64 * 1024
#: Backslashes in a row that are looked at.
_RUN = 64

#: Halves of surrogate pairs that a text may have. A body of a megabyte had 170,000, and halted the loop for 0.1 s. Who
#: cuts texts makes one of each.
MAX_HALVES = 1_000

#: Messages of a batch whose client is looked for.
_HEAD = 16
#: A clientId of ours in a text that nobody has decoded: JSON, or JSON in a form.
_BLANKS = rb"(?:[\s+]|%20){0,16}"
_CLIENT = re.compile(
    rb"""clientId(?:"|%22)""" + _BLANKS + rb"(?::|%3[Aa])" + _BLANKS + rb"""(?:"|%22)([0-9a-f]{40})(?:"|%22)"""
)
#: Bytes at the beginning of a text, and at its end, in which a clientId is looked for, and how many that are none: all
#: of 1 MiB of them took 35 ms. Clients name it before the data or behind.
_NEAR = 16 * 1024
_NEAR_MOST = 32
_CLIENT_CHARS = 40

#: What has no values in it: most of what a text is made of, and passed over at once.
_SCALARS = frozenset({str, int, float, bool, type(None)})


def loads(text: bytes | str, halves: int = MAX_HALVES) -> Any:
    """Decode one JSON value. Raises BadMessage for what is not JSON, NaN and nesting over 1,024 included.

    halves: of surrogate pairs, that are replaced in it; with more it is refused too.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # Escaped, or as three bytes of their own, as CESU-8 has them.
        words = str(error)
        if "surrogate" not in words and "UTF-8" not in words:
            raise BadMessage(text="Invalid JSON") from None
        first = None if "UTF-8" in words else error.pos
    try:
        # A text of str may have halves as they are.
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        if first and not raw[:first].isascii():
            # orjson counts characters: so many bytes may end within a pair.
            first = 0
        return orjson.loads(surrogates.replaced(raw, halves, first))
    except surrogates.TooMany:
        raise BadMessage(text="Too many halves of surrogate pairs") from None
    except orjson.JSONDecodeError:
        raise BadMessage(text="Invalid JSON") from None


def whole_text(text: str) -> str:
    """A text with U+FFFD for each half of a surrogate pair that is alone."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def mended(text: bytes) -> bytes:
    """JSON that an older release may have stored, as it can be read by all; itself if there is nothing to mend."""
    # We write what is not ASCII as it is, but for texts that orjson refused, which went out in escapes.
    if b"\\ud" not in text:
        return text
    try:
        return dumps(loads(text, len(text)))
    except BadMessage:
        return b"null"


def _whole_json(value: object) -> bytes:
    """One JSON value by the library's own encoder; raises ValueError, TypeError or RecursionError."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return whole_text(text).encode()


def client_of(messages: Sequence[object]) -> str | None:
    """The first clientId that a batch names, if it can be one of ours."""
    for message in messages[:_HEAD]:
        if isinstance(message, dict):
            client = message.get("clientId")
            if isinstance(client, str) and len(client) == _CLIENT_CHARS:
                return client
    return None


def client_in(text: bytes | bytearray, start: int = 0, end: int | None = None) -> str | None:
    """As `client_of`, for a body that is not decoded yet: a guess, right unless the data quotes such a message,
    or is long and on both sides.

    start, end: where in the text the body is.
    """
    end = len(text) if end is None else end
    near = min(end, start + _NEAR)
    for at, until in ((start, near), (max(near, end - _NEAR), end)):
        for _ in range(_NEAR_MOST):
            # The expression alone would look at each byte, `find` does not.
            at = text.find(b"clientId", at, until)
            if at < 0:
                break
            match = _CLIENT.match(text, at, end)
            if match is not None:
                return match[1].decode()
            at += 8
    return None


def check_values(text: bytes | str, most: int = MAX_VALUES) -> None:
    """Raise TooDense for JSON that is not long, but has too much in it to be decoded in one go."""
    if len(text) * _CONTAINER <= most:
        return
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogatepass")
    if _values(text, most) > most:
        bare = without_strings(text)
        if len(bare) == len(text) or _values(bare, most) > most:
            raise TooDense


def _values(text: bytes, most: int) -> int:
    """The values of a JSON text, as far as brackets and commas tell; of more than `most`, some number above it."""
    values = 0
    for mark, weight in (b"[", _CONTAINER), (b"{", _CONTAINER), (b",", 1):
        found = _few(text, mark)
        # `count` looks at each byte, `replace` finds the next by `memchr`: in 2 MiB of one string 0.03 ms instead of
        # 1.1. Where there are many it is slower, so it is told to stop.
        if found < _FEW:
            values += weight * found
            continue
        for at in range(0, len(text), _STRETCH):
            values += weight * text.count(mark, at, at + _STRETCH)
            if values > most:
                return values
    return values


def without_strings(text: bytes) -> bytes:
    """A JSON text without what is in its strings, where a comma means nothing; the whole if there are many of them.

    So that a megabyte of prose is no list of ten thousand.
    """
    if b'"' not in text:
        return text
    bare = text
    # A backslash that is escaped escapes no quote.
    for escape in (b"\\\\", b'\\"') if b"\\" in text else ():
        # Removing them counts them as well.
        less = bare.replace(escape, b"", _FEW)
        if len(bare) - len(less) == _FEW * len(escape):
            return text
        bare = less
    return text if _few(bare, b'"') == _FEW else b"".join(bare.split(b'"')[::2])


def skim(text: bytes, most: int) -> bytes | None:
    """As `skimmed`; None if it is long then, as what fills it are no strings: 8 MiB of blanks, digits or quotes took 9
    to 30 ms to decode.

    most: bytes that a message may have.
    """
    short = skimmed(text)
    return short if len(short) <= max(2 * most, _SKIMMED) else None


def skimmed(text: bytes) -> bytes:
    """A JSON text without what is in its long strings, the whole if there are many strings.

    Of a batch that is refused for its length, to find out what to answer: decoding 2 MiB of one string takes 0.8 ms,
    this 0.1. What is no JSON may become some, as only the ends of strings are looked for.
    """
    pieces: list[bytes] = []
    kept = 0
    # Where the string begins that is looked through, -1 between strings.
    begun = at = -1
    for _ in range(_FEW):
        at = text.find(b'"', at + 1)
        if at < 0:
            return b"".join(pieces) + text[kept:] if pieces else text
        if begun < 0:
            begun = at
            continue
        before = text[max(begun + 1, at - _RUN) : at]
        escapes = len(before) - len(before.rstrip(b"\\"))
        if escapes == _RUN:
            break
        # An odd number of backslashes escapes the quote.
        if escapes % 2 == 0:
            if at - begun > _LONG:
                pieces.append(text[kept : begun + 1])
                kept = at
            begun = -1
    return text


def _few(text: bytes, mark: bytes) -> int:
    """How often a mark is in a text, _FEW at the most."""
    return (len(text) - len(text.replace(mark, b"", _FEW))) // len(mark)


def dumps(value: object, *, was_read: bool = False) -> bytes:
    """Encode one JSON value; raise BadMessage for what JSON can't say.

    Half a surrogate pair goes out as U+FFFD. orjson's nesting bound (254) is ours.

    was_read: it is what `loads` gave, so no NaN is looked for, which takes 10 ms for a text of 49,000 nulls.
    """
    try:
        text = orjson.dumps(value)
    except TypeError as error:
        if "Recursion" in str(error):
            raise TooDeep() from None
        try:
            encoded = _whole_json(value)
            # An integer of 400 digits is written, and nobody can read it.
            orjson.loads(encoded)
        except (TypeError, ValueError, RecursionError):
            raise BadMessage(text="Not JSON") from None
        return encoded
    # orjson writes null for NaN and Infinity, which only our own callers can hand in.
    if not was_read and b"null" in text and _has_no_number(value):
        raise BadMessage(text="Not JSON: NaN and Infinity are no values of it")
    # A copy of the right size. orjson's own lies in a buffer of 4 KiB that is cut to size but leaves a hole
    # which nothing fills: each publication that a history keeps would take a page of memory.
    return b"%b" % text


def dumps_all(values: Sequence[Message]) -> bytes:
    """Encode values with commas between them, for `join`, in a twentieth of the time of `dumps` for each.

    Of values that have no NaN: our own words, and what clients sent.
    """
    try:
        return orjson.dumps(values)[1:-1]
    except TypeError:
        return b",".join(map(dumps, values))


def looks_like_json(body: bytes) -> bool:
    """Whether a request body is JSON rather than a form, whatever its Content-Type says."""
    # lstrip() without an argument is four times as fast: naming the blanks took 2 ms for a megabyte of them.
    return body.removeprefix(_BOM).lstrip().startswith(_JSON_STARTS)


def parse_batch(text: bytes | str, most: int = MAX_VALUES, halves: int = MAX_HALVES) -> list[Any]:
    """The messages of a body: an array's elements, or the one object it is.

    most, halves: values that it may have, and halves of surrogate pairs that are replaced in it.

    Elements that aren't objects are kept, for each gets its own error. Raises BadMessage for
    anything else, TooDense among it; an empty array is returned as such (old Faye clients send it to keep alive).
    """
    if isinstance(text, bytes) and text.startswith(_BOM):
        text = text[len(_BOM) :]
    check_values(text, most)
    value = loads(text, halves)
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [value]
    raise BadMessage(text="Message must be an object")


def is_deeper(value: object, limit: int) -> bool:
    """Whether a value nests deeper than `limit`; level by level, so that it can't recurse itself."""
    level = [value]
    depth = 0
    while containers := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        if depth > limit:
            return True
        level = [
            child
            for each in containers
            for child in (each.values() if isinstance(each, dict) else each)
            # Five times as fast as isinstance: 49,000 numbers took 5 ms.
            if type(child) not in _SCALARS
        ]
    return False


def join(parts: list[bytes]) -> bytes:
    """Encoded messages as one encoded batch. parts: each is a message, or several with commas between."""
    return b"[" + b",".join(parts) + b"]"


def _has_no_number(value: object) -> bool:
    """Whether there is a NaN or an Infinity in a value that orjson took, so nested 254 deep at the most."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict | list | tuple):
        inside = value.values() if isinstance(value, dict) else value
        # A call for each scalar took 10 ms for 49,000 nulls.
        if not all(map(math.isfinite, [each for each in inside if type(each) is float])):
            return True
        return any(_has_no_number(each) for each in inside if type(each) not in _SCALARS)
    return False
