"""Posts and events may have a picture: what a page needs to show it is in their rows."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TABLES = ("posts", "events")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("picture", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    for table in TABLES:
        # Not by making the table anew: a check that stands in a column's own line would be the table's then.
        op.drop_column(table, "picture")
