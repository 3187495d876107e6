"""Views: are there as many as answers, what does one cost, and does a collector that is dead keep anybody waiting?

python -m benchmarks.views ledger [--requests 20000] [--kills 10] [--database URL]
    two processes on one database, killed (-9) at random: what was counted is compared with what clients were
    answered. An answer that was not counted is lost. What was counted beyond the answers is a request whose
    process died between noting it and the answer: at most as many as were under way.
python -m benchmarks.views cost [--requests 4000] [--pairs 8]
    CPU time of a request with views and without: two servers that are both up, asked in turns of a hundred requests,
    so that what the machine does beside falls on both. A pair is so many requests of each, and ends when what was
    counted of them is written
python -m benchmarks.views note [--requests 4000] [--pairs 8]
    the same of the application alone, without sockets, in one process with views and without in turns; and by itself
    what adding up and writing take
python -m benchmarks.views dead [--seconds 60]
    how late requests are answered while a collector is well, refuses, and hangs; what was dropped meanwhile
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import math
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from sqlalchemy import func, select
from yarl import URL

from hub.publisher import RecordingPublisher
from hub.transports.repeats import SEEN, STANDS
from web.app import FEATURES, create_app, read_settings
from web.db.database import Database
from web.db.migrate import migrate
from web.features.views.models import ViewCount, ViewEndpoint
from web.features.views.service import views
from web.features.views.settings import ViewSettings
from web.features.views.totals import HOUR

from .ports import free_port
from .servers import HOST, ROOT

#: What is asked for, and by whom: its endpoint, so that answers and counts can be compared one by one.
ASKED = {
    "/rss.xml": "GET /rss.xml",
    "/feed.json": "GET /feed.json",
    "/events": "GET /events",
    "/health": "GET /health",
    "/no/such/thing": "GET (no route)",
}
AGENT = "benchmark/1"

#: Requests under way at a time, all in all.
CONNECTIONS = 16


@dataclass(slots=True)
class Site:
    """A site in a process, that can be killed and started again on its port."""

    folder: Path
    url: str
    more: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the site without waiting until it serves."""
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HOST": HOST,
            "PORT": str(self.port),
            "HUB_VAR": str(self.folder / "var"),
            "HUB_LOG_LEVEL": "warning",
            "DATABASE_URL": self.url,
            "REDIS_URL": "",
            "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
            "FANOUT_KEY": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
            "SEARCH_DIR": "memory",
            "JOBS_SERVE": "false",
            **self.more,
        }
        with (self.folder / f"log-{self.port}").open("ab") as log:
            command = [sys.executable, "-m", "web", "serve", "--no-demo"]
            self.process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=self.folder)

    async def wait(self) -> None:
        """Wait until it answers; raises TimeoutError."""
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(HOST, self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """Kill the site by SIGKILL, as the kernel does when memory is short."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Stop the site by SIGTERM, as a deploy does."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def cpu(self) -> float:
        """Seconds of CPU that its threads have had."""
        assert self.process is not None
        total = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9


@dataclass(slots=True)
class Asking:
    """What clients sent and were answered, by endpoint; and how late, in seconds."""

    sent: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    late: list[float] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many requests were answered."""
        return sum(self.answered.values())


async def ask(port: int, asking: Asking, enough: asyncio.Event, most: int, pause: float = 0.0) -> None:
    """Ask one process over one connection, again whenever that breaks, until there were enough answers in all."""
    paths = list(ASKED)
    while not enough.is_set():
        try:
            reader, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        try:
            while not enough.is_set():
                path = random.choice(paths)
                began = time.perf_counter()
                asking.sent[ASKED[path]] += 1
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {AGENT}\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"\r\nContent-Length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                asking.answered[ASKED[path]] += 1
                asking.late.append(time.perf_counter() - began)
                if asking.total >= most:
                    enough.set()
                if pause:
                    await asyncio.sleep(pause)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def counted(url: str) -> Counter[str]:
    """What the tables have of what was asked for."""
    database = Database(url, RecordingPublisher())
    try:
        async with database.reading() as session:
            asked = select(ViewEndpoint.name, func.sum(ViewCount.calls)).join(ViewCount)
            rows = await session.execute(asked.where(ViewCount.seconds == HOUR).group_by(ViewEndpoint.name))
            return Counter({name: int(calls) for name, calls in rows if name in ASKED.values()})
    finally:
        await database.close()


async def ledger(folder: Path, url: str, requests: int, kills: int) -> bool:
    """Compare; True if nothing was lost, and nothing counted that was not under way."""
    await migrate(url)
    sites = [Site(folder, url) for _ in range(2)]
    for site in sites:
        site.start()
    await asyncio.gather(*(site.wait() for site in sites))
    asking, enough = Asking(), asyncio.Event()
    # Until all kills are done, too: a process takes longer to start than it takes to answer thousands.
    clients = [asyncio.create_task(ask(sites[number % 2].port, asking, enough, 10**9)) for number in range(CONNECTIONS)]
    killed = 0
    try:
        for number in range(kills):
            # Evenly over the requests, at a moment by chance.
            wanted = requests * (number + random.random()) / kills
            while asking.total < wanted:
                await asyncio.sleep(random.uniform(0.0, 0.01))
            site = random.choice(sites)
            site.kill()
            killed += 1
            site.start()
            await site.wait()
        while asking.total < requests:
            await asyncio.sleep(0.05)
        enough.set()
        await asyncio.gather(*clients)
    finally:
        for site in sites:
            site.stop()
    # What the last one that was killed left behind is there for who starts next.
    sites[0].start()
    await sites[0].wait()
    await asyncio.sleep(2.0)
    sites[0].stop()
    found = await counted(url)
    lost = sum((asking.answered - found).values())
    beyond = sum((found - asking.answered).values())
    unsure = sum((asking.sent - asking.answered).values())
    print(f"{asking.total:,} answers, {killed} kills, {sum(found.values()):,} counted")
    print(f"lost {lost}; counted and not answered {beyond}, of {unsure} that were under way when a process was killed")
    left = list((folder / "var" / "views").glob("*.views"))
    if left:
        print(f"{len(left)} files were left")
    return not lost and beyond <= unsure and not left


#: Requests of a turn: short beside what a machine does in between, and long beside the change from one to the other.
TURN = 100


class Line:
    """A connection that is kept, and asks in a fixed order: who is compared is asked for the same."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._paths = itertools.cycle(ASKED)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, count: int) -> None:
        """Send this many requests, one after the other."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        reader, writer = self._streams
        for path in itertools.islice(self._paths, count):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {AGENT}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\nContent-Length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()


async def cost(folder: Path, requests: int, pairs: int) -> float:
    """Microseconds of CPU that views cost a request, the median of pairs."""
    names = [feature.name for feature in FEATURES]
    sites = []
    for name, features in (("on", names), ("off", [each for each in names if each != "views"])):
        where = folder / name
        where.mkdir()
        url = f"sqlite:///{where / 'site.db'}"
        await migrate(url)
        site = Site(where, url, {"SITE_FEATURES": ",".join(features)})
        site.start()
        sites.append(site)
    differences = []
    lines = {site.folder.name: [Line(site.port) for _ in range(4)] for site in sites}
    # As long as `VIEWS_FLUSH`, and the writing: what a pair has counted is written before it ends.
    pause = ViewSettings().flush + 0.3
    try:
        await asyncio.gather(*(site.wait() for site in sites))
        for number in range(pairs + 1):
            before = [site.cpu() for site in sites]
            for turn in range(requests // TURN):
                for site in sites if (turn + number) % 2 else sites[::-1]:
                    await asyncio.gather(*(line.ask(TURN // 4) for line in lines[site.folder.name]))
            await asyncio.sleep(pause)
            asked = requests // TURN * TURN
            on, off = ((site.cpu() - was) / asked * 1e6 for site, was in zip(sites, before, strict=True))
            if number:
                differences.append(on - off)
                print(f"with views {on:.1f} µs, without {off:.1f} µs: {on - off:+.1f} µs", flush=True)
    finally:
        for line in itertools.chain(*lines.values()):
            line.close()
        for site in sites:
            site.stop()
    found = statistics.median(differences)
    of = f"{_interval(differences)}; {pairs} pairs of {requests:,} requests"
    print(f"views cost {found:.1f} µs of CPU a request ({of})")
    return found


def _interval(values: list[float]) -> str:
    """Between what the median of all pairs there could be lies, from the order of those there were; no bell assumed.

    It is above or below all of n with a chance of 2 in 2 ** n, and so on inwards.
    """
    ordered, many = sorted(values), len(values)
    out = 0
    while out + 1 < (many + 1) // 2:
        beyond = 2 * sum(math.comb(many, left) for left in range(out + 2)) / 2**many
        if beyond > 0.05:
            break
        out += 1
    sure = 1 - 2 * sum(math.comb(many, left) for left in range(out + 1)) / 2**many
    return f"median; {ordered[out]:.1f} to {ordered[-1 - out]:.1f} with {sure:.0%}"


#: What the application answers itself, and cheaply: the difference is not lost in the scatter of the rest.
PLAIN = ("/plain/1", "/plain/2", "/plain/3", "/no/such/thing")


async def _plain(request: web.Request) -> web.Response:
    # It may be given again.
    request[STANDS] = lambda: True
    return web.Response(body=b"plain")


async def note(folder: Path, requests: int, pairs: int) -> float:
    """Microseconds of CPU that views cost an answer of the application, with the writing of it."""
    apps = {}
    names = [feature.name for feature in FEATURES]
    for name, features in (("on", names), ("off", [each for each in names if each != "views"])):
        environ = {
            "DATABASE_URL": f"sqlite:///{folder / name}.db",
            "HUB_VAR": str(folder / name),
            "SITE_FEATURES": ",".join(features),
            "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
            "SEARCH_DIR": "memory",
            # Writing is called below, so that the timer must not do it in between.
            "VIEWS_FLUSH": "60s",
        }
        await migrate(environ["DATABASE_URL"])
        apps[name] = create_app(read_settings(environ), RecordingPublisher(), with_jobs=False)
        apps[name].router.add_get("/plain/{number}", _plain)
    runners = [web.AppRunner(app) for app in apps.values()]
    for runner in runners:
        await runner.setup()
    counting = apps["on"][views].counting
    found: dict[str, list[float]] = {"answered by the application": [], "given again": [], "added up and written": []}
    try:
        for number in range(pairs + 1):
            took: Counter[str] = Counter()
            for turn in range(requests // TURN):
                for name in sorted(apps, reverse=bool((turn + number) % 2)):
                    some = [_request(apps[name], path, each) for each, path in zip(range(TURN), itertools.cycle(PLAIN))]
                    began = time.thread_time_ns()
                    for request in some:
                        await _answer(apps[name], request)
                    took[name] += time.thread_time_ns() - began
                    if name == "on":
                        again = [request[SEEN] for request in some if SEEN in request]
                if turn % 20 == 19:
                    # As many as 1,000 requests a second are in the 2 seconds of `VIEWS_FLUSH`.
                    began = time.process_time_ns()
                    await counting.flush()
                    took["written"] += time.process_time_ns() - began
            transports = [
                SimpleNamespace(get_extra_info={"peername": (f"203.0.113.{each}", 4711)}.get) for each in range(50)
            ]
            began = time.thread_time_ns()
            for _, seen, transport in zip(range(requests), itertools.cycle(again), itertools.cycle(transports)):
                seen(transport, b"")
            took["again"] = time.thread_time_ns() - began
            await counting.flush()
            sums = (took["on"] - took["off"], took["again"], took["written"])
            if number:
                for values, nanoseconds in zip(found.values(), sums, strict=True):
                    values.append(nanoseconds / requests / 1000)
    finally:
        for runner in runners:
            await runner.cleanup()
    for what, values in found.items():
        print(f"{what}: {statistics.median(values):.2f} µs ({_interval(values)})")
    return statistics.median(found["answered by the application"]) + statistics.median(found["added up and written"])


def _request(app: web.Application, path: str, number: int) -> web.Request:
    """A request of one of fifty callers, as aiohttp makes it of what its parser has read."""
    fields = {"Host": HOST, "User-Agent": AGENT}
    raw = tuple((name.encode(), value.encode()) for name, value in fields.items())
    message = RawRequestMessage(
        "GET", path, HttpVersion11, CIMultiDictProxy(CIMultiDict(fields)), raw, False, None, False, False, URL(path)
    )
    peer = (f"203.0.113.{number % 50}", 4711)
    protocol: Any = SimpleNamespace(transport=None, ssl_context=None, sockname=(HOST, 80), peername=peer)
    nothing: Any = None
    return app._make_request(message, nothing, protocol, nothing, nothing)


async def _answer(app: web.Application, request: web.Request) -> None:
    """What aiohttp's handler of a connection does with it."""
    try:
        response = await app._handle(request)
    except web.HTTPException as error:
        response = error
    await app.on_response_prepare.send(request, response)


@contextlib.asynccontextmanager
async def collector(state: dict[str, str]) -> AsyncIterator[int]:
    """A collector that does as it is told: `well`, `refuse` or `hang`."""

    async def collect(request: web.Request) -> web.Response:
        await request.read()
        if state["is"] == "hang":
            await asyncio.sleep(3600)
        return web.Response(status=503 if state["is"] == "refuse" else 204)

    app = web.Application()
    app.router.add_post("/mp/collect", collect)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, HOST, port).start()
    yield port
    await runner.cleanup()


async def dead(folder: Path, seconds: float) -> None:
    """Latencies while a collector is well, refuses and hangs."""
    url = f"sqlite:///{folder / 'site.db'}"
    await migrate(url)
    state = {"is": "well"}
    async with collector(state) as port:
        more = {
            "VIEWS_GA4": "G-BENCHMARK",
            "VIEWS_GA4_SECRET": "secret",
            "VIEWS_GA4_URL": f"http://{HOST}:{port}",
            "VIEWS_QUEUE": "1000",
            "OUTBOUND_ALLOW": "127.0.0.0/8",
        }
        site = Site(folder, url, more)
        site.start()
        try:
            await site.wait()
            for what in ("warm", "well", "refuse", "hang", "well"):
                state["is"] = "well" if what == "warm" else what
                asking, enough = Asking(), asyncio.Event()
                clients = [
                    asyncio.create_task(ask(site.port, asking, enough, 10**9, pause=0.01)) for _ in range(CONNECTIONS)
                ]
                await asyncio.sleep(5 if what == "warm" else seconds)
                enough.set()
                await asyncio.gather(*clients)
                if what == "warm":
                    continue
                late = sorted(asking.late)
                p50, p99 = (late[int(len(late) * share)] * 1000 for share in (0.5, 0.99))
                told = await _told(site.port)
                print(f"{what:6}: {asking.total:,} answers, p50 {p50:.2f} ms, p99 {p99:.2f} ms; {told}")
        finally:
            site.stop()


async def _told(port: int) -> str:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(f"GET /metrics HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
    text = (await reader.read()).decode()
    writer.close()
    found = re.findall(r'^site_views_told_total\{outcome="(\w+)",target="ga4"\} (\d+)', text, re.MULTILINE)
    found += re.findall(r'^site_views_told_total\{target="ga4",outcome="(\w+)"\} (\d+)', text, re.MULTILINE)
    return "so far " + ", ".join(f"{outcome} {count}" for outcome, count in found if count != "0")


def main() -> int:
    """Run the measurement that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.views", description=__doc__)
    parser.add_argument("what", choices=("ledger", "cost", "note", "dead"))
    parser.add_argument("--requests", type=int, help="in all; of cost and note, of each side of a pair")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each state of the collector")
    parser.add_argument("--database", metavar="URL", help="of ledger, an empty one; else SQLite")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="views-") as name:
        folder = Path(name)
        if args.what == "ledger":
            url = args.database or f"sqlite:///{folder / 'site.db'}"
            return 0 if asyncio.run(ledger(folder, url, args.requests or 20_000, args.kills)) else 1
        if args.what in ("cost", "note"):
            measure = cost if args.what == "cost" else note
            return 0 if asyncio.run(measure(folder, args.requests or 4_000, args.pairs)) <= 20 else 1
        asyncio.run(dead(folder, args.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
