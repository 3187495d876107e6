"""A thread, the comments in it, and what makes a model the owner of one."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from markupsafe import Markup
from sqlalchemy import ColumnElement, Double, Enum, ForeignKey, Index, String, Text, func
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, relationship

from ...db.tables import Base, Moment, now
from .text import VERSION, plain, shown

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


class Status(enum.Enum):
    """What became of a comment. Only what is published is for everybody."""

    PUBLISHED = "published"
    #: Waits for a moderator; its writer sees it.
    HELD = "held"
    #: Not taken by the checks; kept for a while, so that a moderator can turn it round.
    REFUSED = "refused"
    #: Taken away by a moderator.
    SPAM = "spam"
    #: Taken away by its writer or a moderator.
    DELETED = "deleted"


def _html(context: Any) -> str:
    given: Mapping[str, Any] = context.get_current_parameters()
    return shown(given["text"])


class Comment(Base):
    """A comment, or a reply to one: there are two levels.

    parent_id: the comment of the first level that it is below. answers_id: the reply that it answers, if it is not the
    first level's that it does. edition: counts every change, so that the newer of two versions is known. replies: those
    below it that are published; one that is not itself, and has some, keeps its place without its words.
    """

    __tablename__ = "comments"
    __table_args__ = (
        # The queue asks for what has a status.
        Index("ix_comments_status_id", "status", "id"),
        # Lists of posts count what is published of each thread, out of the index alone. SQLite has no statistics unless
        # someone runs ANALYZE; without this it read every published comment there is.
        Index("ix_comments_thread_id_status", "thread_id", "status"),
        # An id is never used twice: open pages still know the old one.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    thread_id: Mapped[int] = mapped_column(ForeignKey("threads.id", ondelete="CASCADE"))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("comments.id", ondelete="CASCADE"), index=True)
    answers_id: Mapped[int | None] = mapped_column(ForeignKey("comments.id", ondelete="SET NULL"), index=True)
    status: Mapped[Status] = mapped_column(
        Enum(
            Status,
            name="status",
            native_enum=False,
            create_constraint=True,
            length=20,
            values_callable=lambda kinds: [kind.value for kind in kinds],
        ),
        default=Status.PUBLISHED,
        server_default=Status.PUBLISHED.value,
    )
    edition: Mapped[int] = mapped_column(default=1, server_default="1")
    replies: Mapped[int] = mapped_column(default=0, server_default="0")
    name: Mapped[str] = mapped_column(String(MAX_NAME))
    posted_at: Mapped[datetime] = mapped_column(Moment, default=now)
    edited_at: Mapped[datetime | None] = mapped_column(Moment)
    #: Of the renderer that made `html`.
    html_version: Mapped[int] = mapped_column(default=VERSION, server_default="0")
    html: Mapped[str] = mapped_column(Text, default=_html, server_default="")
    text: Mapped[str] = mapped_column(Text)

    @property
    def body(self) -> Markup:
        """The HTML for a template: the renderer has made it safe."""
        return Markup(self.html or plain(self.text))


#: What comments are sorted by first: a reply stands with what it is below.
root_id: ColumnElement[int] = func.coalesce(Comment.parent_id, Comment.id)

# The page asks for a piece of one thread, each comment with its replies.
Index("ix_comments_thread_id_root_id", Comment.thread_id, root_id, Comment.id)


class HasThread:
    """Mixin of a model that owns a thread: made with it in one transaction, and removed with it.

    `class Post(HasThread, Base)`. The mixin comes first. What must be known of the owner, `owners` asks it.
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


class Record(Base):
    """What is known of a comment beside its words, for moderators: how it was judged, and whose it is.

    key: names what was sent, so that what is sent twice is one comment. visitor, address: keyed hashes. at: when it
    came, or a moderator published it. decision, weight, reasons: the verdict of `spam`, reasons as JSON: pairs of
    weight and words. learned: what its words were learned as, "spam" or "good"; empty for not.
    """

    __tablename__ = "comment_records"
    # How many comments came from there in the last hour.
    __table_args__ = (
        Index("ix_comment_records_address_at", "address", "at"),
        Index("ix_comment_records_visitor_at", "visitor", "at"),
    )

    comment_id: Mapped[int] = mapped_column(ForeignKey("comments.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str | None] = mapped_column(String(64), unique=True)
    visitor: Mapped[str] = mapped_column(String(64), default="")
    address: Mapped[str] = mapped_column(String(64), default="")
    at: Mapped[datetime] = mapped_column(Moment, default=now)
    decision: Mapped[str] = mapped_column(String(20), default="publish")
    weight: Mapped[float] = mapped_column(Double, default=0.0)
    learned: Mapped[str] = mapped_column(String(10), default="")
    subscription_id: Mapped[int | None] = mapped_column(
        ForeignKey("comment_subscriptions.id", ondelete="SET NULL"), index=True
    )
    reasons: Mapped[str] = mapped_column(Text, default="[]")


class Word(Base):
    """How many comments that moderators called spam, and how many that they called good, had a word.

    The row of the word "" counts the comments.
    """

    __tablename__ = "comment_words"

    word: Mapped[str] = mapped_column(String(100), primary_key=True)
    spam: Mapped[int] = mapped_column(default=0)
    good: Mapped[int] = mapped_column(default=0)


class Block(Base):
    """Whose comments are not taken: a visitor's or an address's hash, as `Record` has it."""

    __tablename__ = "comment_blocks"

    who: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: "visitor" or "address".
    kind: Mapped[str] = mapped_column(String(10))
    #: The name that was read on the comment for which it was blocked.
    name: Mapped[str] = mapped_column(String(MAX_NAME))
    at: Mapped[datetime] = mapped_column(Moment, default=now)


class Subscription(Base):
    """Whom to mail when somebody answers what they wrote in a thread.

    confirmed_at: when a mail's link said that the address is theirs; nothing else is mailed before. sent_at: when the
    last digest went; what was published since is not told yet.
    """

    __tablename__ = "comment_subscriptions"
    __table_args__ = (Index("uq_comment_subscriptions_thread_id_address", "thread_id", "address", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    thread_id: Mapped[int] = mapped_column(ForeignKey("threads.id", ondelete="CASCADE"))
    address: Mapped[str] = mapped_column(String(254))
    asked_at: Mapped[datetime] = mapped_column(Moment, default=now)
    confirmed_at: Mapped[datetime | None] = mapped_column(Moment)
    sent_at: Mapped[datetime | None] = mapped_column(Moment)
