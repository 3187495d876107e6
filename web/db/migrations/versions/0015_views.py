"""Views: sums of what was called, by hour and day, and who may tell us of more."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

TABLES = ("receipts", "keys", "writers", "salts", "crowds", "callers", "minutes", "times", "counts", "endpoints")


def _of_endpoint(table: str, *columns: sa.Column[Any], key: tuple[str, ...]) -> None:
    """A table of sums for each endpoint, whose key is all that they are of."""
    op.create_table(
        table,
        *columns,
        sa.PrimaryKeyConstraint(*key, name=f"pk_{table}"),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["view_endpoints.id"], name=f"fk_{table}_endpoint_id", ondelete="CASCADE"
        ),
    )


def upgrade() -> None:
    op.create_table(
        "view_endpoints",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("source", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("first_at", MOMENT, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_view_endpoints"),
    )
    op.create_index("ix_view_endpoints_source", "view_endpoints", ["source", "name"], unique=True)
    _of_endpoint(
        "view_counts",
        sa.Column("seconds", sa.Integer, nullable=False),
        sa.Column("start", MOMENT, nullable=False),
        sa.Column("endpoint_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("micros", sa.BigInteger, nullable=False),
        key=("seconds", "start", "endpoint_id", "kind", "status"),
    )
    _of_endpoint(
        "view_times",
        sa.Column("seconds", sa.Integer, nullable=False),
        sa.Column("start", MOMENT, nullable=False),
        sa.Column("endpoint_id", sa.Integer, nullable=False),
        sa.Column("bucket", sa.Integer, nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        key=("seconds", "start", "endpoint_id", "bucket"),
    )
    op.create_table(
        "view_minutes",
        sa.Column("start", MOMENT, nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("start", "kind", name="pk_view_minutes"),
    )
    _of_endpoint(
        "view_callers",
        sa.Column("start", MOMENT, nullable=False),
        sa.Column("endpoint_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("caller", sa.String(80), nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        key=("start", "endpoint_id", "kind", "caller"),
    )
    _of_endpoint(
        "view_crowds",
        sa.Column("start", MOMENT, nullable=False),
        sa.Column("endpoint_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("callers", sa.BigInteger, nullable=False),
        key=("start", "endpoint_id", "kind"),
    )
    op.create_table(
        "view_salts",
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("day", name="pk_view_salts"),
    )
    op.create_table(
        "view_writers",
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(80), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_view_writers"),
    )
    op.create_table(
        "view_keys",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_view_keys"),
        sa.UniqueConstraint("name", name="uq_view_keys_name"),
        sa.UniqueConstraint("key_hash", name="uq_view_keys_key_hash"),
    )
    op.create_table(
        "view_receipts",
        sa.Column("key_id", sa.Integer, nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("key_id", "event", name="pk_view_receipts"),
        sa.ForeignKeyConstraint(["key_id"], ["view_keys.id"], name="fk_view_receipts_key_id", ondelete="CASCADE"),
    )
    op.create_index("ix_view_receipts_at", "view_receipts", ["at"])


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(f"view_{table}")
