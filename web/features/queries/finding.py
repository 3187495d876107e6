"""Many questions of one shape from one line: each row is asked for by itself, where one question would do for all.

Two questions are of one loop if they have the same shape, the same lines led to them, and one transaction of one
request has them. What a loader asks for the rows of many, and what goes through a table page by page or through a long
list part by part, is none. Nor is what is asked between two writes of a transaction, as rows are written one by one,
nor what a migration asks of each table.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .asked import Asked, Relation, Unit
from .places import Place
from .shapes import asks_for, is_of_catalogue, is_page, reads, short, writes

_COUNTS = re.compile(r"select count\(", re.IGNORECASE)

_ORDERED = re.compile(r"\border by\b", re.IGNORECASE)

#: Questions of one shape from which on they are too many.
TIMES = 3

#: Values of a list from which on it is a part of a longer one, if the next is as long. What belongs to one row, such as
#: the songs of a list, is as many by chance alone.
_PART = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """place: the line that asks. via: of a template's line, the one that renders it. advice: what to write, where."""

    unit: str
    place: Place
    times: int
    shape: str
    advice: str
    relation: str = ""
    via: Place | None = None

    def __str__(self) -> str:
        via = "" if self.via is None else f", from {self.via}"
        return f"{self.place}{via} asks {self.times} times, in {self.unit}: {short(self.shape)}\n  {self.advice}"


def find(units: Iterable[Unit], is_test: Callable[[Place], bool], times: int = TIMES) -> list[Finding]:
    """What is asked row by row. is_test: whether a line is a test's own: its loops are its own business."""
    found = []
    for unit in units:
        loops: dict[object, list[Asked]] = {}
        written: Counter[int] = Counter()
        for asked in unit.asked:
            written[asked.transaction] += writes(asked.statement)
            if not asked.stack or asked.why.eager or is_test(asked.stack[0]) or not reads(asked.statement):
                continue
            since = 0 if asked.why.relation is not None else written[asked.transaction]
            loops.setdefault((asked.shape, asked.stack, asked.transaction, since), []).append(asked)
        for loop in loops.values():
            if len(loop) >= times and not (_is_paging(loop) or _is_in_parts(loop) or is_of_catalogue(loop[0].shape)):
                found.append(_finding(unit, loop))
    return found


def _is_paging(loop: Sequence[Asked]) -> bool:
    if loop[0].why.relation is not None or not is_page(loop[0].shape):
        return False
    # Django's get() asks for 21 at most, in no order; and sqlite3 does not say how many there were.
    is_ordered = _ORDERED.search(loop[0].shape) is not None
    return all(is_ordered if each.rows is None else each.rows != 1 for each in loop[:-1])


def _is_in_parts(loop: Sequence[Asked]) -> bool:
    """Whether a long list is asked for in parts of one length, as databases take so many values and no more."""
    first, *between, last = (asks_for(each.statement) for each in loop)
    return first >= _PART and all(each == first for each in between) and 0 < last <= first


def _finding(unit: Unit, loop: Sequence[Asked]) -> Finding:
    first = loop[0]
    relation = first.why.relation or _guessed(unit, first)
    if relation is not None:
        at = unit.loaded.get(relation.owner)
        where = f"the query of {relation.owner}" + ("" if at is None else f" at {at}")
        advice = f"{relation.name} is loaded row by row: write {relation.fix} into {where}"
        if _COUNTS.match(first.shape):
            advice += ", or count them all in one question, with group by"
    elif len({each.values for each in loop}) == 1:
        advice = "It is the same question each time: ask once, before the loop"
    else:
        advice = "Ask for all of them in one question, before the loop: where … in (…)"
    name = "" if relation is None else relation.name
    via = None
    if not first.stack[0].file.endswith(".py"):
        via = next((place for place in first.stack if place.file.endswith(".py")), None)
    return Finding(unit.name, first.stack[0], len(loop), first.shape, advice, name, via)


def _guessed(unit: Unit, asked: Asked) -> Relation | None:
    """The relation that a question written by hand goes along, if there is just one from what was loaded before."""
    found = [each for each in asked.why.relations if each.owner in unit.loaded]
    return found[0] if len(found) == 1 else None


def as_text(findings: Sequence[Finding]) -> str:
    """All of them, for a person."""
    return "\n".join(f"N+1: {each}" for each in findings)
