"""The seam between a proxy's kept connections and the hub's: whose idle time is longer decides who gets a 502.

A proxy that keeps an idle connection for longer than the hub does sends a request on it at the moment in which the hub
closes it, and can't send a POST again. The relay between them takes its time, as a network does: that makes the moment
long enough to be met.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import test_proxies
from listening import serving
from ports import free_port
from services import Proxy
from test_proxies import PAGE, certify, configured

#: Seconds that an idle connection is kept by the hub, and that the relay takes each way.
IDLE, LATENCY = 1.5, 0.1

#: Seconds after which the next requests are sent: as the hub closes, and as the proxy learns of it.
PAUSES = (IDLE - LATENCY, IDLE, IDLE + LATENCY / 2)

#: Requests at once, each on a connection of its own.
MANY = 6

#: By proxy: what its stanza says of idle connections, and as much less than the hub's IDLE as that is than its default.
SHORT = {
    "nginx": ("keepalive_timeout 60s;", "keepalive_timeout 1200ms;"),
    "haproxy": ("pool-purge-delay 5s", "pool-purge-delay 100ms"),
    "caddy": ("keepalive 60s", "keepalive 1200ms"),
}

#: The same with the hub's time the shorter one.
LONG = {
    "nginx": ("keepalive_timeout 60s;", "keepalive_timeout 60s;"),
    "haproxy": ("pool-purge-delay 5s", "pool-purge-delay 30s"),
    "caddy": ("keepalive 60s", "keepalive 60s"),
}


class Relay:
    """Passes bytes and ends on, late."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def opened(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += (writer, far_writer)
        for source, target in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.get_running_loop().create_task(self._pass(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await source.read(65536):
                loop.call_later(LATENCY, target.write, data)
        except ConnectionError:
            pass
        loop.call_later(LATENCY, target.close)

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # What was to be passed on later.
        await asyncio.sleep(2 * LATENCY)


@asynccontextmanager
async def far_behind(name: str, folder: Path) -> AsyncIterator[str]:
    """A proxy, a network, and a hub; the proxy's URL."""
    await asyncio.to_thread(certify, folder)
    async with serving(proxies=1, idle_timeout=IDLE) as (url, _):
        relay = Relay(int(url.rpartition(":")[2]))
        server = await asyncio.start_server(relay.opened, "127.0.0.1", 0)
        between = server.sockets[0].getsockname()[1]
        port = free_port()
        proxy = Proxy(name, configured(name, folder, port, f"127.0.0.1:{between}"), port, folder)
        await asyncio.to_thread(proxy.start)
        try:
            yield f"https://localhost:{port}"
        finally:
            await asyncio.to_thread(proxy.stop)
            server.close()
            await relay.close()


async def failures(url: str) -> int:
    """How many POSTs fail that are sent at the wrong moment."""
    connector = aiohttp.TCPConnector(ssl=test_proxies._unverified(), limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:

        async def post(path: str) -> bool:
            try:
                async with http.post(f"{url}{path}", json=[]) as answer:
                    await answer.read()
                    return answer.status < 500
            except aiohttp.ClientError:
                return False

        async with asyncio.timeout(60):
            while not await post("/bayeux"):
                await asyncio.sleep(0.1)
        failed = 0
        for path in ("/bayeux", "/publish/"):
            for pause in PAUSES:
                await asyncio.gather(*(post(path) for _ in range(MANY)))
                # The hub has counted since it wrote the answers, which were on their way as long.
                await asyncio.sleep(pause - LATENCY)
                failed += (await asyncio.gather(*(post(path) for _ in range(MANY)))).count(False)
        return failed


@pytest.mark.long
@pytest.mark.parametrize("name", SHORT)
async def test_proxy_that_closes_first_meets_no_closed_connection(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SHORT[name][0] in PAGE
    monkeypatch.setattr(test_proxies, "PAGE", PAGE.replace(*SHORT[name]))
    async with far_behind(name, tmp_path) as url:
        assert await failures(url) == 0


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
async def test_proxy_that_keeps_for_longer_does(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page's table warns of; without it the test above could not fail."""
    monkeypatch.setattr(test_proxies, "PAGE", PAGE.replace(*LONG[name]))
    async with far_behind(name, tmp_path) as url:
        assert await failures(url) > 0
