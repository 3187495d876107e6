"""Where batches went, for longer than what is kept of them: numbers only, a fixed count of them. Pure."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..protocol.publications import Position
from ..sessions.recent import Recent

#: Batches that are noted in a second. More than that are many more than anybody could ask for one by one, and those
#: of the last minute and a half are in `Recent` anyway.
A_SECOND = 500


class Step(NamedTuple):
    """A batch: its number, its channel and offsets, `first` to `last`; when it was handed over and to how many."""

    number: int
    channel: str
    epoch: str
    first: int
    last: int
    at: float
    reach: int


class Trail:
    """The last `most` batches of a node; `note` is called once a second."""

    def __init__(self, most: int) -> None:
        self._steps: deque[Step] = deque(maxlen=most)
        self._noted = 0

    def note(self, recent: Recent, now: float, wall: float) -> None:
        """Note what was handed over since the last time. now, wall: the same moment by both clocks."""
        if recent.newest == self._noted:
            return
        found = recent.since(self._noted, A_SECOND)
        self._noted = recent.newest
        for kept in reversed(found):
            first, last = kept.publications[0], kept.publications[-1]
            self._steps.append(
                Step(
                    kept.number,
                    first.channel,
                    last.position.epoch,
                    first.position.offset,
                    last.position.offset,
                    wall - (now - kept.at),
                    kept.reach,
                )
            )

    def find(self, channel: str, position: Position) -> Step | None:
        """The batch with what stood at a position; None if it is not known, or not any more."""
        for step in reversed(self._steps):
            if step.channel == channel and step.epoch == position.epoch and step.first <= position.offset <= step.last:
                return step
        return None
