"""Workers: what is done, tried again, given up, stopped and taken over."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from hub.errors import BrokerUnavailable
from hub.publisher import RecordingPublisher
from web.db.database import Database
from web.services.jobs import pools, rows
from web.services.jobs.hints import CHANNEL, Hinter, wake_by
from web.services.jobs.kinds import Every, GiveUp, Job, Kind, LeaseLost, TryAgain
from web.services.jobs.metrics import of_jobs
from web.services.jobs.queue import Queue
from web.services.jobs.rows import GIVEN_UP, Shown
from web.services.jobs.runner import Runner

#: Seconds that something may take on a slow machine before a test gives up waiting for it.
PATIENCE = 180.0

Work = Callable[..., Awaitable[Runner]]


def kind(run: Callable[[Any], Any], name: str = "job", **options: Any) -> Kind:
    return Kind(**{"name": name, "run": run, "first": 0.01, "longest": 0.05, **options})


async def add(saves: Database, queue: Queue, *data: Any, name: str = "job", **options: Any) -> list[int]:
    async with saves.saving() as session:
        return [await queue.add(session, name, each, **options) for each in data]


async def get(saves: Database, id: int) -> Shown:
    async with saves.engine.connect() as connection:
        found = await connection.run_sync(rows.get, id)
    assert found is not None
    return found


async def until_ended(saves: Database, id: int, outcome: str = rows.DONE) -> Shown:
    async with asyncio.timeout(PATIENCE):
        while (found := await get(saves, id)).finished is None:
            await asyncio.sleep(0.01)
    assert found.outcome == outcome, found.error
    return found


async def effects(saves: Database) -> list[tuple[int, str]]:
    async with saves.engine.connect() as connection:
        found = await connection.execute(text("select job, words from effects order by job"))
        return [(job, words) for job, words in found]


async def test_a_job_is_done_when_its_save_is_committed_and_not_before(
    saves: Database, queue: Queue, work: Work
) -> None:
    done: list[Any] = []

    async def run(job: Job) -> None:
        done.append(job.data)

    await work(kind(run), poll=30.0)
    with suppress(ZeroDivisionError):
        async with saves.saving() as session:
            await queue.add(session, "job", {"n": 1})
            raise ZeroDivisionError
    async with saves.saving() as session:
        async with session.begin_nested():
            [second] = await queue.add_many(session, [rows.New("job", {"n": 2})])
        await asyncio.sleep(0.1)
        assert done == []
    # Long before the next look: the commit wakes it.
    assert (await until_ended(saves, second)).attempts == 1
    assert done == [{"n": 2}]


async def test_a_job_for_later_is_done_at_its_time(saves: Database, queue: Queue, work: Work) -> None:
    moments: list[float] = []

    async def run(job: Job) -> None:
        moments.append(time.time())

    await work(kind(run), poll=30.0)
    begun = time.time()
    [id] = await add(saves, queue, None, after=0.5)
    await until_ended(saves, id)
    assert moments[0] >= begun + 0.5


async def test_a_failure_is_tried_again_and_then_given_up_with_its_error(
    saves: Database, queue: Queue, work: Work
) -> None:
    attempts: list[int] = []

    async def run(job: Job) -> None:
        attempts.append(job.attempt)
        raise ZeroDivisionError("half \ud83d an emoji and a NUL \x00" + "x" * 10_000)

    await work(kind(run, attempts=3))
    [id] = await add(saves, queue, None)
    found = await until_ended(saves, id, GIVEN_UP)
    assert attempts == [1, 2, 3]
    assert found.error is not None
    assert found.error.startswith("ZeroDivisionError: half ? an emoji and a NUL x")
    assert len(found.error) <= rows.MAX_ERROR
    assert "/test_job_runner.py" not in found.error.partition("\n")[0]


async def test_nonsense_is_given_up_at_once_and_not_looped(saves: Database, queue: Queue, work: Work) -> None:
    def parse(data: Any) -> int:
        number: int = data["number"] + 0
        return number

    attempts = []

    async def run(job: Job) -> None:
        attempts.append(job.data)

    await work(kind(run, parse=parse))
    bad = await add(saves, queue, None, [], {"number": "x"}, {})
    async with saves.saving() as session:
        [broken] = await queue.add_many(session, [rows.New("job", 1)])
        await session.execute(rows.table.update().where(rows.table.c.id == broken).values(data="{no json"))
    for id in [*bad, broken]:
        found = await until_ended(saves, id, GIVEN_UP)
        assert found.attempts == 1
        assert found.error is not None
        assert found.error.startswith("its data can't be read: ")
    assert attempts == []


async def test_a_handler_may_give_up_or_say_when_to_try_again(saves: Database, queue: Queue, work: Work) -> None:
    async def run(job: Job) -> None:
        if job.data == "never":
            raise GiveUp("410 gone")
        if job.attempt < 3:
            raise TryAgain("429 slowly", after=0.0)

    # Its own pauses would take an hour.
    await work(kind(run, first=3600.0))
    never, later = await add(saves, queue, "never", "later")
    assert (await until_ended(saves, never, GIVEN_UP)).error == "410 gone"
    assert (await until_ended(saves, later)).attempts == 3


async def test_one_that_hangs_hurts_no_other_and_is_cancelled(saves: Database, queue: Queue, work: Work) -> None:
    cancelled = asyncio.Event()

    async def run(job: Job) -> None:
        if job.data == "hang":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

    await work(kind(run, limit=0.3, attempts=1), at_once=2)
    hanging, *others = await add(saves, queue, "hang", *range(50))
    for id in others:
        await until_ended(saves, id)
    found = await until_ended(saves, hanging, GIVEN_UP)
    assert found.error == "took longer than 0.3 s"
    assert cancelled.is_set()


async def test_one_that_does_not_end_when_it_is_cancelled_is_left_behind(
    saves: Database, queue: Queue, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.services.jobs.runner._STUBBORN", 0.1)
    release = asyncio.Event()

    async def run(job: Job) -> None:
        while job.data == "stubborn" and not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    runner = await work(kind(run, limit=0.1, attempts=1), at_once=1, lease=0.6)
    stubborn, other = await add(saves, queue, "stubborn", "other")
    found = await until_ended(saves, stubborn, GIVEN_UP)
    assert found.error == "took longer than 0.1 s, and did not end when it was cancelled"
    await until_ended(saves, other)
    release.set()
    await asyncio.sleep(0)
    assert runner.running == 0


async def test_one_that_ends_the_interpreter_ends_only_itself(saves: Database, queue: Queue, work: Work) -> None:
    async def run(job: Job) -> None:
        if job.data == "exit":
            raise SystemExit(3)

    await work(kind(run, attempts=1))
    bad, good = await add(saves, queue, "exit", "stay")
    assert "SystemExit: 3" in ((await until_ended(saves, bad, GIVEN_UP)).error or "")
    await until_ended(saves, good)


async def test_what_a_job_writes_in_its_own_transaction_happens_once(saves: Database, queue: Queue, work: Work) -> None:
    """A worker that was silent for too long comes back while another has its job: only one of them may write."""
    both = asyncio.Event()
    attempts: list[int] = []
    lost: list[int] = []

    async def run(job: Job) -> None:
        attempts.append(job.attempt)
        if len(attempts) == 2:
            both.set()
        await both.wait()
        try:
            async with job.saving() as session:
                await session.execute(
                    text("insert into effects values (:job, :words)"),
                    {"job": job.id, "words": f"attempt {job.attempt}"},
                )
        except LeaseLost:
            lost.append(job.attempt)
            raise

    # It does not look again by itself: it would find its own lease over before another worker does, and go on with it.
    first = await work(kind(run), lease=3600.0, poll=3600.0)
    [id] = await add(saves, queue, None, key="k")
    async with asyncio.timeout(PATIENCE):
        while not attempts:
            await asyncio.sleep(0.01)
    async with saves.saving() as session:
        # As if it had not renewed it for an hour.
        await session.execute(rows.table.update().values(due=0.0))
    second = await work(kind(run))
    await until_ended(saves, id)
    async with asyncio.timeout(PATIENCE):
        while first.running or second.running:
            await asyncio.sleep(0.01)
    assert await effects(saves) == [(id, "attempt 2")]
    assert lost == [1]
    assert (first.stats["job"].lost, second.stats["job"].done) == (1, 1)


def _put(session: Session, job: int, words: str) -> None:
    session.execute(text("insert into effects values (:job, :words)"), {"job": job, "words": words})


async def test_what_a_job_ends_with_is_written_once_and_with_its_end(saves: Database, queue: Queue, work: Work) -> None:
    """As with `saving`: a worker that was silent for too long writes nothing once another has its job."""
    both = asyncio.Event()
    attempts: list[int] = []

    async def run(job: Job) -> None:
        attempts.append(job.attempt)
        if len(attempts) == 2:
            both.set()
        await both.wait()
        words = f"attempt {job.attempt}"
        job.end_with(lambda session: _put(session, job.id, words))

    first = await work(kind(run), lease=3600.0, poll=3600.0)
    [id] = await add(saves, queue, None, key="k")
    async with asyncio.timeout(PATIENCE):
        while not attempts:
            await asyncio.sleep(0.01)
    async with saves.saving() as session:
        await session.execute(rows.table.update().values(due=0.0))
    second = await work(kind(run))
    await until_ended(saves, id)
    async with asyncio.timeout(PATIENCE):
        while not first.stats["job"].lost:
            await asyncio.sleep(0.01)
    assert await effects(saves) == [(id, "attempt 2")]
    assert (first.stats["job"].done, second.stats["job"].done) == (0, 1)


async def test_what_many_jobs_end_with_is_few_transactions(saves: Database, queue: Queue, work: Work) -> None:
    together = asyncio.Event()
    begun: list[int] = []
    commits: list[int] = []

    async def run(job: Job) -> None:
        begun.append(job.id)
        if len(begun) == 10:
            together.set()
        await together.wait()
        job.end_with(lambda session: _put(session, job.id, "told"))

    ids = await add(saves, queue, *range(10))
    runner = await work(kind(run))
    write = runner._write_all

    def counted(session: Session, *rest: Any) -> Any:
        commits.append(1)
        return write(session, *rest)

    runner._write_all = counted  # type: ignore[method-assign]
    for id in ids:
        await until_ended(saves, id)
    assert await effects(saves) == [(id, "told") for id in ids]
    assert len(commits) <= 2


async def test_what_one_job_can_not_end_with_keeps_no_other_from_ending(
    saves: Database, queue: Queue, work: Work
) -> None:
    together = asyncio.Event()
    begun: list[int] = []

    async def run(job: Job) -> None:
        begun.append(job.id)
        if len(begun) == 3:
            together.set()
        await together.wait()

        def write(session: Session) -> None:
            _put(session, job.id, job.data)
            if job.data == "bad":
                raise ZeroDivisionError("no such row")

        job.end_with(write)

    ids = await add(saves, queue, "good", "bad", "fine")
    runner = await work(kind(run, attempts=2))
    assert "no such row" in ((await until_ended(saves, ids[1], GIVEN_UP)).error or "")
    for id in (ids[0], ids[2]):
        assert (await until_ended(saves, id)).attempts == 1
    assert await effects(saves) == [(ids[0], "good"), (ids[2], "fine")]
    assert (runner.stats["job"].done, runner.stats["job"].given_up) == (2, 1)


async def test_a_worker_that_finds_its_lease_gone_stops_the_job(saves: Database, queue: Queue, work: Work) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def run(job: Job) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.set()
            raise

    await work(kind(run), lease=0.6)
    [id] = await add(saves, queue, None)
    await asyncio.wait_for(begun.wait(), PATIENCE)
    async with saves.saving() as session:
        await session.execute(rows.table.update().values(owner="another", due=time.time() + 3600))
    await asyncio.wait_for(stopped.wait(), PATIENCE)
    assert (await get(saves, id)).owner == "another"


async def test_a_worker_that_cannot_renew_stops_before_another_may_begin(
    saves: Database, queue: Queue, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def run(job: Job) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.set()
            raise

    def away(*_: object) -> Any:
        raise OperationalError("renew", {}, Exception("the database is away"))

    await work(kind(run), lease=1.0)
    [id] = await add(saves, queue, None)
    await asyncio.wait_for(begun.wait(), PATIENCE)
    monkeypatch.setattr(rows.Leased, "renew", away)
    await asyncio.wait_for(stopped.wait(), PATIENCE)
    assert (await get(saves, id)).finished is None


async def test_a_lease_is_renewed_for_as_long_as_the_job_takes(saves: Database, queue: Queue, work: Work) -> None:
    attempts: list[int] = []

    async def run(job: Job) -> None:
        attempts.append(job.attempt)
        await asyncio.sleep(3.5)

    for _ in range(2):
        await work(kind(run), lease=1.0)
    [id] = await add(saves, queue, None)
    await until_ended(saves, id)
    assert attempts == [1]


async def test_a_worker_that_stops_waits_and_gives_back_what_does_not_end(
    saves: Database, queue: Queue, work: Work
) -> None:
    begun = asyncio.Event()

    async def run(job: Job) -> None:
        if job.data == "slow":
            begun.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0.2)

    runner = await work(kind(run), at_once=2, grace=0.5)
    slow, quick, *others = await add(saves, queue, "slow", "quick", *range(20))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    await runner.stop()
    assert (await get(saves, quick)).outcome == rows.DONE
    for id in (slow, *others):
        found = await get(saves, id)
        assert (found.owner, found.outcome) in {(None, None), (None, rows.DONE)}
        assert found.finished is not None or found.attempts == 0
    assert (await get(saves, slow)).finished is None


async def test_a_job_that_costs_its_workers_their_lives_is_given_up(saves: Database, queue: Queue, work: Work) -> None:
    ran: list[int] = []

    async def run(job: Job) -> None:
        ran.append(job.id)

    [id] = await add(saves, queue, None)
    async with saves.saving() as session:
        await session.execute(rows.table.update().values(owner="dead", due=1.0, attempts=10))
    await work(kind(run, attempts=10))
    found = await until_ended(saves, id, GIVEN_UP)
    assert found.error == "its worker ended, or lost it, 10 times while it had this job"
    assert ran == []


async def test_a_database_that_is_away_for_a_while_loses_nothing(
    saves: Database, queue: Queue, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    away = asyncio.Event()

    async def run(job: Job) -> None:
        away.set()
        done.append(job.id)

    def finish(*args: Any) -> int:
        if away.is_set() and len(failures) < 3:
            failures.append(1)
            raise OperationalError("finish", {}, Exception("the database is away"))
        return real(*args)

    failures: list[int] = []
    real = rows.finish
    monkeypatch.setattr(rows, "finish", finish)
    await work(kind(run))
    [id] = await add(saves, queue, None)
    await until_ended(saves, id)
    assert done == [id]
    assert len(failures) == 3


async def test_no_kind_keeps_the_others_from_their_turn(saves: Database, queue: Queue, work: Work) -> None:
    """A thousand feeds to fetch, and somebody waits for a mail."""
    gate = asyncio.Event()
    mailed = asyncio.Event()

    async def fetch(job: Job) -> None:
        await gate.wait()

    async def mail(job: Job) -> None:
        mailed.set()

    await add(saves, queue, *range(200), name="feed")
    await work(kind(fetch, "feed", at_once=3), kind(mail, "mail"), at_once=4)
    await add(saves, queue, None, name="mail")
    await asyncio.wait_for(mailed.wait(), PATIENCE)
    gate.set()


async def test_a_kind_that_came_first_does_not_take_all_the_places(saves: Database, queue: Queue, work: Work) -> None:
    """One place is free, the first kind has nothing to do, and the second has more than all places."""
    gates = {number: asyncio.Event() for number in range(20)}
    mailed = asyncio.Event()

    async def fetch(job: Job) -> None:
        await gates[job.data].wait()

    async def mail(job: Job) -> None:
        mailed.set()

    await work(kind(mail, "idle"), kind(fetch, "feed"), kind(mail, "mail"), at_once=2)
    ids = await add(saves, queue, *range(20), name="feed")
    async with asyncio.timeout(PATIENCE):
        while not (await get(saves, ids[0])).owner:
            await asyncio.sleep(0.01)
    await add(saves, queue, None, name="mail")
    # The others of its kind have waited longer than the mail.
    gates[0].set()
    await asyncio.wait_for(mailed.wait(), PATIENCE)
    for gate in gates.values():
        gate.set()


async def test_a_slow_kind_has_its_share_beside_a_quick_one_that_has_thousands(
    saves: Database, queue: Queue, work: Work
) -> None:
    """Mails, which took half a second each, went at 11 a second for as long as there were pushes to be looked at: those
    that waited for a place in a worker counted as if they had it, and slow ones are not fetched before there is one.
    """
    count = {"quick": 0, "slow": 0}
    most = 0

    async def quick(job: Job) -> None:
        await asyncio.sleep(0.004)
        count["quick"] += 1

    async def slow(job: Job) -> None:
        nonlocal most
        count["slow"] += 1
        running.append(job.id)
        most = max(most, len(running))
        await asyncio.sleep(0.4)
        running.remove(job.id)

    running: list[int] = []
    async with saves.saving() as session:
        await queue.add_many(session, [rows.New("quick", None) for _ in range(5000)])
        ids = await queue.add_many(session, [rows.New("slow", None) for _ in range(12)])
    await work(kind(quick, "quick"), kind(slow, "slow"), at_once=4)
    for id in ids:
        await until_ended(saves, id)
    assert count["slow"] == 12
    assert count["quick"] < 5000, "the slow ones came last"
    assert most == 2, "of four places"


async def test_what_waits_behind_a_slow_one_is_given_back_to_others(saves: Database, queue: Queue, work: Work) -> None:
    gate = asyncio.Event()

    async def run(job: Job) -> None:
        if job.data == "slow":
            await gate.wait()

    slow = await work(kind(run), at_once=1, lease=3600.0)
    # Quick ones make it take some ahead.
    for id in await add(saves, queue, *range(5)):
        await until_ended(saves, id)
    ids = await add(saves, queue, "slow", *range(20))
    async with asyncio.timeout(PATIENCE):
        while not (await get(saves, ids[-1])).owner:
            await asyncio.sleep(0.01)
        while (await get(saves, ids[-1])).owner:
            await asyncio.sleep(0.01)
    assert slow.running == 1
    await work(kind(run))
    for id in ids[1:]:
        assert (await until_ended(saves, id)).attempts == 1
    gate.set()


async def test_what_waits_in_a_worker_that_lost_its_lease_is_not_begun(
    saves: Database, queue: Queue, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.services.jobs.runner._TICK", 3600.0)
    gate = asyncio.Event()
    ran: list[Any] = []

    async def run(job: Job) -> None:
        ran.append(job.data)
        if job.data == "wait":
            await gate.wait()

    runner = await work(kind(run), at_once=1, lease=3600.0)
    for id in await add(saves, queue, *range(5)):
        await until_ended(saves, id)
    first, second = await add(saves, queue, "wait", "lost")
    async with asyncio.timeout(PATIENCE):
        while not (await get(saves, second)).owner or "wait" not in ran:
            await asyncio.sleep(0.01)
    async with saves.saving() as session:
        taken = rows.table.update().where(rows.table.c.id == second)
        await session.execute(taken.values(owner="another", due=time.time() + 3600))
    await runner._renew()
    gate.set()
    await until_ended(saves, first)
    assert "lost" not in ran


async def test_two_of_one_key_are_not_done_at_once(saves: Database, queue: Queue, work: Work) -> None:
    at_once = most = 0
    seen: list[Any] = []

    async def run(job: Job) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        seen.append(job.data)
        try:
            await asyncio.sleep(0.02)
        finally:
            # One that is cut off, as it takes too long here, is not being done any more.
            at_once -= 1

    for _ in range(2):
        await work(kind(run))
    last = 0
    for number in range(30):
        [last] = await add(saves, queue, number, key="feed:3")
        await asyncio.sleep(0.005)
    await until_ended(saves, last)
    assert most == 1
    # Whoever came late found the newest.
    assert seen[-1] == 29


# Threads and processes


def sleep_in_thread(job: Job) -> None:
    if job.data == "hang":
        while not job.app.wait(0.01):
            pass
    else:
        job.app.names.append(threading.current_thread().name)


class Blocking(threading.Event):
    names: list[str]


async def test_blocking_work_is_done_in_threads_and_one_that_hangs_is_left_behind(
    saves: Database, queue: Queue, work: Work
) -> None:
    app = Blocking()
    app.names = []
    runner = await work(kind(sleep_in_thread, where="thread", limit=0.3, attempts=1), app=app, at_once=2)
    hanging, good = await add(saves, queue, "hang", "good")
    assert (await until_ended(saves, hanging, GIVEN_UP)).error == "took longer than 0.3 s"
    await until_ended(saves, good)
    assert app.names == [f"job {good}"]
    assert runner.threads.left_behind == 1
    app.set()
    async with asyncio.timeout(PATIENCE):
        while runner.threads.left_behind:
            await asyncio.sleep(0.01)


def in_process(data: Any) -> None:
    if data == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if data == "hang":
        time.sleep(3600)
    if data == "give up":
        raise GiveUp("no picture")
    if data == "fail":
        raise ZeroDivisionError("in another process")
    if data == "unpicklable":
        raise OSError(threading.Lock())


def square(number: int) -> int:
    return number * number


async def test_a_process_that_is_killed_fails_only_its_job(saves: Database, queue: Queue, work: Work) -> None:
    await work(kind(in_process, where="process", limit=200.0, attempts=1))
    ids = await add(saves, queue, "kill", "fine", "give up", "fail", "fine", "unpicklable")
    errors = [(await until_ended(saves, id, GIVEN_UP)).error or "" for id in (ids[0], ids[2], ids[3], ids[5])]
    assert "ProcessDied: the process of the job ended: SIGKILL" in errors[0]
    assert errors[1] == "no picture"
    assert "ZeroDivisionError: in another process" in errors[2]
    assert "OSError" in errors[3]
    await until_ended(saves, ids[1])
    await until_ended(saves, ids[4])


async def test_a_process_that_hangs_is_killed_at_its_jobs_limit(saves: Database, queue: Queue, work: Work) -> None:
    slow = kind(in_process, "slow", where="process", limit=3.0, attempts=1)
    runner = await work(slow, kind(in_process, where="process"), processes=1)
    [hanging] = await add(saves, queue, "hang", name="slow")
    [good] = await add(saves, queue, "fine")
    assert (await until_ended(saves, hanging, GIVEN_UP)).error == "took longer than 3 s"
    await until_ended(saves, good)
    async with asyncio.timeout(PATIENCE):
        while runner.threads.left_behind:
            await asyncio.sleep(0.01)


async def test_a_handler_may_ask_a_process_and_a_thread(saves: Database, queue: Queue, work: Work) -> None:
    found: list[int] = []

    async def run(job: Job) -> None:
        found.append(await job.in_process(square, 7))
        found.append(await job.in_thread(square, number=8))

    await work(kind(run))
    [id] = await add(saves, queue, None)
    await until_ended(saves, id)
    assert found == [49, 64]


async def test_a_call_has_its_limit_to_itself_and_its_process_is_killed_then() -> None:
    """The wait for a process, and for it to begin, is not the call's."""
    threads = pools.Threads()
    processes = pools.Processes(1, threads)
    try:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await processes.call(time.sleep, 3600, limit=0.2)
        assert time.monotonic() - began < PATIENCE
        first = asyncio.create_task(processes.call(time.sleep, 2.0))
        await asyncio.sleep(0)
        # It waits for longer than its limit.
        assert await processes.call(square, 4, limit=1.5) == 16
        await first
    finally:
        await asyncio.to_thread(processes.close)


async def test_what_a_process_imports_before_a_call_is_not_the_calls_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine a new process took longer to import the reader than a feed may take to be read: the feed was
    "too large", and left alone for a day."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "slow_to_import.py").write_text(
        "import multiprocessing, time\n"
        "if multiprocessing.parent_process() is not None:\n"
        "    time.sleep(1.5)\n"
        "def double(number):\n"
        "    return 2 * number\n"
    )
    module = importlib.import_module("slow_to_import")
    threads = pools.Threads()
    processes = pools.Processes(1, threads)
    try:
        assert await processes.call(module.double, 4, limit=1.0) == 8
        assert threads.left_behind == 0
    finally:
        await asyncio.to_thread(processes.close)
        sys.modules.pop("slow_to_import")


async def test_a_process_whose_caller_has_gone_while_it_begins_is_the_next_callers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where beginning one takes longer than jobs are given, none would ever be there."""
    begun = 0

    class Slow(pools._Child):
        def __init__(self) -> None:
            nonlocal begun
            begun += 1
            time.sleep(0.2)
            super().__init__()

    monkeypatch.setattr(pools, "_Child", Slow)
    threads = pools.Threads()
    processes = pools.Processes(1, threads)
    try:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await processes.call(square, 3)
        assert await processes.call(square, 3) == 9
        assert (begun, threads.left_behind) == (1, 0)
    finally:
        await asyncio.to_thread(processes.close)


async def test_processes_end_with_their_worker() -> None:
    threads = pools.Threads()
    processes = pools.Processes(1, threads)
    assert await processes.call(square, 3) == 9
    [child] = processes._idle
    await asyncio.to_thread(processes.close)
    assert not child.alive


# Periodic jobs, progress, metrics


async def test_periodic_jobs_come_once_in_the_fleet(saves: Database, queue: Queue, work: Work) -> None:
    moments: list[int] = []

    async def run(job: Job) -> None:
        moments.append(int(job.created))

    every = Every(name="tick", kind="job", seconds=1)
    for _ in range(3):
        await work(kind(run), periodic=[every])
    async with asyncio.timeout(PATIENCE):
        while len(set(moments)) < 3:
            await asyncio.sleep(0.05)
    # The first comes at once, the next at the next full second, which may be the same.
    assert len(moments) <= len(set(moments)) + 1


async def test_progress_is_told_on_the_jobs_channel(saves: Database, queue: Queue, work: Work) -> None:
    publisher = RecordingPublisher()

    async def run(job: Job) -> None:
        for number in range(1000):
            job.progress(number, 1000, "pictures")
        await job.in_thread(job.progress, 1000, 1000, "pictures")
        await asyncio.sleep(0)

    await work(kind(run), publisher=publisher)
    [id] = await add(saves, queue, None)
    await until_ended(saves, id)
    async with asyncio.timeout(PATIENCE):
        while not publisher.published or publisher.published[-1][1]["state"] != "done":  # type: ignore[index]
            await asyncio.sleep(0.01)
    assert {channel for channel, _ in publisher.published} == {f"job-{id}"}
    assert publisher.published[0][1] == {
        "job": id,
        "state": "running",
        "done": 0,
        "total": 1000,
        "words": "pictures",
    }
    assert publisher.published[-1][1] == {
        "job": id,
        "state": "done",
        "done": 1000,
        "total": 1000,
        "words": "pictures",
    }
    # Not one for each word.
    assert len(publisher.published) < 20


async def test_last_progress_before_the_end_is_told(saves: Database, queue: Queue, work: Work) -> None:
    """It was said as the handler's last word, and the end was told with the words before it: done, at 97 %."""
    publisher = RecordingPublisher()

    async def run(job: Job) -> None:
        job.progress(39, 40, "step 40 of 40")
        await asyncio.sleep(0)
        job.progress(40, 40, "40 steps")

    await work(kind(run), publisher=publisher)
    [id] = await add(saves, queue, None)
    await until_ended(saves, id)
    async with asyncio.timeout(PATIENCE):
        while not publisher.published or publisher.published[-1][1]["state"] != "done":  # type: ignore[index]
            await asyncio.sleep(0.01)
    assert publisher.published[-1][1] == {"job": id, "state": "done", "done": 40, "total": 40, "words": "40 steps"}


async def test_metrics_of_jobs(saves: Database, queue: Queue, work: Work) -> None:
    async def run(job: Job) -> None:
        if job.data == "bad":
            raise GiveUp("no")

    runner = await work(kind(run))
    good, bad = await add(saves, queue, "good", "bad")
    await add(saves, queue, 1, name="from a later release")
    await until_ended(saves, good)
    await until_ended(saves, bad, GIVEN_UP)
    found = {
        (sample.name, sample.labels.get("kind")): sample.value
        for metric in await of_jobs(runner)
        for sample in metric.samples
    }
    assert found["site_jobs_done_total", "job"] == 1
    assert found["site_jobs_gave_up_total", "job"] == 1
    assert found["site_jobs_seconds_count", "job"] == 2
    assert found["site_jobs_given_up", "job"] == 1
    assert found["site_jobs_waiting", "unknown"] == 1
    assert found["site_jobs_due", "unknown"] == 1
    assert found["site_jobs_oldest_due_seconds", "unknown"] > 0
    assert found["site_jobs_waiting", "job"] == 0


async def test_metrics_without_a_database_have_what_is_known_here(
    saves: Database, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(job: Job) -> None:
        pass

    def away(*_: object) -> Any:
        raise OperationalError("counts", {}, Exception("the database is away"))

    runner = await work(kind(run))
    monkeypatch.setattr(rows, "counts", away)
    assert {metric.name for metric in await of_jobs(runner)} == {
        "site_jobs_done",
        "site_jobs_failed",
        "site_jobs_gave_up",
        "site_jobs_lost",
        "site_jobs_seconds",
        "site_jobs_threads_left",
    }


@asynccontextmanager
async def refusing() -> AsyncIterator[AsyncSession]:
    raise ConnectionError
    yield


async def test_a_save_that_fails_leaves_the_job_to_be_tried_again(
    saves: Database, queue: Queue, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = saves.saving

    async def run(job: Job) -> None:
        if job.attempt == 1:
            monkeypatch.setattr(saves, "saving", refusing)
        try:
            async with job.saving() as session:
                await session.execute(text("insert into effects values (:job, 'done')"), {"job": job.id})
        finally:
            monkeypatch.setattr(saves, "saving", real)

    await work(kind(run))
    [id] = await add(saves, queue, None)
    assert (await until_ended(saves, id)).attempts == 2
    assert await effects(saves) == [(id, "done")]


async def test_workers_of_other_processes_are_woken_by_few_hints() -> None:
    publisher = RecordingPublisher()
    hinter = Hinter(publisher)
    publisher.error = BrokerUnavailable("away")
    hinter()
    await asyncio.sleep(0)
    publisher.error = None
    for _ in range(50):
        hinter()
    async with asyncio.timeout(PATIENCE):
        while not publisher.published:
            await asyncio.sleep(0.01)
    assert publisher.published == [(CHANNEL, True)]
    await hinter.close()

    woken: list[int] = []

    @asynccontextmanager
    async def follow(channel: str) -> AsyncIterator[AsyncIterator[object]]:
        assert channel == CHANNEL

        async def heard() -> AsyncIterator[object]:
            yield "a hint"
            yield "lost"

        yield heard()

    await wake_by(follow, lambda: woken.append(1))
    assert len(woken) == 2
