"""The three ways in turns: how long each takes, its SQL, and what the database makes of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from ...db.engine import reading_engine
from .figures import PARTS, Change, Figures, change_of, figures_of
from .store import Size, Store
from .ways import WAYS, Way

#: Songs that are read before it counts: connections are made, statements prepared, pages read from disk.
WARM_UP = 10

#: Seconds between two reports of how far it is.
_REPORT = 0.5


class WrongCount(Exception):
    """A way asked another number of questions than it says."""


@dataclass(frozen=True, slots=True)
class Options:
    """seconds: after so long it ends. looks: songs after which it ends. shuffle: by which the ids are shuffled."""

    seconds: float = 20.0
    looks: int = 3000
    warm_up: int = WARM_UP
    shuffle: int = 1


@dataclass(frozen=True, slots=True)
class Statement:
    """A question, and the database's plan for it."""

    sql: str
    plan: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one way. change: against the first way, on the same songs."""

    name: str
    title: str
    queries: int
    code: str
    statements: tuple[Statement, ...]
    figures: Figures | None
    change: Change | None


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run. missing: ids of no song. versions: of what it was measured with."""

    database: str
    songs: int
    artists: int
    bytes: int
    took: float
    missing: int
    ways: tuple[Measured, ...]
    versions: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Result:
        """From what `as_json` made; raises TypeError, LookupError or ValueError for what another release did."""
        ways = tuple(
            Measured(
                **{
                    **way,
                    "statements": tuple(Statement(**each) for each in way["statements"]),
                    "figures": None if way["figures"] is None else _figures(way["figures"]),
                    "change": None if way["change"] is None else Change(**way["change"]),
                }
            )
            for way in value["ways"]
        )
        return cls(**{**value, "ways": ways})


def _figures(value: Mapping[str, Any]) -> Figures:
    if len(value["parts"]) != len(PARTS):
        raise ValueError("another release's")
    return Figures(**{**value, "parts": tuple(value["parts"])})


class Asked:
    """Counts what a connection is asked; keeps the statements while `kept` is a list."""

    def __init__(self) -> None:
        self.count = 0
        self.kept: list[tuple[str, Any]] | None = None

    def note(self, connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        """For SQLAlchemy's event."""
        self.count += 1
        if self.kept is not None:
            self.kept.append((statement, parameters))


Report = Callable[[int, int, Callable[[], Result]], Any]


async def measure(
    store: Store, size: Size, options: Options, report: Report = lambda done, total, so_far: None
) -> Result:
    """Read songs until the time or the songs are over. report: how many are done of how many, and what came of them.

    Every song is read in each of the ways, in an order that is shuffled for each; and each of the ways is asked to ask
    as many questions as it says, each time. Raises WrongCount.
    """
    shuffled = random.Random(options.shuffle)
    count = min(size.songs, options.looks + options.warm_up)
    ids = shuffled.sample(range(1, size.songs + 1), count)
    times: dict[str, list[int]] = {way.name: [] for way in WAYS}
    began = reported = time.monotonic()
    missing = 0
    asked = Asked()
    engine = reading_engine(store.engine)
    event.listen(engine.sync_engine, "before_cursor_execute", asked.note)
    try:
        async with engine.connect() as connection:
            session = AsyncSession(connection, expire_on_commit=False, autoflush=False)
            statements = {way.name: await _statements(connection, session, asked, way, ids[0]) for way in WAYS}
            versions = await _versions(connection)

            def so_far() -> Result:
                return _result(store, size, time.monotonic() - began, missing, times, statements, versions)

            for done, id in enumerate(ids):
                now = time.monotonic()
                if now - began >= options.seconds and times[WAYS[0].name]:
                    break
                if now - reported >= _REPORT:
                    reported = now
                    report(done, count, so_far)
                found = {}
                for way in shuffled.sample(WAYS, len(WAYS)):
                    # What the session holds it would not ask for again.
                    session.expunge_all()
                    before, start = asked.count, time.perf_counter_ns()
                    name = await way.read(session, id)
                    found[way.name] = time.perf_counter_ns() - start
                    if name is None:
                        break
                    _check(way, asked.count - before)
                if len(found) < len(WAYS):
                    missing += 1
                elif done >= options.warm_up:
                    for each, took in found.items():
                        times[each].append(took)
            await session.close()
            return so_far()
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", asked.note)


def _check(way: Way, count: int) -> None:
    if count != way.queries:
        raise WrongCount(f"{way.title.lower()} asked {count} questions for a song, and not {way.queries}")


async def _statements(
    connection: AsyncConnection, session: AsyncSession, asked: Asked, way: Way, id: int
) -> tuple[Statement, ...]:
    session.expunge_all()
    asked.kept = []
    await way.read(session, id)
    kept, asked.kept = asked.kept, None
    _check(way, len(kept))
    return tuple([Statement(sql, await _plan(connection, sql, parameters)) for sql, parameters in kept])


async def _plan(connection: AsyncConnection, sql: str, parameters: Any) -> str:
    if connection.dialect.name == "postgresql":
        rows = await connection.exec_driver_sql(f"explain (analyze, buffers) {sql}", parameters)
        return "\n".join(row[0] for row in rows)
    rows = await connection.exec_driver_sql(f"explain query plan {sql}", parameters)
    return "\n".join(row[-1] for row in rows)


async def _versions(connection: AsyncConnection) -> dict[str, str]:
    is_postgres = connection.dialect.name == "postgresql"
    asked = "show server_version" if is_postgres else "select sqlite_version()"
    driver = connection.dialect.driver
    return {
        "PostgreSQL" if is_postgres else "SQLite": str(await connection.scalar(text(asked))),
        "SQLAlchemy": version("SQLAlchemy"),
        driver: version(driver),
    }


def _result(
    store: Store,
    size: Size,
    took: float,
    missing: int,
    times: Mapping[str, Sequence[int]],
    statements: Mapping[str, tuple[Statement, ...]],
    versions: Mapping[str, str],
) -> Result:
    first = times[WAYS[0].name]
    return Result(
        "PostgreSQL" if store.url.path is None else "SQLite",
        size.songs,
        size.artists,
        size.bytes,
        took,
        missing,
        tuple(
            Measured(
                way.name,
                way.title,
                way.queries,
                way.code,
                statements[way.name],
                figures_of(times[way.name]),
                None if way is WAYS[0] else change_of(first, times[way.name]),
            )
            for way in WAYS
        ),
        versions,
    )
