"""What a header may have in it, whatever strangers have written. Pure.

Headers are written here, line by line, rather than by `email`: its folding has lost and changed words of long or
strange subjects, and encodes what must stay as it is (List-Unsubscribe, Message-ID).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import urlsplit

#: Characters of a header's text. A longer subject is nobody's.
MAX_HEADER = 400

#: Octets of a line without its end (RFC 5322 2.1.1).
_MAX_LINE = 998

#: Octets of an encoded word (RFC 2047 2).
_MAX_WORD = 75

#: What ends a line for somebody: all that `str.splitlines` splits at, and the other controls, C1 among them.
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

#: What turns the direction of what follows: a stranger's name would turn the words around it.
DIRECTIONS = re.compile(r"[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]")

#: Half characters, and what is no character.
NO_CHARACTERS = re.compile(r"[\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")

#: What stands in a name without quotes.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9 !#$%&'*+/=?^_`{|}~-]+")


def header_text(text: str, longest: int = MAX_HEADER) -> str:
    """Text that is safe in a header: one line, no controls, nothing that turns directions, not too long.

    What ends a line for anybody becomes a space; what is no character becomes �. The rest stays as it was.
    """
    text = CONTROLS.sub(" ", text)
    text = NO_CHARACTERS.sub("�", DIRECTIONS.sub("", text)).strip()
    if len(text) <= longest:
        return text
    return text[: longest - 1].rstrip() + "…"


def check_link(url: str) -> str:
    """A URL for a header, as it is. Raises ValueError: it must be https, in ASCII, and fit into a line."""
    if not re.fullmatch(r"[!-;=?-~]+", url) or len(url) > _MAX_LINE - 30:
        raise ValueError("a link in a header is ASCII without spaces, < and >, and shorter than a line")
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("a link to unsubscribe is https")
    return url


def line(name: str, value: str) -> bytes:
    """A header's line or lines. Raises ValueError if it would end early, or is longer than any server takes."""
    raw = f"{name}: {value}\r\n".encode()
    for each in raw[:-2].split(b"\r\n "):
        if len(each) > _MAX_LINE or re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", each):
            raise ValueError(f"{name} would not be one header")
    return raw


def phrase(name: str, used: int) -> str:
    """A name as it stands before an address or an id. used: characters before it in its line."""
    name = header_text(name, 100)
    if not name:
        return ""
    if not name.isascii() or "=?" in name or "  " in name:
        return words(name, used, always=True)
    if _PLAIN_NAME.fullmatch(name):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def words(text: str, used: int, *, always: bool = False) -> str:
    """Text in a header, in encoded words where that is needed, folded (RFC 2047). used: characters before it."""
    plain = text.isascii() and "=?" not in text and "  " not in text
    if plain and not always and used + len(text) <= 78:
        return text
    return "\r\n ".join(f"=?utf-8?b?{b64encode(part).decode()}?=" for part in _parts(text, used))


def _parts(text: str, used: int) -> Iterator[bytes]:
    """Text in pieces that fit into encoded words; none ends inside a character."""
    # Three bytes are four characters in base64.
    room = (_MAX_WORD - len("=?utf-8?b??=")) // 4 * 3
    part = b""
    left = room - used
    for letter in map(str.encode, text):
        if part and len(part) + len(letter) > max(left, len(letter)):
            yield part
            part, left = b"", room
        part += letter
    yield part
