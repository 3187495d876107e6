"""Replies, what became of a comment, how it was judged, and whom to mail of answers."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_ROOT = sa.text("coalesce(parent_id, id)")


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.drop_index("ix_comments_thread_id_id", "comments")
    # Copied on SQLite: nothing refers to comments yet. An id is never used twice: open pages still know the old one.
    with op.batch_alter_table("comments", table_kwargs={"sqlite_autoincrement": True}) as batch:
        batch.add_column(sa.Column("parent_id", sa.Integer))
        batch.add_column(sa.Column("answers_id", sa.Integer))
        batch.add_column(sa.Column("status", sa.String(20), nullable=False, server_default="published"))
        batch.add_column(sa.Column("edition", sa.Integer, nullable=False, server_default="1"))
        batch.add_column(sa.Column("replies", sa.Integer, nullable=False, server_default="0"))
        batch.add_column(sa.Column("edited_at", moment))
        # Of version 0: the job of the comments' texts renders them.
        batch.add_column(sa.Column("html_version", sa.Integer, nullable=False, server_default="0"))
        batch.add_column(sa.Column("html", sa.Text, nullable=False, server_default=""))
        batch.create_foreign_key("fk_comments_parent_id", "comments", ["parent_id"], ["id"], ondelete="CASCADE")
        batch.create_foreign_key("fk_comments_answers_id", "comments", ["answers_id"], ["id"], ondelete="SET NULL")
        batch.create_check_constraint(
            op.f("ck_comments_status"), "status in ('published', 'held', 'refused', 'spam', 'deleted')"
        )
    op.create_index("ix_comments_parent_id", "comments", ["parent_id"])
    op.create_index("ix_comments_answers_id", "comments", ["answers_id"])
    op.create_index("ix_comments_thread_id_root_id", "comments", ["thread_id", _ROOT, "id"])
    op.create_index("ix_comments_status_id", "comments", ["status", "id"])
    op.create_table(
        "comment_subscriptions",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("thread_id", sa.Integer, nullable=False),
        sa.Column("address", sa.String(254), nullable=False),
        sa.Column("asked_at", moment, nullable=False),
        sa.Column("confirmed_at", moment),
        sa.Column("sent_at", moment),
        sa.PrimaryKeyConstraint("id", name="pk_comment_subscriptions"),
        sa.ForeignKeyConstraint(
            ["thread_id"], ["threads.id"], name="fk_comment_subscriptions_thread_id", ondelete="CASCADE"
        ),
    )
    op.create_index(
        "uq_comment_subscriptions_thread_id_address", "comment_subscriptions", ["thread_id", "address"], unique=True
    )
    op.create_table(
        "comment_records",
        sa.Column("comment_id", sa.Integer, nullable=False),
        sa.Column("key", sa.String(64)),
        sa.Column("visitor", sa.String(64), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("decision", sa.String(20), nullable=False),
        sa.Column("weight", sa.Double, nullable=False),
        sa.Column("learned", sa.String(10), nullable=False),
        sa.Column("subscription_id", sa.Integer),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("comment_id", name="pk_comment_records"),
        sa.UniqueConstraint("key", name="uq_comment_records_key"),
        sa.ForeignKeyConstraint(
            ["comment_id"], ["comments.id"], name="fk_comment_records_comment_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["comment_subscriptions.id"],
            name="fk_comment_records_subscription_id",
            ondelete="SET NULL",
        ),
    )
    op.create_index("ix_comment_records_address_at", "comment_records", ["address", "at"])
    op.create_index("ix_comment_records_visitor_at", "comment_records", ["visitor", "at"])
    op.create_index("ix_comment_records_subscription_id", "comment_records", ["subscription_id"])
    op.create_table(
        "comment_words",
        sa.Column("word", sa.String(100), nullable=False),
        sa.Column("spam", sa.Integer, nullable=False),
        sa.Column("good", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("word", name="pk_comment_words"),
    )
    op.create_table(
        "comment_blocks",
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.PrimaryKeyConstraint("who", name="pk_comment_blocks"),
    )


def downgrade() -> None:
    for table in ("comment_blocks", "comment_words", "comment_records", "comment_subscriptions"):
        op.drop_table(table)
    # What nobody could read must not be read by everybody; replies stand among the others.
    op.execute("update comments set parent_id = null, answers_id = null")
    op.execute("delete from comments where status <> 'published'")
    for name in ("status_id", "thread_id_root_id", "answers_id", "parent_id"):
        op.drop_index(f"ix_comments_{name}", "comments")
    with op.batch_alter_table("comments") as batch:
        batch.drop_constraint(op.f("ck_comments_status"), type_="check")
        batch.drop_constraint("fk_comments_answers_id", type_="foreignkey")
        batch.drop_constraint("fk_comments_parent_id", type_="foreignkey")
        for name in ("html", "html_version", "edited_at", "replies", "edition", "status", "answers_id", "parent_id"):
            batch.drop_column(name)
    op.create_index("ix_comments_thread_id_id", "comments", ["thread_id", "id"])
