"""How many comments of a thread are published is read out of an index."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_comments_thread_id_status", "comments", ["thread_id", "status"])


def downgrade() -> None:
    op.drop_index("ix_comments_thread_id_status", "comments")
