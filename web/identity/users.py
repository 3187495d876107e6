"""Those who may sign in."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from ..db.tables import Base
from .roles import Role

#: Characters of a name.
MAX_NAME = 60


class User(Base):
    """Someone with an account. What they may do, `roles` says of their role."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint("role in ('user', 'writer', 'manager')", name="role"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME), unique=True)
    # Empty for who has no password, and signs in by GitHub only.
    password_hash: Mapped[str] = mapped_column(String(255), default="")
    role: Mapped[str] = mapped_column(String(20), default=Role.USER.value)
