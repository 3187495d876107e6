"""What a reader may have meant: other spellings of a query, each with a score. Pure.

The query's own words have 1.1, whatever they are; others have the score of what was changed, 0.6 or more, as the
Lucene suggester's: 1 - edits / length. A wrong first letter counts as an edit and a half, and a word that no title has
is a little less likely. At most 5 spellings are looked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rapidfuzz.distance import OSA

from .tokens import STOP_WORDS, may_be_misspelt

OWN = 1.1
FLOOR = 0.6
MOST = 5

#: Other words of one word that are tried.
_EACH = 4
_SPLIT_IN_2, _SPLIT_IN_3, _JOINED = 0.9, 0.85, 0.95

#: How much more frequent a neighbour must be to stand in for a word that only comments have (a typo in a comment must
#: not make itself right), and for one that has no hits together with the rest.
_OVER_COMMENTS = 20
_OVER_ALONE = 10

#: Parts that are looked for between two ends of a run-together word.
_MIDDLES = 100

#: What a wrong first letter costs besides: most typos leave it as it is.
_FIRST_LETTER = 0.5

#: A word that no title has counts so much of one that some have: readers look for what pages are about.
_NO_TITLE = 0.9

How = Literal["spelt", "begun", "split", "joined", "synonym"]


@dataclass(frozen=True, slots=True)
class Known:
    """How many documents have a word: in titles, headings and labels of pages; in their texts; in comments."""

    titles: int = 0
    texts: int = 0
    comments: int = 0

    @property
    def pages(self) -> int:
        return max(self.titles, self.texts)

    @property
    def may_be_meant(self) -> bool:
        """Whether others are corrected to it: what one text alone has may be a typo itself."""
        return self.titles > 0 or self.texts > 1

    @property
    def least(self) -> int:
        """A lower bound of documents that have it: one may have it in both title and text."""
        return self.pages + self.comments

    def __bool__(self) -> bool:
        return bool(self.titles or self.texts or self.comments)


NOWHERE = Known()


@dataclass(frozen=True, slots=True)
class Change:
    """One word read as another. first: the place of the first word among the query's; count: how many it replaces.

    edits: letters that are other, 0 where words were split or joined.
    """

    first: int
    count: int
    now: tuple[str, ...]
    how: How
    score: float
    edits: int = 0


@dataclass(frozen=True, slots=True)
class Spelling:
    """One reading of a query."""

    score: float
    words: tuple[str, ...]
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Lookups:
    """What the index said of words. near: words within two edits of one; begun: words that begin with the last one.

    together: documents that have all words of the query; None where nobody asked.
    """

    known: Mapping[str, Known] = field(default_factory=dict)
    near: Mapping[str, Sequence[tuple[str, Known]]] = field(default_factory=dict)
    begun: Mapping[str, Sequence[tuple[str, Known]]] = field(default_factory=dict)
    together: int | None = None


def to_look_up(words: Sequence[str]) -> set[str]:
    """The words to ask the index for: each, and neighbours joined."""
    return {*words, *("".join(words[at : at + size]) for size in (2, 3) for at in range(len(words) - size + 1))}


def ends_to_look_up(word: str) -> set[str]:
    """The first and the last part that a run-together word may have."""
    if not may_be_misspelt(word):
        return set()
    cuts = range(2, len(word) - 1)
    return {*(word[:cut] for cut in cuts), *(word[cut:] for cut in cuts)}


def middles_to_look_up(word: str, known: Mapping[str, Known]) -> set[str]:
    """What may stand between two ends that are there, of a word that no two make.

    All parts of a word of 64 letters are two thousand, and Elasticsearch took seconds to count them.
    """
    cuts = range(2, len(word) - 1)
    starts = [cut for cut in cuts if known.get(word[:cut], NOWHERE).pages]
    ends = [cut for cut in cuts if known.get(word[cut:], NOWHERE).pages]
    if set(starts) & set(ends):
        return set()
    some = [word[start:end] for start in starts for end in ends if end - start >= 2]
    return set(some[:_MIDDLES])


def is_unknown(word: str, known: Mapping[str, Known]) -> bool:
    return not known.get(word, NOWHERE)


def in_doubt(word: str, found: Lookups) -> bool:
    """Whether other words may be meant by this one."""
    there = found.known.get(word, NOWHERE)
    return not there or not there.pages or found.together == 0


def must_meet(words: Collection[str], known: Mapping[str, Known], documents: int) -> bool:
    """Whether some document must have all of these words, by their counts alone (pigeonhole principle).

    Of 100 documents 60 have one word and 50 another: at least 10 have both. Counting them takes longest for such words.
    """
    return sum(known.get(word, NOWHERE).least for word in words) > documents * (len(words) - 1)


def spellings(words: Sequence[str], found: Lookups, more: Sequence[Spelling] = ()) -> list[Spelling]:
    """All readings of a query, its own first, by score; equal ones once. more: what it means besides."""
    own = Spelling(OWN, tuple(words))
    changes = [change for at in range(len(words)) for change in _changes(words, at, found)]
    best: dict[tuple[str, ...], Spelling] = {own.words: own}
    for spelling in (*more, *_combined(words, changes, found)):
        # A split and a correction may make the same words: one of them is enough.
        if spelling.words not in best or best[spelling.words].score < spelling.score:
            best[spelling.words] = spelling
    # Of equal scores the first: they come with the nearest and the most frequent words first.
    others = sorted((each for each in best.values() if each is not own), key=lambda each: -each.score)
    return [own, *others[: MOST - 1]]


def _changes(words: Sequence[str], at: int, found: Lookups) -> list[Change]:
    word = words[at]
    there = found.known.get(word, NOWHERE)
    changes: list[Change] = []
    alone = found.together == 0
    if not there or not there.pages or alone:
        changes += _corrected(word, at, there, found, is_last=at == len(words) - 1)
        if not there:
            changes += _split(word, at, found.known)
    for size in (2, 3):
        some = words[at : at + size]
        joined = "".join(some)
        is_there = found.known.get(joined, NOWHERE)
        if len(some) < size or len(joined) < 4 or not is_there.pages:
            continue
        if alone or any(is_unknown(each, found.known) for each in some):
            changes.append(Change(at, size, (joined,), "joined", _JOINED))
    return sorted(changes, key=lambda change: -change.score)[: _EACH + 1]


def _corrected(word: str, at: int, there: Known, found: Lookups, *, is_last: bool) -> list[Change]:
    # By score, then how many letters are other: a wrong first letter alone before two others.
    changes: list[tuple[float, int, int, int, Change]] = []
    if is_last and not there:
        for other, other_there in found.begun.get(word, ()):
            if other_there.may_be_meant:
                score = 1 - 0.5 * (len(other) - len(word)) / len(other)
                if score >= FLOOR:
                    change = Change(at, 1, (other,), "begun", round(score, 3))
                    changes.append((score, 0, other_there.titles, other_there.pages, change))
    if may_be_misspelt(word):
        for other, other_there in found.near.get(word, ()):
            if other == word or not other_there.may_be_meant or not may_be_misspelt(other):
                continue
            if there.pages and other_there.pages < _OVER_ALONE * there.pages:
                continue
            if there and not there.pages and other_there.titles < _OVER_COMMENTS * there.comments:
                continue
            edits = OSA.distance(word, other, score_cutoff=2)
            cost = edits if word[0] == other[0] else edits + _FIRST_LETTER
            score = 1 - cost / min(len(word), len(other))
            if edits <= 2 and cost <= 2 and score >= FLOOR:
                if not other_there.titles:
                    score = max(FLOOR, score * _NO_TITLE)
                change = Change(at, 1, (other,), "spelt", round(score, 3), edits)
                changes.append((score, edits, other_there.titles, other_there.pages, change))
        if len(word) < 8 and any(each[1] == 1 and each[4].now[0][0] == word[0] for each in changes):
            # Of short words two letters are another word, if one letter makes one.
            changes = [each for each in changes if each[1] < 2]
    changes.sort(key=lambda each: (-each[0], each[1], -each[2], -each[3], each[4].now))
    best, rest = changes[:1], changes[1:]
    # Nobody looks for "yours", unless nothing else is as near.
    rest = [each for each in rest if each[4].now[0] not in STOP_WORDS]
    return [each[4] for each in (best + rest)[:_EACH]]


def _split(word: str, at: int, known: Mapping[str, Known]) -> list[Change]:
    if not may_be_misspelt(word):
        return []

    def is_good(part: str) -> bool:
        return known.get(part, NOWHERE).pages > 0

    def score(parts: tuple[str, ...], whole: float) -> float:
        # Two letters are in any word's beginning.
        return whole if all(len(part) > 2 for part in parts) else round(whole - 0.2, 3)

    def rank(parts: tuple[str, ...]) -> int:
        return min(known[part].pages for part in parts)

    twos = [(word[:cut], word[cut:]) for cut in range(2, len(word) - 1)]
    twos = [parts for parts in twos if all(map(is_good, parts))]
    if twos:
        pair = max(twos, key=lambda parts: (score(parts, 1), rank(parts)))
        return [Change(at, 1, pair, "split", score(pair, _SPLIT_IN_2))]
    threes = [
        parts
        for first in range(2, len(word) - 3)
        for second in range(first + 2, len(word) - 1)
        if all(map(is_good, parts := (word[:first], word[first:second], word[second:])))
    ]
    if not threes:
        return []
    best = max(threes, key=lambda parts: (score(parts, 1), rank(parts)))
    return [Change(at, 1, best, "split", score(best, _SPLIT_IN_3))]


def _combined(words: Sequence[str], changes: Collection[Change], found: Lookups) -> Iterable[Spelling]:
    """Readings with each doubtful word changed, the best first: a change for each word, or none where it may stay."""
    by_place: dict[int, list[Change]] = {}
    for change in changes:
        by_place.setdefault(change.first, []).append(change)
    places = sorted(by_place)
    if not places:
        return
    # The best readings by the place where they go on: one that is not among the best there can't become one later. A
    # best-first search over all of them visited most combinations: 10 words with six changes each took 4 s, 11 took 18.
    most = 2 * MOST + 1
    readings: dict[int, list[tuple[float, tuple[Change, ...]]]] = {0: [(1.0, ())]}
    for place in places:
        longer: dict[int, list[tuple[float, tuple[Change, ...]]]] = {}
        # A word that is nowhere finds nothing as it is; one that is there may well be meant.
        stays = 0.5 if is_unknown(words[place], found.known) else 0.97
        for reached, some in readings.items():
            if place < reached:
                longer.setdefault(reached, []).extend(some)
                continue
            for score, chosen in some:
                for change in by_place[place]:
                    after = place + change.count
                    longer.setdefault(after, []).append((score * change.score, (*chosen, change)))
                longer.setdefault(place + 1, []).append((score * stays, chosen))
        readings = {reached: sorted(some, key=_worst)[:most] for reached, some in longer.items()}
    whole = sorted((each for some in readings.values() for each in some if each[1]), key=_worst)
    for score, chosen in whole[: 2 * MOST]:
        yield Spelling(round(score, 3), _changed(words, chosen), chosen)


def _worst(reading: tuple[float, tuple[Change, ...]]) -> float:
    return -reading[0]


def _changed(words: Sequence[str], changes: Sequence[Change]) -> tuple[str, ...]:
    result: list[str] = []
    at = 0
    for change in changes:
        result += [*words[at : change.first], *change.now]
        at = change.first + change.count
    return (*result, *words[at:])
