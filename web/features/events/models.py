"""Events and their categories."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import Enum, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ...db.tables import Base, Moment
from ..comments.models import HasThread
from ..pictures.models import HasPicture

#: Characters; the forms say the same, and the columns hold them.
MAX_TITLE = 120
MAX_SLUG = 80
MAX_DESCRIPTION = 10_000


class Status(enum.Enum):
    """What an event is doing. The value is what URLs, forms and tables say."""

    SCHEDULED = "scheduled"
    LIVE = "live"
    ENDED = "ended"

    @property
    def label(self) -> str:
        """The word people read."""
        return {"scheduled": "Scheduled", "live": "Live", "ended": "Ended"}[self.value]


class Category(Base):
    __tablename__ = "categories"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(60), unique=True)
    slug: Mapped[str] = mapped_column(String(60), unique=True)


class Event(HasThread, HasPicture, Base):
    """A row of the site's calendar, with a thread of comments."""

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
