"""Feeds fetched by workers: which, when, and how many at once."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from feeding import feed, item, weekly
from serving import Podcasts, Publisher
from sqlalchemy import select

from hub.publisher import RecordingPublisher
from web.features.podcasts import fetching, jobs
from web.features.podcasts.models import Host
from web.features.podcasts.schedule import DAY, Outcome
from web.pages import keys
from web.services.jobs import rows
from web.services.jobs.runner import Options, Runner

pytestmark = pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)

HOST = "127.0.0.1"


async def test_a_feed_is_taken_once_and_comes_back_if_its_worker_is_gone(
    podcasts: Podcasts, server: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await podcasts.add(f"{server.url}?{number}") for number in range(2)]
    taken = [await jobs.take(podcasts.app, HOST) for _ in range(3)]
    assert taken == [*ids, None]
    monkeypatch.setattr(time, "time", lambda at=time.time: at() + jobs.TAKEN + 1)
    assert await jobs.take(podcasts.app, HOST) == ids[0]


async def test_a_host_that_wants_to_be_left_alone_is(podcasts: Podcasts, server: Publisher) -> None:
    for number in range(3):
        await podcasts.add(f"{server.url}?{number}")
    at = time.time()
    async with podcasts.database.saving() as session:
        session.add(Host(name=HOST, paused=at + 60, singly=at + DAY))
    assert await jobs.take(podcasts.app, HOST, 0) is None
    async with podcasts.database.saving() as session:
        (await session.get_one(Host, HOST)).paused = at - 1
    assert await jobs.take(podcasts.app, HOST, 1) is None
    assert await jobs.take(podcasts.app, HOST, 0) == 1


async def test_429_pauses_the_whole_host(podcasts: Podcasts, server: Publisher) -> None:
    """FreshRSS 7870: other feeds of the host went on."""
    for number in range(2):
        await podcasts.add(f"{server.url}?{number}")
    server.status, server.headers = 429, {"Retry-After": "3600"}
    assert (await podcasts.fetch(1))[0] is Outcome.BUSY
    assert await jobs.take(podcasts.app, HOST) is None
    async with podcasts.database.reading() as session:
        host = await session.get_one(Host, HOST)
    assert host.paused - time.time() == pytest.approx(3600, abs=30)
    assert host.singly - host.paused == pytest.approx(DAY)


async def test_our_own_outage_counts_against_no_feed(podcasts: Podcasts) -> None:
    """miniflux 306: one's own line is down, and after three errors feeds are never fetched again."""
    ids = [await podcasts.add(f"http://127.0.0.{number}:9/feed") for number in range(2, 9)]
    for id in ids:
        await podcasts.change_feed(id, failures=0)
    from web.services.outbound import Limits, Unreachable

    class Away:
        limits = Limits()

        async def fetch(self, url: str, **options: object) -> object:
            raise Unreachable("it can't be reached")

    podcasts.app[keys.outbound] = Away()
    for id in ids:
        await podcasts.fetch(id)
    assert [(await podcasts.feed(id)).failures for id in ids] == [1, 1, 1, 1, 0, 0, 0]
    assert "our own line" in (await podcasts.fetches(ids[-1]))[0].words
    assert (await podcasts.get(ids[-1])).error == ""


async def test_a_worker_fetches_what_is_due_two_at_once(podcasts: Podcasts, server: Publisher) -> None:
    running = most = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        return web.Response(body=weekly(3, title=request.query_string))

    server.handler = answer
    ids = [await podcasts.add(f"{server.url}?{number}") for number in range(8)]
    database, queue = podcasts.database, podcasts.app[keys.jobs]
    runner = Runner(
        database, jobs.KINDS, RecordingPublisher(), options=Options(poll=0.2, lease=10.0, processes=1), app=podcasts.app
    )
    queue.listeners.append(runner.wake)
    await runner.start()
    try:
        async with database.saving() as session:
            await jobs.plan(session, queue, HOST)
        async with asyncio.timeout(60):
            while {(await podcasts.get(id)).episodes for id in ids} != {3}:
                await asyncio.sleep(0.05)
    finally:
        await runner.stop()
    # A busy machine may begin the second job when the first has done all.
    assert most in {1, 2}
    assert len(server.asked) == 8
    assert podcasts.app[jobs.counts] == {"new": 8}


async def test_a_worker_that_stops_gives_the_feed_in_its_hands_back(podcasts: Podcasts, server: Publisher) -> None:
    asked = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.sleep(5)
        return web.Response()

    server.handler = answer
    id = await podcasts.add(server.url)
    database, queue = podcasts.database, podcasts.app[keys.jobs]
    async with database.saving() as session:
        await jobs.plan(session, queue, HOST)
    runner = Runner(
        database, jobs.KINDS, RecordingPublisher(), options=Options(poll=0.2, grace=0.1, processes=1), app=podcasts.app
    )
    await runner.start()
    async with asyncio.timeout(30):
        await asked.wait()
    assert (await podcasts.feed(id)).taken > time.time()
    await runner.stop()
    assert (await podcasts.feed(id)).taken == 0
    assert await jobs.take(podcasts.app, HOST) == id


async def test_a_fetch_that_goes_on_and_on_is_a_failure_and_not_begun_again_at_once(
    podcasts: Podcasts, server: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A feed of many slow pages was cut off by its job, which began with it again, for ever."""
    monkeypatch.setattr(jobs, "_LONGEST", 0.2)
    id = await podcasts.add(server.url)

    async def waits(*args: object, limit: float | None = None) -> object:
        return await asyncio.Event().wait()

    outcome, words = await jobs.fetch(podcasts.app, id, waits)
    assert (outcome, words) == (Outcome.TOO_SLOW, "it took longer than 0.2 s in all")
    state = await podcasts.feed(id)
    assert state.next is not None
    assert state.next > time.time() + 400
    assert await jobs.take(podcasts.app, HOST) is None


async def test_pages_that_are_slow_end_after_a_while(
    podcasts: Podcasts, server: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_PAGES", 0.3)

    async def paged(request: web.Request) -> web.StreamResponse:
        page = int(request.query.get("page", "1"))
        await asyncio.sleep(0.1)
        following = f'<a:link xmlns:a="http://www.w3.org/2005/Atom" rel="next" href="/feed.xml?page={page + 1}"/>'
        return web.Response(body=feed(item(f"{page}", url=f"http://a.example/{page}.mp3"), more=following))

    server.handler = paged
    id = await podcasts.add(server.url)
    assert (await podcasts.fetch(id))[0] is Outcome.NEW
    assert 2 <= len(await podcasts.episodes(id)) <= 5


async def test_a_feed_that_another_worker_has_meanwhile_is_not_given_back(
    podcasts: Podcasts, server: Publisher
) -> None:
    id = await podcasts.add(server.url)
    mine = time.time() + jobs.TAKEN
    await podcasts.change_feed(id, taken=mine + 60)
    await jobs._give_back(podcasts.app, id, mine)
    assert (await podcasts.feed(id)).taken == mine + 60


async def test_what_is_due_gets_its_jobs_once_spread_over_the_time_until_the_next(
    podcasts: Podcasts, server: Publisher
) -> None:
    for number in range(3):
        await podcasts.add(f"{server.url}?{number}")
    at = time.time()
    async with podcasts.database.saving() as session:
        session.add(Host(name="other.example", paused=at + 60, singly=at + 60))
    await podcasts.add("http://other.example/feed")
    await podcasts.add("http://later.example/feed")
    await podcasts.change_feed(5, next=at + 60)
    runner = Runner(podcasts.database, jobs.KINDS, RecordingPublisher(), options=Options(poll=0.2), app=podcasts.app)
    async with podcasts.database.saving() as session:
        await podcasts.app[keys.jobs].add(session, jobs.SWEEP)
    await runner.start()
    asked = select(rows.table.c.key, rows.table.c.due).where(rows.table.c.kind == jobs.FETCH)
    try:
        async with asyncio.timeout(30):
            while True:
                async with podcasts.database.engine.connect() as connection:
                    found = dict((await connection.execute(asked)).all())
                if found:
                    break
                await asyncio.sleep(0.02)
    finally:
        await runner.stop()
    assert sorted(key for key in found if key) == [f"podcasts:0:{HOST}", f"podcasts:1:{HOST}"]
    assert all(at <= due <= time.time() + jobs.EVERY for due in found.values())


async def test_a_feed_without_lengths_has_its_files_asked(podcasts: Podcasts, server: Publisher) -> None:
    at = datetime.now(UTC) - timedelta(days=1)
    server.body = feed(item("a", date=at, duration=None), item("b", date=at, url="http://a.example/2.mp3"))
    await podcasts.fetch(await podcasts.add(server.url))
    async with podcasts.database.engine.connect() as connection:
        kinds = [kind for (kind,) in await connection.execute(select(rows.table.c.kind))]
    assert kinds == [jobs.PROBE]
