"""Podcasts have pictures: what a page needs to show one, the address that was asked last, and what was wrong."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("podcasts", sa.Column("picture", sa.JSON(none_as_null=True), nullable=True))
    for name in ("image", "image_error"):
        op.add_column("podcast_feeds", sa.Column(name, sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    for name in ("image", "image_error"):
        op.drop_column("podcast_feeds", name)
    op.drop_column("podcasts", "picture")
