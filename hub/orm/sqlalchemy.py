"""Changes noticed in SQLAlchemy sessions, sync and async.

    notify = AsyncNotifier(publisher)
    notify.declare(Comment, "comments-{event_id}", data=lambda comment: comment.id)
    notify.bind(async_sessionmaker(engine))
    async with notify: ...

A flush writes what its changes tell into the outbox, in the session's own transaction; after the
commit it is told, in the background. A rollback, of a savepoint too, takes the rows with it.

What is noticed: every insert, update, delete and many-to-many change that a flush makes (`flushing`), and
`session.execute(update(Model)…)`, `delete(Model)…` and `insert(Model)…` (`statements`), each row as it was
before and as it is after. What is not: `session.bulk_save_objects` and its kin,
`connection.execute(…)`, raw SQL, and other programs; say those with `touch` or `tell`, or let
PostgreSQL say them (`hub.orm.postgres`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, event
from sqlalchemy import inspect as inspected
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import (
    Mapper,
    ORMExecuteState,
    RelationshipProperty,
    Session,
    class_mapper,
    object_session,
    sessionmaker,
)
from sqlalchemy.orm.attributes import History, get_history
from sqlalchemy.orm.base import PASSIVE_NO_INITIALIZE
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from ..publisher import Publisher, SyncPublisher
from . import outbox
from .declarations import Declaration, Notice, declared_on, notice, tells
from .flushing import Flush, Found
from .mapped import Plan, guarded, plan_of
from .statements import concerns, run_change, run_insert
from .teller import POLL, THREAD_POLL, Teller, ThreadTeller

_KEY = "hub.orm"

Written = tuple[int, str | None]


@dataclass(slots=True)
class _Work:
    """What a session has in hand: the flush under way, and rows written but not committed."""

    collector: Collector
    flush: Flush | None = None
    written: list[Written] = field(default_factory=list)


class Collector:
    """Notices changes in sessions and writes them into the outbox. The common half of both notifiers."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._added: dict[type, list[Declaration]] = {}
        self._cache: dict[type, tuple[Declaration, ...]] = {}
        self._plans: dict[Mapper[Any], Plan | None] = {}
        _listen_to_mappers()

    def declare(self, model: type, channel: Any = None, data: object = True, **options: Any) -> None:
        """Declare for a mapped class (and its subclasses) what `tells` takes, or a Declaration made by it.

        Adds to what the class's `__hints__` says. Raises as `tells` does, and TypeError for a
        class that is not mapped.
        """
        mapper: object = inspected(model, raiseerr=False)
        if not isinstance(mapper, Mapper):
            raise TypeError(f"{model!r} is not a mapped class")
        declaration = channel if isinstance(channel, Declaration) else tells(channel, data, **options)
        _check_names(declaration, mapper)
        self._added.setdefault(model, []).append(declaration)
        self._cache.clear()
        self._plans.clear()

    def declarations(self, model: type) -> tuple[Declaration, ...]:
        """All that is declared for a class: by it, by its bases, and by `declare`."""
        found = self._cache.get(model)
        if found is None:
            added = [one for base in model.__mro__ for one in self._added.get(base, ())]
            found = self._cache[model] = (*declared_on(model), *added)
        return found

    def plan(self, mapper: Mapper[Any]) -> Plan | None:
        """Which columns the declarations of a mapped class depend on; None if there are none."""
        try:
            return self._plans[mapper]
        except KeyError:
            declarations = self.declarations(mapper.class_)
            found = self._plans[mapper] = plan_of(mapper, declarations) if declarations else None
            return found

    def attach(self, target: Any) -> None:
        """Listen to the sessions of a `Session` class or a sessionmaker."""
        event.listen(target, "before_flush", self._before_flush)
        event.listen(target, "after_flush", self._after_flush)
        event.listen(target, "do_orm_execute", self._on_execute)
        event.listen(target, "after_commit", self._after_commit)
        event.listen(target, "after_rollback", self._after_rollback)

    def write(self, session: Session, mapper: Mapper[Any] | None, found: Sequence[Notice]) -> None:
        """Write notices into the outbox, in the transaction of the session (and of the mapper's database)."""
        unique = list(dict.fromkeys(found))
        if not unique:
            return
        arguments = {} if mapper is None else {"bind_arguments": {"mapper": mapper}}
        ids = outbox.write(session.connection(**arguments), unique, self._clock())
        self._work(session).written += zip(ids, (one.subject for one in unique), strict=True)

    def write_touched(self, session: Session, rows: Iterable[object], fields: frozenset[str]) -> None:
        """Write what a change of these fields (none: of all) of these rows tells."""
        work = self._work(session)
        under_way, work.flush = work.flush, Flush(session, self.plan)
        try:
            for row in rows:
                mapper: Mapper[Any] = class_mapper(type(row))
                if (plan := self.plan(mapper)) is not None:
                    connection = session.connection(bind_arguments={"mapper": mapper})
                    work.flush.touched(mapper, plan, connection, row, fields)
            found = work.flush.finish()
        finally:
            work.flush = under_way
        self._write_found(session, found)

    def committed(self, written: list[Written]) -> None:
        """Called after a commit with the rows it made visible."""
        raise NotImplementedError

    def _work(self, session: Session) -> _Work:
        work = session.info.get(_KEY)
        if not isinstance(work, _Work):
            work = session.info[_KEY] = _Work(self)
        return work

    def _before_flush(self, session: Session, *_: object) -> None:
        # One that failed has left its changes here; they did not happen.
        self._work(session).flush = Flush(session, self.plan)

    def _after_flush(self, session: Session, *_: object) -> None:
        work = self._work(session)
        if work.flush is None:
            return
        try:
            found = work.flush.finish()
        finally:
            work.flush = None
        self._write_found(session, found)

    def _write_found(self, session: Session, found: Sequence[Found]) -> None:
        # One insert per database: nearly always one in all.
        by_engine: dict[object, tuple[Mapper[Any], list[Notice]]] = {}
        for mapper, some in found:
            if some:
                by_engine.setdefault(session.get_bind(mapper), (mapper, []))[1].extend(some)
        for mapper, all_of_them in by_engine.values():
            self.write(session, mapper, all_of_them)

    def _after_commit(self, session: Session) -> None:
        # The event comes for savepoints too; those rows are not committed yet.
        if session.in_nested_transaction():
            return
        work = self._work(session)
        written, work.written = work.written, []
        if written:
            self.committed(written)

    def _after_rollback(self, session: Session) -> None:
        # Savepoints need no book-keeping: the teller reads the rows that were committed.
        if not session.in_nested_transaction():
            self._work(session).written.clear()

    def _on_execute(self, state: ORMExecuteState) -> Any:
        """Hear of `session.execute()`: the session's own questions come by here too."""
        flush = self._work(state.session).flush
        if flush is not None and flush.asking:
            return _asked_by_a_function(state, flush)
        if not (state.is_update or state.is_delete or state.is_insert) or state.bind_mapper is None:
            return None
        if state.execution_options.get("fanfare") is False or not concerns(self, state.bind_mapper):
            return None
        return run_insert(state, self) if state.is_insert else run_change(state, self)


class AsyncNotifier(Collector):
    """Tells what async sessions commit. Use it as an async context manager, or `start` and `close` it.

    publisher: anything with the Publisher's interface. poll: seconds between two looks for what
    another process left behind.
    """

    def __init__(self, publisher: Publisher, *, poll: float = POLL, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self._publisher = publisher
        self._poll = poll
        self._teller: Teller | None = None
        self._told = 0
        self._engine: AsyncEngine | None = None
        self._direct: AsyncEngine | None = None

    def bind(
        self, maker: async_sessionmaker[Any], engine: AsyncEngine | None = None, direct: AsyncEngine | None = None
    ) -> None:
        """Notice what the sessions of `maker` change. Call it once, before the first session is made.

        engine: where the outbox is, if it is not the maker's own. direct: the same database without the
        pooler (PgBouncer) that `engine` goes through, to listen there. Raises ValueError if there is
        none, or if it is a SQLite database in memory: that has one connection, and telling needs its own.
        """
        self._engine = engine or maker.kw.get("bind")
        self._direct = direct
        if self._engine is None:
            raise ValueError("the sessionmaker has no engine; give one as engine=")
        _check_pool(self._engine.sync_engine)
        base = maker.kw.get("sync_session_class") or maker.class_.sync_session_class
        # A class of its own, so that other sessions of the program are left alone.
        session_class = type(f"Notifying{base.__name__}", (base,), {})
        self.attach(session_class)
        maker.configure(sync_session_class=session_class)

    async def start(self) -> None:
        """Begin telling, with what earlier processes have left. Raises RuntimeError before `bind`."""
        if self._engine is None:
            raise RuntimeError("bind a sessionmaker first")
        if self._teller is None:
            self._teller = Teller(
                outbox.AsyncEngineStore(self._engine, self._direct), self._publisher, poll=self._poll, clock=self._clock
            )
        await self._teller.start()

    async def close(self, timeout: float = 5.0) -> None:
        """Tell what can be told within `timeout` seconds, then stop. Closes neither publisher nor engine."""
        teller, self._teller = self._teller, None
        if teller is not None:
            await teller.close(timeout)
            self._told += teller.told

    async def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything committed so far is told; False if that did not come about in time."""
        return self._teller is not None and await self._teller.flush(timeout)

    async def tell(self, session: AsyncSession, channel: str, data: object = True, *, hint: bool = True) -> None:
        """Tell a channel something when this transaction commits. Raises InvalidChannel or BadMessage."""
        one = notice(channel, data, hint=hint)
        await session.run_sync(self.write, None, [one])

    async def touch(self, session: AsyncSession, *rows: object, fields: Iterable[str] = ()) -> None:
        """Tell what a change of these rows tells, when this transaction commits: for changes no flush sees."""
        await session.run_sync(self.write_touched, rows, frozenset(fields))

    async def create_outbox(self) -> None:
        """Create the outbox's tables where they don't exist, for a site without migrations."""
        if self._engine is None:
            raise RuntimeError("bind a sessionmaker first")
        async with self._engine.begin() as connection:
            await connection.run_sync(outbox.create)

    @property
    def told(self) -> int:
        """How many changes this object has told the hub, those that others had left among them."""
        return self._told + (0 if self._teller is None else self._teller.told)

    async def counts(self) -> outbox.Counts:
        """What waits and what is parked, for /metrics."""
        if self._engine is None:
            raise RuntimeError("bind a sessionmaker first")
        async with self._engine.connect() as connection:
            return await connection.run_sync(outbox.counts)

    def committed(self, written: list[Written]) -> None:
        # Not started: a migration or a script. The rows wait for a process that sweeps.
        if self._teller is not None:
            self._teller.tell(written)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Notifier(Collector):
    """Tells what sync sessions commit, from a daemon thread that starts with the first commit.

    publisher: anything with the SyncPublisher's interface. In a forked child the thread starts
    anew; at exit it has three seconds, and what is not told by then waits in the outbox.
    poll: seconds between two looks for what another process, or a trigger, left behind. listen: hear
    PostgreSQL's NOTIFY too, with psycopg 3 and one more connection in a process that lives on.
    """

    def __init__(
        self,
        publisher: SyncPublisher,
        *,
        poll: float = THREAD_POLL,
        listen: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(clock)
        self._publisher = publisher
        self._poll = poll
        self._listen = listen
        self._engine: Engine | None = None
        self._teller: ThreadTeller | None = None

    def bind(self, maker: sessionmaker[Any], engine: Engine | None = None) -> None:
        """Notice what the sessions of `maker` (a sessionmaker or a scoped_session's) change. Call it once.

        engine: where the outbox is, if it is not the maker's own. Raises ValueError if there is
        none, or if it is a SQLite database in memory: that has one connection, and telling needs its own.
        """
        self._engine = engine or maker.kw.get("bind")
        if self._engine is None:
            raise ValueError("the sessionmaker has no engine; give one as engine=")
        _check_pool(self._engine)
        self._teller = ThreadTeller(
            outbox.EngineStore(self._engine, listen=self._listen),
            self._publisher.publish_many,
            poll=self._poll,
            clock=self._clock,
        )
        self.attach(maker)

    def start(self) -> None:
        """Begin to tell what earlier processes have left, before this one's first commit."""
        self._bound().start()

    def close(self, timeout: float = 5.0) -> None:
        """Tell what can be told within `timeout` seconds, then stop. Closes neither publisher nor engine."""
        self._bound().close(timeout)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything committed so far is told; False if that did not come about in time."""
        return self._bound().flush(timeout)

    def tell(self, session: Session, channel: str, data: object = True, *, hint: bool = True) -> None:
        """Tell a channel something when this transaction commits. Raises InvalidChannel or BadMessage."""
        self.write(session, None, [notice(channel, data, hint=hint)])

    def touch(self, session: Session, *rows: object, fields: Iterable[str] = ()) -> None:
        """Tell what a change of these rows tells, when this transaction commits: for changes no flush sees."""
        self.write_touched(session, rows, frozenset(fields))

    def create_outbox(self) -> None:
        """Create the outbox's tables where they don't exist, for a site without migrations."""
        self._bound()
        assert self._engine is not None
        with self._engine.begin() as connection:
            outbox.create(connection)

    def committed(self, written: list[Written]) -> None:
        self._bound().tell(written)

    def _bound(self) -> ThreadTeller:
        if self._teller is None:
            raise RuntimeError("bind a sessionmaker first")
        return self._teller


def _asked_by_a_function(state: ORMExecuteState, flush: Flush) -> Any:
    """Run what a declaration's function asks, so that its failure is the function's and not the save's."""
    if state.is_column_load:
        flush.load_expired()
    connection = state.session.connection(bind_arguments=dict(state.bind_arguments))
    with guarded(connection):
        return state.invoke_statement()


def _listen_to_mappers() -> None:
    """Hear of every row that a flush writes, in any session; only those of a notifier are noted. Once is enough."""
    for name, listener in (
        ("before_insert", _inserting),
        ("after_insert", _inserted),
        ("before_update", _updating),
        ("after_update", _updated),
        ("before_delete", _deleting),
    ):
        if not event.contains(Mapper, name, listener):
            event.listen(Mapper, name, listener)


def _work_of(row: object) -> _Work | None:
    session = object_session(row)
    work = None if session is None else session.info.get(_KEY)
    return work if isinstance(work, _Work) and work.flush is not None else None


def _inserting(mapper: Mapper[Any], connection: Connection, row: object) -> None:
    session = object_session(row)
    if session is None or not session.deleted or (work := _work_of(row)) is None:
        return
    assert work.flush is not None
    other = session.identity_map.get(mapper.identity_key_from_instance(row))
    if other is not None and other in session.deleted and (plan := work.collector.plan(mapper)) is not None:
        work.flush.replacing(mapper, plan, connection, other)


def _inserted(mapper: Mapper[Any], connection: Connection, row: object) -> None:
    if (work := _work_of(row)) is not None:
        assert work.flush is not None
        if (plan := work.collector.plan(mapper)) is not None:
            work.flush.inserted(mapper, plan, connection, row)
        _note_others(work, mapper, connection, row)


def _updating(mapper: Mapper[Any], connection: Connection, row: object) -> None:
    # Called for everything that was dirty, changed or not: what counts is the history, which the UPDATE may wipe out.
    if (work := _work_of(row)) is not None and (plan := work.collector.plan(mapper)) is not None:
        assert work.flush is not None
        work.flush.updating(mapper, plan, connection, row)


def _updated(mapper: Mapper[Any], connection: Connection, row: object) -> None:
    if (work := _work_of(row)) is None:
        return
    assert work.flush is not None
    if (plan := work.collector.plan(mapper)) is not None:
        changed = (one.key for one in _many_to_many(mapper) if _history(row, one.key).has_changes())
        work.flush.updated(mapper, plan, connection, row, frozenset(changed))
    _note_others(work, mapper, connection, row)


def _deleting(mapper: Mapper[Any], connection: Connection, row: object) -> None:
    # Said before the row goes: what is not loaded yet can still be read.
    if (work := _work_of(row)) is not None:
        assert work.flush is not None
        if (plan := work.collector.plan(mapper)) is not None:
            work.flush.deleting(mapper, plan, connection, row)
        _note_others(work, mapper, connection, row, deleted=True)


def _history(row: object, key: str) -> History:
    return get_history(row, key, PASSIVE_NO_INITIALIZE)


def _many_to_many(mapper: Mapper[Any]) -> list[RelationshipProperty[Any]]:
    return [one for one in mapper.relationships if one.secondary is not None and not one.viewonly]


def _note_others(
    work: _Work, mapper: Mapper[Any], connection: Connection, row: object, *, deleted: bool = False
) -> None:
    """Note the rows at the other end of many-to-many changes: SQLAlchemy need not have loaded their side."""
    assert work.flush is not None
    for relation in _many_to_many(mapper):
        other = relation.mapper
        if not any(work.collector.plan(one) for one in other.self_and_descendants):
            continue
        history = _history(row, relation.key)
        for one in history.sum() if deleted else (*history.added, *history.deleted):
            state = inspected(one, raiseerr=False)
            # One that is new or goes itself has its own change.
            if state is None or not state.persistent or _is_going(one):
                continue
            plan = work.collector.plan(state.mapper)
            names = frozenset(each.key for each in _many_to_many(state.mapper) if each.secondary is relation.secondary)
            if plan is not None:
                work.flush.related(state.mapper, plan, connection, one, names)


def _is_going(row: object) -> bool:
    session = object_session(row)
    return session is not None and row in session.deleted


def _check_names(declaration: Declaration, mapper: Mapper[Any]) -> None:
    """Raise ValueError for a field that the class has no column for, or a relation that is not many-to-many."""
    unknown = sorted((declaration.watch | frozenset(declaration.fields)) - set(mapper.column_attrs.keys()))
    unknown += sorted(name for name in declaration.names if not hasattr(mapper.class_, name))
    unknown += sorted(declaration.relations - {one.key for one in mapper.relationships if one.secondary is not None})
    if unknown:
        raise ValueError(f"{mapper.class_.__name__} has no {', '.join(dict.fromkeys(unknown))}")


def _check_pool(engine: Engine) -> None:
    if isinstance(engine.pool, StaticPool | SingletonThreadPool):
        raise ValueError("the outbox can't be in a SQLite database in memory: telling needs a connection of its own")
