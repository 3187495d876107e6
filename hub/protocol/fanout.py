"""Fanout publish bodies: what the Fanout and GRIP libraries send, and the drafts it means.

A body is `{"items": [item, …]}`. An item names a channel and carries the same message in one or
more *formats*, in one of three shapes: flat (`"json-object"` beside `"channel"`), nested
(`"formats": {…}`), and, from before 2015, `"fpp"` with the channel in the URL instead.

`json-object` is any JSON value and is delivered as it is. An item without it is delivered as the
text of its `ws-message`, `http-stream` or `http-response`, in this order: a JSON string, base64 as
it came if it isn't UTF-8. Of the actions, `hint` is delivered as null, marked as a hint; `close` of a
`ws-message` or `http-stream` ends connections, after what the item delivers, and travels through the log
as a draft of its own (`close_channel`); `refresh` speaks to a GRIP proxy's origin, and there is none here:
it is accepted and nothing is delivered. Fields we don't know are ignored.

The texts of errors are Pushpin's, with the number of the item added. A body is accepted or refused
as a whole.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ..errors import BadMessage, TooDeep, TooLarge, TooMany
from . import messages
from .channels import close_channel, from_fanout_name, to_fanout
from .frames import MAX_REASON_BYTES, may_close_with
from .publications import Draft

Action = Literal["send", "hint", "close", "refresh"]

_ACTIONS = ("send", "hint", "close", "refresh")
_WS_TYPES = ("text", "binary", "ping", "pong")

#: Formats that are JSON; a value of any type, null too, so it is the key that counts.
_JSON_FORMATS = ("json-object", "fpp")
#: Formats that are text or bytes, in the order in which one is preferred to the next.
_TEXT_FORMATS = ("ws-message", "http-stream", "http-response")

#: Longest id. It is remembered for ten minutes, so it is bounded like a channel's name.
MAX_ID_CHARS = 255


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a body. bytes: of one item's data; depth: of its nesting; items: in a body."""

    items: int = 1000
    bytes: int = 1024 * 1024
    depth: int = 64


class Item(NamedTuple):
    """One item of a body.

    draft: None when its action leaves nothing to deliver. close: the draft that ends connections, if it is to.
    prev_id: the id of the item that it follows, None if it may go at once.
    """

    channel: str
    draft: Draft | None
    action: Action = "send"
    id: str | None = None
    prev_id: str | None = None
    close: Draft | None = None


def drafts_of(items: Iterable[Item]) -> list[Draft]:
    """What is published of these items, in this order."""
    drafts = []
    for item in items:
        if item.draft is not None:
            drafts.append(item.draft)
        if item.close is not None:
            drafts.append(item.close)
    return drafts


def key_of(channel: str, id: str) -> str:
    """The idempotency key of an item: Fanout's ids are the publisher's own, and unique in a channel only."""
    return f"{channel} {id}"


def is_id(text: str) -> bool:
    """Whether a text of the right length can be an id.

    Control characters have no business in a log line; what stands for broken text would be one id for many.
    """
    return text.isprintable() and "\ufffd" not in text


def parse(body: bytes, *, channel: str | None = None, limits: Limits = Limits()) -> list[Item]:
    """The items of a body, all of them valid. `channel`: the one the URL names, for items that name none.

    Raises BadMessage (TooDense among it), InvalidChannel, TooLarge (an item's data) or TooMany (items); nothing else.
    """
    messages.check_values(body, messages.MAX_KEYED_VALUES)
    try:
        value = messages.loads(body)
    except BadMessage:
        raise BadMessage(text="Body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise BadMessage(text="Invalid format.")
    if "items" not in value:
        raise _bad("object does not contain 'items'")
    items = value["items"]
    if not isinstance(items, list):
        raise _bad("object contains 'items' with wrong type")
    if len(items) > limits.items:
        raise TooMany(text=f"More than {limits.items} items", limit="messages")
    default = None if channel is None else from_fanout_name(channel)
    return [_item(item, number, default, limits) for number, item in enumerate(items)]


def encode(channel: str, data: bytes, *, id: str | None = None, hint: bool = False) -> bytes:
    """One item, in the flat shape, from a channel in Bayeux form and encoded data.

    `hint` is ours: Fanout's item has no word for data of which only the newest matters.
    """
    parts = [b'"channel":' + messages.dumps(to_fanout(channel))]
    if id is not None:
        parts.append(b'"id":' + messages.dumps(id))
    if hint:
        parts.append(b'"hint":true')
    parts.append(b'"json-object":' + data)
    return b"{" + b",".join(parts) + b"}"


def encode_body(items: Iterable[bytes]) -> bytes:
    """A body from encoded items."""
    return b'{"items":[' + b",".join(items) + b"]}"


def _bad(reason: str, number: int | None = None) -> BadMessage:
    where = "" if number is None else f" (item {number})"
    return BadMessage(text=f"Invalid format: {reason}{where}")


def _item(item: object, number: int, default: str | None, limits: Limits) -> Item:
    if not isinstance(item, dict):
        raise _bad("publish item is not an object", number)
    channel = _channel(item, number, default)
    if len(item) == 2 and "json-object" in item and "channel" in item:
        # Most are so, and nothing else has to be looked for.
        return Item(channel, Draft(channel, _data(item["json-object"], channel, limits)))
    own_id = _id(item, "id", number)
    prev_id = _id(item, "prev-id", number)
    formats = item.get("formats", item)
    if not isinstance(formats, dict):
        raise _bad("publish item object contains 'formats' with wrong type", number)
    if not isinstance(item.get("meta", {}), dict):
        raise _bad("publish item object contains 'meta' with wrong type", number)
    hint = item.get("hint", False)
    if not isinstance(hint, bool):
        raise _bad("publish item object contains 'hint' with wrong type", number)
    # Pushpin's word for "in whatever order it comes".
    unordered = item.get("no-seq", False)
    if not isinstance(unordered, bool):
        raise _bad("publish item object contains 'no-seq' with wrong type", number)
    action, found, value = _value(formats, number)
    key = None if own_id is None else key_of(channel, own_id)
    draft = close = None
    if found:
        data = _data(value, channel, limits)
        draft = Draft(channel, data, key=key, hint=hint or action == "hint")
    closed = _closed(formats, number)
    if closed:
        # An id has no line break in it, so this key is no other item's.
        own_key = key if draft is None or key is None else f"{key}\n"
        close = Draft(close_channel(channel), messages.dumps(closed), key=own_key)
    return Item(channel, draft, action, own_id, None if unordered else prev_id, close)


def _channel(item: dict[str, Any], number: int, default: str | None) -> str:
    if "channel" not in item:
        if default is None:
            raise _bad("publish item object does not contain 'channel'", number)
        return default
    name = item["channel"]
    if not isinstance(name, str):
        raise _bad("publish item object contains 'channel' with wrong type", number)
    channel = from_fanout_name(name)
    if default is not None and channel != default:
        raise _bad("publish item object names another channel than the URL", number)
    return channel


def _id(item: dict[str, Any], field: str, number: int) -> str | None:
    """An id as text. pubcontrol passes on whatever it is given, so integers come too."""
    value = item.get(field)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _bad(f"publish item object contains '{field}' with wrong type", number)
    text = str(value) if isinstance(value, str) or abs(value) < 10**MAX_ID_CHARS else ""
    if not 0 < len(text) <= MAX_ID_CHARS:
        raise _bad(f"'{field}' is longer than {MAX_ID_CHARS} characters", number)
    if not is_id(text):
        raise _bad(f"'{field}' has characters that can't be printed", number)
    return text


def _value(formats: dict[str, Any], number: int) -> tuple[Action, bool, object]:
    """The action of an item, whether there is something to deliver, and what."""
    texts = [_text(name, formats[name], number) for name in _TEXT_FORMATS if name in formats]
    for name in _JSON_FORMATS:
        if name in formats:
            return "send", True, formats[name]
    if not texts:
        raise _bad("no formats specified", number)
    for action, text in texts:
        if action == "send" and text is not None:
            return action, True, text
    action = texts[0][0]
    return action, action == "hint", None


def _closed(formats: dict[str, Any], number: int) -> dict[str, tuple[int, str]]:
    """By format, the code and reason that connections are closed with; only a WebSocket's are told."""
    closed = {}
    if "http-stream" in formats and formats["http-stream"].get("action") == "close":
        closed["http-stream"] = (1000, "")
    if "ws-message" in formats and formats["ws-message"].get("action") == "close":
        code, reason = formats["ws-message"].get("code", 1000), formats["ws-message"].get("reason", "")
        if not may_close_with(code):
            raise _bad("ws-message object contains 'code' which no close frame may have", number)
        if not isinstance(reason, str):
            raise _bad("ws-message object contains 'reason' with wrong type", number)
        if len(reason) > MAX_REASON_BYTES or len(reason.encode()) > MAX_REASON_BYTES:
            raise _bad(f"ws-message object contains 'reason' longer than {MAX_REASON_BYTES} bytes", number)
        if not reason.isprintable():
            raise _bad("ws-message object contains 'reason' with wrong type", number)
        closed["ws-message"] = (code, reason)
    return closed


def _text(name: str, value: object, number: int) -> tuple[Action, str | None]:
    """The action of one format, and the text it delivers, if it does."""
    where = f"{name} object"
    if not isinstance(value, dict):
        raise _bad(f"publish item object contains '{name}' with wrong type", number)
    action = value.get("action", "send")
    if action not in _ACTIONS:
        raise _bad(f"{where} contains 'action' with unknown value", number)
    if name == "ws-message" and value.get("type", "text") not in _WS_TYPES:
        raise _bad(f"{where} contains 'type' with unknown value", number)
    if action == "close" or name == "http-response":
        code = value.get("code", 200)
        if isinstance(code, bool) or not isinstance(code, int) or not 0 <= code <= 65535:
            raise _bad(f"{where} contains 'code' with wrong type", number)
    if action != "send":
        return action, None
    field = "body" if name == "http-response" else "content"
    text = _content(where, field, value, number)
    if value.get("type") in ("ping", "pong"):
        return action, None
    if text is None and field == "body" and isinstance(value.get("body-patch"), list):
        # A patch needs the body that it changes, which only a GRIP proxy has.
        return action, None
    if text is None:
        raise _bad(f"{where} does not contain '{field}'", number)
    return action, text


def _content(where: str, field: str, value: dict[str, Any], number: int) -> str | None:
    binary = value.get(f"{field}-bin")
    if binary is not None:
        if not isinstance(binary, str):
            raise _bad(f"{where} contains '{field}-bin' with wrong type", number)
        try:
            raw = base64.b64decode(binary, validate=True)
        except (binascii.Error, ValueError):
            raise _bad(f"{where} contains '{field}-bin' which is not base64", number) from None
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return binary
    text = value.get(field)
    if text is not None and not isinstance(text, str):
        raise _bad(f"{where} contains '{field}' with wrong type", number)
    return text


def _too_deep(limits: Limits) -> TooDeep:
    return TooDeep(text=f"Nested more than {limits.depth} deep")


def _data(value: object, channel: str, limits: Limits) -> bytes:
    try:
        data = messages.dumps(value, was_read=True)
    except TooDeep:
        raise _too_deep(limits) from None
    # With fewer brackets than the limit it can't be nested deeper.
    if data.count(b"[") + data.count(b"{") > limits.depth and messages.is_deeper(value, limits.depth):
        raise _too_deep(limits)
    if len(data) > limits.bytes:
        raise TooLarge(channel, text=f"Longer than {limits.bytes} bytes")
    return data
