"""The database, and the rule of a save: commit first, then give the hints.

A hint given inside the transaction makes a fast browser fetch the old row. One given after the
commit can at worst be late; a save never fails because the hub is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from socket import gaierror
from typing import Any, Protocol

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction

from hub.errors import HubError
from hub.publisher import Item, Publisher

from .hints import Hint, hints_of
from .models import Base
from .settings import parse_database_url

logger = logging.getLogger(__name__)

#: Seconds a save waits for the hub before it is answered without.
PUBLISH_TIMEOUT = 2.0

#: Seconds to reach PostgreSQL; a request waits that long when its host is gone.
CONNECT_TIMEOUT = 5.0

_KEY = "web.db.hints"

_AWAY = (OperationalError, InterfaceError, PoolTimeout, ConnectionError, TimeoutError, gaierror)


class DatabaseUnavailable(Exception):
    """The database can't be reached or used; says which one, in one line."""


class Teller(Protocol):
    """Gives hints after a commit. Must not raise, and must not take long."""

    async def tell(self, hints: Sequence[Hint]) -> None: ...


class PublishingTeller:
    """Publishes each hint once, in order; one that can't be given is logged."""

    def __init__(self, publisher: Publisher, timeout: float = PUBLISH_TIMEOUT) -> None:
        self._publisher = publisher
        self._timeout = timeout

    async def tell(self, hints: Sequence[Hint]) -> None:
        items = [Item(hint.channel, hint.data, hint=True) for hint in hints]
        try:
            async with asyncio.timeout(self._timeout):
                await self._publisher.publish_many(items)
        except (HubError, TimeoutError) as error:
            # The save stands: pages catch up by their slow poll.
            facts = {"channels": [hint.channel for hint in hints], "error": str(error) or "too slow"}
            logger.warning("hint not given", extra=facts)


class Database:
    """Where events are kept. Close it when done.

    teller: gives the hints of what is saved. Raises ValueError for a URL that `parse_database_url` refuses.
    """

    def __init__(self, url: URL | str, teller: Teller) -> None:
        self.url = _checked(url)
        self._teller = teller
        self.engine = new_engine(self.url)
        self._reading = async_sessionmaker(self.engine, expire_on_commit=False)
        self._writing = async_sessionmaker(
            self.engine.execution_options(writing=True), expire_on_commit=False, sync_session_class=_HintingSession
        )
        self._saves: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session for queries; what it changes is thrown away."""
        async with self._reading() as session:
            yield session

    @asynccontextmanager
    async def saving(self) -> AsyncIterator[AsyncSession]:
        """A session whose changes are committed at the end of the block, and then told.

        An exception in the block rolls back and tells nothing. A request that is cancelled while
        it saves has either saved and told, or neither.
        """
        session = self._writing()
        try:
            yield session
        except BaseException:
            await asyncio.shield(session.close())
            raise
        # A task of its own: cancelling the request can't come between commit and hint.
        save = asyncio.create_task(self._save(session))
        self._saves.add(save)
        save.add_done_callback(self._saves.discard)
        await asyncio.shield(save)

    async def check(self) -> None:
        """Raise DatabaseUnavailable unless the database answers."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT), self.engine.connect() as connection:
                await connection.execute(text("select 1"))
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise _unavailable(self.url, error) from error

    async def close(self) -> None:
        """Wait for saves under way, then close every connection."""
        if self._saves:
            await asyncio.wait(self._saves)
        await self.engine.dispose()

    async def _save(self, session: AsyncSession) -> None:
        async with session:
            await session.commit()
            hints: list[Hint] = session.sync_session.info.get(_KEY, [])
        if hints:
            await self._teller.tell(list(dict.fromkeys(hints)))


class _HintingSession(Session):
    """Collects, at each flush, what its changes tell."""


@event.listens_for(_HintingSession, "after_flush")
def _collect(session: Session, *_: object) -> None:
    changed = [row for row in session.dirty if session.is_modified(row)]
    _note(session, [*session.new, *changed, *session.deleted])


@event.listens_for(_HintingSession, "after_soft_rollback")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    # After a savepoint's rollback the hints from before it must stand; one too many costs a fetch.
    if not transaction.nested:
        session.info.pop(_KEY, None)


def _note(session: Session, rows: Iterable[object]) -> None:
    hints: list[Hint] = session.info.setdefault(_KEY, [])
    for row in rows:
        if isinstance(row, Base):
            hints += hints_of(row)


def is_away(error: BaseException) -> bool:
    """Whether an error means that the database can't be reached now, rather than a bug of ours."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, _AWAY)


def new_engine(url: URL) -> AsyncEngine:
    """An engine with the site's manners for SQLite or PostgreSQL."""
    if url.get_backend_name() == "sqlite":
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
        engine = create_async_engine(url)
        event.listen(engine.sync_engine, "connect", _on_sqlite_connect)
        event.listen(engine.sync_engine, "begin", _on_sqlite_begin)
        return engine
    # A connection that PostgreSQL has dropped is noticed before a request runs into it.
    return create_async_engine(url, pool_pre_ping=True, connect_args={"timeout": CONNECT_TIMEOUT})


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


async def migrate(url: URL | str, revision: str = "head") -> None:
    """Bring the tables to a revision; several processes may do so at once.

    Raises DatabaseUnavailable when the database can't be reached or used.
    """
    url = _checked(url)
    try:
        engine = new_engine(url)
        try:
            async with engine.execution_options(writing=True).begin() as connection:
                await connection.run_sync(_migrate, revision)
        finally:
            await engine.dispose()
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        raise _unavailable(url, error) from error


#: Any number will do, as long as every process of ours takes the same.
_MIGRATION_LOCK = 0x46414E46


def _migrate(connection: Connection, revision: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _checked(url: URL | str) -> URL:
    return parse_database_url(url if isinstance(url, str) else url.render_as_string(hide_password=False))


def _unavailable(url: URL, error: Exception) -> DatabaseUnavailable:
    where = url.database if url.get_backend_name() == "sqlite" else f"{url.host or 'localhost'}:{url.port or 5432}"
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    reason = str(cause).strip().splitlines()[:1] or [type(cause).__name__]
    return DatabaseUnavailable(f"DATABASE_URL: {where}: {reason[0]}")
