"""`make fresh`: a ledger for pages. Comments are saved all the time, readers ask every worker for the list, and each
answer is held against what had been told before it was asked for. Comments come by the site's form (`--writers`), and
from processes that save rows by the site's models, which is all that a machine of two cores can do many hundreds of
times a second (`--savers`).

A comment counts as told when a listener of its channel has heard it, or a later one. An answer that was asked for more
than the grace (50 ms) after that, and lacks it, is stale; so is one that its author gets without it at any time after
the answer to his form. Meanwhile Redis and workers are killed. The last line says how many answers were stale, and how
old the oldest was: the time since what it lacked was told. The exit code is 1 if any was.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from .databases import postgresql
from .ledger.stage import ROOT, RedisProcess
from .ports import free_port

EVENT = "/events/brass-on-the-quay"
LIST = f"{EVENT}/comments.json"
FAULTS = ("none", "redis killed", "redis stopped", "worker killed", "all")


@dataclass
class Book:
    """What was told when, and what was answered. Times are of the monotonic clock."""

    grace: float
    told: int = 0
    told_at: float = 0.0
    saved: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    stale: int = 0
    oldest: float = 0.0
    forgotten: int = 0
    # Newest ids that were told, and when each was first known to be, oldest first.
    _steps: list[tuple[float, int]] = field(default_factory=list)
    # Each that was told, and when.
    _heard: dict[int, float] = field(default_factory=dict)

    def tell(self, number: int) -> None:
        """The channel's listener has heard this comment."""
        self._heard.setdefault(number, time.monotonic())
        if number > self.told:
            self.told, self.told_at = number, time.monotonic()
            self._steps.append((self.told_at, number))

    def check(self, asked: float, shown: list[int]) -> None:
        """An answer that was asked for then, and the comments that it has, newest first."""
        newest = shown[0]
        # Commits of several savers aren't in the order of their ids: one may be missing below the newest.
        for number, when in reversed(self._heard.items()):
            if number < shown[-1] or when < asked - 10:
                break
            if number < newest and when < asked - self.grace and number not in shown:
                self.stale += 1
                self.oldest = max(self.oldest, asked - when)
        for when, number in reversed(self._steps):
            if when <= asked:
                if number > newest and self._since(newest) < asked - self.grace:
                    self.stale += 1
                    self.oldest = max(self.oldest, asked - self._since(newest))
                return

    def _since(self, newest: int) -> float:
        """When something was first told that an answer with this newest comment lacks."""
        found = self.told_at
        for when, number in reversed(self._steps):
            if number <= newest:
                break
            found = when
        return found


class Fleet:
    """Redis, and workers of the site on one port."""

    def __init__(self, folder: Path, workers: int, database: str) -> None:
        self.folder, self.workers, self.port = folder, workers, free_port()
        self.redis = RedisProcess(folder / "redis")
        self.database = database
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        await self.redis.start()
        self.environ = {
            **os.environ,
            "DATABASE_URL": self.database,
            "PORT": str(self.port),
            "HUB_VAR": str(self.folder / "var"),
            "REDIS_URL": self.redis_url,
            "WEB_CONCURRENCY": str(self.workers),
            "FANOUT_KEY": base64.b64encode(b"k" * 32).decode(),
            "HUB_LOG_LEVEL": "warning",
            "HUB_ADDRESS_CONNECTIONS": "0",
            "SITE_COMMENT_RATE": "0",
            # All of them come from one writer, and are much alike.
            "SITE_COMMENT_CHECKS": "false",
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "web"]
        # `serve` fills only the database that it makes for itself.
        subprocess.run([*command, "demo"], env=self.environ, cwd=self.folder, stdout=subprocess.DEVNULL, check=True)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "serve"], env=self.environ, cwd=self.folder, stdout=log, stderr=log
            )
        async with aiohttp.ClientSession() as http:
            for _ in range(600):
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with http.get(self.url + LIST) as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.1)
        raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:])

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis.port}"

    def worker_pids(self) -> list[int]:
        assert self.process is not None
        return [
            int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def stop(self) -> None:
        # The run may have ended while Redis stood still: it would not end, nor would the workers that ask it.
        self.redis.kill(signal.SIGCONT)
        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
        self.redis.kill(signal.SIGTERM)


def _numbers(said: object) -> list[int]:
    """The ids of comments in what a stream says: one message or several."""
    messages = said if isinstance(said, list) else [said]
    found = [each["data"] if isinstance(each, dict) and "data" in each else each for each in messages]
    return [each["comment"]["id"] for each in found if isinstance(each, dict) and "comment" in each]


async def _listen(fleet: Fleet, book: Book, channel: str) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_read=30)) as http,
                http.get(f"{fleet.url}/sse", params={"channel": channel}) as stream,
            ):
                async for line in stream.content:
                    match = re.match(rb"data: *(.*)", line)
                    if match is not None:
                        with contextlib.suppress(ValueError):
                            for number in _numbers(json.loads(match[1])):
                                book.tell(number)
        await asyncio.sleep(0.05)


async def _write(fleet: Fleet, book: Book, pause: float) -> None:
    """Save, and look whether one's own comment is in the list that comes next."""
    while True:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with aiohttp.ClientSession(
                cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=aiohttp.ClientTimeout(10)
            ) as http:
                headers = {"Origin": fleet.url, "Accept": "application/json"}
                for _ in range(20):
                    began = time.monotonic()
                    fields = {"name": "Ada", "text": "Hello"}
                    async with http.post(f"{fleet.url}{EVENT}/comments", json=fields, headers=headers) as response:
                        if response.status != 201:
                            book.failed[f"save {response.status}"] += 1
                            await asyncio.sleep(0.1)
                            continue
                        number = (await response.json())["comment"]["id"]
                        book.saved += 1
                    if random.random() < 0.2:
                        # Another connection is another worker, perhaps.
                        async with http.get(fleet.url + LIST, headers={"Connection": "close"}) as response:
                            if response.status == 200 and (await response.json())["comments"][0]["id"] < number:
                                book.forgotten += 1
                    await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))


async def _save(fleet: Fleet, book: Book, thread: int, rate: float) -> None:
    """Save by a process of its own, and count what it committed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.fresh_saver", fleet.database, fleet.redis_url, str(thread), str(rate)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=fleet.environ,
        cwd=fleet.folder,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async for _ in process.stdout:
            book.saved += 1
        raise RuntimeError(f"a saver ended: {await process.wait()}")
    finally:
        process.stdin.close()
        await process.wait()


async def _read(fleet: Fleet, book: Book) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as http:
                for _ in range(200):
                    asked = time.monotonic()
                    async with http.get(fleet.url + LIST) as response:
                        if response.status != 200:
                            book.failed[f"read {response.status}"] += 1
                            await asyncio.sleep(0.1)
                            continue
                        shown = [each["id"] for each in (await response.json())["comments"]]
                        book.answers[response.headers["Cache-Status"]] += 1
                    if shown:
                        book.check(asked, shown)
                    await asyncio.sleep(random.uniform(0, 0.02))


async def _break(fleet: Fleet, fault: str) -> AsyncIterator[str]:
    kinds = FAULTS[1:-1] if fault == "all" else (fault,)
    for number in range(1_000_000):
        await asyncio.sleep(random.uniform(2, 5))
        kind = kinds[number % len(kinds)]
        if kind == "worker killed":
            pids = fleet.worker_pids()
            if pids:
                os.kill(random.choice(pids), signal.SIGKILL)
        elif kind == "redis killed":
            fleet.redis.kill()
            await asyncio.sleep(random.uniform(0, 2))
            await fleet.redis.start()
        elif kind == "redis stopped":
            fleet.redis.kill(signal.SIGSTOP)
            await asyncio.sleep(random.uniform(0, 4))
            fleet.redis.kill(signal.SIGCONT)
        yield kind


async def run(found: argparse.Namespace) -> int:
    book = Book(found.grace)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fanfare-fresh-")))
        url = f"sqlite:///{folder}/site.db"
        if found.database == "postgresql":
            url = stack.enter_context(postgresql(folder)).create("fresh")
        fleet = Fleet(folder, found.workers, url)
        try:
            await fleet.start()
            async with aiohttp.ClientSession() as http, http.get(fleet.url + LIST) as response:
                channel = (await response.json())["channel"]
            # With savers the forms are only there for those who look for what they sent.
            pause = found.writers / (5 if found.savers else found.rate)
            tasks = [asyncio.create_task(_listen(fleet, book, channel))]
            thread = int(channel.rpartition("-")[2])
            tasks += [
                asyncio.create_task(_save(fleet, book, thread, found.rate / found.savers)) for _ in range(found.savers)
            ]
            tasks += [asyncio.create_task(_write(fleet, book, pause)) for _ in range(found.writers)]
            tasks += [asyncio.create_task(_read(fleet, book)) for _ in range(found.readers)]
            broken: Counter[str] = Counter()

            async def harm() -> None:
                # A saver that finds no Redis when it starts ends.
                while found.savers and not book.saved:
                    await asyncio.sleep(0.1)
                async for kind in _break(fleet, found.fault):
                    broken[kind] += 1

            if found.fault != "none":
                tasks.append(asyncio.create_task(harm()))
            done, _ = await asyncio.wait(tasks, timeout=found.seconds, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for task in done:
                task.result()
        finally:
            fleet.stop()
    total = sum(book.answers.values())
    print(f"faults: {dict(broken)}")
    print(f"saves: {book.saved} ({book.saved / found.seconds:.0f} a second), told up to {book.told}")
    print(f"answers: {total}: {dict(book.answers)}; refused: {dict(book.failed)}")
    print(f"stale: {book.stale}, the oldest by {book.oldest * 1000:.0f} ms; own comment missing: {book.forgotten}")
    return 1 if book.stale or book.forgotten or not book.told or not total else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fresh", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=1000.0, help="saves a second that are tried")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--writers", type=int, default=20)
    parser.add_argument("--savers", type=int, default=0, help="processes that save rows without the site")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--grace", type=float, default=0.05, help="seconds after which what was told must be on a page")
    parser.add_argument("--fault", choices=FAULTS, default="all")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
