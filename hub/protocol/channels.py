"""Names of channels, the patterns one subscribes to, and which patterns match a name.

Grammar: Bayeux 1.0 §2.2.1. A name is one or more `/segment`; a pattern is a name or one whose
last segment is `*` (one segment) or `**` (one or more). CometD allows more characters in a
segment than the specification; `Grammar("cometd")` allows them too.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Literal

from ..errors import InvalidChannel, LongChannel
from .remembered import Remembered

META = "/meta/"
SERVICE = "/service/"

#: What nodes tell each other of a channel's connections travels under this and the channel's own name. As on
#: every meta channel, nobody else publishes or subscribes there.
CLOSE = "/meta/close"

#: Characters and segments of a name. 255 is what Faye-era brokers and most of their stores take;
#: 32 segments bound the number of patterns that match a name.
MAX_CHARS = 255
MAX_SEGMENTS = 32

Charset = Literal["spec", "cometd"]

_SEGMENT = {
    "spec": r"[A-Za-z0-9\-_!~()$@]+",
    # CometD's Validator; `/` splits and a lone `*` is a wildcard, so neither is in the set.
    "cometd": r"[A-Za-z0-9\-_!~()$@ #+.{}]+",
}
# Names of the Fanout API have no grammar of their own: anything printable, but not what stands for broken text.
_FANOUT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff\ufffd]{1,%d}" % MAX_CHARS)

_BROKEN = re.compile(r"[\ud800-\udfff\ufffd]")


class Grammar:
    """What may be a name or a pattern: of which characters, how many of them, and how many segments."""

    __slots__ = ("_chars", "_name_fits", "_pattern", "_pattern_fits", "_segments")

    def __init__(self, charset: Charset = "spec", chars: int = MAX_CHARS, segments: int = MAX_SEGMENTS) -> None:
        self._chars = min(chars, MAX_CHARS)
        self._segments = min(segments, MAX_SEGMENTS)
        segment = _SEGMENT[charset]
        most = self._segments
        name = re.compile(rf"(?:/{segment}){{1,{most}}}")
        self._pattern = pattern = re.compile(rf"(?:/{segment}){{1,{most}}}|(?:/{segment}){{0,{most - 1}}}/\*\*?")
        # Names come again and again, and remembering is ten times as fast as matching.
        self._name_fits = Remembered[str, bool](lambda text: name.fullmatch(text) is not None)
        self._pattern_fits = Remembered[str, bool](lambda text: pattern.fullmatch(text) is not None)

    def is_name(self, text: object) -> bool:
        """Whether one can publish to it (meta and service channels included)."""
        return isinstance(text, str) and len(text) <= self._chars and self._name_fits[text]

    def is_pattern(self, text: object) -> bool:
        """Whether one can subscribe to it: a name, or one ending in a wildcard."""
        return isinstance(text, str) and len(text) <= self._chars and self._pattern_fits[text]

    def check_name(self, text: object) -> str:
        """Return the name, or raise InvalidChannel."""
        if isinstance(text, str) and self.is_name(text):
            return text
        raise self._refusal(text)

    def check_pattern(self, text: object) -> str:
        """Return the pattern, or raise InvalidChannel."""
        if isinstance(text, str) and self.is_pattern(text):
            return text
        raise self._refusal(text)

    def check_patterns(self, texts: Iterable[object]) -> list[str]:
        """As `check_pattern`, of many. They are not remembered: a flood would drive out those that come again."""
        fits, chars = self._pattern.fullmatch, self._chars
        found: list[str] = []
        for text in texts:
            if not isinstance(text, str) or len(text) > chars or fits(text) is None:
                raise self._refusal(text)
            found.append(text)
        return found

    def check_size(self, channel: str) -> str:
        """Return a name of any characters, or raise LongChannel; for names of the Fanout API."""
        if _is_long(channel, self._chars, self._segments):
            raise LongChannel(_shown(channel))
        return channel

    def _refusal(self, text: object) -> InvalidChannel:
        if isinstance(text, str) and _is_long(text, self._chars, self._segments):
            return LongChannel(_shown(text))
        return InvalidChannel(_shown(text))


def is_whole(text: str) -> bool:
    """Whether a name of any kind can be written and told from others: no half of a surrogate pair, no U+FFFD."""
    return _BROKEN.search(text) is None


def is_meta(channel: str) -> bool:
    """Whether the protocol owns this channel: never subscribed to, published to or delivered."""
    return channel.startswith(META) or channel == "/meta"


def close_channel(channel: str) -> str:
    """Where nodes are told to end connections that have a channel."""
    return CLOSE + channel


def home(channel: str) -> str:
    """The channel whose place in the log this one shares: what is told of a channel stays behind what it was sent."""
    return channel[len(CLOSE) :] if channel.startswith(CLOSE + "/") else channel


def is_service(channel: str) -> bool:
    """Whether this is between one client and the server: never delivered to others."""
    return channel.startswith(SERVICE) or channel == "/service"


def is_wild(pattern: str) -> bool:
    """Whether a (valid) pattern stands for more than one name."""
    return pattern.endswith("*") and pattern.endswith(("/*", "/**"))


def wild_ones(patterns: Iterable[str]) -> list[str]:
    """Those of some patterns that stand for more than one name."""
    # Not a call for each: of a thousand hardly any ends so.
    return [pattern for pattern in patterns if pattern[-1] == "*" and is_wild(pattern)]


def from_fanout(name: object) -> str:
    """The channel of a Fanout name: `comments-17` is `/comments-17`.

    A name that starts with a slash is taken to be in Bayeux form already. Names outside the
    Bayeux grammar (`a.b`) are legal here: plain subscribers can hear them, Bayeux ones can't.
    Raises InvalidChannel for anything but 1 to 255 printable characters.
    """
    if not isinstance(name, str):
        raise InvalidChannel(_shown(name))
    # Its length is looked at first: what is remembered is bounded, what is looked for must be hashed.
    if len(name) > MAX_CHARS:
        raise LongChannel(_shown(name))
    return _CHANNELS[name]


def _from_fanout(name: str) -> str:
    if not name or name == "/":
        raise InvalidChannel(_shown(name))
    channel = name if name.startswith("/") else "/" + name
    if _is_long(channel, MAX_CHARS, MAX_SEGMENTS):
        raise LongChannel(_shown(name))
    if _FANOUT.fullmatch(name) is None or is_meta(channel) or is_service(channel):
        raise InvalidChannel(_shown(name))
    return channel


_CHANNELS = Remembered(_from_fanout)


def from_fanout_name(name: object) -> str:
    """As `from_fanout`, for a name that is published to: a pattern ending in a wildcard is none.

    Subscribers of the pattern would not hear it, and those of the "name" would think it is a pattern.
    """
    channel = from_fanout(name)
    if channel[-1] == "*" and is_wild(channel):
        raise InvalidChannel(_shown(name))
    return channel


def to_fanout(channel: str) -> str:
    """The Fanout name of a channel, as `from_fanout` reads it: without the leading slash.

    One that begins with two slashes keeps both: `/a` would be read as another channel's name.
    """
    return channel if channel.startswith("//") else channel[1:]


def patterns_of(channel: str) -> tuple[str, ...]:
    """Every pattern that matches a name: itself, `…/*` once, and `…/**` for each of its n parents.

    n + 2 of them for n segments, so that finding who listens is n + 2 look-ups whatever else is
    subscribed to. Meta and service channels are matched by no wildcard.
    """
    return _PATTERNS[channel]


def _patterns_of(channel: str) -> tuple[str, ...]:
    if is_meta(channel) or is_service(channel):
        return (channel,)
    parents = [channel[:at] for at, char in enumerate(channel) if char == "/"]
    return (channel, parents[-1] + "/*", *(parent + "/**" for parent in parents))


def _size_of_patterns(channel: str, patterns: tuple[str, ...]) -> int:
    return sys.getsizeof(patterns) + sum(map(sys.getsizeof, patterns))


_PATTERNS = Remembered(_patterns_of, _size_of_patterns)


def matches(pattern: str, channel: str) -> bool:
    """Whether what is published to a name reaches who subscribed to the pattern."""
    return pattern in patterns_of(channel)


def overlaps(one: str, other: str) -> bool:
    """Whether some name matches both patterns.

    Used by access rules: a wildcard subscription must not show what a rule forbids.
    """
    first, second = one.split("/")[1:], other.split("/")[1:]
    for mine, theirs in zip(first, second, strict=False):
        if mine == "**" or theirs == "**":
            return True
        if mine != theirs and "*" not in (mine, theirs):
            return False
    return len(first) == len(second)


def _is_long(channel: str, chars: int, segments: int) -> bool:
    return len(channel) > chars or channel.count("/") > segments


def _shown(text: object) -> str:
    """A name as an error may repeat it: short, and in the characters Faye's grammar parses."""
    shown = text if isinstance(text, str) else type(text).__name__
    return re.sub(r"[^A-Za-z0-9\-_!~()$@/*.]", "_", shown[:80])
