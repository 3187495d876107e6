"""Episodes of a podcast as rows, as the database's driver takes and gives them.

A feed has 130 episodes of 17 columns and more, each feed some statements: what SQLAlchemy does for each value of a row
would be a third of what a feed costs. Here it is asked for the connection, no more. The columns are the model's, which
a test holds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from .models import Episode


class Values(NamedTuple):
    """What a feed says of an episode, as columns: what is written when it is new, and anew when it has changed."""

    at: datetime | None
    published_at: datetime | None
    seconds: int | None
    source: str
    kind: str
    season: int | None
    number: int | None
    length: int | None
    is_gone: bool
    type: str
    title: str
    guid: str
    url: str
    summary: str


class Row(NamedTuple):
    """An episode as it stands, for `merge`. `row[2:]` is what `Values` has."""

    id: int
    seen_at: datetime
    at: datetime | None
    published_at: datetime | None
    seconds: int | None
    source: str
    kind: str
    season: int | None
    number: int | None
    length: int | None
    is_gone: bool
    type: str
    title: str
    guid: str
    url: str
    summary: str


UPDATED = Values._fields

_NAME = Episode.__tablename__
_MADE = ("podcast_id", "seen_at", *UPDATED)
_SELECT = f"select {', '.join(Row._fields)} from {_NAME} where podcast_id = "
_INSERT = f"insert into {_NAME} ({', '.join(_MADE)}) values "
#: Statements of both databases, by whether it is SQLite. asyncpg has numbers for what is put in.
_SELECTS = {True: f"{_SELECT}?", False: f"{_SELECT}$1"}
_INSERTS = {
    True: f"{_INSERT}({', '.join('?' for _ in _MADE)})",
    False: f"{_INSERT}({', '.join(f'${place}' for place in range(1, len(_MADE) + 1))})",
}


async def read(session: AsyncSession, podcast_id: int, batch: int) -> AsyncIterator[list[Row]]:
    """The episodes of a podcast, so many at a time, in no order."""
    connection = await session.connection()
    is_sqlite = _is_sqlite(connection)
    result = await connection.exec_driver_sql(_SELECTS[is_sqlite], (podcast_id,))
    for some in result.partitions(batch):
        yield _of_sqlite(some) if is_sqlite else [Row._make(each) for each in some]


async def make(session: AsyncSession, podcast_id: int, seen: datetime, episodes: Sequence[Values]) -> None:
    """Make episodes that are seen first at this time. They are written at once; times are in UTC."""
    connection = await session.connection()
    is_sqlite = _is_sqlite(connection)
    rows: list[tuple[Any, ...]]
    if is_sqlite:
        moment = _text(seen)
        rows = []
        for each in episodes:
            published = None if each.published_at is None else _text(each.published_at)
            # It is the same unless it is of the future.
            at = published if each.at is each.published_at or each.at is None else _text(each.at)
            rows.append((podcast_id, moment, at, published, *each[2:]))
    else:
        rows = [(podcast_id, seen, *each) for each in episodes]
    await connection.exec_driver_sql(_INSERTS[is_sqlite], rows)


def _is_sqlite(connection: AsyncConnection) -> bool:
    return connection.dialect.name == "sqlite"


def _of_sqlite(rows: Sequence[Any]) -> list[Row]:
    # Many have one time: that at which the feed was first read.
    known: dict[str | None, datetime | None] = {None: None}

    def moment(text: Any) -> Any:
        if text not in known:
            # As `tables.Moment` has it: in UTC, without saying so.
            known[text] = datetime.fromisoformat(f"{text}+00:00")
        return known[text]

    return [Row(id, moment(seen), moment(at), moment(published), *rest) for id, seen, at, published, *rest in rows]


def _text(when: datetime) -> str:
    """A time as `tables.Moment` writes it with SQLAlchemy's type for SQLite."""
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
