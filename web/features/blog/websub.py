"""What a WebSub hub is asked for and says, as plain values (W3C WebSub, 2018). Pure: waits for nothing, knows no rows.

Numbers in comments are the recommendation's sections.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit

from ...services.domains import may_be_split
from .addresses import ListAddress, NoAddress, parse_list

#: Where the site's own hub is.
HUB_PATH = "/websub"

#: Seconds. A day less than a reader asks again after is no use; a subscriber that is gone is asked for a month at most.
MIN_LEASE = 3600
MAX_CALLBACK = 2000
#: Characters; the longest is of ten categories, each of whose letters is escaped.
MAX_TOPIC = 8000
#: Bytes; less than so many (5.1).
MAX_SECRET = 200

Mode = Literal["subscribe", "unsubscribe"]


class BadAsk(ValueError):
    """What was asked can't be; as a string: why, for who asked."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a subscriber asks for. lease: seconds, within our bounds."""

    mode: Mode
    topic: str
    callback: str
    secret: str
    lease: int

    @property
    def key(self) -> str:
        """Of this subscriber to this topic (5.1: the two together are unique)."""
        return key_of(self.topic, self.callback)


def key_of(topic: str, callback: str) -> str:
    """What a topic and a callback are known by together."""
    return hashlib.sha256(f"{topic}\n{callback}".encode(errors="replace")).hexdigest()


def read_ask(fields: Mapping[str, str], *, default_lease: int, max_lease: int) -> Ask:
    """What the fields of a request ask for (5.1). Raises BadAsk."""
    mode = fields.get("hub.mode", "")
    if mode not in ("subscribe", "unsubscribe"):
        raise BadAsk("hub.mode is subscribe or unsubscribe.")
    topic, callback, secret = (fields.get(f"hub.{name}", "") for name in ("topic", "callback", "secret"))
    if not topic:
        raise BadAsk("hub.topic is the address of a feed of this site.")
    if not _is_address(callback):
        raise BadAsk(f"hub.callback is an http or https address of at most {MAX_CALLBACK} characters.")
    if len(secret.encode(errors="replace")) >= MAX_SECRET:
        raise BadAsk(f"hub.secret has less than {MAX_SECRET} bytes.")
    if "\0" in topic + secret:
        raise BadAsk("There is a NUL in it.")
    asked = fields.get("hub.lease_seconds", "") or str(default_lease)
    if not (asked.isascii() and asked.isdigit()):
        raise BadAsk("hub.lease_seconds is a number of seconds.")
    lease = min(max(int(asked[:12]), MIN_LEASE), max_lease)
    return Ask("subscribe" if mode == "subscribe" else "unsubscribe", topic, callback, secret, lease)


def _is_address(callback: str) -> bool:
    # Before anything takes it apart.
    if len(callback) > MAX_CALLBACK or not callback.isprintable() or " " in callback or not may_be_split(callback):
        return False
    try:
        parts = urlsplit(callback)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def parse_topic(topic: str) -> tuple[str, ListAddress]:
    """The origin and the list of a topic, which is a feed's address as the feed itself says it. Raises BadAsk."""
    if len(topic) > MAX_TOPIC or not may_be_split(topic):
        raise BadAsk(_NO_TOPIC)
    try:
        parts = urlsplit(topic)
        address = parse_list(parts.path)
    except (ValueError, NoAddress):
        raise BadAsk(_NO_TOPIC) from None
    origin = f"{parts.scheme}://{parts.netloc}"
    if not address.feed or topic != origin + address.path:
        raise BadAsk(_NO_TOPIC)
    return origin, address


_NO_TOPIC = "hub.topic is no feed of this site: give the address that the feed has as its own (rel=self)."


def verification(ask: Ask, challenge: str) -> str:
    """What is fetched to ask the callback whether it meant it (5.3); its own query stays."""
    words = {"hub.mode": ask.mode, "hub.topic": ask.topic, "hub.challenge": challenge}
    if ask.mode == "subscribe":
        words["hub.lease_seconds"] = str(ask.lease)
    base, mark, fragment = ask.callback.partition("#")
    joint = "&" if "?" in base else "?"
    return base + joint + urlencode(words, quote_via=quote, safe="") + mark + fragment


def signature(secret: str, body: bytes) -> str:
    """The value of X-Hub-Signature (7.1)."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def links(origin: str, topic: str) -> str:
    """The Link header of a feed, and of what is delivered of it (4, 7)."""
    return f'<{origin}{HUB_PATH}>; rel="hub", <{topic}>; rel="self"'
