"""SQLite by aiosqlite, without its thread for what is soon done, and with one call into it for each other statement.

Waking a thread and then the loop again costs more than most statements do: of the time that an event's page took, a
quarter. In WAL mode who reads waits for nobody, so SELECTs of a transaction that has not written are run where they are
asked for, for LONGEST at most: SQLite's progress handler ends one that takes longer, which then is run in the thread,
from the same snapshot. A statement that often is long is run there from the beginning, for as long as LONG_FOR. So is
one that finds a lock: it is held while a database is recovered after a crash. On a machine that is busy with others any
statement now and then has to wait for its turn: that does not count, as it would have to in the thread.

BEGIN IMMEDIATE is tried where it is asked for, and waits for the lock in the thread. Once it is had, nothing is to be
waited for until COMMIT, which writes to the disk and is always the thread's: SELECTs go on as above, and so do writes
that are short by their shape, as others wait for the lock meanwhile. They can't be ended half way.

SQLAlchemy's adapter makes four calls into the thread: for a cursor, for the statement, for its rows, and to close the
cursor; here they are one.
"""

from __future__ import annotations

import collections
import math
import re
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import aiosqlite
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_cursor,
    AsyncAdapt_aiosqlite_dbapi,
)
from sqlalchemy.util import await_

#: Seconds that a statement may take in the loop's thread. Most take 0.02 to 0.2 ms.
LONGEST = 0.002

#: How often it is too long, seldom being quick between, until it is run in the other thread from the beginning; for how
#: many seconds.
_OFTEN = 3.0
LONG_FOR = 60.0

#: Steps of SQLite's virtual machine, some 50 ns each, between two looks at the clock.
STEPS = 4000

#: Statements that are remembered to be long.
_MOST = 500

_BEGIN = "begin immediate"

#: Writes of a few rows: new ones, and those of these ids.
_SHORT = re.compile(
    r"INSERT INTO \w+ \([^()]*\) VALUES \(|"
    r"UPDATE (\w+) SET [^;]* WHERE (?:\1\.\w+ = \? AND )?"
    r"\1\.id (?:= \?|IN \(\?(?:, \?){0,19}\))(?: RETURNING [\w., ]+)?$"
)

#: Values of one of them at most, and characters or bytes of these.
_VALUES = 400
_LENGTH = 32 * 1024

#: Milliseconds that a statement waits for a lock, in the other thread; in the loop's none.
PATIENCE = 5000


class Since:
    """From when on a statement is timed."""

    __slots__ = ("_before", "began")

    #: What tells working and waiting from standing in line for a core; only Linux says it of a thread.
    _WHO: int | None = getattr(resource, "RUSAGE_THREAD", None)

    def __init__(self) -> None:
        self._before = None if self._WHO is None else resource.getrusage(self._WHO)
        self.began = time.perf_counter()

    def is_long(self) -> bool:
        """Whether it took too long by itself: it worked, or waited for a disk or a lock."""
        if time.perf_counter() - self.began <= LONGEST:
            return False
        if self._WHO is None or self._before is None:
            return True
        before, after = self._before, resource.getrusage(self._WHO)
        worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return worked > LONGEST or after.ru_nvcsw > before.ru_nvcsw


class _Done(NamedTuple):
    """What a statement came to, in place of a cursor: all its rows have been read, and it is closed."""

    description: Any = None
    rowcount: int = -1
    lastrowid: int = 0
    rows: Sequence[Any] = ()
    arraysize: int = 1

    def close(self) -> None:
        """Nothing to close: all rows have been read already."""


def _execute(connection: sqlite3.Connection, statement: str, parameters: Any, many: bool = False) -> _Done:
    cursor = connection.cursor()
    try:
        if many:
            cursor.executemany(statement, parameters)
        elif parameters is None:
            cursor.execute(statement)
        else:
            cursor.execute(statement, parameters)
        rows = cursor.fetchall() if cursor.description else ()
        # After the rows: of a statement with RETURNING, the count is known only then.
        return _Done(cursor.description, cursor.rowcount, cursor.lastrowid or 0, rows)
    finally:
        cursor.close()


def _execute_patiently(connection: sqlite3.Connection, statement: str, parameters: Any, many: bool) -> _Done:
    connection.execute(f"pragma busy_timeout={PATIENCE}")
    return _execute(connection, statement, parameters, many)


def _is_short(statement: str, parameters: Any) -> bool:
    values = parameters or ()
    return (
        len(values) <= _VALUES
        and sum(len(each) for each in values if isinstance(each, str | bytes)) <= _LENGTH
        and _SHORT.match(statement) is not None
    )


class Long:
    """Statements that often took too long for the loop's thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}
        # More than one of ten times too long, and it grows.
        self._scores: dict[str, float] = {}

    def note(self, statement: str, *, too_long: bool) -> None:
        """It took too long, or did not. On a busy machine any does now and then."""
        if too_long:
            score = self._scores.pop(statement, 0.0) + 1.0
            if score < _OFTEN:
                self._scores[statement] = score
            else:
                self._until[statement] = self._clock() + LONG_FOR
            for each in (self._scores, self._until):
                if len(each) > _MOST:
                    del each[next(iter(each))]
        elif statement in self._scores:
            self._scores[statement] -= 0.1
            if self._scores[statement] <= 0.0:
                del self._scores[statement]

    def __contains__(self, statement: str) -> bool:
        until = self._until.get(statement)
        if until is None:
            return False
        if until > self._clock():
            return True
        # It may try again; once too long is enough then.
        del self._until[statement]
        self._scores[statement] = _OFTEN - 1.0
        return False


class _Nothing:
    def __await__(self) -> Iterator[None]:
        return iter(())


_NOTHING: Any = _Nothing()


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    __slots__ = ()

    _awaitable_cursor_close = False
    _adapt_connection: _Connection

    def _make_new_cursor(self, connection: Any) -> Any:
        return _Done()

    def _aenter_cursor(self, cursor: Any) -> Any:
        return cursor

    def execute(self, operation: Any, parameters: Any = None) -> Any:
        done = self._adapt_connection.run_here(operation, parameters)
        if done is None:
            return super().execute(operation, parameters)
        # `AsyncConnection.execute` takes a statement that waits for nothing for the sign of a wrong driver.
        await_(_NOTHING)
        self._take(done)
        return None

    async def _execute_async(self, operation: Any, parameters: Any) -> Any:
        self._take(await self._adapt_connection.run(operation, parameters, many=False))

    async def _executemany_async(self, operation: Any, seq_of_parameters: Any) -> Any:
        self._take(await self._adapt_connection.run(operation, seq_of_parameters, many=True))

    def _take(self, done: _Done) -> None:
        self._cursor: Any = done
        self._rows = collections.deque(done.rows)


class _Connection(AsyncAdapt_aiosqlite_connection):
    """reads: whether its transaction has done nothing but read. holds: whether it has the lock of who writes."""

    __slots__ = ("_deadline", "_holds", "_patient", "_reads")

    _cursor_cls = _Cursor
    _connection: Any
    dbapi: Driver

    def __init__(self, dbapi: Driver, connection: Any) -> None:
        super().__init__(dbapi, connection)
        self._deadline = math.inf
        self._patient = False
        self._reads = False
        self._holds = False
        connection._conn.set_progress_handler(self._is_over, STEPS)

    def begin(self) -> None:
        """Begin a transaction that takes no lock as long as it reads."""
        self._make_impatient().execute("begin")
        self._reads = True

    def _make_impatient(self) -> sqlite3.Connection:
        raw: sqlite3.Connection = self._connection._conn
        if self._patient:
            raw.execute("pragma busy_timeout=0")
            self._patient = False
        return raw

    def run_here(self, statement: str, parameters: Any) -> _Done | None:
        """What a statement comes to, if it is one to be run here; None if it is for the thread."""
        if self._execute_mutex.locked():
            return None
        if statement == _BEGIN:
            return self._try_to_begin()
        if statement in self.dbapi.long:
            return None
        if statement[:6].upper() == "SELECT":
            return self._read(statement, parameters) if self._reads or self._holds else None
        return self._write(statement, parameters) if self._holds and _is_short(statement, parameters) else None

    def _try_to_begin(self) -> _Done | None:
        raw = self._connection._connection
        if raw is None or raw.in_transaction:
            return None
        try:
            done = _execute(self._make_impatient(), _BEGIN, None)
        except sqlite3.OperationalError:
            # Another writes; or what else is wrong, the thread finds again.
            return None
        self._holds = True
        return done

    def _write(self, statement: str, parameters: Any) -> _Done:
        since = Since()
        done = _execute(self._connection._conn, statement, parameters)
        self.dbapi.long.note(statement, too_long=since.is_long())
        return done

    def _read(self, statement: str, parameters: Any) -> _Done | None:
        long = self.dbapi.long
        since = Since()
        self._deadline = since.began + LONGEST
        try:
            done = _execute(self._connection._conn, statement, parameters)
        except sqlite3.OperationalError as error:
            # Too long, or there was a lock after all; what else is wrong the thread finds again.
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                long.note(statement, too_long=True)
            return None
        finally:
            self._deadline = math.inf
        # One step can be a long one, such as counting all rows of a table.
        long.note(statement, too_long=since.is_long())
        return done

    async def run(self, statement: str, parameters: Any, *, many: bool) -> _Done:
        """What a statement comes to that is run in the thread."""
        connection = self._connection
        async with self._execute_mutex:
            reads = self._reads and not many and statement[:6].upper() == "SELECT"
            holds = self._holds or statement == _BEGIN
            call = _execute if self._patient else _execute_patiently
            self._patient = True
            # While it runs, and if the caller is cancelled meanwhile, what follows has to come after it.
            self._reads = self._holds = False
            done: _Done = await connection._execute(call, connection._conn, statement, parameters, many)
            self._reads, self._holds = reads, holds
            return done

    def rollback(self) -> None:
        self._holds = False
        raw: sqlite3.Connection | None = self._connection._connection
        if self._reads and raw is not None and not self._execute_mutex.locked():
            raw.rollback()
            self._reads = False
        elif raw is None or raw.in_transaction:
            super().rollback()

    def commit(self) -> None:
        self._reads = self._holds = False
        super().commit()

    def _is_over(self) -> bool:
        return time.perf_counter() > self._deadline


class Driver(AsyncAdapt_aiosqlite_dbapi):
    """The module that `create_async_engine` is given: `module=Driver()`."""

    def __init__(self) -> None:
        super().__init__(aiosqlite, sqlite3)
        self.long = Long()

    def connect(self, *arguments: Any, **named: Any) -> AsyncAdapt_aiosqlite_connection:
        # Of two threads, but never at once; and SQLite itself is built for several.
        named["check_same_thread"] = False
        return _Connection(self, super().connect(*arguments, **named)._connection)
