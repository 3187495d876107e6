"""Posts, the categories that they are filed under, the addresses that they had, and what they were before.

What is written and not saved yet is here too, and what came from other tools.
"""

from __future__ import annotations

import enum
from datetime import datetime
from uuid import uuid4

from sqlalchemy import CheckConstraint, Enum, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ...db.tables import Base, Moment, now
from ...identity.users import MAX_NAME
from ..comments.models import HasThread
from ..pictures.models import HasPicture

#: Characters; the forms say the same, and the columns hold them.
MAX_TITLE = 200
MAX_SLUG = 100
MAX_SUMMARY = 1000
MAX_TEXT = 200_000
MAX_KEYWORDS = 500
MAX_CATEGORY = 60
#: Categories of one post.
MAX_CATEGORIES = 10
#: Past editions that are kept of a post; the oldest go first.
MAX_VERSIONS = 100
#: New posts that one writer has begun and not saved.
MAX_DRAFTS = 50
#: Of the words by which a file or another tool names a post or a comment.
MAX_IDENTITY = 510


class State(enum.Enum):
    """What a post is. The value is what forms and tables say."""

    DRAFT = "draft"
    #: To be read from `published_at` on.
    PUBLISHED = "published"

    @property
    def label(self) -> str:
        """The word people read."""
        return {"draft": "Draft", "published": "Published"}[self.value]


class Format(enum.Enum):
    """What a text is written in. reStructuredText comes by imports, and is kept as the HTML that it became."""

    MARKDOWN = "markdown"
    HTML = "html"
    TEXT = "text"

    @property
    def label(self) -> str:
        """The word people read."""
        return {"markdown": "Markdown", "html": "HTML", "text": "Plain text"}[self.value]


def _one_of(kind: type[enum.Enum], name: str) -> Enum:
    # Text with a check: adding a value to a PostgreSQL enum can't be undone by a migration.
    return Enum(
        kind,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=20,
        values_callable=lambda kinds: [each.value for each in kinds],
    )


class PostCategory(Base):
    __tablename__ = "post_categories"

    id: Mapped[int] = mapped_column(primary_key=True)
    #: Its address too: `/oc-<name>`.
    name: Mapped[str] = mapped_column(String(MAX_CATEGORY), unique=True)


class Post(HasThread, HasPicture, Base):
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
        # The desk asks for those that changed last.
        Index("ix_posts_changed_at", "changed_at", "id"),
        # An id is never used twice: pages of a post that is gone still follow its channel.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True, default=lambda: str(uuid4()))
    title: Mapped[str] = mapped_column(String(MAX_TITLE))
    slug: Mapped[str] = mapped_column(String(MAX_SLUG), unique=True)
    state: Mapped[State] = mapped_column(
        _one_of(State, "state"),
        default=State.DRAFT,
    )
    published_at: Mapped[datetime | None] = mapped_column(Moment)
    #: Of a draft: when its writer means to publish it.
    planned_at: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    changed_at: Mapped[datetime] = mapped_column(Moment, default=now)
    #: The name of who saved it last; "" of what came by a command or from code.
    changed_by: Mapped[str] = mapped_column(String(MAX_NAME), default="")
    #: When its comments close by themselves. Whether they are open is for the thread to say.
    comments_close_at: Mapped[datetime | None] = mapped_column(Moment)
    edition: Mapped[int] = mapped_column(default=1)
    html_version: Mapped[int]
    format: Mapped[Format] = mapped_column(_one_of(Format, "format"), default=Format.MARKDOWN)
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


class PostVersion(Base):
    """What a post was at an edition that has passed. categories: a JSON list of names, in their order."""

    __tablename__ = "post_versions"
    __table_args__ = (UniqueConstraint("post_id", "edition"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    post_id: Mapped[int] = mapped_column(ForeignKey("posts.id", ondelete="CASCADE"))
    edition: Mapped[int]
    changed_at: Mapped[datetime] = mapped_column(Moment)
    changed_by: Mapped[str] = mapped_column(String(MAX_NAME))
    title: Mapped[str] = mapped_column(String(MAX_TITLE))
    slug: Mapped[str] = mapped_column(String(MAX_SLUG))
    format: Mapped[Format] = mapped_column(_one_of(Format, "format"))
    keywords: Mapped[str] = mapped_column(String(MAX_KEYWORDS))
    categories: Mapped[str] = mapped_column(Text)
    summary: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)


class PostDraft(Base):
    """What a writer has typed and not saved. uid: of the post, which need not be there yet; edition: that was edited.

    fields: the form, a JSON object of strings.
    """

    __tablename__ = "post_drafts"
    __table_args__ = (UniqueConstraint("uid", "user_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(String(36))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    post_id: Mapped[int | None] = mapped_column(ForeignKey("posts.id", ondelete="CASCADE"), index=True)
    edition: Mapped[int]
    saved_at: Mapped[datetime] = mapped_column(Moment, default=now)
    fields: Mapped[str] = mapped_column(Text)


class PostImport(Base):
    """That a post came from a file. digest: of all that the file said of it; edition: that the import left."""

    __tablename__ = "post_imports"

    identity: Mapped[str] = mapped_column(String(MAX_IDENTITY), primary_key=True)
    #: None once it was removed here: importing again does not bring it back.
    post_id: Mapped[int | None] = mapped_column(ForeignKey("posts.id", ondelete="SET NULL"), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    edition: Mapped[int]


class CommentImport(Base):
    """That a comment came from another tool."""

    __tablename__ = "comment_imports"

    identity: Mapped[str] = mapped_column(String(MAX_IDENTITY), primary_key=True)
    #: None once it was removed here.
    comment_id: Mapped[int | None] = mapped_column(ForeignKey("comments.id", ondelete="SET NULL"), index=True)


class Subscription(Base):
    """A WebSub subscriber of a feed. key: of topic and callback together; told: digest of the last that it took."""

    __tablename__ = "websub_subscriptions"
    # An id is never used twice: a delivery of one that is gone finds none.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    topic: Mapped[str] = mapped_column(Text)
    callback: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(String(200), default="")
    until: Mapped[datetime] = mapped_column(Moment, index=True)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    told: Mapped[str] = mapped_column(String(64), default="")
