"""/lab/joins: everybody reads it, managers begin runs, a job measures, and what it says is in the page and as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import Select, func, select
from visiting import PASSWORD, Browser, Forms

from hub.publisher import RecordingPublisher
from web.app import create_app
from web.db.database import Database
from web.features.accounts.people import create_user
from web.features.joins import jobs, runs
from web.features.joins.jobs import DROPPING, MEASURING
from web.features.joins.runs import JoinsRun
from web.features.joins.settings import JoinsSettings
from web.features.joins.store import Refused, Store
from web.identity.passwords import Passwords
from web.identity.roles import Role
from web.services.jobs import rows
from web.services.jobs.runner import Options, Runner
from web.settings import Settings

Runs = Callable[[], Awaitable[None]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.with_(JoinsSettings, songs=300, looks=20)


@pytest.fixture
async def work(settings: Settings, database: Database, publisher: RecordingPublisher) -> AsyncIterator[Runs]:
    """Does the jobs that wait."""
    app = create_app(settings, publisher, database=database)

    async def work() -> None:
        runner = Runner(database, (MEASURING, DROPPING), publisher, options=Options(poll=0.1, processes=1), app=app)
        waiting = select(func.count()).select_from(rows.table).where(rows.table.c.outcome.is_(None))
        await runner.start()
        try:
            async with asyncio.timeout(60):
                while await count(waiting):
                    await asyncio.sleep(0.02)
        finally:
            await runner.stop()

    async def count(statement: Select[tuple[int]]) -> int:
        async with database.engine.connect() as connection:
            return await connection.scalar(statement) or 0

    yield work
    # The next test's database is the same server's.
    store = Store(database.url)
    await store.drop()
    await store.close()


async def begin(manager: Browser, **fields: str) -> int:
    await manager.look("/lab/joins")
    return (await manager.submit("/lab/joins", {"songs": "300", "seconds": "5"} | fields)).status


async def test_everybody_reads_it_and_only_managers_begin(browser: Browser, manager: Browser) -> None:
    assert (await browser.look("/lab/joins")).status == 200
    assert "Nothing has been measured here yet." in browser.page
    assert "/lab/joins" not in Forms.of(browser.page)
    await manager.look("/lab/joins")
    assert {"/lab/joins", "/lab/joins/drop"} <= set(Forms.of(manager.page))


async def test_visitor_and_writer_are_refused(
    browser: Browser, new_browser: Callable[[], Awaitable[Browser]], database: Database, passwords: Passwords
) -> None:
    await browser.look("/login")
    assert (await browser.send("/lab/joins", {})).status in {303, 401, 403}
    await create_user(database, passwords, "wilma", PASSWORD, role=Role.WRITER)
    writer = await new_browser()
    await writer.sign_in("wilma")
    token = await writer.token()
    assert (await writer.send("/lab/joins", {"csrf_token": token, "songs": "300"})).status == 403


async def test_run_is_measured_and_shown(manager: Browser, work: Runs, browser: Browser) -> None:
    assert await begin(manager) == 303
    await manager.look("/lab/joins")
    assert "Waiting" in manager.page
    assert 'data-follow="job-' in manager.page
    await work()
    await browser.look("/lab/joins")
    for words in ("300 songs of 30 artists", "joins-figures", "<svg", "Look-up", "JOIN", "Select-in", "p99"):
        assert words in browser.page
    assert "Waiting" not in browser.page
    found = await (await browser.fetch("/lab/joins.json")).json()
    run = found["runs"][0]
    assert run["state"] == "done"
    assert [(way["name"], way["queries"], way["figures"]["count"]) for way in run["result"]["ways"]] == [
        ("lookup", 2, 20),
        ("join", 1, 20),
        ("selectin", 2, 20),
    ]


async def test_page_is_told_of_each_step(manager: Browser, work: Runs, publisher: RecordingPublisher) -> None:
    await begin(manager)
    publisher.clear()
    await work()
    channels = [channel.lstrip("/") for channel, _ in publisher.published]
    assert channels.count("lab-joins") >= 2
    assert any(channel.startswith("job-") for channel in channels)


async def test_second_run_waits_for_the_end_of_the_first(manager: Browser, work: Runs) -> None:
    await begin(manager)
    assert await begin(manager) == 409
    assert "A run is under way." in manager.page
    await work()
    assert await begin(manager) == 303


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"songs": "many"}, "Give a number from 100 to 1,000,000."),
        ({"songs": "99"}, "Give a number from 100 to"),
        ({"songs": "1000001"}, "Give a number from 100 to"),
        ({"songs": "٣٠٠"}, "Give a number from 100 to"),
        ({"seconds": "0"}, "Give whole seconds, from 1 to 20."),
        ({"seconds": "21"}, "Give whole seconds, from 1 to 20."),
        ({"seconds": "1e1"}, "Give whole seconds"),
    ],
)
async def test_what_is_wrong_is_said_at_its_field(manager: Browser, fields: dict[str, str], words: str) -> None:
    assert await begin(manager, **fields) == 422
    assert words in manager.page


async def test_program_gets_json(manager: Browser) -> None:
    token = await manager.token()
    headers = {"X-CSRF-Token": token, "Accept": "application/json", "Origin": manager.origin}
    response = await manager.client.post("/lab/joins", json={"songs": "x", "csrf_token": token}, headers=headers)
    assert response.status == 422
    assert "songs" in (await response.json())["fields"]
    response = await manager.client.post("/lab/joins", json={"csrf_token": token}, headers=headers)
    assert response.status == 201


async def test_dropping_takes_the_songs_and_leaves_the_figures(manager: Browser, work: Runs) -> None:
    await begin(manager)
    await work()
    await manager.look("/lab/joins")
    assert (await manager.submit("/lab/joins/drop", {})).status == 303
    await work()
    await manager.look("/lab/joins?dropped=1")
    assert "The songs are being taken away." in manager.page
    assert "300 songs of 30 artists" in manager.page


async def test_run_that_fails_says_why(manager: Browser, work: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, url: object) -> None: ...

        async def make(self, songs: int, tell: object) -> None:
            raise Refused("the disk is full; make room")

        async def close(self) -> None: ...

    monkeypatch.setattr(jobs, "Store", Full)
    await begin(manager)
    await work()
    await manager.look("/lab/joins")
    assert "The newest run failed: the disk is full; make room." in manager.page
    assert await begin(manager) == 303


async def test_run_whose_worker_was_killed_for_good_is_said_to_be_lost(manager: Browser, database: Database) -> None:
    async with database.saving() as session:
        session.add(JoinsRun(songs=300, seconds=5, state=runs.MEASURING, job=987654))
    await manager.look("/lab/joins")
    assert "ended without a result" in manager.page
    assert await begin(manager) == 303


async def test_result_of_another_release_is_left_out(manager: Browser, database: Database) -> None:
    async with database.saving() as session:
        session.add(JoinsRun(songs=300, seconds=5, state=runs.DONE, found=json.dumps({"ways": [{"speed": 9}]})))
    assert (await manager.look("/lab/joins")).status == 200
    assert "Nothing has been measured" in manager.page


async def test_old_runs_are_forgotten(database: Database) -> None:
    async with database.saving() as session:
        session.add_all([JoinsRun(songs=number, seconds=5) for number in range(100, 110)])
    async with database.saving() as session:
        await runs.prune(session, 3)
    async with database.reading() as session:
        assert [run.songs for run in await runs.newest(session, 20)] == [109, 108, 107]


def test_kind_of_job_is_done_one_at_a_time() -> None:
    assert MEASURING.at_once == 1
