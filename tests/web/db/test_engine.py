"""Connections to PostgreSQL that were dropped, sessions that only read, and who may read SQLite's files."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from services import PgBouncer, Postgres
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from hub.publisher import RecordingPublisher
from web.db import engine as engines
from web.db.database import Database
from web.features.events.models import Category


async def driver_of(engine: AsyncEngine) -> Any:
    """asyncpg's connection, which is back in the pool."""
    async with engine.connect() as connection:
        return (await connection.get_raw_connection()).driver_connection


@pytest.fixture
async def engine(migrated_postgres: str) -> Any:
    engine = engines.new_engine(engines.checked(migrated_postgres))
    yield engine
    await engine.dispose()


async def test_connection_that_postgresql_has_closed_is_replaced_before_it_is_used(
    engine: AsyncEngine, postgres_server: Postgres
) -> None:
    driver = await driver_of(engine)
    closed = asyncio.Event()
    driver.add_termination_listener(lambda connection: closed.set())
    postgres_server.run(f"select pg_terminate_backend({driver.get_server_pid()})")
    await closed.wait()
    async with engine.connect() as connection:
        assert await connection.scalar(text("select 1")) == 1


async def test_connection_that_was_silent_is_asked_whether_it_is_there(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is between, such as a firewall, forgets connections without a word to either end."""
    driver = await driver_of(engine)
    asked = 0

    def ping(self: Any) -> None:
        nonlocal asked
        asked += 1
        raise self.dbapi.InterfaceError("connection is closed")

    async with engine.connect() as connection:
        adapted: Any = (await connection.get_raw_connection()).dbapi_connection
        monkeypatch.setattr(type(adapted), "ping", ping)
    assert await driver_of(engine) is driver
    assert asked == 0
    monkeypatch.setattr(engines, "SILENCE", -1.0)
    assert await driver_of(engine) is not driver
    assert asked == 1


async def test_nothing_that_a_reading_session_holds_is_written(database: Database) -> None:
    async with database.reading() as session:
        session.add(Category(name="Music", slug="music"))
        assert await session.scalar(select(func.count()).select_from(Category)) == 0
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(Category)) == 0


async def test_queries_on_postgresql_have_no_transaction_around_them(
    migrated_postgres: str, publisher: RecordingPublisher
) -> None:
    """It would be two more questions, and each query of it would have a snapshot of its own all the same."""
    assert await transactions(Database(migrated_postgres, publisher)) == (3, 1)


@pytest.fixture
def pooler(postgres_server: Postgres, pgbouncer: str) -> Iterator[PgBouncer]:
    folder = Path(tempfile.mkdtemp(prefix="fanfare-pooler-"))
    folder.chmod(0o755)
    pooler = PgBouncer(folder, postgres_server).start()
    yield pooler
    pooler.kill()
    shutil.rmtree(folder)


async def test_behind_a_pooler_they_have_one(
    migrated_postgres: str, publisher: RecordingPublisher, pooler: PgBouncer
) -> None:
    """It may give the preparing of a statement and its execution to different servers."""
    url = pooler.url(migrated_postgres.rpartition("/")[2])
    assert await transactions(Database(url, publisher)) == (1, 1)


async def transactions(database: Database) -> tuple[int, int]:
    """In how many transactions three queries are, of who reads and of who saves."""
    began = select(func.transaction_timestamp())
    try:
        async with database.reading() as session:
            read = {await session.scalar(began) for _ in range(3)}
        async with database.saving() as session:
            saved = {await session.scalar(began) for _ in range(3)}
    finally:
        await database.close()
    return len(read), len(saved)


async def test_database_of_sqlite_is_nobody_else_s_to_read(tmp_path: Path) -> None:
    """Every user of the machine read its hashes of passwords."""
    path = tmp_path / "var" / "site.db"
    engine = engines.new_engine(engines.checked(f"sqlite:///{path}"))
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE a (b int)"))
        files = list(path.parent.iterdir())
        assert path in files
        assert [each.stat().st_mode & 0o077 for each in files] == [0] * len(files)
    await engine.dispose()
    assert path.parent.stat().st_mode & 0o077 == 0
