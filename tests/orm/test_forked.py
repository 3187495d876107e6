"""Pre-fork servers and short-lived processes: nothing is lost in a forked child, nothing hangs at exit."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
from aiohttp import web
from lines import KEY, REALM, Base, Line
from shop import driver
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from hub.app import Hub, running
from hub.orm import outbox
from hub.orm.sqlalchemy import AsyncNotifier
from hub.settings import Settings

HERE = Path(__file__).parent


async def test_ten_thousand_hints_of_forked_workers_and_short_lived_processes_all_arrive(
    database_url: str, unused_tcp_port: int
) -> None:
    engine = create_async_engine(driver(database_url))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.run_sync(outbox.create)
    async with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # It stays with the file: readers and the writer don't lock each other out.
            await connection.exec_driver_sql("PRAGMA journal_mode = wal")
    hub = Hub(Settings(realm=REALM, key=KEY, history_count=10**6, history_bytes=2**30, history_seconds=3600.0))
    app = web.Application()
    hub.setup(app)
    notify = AsyncNotifier(hub.publisher, poll=0.1)
    notify.bind(async_sessionmaker(engine))
    async with running(app, hub) as url, notify:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])}
        env |= {"DATABASE_URL": database_url, "FANOUT_URL": url}
        async with process(
            *("-m", "gunicorn", "--preload", "--workers=4", "--log-level=warning"),
            f"--bind=127.0.0.1:{unused_tcp_port}",
            "prefork:application",
            env=env,
        ) as server:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{unused_tcp_port}") as client:
                await answering(client)
                for _ in range(10):
                    answers = await asyncio.gather(*[client.get("/100") for _ in range(10)])
                    assert [answer.status for answer in answers] == [200] * 10
            server.terminate()
            async with asyncio.timeout(60):
                assert await server.wait() == 0
        async with process("prefork.py", env=env) as short, asyncio.timeout(60):
            assert await short.wait() == 0
        async with asyncio.timeout(60):
            while (await notify.counts()).waiting:
                await asyncio.sleep(0.05)
        told = [json.loads(one.data) for one in (await hub.broker.history("/lines", None)).publications]
        async with engine.connect() as connection:
            saved = list(await connection.scalars(select(Line.id)))
    await engine.dispose()
    assert len(saved) > 10_000
    assert sorted(told) == sorted(saved)


@asynccontextmanager
async def process(*arguments: str, env: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process that is gone, with its children, when the block ends, however that is."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=HERE, env=env, start_new_session=True
    )
    try:
        yield started
    finally:
        # Its own process group, made above: nobody else's processes are in it.
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        await started.wait()


async def answering(client: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                async with client.get("/1"):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
