"""Podcasts by name: by the beginnings of its words, and past a slip of the finger. Pure.

Behind `Names.find`, so that a search of the whole site can take its place.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass

from rapidfuzz import fuzz, process

from .names import folded

#: As many as the first Podcast Time showed.
MOST = 5

#: Characters of a question that are looked at.
MAX_QUESTION = 100

#: How alike, of 100, a name must be that doesn't have the words.
_ALIKE = 78.0
#: The same for a part of it.
_ALIKE_PART = 80.0

#: Names that are looked at in one go: up to 2 µs each, and anybody may add podcasts.
_AT_ONCE = 250


@dataclass(frozen=True, slots=True)
class Name:
    """A podcast's name. weight: how often it is picked."""

    id: int
    name: str
    weight: int = 0


class Names:
    """All names that may be found."""

    def __init__(self, names: Iterable[Name]) -> None:
        ordered = sorted(names, key=lambda each: (-each.weight, each.id))
        self._ids = [each.id for each in ordered]
        self._bare = [folded(each.name) for each in ordered]
        self._folded = [f" {name} " for name in self._bare]

    def __len__(self) -> int:
        return len(self._ids)

    def find(self, question: str, most: int = MOST) -> Generator[None, None, tuple[list[int], int]]:
        """Ids of podcasts, the best first, and how many there are in all; in steps, between which others are served.

        First those in whose names the words stand side by side, the last one perhaps only begun; then those that have
        all of the words somewhere; if there is none, those that are spelt alike.
        """
        wanted = folded(question[:MAX_QUESTION])
        if not wanted:
            return [], 0
        begun = f" {wanted}"
        exact: list[int] = []
        first: list[int] = []
        side: list[int] = []
        some: list[int] = []
        # Most names lack one of the words: the longest is looked for first.
        words = sorted((f" {word}" for word in wanted.split()), key=len, reverse=True)
        several = len(words) > 1
        for number, (id, name) in enumerate(zip(self._ids, self._folded, strict=True), 1):
            if number % _AT_ONCE == 0:
                yield
            at = name.find(begun)
            if at == 0:
                (exact if len(name) == len(begun) + 1 else first).append(id)
            elif at > 0:
                side.append(id)
            elif several and words[0] in name and all(word in name for word in words):
                some.append(id)
        found = exact + first + side + some
        if not found and len(wanted) >= 3:
            found = yield from self._alike(wanted, most)
        return found[:most], len(found)

    def _alike(self, wanted: str, most: int) -> Generator[None, None, list[int]]:
        best: dict[int, float] = {}
        # The name may go on where the question ends; a short name within a long question is no match.
        for scorer, cutoff, part in ((fuzz.ratio, _ALIKE, 1.0), (fuzz.partial_ratio, _ALIKE_PART, 0.98)):
            found: list[tuple[float, int]] = []
            for begin in range(0, len(self._bare), _AT_ONCE):
                some = self._bare[begin : begin + _AT_ONCE]
                alike = process.extract(wanted, some, scorer=scorer, processor=None, limit=50, score_cutoff=cutoff)
                found += ((-score, begin + place) for _, score, place in alike)
                yield
            for score, place in sorted(found)[:50]:
                if part == 1.0 or len(self._bare[place]) >= len(wanted):
                    best[place] = max(best.get(place, 0.0), -score * part)
        ranked = sorted(best, key=lambda place: (-best[place], place))
        return [self._ids[place] for place in ranked[:most]]
