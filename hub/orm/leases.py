"""Leases: a row that one owner has at a time, until a moment. Whoever dies loses it by itself.

The sweeper of the outbox has one (`fanfare_lease`, by name), and so has each job that is running (by its row). Owners
renew in time; one that finds its row gone or another's must stop. Times are seconds since 1970, by each process's own
clock: leases should be many times longer than clocks differ. The functions take a plain `Connection` and never commit.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Double,
    MetaData,
    String,
    Table,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

#: Characters of an owner.
MAX_OWNER = 64


@dataclass(frozen=True, slots=True)
class Leased:
    """Which columns make rows of a table leases."""

    table: Table
    key: Column[Any]
    owner: Column[Any]
    until: Column[Any]

    def free(self, now: float) -> ColumnElement[bool]:
        """The condition for rows that may be taken: nobody's yet, or not renewed in time."""
        return self.until <= now

    def mine(self, owner: str, keys: Collection[Any]) -> ColumnElement[bool]:
        """The condition for rows of these that the owner still has."""
        return (self.owner == owner) & self.key.in_(keys)

    def renew(self, connection: Connection, owner: str, keys: Collection[Any], until: float) -> set[Any]:
        """Keep rows for longer; return the keys of those that the owner still has. The others are lost."""
        if not keys:
            return set()
        statement = update(self.table).where(self.mine(owner, keys)).values({self.until: until}).returning(self.key)
        return set(connection.scalars(statement))

    def hold(self, connection: Connection, key: str, owner: str, now: float, seconds: float) -> bool:
        """Take or renew one row, which is made if it isn't there; False while it is another's."""
        ours = (self.key == key) & ((self.owner == owner) | self.free(now))
        renewal = update(self.table).where(ours).values({self.owner: owner, self.until: now + seconds})
        if connection.execute(renewal).rowcount:
            return True
        if connection.execute(select(self.key).where(self.key == key)).first() is not None:
            return False
        try:
            with connection.begin_nested():
                values = {self.key: key, self.owner: owner, self.until: now + seconds}
                connection.execute(insert(self.table).values(values))
        except IntegrityError:
            # Another process made the row at this very moment.
            return False
        return True

    def drop(self, connection: Connection, key: str, owner: str) -> None:
        """Give one row back by deleting it, so that another need not wait for the lease's end."""
        connection.execute(delete(self.table).where(self.mine(owner, [key])))


def named_leases(metadata: MetaData) -> Leased:
    """The table of leases that are nothing else, by name: one owner in the fleet does a thing."""
    table = Table(
        "fanfare_lease",
        metadata,
        Column("name", String(32), primary_key=True),
        Column("owner", String(MAX_OWNER), nullable=False),
        Column("until", Double, nullable=False),
    )
    return Leased(table, table.c.name, table.c.owner, table.c.until)
