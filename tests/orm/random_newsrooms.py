"""Django models made from a seed: fields, keys, columns and declarations in any combination.

Each has what a program uses (test_django_comparison.py): `room`, `place`, `slug`, `likes` and `text`. All else is
chance.
"""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import connection, models
from django.db.models import F, Value
from django.db.models.functions import Concat
from django.db.models.signals import post_delete, post_init, post_save
from newsroom.models import LongPost, Pin, Post, Room

from hub.orm.declarations import tells
from hub.orm.django import cascades, images
from hub.orm.django.changes import declare

APP = "newsroom"


@dataclass(frozen=True)
class Kind:
    """A model, what its rows refer to, and what a row's channels are, in words of their own."""

    model: Any
    room: Any
    channels: Callable[[Any], set[str]]
    #: The fields of its unique key.
    target: tuple[str, ...] = ("slug",)
    #: Tables to empty before a program, in this order.
    tables: tuple[str, ...] = ()
    #: A place and a primary key, of a number.
    place: Callable[[int], Any] = lambda number: number
    key: Callable[[int], Any] = lambda number: number
    #: Whether a new row has to be given its key.
    is_keyed: bool = False
    #: Whether Django always inserts a new object, as it has made the key itself.
    makes_key: bool = False
    #: One table is its own: rows can be created in bulk.
    alone: bool = True


def _of_pin(row: Any) -> set[str]:
    return set() if row.room_id is None else {f"/pin-{row.room_id}.{row.place}"}


def _of_post(row: Any) -> set[str]:
    return {f"/post-{row.place}", f"/in-{row.room_id}.{row.place}"}


_TABLES = ("newsroom_longpost", "newsroom_post", "newsroom_pin", "newsroom_room")

KINDS = (
    Kind(Pin, Room, _of_pin, tables=_TABLES),
    Kind(Post, Room, _of_post, ("slug", "side"), _TABLES),
    Kind(LongPost, Room, _of_post, ("slug", "side"), _TABLES, alone=False),
)


@contextmanager
def random_kind(seed: int) -> Iterator[tuple[Kind, str]]:
    """A model with its tables while inside, and what it is in words."""
    kind, words, declarations = _new_kind(seed)
    try:
        with connection.schema_editor() as editor:
            editor.create_model(kind.room)
            editor.create_model(kind.model)
        for declaration in declarations:
            declare(kind.model, declaration)
        yield kind, words
    finally:
        for signal in (post_init, post_save, post_delete):
            # Else a class that is made at its place in memory later would have them.
            signal.disconnect(sender=kind.model, dispatch_uid=f"fanfare-{kind.model._meta.label}")
        images.declared.pop(kind.model, None)
        images.forget_plans()
        cascades.forget_relations()
        with connection.schema_editor() as editor:
            editor.delete_model(kind.model)
            editor.delete_model(kind.room)
        for one in (kind.model, kind.room):
            del apps.all_models[APP][one._meta.model_name]
        apps.clear_cache()


def _new_kind(seed: int) -> tuple[Kind, str, list[Any]]:
    dice = random.Random(f"model {seed}")
    name = f"Made{seed}"

    def column(**options: Any) -> dict[str, Any]:
        if dice.random() < 0.3:
            options["db_column"] = dice.choice(("A b", "order", "t", "it's")) + str(next(numbers))
        return options

    fields: dict[str, Any] = {}
    numbers = itertools.count()
    room = type(f"{name}Room", (models.Model,), {"__module__": __name__, "Meta": _meta()})
    key = dice.choice(("auto", "auto", "auto", "uuid", "text"))
    if key == "uuid":
        fields["id"] = models.UUIDField(**column(primary_key=True, default=uuid.uuid4))
    elif key == "text":
        fields["code"] = models.CharField(**column(primary_key=True, max_length=20))
    goes = dice.random() < 0.5
    rule = models.CASCADE if goes else dice.choice((models.SET_NULL, models.SET(None)))
    fields["room"] = models.ForeignKey(room, **column(on_delete=rule, null=not goes))
    is_text = dice.random() < 0.5
    if is_text:
        fields["place"] = dice.choice((models.TextField, models.CharField))(**column(max_length=50, default=""))
    else:
        fields["place"] = dice.choice((models.IntegerField, models.BigIntegerField))(**column(default=0))
    target: tuple[str, ...] = ("slug",)
    meta: dict[str, Any] = {}
    if dice.random() < 0.5:
        fields["slug"] = models.IntegerField(**column(unique=True))
    else:
        fields["slug"], fields["side"] = models.IntegerField(**column()), models.IntegerField(**column(default=1))
        target = ("slug", "side")
        if dice.random() < 0.5:
            meta["unique_together"] = (target,)
        else:
            meta["constraints"] = [models.UniqueConstraint(fields=target, name=f"{name.lower()}_key")]
    fields["likes"] = models.IntegerField(**column(default=0))
    fields["text"] = models.TextField(**column(default=""))
    if dice.random() < 0.3:
        meta["db_table"] = dice.choice(("A table", "order", "it's")) + str(seed)

    named = ["place"]
    extra: dict[str, Callable[[], Any]] = {
        "second": lambda: models.TextField(**column(null=True)),
        "made": lambda: models.CharField(**column(max_length=9, default=lambda: "made")),
        "said": lambda: models.IntegerField(**column(db_default=7)),
        "double": lambda: models.GeneratedField(
            **column(
                expression=Concat(F("place"), Value("!")) if is_text else F("place") * 2,
                output_field=models.TextField() if is_text else models.BigIntegerField(),
                db_persist=True,
            )
        ),
        "paid": lambda: models.DecimalField(**column(max_digits=9, decimal_places=2, null=True)),
        "at": lambda: models.DateTimeField(**column(auto_now=True)),
        "also": lambda: models.JSONField(**column(default=dict)),
        "raw": lambda: models.BinaryField(**column(default=b"\x00")),
    }
    # GeneratedField can't have a Concat in PostgreSQL, whose || of text is immutable while Django's CONCAT is not.
    without = {"double"} if is_text else set()
    for one in dice.sample(sorted(extra.keys() - without), dice.randrange(4)):
        fields[one] = extra[one]()
        if one in ("second", "made", "said", "double") and dice.random() < 0.7:
            named.append(one)
    if dice.random() < 0.5:
        named.append("room_id")
    if dice.random() < 0.3:
        fields["page"] = property(lambda row: row.place)
        named[0] = "page"
    dice.shuffle(named)
    template = f"made{seed}-" + ".".join(f"{{{one}}}" for one in named)
    asks = dice.random() < 0.3
    often = dice.random() < 0.2

    def text_of(row: Any) -> str | None:
        values = {one: getattr(row, one) for one in named}
        return None if None in values.values() else template.format_map(values)

    words: dict[str, Any] = {}
    if often:
        words["when"] = lambda row, change: row.slug % 2 == 0
    if dice.random() < 0.3:
        words["data"] = lambda row: [row.likes, row.text]
    declarations = [tells(text_of if asks else template, **words)]
    if not often and dice.random() < 0.4:
        declarations.append(tells(template, fields=["text", "place"]))

    def channels(row: Any) -> set[str]:
        found = None if often and row.slug % 2 else text_of(row)
        return set() if found is None else {f"/{found}"}

    model: Any = type(name, (models.Model,), {**fields, "__module__": __name__, "Meta": _meta(**meta)})
    kind = Kind(
        model,
        room,
        channels,
        target,
        (model._meta.db_table, room._meta.db_table),
        (lambda number: f"p {number}") if is_text else (lambda number: number),
        {"uuid": lambda number: uuid.UUID(int=number), "text": lambda number: f"key {number}"}.get(
            key, lambda number: number
        ),
        is_keyed=key == "text",
        makes_key=key == "uuid",
    )
    said = f"{key} {sorted(fields)} {template} cascade={goes} text={is_text} asks={asks} when={often} {meta}"
    return kind, said, declarations


def _meta(**options: Any) -> type:
    return type("Meta", (), {"app_label": APP, **options})
