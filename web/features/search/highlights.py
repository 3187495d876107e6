"""Where a query's words stand in a text, and the piece of it that shows them. Pure.

A piece is plain text with places in it: it is escaped once, as it is written into a page, and the marks are put around
escaped text. Nothing of a text is ever taken for a mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import NamedTuple

from .tokens import TWO, Token, fold_in_place, stem, tokens

#: Characters of a piece, and of a text that are looked at.
PIECE = 200
_LOOKED = 20_000
#: Places that are looked for in one text, and those that are looked at for that, some microseconds each: of a word of
#: one or two letters each other word may be one.
_MOST = 100
_TRIED = 500


@dataclass(frozen=True, slots=True)
class Wanted:
    """The words to look for. stems: of single words; exact: whole identifiers and their like; all folded."""

    stems: frozenset[str]
    exact: frozenset[str] = frozenset()

    @property
    def beginnings(self) -> tuple[str, ...]:
        # A stem may end otherwise than its word: happi of happy.
        short = {each[: max(1, len(each) - 1)] if len(each) > 3 else each for each in self.stems}
        return tuple(sorted({*short, *self.exact}, key=len, reverse=True))


@dataclass(frozen=True, slots=True)
class Piece:
    """Some of a text; marks: places in it, from and to."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()

    def html(self) -> str:
        """Escaped, with each place in <mark>."""
        out: list[str] = []
        at = 0
        for start, end in self.marks:
            out += [escape(self.text[at:start]), "<mark>", escape(self.text[start:end]), "</mark>"]
            at = end
        return "".join([*out, escape(self.text[at:])])


class Place(NamedTuple):
    """A token that is one of the words: from and to, and what it is in the stream."""

    start: int
    end: int
    words: tuple[str, ...]


def matches(token: Token, wanted: Wanted) -> bool:
    """Whether a token is one of the words."""
    parts = token.parts
    if not wanted.stems.isdisjoint(parts.stems):
        return True
    return not (wanted.exact.isdisjoint(parts.spelt) and wanted.stems.isdisjoint(parts.spelt))


def places(text: str, wanted: Wanted) -> Iterator[Place]:
    """Where the words stand, in order."""
    if not wanted.stems and not wanted.exact:
        return
    text = text[:_LOOKED]
    looked = fold_in_place(text)
    may_be = _may_be(wanted)
    at = found = tried = 0
    while found < _MOST and tried < _TRIED and (begun := may_be.search(looked, at)) is not None:
        # The whole run of letters around it, taken apart as it was for the index.
        start = begun.start()
        while start > 0 and not text[start - 1].isspace() and start > at and begun.start() - start < 80:
            start -= 1
        end = begun.end()
        while end < len(text) and not text[end].isspace() and end - begun.end() < 80:
            end += 1
        for token in tokens(text[start:end]):
            if matches(token, wanted) and start + token.start >= at:
                yield from _narrowed(text, start + token.start, start + token.end, token, wanted)
                found += 1
        at = max(end, at + 1)
        tried += 1


def runs(text: str, found: Sequence[Place]) -> list[tuple[str, ...]]:
    """The stems of words that stand one after the other, with nothing but signs between them."""
    made: list[tuple[str, ...]] = []
    end = -1
    for place in found:
        stems = tuple(map(stem, place.words))
        if made and not any(each.isalnum() for each in text[end : place.start]):
            made[-1] += stems
        else:
            made.append(stems)
        end = place.end
    return made


@lru_cache(64)
def _may_be(wanted: Wanted) -> re.Pattern[str]:
    # A letter that becomes two hides how its word begins.
    return re.compile("|".join([TWO, *map(_pattern, wanted.beginnings)]))


def _pattern(word: str) -> str:
    # An apostrophe may stand between any two letters.
    return "['’ʼ]?".join(word) if word.isalpha() else re.escape(word)


def _narrowed(text: str, start: int, end: int, token: Token, wanted: Wanted) -> Iterator[Place]:
    """The whole token, or of unspaced scripts the letters that were asked for."""
    stream = token.parts.stream
    if len(stream) > 1 and len(stream) == end - start - 1 and all(len(pair) == 2 for pair in stream):
        spans: list[list[int]] = []
        for at, pair in enumerate(stream):
            if pair in wanted.stems:
                if spans and spans[-1][1] >= start + at:
                    spans[-1][1] = start + at + 2
                else:
                    spans.append([start + at, start + at + 2])
        for begin, stop in spans:
            yield Place(begin, stop, stream[begin - start : stop - start - 1])
        return
    yield Place(start, end, stream)


def mark(text: str, wanted: Wanted) -> Piece:
    """A whole text with its marks."""
    return Piece(text, tuple(_joined(text, [(place.start, place.end) for place in places(text, wanted)])))


def piece(text: str, found: Sequence[Place], most: int = PIECE) -> Piece:
    """The piece of a text that has the most of the words that were found in it; its beginning if it has none."""
    start = 0
    if found:
        first = max(range(len(found)), key=lambda at: (_worth(found, at, most), -at))
        start = max(0, found[first].start - most // 5)
    start, end = _widened(text, start, min(len(text), start + most))
    begun, ended = "…" if start > 0 else "", "…" if end < len(text) else ""
    # A line's end is a space here: it is one line.
    plain = begun + "".join(" " if each.isspace() else each for each in text[start:end]) + ended
    move = len(begun) - start
    marks = [(place.start + move, place.end + move) for place in found if place.start >= start and place.end <= end]
    return Piece(plain, tuple(_joined(plain, marks)))


def _worth(found: Sequence[Place], first: int, most: int) -> int:
    """How many different words come within a piece that begins here, and how close the next ones are."""
    seen: set[str] = set()
    close = 0
    limit = found[first].start + most * 4 // 5
    for at in range(first, len(found)):
        if found[at].end > limit:
            break
        seen |= set(map(stem, found[at].words))
        close += at > first and found[at].start - found[at - 1].end <= 1
    return 10 * len(seen) + min(close, 5)


def _widened(text: str, start: int, end: int) -> tuple[int, int]:
    """From one end of a word to another, if one is near."""
    if start > 0:
        space = next((at for at in range(start, max(start - 30, 0), -1) if text[at - 1].isspace()), start)
        start = space
    if end < len(text):
        end = next((at for at in range(end, max(end - 30, start + 1), -1) if text[at].isspace()), end)
    return start, end


def _joined(text: str, marks: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Marks with nothing but spaces between them become one."""
    last: tuple[int, int] | None = None
    for start, end in marks:
        if last is not None and (start <= last[1] or text[last[1] : start].isspace()):
            last = last[0], max(end, last[1])
            continue
        if last is not None:
            yield last
        last = start, end
    if last is not None:
        yield last
