"""`python -m benchmarks.podcast_fetches`: what a feed costs the whole way, from its job to what is told of it.

A worker does the site's own jobs: it looks for feeds that are due, takes each, fetches it (packed, over loopback, by
the guarded client), has it read by another process, compares it with what is stored, writes, ends the job, and tells
what has changed. First all feeds are new, then each has an episode more, then none has changed (304). Printed is the
CPU of each feed by process, as /proc has it; the server of the feeds is not among it. On a busy machine that says more
than feeds a second: `chrt -i 0` and turns with what is compared.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import os
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web
from sqlalchemy import func, select, update

from hub.publisher import RecordingPublisher
from web.app import hints_of
from web.db.database import Database
from web.db.migrate import migrate
from web.features.podcasts import jobs, store
from web.features.podcasts.fetching import read_bytes
from web.features.podcasts.models import Episode, Feed, Fetch
from web.features.podcasts.schedule import Outage
from web.features.podcasts.settings import PodcastSettings
from web.pages import keys
from web.services.addresses import Guard, parse_networks
from web.services.jobs.queue import Queue
from web.services.jobs.runner import Options, Runner
from web.services.outbound import Outbound

from .databases import postgresql, process_of
from .podcasts import spent_by

#: Bodies that differ; the feeds have them in turns.
_BODIES = 20

#: Seconds without a feed that was stored, after which something is wrong.
_STUCK = 120.0


_HEAD = '<?xml version="1.0"?><rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"><channel>'
_START = datetime.now(UTC) - timedelta(days=300)


def body(number: int, episodes: int) -> bytes:
    """A feed as they are, packed. With more episodes it has the same before them."""
    items = "".join(
        f"<item><title>Number {each} of {number}</title><guid>{number}-{each}</guid>"
        f"<pubDate>{_START + timedelta(days=each):%a, %d %b %Y %H:%M:%S} +0000</pubDate>"
        f"<description>{'What it is about, in some words of its own. ' * 8}</description>"
        f"<itunes:duration>{600 + each}</itunes:duration><itunes:episodeType>full</itunes:episodeType>"
        f'<enclosure url="http://a.example/{number}/{each}.mp3" type="audio/mpeg" length="1000"/></item>'
        for each in reversed(range(episodes))
    )
    return gzip.compress(f"{_HEAD}<title>Feed {number}</title>{items}</channel></rss>".encode())


def serve(sock: socket.socket, episodes: int) -> int:
    """A server of feeds in a process of its own: `/more` gives each an episode more; its process id."""
    pid = os.fork()
    if pid:
        return pid
    bodies: list[bytes] = []
    state = {"round": -1}

    def make() -> None:
        state["round"] += 1
        bodies[:] = [body(number, episodes + state["round"]) for number in range(_BODIES)]

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/more":
            make()
            return web.Response()
        number = int(request.path.rpartition("-")[2])
        etag = f'"{state["round"]}-{number}"'
        headers = {"ETag": etag, "Content-Encoding": "gzip", "Content-Type": "application/rss+xml; charset=utf-8"}
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        return web.Response(body=bodies[number % _BODIES], headers=headers)

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.SockSite(runner, sock).start()
        await asyncio.Event().wait()

    try:
        make()
        asyncio.run(run())
    finally:
        os._exit(0)


def _spent(server: int, database: int | None) -> tuple[float, float, float]:
    """Seconds of CPU: of this process, of those that read for it, of the database's."""
    own, all_of_them = time.process_time(), spent_by(os.getpid())
    serving = spent_by(database) if database else 0.0
    return own, all_of_them - own - serving - spent_by(server), serving


async def _done(counts: Counter[str], fetches: int) -> None:
    """Wait until there were so many fetches in this process."""
    seen, at = -1, time.monotonic()
    while (found := counts.total()) < fetches:
        if found != seen:
            seen, at = found, time.monotonic()
        elif time.monotonic() > at + _STUCK:
            raise TimeoutError(f"{found} of {fetches} fetches, and no more come")
        await asyncio.sleep(0.1)


async def measure(
    url: str, name: str, found: argparse.Namespace, pid: int | None, watch: Callable[[str], Any] | None = None
) -> None:
    """Print what a feed costs. pid: of the database's server. watch: called with the name of each part as it begins."""
    await migrate(url)
    sock = socket.socket()
    sock.bind(("0.0.0.0", 0))
    sock.listen(200)
    port = sock.getsockname()[1]
    server = serve(sock, found.episodes)
    database = Database(url, RecordingPublisher(), hints=hints_of())
    app: dict[Any, Any] = {
        keys.database: database,
        keys.outbound: Outbound(Guard(parse_networks("127.0.0.0/8")), "Fanfare/test"),
        keys.settings: {PodcastSettings: PodcastSettings()},
        keys.jobs: Queue(),
        jobs.outage: Outage(),
        jobs.counts: Counter(),
        jobs.turn: jobs.Turn(),
    }
    # A machine that is busy enough stands still for longer than a lease usually is.
    options = Options(processes=found.processes, lease=600)
    runner = Runner(database, jobs.KINDS, RecordingPublisher(), options=options, app=app)
    app[keys.jobs].listeners.append(runner.wake)
    try:
        await database.start()
        hosts = [f"127.0.{1 + number // 250}.{1 + number % 250}" for number in range(found.hosts)]
        async with database.saving() as session:
            for number in range(found.feeds):
                await store.add(session, f"http://{hosts[number % found.hosts]}:{port}/feed-{number}")
        # Those that read begin before it counts.
        await asyncio.gather(*(runner.processes.call(read_bytes, b"", "", "") for _ in range(found.processes)))
        await runner.start()
        jobs_before = 0
        for turn, part in enumerate(("new", "an episode more", "nothing new (304)")):
            if turn == 1:
                async with ClientSession() as client, client.get(f"http://127.0.0.1:{port}/more") as response:
                    response.raise_for_status()
            if turn:
                async with database.saving() as session:
                    await session.execute(update(Feed).values(next=0.0).execution_options(fanfare=False))
            if watch is not None:
                watch(part)
            before, began = _spent(server, pid), time.perf_counter()
            async with database.saving() as session:
                # As the look at what is due, with nothing between it and the jobs.
                await jobs.plan(session, app[keys.jobs], *hosts)
            await _done(app[jobs.counts], found.feeds * (turn + 1))
            took = time.perf_counter() - began
            parts = [(end - start) / found.feeds * 1000 for start, end in zip(before, _spent(server, pid), strict=True)]
            ended = runner.stats[jobs.FETCH].ended
            print(
                f"| {name}, {part} | {parts[0]:.1f} | {parts[1]:.1f} | {parts[2]:.1f} | {sum(parts):.1f} |"
                f" {(ended - jobs_before) / found.feeds:.1f} | {found.feeds / took:.0f} | {os.getloadavg()[0]:.1f} |",
                flush=True,
            )
            jobs_before = ended
        async with database.reading() as session:
            episodes = await session.scalar(select(func.count()).select_from(Episode))
            failed = await session.scalar(
                select(func.count()).select_from(Fetch).where(Fetch.outcome.not_in(["new", "same"]))
            )
        wanted = found.feeds * (found.episodes + 1)
        if episodes != wanted or failed:
            raise AssertionError(f"{episodes} episodes for {wanted}; {failed} fetches failed")
    finally:
        await runner.stop()
        await app[keys.outbound].close()
        await database.close()
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)
        sock.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.podcast_fetches", description=__doc__)
    parser.add_argument("--feeds", type=int, default=300)
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--episodes", type=int, default=130, help="of each feed at first")
    parser.add_argument("--processes", type=int, default=2, help="that read")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    found = parser.parse_args()
    print("CPU ms a feed:\n")
    print("| | this process | those that read | the database's | in all | jobs a feed | feeds a second | load |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="fanfare-fetches-") as name:
        folder = Path(name)
        if found.only != "postgresql":
            asyncio.run(measure(f"sqlite:///{folder / 'site.db'}", "SQLite", found, None))
        if found.only != "sqlite":
            with postgresql(folder) as server:
                asyncio.run(measure(server.create("podcasts"), "PostgreSQL", found, process_of(server)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
