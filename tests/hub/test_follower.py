"""Following channels from code: one suite in the hub's process (memory, Redis) and over `/ws` (of either)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from brokering import Relay
from listening import KEY, REALM, serving
from services import Redis, RedisFactory

from hub import remote as remote_module
from hub.app import Hub
from hub.errors import BadMessage, BrokerUnavailable, ForbiddenChannel, InvalidChannel
from hub.follower import FakeFollowers, Follower, Followers, Heard, Lost, check_pattern, wire_pattern
from hub.ids import new_id
from hub.protocol import tokens
from hub.protocol.publications import Position
from hub.remote import RemoteHub
from hub.settings import Settings

KINDS = ["memory", "redis", "ws", "ws of redis"]


class World:
    """Who publishes, and who follows: the same hub, or another worker on its log."""

    def __init__(self, following: Followers, hub: Hub, publishing: Hub) -> None:
        self.following = following
        self.hub = hub
        self._publishing = publishing
        self._prefix = new_id()[:8]

    def name(self, name: str) -> str:
        """A channel or pattern that no other test has."""
        return f"{self._prefix}-{name}"

    async def publish(self, channel: str, data: object) -> Position:
        position = await self._publishing.publisher.publish(self.name(channel), data)
        assert position is not None
        return position

    async def hears(self, expected: bool = True) -> None:
        await until(lambda: self.following.hears is expected)


@contextlib.asynccontextmanager
async def worlds(kind: str, redis_url: str | None, **changes: Any) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        url, hub = await stack.enter_async_context(serving(redis_url=redis_url, **changes))
        publishing = hub
        if redis_url is not None:
            _, publishing = await stack.enter_async_context(serving(redis_url=redis_url))
        following: Followers = hub.followers
        if kind.startswith("ws"):
            following = await stack.enter_async_context(RemoteHub(url, realm=REALM, key=KEY))
        world = World(following, hub, publishing)
        await world.hears()
        yield world


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    redis_url = request.getfixturevalue("redis_url") if "redis" in request.param else None
    async with worlds(request.param, redis_url) as world:
        yield world


async def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


async def take(follower: Follower, count: int) -> list[Heard | Lost]:
    async with asyncio.timeout(60):
        return [await anext(follower) for _ in range(count)]


async def take_until(follower: Follower, last: object) -> list[object]:
    """What comes before this."""
    found: list[object] = []
    while (found := found + data(await take(follower, 1)))[-1] != last:
        pass
    return found[:-1]


def data(entries: list[Heard | Lost]) -> list[object]:
    return [entry.data if isinstance(entry, Heard) else entry for entry in entries]


# What comes


async def test_follower_hears_a_channel_in_order_with_positions(world: World) -> None:
    async with world.following.follow(world.name("a")) as follower:
        positions = [await world.publish("a", {"n": number}) for number in range(5)]
        await world.publish("b", "another channel")
        last = await world.publish("a", None)
        entries = await take(follower, 6)
        assert len(follower) == 0
    expected = [Heard(world.name("a"), {"n": number}, place) for number, place in enumerate(positions)]
    assert entries == [*expected, Heard(world.name("a"), None, last)]


@pytest.mark.parametrize(
    ("pattern", "heard", "not_heard"),
    [
        ("comments-*", ["comments-1", "comments-", "comments-x"], ["comments", "comments-1/a", "commenters"]),
        ("news/*", ["news/a"], ["news", "news/a/b"]),
        ("news/**", ["news/a", "news/a/b"], ["news", "newsy/a"]),
        ("team-*/news", ["team-1/news"], ["team-1", "team-1/news/a"]),
    ],
)
async def test_pattern_stands_for_its_channels_and_no_others(
    world: World, pattern: str, heard: list[str], not_heard: list[str]
) -> None:
    async with world.following.follow(world.name(pattern)) as follower:
        for channel in not_heard:
            await world.publish(channel, channel)
        for channel in heard:
            await world.publish(channel, channel)
        # Across channels no order is promised.
        assert sorted(map(str, data(await take(follower, len(heard))))) == sorted(heard)
        assert len(follower) == 0


async def test_what_two_patterns_of_a_follower_match_comes_once(world: World) -> None:
    async with world.following.follow(world.name("a*"), world.name("ab")) as follower:
        await world.publish("ab", 1)
        await world.publish("ac", 2)
        assert sorted(map(str, data(await take(follower, 2)))) == ["1", "2"]
        assert len(follower) == 0


async def test_two_followers_hear_the_same_and_one_that_left_hears_no_more(world: World) -> None:
    async with world.following.follow(world.name("a")) as one:
        async with world.following.follow(world.name("a")) as two:
            await world.publish("a", 1)
            assert data(await take(one, 1)) == data(await take(two, 1)) == [1]
        await world.publish("a", 2)
        assert data(await take(one, 1)) == [2]
    assert [entry async for entry in two] == []
    assert not world.following.active


async def test_follower_that_leaves_and_comes_again_hears_from_then_on(world: World) -> None:
    for number in range(3):
        async with world.following.follow(world.name("a")) as follower:
            await world.publish("a", number)
            assert await take_until(follower, number) in ([], ["nobody follows"]), "what is on its way may still come"
        await world.publish("a", "nobody follows")


@pytest.mark.parametrize("pattern", ["", "/meta/connect", "a/**/b", "a\n"])
async def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidChannel):
        async with FakeFollowers().follow(pattern):
            pass


# Coming back


async def test_who_comes_back_hears_what_came_since(world: World) -> None:
    first = await world.publish("a", 1)
    positions = [await world.publish("a", number) for number in (2, 3)]
    async with world.following.follow(world.name("a"), since={world.name("a"): first}) as follower:
        await world.publish("a", 4)
        entries = await take(follower, 3)
        assert len(follower) == 0, "nothing comes twice"
    assert data(entries) == [2, 3, 4]
    assert [entry.position for entry in entries[:2] if isinstance(entry, Heard)] == positions


async def test_recovery_beside_another_follower_repeats_nothing_to_it(world: World) -> None:
    first = await world.publish("a", 1)
    async with world.following.follow(world.name("a")) as one:
        await world.publish("a", 2)
        async with world.following.follow(world.name("a"), since={world.name("a"): str(first)}) as two:
            await world.publish("a", 3)
            assert data(await take(two, 2)) == [2, 3]
        assert await take_until(one, 3) in ([1, 2], [2]), "what is on its way may still come"
        assert len(one) == 0


async def test_who_comes_back_to_a_position_that_is_not_kept_is_told_lost(world: World) -> None:
    await world.publish("a", 1)
    since = {world.name("a"): "anotherlife.7"}
    async with world.following.follow(world.name("a"), world.name("b"), world.name("p-*"), since=since) as follower:
        await world.publish("a", 2)
        entries = await take(follower, 4)
    assert set(entries[:3]) == {
        Lost(world.name("a"), "gone"),
        Lost(world.name("b"), "gone"),
        Lost(world.name("p-*"), "pattern"),
    }
    assert data(entries[3:]) == [2]


async def test_since_must_be_positions_of_what_is_followed(world: World) -> None:
    with pytest.raises(BadMessage):
        async with world.following.follow("a", since={"a": "nonsense"}):
            pass
    with pytest.raises(InvalidChannel):
        async with world.following.follow("a", since={"b": "e.1"}):
            pass


# Followers that are slow


@pytest.mark.parametrize("kind", ["memory", "ws"])
@pytest.mark.parametrize(("changes", "size"), [({"follower_count": 10}, 1), ({"follower_bytes": 4000}, 900)])
async def test_slow_follower_is_told_lost_and_keeps_nobody_waiting(
    kind: str, changes: dict[str, int], size: int
) -> None:
    async with worlds(kind, None, **changes) as world:
        if kind == "ws":
            world.following._bounds = world.hub.followers._bounds
        name = world.name("a")
        async with world.following.follow(name) as slow, world.following.follow(world.name("b")) as other:
            for number in range(30):
                await world.publish("a", str(number) + "x" * size)
            last = await world.publish("b", "quick")
            assert data(await take(other, 1)) == ["quick"]
            assert len(slow) <= 10
            assert await anext(slow) == Lost(name, "slow")
            rest = data(await take(slow, len(slow)))
            assert [str(each).rstrip("x") for each in rest] == [str(each) for each in range(30)][-len(rest) :]
            assert world.following.slow >= 1
            assert world.following.tops.of("/" + world.name("b")) == str(last)


async def test_one_publication_longer_than_all_that_may_wait_is_heard() -> None:
    async with worlds("memory", None, follower_bytes=1024) as world:
        async with world.following.follow(world.name("a")) as follower:
            await world.publish("a", "x" * 5000)
            assert data(await take(follower, 1)) == ["x" * 5000]


async def test_follower_that_is_never_idle_leaves_the_loop_its_turn() -> None:
    """Ten thousand that waited were taken in one go, and nobody else was served meanwhile."""
    followers, turns = FakeFollowers(), 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with followers.follow("a") as follower:
        for number in range(1000):
            followers.tell("a", number)
        task = asyncio.create_task(others())
        await take(follower, 1000)
        task.cancel()
    assert turns >= 10


async def test_losses_that_nobody_takes_are_one_word() -> None:
    followers = FakeFollowers()
    async with followers.follow("a", "b") as follower:
        for _ in range(1000):
            followers.lose()
        assert data(await take(follower, 2)) == [Lost("a", "missed"), Lost("b", "missed")]
        assert len(follower) == 0
        followers.lose("b", "c")
        followers.tell("b", 1)
        followers.lose("b")
        assert data(await take(follower, 3)) == [Lost("b", "missed"), 1, Lost("b", "missed")]


# Tops


async def test_top_moves_with_what_is_heard_and_with_nothing_else(world: World) -> None:
    following, name = world.following, world.name("a")
    before = following.position(name)
    assert before == following.position("/" + name), "in either form"
    place = await world.publish("a", 1)
    assert await following.reached(name, place, 60)
    assert following.position(name) == str(place) != before
    kept = following.positions([name, world.name("b")])
    other = await world.publish("c", 1)
    assert await following.reached(world.name("c"), other, 60)
    assert following.positions([name, world.name("b")]) == kept
    assert following.hears


async def test_own_write_can_be_waited_for(world: World) -> None:
    following, name = world.following, world.name("a")
    first = await world.publish("a", 1)
    assert await following.reached(name, first, 60)
    assert await following.reached(name, str(first))
    later = Position(first.epoch, first.offset + 1)
    assert not await following.reached(name, later)
    assert not await following.reached(name, later, 0.01)
    waiting = asyncio.create_task(following.reached(name, later, 60))
    await asyncio.sleep(0)
    await world.publish("a", 2)
    assert await waiting
    assert not await following.reached(name, Position("anotherlife", 1), 0.01)
    with pytest.raises(BadMessage):
        await following.reached(name, "nonsense")


async def test_waiting_ends_when_the_channel_lost_something() -> None:
    followers = FakeFollowers()
    waiting = asyncio.create_task(followers.reached("a", "fake.5", 3600))
    await asyncio.sleep(0)
    assert followers.active
    followers.lose("a")
    assert not await waiting
    assert not followers.active


async def test_own_write_of_a_follower_s_callback_is_heard_before_its_top_is_asked_for(world: World) -> None:
    """Whoever is handed a publication finds that this process has heard it."""
    async with world.following.follow(world.name("a")) as follower:
        place = await world.publish("a", 1)
        await take(follower, 1)
        assert world.following.position(world.name("a")) == str(place)


async def test_channel_that_an_extension_withholds_moves_its_top() -> None:
    """A page's rows changed, whoever may be told of it."""
    async with worlds("memory", None) as world:
        world.hub.published.append(lambda publication: None)
        async with world.following.follow(world.name("a")) as follower:
            before = world.following.position(world.name("a"))
            place = await world.publish("a", 1)
            assert world.following.position(world.name("a")) != before
            assert await world.following.reached(world.name("a"), place)
            assert len(follower) == 0


# Deafness


FAULTY = ["redis", "ws of redis"]


@contextlib.asynccontextmanager
async def behind(kind: str, redis: Redis) -> AsyncIterator[tuple[World, Relay]]:
    """Who follows reaches Redis through a relay; who publishes does not."""
    async with contextlib.AsyncExitStack() as stack:
        relay = await stack.enter_async_context(Relay(redis.port))
        url, hub = await stack.enter_async_context(serving(redis_url=relay.url))
        _, publishing = await stack.enter_async_context(serving(redis_url=redis.url))
        following: Followers = hub.followers
        if kind.startswith("ws"):
            following = await stack.enter_async_context(RemoteHub(url, realm=REALM, key=KEY))
        world = World(following, hub, publishing)
        await world.hears()
        yield world, relay


@pytest.mark.parametrize("kind", FAULTY)
async def test_process_whose_redis_is_cut_off_knows_it_and_catches_up_before_it_hears_again(
    kind: str, new_redis: RedisFactory
) -> None:
    """It was well again as soon as it was connected, with a second of the log still unread."""
    redis = await asyncio.to_thread(new_redis)
    async with behind(kind, redis) as (world, relay):
        name = world.name("a")
        async with world.following.follow(name) as follower:
            kept = world.following.positions([name, world.name("b")])
            relay.cut(1)
            await world.hears(False)
            places = [await world.publish("a", number) for number in range(600)]
            assert world.following.positions([name, world.name("b")]) == kept
            relay.cut(redis.port)
            await world.hears()
            assert world.following.position(name) == str(places[-1]), "caught up"
            assert world.following.position(world.name("b")) == kept[1], "nothing was lost, so it stands"
            assert data(await take(follower, 600)) == list(range(600))


@pytest.mark.parametrize("kind", FAULTY)
async def test_process_that_is_cut_off_without_a_word_believes_that_it_hears_for_a_bounded_time(
    kind: str, new_redis: RedisFactory
) -> None:
    """The connections stay open and carry nothing: a network that is gone, a Redis that stands still."""
    redis = await asyncio.to_thread(new_redis)
    async with behind(kind, redis) as (world, relay):
        relay.stall()
        async with asyncio.timeout(30):
            await world.hears(False)
        place = await world.publish("a", 1)
        # The deaf worker connects anew by itself.
        await world.hears()
        assert world.following.position(world.name("a")) == str(place)


@pytest.mark.parametrize("kind", FAULTY)
async def test_redis_that_lost_its_data_is_a_loss_for_followers_and_tops(kind: str, new_redis: RedisFactory) -> None:
    redis = await asyncio.to_thread(new_redis)
    async with behind(kind, redis) as (world, _):
        name, pattern = world.name("a"), world.name("p-*")
        async with world.following.follow(name, pattern) as follower:
            place = await world.publish("a", 1)
            assert await world.following.reached(name, place, 60)
            assert data(await take(follower, 1)) == [1]
            kept = world.following.positions([name, world.name("b")])
            await asyncio.to_thread(redis.restart)
            entries = await take(follower, 2)
            assert set(entries) == {Lost(name, "missed"), Lost(pattern, "missed")}
            await world.hears()
            assert not set(kept) & set(world.following.positions([name, world.name("b")]))
            async with asyncio.timeout(60):
                while True:
                    with contextlib.suppress(BrokerUnavailable):
                        new = await world.publish("a", 2)
                        break
                    await asyncio.sleep(0.05)
            assert await world.following.reached(name, new, 60)


@pytest.mark.parametrize("kind", FAULTY)
async def test_failover_is_a_loss_for_followers_and_tops(kind: str, new_redis: RedisFactory) -> None:
    primary = await asyncio.to_thread(new_redis)
    replica: Redis = await asyncio.to_thread(lambda: new_redis(replica_of=primary))
    async with behind(kind, primary) as (world, relay):
        name = world.name("a")
        async with world.following.follow(name) as follower:
            await world.publish("a", 1)
            assert data(await take(follower, 1)) == [1]
            kept = world.following.position(name)
            await asyncio.to_thread(primary.kill)
            await world.hears(False)
            replica.command("REPLICAOF", "NO", "ONE")
            relay.cut(replica.port)
            await world.hears()
            assert data(await take(follower, 1)) == [Lost(name, "missed")]
            assert world.following.position(name) != kept


@pytest.mark.parametrize("kind", FAULTY)
async def test_who_comes_back_while_redis_is_away_waits_for_what_came_since(kind: str, new_redis: RedisFactory) -> None:
    redis = await asyncio.to_thread(new_redis)
    async with behind(kind, redis) as (world, relay):
        name = world.name("a")
        first = await world.publish("a", 1)
        relay.cut(1)
        await world.hears(False)
        # More than it is hoped to be back in.
        await asyncio.sleep(1.2)

        async def come_back() -> list[object]:
            async with world.following.follow(name, since={name: first}) as follower:
                return data(await take(follower, 2))

        coming = asyncio.create_task(come_back())
        await world.publish("a", 2)
        await asyncio.sleep(0.2)
        assert not coming.done()
        relay.cut(redis.port)
        await world.publish("a", 3)
        assert await asyncio.wait_for(coming, 60) == [2, 3]


async def test_worker_that_starts_does_not_hear_before_it_is_open(redis_url: str) -> None:
    hub = Hub(Settings(key=KEY, realm=REALM, redis_url=redis_url))
    assert not hub.followers.hears


# Over a connection that breaks


@pytest.mark.parametrize("kind", ["ws", "ws of redis"])
async def test_connection_that_breaks_is_made_again_and_names_are_recovered(
    kind: str, request: pytest.FixtureRequest
) -> None:
    redis_url = request.getfixturevalue("redis_url") if "redis" in kind else None
    async with contextlib.AsyncExitStack() as stack:
        url, hub = await stack.enter_async_context(serving(redis_url=redis_url))
        world = World(hub.followers, hub, hub)
        name, pattern = world.name("a"), world.name("p-*")
        relay = await stack.enter_async_context(Relay(int(url.rpartition(":")[2])))
        patterns = [name, world.name("q-*")]
        remote = RemoteHub(f"http://127.0.0.1:{relay.port}", patterns, realm=REALM, key=KEY)
        await stack.enter_async_context(remote)
        world.following = remote
        await world.hears()
        async with remote.follow(name) as by_name, remote.follow(pattern) as by_pattern:
            await world.publish("a", 1)
            await world.publish("p-1", 1)
            assert data(await take(by_name, 1)) == data(await take(by_pattern, 1)) == [1]
            kept = remote.positions([name, world.name("q-1")])
            relay.cut(1)
            await world.hears(False)
            await world.publish("a", 2)
            await world.publish("p-1", 2)
            relay.cut(int(url.rpartition(":")[2]))
            await world.hears()
            last = await world.publish("a", 3)
            await world.publish("p-1", 3)
            assert data(await take(by_name, 2)) == [2, 3]
            assert data(await take(by_pattern, 2)) == [Lost(pattern, "missed"), 3]
            assert await remote.reached(name, last, 60)
            assert not set(kept) & set(remote.positions([name, world.name("q-1")])), "of a pattern nothing is recovered"
            assert remote.connections == 2


async def test_connection_that_breaks_before_anything_came_recovers_from_where_it_began() -> None:
    async with serving() as (url, hub), Relay(int(url.rpartition(":")[2])) as relay:
        await hub.publisher.publish("a", 1)
        async with RemoteHub(f"http://127.0.0.1:{relay.port}", ["b"]) as remote, remote.follow("a") as follower:
            relay.cut(1)
            await until(lambda: not remote.hears)
            await hub.publisher.publish("a", 2)
            relay.cut(int(url.rpartition(":")[2]))
            assert data(await take(follower, 1)) == [2]


async def test_hub_that_stands_still_is_not_heard() -> None:
    """The connection stays open; nothing is answered."""
    async with serving() as (url, _), Relay(int(url.rpartition(":")[2])) as relay:
        async with RemoteHub(f"http://127.0.0.1:{relay.port}", ["a"]) as remote:
            await until(lambda: remote.hears)
            relay.stall()
            async with asyncio.timeout(30):
                await until(lambda: not remote.hears)
            await until(lambda: remote.hears)
            assert remote.connections == 2


async def test_hub_that_begins_anew_is_a_loss() -> None:
    async with Relay(1) as relay, RemoteHub(f"http://127.0.0.1:{relay.port}", ["a"]) as remote:
        await asyncio.sleep(0)
        assert not remote.hears
        async with serving() as (url, hub):
            relay.target = int(url.rpartition(":")[2])
            await until(lambda: remote.hears)
            async with remote.follow("a") as follower:
                kept = remote.position("a")
                await hub.publisher.publish("a", 2)
                assert data(await take(follower, 1)) == [2]
                async with serving() as (other_url, other):
                    relay.cut(int(other_url.rpartition(":")[2]))
                    assert data(await take(follower, 1)) == [Lost("a", "missed")]
                    assert remote.position("a") != kept
                    await other.publisher.publish("a", 3)
                    assert data(await take(follower, 1)) == [3]


async def test_channels_that_no_pattern_matches_have_another_top_each_time() -> None:
    """Nobody would tell that they changed."""
    async with serving() as (url, _), RemoteHub(url, ["events"]) as remote:
        await until(lambda: remote.hears)
        assert remote.position("events") == remote.position("events")
        assert remote.position("other") != remote.position("other")
        async with remote.follow("other"):
            assert remote.position("other") != remote.position("other"), "only as long as somebody follows"


async def test_listener_without_a_token_does_not_take_silence_for_news() -> None:
    """`**` is open, and what is published to `private-7` is not delivered to who lacks a token: it looked unchanged."""
    async with serving() as (url, hub):
        async with RemoteHub(url) as remote:
            await until(lambda: "may not hear" in remote.reason)
            assert not remote.hears
        async with RemoteHub(url, realm=REALM, key=KEY) as remote:
            await until(lambda: remote.hears)
            async with remote.follow("private-7") as follower:
                place = await hub.publisher.publish("private-7", 1)
                assert data(await take(follower, 1)) == [1]
                assert remote.position("private-7") == str(place)
            async with remote.follow("private-7", since={"private-7": Position(place.epoch, 0)}) as follower:
                assert data(await take(follower, 1)) == [1]


async def test_follower_of_what_is_forbidden_is_refused_and_others_go_on() -> None:
    async with serving() as (url, hub), RemoteHub(url, ["news"]) as remote:
        await until(lambda: remote.hears)
        async with remote.follow("news") as follower:
            with pytest.raises(ForbiddenChannel):
                async with remote.follow("private-7"):
                    pass
            await hub.publisher.publish("news", 1)
            assert data(await take(follower, 1)) == [1]
            assert remote.connections == 1


async def test_newer_token_takes_the_place_of_the_one_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given in time, and costs no follower a word."""
    monkeypatch.setattr(tokens, "LIFE_SECONDS", 4.0)
    monkeypatch.setattr(remote_module, "TOKEN_MARGIN", 1.0)
    monkeypatch.setattr(remote_module, "PING_SECONDS", 0.1)
    async with serving() as (url, hub), RemoteHub(url, ["private-*"], realm=REALM, key=KEY) as remote:
        await until(lambda: remote.hears)
        async with remote.follow("private-*") as follower:
            first = remote._token_made
            await until(lambda: remote._token_made > first + 3)
            await until(lambda: remote.hears)
            await hub.publisher.publish("private-7", 1)
            assert data(await take(follower, 1)) == [1]
            assert remote.connections == 1


@pytest.mark.parametrize("url", ["", "hub.example.org", "ftp://hub.example.org", "redis://127.0.0.1:1"])
async def test_what_is_no_hub_s_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not the URL of a hub"):
        RemoteHub(url)


# Patterns


@pytest.mark.parametrize(
    ("pattern", "wire"),
    [
        ("a", "/a"),
        ("/a/b", "/a/b"),
        ("a/*", "/a/*"),
        ("a/**", "/a/**"),
        ("**", "/**"),
        ("comments-*", "/*"),
        ("a/b-*", "/a/*"),
        ("team-*/news", "/**"),
        ("a/team-*/news", "/a/**"),
        ("a/*/b", "/a/**"),
        ("a-*/**", "/**"),
        ("a-*/*", "/**"),
    ],
)
def test_what_is_subscribed_to_has_all_of_a_pattern_s_names(pattern: str, wire: str) -> None:
    assert wire_pattern(check_pattern(pattern)) == wire
