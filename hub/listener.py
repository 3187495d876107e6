"""Listening to a hub from a command: Bayeux over long-polling, with recovery.

Blocking, and of the standard library alone, like `caller`. What was missed while the hub or the
line was away is recovered from the last position; where that can't be done, it is said.
"""

from __future__ import annotations

import http.client
import json
import random
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .errors import BadMessage, BrokerUnavailable, HubError
from .protocol.channels import from_fanout, is_wild, to_fanout

#: Seconds added to what the hub says it holds a connect for, before it is taken for dead.
_GRACE = 10.0

#: Codes of errors that pass: a session that is gone, a hub that is full or has lost its broker.
_PASSING = frozenset({"402", "408", "429", "500", "503"})

_FIRST_PAUSE = 0.5
_LAST_PAUSE = 15.0


@dataclass(frozen=True, slots=True)
class Heard:
    """A publication: channel in Fanout form, data, and its position as text."""

    channel: str
    data: Any
    position: str


@dataclass(frozen=True, slots=True)
class Missed:
    """Publications of a channel may be missing before the next one: fetch what they stood for."""

    channel: str


class Refused(HubError):
    """The hub refuses the subscription; trying again would not help."""


class _Lost(Exception):
    """The session or the connection is gone; begin again."""


def _refusal(what: str, reply: dict[str, Any]) -> Refused | _Lost:
    """What to raise for a reply that is not successful."""
    error = str(reply.get("error"))
    return (_Lost if error.partition(":")[0] in _PASSING else Refused)(f"{what}: {error}")


class Listener:
    """Listens to channels and patterns, in either form.

    since: positions to recover from, by channel. on_pause: told why and for how long when the hub
    can't be reached.
    """

    def __init__(
        self,
        url: str,
        channels: Sequence[str],
        *,
        since: dict[str, str] | None = None,
        on_pause: Callable[[str, float], None] = lambda reason, seconds: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url.rstrip("/"))
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"not the URL of a hub: {url!r}")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if self._secure else 80)
        self._path = f"{parts.path}/bayeux"
        self._url = url
        self._patterns = [from_fanout(channel) for channel in channels]
        self._positions = {from_fanout(channel): position for channel, position in (since or {}).items()}
        self._on_pause = on_pause
        self._sleep = sleep
        self._connection: http.client.HTTPConnection | None = None
        self._id = ""
        self._begun = False
        self._hold = 60.0

    def listen(self, *, once: bool = False) -> Iterator[Heard | Missed]:
        """What is heard, for ever. Raises Refused; with `once`, BrokerUnavailable when the hub is away at first."""
        pause = 0.0
        connected = False
        while True:
            try:
                if not self._id:
                    yield from self._begin()
                    connected = True
                yield from self._connect()
                pause = 0.0
            except (_Lost, OSError, http.client.HTTPException) as error:
                self.close()
                reason = (getattr(error, "strerror", None) or str(error) or "connection lost").lower()
                if once and not connected:
                    raise BrokerUnavailable(f"{self._url}: {reason}") from None
                pause = min(max(pause * 2, _FIRST_PAUSE), _LAST_PAUSE) * random.uniform(0.7, 1.3)
                self._on_pause(reason, pause)
                self._sleep(pause)

    def close(self) -> None:
        """Close the connection; the session expires by itself."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _begin(self) -> Iterator[Missed]:
        [handshake] = self._say(
            {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}
        )
        if not handshake.get("successful"):
            raise _refusal("handshake", handshake)
        self._id = str(handshake["clientId"])
        asked = {pattern: self._positions.get(pattern) for pattern in self._patterns if not is_wild(pattern)}
        subscribe = {
            "channel": "/meta/subscribe",
            "clientId": self._id,
            "subscription": self._patterns,
            "ext": {"position": asked},
        }
        [reply] = self._say(subscribe)
        if not reply.get("successful"):
            self._id = ""
            raise _refusal(", ".join(map(to_fanout, self._patterns)), reply)
        if self._begun:
            # A pattern has no position to recover from.
            yield from (Missed(to_fanout(pattern)) for pattern in self._patterns if is_wild(pattern))
        self._begun = True
        ext = reply.get("ext") or {}
        for channel, complete in ext.get("recovered", {}).items():
            if not complete:
                yield Missed(to_fanout(channel))
        for channel, position in ext.get("position", {}).items():
            # What was recovered follows, and moves the position itself.
            if self._positions.get(channel) is None or not ext.get("recovered", {}).get(channel):
                self._positions[channel] = position

    def _connect(self) -> Iterator[Heard | Missed]:
        connect = {"channel": "/meta/connect", "clientId": self._id, "connectionType": "long-polling"}
        replies = []
        for message in self._say(connect):
            if str(message.get("channel")).startswith("/meta/"):
                replies.append(message)
            elif "data" in message:
                self._positions[message["channel"]] = message.get("id", "")
                yield Heard(to_fanout(message["channel"]), message["data"], str(message.get("id", "")))
        for reply in replies:
            for channel in (reply.get("ext") or {}).get("lost", ()):
                self._positions.pop(channel, None)
                yield Missed(to_fanout(channel))
            advice = reply.get("advice") or {}
            self._hold = max(float(advice.get("timeout", self._hold * 1000)) / 1000, 0.0)
            if not reply.get("successful"):
                self._id = ""
                raise _Lost(f"session ended: {reply.get('error')}")
            if advice.get("interval"):
                self._sleep(float(advice["interval"]) / 1000)

    def _say(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        kept = self._connection is not None
        try:
            status, text = self._attempt(json.dumps([message]).encode())
        except (OSError, http.client.HTTPException):
            self.close()
            if not kept:
                raise
            # An idle connection may have been closed at any time. Bayeux messages may be repeated.
            status, text = self._attempt(json.dumps([message]).encode())
        if status != 200:
            raise _Lost(f"answered {status}")
        try:
            answer = json.loads(text)
        except ValueError:
            raise _Lost("answered something that is not JSON; is this a hub?") from None
        if not isinstance(answer, list) or not all(isinstance(each, dict) for each in answer) or not answer:
            raise _Lost("answered something that is not Bayeux; is this a hub?")
        return answer

    def _attempt(self, body: bytes) -> tuple[int, bytes]:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._open()
        if connection.sock is not None:
            connection.sock.settimeout(self._hold + _GRACE)
        connection.request("POST", self._path, body, {"Content-Type": "application/json", "User-Agent": "fanfare"})
        response = connection.getresponse()
        return response.status, response.read()

    def _open(self) -> http.client.HTTPConnection:
        timeout = self._hold + _GRACE
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)


def parse_since(text: str) -> tuple[str, str]:
    """`comments-17=k3f9.12` as channel and position; raises BadMessage."""
    channel, equals, position = text.rpartition("=")
    if not equals or not channel or not position:
        raise BadMessage(text="Say CHANNEL=POSITION, such as comments-17=k3f9a2b1.12")
    return channel, position
