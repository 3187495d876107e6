"""What comes for sessions that sleep (they have no connection), kept once for all. Pure: no waiting, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ..protocol.publications import Publication

#: A batch and its number (`Recent.newest`).
Numbered = tuple[int, Sequence[Publication]]

#: Hints are conflated again only when at least one in so many of the kept publications is a hint that came since the
#: last time: to look through all of them for each that comes would cost more than the rest of a fan-out.
HINTS = 4


class Backlog:
    """One pattern's batches since the first of its sleepers fell asleep, as far as the bounds allow.

    count, size: most publications, and bytes, to keep. seconds: how long to keep each.
    """

    __slots__ = ("_batches", "_bytes", "_dropped", "_hints", "_kept", "_seconds", "_size", "count")

    def __init__(self, count: int, size: int, seconds: float) -> None:
        self.count = count
        self._size = size
        self._seconds = seconds
        self._batches: deque[tuple[float, int, Sequence[Publication]]] = deque()
        self._kept = 0
        self._bytes = 0
        # Hints that came since hints were last conflated; and the number of the newest batch that was dropped.
        self._hints = 0
        self._dropped = -1

    def add(self, number: int, publications: Sequence[Publication], now: float) -> None:
        """Keep a batch; its number is above the last one's. Before a batch is dropped for room, hints are conflated."""
        self._keep(now, number, publications)
        batches = self._batches
        while batches and batches[0][0] < now - self._seconds:
            self._drop()
        if self._is_full() and self._hints * HINTS > self._kept:
            self._conflate()
        while self._is_full():
            self._drop()

    def since(self, number: int) -> list[Numbered] | None:
        """The batches from a number on, in order; None if some of them were dropped."""
        if self._dropped >= number:
            return None
        found: list[Numbered] = []
        for _, each, publications in reversed(self._batches):
            if each < number:
                break
            found.append((each, publications))
        found.reverse()
        return found

    def _is_full(self) -> bool:
        return self._kept > self.count or self._bytes > self._size

    def _keep(self, when: float, number: int, publications: Sequence[Publication]) -> None:
        self._batches.append((when, number, publications))
        self._kept += len(publications)
        for publication in publications:
            self._bytes += publication.size
            self._hints += publication.hint

    def _drop(self) -> None:
        _, self._dropped, publications = self._batches.popleft()
        self._kept -= len(publications)
        self._bytes -= sum(publication.size for publication in publications)

    def _conflate(self) -> None:
        """Keep only each channel's newest hint; sleepers that missed an older one get that too."""
        newest: dict[str, Publication] = {}
        for _, _, publications in self._batches:
            for publication in publications:
                if publication.hint:
                    newest[publication.channel] = publication
        batches, self._batches = self._batches, deque()
        self._kept = self._bytes = 0
        for when, number, publications in batches:
            kept = [each for each in publications if not each.hint or newest[each.channel] is each]
            if kept:
                self._keep(when, number, kept)
        self._hints = 0
