"""What readers look for, and what managers say about words."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "searches",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("intent", sa.String(22), nullable=False),
        sa.Column("text", sa.String(270), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("milliseconds", sa.Float, nullable=False),
        sa.Column("clicks", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_searches"),
        sa.UniqueConstraint("intent", name="uq_searches_intent"),
    )
    op.create_index("ix_searches_at", "searches", ["at"])
    op.create_index("ix_searches_text", "searches", ["text"])
    op.create_table(
        "search_synonyms",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("said", sa.String(270), nullable=False),
        sa.Column("means", sa.String(270), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_search_synonyms"),
        sa.UniqueConstraint("said", name="uq_search_synonyms_said"),
    )
    op.create_table(
        "search_pins",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("said", sa.String(270), nullable=False),
        sa.Column("url", sa.String(300), nullable=False),
        sa.Column("title", sa.String(300), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_search_pins"),
        sa.UniqueConstraint("said", name="uq_search_pins_said"),
    )


def downgrade() -> None:
    for table in ("search_pins", "search_synonyms", "searches"):
        op.drop_table(table)
