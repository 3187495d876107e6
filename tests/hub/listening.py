"""A hub that is really served, and someone who really listens, for tests of publishing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientResponse, ClientSession, web

from hub.app import Hub, running
from hub.settings import Settings

KEY = bytes(range(32))
REALM = "a1b2c3d4"


class Listener:
    """A Bayeux client over long-polling that collects what it is delivered."""

    def __init__(self, url: str, http: ClientSession) -> None:
        self._url = f"{url}/bayeux"
        self._http = http
        self._id = ""
        self._waiting: list[tuple[str, Any]] = []

    async def _say(self, *batch: dict[str, Any]) -> list[dict[str, Any]]:
        async with self._http.post(self._url, json=batch) as response:
            assert response.status == 200, await response.text()
            answer: list[dict[str, Any]] = await response.json()
            return answer

    async def subscribe(self, *channels: str) -> None:
        """Handshake, subscribe, and take the first connect's answer, which comes at once."""
        handshake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}
        self._id = (await self._say(handshake))[0]["clientId"]
        subscribe = {"channel": "/meta/subscribe", "clientId": self._id, "subscription": list(channels)}
        assert (await self._say(subscribe))[0]["successful"]
        await self._connect()

    async def _connect(self) -> None:
        connect = {"channel": "/meta/connect", "clientId": self._id, "connectionType": "long-polling"}
        for message in await self._say(connect):
            if not message["channel"].startswith("/meta/"):
                self._waiting.append((message["channel"], message["data"]))

    async def take(self, count: int) -> list[tuple[str, Any]]:
        """The next publications as (channel, data); waits until there are so many."""
        while len(self._waiting) < count:
            await self._connect()
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken


@contextlib.asynccontextmanager
async def serving(**changes: Any) -> AsyncIterator[tuple[str, Hub]]:
    """A hub on a free port; gives its URL and itself. `changes`: settings other than the defaults."""
    settings = Settings(**({"key": KEY, "realm": REALM, "connect_timeout": 2.0} | changes))
    app = web.Application()
    hub = Hub(settings)
    hub.setup(app)
    async with running(app, hub) as url:
        yield url, hub


@contextlib.asynccontextmanager
async def listening(url: str, *channels: str) -> AsyncIterator[Listener]:
    """Someone subscribed to channels in Bayeux form."""
    async with ClientSession() as http:
        listener = Listener(url, http)
        await listener.subscribe(*channels)
        yield listener


async def read_events(stream: ClientResponse, count: int) -> list[dict[str, str]]:
    """The next events of an event stream that have data, as their fields."""
    found: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    async with asyncio.timeout(60):
        while len(found) < count:
            line = await stream.content.readline()
            assert line, "the stream ended"
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
                continue
            if "data" in fields:
                found.append(fields)
            fields = {}
    return found
