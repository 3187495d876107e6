"""The words of the ways in without Bayeux: `/ws`, `/sse` and `/poll`. Pure.

A publication is `{"channel": "comments-17", "data": …, "id": "epoch.offset"}`, with the Fanout
name of its channel (no leading slash). A *place* is where a listener stands in all of its channels:
one position when there is one channel, else `name@epoch.offset` joined by commas, names
percent-encoded. It is the `id` of Server-Sent Events and the `position` of a poll.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote

import orjson

from ..errors import BadMessage, ForbiddenChannel
from .channels import from_fanout, is_wild, to_fanout
from .publications import Position, Publication

#: Channels one plain listener may have; a page that shows more should use Bayeux.
MAX_CHANNELS = 100


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
    if "@" not in text:
        named = [channel for channel in channels if not is_wild(channel)]
        if len(named) != 1:
            raise BadMessage("position", text="Bad position")
        found[named[0]] = Position.parse(text)
        return found
    for part in text.split(",")[: 2 * MAX_CHANNELS]:
        name, _, position = part.rpartition("@")
        channel = from_fanout(unquote(name))
        if channel in found:
            found[channel] = Position.parse(position)
    return found


def format_place(positions: Mapping[str, Position]) -> str:
    """The place of a listener with these positions, as `parse_place` reads it."""
    if len(positions) == 1:
        return str(next(iter(positions.values())))
    return ",".join(f"{quote(to_fanout(channel), safe='')}@{position}" for channel, position in positions.items())
