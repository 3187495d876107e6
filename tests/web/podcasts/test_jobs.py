"""Feeds fetched by workers: which, when, and how many at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from feeding import feed, item, weekly
from serving import Podcasts, Publisher
from sqlalchemy import select

from hub.orm.declarations import Notice
from hub.publisher import RecordingPublisher
from web.features.podcasts import fetching, jobs, store
from web.features.podcasts.models import Host
from web.features.podcasts.reading import read_feed
from web.features.podcasts.schedule import DAY, Answer, Outcome
from web.pages import keys
from web.services.jobs import rows
from web.services.jobs.kinds import Job
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


def _came() -> fetching.Result:
    answer = Answer(outcome=Outcome.NEW, etag="1")
    return fetching.Result(answer=answer, words="read", feed=read_feed(weekly(3)), digest="x")


async def test_fetches_that_wait_for_each_other_are_written_in_one_transaction(
    podcasts: Podcasts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each had a session, a commit and a look of the teller of its own, which took longer than its rows."""
    ids = [await podcasts.add(f"http://{number}.example/feed") for number in range(4)]
    sessions: list[tuple[int, int]] = []
    write = store._write

    async def notes(session: Any, notifier: Any, came: store.Came, told: Any) -> store.Written:
        sessions.append((id(session), came.podcast_id))
        return await write(session, notifier, came, told)

    monkeypatch.setattr(store, "_write", notes)
    saves = [jobs._save(podcasts.app, each, _came()) for each in reversed(ids)]
    written = [each for each, _ in await asyncio.gather(*saves)]
    assert [each.outcome for each in written] == [Outcome.NEW] * 4
    assert {(await podcasts.get(each)).episodes for each in ids} == {3}
    assert podcasts.app[jobs.counts] == {"new": 4}
    # Their rows are locked in one order.
    assert sessions == [(sessions[0][0], each) for each in ids]


async def test_a_fetch_that_cannot_be_written_keeps_no_other_from_it(
    podcasts: Podcasts, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await podcasts.add(f"http://{number}.example/feed") for number in range(3)]
    write = store._write

    async def fails(session: Any, notifier: Any, came: store.Came, told: Any) -> store.Written:
        if came.podcast_id == ids[1]:
            raise ValueError("no database takes it")
        return await write(session, notifier, came, told)

    monkeypatch.setattr(store, "_write", fails)
    saves = [jobs._save(podcasts.app, id, _came()) for id in ids]
    found = await asyncio.gather(*saves, return_exceptions=True)
    assert [isinstance(each, ValueError) for each in found] == [False, True, False]
    assert [(await podcasts.get(id)).episodes for id in ids] == [3, 0, 3]
    assert [len(await podcasts.fetches(id)) for id in ids] == [1, 0, 1]


async def test_the_next_feed_of_a_host_is_taken_with_the_last_ones_end(podcasts: Podcasts, server: Publisher) -> None:
    ids = [await podcasts.add(f"{server.url}?{number}") for number in range(2)]
    assert await jobs.take(podcasts.app, HOST) == ids[0]
    _, following = await jobs._save(podcasts.app, ids[0], _came(), (HOST, 0))
    assert following is not None
    assert (following.podcast_id, following.url) == (ids[1], f"{server.url}?1")
    assert (await podcasts.feed(ids[1])).taken == following.until
    # A host that wants to be left alone is, from the same moment.
    busy = fetching.Result(answer=Answer(outcome=Outcome.BUSY, wait=600.0), words="the server says 429")
    await podcasts.change_feed(ids[0], next=0.0)
    assert (await jobs._save(podcasts.app, ids[1], busy, (HOST, 0)))[1] is None


async def test_a_feed_that_is_taken_for_a_job_that_was_stopped_is_given_back(
    podcasts: Podcasts, server: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken in the transaction that the job no longer waited for, and stood still until TAKEN was over."""
    ids = [await podcasts.add(f"{server.url}?{number}") for number in range(2)]
    write, begun, go_on = store._write, asyncio.Event(), asyncio.Event()

    async def waits(*args: Any) -> store.Written:
        begun.set()
        await go_on.wait()
        return await write(*args)

    monkeypatch.setattr(store, "_write", waits)
    monkeypatch.setattr(jobs, "_GIVE_BACK", 5.0)
    saving = asyncio.create_task(jobs._save(podcasts.app, ids[0], _came(), (HOST, 0)))
    await begun.wait()
    saving.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await saving
    task = podcasts.app[jobs.turn].task
    assert task is not None
    await task
    # What came is written all the same.
    assert (await podcasts.get(ids[0])).episodes == 3
    assert (await podcasts.feed(ids[1])).taken == 0.0


async def test_a_fetch_tells_what_a_flush_would(
    podcasts: Podcasts, server: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written without a session's objects is told by hand: the same channels, of the same rows."""
    told: list[Notice] = []
    notifier = podcasts.database.notifier
    write = notifier.write

    def notes(session: Any, mapper: Any, found: Sequence[Notice]) -> None:
        told.extend(found)
        write(session, mapper, found)

    monkeypatch.setattr(notifier, "write", notes)
    id = await podcasts.add(server.url)
    name, podcast = (
        Notice("/podcasts", "true", True, f"podcasts:{id}"),
        Notice(f"/podcast-{id}", "true", True, f"podcasts:{id}"),
    )
    assert told == [name, podcast]
    told.clear()
    server.body, server.headers = weekly(2, title="Other"), {"ETag": '"1"'}
    await podcasts.fetch(id)
    assert told == [name, podcast, Notice(f"/podcast-feed-{id}", "true", True, "podcast_fetches:1")]
    told.clear()
    # That there is nothing new is no news but for the page of the feed.
    await podcasts.fetch(id)
    assert told == [Notice(f"/podcast-feed-{id}", "true", True, "podcast_fetches:2")]
    told.clear()
    # An episode more is none for who looks for names.
    server.body = weekly(3, title="Other")
    await podcasts.fetch(id)
    assert told == [podcast, Notice(f"/podcast-feed-{id}", "true", True, "podcast_fetches:3")]


async def test_a_host_with_one_feed_that_is_due_gets_one_job(podcasts: Podcasts) -> None:
    """The job of its other place found nothing, and cost as much as half a fetch."""
    await podcasts.add("http://one.example/feed")
    for number in range(2):
        await podcasts.add(f"http://two.example/{number}")
    job = SimpleNamespace(app=podcasts.app, saving=podcasts.database.saving)
    await jobs._sweep(cast(Job, job))
    async with podcasts.database.engine.connect() as connection:
        found = sorted(await connection.scalars(select(rows.table.c.key)))
    assert found == ["podcasts:0:one.example", "podcasts:0:two.example", "podcasts:1:two.example"]
