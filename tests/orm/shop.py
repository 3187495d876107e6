"""The tables that the ORM tests save to, and what they declare."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Table
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from hub.orm.declarations import tells


class Base(AsyncAttrs, DeclarativeBase):
    pass


event_tags = Table(
    "event_tag",
    Base.metadata,
    Column("event_id", ForeignKey("event.id"), primary_key=True),
    Column("tag_id", ForeignKey("tag.id"), primary_key=True),
)


class Tag(Base):
    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Event(Base):
    __tablename__ = "event"
    __hints__ = (tells("events"), tells("event-{id}", fields=["status"]))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(default="")
    status: Mapped[str] = mapped_column(default="upcoming")
    secret: Mapped[str] = mapped_column(default="hush")
    tags: Mapped[list[Tag]] = relationship(secondary=event_tags, backref="events")
    comments: Mapped[list[Comment]] = relationship(cascade="all, delete-orphan", back_populates="event")


class Comment(Base):
    """Its declaration is made by the tests, with `declare`."""

    __tablename__ = "comment"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(default="")
    event_id: Mapped[int | None] = mapped_column(ForeignKey("event.id"))
    event: Mapped[Event | None] = relationship(back_populates="comments")


def driver(url: str, *, sync: bool = False) -> str:
    """A database URL with the driver to use."""
    scheme, rest = url.split("://", 1)
    name = scheme.partition("+")[0].replace("postgres", "postgresql").replace("postgresqlql", "postgresql")
    drivers = {"sqlite": ("aiosqlite", "pysqlite"), "postgresql": ("asyncpg", "psycopg")}
    return f"{name}+{drivers[name][sync]}://{rest}"
