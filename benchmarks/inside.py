"""`python -m benchmarks.inside`: what looking at the hub from inside costs, and whether what it says is so.

trace   two workers on one Redis, sockets on both; so many random messages are published, and each is traced: it must
        say by whom it was published, that it is in the log, that both workers heard it, and that it was written to as
        many sockets as this program has on its channel; and, once pongs are in, that all of them have it.
cost    a site with so many sockets, and deliveries at a steady rate: CPU of the server with the page open (its
        pictures fetched as it does, its channel heard) and without, in turns. The deliveries that this program counted
        must be those of /metrics, and those of the history.
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
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from hub.protocol import tokens

from .ledger.stage import RedisProcess
from .pages import cpu_of

ROOT = Path(__file__).resolve().parent.parent
KEY, REALM = b"a key of the benchmark, for loopback only", "bench"


@dataclass
class Served:
    """A running program. said: what it printed before it was ready."""

    url: str
    process: asyncio.subprocess.Process
    said: str = ""

    def cpu(self) -> float:
        """CPU seconds of all its processes."""
        return cpu_of(self.process.pid)


@contextlib.asynccontextmanager
async def serving(*command: str, **environ: str) -> AsyncIterator[Served]:
    """Start a program of ours on a free port, on the first core, and stop it at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="fanfare-inside-") as folder:
        log = Path(folder) / "log"
        base = {"HUB_VAR": folder, "PORT": str(port), "HUB_LOG_LEVEL": "warning", "FANOUT_REALM": REALM}
        base["FANOUT_KEY"] = base64.b64encode(KEY).decode()
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *command,
                cwd=ROOT,
                env={**os.environ, **base, **environ},
                stdout=out,
                stderr=out,
                preexec_fn=lambda: os.sched_setaffinity(0, {0}),  # no thread runs here yet
            )
        served = Served(f"http://127.0.0.1:{port}", process)
        try:
            async with asyncio.timeout(60), aiohttp.ClientSession() as http:
                while True:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with http.get(f"{served.url}/ready") as response:
                            if response.status == 200:
                                break
                    await asyncio.sleep(0.1)
            served.said = log.read_text()
            yield served
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()


def bearer() -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.sign(REALM, KEY, time.time(), life=3600)}"}


@dataclass
class Ears:
    """Sockets of this program, and what they heard. channels: how many hear each."""

    http: aiohttp.ClientSession
    url: str
    heard: int = 0
    closed: int = 0
    channels: Counter[str] = field(default_factory=Counter)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def open(self, channel: str) -> None:
        """One more, that answers pings and counts what it hears."""
        ws = await self.http.ws_connect(f"{self.url}/bayeux")
        hello = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["websocket"], "id": "1"}
        await ws.send_json([hello])
        client = (await ws.receive_json())[0]["clientId"]
        await ws.send_json([{"channel": "/meta/subscribe", "clientId": client, "subscription": f"/{channel}"}])
        await ws.receive_json()
        await ws.send_json([{"channel": "/meta/connect", "clientId": client, "connectionType": "websocket"}])
        await ws.receive_json()
        self.channels[channel] += 1
        self._tasks.append(asyncio.create_task(self._hear(ws)))

    async def _hear(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        async for message in ws:
            if message.type is aiohttp.WSMsgType.TEXT:
                self.heard += message.data.count('"data":')
        self.closed += 1


# trace


async def trace(count: int, sockets: int, redis_url: str) -> list[str]:
    """Publish and trace so many; what is wrong with any of them."""
    wrong: list[str] = []
    dice = random.Random(17)
    names = [f"trace-{number}" for number in range(20)]
    environ = {"REDIS_URL": redis_url, "HUB_PING_INTERVAL": "1s", "HUB_HISTORY_COUNT": str(count + 100)}
    async with serving("hub", "serve", "--workers", "2", **environ) as served, aiohttp.ClientSession() as http:
        ears = Ears(http, served.url)
        for _ in range(sockets):
            await ears.open(dice.choice(names))
        published: list[tuple[str, str]] = []
        for _ in range(count):
            channel = dice.choice(names)
            item = {"channel": channel, "json-object": {"text": "x" * int(dice.paretovariate(1) * 20 % 5000)}}
            async with http.post(
                f"{served.url}/realm/{REALM}/publish/",
                json={"items": [item]},
                headers={**bearer(), "Accept": "application/json"},
            ) as response:
                published.append((channel, (await response.json())["items"][0]["position"]))
        # Each socket is pinged once a second while it is quiet.
        await asyncio.sleep(4)
        took: list[float] = []
        for channel, position in published:
            began = time.monotonic()
            async with http.get(
                f"{served.url}/realm/{REALM}/inside/trace/",
                params={"channel": channel, "offset": position},
                headers=bearer(),
            ) as response:
                found = await response.json()
            took.append(time.monotonic() - began)
            wrong += (f"{channel} {position}: {words}" for words in _incomplete(found, ears.channels[channel]))
        expected = sum(ears.channels[channel] for channel, _ in published)
        if ears.heard != expected:
            wrong.append(f"{ears.heard} heard instead of {expected}")
        print(
            f"{count} messages of {len(names)} channels, {sockets} sockets on two workers, {expected} deliveries: "
            f"{count - len({each.split(':')[0] for each in wrong})} traces complete; "
            f"a trace takes {statistics.median(took) * 1000:.1f} ms"
        )
    return wrong


async def _trace(folder: Path, count: int, sockets: int) -> list[str]:
    redis = RedisProcess(folder)
    await redis.start()
    try:
        return await trace(count, sockets, f"redis://127.0.0.1:{redis.port}/0")
    finally:
        redis.kill()


def _incomplete(found: dict[str, Any], sockets: int) -> Iterator[str]:
    """What a trace lacks. sockets: those of its channel."""
    if not found.get("published"):
        yield "by whom is not known"
    if found["log"]["state"] != "kept":
        yield f"log: {found['log']['state']}"
    workers = found["workers"]
    if len(workers) != 2 or found["silent"]:
        yield f"{len(workers)} workers answered"
    if not all(each["heard"] for each in workers):
        yield "a worker has not heard it"
    reach = sum(each["reach"] or 0 for each in workers)
    if reach != sockets:
        yield f"written to {reach} instead of {sockets}"
    if not all(each.get("written", True) for each in workers):
        yield "not written yet"
    known = sum(each["acknowledged"] for each in workers)
    if known != sockets:
        yield f"{known} of {sockets} are known to have it"


# cost


async def cost(sockets: int, hearing: int, rate: int, seconds: float, rounds: int) -> list[str]:
    """Measure in turns; what is wrong with the numbers."""
    wrong: list[str] = []
    # Each socket of the load has an address of this machine.
    environ = {"HUB_ADDRESS_CONNECTIONS": "0", "HUB_HANDSHAKE_RATE": "0", "HUB_MAX_CONNECTIONS": "100000"}
    async with (
        serving("web", "serve", **environ) as served,
        # Cookies of an address are kept, too.
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.CookieJar(unsafe=True)
        ) as http,
    ):
        page = Page(http, served.url)
        await page.sign_in(served.said)
        ears = Ears(http, served.url)
        for number in range(sockets):
            await ears.open("hot" if number < hearing else f"idle-{number}")
        counted = ears.heard, await _delivered(http, served.url), time.time()
        stop = asyncio.Event()
        sending = asyncio.create_task(_publish(http, served.url, rate / hearing, stop))
        await asyncio.sleep(3)
        own, used = 0.0, {False: list[float](), True: list[float]()}
        for turn in range(2 * rounds):
            is_open = turn % 2 == 1
            looking = asyncio.create_task(page.look()) if is_open else None
            await asyncio.sleep(1)
            cpu, began = served.cpu(), time.monotonic()
            await asyncio.sleep(seconds)
            used[is_open].append((served.cpu() - cpu) / (time.monotonic() - began))
            if looking is not None:
                own = await _own(http, served.url)
                looking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await looking
        stop.set()
        await sending
        await asyncio.sleep(1.5)
        heard = ears.heard - counted[0]
        metrics = await _delivered(http, served.url) - counted[1]
        history = await _history(http, served.url, counted[2])
        closed = ears.closed
        # What goes to the page itself is delivered too.
        told = metrics - page.heard
        more = statistics.mean(used[True]) - statistics.mean(used[False])
        spread = statistics.stdev([b - a for a, b in zip(used[False], used[True], strict=True)]) if rounds > 1 else 0.0
        print(
            f"{sockets} sockets, {rate} deliveries a second: {statistics.mean(used[False]):.2%} of a core without the"
            f" page, {statistics.mean(used[True]):.2%} with it: {more:+.2%} (± {spread:.2%}); the hub says {own:.2%}"
        )
        print(f"heard {heard}, /metrics {told} (and {page.heard} to the page), history {history:.0f}; {closed} closed")
    if closed:
        wrong.append(f"{closed} sockets were closed")
    if told != heard:
        wrong.append(f"/metrics says {told} deliveries, {heard} were heard")
    if history != metrics:
        wrong.append(f"the history says {history:.0f} deliveries, /metrics {metrics}")
    return wrong


@dataclass
class Page:
    """The hub's page, open as a manager has it."""

    http: aiohttp.ClientSession
    url: str
    heard: int = 0
    _ws: aiohttp.ClientWebSocketResponse | None = None

    async def sign_in(self, said: str) -> None:
        """With the password that the first start has printed."""
        found = re.search(r"manager, password (\S+)", said)
        assert found is not None, said
        fields = {"name": "manager", "password": found[1]}
        async with self.http.post(f"{self.url}/login", data=fields, headers={"Origin": self.url}) as response:
            assert response.status == 200, await response.text()

    async def look(self) -> None:
        """What the page does, until it is closed."""
        async with self.http.get(f"{self.url}/manage/hub") as response:
            assert response.status == 200
            await response.read()
        async with self.http.get(f"{self.url}/manage/hub/token") as response:
            token = await response.text()
        async with self.http.ws_connect(f"{self.url}/ws?channel=private-hub&token={token}") as ws:
            hearing = asyncio.create_task(self._hear(ws))
            try:
                while True:
                    await asyncio.sleep(10)
                    async with self.http.get(f"{self.url}/manage/hub/pictures") as response:
                        assert response.status == 200
                        await response.read()
            finally:
                hearing.cancel()

    async def _hear(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        async for message in ws:
            if (message.type is aiohttp.WSMsgType.TEXT and '"message"' in message.data) or '"data"' in message.data:
                self.heard += 1


async def _publish(http: aiohttp.ClientSession, url: str, rate: float, stop: asyncio.Event) -> None:
    due = time.monotonic()
    while not stop.is_set():
        due += 1 / rate
        item = {"channel": "hot", "json-object": {"at": time.time(), "text": "x" * 60}}
        async with http.post(f"{url}/realm/{REALM}/publish/", json={"items": [item]}, headers=bearer()) as response:
            await response.read()
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _delivered(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(f"{url}/metrics") as response:
        found = re.search(r"^hub_delivered_total (\S+)", await response.text(), re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


async def _history(http: aiohttp.ClientSession, url: str, since: float) -> float:
    async with http.get(f"{url}/realm/{REALM}/inside/history/?seconds=900", headers=bearer()) as response:
        [worker] = (await response.json())["workers"]
    place = worker["names"].index("delivered") + 2
    width = worker["columns"][1][0] - worker["columns"][0][0]
    total = 0.0
    for column in worker["columns"]:
        # Nothing was delivered before.
        if len(column) > place and column[0] + width > since:
            total += column[place]
    return total


async def _own(http: aiohttp.ClientSession, url: str) -> float:
    async with http.get(f"{url}/realm/{REALM}/inside/now/", headers=bearer()) as response:
        [worker] = (await response.json())["workers"]
    return float(worker["sample"]["own"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inside", description=__doc__)
    parser.add_argument("what", choices=("trace", "cost"))
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--sockets", type=int, help="default: 60 for trace, 2,000 for cost")
    parser.add_argument("--hearing", type=int, default=200, help="of them, those that hear the deliveries of `cost`")
    parser.add_argument("--rate", type=int, default=4000, help="deliveries a second of `cost`")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    found = parser.parse_args()
    if found.what == "trace":
        with tempfile.TemporaryDirectory(prefix="fanfare-inside-") as folder:
            wrong = asyncio.run(_trace(Path(folder), found.messages, found.sockets or 60))
    else:
        wrong = asyncio.run(cost(found.sockets or 2000, found.hearing, found.rate, found.seconds, found.rounds))
    for words in wrong[:20]:
        print(f"WRONG {words}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
