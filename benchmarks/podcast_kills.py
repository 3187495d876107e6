"""Workers that fetch feeds, killed (-9) at random: `python -m benchmarks.podcast_kills [--kills 100]`.

Feeds on several hosts of loopback are due again and again, each time with an episode more; workers are killed in the
middle of fetches, of reading and of writing, each once feeds were asked for since the one before. At the end each feed
has been fetched, none is stuck, none was fetched in a loop, and no episode is there twice or missing. The counts are
printed. It waits as long as anything goes on: how fast that is, is the machine's. A fetch that failed (the server of
a machine that is busy enough does not answer in time) is printed with its words and asked for once more at the end,
as `fanfare podcasts retry` does it: what it lacked has to be there then.
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
import socket
import tempfile
import time
import urllib.request
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError

from hub.publisher import RecordingPublisher
from web.app import hints_of
from web.db.database import Database
from web.db.migrate import migrate
from web.features.podcasts import jobs, store
from web.features.podcasts.models import Feed, Fetch
from web.features.podcasts.schedule import Outage
from web.features.podcasts.settings import PodcastSettings
from web.pages import keys
from web.services.addresses import Guard, parse_networks
from web.services.jobs.kinds import Every
from web.services.jobs.queue import Queue
from web.services.jobs.runner import Options, Runner
from web.services.outbound import Outbound

from .databases import postgresql

#: Seconds that a worker has a feed, and a job, for itself here: those of dead workers come back soon. Longer than a
#: living one may be halted by a busy machine, or what it has in its hands would be done twice.
TAKEN, LEASE = 12.0, 6.0

#: Seconds without a request or a feed that was stored, after which something is stuck: some times what a dead worker's
#: feeds take to come back, and a new worker to begin.
STUCK = 90.0

BASE = 20
HEAD = '<?xml version="1.0"?><rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"><channel>'


def body(name: str, episodes: int) -> bytes:
    """A feed of so many episodes."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    items = "".join(
        f"<item><title>Number {each}</title><guid>{name}-{each}</guid>"
        f"<pubDate>{start + timedelta(hours=each):%a, %d %b %Y %H:%M:%S} +0000</pubDate>"
        f"<itunes:duration>600</itunes:duration>"
        f'<enclosure url="http://a.example/{name}/{each}.mp3" type="audio/mpeg"/></item>'
        for each in range(episodes)
    )
    return f"{HEAD}<title>{name}</title>{items}</channel></rss>".encode()


def serve(sock: socket.socket) -> int:
    """A server of feeds in a process of its own; /round adds an episode to each, /counts says who asked for what."""
    pid = os.fork()
    if pid:
        return pid
    counts: Counter[str] = Counter()
    state = {"round": 0}

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/round":
            state["round"] += 1
            counts.clear()
            return web.json_response(state["round"])
        if request.path == "/counts":
            return web.json_response(counts)
        name = f"{request.host.partition(':')[0]}{request.path}"
        counts[name] += 1
        await asyncio.sleep(random.uniform(0, 0.1))
        return web.Response(body=body(request.path.strip("/"), BASE + state["round"]))

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.SockSite(runner, sock).start()
        await asyncio.Event().wait()

    try:
        asyncio.run(run())
    finally:
        os._exit(0)


def worker(url: str) -> int:
    """A worker in a process of its own."""
    pid = os.fork()
    if pid:
        return pid
    try:
        logging.disable(logging.CRITICAL)
        asyncio.run(work(url))
    finally:
        os._exit(1)


async def work(url: str) -> None:
    """Do the podcasts' jobs, with short pauses between looks at the queue."""
    jobs.TAKEN, jobs.EVERY = TAKEN, 0.2
    database = Database(url, RecordingPublisher(), hints=hints_of())
    app: dict[Any, Any] = {
        keys.database: database,
        keys.outbound: Outbound(Guard(parse_networks("127.0.0.0/8")), "Fanfare/test"),
        keys.settings: {PodcastSettings: PodcastSettings(probes=0)},
        keys.jobs: Queue(),
        jobs.outage: Outage(),
        jobs.counts: Counter(),
        jobs.turn: jobs.Turn(),
    }
    options = Options(lease=LEASE, poll=0.2, processes=1)
    every = Every(name="podcasts due", kind=jobs.SWEEP, seconds=1)
    runner = Runner(database, jobs.KINDS, RecordingPublisher(), periodic=[every], options=options, app=app)
    app[keys.jobs].listeners.append(runner.wake)
    await runner.start()
    await asyncio.Event().wait()


async def prepare(url: str, port: int, hosts: int, feeds: int) -> None:
    """Feeds that are due, so many on each host."""
    await migrate(url)
    database = Database(url, RecordingPublisher(), hints=hints_of())
    async with database.saving() as session:
        for host in range(hosts):
            for number in range(feeds):
                await store.add(session, f"http://127.0.0.{host + 2}:{port}/feed-{host}-{number}")
    await database.close()


async def look(url: str, again: bool) -> tuple[int, list[tuple[int, int, int]]]:
    """How many feeds wait to be fetched; per podcast its episodes, its distinct guids, and what it says it has.

    again: let all be due once more.
    """
    database = Database(url, RecordingPublisher(), hints=hints_of())
    async with database.reading() as session:
        waiting = len(list(await session.scalars(select(Feed.podcast_id).where(Feed.next <= time.time()))))
    while again:
        # Workers hold SQLite's lock most of the time.
        with contextlib.suppress(OperationalError):
            async with database.saving() as session:
                await session.execute(update(Feed).values(next=0.0).execution_options(fanfare=False))
            again = False
    async with database.reading() as session:
        rows = await session.execute(
            text(
                "select count(e.id), count(distinct e.guid), p.episodes from podcasts p"
                " left join podcast_episodes e on e.podcast_id = p.id group by p.id, p.episodes"
            )
        )
        found = [(int(a), int(b), int(c)) for a, b, c in rows]
    await database.close()
    return waiting, found


async def failed(url: str, last: int) -> list[tuple[int, str]]:
    """Fetches that failed, after the one of this id: each with what it came to."""
    database = Database(url, RecordingPublisher(), hints=hints_of())
    async with database.reading() as session:
        of = select(Fetch).where(Fetch.id > last, Fetch.outcome.not_in(["new", "same"])).order_by(Fetch.id)
        found = [
            (each.id, f"feed {each.podcast_id}: {each.outcome}, {each.words}") for each in await session.scalars(of)
        ]
    await database.close()
    return found


async def retry(url: str) -> None:
    """Let feeds be due whose last fetch failed."""
    database = Database(url, RecordingPublisher(), hints=hints_of())
    async with database.saving() as session:
        again = update(Feed).where(Feed.outcome.not_in(["new", "same", ""])).values(next=0.0)
        await session.execute(again.execution_options(fanfare=False))
    await database.close()


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=60) as answer:
        return json.load(answer)


class Progress:
    """Notices when no job has finished for too long."""

    def __init__(self) -> None:
        self.seen: object = None
        self.at = time.monotonic()

    def note(self, seen: object) -> bool:
        """Note how far it is; True if that is further than before. Raises TimeoutError if nothing went on for STUCK."""
        if seen != self.seen:
            self.seen, self.at = seen, time.monotonic()
            return True
        if time.monotonic() > self.at + STUCK:
            raise TimeoutError
        return False


def run(url: str, name: str, kills: int, workers: int, hosts: int, feeds: int) -> bool:
    """Kill workers until there were so many; print what became of the feeds."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("0.0.0.0", 0))
    sock.listen(200)
    port = sock.getsockname()[1]
    server = serve(sock)
    asyncio.run(prepare(url, port, hosts, feeds))
    pids = [worker(url) for _ in range(workers)]
    killed, rounds, most, requests, left = 0, 0, 0, 0, 0
    killed_in_round = 0
    began = time.monotonic()
    stuck, progress = False, Progress()
    failures: list[tuple[int, str]] = []
    try:
        try:
            while killed < kills:
                time.sleep(random.uniform(0.3, 1.2))
                if progress.note((rounds, sum(get(port, "counts").values()))):
                    victim = random.choice(pids)
                    os.kill(victim, signal.SIGKILL)
                    os.waitpid(victim, 0)
                    killed += 1
                    killed_in_round += 1
                    pids[pids.index(victim)] = worker(url)
                if not asyncio.run(look(url, again=False))[0]:
                    counts = get(port, "counts")
                    # Of a worker that is killed each feed in its hands is fetched again, and no more than that.
                    most = max(most, max(counts.values(), default=0) - killed_in_round)
                    requests += sum(counts.values())
                    get(port, "round")
                    rounds, killed_in_round = rounds + 1, 0
                    asyncio.run(look(url, again=True))
            while True:
                while asyncio.run(look(url, again=False))[0]:
                    progress.note((rounds, sum(get(port, "counts").values())))
                    time.sleep(0.5)
                some = asyncio.run(failed(url, failures[-1][0] if failures else 0))
                if not some:
                    break
                failures += some
                asyncio.run(retry(url))
        except TimeoutError:
            stuck = True
        left, found = asyncio.run(look(url, again=False))
        counts = get(port, "counts")
        # A fetch that failed was asked for once more.
        most = max(most, max(counts.values(), default=0) - killed_in_round - len(failures))
        requests += sum(counts.values())
    finally:
        for pid in (*pids, server):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        sock.close()
    wanted = BASE + rounds
    doubled = sum(count - distinct for count, distinct, _ in found)
    wrong = sum((count, said) != (wanted, wanted) for count, _, said in found)
    good = not (stuck or left or doubled or wrong or most > 1)
    total = hosts * feeds * (rounds + 1)
    for _, words in failures:
        print(f"failed, and asked for once more: {words}")
    print(
        f"{name}: {killed} kills of {workers} workers in {time.monotonic() - began:.0f} s; {hosts * feeds} feeds on"
        f" {hosts} hosts, {rounds + 1} times due, {requests} requests for {total}; stuck: {left}"
        f"{f' (nothing went on for {STUCK:g} s)' if stuck else ''}; episodes doubled:"
        f" {doubled}; feeds with other than {wanted} episodes: {wrong}; a feed asked again without a kill:"
        f" {'yes' if most > 1 else 'no'}; fetches that failed: {len(failures)}; {'ok' if good else 'BAD'}",
        flush=True,
    )
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.podcast_kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--hosts", type=int, default=6)
    parser.add_argument("--feeds", type=int, default=10, help="of each host")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL, not on SQLite")
    found = parser.parse_args()
    arguments = (found.kills, found.workers, found.hosts, found.feeds)
    with tempfile.TemporaryDirectory(prefix="fanfare-kills-") as name:
        folder = Path(name)
        if not found.postgres:
            return 0 if run(f"sqlite:///{folder / 'site.db'}", "SQLite", *arguments) else 1
        with postgresql(folder) as server:
            return 0 if run(server.create("podcasts"), "PostgreSQL", *arguments) else 1


if __name__ == "__main__":
    raise SystemExit(main())
