"""Mapped classes made from a seed: columns, keys, inheritance and declarations in any combination.

Each has what a program uses (test_comparison.py): `id`, `slug`, `place` and `text`. All else is chance.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Computed,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    Numeric,
    String,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import column_property, deferred, registry, relationship
from varied import Kind, Place

from hub.orm.declarations import tells

#: Types of columns that no channel names.
TYPES = (Boolean, Float, DateTime, JSON, Numeric, LargeBinary, String)


def random_kind(seed: int) -> tuple[Kind, str]:
    """A class in a registry of its own, and what it is in words."""
    dice = random.Random(f"model {seed}")
    inherits = dice.choice((None, None, None, "single", "joined"))
    composite = inherits is None and dice.random() < 0.3
    name = f"made_{seed}"
    base: dict[str, Any] = {"__tablename__": name}
    named: list[str] = ["place"]

    def column(key: str, *words: Any, **options: Any) -> Column[Any]:
        return Column(*((f"{key}_col",) if dice.random() < 0.3 else ()), *words, **options)

    base["id"] = column("id", Integer, primary_key=True, autoincrement=not composite)
    base["text"] = column("text", String, default="")
    if dice.random() < 0.3:
        base["text"] = deferred(base["text"])
    base["slug"] = column("slug", Integer, unique=not composite)
    if composite:
        base["side"] = Column(Integer, primary_key=True, autoincrement=False, default=1)
        base["__table_args__"] = (UniqueConstraint(base["slug"], base["side"]),)

    is_text = dice.random() < 0.4
    none: Any = "no place" if is_text else -1
    default = dice.choice(("none", "value", "function", "server")) if inherits is None else "none"
    options: dict[str, Any] = {
        "none": {},
        "value": {"default": none},
        "function": {"default": lambda: none},
        "server": {"server_default": str(none)},
    }[default]
    place = base["place"] = column("place", Text if is_text else Integer, **options)
    if inherits is None and not is_text and dice.random() < 0.3:
        place.append_foreign_key(ForeignKey(Place.__table__.c.id))
        base["to"] = relationship(Place)
        # What a default gives is none of the places.
        place.default = place.server_default = None
        default = "none"
    if dice.random() < 0.2:
        base["place"] = deferred(place)

    # What else may be in a channel.
    extra: dict[str, Callable[[], Any]] = {
        "second": lambda: column("second", dice.choice((Integer, String)), nullable=True),
        "filled": lambda: column("filled", Integer, default=dice.choice((7, lambda: 7)), server_default="7"),
        "touched": lambda: column(
            "touched", Integer, default=1, onupdate=lambda context: context.get_current_parameters().get(place.key, 0)
        ),
        "counted": lambda: column("counted", Integer, default=0, onupdate=func.coalesce(place, 0) + 1),
        "computed": lambda: column("computed", Integer, Computed(f"coalesce({place.name or 'place'}, 0) * 2")),
        "doubled": lambda: column_property(func.coalesce(place, 0) * 2),
    }
    # What is computed of a place is computed of a number.
    possible = ["filled", "second"] if is_text else sorted(extra)
    for key in dice.sample(possible, min(dice.randrange(4), len(possible))):
        if inherits == "joined" and key in ("counted",):
            continue
        base[key] = extra[key]()
        if dice.random() < 0.6 and len(named) < 3:
            named.append(key)
    if dice.random() < 0.3:
        base["page"] = dice.choice((property, hybrid_property))(lambda row: row.place)
        named[0] = "page"
    for at, kind in enumerate(dice.sample(TYPES, dice.randrange(4))):
        base[f"other{at}"] = column(f"other{at}", kind, nullable=True)

    versioned = dice.random() < 0.2
    if versioned:
        base["version"] = Column(Integer, nullable=False, server_default="1")
        if dice.random() < 0.5 and len(named) < 3:
            named.append("version")

    # The declaration.
    template = name + "-" + ".".join(f"{{{one}}}" for one in named)
    often = dice.random() < 0.3
    asks = dice.random() < 0.3

    def text_of(row: Any) -> str | None:
        values = {one: getattr(row, one) for one in named}
        return None if None in values.values() else template.format_map(values)

    words: dict[str, Any] = {}
    if often:
        words["when"] = lambda row, change: row.slug % 2 == 0
    if dice.random() < 0.3:
        words["data"] = lambda row: [row.id, row.text]
    hints = [tells(text_of if asks else template, **words)]
    if not often and dice.random() < 0.3:
        hints.append(tells(template, fields=["text", "place"]))

    mapping: Any = registry()
    arguments: dict[str, Any] = {}
    if versioned:
        arguments["version_id_col"] = base["version"]
    if inherits is None:
        base |= {"__mapper_args__": arguments, "__hints__": hints}
        model = bulk = mapping.mapped(type(f"Made{seed}", (), base))
    else:
        base["kind"] = Column(String)
        if inherits == "joined":
            slug = base.pop("slug")
        arguments |= {"polymorphic_on": base["kind"], "polymorphic_identity": "base"}
        bulk = mapping.mapped(type(f"Base{seed}", (), {**base, "__mapper_args__": arguments}))
        own: dict[str, Any] = {"__hints__": hints, "__mapper_args__": {"polymorphic_identity": "made"}}
        if inherits == "joined":
            own |= {
                "__tablename__": f"{name}_own",
                "slug": slug,
                "id": Column(ForeignKey(bulk.__table__.primary_key.columns.values()[0]), primary_key=True),
            }
        model = mapping.mapped(type(f"Made{seed}", (bulk,), own))

    def channel(row: dict[str, Any]) -> Any:
        if inherits == "single" and row["kind"] != "made":
            return None
        if often and (row["slug"] is None or row["slug"] % 2):
            return None
        values = {**row, "page": row["place"], "doubled": None if is_text else 2 * (row["place"] or 0)}
        found = [values[one] for one in named]
        return None if None in found else ".".join(map(str, found))

    kind = Kind(
        model,
        name,
        channel,
        key=("id", "side") if composite else ("id",),
        has_default=default != "none",
        bulk=bulk,
        alone=inherits != "joined",
        value=(lambda number: f"place {number}") if is_text else (lambda number: number),
        fixed={"kind": "made"} if inherits == "single" else {},
    )
    said = f"{inherits or 'plain'} {sorted(key for key in base if not key.startswith('__'))} {template}"
    return kind, said + f" default={default} asks={asks} when={often} versioned={versioned} composite={composite}"
