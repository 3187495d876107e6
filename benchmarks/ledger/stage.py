"""Redis, workers, publisher and clients: started together, ended together. Loopback only."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from hub.protocol.tokens import sign

from ..ports import free_port
from .accounts import Account, Page
from .clients import KINDS, Client, FollowerClient
from .proxy import Proxy

ROOT = Path(__file__).resolve().parent.parent.parent
KEY = b"ledger" * 6
REALM = "ledger"


class RedisProcess:
    """A redis-server of the run's own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "",
             *self.options],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        while True:
            with contextlib.suppress(OSError):
                if await self.command("PING") == "+PONG":
                    return
            await asyncio.sleep(0.02)

    async def command(self, *words: str) -> str:
        """Send one command and return the first line of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            body = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
            writer.write(f"*{len(words)}\r\n{body}".encode())
            return (await reader.readline()).decode().strip()
        finally:
            writer.close()

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            if number in (signal.SIGKILL, signal.SIGTERM):
                self.process.wait()
                self.process = None


class Stage:
    """Everything one run needs. `async with Stage(...)` starts it and ends it."""

    def __init__(self, *, workers: int, clients: int, channels: int, rate: float, persistent: bool = False) -> None:
        self.workers = workers
        self.wanted = clients
        self.channels = [f"ledger-{number}" for number in range(channels)]
        self.rate = rate
        self._folder = tempfile.TemporaryDirectory(prefix="ledger-")
        folder = Path(self._folder.name)
        options = ("--appendonly", "yes", "--appendfsync", "always") if persistent else ()
        self.redis = RedisProcess(folder / "redis", *options)
        self.redis_proxy = Proxy(lambda: ("127.0.0.1", self.redis.port))
        self.port = free_port()
        self.proxy = Proxy(lambda: ("127.0.0.1", self.port))
        self.hub: subprocess.Popen[bytes] | None = None
        self.node: asyncio.subprocess.Process | None = None
        self.clients: list[Client] = []
        self.js: list[tuple[str, Account]] = []
        self.database = sqlite3.connect(folder / "changes.sqlite3", isolation_level=None)
        self.database.execute("create table changes (channel text primary key, newest integer)")
        self.published = dict.fromkeys(self.channels, 0)
        #: The newest change of each channel that the hub has accepted.
        self.told = dict.fromkeys(self.channels, 0)
        self.publications = 0
        self.retries = 0
        self.http: aiohttp.ClientSession | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._publishing = True
        self._publisher: asyncio.Task[None] | None = None
        self._positions: dict[str, str] = {}

    @property
    def url(self) -> str:
        """The hub, without the proxy."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Stage:
        try:
            await self.redis.start()
            await self.redis_proxy.start()
            await self.proxy.start()
            self.start_hub()
            connector = aiohttp.TCPConnector(limit=0, force_close=False)
            self.http = aiohttp.ClientSession(connector=connector)
            await self.ready()
            await self._start_clients()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def start_hub(self) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("HUB_", "FANOUT_"))} | {
            "PORT": str(self.port),
            "REDIS_URL": f"redis://127.0.0.1:{self.redis_proxy.port}",
            "WEB_CONCURRENCY": str(self.workers),
            "FANOUT_REALM": REALM,
            "FANOUT_KEY": base64.b64encode(KEY).decode(),
            "HUB_CONNECT_TIMEOUT": "4",
            "HUB_PING_INTERVAL": "2",
            "HUB_LOG_LEVEL": "warning",
            "HUB_SESSION_TTL": "15",
            "PYTHONPATH": str(ROOT),
        }
        log = Path(self._folder.name) / "hub.log"
        with log.open("ab") as out:
            self.hub = subprocess.Popen(
                [sys.executable, "-m", "hub", "serve"],
                env=environ, cwd=self._folder.name, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def log(self) -> str:
        """What the hub's processes have said."""
        return (Path(self._folder.name) / "hub.log").read_text(errors="replace")

    def worker_pids(self) -> list[int]:
        """The processes of the workers now."""
        assert self.hub is not None
        path = Path(f"/proc/{self.hub.pid}/task/{self.hub.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    async def ready(self, seconds: float = 60.0) -> None:
        """Until every worker says so, as far as one can tell from outside."""
        assert self.http is not None
        limit = time.monotonic() + seconds
        good = 0
        while good < self.workers * 2:
            if time.monotonic() > limit:
                raise RuntimeError(f"the hub is not ready: {self.log()[-1000:]}")
            try:
                async with self.http.get(self.url + "/ready", headers={"Connection": "close"}) as response:
                    good = good + 1 if response.status == 200 else 0
            except (aiohttp.ClientError, OSError):
                good = 0
            await asyncio.sleep(0.02)

    async def _start_clients(self) -> None:
        assert self.http is not None
        for channel in self.channels:
            async with self.http.get(f"{self.url}/poll?channel={channel}") as response:
                self._positions[channel] = (await response.json())["position"]
            self.database.execute("insert into changes values (?, 0)", (channel,))
        by_proxy = f"http://127.0.0.1:{self.proxy.port}"
        scripts = max(self.wanted // 5, 1)
        for number in range(self.wanted - scripts):
            channel = self.channels[number % len(self.channels)]
            kind = KINDS[number % len(KINDS)]
            self.clients.append(kind(by_proxy, channel, self.newest, self._positions[channel], 0))
        for client in self.clients:
            client.others = [each for each in self.channels if each != client.channel]
            client.told = self.told.__getitem__
            client.start(self.http)
        script = Path(__file__).with_name("fanout_clients.cjs")
        self.js = [(self.channels[who % len(self.channels)], Account(0)) for who in range(scripts)]
        self.node = await asyncio.create_subprocess_exec(
            "node", str(script), by_proxy, ",".join(self.channels), str(scripts), json.dumps(self._positions),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**20,
        )  # fmt: skip
        self._tasks.append(asyncio.create_task(self._hear_scripts()))
        async with asyncio.timeout(60):
            await asyncio.gather(*(client.subscribed.wait() for client in self.clients))
        self._publisher = asyncio.create_task(self._publish())
        self._tasks.append(self._publisher)

    def newest(self, channel: str) -> int:
        """The channel's newest change in the database."""
        found = self.database.execute("select newest from changes where channel = ?", (channel,)).fetchone()
        return int(found[0])

    async def _hear_scripts(self) -> None:
        assert self.node is not None
        assert self.node.stdout is not None
        while line := await self.node.stdout.readline():
            said = json.loads(line)
            now = time.monotonic()
            if "got" in said:
                who, number = said["got"]
                self.js[who][1].got(number, now)
            elif "fetch" in said:
                self.js[said["who"]][1].fetched(self.newest(said["fetch"]), now, grace=10.0)

    async def _publish(self) -> None:
        """Save a change, tell the hub, again and again; one that is refused is told again with its key."""
        assert self.http is not None
        number = 0
        began = time.monotonic()
        run = random.randrange(10**9)
        while self._publishing:
            await asyncio.sleep(max(0.0, began + number / self.rate - time.monotonic()))
            items: list[dict[str, object]] = []
            for channel in self.channels:
                change = self.published[channel] = self.published[channel] + 1
                self.database.execute("update changes set newest = ? where channel = ?", (change, channel))
                items.append({"channel": channel, "id": f"{run}-{channel}-{change}", "json-object": {"n": change}})
            await self._tell(items)
            self.told.update(self.published)
            self.publications += len(items)
            number += 1

    async def _tell(self, items: Sequence[dict[str, object]]) -> None:
        assert self.http is not None
        token = sign(REALM, KEY, time.time())
        while True:
            try:
                async with self.http.post(
                    f"{self.url}/realm/{REALM}/publish/",
                    json={"items": items},
                    headers={"Authorization": f"Bearer {token}"},
                    timeout=aiohttp.ClientTimeout(total=3),
                ) as response:
                    if response.status == 200:
                        return
            except (TimeoutError, aiohttp.ClientError, OSError):
                pass
            self.retries += 1
            await asyncio.sleep(0.05)

    def accounts(self) -> list[tuple[str, str, Account]]:
        """(kind, channel, account) of every client."""
        python = [(type(client).__name__, client.channel, client.account) for client in self.clients]
        return python + [("fanout.js", channel, account) for channel, account in self.js]

    def side_accounts(self) -> list[tuple[str, str, Account]]:
        """As `accounts`, of the channels that clients heard for a while."""
        return [(type(client).__name__, "another", account) for client in self.clients for account in client.sides.past]

    @property
    def strays(self) -> int:
        """Deliveries of what was published after an unsubscribe had been answered."""
        return sum(client.sides.strays for client in self.clients)

    def pages(self) -> list[Page]:
        """The pages that sites apart keep."""
        return [client.page for client in self.clients if isinstance(client, FollowerClient)]

    async def recovery(self, limit: float) -> list[float]:
        """Seconds each client takes from now until it has everything published by now."""
        began = time.monotonic()
        goal = dict(self.published)
        waiting = self.accounts()
        took = []
        while waiting and time.monotonic() - began < limit:
            await asyncio.sleep(0.02)
            still = []
            for entry in waiting:
                # A hole may still be explained: the word "lost", and the fetch after it, take a moment.
                if entry[2].upto >= goal[entry[1]] and not entry[2].holes:
                    took.append(time.monotonic() - began)
                else:
                    still.append(entry)
            waiting = still
        return took + [limit] * len(waiting)

    async def settle(self, limit: float) -> None:
        """Stop publishing, and give every client the time to get the rest.

        Raises RuntimeError if what was begun is not published in that time.
        """
        self._publishing = False
        if self._publisher is not None:
            try:
                async with asyncio.timeout(limit):
                    await self._publisher
            except TimeoutError:
                raise RuntimeError(
                    f"Nothing is published any more, after {self.retries} tries: so many clients in one process are too"
                    " much for this machine. Try fewer, or a lower --rate."
                ) from None
        await self.recovery(limit)
        for _, channel, account in self.accounts():
            account.close(self.published[channel])
        everyone = [client.sides for client in self.clients]
        end = time.monotonic() + limit
        while time.monotonic() < end and any(sides.is_waiting(self.told.__getitem__) for sides in everyone):
            await asyncio.sleep(0.05)
        for sides in everyone:
            sides.end(self.told.__getitem__)

    async def close(self) -> None:
        for client in self.clients:
            if client._task is not None:
                client._task.cancel()
        await asyncio.gather(*(client._task for client in self.clients if client._task), return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.node is not None:
            with contextlib.suppress(ProcessLookupError):
                self.node.kill()
            await self.node.wait()
        if self.http is not None:
            await self.http.close()
        await self.proxy.stop()
        if self.hub is not None:
            for pid in self.worker_pids() if self.hub.poll() is None else []:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            self.hub.terminate()
            try:
                await asyncio.to_thread(self.hub.wait, 15)
            except subprocess.TimeoutExpired:
                self.hub.kill()
                self.hub.wait()
        await self.redis_proxy.stop()
        self.redis.kill(signal.SIGCONT)
        self.redis.kill()
        self.database.close()
        self._folder.cleanup()
