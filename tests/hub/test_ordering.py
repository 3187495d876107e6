"""`prev-id` at a running hub: items wait for the one before, by whichever worker it comes, and not for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession
from conversation import new_rules
from listening import KEY, REALM, Listener, listening, serving
from stopwatch import Stopwatch

from hub.app import Hub
from hub.brokers.memory import MemoryBroker
from hub.ids import new_id
from hub.node import Bounds, Node
from hub.ordering import RECHECK, Ordering
from hub.protocol import tokens
from hub.protocol.fanout import Item, parse

LONG = 30.0


class Publisher:
    """Posts items to a hub's publish API; an item is (id, prev-id), and its data is its id."""

    def __init__(self, url: str, http: ClientSession, channel: str = "a") -> None:
        self.url = url
        self.channel = channel
        self._http = http

    async def post(self, *items: tuple[str | None, str | None], **fields: Any) -> tuple[int, Any]:
        """Status and body, which is decoded if it is JSON."""
        named = {"channel": self.channel} | fields
        body = [{"json-object": id, "id": id, "prev-id": prev_id} | named for id, prev_id in items]
        token = tokens.sign(REALM, KEY, time.time())
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        async with self._http.post(f"{self.url}/publish/", json={"items": body}, headers=headers) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()

    def begin(self, *items: tuple[str | None, str | None]) -> asyncio.Task[tuple[int, Any]]:
        return asyncio.create_task(self.post(*items))


async def until_held(hub: Hub, count: int) -> None:
    async with asyncio.timeout(60):
        while hub.node.counters.held < count:
            await asyncio.sleep(0.005)


async def data(listener: Listener, count: int) -> list[Any]:
    return [value for _, value in await listener.take(count)]


@pytest.fixture
async def patient() -> AsyncIterator[tuple[Publisher, Hub, Listener]]:
    """A hub whose patience outlasts the test, with a channel whose last id is 0."""
    async with serving(order_wait=LONG) as (url, hub), ClientSession() as http, listening(url, "/a") as listener:
        publisher = Publisher(url, http)
        await publisher.post(("0", None))
        assert await data(listener, 1) == ["0"]
        yield publisher, hub, listener


Patient = tuple[Publisher, Hub, Listener]


async def test_an_item_waits_for_the_one_before_and_so_does_its_answer(patient: Patient) -> None:
    publisher, hub, listener = patient
    third = publisher.begin(("3", "2"))
    await until_held(hub, 1)
    second = publisher.begin(("2", "1"))
    await until_held(hub, 2)
    assert not third.done()
    assert (await publisher.post(("1", "0")))[0] == 200
    assert [(await task)[0] for task in (second, third)] == [200, 200]
    assert await data(listener, 3) == ["1", "2", "3"]
    assert hub.node.counters.overdue == 0


async def test_one_body_in_the_wrong_order_comes_out_right(patient: Patient) -> None:
    publisher, hub, listener = patient
    status, answer = await publisher.post(("3", "2"), ("x", None), ("2", "1"), ("1", "0"))
    assert (status, hub.node.counters.held) == (200, 0)
    assert [item["position"].rpartition(".")[2] for item in answer["items"]] == ["5", "2", "4", "3"]
    assert await data(listener, 4) == ["x", "1", "2", "3"]


async def test_what_has_come_already_is_not_waited_for(patient: Patient) -> None:
    publisher, hub, _ = patient
    await publisher.post(("1", "0"))
    assert (await publisher.post(("fork", "0")))[0] == 200
    assert hub.node.counters.held == 0


async def test_a_channel_without_a_known_id_waits_for_nothing() -> None:
    async with serving(order_wait=LONG) as (url, hub), ClientSession() as http:
        publisher = Publisher(url, http)
        await publisher.post((None, None))
        assert (await publisher.post(("8", "7")))[0] == 200
        assert hub.node.counters.held == 0


async def test_no_seq_waits_for_nothing(patient: Patient) -> None:
    publisher, hub, listener = patient
    assert (await publisher.post(("9", "8"), **{"no-seq": True}))[0] == 200
    assert await data(listener, 1) == ["9"]
    assert hub.node.counters.held == 0
    assert (await publisher.post(("9", "8"), **{"no-seq": 1}))[0] == 400


async def test_the_time_to_wait_has_an_end() -> None:
    async with serving(order_wait=0.2) as (url, hub), ClientSession() as http, listening(url, "/a") as listener:
        publisher = Publisher(url, http)
        await publisher.post(("0", None))
        later, latest = publisher.begin(("2", "1")), publisher.begin(("3", "2"))
        assert [(await task)[0] for task in (later, latest)] == [200, 200]
        assert sorted(await data(listener, 3)) == ["0", "2", "3"]
        assert hub.node.counters.overdue >= 1


async def test_without_patience_nothing_waits() -> None:
    async with serving(order_wait=0.0) as (url, hub), ClientSession() as http:
        publisher = Publisher(url, http)
        await publisher.post(("0", None))
        assert (await publisher.post(("2", "1")))[0] == 200
        assert hub.node.counters.held == 0


async def test_of_two_that_wait_for_the_same_the_second_is_dropped_and_its_publisher_told(patient: Patient) -> None:
    publisher, hub, listener = patient
    first = publisher.begin(("2", "1"))
    await until_held(hub, 1)
    other = publisher.begin(("other", "1"))
    while not hub.node.counters.dropped:
        await asyncio.sleep(0.005)
    await publisher.post(("1", "0"))
    assert "dropped" not in (await first)[1]
    status, answer = await other
    assert (status, answer["dropped"], answer["items"]) == (200, 1, [])
    await publisher.post(("3", "2"))
    assert await data(listener, 3) == ["1", "2", "3"]


async def test_the_same_item_sent_again_shares_the_fate_of_the_one_that_waits(patient: Patient) -> None:
    """pubcontrol repeats a body when a proxy gave up on the first."""
    publisher, hub, listener = patient
    first, again = publisher.begin(("2", "1")), publisher.begin(("2", "1"))
    await until_held(hub, 2)
    await publisher.post(("1", "0"))
    answers = [(await task)[1]["items"][0] for task in (first, again)]
    assert answers[0]["position"] == answers[1]["position"]
    assert sorted(answer["repeated"] for answer in answers) == [False, True]
    await publisher.post(("3", "2"))
    assert await data(listener, 3) == ["1", "2", "3"]


async def test_too_many_that_wait_are_refused_before_anything_is_published(patient: Patient) -> None:
    publisher, hub, _ = patient
    waiting = [publisher.begin(*((f"{n}b", f"{n}a") for n in part)) for part in (range(60), range(60, 100))]
    await until_held(hub, 100)
    status, text = await publisher.post((None, None), ("201b", "201a"))
    assert (status, text) == (503, "Not published: Too many items wait for their prev-id. Try again.\n")
    assert hub.node.counters.unheld == 1
    publisher.channel = "b"
    assert (await publisher.post(("0", None)))[0] == 200
    assert hub.node.counters.published == 2
    assert not any(task.done() for task in waiting)


async def test_a_hub_that_stops_publishes_what_waits() -> None:
    async with ClientSession() as http:
        async with serving(order_wait=LONG) as (url, hub):
            publisher = Publisher(url, http)
            await publisher.post(("0", None))
            waiting = publisher.begin(("2", "1"))
            await until_held(hub, 1)
            began = time.monotonic()
        assert (await waiting)[0] == 200
        assert time.monotonic() - began < LONG / 2


async def test_a_publisher_that_leaves_leaves_its_item(patient: Patient) -> None:
    publisher, hub, listener = patient
    waiting = publisher.begin(("2", "1"))
    await until_held(hub, 1)
    waiting.cancel()
    await publisher.post(("1", "0"))
    assert await data(listener, 2) == ["1", "2"]


async def test_the_one_before_may_come_by_another_worker(redis_url: str) -> None:
    name = new_id()
    redis = {"redis_url": redis_url, "order_wait": LONG}
    async with (
        serving(**redis) as (one, hub),
        serving(**redis) as (two, _),
        ClientSession() as http,
        listening(one, f"/{name}") as listener,
    ):
        here, there = Publisher(one, http, name), Publisher(two, http, name)
        await there.post(("0", None))
        later, latest = here.begin(("2", "1")), here.begin(("3", "2"))
        await until_held(hub, 2)
        with Stopwatch() as watch:
            assert (await there.post(("1", "0")))[0] == 200
            assert [(await task)[0] for task in (later, latest)] == [200, 200]
        assert watch.seconds < 50 * RECHECK
        assert await data(listener, 4) == ["0", "1", "2", "3"]


def items_of(*ids: tuple[str, str | None]) -> list[Item]:
    return parse(orjson.dumps({"items": [{"channel": "a", "json-object": 1, "id": i, "prev-id": p} for i, p in ids]}))


@pytest.mark.parametrize("turns", range(12))
async def test_the_one_before_may_come_at_any_turn_of_the_loop(turns: int) -> None:
    """One that came just after its follower had been held, and before that waited, woke nobody: the
    follower was overdue, 5 s later. It took several publishers and a loaded machine to meet it."""
    node = Node(MemoryBroker(), new_rules(), Bounds(tick=0.0))
    await node.start()
    ordering = Ordering(node, LONG, per_channel=100, in_all=100)
    await ordering.publish(items_of(("0", None)))
    second = asyncio.create_task(ordering.publish(items_of(("2", "1"))))
    for _ in range(turns):
        await asyncio.sleep(0)
    await ordering.publish(items_of(("1", "0")))
    async with asyncio.timeout(LONG / 2):
        await second
    assert node.counters.overdue == 0
    await node.stop()
