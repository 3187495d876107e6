"""What readers looked for, without who; and what managers say about words."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Float, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ...db.tables import Base, Moment, now
from .asked import MAX_QUERY

#: Characters of an address that is pinned, and of a random name of an intent.
MAX_URL = 300
MAX_INTENT = 22


class Search(Base):
    """One thing that somebody looked for: of a run of keystrokes the last.

    text: folded, on one line. intent: a random name that the page of results made up for it, and forgets; of nobody's.
    clicks: how often one of its results was opened. milliseconds: what the search took here.
    """

    __tablename__ = "searches"
    __table_args__ = (Index("ix_searches_at", "at"), Index("ix_searches_text", "text"))

    id: Mapped[int] = mapped_column(primary_key=True)
    intent: Mapped[str] = mapped_column(String(MAX_INTENT), unique=True)
    text: Mapped[str] = mapped_column(String(MAX_QUERY * 3))
    at: Mapped[datetime] = mapped_column(Moment, default=now)
    total: Mapped[int]
    milliseconds: Mapped[float] = mapped_column(Float)
    clicks: Mapped[int] = mapped_column(default=0)


class Synonym(Base):
    """Words that mean others too. Both folded, with spaces between."""

    __tablename__ = "search_synonyms"

    id: Mapped[int] = mapped_column(primary_key=True)
    said: Mapped[str] = mapped_column(String(MAX_QUERY * 3), unique=True)
    means: Mapped[str] = mapped_column(String(MAX_QUERY * 3))


class Pin(Base):
    """A page that comes first for a query. said: the query, folded."""

    __tablename__ = "search_pins"

    id: Mapped[int] = mapped_column(primary_key=True)
    said: Mapped[str] = mapped_column(String(MAX_QUERY * 3), unique=True)
    url: Mapped[str] = mapped_column(String(MAX_URL))
    title: Mapped[str] = mapped_column(String(MAX_URL))
