"""Jobs, measured and tormented: `python -m benchmarks.jobs rate|kill [--database URL] …`.

rate  so many jobs that are due, done by so many processes: none twice, and how many a second
kill  workers that are killed (-9) at random, while jobs are added all the time: each was done, none whose effect is in
      its own transaction twice, none stuck

Without --database both run on a SQLite file and on the wheel's PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from hub.orm import outbox
from hub.publisher import RecordingPublisher
from web.db.database import Database
from web.services.jobs import rows
from web.services.jobs.kinds import Job, Kind, LeaseLost
from web.services.jobs.queue import Queue
from web.services.jobs.rows import New
from web.services.jobs.runner import Options, Runner

from .databases import both

_EFFECT = text("insert into effects (job, kind) values (:job, :kind)")


# Kinds


class Seen:
    """Which jobs this process was given, in order."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    async def nothing(self, job: Job) -> None:
        self.ids.append(job.id)


async def _twice_perhaps(job: Job) -> None:
    """Its effect is a transaction of its own, and then it is done: killed between, it is done again."""
    database: Database = job.app
    await asyncio.sleep(random.uniform(0, 0.03))
    async with database.saving() as session:
        await session.execute(_EFFECT, {"job": job.id, "kind": "plain"})


async def _once(job: Job) -> None:
    """Its effect is in the transaction that ends it."""
    await asyncio.sleep(random.uniform(0, 0.03))
    with contextlib.suppress(LeaseLost):
        async with job.saving() as session:
            await session.execute(_EFFECT, {"job": job.id, "kind": "once"})


_KILLED = (
    Kind(name="plain", run=_twice_perhaps, attempts=100, first=0.05, longest=0.2),
    Kind(name="once", run=_once, attempts=100, first=0.05, longest=0.2),
)


# Workers: forked from a process that has everything imported, as a start takes a second


def _worker(url: str, kinds: tuple[Kind, ...], options: Options, report: Path | None, seen: Seen | None) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        logging.disable(logging.CRITICAL)
        code = asyncio.run(_work(url, kinds, options, report, seen))
    finally:
        os._exit(code)


async def _work(url: str, kinds: tuple[Kind, ...], options: Options, report: Path | None, seen: Seen | None) -> int:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    database = Database(url, RecordingPublisher())
    runner = Runner(database, kinds, RecordingPublisher(), options=options, app=database)
    await runner.start()
    if report is not None:
        report.with_suffix(".ready").touch()
    await stop.wait()
    await runner.stop()
    await database.close()
    if report is not None and seen is not None:
        report.write_text(json.dumps(seen.ids))
    return 0


def _end(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


# The database


async def _prepare(url: str) -> None:
    database = Database(url, RecordingPublisher())
    async with database.engine.execution_options(writing=True).begin() as connection:
        await connection.run_sync(rows.metadata.drop_all)
        await connection.run_sync(rows.metadata.create_all)
        await connection.run_sync(outbox.create)
        await connection.execute(text("drop table if exists effects"))
        await connection.execute(text("create table effects (job bigint, kind text)"))
    await database.close()


async def _ask(url: str, statement: str) -> list[Any]:
    database = Database(url, RecordingPublisher())
    try:
        async with database.engine.connect() as connection:
            return list((await connection.execute(text(statement))).all())
    finally:
        await database.close()


async def _unfinished(url: str) -> int:
    return int((await _ask(url, "select count(*) from jobs where finished is null"))[0][0])


async def _add(url: str, jobs: list[New]) -> None:
    database, queue = Database(url, RecordingPublisher()), Queue()
    at = 0
    while at < len(jobs):
        try:
            async with database.saving() as session:
                await queue.add_many(session, jobs[at : at + 5000])
        except OperationalError:
            # SQLite's lock was others' for five seconds: a visitor would be answered 503, and nothing was added.
            continue
        at += 5000
    await database.close()


# rate


def rate(url: str, name: str, jobs: int, workers: int, patience: float) -> bool:
    """Do so many due jobs with so many processes; print the rate, and whether any was taken twice."""
    asyncio.run(_prepare(url))
    started = time.monotonic()
    asyncio.run(_add(url, [New("nothing", number) for number in range(jobs)]))
    added = jobs / (time.monotonic() - started)
    with tempfile.TemporaryDirectory() as folder:
        reports = [Path(folder) / f"{number}.json" for number in range(workers)]
        pids = []
        started = time.monotonic()
        left = jobs
        try:
            for report in reports:
                seen = Seen()
                pids.append(_worker(url, (Kind(name="nothing", run=seen.nothing),), Options(), report, seen))
            while left := asyncio.run(_unfinished(url)):
                if time.monotonic() - started > patience:
                    break
                time.sleep(0.2)
            seconds = time.monotonic() - started
        finally:
            _end(pids)
        taken = Counter(id for report in reports for id in json.loads(report.read_text()))
        shares = [len(json.loads(report.read_text())) for report in reports]
    twice = sum(1 for count in taken.values() if count > 1)
    good = not twice and not left and len(taken) == jobs
    print(
        f"{name}: {jobs} jobs by {workers} processes in {seconds:.1f} s: {jobs / seconds:.0f} a second"
        f" (added: {added:.0f} a second); taken twice: {twice}; left: {left}; shares: {shares};"
        f" {'ok' if good else 'BAD'}",
        flush=True,
    )
    return good


# kill


def kill(url: str, name: str, kills: int, workers: int, pause: float, patience: float) -> bool:
    """Kill workers while jobs come; print what became of the jobs."""
    asyncio.run(_prepare(url))
    options = Options(lease=1.0, poll=0.1, at_once=10)
    pids = [_worker(url, _KILLED, options, None, None) for _ in range(workers)]
    killed = added = left = 0
    started = time.monotonic()
    try:
        while killed < kills:
            jobs = [New(random.choice(("plain", "once")), None) for _ in range(random.randrange(1, 40))]
            jobs += [New("once", None, key=f"k{random.randrange(5)}") for _ in range(3)]
            asyncio.run(_add(url, jobs))
            added += len(jobs)
            time.sleep(random.uniform(0, 2 * pause))
            victim = random.choice(pids)
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            killed += 1
            pids[pids.index(victim)] = _worker(url, _KILLED, options, None, None)
        limit = time.monotonic() + patience
        while (left := asyncio.run(_unfinished(url))) and time.monotonic() < limit:
            time.sleep(0.2)
    finally:
        _end(pids)
    seconds = time.monotonic() - started
    outcomes: dict[str, int] = dict(asyncio.run(_ask(url, _OUTCOMES)))
    effects: dict[str, Counter[int]] = {"plain": Counter(), "once": Counter()}
    for job, kind in asyncio.run(_ask(url, "select job, kind from effects")):
        effects[kind][job] += 1
    done = {kind: {job for (job,) in asyncio.run(_ask(url, _DONE.format(kind)))} for kind in effects}
    missing = sum(len(done[kind] - effects[kind].keys()) for kind in effects)
    twice = {kind: sum(1 for count in effects[kind].values() if count > 1) for kind in effects}
    running = asyncio.run(_ask(url, "select count(*) from jobs where owner is not null"))[0][0]
    good = not (left or missing or twice["once"] or running or outcomes.keys() - {rows.DONE})
    print(
        f"{name}: {killed} workers of {workers} killed in {seconds:.0f} s; {added} jobs added, {outcomes};"
        f" done without an effect: {missing}; effects twice: {twice['once']} in the job's own transaction,"
        f" {twice['plain']} beside it;"
        f" stuck: {left}, with an owner: {running}; {'ok' if good else 'BAD'}",
        flush=True,
    )
    return good


_OUTCOMES = "select outcome, count(*) from jobs group by outcome"
_DONE = "select id from jobs where kind = '{}' and outcome = 'done'"


def main() -> int:
    """Parse the arguments, run, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("rate", "kill"))
    parser.add_argument("--database", metavar="URL", help="its tables `jobs` and `effects` are dropped")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.25, help="seconds between two kills, on average")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds to wait for the last job")
    found = parser.parse_args()
    good = True
    with both("jobs", found.database) as databases:
        for name, url in databases:
            if found.what == "rate":
                good &= rate(url, name, found.jobs, found.workers, found.patience)
            else:
                good &= kill(url, name, found.kills, found.workers, found.pause, found.patience)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
