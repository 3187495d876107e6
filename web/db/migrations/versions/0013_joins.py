"""What was measured on the page of joins."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "joins_runs",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("job", sa.Integer, nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("songs", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("found", sa.Text, nullable=True),
        sa.Column("words", sa.String(500), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_joins_runs"),
    )


def downgrade() -> None:
    op.drop_table("joins_runs")
