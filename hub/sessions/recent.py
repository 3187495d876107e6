"""The newest batches, to send again what was lost with a connection. Pure: no waiting, no clock.

If the other end of a socket has vanished, what is written into it is lost, and that is noticed only up to two ping
intervals later. So each process keeps its batches of the last seconds, numbered. A session notes the newest number that
has certainly arrived, as its pongs show, and on its next connection is sent again what came after that. A batch is kept
once for all who hear it, so this costs nothing per delivery.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from ..errors import BadMessage
from ..protocol.channels import is_wild, patterns_of
from ..protocol.publications import Position, Publication

#: For how many channels the newest forgotten batch is known; for all others the last one dropped from these counts.
MAX_CHANNELS = 50_000


class Kept(NamedTuple):
    """A batch that is kept. at: when it was delivered, by the clock of `add`. size: bytes. reach: to how many."""

    number: int
    publications: Sequence[Publication]
    at: float
    size: int
    reach: int


_Plain = tuple[int, Sequence[Publication], float, int, int]


class Recent:
    """The batches that this process has delivered lately.

    seconds: how long to keep them. size: how many bytes they may take; the oldest go first. session_size: most bytes to
    send one session again. newest: the number of the batch that was added last, from 1. written: all batches up to this
    number were delivered to all of their sessions.
    """

    def __init__(self, *, seconds: float = 75.0, size: int = 32 * 1024 * 1024, session_size: int = 1024 * 1024) -> None:
        self.seconds = seconds
        self.size = size
        self.session_size = session_size
        self.newest = 0
        self.written = 0
        #: Publications that were sent again; and sessions for which some were forgotten already.
        self.repeated = 0
        self.forgotten = 0
        self._bytes = 0
        # Plain tuples with the fields of `Kept`: to make a `Kept` takes three times as long.
        self._batches: dict[str, deque[_Plain]] = {}
        self._order: deque[_Plain] = deque()
        # The numbers of all these batches, and of those in `_gone`, by the position of their last publication: a client
        # may name any of these.
        self._ends: dict[Position, int] = {}
        # By channel, the newest batch that was dropped: its number and last position; the oldest number first.
        self._gone: dict[str, tuple[int, Position]] = {}
        self._floor = 0
        # For batches that were delivered before older ones: the number up to which all had been delivered.
        self._floors: dict[int, int] = {}

    def add(
        self,
        channel: str,
        publications: Sequence[Publication],
        now: float,
        floor: int | None = None,
        reach: int = 0,
    ) -> None:
        """Keep a batch that is about to be delivered.

        floor: if some older batches were not delivered yet, the number up to which all were: a client that has this
        batch has everything up to there only. reach: to how many sessions it goes that are awake.
        """
        number = self.newest = self.newest + 1
        if floor is not None:
            self._floors[number] = floor
        size = 0
        for publication in publications:
            # Memory of one: the data twice (once in the encoded message), and the objects.
            size += 2 * publication.size + 200
        batches = self._batches.get(channel)
        if batches is None:
            batches = self._batches[channel] = deque()
        kept = (number, publications, now, size, reach)
        batches.append(kept)
        # Channels may share an epoch, so positions are not unique: keep the older batch.
        self._ends.setdefault(publications[-1].position, number)
        order = self._order
        order.append(kept)
        self._bytes += size
        oldest = now - self.seconds
        while order and (self._bytes > self.size or order[0][2] < oldest):
            self._forget()

    def step(self) -> int:
        """Use up a number for something that is not kept here; when the number has arrived, so has that."""
        if self.written == self.newest:
            self.written += 1
        self.newest += 1
        return self.newest

    def before(self, publication: Publication) -> int | None:
        """The number before that of this publication's batch; None if the batch is not here."""
        kept = self._find(publication.channel, publication.position)
        return None if kept is None else kept[0] - 1

    def find(self, channel: str, position: Position) -> Kept | None:
        """The batch with the publication at this position; None if it is not here, or its epoch is not the newest."""
        kept = self._find(channel, position)
        return None if kept is None else Kept(*kept)

    def _find(self, channel: str, position: Position) -> _Plain | None:
        # A binary search: any client may ask for any position, and a busy channel has tens of thousands of batches.
        batches = self._batches.get(channel)
        if not batches or batches[-1][1][-1].position.epoch != position.epoch:
            return None
        # What came before this epoch sorts first.
        wanted = (True, position.offset)
        at = bisect_left(batches, wanted, key=lambda kept: _place_of(kept[1][-1], position.epoch))
        if at == len(batches):
            return None
        kept = batches[at]
        publications = kept[1]
        number = bisect_left(publications, wanted, key=lambda each: _place_of(each, position.epoch))
        return kept if publications[number].position == position else None

    def when(self, channel: str, position: str) -> float | None:
        """When the publication at this position, as "epoch.offset", was delivered; None if it is not here."""
        try:
            found = self.find(channel, Position.parse(position))
        except BadMessage:
            return None
        return None if found is None else found.at

    def last(self, channels: Iterable[str], most: int) -> list[Publication]:
        """The newest publications of these channels that are here, the newest last."""
        found: list[_Plain] = []
        for channel in channels:
            found += islice(reversed(self._batches.get(channel, ())), most)
        found.sort(key=_number)
        return [each for kept in found[-most:] for each in kept[1]][-most:]

    def sample(self, most: int, looked: int) -> tuple[list[Kept], int]:
        """Up to `most` of the newest `looked` batches, evenly spread; and how many batches each stands for."""
        count = min(len(self._order), looked)
        step = max(1, -(-count // most))
        return [Kept(*kept) for kept in islice(reversed(self._order), 0, count, step)], step

    def since(self, number: int, most: int) -> list[Kept]:
        """The batches after this number, the newest `most` of them, newest first."""
        found = []
        for kept in islice(reversed(self._order), most):
            if kept[0] <= number:
                break
            found.append(Kept(*kept))
        return found

    def number(self, position: Position) -> int | None:
        """Up to which number a client certainly has everything if it has the batch that ended at this position.

        That is the batch's number, or its floor. None if the batch is not known.
        """
        number = self._ends.get(position)
        return None if number is None else self._floors.get(number, number)

    def after(self, marks: Mapping[str, int], may_hear: Callable[[str], bool]) -> list[Publication] | None:
        """The publications after each pattern's mark, oldest first; None if some are forgotten.

        marks: a number by pattern. may_hear: called for channels that only a pattern with a wildcard matches.
        """
        wild = any(map(is_wild, marks))
        if self._forgotten(marks, wild, may_hear):
            return None
        found: list[_Plain] = []
        for channel in self._batches if wild else marks:
            mark = self._mark(channel, marks, wild, may_hear)
            if mark is None:
                continue
            for batch in reversed(self._batches.get(channel, ())):
                if batch[0] <= mark:
                    break
                found.append(batch)
        found.sort(key=_number)
        return [publication for batch in found for publication in batch[1]]

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
        number, publications, _, size, _ = self._order.popleft()
        self._bytes -= size
        channel = publications[0].channel
        batches = self._batches[channel]
        batches.popleft()
        if not batches:
            del self._batches[channel]
        before = self._gone.pop(channel, None)
        if before is not None:
            self._forget_end(*before)
        self._gone[channel] = (number, publications[-1].position)
        if len(self._gone) > MAX_CHANNELS:
            self._floor, last = self._gone.pop(next(iter(self._gone)))
            self._forget_end(self._floor, last)

    def _forget_end(self, number: int, last: Position) -> None:
        self._floors.pop(number, None)
        if self._ends.get(last) == number:
            del self._ends[last]


def _place_of(publication: Publication, epoch: str) -> tuple[bool, int]:
    """A publication's sort key among those of its channel: whether it is of this epoch, and its offset."""
    position = publication.position
    return position.epoch == epoch, position.offset


def _number(batch: _Plain) -> int:
    return batch[0]
