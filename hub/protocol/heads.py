"""The head of an HTTP/1.x request, read strictly, and the WebSocket upgrade it may ask for.

Sans-I/O. Only what the front door must decide is here: anything that is not an upgrade goes to
aiohttp with its bytes untouched. Sources: RFC 9112 (syntax), RFC 6455 §4.2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from http import HTTPStatus

from ..errors import HeadError
from .frames import negotiate_deflate

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_NOT_TOKEN = bytes(set(range(256)) - _TOKEN)
#: What a field value may not have: control characters but the tab.
_CONTROLS = bytes(set(range(32)) - {9} | {127})


class Head:
    """Method, target, version and headers (names in lower case) of a request, as bytes."""

    __slots__ = ("_fields", "headers", "method", "target", "version")

    def __init__(self, method: bytes, target: bytes, version: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self._fields: dict[bytes, bytes] = {}
        for name, value in headers:
            known = self._fields.get(name)
            # Repeated fields are one list (RFC 9110 §5.2).
            self._fields[name] = value if known is None else known + b", " + value

    def get(self, name: bytes) -> bytes | None:
        """A header's value by its lower-case name, repeated ones joined by commas; None if absent."""
        return self._fields.get(name)


@dataclass(frozen=True, slots=True)
class Upgrade:
    """An accepted upgrade: the Sec-WebSocket-Accept value, and the extension answer or None."""

    accept: bytes
    deflate: str | None


def read_head(buffer: bytes, limit: int = 16384) -> tuple[Head, int] | None:
    """The head at the start of `buffer` and its length, blank line included; None while incomplete.

    Raises HeadError(431) beyond `limit` bytes, HeadError(400 or 505) for what is not HTTP/1.x.
    """
    end = buffer.find(b"\r\n\r\n", 0, limit)
    if end < 0:
        if len(buffer) >= limit:
            raise HeadError(431, "Request head too long")
        return None
    lines = buffer[:end].split(b"\r\n")
    words = lines[0].split(b" ")
    if len(words) != 3 or not words[0] or words[0].translate(None, _NOT_TOKEN) != words[0] or not words[1]:
        raise HeadError(400, "Bad request line")
    method, target, version = words
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise HeadError(505 if version.startswith(b"HTTP/") else 400, "HTTP/1.1 is spoken here")
    if target.translate(None, _CONTROLS) != target:
        raise HeadError(400, "Bad target")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        # A name that is no token covers folded lines, blanks before the colon and bare CR or LF.
        if not colon or not name or name.translate(None, _NOT_TOKEN) != name:
            raise HeadError(400, "Bad header")
        if value.translate(None, _CONTROLS) != value:
            raise HeadError(400, "Bad header")
        headers.append((name.lower(), value.strip(b" \t")))
    return Head(method, target, version, headers), end + 4


def is_upgrade(head: Head) -> bool:
    """Whether this asks for a WebSocket, rightly or not."""
    wanted = head.get(b"upgrade")
    return wanted is not None and b"websocket" in wanted.lower()


def upgrade(head: Head) -> Upgrade:
    """Check an upgrade by RFC 6455 §4.2.1; raises HeadError with what to answer."""
    if head.method != b"GET" or head.version != b"HTTP/1.1":
        raise HeadError(400, "A WebSocket starts with GET and HTTP/1.1")
    hosts = [value for name, value in head.headers if name == b"host"]
    if len(hosts) != 1:
        raise HeadError(400, "One Host header is needed")
    if head.get(b"content-length") not in (None, b"0") or head.get(b"transfer-encoding") is not None:
        raise HeadError(400, "An upgrade has no body")
    if b"upgrade" not in (token.strip() for token in (head.get(b"connection") or b"").lower().split(b",")):
        raise HeadError(400, "Connection must say Upgrade; does a proxy drop it")
    if b"websocket" not in (token.strip() for token in (head.get(b"upgrade") or b"").lower().split(b",")):
        raise HeadError(400, "Upgrade must say websocket")
    if head.get(b"sec-websocket-version") != b"13":
        raise HeadError(426, "WebSocket version 13 is spoken here", (("Sec-WebSocket-Version", "13"),))
    key = head.get(b"sec-websocket-key") or b""
    try:
        whole = len(key) == 24 and len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        whole = False
    if not whole:
        raise HeadError(400, "Bad Sec-WebSocket-Key")
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    offers = head.get(b"sec-websocket-extensions")
    return Upgrade(accept, None if offers is None else negotiate_deflate(offers.decode("latin-1")))


def switching(accepted: Upgrade) -> bytes:
    """The 101 response."""
    extension = b"" if accepted.deflate is None else b"Sec-WebSocket-Extensions: %b\r\n" % accepted.deflate.encode()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (accepted.accept, extension)
    )


def refusal(status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """A whole response that says no and closes; the text is for people, one line."""
    body = text.encode() + b"\n"
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n{fields}Connection: close\r\n\r\n"
    ).encode() + body
