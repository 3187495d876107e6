"""What the hub's clients notice of a large feed: `python -m benchmarks.podcast_calm`.

A site with its hub and its jobs in one process, a client that publishes and hears 50 times a second, first in quiet;
then while the same process takes a feed of 1.6 MB and 730 episodes, with other bytes each time, over and over.
Printed: how long a publication takes from the publisher to who hears it, median and p99, and how often the feed was
taken meanwhile. The p99 may be 5 ms above that of quiet.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web
from sqlalchemy import select, update

from hub.publisher import HttpPublisher, RecordingPublisher
from hub.remote import RemoteHub
from web.app import hints_of
from web.db.database import Database
from web.db.migrate import migrate
from web.features.podcasts import jobs, store
from web.features.podcasts.models import Feed, Fetch
from web.services.jobs.queue import Queue

from .ports import free_port

EPISODES, SIZE = 730, 1_600_000
KEY = base64.b64encode(b"x" * 32).decode()
BOUND = 5.0


def body(turn: int) -> bytes:
    """A feed of 730 episodes and 1.6 MB; another each time."""
    head = '<?xml version="1.0"?><rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"><channel>'
    words = "What it is about, at some length, with names and links. " * (SIZE // EPISODES // 60)
    end = datetime(2026, 11, 1, tzinfo=UTC)
    items = "".join(
        f"<item><title>Number {each}{f' ({turn})' if each < 5 else ''}</title><guid>{each}</guid>"
        f"<pubDate>{end - timedelta(days=each):%a, %d %b %Y %H:%M:%S} +0000</pubDate><itunes:duration>1:00:00"
        f"</itunes:duration><description><![CDATA[<p>{words}</p>]]></description>"
        f'<enclosure url="http://a.example/{each}.mp3" type="audio/mpeg" length="1"/></item>'
        for each in range(EPISODES)
    )
    return f"{head}<title>Large</title>{items}</channel></rss>".encode()


async def latencies(hub: RemoteHub, publisher: HttpPublisher, seconds: float) -> list[float]:
    """Milliseconds from the publisher to who hears it."""
    found: list[float] = []
    sent: dict[int, float] = {}

    async def hear() -> None:
        async with hub.follow("calm") as follower:
            ready.set()
            async for entry in follower:
                number = getattr(entry, "data", None)
                if number in sent:
                    found.append((time.perf_counter() - sent.pop(number)) * 1000)

    ready = asyncio.Event()
    hearing = asyncio.create_task(hear())
    await ready.wait()
    began, number = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        number += 1
        sent[number] = time.perf_counter()
        await publisher.publish("calm", number)
        await asyncio.sleep(max(0.0, began + number / 50 - time.perf_counter()))
    await asyncio.sleep(0.5)
    hearing.cancel()
    return sorted(found)


async def measure(seconds: float, folder: Path) -> bool:
    port, turn = free_port(), 0

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bodies[turn % len(bodies)])

    bodies = [body(each) for each in range(20)]
    app = web.Application()
    app.router.add_get("/feed", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    feeds = free_port()
    await web.TCPSite(runner, "127.0.0.1", feeds).start()
    url = f"sqlite:///{folder / 'site.db'}"
    await migrate(url)
    database = Database(url, RecordingPublisher(), hints=hints_of())
    async with database.saving() as session:
        podcast, _ = await store.add(session, f"http://127.0.0.1:{feeds}/feed")
        await session.execute(update(Feed).values(next=4e9))
    environ = {
        "PATH": os.environ["PATH"], "PORT": str(port), "HUB_VAR": str(folder), "DATABASE_URL": url, "FANOUT_KEY": KEY,
        "SITE_SECRET": KEY, "OUTBOUND_ALLOW": "127.0.0.1", "JOBS_POLL": "0.2", "HUB_LOG_LEVEL": "error",
    }  # fmt: skip
    fanfare = str(Path(sys.executable).parent / "fanfare")
    log = (folder / "log").open("wb")
    process = subprocess.Popen([fanfare, "serve", "--no-demo"], env=environ, stdout=log, stderr=log)
    try:
        at, key = f"http://127.0.0.1:{port}", base64.b64decode(KEY)
        publisher = HttpPublisher(at, "fanfare", key)
        async with RemoteHub(at, ["calm"], realm="fanfare", key=key) as hub:
            async with asyncio.timeout(60):
                while not hub.hears:
                    await asyncio.sleep(0.2)
            await latencies(hub, publisher, 2.0)
            quiet = await latencies(hub, publisher, seconds)
            stop = asyncio.Event()

            async def keep_due() -> None:
                nonlocal turn
                while not stop.is_set():
                    turn += 1
                    async with database.saving() as session:
                        await session.execute(update(Feed).values(next=0.0).execution_options(fanfare=False))
                        await jobs.plan(session, Queue(), "127.0.0.1")
                    await asyncio.sleep(0.5)

            taking = asyncio.create_task(keep_due())
            await asyncio.sleep(3)
            before = await _taken(database, podcast.id)
            busy = await latencies(hub, publisher, seconds)
            taken = await _taken(database, podcast.id) - before
            stop.set()
            await taking
        await publisher.close()
    finally:
        process.terminate()
        process.wait(20)
        log.close()
        await database.close()
        await runner.cleanup()
    print(f"a feed of {len(bodies[0]):,} bytes and {EPISODES} episodes, taken {taken} times in {seconds:g} s")
    for name, found in (("quiet", quiet), ("meanwhile", busy)):
        print(f"{name}: {len(found)} heard, median {found[len(found) // 2]:.1f} ms, p99 {_p99(found):.1f} ms")
    fine = bool(taken) and _p99(busy) <= _p99(quiet) + BOUND
    print(f"p99 {_p99(busy) - _p99(quiet):+.1f} ms ({BOUND:g} allowed): {'ok' if fine else 'BAD'}")
    return fine


def _p99(found: list[float]) -> float:
    return found[int(len(found) * 0.99)]


async def _taken(database: Database, podcast_id: int) -> int:
    async with database.reading() as session:
        return (
            await session.scalar(
                select(Fetch.id).where(Fetch.podcast_id == podcast_id).order_by(Fetch.id.desc()).limit(1)
            )
            or 0
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.podcast_calm", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    found = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fanfare-calm-") as name:
        return 0 if asyncio.run(measure(found.seconds, Path(name))) else 1


if __name__ == "__main__":
    raise SystemExit(main())
