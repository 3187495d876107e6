"""Statements that change many rows, for which Django sends no signal: `update`, `bulk_create`, `bulk_update`.

The rows are read before, and locked where the database can, and after: what stands in the table then is
told, whatever expressions and conflicts made of what was asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import models, router, transaction
from django.db.models import Q

from ..declarations import Change, Notice, differs, notice
from . import images
from .images import CHUNK, declared, told
from .telling import telling

logger = logging.getLogger(__name__)

#: Rows that a statement may change and still tell one by one; each costs a row read and one written.
MAX_BULK = 1000

#: Conditions joined by OR in one statement: SQLite bounds their depth.
_CONDITIONS = 200

Rows = dict[Any, models.Model]


def update(rows: models.QuerySet[Any], **values: Any) -> int:
    """`rows.update(**values)`, told: each row that really changed, with the channel it left too.

    Beyond `MAX_BULK` rows only channels that name no row are told, and a log line says so.
    """
    model = rows.model
    using = router.db_for_write(model) if rows._db is None else rows._db
    if model not in declared or not telling.listens(using):
        count: int = rows.using(using).update(**values)
        return count
    with transaction.atomic(using=using):
        chosen = model._base_manager.using(using).filter(pk__in=rows.using(using).order_by().values("pk"))
        before = images.rows_in(model, using, chosen, MAX_BULK)
        count = rows.using(using).update(**values)
        _tell_changed(model, using, before)
    return count


def bulk_update(manager: Any, rows: Iterable[models.Model], fields: Sequence[str], **options: Any) -> int:
    """`manager.bulk_update(rows, fields, **options)`, told: each row that really changed, as `update` does."""
    model, using, given = manager.model, manager.db, list(rows)
    with transaction.atomic(using=using):
        before: Rows | None = {}
        if model in declared and telling.listens(using):
            before = {}
            for some in chunks([row.pk for row in given[: MAX_BULK + 1]]):
                found = images.rows_in(model, using, model._base_manager.filter(pk__in=some), MAX_BULK)
                before = None if found is None or before is None else before | found
        count: int = manager.bulk_update(given, fields, **options) or 0
        if model in declared and telling.listens(using):
            _tell_changed(model, using, before)
            for row in given:
                images.remember(row, images.attributes_named(model, fields))
                # Computed of what was written: the instance has it as it was before.
                images.forget(row, images.plan_of(model).generated)
    return count


def bulk_create(manager: Any, rows: Iterable[models.Model], **options: Any) -> list[Any]:
    """`manager.bulk_create(rows, **options)`, told: `bulk_create(Comment.objects, [Comment(…), Comment(…)])`.

    With `update_conflicts` the rows that stood there are told as changed, where they were and where they are;
    with `ignore_conflicts` only what was really created.
    """
    model, using, given = manager.model, manager.db, list(rows)
    conflicts = bool(options.get("update_conflicts") or options.get("ignore_conflicts"))
    listens = model in declared and telling.listens(using)
    with transaction.atomic(using=using):
        keys = _unique_keys(model, options.get("unique_fields")) if conflicts and listens else []
        before = _standing(model, using, given, keys, lock=True)
        created: list[Any] = manager.bulk_create(given, **options)
        if listens and conflicts:
            _tell_standing(model, using, created, keys, before)
        elif listens:
            _tell_created(model, using, created)
    return created


def of_no_row(model: type[models.Model], kind: Any) -> list[Notice]:
    """What can be told without knowing the rows: `true`, to channels that don't depend on them."""
    return [
        notice(one.channel, True, hint=one.hint)
        for one in declared[model]
        if isinstance(one.channel, str) and not one.channel_names and kind in one.on and one.when is None
    ]


def chunks(rows: list[Any]) -> Iterator[list[Any]]:
    return (rows[at : at + CHUNK] for at in range(0, len(rows), CHUNK))


def _tell_changed(model: type[models.Model], using: str, before: Rows | None) -> None:
    """Tell how these rows differ now; None or too many of them: what can be told of no row."""
    if before is None or len(before) > MAX_BULK:
        if before is not None:
            facts = {"model": images.name_of(model), "limit": MAX_BULK}
            logger.warning("statement changes too many rows to tell each", extra=facts)
        telling.write(of_no_row(model, "changed"), using)
        return
    for pks in chunks(list(before)):
        found: list[Notice] = []
        after = images.rows_in(model, using, model._base_manager.filter(pk__in=pks), CHUNK, lock=False) or {}
        for pk, row in after.items():
            found += _told_of_difference(before[pk], row, using)
        telling.write(found, using)


def _told_of_difference(old: models.Model, new: models.Model, using: str) -> list[Notice]:
    was, values = images.held(old), images.held(new)
    before = {name: was[name] for name in values if name in was and differs(was[name], values[name])}
    return told(new, Change("changed", frozenset(before), before), using, old=old) if before else []


def _tell_created(model: type[models.Model], using: str, rows: list[Any]) -> None:
    made = {name for row in rows for name, value in images.held(row).items() if images.is_expression(value)}
    made |= {name for name in images.plan_of(model).every for row in rows[:1] if name not in row.__dict__}
    needed = made & (images.plan_of(model).needed | images.plan_of(model).where)
    for some in chunks(rows):
        pks = [row.pk for row in some if row.pk is not None]
        values = images.values_of(model, using, pks, needed) if needed else {}
        found: list[Notice] = []
        for row in some:
            now = values.get(row.pk, {})
            seen = images.with_values(row, now) if now else row
            found += told(row, Change("created"), using, seen=images.Unkeyed(row) if row.pk is None else seen)
            images.remember(row)
        telling.write(found, using)


def _tell_standing(
    model: type[models.Model], using: str, rows: list[Any], keys: list[tuple[str, ...]], before: Rows
) -> None:
    """Tell what stands in the table now, by the keys that the rows were given."""
    after = _standing(model, using, rows, keys, lock=False)
    found: list[Notice] = []
    for pk, row in after.items():
        old = before.get(pk)
        found += told(row, Change("created"), using) if old is None else _told_of_difference(old, row, using)
    keyed = {_key_of(row, key) for row in rows for key in keys}
    if not any(keyed - {None}):
        # Nothing that could stand in their way: all were created.
        for row in rows:
            found += told(row, Change("created"), using, seen=images.Unkeyed(row))
    telling.write(found, using)
    for row in rows:
        # What the row was made with is perhaps not what stands there.
        images.know(row, {}, only=True)


def _standing(
    model: type[models.Model], using: str, rows: list[Any], keys: list[tuple[str, ...]], *, lock: bool
) -> Rows:
    """The rows in the table that have a unique key with one of the given rows."""
    found: Rows = {}
    for key in keys:
        wanted = list(dict.fromkeys(one for row in rows if (one := _key_of(row, key)) is not None))
        for at in range(0, len(wanted), _CONDITIONS):
            some = wanted[at : at + _CONDITIONS]
            if len(key) == 1:
                condition = Q(**{f"{key[0]}__in": [one[0] for one in some]})
            else:
                condition = reduce(or_, (Q(**dict(zip(key, one, strict=True))) for one in some))
            chosen = model._base_manager.filter(condition)
            found |= images.rows_in(model, using, chosen, len(some), lock=lock) or {}
    return found


def _key_of(row: models.Model, names: Collection[str]) -> tuple[Any, ...] | None:
    """A row's value of a unique key; None if it has none that could be in another's way."""
    values = tuple(row.__dict__.get(name) for name in names)
    if any(value is None or images.is_expression(value) for value in values):
        return None
    try:
        hash(values)
    except TypeError:
        return None
    return values


def _unique_keys(model: type[models.Model], given: Iterable[str] | None) -> list[tuple[str, ...]]:
    """The unique keys of a model by attribute names; the given one alone, if there is one."""
    meta = model._meta
    named = [list(given)] if given else []
    if not named:
        named = [[meta.pk.name], *([field.name] for field in meta.concrete_fields if field.unique)]
        named += [list(names) for names in meta.unique_together]
        named += [list(one.fields) for one in meta.constraints if isinstance(one, models.UniqueConstraint)]
    keys: dict[tuple[str, ...], None] = {}
    for names in named:
        try:
            fields = [meta.pk if name == "pk" else meta.get_field(name) for name in names]
        except FieldDoesNotExist:
            continue
        if fields:
            keys[tuple(field.attname for field in fields)] = None
    return list(keys)
