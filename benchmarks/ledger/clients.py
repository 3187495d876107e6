"""Clients that keep an account: each subscribes with its position, and fetches when told "lost"."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from .accounts import Account

#: Back-off between attempts to connect: short, so that a run measures the hub and not the client.
_SHORTEST, _LONGEST = 0.05, 1.0

#: Seconds by which the word "lost" may come after the hole: on a WebSocket it travels with the reply to
#: the next connect, which may be a round trip behind the publications after the hole.
GRACE = 3.0


class Restart(Exception):
    """This connection, or this session, is of no more use."""


_FAULTS = (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError, Restart)


class Client:
    """One listener of one channel. `newest` reads the channel's newest change from the database."""

    kind = ""

    def __init__(self, url: str, channel: str, newest: Callable[[str], int], position: str, upto: int) -> None:
        self.url = url
        self.channel = channel
        self.newest = newest
        self.position: str | None = position
        self.account = Account(upto)
        #: When it subscribed, each time (monotonic seconds).
        self.arrivals: list[float] = []
        self.subscribed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, http: aiohttp.ClientSession) -> None:
        self._task = asyncio.create_task(self._live(http))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _live(self, http: aiohttp.ClientSession) -> None:
        pause = _SHORTEST
        while True:
            try:
                await self.once(http)
                pause = _SHORTEST
            except _FAULTS:
                if self.subscribed.is_set():
                    pause = _SHORTEST
                self.subscribed.clear()
                # Full jitter, as fanout.js has it.
                await asyncio.sleep(random.uniform(0.01, pause))
                pause = min(pause * 2, _LONGEST)

    async def once(self, http: aiohttp.ClientSession) -> None:
        """Connect, subscribe and listen until something fails."""
        raise NotImplementedError

    def arrived(self) -> None:
        """It is subscribed, for the first time or again."""
        if not self.subscribed.is_set():
            self.arrivals.append(time.monotonic())
            self.subscribed.set()

    def got(self, number: int, position: str) -> None:
        """A delivery. Repeats by position are dropped, as every client of positions does."""
        epoch, _, offset = position.partition(".")
        mine, _, at = (self.position or "").partition(".")
        if epoch == mine and int(offset) <= int(at or 0):
            self.account.deliveries += 1
            self.account.duplicates += 1
            return
        self.position = position
        self.account.got(number, time.monotonic())

    def lost(self, position: str | None) -> None:
        """Told "lost": the position first, then the state, so that nothing can fall between."""
        if position is not None:
            self.position = position
        self.account.fetched(self.newest(self.channel), time.monotonic(), grace=GRACE)


class BayeuxClient(Client):
    """What WebSocket and long-polling have in common."""

    session: str | None = None

    def handshake(self) -> dict[str, Any]:
        return {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": [self.kind], "id": "h"}

    def subscribe(self) -> dict[str, Any]:
        name = "/" + self.channel
        ext = {"position": {name: self.position}}
        return {"channel": "/meta/subscribe", "clientId": self.session, "subscription": name, "ext": ext, "id": "s"}

    def connect(self, number: int, timeout: int | None = None) -> dict[str, Any]:
        message = {
            "channel": "/meta/connect",
            "clientId": self.session,
            "connectionType": self.kind,
            "id": f"c{number}",
        }
        return message if timeout is None else {**message, "advice": {"timeout": timeout}}

    def take(self, messages: list[dict[str, Any]]) -> bool:
        """Book what came; returns whether a connect was answered. Raises Restart to shake hands again."""
        connected = False
        name = "/" + self.channel
        again = False
        for message in messages:
            if "successful" not in message:
                self.got(message["data"]["n"], message["id"])
                continue
            if not message["successful"]:
                if message.get("advice", {}).get("reconnect") == "handshake" or message["channel"] != "/meta/connect":
                    self.session = None
                raise Restart
            ext = message.get("ext", {})
            if message["channel"] == "/meta/subscribe":
                if ext.get("recovered", {}).get(name) is False:
                    self.lost(ext.get("position", {}).get(name))
                self.arrived()
            elif message["channel"] == "/meta/connect":
                connected = True
                top = ext.get("tops", {}).get(name)
                if name in ext.get("lost", ()):
                    self.lost(None)
                    again = True
                elif top is not None and not self._covers(top):
                    again = True
            elif message["channel"] == "/meta/handshake":
                self.session = message["clientId"]
        if again:
            self.behind = True
        return connected

    behind = False

    def _covers(self, top: str) -> bool:
        epoch, _, offset = top.partition(".")
        mine, _, at = (self.position or "").partition(".")
        return epoch == mine and int(offset) <= int(at or 0)


class WebSocketClient(BayeuxClient):
    kind = "websocket"

    def greeting(self) -> list[dict[str, Any]]:
        """What it says first on a new connection."""
        return [self.subscribe(), self.connect(0, 0)]

    async def once(self, http: aiohttp.ClientSession) -> None:
        async with http.ws_connect(self.url + "/bayeux", timeout=aiohttp.ClientWSTimeout(ws_close=0.5)) as ws:

            async def hear(seconds: float) -> bool:
                message = await ws.receive(seconds)
                if message.type is not aiohttp.WSMsgType.TEXT:
                    raise Restart
                return self.take(json.loads(message.data))

            if self.session is None:
                await ws.send_str(json.dumps([self.handshake()]))
                await hear(5)
            # A session that is still known goes on here. Its subscription comes first, with the position:
            # what was written to the dead socket may not have arrived, and must come before what is live.
            await ws.send_str(json.dumps(self.greeting()))
            number = 0
            while True:
                # Half-open sockets are found by the connect that is not answered.
                if await hear(6):
                    number += 1
                    await ws.send_str(json.dumps([self.connect(number)]))
                if self.behind:
                    self.behind = False
                    await ws.send_str(json.dumps([self.subscribe()]))


class PlainClient(WebSocketClient):
    """A Bayeux client that knows nothing of positions, as Faye's: it gets repeats, or its session ends."""

    known: str | None = None

    def __init__(self, url: str, channel: str, newest: Callable[[str], int], position: str, upto: int) -> None:
        super().__init__(url, channel, newest, position, upto)
        # What came before a new session's subscription was answered: the fetch after the answer has it.
        self._early: list[int] = []

    def subscribe(self) -> dict[str, Any]:
        return {"channel": "/meta/subscribe", "clientId": self.session, "subscription": "/" + self.channel, "id": "s"}

    def greeting(self) -> list[dict[str, Any]]:
        # A session that goes on has its subscriptions.
        return [self.connect(0, 0)] if self.session == self.known else [self.subscribe(), self.connect(0, 0)]

    def arrived(self) -> None:
        if self.known is not None and self.known != self.session:
            # The only word for "lost" that it knows: a new session. It has subscribed, so now it fetches.
            self.account.fetched(self.newest(self.channel), time.monotonic())
        self.known = self.session
        early, self._early = self._early, []
        for number in early:
            self.account.got(number, time.monotonic())
        super().arrived()

    def got(self, number: int, position: str) -> None:
        if self.session == self.known:
            self.account.got(number, time.monotonic())
        else:
            self._early.append(number)


class PollingClient(BayeuxClient):
    kind = "long-polling"

    async def once(self, http: aiohttp.ClientSession) -> None:
        async def say(*messages: dict[str, Any]) -> bool:
            async with http.post(
                self.url + "/bayeux", json=messages, timeout=aiohttp.ClientTimeout(total=6, sock_connect=2)
            ) as response:
                if response.status != 200:
                    raise Restart
                return self.take(await response.json(content_type=None))

        if self.session is None:
            await say(self.handshake())
        await say(self.subscribe())
        number = 0
        while True:
            number += 1
            await say(self.connect(number))
            if self.behind:
                self.behind = False
                await say(self.subscribe())


class StreamClient(Client):
    kind = "eventsource"

    async def once(self, http: aiohttp.ClientSession) -> None:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": self.position or ""}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=16)
        async with http.get(f"{self.url}/sse?channel={self.channel}", headers=headers, timeout=timeout) as response:
            if response.status != 200:
                raise Restart
            event, identity, data = "", "", ""
            async for raw in response.content:
                line = raw.decode().rstrip("\n")
                if line.startswith("id: "):
                    identity = line[4:]
                elif line.startswith("event: "):
                    event = line[7:]
                elif line.startswith("data: "):
                    data = line[6:]
                elif not line and data:
                    self._event(event, identity, json.loads(data))
                    event, data = "", ""

    def _event(self, event: str, identity: str, data: Any) -> None:
        if event == "subscribed":
            state = data[self.channel]
            if state.get("recovered") is False:
                self.lost(state["position"])
            self.arrived()
        elif event == "lost":
            # Where the channel is now is known when it is subscribed to again.
            if self.subscribed.is_set():
                self.position = "lost.0"
                raise Restart
        else:
            self.got(data["data"]["n"], data["id"])


KINDS: list[type[Client]] = [WebSocketClient, PollingClient, StreamClient, PlainClient]
