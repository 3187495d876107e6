"""What is different between two texts, by lines and within lines. Pure, and bounded: it may take a second, not more.

`difflib` compares each line with each in the worst case. So what both texts begin and end with is set aside first, and
of what is left between no more than `MOST_LINES` lines are compared; longer ones are shown as replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

#: Lines of both texts together, after what is alike at their ends is set aside.
MOST_LINES = 3_000
#: Characters of a line that is compared within.
MOST_WITHIN = 1_000
#: Lines that are compared within.
MOST_PAIRS = 300
#: Lines around a change that are shown too.
AROUND = 3

Tag = Literal["replace", "delete", "insert", "equal"]

#: Words of a line, and whether each is changed.
Pieces = tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the difference. old, new: its pieces then and now, if any, with its numbers from 1."""

    kind: Literal["same", "gone", "new", "changed"]
    old_number: int | None = None
    old: Pieces = ()
    new_number: int | None = None
    new: Pieces = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """hunks: rows that are near each other; gone and new count lines. is_rough: the texts were too long to compare."""

    hunks: tuple[tuple[Row, ...], ...]
    gone: int
    new: int
    is_rough: bool = False


def compare(old: str, new: str, around: int = AROUND) -> Difference:
    """How a text became another one."""
    a, b = old.split("\n") if old else [], new.split("\n") if new else []
    begin = _alike(a, b)
    end = _alike(a[begin:][::-1], b[begin:][::-1])
    middle_a, middle_b = a[begin : len(a) - end], b[begin : len(b) - end]
    is_rough = len(middle_a) + len(middle_b) > MOST_LINES
    steps: list[tuple[Tag, int, int, int, int]] = [("equal", 0, begin, 0, begin)]
    if is_rough:
        steps.append(("replace", begin, len(a) - end, begin, len(b) - end))
    else:
        for tag, i1, i2, j1, j2 in SequenceMatcher(None, middle_a, middle_b).get_opcodes():
            steps.append((tag, begin + i1, begin + i2, begin + j1, begin + j2))
    steps.append(("equal", len(a) - end, len(a), len(b) - end, len(b)))
    rows: list[Row] = []
    pairs = 0
    for tag, i1, i2, j1, j2 in steps:
        if tag == "equal":
            rows += [
                Row("same", i + 1, ((a[i], False),), j + 1, ((b[j], False),))
                for i, j in zip(range(i1, i2), range(j1, j2), strict=True)
            ]
            continue
        # Lines that changed stand beside each other as far as there are as many; the rest came or went.
        both = 0 if is_rough else min(i2 - i1, j2 - j1)
        for at in range(both):
            pairs += 1
            was, became = a[i1 + at], b[j1 + at]
            inside = _within(was, became) if pairs <= MOST_PAIRS else (((was, True),), ((became, True),))
            rows.append(Row("changed", i1 + at + 1, inside[0], j1 + at + 1, inside[1]))
        rows += [Row("gone", old_number=i + 1, old=((a[i], True),)) for i in range(i1 + both, i2)]
        rows += [Row("new", new_number=j + 1, new=((b[j], True),)) for j in range(j1 + both, j2)]
    gone = sum(row.kind in ("gone", "changed") for row in rows)
    came = sum(row.kind in ("new", "changed") for row in rows)
    return Difference(tuple(_hunks(rows, around)), gone, came, is_rough)


def _alike(a: Sequence[str], b: Sequence[str]) -> int:
    """How many lines both begin with."""
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count


def _within(old: str, new: str) -> tuple[Pieces, Pieces]:
    """A line and what became of it, in pieces. Of lines that have little in common all is changed."""
    if len(old) > MOST_WITHIN or len(new) > MOST_WITHIN:
        return ((old, True),), ((new, True),)
    a, b = _words(old), _words(new)
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    if matcher.quick_ratio() < 0.3:
        return ((old, True),), ((new, True),)
    left: list[tuple[str, bool]] = []
    right: list[tuple[str, bool]] = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if i1 < i2:
            left.append(("".join(a[i1:i2]), tag != "equal"))
        if j1 < j2:
            right.append(("".join(b[j1:j2]), tag != "equal"))
    return tuple(left), tuple(right)


def _words(line: str) -> list[str]:
    """A line's words, and what is between them, one after the other."""
    found: list[str] = []
    for letter in line:
        if found and letter.isalnum() and found[-1][-1].isalnum():
            found[-1] += letter
        else:
            found.append(letter)
    return found


def _hunks(rows: Sequence[Row], around: int) -> Iterator[tuple[Row, ...]]:
    """Changes with some lines around each; those that are near each other together."""
    changed = [at for at, row in enumerate(rows) if row.kind != "same"]
    begin = end = 0
    for at in changed:
        if end and at - around <= end:
            end = at + around + 1
            continue
        if end:
            yield tuple(rows[begin:end])
        begin, end = max(0, at - around), at + around + 1
    if end:
        yield tuple(rows[begin:end])
