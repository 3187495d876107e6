"""The promise: what was committed is told, what was not is not, whenever the process dies."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from pathlib import Path

import pytest
from aiohttp import web
from saver import COUNTERS, KEY, REALM, Base, Counter
from shop import driver
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from hub.app import Hub, running
from hub.orm import outbox
from hub.orm.sqlalchemy import AsyncNotifier
from hub.settings import Settings

#: As the issue asks; a save or two die in each kind of moment some dozens of times.
KILLS = 200


@pytest.mark.timeout(900)
@pytest.mark.long
async def test_every_commit_is_told_once_and_in_order_though_200_savers_are_killed(database_url: str) -> None:
    engine = create_async_engine(driver(database_url))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.run_sync(outbox.create)
        await connection.execute(insert(Counter), [{"id": id, "value": 0, "kept": True} for id in range(COUNTERS)])
    hub = Hub(Settings(realm=REALM, key=KEY, history_count=10**6, history_bytes=2**30, history_seconds=3600.0))
    app = web.Application()
    hub.setup(app)
    notify = AsyncNotifier(hub.publisher, poll=0.05)
    notify.bind(async_sessionmaker(engine))
    seed = random.randrange(1000)
    async with running(app, hub) as url, notify:
        saver = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("saver.py")),
            database_url,
            url,
            str(KILLS),
            str(seed),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert await saver.wait() == 0
        while (await notify.counts()).waiting:
            await asyncio.sleep(0.05)
        told = [json.loads(one.data) for one in (await hub.broker.history("/counters", None)).publications]
        async with engine.connect() as connection:
            saved = dict((await connection.execute(select(Counter.id, Counter.value))).all())
            assert (await connection.scalar(select(Counter.id).where(~Counter.kept))) is None
    await engine.dispose()
    # Fewer would mean that the savers died before they did anything.
    assert sum(saved.values()) >= KILLS, seed
    for counter, value in saved.items():
        assert [found[1] for found in told if found[0] == counter] == list(range(1, value + 1)), seed
    assert all(kept for _, _, kept in told), seed
