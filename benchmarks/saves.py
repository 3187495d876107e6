"""What a declared hint costs a save, and how soon a browser hears of it.

    python -m benchmarks.saves postgresql://user@localhost/empty [--redis redis://…]

Makes its own tables in an empty database, and drops them. Saves with and without a hint take turns
in short blocks, so that a disturbance falls on both; a save is one INSERT in a transaction of its
own, from one client that waits for each commit. The second table has a hub, in this process too,
and a plain WebSocket as the browser: from the return of the commit to the message.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass
from statistics import median, quantiles

import aiohttp
from aiohttp import web
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hub.app import Hub, running
from hub.orm import outbox
from hub.orm.sqlalchemy import AsyncNotifier
from hub.settings import Settings

#: Saves in a block; long enough to be steady, short beside what disturbs a machine.
BLOCK = 100


class Base(DeclarativeBase):
    pass


class Saved(Base):
    __tablename__ = "benchmark_saved"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(default="x" * 200)


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


async def measure(database: str, redis: str | None, saves: int) -> tuple[Times, Times, Times]:
    """Saves without a hint, with one, and commit to browser."""
    url = make_url(database)
    url = url.set(drivername={"postgres": "postgresql"}.get(url.get_backend_name(), url.get_backend_name()))
    driver = "asyncpg" if url.get_backend_name() == "postgresql" else "aiosqlite"
    engine = create_async_engine(url.set(drivername=f"{url.get_backend_name()}+{driver}"))
    plain = async_sessionmaker(engine, expire_on_commit=False)
    hinting = async_sessionmaker(engine, expire_on_commit=False)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.run_sync(outbox.create)
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
        return Times.of(without), Times.of(with_one), Times.of(heard)
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(outbox.metadata.drop_all)
        await engine.dispose()


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


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.saves", description=__doc__.partition("\n")[0])
    parser.add_argument("database", help="the URL of an empty database")
    parser.add_argument("--redis", metavar="URL", help="carry publications through Redis; else in memory")
    parser.add_argument("--saves", type=int, default=3000, metavar="N", help="of each kind (3000)")
    found = parser.parse_args()
    without, with_one, heard = asyncio.run(measure(found.database, found.redis, found.saves))
    print(f"{'':24}{'p50 ms':>10}{'p99 ms':>10}{'saves':>8}")
    rows = (("save without a hint", without), ("save with a hint", with_one), ("commit to browser", heard))
    for name, times in rows:
        print(f"{name:24}{times.p50:10.3f}{times.p99:10.3f}{times.count:8}")
    print(f"a hint makes a save take {with_one.p50 / without.p50:.2f} times as long at the median")
    return 0


if __name__ == "__main__":
    sys.exit(main())
