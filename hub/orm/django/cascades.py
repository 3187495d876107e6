"""What a deletion does to other rows: Django's own cascades, and the keys that it sets to null.

Django collects all rows first, then deletes and updates them. Deleted ones have their signals; those whose
`on_delete` is SET_NULL, SET_DEFAULT or SET(…) are updated without one. Where the database itself does it
(DB_CASCADE, DB_SET_NULL, DB_SET_DEFAULT) Django collects nothing: the rows are read here before and after.
What a table does by a rule that no model names (`DO_NOTHING`) nobody here sees.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import cache, wraps
from typing import Any

from django.db import models, transaction
from django.db.models.deletion import Collector

from ..declarations import Change, Notice, differs
from . import images
from .bulk import MAX_BULK, of_no_row
from .images import declared, plan_of, told
from .telling import telling

logger = logging.getLogger(__name__)


def listen_to_deletions() -> None:
    """Hear of every deletion that Django makes; once is enough."""
    if not getattr(Collector.delete, "_fanfare", False):
        wrapped: Any = _told_with_its_cascade(Collector.delete)
        wrapped._fanfare = True
        Collector.delete = wrapped


def forget_relations() -> None:
    """Called when something was declared."""
    _followed.cache_clear()


def _told_with_its_cascade(delete: Callable[[Collector], Any]) -> Callable[[Collector], Any]:
    @wraps(delete)
    def wrapped(self: Collector) -> Any:
        using = self.using
        if not _concerns(self) or not telling.listens(using):
            return delete(self)
        with transaction.atomic(using=using, savepoint=False):
            _read_deleted(self)
            updated = [
                (field, model, _rows_of(self, model, instances))
                for (field, _), instances in self.field_updates.items()
                for model in _declared_as(field.model)
            ]
            by_database = _rows_by_database(self)
            result = delete(self)
            for field, model, rows in updated:
                telling.write(_told_of_update(model, using, field, rows), using)
            for model, before in by_database.items():
                telling.write(_told_of_rule(model, using, before), using)
        return result

    return wrapped


def _concerns(collector: Collector) -> bool:
    """Whether this deletion may change a declared row."""
    if any(model in declared or _followed(model) for model in collector.data):
        return True
    if any(_declared_as(field.model) for field, _ in collector.field_updates):
        return True
    return any(_followed(rows.model) for rows in collector.fast_deletes)


@cache
def _followed(model: type[models.Model]) -> tuple[Any, ...]:
    """The foreign keys to this model by which the database changes declared rows, or rows that lead to such."""
    return tuple(field for field in _rules(model) if _declared_as(field.model) or _leads(field.model, {model}))


def _leads(model: type[models.Model], seen: set[type[models.Model]]) -> bool:
    if model in seen:
        return False
    return any(_declared_as(field.model) or _leads(field.model, seen | {model}) for field in _rules(model))


def _rules(model: type[models.Model]) -> list[Any]:
    """The foreign keys to this model whose `on_delete` is the database's (Django 6.1 and later)."""
    return [
        one.field
        for one in model._meta.get_fields(include_hidden=True)
        if one.auto_created
        and not one.concrete
        and (one.one_to_one or one.one_to_many)
        and hasattr(one.field.remote_field.on_delete, "on_delete_sql")
    ]


def _rows_by_database(collector: Collector) -> dict[type[models.Model], dict[Any, models.Model] | None]:
    """The declared rows that the database is about to delete or update by its own rules; None: too many to tell."""
    found: dict[type[models.Model], dict[Any, models.Model] | None] = {}
    todo: list[tuple[Any, Any]] = [(model, [row.pk for row in rows]) for model, rows in collector.data.items()]
    todo += [(rows.model, rows.values("pk")) for rows in collector.fast_deletes]
    while todo:
        model, pks = todo.pop()
        for field in _followed(model):
            child = field.model
            read = images.rows_in(
                child, collector.using, child._base_manager.filter(**{f"{field.name}__in": pks}), MAX_BULK
            )
            known = found.get(child, {})
            if read is None or known is None or len(read | known) > MAX_BULK:
                logger.warning(
                    "deletion changes too many rows to tell each",
                    extra={"model": images.name_of(child), "limit": MAX_BULK},
                )
                found[child] = None
                continue
            new = [pk for pk in read if pk not in known]
            found[child] = known | read
            if new:
                todo.append((child, new))
    return {model: rows for model, rows in found.items() if model in declared}


def _told_of_rule(model: type[models.Model], using: str, before: dict[Any, models.Model] | None) -> list[Notice]:
    if before is None:
        return [*of_no_row(model, "deleted"), *of_no_row(model, "changed")]
    found: list[Notice] = []
    after = images.values_of(model, using, list(before), plan_of(model).every)
    for pk, old in before.items():
        values = after.get(pk)
        if values is None:
            found += told(old, Change("deleted"), using)
            continue
        was = images.held(old)
        changed = {name: was[name] for name in was if name in values and differs(was[name], values[name])}
        if changed:
            new = images.with_values(old, {name: values[name] for name in changed})
            found += told(new, Change("changed", frozenset(changed), changed), using, old=old)
    return found


def _declared_as(model: type[models.Model]) -> list[type[models.Model]]:
    """The declared models whose rows are rows of this one: itself, or children with tables of their own."""
    return [one for one in declared if issubclass(one, model) and not one._meta.proxy]


def _read_deleted(collector: Collector) -> None:
    """Have each row that goes know where it was: one question for each model that doesn't."""
    children: dict[tuple[Any, Any], models.Model] = {}
    # Children first: Django makes their base's rows of what is in the objects, saved or not.
    for model, instances in sorted(collector.data.items(), key=lambda item: -len(_bases(item[0]))):
        for row in instances:
            child = children.get((model, row.pk))
            if child is not None:
                known = images.saved(child)
                images.know(row, {name: known[name] for name in images.attributes(model) if name in known}, only=True)
            elif row._state.adding:
                # Made by hand with a key: its values are nobody's.
                images.know(row, {}, only=True)
            for base in _bases(model):
                children.setdefault((base, row.pk), row)
        if model in declared:
            _read_unknown(model, collector.using, instances)


def _read_unknown(model: type[models.Model], using: str, instances: Iterable[models.Model]) -> None:
    unknown: dict[Any, list[models.Model]] = {}
    needed = plan_of(model).needed
    for row in instances:
        if not needed <= images.saved(row).keys():
            unknown.setdefault(row.pk, []).append(row)
    if unknown:
        for pk, values in images.values_of(model, using, list(unknown), needed, lock=True).items():
            for row in unknown.get(pk, ()):
                images.know(row, values)


def _bases(model: type[models.Model]) -> list[type[models.Model]]:
    found: list[type[models.Model]] = model._meta.get_parent_list()
    return found


def _rows_of(collector: Collector, model: type[models.Model], instances: list[Any]) -> dict[Any, models.Model] | None:
    """The rows that are about to be updated, but for those that are deleted too; None if there are too many to tell."""
    going = {row.pk for row in collector.data.get(model, ())}
    found: dict[Any, models.Model] = {}
    for some in instances:
        # Not `some` itself: Django updates what is not loaded yet in another way.
        chosen = some.values("pk") if isinstance(some, models.QuerySet) else [row.pk for row in some]
        rows = model._base_manager.filter(pk__in=chosen)
        read = images.rows_in(model, collector.using, rows, MAX_BULK)
        if read is None:
            return None
        found |= read
        if len(found) > MAX_BULK:
            facts = {"model": images.name_of(model), "limit": MAX_BULK}
            logger.warning("deletion changes too many rows to tell each", extra=facts)
            return None
    return {pk: row for pk, row in found.items() if pk not in going}


def _told_of_update(
    model: type[models.Model], using: str, field: Any, rows: dict[Any, models.Model] | None
) -> list[Notice]:
    if rows is None:
        return of_no_row(model, "changed")
    found: list[Notice] = []
    name = field.attname
    for pk, values in images.values_of(model, using, list(rows), [name]).items():
        old = rows[pk]
        new = images.with_values(old, {name: values[name]})
        found += told(new, Change("changed", frozenset([name]), {name: getattr(old, name)}), using, old=old)
    return found
