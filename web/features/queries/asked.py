"""What was asked of a database, by request, or by block of code.

Listeners (`alchemy`, `django`) call `begin` before a statement; what they get is where its rows and seconds are noted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from .places import Place, Project, frames_from
from .shapes import shape


@dataclass(frozen=True, slots=True)
class Relation:
    """What a question was asked for: rows that belong to another.

    name: such as `Song.artist`. fix: what to write instead, such as `joinedload(Song.artist)`. owner: `Song`.
    """

    name: str
    fix: str
    owner: str


@dataclass(frozen=True, slots=True)
class Why:
    """What a listener knows of a question. models: whose rows it asks for. eager: it asks for the rows of many already,
    or is a part of writing, which is row by row.

    relations: those that `models` could be reached by, by the names of their owners.
    """

    relation: Relation | None = None
    models: tuple[str, ...] = ()
    eager: bool = False
    relations: tuple[Relation, ...] = ()


@dataclass(slots=True)
class Asked:
    """One statement. stack: the project's lines that led to it, the nearest first. rows: None where nobody knows.

    transaction: two of different ones are never of one loop. values: as a text, to see whether they differ.
    """

    statement: str
    stack: tuple[Place, ...]
    transaction: int
    values: str
    why: Why
    rows: int | None = None
    seconds: float = 0.0

    @property
    def shape(self) -> str:
        """Its statement without values."""
        return shape(self.statement)

    @property
    def place(self) -> str:
        """The line that asked."""
        return str(self.stack[0]) if self.stack else "elsewhere"


@dataclass(slots=True)
class Unit:
    """What belongs together: a request, or a block. loaded: by model, the line that asked for its rows last."""

    name: str
    asked: list[Asked] = field(default_factory=list)
    loaded: dict[str, Place] = field(default_factory=dict)
    kept: list[object] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows of all statements."""
        return sum(each.rows or 0 for each in self.asked)

    @property
    def seconds(self) -> float:
        """Seconds of all statements."""
        return sum(each.seconds for each in self.asked)


#: Statements that a unit keeps; of a loop without an end the first tell enough.
MOST = 50_000

_unit: ContextVar[Unit | None] = ContextVar("unit", default=None)


class Recorder:
    """Notes into units what is asked while it is on: one in a process. rest: what no unit of its own was begun for."""

    def __init__(self) -> None:
        self.project: Project | None = None
        self.rest: Unit | None = None
        self.units: list[Unit] = []

    @property
    def wants(self) -> bool:
        """Whether anybody wants to know what is asked here."""
        return self.rest is not None or _unit.get() is not None

    @contextmanager
    def watching(self, name: str) -> Iterator[list[Unit]]:
        """Note everything, whoever asks; gives the units that there have been, this block's first.

        Within another such block they are that one's too.
        """
        before = self.rest, self.units
        self.rest = Unit(name)
        self.units = [self.rest]
        token = _unit.set(None)
        try:
            yield self.units
        finally:
            _unit.reset(token)
            found = self.units
            self.rest, self.units = before
            if self.rest is not None:
                self.units.extend(found)

    @contextmanager
    def unit(self, name: str) -> Iterator[Unit]:
        """Note into a unit of its own what this block asks, and the tasks and threads that it begins."""
        unit = Unit(name)
        if self.rest is not None:
            self.units.append(unit)
        token = _unit.set(unit)
        try:
            yield unit
        finally:
            _unit.reset(token)

    def begin(self, statement: str, values: object, transaction: object, why: Why) -> Asked | None:
        """Note a statement; None if nobody wants to know, or there are too many."""
        unit = _unit.get() or self.rest
        if unit is None or self.project is None or len(unit.asked) >= MOST:
            return None
        stack = self.project.stack(frames_from(sys._getframe(2)))
        if transaction is not None and (not unit.kept or unit.kept[-1] is not transaction):
            # Kept, so that no other one gets its number.
            unit.kept.append(transaction)
        found = Asked(statement, stack, id(transaction), repr(values)[:200], why)
        unit.asked.append(found)
        if why.relation is None and not why.eager and stack:
            for model in why.models:
                unit.loaded[model] = stack[0]
        return found


#: The one there is.
recorder = Recorder()


def counted(cursor: Any) -> int | None:
    """How many rows a cursor has, if that can be known before they are fetched."""
    rows = getattr(cursor, "_rows", None)
    if rows is not None:
        return len(rows)
    count = getattr(cursor, "rowcount", -1)
    return count if isinstance(count, int) and count >= 0 else None
