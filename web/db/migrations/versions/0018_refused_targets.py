"""Heads-ups: targets that refuse for good, which tag told what was kept, and how much of deliveries is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

INDEX = "ix_headsup_deliveries_kept"


def upgrade() -> None:
    op.add_column("headsup_targets", sa.Column("refused_at", sa.DateTime(timezone=True)))
    op.add_column("headsup_targets", sa.Column("refusal", sa.String(500), nullable=False, server_default=""))
    op.add_column("headsup_mentions", sa.Column("told_by", sa.Integer))
    op.create_table(
        "headsup_kept",
        sa.Column("project_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("project_id", name="pk_headsup_kept"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["headsup_projects.id"], name="fk_headsup_kept_project_id", ondelete="CASCADE"
        ),
    )
    op.execute(
        "insert into headsup_kept (project_id, bytes)"
        " select project_id, sum(kept) from headsup_deliveries group by project_id"
    )
    some = sa.text("kept > 0")
    op.create_index(INDEX, "headsup_deliveries", ["project_id", "id"], sqlite_where=some, postgresql_where=some)
    # Left by projects that were deleted by the API, or with their owner; a later one of the same id would show them.
    op.execute(
        "delete from headsup_refusals where project_id <> 0 and project_id not in (select id from headsup_projects)"
    )


def downgrade() -> None:
    op.drop_index(INDEX, "headsup_deliveries")
    op.drop_table("headsup_kept")
    # There a row with an entry is one that was not told yet.
    op.execute("update headsup_mentions set entry = null where told_by is not null")
    op.drop_column("headsup_mentions", "told_by")
    op.drop_column("headsup_targets", "refusal")
    op.drop_column("headsup_targets", "refused_at")
