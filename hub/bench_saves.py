"""`fanfare bench saves`: what a declared hint costs a save, and how soon a browser hears of it.

    fanfare bench saves postgresql://user@localhost/empty --redis redis://localhost

Makes its own tables in an empty database, and drops them. Saves with and without a hint take turns
in short blocks, so that a disturbance falls on both; a save is one INSERT in a transaction of its
own, from one client that waits for each commit. The last line has a hub, in this process too,
and a plain WebSocket as the browser: from the return of the commit to the message.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles

import aiohttp
from aiohttp import web
from sqlalchemy import URL, Connection, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from .app import Hub, running
from .errors import HubError
from .orm import outbox
from .orm.database_url import parse
from .orm.engines import new_postgres_engine
from .orm.sqlalchemy import AsyncNotifier
from .settings import Settings, read

#: Saves in a block; long enough to be steady, short beside what disturbs a machine.
BLOCK = 100

#: Fewest saves of each kind: a 99th percentile of fewer says nothing.
FEWEST = 200


class Unfit(HubError):
    """The database can't be measured with."""


class Base(DeclarativeBase):
    pass


class Saved(Base):
    __tablename__ = "benchmark_saved"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(default="x" * 200)


@dataclass(frozen=True, slots=True)
class Costs:
    """Saves without a hint, saves with one, and the time from a commit to the browser."""

    without: Times
    hinting: Times
    heard: Times

    @property
    def ratio(self) -> float:
        """How many times as long a hint makes a save take, at the median."""
        return self.hinting.p50 / self.without.p50


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds at the median and the 99th percentile, and how many there were."""

    p50: float
    p99: float
    count: int

    @classmethod
    def of(cls, seconds: list[float]) -> Times:
        return cls(median(seconds) * 1000, quantiles(seconds, n=100)[98] * 1000, len(seconds))


async def save(maker: async_sessionmaker[AsyncSession], spent: list[float]) -> int:
    began = time.perf_counter()
    async with maker() as session:
        row = Saved()
        session.add(row)
        await session.commit()
    spent.append(time.perf_counter() - began)
    return row.id


async def measure(database: str, redis: str | None, saves: int) -> Costs:
    """Measure with a database that has none of the tables used here. Raises Unfit, or BrokerUnavailable."""
    try:
        url = parse(database)
    except ValueError as error:
        raise Unfit(f"the database's URL {error}") from None
    if url.path is None:
        engine = new_postgres_engine(url)
    else:
        engine = create_async_engine(URL.create("sqlite+aiosqlite", database=url.path))
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_make_tables)
    except (SQLAlchemyError, OSError) as error:
        await engine.dispose()
        raise Unfit(f"{url.shown}: {str(error).partition(chr(10))[0]}") from None
    except Unfit:
        await engine.dispose()
        raise
    try:
        return await _measured(engine, redis, saves)
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(outbox.metadata.drop_all)
        await engine.dispose()


def _make_tables(connection: Connection) -> None:
    """The tables; Unfit if there is one already, for it would be dropped in the end."""
    there = {*Base.metadata.tables, *outbox.metadata.tables} & set(inspect(connection).get_table_names())
    if there:
        raise Unfit(f"the database has a table {min(there)}; give an empty one")
    Base.metadata.create_all(connection)
    outbox.create(connection)


async def _measured(engine: AsyncEngine, redis: str | None, saves: int) -> Costs:
    plain = async_sessionmaker(engine, expire_on_commit=False)
    hinting = async_sessionmaker(engine, expire_on_commit=False)
    hub = Hub(Settings(redis_url=redis, key=b"b" * 32))
    app = web.Application()
    hub.setup(app)
    notify = AsyncNotifier(hub.publisher)
    notify.declare(Saved, "saved", lambda row: row.id)
    notify.bind(hinting)
    async with running(app, hub) as base, notify:
        without: list[float] = []
        with_one: list[float] = []
        for spent in (without, with_one) * 2:
            for _ in range(BLOCK):
                await save(hinting if spent is with_one else plain, [])
        while len(with_one) < saves:
            for _ in range(BLOCK):
                await save(plain, without)
            for _ in range(BLOCK):
                await save(hinting, with_one)
            await notify.flush()
        heard = await hear(base, hinting, saves // 2)
    return Costs(Times.of(without), Times.of(with_one), Times.of(heard))


async def hear(base: str, maker: async_sessionmaker[AsyncSession], saves: int) -> list[float]:
    """Seconds from a commit's return to the message, one save after another."""
    found: list[float] = []
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{base}/ws?channel=saved") as socket:
        await socket.receive(timeout=10)
        for _ in range(saves):
            id = await save(maker, [])
            committed = time.perf_counter()
            # A message that never comes fails the run: a hang would say nothing.
            while json.loads((await socket.receive(timeout=10)).data).get("data") != id:
                pass
            found.append(time.perf_counter() - committed)
    return found


def main(arguments: Sequence[str], environ: Mapping[str, str] | None = None) -> int:
    """`fanfare bench saves`. Returns the exit code; raises SettingsError, Unfit, BrokerUnavailable."""
    parser = argparse.ArgumentParser(prog="fanfare bench saves", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("database", help="the URL of an empty database")
    parser.add_argument("--redis", metavar="URL", help="carry publications through Redis (REDIS_URL, else in memory)")
    parser.add_argument("--saves", type=_count, default=3000, metavar="N", help="of each kind (3000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    found = parser.parse_args(arguments)
    settings = read(Settings, os.environ if environ is None else environ)  # noqa: TID251  # this is a command
    costs = asyncio.run(measure(found.database, found.redis or settings.redis_url, found.saves))
    if found.json:
        sys.stdout.write(json.dumps({**asdict(costs), "ratio": costs.ratio}, indent=2) + "\n")
        return 0
    sys.stdout.write(f"{'':24}{'p50 ms':>10}{'p99 ms':>10}{'saves':>8}\n")
    rows = (
        ("save without a hint", costs.without),
        ("save with a hint", costs.hinting),
        ("commit to browser", costs.heard),
    )
    for name, times in rows:
        sys.stdout.write(f"{name:24}{times.p50:10.3f}{times.p99:10.3f}{times.count:8}\n")
    sys.stdout.write(f"a hint makes a save take {costs.ratio:.2f} times as long at the median\n")
    return 0


def _count(text: str) -> int:
    value = int(text)
    if value < FEWEST:
        raise argparse.ArgumentTypeError(f"must be {FEWEST} or more")
    return value
