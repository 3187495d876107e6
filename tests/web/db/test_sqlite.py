"""SQLite's driver: what is soon done is done where it is asked for, and nothing keeps the loop waiting."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from web.db import sqlite
from web.db.engine import checked, new_engine
from web.db.sqlite import LONG_FOR, Long, Since

#: Some 100 ms of SQLite, far beyond what is done in the loop's thread.
LONG = text(
    "select thread(), max(i) from"
    " (with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000) select i from n)"
)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """An engine on a file with one table, whose statements can say in which thread they are run: `thread()`."""
    engine = new_engine(checked(f"sqlite:///{tmp_path / 'a.db'}"))
    async with engine.execution_options(writing=True).begin() as connection:
        await connection.execute(text("create table one (a integer)"))
        await connection.execute(text("insert into one values (1)"))
    yield engine
    await engine.dispose()


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.create_function("thread", 0, threading.get_ident)
        yield connection


async def threads(connection: AsyncConnection, *statements: str) -> list[bool]:
    """For each statement whether it was run in the loop's thread."""
    return [(await connection.scalar(text(each))) == threading.get_ident() for each in statements]


async def test_what_is_soon_done_is_done_where_it_is_asked_for(engine: AsyncEngine) -> None:
    async with reading(engine) as connection:
        assert await threads(connection, "select thread()", "SELECT thread() from one") == [True, True]
        await connection.rollback()
        assert await threads(connection, "select thread()") == [True]


async def test_what_writes_is_the_other_thread_s(engine: AsyncEngine) -> None:
    async with reading(engine) as connection:
        assert await threads(connection, "insert into one values (2) returning thread()") == [False]
        # Of a transaction that has written, all is: its ROLLBACK writes too.
        assert await threads(connection, "select thread()") == [False]
        await connection.rollback()
        assert await threads(connection, "select thread()") == [True]
        assert await connection.scalar(text("select count(*) from one")) == 1


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.execution_options(writing=True).connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.create_function("thread", 0, threading.get_ident)
        yield connection


async def test_who_has_the_lock_waits_for_nothing_and_hops_to_no_thread(engine: AsyncEngine) -> None:
    async with engine.execution_options(writing=True).begin() as connection:
        await connection.execute(text("create table two (id integer primary key, a integer)"))
    async with writing(engine) as connection:
        assert await threads(
            connection,
            "select thread()",
            "INSERT INTO two (id, a) VALUES (1, thread()) RETURNING a",
            "UPDATE two SET a=thread() WHERE two.id = 1 RETURNING a",
        ) == [True, True, False]
        await connection.execute(text("INSERT INTO two (id, a) VALUES (:id, :a)"), {"id": 2, "a": 0})
        await connection.execute(text("UPDATE two SET a=thread() WHERE two.id = :id"), {"id": 2})
        assert await threads(connection, "select a from two where id = 2") == [True]
        # How many rows another changes nobody can tell, and it can't be ended half way.
        await connection.execute(text("UPDATE two SET a=thread()"))
        assert await threads(connection, "select a from two where id = 2") == [False]
        await connection.commit()
    async with reading(engine) as connection:
        assert await connection.scalar(text("select count(*) from two")) == 2


async def test_writer_that_waits_for_the_lock_lets_the_loop_go_on(engine: AsyncEngine) -> None:
    async with writing(engine) as first, writing(engine) as second:
        await first.execute(text("INSERT INTO one (a) VALUES (2)"))
        waiting = asyncio.create_task(second.execute(text("INSERT INTO one (a) VALUES (3)")))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not waiting.done()
        await first.commit()
        await waiting
        assert await second.scalar(text("select count(*) from one")) == 3
        await second.rollback()
        assert await second.scalar(text("select count(*) from one")) == 2


async def test_long_question_of_a_save_is_ended_and_leaves_what_was_written(engine: AsyncEngine) -> None:
    async with writing(engine) as connection:
        await connection.execute(text("INSERT INTO one (a) VALUES (2)"))
        thread, _ = (await connection.execute(LONG)).one()
        assert thread != threading.get_ident()
        await connection.commit()
    async with reading(engine) as connection:
        assert await connection.scalar(text("select count(*) from one")) == 2


async def test_refused_row_of_a_save_is_the_savers_error(engine: AsyncEngine) -> None:
    async with engine.execution_options(writing=True).begin() as connection:
        await connection.execute(text("create table two (id integer primary key)"))
    async with writing(engine) as connection:
        await connection.execute(text("INSERT INTO two (id) VALUES (1)"))
        with pytest.raises(IntegrityError):
            await connection.execute(text("INSERT INTO two (id) VALUES (1)"))
        await connection.commit()
    async with reading(engine) as connection:
        assert await connection.scalar(text("select count(*) from two")) == 1


async def test_long_statement_is_done_in_the_other_thread_and_the_loop_goes_on(engine: AsyncEngine) -> None:
    async with reading(engine) as connection:
        asked = asyncio.create_task(connection.execute(LONG))
        turns = 0
        while not asked.done():
            turns += 1
            await asyncio.sleep(0)
        thread, most = (await asked).one()
        assert (thread == threading.get_ident(), most) == (False, 1_000_000)
        assert turns > 10


async def test_statement_that_turns_out_long_reads_the_same_snapshot(engine: AsyncEngine) -> None:
    async with reading(engine) as connection:
        assert await connection.scalar(text("select count(*) from one")) == 1
        async with engine.execution_options(writing=True).begin() as other:
            await other.execute(text("insert into one values (2)"))
        await connection.execute(LONG)
        assert await connection.scalar(text("select count(*) from one")) == 1
        await connection.rollback()
        assert await connection.scalar(text("select count(*) from one")) == 2


async def test_statement_that_is_often_long_is_not_tried_any_more(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    execute = sqlite._execute

    def trying(connection: sqlite3.Connection, statement: str, *rest: object) -> object:
        if threading.current_thread() is threading.main_thread():
            tried.append(statement)
        return execute(connection, statement, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlite, "_execute", trying)
    async with reading(engine) as connection:
        for _ in range(5):
            await connection.execute(LONG)
        assert tried == [str(LONG)] * 3


async def test_what_is_cancelled_while_it_is_long_leaves_a_connection_that_works(engine: AsyncEngine) -> None:
    async with reading(engine) as connection:
        asked = asyncio.create_task(connection.execute(LONG))
        # It is in the other thread as soon as the loop has a turn.
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    async with reading(engine) as connection:
        assert await threads(connection, "select thread()") == [True]


async def test_reader_that_finds_a_lock_waits_for_it_in_the_other_thread(engine: AsyncEngine, tmp_path: Path) -> None:
    await engine.dispose()
    with sqlite3.connect(tmp_path / "a.db", isolation_level=None) as other:
        other.execute("pragma locking_mode=exclusive")
        other.execute("begin exclusive")
        asked = asyncio.create_task(_count(engine))
        for _ in range(5):
            await asyncio.sleep(0.01)
        assert not asked.done()
        other.execute("commit")
    other.close()
    assert await asked == 1


async def _count(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int(await connection.scalar(text("select count(*) from one")) or 0)


async def test_writer_waits_for_another_while_readers_go_on(engine: AsyncEngine, tmp_path: Path) -> None:
    async def write() -> None:
        async with engine.execution_options(writing=True).begin() as connection:
            await connection.execute(text("insert into one values (3)"))

    # All connections have been used by readers, which wait for no lock.
    async with engine.connect() as one, engine.connect() as two:
        await one.execute(text("select 1"))
        await two.execute(text("select 1"))
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("begin immediate")
    saved = asyncio.create_task(write())
    for _ in range(5):
        assert await _count(engine) == 1
        await asyncio.sleep(0.01)
    assert not saved.done()
    other.execute("rollback")
    other.close()
    await saved
    assert await _count(engine) == 2


async def test_errors_of_a_statement_are_those_of_the_database(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        with pytest.raises(OperationalError, match="no such table"):
            await connection.execute(text("select * from two"))
        assert await connection.scalar(text("select count(*) from one")) == 1


class TestLong:
    def test_one_long_run_of_ten_is_a_busy_machine(self) -> None:
        long = Long()
        for _ in range(100):
            long.note("a", too_long=True)
            for _ in range(10):
                long.note("a", too_long=False)
            assert "a" not in long

    def test_one_that_is_often_long_is_known_for_a_while_and_then_tries_once(self) -> None:
        now = 0.0
        long = Long(lambda: now)
        for _ in range(3):
            assert "a" not in long
            long.note("a", too_long=True)
        assert "a" in long
        now = LONG_FOR
        assert "a" not in long
        long.note("a", too_long=True)
        assert "a" in long
        assert "b" not in long

    def test_no_more_are_remembered_than_a_number(self) -> None:
        long = Long()
        for number in range(2000):
            for _ in range(3):
                long.note(str(number), too_long=True)
            long.note(f"{number} once", too_long=True)
        assert "1999" in long
        assert "0" not in long
        assert max(len(long._until), len(long._scores)) <= 500


@pytest.mark.skipif(Since._WHO is None, reason="only Linux says of a thread what it waited for")
def test_a_statement_that_waited_for_its_turn_is_not_long() -> None:
    """On a busy machine the queries of every page were moved to the other thread, a minute each, which cost more yet.

    The clock is moved as it is for who is put aside by the system: without work, and without waiting for anything.
    """
    since = Since()
    since.began -= 10 * sqlite.LONGEST
    assert not since.is_long()


def test_a_statement_that_works_or_waits_is_long() -> None:
    working = Since()
    end = time.thread_time() + 3 * sqlite.LONGEST
    while time.thread_time() < end:
        pass
    assert working.is_long()
    waiting = Since()
    threading.Event().wait(3 * sqlite.LONGEST)
    assert waiting.is_long()
