"""The database, and the rule of a save: its hints are committed with it, and told after that.

A hint given inside the transaction makes a fast browser fetch the old row. One that is a row of the
outbox (`hub.orm`) can at worst be late: a save never fails because the hub is away, and what a
process had no time to tell, another tells.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import gaierror
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, event, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from hub.errors import HubError
from hub.orm import postgres
from hub.orm.database_url import DatabaseUrl, parse
from hub.orm.engines import CONNECT_TIMEOUT, new_postgres_engine
from hub.orm.sqlalchemy import AsyncNotifier
from hub.publisher import Publisher

from .hints import declare

logger = logging.getLogger(__name__)

#: Seconds that closing waits for what is not told yet; the outbox keeps the rest.
TELL_TIMEOUT = 5.0

#: asyncpg's own come from a connection that was never made (a certificate that is missing): nobody has wrapped them.
_UNUSABLE = (SQLAlchemyError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

_AWAY = (OperationalError, InterfaceError, PoolTimeout, ConnectionError, TimeoutError, gaierror)


class DatabaseUnavailable(Exception):
    """The database can't be reached or used; says which one, in one line."""


class Database:
    """Where events are kept, and who tells of their changes. Close it when done.

    direct: the same PostgreSQL without the pooler that `url` names, if there is one, to listen there.
    publisher: where hints go once `start` was called; until then they wait in the outbox. Raises
    ValueError for a URL that `hub.orm.database_url` refuses.
    """

    def __init__(self, url: DatabaseUrl | str, publisher: Publisher, direct: DatabaseUrl | None = None) -> None:
        self.url = _checked(url)
        self.engine = new_engine(self.url)
        self._direct = None if direct is None else new_engine(direct)
        self.notifier = AsyncNotifier(publisher)
        declare(self.notifier)
        self._reading = async_sessionmaker(self.engine, expire_on_commit=False)
        self._writing = async_sessionmaker(self.engine.execution_options(writing=True), expire_on_commit=False)
        # The outbox is mostly looked at, and each look would take SQLite's lock on the engine that writes.
        self.notifier.bind(self._writing, self.engine, self._direct)
        self._saves: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to tell what is saved, here or by a process that died; the tables must be there."""
        await self.notifier.start()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session for queries; what it changes is thrown away."""
        async with self._reading() as session:
            yield session

    @asynccontextmanager
    async def saving(self) -> AsyncIterator[AsyncSession]:
        """A session whose changes are committed at the end of the block, and told soon after.

        An exception in the block rolls back and tells nothing. A request that is cancelled while
        it saves has either saved and tells, or neither. Nobody waits for the hub.
        """
        session = self._writing()
        try:
            yield session
        except BaseException:
            await asyncio.shield(session.close())
            raise
        # A task of its own: cancelling the request can't come in the middle of the commit.
        save = asyncio.create_task(_commit(session))
        self._saves.add(save)
        save.add_done_callback(self._saves.discard)
        await asyncio.shield(save)

    async def check(self) -> None:
        """Raise DatabaseUnavailable unless the database answers."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT), self.engine.connect() as connection:
                await connection.execute(text("select 1"))
        except _UNUSABLE as error:
            raise _unavailable(self.url, error) from error

    async def close(self, timeout: float = TELL_TIMEOUT) -> None:
        """Wait for saves under way, tell them if that is done in `timeout` seconds, and close every connection."""
        if self._saves:
            await asyncio.wait(self._saves)
        await self.notifier.close(timeout)
        await self.engine.dispose()
        if self._direct is not None:
            await self._direct.dispose()


async def _commit(session: AsyncSession) -> None:
    async with session:
        await session.commit()


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
        engine = create_async_engine(URL.create("sqlite+aiosqlite", database=url.path), hide_parameters=True)
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


async def migrate(url: DatabaseUrl | str, revision: str = "head") -> None:
    """Bring the tables to a revision; several processes may do so at once.

    Triggers of watched tables that an earlier release has made are replaced. Raises
    DatabaseUnavailable when the database can't be reached or used.
    """
    url = _checked(url)
    try:
        engine = new_engine(url)
        try:
            async with engine.execution_options(writing=True).begin() as connection:
                await connection.run_sync(_migrate, revision)
        finally:
            await engine.dispose()
    except _UNUSABLE as error:
        raise _unavailable(url, error) from error
    if url.path is None and revision == "head":
        try:
            await postgres.upgrade(url)
        except HubError as error:
            # They go on as they did; `fanfare watch --check` names them.
            logger.warning("triggers of an earlier release were not replaced", extra={"error": str(error)})


async def waiting(engine: AsyncEngine) -> int:
    """How many migrations the database has not seen; raises what the engine does."""
    script = ScriptDirectory(str(Path(__file__).parent / "migrations"))

    def count(connection: Connection) -> int:
        heads = set(MigrationContext.configure(connection).get_current_heads())
        return sum(1 for revision in script.walk_revisions() if not _has(script, heads, revision.revision))

    async with engine.connect() as connection:
        return await connection.run_sync(count)


def _has(script: ScriptDirectory, heads: set[str], revision: str) -> bool:
    """Whether a database at these heads has a revision. What a later release made is unknown here, and further on."""
    for head in heads:
        try:
            known = [each.revision for each in script.iterate_revisions(head, "base")]
        except CommandError:
            return True
        if revision in known:
            return True
    return False


#: Any number will do, as long as every process of ours takes the same.
_MIGRATION_LOCK = 0x46414E46


def _migrate(connection: Connection, revision: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _checked(url: DatabaseUrl | str) -> DatabaseUrl:
    return parse(url) if isinstance(url, str) else url


def _unavailable(url: DatabaseUrl, error: Exception) -> DatabaseUnavailable:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    reason = str(cause).strip().splitlines()[:1] or [type(cause).__name__]
    return DatabaseUnavailable(f"DATABASE_URL: {url.place}: {reason[0]}")
