"""What the accounts remember of attempts."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from ...db.tables import Base, Moment, now
from ...identity.users import MAX_NAME


class FailedLogin(Base):
    """A wrong password, remembered for a while: in the database, because any worker may be asked next."""

    __tablename__ = "failed_logins"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME), index=True)
    address: Mapped[str] = mapped_column(String(64), index=True)
    failed_at: Mapped[datetime] = mapped_column(Moment, default=now, index=True)
