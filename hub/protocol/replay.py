"""Replay ids, as Salesforce's Streaming API has them in `ext.replay`. Pure.

Its clients keep the id of the last event that they have seen, a number or its digits, and ask for what came after it;
-1 asks for nothing old, -2 for all that is kept. They must not compute ids, so an id may say more than a place: here
it says which life of the channel's history it belongs to, lest an id from before a restart skips what came since.

Three forms are read:
- a delivery's `id`, which is its position: "epoch.offset";
- a number of 2**32 or more: 20 bits of a digest of the epoch, then 32 bits of offset, under 2**53 as JavaScript needs;
- a smaller number: an offset of nobody knows which life, so that what comes after it may not be all there is.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from ..errors import BadMessage
from .publications import Position

#: Nothing old; all that is kept.
NEW = -1
ALL = -2

#: Offsets up to here have a number that says their life.
OFFSETS = 2**32

#: The largest integer that JavaScript reads as it is written.
MAX_NUMBER = 2**53 - 1


class Start(NamedTuple):
    """Where a replay starts. since: the position, None for all that is kept. sure: whether that is where the id was."""

    since: Position | None
    sure: bool


def parse_replay(value: object) -> int | Position:
    """What a client asks for: NEW, ALL, a number from 0 or a position; raises BadMessage for anything else."""
    if isinstance(value, str):
        if "." in value:
            return Position.parse(value)
        if not (len(value) <= 16 and value.isascii() and value.removeprefix("-").isdigit()):
            raise BadMessage("replay", text="Not a replay id")
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not ALL <= value <= MAX_NUMBER:
        raise BadMessage("replay", text="Not a replay id")
    return value


def replay_id(position: Position) -> int:
    """A position's number, for clients whose ids are numbers."""
    # Of later offsets, the last that has a number: so much is kept of no channel, and the client learns of it.
    return _life(position.epoch) * OFFSETS + min(position.offset, OFFSETS - 1)


def start_of(replay: int | Position, top: Position) -> Start:
    """Where the replay of a channel that stands at `top` starts; not for NEW, which has none."""
    if isinstance(replay, Position):
        return Start(replay, True)
    if replay == ALL:
        return Start(None, True)
    life, offset = divmod(replay, OFFSETS)
    if life:
        # Of another life: the broker finds that nothing is kept after it.
        return Start(Position(top.epoch if life == _life(top.epoch) else "unknown", offset), True)
    if offset > top.offset:
        # Of an earlier life certainly: all that is kept came after it.
        return Start(None, False)
    # From the very beginning is the same in each life.
    return Start(Position(top.epoch, offset), offset == 0)


def _life(epoch: str) -> int:
    # Never 0, which says nothing.
    return 1 + int.from_bytes(hashlib.blake2b(epoch.encode(), digest_size=4).digest()) % (2**20 - 1)
