"""`python -m benchmarks.redislab`: what the Redis laboratory counts and says, held against others' numbers.

Two parts. First ten connections ask for `/lab/redis/random` for thirty seconds, as `wrk -c10 -d30s` does, in one worker
or several: as many measurements must have been counted as were answered. Then some configurations are measured by the
laboratory's code and by this script's own, one measurement each by turns: the medians of `/lab/redis/summary` must be
within a tenth of the script's. By turns in one process, because what a read takes differs by half from second to second
on a machine that does something else, and between a process that was just woken and one that was at work.

With `--wrk` it is wrk itself that asks in the first part, where it is installed. It ends by hanging up, and says how
many answers it has read: a request that was under way then, at most one a connection, may be measured and is not among
them. So as many as it says must be counted, and at most one more for each connection.

It starts a Redis and a site of its own. The exit code is 1 if a measurement is lost, or a figure is too far off, as it
is on a machine that does much else meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import lzma
import os
import pickle
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import orjson
import redis
from redis.connection import _RESP2Parser

from web.features.redislab.bench import Bench
from web.features.redislab.configurations import find
from web.features.redislab.figures import Sample
from web.features.redislab.payloads import rows

from .ledger.stage import ROOT, RedisProcess
from .ports import free_port

WARM_UP = 10

#: Written here once more, so that a mistake of the site's own is not compared with itself.
CODECS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any], bool]] = {
    "orjson": (orjson.dumps, orjson.loads, False),
    "msgpack": (msgpack.packb, msgpack.unpackb, False),
    "pickle": (lambda value: pickle.dumps(value, protocol=5), pickle.loads, False),
    "pickle-python": (lambda value: pickle.dumps(value, protocol=5), pickle.loads, True),
    "msgpack-zlib": (
        lambda value: zlib.compress(msgpack.packb(value)),
        lambda data: msgpack.unpackb(zlib.decompress(data)),
        False,
    ),
    "msgpack-lzma": (
        lambda value: lzma.compress(msgpack.packb(value)),
        lambda data: msgpack.unpackb(lzma.decompress(data)),
        False,
    ),
}


@contextlib.contextmanager
def site(folder: Path, url: str, workers: int) -> Iterator[int]:
    """A site on a free port."""
    port = free_port()
    environ = os.environ | {"REDIS_URL": url, "HUB_VAR": str(folder / "var"), "WEB_CONCURRENCY": str(workers)}
    command = [sys.executable, "-m", "web", "serve", "--port", str(port), "--no-demo"]
    with (folder / "site.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError):
                if asyncio.run(_ask_once(port, "/health")) == 200:
                    break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(20)


async def _ask_once(port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return (await _ask(reader, writer, path))[0]
    finally:
        writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, bytes]:
    """The status and the body of an answer on a kept connection."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    body = await reader.readexactly(int(length[1])) if length else b""
    return int(head.split(b" ", 2)[1]), body


async def load(port: int, connections: int, seconds: float, path: str) -> tuple[Counter[int], list[float]]:
    """Answers by status, and the seconds of each."""
    statuses: Counter[int] = Counter()
    took: list[float] = []
    until = time.monotonic() + seconds

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < until:
            begin = time.perf_counter()
            status, _ = await _ask(reader, writer, path)
            took.append(time.perf_counter() - begin)
            statuses[status] += 1
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return statuses, took


@dataclass(frozen=True, slots=True)
class Said:
    """What wrk says of a run: answers, those of them that are not 2xx or 3xx, and connections that broke."""

    requests: int
    others: int
    broken: int

    @classmethod
    def read(cls, text: str) -> Said:
        """Raise ValueError for what is no report of wrk's."""
        requests = re.search(r"^\s*(\d+) requests in ", text, re.MULTILINE)
        if requests is None:
            raise ValueError(f"not a report of wrk's: {text[:200]!r}")
        others = re.search(r"^\s*Non-2xx or 3xx responses: (\d+)", text, re.MULTILINE)
        errors = re.search(r"^\s*Socket errors: connect (\d+), read (\d+), write (\d+)", text, re.MULTILINE)
        broken = 0 if errors is None else sum(map(int, errors.groups()))
        return cls(int(requests[1]), 0 if others is None else int(others[1]), broken)

    def agrees(self, measured: int, connections: int) -> bool:
        """Whether so many measurements are those of its answers, and of requests that were under way at its end."""
        return 0 <= measured - (self.requests - self.others) <= connections + self.broken


def counted(client: redis.Redis) -> int:
    """Measurements of all configurations, as Redis has them."""
    return sum(int(count) for count in client.hgetall("fanfare:lab:redis:counts").values())


def count(url: str, port: int, seconds: float, connections: int) -> bool:
    """Part one: whether each answered request is a measurement."""
    with redis.Redis.from_url(url) as client:
        before = counted(client)
        statuses, took = asyncio.run(load(port, connections, seconds, "/lab/redis/random"))
        measured = counted(client) - before
    answered = statuses[200]
    took.sort()
    print(
        f"{connections} connections, {seconds:g} s: {statuses.total():,} requests, {statuses.total() / seconds:,.0f}/s,"
        f" median {took[len(took) // 2] * 1e3:.2f} ms, p99 {took[int(len(took) * 0.99)] * 1e3:.2f} ms"
    )
    others = {status: number for status, number in statuses.items() if status != 200}
    print(
        f"answered with a measurement {answered:,}, counted {measured:,}, lost {answered - measured}; others {others}"
    )
    return measured == answered


def count_wrk(url: str, port: int, seconds: float, connections: int) -> bool:
    """Part one by wrk: whether each answer that it has read is a measurement."""
    # Of two threads each takes half of the connections.
    connections -= connections % 2
    command = ["wrk", f"-c{connections}", "-t2", f"-d{round(seconds)}s", "--latency"]
    with redis.Redis.from_url(url) as client:
        before = counted(client)
        run = subprocess.run(
            [*command, f"http://127.0.0.1:{port}/lab/redis/random"], capture_output=True, text=True, check=True
        )
        measured = counted(client) - before
        # What was under way is measured soon, or not at all.
        time.sleep(1.0)
        while (later := counted(client) - before) != measured:
            measured = later
            time.sleep(1.0)
    print(run.stdout.rstrip())
    said = Said.read(run.stdout)
    answered = said.requests - said.others
    print(
        f"answered with a measurement {answered:,}, counted {measured:,}, lost {max(0, answered - measured)};"
        f" under way at the end {max(0, measured - answered)}, others {said.others}, broken {said.broken}"
    )
    return said.agrees(measured, connections)


class Own:
    """This script's measuring of one configuration, on fifty rows."""

    def __init__(self, clients: dict[bool, redis.Redis], name: str) -> None:
        self._dumps, self._loads, python = CODECS[name]
        self._client = clients[python]
        self._key = f"independent:{name}"
        self._client.set(self._key, self._dumps(rows()))
        self.reads: list[float] = []
        self.writes: list[float] = []

    def measure(self) -> None:
        """One read, one write."""
        begin = time.perf_counter()
        values = self._loads(self._client.get(self._key))
        self.reads.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        self._client.set(self._key, self._dumps(values), ex=600)
        self.writes.append(time.perf_counter() - begin)


async def agree(url: str, port: int, times: int, apart: float) -> bool:
    """Part two: whether the medians of the site's table are this script's."""
    bench = Bench(url, kept=times + WARM_UP)
    # One connection for each client, as the laboratory has: one that is used more often is in more of the caches.
    clients = {
        python: redis.Redis(connection_pool=redis.ConnectionPool.from_url(url, protocol=2, **options))
        for python, options in ((False, {}), (True, {"parser_class": _RESP2Parser}))
    }
    own = {name: Own(clients, name) for name in CODECS}
    samples: dict[str, list[Sample]] = {name: [] for name in CODECS}
    acts: list[tuple[str, bool]] = [(name, is_own) for name in CODECS for is_own in (True, False)]
    for _ in range(times + WARM_UP):
        random.shuffle(acts)
        for name, is_own in acts:
            if is_own:
                own[name].measure()
            else:
                samples[name].append(bench.measure(find(name), "rows"))
    for name, taken in samples.items():
        bench.record(find(name), "rows", taken)
    bench.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    tables = []
    for part in ("read", "write"):
        _, body = await _ask(reader, writer, f"/lab/redis/summary?payload=rows&part={part}")
        lines = [line.split() for line in body.decode().splitlines()]
        tables.append(
            {line[0]: float(line[3].removesuffix("ms")) for line in lines if len(line) == 5 and "ms" in line[4]}
        )
    writer.close()
    good = True
    print(f"\n{'median, ms':<16}{'reads':>9}{'script':>9}{'':>8}{'writes':>9}{'script':>9}")
    for name, each in own.items():
        line = f"{name:<16}"
        for taken, table in zip((each.reads, each.writes), tables, strict=True):
            told, mine = table[name], statistics.median(taken[WARM_UP:]) * 1e3
            off = told / mine - 1
            good = good and abs(off) <= apart
            line += f"{told:>9.3f}{mine:>9.3f}{off:>+8.1%}"
        print(line)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--wrk", action="store_true", help="have wrk ask in part one; it must be installed")
    parser.add_argument("--workers", type=int, default=1, help="of the site; they share the lists in Redis")
    parser.add_argument("--times", type=int, default=990, help="measurements of each configuration in part two")
    parser.add_argument("--apart", type=float, default=0.1, help="how far a median may be from the script's")
    found = parser.parse_args()
    if found.wrk and shutil.which("wrk") is None:
        parser.error("--wrk: wrk is not installed")
    with tempfile.TemporaryDirectory(prefix="redislab-") as name:
        server = RedisProcess(Path(name))
        asyncio.run(server.start())
        url = f"redis://127.0.0.1:{server.port}/0"
        try:
            with site(Path(name), url, found.workers) as port:
                whole = (count_wrk if found.wrk else count)(url, port, found.seconds, found.connections)
                near = asyncio.run(agree(url, port, found.times, found.apart))
        finally:
            server.kill()
    print(json.dumps({"none lost": whole, "figures agree": near}))
    return 0 if whole and near else 1


if __name__ == "__main__":
    sys.exit(main())
