"""SQLite by aiosqlite, with one call into its thread for each statement.

SQLAlchemy's adapter makes four: for a cursor, for the statement, for its rows, and to close the cursor. Each wakes a
thread and the loop again, which costs more than the statement: an event's page takes two thirds of the CPU time.
"""

from __future__ import annotations

import collections
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

import aiosqlite
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_cursor,
    AsyncAdapt_aiosqlite_dbapi,
)


class _Done(NamedTuple):
    """What a statement came to, in place of a cursor: all its rows have been read, and it is closed."""

    description: Any = None
    rowcount: int = -1
    lastrowid: int = 0
    rows: Sequence[Any] = ()
    arraysize: int = 1

    def close(self) -> None:
        """It is."""


def _execute(connection: sqlite3.Connection, statement: str, parameters: Any, many: bool) -> _Done:
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


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    __slots__ = ()

    _awaitable_cursor_close = False

    def _make_new_cursor(self, connection: Any) -> Any:
        return _Done()

    def _aenter_cursor(self, cursor: Any) -> Any:
        return cursor

    async def _execute_async(self, operation: Any, parameters: Any) -> Any:
        return await self._run(operation, parameters, many=False)

    async def _executemany_async(self, operation: Any, seq_of_parameters: Any) -> Any:
        return await self._run(operation, seq_of_parameters, many=True)

    async def _run(self, statement: Any, parameters: Any, *, many: bool) -> None:
        connection: Any = self._connection
        async with self._adapt_connection._execute_mutex:
            done = await connection._execute(_execute, connection._conn, statement, parameters, many)
        self._cursor = done
        self._rows = collections.deque(done.rows)


class _Connection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ()

    _cursor_cls = _Cursor


class Driver(AsyncAdapt_aiosqlite_dbapi):
    """The module that `create_async_engine` is given: `module=Driver()`."""

    def __init__(self) -> None:
        super().__init__(aiosqlite, sqlite3)

    def connect(self, *arguments: Any, **named: Any) -> AsyncAdapt_aiosqlite_connection:
        return _Connection(self, super().connect(*arguments, **named)._connection)
