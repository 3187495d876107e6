"""Jobs, and when periodic ones are due: the tables of web.services.jobs.rows."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("key", sa.String(200)),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("due", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("owner", sa.String(64)),
        sa.Column("finished", sa.Double),
        sa.Column("outcome", sa.String(8)),
        sa.Column("error", sa.Text),
        # An id is never used twice: what a mail is recognised by is made of it.
        sqlite_autoincrement=True,
    )
    _index("jobs_due", ["kind", "due"], "finished IS NULL")
    _index("jobs_waiting_key", ["key"], "finished IS NULL AND owner IS NULL AND key IS NOT NULL", unique=True)
    _index("jobs_running_key", ["key"], "owner IS NOT NULL")
    _index("jobs_finished", ["outcome", "finished"], "finished IS NOT NULL")
    op.create_table(
        "job_schedules",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("next", sa.Double, nullable=False),
    )


def downgrade() -> None:
    for table in ("job_schedules", "jobs"):
        op.drop_table(table)


def _index(name: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    op.create_index(name, "jobs", columns, unique=unique, postgresql_where=sa.text(where), sqlite_where=sa.text(where))
