"""A ledger for search: `python -m benchmarks.search_ledger [--rate N] [--seconds N] [--faults]`.

Comments are saved all the time at two workers on one database and one Redis; each has a word of its own. Of some
it is measured how long after the answer to the save each worker finds it. Meanwhile a worker is killed (-9), Redis
restarted. At the end each worker must find each comment that there is (none missing), and none that was removed (no
ghosts). The exit code is 1 if either is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import random
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from .ledger.stage import ROOT, RedisProcess
from .ports import free_port

EVENT = "/events/brass-on-the-quay"
#: What all comments have, beside a word of their own.
COMMON = "ledgerword"


@dataclass
class Book:
    """What was saved, and how long each worker took to find it, in seconds."""

    saved: dict[int, int] = field(default_factory=dict)
    took: dict[int, list[float]] = field(default_factory=lambda: {0: [], 1: []})
    failed: Counter[str] = field(default_factory=Counter)
    #: Times in which a fault was on, and a few seconds after: what was saved then is late for a reason.
    faults: list[tuple[float, float]] = field(default_factory=list)

    def is_calm(self, at: float) -> bool:
        return not any(start <= at <= end for start, end in self.faults)


class Worker:
    """One process that serves the site."""

    def __init__(self, folder: Path, redis: RedisProcess, number: int, index: str | None) -> None:
        self.folder, self.redis, self.number, self.port, self.index = folder, redis, number, free_port(), index
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        environ = {
            **os.environ,
            "PORT": str(self.port),
            "HUB_VAR": str(self.folder / "var"),
            "REDIS_URL": f"redis://127.0.0.1:{self.redis.port}",
            "FANOUT_KEY": base64.b64encode(b"k" * 32).decode(),
            "HUB_LOG_LEVEL": "warning",
            "SITE_COMMENT_RATE": "0",
            "SEARCH_RATE": "0",
            "SEARCH_KEPT": "0",
            "JOBS_SERVE": "false",
            "PYTHONPATH": str(ROOT),
            **({"SEARCH_DIR": self.index} if self.index else {}),
        }
        with (self.folder / f"log-{self.number}").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "web", "serve"], env=environ, cwd=self.folder, stdout=log, stderr=log
            )
        await self.wait()

    async def wait(self) -> None:
        async with aiohttp.ClientSession() as http:
            for _ in range(3000):
                if self.process is not None and self.process.poll() is not None:
                    # It will not answer any more: at once, and not after five minutes.
                    break
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with http.get(f"{self.url}/search.json?q=brass") as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.1)
        status = None if self.process is None else self.process.poll()
        log = (self.folder / f"log-{self.number}").read_text(errors="replace")
        raise RuntimeError(f"worker {self.number} does not answer (exit status {status}): {log[-2000:]}")

    def spent(self) -> float:
        """Seconds of a processor that its process has had."""
        assert self.process is not None
        # All but the name, which may have spaces: proc_pid_stat(5).
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)


async def _total(http: aiohttp.ClientSession, worker: Worker, query: str) -> int:
    async with http.get(f"{worker.url}/search.json", params={"q": query, "exactly": "1"}) as response:
        return int((await response.json())["total"]) if response.status == 200 else -1


def _word(number: int) -> str:
    # Letters alone, none near another.
    return "ld" + "".join(
        "bcdfghjkmnpqrstvwxz"[int(digit) + 5 * (at % 2)] * 2 for at, digit in enumerate(f"{number:06}")
    )


async def _measure(http: aiohttp.ClientSession, worker: Worker, number: int, saved: float, book: Book) -> None:
    """How long it takes until a worker finds a comment."""
    while True:
        asked = time.monotonic()
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            if await _total(http, worker, _word(number)) > 0:
                if book.is_calm(saved):
                    book.took[worker.number].append(max(0.0, asked - saved))
                return
        if asked - saved > 30:
            book.failed[f"not found in 30 s at {worker.number}"] += 1
            return
        # The longer it takes the less often it is asked, else what is late is made later by asking: a hundred that
        # waited asked two workers twenty thousand times a second.
        await asyncio.sleep(max(0.01, 0.1 * (asked - saved)))


async def _write(workers: list[Worker], book: Book, arguments: argparse.Namespace) -> None:
    measuring: set[asyncio.Task[None]] = set()
    gate = asyncio.Semaphore(20)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as http:

        async def save(number: int) -> None:
            async with gate:
                worker = workers[number % 2]
                fields = {"name": "Ada", "text": f"{COMMON} {_word(number)}"}
                headers = {"Origin": worker.url, "Accept": "application/json"}
                try:
                    async with http.post(f"{worker.url}{EVENT}/comments", json=fields, headers=headers) as response:
                        if response.status != 201:
                            book.failed[f"save {response.status}"] += 1
                            return
                        book.saved[number] = (await response.json())["comment"]["id"]
                except (aiohttp.ClientError, OSError, TimeoutError):
                    # Saved or not: the database says at the end.
                    book.failed["save without an answer"] += 1
                    return
            if number % arguments.each == 0:
                saved = time.monotonic()
                for each in workers:
                    task = asyncio.create_task(_measure(http, each, number, saved, book))
                    measuring.add(task)
                    task.add_done_callback(measuring.discard)

        began = time.monotonic()
        saving: set[asyncio.Task[None]] = set()
        number = 0
        while (now := time.monotonic()) - began < arguments.seconds:
            while number < (now - began) * arguments.rate:
                number += 1
                task = asyncio.create_task(save(number))
                saving.add(task)
                task.add_done_callback(saving.discard)
            await asyncio.sleep(0.005)
        await asyncio.gather(*saving)
        while measuring:
            await asyncio.wait(measuring)


async def _break(workers: list[Worker], redis: RedisProcess, book: Book, seconds: float) -> None:
    """One worker is killed after a third of the time, and Redis after two."""
    await asyncio.sleep(seconds / 3)
    start = time.monotonic()
    workers[1].stop(signal.SIGKILL)
    await workers[1].start()
    book.faults.append((start - 0.5, time.monotonic() + 2))
    print(f"worker killed (-9), and back after {time.monotonic() - start:.1f} s", flush=True)
    await asyncio.sleep(seconds / 3)
    start = time.monotonic()
    redis.kill(signal.SIGTERM)
    await redis.start()
    book.faults.append((start - 0.5, time.monotonic() + 5))
    print(f"Redis restarted, and back after {time.monotonic() - start:.1f} s", flush=True)


async def _settled(workers: list[Worker], database: Path) -> tuple[int, list[int]]:
    """How many comments there are, and how many each worker finds, once that does not change any more."""
    there = _count(database)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as http:
        found: list[int] = []
        for _ in range(150):
            found = [await _total(http, worker, COMMON) for worker in workers]
            if all(each == there for each in found):
                break
            await asyncio.sleep(0.2)
    return there, found


def _count(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (count,) = connection.execute("select count(*) from comments where text like ?", (f"{COMMON}%",)).fetchone()
    return int(count)


async def run(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="fanfare-search-") as name:
        folder = Path(name)
        redis = RedisProcess(folder / "redis")
        await redis.start()
        workers = [Worker(folder, redis, number, arguments.index) for number in (0, 1)]
        try:
            # One after the other: the first makes the tables and the demo content.
            for worker in workers:
                await worker.start()
            book = Book()
            breaking = None
            if arguments.faults:
                breaking = asyncio.create_task(_break(workers, redis, book, arguments.seconds))
            spent = [worker.spent() for worker in workers]
            await _write(workers, book, arguments)
            if breaking is not None:
                await breaking
            database = folder / "var" / "fanfare.sqlite3"
            there, found = await _settled(workers, database)
            # What one that was killed had is gone with it.
            spent = [max(0.0, worker.spent() - before) for worker, before in zip(workers, spent, strict=True)]
            missing = [max(0, there - each) for each in found]
            ghosts = [max(0, each - there) for each in found]
            removed = await _remove(workers, database, book)
            own = [await _behind(worker) for worker in workers]
        finally:
            for worker in workers:
                worker.stop()
            redis.kill(signal.SIGTERM)
    print(f"{there} comments in {arguments.seconds:g} s: {there / arguments.seconds:.0f} a second; {dict(book.failed)}")
    each_ms = [f"{1000 * seconds / max(1, there):.1f}" for seconds in spent]
    print(f"ms of a processor for each save, saving, telling, indexing and being asked: {' and '.join(each_ms)}")
    late = False
    for number, took in book.took.items():
        ordered = sorted(took) or [0.0]
        p99 = ordered[int(len(ordered) * 0.99)]
        late |= p99 > 0.2
        median, worst = statistics.median(ordered), ordered[-1]
        print(
            f"worker {number}: found after {median * 1000:.0f} ms (median), {p99 * 1000:.0f} ms (p99), "
            f"{worst * 1000:.0f} ms (worst) of {len(took)}"
        )
        print(f"worker {number}, from hearing of a change to finding it: {own[number]}")
    print(f"missing: {missing}, ghosts: {ghosts}, found after it was removed: {removed}")
    print("within 200 ms (p99)" if not late else "not within 200 ms (p99)")
    return int(any(missing) or any(ghosts) or any(removed))


async def _behind(worker: Worker) -> str:
    """What the worker says of itself: without the database and the hub, which share the machine."""
    async with aiohttp.ClientSession() as http, http.get(f"{worker.url}/metrics") as response:
        text = await response.text()
    found = re.findall(r'^site_search_behind_seconds\{quantile="([^"]+)"\} (\S+)', text, re.MULTILINE)
    return ", ".join(f"{float(seconds) * 1000:.0f} ms ({share})" for share, seconds in found)


async def _remove(workers: list[Worker], database: Path, book: Book) -> list[int]:
    """How many of ten comments a worker still finds after their rows are gone, and nobody was told."""
    some = random.sample(sorted(book.saved), min(10, len(book.saved)))
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection, connection:
        for number in some:
            connection.execute("delete from comments where id = ?", (book.saved[number],))
    shown = [0, 0]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as http:
        for worker in workers:
            for number in some:
                async with http.get(
                    f"{worker.url}/search.json", params={"q": _word(number), "exactly": "1"}
                ) as response:
                    shown[worker.number] += len((await response.json())["results"])
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200, help="comments a second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--each", type=int, default=10, help="measure one of so many")
    parser.add_argument("--faults", action="store_true", help="kill a worker, and restart Redis")
    parser.add_argument("--index", help="SEARCH_DIR of the workers")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
