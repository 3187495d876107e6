"""Podcasts: their feeds, episodes, and the lists that people pick."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_MAX_URL = 2000


def _of_podcast(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["podcast_id"], ["podcasts.id"], name=f"fk_{table}_podcast_id", ondelete="CASCADE")


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "podcasts",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("url", sa.String(_MAX_URL), nullable=False),
        sa.Column("name", sa.String(300), nullable=False),
        sa.Column("slug", sa.String(80), nullable=False),
        sa.Column("link", sa.Text, nullable=False),
        sa.Column("subtitle", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("language", sa.String(20), nullable=False),
        sa.Column("image_url", sa.Text, nullable=False),
        sa.Column("guid", sa.String(100), nullable=False),
        sa.Column("is_listed", sa.Boolean, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("times_picked", sa.Integer, nullable=False),
        sa.Column("episodes", sa.Integer, nullable=False),
        sa.Column("known", sa.Integer, nullable=False),
        sa.Column("seconds", sa.BigInteger, nullable=False),
        sa.Column("gap", sa.Double),
        sa.Column("first_at", moment),
        sa.Column("latest_at", moment),
        sa.Column("fetched_at", moment),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("modified_at", moment, nullable=False),
        sa.Column("thread_id", sa.Integer, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_podcasts"),
        sa.UniqueConstraint("url", name="uq_podcasts_url"),
        sa.UniqueConstraint("thread_id", name="uq_podcasts_thread_id"),
        sa.ForeignKeyConstraint(["thread_id"], ["threads.id"], name="fk_podcasts_thread_id"),
        # An id is never used twice: pages of a podcast that is gone still follow its channel.
        sqlite_autoincrement=True,
    )
    op.create_index("ix_podcasts_guid", "podcasts", ["guid"])
    op.create_index("ix_podcasts_times_picked_id", "podcasts", ["times_picked", "id"])
    op.create_index("ix_podcasts_modified_at_id", "podcasts", ["modified_at", "id"])
    op.create_table(
        "podcast_feeds",
        sa.Column("podcast_id", sa.Integer, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("next", sa.Double),
        sa.Column("taken", sa.Double, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("missing", sa.Integer, nullable=False),
        sa.Column("since", sa.Double),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("modified", sa.Text, nullable=False),
        sa.Column("reader", sa.Integer, nullable=False),
        sa.Column("whole", sa.Double, nullable=False),
        sa.Column("move", sa.Text, nullable=False),
        sa.Column("moves", sa.Integer, nullable=False),
        sa.Column("move_since", sa.Double),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("repair", sa.String(20), nullable=False),
        sa.Column("items", sa.Integer, nullable=False),
        sa.Column("is_paged", sa.Boolean, nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("hub", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("pushed_until", sa.Double, nullable=False),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("podcast_id", name="pk_podcast_feeds"),
        _of_podcast("podcast_feeds"),
    )
    op.create_index("ix_podcast_feeds_next", "podcast_feeds", ["next"])
    op.create_index("ix_podcast_feeds_host_next", "podcast_feeds", ["host", "next"])
    op.create_table(
        "podcast_fetches",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("podcast_id", sa.Integer, nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("took", sa.Double, nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_podcast_fetches"),
        _of_podcast("podcast_fetches"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_podcast_fetches_podcast_id_id", "podcast_fetches", ["podcast_id", "id"])
    op.create_table(
        "podcast_episodes",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("podcast_id", sa.Integer, nullable=False),
        sa.Column("at", moment),
        sa.Column("published_at", moment),
        sa.Column("seen_at", moment, nullable=False),
        sa.Column("seconds", sa.Integer),
        sa.Column("source", sa.String(10), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("season", sa.Integer),
        sa.Column("number", sa.Integer),
        sa.Column("length", sa.BigInteger),
        sa.Column("is_gone", sa.Boolean, nullable=False),
        sa.Column("probed_at", moment),
        sa.Column("type", sa.String(100), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("guid", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_podcast_episodes"),
        _of_podcast("podcast_episodes"),
    )
    op.create_index("ix_podcast_episodes_podcast_id_at", "podcast_episodes", ["podcast_id", "at", "seconds", "kind"])
    op.create_table(
        "podcast_aliases",
        sa.Column("url", sa.String(_MAX_URL), nullable=False),
        sa.Column("podcast_id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("url", name="pk_podcast_aliases"),
        _of_podcast("podcast_aliases"),
    )
    op.create_index("ix_podcast_aliases_podcast_id", "podcast_aliases", ["podcast_id"])
    op.create_table(
        "podcast_hosts",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("paused", sa.Double, nullable=False),
        sa.Column("singly", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_podcast_hosts"),
    )
    op.create_table(
        "podcast_lookups",
        sa.Column("question", sa.String(100), nullable=False),
        sa.Column("asked_at", moment, nullable=False),
        sa.Column("found", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("question", name="pk_podcast_lookups"),
    )
    op.create_table(
        "podcast_lists",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("modified_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_podcast_lists"),
        sa.UniqueConstraint("key", name="uq_podcast_lists_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_podcast_lists_modified_at_id", "podcast_lists", ["modified_at", "id"])
    op.create_table(
        "podcast_picks",
        sa.Column("list_id", sa.Integer, nullable=False),
        sa.Column("podcast_id", sa.Integer, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("list_id", "podcast_id", name="pk_podcast_picks"),
        sa.ForeignKeyConstraint(["list_id"], ["podcast_lists.id"], name="fk_podcast_picks_list_id", ondelete="CASCADE"),
        _of_podcast("podcast_picks"),
    )
    op.create_index("ix_podcast_picks_podcast_id", "podcast_picks", ["podcast_id"])


def downgrade() -> None:
    # Their comments go with them; those of events and posts stay.
    op.execute("delete from comments where thread_id in (select thread_id from podcasts)")
    op.execute("create temporary table gone_threads as select thread_id as id from podcasts")
    for table in (
        "podcast_picks", "podcast_lists", "podcast_lookups", "podcast_hosts", "podcast_aliases", "podcast_episodes",
        "podcast_fetches", "podcast_feeds", "podcasts",
    ):  # fmt: skip
        op.drop_table(table)
    op.execute("delete from threads where id in (select id from gone_threads)")
    op.execute("drop table gone_threads")
