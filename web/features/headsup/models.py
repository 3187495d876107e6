"""Projects and their rules, deliveries and what became of them."""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from ...db.tables import Base, Moment, now
from .names import MAX_NAME

#: Characters.
MAX_SECRET = 200
MAX_WORDS_TEXT = 2_000
MAX_PATTERNS_TEXT = 5_000
MAX_SEND_TO = 10_000
MAX_URL = 2_000
MAX_ERROR = 500
MAX_NOTE = 200
MIN_SECRET = 8

#: Days that the secret before is still valid, once it was changed.
ROTATION_DAYS = 7

#: What a target is: an address in To, Cc or Bcc; a URL that takes Slack's messages, or ours, signed.
KINDS = ("to", "cc", "bcc", "slack", "webhook")
MAIL_KINDS = KINDS[:3]

#: What became of a heads-up for one target. asked: the address has not said yes; out: it wants no more; limit: it was
#: one too many for a day.
STATES = ("waiting", "sent", "refused", "asked", "out", "limit")


def new_token() -> str:
    """What nobody guesses, in a URL."""
    return secrets.token_urlsafe(24)


class HeadsupProject(Base):
    """A repository that somebody watches, and the secret with which its forge signs.

    owner_id: None for one of the site's, made by a command, which managers look after. name_key: the name in lower
    case. repository_id: as the forge's own payloads say it; known since the first verified delivery. origin: where
    the site was when it was made, for links in mails where SITE_URL is not set.
    """

    __tablename__ = "headsup_projects"
    __table_args__ = (Index("ix_headsup_projects_name_key", "name_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(MAX_NAME))
    name_key: Mapped[str] = mapped_column(String(MAX_NAME))
    repository_id: Mapped[str | None] = mapped_column(String(120), index=True)
    default_branch: Mapped[str] = mapped_column(String(255), default="")
    secret: Mapped[str] = mapped_column(String(MAX_SECRET))
    old_secret: Mapped[str | None] = mapped_column(String(MAX_SECRET))
    old_until: Mapped[datetime | None] = mapped_column(Moment)
    allows_sha1: Mapped[bool] = mapped_column(default=False)
    origin: Mapped[str] = mapped_column(String(300), default="")
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    #: When the first verified delivery came: the forge reaches us.
    heard_at: Mapped[datetime | None] = mapped_column(Moment)

    def secrets_at(self, moment: datetime) -> tuple[str, ...]:
        """The secrets that are valid."""
        if self.old_secret and self.old_until is not None and self.old_until > moment:
            return (self.secret, self.old_secret)
        return (self.secret,)


class HeadsupRule(Base):
    """What of a project's pushes is told. Lists are text, an entry a line."""

    __tablename__ = "headsup_rules"

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("headsup_projects.id", ondelete="CASCADE"), index=True)
    words: Mapped[str] = mapped_column(Text)
    case_sensitive: Mapped[bool] = mapped_column(default=False)
    strict: Mapped[bool] = mapped_column(default=False)
    breaking: Mapped[bool] = mapped_column(default=False)
    branches: Mapped[str] = mapped_column(Text, default="")
    tags_only: Mapped[bool] = mapped_column(default=False)
    tags: Mapped[str] = mapped_column(Text, default="")
    paths: Mapped[str] = mapped_column(Text, default="")
    asks_api: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)


class HeadsupTarget(Base):
    """Where a rule's heads-ups go.

    address: of a mail, or a URL. secret: with which ours to a webhook are signed. refused_at: since when it is known
    that it refuses for good, with refusal, its words: nothing is sent there until somebody says to try again.
    """

    __tablename__ = "headsup_targets"
    __table_args__ = (CheckConstraint("kind in ('to', 'cc', 'bcc', 'slack', 'webhook')", name="kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    rule_id: Mapped[int] = mapped_column(ForeignKey("headsup_rules.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    address: Mapped[str] = mapped_column(String(MAX_URL))
    name: Mapped[str] = mapped_column(String(100), default="")
    secret: Mapped[str] = mapped_column(String(MAX_SECRET), default="")
    refused_at: Mapped[datetime | None] = mapped_column(Moment)
    refusal: Mapped[str] = mapped_column(String(MAX_ERROR), default="", server_default="")


class HeadsupAddress(Base):
    """Whether an address wants the heads-ups of a project. token: in the links of its mails."""

    __tablename__ = "headsup_addresses"
    __table_args__ = (UniqueConstraint("project_id", "address", name="uq_headsup_addresses_project_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("headsup_projects.id", ondelete="CASCADE"))
    address: Mapped[str] = mapped_column(String(320), index=True)
    token: Mapped[str] = mapped_column(String(64), unique=True, default=new_token)
    #: Whose account asked; counted for its limit.
    asked_by: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    asked_at: Mapped[datetime | None] = mapped_column(Moment)
    confirmed_at: Mapped[datetime | None] = mapped_column(Moment)
    out_at: Mapped[datetime | None] = mapped_column(Moment)


class HeadsupDelivery(Base):
    """A delivery whose signature was right.

    body: as it came, packed; None once it is too old, and of what no rule is ever asked about (a ping, a deletion).
    kept: its bytes. outcome: in words; note: what else its owner should know. found: JSON, by rule what was found and
    why not. state: queued, done, or unreadable.
    """

    __tablename__ = "headsup_deliveries"
    __table_args__ = (
        UniqueConstraint("project_id", "delivery_id", name="uq_headsup_deliveries_project_id"),
        Index("ix_headsup_deliveries_project_id_id", "project_id", "id"),
        Index("ix_headsup_deliveries_received_at", "received_at"),
        # Of which a body is kept, the oldest first.
        Index(
            "ix_headsup_deliveries_kept",
            "project_id",
            "id",
            sqlite_where=text("kept > 0"),
            postgresql_where=text("kept > 0"),
        ),
        # An id is never used twice: Message-IDs are made of them.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("headsup_projects.id", ondelete="CASCADE"))
    delivery_id: Mapped[str] = mapped_column(String(100))
    forge: Mapped[str] = mapped_column(String(20))
    event: Mapped[str] = mapped_column(String(60))
    received_at: Mapped[datetime] = mapped_column(Moment, default=now)
    is_form: Mapped[bool] = mapped_column(default=False)
    size: Mapped[int] = mapped_column(default=0)
    kept: Mapped[int] = mapped_column(default=0)
    body: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    state: Mapped[str] = mapped_column(String(20), default="queued")
    outcome: Mapped[str] = mapped_column(String(300), default="")
    note: Mapped[str] = mapped_column(String(MAX_NOTE), default="")
    found: Mapped[str] = mapped_column(Text, default="[]")
    repeats: Mapped[int] = mapped_column(default=0)


class HeadsupKept(Base):
    """How many bytes of a project's deliveries are kept.

    A row of its own: the job that looks at a delivery holds the project's while it writes, and the hook must not wait.
    """

    __tablename__ = "headsup_kept"

    project_id: Mapped[int] = mapped_column(
        ForeignKey("headsup_projects.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    bytes: Mapped[int] = mapped_column(BigInteger, default=0)


class HeadsupMessage(Base):
    """What a delivery tells by a rule. replay: 0, or how often it was sent again. data: a HeadsUp as JSON."""

    __tablename__ = "headsup_messages"
    __table_args__ = (
        UniqueConstraint("delivery_id", "rule_id", "ref", "replay", name="uq_headsup_messages_delivery_id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("headsup_projects.id", ondelete="CASCADE"), index=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("headsup_deliveries.id", ondelete="CASCADE"))
    rule_id: Mapped[int] = mapped_column(ForeignKey("headsup_rules.id", ondelete="CASCADE"), index=True)
    ref: Mapped[str] = mapped_column(String(500))
    replay: Mapped[int] = mapped_column(default=0)
    is_public: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    data: Mapped[str] = mapped_column(Text)


class HeadsupNotice(Base):
    """A message for one target: what became of it.

    created_at: when it was made, or let in by a yes or another try: it counts for that day.
    """

    __tablename__ = "headsup_notices"
    __table_args__ = (
        UniqueConstraint("message_id", "kind", "address", name="uq_headsup_notices_message_id"),
        CheckConstraint("state in ('waiting', 'sent', 'refused', 'asked', 'out', 'limit')", name="state"),
        Index("ix_headsup_notices_project_id_created_at", "project_id", "created_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("headsup_projects.id", ondelete="CASCADE"))
    message_id: Mapped[int] = mapped_column(ForeignKey("headsup_messages.id", ondelete="CASCADE"))
    target_id: Mapped[int | None] = mapped_column(ForeignKey("headsup_targets.id", ondelete="SET NULL"), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    address: Mapped[str] = mapped_column(String(MAX_URL))
    name: Mapped[str] = mapped_column(String(100), default="")
    state: Mapped[str] = mapped_column(String(10), default="waiting")
    error: Mapped[str] = mapped_column(String(MAX_ERROR), default="")
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    changed_at: Mapped[datetime] = mapped_column(Moment, default=now)


class HeadsupMention(Base):
    """The ledger: a rule and a commit that it has told, or keeps for the next tag.

    sameness: of author and text. entry: JSON of what is kept for the next tag. told_by: the delivery of the tag that
    told it, with entry as long as that may be sent again. It was told if told_by is set or entry is None.
    """

    __tablename__ = "headsup_mentions"
    __table_args__ = (Index("ix_headsup_mentions_rule_id_sameness", "rule_id", "sameness"),)

    rule_id: Mapped[int] = mapped_column(ForeignKey("headsup_rules.id", ondelete="CASCADE"), primary_key=True)
    sha: Mapped[str] = mapped_column(String(64), primary_key=True)
    sameness: Mapped[str] = mapped_column(String(40))
    at: Mapped[datetime] = mapped_column(Moment, default=now)
    place: Mapped[int] = mapped_column(default=0)
    entry: Mapped[str | None] = mapped_column(Text)
    told_by: Mapped[int | None]


class HeadsupRefusal(Base):
    """How many deliveries were refused on a day, by reason. project_id: 0 where they named no project of ours."""

    __tablename__ = "headsup_refusals"

    project_id: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    reason: Mapped[str] = mapped_column(String(60), primary_key=True)
    count: Mapped[int] = mapped_column(default=0)
    last_at: Mapped[datetime] = mapped_column(Moment, default=now)


TABLES = (
    HeadsupProject,
    HeadsupRule,
    HeadsupTarget,
    HeadsupAddress,
    HeadsupDelivery,
    HeadsupKept,
    HeadsupMessage,
    HeadsupNotice,
    HeadsupMention,
    HeadsupRefusal,
)
