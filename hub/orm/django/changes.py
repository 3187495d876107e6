"""Changes noticed in Django models.

A save, a delete and a many-to-many change of a declared model write what they tell into the
outbox, in the same transaction; after the commit it is told, in the background. A save outside of
a transaction gets one, so that row and hint stand or fall together.

Django sends no signal for `QuerySet.update()`, `bulk_create`, `bulk_update` and raw SQL: use
`update`, `bulk_create` and `touch` of this module, or let PostgreSQL tell (`hub.orm.postgres`).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from typing import Any

from django.apps import apps
from django.db import connections, models, router, transaction
from django.db.models.signals import m2m_changed, post_delete, post_init, post_save

from ..declarations import Change, Declaration, Notice, declared_on, notice, notices, tells
from .telling import telling

logger = logging.getLogger(__name__)

#: Rows that `update` may change and still tell one by one; each costs a row read and one written.
MAX_BULK = 1000

#: Rows read or written at a time.
_CHUNK = 500

_declared: dict[type[models.Model], list[Declaration]] = {}

#: Where a row keeps its values as they are in the database.
_SAVED = "_fanfare_saved"


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
        change = Change("changed", names or frozenset(_attributes(type(row))))
        using = row._state.db or router.db_for_write(type(row))
        found.setdefault(using, []).extend(_notices(row, change))
    for using, some in found.items():
        telling.write(some, using)


def update(rows: models.QuerySet[Any], **values: Any) -> int:
    """`rows.update(**values)`, told: each row that really changed, with the channel it left too.

    Beyond `MAX_BULK` rows only channels that name no row are told, and a log line says so.
    """
    using = router.db_for_write(rows.model) if rows._db is None else rows._db
    with transaction.atomic(using=using):
        locked = rows.using(using).order_by()
        if connections[using].features.has_select_for_update:
            locked = locked.select_for_update(
                of=("self",) if connections[using].features.has_select_for_update_of else ()
            )
        before = {row.pk: row for row in locked[: MAX_BULK + 1]} if rows.model in _declared else {}
        count: int = rows.using(using).update(**values)
        if len(before) > MAX_BULK:
            logger.warning(
                "update changes too many rows to tell each", extra={"model": _name(rows.model), "limit": MAX_BULK}
            )
            telling.write(_of_no_row(rows.model), using)
            return count
        for pks in _chunks(list(before)):
            found: list[Notice] = []
            for row in rows.model._base_manager.using(using).filter(pk__in=pks):
                changed = _differing(row, before[row.pk].__dict__[_SAVED])
                if changed.fields:
                    found += _notices(row, changed)
            telling.write(found, using)
    return count


def bulk_create(manager: Any, rows: Iterable[models.Model], **options: Any) -> list[Any]:
    """`manager.bulk_create(rows, **options)`, told: `bulk_create(Comment.objects, [Comment(…), …])`."""
    using = manager.db
    with transaction.atomic(using=using):
        created: list[Any] = manager.bulk_create(list(rows), **options)
        for some in _chunks(created):
            telling.write([one for row in some for one in _notices(row, Change("created"))], using)
            for row in some:
                _remember(row)
    return created


def _listen(model: type[models.Model], declarations: Sequence[Declaration]) -> None:
    for declaration in declarations:
        _check_names(declaration, model)
    known = _declared.get(model)
    if known is not None:
        known.extend(declarations)
        return
    _declared[model] = list(declarations)
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
            save_base(
                self,
                raw=raw,
                force_insert=force_insert,
                force_update=force_update,
                using=using,
                update_fields=update_fields,
            )

    return wrapped


def _remembering(refresh: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(refresh)
    def wrapped(self: models.Model, *arguments: Any, **options: Any) -> None:
        refresh(self, *arguments, **options)
        _remember(self)

    return wrapped


def _on_init(sender: type[models.Model], instance: models.Model, **_: Any) -> None:
    _remember(instance)


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
    if not raw:
        change = Change("created") if created else _differing(instance, instance.__dict__.get(_SAVED, {}))
        if not created and update_fields is not None and not change.fields:
            # Asked for by name, so something is meant to have changed: a value inside a JSON field, for one.
            change = Change("changed", frozenset(_attributes_named(sender, update_fields)))
        telling.write(_notices(instance, change), using)
    _remember(instance)


def _on_delete(sender: type[models.Model], instance: models.Model, using: str, **_: Any) -> None:
    telling.write(_notices(instance, Change("deleted")), using)


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
    found: list[Notice] = []
    for row, name in _related(sender, instance, reverse, model, pk_set, using):
        found += _notices(row, Change("related", relations=frozenset([name])))
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


def _notices(row: models.Model, change: Change) -> list[Notice]:
    declarations = _declared.get(type(row), ())
    return notices(declarations, row, change, model=_name(type(row)), identity=row.pk)


def _differing(row: models.Model, saved: dict[str, Any]) -> Change:
    """How a row differs from what was in the database when it was loaded or last saved."""
    before = {name: saved[name] for name, value in _values(row).items() if name in saved and saved[name] != value}
    new = {name for name in _values(row) if name not in saved}
    return Change("changed", frozenset(before) | new, before)


def _remember(row: models.Model) -> None:
    # Deep copies: a list or dict may be changed in place. All else that fields hold is immutable.
    row.__dict__[_SAVED] = {
        name: copy.deepcopy(value) if isinstance(value, dict | list | set) else value
        for name, value in _values(row).items()
    }


def _values(row: models.Model) -> dict[str, Any]:
    """A row's values as far as they are loaded: reading a deferred one would ask the database."""
    held = row.__dict__
    return {name: held[name] for name in _attributes(type(row)) if name in held}


def _attributes(model: type[models.Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


def _attributes_named(model: type[models.Model], names: Iterable[str]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields if {field.name, field.attname} & set(names)]


def _check_names(declaration: Declaration, model: type[models.Model]) -> None:
    unknown = sorted((declaration.watch | frozenset(declaration.fields)) - set(_attributes(model)))
    unknown += sorted(name for name in declaration.names if not hasattr(model, name) and name != "pk")
    unknown += sorted(declaration.relations - {field.name for field in model._meta.many_to_many})
    if unknown:
        raise ValueError(f"{model.__name__} has no {', '.join(dict.fromkeys(unknown))}")


def _of_no_row(model: type[models.Model]) -> list[Notice]:
    """What can be told without knowing the rows: `true`, to channels that don't depend on them."""
    return [
        notice(one.channel, True, hint=one.hint)
        for one in _declared[model]
        if isinstance(one.channel, str) and "{" not in one.channel and "changed" in one.on and one.when is None
    ]


def _chunks(rows: list[Any]) -> Iterator[list[Any]]:
    return (rows[at : at + _CHUNK] for at in range(0, len(rows), _CHUNK))


def _name(model: type[models.Model]) -> str:
    """The table's name: what a trigger on the table would say too, so that both speak of one subject."""
    return str(model._meta.db_table)
