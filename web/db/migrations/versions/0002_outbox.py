"""The outbox of hints, and its sweeper's lease: the tables of hub.orm.outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Each only if it isn't there: `fanfare watch` makes these tables too.
    op.create_table(
        "fanfare_outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("channel", sa.String(255), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("hint", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("subject", sa.String(255)),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("due", sa.Double),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("last_error", sa.Text),
        # An id is never used twice: it is the version of what is told.
        sqlite_autoincrement=True,
        if_not_exists=True,
    )
    for column in ("due", "subject"):
        op.create_index(f"fanfare_outbox_{column}", "fanfare_outbox", [column], if_not_exists=True)
    op.create_table(
        "fanfare_lease",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        if_not_exists=True,
    )


def downgrade() -> None:
    for table in ("fanfare_lease", "fanfare_outbox"):
        op.drop_table(table)
