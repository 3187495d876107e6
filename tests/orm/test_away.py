"""A database that is away is told from a bug, by the errors of real drivers."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import psycopg
import pytest
from ports import free_port
from services import Postgres
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from hub.orm.away import brief, is_away, trace


async def _by_asyncpg(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close(timeout=5)


async def _by_psycopg(url: str, statement: str) -> None:
    def ask() -> None:
        with psycopg.connect(url) as connection:
            connection.execute(statement)  # type: ignore[call-overload]  # a literal of this file

    await asyncio.to_thread(ask)


async def _by_sqlalchemy(url: str, statement: str) -> None:
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    try:
        async with engine.connect() as connection:
            await connection.execute(text(statement))
    finally:
        await engine.dispose()


BY = pytest.mark.parametrize("ask", [_by_asyncpg, _by_psycopg, _by_sqlalchemy])


@BY
async def test_nobody_who_listens_is_away(ask: Callable[[str, str], Awaitable[None]]) -> None:
    with pytest.raises((OSError, psycopg.Error)) as caught:
        await ask(f"postgresql://nobody@127.0.0.1:{free_port()}/none", "select 1")
    assert is_away(caught.value)
    assert trace(caught.value) is None
    assert brief(caught.value)
    assert "\n" not in brief(caught.value)


@BY
async def test_a_server_that_ends_is_away_and_a_wrong_statement_is_a_bug(
    ask: Callable[[str, str], Awaitable[None]], postgres_server: Postgres
) -> None:
    url = postgres_server.create()
    errors = (asyncpg.PostgresError, psycopg.Error, SQLAlchemyError, OSError)
    with pytest.raises(errors) as ended:
        await ask(url, "select pg_terminate_backend(pg_backend_pid())")
    assert is_away(ended.value)
    with pytest.raises(errors) as wrong:
        await ask(url, "select nothing from nowhere")
    assert not is_away(wrong.value)
    assert trace(wrong.value) is wrong.value


def test_sqlite_s_operational_errors_are_bugs(tmp_path: Path) -> None:
    """PEP 249's name for what is not under a program's control; SQLite gives it to a missing table."""
    with sqlite3.connect(tmp_path / "some.db") as connection, pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("select * from nowhere")
    connection.close()
    assert not is_away(caught.value)
