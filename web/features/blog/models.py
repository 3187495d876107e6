"""Posts, the categories that they are filed under, and the addresses that they had."""

from __future__ import annotations

import enum
from datetime import datetime
from uuid import uuid4

from sqlalchemy import CheckConstraint, Enum, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ...db.tables import Base, Moment, now
from ..comments.models import HasThread

#: Characters; the forms say the same, and the columns hold them.
MAX_TITLE = 200
MAX_SLUG = 100
MAX_SUMMARY = 1000
MAX_TEXT = 200_000
MAX_KEYWORDS = 500
MAX_CATEGORY = 60
#: Categories of one post.
MAX_CATEGORIES = 10


class State(enum.Enum):
    """What a post is. The value is what forms and tables say."""

    DRAFT = "draft"
    #: To be read from `published_at` on.
    PUBLISHED = "published"

    @property
    def label(self) -> str:
        """The word people read."""
        return {"draft": "Draft", "published": "Published"}[self.value]


class PostCategory(Base):
    __tablename__ = "post_categories"

    id: Mapped[int] = mapped_column(primary_key=True)
    #: Its address too: `/oc-<name>`.
    name: Mapped[str] = mapped_column(String(MAX_CATEGORY), unique=True)


class Post(HasThread, Base):
    """A post of the blog, with a thread of comments. Whoever changes its filings counts up `edition`: the post tells.

    uid: names it in feeds, whatever its address. summary: as it was written, or "". excerpt: cut from the text.
    html and html_version: the text, rendered by that version of `text`. edition: counts edits, so that of two people
    editing one post the second is told.
    """

    __tablename__ = "posts"
    __table_args__ = (
        CheckConstraint("state <> 'published' or published_at is not null", name="published_at"),
        # Pages ask for the newest that are public, and skip what is on the pages before without looking at the rows.
        Index("ix_posts_state_published_at_id", "state", "published_at", "id"),
        # An id is never used twice: pages of a post that is gone still follow its channel.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=lambda: str(uuid4()))
    title: Mapped[str] = mapped_column(String(MAX_TITLE))
    slug: Mapped[str] = mapped_column(String(MAX_SLUG), unique=True)
    state: Mapped[State] = mapped_column(
        # Text with a check: adding a state to a PostgreSQL enum can't be undone by a migration.
        Enum(
            State,
            name="state",
            native_enum=False,
            create_constraint=True,
            length=20,
            values_callable=lambda kinds: [kind.value for kind in kinds],
        ),
        default=State.DRAFT,
    )
    published_at: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    changed_at: Mapped[datetime] = mapped_column(Moment, default=now)
    #: When its comments close by themselves. Whether they are open is for the thread to say.
    comments_close_at: Mapped[datetime | None] = mapped_column(Moment)
    edition: Mapped[int] = mapped_column(default=1)
    html_version: Mapped[int]
    #: With commas between.
    keywords: Mapped[str] = mapped_column(String(MAX_KEYWORDS), default="")
    # The long ones last: SQLite reads a row up to the last column that it needs.
    summary: Mapped[str] = mapped_column(Text, default="")
    excerpt: Mapped[str] = mapped_column(Text, default="")
    text: Mapped[str] = mapped_column(Text)
    html: Mapped[str] = mapped_column(Text)


class Filing(Base):
    """That a post is in a category; place: which of the post's categories it is."""

    __tablename__ = "post_filings"

    category_id: Mapped[int] = mapped_column(
        ForeignKey("post_categories.id", ondelete="RESTRICT"), primary_key=True, autoincrement=False
    )
    post_id: Mapped[int] = mapped_column(
        ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True, autoincrement=False, index=True
    )
    place: Mapped[int]


class OldSlug(Base):
    """An address that a post had, and leads to it."""

    __tablename__ = "post_old_slugs"

    slug: Mapped[str] = mapped_column(String(MAX_SLUG), primary_key=True)
    post_id: Mapped[int] = mapped_column(ForeignKey("posts.id", ondelete="CASCADE"), index=True)
