"""What a notifier has to know of a mapped row, and how it asks the database for it.

A question of ours must never fail the site's save: on PostgreSQL a statement that fails takes its
transaction along, so each is put into a savepoint; what can't be read is logged, and the rest is told.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, select, tuple_
from sqlalchemy import inspect as inspected
from sqlalchemy.orm import InstanceState, Mapper, RelationshipDirection, Session, object_session
from sqlalchemy.orm.attributes import instance_state

from .declarations import MISSING, Before, Declaration, Unknown, computed, differs

logger = logging.getLogger(__name__)

#: Rows asked for in one statement; some databases bound the parameters of one.
CHUNK = 500

#: Databases in which a transaction goes on after a statement that failed.
_FORGIVING = frozenset({"sqlite", "mysql", "mariadb", "oracle", "mssql"})

Identity = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which columns of a mapped class its declarations depend on, by the names of the attributes.

    columns: all there are, with their expressions. key: the primary key's. where: those that may decide a
    channel, so that their old values are needed. named: those that a channel's braces or `fields` name.
    moving: those in question that the database or a default may set at any UPDATE. asks: a function of
    the site's, or a property, sees the row. read: those to read for a statement that changes many rows.
    wide: a function or a property makes a channel, so that `where` is all of them.
    expressions: SQL over the row (`column_property`), and no columns. guessed: those in question that a Python
    function sets at an UPDATE. Of several rows updated together, SQLAlchemy gives each object what the function
    made for the first.
    """

    declarations: tuple[Declaration, ...]
    columns: Mapping[str, ColumnElement[Any]]
    key: tuple[str, ...]
    where: frozenset[str]
    named: frozenset[str]
    moving: frozenset[str]
    asks: bool
    wide: bool
    read: tuple[str, ...]
    expressions: frozenset[str]
    guessed: frozenset[str]


def plan_of(mapper: Mapper[Any], declarations: tuple[Declaration, ...]) -> Plan:
    """The plan of a class with these declarations."""
    columns = {one.key: one.columns[0] for one in mapper.column_attrs}
    channels = {name for one in declarations for name in one.channel_names}
    shown = {name for one in declarations for name in one.fields}
    watched = {name for one in declarations for name in one.watch}
    # A function, a property or a hybrid may use any column.
    wide = any(callable(one.channel) for one in declarations) or not channels <= columns.keys()
    where = frozenset(columns) if wide else frozenset(channels)
    moving = {key for key in where | shown | watched if key in columns and _moves_by_itself(mapper, columns[key])}
    asks = wide or any(one.asks for one in declarations)
    named = frozenset(columns.keys() & (channels | shown))
    key = tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key)
    deferred = {one.key for one in mapper.column_attrs if one.deferred} - named - watched - set(key)
    read = tuple(one for one in columns if asks or one not in deferred)
    expressions = frozenset(one for one, column in columns.items() if _is_expression(column))
    guessed = {key for key in moving if getattr(getattr(columns[key], "onupdate", None), "is_callable", False)}
    return Plan(
        declarations, columns, key, where, named, frozenset(moving), asks, wide, read, expressions, frozenset(guessed)
    )


def _is_expression(column: Any) -> bool:
    return not isinstance(getattr(column, "table", None), Table)


def _moves_by_itself(mapper: Mapper[Any], column: Any) -> bool:
    # What is no column of a table is an expression, which follows the columns in it.
    if _is_expression(column):
        return True
    return column is mapper.version_id_col or column.onupdate is not None or column.server_onupdate is not None


class Values:
    """A row that a statement changed: its columns as attributes, without an object of the session."""

    __slots__ = ("_mapper", "_values")

    def __init__(self, mapper: Mapper[Any], values: dict[str, Any]) -> None:
        self._mapper = mapper
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        # Properties, hybrids and methods of the class use the columns.
        found = computed(self._mapper.class_, name, self)
        if found is MISSING:
            raise Unknown(f"{name} of {self._mapper.class_.__name__} is not known after a bulk statement")
        return found


# Functions, not methods: a column may have any name.


def mapper_of(row: Values) -> Mapper[Any]:
    return row._mapper


def values_of(row: Values) -> dict[str, Any]:
    return row._values


def identity_of(row: Values) -> Identity:
    """The primary key; None where it is not known."""
    keys = [row._mapper.get_property_by_column(column).key for column in row._mapper.primary_key]
    return tuple(row._values.get(key) for key in keys)


def changed_from(old: Values, new: Values) -> dict[str, Any]:
    """The old values of what changed."""
    before = old._values
    return {key: before.get(key) for key, value in new._values.items() if differs(before.get(key), value)}


class Old(Before):
    """A mapped object as it was: what it refers to by a changed foreign key is what it referred to then.

    unread: columns whose old values could not be read. The object's are not put in their stead: a channel is made
    of values that its row had at one time.
    """

    def __init__(self, row: object, before: Mapping[str, object], unread: Collection[str] = ()) -> None:
        super().__init__(row, before)
        self._unread = unread

    def __getattr__(self, name: str) -> Any:
        if name in self._unread:
            raise Unknown(f"{name} of {type(self._row).__name__} as it was can't be read")
        mapper: Mapper[Any] = inspected(self._row).mapper
        relation = mapper.relationships.get(name)
        if relation is None or relation.direction is not RelationshipDirection.MANYTOONE:
            return super().__getattr__(name)
        pairs = relation.local_remote_pairs or ()
        keys = {remote: mapper.get_property_by_column(local).key for local, remote in pairs}
        if self._before.keys().isdisjoint(keys.values()):
            return getattr(self._row, name)
        target, session = relation.mapper, object_session(self._row)
        if session is None or set(keys) != set(target.primary_key):
            raise Unknown(f"{name} of {mapper.class_.__name__} as it was is not known")
        identity = tuple(getattr(self, keys[column]) for column in target.primary_key)
        return None if None in identity else session.get(target.class_, identity)


_OUTDATED = "hub.orm.outdated"


def note_outdated(session: Session, mapper: Mapper[Any], identities: Iterable[Identity] | None) -> None:
    """Note on the session's objects of these rows (None: of any) that a statement has changed the rows under them.

    `synchronize_session=False` leaves them as they were, and no synchronization touches what is assigned and not
    flushed. The note stays with an object until a flush has seen that it is right again.
    """
    if identities is None:
        for state in session.identity_map.all_states():
            if state.mapper.isa(mapper):
                state.info[_OUTDATED] = True
        return
    for identity in identities:
        row = session.identity_map.get(mapper.identity_key_from_primary_key(identity))
        if row is not None:
            instance_state(row).info[_OUTDATED] = True


def is_outdated(state: InstanceState[Any]) -> bool:
    """Whether the object may hold other values than its row, by a statement or by another session's commit."""
    # Most have no `info` yet; asking for it would make one for each.
    return "info" in state.__dict__ and _OUTDATED in state.info


def note_stale(state: InstanceState[Any]) -> None:
    """Note that the object holds other values than its row."""
    state.info[_OUTDATED] = True


def note_read(state: InstanceState[Any], values: Mapping[str, Any]) -> None:
    """Note whether the object holds what was now read of its row."""
    if agrees(state, values):
        state.info.pop(_OUTDATED, None)
    else:
        note_stale(state)


def agrees(state: InstanceState[Any], values: Mapping[str, Any]) -> bool:
    """Whether the object holds these values, as far as it holds any."""
    held = state.dict
    return not any(key in held and differs(held[key], value) for key, value in values.items())


@contextmanager
def guarded(connection: Connection) -> Iterator[None]:
    """A block whose statements may fail without taking the transaction along."""
    if connection.dialect.name in _FORGIVING or _commits_each(connection):
        yield
        return
    with connection.begin_nested():
        yield


def rows_by_key(
    connection: Connection, mapper: Mapper[Any], plan: Plan, identities: Collection[Identity], keys: Iterable[str]
) -> dict[Identity, dict[str, Any]]:
    """These columns of these rows as they are in the database; without those that are not there or can't be read."""
    found: dict[Identity, dict[str, Any]] = {}
    wanted = list(identities)
    for at in range(0, len(wanted), CHUNK):
        statement = rows_where(mapper, plan, keys, [key_is_one_of(mapper, wanted[at : at + CHUNK])])
        found |= by_identity(plan, ask(connection, statement, mapper) or ())
    return found


def rows_where(mapper: Mapper[Any], plan: Plan, keys: Iterable[str], criteria: Sequence[Any]) -> Select[Any]:
    """A question for these columns, and the primary key, of the rows that meet all criteria."""
    names = dict.fromkeys((*plan.key, *keys))
    # The tables, not the classes: the site's own filters (soft deletion, tenants) are not for before and after.
    statement = select(*(plan.columns[name].label(name) for name in names))
    return statement.select_from(mapper.persist_selectable).where(*criteria)


def locked(mapper: Mapper[Any], statement: Select[Any], *, deleting: bool = False) -> Select[Any]:
    """The question that locks its rows, as the write that follows will: what was read stays true until then."""
    # In the order of keys, as a flush writes, so that two sessions don't wait for one another.
    ordered = statement.order_by(*mapper.primary_key)
    return ordered.with_for_update(key_share=not deleting, of=list(mapper.tables))


def by_identity(plan: Plan, rows: Iterable[Mapping[str, Any]]) -> dict[Identity, dict[str, Any]]:
    return {tuple(row[name] for name in plan.key): dict(row) for row in rows}


def ask(connection: Connection, statement: Any, mapper: Mapper[Any], parameters: Any = None) -> Any:
    """The rows that a statement of ours finds, as mappings; None, and a log line, if it fails."""
    try:
        with guarded(connection):
            return connection.execute(statement, parameters).mappings().all()
    # The database's errors are its driver's, and the site's column types raise what they like.
    except Exception:
        logger.warning("rows of a change can't be read", exc_info=True, extra={"model": name_of(mapper)})
        return None


def key_is_one_of(mapper: Mapper[Any], identities: Sequence[Identity]) -> ColumnElement[bool]:
    columns = mapper.primary_key
    if len(columns) == 1:
        return columns[0].in_([identity[0] for identity in identities])
    return tuple_(*columns).in_(identities)


def name_of(mapper: Mapper[Any]) -> str:
    """The table's name: what a trigger on the table would say too, so that both speak of one subject."""
    return str(getattr(mapper.local_table, "name", mapper.class_.__name__))


def one_of(identity: Identity) -> Any:
    """A primary key as people write it: the value, or a tuple of several; None while there is none."""
    if any(part is None for part in identity):
        return None
    return identity[0] if len(identity) == 1 else identity


def _commits_each(connection: Connection) -> bool:
    """Whether there is no transaction to take along: a connection in AUTOCOMMIT can't have a savepoint."""
    level = connection.get_execution_options().get("isolation_level")
    if level is None:
        level = getattr(connection.dialect, "_on_connect_isolation_level", None)
    return level == "AUTOCOMMIT"
