"""What the accounts remember: attempts, and which GitHub account is whose."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from ...db.tables import Base, Moment, now
from ...identity.users import MAX_NAME

#: Characters of a GitHub login, and of an address (RFC 5321 §4.5.3.1.3).
MAX_LOGIN, MAX_EMAIL = 100, 254


class FailedLogin(Base):
    """A wrong password, remembered for a while: in the database, because any worker may be asked next."""

    __tablename__ = "failed_logins"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME), index=True)
    address: Mapped[str] = mapped_column(String(64), index=True)
    failed_at: Mapped[datetime] = mapped_column(Moment, default=now, index=True)


class GithubAccount(Base):
    """A GitHub account, and the user whose it is here. id: GitHub's number of it."""

    __tablename__ = "github_accounts"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), unique=True)
    # In lower case, as it was at the first sign-in: a stranger who takes it over later is not its owner.
    login: Mapped[str] = mapped_column(String(MAX_LOGIN), index=True)
    # As it is now, and the address that GitHub has verified.
    shown: Mapped[str] = mapped_column(String(MAX_LOGIN))
    email: Mapped[str | None] = mapped_column(String(MAX_EMAIL))
    # Whether GITHUB_MANAGERS and GITHUB_WRITERS give the user's role at each sign-in; else it is the user's own.
    gives_role: Mapped[bool]
    linked_at: Mapped[datetime] = mapped_column(Moment, default=now)
