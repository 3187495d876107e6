"""A thread, the comments in it, and what makes a model the owner of one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, relationship

from ...db.tables import Base, Moment, now

#: Characters; the forms say the same, and the columns hold them.
MAX_NAME = 60
MAX_COMMENT = 2000


class Thread(Base):
    """A place for comments. Its id is the number in its channel, `comments-<id>`."""

    __tablename__ = "threads"
    # An id is never used twice: pages of a thread that is gone still follow its channel.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    #: Whether comments are taken.
    is_open: Mapped[bool] = mapped_column(default=True)


class Comment(Base):
    __tablename__ = "comments"
    # The page asks for the newest of one thread.
    __table_args__ = (Index("ix_comments_thread_id_id", "thread_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    thread_id: Mapped[int] = mapped_column(ForeignKey("threads.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(MAX_NAME))
    text: Mapped[str] = mapped_column(Text)
    posted_at: Mapped[datetime] = mapped_column(Moment, default=now)


class HasThread:
    """Mixin of a model that owns a thread: made with it in one transaction, and removed with it.

    `class Post(HasThread, Base)`. The mixin comes first. What a thread must know of its owner is kept on the thread.
    """

    thread_id: Mapped[int] = mapped_column(ForeignKey("threads.id"), unique=True)

    @declared_attr
    @classmethod
    def thread(cls) -> Mapped[Thread]:
        return relationship(cascade="all, delete-orphan", single_parent=True, lazy="raise")

    def __init__(self, **columns: Any) -> None:
        if "thread_id" not in columns:
            columns.setdefault("thread", Thread())
        super().__init__(**columns)
