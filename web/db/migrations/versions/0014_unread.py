"""The bytes of a feed that could not be read, as long as that is so."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("podcast_feeds", sa.Column("unread", sa.LargeBinary, nullable=True))


def downgrade() -> None:
    op.drop_column("podcast_feeds", "unread")
