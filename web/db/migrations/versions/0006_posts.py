"""The blog: posts, their categories, and the addresses they had."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "post_categories",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_post_categories"),
        sa.UniqueConstraint("name", name="uq_post_categories_name"),
    )
    op.create_table(
        "posts",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("uid", sa.String(36), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("slug", sa.String(100), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("published_at", moment),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.Column("comments_close_at", moment),
        sa.Column("edition", sa.Integer, nullable=False),
        sa.Column("html_version", sa.Integer, nullable=False),
        sa.Column("thread_id", sa.Integer, nullable=False),
        sa.Column("keywords", sa.String(500), nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("excerpt", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("html", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_posts"),
        sa.UniqueConstraint("uid", name="uq_posts_uid"),
        sa.UniqueConstraint("slug", name="uq_posts_slug"),
        sa.UniqueConstraint("thread_id", name="uq_posts_thread_id"),
        sa.ForeignKeyConstraint(["thread_id"], ["threads.id"], name="fk_posts_thread_id"),
        sa.CheckConstraint("state in ('draft', 'published')", name=op.f("ck_posts_state")),
        sa.CheckConstraint("state <> 'published' or published_at is not null", name=op.f("ck_posts_published_at")),
        # An id is never used twice: pages of a post that is gone still follow its channel.
        sqlite_autoincrement=True,
    )
    op.create_index("ix_posts_state_published_at_id", "posts", ["state", "published_at", "id"])
    op.create_table(
        "post_filings",
        sa.Column("category_id", sa.Integer, nullable=False),
        sa.Column("post_id", sa.Integer, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("category_id", "post_id", name="pk_post_filings"),
        sa.ForeignKeyConstraint(
            ["category_id"], ["post_categories.id"], name="fk_post_filings_category_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name="fk_post_filings_post_id", ondelete="CASCADE"),
    )
    op.create_index("ix_post_filings_post_id", "post_filings", ["post_id"])
    op.create_table(
        "post_old_slugs",
        sa.Column("slug", sa.String(100), nullable=False),
        sa.Column("post_id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("slug", name="pk_post_old_slugs"),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name="fk_post_old_slugs_post_id", ondelete="CASCADE"),
    )
    op.create_index("ix_post_old_slugs_post_id", "post_old_slugs", ["post_id"])


def downgrade() -> None:
    # Their comments go with them; those of events stay.
    op.execute("delete from comments where thread_id in (select thread_id from posts)")
    op.execute("create temporary table gone_threads as select thread_id as id from posts")
    for table in ("post_old_slugs", "post_filings", "posts", "post_categories"):
        op.drop_table(table)
    op.execute("delete from threads where id in (select id from gone_threads)")
    op.execute("drop table gone_threads")
