"""`python -m benchmarks.cache`: what the cache promises, measured.

* A hot read from memory costs at most a microsecond more than a dict's, on a hub with Redis.
* A hundred misses at one moment make one call.
* A ledger: a thousand saves a second, two workers that read all the time, and Redis killed, stopped and emptied by
  turns. A read that gives what is older than this worker had heard when it was asked is stale; none may be.

It starts a Redis and two hubs of its own. The exit code is 1 if anything is otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from hub.app import Hub
from hub.errors import HubError
from hub.follower import Heard
from hub.settings import Settings
from web.services.cache.cache import Cache
from web.services.cache.codecs import codec
from web.services.cache.far import Far

from .ledger.stage import RedisProcess

#: Rows that change and are read: few, so that each is changed and read often.
ROWS = 40

#: Microseconds that a hot read may cost more than a dict's.
MOST_MICROSECONDS = 1.0


class Worker:
    """A hub on the log, with a cache; and what it has heard of each row."""

    def __init__(self, url: str) -> None:
        self.hub = Hub(Settings(redis_url=url, drain_timeout=1.0))
        self.cache = Cache(self.hub.followers, self.hub.publisher, codec("msgpack"), far=Far(url, 0.25), seconds=60.0)
        self.heard: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.oldest = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the hub and follow its channels for the length of the block."""
        app = web.Application()
        self.hub.setup(app)
        runner = web.AppRunner(app)
        await runner.setup()
        listening = asyncio.create_task(self._listen())
        try:
            async with asyncio.timeout(30):
                while not self.hub.followers.hears:
                    await asyncio.sleep(0.01)
            yield
        finally:
            listening.cancel()
            await asyncio.wait([listening])
            await self.cache.close()
            await runner.cleanup()

    async def _listen(self) -> None:
        async with self.hub.followers.follow("row-*") as follower:
            async for entry in follower:
                if isinstance(entry, Heard):
                    self.heard[entry.channel] = max(self.heard[entry.channel], entry.data)

    async def read(self, rows: Counter[str], until: float) -> None:
        """Ask for rows, and hold each answer against what was heard before it was asked for."""
        dice = random.Random()

        async def make(name: str) -> int:
            found = rows[name]
            await asyncio.sleep(0)
            return found

        while time.monotonic() < until:
            name = f"row-{dice.randrange(ROWS)}"
            floor = self.heard[name]
            found = await self.cache.get(name, [name], lambda name=name: make(name))
            self.counts["reads"] += 1
            if found < floor:
                self.counts["stale"] += 1
                self.oldest = max(self.oldest, floor - found)
            if dice.random() < 0.05:
                await asyncio.sleep(0)


class Saves:
    """Rows that change; what was told of them waits while the hub can't take it, as an outbox does."""

    def __init__(self, workers: list[Worker]) -> None:
        self.rows: Counter[str] = Counter()
        self.told = 0
        self._workers = workers
        self._waiting: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

    async def save(self, rate: float, until: float) -> None:
        """Save changes at a fixed rate, in changes a second."""
        dice = random.Random()
        begin, count = time.monotonic(), 0
        while (now := time.monotonic()) < until:
            while count < (now - begin) * rate:
                name = f"row-{dice.randrange(ROWS)}"
                self.rows[name] += 1
                self._waiting.put_nowait((name, self.rows[name]))
                count += 1
            await asyncio.sleep(0.002)

    async def tell(self) -> None:
        """Publish what was saved, in order."""
        while True:
            batch = [await self._waiting.get()]
            while not self._waiting.empty() and len(batch) < 100:
                batch.append(self._waiting.get_nowait())
            publisher = self._workers[self.told % len(self._workers)].hub.publisher
            waits = list(batch)
            while waits:
                try:
                    await asyncio.gather(*(publisher.publish(name, number) for name, number in waits))
                    waits = []
                except HubError:
                    # Told twice is no harm: the numbers only grow.
                    await asyncio.sleep(0.05)
            self.told += len(batch)

    @property
    def waiting(self) -> int:
        return self._waiting.qsize()


async def fail(server: RedisProcess, until: float) -> Counter[str]:
    """Kill, stop and empty Redis in turn, until the run ends; how often each was done."""
    done: Counter[str] = Counter()
    while time.monotonic() < until - 4:
        for fault in ("killed", "stopped", "emptied"):
            await asyncio.sleep(2.0)
            if time.monotonic() > until - 4:
                break
            if fault == "killed":
                server.kill()
                await asyncio.sleep(0.5)
                await server.start()
            elif fault == "stopped":
                server.kill(signal.SIGSTOP)
                await asyncio.sleep(1.0)
                server.kill(signal.SIGCONT)
            else:
                await server.command("FLUSHALL")
            done[fault] += 1
    return done


async def ledger(server: RedisProcess, workers: list[Worker], seconds: float, rate: float) -> bool:
    """Saves, reads and faults for so long; then whether every read was good, and all ends at the newest."""
    saves = Saves(workers)
    until = time.monotonic() + seconds
    telling = asyncio.create_task(saves.tell())
    reading = [worker.read(saves.rows, until) for worker in workers for _ in range(4)]
    done, *_ = await asyncio.gather(fail(server, until), saves.save(rate, until), *reading)
    # All that was told is heard in the end, and then every value is the newest.
    newest = False
    limit = time.monotonic() + 30
    while not newest and time.monotonic() < limit:
        await asyncio.sleep(0.2)
        newest = saves.waiting == 0
        for worker in workers:
            for name, number in saves.rows.items():
                newest = newest and await worker.cache.get(name, [name], _row(saves, name)) == number
    telling.cancel()
    await asyncio.wait([telling])
    total: Counter[str] = Counter()
    for worker in workers:
        total += worker.counts
        total += Counter({"local": worker.cache.hits}) + worker.cache.counts
    print(f"{seconds:g} s, {rate:g} saves/s over {ROWS} rows, {saves.told:,} told; Redis {dict(done)}")
    print(
        f"{total['reads']:,} reads by {len(workers)} workers: "
        + ", ".join(f"{total[how]:,} {how}" for how in ("local", "redis", "shared", "made"))
    )
    print(f"stale {total['stale']}, at the end all newest: {newest}")
    return total["stale"] == 0 and newest


def _row(saves: Saves, name: str) -> Any:
    async def make() -> int:
        return saves.rows[name]

    return make


async def hot(worker: Worker) -> bool:
    """What a read from memory costs beside a dict's."""
    plain = {"hot": {"rows": [1, 2, 3]}}

    async def make() -> dict[str, list[int]]:
        return plain["hot"]

    async def read_dict(count: int) -> None:
        for _ in range(count):
            plain.get("hot")

    async def read_cache(count: int) -> None:
        get = worker.cache.get
        for _ in range(count):
            await get("hot", channels, make)

    def look(count: int) -> None:
        find = worker.cache.local.look
        for _ in range(count):
            find("hot")

    channels = ["row-hot"]
    await worker.hub.publisher.publish("row-hot", 1)
    await asyncio.sleep(0.2)
    took: dict[str, float] = {"dict": 9.0, "await get": 9.0, "look": 9.0}
    count = 20_000
    for _ in range(15):
        # The reader of the log needs its turn: a loop that is kept for a second hears nothing.
        await asyncio.sleep(0.05)
        await worker.cache.get("hot", channels, make)
        begin = time.perf_counter()
        await read_dict(count)
        took["dict"] = min(took["dict"], (time.perf_counter() - begin) / count * 1e6)
        hits = worker.cache.hits
        begin = time.perf_counter()
        await read_cache(count)
        took["await get"] = min(took["await get"], (time.perf_counter() - begin) / count * 1e6)
        assert worker.cache.hits == hits + count
        begin = time.perf_counter()
        look(count)
        took["look"] = min(took["look"], (time.perf_counter() - begin) / count * 1e6)
    more = took["await get"] - took["dict"]
    print("µs a hot read: " + ", ".join(f"{name} {each:.3f}" for name, each in took.items()) + f"; {more:.3f} more")
    return more <= MOST_MICROSECONDS


async def crowd(worker: Worker) -> bool:
    """Ask a hundred times at once for a value that is not in the cache; whether it was made once."""
    calls = 0

    async def make() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.02)
        return calls

    await asyncio.gather(*(worker.cache.get("crowd", ["row-crowd"], make) for _ in range(100)))
    print(f"100 concurrent misses: {calls} call")
    return calls == 1


async def run(found: argparse.Namespace) -> bool:
    with tempfile.TemporaryDirectory(prefix="cache-") as folder:
        server = RedisProcess(Path(folder))
        await server.start()
        url = f"redis://127.0.0.1:{server.port}/0"
        workers = [Worker(url) for _ in range(2)]
        try:
            async with contextlib.AsyncExitStack() as stack:
                for worker in workers:
                    await stack.enter_async_context(worker.running())
                good = {
                    "hot read": await hot(workers[0]),
                    "one call": await crowd(workers[0]),
                    "never older than the hint": await ledger(server, workers, found.seconds, found.rate),
                }
        finally:
            server.kill()
    print(json.dumps(good))
    return all(good.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of the ledger")
    parser.add_argument("--rate", type=float, default=1000.0, help="saves a second")
    return 0 if asyncio.run(run(parser.parse_args())) else 1


if __name__ == "__main__":
    sys.exit(main())
