"""What an entry in Redis says of itself, and whether it is still good. Pure.

An entry knows where its channels stood in the log before what it was made of was read. It is good while they stand
there: so what is in Redis falls by the same hints as what is in memory, and nobody has to delete it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

#: good: it may be given. old: it may not. ask: this process can't tell; where the log's channels stand can.
Verdict = Literal["good", "old", "ask"]

_MARK = b"fanfare1"


@dataclass(frozen=True, slots=True)
class Entry:
    """codec: the name of what its body was made by. positions: by channel, "epoch.offset"."""

    codec: str
    positions: Mapping[str, str]
    body: bytes


def pack(entry: Entry) -> bytes:
    """As Redis has it: a line that says what it is, and the body."""
    return b"".join((_MARK, orjson.dumps([entry.codec, entry.positions]), b"\n", entry.body))


def unpack(data: bytes) -> Entry | None:
    """None for what is no entry: anybody may write to Redis."""
    head, line, body = data.partition(b"\n")
    if not line or not head.startswith(_MARK):
        return None
    try:
        codec, positions = orjson.loads(head[len(_MARK) :])
    except (ValueError, TypeError):
        return None
    if not isinstance(codec, str) or not isinstance(positions, dict):
        return None
    if not all(isinstance(position, str) for position in positions.values()):
        return None
    return Entry(codec, positions, body)


def place(top: str) -> tuple[str, int] | None:
    """Epoch and offset of a top that is a position, as this process has heard it; None for any other."""
    epoch, dot, offset = top.partition(".")
    if not dot or not epoch.isalnum() or not (offset.isascii() and offset.isdigit()):
        return None
    return epoch, int(offset)


def judge(entry: Entry, channels: Sequence[str], tops: Sequence[str]) -> Verdict:
    """Whether an entry is good for who has heard its channels up to these tops (`Following.positions`)."""
    if set(entry.positions) != set(channels):
        return "old"
    found: Verdict = "good"
    for channel, top in zip(channels, tops, strict=True):
        made, heard = place(entry.positions[channel]), place(top)
        if made is None:
            return "old"
        if heard is None:
            # Nothing was heard there since this process began, or lost count.
            found = "ask"
        elif made != heard:
            if made[0] != heard[0] or made[1] < heard[1]:
                # A channel that has begun anew has offsets that say nothing of before.
                return "old"
            # It was made by one who had heard more.
            found = "ask"
    return found


def stands(entry: Entry, channels: Sequence[str], log: Sequence[str | None]) -> bool:
    """Whether the log, which was asked after the entry was read, has the channels where the entry has them."""
    return all(entry.positions[channel] == position for channel, position in zip(channels, log, strict=True))
