"""What was delivered lately, for sessions whose connection died with some of it. Pure: no waiting, no clock.

What is written into a socket whose other end has gone without a word is lost, and nobody learns of it
for up to two ping intervals. So each process remembers the batches of its last seconds, numbered; a
session remembers the newest number that certainly arrived (its pongs say so), and on its next connection
is given again what came after. A batch is kept once, whoever hears it: a delivery costs nothing here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from .protocol.channels import is_wild, patterns_of
from .protocol.publications import Position, Publication

#: Channels whose newest forgotten batch is known by number; the others count as the one forgotten last.
MAX_CHANNELS = 50_000


class Recent:
    """The batches of this process's last seconds.

    seconds: how long they are of use. size: bytes they may take; what is older goes first. session_size:
    bytes one session is given again. newest: the number of the batch added last, from 1. written: every
    batch up to this number was handed to all of its sessions.
    """

    def __init__(self, *, seconds: float = 75.0, size: int = 32 * 1024 * 1024, session_size: int = 1024 * 1024) -> None:
        self.seconds = seconds
        self.size = size
        self.session_size = session_size
        self.newest = 0
        self.written = 0
        #: Publications given again, and sessions for which something was forgotten already.
        self.repeated = 0
        self.forgotten = 0
        self._bytes = 0
        self._batches: dict[str, deque[tuple[int, Sequence[Publication]]]] = {}
        self._order: deque[tuple[float, str, int]] = deque()
        # The newest batch of each channel that is kept no more, and the position it ended at; oldest number first.
        self._gone: dict[str, tuple[int, Position]] = {}
        self._floor = 0
        # Of batches that went before older ones: the number up to which all had been handed over.
        self._floors: dict[int, int] = {}

    def add(self, channel: str, publications: Sequence[Publication], now: float, floor: int | None = None) -> None:
        """Remember a batch that is about to be handed to its sessions.

        floor: up to which number all others have been, if older ones have not: who has got this one has those.
        """
        number = self.newest = self.newest + 1
        if floor is not None:
            self._floors[number] = floor
        size = 0
        for publication in publications:
            # What one takes in memory: the data twice, once in the encoded message, and the objects.
            size += 2 * publication.size + 200
        batches = self._batches.get(channel)
        if batches is None:
            batches = self._batches[channel] = deque()
        batches.append((number, publications))
        order = self._order
        order.append((now, channel, size))
        self._bytes += size
        oldest = now - self.seconds
        while order and (self._bytes > self.size or order[0][0] < oldest):
            self._forget()

    def step(self) -> int:
        """A number for something that is not in here: once it has arrived, so has that."""
        if self.written == self.newest:
            self.written += 1
        self.newest += 1
        return self.newest

    def before(self, publication: Publication) -> int | None:
        """The number before the batch that this publication came in; None if it is not here."""
        for number, publications in self._batches.get(publication.channel, ()):
            if publication in publications:
                return number - 1
        return None

    def number(self, position: Position) -> int | None:
        """What has certainly arrived where the batch has that ended at a position; None if it is not known.

        The batch's number, or the floor it had. Walks all of them.
        """
        for batches in self._batches.values():
            for number, publications in batches:
                if publications[-1].position == position:
                    return self._floors.get(number, number)
        for number, last in self._gone.values():
            if last == position:
                return self._floors.get(number, number)
        return None

    def after(self, marks: Mapping[str, int], may_hear: Callable[[str], bool]) -> list[Publication] | None:
        """What came after the mark of each pattern, oldest first; None if some of it is forgotten.

        may_hear: asked for channels that only a pattern with a wildcard matches.
        """
        wild = any(map(is_wild, marks))
        if self._forgotten(marks, wild, may_hear):
            return None
        found: list[tuple[int, Sequence[Publication]]] = []
        for channel in self._batches if wild else marks:
            mark = self._mark(channel, marks, wild, may_hear)
            if mark is None:
                continue
            for batch in reversed(self._batches.get(channel, ())):
                if batch[0] <= mark:
                    break
                found.append(batch)
        found.sort(key=_number)
        return [publication for _, publications in found for publication in publications]

    def _mark(self, channel: str, marks: Mapping[str, int], wild: bool, may_hear: Callable[[str], bool]) -> int | None:
        """The least mark of the patterns that match a channel; None if none does."""
        if not wild:
            return marks.get(channel)
        exact, *others = patterns_of(channel)
        matching = [marks[pattern] for pattern in others if pattern in marks]
        if matching and exact not in marks and not may_hear(channel):
            return None
        if exact in marks:
            matching.append(marks[exact])
        return min(matching) if matching else None

    def _forgotten(self, marks: Mapping[str, int], wild: bool, may_hear: Callable[[str], bool]) -> bool:
        if not marks:
            return False
        least = min(marks.values())
        if self._floor > least:
            return True
        if not wild:
            return any(channel in self._gone and self._gone[channel][0] > mark for channel, mark in marks.items())
        for channel in reversed(self._gone):
            number, _ = self._gone[channel]
            if number <= least:
                break
            mark = self._mark(channel, marks, wild, may_hear)
            if mark is not None and number > mark:
                return True
        return False

    def _forget(self) -> None:
        """Drop the oldest batch."""
        _, channel, size = self._order.popleft()
        self._bytes -= size
        batches = self._batches[channel]
        number, publications = batches.popleft()
        if not batches:
            del self._batches[channel]
        before = self._gone.pop(channel, None)
        if before is not None:
            self._floors.pop(before[0], None)
        self._gone[channel] = (number, publications[-1].position)
        if len(self._gone) > MAX_CHANNELS:
            self._floor, _ = self._gone.pop(next(iter(self._gone)))
            self._floors.pop(self._floor, None)


def _number(batch: tuple[int, Sequence[Publication]]) -> int:
    return batch[0]
