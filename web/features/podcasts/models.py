"""Podcasts, their feeds and episodes, and the lists that people pick."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ...db.tables import Base, Moment, now
from ..comments.models import HasThread
from ..pictures.models import HasPicture
from .addresses import MAX_URL

#: Characters.
MAX_NAME = 300
MAX_SLUG = 80
MAX_KEY = 32

#: Podcasts of one list.
MAX_PICKS = 100


class Podcast(HasThread, HasPicture, Base):
    """A podcast, with a thread of comments. Its columns are what its episodes came to: `store` writes them together.

    url: of its feed, in the one spelling. is_listed: it may be found; not if its feed says so, or is private. error:
    what is wrong with its feed, for people; "" if nothing is. fetched_at: when its feed was read last, None if never.
    gap: median seconds between episodes. seconds: of all with a known length.
    """

    __tablename__ = "podcasts"
    __table_args__ = (
        Index("ix_podcasts_times_picked_id", "times_picked", "id"),
        Index("ix_podcasts_modified_at_id", "modified_at", "id"),
        # An id is never used twice: pages of a podcast that is gone still follow its channel.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    url: Mapped[str] = mapped_column(String(MAX_URL), unique=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME))
    slug: Mapped[str] = mapped_column(String(MAX_SLUG))
    link: Mapped[str] = mapped_column(Text, default="")
    subtitle: Mapped[str] = mapped_column(Text, default="")
    author: Mapped[str] = mapped_column(Text, default="")
    language: Mapped[str] = mapped_column(String(20), default="")
    image_url: Mapped[str] = mapped_column(Text, default="")
    guid: Mapped[str] = mapped_column(String(100), default="", index=True)
    is_listed: Mapped[bool] = mapped_column(default=True)
    error: Mapped[str] = mapped_column(Text, default="")
    times_picked: Mapped[int] = mapped_column(default=0)
    episodes: Mapped[int] = mapped_column(default=0)
    known: Mapped[int] = mapped_column(default=0)
    seconds: Mapped[int] = mapped_column(BigInteger, default=0)
    gap: Mapped[float | None]
    first_at: Mapped[datetime | None] = mapped_column(Moment)
    latest_at: Mapped[datetime | None] = mapped_column(Moment)
    fetched_at: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    modified_at: Mapped[datetime] = mapped_column(Moment, default=now)
    summary: Mapped[str] = mapped_column(Text, default="")


class Feed(Base):
    """The state of a podcast's feed, apart from the podcast: it changes with each fetch, the podcast when it is told.

    Columns as `schedule.State`, times in seconds since 1970; next: when it is fetched, null if never by itself. taken:
    until when a worker has it. host: whom it is fetched from. digest: of the bytes that were read last. image: where
    the picture is that was asked for last, with what was wrong with it. unread: the
    bytes that could not be, packed, until others are.
    """

    __tablename__ = "podcast_feeds"
    __table_args__ = (Index("ix_podcast_feeds_next", "next"), Index("ix_podcast_feeds_host_next", "host", "next"))

    podcast_id: Mapped[int] = mapped_column(
        ForeignKey("podcasts.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    host: Mapped[str] = mapped_column(String(255))
    next: Mapped[float | None]
    taken: Mapped[float] = mapped_column(default=0.0)
    failures: Mapped[int] = mapped_column(default=0)
    missing: Mapped[int] = mapped_column(default=0)
    since: Mapped[float | None]
    etag: Mapped[str] = mapped_column(Text, default="")
    modified: Mapped[str] = mapped_column(Text, default="")
    reader: Mapped[int] = mapped_column(default=0)
    whole: Mapped[float] = mapped_column(default=0.0)
    move: Mapped[str] = mapped_column(Text, default="")
    moves: Mapped[int] = mapped_column(default=0)
    move_since: Mapped[float | None]
    digest: Mapped[str] = mapped_column(String(64), default="")
    repair: Mapped[str] = mapped_column(String(20), default="")
    items: Mapped[int] = mapped_column(default=0)
    is_paged: Mapped[bool] = mapped_column(default=False)
    outcome: Mapped[str] = mapped_column(String(20), default="")
    hub: Mapped[str] = mapped_column(Text, default="")
    topic: Mapped[str] = mapped_column(Text, default="")
    pushed_until: Mapped[float] = mapped_column(default=0.0)
    secret: Mapped[str] = mapped_column(String(64), default="")
    image: Mapped[str] = mapped_column(Text, default="", server_default="")
    image_error: Mapped[str] = mapped_column(Text, default="", server_default="")
    unread: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)


class Fetch(Base):
    """One fetch of a feed; the last ten of each are kept. took: seconds; words: what happened, for people."""

    __tablename__ = "podcast_fetches"
    __table_args__ = (Index("ix_podcast_fetches_podcast_id_id", "podcast_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    podcast_id: Mapped[int] = mapped_column(ForeignKey("podcasts.id", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(Moment, default=now)
    outcome: Mapped[str] = mapped_column(String(20))
    status: Mapped[int | None]
    took: Mapped[float] = mapped_column(default=0.0)
    bytes: Mapped[int] = mapped_column(default=0)
    words: Mapped[str] = mapped_column(Text, default="")


class Episode(Base):
    """An episode. published_at: as its feed says; at: the same, but not later than it was first seen, for windows and
    order. seconds: None if unknown; source: who says so (feed, probe, estimate). is_gone: it has left the feed."""

    __tablename__ = "podcast_episodes"
    __table_args__ = (
        # Sums of a window are read from the index alone.
        Index("ix_podcast_episodes_podcast_id_at", "podcast_id", "at", "seconds", "kind"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    podcast_id: Mapped[int] = mapped_column(ForeignKey("podcasts.id", ondelete="CASCADE"))
    at: Mapped[datetime | None] = mapped_column(Moment)
    published_at: Mapped[datetime | None] = mapped_column(Moment)
    seen_at: Mapped[datetime] = mapped_column(Moment, default=now)
    seconds: Mapped[int | None]
    source: Mapped[str] = mapped_column(String(10), default="")
    kind: Mapped[str] = mapped_column(String(10), default="full")
    season: Mapped[int | None]
    number: Mapped[int | None]
    length: Mapped[int | None] = mapped_column(BigInteger)
    is_gone: Mapped[bool] = mapped_column(default=False)
    probed_at: Mapped[datetime | None] = mapped_column(Moment)
    type: Mapped[str] = mapped_column(String(100), default="")
    title: Mapped[str] = mapped_column(Text, default="")
    guid: Mapped[str] = mapped_column(Text, default="")
    url: Mapped[str] = mapped_column(Text, default="")
    summary: Mapped[str] = mapped_column(Text, default="")


class Alias(Base):
    """Another address of a podcast's feed: one that it had, or that leads to it."""

    __tablename__ = "podcast_aliases"

    url: Mapped[str] = mapped_column(String(MAX_URL), primary_key=True)
    podcast_id: Mapped[int] = mapped_column(ForeignKey("podcasts.id", ondelete="CASCADE"), index=True)


class Host(Base):
    """What a host has asked for, as `schedule.Host`."""

    __tablename__ = "podcast_hosts"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    paused: Mapped[float] = mapped_column(default=0.0)
    singly: Mapped[float] = mapped_column(default=0.0)


class Lookup(Base):
    """What the directory said to a question, nothing too. found: JSON."""

    __tablename__ = "podcast_lookups"

    question: Mapped[str] = mapped_column(String(100), primary_key=True)
    asked_at: Mapped[datetime] = mapped_column(Moment, default=now)
    found: Mapped[str] = mapped_column(Text)


class PickList(Base):
    """A list that somebody has picked. key: who knows it may change it."""

    __tablename__ = "podcast_lists"
    __table_args__ = (Index("ix_podcast_lists_modified_at_id", "modified_at", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(MAX_KEY), unique=True)
    size: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    modified_at: Mapped[datetime] = mapped_column(Moment, default=now)


class Pick(Base):
    """That a podcast is in a list; place: which of it."""

    __tablename__ = "podcast_picks"

    list_id: Mapped[int] = mapped_column(
        ForeignKey("podcast_lists.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    podcast_id: Mapped[int] = mapped_column(
        ForeignKey("podcasts.id", ondelete="CASCADE"), primary_key=True, autoincrement=False, index=True
    )
    place: Mapped[int]
