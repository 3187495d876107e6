"""The words of the ways in without Bayeux: `/ws`, `/sse` and `/poll`. Pure.

A publication is `{"channel": "comments-17", "data": …, "id": "epoch.offset"}`, with the Fanout
name of its channel (no leading slash). A *place* is where a listener stands in all of its channels:
one position when there is one channel, else `name@epoch.offset` joined by commas, names
percent-encoded. It is the `id` of Server-Sent Events and the `position` of a poll.

A place travels in a header or a URL beside the names of the channels, and proxies bear 8 KiB of
either (nginx's large_client_header_buffers, aiohttp's parser). So one that would be longer than
MAX_NAMED_PLACE names its channels by a digest instead: `epoch~digest.offset.digest.offset…`, the
groups of an epoch joined by commas. A hundred channels then take 5 KB at the most, whatever they are called.
"""

from __future__ import annotations

import hashlib
import sys
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import orjson

from ..errors import BadMessage, ForbiddenChannel
from .channels import from_fanout, is_wild, to_fanout
from .escapes import unescaped
from .publications import Position, Publication
from .remembered import Remembered

#: Channels one plain listener may have; a page that shows more should use Bayeux.
MAX_CHANNELS = 100

#: Characters of a place that spells out the names of its channels.
MAX_NAMED_PLACE = 1024

#: Characters of a place that is read: 64 KiB of escapes took 4 to 11 ms.
MAX_PLACE = 8 * 1024

#: A position of no life of any history: what came after it can't be known.
UNKNOWN = Position("unknown", 0)

#: Characters of a channel's digest, 6 bits each: two of a hundred channels share one in 14 million listeners.
DIGEST_CHARS = 6


def channels_of(names: Sequence[str], most: int = MAX_CHANNELS) -> list[str]:
    """Channels in Bayeux form, without repeats.

    Raises InvalidChannel for a bad name, BadMessage for none, ForbiddenChannel for too many.
    """
    if not names:
        raise BadMessage("channel", text="Missing field")
    if len(names) > most:
        raise ForbiddenChannel(text="Too many subscriptions", limit="subscriptions")
    return list(dict.fromkeys(from_fanout(name) for name in names))


def encode(publication: Publication) -> bytes:
    """A publication as one JSON object."""
    return b'{"channel":%b,"data":%b,"id":"%b"}' % (
        orjson.dumps(to_fanout(publication.channel)),
        publication.data,
        str(publication.position).encode(),
    )


def parse_place(text: str, channels: Sequence[str]) -> dict[str, Position | None]:
    """The position of each channel, None where the place says nothing; raises BadMessage.

    A lone position belongs to the one channel there is.
    """
    found: dict[str, Position | None] = dict.fromkeys(channels)
    if not text:
        return found
    if len(text) > MAX_PLACE:
        raise BadMessage("position", text="Bad position")
    if "@" not in text and "~" not in text:
        named = [channel for channel in channels if not is_wild(channel)]
        if len(named) != 1:
            raise BadMessage("position", text="Bad position")
        found[named[0]] = Position.parse(text)
        return found
    if "~" in text.partition(",")[0] and "@" not in text:
        _read_digests(text, found)
        return found
    for part in text.split(",")[: 2 * MAX_CHANNELS]:
        name, _, position = part.rpartition("@")
        channel = from_fanout(_unquoted(name))
        if channel in found:
            found[channel] = Position.parse(position)
    return found


def _unquoted(name: str) -> str:
    try:
        return unescaped(name.encode("utf-8", "replace")).decode("utf-8", "replace")
    except ValueError:
        raise BadMessage("position", text="Bad position") from None


def _read_digests(text: str, found: dict[str, Position | None]) -> None:
    by_digest: dict[str, list[str]] = {}
    for channel in found:
        by_digest.setdefault(_DIGESTS[channel], []).append(channel)
    for group in text.split(",")[: 2 * MAX_CHANNELS]:
        epoch, _, rest = group.partition("~")
        words = rest.split(".")[: 4 * MAX_CHANNELS]
        if len(words) % 2:
            raise BadMessage("position", text="Bad position")
        for digest, offset in zip(words[::2], words[1::2], strict=True):
            position = Position.parse(f"{epoch}.{offset}")
            channels = by_digest.get(digest, ())
            for channel in channels:
                # A digest that two share says nothing of either: a position that nothing is kept after is "lost".
                found[channel] = position if len(channels) == 1 else UNKNOWN


def format_place(positions: Mapping[str, Position]) -> str:
    """The place of a listener with these positions, as `parse_place` reads it."""
    return str(Place(positions))


class Place:
    """A place that is written again and again: what has not moved since is not spelled anew."""

    __slots__ = ("_groups", "_parts", "_size", "positions")

    def __init__(self, positions: Mapping[str, Position]) -> None:
        self.positions = dict(positions)
        # What is between the commas, by channel; or by epoch, with what is between its dots by channel.
        self._parts: dict[str, str] = {}
        self._groups: dict[str, dict[str, str]] | None = None
        self._size = 0
        if len(positions) * 12 >= MAX_NAMED_PLACE:
            self._shorten()
            return
        self._parts = {channel: f"{_QUOTED[channel]}@{position}" for channel, position in positions.items()}
        self._size = sum(map(len, self._parts.values())) + len(self._parts) - 1
        if self._size > MAX_NAMED_PLACE:
            self._shorten()

    def move(self, channel: str, position: Position) -> None:
        """One of the channels has come to this position."""
        before = self.positions[channel]
        self.positions[channel] = position
        if self._groups is None:
            part = f"{_QUOTED[channel]}@{position}"
            self._size += len(part) - len(self._parts[channel])
            self._parts[channel] = part
            if self._size > MAX_NAMED_PLACE:
                self._shorten()
            return
        if before.epoch != position.epoch:
            group = self._groups[before.epoch]
            del group[channel]
            self._join(before.epoch, group)
        group = self._groups.setdefault(position.epoch, {})
        group[channel] = f"{_DIGESTS[channel]}.{position.offset}"
        self._join(position.epoch, group)

    def _shorten(self) -> None:
        self._groups, self._parts = {}, {}
        for channel, position in self.positions.items():
            self._groups.setdefault(position.epoch, {})[channel] = f"{_DIGESTS[channel]}.{position.offset}"
        for epoch, group in self._groups.items():
            self._join(epoch, group)

    def _join(self, epoch: str, group: dict[str, str]) -> None:
        if group:
            self._parts[epoch] = f"{epoch}~{'.'.join(group.values())}"
        else:
            del self._parts[epoch]

    def __str__(self) -> str:
        if len(self.positions) == 1:
            return str(next(iter(self.positions.values())))
        return ",".join(self._parts.values())


# A stream writes its place with each publication.


def _quote(channel: str) -> str:
    return quote(to_fanout(channel), safe="")


def _digest_of(channel: str) -> str:
    digest = hashlib.blake2b(channel.encode(), digest_size=6).digest()
    return urlsafe_b64encode(digest).decode()[:DIGEST_CHARS]


def _size(channel: str, text: str) -> int:
    return sys.getsizeof(channel) + sys.getsizeof(text)


_QUOTED = Remembered(_quote, _size)
_DIGESTS = Remembered(_digest_of, _size)
