"""Telling services of views: never in anybody's way, within bounds, and with a count of all that was not told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from web.features.views import breaker, sending
from web.features.views.breaker import Breaker
from web.features.views.commands import _ask_one
from web.features.views.records import View
from web.features.views.sending import Sender
from web.features.views.targets.ga4 import GoogleAnalytics, problems
from web.features.views.targets.matomo import Matomo
from web.features.views.targets.plausible import Plausible, address_of
from web.features.views.targets.target import Target
from web.services.addresses import Guard
from web.services.outbound import Outbound

BASE = "https://site.example"


def view(number: int = 0, caller: str = "~00000000000000aa", **more: Any) -> View:
    fields = {"title": None, "agent": "Mozilla/5.0"} | more
    return View(time.time(), "", f"GET /songs/{number}", 200, 1500, "script", caller, fields["title"], fields["agent"])


@dataclass
class Collector:
    """A collector as the services' are. status: of its answers; pause: seconds before each; took: their bodies."""

    url: str = ""
    status: int = 204
    pause: float = 0.0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    took: list[bytes] = field(default_factory=list)
    asked: list[web.Request] = field(default_factory=list)
    hook: Callable[[], Awaitable[None]] | None = None

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        self.took.append(await request.read())
        status = self.status
        await asyncio.sleep(self.pause)
        return web.Response(status=status, body=self.body or None, headers=self.headers)

    @property
    def events(self) -> int:
        """Events of Google's that it took."""
        return sum(len(orjson.loads(body)["events"]) for body in self.took)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", collector.answer)
    # Nobody waits for what hangs.
    server = TestServer(app, shutdown_timeout=0.1)
    await server.start_server()
    collector.url = str(server.make_url("/")).rstrip("/")
    yield collector
    await server.close()


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    outbound = Outbound(Guard([ip_network("127.0.0.0/8")]), "Fanfare")
    yield outbound
    await outbound.close()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "PAUSE", 0.01)
    monkeypatch.setattr(sending, "GROW", 0.01)


def google(url: str) -> GoogleAnalytics:
    return GoogleAnalytics("G-TEST", "secret", BASE, url)


@dataclass
class Telling:
    """A sender that runs."""

    sender: Sender
    task: asyncio.Task[None]

    async def end(self, linger: float = 5.0) -> dict[str, int]:
        await self.sender.close(self.task, linger)
        return {name: count for name, count in self.sender.counts.items() if count}


def tell(target: Target, outbound: Outbound, **more: Any) -> Telling:
    sender = Sender(target, lambda: outbound, **({"most": 10_000, "timeout": 1.0} | more))
    sender.breaker.first = 0.2
    return Telling(sender, asyncio.create_task(sender.run()))


async def test_all_is_told_in_batches(collector: Collector, outbound: Outbound) -> None:
    telling = tell(google(collector.url), outbound)
    for number in range(120):
        telling.sender.add(view(number))
    assert await telling.end() == {"taken": 120, "sent": 120}
    assert collector.events == 120
    assert [problems(body, time.time()) for body in collector.took if problems(body, time.time())] == []
    assert all(request.query["measurement_id"] == "G-TEST" for request in collector.asked)


async def test_a_collector_that_recovers_is_told_again(collector: Collector, outbound: Outbound) -> None:
    collector.status = 503
    telling = tell(google(collector.url), outbound)
    telling.sender.add(view())
    while len(collector.took) < 2:
        await asyncio.sleep(0.005)
    collector.status = 204
    assert await telling.end() == {"taken": 1, "sent": 1}


async def test_a_refusal_is_not_repeated(collector: Collector, outbound: Outbound) -> None:
    collector.status = 401
    telling = tell(google(collector.url), outbound)
    telling.sender.add(view())
    assert await telling.end() == {"taken": 1, "refused": 1}
    assert len(collector.took) == 1


async def test_a_collector_that_fails_is_left_alone(collector: Collector, outbound: Outbound) -> None:
    collector.status = 500
    telling = tell(google(collector.url), outbound)
    for number in range(1000):
        telling.sender.add(view(number, f"~{number:016x}"))
    async with asyncio.timeout(5):
        while not telling.sender.breaker.is_open:
            await asyncio.sleep(0.005)
    asked = len(collector.took)
    await asyncio.sleep(0.15)
    # Those that were under way, and no more.
    assert len(collector.took) <= asked + 2
    collector.status = 204
    async with asyncio.timeout(20):
        while telling.sender.waiting:
            await asyncio.sleep(0.01)
    found = await telling.end()
    assert found["sent"] + found.get("failed", 0) == 1000
    assert found.get("failed", 0) <= 20


async def test_what_is_too_much_is_dropped_and_counted(collector: Collector, outbound: Outbound) -> None:
    collector.pause = 30.0
    telling = tell(google(collector.url), outbound, most=100, timeout=0.2)
    began = time.perf_counter()
    for number in range(5000):
        telling.sender.add(view(number))
    # Nobody waited for it.
    assert time.perf_counter() - began < 0.2
    found = await telling.end(linger=0.3)
    assert found["taken"] == 5000 == sum(count for name, count in found.items() if name != "taken")
    assert found["full"] == 4900


async def test_the_end_waits_for_what_waits_and_no_longer(collector: Collector, outbound: Outbound) -> None:
    collector.pause = 30.0
    telling = tell(google(collector.url), outbound, timeout=20.0)
    for number in range(10):
        telling.sender.add(view(number))
    began = time.perf_counter()
    assert await telling.end(linger=0.3) == {"taken": 10, "left": 10}
    assert time.perf_counter() - began < 1.0


async def test_nobody_is_told_at_a_port_where_nobody_listens(outbound: Outbound, unused_tcp_port: int) -> None:
    telling = tell(google(f"http://127.0.0.1:{unused_tcp_port}"), outbound)
    telling.sender.add(view())
    async with asyncio.timeout(5):
        while telling.sender.waiting:
            await asyncio.sleep(0.01)
    assert await telling.end(linger=0.1) == {"taken": 1, "failed": 1}


async def test_nothing_is_sent_to_our_own_network(collector: Collector) -> None:
    guarded = Outbound(Guard(), "Fanfare")
    telling = tell(google(collector.url), guarded)
    telling.sender.add(view())
    async with asyncio.timeout(5):
        while telling.sender.waiting:
            await asyncio.sleep(0.01)
    assert await telling.end(linger=0.1) == {"taken": 1, "refused": 1}
    assert collector.took == []
    await guarded.close()


async def test_retry_after_is_obeyed(collector: Collector, outbound: Outbound) -> None:
    collector.status, collector.headers = 429, {"Retry-After": "60"}
    telling = tell(google(collector.url), outbound)
    telling.sender.add(view())
    async with asyncio.timeout(5):
        while not telling.sender.breaker.wait(time.monotonic()) > 30:
            await asyncio.sleep(0.01)
    assert len(collector.took) == 1
    assert (await telling.end(linger=0.1))["left"] == 1


async def test_plausible_gets_no_address_and_says_what_it_drops(collector: Collector, outbound: Outbound) -> None:
    collector.status = 202
    telling = tell(Plausible("site.example", BASE, collector.url), outbound)
    telling.sender.add(view(1, "~00112233445566ff", title="All songs"))
    assert await telling.end() == {"taken": 1, "sent": 1}
    request, body = collector.asked[0], orjson.loads(collector.took[0])
    assert request.path == "/api/event"
    assert request.headers["User-Agent"] == "Mozilla/5.0"
    assert request.headers["X-Forwarded-For"] == "2001:db8:0:0:0011:2233:4455:66ff"
    assert body["url"] == f"{BASE}/songs/1"
    assert body["props"]["title"] == "All songs"
    collector.headers = {"x-plausible-dropped": "1"}
    telling = tell(Plausible("site.example", BASE, collector.url), outbound)
    telling.sender.add(view())
    assert await telling.end() == {"taken": 1, "ignored": 1}


async def test_matomo_is_told_in_bulk_and_says_what_it_takes(collector: Collector, outbound: Outbound) -> None:
    collector.status, collector.body = 200, b'{"status":"success","tracked":2,"invalid":1}'
    telling = tell(Matomo(collector.url, 7, BASE, "token"), outbound)
    for number in range(3):
        telling.sender.add(view(number, "~00112233445566ff"))
    assert await telling.end() == {"taken": 3, "sent": 2, "ignored": 1}
    body = orjson.loads(collector.took[0])
    assert body["token_auth"] == "token"
    assert len(body["requests"]) == 3
    assert "idsite=7&rec=1" in body["requests"][0]
    assert "_id=00112233445566ff" in body["requests"][0]


def test_an_address_for_plausible_is_nobodys() -> None:
    assert address_of("f" * 16) == "2001:db8:0:0:ffff:ffff:ffff:ffff"


def test_a_breaker_opens_after_failures_and_asks_less_and_less() -> None:
    one = Breaker(first=15.0)
    for _ in range(4):
        one.fail(100.0)
    assert not one.is_open
    one.fail(100.0)
    assert (one.is_open, one.wait(100.0)) == (True, 15.0)
    one.fail(115.0)
    assert one.wait(115.0) == 30.0
    for _ in range(20):
        one.fail(200.0)
    assert one.wait(200.0) == breaker.LONGEST
    one.succeed()
    assert (one.is_open, one.wait(200.0)) == (False, 0.0)


async def test_check_asks_what_google_thinks_of_it(collector: Collector, outbound: Outbound) -> None:
    collector.status, collector.body = 200, b'{"validationMessages":[]}'
    assert await _ask_one(outbound, google(collector.url), view()) == []
    assert collector.asked[0].path == "/debug/mp/collect"
    assert orjson.loads(collector.took[0])["validation_behavior"] == "ENFORCE_RECOMMENDATIONS"
    collector.body = (
        b'{"validationMessages":[{"fieldPath":"events","description":"no","validationCode":"NAME_INVALID"}]}'
    )
    assert await _ask_one(outbound, google(collector.url), view()) == ["events: no"]
    collector.body = b"<html>"
    assert await _ask_one(outbound, google(collector.url), view()) == ["its answer is not that of /debug/mp/collect"]
    collector.status = 403
    assert await _ask_one(outbound, Plausible("x", BASE, collector.url), view()) == ["it answers 403"]
