"""Migrations: one chain by number, and what was in a database of an older release is there after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from services import ROOT
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from visiting import HINTS

from hub.publisher import RecordingPublisher
from web.db.database import Database
from web.db.engine import checked, new_engine
from web.db.migrate import migrate, undo
from web.features.comments.models import Comment, Thread
from web.features.events.models import Event

VERSIONS = ROOT / "web" / "db" / "migrations"


def test_migrations_are_one_chain_by_number() -> None:
    """Two that were written at the same time: the one that lands later is renumbered."""
    script = ScriptDirectory(str(VERSIONS))
    chain = [revision.revision for revision in script.walk_revisions()][::-1]
    assert script.get_heads() == [chain[-1]]
    assert chain == [f"{number:04}" for number in range(1, len(chain) + 1)]
    files = sorted(path.name for path in (VERSIONS / "versions").glob("*.py"))
    assert [name.partition("_")[0] for name in files] == chain
    assert [Path(str(revision.path)).name for revision in script.walk_revisions()][::-1] == files


#: A site of the release before threads: the last event is gone, and so is the one with id 2.
_OLD = """
insert into categories (id, name, slug) values (1, 'Music', 'music');
insert into events (id, title, slug, description, starts_at, status, category_id, edition) values
  (1, 'Brass', 'brass', 'Loud', '2030-05-17 18:30:00', 'live', 1, 3),
  (3, 'Strings', 'strings', '', '2031-05-17 18:30:00', 'scheduled', 1, 1);
insert into comments (id, event_id, name, text, posted_at) values
  (1, 3, 'Ada', 'First', '2030-05-17 18:31:00'),
  (2, 1, 'Bo', 'Second', '2030-05-17 18:32:00'),
  (5, 3, 'Ada', 'Third', '2030-05-17 18:33:00');
"""


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[AsyncConnection]:
    engine = new_engine(checked(url))
    try:
        async with engine.execution_options(writing=True).begin() as connection:
            yield connection
    finally:
        await engine.dispose()


async def _run(url: str, *statements: str) -> None:
    async with _connected(url) as connection:
        for statement in statements:
            for each in statement.split(";"):
                if each.strip():
                    await connection.execute(text(each))


async def _rows(url: str, query: str) -> list[tuple[object, ...]]:
    async with _connected(url) as connection:
        return [tuple(row) for row in await connection.execute(text(query))]


@pytest.fixture
async def old(database_url: str) -> str:
    """The URL of a database of the release before threads, with content."""
    await migrate(database_url, "0002")
    await _run(database_url, _OLD)
    if database_url.startswith("postgresql"):
        await _run(database_url, "select setval('events_id_seq', 7)", "select setval('comments_id_seq', 5)")
    return database_url


async def test_threads_take_over_the_comments_of_events(old: str) -> None:
    await migrate(old)
    assert await _rows(old, "select id, thread_id, title, edition, status from events order by id") == [
        (1, 1, "Brass", 3, "live"),
        (3, 3, "Strings", 1, "scheduled"),
    ]
    assert await _rows(old, "select id, thread_id, name, text from comments order by id") == [
        (1, 3, "Ada", "First"),
        (2, 1, "Bo", "Second"),
        (5, 3, "Ada", "Third"),
    ]
    assert [tuple(map(bool, row)) for row in await _rows(old, "select id, is_open from threads")] == [(True, True)] * 2


async def test_new_threads_are_no_channel_of_an_event_that_is_there(old: str) -> None:
    await migrate(old)
    database = Database(old, RecordingPublisher(), hints=HINTS)
    async with database.saving() as session:
        first = await session.get_one(Event, 1)
        event = Event(title="New", slug="new", starts_at=first.starts_at, category_id=1, edition=1)
        session.add(event)
        await session.flush()
        session.add(Comment(thread_id=event.thread_id, name="Ada", text="Hello"))
    # PostgreSQL knows of events that are gone, whose channels pages may still follow.
    assert event.thread_id == (9 if old.startswith("postgresql") else 4)
    await database.close()


async def test_what_holds_the_tables_together_holds_after_the_upgrade(old: str) -> None:
    await migrate(old)
    for wrong in (
        "insert into comments (thread_id, name, text, posted_at) values (99, 'x', 'x', '2030-05-17 18:31:00')",
        "update events set thread_id = 1 where id = 3",
        "update events set status = 'nonsense'",
        "update events set category_id = 9",
        "delete from threads where id = 1",
    ):
        with pytest.raises(IntegrityError):
            await _run(old, wrong)
    await _run(old, "delete from events where id = 3", "delete from threads where id = 3")
    assert await _rows(old, "select id from comments") == [(2,)]


async def test_downgrade_keeps_the_comments_of_events(old: str) -> None:
    await migrate(old)
    database = Database(old, RecordingPublisher(), hints=HINTS)
    async with database.saving() as session:
        first = await session.get_one(Event, 1)
        event = Event(title="New", slug="new", starts_at=first.starts_at, category_id=1, edition=1)
        other = Thread()
        session.add_all([event, other])
        await session.flush()
        session.add(Comment(thread_id=event.thread_id, name="Ada", text="Hello"))
        session.add(Comment(thread_id=other.id, name="Ada", text="Of something that is no event"))
    await database.close()
    await undo(old, "0002")
    assert await _rows(old, "select event_id, text from comments order by id") == [
        (3, "First"),
        (1, "Second"),
        (3, "Third"),
        (event.id, "Hello"),
    ]
    await migrate(old)
    assert (await _rows(old, "select count(*) from comments"))[0][0] == 4


#: Accounts of the release before roles.
_USERS = """
insert into users (id, name, password_hash, stamp) values (1, 'ada', 'h1', 's1'), (2, 'bob', 'h2', 's2');
"""


@pytest.fixture
async def with_users(database_url: str) -> str:
    await migrate(database_url, _before("sign_ins"))
    await _run(database_url, _USERS)
    return database_url


def _before(words: str) -> str:
    """The revision before that whose file has these words in its name."""
    [path] = (VERSIONS / "versions").glob(f"*_{words}.py")
    return f"{int(path.name[:4]) - 1:04}"


async def test_who_had_an_account_is_a_manager_and_new_rows_have_no_role(with_users: str) -> None:
    await migrate(with_users)
    assert await _rows(with_users, "select id, name, password_hash, role from users order by id") == [
        (1, "ada", "h1", "manager"),
        (2, "bob", "h2", "manager"),
    ]
    await _run(with_users, "insert into users (id, name, password_hash) values (3, 'eve', 'h3')")
    assert await _rows(with_users, "select role from users where id = 3") == [("user",)]
    for wrong in ("update users set role = 'root'", "update users set name = 'ada' where id = 2"):
        with pytest.raises(IntegrityError):
            await _run(with_users, wrong)


async def test_downgrade_makes_nobody_a_manager_who_was_none(with_users: str) -> None:
    await migrate(with_users)
    moment = "'2030-05-17 18:30:00'"
    await _run(
        with_users,
        "update users set role = 'writer' where id = 2",
        "insert into users (id, name, password_hash, role) values (3, 'octocat', '', 'manager')",
        "insert into sign_ins (key_hash, user_id, way, created_at, seen_at, network, browser)"
        f" values ('k', 1, 'password', {moment}, {moment}, '', '')",
        "insert into github_accounts (id, user_id, login, shown, gives_role, linked_at)"
        f" values (583231, 3, 'octocat', 'octocat', true, {moment})",
    )
    await undo(with_users, _before("sign_ins"))
    [row] = await _rows(with_users, "select id, name, password_hash, stamp from users")
    assert row[:3] == (1, "ada", "h1")
    assert len(str(row[3])) == 32
    assert row[3] != "s1"
    await migrate(with_users)


async def test_posts_go_with_their_comments_and_leave_those_of_events(old: str) -> None:
    await migrate(old)
    moment = "'2030-05-17 18:30:00'"
    post = (
        "insert into posts (id, uid, title, slug, state, published_at, created_at, changed_at, edition, html_version,"
        " thread_id, keywords, summary, excerpt, text, html)"
    )
    await _run(
        old,
        "insert into threads (id, is_open) values (100, true)",
        f"{post} values (1, 'u', '', 'snow', 'published', {moment}, {moment}, {moment}, 1, 1, 100, '', '', '', '', '')",
        "insert into post_categories (id, name) values (1, 'Weather')",
        "insert into post_filings (category_id, post_id, place) values (1, 1, 0)",
        "insert into post_old_slugs (slug, post_id) values ('ice', 1)",
        f"insert into comments (id, thread_id, name, text, posted_at) values (100, 100, 'Ada', 'Cold', {moment})",
    )
    for wrong in (
        f"{post} values (2, 'v', 'Snow', 'snow', 'draft', null, {moment}, {moment}, 1, 1, 1, '', '', '', '', '')",
        f"{post} values (2, 'v', 'Snow', 'b', 'published', null, {moment}, {moment}, 1, 1, 1, '', '', '', '', '')",
        f"{post} values (2, 'v', 'Snow', 'b', 'nonsense', null, {moment}, {moment}, 1, 1, 1, '', '', '', '', '')",
        f"{post} values (2, 'v', 'Snow', 'b', 'draft', null, {moment}, {moment}, 1, 1, 100, '', '', '', '', '')",
        "delete from post_categories where id = 1",
        "delete from threads where id = 100",
    ):
        with pytest.raises(IntegrityError):
            await _run(old, wrong)
    await undo(old, _before("posts"))
    assert await _rows(old, "select id from comments order by id") == [(1,), (2,), (5,)]
    assert await _rows(old, "select id from threads order by id") == [(1,), (3,)]
    await migrate(old)
    assert await _rows(old, "select id from posts") == []


async def test_every_migration_can_be_undone(database_url: str) -> None:
    await migrate(database_url)
    await undo(database_url, "base")
    async with _connected(database_url) as connection:
        found = await connection.run_sync(lambda plain: set(inspect(plain).get_table_names()))
    assert found <= {"alembic_version"}
