"""What is watched, and what is wrong with it. Pure: takes the catalogue's rows.

A watched table's function keeps in its comment what was asked for, and outlives the table. So a table that was
dropped, replaced or renamed is missed, and a column that was renamed is known by its number.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .declarations import names_in
from .triggers import EVENTS, Table, Watch, from_description


@dataclass(frozen=True, slots=True)
class Function:
    """A trigger function of ours. is_public: anyone may call it. has_outbox: its owner may write the outbox."""

    sql: str
    owner: str
    comment: str | None
    is_public: bool
    has_outbox: bool


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger that calls one. enabled: pg_trigger.tgenabled. is_clone: PostgreSQL has made it for a partition.

    columns: its table's, by name. earlier: what it watches, if it is an earlier release's. parents: of
    which tables its own is a partition, however far up. virtual: its table's generated columns that are not stored.
    """

    name: str
    table: str
    table_sql: str
    function: str
    definition: str
    enabled: str
    is_row: bool
    is_clone: bool
    owner: str
    columns: Mapping[str, int]
    earlier: Watch | None = None
    parents: tuple[str, ...] = ()
    virtual: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Child:
    """A table that inherits from another."""

    parent: str
    name: str
    is_partition: bool


@dataclass(frozen=True, slots=True)
class Watched:
    """A watch. table: its name now; name: when it was first watched. problems: what is told to nobody, with the mend.

    notes: what one may want to know, though all is told.
    """

    table: str
    name: str
    function: str
    watch: Watch | None
    triggers: tuple[Trigger, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    parents: tuple[str, ...] = field(default=())

    @property
    def names(self) -> set[str]:
        """What people may call it: now or then, with and without its schema."""
        return {name for each in (self.table, self.name) for name in (each, each.partition(".")[2])}

    @property
    def definition(self) -> str:
        """Of the row trigger; empty if there is none."""
        return next((each.definition for each in self.triggers if each.is_row and not each.is_clone), "")


def plain(name: str) -> str:
    """A table's name as people write it."""
    return name.removeprefix("public.")


def no_value(column: str) -> str:
    """Why a column can't be watched that is computed when it is read, and what to do."""
    return (
        f"column {column} is a VIRTUAL generated column, which has no value in a trigger; make it STORED,"
        " or name the columns that it is made of"
    )


def as_arguments(watch: Watch) -> str:
    """A watch as `fanfare watch` takes it, without the table."""
    name = watch.channel if watch.channel.startswith("//") else watch.channel.removeprefix("/")
    words = [shlex.quote(name)]
    if watch.fields:
        words += ["--fields", shlex.quote(",".join(watch.fields))]
    elif watch.data is not True:
        words += ["--data", shlex.quote(json.dumps(watch.data))]
    if watch.watch:
        words += ["--when", shlex.quote(",".join(watch.watch))]
    if len(watch.on) < len(EVENTS):
        words += ["--on", ",".join(watch.on)]
    return " ".join(words)


def watched(functions: Sequence[Function], triggers: Sequence[Trigger], children: Sequence[Child]) -> list[Watched]:
    """Put together what belongs together, in the tables' order."""
    found = []
    for function in functions:
        own = [each for each in triggers if each.function == function.sql]
        roots = [each for each in own if each.is_row and not each.is_clone]
        kept = from_description(function.comment)
        for root in roots:
            members = tuple(
                each
                for each in own
                if each.table == root.table or (root.table in each.parents and each.name.startswith(root.name))
            )
            if kept is None:
                found.append(_earlier(function, root))
            else:
                found.append(_checked(function, *kept, root, members, triggers, children))
        if not roots and kept is not None:
            watch, table = kept
            name = f"{table.schema}.{table.name}"
            text = (
                f"the table tells nobody: it was dropped or replaced since it was watched; "
                f"`fanfare watch {plain(name)} {as_arguments(watch)}` or `fanfare watch {plain(name)} --remove`"
            )
            found.append(Watched(name, name, function.sql, watch, tuple(own), (text,)))
    return sorted(found, key=lambda each: (each.table, "" if each.watch is None else each.watch.channel))


def _earlier(function: Function, root: Trigger) -> Watched:
    if root.owner == function.owner:
        text = "the trigger is an earlier release's, which can fail saves; `fanfare migrate` replaces it"
    else:
        text = (
            f"the trigger is an earlier release's, on a table of {root.owner}'s, not {function.owner}'s;"
            " if it is yours, `fanfare watch` the table again, else --remove it"
        )
    return Watched(root.table, root.table, function.sql, root.earlier, (root,), (text,))


def _checked(
    function: Function,
    watch: Watch,
    table: Table,
    root: Trigger,
    members: Sequence[Trigger],
    triggers: Sequence[Trigger],
    children: Sequence[Child],
) -> Watched:
    name = f"{table.schema}.{table.name}"
    problems, notes = _of_columns(watch, table, root)
    if root.table != name:
        notes.append(f"the table was called {plain(name)} when it was watched")
    if function.owner != root.owner:
        problems.append(
            f"the table tells nobody: it belongs to {root.owner}, its trigger's function to {function.owner};"
            " watch it again"
        )
    if not function.has_outbox:
        problems.append(f"the table tells nobody: {function.owner} can't write fanfare_outbox; watch it again")
    if function.is_public:
        problems.append("anyone may make triggers with its function, and so publish; watch it again")
    for trigger in members:
        if trigger.enabled in ("D", "R"):
            what = "changes of rows" if trigger.is_row else "TRUNCATE"
            problems.append(
                f"{what} of {plain(trigger.table)}: told to nobody, the trigger is disabled;"
                f" ALTER TABLE {trigger.table_sql} ENABLE TRIGGER {trigger.name}"
            )
    if "deleted" in watch.on:
        truncates = {each.table for each in members if not each.is_row}
        if root.table not in truncates:
            problems.append("TRUNCATE is told to nobody: its trigger is gone; watch it again")
        problems += [
            f"TRUNCATE of {plain(partition)} alone is told to nobody: the partition is new;"
            f" watch {plain(root.table)} again"
            for partition in _partitions(root.table, children)
            if partition not in truncates
        ]
    watching = {each.table for each in triggers if each.is_row and each.name == root.name}
    problems += [
        f"changes in {plain(child)} are told to nobody: the child table is new; watch {plain(root.table)} again"
        for child in _children(root.table, children)
        if child not in watching
    ]
    parents = tuple(_parents(root.table, children))
    return Watched(root.table, name, function.sql, watch, tuple(members), tuple(problems), tuple(notes), parents)


def _of_columns(watch: Watch, table: Table, root: Trigger) -> tuple[list[str], list[str]]:
    problems, notes = [], []
    names = {number: name for name, number in root.columns.items()}
    for name, number in sorted(table.columns.items()):
        now = root.columns.get(name)
        called = name if now is not None else names.get(number, name)
        if called in root.virtual and name in watch.columns:
            what = "the table tells nobody" if name in names_in(watch.channel) else "null is told"
            problems.append(f"{what}: {no_value(called)}")
            continue
        if now == number:
            continue
        if now is not None:
            notes.append(f"column {name} is another one than when it was watched; watch it again")
        elif number in names:
            notes.append(f"column {name} is called {names[number]} now, which costs each save; watch it again")
        elif name in names_in(watch.channel):
            problems.append(f"the table tells nobody: it has no column {name} any more; watch it again, or --remove")
        else:
            problems.append(f"only a plain hint is told: it has no column {name} any more; watch it again")
    return problems, notes


def _children(table: str, children: Sequence[Child]) -> list[str]:
    """Tables that inherit from this one, however far down, but for partitions."""
    found: list[str] = []
    for each in children:
        if each.parent == table and not each.is_partition and each.name not in found:
            found += [each.name, *_children(each.name, children)]
    return found


def _parents(table: str, children: Sequence[Child]) -> list[str]:
    found: list[str] = []
    for each in children:
        if each.name == table:
            found += [each.parent, *_parents(each.parent, children)]
    return found


def _partitions(table: str, children: Sequence[Child]) -> list[str]:
    found: list[str] = []
    for each in children:
        if each.parent == table and each.is_partition:
            found += [each.name, *_partitions(each.name, children)]
    return found
