"""The desk: what posts are written in, what they were, what is not saved yet; imports, and subscribers of feeds."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_FORMAT = "format in ('markdown', 'html', 'text')"


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    sqlite = op.get_context().dialect.name == "sqlite"
    # SQLite adds a column with its constraints in one statement; it can add no constraint later.
    check = f" constraint ck_posts_format check ({_FORMAT})" if sqlite else ""
    op.execute(f"alter table posts add column format varchar(20) default 'markdown' not null{check}")
    op.execute("alter table posts add column changed_by varchar(60) default '' not null")
    if not sqlite:
        op.create_check_constraint(op.f("ck_posts_format"), "posts", _FORMAT)
    op.add_column("posts", sa.Column("planned_at", moment))
    op.create_index("ix_posts_changed_at", "posts", ["changed_at", "id"])
    op.create_table(
        "post_versions",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("post_id", sa.Integer, nullable=False),
        sa.Column("edition", sa.Integer, nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.Column("changed_by", sa.String(60), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("slug", sa.String(100), nullable=False),
        sa.Column("format", sa.String(20), nullable=False),
        sa.Column("keywords", sa.String(500), nullable=False),
        sa.Column("categories", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_post_versions"),
        sa.UniqueConstraint("post_id", "edition", name="uq_post_versions_post_id"),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name="fk_post_versions_post_id", ondelete="CASCADE"),
        sa.CheckConstraint(_FORMAT, name=op.f("ck_post_versions_format")),
    )
    op.create_table(
        "post_drafts",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("uid", sa.String(36), nullable=False),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("post_id", sa.Integer),
        sa.Column("edition", sa.Integer, nullable=False),
        sa.Column("saved_at", moment, nullable=False),
        sa.Column("fields", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_post_drafts"),
        sa.UniqueConstraint("uid", "user_id", name="uq_post_drafts_uid"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_post_drafts_user_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name="fk_post_drafts_post_id", ondelete="CASCADE"),
    )
    for column in ("user_id", "post_id"):
        op.create_index(f"ix_post_drafts_{column}", "post_drafts", [column])
    op.create_table(
        "post_imports",
        sa.Column("identity", sa.String(510), nullable=False),
        sa.Column("post_id", sa.Integer),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("edition", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("identity", name="pk_post_imports"),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name="fk_post_imports_post_id", ondelete="SET NULL"),
    )
    op.create_index("ix_post_imports_post_id", "post_imports", ["post_id"])
    op.create_table(
        "comment_imports",
        sa.Column("identity", sa.String(510), nullable=False),
        sa.Column("comment_id", sa.Integer),
        sa.PrimaryKeyConstraint("identity", name="pk_comment_imports"),
        sa.ForeignKeyConstraint(
            ["comment_id"], ["comments.id"], name="fk_comment_imports_comment_id", ondelete="SET NULL"
        ),
    )
    op.create_index("ix_comment_imports_comment_id", "comment_imports", ["comment_id"])
    op.create_table(
        "websub_subscriptions",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("callback", sa.Text, nullable=False),
        sa.Column("secret", sa.String(200), nullable=False),
        sa.Column("until", moment, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("told", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_websub_subscriptions"),
        sa.UniqueConstraint("key", name="uq_websub_subscriptions_key"),
        # An id is never used twice: a delivery of one that is gone finds none.
        sqlite_autoincrement=True,
    )
    op.create_index("ix_websub_subscriptions_until", "websub_subscriptions", ["until"])


def downgrade() -> None:
    for table in ("websub_subscriptions", "comment_imports", "post_imports", "post_drafts", "post_versions"):
        op.drop_table(table)
    op.drop_index("ix_posts_changed_at", "posts")
    for column in ("planned_at", "changed_by"):
        op.drop_column("posts", column)
    # A constraint of a column goes with it.
    op.drop_column("posts", "format")
