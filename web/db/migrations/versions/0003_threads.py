"""Comments belong to a thread; an event has one.

The thread of an event that is there already gets the event's id, so that `comments-<id>` stays its channel.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    op.create_table(
        "threads",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_threads"),
        # An id is never used twice: pages of a thread that is gone still follow its channel.
        sqlite_autoincrement=True,
    )
    op.execute("insert into threads (id, is_open) select id, true from events")
    if not sqlite:
        # Events that are gone had channels too: new threads come after every id that was ever given to an event.
        op.execute(
            "select setval(pg_get_serial_sequence('threads', 'id'),"
            " greatest(nextval(pg_get_serial_sequence('events', 'id')), (select max(id) from threads)))"
        )
    op.drop_index("ix_comments_event_id_id", "comments")
    if sqlite:
        # Copied by hand: dropping a table deletes its rows first, and with them what refers to them. Nothing refers to
        # comments, and once they refer to threads nothing refers to events.
        _copy("comments", _comments("thread_id", "threads"), {"thread_id": "event_id"})
        _copy("events", _events(with_thread=True), {"thread_id": "id"})
    else:
        op.drop_constraint("fk_comments_event_id", "comments", type_="foreignkey")
        op.alter_column("comments", "event_id", new_column_name="thread_id")
        op.create_foreign_key("fk_comments_thread_id", "comments", "threads", ["thread_id"], ["id"], ondelete="CASCADE")
        op.add_column("events", sa.Column("thread_id", sa.Integer, nullable=True))
        op.execute("update events set thread_id = id")
        op.alter_column("events", "thread_id", nullable=False)
        op.create_foreign_key("fk_events_thread_id", "events", "threads", ["thread_id"], ["id"])
        op.create_unique_constraint("uq_events_thread_id", "events", ["thread_id"])
    op.create_index("ix_comments_thread_id_id", "comments", ["thread_id", "id"])


def downgrade() -> None:
    # Comments of what is no event go, and so does which discussions are closed.
    op.execute("delete from comments where thread_id not in (select thread_id from events)")
    op.drop_index("ix_comments_thread_id_id", "comments")
    if op.get_context().dialect.name == "sqlite":
        # Events first: once comments refer to them, they would go with the table that is dropped.
        op.execute("create temporary table owners as select id, thread_id from events")
        _copy("events", _events(with_thread=False), {})
        event = "(select owners.id from owners where owners.thread_id = comments.thread_id)"
        _copy("comments", _comments("event_id", "events"), {"event_id": event})
        op.execute("drop table owners")
    else:
        op.drop_constraint("fk_comments_thread_id", "comments", type_="foreignkey")
        op.execute("update comments set thread_id = events.id from events where events.thread_id = comments.thread_id")
        op.alter_column("comments", "thread_id", new_column_name="event_id")
        op.create_foreign_key("fk_comments_event_id", "comments", "events", ["event_id"], ["id"], ondelete="CASCADE")
        op.drop_column("events", "thread_id")
    op.create_index("ix_comments_event_id_id", "comments", ["event_id", "id"])
    op.drop_table("threads")


def _comments(owner: str, table: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column(owner, sa.Integer, nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_comments"),
        sa.ForeignKeyConstraint([owner], [f"{table}.id"], name=f"fk_comments_{owner}", ondelete="CASCADE"),
    ]


def _events(*, with_thread: bool) -> list[sa.schema.SchemaItem]:
    threads: list[sa.schema.SchemaItem] = [
        sa.Column("thread_id", sa.Integer, nullable=False),
        sa.UniqueConstraint("thread_id", name="uq_events_thread_id"),
        sa.ForeignKeyConstraint(["thread_id"], ["threads.id"], name="fk_events_thread_id"),
    ]
    return [
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("title", sa.String(120), nullable=False),
        sa.Column("slug", sa.String(80), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("category_id", sa.Integer, nullable=False),
        sa.Column("edition", sa.Integer, nullable=False),
        *(threads if with_thread else []),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.UniqueConstraint("slug", name="uq_events_slug"),
        sa.CheckConstraint("status in ('scheduled', 'live', 'ended')", name=op.f("ck_events_status")),
        sa.ForeignKeyConstraint(["category_id"], ["categories.id"], name="fk_events_category_id", ondelete="RESTRICT"),
    ]


#: Of the tables that are copied, those which stay as they are.
_INDEXES = {
    "events": [("ix_events_category_id", ["category_id"]), ("ix_events_status_starts_at", ["status", "starts_at"])],
    "comments": [],
}


def _copy(table: str, columns: list[sa.schema.SchemaItem], values: dict[str, str]) -> None:
    """Another table with a table's rows, in its place. values: by column, what to take instead of the column itself."""
    names = [each.name for each in columns if isinstance(each, sa.Column)]
    op.create_table(f"{table}_new", *columns)
    taken = ", ".join(values.get(name, name) for name in names)
    op.execute(f"insert into {table}_new ({', '.join(names)}) select {taken} from {table}")
    op.drop_table(table)
    op.rename_table(f"{table}_new", table)
    for index, on in _INDEXES[table]:
        op.create_index(index, table, on)
