"""The database, and the rule of a save: its hints are committed with it, and told after that.

A hint given inside the transaction makes a fast browser fetch the old row. One that is a row of the
outbox (`hub.orm`) can at worst be late: a save never fails because the hub is away, and what a
process had no time to tell, another tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Mapper, Session
from sqlalchemy.util import greenlet_spawn

from hub.orm.database_url import DatabaseUrl
from hub.orm.declarations import Notice
from hub.orm.engines import CONNECT_TIMEOUT
from hub.orm.sqlalchemy import AsyncNotifier
from hub.publisher import Publisher

from .engine import UNUSABLE, checked, new_engine, reading_engine, unavailable

T = TypeVar("T")

#: What features say to the notifier: which of their rows tell which channels.
Hints = Iterable[Callable[[AsyncNotifier], None]]

#: Seconds that closing waits for what is not told yet; the outbox keeps the rest.
TELL_TIMEOUT = 5.0


#: Where the saves of this context note which channels they tell, if anybody wants to know.
_noted: ContextVar[set[str] | None] = ContextVar("noted", default=None)


@contextmanager
def noting() -> Iterator[set[str]]:
    """A set into which saves of this task put the channels that they tell, in Fanout form, once they are committed."""
    found: set[str] = set()
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)


class _Notifier(AsyncNotifier):
    """Remembers on a session which channels it tells."""

    def write(self, session: Session, mapper: Mapper[Any] | None, found: Sequence[Notice]) -> None:
        super().write(session, mapper, found)
        session.info.setdefault(_CHANNELS, set()).update(one.channel[1:] for one in found)


_CHANNELS = "channels told"


class Database:
    """Where rows are kept, and who tells of their changes. Close it when done.

    hints: each says to the notifier what the rows of a feature tell (`Feature.hints`). direct: the same PostgreSQL
    without the pooler that `url` names, if there is one, to listen there.
    publisher: where hints go once `start` was called; until then they wait in the outbox. Raises
    ValueError for a URL that `hub.orm.database_url` refuses.
    """

    def __init__(
        self, url: DatabaseUrl | str, publisher: Publisher, direct: DatabaseUrl | None = None, *, hints: Hints = ()
    ) -> None:
        self.url = checked(url)
        self.engine = new_engine(self.url)
        self._direct = None if direct is None else new_engine(direct)
        self.notifier: AsyncNotifier = _Notifier(publisher)
        for declare in hints:
            declare(self.notifier)
        # Without flushes nothing that a session holds can reach a row.
        self._looking = reading_engine(self.engine)
        self._reading = async_sessionmaker(self._looking, expire_on_commit=False, autoflush=False)
        self._writing = async_sessionmaker(self.engine.execution_options(writing=True), expire_on_commit=False)
        # The outbox is mostly looked at, and each look would take SQLite's lock on the engine that writes.
        self.notifier.bind(self._writing, self.engine, self._direct)
        self._saves: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to tell what is saved, here or by a process that died; the tables must be there."""
        await self.notifier.start()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session for queries; changes of what it holds are thrown away."""
        async with self._reading() as session:
            yield session

    async def look(self, read: Callable[[Connection], T]) -> T:
        """What a plain function reads with a connection, all of it in one transaction, for pages that many ask for.

        For columns, not for objects: a session and an await for each query take half of what a page with three costs.
        The loop goes on while the database is waited for. What it changes is thrown away.
        """

        def run() -> T:
            with self._looking.sync_engine.connect() as connection:
                return read(connection)

        return await greenlet_spawn(run)

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
        noted = _noted.get()
        if noted is not None:
            noted |= session.sync_session.info.get(_CHANNELS, set())

    async def check(self) -> None:
        """Raise DatabaseUnavailable unless the database answers."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT), self.engine.connect() as connection:
                await connection.execute(text("select 1"))
        except UNUSABLE as error:
            raise unavailable(self.url, error) from error

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
