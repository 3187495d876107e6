"""Heads-ups: projects and their rules, deliveries, and what became of them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = ("refusals", "mentions", "notices", "messages", "deliveries", "addresses", "targets", "rules", "projects")


def _project(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["project_id"], ["headsup_projects.id"], name=f"fk_{table}_project_id", ondelete="CASCADE"
    )


def _rule(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["rule_id"], ["headsup_rules.id"], name=f"fk_{table}_rule_id", ondelete="CASCADE")


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "headsup_projects",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("owner_id", sa.Integer),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("name_key", sa.String(255), nullable=False),
        sa.Column("repository_id", sa.String(120)),
        sa.Column("default_branch", sa.String(255), nullable=False),
        sa.Column("secret", sa.String(200), nullable=False),
        sa.Column("old_secret", sa.String(200)),
        sa.Column("old_until", moment),
        sa.Column("allows_sha1", sa.Boolean, nullable=False),
        sa.Column("origin", sa.String(300), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("heard_at", moment),
        sa.PrimaryKeyConstraint("id", name="pk_headsup_projects"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name="fk_headsup_projects_owner_id", ondelete="CASCADE"),
    )
    op.create_index("ix_headsup_projects_owner_id", "headsup_projects", ["owner_id"])
    op.create_index("ix_headsup_projects_name_key", "headsup_projects", ["name_key"])
    op.create_index("ix_headsup_projects_repository_id", "headsup_projects", ["repository_id"])
    op.create_table(
        "headsup_rules",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("project_id", sa.Integer, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("case_sensitive", sa.Boolean, nullable=False),
        sa.Column("strict", sa.Boolean, nullable=False),
        sa.Column("breaking", sa.Boolean, nullable=False),
        sa.Column("branches", sa.Text, nullable=False),
        sa.Column("tags_only", sa.Boolean, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("paths", sa.Text, nullable=False),
        sa.Column("asks_api", sa.Boolean, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_headsup_rules"),
        _project("headsup_rules"),
    )
    op.create_index("ix_headsup_rules_project_id", "headsup_rules", ["project_id"])
    op.create_table(
        "headsup_targets",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("rule_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("address", sa.String(2000), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("secret", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_headsup_targets"),
        _rule("headsup_targets"),
        sa.CheckConstraint("kind in ('to', 'cc', 'bcc', 'slack', 'webhook')", name=op.f("ck_headsup_targets_kind")),
    )
    op.create_index("ix_headsup_targets_rule_id", "headsup_targets", ["rule_id"])
    op.create_table(
        "headsup_addresses",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("project_id", sa.Integer, nullable=False),
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("asked_by", sa.Integer),
        sa.Column("asked_at", moment),
        sa.Column("confirmed_at", moment),
        sa.Column("out_at", moment),
        sa.PrimaryKeyConstraint("id", name="pk_headsup_addresses"),
        _project("headsup_addresses"),
        sa.ForeignKeyConstraint(["asked_by"], ["users.id"], name="fk_headsup_addresses_asked_by", ondelete="SET NULL"),
        sa.UniqueConstraint("project_id", "address", name="uq_headsup_addresses_project_id"),
        sa.UniqueConstraint("token", name="uq_headsup_addresses_token"),
    )
    op.create_index("ix_headsup_addresses_address", "headsup_addresses", ["address"])
    op.create_table(
        "headsup_deliveries",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("project_id", sa.Integer, nullable=False),
        sa.Column("delivery_id", sa.String(100), nullable=False),
        sa.Column("forge", sa.String(20), nullable=False),
        sa.Column("event", sa.String(60), nullable=False),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("is_form", sa.Boolean, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("kept", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("outcome", sa.String(300), nullable=False),
        sa.Column("note", sa.String(200), nullable=False),
        sa.Column("found", sa.Text, nullable=False),
        sa.Column("repeats", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_headsup_deliveries"),
        _project("headsup_deliveries"),
        sa.UniqueConstraint("project_id", "delivery_id", name="uq_headsup_deliveries_project_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_headsup_deliveries_project_id_id", "headsup_deliveries", ["project_id", "id"])
    op.create_index("ix_headsup_deliveries_received_at", "headsup_deliveries", ["received_at"])
    op.create_table(
        "headsup_messages",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("project_id", sa.Integer, nullable=False),
        sa.Column("delivery_id", sa.Integer, nullable=False),
        sa.Column("rule_id", sa.Integer, nullable=False),
        sa.Column("ref", sa.String(500), nullable=False),
        sa.Column("replay", sa.Integer, nullable=False),
        sa.Column("is_public", sa.Boolean, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_headsup_messages"),
        _project("headsup_messages"),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["headsup_deliveries.id"], name="fk_headsup_messages_delivery_id", ondelete="CASCADE"
        ),
        _rule("headsup_messages"),
        sa.UniqueConstraint("delivery_id", "rule_id", "ref", "replay", name="uq_headsup_messages_delivery_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_headsup_messages_project_id", "headsup_messages", ["project_id"])
    op.create_index("ix_headsup_messages_rule_id", "headsup_messages", ["rule_id"])
    op.create_table(
        "headsup_notices",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("project_id", sa.Integer, nullable=False),
        sa.Column("message_id", sa.Integer, nullable=False),
        sa.Column("target_id", sa.Integer),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("address", sa.String(2000), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("error", sa.String(500), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_headsup_notices"),
        _project("headsup_notices"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["headsup_messages.id"], name="fk_headsup_notices_message_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["target_id"], ["headsup_targets.id"], name="fk_headsup_notices_target_id", ondelete="SET NULL"
        ),
        sa.UniqueConstraint("message_id", "kind", "address", name="uq_headsup_notices_message_id"),
        sa.CheckConstraint(
            "state in ('waiting', 'sent', 'refused', 'asked', 'out', 'limit')", name=op.f("ck_headsup_notices_state")
        ),
    )
    op.create_index("ix_headsup_notices_target_id", "headsup_notices", ["target_id"])
    op.create_index("ix_headsup_notices_project_id_created_at", "headsup_notices", ["project_id", "created_at"])
    op.create_table(
        "headsup_mentions",
        sa.Column("rule_id", sa.Integer, nullable=False),
        sa.Column("sha", sa.String(64), nullable=False),
        sa.Column("sameness", sa.String(40), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("entry", sa.Text),
        sa.PrimaryKeyConstraint("rule_id", "sha", name="pk_headsup_mentions"),
        _rule("headsup_mentions"),
    )
    op.create_index("ix_headsup_mentions_rule_id_sameness", "headsup_mentions", ["rule_id", "sameness"])
    op.create_table(
        "headsup_refusals",
        sa.Column("project_id", sa.Integer, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("reason", sa.String(60), nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("last_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "day", "reason", name="pk_headsup_refusals"),
    )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(f"headsup_{table}")
