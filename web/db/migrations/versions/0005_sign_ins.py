"""Roles, sign-ins as rows, and GitHub's accounts. Who has an account keeps it as a manager, and signs in again."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ROLE = "role in ('user', 'writer', 'manager')"


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    sqlite = op.get_context().dialect.name == "sqlite"
    # A row that says nothing of a role has none.
    check = f" constraint ck_users_role check ({_ROLE})" if sqlite else ""
    op.execute(f"alter table users add column role varchar(20) default 'user' not null{check}")
    if not sqlite:
        op.create_check_constraint(op.f("ck_users_role"), "users", _ROLE)
    op.execute("update users set role = 'manager'")
    op.drop_column("users", "stamp")
    op.create_table(
        "sign_ins",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("way", sa.String(20), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.Column("network", sa.String(50), nullable=False),
        sa.Column("browser", sa.String(60), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sign_ins"),
        sa.UniqueConstraint("key_hash", name="uq_sign_ins_key_hash"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_sign_ins_user_id", ondelete="CASCADE"),
        # An id is never used twice: a page that is open may have the button that ends it.
        sqlite_autoincrement=True,
    )
    for column in ("user_id", "seen_at"):
        op.create_index(f"ix_sign_ins_{column}", "sign_ins", [column])
    op.create_table(
        "github_accounts",
        sa.Column("id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("login", sa.String(100), nullable=False),
        sa.Column("shown", sa.String(100), nullable=False),
        sa.Column("email", sa.String(254)),
        sa.Column("gives_role", sa.Boolean, nullable=False),
        sa.Column("linked_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_github_accounts"),
        sa.UniqueConstraint("user_id", name="uq_github_accounts_user_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_github_accounts_user_id", ondelete="CASCADE"),
    )
    op.create_index("ix_github_accounts_login", "github_accounts", ["login"])


def downgrade() -> None:
    op.drop_table("github_accounts")
    op.drop_table("sign_ins")
    # Before roles every account was a manager's: who was none must not become one.
    op.execute("delete from users where role <> 'manager' or password_hash = ''")
    if op.get_context().dialect.name == "sqlite":
        # The column is in a constraint, and nothing refers to users any more.
        op.execute("create temporary table kept_users as select id, name, password_hash from users")
        op.drop_table("users")
        op.create_table("users", *_old_users())
        # In an old release a stamp that nobody knows is what signs everybody out.
        op.execute(
            "insert into users (id, name, password_hash, stamp)"
            " select id, name, password_hash, lower(hex(randomblob(16))) from kept_users"
        )
        op.execute("drop table kept_users")
    else:
        op.drop_column("users", "role")
        op.add_column("users", sa.Column("stamp", sa.String(32), nullable=True))
        op.execute("update users set stamp = replace(gen_random_uuid()::text, '-', '')")
        op.alter_column("users", "stamp", nullable=False)


def _old_users() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("stamp", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("name", name="uq_users_name"),
    ]
