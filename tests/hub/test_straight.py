"""Publishing straight through Redis: what a SyncPublisher with the URL of the hub's Redis promises."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from brokering import Ear, Relay
from listening import listening, serving
from services import Redis, RedisFactory

from hub.brokers.redis import RedisBroker, RedisCaller
from hub.errors import BrokerUnavailable, SettingsError
from hub.histories import Histories, HistoryRule, Retention
from hub.protocol.publications import Draft
from hub.publisher import HttpPublisher, Item, SyncPublisher

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def straight(url: str, **options: Any) -> Iterator[SyncPublisher]:
    publisher = SyncPublisher(url, **options)
    try:
        yield publisher
    finally:
        publisher.close(timeout=0)


@contextlib.asynccontextmanager
async def heard(url: str, **options: Any) -> Any:
    """A node's ear on the log."""
    broker, ear = RedisBroker(url, **options), Ear()
    await broker.open(ear)
    try:
        yield ear
    finally:
        await broker.close()


async def test_clients_of_a_hub_hear_what_is_published_straight(redis_url: str) -> None:
    async with serving(redis_url=redis_url) as (url, hub), listening(url, "/a") as listener:
        publisher = HttpPublisher(redis_url)
        positions = await publisher.publish_many([Item("a", number) for number in range(900)])
        assert [position.offset for position in positions if position] == list(range(1, 901))
        assert await listener.take(900) == [("/a", number) for number in range(900)]
        assert await publisher.position("a") == str(await hub.broker.position("/a"))
        await publisher.close()


async def test_both_ways_have_the_same_ids(redis_url: str) -> None:
    """A publisher may be changed from one to the other while items are repeated."""
    async with serving(redis_url=redis_url, key=b"k" * 32, realm="r") as (url, _):
        over_http, straight_on = HttpPublisher(url, "r", b"k" * 32), HttpPublisher(redis_url)
        first = await over_http.publish("a", 1, id="outbox-1")
        assert first is not None
        assert await straight_on.publish("a", 1, id="outbox-1") == first
        assert await straight_on.publish("b", 1, id="outbox-1") != first
        await over_http.close()
        await straight_on.close()


async def test_the_hub_need_not_answer(redis_url: str) -> None:
    async with serving(redis_url=redis_url):
        pass
    with straight(redis_url) as publisher:
        position = await asyncio.to_thread(publisher.publish, "a", 1)
        assert position is not None
        assert await asyncio.to_thread(publisher.position, "a") == str(position)


async def test_a_redis_that_no_hub_has_used_is_told_so(redis_url: str) -> None:
    """Without the hub's layout nobody knows which streams it will read."""
    with straight(redis_url, patience=0.0) as publisher:
        with pytest.raises(BrokerUnavailable, match="no hub has used it yet"):
            await asyncio.to_thread(publisher.publish, "a", 1)
        async with heard(redis_url) as ear:
            await asyncio.to_thread(publisher.publish, "a", 1)
            await ear.hear(1)


async def test_the_layout_is_the_hubs(redis_url: str) -> None:
    rule = HistoryRule(("/c7",), {"count": 2}, "test")
    histories = Histories(Retention(count=3, seconds=60.0), [rule])
    broker, ear = RedisBroker(redis_url, shards=5, histories=histories), Ear()
    await broker.open(ear)
    with straight(redis_url) as publisher:
        items = [Item(f"c{number % 40}", number) for number in range(400)]
        await asyncio.to_thread(publisher.publish_many, items)
        await ear.hear(400)
        ear.check_order()
        kept = [len((await broker.history(channel, None)).publications) for channel in ("/c7", "/c8")]
        assert kept == [2, 3]
    await broker.close()


async def test_a_changed_layout_is_noticed_and_nothing_is_lost(redis_url: str) -> None:
    with straight(redis_url) as publisher:
        async with heard(redis_url, shards=16):
            await asyncio.to_thread(publisher.publish, "a", 0)
        async with heard(redis_url, shards=3) as ear:
            for number in range(40):
                await asyncio.to_thread(publisher.publish, f"c{number}", number)
            assert len(await ear.hear(40)) == 40


async def test_what_was_deleted_under_a_hub_comes_back(redis_server: Redis, redis_url: str) -> None:
    async with heard(redis_url) as ear:
        with straight(redis_url) as publisher:
            await asyncio.to_thread(publisher.publish, "a", 1)
            await ear.hear(1)
            redis_server.command("FLUSHALL")
            await ear.until(lambda: bool(ear.losses))
            await asyncio.to_thread(publisher.publish, "a", 2)
            assert [each.data for each in await ear.hear(2)] == [b"1", b"2"]


@pytest.mark.parametrize("order", [("CLIENT", "KILL", "TYPE", "normal"), ("SCRIPT", "FLUSH")])
async def test_a_lost_connection_or_script_costs_no_pause(
    redis_server: Redis, redis_url: str, order: tuple[str, ...]
) -> None:
    async with heard(redis_url) as ear:
        # No patience: what fails once is given up.
        with straight(redis_url, patience=0.0) as publisher:
            for number in range(10):
                await asyncio.to_thread(publisher.publish, "a", number)
                redis_server.command(*order)
            assert [each.data for each in await ear.hear(10)] == [b"%d" % number for number in range(10)]


async def test_a_redis_that_is_away_is_waited_for(new_redis: RedisFactory) -> None:
    redis = await asyncio.to_thread(lambda: new_redis(persist=True))
    async with heard(redis.url) as ear:
        with straight(redis.url, patience=20.0) as publisher:
            await asyncio.to_thread(publisher.publish, "a", 0)
            redis.kill()
            for number in range(1, 20):
                assert publisher.publish_soon("a", number)
            await asyncio.to_thread(redis.start)
            assert await asyncio.to_thread(publisher.flush, 20)
            assert publisher.dropped == 0
            await ear.until(lambda: {each.data for each in ear.heard} >= {b"%d" % number for number in range(20)}, 20)
            ear.check_order()


async def test_a_connection_that_stalls_is_given_up_for_another(redis_server: Redis, redis_url: str) -> None:
    async with heard(redis_url) as ear, Relay(redis_server.port) as relay:
        with straight(relay.url, timeout=2.0, patience=0.0) as publisher:
            await asyncio.to_thread(publisher.publish, "a", 1)
            relay.mute()
            await asyncio.to_thread(publisher.publish, "a", 2)
            await asyncio.to_thread(publisher.publish, "a", 3)
            assert [each.data for each in await ear.hear(3)] == [b"1", b"2", b"3"]


async def test_a_redis_that_stands_still_is_told_in_the_time_allowed(new_redis: RedisFactory) -> None:
    redis = await asyncio.to_thread(new_redis)
    async with heard(redis.url):
        with straight(redis.url, timeout=1.0, patience=0.0) as publisher:
            await asyncio.to_thread(publisher.publish, "a", 1)
            redis.pause()
            with pytest.raises(BrokerUnavailable, match=f"Redis at 127.0.0.1:{redis.port}"):
                await asyncio.to_thread(publisher.publish, "a", 2)
            assert await asyncio.to_thread(publisher.position, "a") is None
            redis.resume()


async def test_a_repeat_after_a_lost_reply_changes_nothing(redis_url: str) -> None:
    async with heard(redis_url) as ear:
        caller = RedisCaller(redis_url)
        drafts = [Draft("/a", b"%d" % number, key=f"/a {number}") for number in range(500)]
        first = await asyncio.to_thread(caller.publish, drafts)
        again = await asyncio.to_thread(caller.publish, drafts)
        assert [each.position for each in first] == [each.position for each in again]
        assert not any(each.repeated for each in first)
        assert all(each.repeated for each in again)
        await asyncio.to_thread(caller.publish, [Draft("/a", b"500", key="/a 500")])
        assert len(await ear.hear(501)) == 501
        caller.close()


@pytest.mark.parametrize("url", ["redis://host:port", "redis+sentinel://one,two", "redis://host/0?socket_timeout=x"])
def test_a_url_of_redis_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL"):
        SyncPublisher(url)


def test_over_http_realm_and_key_are_needed() -> None:
    with pytest.raises(ValueError, match="the realm and its key"):
        SyncPublisher("http://127.0.0.1:8000")


async def test_forked_children_publish_their_own_on_connections_of_their_own(redis_url: str) -> None:
    script = f"""
        import os
        from hub.publisher import SyncPublisher
        publisher = SyncPublisher({redis_url!r})
        publisher.publish("a", "before")
        assert publisher.position("a")
        for number in range(200): publisher.publish_soon("a", f"parent {{number}}")
        pids = []
        for child in range(3):
            pid = os.fork()
            if not pid:
                assert publisher.position("a")
                for number in range(200): publisher.publish_soon("a", f"child {{child}} {{number}}")
                ok = publisher.flush(10)
                os._exit(0 if ok else 1)
            pids.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        assert codes == [0, 0, 0], codes
        assert publisher.position("a")
        publisher.publish("a", "after")
        publisher.publish_soon("a", "last words")
    """
    async with heard(redis_url) as ear:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", textwrap.dedent(script)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        wanted = ["before", "after", "last words", *(f"parent {number}" for number in range(200))]
        wanted += [f"child {child} {number}" for child in range(3) for number in range(200)]
        await ear.hear(len(wanted))
        assert sorted(each.data.decode().strip('"') for each in ear.heard) == sorted(wanted)
        ear.check_order()
