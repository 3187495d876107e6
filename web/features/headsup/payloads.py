"""The JSON of a delivery, from bytes that a stranger sent, and what is read of it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

#: Characters of a message that are read; the longest met in 300,000 commits had 47,185.
MAX_MESSAGE = 200_000
#: Of a name, a ref or a URL.
MAX_LINE = 500

#: Bytes at either end of a body in which the repository's name is looked for before its signature is known.
_WINDOW = 128 * 1024
_NAME = re.compile(rb'"(?:full_name|path_with_namespace)"\s*:\s*"([^"]{3,300})"')
_ID = re.compile(rb'"(?:repository|project)"\s*:\s*\{')
_NUMBER = re.compile(rb'"id"\s*:\s*(\d{1,18})\b|"uuid"\s*:\s*"(\{[0-9a-fA-F-]{36}\})"')
_LOGIN = re.compile(rb'"(?:login|username)"\s*:\s*"([A-Za-z0-9][A-Za-z0-9_.-]{0,99})"')

#: Of each kind, places of a window that are looked at: a forge's have one or two, and a stranger's body has 20,000, of
#: which each is a search through the 2,000 bytes after it.
_PLACES = 50

_NOT_TEXT = re.compile("[\ud800-\udfff\0]")


class BadPayload(ValueError):
    """A body that can't be read. The text is one sentence for whoever sent it."""


def parse(body: bytes, *, is_form: bool) -> Mapping[str, Any]:
    """The object that a delivery is. is_form: it came as a form with the JSON in its field `payload`.

    Of two fields with one name the last counts, as in JavaScript. Raises BadPayload.
    """
    if is_form:
        body = _payload_field(body)
    try:
        # Not left to `json`, which would guess UTF-16 from the bytes.
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadPayload("The body is not UTF-8.") from None
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise BadPayload("The JSON is nested too deeply.") from None
    except ValueError:
        raise BadPayload("The body is not JSON that can be read.") from None
    if not isinstance(value, dict):
        raise BadPayload("The JSON is not an object.")
    return value


def _refuse(word: str) -> NoReturn:
    raise ValueError(word)


def _payload_field(body: bytes) -> bytes:
    for pair in body.split(b"&"):
        name, equals, value = pair.partition(b"=")
        if equals and name == b"payload":
            return unquote_to_bytes(value.replace(b"+", b" "))
    raise BadPayload("The form has no field `payload`.")


def claims_of(body: bytes, *, is_form: bool) -> tuple[set[str], set[str], set[str]]:
    """Which repository a body may be of, before its signature is known: names, ids and owners, names in lower case.

    Nothing is believed of it: it says whose secrets are tried. Only the ends of a long body are looked at, and no JSON
    is parsed for a stranger.
    """
    names: set[str] = set()
    ids: set[str] = set()
    owners: set[str] = set()
    for window in _windows(body):
        if is_form:
            window = unquote_to_bytes(window.replace(b"+", b" "))
        names |= {_plain(found[1]) for found in islice(_NAME.finditer(window), _PLACES)}
        owners |= {_plain(found[1]) for found in islice(_LOGIN.finditer(window), _PLACES)}
        for begin in islice(_ID.finditer(window), _PLACES):
            if found := _NUMBER.search(window, begin.end(), begin.end() + 2000):
                ids.add((found[1] or found[2]).decode())
    return names, ids, owners


def _windows(body: bytes) -> Iterator[bytes]:
    if len(body) <= 2 * _WINDOW:
        yield body
    else:
        yield body[:_WINDOW]
        yield body[-_WINDOW:]


def _plain(found: bytes) -> str:
    return found.decode("utf-8", "replace").replace("\\/", "/").lower()


# What is read of a value that may be anything


def text_of(value: Any, most: int = MAX_LINE) -> str:
    """Text; "" for what is none. NUL and half characters become �."""
    if not isinstance(value, str):
        return ""
    return _NOT_TEXT.sub("�", value[:most])


def object_of(value: Any) -> Mapping[str, Any]:
    """An object; an empty one for what is none."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """A list; an empty one for what is none."""
    return value if isinstance(value, list) else []


def number_of(value: Any) -> int | None:
    """A count; None for what is none."""
    return value if type(value) is int and 0 <= value < 2**31 else None


def id_of(value: Any) -> str:
    """An id, a number or text, as text."""
    return str(value) if type(value) is int and 0 <= value < 10**18 else text_of(value, 100)
