"""What fields of a message say. They are the client's: each may be missing, or anything at all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from ..errors import BadMessage, InvalidId, NoClientId, UnknownClient
from ..protocol.channels import is_service, is_wild
from ..protocol.messages import Message
from ..protocol.publications import Position
from ..protocol.replay import parse_replay
from ..sessions.registry import Registry
from ..sessions.session import Session

#: Longest message id that is echoed; Faye's are 1 to 8 characters, CometD's are counters.
MAX_ID_CHARS = 128

#: Longest id that is remembered as it is; of longer ones the digest is.
_SHORT_ID = 40

#: Longest text that is read as a version.
MAX_VERSION = 20

#: Parts of a publisher's `ext` that subscribers may see. Everything else (tokens, passwords) stays here.
FORWARDED_EXT = ("binary",)


def shows_token(message: Message) -> bool:
    """Whether there is a token in its ext."""
    ext = message.get("ext")
    return isinstance(ext, dict) and "token" in ext


def session_of(registry: Registry, message: Message) -> Session:
    """The session of a message's sender; raises NoClientId or UnknownClient."""
    client_id = message.get("clientId")
    if client_id is None:
        raise NoClientId()
    session = registry.get(client_id)
    if session is None:
        raise UnknownClient(shown_id(client_id))
    return session


def channel_of(message: object) -> object:
    """What stands where the channel should; None for a message that is not an object."""
    return message.get("channel") if isinstance(message, dict) else None


def echo_id(message: Message, reply: Message) -> None:
    """Repeat the message's id in the reply; raises InvalidId."""
    number = message.get("id")
    if number is None:
        return
    whole = isinstance(number, int) and not isinstance(number, bool) and abs(number) < 2**63
    if not whole and not (isinstance(number, str) and len(number) <= MAX_ID_CHARS and "\ufffd" not in number):
        # The sender of broken text would not recognise the echo.
        raise InvalidId()
    reply["id"] = number


def speaks_1(version: object) -> bool:
    """Whether this is a Bayeux version of 1 or later; a "2.0" client may accept ours too (`accepts_1`)."""
    number = _number(version)
    return number is not None and number >= 1.0


def accepts_1(minimum: object) -> bool:
    """Whether a client with this `minimumVersion` can talk Bayeux 1."""
    number = _number(minimum)
    return number is not None and number < 2.0


def _number(version: object) -> float | None:
    """A version as a number, or None. Long text is not read: a megabyte of digits takes 10 ms."""
    if not isinstance(version, str | int | float) or (isinstance(version, str) and len(version) > MAX_VERSION):
        return None
    try:
        return float(version)
    except ValueError:
        return None


def brief(value: object) -> str:
    """A value for an error text; only its type for a list or an object. Printing a list of 40,000 takes 10 ms."""
    return type(value).__name__ if isinstance(value, list | dict) else str(value)


def asked_positions(message: Message, patterns: Sequence[str]) -> dict[str, Position | None]:
    """The channels of a subscribe whose position is asked for, each with the position to recover from, or None.

    A position that can't be read counts as one whose history is gone, so the client refetches. An error would cost it
    the subscription too.
    """
    ext = message.get("ext")
    asked = ext.get("position") if isinstance(ext, dict) else None
    if not isinstance(asked, dict):
        return {}
    found: dict[str, Position | None] = {}
    for pattern in patterns:
        if pattern in asked and not is_wild(pattern) and not is_service(pattern):
            since = asked[pattern]
            try:
                found[pattern] = None if since is None else Position.parse(since)
            except BadMessage:
                found[pattern] = Position("unknown", 0)
    return found


def asked_replays(message: Message, patterns: Sequence[str]) -> dict[str, int | Position]:
    """The channels of a subscribe that ask for a replay, as Salesforce's clients do. Raises BadMessage."""
    ext = message.get("ext")
    asked = ext.get("replay") if isinstance(ext, dict) else None
    if not isinstance(asked, dict):
        return {}
    return {
        pattern: parse_replay(asked[pattern])
        for pattern in patterns
        if pattern in asked and not is_wild(pattern) and not is_service(pattern)
    }


def key_of(client_id: str, number: object) -> str:
    """The idempotency key of a client's publish, from its message id. A long id is hashed: 200,000 keys are kept."""
    text = str(number)
    if len(text) > _SHORT_ID or not text.isascii():
        text = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{client_id}:{text}"


def synchronised(asked: object, now: int) -> dict[str, Any] | None:
    """CometD's answer to ext.timesync; None where CometD sends none, as the client's clock is right to 25 ms."""
    if not isinstance(asked, dict):
        return None
    values = [asked.get(name, 0) for name in ("tc", "l", "o")]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) and abs(each) < 1e15 for each in values):
        return None
    sent, lag, offset = values
    accuracy = round(sent + offset + lag - now)
    if lag != 0 and abs(accuracy) < 25:
        return None
    return {"tc": sent, "ts": now, "p": 0, "a": accuracy}


def forwarded(message: Message) -> dict[str, object]:
    """The parts of a publish's ext that its subscribers may see."""
    ext = message.get("ext")
    return {name: ext[name] for name in FORWARDED_EXT if name in ext} if isinstance(ext, dict) else {}


def subscription_echo(message: Message) -> object:
    """The `subscription` of a reply to a refused subscribe or unsubscribe."""
    # aiocometd wants a string here, even on a refusal.
    subscription = message.get("subscription")
    return subscription if isinstance(subscription, str) and len(subscription) <= 255 else ""


def shown_id(client_id: object) -> str:
    """A clientId as an error may repeat it: short, and safe in the error's `code:args:text` form."""
    text = client_id if isinstance(client_id, str) else type(client_id).__name__
    return "".join(char if char.isalnum() else "_" for char in text[:40])
