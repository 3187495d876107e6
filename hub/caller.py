"""Calls to a hub's publish API over HTTP: one connection, one attempt, with the realm's token.

Blocking, and of the standard library alone, so that a Django site or a worker of a job queue needs
no event loop to publish. It decides nothing about trying again: `publisher` does.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from .errors import BadMessage, BadToken, BrokerUnavailable, ProtocolError, TooLarge, TooMany
from .protocol import fanout, tokens
from .protocol.publications import Position


@dataclass(frozen=True, slots=True)
class Told:
    """What a hub says became of an item; None where it says nothing."""

    position: Position | None = None
    subscribers: int | None = None


#: Statuses that say "not now": nothing was accepted, or it is safe to repeat because every item has an id.
_LATER = frozenset({408, 425, 500, 502, 503, 504})

#: Longest answer that is read: a hub's is under 100 bytes an item.
_MAX_ANSWER = 1024 * 1024

#: A token is signed anew when less than this is left of it.
_RENEW_SECONDS = 60.0


class Caller:
    """Publishes to one realm of one hub. Not for two threads at once.

    url: the hub's, without `/realm/…`. timeout: seconds for each step of an exchange: connecting,
    sending, each read. A fork may happen between calls: the child makes a connection of its own.
    """

    def __init__(
        self, url: str, realm: str, key: bytes, *, timeout: float = 5.0, clock: Callable[[], float] = time.time
    ) -> None:
        parts = urlsplit(url.rstrip("/"))
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"not the URL of a hub: {url!r}")
        self.url = url.rstrip("/")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if self._secure else 80)
        self._path = f"{parts.path}/realm/{quote(realm, safe='')}"
        self._realm = realm
        self._key = key
        self._timeout = timeout
        self._clock = clock
        self._connection: http.client.HTTPConnection | None = None
        self._pid = os.getpid()
        self._token = ""
        self._token_ends = 0.0

    def publish(self, items: Sequence[bytes]) -> list[Told]:
        """Publish encoded items (`fanout.encode`) as one body; what became of each.

        Raises BrokerUnavailable: try again, with the same ids. Raises BadMessage, TooLarge, TooMany
        or BadToken: the hub refused all of them.
        """
        answer = self._exchange("POST", f"{self._path}/publish/", fanout.encode_body(items))
        told = answer.get("items") if isinstance(answer, dict) else None
        if not isinstance(told, list) or len(told) != len(items):
            return [Told()] * len(items)
        return [Told(_position(each), _count(each)) for each in told]

    def position(self, channel: str) -> Position | None:
        """The newest position of a channel in Fanout form. Raises as `publish` does."""
        answer = self._exchange("GET", f"{self._path}/position/?channel={quote(channel, safe='')}", None)
        return _position(answer)

    def look(self, what: str, **query: str) -> Any:
        """What the hub says of itself (`transports.inside`): now, history, find, client or trace.

        Raises as `publish` does.
        """
        return self._exchange("GET", f"{self._path}/inside/{what}/?{urlencode(query)}", None)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            connection.close()

    def _exchange(self, method: str, path: str, body: bytes | None) -> Any:
        if self._pid != os.getpid():
            # A connection made before a fork is the parent's: two processes writing to it would mix
            # their requests.
            self._connection = None
            self._pid = os.getpid()
        kept = self._connection is not None
        try:
            status, text = self._attempt(method, path, body)
        except TimeoutError:
            self.close()
            raise BrokerUnavailable(f"{self.url}: no answer in {self._timeout:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if kept:
                # The server may close an idle connection at any time, and only use tells. Items carry
                # ids, so that repeating them is safe whatever had become of the first attempt.
                return self._exchange(method, path, body)
            raise BrokerUnavailable(f"{self.url}: {_reason(error)}") from None
        return self._judge(status, text)

    def _attempt(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connect()
        headers = {
            "Authorization": f"Bearer {self._bearer()}",
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "fanfare",
        }
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read(_MAX_ANSWER)
        if response.will_close or not response.isclosed():
            self.close()
        return response.status, text

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _bearer(self) -> str:
        now = self._clock()
        if now > self._token_ends - _RENEW_SECONDS:
            self._token = tokens.sign(self._realm, self._key, now)
            self._token_ends = now + tokens.LIFE_SECONDS
        return self._token

    def _judge(self, status: int, text: bytes) -> Any:
        if 200 <= status < 300:
            try:
                return json.loads(text)
            except ValueError:
                # Pushpin and Fanout itself answer in plain text.
                return None
        first = text.decode("utf-8", "replace").strip().partition("\n")[0][:200]
        reason = first or http.client.responses.get(status, str(status))
        if status in _LATER:
            raise BrokerUnavailable(f"{self.url}: {status} {reason}")
        refusal: type[ProtocolError]
        match status:
            case 401 | 403:
                refusal = BadToken
            case 413:
                refusal = TooLarge
            case 429:
                refusal = TooMany
            case 400 | 422:
                refusal = BadMessage
            case _:
                # No hub answers so: the URL leads elsewhere, and that may be put right.
                raise BrokerUnavailable(f"{self.url}: answered {status}; is this a hub?")
        raise refusal(text=reason)


def _position(answer: object) -> Position | None:
    text = answer.get("position") if isinstance(answer, dict) else None
    if text is None:
        return None
    try:
        return Position.parse(text)
    except BadMessage:
        return None


def _count(answer: object) -> int | None:
    count = answer.get("subscribers") if isinstance(answer, dict) else None
    return count if isinstance(count, int) else None


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "no such host"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'failed'}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "connection lost"
