"""Rows of Django models as they are in the database: before a write, and after it.

An instance remembers the values that it was loaded or last saved with. What it never loaded, what SQL makes
(`F()`, a generated field) and what was assigned and not saved is read where a declaration needs
it: one question for a save, one for each model of a deletion. A question of ours that fails is
logged and must not fail the save: on PostgreSQL it is asked inside a savepoint.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connections, models, transaction

from ..declarations import Before, Change, Declaration, Notice, Unknown, differs, notices

logger = logging.getLogger(__name__)

#: Rows read or written at a time.
CHUNK = 500

#: Where a row keeps its values as they are in the database.
_SAVED = "_fanfare_saved"

#: Where a row says that it is being saved, and whether its channels' fields were read for that, all at one time.
SAVING = "_fanfare_saving"

declared: dict[type[models.Model], list[Declaration]] = {}

_plans: dict[type[models.Model], Plan] = {}


@dataclass(frozen=True, slots=True)
class Plan:
    """Which fields of a model its declarations depend on, by attribute names.

    every: all there are. named: those that a channel's braces, `fields` or `watch` name. where: those that may
    decide a channel. wide: a function or a property makes a channel. asks: a function of the site's sees the row.
    generated: those that the database computes at every write.
    """

    every: tuple[str, ...]
    named: frozenset[str]
    where: frozenset[str]
    wide: bool
    asks: bool
    generated: frozenset[str]

    @property
    def needed(self) -> frozenset[str]:
        """What must be known of a row that was not loaded."""
        return frozenset(self.every) if self.asks else self.named


def plan_of(model: type[models.Model]) -> Plan:
    """The plan of a declared model."""
    found = _plans.get(model)
    if found is None:
        found = _plans[model] = _new_plan(model, declared[model])
    return found


def forget_plans() -> None:
    """Called when something was declared."""
    _plans.clear()


def _new_plan(model: type[models.Model], declarations: Sequence[Declaration]) -> Plan:
    every = tuple(field.attname for field in model._meta.concrete_fields)
    key = model._meta.pk.attname
    channels = {key if name == "pk" else name for one in declarations for name in one.channel_names}
    shown = {name for one in declarations for name in (*one.fields, *one.watch)}
    wide = any(callable(one.channel) for one in declarations) or not channels <= set(every)
    return Plan(
        every,
        named=frozenset((channels | shown) & set(every)),
        where=frozenset(every if wide else channels),
        wide=wide,
        asks=wide or any(one.asks for one in declarations),
        generated=frozenset(f.attname for f in model._meta.concrete_fields if getattr(f, "generated", False)),
    )


def told(
    row: models.Model,
    change: Change,
    using: str,
    *,
    old: models.Model | None = None,
    seen: Any = None,
    moved: list[str] | None = None,
) -> list[Notice]:
    """What a change of a row tells. old: the row before the change. seen: what the functions see instead of the row.

    moved: as in `notices`.
    """
    model = type(row)
    declarations = declared.get(model, ())
    if not declarations:
        return []
    if old is None and change.before and plan_of(model).wide:
        old = with_values(row, change.before)
    with _functions_run(plan_of(model), using):
        return notices(
            declarations,
            row if seen is None else seen,
            change,
            model=name_of(model),
            identity=row.pk,
            old=old,
            moved=moved,
        )


class Unkeyed(Before):
    """A row whose primary key the database made and did not say."""

    def __init__(self, row: models.Model) -> None:
        super().__init__(row, {})
        self._key = row._meta.pk.attname

    def __getattr__(self, name: str) -> Any:
        if name in {"pk", self._key}:
            raise Unknown("a primary key is not known after a bulk statement")
        return super().__getattr__(name)


# What an instance remembers


def saved(row: models.Model) -> dict[str, Any]:
    """The row's values in the database, as far as they are known."""
    found: dict[str, Any] = row.__dict__.setdefault(_SAVED, {})
    return found


def held(row: models.Model) -> dict[str, Any]:
    """A row's values as far as they are loaded: reading a deferred one would ask the database."""
    values = row.__dict__
    return {name: values[name] for name in attributes(type(row)) if name in values}


def remember(row: models.Model, names: Collection[str] | None = None) -> None:
    """Note that these values (all that are loaded) are in the database. Expressions are not: SQL makes them."""
    values = row.__dict__
    found = {} if names is None else saved(row)
    for name in attributes(type(row)):
        if names is not None and name not in names:
            continue
        if name not in values or is_expression(values[name]):
            found.pop(name, None)
        else:
            found[name] = _kept(values[name])
    values[_SAVED] = found


def forget(row: models.Model, names: Collection[str]) -> None:
    """Note that these values of the row in the database are not known any more."""
    for name in names:
        saved(row).pop(name, None)


def know(row: models.Model, values: Mapping[str, Any], *, only: bool = False) -> None:
    """Note values that were read from the database. only: what the row remembered until now is not from there."""
    kept = {name: _kept(value) for name, value in values.items()}
    if only:
        row.__dict__[_SAVED] = kept
    else:
        saved(row).update(kept)


def _kept(value: Any) -> Any:
    # Deep copies: a list or dict may be changed in place. All else that fields hold is immutable.
    return copy.deepcopy(value) if isinstance(value, dict | list | set) else value


def is_expression(value: object) -> bool:
    return hasattr(value, "resolve_expression")


def in_database(row: models.Model) -> models.Model:
    """The row as it is in the database: itself, or a copy without what was assigned and not saved."""
    known, values = saved(row), row.__dict__
    other = {name: value for name, value in known.items() if name not in values or differs(value, values[name])}
    return with_values(row, other) if other else row


def with_values(row: models.Model, values: Mapping[str, Any]) -> models.Model:
    """A copy of a row with other values. Related objects follow their keys."""
    model: Any = type(row)
    made: models.Model = model.__new__(model)
    made.__dict__.update(row.__dict__)
    made._state = copy.copy(row._state)
    made._state.fields_cache = dict(row._state.fields_cache)
    for name, value in values.items():
        setattr(made, name, value)
    return made


def without(row: models.Model, names: Collection[str]) -> models.Model:
    """A copy of a row without these values: what they are now is not known."""
    made = with_values(row, {})
    for name in names:
        made.__dict__.pop(name, None)
    return made


def attributes(model: type[models.Model]) -> tuple[str, ...]:
    plan = _plans.get(model)
    return plan.every if plan is not None else tuple(field.attname for field in model._meta.concrete_fields)


def attributes_named(model: type[models.Model], names: Iterable[str]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields if {field.name, field.attname} & set(names)]


def name_of(model: type[models.Model]) -> str:
    """The table's name: what a trigger on the table would say too, so that both speak of one subject."""
    return str(model._meta.db_table)


# What is asked


@contextmanager
def guarded(using: str) -> Iterator[None]:
    """A block whose statements may fail without taking the transaction along."""
    connection = connections[using]
    if connection.vendor != "postgresql" or not connection.in_atomic_block:
        yield
        return
    with transaction.atomic(using=using):
        yield


def values_of(
    model: type[models.Model], using: str, pks: Collection[Any], names: Iterable[str], *, lock: bool = False
) -> dict[Any, dict[str, Any]]:
    """These values of these rows in the database; without those that are not there or can't be read."""
    found: dict[Any, dict[str, Any]] = {}
    wanted = list(dict.fromkeys((model._meta.pk.attname, *names)))
    chunk = list(pks)
    for at in range(0, len(chunk), CHUNK):
        rows = model._base_manager.using(using).filter(pk__in=chunk[at : at + CHUNK])
        try:
            with guarded(using):
                for values in (locked(rows, using) if lock else rows).order_by("pk").values(*wanted):
                    found[values[model._meta.pk.attname]] = values
        # The database's errors are its driver's, and the site's fields raise what they like.
        except Exception:
            logger.warning("rows of a change can't be read", exc_info=True, extra={"model": name_of(model)})
    return found


def rows_in(
    model: type[models.Model], using: str, rows: Any, limit: int, *, lock: bool = True
) -> dict[Any, models.Model] | None:
    """The rows of a queryset by primary key, one more than `limit` at most; None, and a log line, if that fails."""
    try:
        with guarded(using):
            found = rows.using(using).order_by("pk")
            return {row.pk: row for row in (locked(found, using) if lock else found)[: limit + 1]}
    # As above.
    except Exception:
        logger.warning("rows of a change can't be read", exc_info=True, extra={"model": name_of(model)})
        return None


def locked(rows: Any, using: str) -> Any:
    """The rows, locked as a write will lock them: what was read stays true until then."""
    features = connections[using].features
    if not features.has_select_for_update or not connections[using].in_atomic_block:
        return rows
    return rows.select_for_update(no_key=features.has_select_for_no_key_update)


@contextmanager
def _functions_run(plan: Plan, using: str) -> Iterator[None]:
    """While inside, the site's own functions run; what they ask fails for them alone."""
    connection = connections[using]
    if not plan.asks or connection.vendor != "postgresql":
        yield
        return
    busy = False

    def guard(execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        nonlocal busy
        # The savepoint's own statements come by here too.
        if busy or not connection.in_atomic_block:
            return execute(sql, params, many, context)
        busy = True
        try:
            with transaction.atomic(using=using):
                return execute(sql, params, many, context)
        finally:
            busy = False

    with connection.execute_wrapper(guard):
        yield
