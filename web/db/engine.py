"""Connections to the database with the site's manners, and what it means when there are none."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from socket import gaierror
from typing import Any

import asyncpg
from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from hub.errors import HubError
from hub.orm.database_url import DatabaseUrl, parse
from hub.orm.engines import new_postgres_engine

from .sqlite import Driver

#: asyncpg's own come from a connection that was never made (a certificate that is missing): nobody has wrapped them.
UNUSABLE = (SQLAlchemyError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

_AWAY = (OperationalError, InterfaceError, PoolTimeout, ConnectionError, TimeoutError, gaierror)


class DatabaseUnavailable(HubError):
    """The database can't be reached or used; says which one, in one line."""


def is_away(error: BaseException) -> bool:
    """Whether an error means that the database can't be reached now, rather than a bug of ours."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, _AWAY)


def _make_private(path: Path) -> None:
    """Let only its owner read a SQLite database that is not there yet; its journals get the same mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError, IsADirectoryError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def new_engine(url: DatabaseUrl) -> AsyncEngine:
    """An engine with the site's manners for SQLite or PostgreSQL.

    Errors don't name a statement's values: they end up in the log, and hashes of passwords are among them.
    """
    if url.path is not None:
        _make_private(Path(url.path))
        where = URL.create("sqlite+aiosqlite", database=url.path)
        engine = create_async_engine(where, hide_parameters=True, module=Driver())
        event.listen(engine.sync_engine, "connect", _on_sqlite_connect)
        event.listen(engine.sync_engine, "begin", _on_sqlite_begin)
        return engine
    # A connection that PostgreSQL has dropped is noticed before a request runs into it.
    return new_postgres_engine(url, pool_pre_ping=True, hide_parameters=True)


def _on_sqlite_connect(connection: Any, record: object) -> None:
    # The driver is kept from beginning transactions by itself: it leaves DDL out of them.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=wal", "synchronous=normal", "foreign_keys=on", "busy_timeout=5000"):
        cursor.execute(f"pragma {pragma}")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    # A writer takes the lock at once and waits for it if need be. A reader that becomes a writer is
    # refused without waiting when another has written meanwhile (sqlite.org/isolation.html).
    writing = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("begin immediate" if writing else "begin")


def checked(url: DatabaseUrl | str) -> DatabaseUrl:
    """A URL that parses; raises ValueError."""
    return parse(url) if isinstance(url, str) else url


def unavailable(url: DatabaseUrl, error: Exception) -> DatabaseUnavailable:
    """What to raise for an error of this database."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    reason = str(cause).strip().splitlines()[:1] or [type(cause).__name__]
    return DatabaseUnavailable(f"DATABASE_URL: {url.place}: {reason[0]}")
