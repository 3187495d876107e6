"""Which names somebody hears at any of several workers: one account, whichever of them is asked."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession
from listening import serving
from stopwatch import Stopwatch
from test_feed import bearer, items

from hub import hearing
from hub.app import Hub
from hub.ids import new_id
from hub.presence.worker import Presence
from hub.protocol.messages import loads


class Workers:
    """Two workers on one log, with names that no other test has."""

    def __init__(self, http: ClientSession, one: tuple[str, Hub], two: tuple[str, Hub]) -> None:
        self.http = http
        (self.one, self.hub), (self.two, self.other) = one, two
        self._prefix = new_id()[:8]

    def name(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    @contextlib.asynccontextmanager
    async def hearing(self, url: str, *names: str) -> AsyncIterator[None]:
        query = "&".join(f"channel={self.name(name)}" for name in names)
        async with self.http.ws_connect(f"{url}/ws?{query}") as socket:
            await socket.receive_json()
            yield

    async def heard(self, url: str, since: str | None = None) -> tuple[Any, list[tuple[str, str]]]:
        """The last cursor, or a status, and the items of this test."""
        told = await items(self.http, url, since)
        if isinstance(told, int):
            return told, []
        mine = [each for each in told["items"] if each["channel"].startswith(self._prefix)]
        return told["last_cursor"], [(each["channel"].partition("-")[2], each["state"]) for each in mine]

    async def until(self, url: str, since: str, expected: list[tuple[str, str]]) -> str:
        """Wait until exactly this has changed since; the cursor after it."""
        async with asyncio.timeout(60):
            while True:
                cursor, found = await self.heard(url, since)
                assert isinstance(cursor, str), f"cursor refused: {cursor}"
                if found == expected:
                    return cursor
                assert found == expected[: len(found)]
                await asyncio.sleep(0.05)


@pytest.fixture
async def workers(redis_url: str) -> AsyncIterator[Workers]:
    async with (
        serving(redis_url=redis_url) as one,
        serving(redis_url=redis_url) as two,
        ClientSession() as http,
    ):
        yield Workers(http, one, two)


async def next_line(stream: ClientResponse, prefix: str) -> Any:
    async with asyncio.timeout(60):
        while True:
            line = await stream.content.readline()
            assert line, "the stream has ended"
            if line.strip() and (told := json.loads(line))["item"]["channel"].startswith(prefix):
                return told


async def test_a_name_is_heard_while_anybody_hears_it_anywhere(workers: Workers) -> None:
    async with workers.hearing(workers.one, "a"):
        async with workers.hearing(workers.two, "a", "b"):
            cursor, found = await workers.heard(workers.one)
            assert sorted(found) == [("a", "subscribed"), ("b", "subscribed")]
        cursor = await workers.until(workers.one, cursor, [("b", "unsubscribed")])
    await workers.until(workers.one, cursor, [("a", "unsubscribed")])


async def test_a_cursor_of_one_worker_is_good_at_the_other(workers: Workers) -> None:
    """The library's two requests are two connections, and may be two workers'."""
    for url in (workers.one, workers.two):
        await workers.heard(url)
    cursor, _ = await workers.heard(workers.one)
    async with workers.hearing(workers.two, "a"):
        for _ in range(2):
            at_one = await workers.until(workers.one, cursor, [("a", "subscribed")])
            at_two = await workers.until(workers.two, cursor, [("a", "subscribed")])
            assert await workers.heard(workers.two, at_one) == (at_two, [])
            assert await workers.heard(workers.one, at_two) == (at_one, [])


async def test_the_stream_of_one_worker_tells_of_the_other(workers: Workers) -> None:
    name = workers.name("")
    async with workers.http.get(f"{workers.one}/subscriptions/stream/", headers=bearer()) as stream:
        assert await stream.content.readline() == b"\n"
        async with workers.hearing(workers.two, "a"):
            line = await next_line(stream, name)
            assert line["item"] == {"channel": f"{name}a", "state": "subscribed"}
            # That worker may read later what it told itself.
            assert await workers.until(workers.two, line["prev_cursor"], [("a", "subscribed")]) == line["cursor"]
        after = await next_line(stream, name)
        assert (after["item"]["state"], after["prev_cursor"]) == ("unsubscribed", line["cursor"])


async def test_a_worker_that_comes_later_is_counted(workers: Workers, redis_url: str) -> None:
    cursor, _ = await workers.heard(workers.one)
    async with serving(redis_url=redis_url) as (three, _), workers.hearing(three, "late"):
        await workers.until(workers.one, cursor, [("late", "subscribed")])


async def test_a_worker_that_is_gone_hears_nothing(workers: Workers, redis_url: str) -> None:
    async with serving(redis_url=redis_url) as (three, hub), workers.hearing(three, "dead"):
        cursor, found = await workers.heard(workers.one)
        assert found == [("dead", "subscribed")]
        hub.node.wheel.stop()
        await hub.node.broker.close()
        with Stopwatch() as watch:
            await workers.until(workers.one, cursor, [("dead", "unsubscribed")])
        assert watch.seconds < 2 * hearing.PACE.silence


async def test_after_a_loss_readers_begin_anew(workers: Workers) -> None:
    async with workers.hearing(workers.two, "a"):
        cursor, found = await workers.heard(workers.one)
        assert found == [("a", "subscribed")]
        workers.hub.node.lost(None)
        assert await workers.heard(workers.one, cursor) == (404, [])
        assert (await workers.heard(workers.one))[1] == [("a", "subscribed")]


async def test_workers_tell_nothing_when_nobody_asks(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "LEASE", 0.5)
    async with serving(redis_url=redis_url) as one, serving(redis_url=redis_url) as two, ClientSession() as http:
        workers = Workers(http, one, two)
        async with asyncio.timeout(60):
            while workers.hub.node.registry.on_change or workers.other.node.registry.on_change:
                await asyncio.sleep(0.05)
        monkeypatch.setattr(hearing, "LEASE", 30.0)
        async with workers.hearing(workers.two, "a"):
            assert (await workers.heard(workers.one))[1] == [("a", "subscribed")]


async def test_a_hub_that_cannot_know_says_so(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "PATIENCE", -hearing.SETTLE)
    workers.hub.node.lost(None)
    async with workers.http.get(f"{workers.one}/subscriptions/items/", headers=bearer()) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert (await response.text()).count("\n") == 1


async def test_many_names_are_counted_in_pieces_and_in_order(workers: Workers) -> None:
    """Nine hundred in a message were counted at once, for 1.8 ms of the loop."""
    await workers.heard(workers.one)
    node, shared = workers.hub.node, next(iter(workers.hub.realms.values())).shared
    assert shared is not None
    assert shared._presence is not None
    here, names = shared._presence.here._members, [f"/{number}" for number in range(10 * hearing.PIECE)]
    before = len(here)
    session = node.bayeux.new_session(node.time(), None)
    node.registry.add(session)
    node.registry.subscribe_all(session, names)
    assert len(here) - before == hearing.PIECE
    node.registry.unsubscribe_all(session, names[1:])
    node.registry.subscribe(session, names[1])
    async with asyncio.timeout(60):
        while shared._changes:
            await asyncio.sleep(0)
            assert len(here) - before <= len(names)
        assert len(here) - before == 2
        node.registry.end(session)
        while shared._changes:
            await asyncio.sleep(0)
        assert len(here) == before


async def test_flood_of_names_is_over_when_its_names_are_gone(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More names than are counted made every publisher's question a 503 until the hub was restarted."""
    monkeypatch.setattr("hub.presence.here.MAX_CHANNELS", 10)
    monkeypatch.setattr(hearing, "MAX_CHANNELS", 10)
    await workers.heard(workers.one)
    async with workers.hearing(workers.one, "before"):
        async with workers.hearing(workers.one, *(f"flood{number}" for number in range(20))):
            async with workers.hearing(workers.one, "meanwhile"):
                assert await workers.heard(workers.one) == (503, [])
        async with workers.hearing(workers.one, "after"), asyncio.timeout(60):
            while isinstance((told := await workers.heard(workers.one))[0], int):
                await asyncio.sleep(0.05)
            assert {name for name, _ in told[1]} >= {"before"}
            while sorted((await workers.heard(workers.one))[1]) != [("after", "subscribed"), ("before", "subscribed")]:
                await asyncio.sleep(0.05)


def test_reports_go_where_they_should_and_nothing_else_is_published() -> None:
    """The rules are presence's, told to publish nothing about what they find."""
    numbers = itertools.count(1)
    rules = Presence("me", hearing.PACE, lambda: str(next(numbers)), alone=True, reports=hearing.REPORTS, tells=False)
    drafts, now = [], 0.0
    for turn in range(20):
        now += hearing.PACE.tick
        if turn == 10:
            rules.here.came("/a", None, "/a")
        for draft in rules.tick(now):
            drafts.append(draft)
            rules.take(loads(draft.data), now)
    assert {draft.channel for draft in drafts} == {hearing.REPORTS}
    assert set(rules.everywhere.rooms) == {"/a"}
    assert not rules.everywhere.due
