"""A database with the tables of jobs, of each kind, and workers that a test starts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import text

from hub.publisher import RecordingPublisher
from web.db.database import Database
from web.services.jobs import rows
from web.services.jobs.kinds import Kind
from web.services.jobs.queue import Queue
from web.services.jobs.runner import Options, Runner

#: A worker that looks often, and gives nobody time.
QUICK: dict[str, Any] = {"poll": 0.05, "lease": 5.0, "grace": 2.0}


@pytest.fixture
async def saves(site_url: str) -> AsyncIterator[Database]:
    """A database without jobs."""
    database = Database(site_url, RecordingPublisher())
    async with database.engine.begin() as connection:
        await connection.execute(text("create table if not exists effects (job bigint, words text)"))
    yield database
    async with database.engine.begin() as connection:
        for table in (*rows.metadata.sorted_tables, "effects"):
            await connection.execute(text(f"delete from {table}"))
    await database.close()


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
async def work(saves: Database, queue: Queue) -> AsyncIterator[Callable[..., Any]]:
    """Starts a worker: `runner = await work(kind, …)`. It is stopped with the test."""
    runners: list[Runner] = []

    async def start(*kinds: Kind, periodic: Any = (), publisher: Any = None, app: Any = None, **options: Any) -> Runner:
        runner = Runner(
            saves,
            kinds,
            publisher or RecordingPublisher(),
            periodic=periodic,
            options=Options(**{**QUICK, **options}),
            app=app,
        )
        queue.listeners.append(runner.wake)
        runners.append(runner)
        await runner.start()
        return runner

    yield start
    for runner in runners:
        await runner.stop()
