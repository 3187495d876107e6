"""Sums of views. Every row is added to by whoever has counted something; none is of one call."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from ...db.tables import Base, Moment, now
from .callers import MAX_CALLER
from .records import MAX_ENDPOINT, MAX_SOURCE

MAX_KIND = 10
MAX_NAME = MAX_SOURCE
MAX_SEEN = 32


class ViewEndpoint(Base):
    """What can be called. source: "" for this site's own. name: method and route, `GET /events/{slug}`."""

    __tablename__ = "view_endpoints"
    __table_args__ = (Index("ix_view_endpoints_source", "source", "name", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(String(MAX_SOURCE))
    name: Mapped[str] = mapped_column(String(MAX_ENDPOINT))
    first_at: Mapped[datetime] = mapped_column(Moment)
    last_at: Mapped[datetime] = mapped_column(Moment)


class ViewCount(Base):
    """Calls of an endpoint in an hour or a day. seconds: which of the two. micros: of all their durations."""

    __tablename__ = "view_counts"

    seconds: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    start: Mapped[datetime] = mapped_column(Moment, primary_key=True)
    endpoint_id: Mapped[int] = mapped_column(ForeignKey("view_endpoints.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(MAX_KIND), primary_key=True)
    status: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    calls: Mapped[int] = mapped_column(BigInteger)
    micros: Mapped[int] = mapped_column(BigInteger)


class ViewTime(Base):
    """How many calls took as long as a bucket says (`buckets`)."""

    __tablename__ = "view_times"

    seconds: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    start: Mapped[datetime] = mapped_column(Moment, primary_key=True)
    endpoint_id: Mapped[int] = mapped_column(ForeignKey("view_endpoints.id", ondelete="CASCADE"), primary_key=True)
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    calls: Mapped[int] = mapped_column(BigInteger)


class ViewMinute(Base):
    """Calls of all endpoints in a minute."""

    __tablename__ = "view_minutes"

    start: Mapped[datetime] = mapped_column(Moment, primary_key=True)
    kind: Mapped[str] = mapped_column(String(MAX_KIND), primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger)


class ViewCaller(Base):
    """A caller's calls on a day (`callers`). Of who is not named the row is deleted after the day."""

    __tablename__ = "view_callers"

    start: Mapped[datetime] = mapped_column(Moment, primary_key=True)
    endpoint_id: Mapped[int] = mapped_column(ForeignKey("view_endpoints.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(MAX_KIND), primary_key=True)
    caller: Mapped[str] = mapped_column(String(MAX_CALLER), primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger)


class ViewCrowd(Base):
    """How many callers without a name there were on a day that is over."""

    __tablename__ = "view_crowds"

    start: Mapped[datetime] = mapped_column(Moment, primary_key=True)
    endpoint_id: Mapped[int] = mapped_column(ForeignKey("view_endpoints.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(MAX_KIND), primary_key=True)
    callers: Mapped[int] = mapped_column(BigInteger)


class ViewSalt(Base):
    """A day's salt, deleted after it."""

    __tablename__ = "view_salts"

    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    salt: Mapped[bytes] = mapped_column(LargeBinary)


class ViewWriter(Base):
    """How far somebody's views are written: in the transaction that writes them, so that none is written twice.

    name: of a process, or of a file that is imported. position: of its batch, or its bytes. digest: of those bytes.
    """

    __tablename__ = "view_writers"

    name: Mapped[str] = mapped_column(String(MAX_CALLER), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(String(MAX_CALLER), default="")
    at: Mapped[datetime] = mapped_column(Moment, default=now)


class ViewKey(Base):
    """Who else may tell us of views. name: the source of what comes with it. key_hash: of the key, shown once."""

    __tablename__ = "view_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME), unique=True)
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    made_at: Mapped[datetime] = mapped_column(Moment, default=now)
    used_at: Mapped[datetime | None] = mapped_column(Moment, default=None)


class ViewReceipt(Base):
    """A view that was counted, by the id that its sender gave it: sent again, it is not counted again."""

    __tablename__ = "view_receipts"
    __table_args__ = (Index("ix_view_receipts_at", "at"),)

    key_id: Mapped[int] = mapped_column(ForeignKey("view_keys.id", ondelete="CASCADE"), primary_key=True)
    event: Mapped[str] = mapped_column(String(MAX_SEEN), primary_key=True)
    at: Mapped[datetime] = mapped_column(Moment, default=now)


TABLES = (
    ViewEndpoint,
    ViewCount,
    ViewTime,
    ViewMinute,
    ViewCaller,
    ViewCrowd,
    ViewSalt,
    ViewWriter,
    ViewKey,
    ViewReceipt,
)
