"""The head of an HTTP/1 request, and the WebSocket upgrade it may ask for (RFC 9112, RFC 6455 §4.2).

Only what may become a WebSocket is read here, so this is stricter than a web server has to be:
what two parsers could understand differently is refused.

`read_head`, `upgrade` and `switching` together take 11 to 12 µs of CPU for a browser's request of
12 fields (timeit with process_time, CPython 3.11). Splitting and checking the fields is 2.7 µs of
it; a regular expression a line takes 8.
"""

from __future__ import annotations

import hashlib
import re
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import NamedTuple

from ..errors import HeadError
from .frames import negotiate_deflate, window_bits

#: Bytes a head may have by default, its blank line included.
HEAD_BYTES = 32 * 1024

#: Fields a head may have; browsers behind two proxies send about 30.
MAX_FIELDS = 100

#: RFC 6455 §1.3: proves that the server understood the upgrade.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#: Schemes that a target in absolute form may have.
SCHEMES = frozenset({"http", "https", "ws", "wss"})

#: How the key's field begins, as every browser spells it, and how long its value is.
_KEY_FIELD = b"\r\nSec-WebSocket-Key: "
_KEY_BYTES = 24

#: Bytes of Connection and Upgrade that are looked at, clients send 30; and subprotocols that may be offered, some of
#: which carry a token of kilobytes.
_MAX_LIST = 1000
_MAX_PROTOCOLS = 50

_TOKEN_BYTES = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: Control bytes but tab, which may stand in a value; CR and LF are looked at as pairs.
_CONTROLS = bytes(byte for byte in (*range(32), 127) if byte not in b"\t\r\n")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]+)([^#]*)")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")


class Head:
    """A request's first line and fields.

    `version` is b"HTTP/1.1" or b"HTTP/1.0". `headers` are (lower-case name, value) in the order they came.
    """

    __slots__ = ("_fields", "headers", "method", "target", "version")

    def __init__(self, method: bytes, target: bytes, version: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        fields = dict(headers)
        if len(fields) < len(headers):
            fields.clear()
            for name, value in headers:
                fields[name] = fields[name] + b", " + value if name in fields else value
        self._fields = fields

    def get(self, name: bytes) -> bytes | None:
        """The value of a field by its lower-case name, repeated ones joined by ", " (RFC 9110 §5.2), or None."""
        return self._fields.get(name)


class Upgrade(NamedTuple):
    """An upgrade that may be accepted.

    accept: the answer to the key. deflate: the extension header to answer with, or None.
    window: what `frames.deflate` has to keep to, 0 without compression. origin: as sent, or None
    outside browsers. protocols: the subprotocols offered.
    """

    key: bytes
    accept: bytes
    deflate: str | None
    window: int
    origin: bytes | None
    protocols: tuple[str, ...]

    def with_key(self, key: bytes) -> Upgrade:
        """The same upgrade, asked for with another key that `split_key` gave."""
        return Upgrade(key, _accept(key), self.deflate, self.window, self.origin, self.protocols)


def split_key(buffer: bytes) -> tuple[bytes, bytes] | None:
    """The Sec-WebSocket-Key of a head, and the head without it; None if there is none that one can be sure of.

    The connections of one browser build differ by it alone. So if a whole head was read and `upgrade` took it, the
    same rest with another key means the same upgrade, but for the key (`Upgrade.with_key`).
    """
    start = buffer.find(_KEY_FIELD) + len(_KEY_FIELD)
    end = start + _KEY_BYTES
    key = buffer[start:end]
    if start < len(_KEY_FIELD) or not _is_key(key):
        return None
    return key, buffer[:start] + buffer[end:]


def read_head(buffer: bytes | bytearray, limit: int = HEAD_BYTES) -> tuple[Head, int] | None:
    """Return the head and how many bytes it takes, blank line included; None while it is incomplete.

    Raises HeadError: 400 for what isn't HTTP/1, 431 for over `limit` bytes or MAX_FIELDS fields,
    505 for another version. The error may come before the head is complete.
    """
    end = buffer.find(b"\r\n\r\n", 0, limit)
    if end < 0:
        if len(buffer) >= limit:
            raise HeadError(431, "Request head too large")
        # A client that ends lines with LF alone would wait for an answer for ever.
        newline = buffer.find(b"\n")
        if newline >= 0 and buffer[newline - 1 : newline] != b"\r":
            raise HeadError(400, "Lines end with CR LF")
        return None
    raw = bytes(buffer[:end])
    if len(raw.translate(None, _CONTROLS)) != end:
        raise HeadError(400, "Control characters in the request head")
    first, *lines = raw.split(b"\r\n")
    if raw.count(b"\r") != len(lines) or raw.count(b"\n") != len(lines):
        raise HeadError(400, "Lines end with CR LF")
    if len(lines) > MAX_FIELDS:
        raise HeadError(431, "Too many header fields")

    method, target, version = _check_request_line(first)
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        # Spaces before the colon and folded lines fail here too, as RFC 9112 §5 demands.
        if not colon or not name or name.translate(None, _TOKEN_BYTES):
            raise HeadError(400, "Bad header field")
        headers.append((name.lower(), value.strip(b" \t")))
    head = Head(method, target, version, headers)
    _check_framing(head)
    return head if target.startswith(b"/") else origin_form(head), end + 4


def origin_form(head: Head) -> Head:
    """The same request with a path for its target. One in absolute form, as for a proxy, names the host itself.

    RFC 9112 §3.2.2. Raises HeadError 400 for another scheme than SCHEMES and for an authority that is no host; a target
    in any other form stays as it is.
    """
    match = _ABSOLUTE.fullmatch(head.target)
    if match is None:
        return head
    scheme, authority, target = match[1], match[2], match[3]
    if scheme.lower().decode() not in SCHEMES or b"@" in authority or not _is_host(authority):
        raise HeadError(400, "Bad request target")
    headers = [(name, value) for name, value in head.headers if name != b"host"]
    target = target if target.startswith(b"/") else b"/" + target
    return Head(head.method, target, head.version, [(b"host", authority), *headers])


def _check_request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    parts = line.split(b" ")
    if len(parts) != 3:
        raise HeadError(400, "Bad request line")
    method, target, version = parts
    if not method or method.translate(None, _TOKEN_BYTES) or _TARGET.fullmatch(target) is None:
        raise HeadError(400, "Bad request line")
    if version != b"HTTP/1.1" and version != b"HTTP/1.0":
        if _VERSION.fullmatch(version) is None:
            raise HeadError(400, "Bad request line")
        raise HeadError(505, "HTTP/1.1 only")
    return method, target, version


def _check_framing(head: Head) -> None:
    """Refuse what makes two parsers see two requests (RFC 9112 §3.2, §6.3)."""
    fields = head._fields
    host = fields.get(b"host")
    if host is None:
        if head.version == b"HTTP/1.1":
            raise HeadError(400, "Host is missing")
    elif not _is_host(host):
        raise HeadError(400, "Bad Host")
    length = fields.get(b"content-length")
    if length is not None:
        if b"transfer-encoding" in fields:
            raise HeadError(400, "Content-Length and Transfer-Encoding")
        # Digits only, or the same digits repeated in several fields: b"5, 5" joined.
        values = {value for name, value in head.headers if name == b"content-length"}
        if len(values) > 1 or not values.pop().isdigit():
            raise HeadError(400, "Bad Content-Length")


def _is_host(host: bytes) -> bool:
    """Whether it can be one host; two fields would have been joined by a comma."""
    return host.translate(None, b", \t") == host


def is_upgrade(head: Head) -> bool:
    """Whether the request asks for a WebSocket at all; `upgrade` says whether rightly."""
    value = head.get(b"upgrade")
    return value is not None and _has_token(value, b"websocket")


def upgrade(head: Head, smallest: int = 15) -> Upgrade:
    """Check an opening handshake by RFC 6455 §4.2.1. Whether its origin may come in is for the caller.

    smallest: the narrowest compression window the caller can do, see `negotiate_deflate`.
    Raises HeadError 400, 405 (not a GET) or 426 (not version 13), with the headers to answer with.
    """
    if head.method != b"GET":
        raise HeadError(405, "A WebSocket starts with GET", (("Allow", "GET"),))
    if head.version != b"HTTP/1.1":
        raise HeadError(400, "A WebSocket needs HTTP/1.1. A proxy may have lowered the version.")
    get = head.get
    # Asked again, since heads are also made from what another parser read.
    host = get(b"host")
    if host is None or not _is_host(host):
        raise HeadError(400, "Bad Host")
    if not _has_token(get(b"upgrade") or b"", b"websocket"):
        raise HeadError(426, "This is for WebSockets", (("Upgrade", "websocket"),))
    if not _has_token(get(b"connection") or b"", b"upgrade"):
        raise HeadError(400, "Connection does not say upgrade. A proxy may have removed it.")
    # A body would be read as frames.
    if get(b"transfer-encoding") is not None or get(b"content-length") not in (None, b"0"):
        raise HeadError(400, "An upgrade has no body")
    version = get(b"sec-websocket-version")
    if version != b"13":
        raise HeadError(426, "WebSocket version 13 only", (("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")))
    key = get(b"sec-websocket-key")
    if key is None or not _is_key(key):
        raise HeadError(400, "Bad Sec-WebSocket-Key")
    extensions = get(b"sec-websocket-extensions")
    protocols = get(b"sec-websocket-protocol")
    deflate = None if extensions is None else negotiate_deflate(extensions.decode("latin-1"), smallest)
    return Upgrade(
        key,
        _accept(key),
        deflate,
        0 if deflate is None else window_bits(deflate),
        get(b"origin"),
        () if protocols is None else _split_protocols(protocols),
    )


def chosen(protocols: Sequence[str]) -> str | None:
    """The subprotocol to answer with: the first that was offered, None if none was.

    We have none of our own, and JSON is all we speak whatever its name. But a browser that offered some and gets
    none back fails the connection (WebSockets standard, "establish a WebSocket connection", step 11), and one that was
    not offered must not be named (RFC 6455 §4.2.2). So libraries that always offer one may come in; `ws` does the same.
    """
    return protocols[0] if protocols else None


def switching(accepted: Upgrade, protocol: str | None = None) -> bytes:
    """The 101 answer. protocol: the chosen one of the subprotocols offered.

    A browser that offered some and gets none back drops the connection.
    """
    answer = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accepted.accept
    )
    if accepted.deflate is not None:
        answer += b"\r\nSec-WebSocket-Extensions: " + accepted.deflate.encode()
    if protocol is not None:
        answer += b"\r\nSec-WebSocket-Protocol: " + protocol.encode()
    return answer + b"\r\n\r\n"


def refusal(status: int, text: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """A whole answer with a line of plain text, after which the connection is to be closed."""
    body = text.encode() + b"\n"
    fields = list(headers)
    # RFC 9110 §7.8: whoever sends Upgrade names it in Connection too.
    connection = "close, upgrade" if any(name.lower() == "upgrade" for name, _ in fields) else "close"
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *(f"{name}: {value}" for name, value in fields),
        "Content-Type: text/plain; charset=utf-8",
        "X-Content-Type-Options: nosniff",
        f"Content-Length: {len(body)}",
        f"Connection: {connection}",
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _has_token(value: bytes, token: bytes) -> bool:
    """Whether a comma-separated list has the token, whatever its case. A long one has nothing: it would take 3 ms."""
    if len(value) > _MAX_LIST:
        return False
    value = value.lower()
    return value == token or any(part.strip(b" \t") == token for part in value.split(b","))


def _is_key(key: bytes) -> bool:
    """Whether it is sixteen bytes in base64."""
    if len(key) != _KEY_BYTES:
        return False
    try:
        return len(a2b_base64(key, strict_mode=True)) == 16
    except Error:
        return False


def _accept(key: bytes) -> bytes:
    return b2a_base64(hashlib.sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)


def _split_protocols(value: bytes) -> tuple[str, ...]:
    names = tuple(part.strip(b" \t") for part in value.split(b",", _MAX_PROTOCOLS))
    if len(names) > _MAX_PROTOCOLS:
        raise HeadError(400, "Too many of Sec-WebSocket-Protocol")
    if any(not name or name.translate(None, _TOKEN_BYTES) for name in names) or len(set(names)) != len(names):
        raise HeadError(400, "Bad Sec-WebSocket-Protocol")
    return tuple(name.decode("ascii") for name in names)
