"""The outbox as SQLAlchemy tables, on PostgreSQL and SQLite.

A hint is a row here, written in the transaction that saves what it is about. So it exists if and
only if the change does, whatever happens to the process afterwards. The functions take a plain
`Connection` (an `AsyncConnection` has `run_sync` for that) and never commit.

fanfare_outbox
    id          its key, and the version of what it tells; never used twice
    channel     in Bayeux form
    data        JSON text
    hint        only the newest matters to a slow reader
    subject     the row it is about, "comment:17", or null
    created     seconds since 1970
    due         when the sweeper may take it; null: parked, the hub refuses it
    tries       how often the hub has refused it
    last_error  its words
fanfare_lease   name, owner, until: one sweeper at a time
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Engine,
    Index,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import Pool

from .declarations import Notice
from .engines import is_pooled
from .leases import named_leases
from .listening import NOTIFY_CHANNEL, PsycopgListening, can_listen
from .rows import BATCH, Outcome, Row, values_of

logger = logging.getLogger(__name__)

_NO_LISTEN = "a pooler is between here and PostgreSQL, where LISTEN can't be: the outbox is looked at every few seconds"

P = ParamSpec("P")
T = TypeVar("T")

metadata = MetaData()

table = Table(
    "fanfare_outbox",
    metadata,
    # SQLite gives an autoincrement only to INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("channel", String(255), nullable=False),
    Column("data", Text, nullable=False),
    Column("hint", Boolean, nullable=False, server_default=true()),
    Column("subject", String(255)),
    Column("created", Double, nullable=False),
    Column("due", Double),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("last_error", Text),
    Index("fanfare_outbox_due", "due"),
    Index("fanfare_outbox_subject", "subject"),
    # Without it SQLite gives the id of a deleted row to the next one, and versions would go backwards.
    sqlite_autoincrement=True,
)

#: Who sweeps, and what else one process of the fleet does.
named = named_leases(metadata)
lease_table = named.table

_SWEEPER = "sweeper"
_COLUMNS = [table.c[name] for name in ("id", "channel", "data", "hint", "subject", "created", "tries")]


@dataclass(frozen=True, slots=True)
class Counts:
    """What is in the outbox. `oldest` is when the oldest waiting row was saved, in seconds since 1970."""

    waiting: int
    parked: int
    oldest: float | None


@dataclass(frozen=True, slots=True)
class Parked:
    """A row that the hub refuses, and why."""

    row: Row
    error: str


def create(connection: Connection) -> None:
    """Create the outbox's tables where they don't exist. For a site without migrations."""
    metadata.create_all(connection)


def write(connection: Connection, notices: Iterable[Notice], now: float) -> list[int]:
    """Insert notices into the transaction; return their ids. One statement, however many."""
    values = values_of(notices, now)
    if not values:
        return []
    return list(connection.scalars(insert(table).returning(table.c.id), values))


def take(connection: Connection, ids: Collection[int], subjects: Collection[str]) -> list[Row]:
    """The committed rows of these ids, and all that waits about these subjects, oldest first.

    A subject's older row was left by a process that died or is slow: it is told first.
    """
    wanted = or_(table.c.id.in_(ids), table.c.subject.in_(subjects))
    statement = select(*_COLUMNS).where(wanted, table.c.due.is_not(None)).order_by(table.c.id)
    return _rows(connection.execute(statement).mappings())


def due(connection: Connection, now: float, limit: int = BATCH) -> list[Row]:
    """Rows for the sweeper, oldest first: none that would overtake an older one of its channel and subject."""
    older = table.alias()
    overtakes = (
        select(older.c.id)
        .where(
            older.c.subject == table.c.subject,
            older.c.channel == table.c.channel,
            older.c.id < table.c.id,
            older.c.due > now,
        )
        .exists()
    )
    statement = select(*_COLUMNS).where(table.c.due <= now, ~overtakes).order_by(table.c.id).limit(limit)
    return _rows(connection.execute(statement).mappings())


def settle(connection: Connection, outcome: Outcome) -> None:
    """Write down what became of rows: delete what was told, postpone or park what was refused."""
    if outcome.told:
        connection.execute(delete(table).where(table.c.id.in_(outcome.told)))
    for failure in outcome.failed:
        connection.execute(
            update(table)
            .where(table.c.id == failure.row.id)
            .values(tries=table.c.tries + 1, last_error=failure.error, due=failure.due)
        )


def hold_lease(connection: Connection, owner: str, now: float, seconds: float) -> bool:
    """Take or renew the sweeper's lease; False while it is another's."""
    return named.hold(connection, _SWEEPER, owner, now, seconds)


def drop_lease(connection: Connection, owner: str) -> None:
    """Give the lease back, so that another sweeper need not wait for its end."""
    named.drop(connection, _SWEEPER, owner)


def counts(connection: Connection) -> Counts:
    """How much waits and how much is parked, for /metrics and `fanfare outbox`."""
    waiting = func.count(table.c.due)
    oldest = func.min(table.c.created).filter(table.c.due.is_not(None))
    row = connection.execute(select(waiting, func.count() - waiting, oldest).select_from(table)).one()
    return Counts(*row)


def parked(connection: Connection, limit: int = 100) -> list[Parked]:
    """What the hub refuses, oldest first."""
    statement = select(*_COLUMNS, table.c.last_error).where(table.c.due.is_(None)).order_by(table.c.id).limit(limit)
    return [Parked(_row(found), found["last_error"] or "") for found in connection.execute(statement).mappings()]


def retry(connection: Connection, now: float, ids: Collection[int] | None = None) -> int:
    """Put parked rows (all, or these) back into the queue; return how many."""
    statement = update(table).where(table.c.due.is_(None)).values(due=now, tries=0)
    return connection.execute(statement if ids is None else statement.where(table.c.id.in_(ids))).rowcount


def drop(connection: Connection, ids: Collection[int]) -> int:
    """Delete parked rows; return how many."""
    return connection.execute(delete(table).where(table.c.due.is_(None), table.c.id.in_(ids))).rowcount


class EngineStore:
    """The outbox behind an `Engine`, as a `ThreadTeller` wants it. Every call is one transaction."""

    def __init__(self, engine: Engine, *, listen: bool = True) -> None:
        self._engine = engine
        self._listen = listen
        self._inherited: list[Pool] = []

    def take(self, ids: Collection[int], subjects: Collection[str]) -> list[Row]:
        with self._engine.begin() as connection:
            return take(connection, ids, subjects)

    def due(self, now: float) -> list[Row]:
        with self._engine.begin() as connection:
            return due(connection, now)

    def settle(self, outcome: Outcome) -> None:
        with self._engine.begin() as connection:
            settle(connection, outcome)

    def hold_lease(self, owner: str, now: float, seconds: float) -> bool:
        with self._engine.begin() as connection:
            return hold_lease(connection, owner, now, seconds)

    def drop_lease(self, owner: str) -> None:
        with self._engine.begin() as connection:
            drop_lease(connection, owner)

    def listen(self) -> PsycopgListening | None:
        dialect = self._engine.dialect
        if not self._listen or dialect.driver != "psycopg" or not can_listen(dialect.loaded_dbapi.__version__):
            return None
        connection = self._engine.raw_connection()
        driver: Any = connection.driver_connection
        # One that listens is no use to others, and must not take a place of theirs.
        connection.detach()
        try:
            driver.rollback()
            driver.autocommit = True
            if driver.execute("SELECT pg_backend_pid()").fetchone()[0] != driver.info.backend_pid:
                driver.close()
                logger.warning(_NO_LISTEN)
                return None
            return PsycopgListening(driver)
        except BaseException:
            driver.close()
            raise

    def release(self) -> None:
        """Nothing is held between calls: the pool has the connections."""

    def forked(self) -> None:
        # The site's sessions use this engine too: two processes on one connection read each other's answers.
        # The old pool is kept: when it goes, so do its connections, and SQLite must not close the parent's
        # (sqlite.org/howtocorrupt.html, 2.6).
        self._inherited.append(self._engine.pool)
        self._engine.dispose(close=False)


class AsyncEngineStore:
    """The outbox behind an `AsyncEngine`, as a `Teller` wants it. Every call is one transaction.

    direct: the same database without the pooler that `engine` goes through, to listen there.
    """

    def __init__(self, engine: AsyncEngine, direct: AsyncEngine | None = None) -> None:
        self._engine = engine
        self._listening = direct or engine

    async def take(self, ids: Collection[int], subjects: Collection[str]) -> list[Row]:
        return await self._run(take, ids, subjects)

    async def due(self, now: float) -> list[Row]:
        return await self._run(due, now)

    async def settle(self, outcome: Outcome) -> None:
        await self._run(settle, outcome)

    async def hold_lease(self, owner: str, now: float, seconds: float) -> bool:
        return await self._run(hold_lease, owner, now, seconds)

    async def drop_lease(self, owner: str) -> None:
        await self._run(drop_lease, owner)

    @asynccontextmanager
    async def listening(self, wake: Callable[[], None], lost: Callable[[], None]) -> AsyncIterator[None]:
        """Call `wake` for every NOTIFY while inside, and `lost` when no more will be heard.

        Only PostgreSQL (with asyncpg) says any; there this holds one connection of the pool. A pooler
        between (PgBouncer) may give the session that listens to others, so there nobody does.
        """
        if self._listening.dialect.driver != "asyncpg":
            yield
            return
        async with self._listening.connect() as connection:
            raw = await connection.get_raw_connection()
            driver = raw.driver_connection
            pooled = await is_pooled(driver)
            if pooled:
                await connection.invalidate()
        if pooled:
            logger.warning(_NO_LISTEN)
            yield
            return
        async with self._listening.connect() as connection:
            raw = await connection.get_raw_connection()
            driver = raw.driver_connection

            def notified(*_: object) -> None:
                wake()

            def terminated(*_: object) -> None:
                lost()

            assert driver is not None
            try:
                await driver.add_listener(NOTIFY_CHANNEL, notified)
                driver.add_termination_listener(terminated)
                yield
            finally:
                driver.remove_termination_listener(terminated)
                # Not given back to the pool: it would go on listening there, or, if it broke while it began to,
                # be given out again and again, as SQLAlchemy has not seen it break.
                await connection.invalidate()

    async def _run(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **named: P.kwargs) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(function, *args, **named)


def _rows(found: Iterable[RowMapping]) -> list[Row]:
    return [_row(one) for one in found]


def _row(found: RowMapping) -> Row:
    return Row(**{column.name: found[column.name] for column in _COLUMNS})


def schema(dialect: str) -> Sequence[str]:
    """The statements that create the outbox, for a migration tool of your own: "postgresql" or "sqlite"."""
    from sqlalchemy.dialects import registry
    from sqlalchemy.schema import CreateIndex, CreateTable

    chosen = registry.load(dialect)()
    statements = []
    for one in (table, lease_table):
        statements.append(str(CreateTable(one, if_not_exists=True).compile(dialect=chosen)).strip())
        for index in sorted(one.indexes, key=lambda index: str(index.name)):
            statements.append(str(CreateIndex(index, if_not_exists=True).compile(dialect=chosen)).strip())
    return statements
