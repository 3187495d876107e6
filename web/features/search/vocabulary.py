"""All words of an index with how often they are, and which of them are near to another. Pure but for rapidfuzz."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

from rapidfuzz import process
from rapidfuzz.distance import OSA

from .spelling import NOWHERE, Known
from .tokens import may_be_misspelt

#: Places of the counts of a word.
TITLES, TEXTS, COMMENTS = range(3)

#: New words that are put into the sorted ones one by one.
_FEW = 100


class Vocabulary:
    """Words by what they may be taken for.

    A typo mostly leaves the first letter as it is, so words are kept by it and their length. For a wrong first letter
    they are kept by what comes behind it.
    """

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._by_start: dict[tuple[str, int], list[str]] = {}
        self._by_rest: dict[str, list[str]] = {}
        # For what begins with some letters.
        self._sorted: list[str] = []
        self._unsorted: list[str] = []

    def __len__(self) -> int:
        return len(self._counts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def add(self, words: Iterable[str], place: int, by: int = 1) -> None:
        """Count words of one document, each once; by: -1 takes them out again."""
        counts = self._counts
        for word in words:
            found = counts.get(word)
            if found is None:
                if by < 0:
                    continue
                found = counts[word] = [0, 0, 0]
                self._enter(word)
            found[place] += by
            if by < 0 and not any(found):
                self._leave(word)

    def known(self, word: str) -> Known:
        found = self._counts.get(word)
        return NOWHERE if found is None else Known(*found)

    def near(self, word: str) -> list[tuple[str, Known]]:
        """Words within two edits that begin alike; and those that are the same but for the first letter."""
        if not may_be_misspelt(word):
            return []
        found: dict[str, None] = {}
        for length in range(max(4, len(word) - 2), len(word) + 3):
            some = self._by_start.get((word[0], length))
            if some:
                for other, _, _ in process.extract(word, some, scorer=OSA.distance, score_cutoff=2, limit=None):
                    found[other] = None
        # Another first letter, one too few, one too many; and the first two the wrong way round.
        for rest in (word[1:], word):
            found |= dict.fromkeys(self._by_rest.get(rest, ()))
        for other in (word[1:], word[1] + word[0] + word[2:]):
            if other in self._counts:
                found[other] = None
        found.pop(word, None)
        return [(other, self.known(other)) for other in found]

    def begun(self, beginning: str, most: int) -> list[tuple[str, Known]]:
        """Words that begin so and are longer, those of most titles first. Without those added since `settle`."""
        at = bisect_left(self._sorted, beginning)
        found: list[tuple[str, Known]] = []
        # Of a letter with thousands of words a part is enough to look at.
        for word in self._sorted[at : at + 5000]:
            if not word.startswith(beginning):
                break
            if word != beginning and word[-1] != "*" and word in self._counts:
                found.append((word, self.known(word)))
        found.sort(key=lambda each: (-each[1].titles, -each[1].texts, len(each[0]), each[0]))
        return found[:most]

    def settle(self) -> None:
        """Put new words where `begun` finds them. It takes 10 ms for tens of thousands, so call it beside the loop."""
        new = sorted(set(self._unsorted) & self._counts.keys())
        self._unsorted.clear()
        if len(new) > _FEW:
            # Two sorted runs: merged, in one go.
            self._sorted = sorted([*self._sorted, *new])
        else:
            for word in new:
                insort(self._sorted, word)

    def _enter(self, word: str) -> None:
        self._unsorted.append(word)
        if may_be_misspelt(word):
            self._by_start.setdefault((word[0], len(word)), []).append(word)
            self._by_rest.setdefault(word[1:], []).append(word)

    def _leave(self, word: str) -> None:
        del self._counts[word]
        if may_be_misspelt(word):
            for places, key in ((self._by_start, (word[0], len(word))), (self._by_rest, word[1:])):
                some = places[key]  # type: ignore[index]  # each has keys of its own kind
                some.remove(word)
                if not some:
                    del places[key]  # type: ignore[arg-type]
        at = bisect_left(self._sorted, word)
        if at < len(self._sorted) and self._sorted[at] == word:
            del self._sorted[at]
