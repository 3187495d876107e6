"""Changes noticed in Django models.

A save, a delete and a many-to-many change of a declared model write what they tell into the
outbox, in the same transaction; after the commit it is told, in the background. A save outside of
a transaction gets one, so that row and hint stand or fall together. So do the rows that a deletion
sets to null or deletes along.

Django sends no signal for `QuerySet.update()`, `bulk_create`, `bulk_update` and raw SQL: use
`update`, `bulk_create`, `bulk_update` and `touch` of this module, or let PostgreSQL tell (`hub.orm.postgres`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from typing import Any

from django.apps import apps
from django.db import models, router, transaction
from django.db.models.signals import m2m_changed, post_delete, post_init, post_save

from ..declarations import Change, Declaration, Notice, declared_on, differs, notice, tells
from . import images
from .bulk import bulk_create, bulk_update, update
from .cascades import forget_relations, listen_to_deletions
from .images import attributes, attributes_named, declared, plan_of, told
from .telling import telling

__all__ = ("bulk_create", "bulk_update", "declare", "listen_to_declared", "tell", "touch", "update")

logger = logging.getLogger(__name__)


def declare(model: type[models.Model], channel: Any, data: object = True, **options: Any) -> None:
    """Declare for a model and its subclasses what `tells` takes, or a Declaration made by it.

    Call it when all models are loaded: in an AppConfig's `ready`. Raises as `tells` does, and
    ValueError for a field or relation that the model has not.
    """
    declaration = channel if isinstance(channel, Declaration) else tells(channel, data, **options)
    for one in apps.get_models(include_auto_created=True):
        if issubclass(one, model):
            _listen(one, [declaration])


def listen_to_declared() -> None:
    """Listen to the models whose class holds `__hints__`. Called by the app when it is ready."""
    for model in apps.get_models():
        if declarations := declared_on(model):
            _listen(model, declarations)


def tell(channel: str, data: object = True, *, hint: bool = True, using: str = "default") -> None:
    """Tell a channel something when this transaction commits. Raises InvalidChannel or BadMessage."""
    telling.write([notice(channel, data, hint=hint)], using)


def touch(rows: models.Model | Iterable[models.Model], *, fields: Iterable[str] = ()) -> None:
    """Tell what a change of these fields (none: of all) tells, for rows that were changed without a signal.

    rows: a row, or a queryset or list of them. In the transaction that changed them.
    """
    names = frozenset(fields)
    found: dict[str, list[Notice]] = {}
    for row in [rows] if isinstance(rows, models.Model) else rows:
        change = Change("changed", names or frozenset(attributes(type(row))))
        using = row._state.db or router.db_for_write(type(row))
        found.setdefault(using, []).extend(told(row, change, using))
    for using, some in found.items():
        telling.write(some, using)


def _listen(model: type[models.Model], declarations: Sequence[Declaration]) -> None:
    for declaration in declarations:
        _check_names(declaration, model)
    images.forget_plans()
    forget_relations()
    known = declared.get(model)
    if known is not None:
        known.extend(declarations)
        return
    declared[model] = list(declarations)
    listen_to_deletions()
    id = f"fanfare-{model._meta.label}"
    post_init.connect(_on_init, sender=model, dispatch_uid=id)
    post_save.connect(_on_save, sender=model, dispatch_uid=id)
    post_delete.connect(_on_delete, sender=model, dispatch_uid=id)
    for field in model._meta.many_to_many:
        # Once for each table between, which a model shares with its children and proxies.
        m2m_changed.connect(_on_related, sender=field.remote_field.through, dispatch_uid="fanfare")
    _wrap(model, "save_base", _in_a_transaction)
    _wrap(model, "refresh_from_db", _remembering)


def _wrap(model: type[models.Model], name: str, wrapper: Callable[..., Any]) -> None:
    """Wrap a method of a model, once, even where its base's is wrapped already."""
    method = getattr(model, name)
    if not getattr(method, "_fanfare", False):
        wrapped = wrapper(method)
        wrapped._fanfare = True
        setattr(model, name, wrapped)


def _in_a_transaction(save_base: Callable[..., Any]) -> Callable[..., Any]:
    """`save_base` with its signals in one transaction: Django sends post_save after its own has ended."""

    @wraps(save_base)
    def wrapped(
        self: models.Model,
        raw: bool = False,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Any = None,
    ) -> None:
        using = using or router.db_for_write(self.__class__, instance=self)
        with transaction.atomic(using=using, savepoint=False):
            read = not raw and _read_before(self, bool(force_insert), using, update_fields)
            self.__dict__[images.SAVING] = read
            try:
                save_base(
                    self,
                    raw=raw,
                    force_insert=force_insert,
                    force_update=force_update,
                    using=using,
                    update_fields=update_fields,
                )
            finally:
                self.__dict__.pop(images.SAVING, None)

    return wrapped


def _remembering(refresh: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(refresh)
    def wrapped(self: models.Model, using: str | None = None, fields: Any = None, **options: Any) -> None:
        names = None if fields is None else list(fields)
        refresh(self, using, names, **options)
        # What was assigned and not refreshed is still not in the database.
        if names is None:
            images.remember(self)
            return
        read = frozenset(attributes_named(type(self), names))
        images.remember(self, read)
        # A deferred field is loaded this way, too. The others are as old as they were: where a channel is made of some
        # of both, the next save reads them all. Django also loads those that it saves by name: they were read with the
        # others just before.
        if images.SAVING in self.__dict__:
            return
        where = plan_of(type(self)).where if type(self) in declared else frozenset()
        if where & read:
            images.forget(self, where - read)

    return wrapped


def _on_init(sender: type[models.Model], instance: models.Model, **_: Any) -> None:
    images.remember(instance)


def _read_before(row: models.Model, inserting: bool, using: str, named: Iterable[str] | None) -> bool:
    """Have the row know where it is before it is saved, as far as its channels need it. One question at most.

    named: the fields to save; None for all. Returns whether all fields of its channels were read.
    """
    if not telling.listens(using):
        return False
    model, plan = type(row), plan_of(type(row))
    if row._state.adding:
        # What it was made with is not what the database has.
        images.know(row, {}, only=True)
        key = model._meta.pk
        if inserting or row.pk is None or key.has_default() or getattr(key, "has_db_default", bool)():
            return False
        missing = set(plan.needed)
    else:
        # All of them or none: what was loaded earlier may be older than what is read now, and a channel is made of
        # values that its row had at one time.
        known = plan.where <= images.saved(row).keys() and not _moves_by_half(row, named)
        missing = set() if known else set(plan.where)
    if not missing or images.is_expression(row.pk):
        return False
    read = images.values_of(model, using, [row.pk], missing, lock=True).get(row.pk, {})
    images.know(row, read)
    return plan.where <= read.keys()


def _moves_by_half(row: models.Model, named: Iterable[str] | None) -> bool:
    """Whether some fields of a channel are saved with other values, and others, which may be older, are not saved."""
    plan = plan_of(type(row))
    # What a function makes of the fields is seen after the save only.
    if named is None or plan.wide:
        return False
    written, known, values = set(attributes_named(type(row), named)), images.saved(row), images.held(row)
    moving = {name for name in plan.where & written if name in values and differs(known.get(name), values[name])}
    return bool(moving and plan.where - written - {row._meta.pk.attname})


def _on_save(
    sender: type[models.Model],
    instance: models.Model,
    created: bool,
    raw: bool,
    using: str,
    update_fields: frozenset[str] | None,
    **_: Any,
) -> None:
    # Fixtures are loaded raw, before what they refer to is there.
    if raw:
        images.remember(instance)
        return
    values = images.held(instance)
    written = set(values) if update_fields is None else set(attributes_named(sender, update_fields))
    if telling.listens(using):
        telling.write(_told_of_save(instance, created, using, values, written, named=update_fields is not None), using)
    # An UPDATE leaves the instance with what the database had computed before.
    images.remember(instance, written if created else written - plan_of(sender).generated)


def _told_of_save(
    row: models.Model, created: bool, using: str, values: dict[str, Any], written: set[str], *, named: bool
) -> list[Notice]:
    plan, known = plan_of(type(row)), dict(images.saved(row))
    made = _made_by_sql(plan, values, written, created=created)
    now = images.values_of(type(row), using, [row.pk], made).get(row.pk, {}) if made else {}
    if not created:
        images.forget(row, plan.generated)
    images.know(row, {name: now[name] for name in plan.generated & now.keys()})
    # What was assigned and is not in `update_fields` was not saved.
    now |= {
        name: known[name]
        for name in values.keys() - written - now.keys()
        if name in known and differs(known[name], values[name])
    }
    # What was read before the save and is not loaded has not changed.
    now |= {name: known[name] for name in (plan.named | plan.where) - values.keys() - now.keys() if name in known}
    seen = images.with_values(row, now) if now else row
    if made - now.keys():
        seen = images.without(seen, made - now.keys())
    if created:
        return told(seen, Change("created"), using)
    before = {
        name: known[name]
        for name in written | plan.generated
        if name in known and differs(known[name], now.get(name, values.get(name)))
    }
    fields = frozenset(before) | {name for name in written if name not in known}
    if named and not fields:
        # Asked for by name, so something is meant to have changed: a value inside a JSON field, for one.
        fields = frozenset(written)
    moved: list[str] = []
    found = told(seen, Change("changed", fields, before), using, moved=moved)
    # A row that moves by some of its channel's fields, of which the others were loaded perhaps long ago.
    others = plan.where - written - plan.generated - {row._meta.pk.attname}
    if not moved or not others or row.__dict__.get(images.SAVING):
        return found
    read = images.values_of(type(row), using, [row.pk], others).get(row.pk, {})
    older = {name: read[name] for name in others & read.keys() if differs(seen.__dict__.get(name), read[name])}
    if not older:
        return found
    images.know(row, older)
    return told(images.with_values(seen, older), Change("changed", fields, before), using)


def _made_by_sql(plan: images.Plan, values: dict[str, Any], written: set[str], *, created: bool) -> set[str]:
    """The fields whose new values only the database knows, and that are told."""
    made = {name for name in written if images.is_expression(values.get(name))}
    if not created:
        made |= plan.generated
    # Django takes a field away from the instance that it could not read back.
    made |= {name for name in plan.named if created and name not in values}
    return {name for name in made if name in plan.needed or name in plan.where}


def _on_delete(sender: type[models.Model], instance: models.Model, using: str, **_: Any) -> None:
    if telling.listens(using):
        telling.write(told(images.in_database(instance), Change("deleted"), using), using)


def _on_related(
    sender: type[models.Model],
    instance: models.Model,
    action: str,
    reverse: bool,
    model: type[models.Model],
    pk_set: set[Any] | None,
    using: str,
    **_: Any,
) -> None:
    if action not in {"post_add", "post_remove", "pre_clear"} or (pk_set is not None and not pk_set):
        return
    if not telling.listens(using):
        return
    found: list[Notice] = []
    for row, name in _related(sender, instance, reverse, model, pk_set, using):
        found += told(images.in_database(row), Change("related", relations=frozenset([name])), using)
    telling.write(found, using)


def _related(
    through: type[models.Model],
    instance: models.Model,
    reverse: bool,
    model: type[models.Model],
    pk_set: set[Any] | None,
    using: str,
) -> Iterator[tuple[models.Model, str]]:
    """The declared rows whose relation changed, and its name. `instance` is one end, `model` and `pk_set` the other."""
    owner = model if reverse else type(instance)
    fields = [field for field in owner._meta.many_to_many if field.remote_field.through is through]
    for field in fields:
        if not reverse:
            yield instance, field.name
            continue
        others = model._base_manager.using(using)
        # A clear from the other side names no rows: those related until now.
        chosen = others.filter(**{field.name: instance}) if pk_set is None else others.filter(pk__in=pk_set)
        for row in chosen:
            yield row, field.name


def _check_names(declaration: Declaration, model: type[models.Model]) -> None:
    unknown = sorted((declaration.watch | frozenset(declaration.fields)) - set(attributes(model)))
    unknown += sorted(name for name in declaration.names if not hasattr(model, name) and name != "pk")
    unknown += sorted(declaration.relations - {field.name for field in model._meta.many_to_many})
    if unknown:
        raise ValueError(f"{model.__name__} has no {', '.join(dict.fromkeys(unknown))}")
