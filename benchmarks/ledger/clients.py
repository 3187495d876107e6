"""Clients that keep an account: each subscribes with its position, and fetches when told "lost"."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import aiohttp

from hub.brokers.redis.broker import HEARS_SECONDS as HUB_SECONDS
from hub.follower import Lost
from hub.protocol.publications import Position
from hub.remote import HEARS_SECONDS, RemoteHub

from .accounts import Account, Page
from .sides import Side, Sides, covers

#: Back-off between attempts to connect: short, so that a run measures the hub and not the client.
_SHORTEST, _LONGEST = 0.05, 1.0

#: Seconds by which the word "lost" may come after the hole, where the two may travel by different connections. On a
#: WebSocket there are none: the hub gives nothing that is newer before the word.
GRACE = 3.0

#: Seconds that a client hears another channel, and that it then does without one; drawn from between.
_STAY, _PAUSE = (0.3, 2.0), (0.05, 0.5)

#: Seconds after which what has not come on such a channel is lost. A worker stands still for ten of them, and whoever
#: asks it then asks another one six seconds later.
PATIENCE = 20.0

#: Seconds for which a page may be given that is no good any more: the hub may believe so long that it hears its log,
#: the site that it hears the hub, and this process, with all its clients, may be late.
DOUBT = HUB_SECONDS + HEARS_SECONDS + 1.5

#: Seconds between two visitors of a page.
_VISIT = 0.05

#: Seconds for an answer to a subscribe or an unsubscribe.
_ANSWER = 8.0


class Restart(Exception):
    """This connection, or this session, is of no more use."""


_FAULTS = (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError, Restart)


class Client:
    """One listener of one channel. `newest` reads the channel's newest change from the database."""

    kind = ""

    #: As GRACE, on this transport.
    grace = GRACE

    def __init__(self, url: str, channel: str, newest: Callable[[str], int], position: str, upto: int) -> None:
        self.url = url
        self.channel = channel
        self.newest = newest
        self.position: str | None = position
        self.account = Account(upto)
        self.sides = Sides(newest, apart=self.grace > 0)
        #: Channels that it may hear beside its own, and the newest change of a channel that the hub has accepted.
        self.others: Sequence[str] = ()
        self.told: Callable[[str], int] = newest
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
        if covers(self.position, position):
            self.account.deliveries += 1
            self.account.duplicates += 1
            return
        self.position = position
        self.account.got(number, time.monotonic())

    def lost(self, position: str | None) -> None:
        """Told "lost": the position first, then the state, so that nothing can fall between."""
        if position is not None:
            self.position = position
        self.account.fetched(self.newest(self.channel), time.monotonic(), grace=self.grace)


class BayeuxClient(Client):
    """What WebSocket and long-polling have in common."""

    session: str | None = None

    #: Whether it knows positions, by which it drops repeats and recovers what it missed.
    positions = True

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._asked: dict[str, asyncio.Future[None]] = {}
        self._count = 0

    def beside(self, side: Side, kind: str = "subscribe") -> dict[str, Any]:
        """A subscribe to, or unsubscribe from, the other channel."""
        self._count += 1
        name = "/" + side.channel
        message = {"channel": f"/meta/{kind}", "clientId": self.session, "subscription": name, "id": f"b{self._count}"}
        self.sides.asked(side.channel, time.monotonic(), kind)
        if self.positions and kind == "subscribe":
            message["ext"] = {"position": {name: side.position}}
        return message

    def subscribes(self) -> list[dict[str, Any]]:
        """To its channel, and to the other one if that was answered before."""
        side = self.sides.open
        again = [self.beside(side)] if side is not None and side.account is not None and not side.leaving else []
        return [self.subscribe(), *again]

    async def churn(self, send: Callable[[dict[str, Any]], Awaitable[object]]) -> None:
        """Subscribe to another channel, hear it for a while, unsubscribe, all the time, while a connect is held."""

        async def ask(message: dict[str, Any]) -> None:
            answered = self._asked[message["id"]] = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(_ANSWER):
                    await send(message)
                    await answered
            finally:
                del self._asked[message["id"]]

        while self.others:
            side = self.sides.open
            if side is None:
                choice = [each for each in self.others if self.sides.may_hear(each)]
                if not choice:
                    break
                side = self.sides.open = Side(random.choice(choice))
            if side.account is None:
                await ask(self.beside(side))
            account = side.account
            assert account is not None, "the answer opened it"
            if not side.leaving:
                await asyncio.sleep(random.uniform(*_STAY))
                goal = self.told(side.channel)
                limit = time.monotonic() + PATIENCE
                # A hole may still be explained.
                while (account.upto < goal or account.holes) and time.monotonic() < limit:
                    await asyncio.sleep(0.05)
                account.close(goal)
                side.leaving = True
            await ask(self.beside(side, "unsubscribe"))
            await asyncio.sleep(random.uniform(*_PAUSE))
        await asyncio.Event().wait()

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
                number, place = message["data"]["n"], message["id"]
                if message["channel"] == name:
                    self.got(number, place)
                else:
                    channel = message["channel"].removeprefix("/")
                    self.sides.got(channel, number, place if self.positions else None, time.monotonic())
                continue
            if not message["successful"]:
                if message.get("advice", {}).get("reconnect") == "handshake" or message["channel"] != "/meta/connect":
                    self.session = None
                raise Restart
            ext = message.get("ext", {})
            if message.get("id") in self._asked or message.get("subscription", name) != name:
                self._beside(message)
            elif message["channel"] == "/meta/subscribe":
                if ext.get("recovered", {}).get(name) is False:
                    self.lost(ext.get("position", {}).get(name))
                self.arrived()
            elif message["channel"] == "/meta/connect":
                connected = True
                top = ext.get("tops", {}).get(name)
                if name in ext.get("lost", ()):
                    self.lost(None)
                    again = True
                elif top is not None and not covers(self.position, top):
                    again = True
                again = self._is_behind(ext) or again
            elif message["channel"] == "/meta/handshake":
                self.session = message["clientId"]
                self.sides.forget()
        if again:
            self.behind = True
        return connected

    behind = False

    def _beside(self, reply: dict[str, Any]) -> None:
        """An answer about the other channel."""
        name, ext = reply["subscription"], reply.get("ext", {})
        if reply["channel"] == "/meta/unsubscribe":
            self.sides.left()
        else:
            place, recovered = ext.get("position", {}).get(name), ext.get("recovered", {}).get(name)
            self.sides.subscribed(name.removeprefix("/"), place, recovered, time.monotonic())
        answered = self._asked.get(reply.get("id", ""))
        if answered is not None and not answered.done():
            answered.set_result(None)

    def _is_behind(self, ext: dict[str, Any]) -> bool:
        """Whether a connect's answer names the other channel as lost, or newer than what came."""
        side = self.sides.open
        if side is None or side.account is None:
            return False
        name = "/" + side.channel
        if name in ext.get("lost", ()):
            self.sides.lost(side.channel, None, time.monotonic(), self.grace)
            return True
        top = ext.get("tops", {}).get(name)
        return self.positions and top is not None and not covers(side.position, top)


async def both(*work: Coroutine[Any, Any, None]) -> None:
    """Until one of them ends, which ends the others; raises what it raised."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class WebSocketClient(BayeuxClient):
    kind = "websocket"
    grace = 0.0

    def greeting(self) -> list[dict[str, Any]]:
        """What it says first on a new connection."""
        return [*self.subscribes(), self.connect(0, 0)]

    async def once(self, http: aiohttp.ClientSession) -> None:
        # Browsers open a new connection for a WebSocket. A session of its own does so too: the shared pool may give a
        # poll's old connection that is half open, and aiohttp waits five minutes for the answer to an upgrade.
        timeout = aiohttp.ClientWSTimeout(ws_close=0.5)
        async with aiohttp.ClientSession() as own, own.ws_connect(self.url + "/bayeux", timeout=timeout) as ws:

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

            async def listen() -> None:
                number = 0
                while True:
                    # Half-open sockets are found by the connect that is not answered.
                    if await hear(6):
                        number += 1
                        await ws.send_str(json.dumps([self.connect(number)]))
                    if self.behind:
                        self.behind = False
                        await ws.send_str(json.dumps(self.subscribes()))

            await both(listen(), self.churn(lambda message: ws.send_str(json.dumps([message]))))


class PlainClient(WebSocketClient):
    """A Bayeux client that knows nothing of positions, as Faye's: it gets repeats, or its session ends."""

    known: str | None = None
    positions = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
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
        await say(*self.subscribes())

        # Of a subscribe and an unsubscribe under way at once, by two connections, nobody knows which is taken first.
        turn = asyncio.Lock()

        async def listen() -> None:
            number = 0
            while True:
                number += 1
                await say(self.connect(number))
                if self.behind:
                    self.behind = False
                    async with turn:
                        await say(*self.subscribes())

        async def ask(message: dict[str, Any]) -> None:
            async with turn:
                await say(message)

        # Beside the held connect, so by other connections, and often at another worker.
        await both(listen(), self.churn(ask))


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


class FollowerClient(Client):
    """Code of a site apart: it follows its channel, and keeps a page of it while its top stands."""

    kind = "follower"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.page = Page(DOUBT)

    async def once(self, http: aiohttp.ClientSession) -> None:
        async with RemoteHub(self.url, [self.channel], http=http) as hub:
            assert self.position is not None
            async with hub.follow(self.channel, since={self.channel: Position.parse(self.position)}) as follower:
                self.arrived()
                visiting = asyncio.create_task(self._visit(hub))
                try:
                    async for heard in follower:
                        if isinstance(heard, Lost):
                            self.account.fetched(self.newest(self.channel), time.monotonic(), grace=GRACE)
                        else:
                            self.got(heard.data["n"], str(heard.position))
                finally:
                    visiting.cancel()
                    await asyncio.gather(visiting, return_exceptions=True)

    async def _visit(self, hub: RemoteHub) -> None:
        """Ask for the page, again and again."""
        page = self.page
        while True:
            top, hears = hub.position(self.channel), hub.hears
            page.ask(top, hears, lambda: self.newest(self.channel), self.told(self.channel), time.monotonic())
            await asyncio.sleep(_VISIT)


KINDS: list[type[Client]] = [WebSocketClient, PollingClient, StreamClient, PlainClient, FollowerClient]
