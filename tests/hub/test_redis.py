"""What only the Redis broker has: a server that goes away, comes back another, forgets, or says nothing."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from brokering import Ear, Relay, draft
from ports import free_port
from services import Redis, RedisFactory, Server, redis_program
from stopwatch import Stopwatch

from hub.brokers import Health
from hub.brokers.redis import RedisBroker, log, replies
from hub.brokers.redis import broker as broker_module
from hub.brokers.redis.broker import CHECK_SECONDS
from hub.brokers.redis.servers import COMMAND_SECONDS
from hub.errors import BrokerUnavailable, SettingsError
from hub.protocol.publications import Draft, Position, Publication


@contextlib.asynccontextmanager
async def opened(url: str, **options: object) -> AsyncIterator[tuple[RedisBroker, Ear]]:
    broker, ear = RedisBroker(url, **options), Ear()  # type: ignore[arg-type]  # options are passed through
    await broker.open(ear)
    try:
        yield broker, ear
    finally:
        await broker.close()


async def insist(broker: RedisBroker, *drafts: Draft, seconds: float = 60.0) -> list[Position]:
    """Publish, again and again until it is accepted. For drafts with keys."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return [published.position for published in await broker.publish(drafts)]
            except BrokerUnavailable:
                await asyncio.sleep(0.05)


async def until_health(broker: RedisBroker, well: bool, seconds: float = 60.0) -> Health:
    async with asyncio.timeout(seconds):
        while broker.health.well is not well:
            await asyncio.sleep(0.01)
    return broker.health


def log_key(broker: RedisBroker, channel: str) -> str:
    return f"{broker._log.tags[broker._log.shard(channel)]}log"


# Connections that end


async def test_nothing_is_lost_when_connections_are_killed(redis_server: Redis, redis_url: str) -> None:
    """12,000 publications while every connection is killed 20 times: each is heard, once and in order."""
    async with opened(redis_url) as (broker, ear), opened(redis_url) as (_, other_ear):

        async def kill() -> None:
            for kills in range(20):
                # A reader that isn't back yet has no connection to lose.
                while broker.reconnects < kills or not broker.health.well:
                    await asyncio.sleep(0.01)
                redis_server.command("CLIENT", "KILL", "TYPE", "normal")

        killing = asyncio.create_task(kill())
        count = 0
        while count < 12_000 or not killing.done():
            await insist(broker, *(draft(f"/{n % 10}", n, key=str(n)) for n in range(count, count + 50)))
            count += 50
            await asyncio.sleep(0.001 if count < 12_000 else 0.05)
        for hearer in (ear, other_ear):
            await hearer.hear(count)
            assert len(hearer.heard) == count
            assert {int(publication.data) for publication in hearer.heard} == set(range(count))
            hearer.check_order()
            assert hearer.losses == []
        assert broker.reconnects >= 19


async def test_publish_on_a_connection_that_was_closed_while_idle_is_accepted(
    redis_server: Redis, redis_url: str
) -> None:
    async with opened(redis_url) as (broker, ear):
        for number in range(5):
            await broker.publish([draft("/n", number)])
            redis_server.command("CLIENT", "KILL", "TYPE", "normal")
            # The news of it has to arrive; until then nobody could know.
            while broker._publishing.is_open:
                await asyncio.sleep(0.001)
        assert len(await ear.hear(5)) == 5


@pytest.mark.parametrize("key", [None, "k"])
async def test_publish_whose_answer_was_lost_is_repeated_only_with_a_key(
    new_redis: RedisFactory, key: str | None
) -> None:
    redis = await asyncio.to_thread(new_redis)
    async with Relay(redis.port) as relay, opened(relay.url) as (broker, _), opened(redis.url) as (other, ear):
        await broker.publish([draft("/n", 1)])
        relay.mute()
        publishing = asyncio.create_task(broker.publish([draft("/n", 2, key)]))
        await ear.hear(2)
        relay.cut()
        if key is None:
            with pytest.raises(BrokerUnavailable):
                await publishing
        else:
            (published,) = await publishing
            assert (published.position.offset, published.repeated) == (2, True)
        await other.publish([draft("/n", 3)])
        assert [publication.data for publication in await ear.hear(3)] == [b"1", b"2", b"3"]


async def test_what_was_answered_before_the_line_broke_counts(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(redis_url) as (broker, ear):
        run = broker._publishing.run

        async def break_after_the_first(commands: Iterable[Any], take: Callable[[Any], None]) -> None:
            take((await run(commands))[0])
            raise ConnectionResetError

        monkeypatch.setattr(broker._publishing, "run", break_after_the_first)
        assert broker._log.shard("/a") != broker._log.shard("/b")
        publishing = [broker.publish([draft(channel, 1)]) for channel in ("/a", "/b")]
        (accepted,), unknown = await asyncio.gather(*publishing, return_exceptions=True)
        assert accepted.position.offset == 1
        assert isinstance(unknown, BrokerUnavailable)
        assert len(await ear.hear(2)) == 2


async def test_what_was_published_during_an_absence_is_heard_afterwards(new_redis: RedisFactory) -> None:
    redis = await asyncio.to_thread(new_redis)
    async with Relay(redis.port) as relay, opened(relay.url) as (broker, ear), opened(redis.url) as (other, _):
        await other.publish([draft("/n", 0)])
        await ear.hear(1)
        relay.cut(free_port())
        await until_health(broker, False)
        await other.publish([draft("/n", number) for number in range(1, 2000)])
        relay.target = redis.port
        await ear.hear(2000)
        ear.check_order()
        assert ear.losses == []
        assert broker.reconnects == 1


async def test_forgotten_scripts_are_brought_again(redis_server: Redis, redis_url: str) -> None:
    async with opened(redis_url) as (broker, ear):
        await broker.publish([draft("/n", 0)])
        redis_server.command("SCRIPT", "FLUSH")
        begin = await broker.position("/n")
        redis_server.command("SCRIPT", "FLUSH")
        await broker.publish([draft("/n", 1)])
        assert (await broker.history("/n", begin)).recovered
        await ear.hear(2)
        assert ear.losses == []


# A server that is away


@pytest.mark.parametrize("scheme", ["redis", "redis+sentinel"])
async def test_unreachable_at_the_start_is_said_with_the_address_and_without_the_password(scheme: str) -> None:
    port = free_port()
    broker = RedisBroker(f"{scheme}://user:s3cret@127.0.0.1:{port}/0")
    with pytest.raises(BrokerUnavailable) as raised:
        await broker.open(Ear())
    assert f"127.0.0.1:{port}" in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert "\n" not in str(raised.value)
    await broker.close()


async def test_wrong_password_is_said_without_it(new_redis: RedisFactory) -> None:
    redis = await asyncio.to_thread(new_redis)
    redis.command("CONFIG", "SET", "requirepass", "right")
    broker = RedisBroker(f"redis://:wr0ng@127.0.0.1:{redis.port}")
    with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{redis.port}: .*password") as raised:
        await broker.open(Ear())
    assert "wr0ng" not in str(raised.value)
    async with opened(f"redis://:right@127.0.0.1:{redis.port}") as (broker, _):
        assert broker.health.well


async def test_lost_redis_is_told_to_publishers_in_time_and_found_again(new_redis: RedisFactory) -> None:
    redis = await asyncio.to_thread(lambda: new_redis(persist=True))
    async with opened(redis.url) as (broker, ear):
        (before,) = await broker.publish([draft("/n", 1)])
        await asyncio.to_thread(redis.kill)
        with Stopwatch() as watch, pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{redis.port}"):
            await broker.publish([draft("/n", 2)])
        assert watch.seconds < COMMAND_SECONDS + 1
        assert f"127.0.0.1:{redis.port}" in (await until_health(broker, False)).reason
        with Stopwatch() as watch:
            for attempt in (broker.publish([draft("/n", 3)]), broker.position("/n"), broker.history("/n", None)):
                with pytest.raises(BrokerUnavailable):
                    await attempt
        # It has been away for a while: nobody waits any more.
        assert watch.seconds < 1
        await asyncio.to_thread(redis.start)
        await until_health(broker, True)
        (after,) = await insist(broker, draft("/n", 4, key="k"))
        assert after.epoch == before.position.epoch
        await ear.until(lambda: ear.heard[-1].data == b"4")
        ear.check_order()
        assert ear.losses == []


async def test_silent_redis_is_told_in_time_and_forgiven(new_redis: RedisFactory) -> None:
    """A server that takes everything and answers nothing, for longer than a command may take."""
    redis = await asyncio.to_thread(new_redis)
    async with opened(redis.url) as (broker, ear):
        await broker.publish([draft("/n", 1)])
        redis.pause()
        try:
            with Stopwatch() as watch:
                results = await asyncio.gather(
                    broker.publish([draft("/n", 2)]), broker.position("/n"), return_exceptions=True
                )
            assert [type(result) for result in results] == [BrokerUnavailable, BrokerUnavailable]
            assert watch.seconds < COMMAND_SECONDS + 1
            health = await until_health(broker, False)
            assert f"127.0.0.1:{redis.port}" in health.reason
        finally:
            redis.resume()
        await until_health(broker, True)
        await insist(broker, draft("/n", 3, key="k"))
        await ear.until(lambda: ear.heard[-1].data == b"3")
        assert ear.losses == []


async def test_deaf_reader_makes_the_node_not_ready_and_comes_back(
    new_redis: RedisFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is open, and carries nothing: found within DEAF_SECONDS."""
    monkeypatch.setattr(broker_module, "DEAF_SECONDS", 2.0)
    monkeypatch.setattr(broker_module, "CANARY_SECONDS", 0.2)
    redis = await asyncio.to_thread(new_redis)
    async with Relay(redis.port) as relay, opened(relay.url) as (broker, ear), opened(redis.url) as (other, _):
        relay.stall()
        (published,) = await other.publish([draft("/n", 1)])
        health = await until_health(broker, False)
        assert re.fullmatch(rf"Redis at 127.0.0.1:{relay.port}: deaf for \d s", health.reason)
        assert (await ear.hear(1))[0].position == published.position
        await until_health(broker, True)
        assert (broker.deaf, ear.losses) == (1, [])


async def test_quiet_hub_is_not_deaf(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A halt of more than CANARY_SECONDS + 1 is allowed for; a shorter one counts as silence.
    monkeypatch.setattr(broker_module, "DEAF_SECONDS", 2.0)
    monkeypatch.setattr(broker_module, "CANARY_SECONDS", 0.2)
    async with opened(redis_url) as (broker, _):
        for _ in range(30):
            await asyncio.sleep(0.1)
            assert broker.health.well
        assert (broker.deaf, broker.reconnects) == (0, 0)


# Another log than before


async def test_tail_that_failover_lost_is_told_and_its_positions_are_not_given_again(new_redis: RedisFactory) -> None:
    primary = await asyncio.to_thread(new_redis)
    async with Relay(primary.port) as relay, opened(relay.url) as (broker, ear):
        (kept,) = await broker.publish([draft("/n", 1)])
        replica = await asyncio.to_thread(lambda: new_redis(replica_of=primary))
        replica.command("REPLICAOF", "NO", "ONE")
        tail = [published.position for published in await broker.publish([draft("/n", 2), draft("/n", 3)])]
        await ear.hear(3)
        await asyncio.to_thread(primary.kill)
        relay.cut(replica.port)
        await ear.until(lambda: bool(ear.losses))
        assert ear.losses == [None]
        assert broker.rollbacks == 1
        for position in (kept.position, *tail):
            assert not (await broker.history("/n", position)).recovered
        after = [await insist(broker, draft("/n", number, key=str(number))) for number in (4, 5, 6)]
        assert not {position for (position,) in after} & set(tail)
        await ear.hear(6)
        ear.check_order()
        assert (await broker.history("/n", after[0][0])).recovered


async def test_tail_is_not_given_again_when_all_who_saw_it_are_gone(new_redis: RedisFactory) -> None:
    """The primary and the workers beside it died together; others come up with the replica."""
    primary = await asyncio.to_thread(new_redis)
    replica: Redis
    async with opened(primary.url) as (broker, _):
        await broker.publish([draft("/n", 1)])
        replica = await asyncio.to_thread(lambda: new_redis(replica_of=primary))
        replica.command("REPLICAOF", "NO", "ONE")
        (tail,) = await broker.publish([draft("/n", 2)])
    await asyncio.to_thread(primary.kill)
    async with opened(replica.url) as (broker, _):
        (after,) = await broker.publish([draft("/n", 3)])
        assert after.position != tail.position
        assert not (await broker.history("/n", tail.position)).recovered


async def test_worker_that_lagged_tells_lost_when_another_found_the_rollback(new_redis: RedisFactory) -> None:
    """The epoch was replaced before this worker came back; it had seen nothing of the tail."""
    primary = await asyncio.to_thread(new_redis)
    async with (
        Relay(primary.port) as relay,
        Relay(primary.port) as slow,
        opened(relay.url) as (broker, ear),
        opened(slow.url) as (_, slow_ear),
    ):
        await broker.publish([draft("/n", 1)])
        await slow_ear.hear(1)
        replica = await asyncio.to_thread(lambda: new_redis(replica_of=primary))
        replica.command("REPLICAOF", "NO", "ONE")
        slow.cut(free_port())
        await broker.publish([draft("/n", 2)])
        await ear.hear(2)
        await asyncio.to_thread(primary.kill)
        relay.cut(replica.port)
        await ear.until(lambda: bool(ear.losses))
        (position,) = await insist(broker, draft("/n", 3, key="k"))
        slow.target = replica.port
        await slow_ear.until(lambda: bool(slow_ear.losses))
        await slow_ear.until(lambda: slow_ear.heard[-1].position == position)
        assert slow_ear.losses == [None]
        slow_ear.check_order()


@pytest.mark.parametrize(("kept", "overtaken"), [(1, False), (1, True), (0, False)])
async def test_rollback_is_found_by_the_last_entry_where_the_server_does_not_say_who_it_is(
    new_redis: RedisFactory, kept: int, overtaken: bool
) -> None:
    """Without INFO there is the anchor: the last entry read must still be there, however many came since."""
    primary = await asyncio.to_thread(new_redis)
    replica = await asyncio.to_thread(lambda: new_redis(replica_of=primary))
    for redis in (primary, replica):
        redis.command("ACL", "SETUSER", "hub", "on", ">pw", "~*", "+@all", "-config", "-info")
    async with Relay(primary.port) as relay, opened(relay.url_for("hub:pw@")) as (broker, ear):
        begin = await broker.position("/n")
        await broker.publish([draft("/n", 1)] * kept)
        while (
            replica.command("XLEN", log_key(broker, "/n")) != b":%d\r\n" % kept
            or replica.command("EXISTS", log_key(broker, "/n").replace("log", "m:/n")) != b":1\r\n"
        ):
            await asyncio.sleep(0.01)
        replica.command("REPLICAOF", "NO", "ONE")
        (tail,) = await broker.publish([draft("/n", 2)])
        await ear.hear(kept + 1)
        relay.cut(free_port())
        if overtaken:
            async with opened(f"redis://hub:pw@127.0.0.1:{replica.port}") as (other, _):
                await other.publish([draft("/n", 3), draft("/n", 4)])
        relay.target = replica.port
        await ear.until(lambda: bool(ear.losses))
        assert (ear.losses, broker.rollbacks) == ([None], 1)
        assert not (await broker.history("/n", tail.position)).recovered
        assert not (await broker.history("/n", begin)).recovered


@pytest.mark.parametrize("trial", range(3))
async def test_crash_of_the_primary_is_never_silent(new_redis: RedisFactory, trial: int) -> None:
    """SIGKILL in the middle of publishing, and a replica takes over: heard, or told."""
    primary = await asyncio.to_thread(new_redis)
    replica = await asyncio.to_thread(lambda: new_redis(replica_of=primary))
    async with (
        Relay(primary.port) as relay,
        opened(relay.url) as (broker, ear),
        opened(relay.url) as (other, other_ear),
    ):
        positions: dict[Position, int] = {}

        async def publish() -> None:
            for number in range(0, 6000, 20):
                drafts = [draft(f"/{n % 3}", n, key=str(n)) for n in range(number, number + 20)]
                for each, position in zip(drafts, await insist(broker, *drafts), strict=True):
                    assert positions.setdefault(position, int(each.data)) == int(each.data) or position.offset == 0

        publishing = asyncio.create_task(publish())
        await ear.hear(1000 + 500 * trial)
        await asyncio.to_thread(primary.kill)
        replica.command("REPLICAOF", "NO", "ONE")
        relay.cut(replica.port)
        await publishing
        last = await insist(broker, *(draft(f"/{n}", 10_000, key=f"last{n}") for n in range(3)))
        for node, hearer in ((broker, ear), (other, other_ear)):
            await hearer.until(lambda hearer=hearer: set(last) <= {heard.position for heard in hearer.heard})
            assert hearer.losses
            assert node.rollbacks == 1
            hearer.check_order()
            # No position was given to two publications, as far as any node has seen.
            for heard in hearer.heard:
                assert positions.setdefault((heard.channel, heard.position), int(heard.data)) == int(heard.data)  # type: ignore[arg-type]  # by channel too


async def test_restart_that_kept_everything_goes_on(new_redis: RedisFactory) -> None:
    redis = await asyncio.to_thread(lambda: new_redis(persist=True))
    async with opened(redis.url) as (broker, ear):
        (before,) = await broker.publish([draft("/n", 1)])
        await asyncio.to_thread(redis.restart)
        (after,) = await insist(broker, draft("/n", 2, key="k"))
        assert after == Position(before.position.epoch, 2)
        await ear.hear(2)
        assert (ear.losses, broker.rollbacks) == ([], 0)


async def test_restart_that_may_have_forgotten_the_last_second_is_told(new_redis: RedisFactory) -> None:
    """Written down once a second: nobody can know what was lost."""
    redis = await asyncio.to_thread(lambda: new_redis(persist=True, args=("--appendfsync", "everysec")))
    async with opened(redis.url) as (broker, ear):
        (before,) = await broker.publish([draft("/n", 1)])
        await asyncio.to_thread(redis.restart)
        await ear.until(lambda: bool(ear.losses))
        assert not (await broker.history("/n", before.position)).recovered
        (after,) = await insist(broker, draft("/n", 2, key="k"))
        assert after.epoch != before.position.epoch
        await ear.hear(2)


async def test_restart_without_data_is_told_and_goes_on(new_redis: RedisFactory) -> None:
    redis = await asyncio.to_thread(new_redis)
    async with opened(redis.url) as (broker, ear), opened(redis.url) as (_, other_ear):
        (before,) = await broker.publish([draft("/n", 1)])
        await asyncio.to_thread(redis.restart)
        (after,) = await insist(broker, draft("/n", 2, key="k"))
        assert after.epoch != before.position.epoch
        for hearer in (ear, other_ear):
            await hearer.hear(2)
            assert hearer.losses == [None]
            assert hearer.heard[-1].position == after
        assert not (await broker.history("/n", before.position)).recovered


@pytest.mark.parametrize("followed", [True, False])
async def test_emptied_database_is_told_under_an_open_connection(new_redis: RedisFactory, followed: bool) -> None:
    redis = await asyncio.to_thread(new_redis)
    async with opened(redis.url) as (broker, ear), opened(redis.url) as (_, other_ear):
        (before,) = await broker.publish([draft("/n", 1)])
        await asyncio.gather(ear.hear(1), other_ear.hear(1))
        redis.command("FLUSHALL")
        if followed:
            (after,) = await broker.publish([draft("/n", 2)])
            assert after.position.epoch != before.position.epoch
        for hearer in (ear, other_ear):
            await hearer.until(lambda hearer=hearer: bool(hearer.losses))
            if followed:
                await hearer.hear(2)
                assert hearer.heard[-1].position == after.position
            assert hearer.losses == [None]
        assert not (await broker.history("/n", before.position)).recovered


# A log that was trimmed


@pytest.mark.parametrize("followed", [True, False])
async def test_entries_trimmed_unread_are_told_under_an_open_connection(
    new_redis: RedisFactory, monkeypatch: pytest.MonkeyPatch, followed: bool
) -> None:
    """The reader was slow and the log short; nothing need follow what was trimmed."""
    monkeypatch.setattr(broker_module, "REARM", 0.5)
    redis = await asyncio.to_thread(new_redis)
    async with opened(redis.url) as (broker, ear):
        await broker.publish([draft("/n", 1)])
        await ear.hear(1)
        # The reader rests for REARM now.
        await broker.publish([draft("/n", 2)])
        redis.command("XTRIM", log_key(broker, "/n"), "MAXLEN", 0)
        if followed:
            await broker.publish([draft("/n", 3)])
        await ear.until(lambda: bool(ear.losses))
        await broker.publish([draft("/n", 4)])
        await ear.until(lambda: ear.heard[-1].data == b"4")
        assert ear.losses == [None]
        assert [publication.data for publication in ear.heard] == [b"1", b"3", b"4"] if followed else [b"1", b"4"]
        assert (broker.trims, broker.rollbacks) == (1, 0)


async def test_entries_trimmed_during_an_absence_are_told(new_redis: RedisFactory) -> None:
    redis = await asyncio.to_thread(new_redis)
    async with Relay(redis.port) as relay, opened(relay.url) as (broker, ear), opened(redis.url) as (other, _):
        await other.publish([draft("/n", 1)])
        await ear.hear(1)
        relay.cut(free_port())
        await until_health(broker, False)
        await other.publish([draft("/n", number) for number in (2, 3, 4)])
        redis.command("XTRIM", log_key(broker, "/n"), "MAXLEN", 1)
        relay.target = redis.port
        await ear.until(lambda: bool(ear.losses))
        assert ear.losses == [None]
        assert [publication.data for publication in await ear.hear(2)] == [b"1", b"4"]
        assert (broker.trims, broker.rollbacks) == (1, 0)


async def test_trimming_what_was_read_is_no_loss(new_redis: RedisFactory) -> None:
    redis = await asyncio.to_thread(new_redis)
    async with Relay(redis.port) as relay, opened(relay.url) as (broker, ear):
        await broker.publish([draft("/n", 1)])
        await ear.hear(1)
        redis.command("XTRIM", log_key(broker, "/n"), "MAXLEN", 0)
        relay.cut()
        await insist(broker, draft("/n", 2, key="k"))
        await ear.hear(2)
        await asyncio.sleep(CHECK_SECONDS + 0.2)
        assert (ear.losses, broker.trims, broker.rollbacks) == ([], 0, 0)


async def test_log_is_bounded_by_bytes(redis_server: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "LOG_BYTES", 1024 * 1024)
    async with opened(redis_url, shards=1) as (broker, ear):
        data = b'"' + b"x" * 50_000 + b'"'
        for number in range(60):
            await broker.publish([Draft(f"/{number}", data)])
            await ear.hear(number + 1)
        length = int(redis_server.command("XLEN", "{hub:0}:log").strip(b":\r\n"))
        assert 10 <= length <= 21
        assert ear.losses == []


async def test_log_is_bounded_by_count(redis_server: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "LOG_LENGTH", 500)
    async with opened(redis_url, shards=1) as (broker, ear):
        for start in range(0, 3000, 100):
            await broker.publish([draft("/n", number) for number in range(start, start + 100)])
            await ear.hear(start + 100)
        length = int(redis_server.command("XLEN", "{hub:0}:log").strip(b":\r\n"))
        # Redis trims whole nodes of a hundred entries.
        assert 500 <= length <= 700
        assert ear.losses == []


# Servers that can't carry the log


async def test_replica_is_refused(new_redis: RedisFactory) -> None:
    primary = await asyncio.to_thread(new_redis)
    replica = await asyncio.to_thread(lambda: new_redis(replica_of=primary))
    with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{replica.port}: is a replica"):
        await RedisBroker(replica.url).open(Ear())


async def test_cluster_is_refused(new_redis: RedisFactory) -> None:
    # The bus port is 10,000 above the other if it isn't given, which may be no port at all.
    args = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    redis = await asyncio.to_thread(lambda: new_redis(args=args))
    with pytest.raises(BrokerUnavailable, match="is a cluster; one primary is needed"):
        await RedisBroker(redis.url).open(Ear())


@pytest.mark.parametrize(("info", "taken"), [("redis_version:6.2.14", False), ("redis_version:7.0.0", True)])
def test_old_versions_are_refused(info: str, taken: bool) -> None:
    broker = RedisBroker("redis://127.0.0.1")
    refused = pytest.raises(BrokerUnavailable, match=r"is version 6\.2\.14; 7 or later")
    with contextlib.nullcontext() if taken else refused:
        broker._log._check(replies.info(info.encode()), {})


@pytest.mark.parametrize("info", ["redis_mode:cluster", "valkey_version:9.1.2\r\nserver_mode:cluster"])
def test_cluster_is_known_by_either_word(info: str) -> None:
    """Valkey calls it server_mode, and a cluster without slots was refused with "Hash slot not served"."""
    with pytest.raises(BrokerUnavailable, match="is a cluster"):
        RedisBroker("redis://127.0.0.1")._log._check(replies.info(info.encode()), {})


async def test_policy_that_may_evict_the_log_is_warned_of(
    new_redis: RedisFactory, caplog: pytest.LogCaptureFixture
) -> None:
    redis = await asyncio.to_thread(lambda: new_redis(args=("--maxmemory-policy", "allkeys-lru")))
    with caplog.at_level(logging.WARNING):
        async with opened(redis.url):
            pass
    assert [record.message for record in caplog.records] == ["redis may evict the log; use maxmemory-policy noeviction"]


async def test_user_that_may_do_little_is_enough(new_redis: RedisFactory, caplog: pytest.LogCaptureFixture) -> None:
    """Hosted servers forbid CONFIG, some INFO."""
    redis = await asyncio.to_thread(new_redis)
    redis.command("ACL", "SETUSER", "hub", "on", ">pw", "~*", "+@all", "-config", "-info")
    async with opened(f"redis://hub:pw@127.0.0.1:{redis.port}") as (broker, ear):
        await broker.publish([draft("/n", 1)])
        await ear.hear(1)
    assert [record.message for record in caplog.records] == ["redis forbids INFO, so not every failover can be noticed"]


async def test_full_memory_is_told_and_leaves_nothing_half_done(new_redis: RedisFactory) -> None:
    redis = await asyncio.to_thread(new_redis)
    async with opened(redis.url) as (broker, ear):
        await broker.publish([draft("/n", 1)])
        redis.command("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(BrokerUnavailable, match=r"refused: .*maxmemory"):
            await broker.publish([draft("/n", 2), draft("/m", 2)])
        redis.command("CONFIG", "SET", "maxmemory", 0)
        (published,) = await broker.publish([draft("/n", 3)])
        assert published.position.offset == 2
        await ear.hear(2)
        await asyncio.sleep(CHECK_SECONDS + 0.2)
        assert ear.losses == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://localhost", "REDIS_URL: .*scheme"),
        ("redis://localhost:port", "REDIS_URL: .*[Pp]ort"),
        ("redis+sentinel://a:1,b:2", "REDIS_URL: a sentinel URL ends with /service"),
        ("redis+sentinel://a:x/service", "REDIS_URL: invalid literal"),
    ],
)
def test_url_that_can_not_be_used_is_a_setting_error(url: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        RedisBroker(url)


def test_form_of_replies_is_not_for_the_url_to_choose() -> None:
    broker = RedisBroker("redis://localhost?protocol=3&decode_responses=yes")
    options = broker._server._pool.connection_kwargs
    assert (options["protocol"], options["decode_responses"]) == (2, False)


# Bounds


async def test_asking_for_a_channel_leaves_nothing_in_redis(redis_server: Redis, redis_url: str) -> None:
    """Names that a stranger asked for were kept for ten minutes: 155 kB a second filled a GB with them."""
    async with opened(redis_url) as (broker, _):
        await broker.publish([draft("/told", 1)])
        keys = int(redis_server.command("DBSIZE").strip(b":\r\n"))
        for number in range(100):
            await broker.position(f"/asked/{number}")
            await broker.history(f"/asked too/{number}", Position("abc", 3))
        # Shards that nothing was published to before.
        assert int(redis_server.command("DBSIZE").strip(b":\r\n")) <= keys + len(broker._log.tags)


async def test_where_redis_evicts_what_was_asked_for_is_soon_forgotten(redis_server: Redis, redis_url: str) -> None:
    """A channel may be evicted there at any time, so its next life must not have an epoch that can be derived."""
    redis_server.command("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    try:
        async with opened(redis_url) as (broker, _):
            await broker.position("/asked")
            await broker.history("/asked too", Position("abc", 3))
            await broker.publish([draft("/told", 1)])
            tags, shard = broker._log.tags, broker._log.shard

            def seconds(channel: str) -> int:
                return int(redis_server.command("TTL", f"{tags[shard(channel)]}m:{channel}").strip(b":\r\n"))

            assert 0 < seconds("/asked") <= 600
            assert 0 < seconds("/asked too") <= 600
            assert seconds("/told") > 3600
            await broker.position("/told")
            assert seconds("/told") > 3600
            first = await broker.position("/told")
            redis_server.command("DEL", f"{tags[shard('/told')]}m:/told")
            await broker.publish([draft("/told", 2)])
            assert (await broker.position("/told")).epoch != first.epoch
    finally:
        redis_server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")


async def test_who_asked_shortly_before_the_first_publication_gets_it(redis_server: Redis, redis_url: str) -> None:
    """Epochs of unused channels change twice a day: whoever asked just before that stood at the beginning too."""
    async with opened(redis_url) as (broker, _):
        await broker.publish([draft("/a", 1), draft("/a", 2)])
        tag = broker._log.tags[broker._log.shard("/a")]
        shard = redis_server.command("HGET", tag + "ep", "e").split(b"\r\n")[1].decode()
        born = int(redis_server.command("HGET", f"{tag}m:/a", "w").split(b"\r\n")[1])

        def derived(window: int) -> str:
            return hashlib.sha1(f"{shard} {window} {tag}m:/a".encode(), usedforsecurity=False).hexdigest()[:10]

        assert (await broker.position("/a")).epoch == derived(born)
        for window, count in ((born, 2), (born - 1, 2), (born - 2, 0), (born + 1, 0)):
            history = await broker.history("/a", Position(derived(window), 0))
            assert (len(history.publications), history.recovered) == (count, count > 0), window - born
        assert not (await broker.history("/a", Position(derived(born - 1), 1))).recovered


async def test_everything_but_logs_and_epochs_expires(redis_server: Redis, redis_url: str) -> None:
    async with opened(redis_url) as (broker, _):
        await broker.publish([draft("/n", 1, key="k")])
        await broker.save_session("s", 1, b"1", 60)
        async with asyncio.timeout(60):
            while b"canary" not in (keys := redis_server.command("KEYS", "*")):
                await asyncio.sleep(0.05)
        names = [name.decode() for name in keys.split(b"\r\n") if name.startswith((b"{", b"hub"))]
        assert len(names) > 16
        for name in names:
            if not name.endswith((":log", ":ep", ":layout")):
                assert int(redis_server.command("TTL", name).strip(b":\r\n")) > 0, name
            # The keys that one script touches are in one slot of a cluster.
            assert re.match(r"\{hub:\d+\}:|hub:c:", name)


async def test_questions_asked_together_are_sent_once(redis_server: Redis, redis_url: str) -> None:
    async with opened(redis_url) as (broker, _):
        await broker.position("/warm")
        redis_server.command("CONFIG", "RESETSTAT")
        positions = await asyncio.gather(*(broker.position("/n") for _ in range(500)))
        assert len(set(positions)) == 1
        calls = re.search(rb"cmdstat_evalsha:calls=(\d+)", redis_server.command("INFO", "commandstats"))
        assert calls is not None
        assert int(calls[1]) == 1


async def test_one_who_stops_asking_does_not_take_the_answer_from_others(redis_url: str) -> None:
    async with opened(redis_url) as (broker, _):
        one, two = (asyncio.create_task(broker.position("/n")) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        assert (await two).offset == 0


async def test_history_asked_for_after_a_publish_has_it(redis_url: str) -> None:
    """A question that is under way is not shared: its answer may be older than what the asker knows."""
    async with opened(redis_url) as (broker, _):
        begin = await broker.position("/n")
        for number in range(1, 200):
            early = asyncio.create_task(broker.history("/n", begin))
            await asyncio.sleep(0)
            await broker.publish([draft("/n", number)])
            assert len((await broker.history("/n", begin)).publications) == number
            await early


async def test_what_waits_for_redis_is_bounded(new_redis: RedisFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "MAX_WAITING_BYTES", 100_000)
    monkeypatch.setattr(broker_module, "MAX_QUESTIONS", 10)
    redis = await asyncio.to_thread(new_redis)
    async with opened(redis.url) as (broker, _):
        redis.pause()
        try:
            data = b'"' + b"x" * 1000 + b'"'
            publishing = [asyncio.create_task(broker.publish([Draft("/n", data)])) for _ in range(200)]
            asking = [asyncio.create_task(broker.position(f"/{number}")) for number in range(200)]
            results = await asyncio.gather(*publishing, *asking, return_exceptions=True)
        finally:
            redis.resume()
        reasons = [str(result) for result in results]
        assert all(isinstance(result, BrokerUnavailable) for result in results)
        assert sum("too much waits for it" in reason for reason in reasons) >= 200
        await until_health(broker, True)
        await insist(broker, draft("/n", 1, key="k"))
        assert broker._draft_bytes == 0


async def test_cancelled_publish_leaves_the_others_alone(redis_url: str) -> None:
    async with opened(redis_url) as (broker, ear):
        tasks = [asyncio.create_task(broker.publish([draft("/n", number)])) for number in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[1], asyncio.CancelledError)
        await ear.until(lambda: ear.heard[-1].data == b"2")
        ear.check_order()


# Bugs and strangers


async def test_entry_of_a_stranger_is_told_as_lost(redis_server: Redis, redis_url: str) -> None:
    async with opened(redis_url) as (broker, ear):
        redis_server.command("XADD", log_key(broker, "/n"), "*", "some", "thing")
        await ear.until(lambda: bool(ear.losses))
        await broker.publish([draft("/n", 1)])
        await ear.hear(1)
        assert broker.health.well


async def test_receiver_that_raises_does_not_stop_the_reader(redis_url: str) -> None:
    class Clumsy(Ear):
        def receive(self, publications: object) -> None:
            super().receive(publications)  # type: ignore[arg-type]  # as given
            if len(self.heard) == 1:
                raise ZeroDivisionError("a bug")

    broker, ear = RedisBroker(redis_url), Clumsy()
    await broker.open(ear)
    try:
        await broker.publish([draft("/n", 1)])
        await ear.until(lambda: ear.losses == [None])
        await insist(broker, draft("/n", 2, key="k"))
        await ear.until(lambda: ear.heard[-1].data == b"2")
    finally:
        await broker.close()


async def test_close_fails_what_waits(new_redis: RedisFactory) -> None:
    redis = await asyncio.to_thread(new_redis)
    async with opened(redis.url) as (broker, _):
        redis.pause()
        try:
            waiting = [
                asyncio.create_task(broker.publish([draft("/n", 1)])),
                asyncio.create_task(broker.position("/n")),
            ]
            await asyncio.sleep(0.05)
            await broker.close()
            for result in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(result, BrokerUnavailable)
        finally:
            redis.resume()


# Sentinel and TLS


class SentinelServer(Server):
    """A Redis Sentinel that watches one primary and acts alone."""

    def __init__(self, folder: Path, primary: Redis) -> None:
        super().__init__("sentinel")
        self.port = free_port()
        self._file = folder / "sentinel.conf"
        self._file.write_text(
            f"port {self.port}\nbind 127.0.0.1\nsentinel monitor hub 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds hub 300\nsentinel failover-timeout hub 2000\n"
        )

    def start(self) -> SentinelServer:
        command = [redis_program(), str(self._file), "--sentinel"]
        self.launch(command, lambda: self._file.with_suffix(".log").stat().st_size > 0, self._file.with_suffix(".log"))
        return self


async def test_sentinel_says_where_the_primary_is_before_and_after_a_failover(
    new_redis: RedisFactory, tmp_path: Path
) -> None:
    primary = await asyncio.to_thread(new_redis)
    await asyncio.to_thread(lambda: new_redis(replica_of=primary))
    sentinel = SentinelServer(tmp_path, primary)
    try:
        await asyncio.to_thread(sentinel.start)
        url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/hub/0"
        broker, ear = RedisBroker(url), Ear()
        async with asyncio.timeout(60):
            while True:
                try:
                    await broker.open(ear)
                    break
                except BrokerUnavailable:
                    await asyncio.sleep(0.1)
        try:
            await broker.publish([draft("/n", 1)])
            await ear.hear(1)
            # Sentinel learns of replicas every ten seconds; without one it would not fail over.
            async with asyncio.timeout(60):
                while b"slaves=1" not in _ask(sentinel.port, "INFO", "sentinel"):
                    await asyncio.sleep(0.1)
            await asyncio.to_thread(primary.kill)
            await until_health(broker, False)
            await until_health(broker, True)
            await insist(broker, draft("/n", 2, key="k"))
            await ear.hear(2)
            assert ear.losses == [None]
        finally:
            await broker.close()
    finally:
        sentinel.kill()


def _ask(port: int, *words: str) -> bytes:
    probe = Redis.__new__(Redis)
    probe.port = port
    return Redis.command(probe, *words)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody signed, and its key."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key),
         "-out", str(certificate)],
        capture_output=True,
        check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("openssl can't make a certificate")
    return certificate, key


async def test_tls(new_redis: RedisFactory, certificate: tuple[Path, Path]) -> None:
    port = free_port()
    args = ("--tls-port", str(port), "--tls-cert-file", str(certificate[0]), "--tls-key-file", str(certificate[1]))
    try:
        await asyncio.to_thread(lambda: new_redis(args=(*args, "--tls-auth-clients", "no")))
    except RuntimeError:
        pytest.skip("this redis-server has no TLS")
    async with opened(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate[0]}") as (broker, ear):
        await broker.publish([draft("/n", 1)])
        await ear.hear(1)
    with pytest.raises(BrokerUnavailable, match=r"certificate|CERTIFICATE"):
        await RedisBroker(f"rediss://127.0.0.1:{port}/0").open(Ear())


def test_publication_is_rebuilt_from_a_log_entry() -> None:
    fields = [b"c", b"/n", b"e", b"ab", b"o", b"7", b"d", b"1", b"h", b"1", b"x", b"", b"q", b"9", b"b", b"300"]
    assert replies.publication(fields) == Publication("/n", b"1", Position("ab", 7), True)
