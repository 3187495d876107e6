"""Those who may sign in."""

from __future__ import annotations

import secrets

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from ..db.tables import Base

#: Characters of a name.
MAX_NAME = 60


class User(Base):
    """Someone who may manage events."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    # Repeated in the user's cookies; a new one signs the user out everywhere.
    stamp: Mapped[str] = mapped_column(String(32), default=lambda: new_stamp())


def new_stamp() -> str:
    """A stamp that no cookie has yet."""
    return secrets.token_hex(16)
