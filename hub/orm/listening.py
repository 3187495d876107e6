"""Hearing NOTIFY without an event loop, on a psycopg 3 connection of the listener's own."""

from __future__ import annotations

from typing import Any

#: What the triggers of `hub.orm.postgres` say NOTIFY on.
NOTIFY_CHANNEL = "fanfare_outbox"


def can_listen(version: str) -> bool:
    """Whether this version of psycopg can look for NOTIFY without waiting: 3.2 or later."""
    first, _, rest = version.partition(".")
    second = rest.partition(".")[0]
    return first.isdigit() and second.isdigit() and (int(first), int(second)) >= (3, 2)


class PsycopgListening:
    """A connection that listens. `connection`: psycopg's, in autocommit, of nobody else; closed by `close`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        connection.execute(f"LISTEN {NOTIFY_CHANNEL}")

    def fileno(self) -> int:
        """Readable when there may be something to take."""
        number: int = self._connection.fileno()
        return number

    def take(self) -> int:
        """How many NOTIFY came since the last call; does not wait. Raises psycopg's error on a lost connection."""
        return sum(1 for _ in self._connection.notifies(timeout=0))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
