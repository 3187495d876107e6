"""The table that prefork.py's processes write to."""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hub.orm.declarations import tells

REALM, KEY = "forked", b"f" * 32


class Base(DeclarativeBase):
    pass


class Line(Base):
    __tablename__ = "line"
    __hints__ = tells("lines", lambda line: line.id)

    id: Mapped[int] = mapped_column(primary_key=True)
