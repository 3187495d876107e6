"""The site's tables."""

from __future__ import annotations

import enum
import secrets
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Enum, ForeignKey, Index, MetaData, String, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

#: Characters; the forms say the same, and the columns hold them.
MAX_NAME = 60
MAX_COMMENT = 2000
MAX_TITLE = 120
MAX_SLUG = 80
MAX_DESCRIPTION = 10_000


def now() -> datetime:
    """The time, in UTC, to the millisecond: what both databases keep and JavaScript can say."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class Moment(TypeDecorator[datetime]):
    """A time with its zone. SQLite knows none, so there it is UTC without saying so."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time needs its zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if not isinstance(value, datetime):
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Status(enum.Enum):
    """What an event is doing. The value is what URLs, forms and tables say."""

    SCHEDULED = "scheduled"
    LIVE = "live"
    ENDED = "ended"

    @property
    def label(self) -> str:
        """The word people read."""
        return {"scheduled": "Scheduled", "live": "Live", "ended": "Ended"}[self.value]


class Base(DeclarativeBase):
    # Names of our own, so that a migration can speak of a constraint on either database.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Category(Base):
    __tablename__ = "categories"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(60), unique=True)
    slug: Mapped[str] = mapped_column(String(60), unique=True)


class Event(Base):
    """A row of the site's calendar."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_status_starts_at", "status", "starts_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(MAX_TITLE))
    slug: Mapped[str] = mapped_column(String(MAX_SLUG), unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    starts_at: Mapped[datetime] = mapped_column(Moment)
    status: Mapped[Status] = mapped_column(
        # Text with a check: adding a status to a PostgreSQL enum can't be undone by a migration.
        Enum(
            Status,
            name="status",
            native_enum=False,
            create_constraint=True,
            length=20,
            values_callable=lambda kinds: [kind.value for kind in kinds],
        ),
        default=Status.SCHEDULED,
    )
    category_id: Mapped[int] = mapped_column(ForeignKey("categories.id", ondelete="RESTRICT"), index=True)
    # Counts edits of the form, so that of two people editing the same event the second is told.
    edition: Mapped[int] = mapped_column(default=1)

    category: Mapped[Category] = relationship(lazy="raise")


class Comment(Base):
    __tablename__ = "comments"
    # The page asks for the newest of one event.
    __table_args__ = (Index("ix_comments_event_id_id", "event_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(MAX_NAME))
    text: Mapped[str] = mapped_column(Text)
    posted_at: Mapped[datetime] = mapped_column(Moment, default=now)


class User(Base):
    """Someone who may manage events."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    # Repeated in the user's cookies; a new one signs the user out everywhere.
    stamp: Mapped[str] = mapped_column(String(32), default=lambda: secrets.token_hex(16))


class FailedLogin(Base):
    """A wrong password, remembered for a while: in the database, because any worker may be asked next."""

    __tablename__ = "failed_logins"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME), index=True)
    address: Mapped[str] = mapped_column(String(64), index=True)
    failed_at: Mapped[datetime] = mapped_column(Moment, default=now, index=True)
