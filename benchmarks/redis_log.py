"""What the log in Redis costs: `python -m benchmarks.redis_log [--write]`.

Starts a redis-server on a free loopback port, without persistence, and measures

* publish to receive, idle: one publication every 10 ms, from the call of `publish` until the receiver
  has it; one process does both. Then the same at 1,000 and 5,000 a second, where the reader rests
  between batches.
* throughput: one process publishes, as many at a time as `--at-once` says, another receives. All of
  it must arrive, in order, with nothing told as lost.
* how long it takes until nothing is missing when every connection is killed 20 times meanwhile.

With --write the table goes into docs/benchmarks-redis.md.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import multiprocessing.connection
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvloop

from hub.brokers import Receiver
from hub.brokers.redis import RedisBroker
from hub.errors import BrokerUnavailable
from hub.protocol.publications import Draft, Publication

from .ledger.stage import RedisProcess
from .report import put

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks-redis.md"
MARKS = ("<!-- figures begin -->", "<!-- figures end -->")

#: The targets: milliseconds idle, publications a second.
IDLE_P50, IDLE_P99, THROUGHPUT = 1.0, 5.0, 30_000

CHANNELS = 100
DATA = b'{"id":12345,"text":"' + b"x" * 80 + b'"}'


class Count(Receiver):
    """Counts what comes, and looks whether it is all of it, in order."""

    def __init__(self) -> None:
        self.count = 0
        self.offsets: dict[str, int] = {}
        self.wrong = 0
        self.lost_times = 0
        self.times: dict[bytes, float] = {}
        self._wanted = 0
        self._there = asyncio.Event()

    def receive(self, publications: Sequence[Publication]) -> None:
        now = time.perf_counter()
        for publication in publications:
            offset = publication.position.offset
            if offset != self.offsets.get(publication.channel, 0) + 1:
                self.wrong += 1
            self.offsets[publication.channel] = offset
            if publication.data.isdigit():
                self.times[publication.data] = now
        self.count += len(publications)
        if self.count >= self._wanted:
            self._there.set()

    def lost(self, channels: Sequence[str] | None) -> None:
        self.lost_times += 1

    async def wait(self, count: int) -> None:
        self._wanted = count
        self._there.clear()
        if self.count < count:
            async with asyncio.timeout(120):
                await self._there.wait()

    def check(self) -> None:
        if self.wrong or self.lost_times:
            raise SystemExit(f"The run does not count: {self.wrong} out of order, {self.lost_times} times lost")


async def latencies(url: str, rate: float, seconds: float) -> list[float]:
    """Milliseconds from publish to receive, sorted, at a fixed rate."""
    broker, count = RedisBroker(url, prefix=f"latency-{rate:g}"), Count()
    await broker.open(count)
    begun: dict[bytes, float] = {}
    tasks = set()

    async def publish(name: bytes) -> None:
        # The names of a run's publications are its numbers.
        await broker.publish([Draft(f"/{int(name) % CHANNELS}", name)])

    try:
        await broker.publish([Draft("/warm", b'"x"')])
        start = time.perf_counter()
        for number in range(int(rate * seconds)):
            due = start + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            name = b"%d" % number
            # From the moment it was due where the machine is late, so that lateness can't hide.
            begun[name] = min(time.perf_counter(), due) if rate > 200 else time.perf_counter()
            task = asyncio.create_task(publish(name))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await count.wait(len(begun) + 1)
        await asyncio.gather(*tasks)
        count.check()
        return sorted((count.times[name] - at) * 1000 for name, at in begun.items())
    finally:
        await broker.close()


def publisher(url: str, prefix: str, at_once: int, total: int, pipe: multiprocessing.connection.Connection) -> None:
    """A process of its own that publishes."""

    async def run() -> None:
        broker = RedisBroker(url, prefix=prefix)
        await broker.open(Count())
        # It only publishes: the other process reads. Without its reader it has no use for its canary.
        for task in broker._tasks[2:]:
            task.cancel()
        numbers = iter(range(total))

        async def work() -> None:
            for number in numbers:
                await broker.publish([Draft(f"/{number % CHANNELS}", DATA)])

        pipe.send("ready")
        pipe.recv()
        used = time.process_time()
        await asyncio.gather(*(work() for _ in range(at_once)))
        pipe.send(time.process_time() - used)
        await broker.close()

    uvloop.run(run())


async def throughput(url: str, redis: RedisProcess, at_once: int, total: int) -> dict[str, float]:
    """Publications a second from another process to this one, and CPU microseconds of each process."""
    prefix = f"throughput-{at_once}"
    broker, count = RedisBroker(url, prefix=prefix), Count()
    await broker.open(count)
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=publisher, args=(url, prefix, at_once, total, theirs), daemon=True
    )
    process.start()
    try:
        await asyncio.to_thread(ours.recv)
        redis_used, used = cpu_seconds(redis), time.process_time()
        start = time.perf_counter()
        ours.send("go")
        await count.wait(total)
        took = time.perf_counter() - start
        used = time.process_time() - used
        redis_used = cpu_seconds(redis) - redis_used
        count.check()
        publishing: float = await asyncio.to_thread(ours.recv)
        return {
            "rate": total / took,
            "publisher": publishing / total * 1e6,
            "redis": redis_used / total * 1e6,
            "worker": used / total * 1e6,
        }
    finally:
        await broker.close()
        process.join(10)


async def alone(url: str, at_once: int, total: int) -> float:
    """Publications a second when one process publishes and receives."""
    broker, count = RedisBroker(url, prefix="alone"), Count()
    await broker.open(count)
    numbers = iter(range(total))

    async def work() -> None:
        for number in numbers:
            await broker.publish([Draft(f"/{number % CHANNELS}", DATA)])

    try:
        start = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(at_once)))
        await count.wait(total)
        count.check()
        return total / (time.perf_counter() - start)
    finally:
        await broker.close()


async def killed(url: str, redis: RedisProcess) -> dict[str, float]:
    """12,000 publications at 2,000 a second while every connection is killed 20 times."""
    broker, count = RedisBroker(url, prefix="killed"), Count()
    await broker.open(count)

    async def kill() -> None:
        for _ in range(20):
            await asyncio.sleep(0.28)
            await redis.command("CLIENT", "KILL", "TYPE", "normal")

    try:
        killing = asyncio.create_task(kill())
        start = time.perf_counter()
        repeats = 0
        for number in range(0, 12_000, 20):
            drafts = [Draft(f"/{n % CHANNELS}", DATA, key=str(n)) for n in range(number, number + 20)]
            while True:
                try:
                    await broker.publish(drafts)
                    break
                except BrokerUnavailable:
                    repeats += 1
                    await asyncio.sleep(0.05)
            if (wait := start + number / 2000 - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
        await killing
        await count.wait(12_000)
        count.check()
        return {"missing": 12_000 - count.count, "reconnects": broker.reconnects, "repeats": repeats}
    finally:
        await broker.close()


def cpu_seconds(redis: RedisProcess) -> float:
    assert redis.process is not None
    fields = Path(f"/proc/{redis.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def redis_started() -> Iterator[RedisProcess]:
    with tempfile.TemporaryDirectory(prefix="redis-log-") as folder:
        redis = RedisProcess(Path(folder))
        uvloop.run(redis.start())
        try:
            yield redis
        finally:
            redis.kill()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redis_log", description=__doc__)
    parser.add_argument("--at-once", type=int, default=1000, help="publishes under way at a time")
    parser.add_argument("--total", type=int, default=200_000, help="publications of a throughput run")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a latency run")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-redis.md")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    args = parser.parse_args()
    if shutil.which("redis-server") is None:
        raise SystemExit("redis-server is not installed")

    rows: list[tuple[str, str]] = []
    with redis_started() as redis:
        url = f"redis://127.0.0.1:{redis.port}/0"
        idle: list[float] = []
        for rate in (100, 1000, 5000):
            found = uvloop.run(latencies(url, rate, args.seconds))
            idle = idle or found
            name = "publish to receive, idle" if rate == 100 else f"publish to receive, {rate:,} a second"
            rows.append((name, f"p50 {at(found, 0.5):.2f} ms, p99 {at(found, 0.99):.2f} ms"))
        flow = uvloop.run(throughput(url, redis, args.at_once, args.total))
        rows.append(("publications a second, one process to another", f"{flow['rate']:,.0f}"))
        costs = f"publisher {flow['publisher']:.1f}, Redis {flow['redis']:.1f}, worker {flow['worker']:.1f}"
        rows.append(("CPU microseconds a publication", costs))
        both = uvloop.run(alone(url, args.at_once, args.total // 2))
        rows.append(("publications a second, one process for both", f"{both:,.0f}"))
        cuts = uvloop.run(killed(url, redis))
        words = f"{cuts['missing']:.0f} missing of 12,000; {cuts['reconnects']:.0f} reconnects"
        rows.append(("every connection killed 20 times", words))

    targets = [
        (f"idle p50 under {IDLE_P50:g} ms", at(idle, 0.5) < IDLE_P50),
        (f"idle p99 under {IDLE_P99:g} ms", at(idle, 0.99) < IDLE_P99),
        (f"{THROUGHPUT:,} publications a second", flow["rate"] >= THROUGHPUT),
    ]
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
    kept = "\n".join(f"* {'met' if met else '**missed**'}: {name}" for name, met in targets)
    report = f"{table}\n\n{kept}\n\n{machine()}"
    print(report)
    if args.write:
        put(PAGE, MARKS, report + "\n")
    return int(args.strict and not all(met for _, met in targets))


def at(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]


def machine() -> str:
    version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout.split()[
        2
    ]
    return (
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, "
        f"Redis {version.removeprefix('v=')}, {len(DATA)} bytes of data, {CHANNELS} channels, history on."
    )


if __name__ == "__main__":
    sys.exit(main())
