"""What is published, and where in its channel's history it stands.

A *draft* is what someone asks to publish. The broker accepts it by giving it a *position*
(epoch, offset); then it is a *publication*. Offsets count from 1 in each channel and leave
no hole within an epoch; the epoch names one life of the channel's history and changes when
that history was lost, so that an old position can never be mistaken for a new one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from ..errors import BadMessage
from .messages import dumps

#: The longest position on the wire: an epoch of 32 and a 19-digit offset.
MAX_POSITION_CHARS = 52


class Position(NamedTuple):
    """A place in a channel's history: what came up to and including `offset` of `epoch`."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.offset}"

    @classmethod
    def parse(cls, text: object) -> Position:
        """Read "epoch.offset"; raise BadMessage for anything else."""
        if isinstance(text, str) and len(text) <= MAX_POSITION_CHARS and text.isascii():
            epoch, dot, digits = text.partition(".")
            if dot and epoch.isalnum() and digits.isdigit():
                return cls(epoch, int(digits))
        raise BadMessage("position", text="Bad position")


# Values that are made by the thousand are tuples: a frozen dataclass takes three times as long to make.


class Draft(NamedTuple):
    """What someone asks to publish.

    channel: a name in Bayeux form, already checked. data: one JSON value, encoded.
    key: idempotency key; a repeat within ten minutes returns the first result.
    hint: only the newest matters to a slow reader. ext: the publisher's `ext` that may
    be forwarded, encoded, or None.
    """

    channel: str
    data: bytes
    key: str | None = None
    hint: bool = False
    ext: bytes | None = None

    @property
    def identified(self) -> bool:
        """Whether the key is an id in this channel, as `fanout.key_of` makes them: others may wait for it."""
        return self.key is not None and identifies(self.channel, self.key)


def identifies(channel: str, key: str) -> bool:
    """Whether a key is an id in a channel, as `fanout.key_of` makes them."""
    return key.startswith(channel) and key[len(channel) :].startswith(" ")


class Published(NamedTuple):
    """What became of a draft: its position, and whether its key had been seen before."""

    position: Position
    repeated: bool = False


class Publication:
    """Data at a position of a channel. Immutable; its encoded form is made once and shared.

    size: bytes it counts for in a queue or a ring: its data, name and bookkeeping.
    """

    __slots__ = ("_message", "channel", "data", "ext", "hint", "position", "size")

    def __init__(
        self, channel: str, data: bytes, position: Position, hint: bool = False, ext: bytes | None = None
    ) -> None:
        self.channel = channel
        self.data = data
        self.position = position
        self.hint = hint
        self.ext = ext
        self.size = len(data) + len(channel) + 100
        self._message: bytes | None = None

    def with_data(self, data: object) -> Publication:
        """The same publication with other data: a JSON value. Raises BadMessage for what JSON can't say."""
        return Publication(self.channel, dumps(data), self.position, self.hint, self.ext)

    @property
    def message(self) -> bytes:
        """The Bayeux delivery as one JSON object. Its id is the publication's position."""
        message = self._message
        if message is None:
            ext = b"" if self.ext is None else b',"ext":' + self.ext
            message = self._message = b'{"channel":%b,"data":%b,"id":"%b"%b}' % (
                orjson.dumps(self.channel),
                self.data,
                str(self.position).encode(),
                ext,
            )
        return message

    def __repr__(self) -> str:
        return f"<Publication {self.channel} {self.position} {len(self.data)} bytes>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Publication):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.channel, self.position))

    def _key(self) -> tuple[Any, ...]:
        return (self.channel, self.position, self.data, self.hint, self.ext)


@dataclass(frozen=True, slots=True)
class History:
    """What came after a position, and whether that is all of it.

    publications: oldest first, up to and including `top`. recovered: False when something
    after the asked position is no longer kept (or the epoch is another): then there are no
    publications, and the client must refetch.
    """

    publications: tuple[Publication, ...]
    top: Position
    recovered: bool


def conflate(publications: Iterable[Publication]) -> list[Publication]:
    """Keep only the newest hint of each channel; everything that is not a hint stays, in order."""
    kept: dict[object, Publication] = {}
    for publication in publications:
        key: object = publication.channel if publication.hint else publication.position
        if publication.hint:
            kept.pop(key, None)
        else:
            key = (publication.channel, publication.position)
        kept[key] = publication
    return list(kept.values())
