"""Tables of many kinds, each with a declaration of another kind; what their rows' channels are by the tables alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sqlalchemy import Column, Connection, ForeignKey, Integer, String, UniqueConstraint, func, select
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, column_property, deferred, relationship

from hub.orm.declarations import tells


class Base(DeclarativeBase):
    pass


class Place(Base):
    """What rows refer to. It declares nothing."""

    __tablename__ = "varied_place"
    id = Column(Integer, primary_key=True, autoincrement=False)


@dataclass(frozen=True)
class Kind:
    """A mapped class, and for a row of its tables the channel's place, by the names of the attributes."""

    model: type[Any]
    name: str
    place: Callable[[dict[str, Any]], Any] = lambda row: row["place"]
    key: tuple[str, ...] = ("id",)
    #: Whether an INSERT may leave the place to a default.
    has_default: bool = False
    #: The class that bulk statements name: the base whose table has the place.
    bulk: type[Any] | None = None
    #: One table is its own: INSERTs with conflicts and bulk deletions are possible.
    alone: bool = True
    #: The value of a place, of its number.
    value: Callable[[int], Any] = lambda number: number
    #: What an INSERT into a table that is shared says besides.
    fixed: dict[str, Any] = field(default_factory=dict)

    def rows(self, connection: Connection) -> dict[tuple[Any, ...], dict[str, Any]]:
        """Every row by its key, as it is in the tables."""
        mapper = self.model.__mapper__
        columns = {one.key: one.columns[0] for one in mapper.column_attrs if hasattr(one.columns[0], "table")}
        question = select(*(column.label(key) for key, column in columns.items())).select_from(
            mapper.persist_selectable
        )
        return {tuple(row[name] for name in self.key): dict(row) for row in connection.execute(question).mappings()}

    def channel(self, row: dict[str, Any]) -> str | None:
        place = self.place(row)
        return None if place is None else f"/{self.name}-{place}"


class Plain(Base):
    __tablename__ = "varied_plain"
    __hints__ = tells("plain-{place}")
    id = Column(Integer, primary_key=True)
    slug = Column(Integer, unique=True)
    place = Column(Integer)
    text = Column(String, default="")


class Shown(Base):
    """Its place is a foreign key, and its fields are told."""

    __tablename__ = "varied_shown"
    __hints__ = (tells("shown-{place}"), tells("shown-{place}", fields=["text"]))
    id = Column(Integer, primary_key=True)
    slug = Column(Integer, unique=True)
    place = Column("at", Integer, ForeignKey("varied_place.id"))
    text = Column(String, default="")
    to = relationship(Place)


class Asked(Base):
    """A function makes its channels, and its payload; a column is deferred."""

    __tablename__ = "varied_asked"
    __hints__ = tells(lambda row: None if row.place is None else [f"asked-{row.place}"], lambda row: [row.id, row.text])
    id = Column(Integer, primary_key=True)
    slug = Column(Integer, unique=True)
    place = Column(Integer, server_default="-1")
    text = deferred(Column(String, default=""))


class Derived(Base):
    """A hybrid property names its place; the key has two columns; Python fills the place."""

    __tablename__ = "varied_derived"
    __hints__ = tells("derived-{page}")
    id = Column(Integer, primary_key=True, autoincrement=False)
    side = Column(Integer, primary_key=True, autoincrement=False, default=1)
    slug = Column(Integer)
    place = Column("derived_place", Integer, default=-1)
    text = Column(String, default="")
    __table_args__ = (UniqueConstraint("slug", "side"),)

    @hybrid_property
    def page(self) -> Any:
        return self.place


class Counted(Base):
    """The database, or a default, moves it: its version is a part of the channel's name."""

    __tablename__ = "varied_counted"
    __hints__ = tells("counted-{place}.{version}.{doubled}")
    id = Column(Integer, primary_key=True)
    slug = Column(Integer, unique=True)
    place = Column(Integer, default=-1)
    text = Column(String, default="")
    version = Column(Integer, default=1, onupdate=lambda context: context.get_current_parameters().get("place", 0))
    doubled = column_property(func.coalesce(place, 0) * 2)


class Animal(Base):
    __tablename__ = "varied_animal"
    id = Column(Integer, primary_key=True)
    kind = Column(String)
    place = Column(Integer)
    text = Column(String, default="")
    __mapper_args__: ClassVar = {"polymorphic_on": kind, "polymorphic_identity": "animal"}


class Dog(Animal):
    """Joined to its base, where its place is; its slug is in its own table."""

    __tablename__ = "varied_dog"
    __hints__ = tells("dog-{place}")
    id = Column(ForeignKey("varied_animal.id"), primary_key=True)
    slug = Column(Integer, unique=True)
    __mapper_args__: ClassVar = {"polymorphic_identity": "dog"}


class Thing(Base):
    __tablename__ = "varied_thing"
    id = Column(Integer, primary_key=True)
    kind = Column(String)
    slug = Column(Integer, unique=True)
    place = Column(Integer)
    text = Column(String, default="")
    __mapper_args__: ClassVar = {"polymorphic_on": kind, "polymorphic_identity": "thing"}


class Toy(Thing):
    """Shares its base's table. Its base declares nothing."""

    __hints__ = tells("toy-{place}")
    __mapper_args__: ClassVar = {"polymorphic_identity": "toy"}


def _counted(row: dict[str, Any]) -> Any:
    if row["place"] is None or row["version"] is None:
        return None
    return f"{row['place']}.{row['version']}.{row['place'] * 2}"


KINDS = {
    one.name: one
    for one in (
        Kind(Plain, "plain"),
        Kind(Shown, "shown"),
        Kind(Asked, "asked", has_default=True),
        Kind(Derived, "derived", key=("id", "side"), has_default=True),
        Kind(Counted, "counted", _counted, has_default=True),
        Kind(Dog, "dog", bulk=Animal, alone=False),
        Kind(Toy, "toy", lambda row: row["place"] if row["kind"] == "toy" else None, bulk=Thing, fixed={"kind": "toy"}),
    )
}
