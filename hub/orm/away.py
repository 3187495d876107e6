"""A database that can't be reached just now, told from a bug of ours, whatever driver says so.

No driver is imported: the outbox is read through SQLAlchemy's, Django's, or asyncpg itself.
"""

from __future__ import annotations

import sqlite3

#: Classes of SQLSTATE: connection exceptions, and what an operator does (a shutdown, a start). PostgreSQL, appendix A.
_STATES = ("08", "57P")

#: PEP 249's errors of what is not under a program's control.
_OUTSIDE = {"OperationalError", "InterfaceError"}


def is_away(error: BaseException) -> bool:
    """Whether the database can't be reached, or ends, or has just begun."""
    if isinstance(error, OSError) or getattr(error, "connection_invalidated", False):
        return True
    # SQLAlchemy has the driver's error as `orig`, Django as the cause.
    inner = getattr(error, "orig", None) or error.__cause__
    if isinstance(inner, BaseException) and is_away(inner):
        return True
    state = getattr(error, "sqlstate", None)
    if state:
        return str(state).startswith(_STATES)
    # SQLite says "no such table" so, too, and has no server.
    is_ours = isinstance(inner or error, sqlite3.Error)
    return not is_ours and any(each.__name__ in _OUTSIDE for each in type(error).__mro__)


def brief(error: BaseException) -> str:
    """What the driver says, in a line of at most 200 characters.

    For the message itself: Django's logging, and most others, leave out what is only in `extra`.
    """
    said = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
    return said[0][:200]


def trace(error: Exception) -> Exception | None:
    """The error, for a traceback in the log; None if the database is away, as that says all."""
    return None if is_away(error) else error
