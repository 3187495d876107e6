"""Sums in the database: added to by every worker at once, and by nobody twice.

Each row is added to by an upsert, so several workers need no lock but the row's. Rows are written in one order, so
that no two workers wait for each other.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from heapq import merge
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Table, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import Base, now
from .callers import DAY, new_salt
from .models import ViewCaller, ViewCount, ViewCrowd, ViewEndpoint, ViewMinute, ViewSalt, ViewTime, ViewWriter
from .totals import HOUR, Endpoint, Totals

#: Rows of one statement. Its values are prepared in one piece, while nobody else is served: 500 names that were new
#: took 18 ms.
ROWS = 100

#: Sums that are looked at in one go.
_TURN = 500

Ids = dict[Endpoint, int]
T = TypeVar("T")


def moment(seconds: float) -> datetime:
    """A time as the tables have it."""
    return datetime.fromtimestamp(seconds, UTC)


async def write(session: AsyncSession, totals: Totals, ids: Ids) -> None:
    """Add sums to the tables. ids: of endpoints, remembered by the caller; forget them if the transaction fails.

    totals: nobody may add to them meanwhile.
    """
    known = await _find(session, totals.seen, ids)
    counts: Counter[tuple[Any, ...]] = Counter()
    micros: Counter[tuple[Any, ...]] = Counter()
    async for count, calls in _in_turns(totals.calls.items()):
        for seconds in (HOUR, DAY):
            key = (seconds, count.hour // seconds * seconds, known[count.endpoint], count.kind, count.status)
            counts[key] += calls
            micros[key] += totals.micros[count]
    times: Counter[tuple[Any, ...]] = Counter()
    async for time, calls in _in_turns(totals.times.items()):
        for seconds in (HOUR, DAY):
            times[seconds, time.hour // seconds * seconds, known[time.endpoint], time.bucket] += calls
    await _add(
        session,
        ViewCount,
        ("seconds", "start", "endpoint_id", "kind", "status"),
        ((key, (calls, micros[key])) for key, calls in counts.items()),
        ("calls", "micros"),
    )
    await _add(session, ViewTime, ("seconds", "start", "endpoint_id", "bucket"), _calls(times))
    callers = (
        ((call.day, known[call.endpoint], call.kind, call.caller), (number,)) for call, number in totals.callers.items()
    )
    await _add(session, ViewCaller, ("start", "endpoint_id", "kind", "caller"), callers)
    await _add(session, ViewMinute, ("start", "kind"), _calls(totals.minutes))


#: Of one sum the key of its row, and what is added to that row.
_Sum = tuple[tuple[Any, ...], tuple[int, ...]]


def _calls(sums: Mapping[Any, int]) -> Iterator[_Sum]:
    return ((key, (calls,)) for key, calls in sums.items())


async def _in_turns(all: Iterable[T]) -> AsyncIterator[T]:
    """All, while others are served in between."""
    for number, each in enumerate(all, 1):
        yield each
        if number % _TURN == 0:
            await asyncio.sleep(0)


async def _add(
    session: AsyncSession,
    model: type[Base],
    key: tuple[str, ...],
    sums: Iterable[_Sum],
    names: tuple[str, ...] = ("calls",),
) -> None:
    """Add to the rows with these keys, or make them, in the order of the keys."""
    # Who calls may be another each time: to sort 100,000 callers, and to make their rows, took 0.4 s in one go.
    runs: list[list[_Sum]] = []
    left = iter(sums)
    while run := sorted(islice(left, _TURN)):
        runs.append(run)
        await asyncio.sleep(0)
    if not runs:
        return
    statement = _adding(_dialect(session), model, key, names)
    ordered = merge(*runs)
    while part := list(islice(ordered, ROWS)):
        rows = [dict(zip(key, values, strict=True)) | dict(zip(names, added, strict=True)) for values, added in part]
        for row in rows:
            row["start"] = moment(row["start"])
        await session.execute(statement, rows)


# A statement is for any number of rows: made of their values it would be compiled anew each time, for 20 ms. They are
# kept, as making one takes as long as executing it; there are some ten.


@cache
def _adding(dialect: str, model: type[Base], key: tuple[str, ...], names: tuple[str, ...]) -> Any:
    table = _table(model)
    statement = _insert(dialect, table)
    added = {name: table.c[name] + statement.excluded[name] for name in names}
    return statement.on_conflict_do_update(index_elements=list(key), set_=added)


@cache
def _seeing(dialect: str) -> Any:
    table = _table(ViewEndpoint)
    statement = _insert(dialect, table)
    later, earlier = (func.greatest, func.least) if dialect == "postgresql" else (func.max, func.min)
    seen = {
        "last_at": later(table.c.last_at, statement.excluded.last_at),
        "first_at": earlier(table.c.first_at, statement.excluded.first_at),
    }
    return statement.on_conflict_do_update(index_elements=["source", "name"], set_=seen)


@cache
def _reaching(dialect: str) -> Any:
    statement = _insert(dialect, _table(ViewWriter))
    values = {name: statement.excluded[name] for name in ("position", "digest", "at")}
    return statement.on_conflict_do_update(index_elements=["name"], set_=values)


async def _find(session: AsyncSession, seen: Mapping[Endpoint, tuple[float, float]], ids: Ids) -> Ids:
    """The ids of endpoints; those that are new are made, and all are told when they were called."""
    rows = [
        {"source": each.source, "name": each.name, "first_at": moment(first), "last_at": moment(last)}
        for each, (first, last) in sorted(seen.items())
    ]
    for part in in_parts(rows):
        await session.execute(_seeing(_dialect(session)), part)
    missing = [each for each in seen if each not in ids]
    for some in in_parts(missing):
        asked = select(ViewEndpoint.id, ViewEndpoint.source, ViewEndpoint.name)
        for id, source, name in await session.execute(
            asked.where(tuple_(ViewEndpoint.source, ViewEndpoint.name).in_(some))
        ):
            ids[Endpoint(source, name)] = id
    return ids


async def add_crowds(session: AsyncSession, crowds: Mapping[tuple[datetime, int, str], int]) -> None:
    """Add numbers of callers, by day, endpoint and kind."""
    sums = (((start.timestamp(), id, kind), (count,)) for (start, id, kind), count in crowds.items())
    await _add(session, ViewCrowd, ("start", "endpoint_id", "kind"), sums, ("callers",))


def _dialect(session: AsyncSession) -> str:
    return session.get_bind().dialect.name


def _insert(dialect: str, table: Table) -> Any:
    """An insert that may say what to do on conflict."""
    kind: Any = postgresql if dialect == "postgresql" else sqlite
    return kind.insert(table)


def _table(model: type[Base]) -> Table:
    table: Table = model.metadata.tables[model.__tablename__]
    return table


def in_parts(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Rows, as many at once as a statement takes."""
    return (rows[at : at + ROWS] for at in range(0, len(rows), ROWS))


async def position_of(session: AsyncSession, writer: str) -> tuple[int, str]:
    """How far a writer's views are written, and the digest of what they were made from; 0 for one that is unknown."""
    row = (
        await session.execute(select(ViewWriter.position, ViewWriter.digest).where(ViewWriter.name == writer))
    ).first()
    return (0, "") if row is None else (row[0], row[1])


async def reach(session: AsyncSession, writer: str, position: int, digest: str = "") -> None:
    """Say how far a writer's views are written, in the transaction that writes them."""
    row = {"name": writer, "position": position, "digest": digest, "at": now()}
    await session.execute(_reaching(_dialect(session)), [row])


async def salts_of(session: AsyncSession, days: Sequence[int]) -> dict[int, bytes]:
    """The salts of days, the same for all workers; those that nobody has made yet are made."""
    table = _table(ViewSalt)
    new = [{"day": day, "salt": new_salt()} for day in days]
    await session.execute(_insert(_dialect(session), table).values(new).on_conflict_do_nothing())
    found = await session.execute(select(ViewSalt.day, ViewSalt.salt).where(ViewSalt.day.in_(days)))
    return {row.day: row.salt for row in found}
