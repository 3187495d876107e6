"""Connections to the database with the site's manners, and what it means when there are none."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from socket import gaierror
from typing import Any

import asyncpg
from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from hub.errors import HubError
from hub.orm.database_url import DatabaseUrl, parse
from hub.orm.engines import POOLED, new_postgres_engine

from .sqlite import Driver

#: asyncpg's own come from a connection that was never made (a certificate that is missing): nobody has wrapped them.
UNUSABLE = (SQLAlchemyError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

_AWAY = (OperationalError, InterfaceError, PoolTimeout, ConnectionError, TimeoutError, gaierror)


#: Seconds after which a connection to PostgreSQL is asked whether it is still there before it is used.
SILENCE = 1.0

_USED = "used"

#: What a database says, and what to change.
_MENDS = (
    ("password authentication failed", "the user or the password in DATABASE_URL is wrong"),
    ("no pg_hba.conf entry", "pg_hba.conf does not let this user in from here"),
    ("does not exist", "make it, or name another in DATABASE_URL"),
    ("connection refused", "nothing listens there: start PostgreSQL, or name another in DATABASE_URL"),
    ("connect call failed", "nothing listens there: start PostgreSQL, or name another in DATABASE_URL"),
    ("starting up", "try again in a moment"),
    ("name or service not known", "there is no such host"),
    ("ssl", "see sslmode in DATABASE_URL"),
    ("unable to open database file", "the folder must be there, and may be written to"),
    ("not a database", "the file is something else"),
)


class DatabaseUnavailable(HubError):
    """The database can't be reached or used; says which one, why, and what to change, in one line."""


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
    engine = new_postgres_engine(url, hide_parameters=True)
    event.listen(engine.sync_engine, "checkin", _on_postgres_checkin)
    event.listen(engine.sync_engine, "checkout", _on_postgres_checkout)
    return engine


def reading_engine(engine: AsyncEngine) -> AsyncEngine:
    """The same connections, for queries alone.

    PostgreSQL gives each statement a snapshot of its own unless it is asked for more, so a transaction around queries
    would only be two more questions. SQLite's holds one snapshot, and costs nothing.
    """
    reading = engine.execution_options(reading=True)
    if engine.dialect.name == "postgresql":
        event.listen(reading.sync_engine, "engine_connect", _on_postgres_reading)
    return reading


def _on_postgres_reading(connection: Connection) -> None:
    # A pooler may give a statement that was prepared and its execution to different servers, but for a transaction.
    if not connection.info.get(POOLED, True):
        connection.execution_options(isolation_level="AUTOCOMMIT")


def _on_postgres_checkin(connection: object, record: Any) -> None:
    record.info[_USED] = time.monotonic()


def _on_postgres_checkout(connection: Any, record: Any, proxy: object) -> None:
    # A connection that PostgreSQL has dropped is noticed before a request runs into it. That it was closed, the loop
    # has heard; that what is between has forgotten it shows in an answer, which is waited for only after some silence.
    used = record.info.get(_USED)
    if used is None:
        return
    try:
        if connection.driver_connection.is_closed():
            raise DisconnectionError
        if time.monotonic() - used > SILENCE:
            connection.ping()
    except (connection.dbapi.Error, OSError) as error:
        raise DisconnectionError from error


def _on_sqlite_connect(connection: Any, record: object) -> None:
    # The driver is kept from beginning transactions by itself: it leaves DDL out of them.
    connection.isolation_level = None
    cursor = connection.cursor()
    # The driver sees to how long a lock is waited for.
    for pragma in ("journal_mode=wal", "synchronous=normal", "foreign_keys=on"):
        cursor.execute(f"pragma {pragma}")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    # A writer takes the lock at once and waits for it if need be. A reader that becomes a writer is
    # refused without waiting when another has written meanwhile (sqlite.org/isolation.html).
    if connection.get_execution_options().get("writing"):
        connection.exec_driver_sql("begin immediate")
    else:
        adapted: Any = connection.connection.dbapi_connection
        adapted.begin()


def checked(url: DatabaseUrl | str) -> DatabaseUrl:
    """A URL that parses; raises ValueError."""
    return parse(url) if isinstance(url, str) else url


def unavailable(url: DatabaseUrl, error: Exception) -> DatabaseUnavailable:
    """What to raise for an error of this database."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    mend = next((f"; {mend}" for said, mend in _MENDS if said in reason.lower()), "")
    return DatabaseUnavailable(f"DATABASE_URL: {url.place}: {reason}{mend}")
