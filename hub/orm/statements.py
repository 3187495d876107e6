"""What `session.execute(insert(Model)…)`, `update(Model)` and `delete(Model)` change: rows before and after.

What a statement says is not what stands in the table afterwards: defaults, expressions, conflicts and triggers
have a say. So an INSERT returns what it wrote where the dialect can (RETURNING is added, which costs
no question more); an UPDATE or DELETE has its rows read before, and locked, and an UPDATE after it too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    Column,
    Connection,
    Index,
    PrimaryKeyConstraint,
    Result,
    Table,
    UniqueConstraint,
    or_,
    select,
    tuple_,
)
from sqlalchemy.exc import CompileError, DatabaseError, DataError, IntegrityError, InvalidRequestError, OperationalError
from sqlalchemy.orm import Mapper, ORMExecuteState, Session

from .declarations import Change, Declaration, Notice, notice, notices
from .mapped import (
    Identity,
    Plan,
    Values,
    ask,
    by_identity,
    changed_from,
    guarded,
    identity_of,
    key_is_one_of,
    locked,
    mapper_of,
    name_of,
    note_outdated,
    one_of,
    plan_of,
    rows_by_key,
    rows_where,
    values_of,
)

logger = logging.getLogger(__name__)

#: Rows a statement may touch and still be told one by one; each costs a row read and one written.
MAX_BULK = 1000

#: Rows of one class, by primary key.
Rows = dict[Identity, Values]


class Collecting(Protocol):
    """What a statement needs of the notifier."""

    def plan(self, mapper: Mapper[Any]) -> Plan | None: ...

    def write(self, session: Session, mapper: Mapper[Any] | None, found: Sequence[Notice]) -> None: ...


def concerns(collector: Collecting, mapper: Mapper[Any]) -> bool:
    """Whether a statement on this class may change a row that is declared: its own, or a subclass's."""
    return any(collector.plan(one) is not None for one in mapper.self_and_descendants)


def run_change(state: ORMExecuteState, collector: Collecting) -> Result[Any]:
    """Run an UPDATE or DELETE, and write what it tells."""
    return _Change(state, collector).run()


def run_insert(state: ORMExecuteState, collector: Collecting) -> Any:
    """Run an INSERT, and write what it tells."""
    return _Insert(state, collector).run()


class _Statement:
    def __init__(self, state: ORMExecuteState, collector: Collecting) -> None:
        mapper = state.bind_mapper
        assert mapper is not None
        self.state = state
        self.session = state.session
        self.statement: Any = state.statement
        self.mapper: Mapper[Any] = mapper
        self.collector = collector
        self.connection: Connection = self.session.connection(bind_arguments={"mapper": mapper})
        self.parameters: Any = state.parameters
        _flush_first(state)

    def plan(self, mapper: Mapper[Any]) -> Plan:
        """The plan of a class; of one that declares nothing, for the sake of its subclasses."""
        return self.collector.plan(mapper) or _empty_plan(mapper)

    def refined(self, found: Rows) -> Rows:
        """Rows with the columns that their own class adds to that of the statement."""
        discriminator = self.mapper.polymorphic_on
        if discriminator is None or not found:
            return found
        key = next((key for key, column in self.plan(self.mapper).columns.items() if column is discriminator), None)
        others: dict[Mapper[Any], list[Identity]] = {}
        for identity, row in found.items():
            own = self.mapper.polymorphic_map.get(values_of(row).get(key)) if key is not None else None
            if own is not None and own is not self.mapper and self.collector.plan(own) is not None:
                others.setdefault(own, []).append(identity)
        for own, identities in others.items():
            plan = self.plan(own)
            for identity, values in rows_by_key(self.connection, own, plan, identities, plan.read).items():
                found[identity] = Values(own, values)
        return found

    def rows(self, found: Iterable[Mapping[str, Any]]) -> Rows:
        plan = self.plan(self.mapper)
        return {key: Values(self.mapper, row) for key, row in by_identity(plan, found).items()}

    def reread(self, rows: Rows) -> Rows:
        """The same rows as they are now."""
        by_mapper: dict[Mapper[Any], list[Identity]] = {}
        for identity, row in rows.items():
            by_mapper.setdefault(mapper_of(row), []).append(identity)
        found: Rows = {}
        for mapper, identities in by_mapper.items():
            plan = self.plan(mapper)
            for identity, values in rows_by_key(self.connection, mapper, plan, identities, plan.read).items():
                found[identity] = Values(mapper, values)
        return found

    def attribute(self, name: Any) -> str | None:
        """The mapped attribute that a statement names by itself, its column or the column's name; None for others."""
        if isinstance(name, str):
            if self.mapper.has_property(name):
                return name
            column = self.statement.table.c.get(name)
        else:
            column = name if isinstance(name, Column) else name.__clause_element__()
            column = self.statement.table.c.get(column.key)
        if column is None or column not in self.mapper._columntoproperty:
            return None
        return self.mapper.get_property_by_column(column).key

    def changed(self, old: Values, new: Values, assigned: Iterable[Any]) -> dict[str, Any]:
        """The old values of what changed: of the columns that were read, and of those that the statement assigns.

        A deferred column is not read: it may be a large one. That it is assigned has to do, and its old value is None.
        """
        unread = {name for one in assigned if (name := self.attribute(one)) is not None and name not in values_of(new)}
        return changed_from(old, new) | dict.fromkeys(unread & self.plan(mapper_of(new)).columns.keys())

    def tell(self, changes: Iterable[tuple[Values, Change, Values | None]]) -> None:
        found: list[Notice] = []
        for row, change, old in changes:
            plan = self.collector.plan(mapper_of(row))
            if plan is not None:
                identity = one_of(identity_of(row))
                found += notices(
                    plan.declarations, row, change, model=name_of(mapper_of(row)), identity=identity, old=old
                )
        self.collector.write(self.session, self.mapper, found)

    def tell_of_no_row(self, kind: Any) -> None:
        """Tell what can be told without knowing the rows: `true`, to channels that don't depend on them."""
        found: list[Notice] = []
        for mapper in self.mapper.self_and_descendants:
            plan = self.collector.plan(mapper)
            found += () if plan is None else _of_no_row(plan.declarations, kind)
        self.collector.write(self.session, self.mapper, found)


class _Change(_Statement):
    def run(self) -> Result[Any]:
        kind = "deleted" if self.state.is_delete else "changed"
        before = self._before()
        result = self.state.invoke_statement()
        note_outdated(self.session, self.mapper, before)
        if before is None:
            self.tell_of_no_row(kind)
            return result
        count = getattr(result, "rowcount", -1)
        if isinstance(count, int) and count > len(before):
            note_outdated(self.session, self.mapper, None)
            # Rows that another session committed between the question and the statement.
            logger.warning("bulk statement changed rows that were not read", extra={"model": name_of(self.mapper)})
            self.tell_of_no_row(kind)
        if self.state.is_delete:
            # A filter or a trigger of the site's may have kept some.
            kept: Rows = {} if count == len(before) else self.reread(before)
            self.tell((row, Change("deleted"), None) for identity, row in before.items() if identity not in kept)
            return result
        self.tell(self._changes(before, self.reread(before)))
        return result

    def _changes(self, before: Rows, after: Rows) -> Iterator[tuple[Values, Change, Values | None]]:
        assigned = list(self.statement._values or ())
        for row in self.parameters if isinstance(self.parameters, list) else [self.parameters or {}]:
            assigned += row
        for identity, old in before.items():
            new = after.get(identity)
            if new is None:
                # Its key was changed: where it was is known, where it is is not.
                logger.warning("bulk statement changed a key", extra={"model": name_of(self.mapper), "id": identity})
                yield old, Change("changed", frozenset(values_of(old)), values_of(old)), None
                continue
            if changed := self.changed(old, new, assigned):
                yield new, Change("changed", frozenset(changed), changed), old

    def _before(self) -> Rows | None:
        """The rows that are about to be changed, locked where the database can; None if that can't be known."""
        plan = self.plan(self.mapper)
        parameters = self.parameters if isinstance(self.parameters, Mapping) else None
        if isinstance(self.parameters, list):
            # "Bulk update by primary key": the rows are named by the parameters.
            keys = [tuple(values.get(name) for name in plan.key) for values in self.parameters]
            if len(keys) > MAX_BULK:
                self._warn_of_many()
                return None
            criteria = [key_is_one_of(self.mapper, keys)]
        else:
            where = self.statement.whereclause
            criteria = [] if where is None else [where]
            # What SQLAlchemy adds for a class that shares its table with others.
            single = getattr(self.mapper, "_single_table_criterion", None)
            criteria += [] if single is None else [single]
        question = rows_where(self.mapper, plan, plan.read, criteria).limit(MAX_BULK + 1)
        deleting = bool(self.state.is_delete)
        found = ask(self.connection, locked(self.mapper, question, deleting=deleting), self.mapper, parameters)
        if found is not None and len(found) > MAX_BULK:
            self._warn_of_many()
            return None
        return None if found is None else self.refined(self.rows(found))

    def _warn_of_many(self) -> None:
        facts = {"model": name_of(self.mapper), "limit": MAX_BULK}
        logger.warning("bulk statement changes too many rows to tell each", extra=facts)


@dataclass(slots=True)
class _Given:
    """What an INSERT says of its rows: values by attribute, as far as they are plain values."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    #: The rows are a query's: their number and values are the database's to know.
    select: Any = None


class _Insert(_Statement):
    def __init__(self, state: ORMExecuteState, collector: Collecting) -> None:
        super().__init__(state, collector)
        self.given = self._read_given()
        self.table: Table = self.statement.table
        conflict = getattr(self.statement, "_post_values_clause", None)
        self.conflict = conflict
        # `INSERT OR REPLACE`, `INSERT IGNORE`: words that let a row be skipped or take another's place.
        self.replaces = bool(self.statement._prefixes)
        self.may_skip = conflict is not None or self.replaces
        self.does_nothing = conflict is not None and "nothing" in type(conflict).__name__.lower()

    def run(self) -> Any:
        plan = self.plan(self.mapper)
        # One that does nothing changes no row that is there; which it added, it may not be able to say.
        asks = self.may_skip and not (self.does_nothing and self._can_return)
        before = self._before(plan) if asks else {}
        if not self.may_skip and self._is_said(plan):
            result: Any = self.state.invoke_statement()
            self._tell_given()
            return result
        if not self.may_skip and self._is_single and not self.statement._returning:
            result = self.state.invoke_statement()
            self._tell_single(plan, result)
            return result
        if self._can_return:
            result, after = self._returned(plan)
        else:
            result, after = self.state.invoke_statement(), None
        if after is None:
            after = self._read_after(plan, before)
        note_outdated(self.session, self.mapper, None if after is None else {**(before or {}), **after})
        if after is None:
            self._tell_given()
            return result
        self._tell_compared(plan, before or {}, after)
        return result

    # What the statement says

    @property
    def _is_single(self) -> bool:
        return not self.parameters and not self.statement._multi_values and len(self.given.rows) == 1

    def _read_given(self) -> _Given:
        statement = self.statement
        if self.parameters:
            rows = [self.parameters] if isinstance(self.parameters, Mapping) else self.parameters
            fixed = self._by_attribute(statement._values or {})
            return _Given([fixed | self._by_attribute(row) for row in rows])
        if statement._select_names is not None:
            return _Given(select=statement.select)
        if statement._multi_values:
            return _Given([self._by_attribute(row) for some in statement._multi_values for row in some])
        return _Given([self._by_attribute(statement._values or {})])

    def _by_attribute(self, values: Any) -> dict[str, Any]:
        """Values by the names of the mapped attributes; without what is SQL."""
        if not isinstance(values, Mapping):
            values = dict(zip((column.key for column in self.statement.table.c), values, strict=False))
        found = {}
        for name, value in values.items():
            key = self.attribute(name)
            value = _plain(value)
            if key is not None and value is not _SQL:
                found[key] = value
        return found

    def _is_said(self, plan: Plan) -> bool:
        """Whether the statement says all that is told: then nothing need be asked."""
        wanted = set(plan.columns) if plan.asks else {*plan.key, *plan.named}
        # Columns of SQL expressions are made by reading.
        return self.given.select is None and all(wanted <= row.keys() for row in self.given.rows)

    def _tell_given(self) -> None:
        self.tell((Values(self.mapper, row), Change("created"), None) for row in self.given.rows)
        if self.given.select is not None:
            logger.warning("rows of an INSERT from a query can't be known", extra={"model": name_of(self.mapper)})
            self.tell_of_no_row("created")

    def _tell_single(self, plan: Plan, result: Any) -> None:
        values = dict(self.given.rows[0])
        try:
            # With the defaults that Python made.
            values |= self._by_attribute(result.last_inserted_params())
            identity = tuple(result.inserted_primary_key)
        # Whatever the dialect can't say is read, or told without.
        except (InvalidRequestError, AttributeError, TypeError):
            identity = ()
        if len(identity) == len(plan.key) and None not in identity:
            values |= dict(zip(plan.key, identity, strict=True))
            if not (set(plan.columns) if plan.asks else plan.named) <= values.keys():
                found = rows_by_key(self.connection, self.mapper, plan, [identity], plan.read)
                values |= found.get(identity, {})
        self.tell([(Values(self.mapper, values), Change("created"), None)])

    # What it wrote

    @property
    def _can_return(self) -> bool:
        dialect = self.connection.dialect
        many = isinstance(self.parameters, list)
        can = dialect.insert_executemany_returning if many else dialect.insert_returning
        # The columns of a row in two tables come from two statements.
        return bool(can) and len(self.mapper.tables) == 1

    def _returned(self, plan: Plan) -> tuple[Any, Rows | None]:
        """The result for the caller, and the rows written; None for these if they can't be returned."""
        # An expression over the row (a subquery, mostly) means something else in RETURNING.
        keys = [key for key in plan.read if key not in plan.expressions]
        extra = [plan.columns[key].label(f"fanfare_{at}") for at, key in enumerate(keys)]
        own = bool(self.statement._returning)
        try:
            with guarded(self.connection):
                result = self.state.invoke_statement(statement=self.statement.returning(*extra))
                frozen = result.freeze()
        except (IntegrityError, DataError, OperationalError):
            raise
        except (DatabaseError, CompileError, InvalidRequestError):
            # Its own fault, or that of what was added (a column that may be written and not read).
            logger.info("INSERT can't return its rows", exc_info=True, extra={"model": name_of(self.mapper)})
            return self.state.invoke_statement(), None
        rows = [tuple(row) for row in frozen()]
        after = self.rows(dict(zip(keys, row[-len(extra) :], strict=True)) for row in rows)
        if len(keys) < len(plan.read) and (plan.asks or not plan.named <= set(keys)):
            after |= self.reread(after)
        if own:
            width = len(frozen().keys()) - len(extra)
            return frozen().columns(*range(width)), after
        return _NoRows(result, len(rows)), after

    def _read_after(self, plan: Plan, before: Rows | None) -> Rows | None:
        """The rows with the unique keys that the statement gives, for a dialect without RETURNING."""
        criteria = self._conflicting() if self.may_skip else self._written()
        if not criteria:
            return None
        found = ask(self.connection, rows_where(self.mapper, plan, plan.read, criteria), self.mapper)
        if found is None:
            return None
        after = self.rows(found)
        if self.does_nothing or self.may_skip:
            return after
        return after if len(after) == len(self.given.rows) else None

    def _tell_compared(self, plan: Plan, before: Rows, after: Rows) -> None:
        changes: list[tuple[Values, Change, Values | None]] = []
        # What DO UPDATE sets, or ON DUPLICATE KEY UPDATE.
        conflict = self.conflict
        assigned = list(getattr(conflict, "update_values_to_set", None) or getattr(conflict, "update", None) or ())
        for identity, new in after.items():
            old = before.get(identity)
            if old is None:
                changes.append((new, Change("created"), None))
                continue
            if changed := self.changed(old, new, assigned):
                changes.append((new, Change("changed", frozenset(changed), changed), old))
        gone = {identity: old for identity, old in before.items() if identity not in after}
        if gone and self.may_skip:
            # Replaced by a row with another key.
            kept = self.reread(gone)
            changes += [(old, Change("deleted"), None) for identity, old in gone.items() if identity not in kept]
        self.tell(changes)

    # What stands in its way

    def _before(self, plan: Plan) -> Rows:
        """The rows that the statement may change instead of inserting its own; locked where the database can."""
        if len(self.given.rows) > MAX_BULK:
            facts = {"model": name_of(self.mapper), "limit": MAX_BULK}
            logger.warning("upsert of too many rows to tell which channels they left", extra=facts)
            return {}
        criteria = self._conflicting()
        if criteria is None:
            logger.warning("channels that an upsert's rows left can't be known", extra={"model": name_of(self.mapper)})
            return {}
        if not criteria:
            return {}
        question = locked(self.mapper, rows_where(self.mapper, plan, plan.read, criteria))
        return self.rows(ask(self.connection, question, self.mapper) or ())

    def _conflicting(self) -> list[Any] | None:
        """Criteria for the rows with a unique key that the statement gives: none if it gives none.

        None if they can't be told.
        """
        keys = self._unique_keys()
        if keys is None:
            return None
        parts: list[Any] = []
        for columns in keys:
            part = self._key_is_given(columns)
            if part is None:
                return None
            parts += part
        return [or_(*parts)] if parts else []

    def _written(self) -> list[Any] | None:
        """Criteria for the rows that were inserted: by any unique key that the statement gives for each of them."""
        for columns in self._unique_keys() or ():
            names = [self.attribute(column) for column in columns]
            if self.given.rows and all(row.get(one or "") is not None for row in self.given.rows for one in names):
                return self._key_is_given(columns)
        return None

    def _key_is_given(self, columns: Sequence[Column[Any]]) -> list[Any] | None:
        if self.given.select is not None:
            names = list(self.statement._select_names)
            query = self.given.select.subquery()
            at = [names.index(column.key) if column.key in names else None for column in columns]
            if None in at:
                return [] if self._is_made_here(columns) else None
            return [tuple_(*columns).in_(select(*(list(query.c)[one] for one in at if one is not None)))]
        attributes = [self.attribute(column) for column in columns]
        found: list[list[Any]] = []
        for row in self.given.rows:
            values = [row.get(name, _SQL) if name is not None else _SQL for name in attributes]
            if any(value is _SQL for value in values):
                if not self._is_made_here(columns):
                    return None
            # NULL is in nobody's way.
            elif None not in values:
                found.append(values)
        if not found:
            return []
        if len(columns) == 1:
            return [columns[0].in_([values[0] for values in found])]
        return [tuple_(*columns).in_(found)]

    def _is_made_here(self, columns: Sequence[Column[Any]]) -> bool:
        """Whether this key is one that the database counts up: a new one is in nobody's way."""
        return len(columns) == 1 and columns[0] is self.table.autoincrement_column

    def _unique_keys(self) -> list[list[Column[Any]]] | None:
        """The keys that a new row may share with one that is there; None if some of them are not columns."""
        named = getattr(self.conflict, "constraint_target", None)
        inferred = getattr(self.conflict, "inferred_target_elements", None)
        if inferred:
            found = [self.table.c.get(one if isinstance(one, str) else getattr(one, "key", "")) for one in inferred]
            columns = [one for one in found if one is not None]
            return [columns] if len(columns) == len(found) else None
        keys: list[list[Column[Any]]] = []
        every: list[Any] = [*self.table.constraints, *self.table.indexes]
        for one in every:
            unique = isinstance(one, UniqueConstraint | PrimaryKeyConstraint) or (isinstance(one, Index) and one.unique)
            if not unique or (named is not None and one.name != named):
                continue
            columns = list(one.columns)
            if isinstance(one, Index) and not all(isinstance(each, Column) for each in one.expressions):
                return None
            if columns:
                keys.append(columns)
        return keys or None


class _NoRows:
    """The result of an INSERT without a RETURNING of the caller's own, whose rows were taken by the notifier."""

    returns_rows = False
    _is_cursor = False
    raw = None

    def __init__(self, result: Any, rowcount: int) -> None:
        self._result = result
        self.rowcount = rowcount

    def __getattr__(self, name: str) -> Any:
        return getattr(self._result, name)


class _Sql:
    """Stands for a value that only the database knows."""


_SQL = _Sql()


def _plain(value: Any) -> Any:
    # Values given to `values()` are wrapped; one without a value gets it when the statement is run.
    if isinstance(value, BindParameter):
        return _SQL if value.required or value.callable is not None else value.value
    return _SQL if isinstance(value, ClauseElement) or hasattr(value, "__clause_element__") else value


def _flush_first(state: ORMExecuteState) -> None:
    """Flush what the statement would flush, before the rows are read: else they would be read as they were."""
    session = state.session
    wanted = session.autoflush and state.execution_options.get("autoflush", True)
    if wanted and not getattr(session, "_flushing", False):
        session.flush()


def _empty_plan(mapper: Mapper[Any]) -> Plan:
    return plan_of(mapper, ())


def _of_no_row(declarations: Iterable[Declaration], kind: Any) -> list[Notice]:
    return [
        notice(one.channel, True, hint=one.hint)
        for one in declarations
        if isinstance(one.channel, str) and not one.channel_names and kind in one.on and one.when is None
    ]
