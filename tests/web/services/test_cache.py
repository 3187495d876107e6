"""The cache: nothing older than what was heard, one making for many, and Redis as a second shelf that may fall over."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from services import Redis, RedisFactory

from hub.errors import SettingsError
from hub.follower import FakeFollowers
from hub.settings import read
from web.services.cache.cache import MAX_KEY, Cache
from web.services.cache.codecs import codec
from web.services.cache.entries import Entry, judge, pack, place, stands, unpack
from web.services.cache.errors import FarAway
from web.services.cache.far import PREFIX, Far
from web.services.cache.local import MISSING, OVERHEAD, Local
from web.services.cache.metrics import figures, of_cache
from web.services.cache.settings import CODEC_FILE, CacheSettings

NEWS = ("news",)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Shelf:
    """A second level in memory, shared by workers; away while `error` is set."""

    def __init__(self, clock: Clock) -> None:
        self.counts: Counter[str] = Counter()
        self.data: dict[str, tuple[bytes, float]] = {}
        self.away = False
        self._clock = clock

    async def get(self, key: str) -> tuple[bytes, float] | None:
        await asyncio.sleep(0)
        if self.away:
            raise FarAway
        found = self.data.get(key)
        return None if found is None or found[1] <= self._clock() else (found[0], found[1] - self._clock())

    async def put(self, key: str, data: bytes, seconds: float) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise FarAway
        self.data[key] = (data, self._clock() + seconds)

    async def close(self) -> None:
        pass


class World:
    """Rows, a log, and workers that have heard of it what a test lets them hear."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.shelf = Shelf(self.clock)
        self.rows = 0
        self.offset = 0
        self.made = 0
        self.workers: list[tuple[FakeFollowers, Cache]] = []

    def worker(self, *, far: bool = True, **options: Any) -> Cache:
        following = FakeFollowers()
        following._offsets["/news"] = self.offset
        cache = Cache(following, self, codec("msgpack"), far=self.shelf if far else None, clock=self.clock, **options)
        self.workers.append((following, cache))
        return cache

    async def position(self, channel: str) -> str | None:
        await asyncio.sleep(0)
        return f"fake.{self.offset}"

    def save(self, *, heard_by: set[int] | None = None) -> None:
        """A row changes and is told; every worker hears it, or those that are named."""
        self.rows += 1
        self.offset += 1
        for number, (following, _) in enumerate(self.workers):
            following._offsets["/news"] = self.offset - 1
            following.tell("news", heard=heard_by is None or number in heard_by)

    async def make(self) -> Any:
        rows = self.rows
        await asyncio.sleep(0)
        self.made += 1
        return {"rows": rows}

    async def get(self, number: int = 0) -> int:
        cache = self.workers[number][1]
        found = await cache.get("news", NEWS, self.make)
        for _ in range(3):
            # What is sent to the shelf is there.
            await asyncio.sleep(0)
        rows: int = found["rows"]
        return rows


@pytest.fixture
def world() -> World:
    return World()


# One process


async def test_value_is_made_once_and_given_until_something_is_told(world: World) -> None:
    cache = world.worker(far=False)
    assert [await world.get() for _ in range(3)] == [0, 0, 0]
    assert (world.made, cache.hits, cache.counts["made"]) == (1, 2, 1)
    world.save()
    assert [await world.get() for _ in range(3)] == [1, 1, 1]
    assert world.made == 2


async def test_hundred_misses_at_one_moment_make_one_call(world: World) -> None:
    cache = world.worker()
    assert await asyncio.gather(*(world.get() for _ in range(100))) == [0] * 100
    assert world.made == 1
    assert cache.counts["shared"] == 99


async def test_who_comes_after_a_hint_does_not_get_what_was_begun_before(world: World) -> None:
    cache = world.worker()
    may_go = asyncio.Event()
    makings = 0

    async def make() -> int:
        nonlocal makings
        makings += 1
        rows = world.rows
        await may_go.wait()
        return rows

    first = [asyncio.create_task(cache.get("k", NEWS, make)) for _ in range(10)]
    while makings == 0:
        await asyncio.sleep(0)
    world.save()
    second = [asyncio.create_task(cache.get("k", NEWS, make)) for _ in range(50)]
    await asyncio.sleep(0)
    may_go.set()
    assert await asyncio.gather(*first) == [0] * 10
    # Sixty askers and two makings, one after the other.
    assert await asyncio.gather(*second) == [1] * 50
    assert makings == 2
    assert await cache.get("k", NEWS, make) == 1
    assert makings == 2


async def test_what_changed_while_it_was_made_is_not_kept(world: World) -> None:
    cache = world.worker()

    async def make() -> int:
        rows = world.rows
        world.save()
        return rows

    assert await cache.get("k", NEWS, make) == 0
    await asyncio.sleep(0)
    assert len(cache.local) == 0
    assert not world.shelf.data


async def test_process_that_does_not_hear_keeps_nothing_and_gives_nothing(world: World) -> None:
    world.worker()
    await world.get()
    following = world.workers[0][0]
    following.hearing = False
    assert [await world.get() for _ in range(3)] == [0, 0, 0]
    assert world.made == 4
    following.hearing = True
    # Nothing was missed, so what was kept before is good again.
    await world.get()
    assert world.made == 4
    following.lose("news")
    world.shelf.data.clear()
    await world.get()
    assert world.made == 5


async def test_old_age_bounds_what_nobody_told_of(world: World) -> None:
    world.worker(seconds=60.0)
    await world.get()
    world.rows = 5
    world.clock.now += 59
    assert await world.get() == 0
    world.clock.now += 1.5
    assert await world.get() == 5


async def test_error_is_every_asker_s_and_is_not_kept(world: World) -> None:
    cache = world.worker()
    calls = 0

    async def fail() -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        raise LookupError("no rows")

    found = await asyncio.gather(*(cache.get("k", NEWS, fail) for _ in range(5)), return_exceptions=True)
    assert [type(each) for each in found] == [LookupError] * 5
    assert calls == 1
    assert await cache.get("k", NEWS, world.make) == {"rows": 0}


async def test_first_who_asks_may_leave(world: World) -> None:
    cache = world.worker()
    first = asyncio.create_task(cache.get("k", NEWS, world.make))
    second = asyncio.create_task(cache.get("k", NEWS, world.make))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == {"rows": 0}
    assert world.made == 1


async def test_none_is_a_value(world: World) -> None:
    cache = world.worker()
    calls = 0

    async def nothing() -> None:
        nonlocal calls
        calls += 1

    assert [await cache.get("k", NEWS, nothing) for _ in range(3)] == [None] * 3
    assert calls == 1


async def test_value_is_the_same_whether_made_or_kept(world: World) -> None:
    """A tuple that is a list the second time breaks who did not ask twice."""
    cache, other = world.worker(), world.worker()

    async def make() -> Any:
        return {"pair": (1, 2)}

    assert [await cache.get("k", NEWS, make) for _ in range(2)] == [{"pair": [1, 2]}] * 2
    await asyncio.sleep(0)
    assert await other.get("k", NEWS, make) == {"pair": [1, 2]}


@pytest.mark.parametrize(("key", "channels"), [("", NEWS), ("x" * (MAX_KEY + 1), NEWS), ("k", ())])
async def test_key_without_a_name_or_a_channel_is_refused(world: World, key: str, channels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="at least one channel"):
        await world.worker().get(key, channels, world.make)


async def test_what_the_codec_cannot_say_is_an_error_of_who_made_it(world: World) -> None:
    async def make() -> object:
        return object()

    with pytest.raises(TypeError):
        await world.worker().get("k", NEWS, make)


async def test_long_value_is_given_and_not_kept(world: World) -> None:
    cache = world.worker(entry_bytes=100)

    async def make() -> str:
        world.made += 1
        return "x" * 200

    for _ in range(2):
        assert len(await cache.get("k", NEWS, make)) == 200
    assert world.made == 2
    assert cache.counts["long"] == 2
    assert not world.shelf.data


# Several processes


async def test_what_one_worker_made_another_takes_from_redis(world: World) -> None:
    world.worker()
    other = world.worker()
    assert await world.get(0) == 0
    assert [await world.get(1) for _ in range(2)] == [0, 0]
    assert world.made == 1
    assert (other.counts["redis"], other.hits) == (1, 1)


async def test_what_is_in_redis_falls_with_the_hint(world: World) -> None:
    world.worker()
    world.worker()
    await world.get(0)
    world.save()
    assert await world.get(1) == 1
    assert await world.get(0) == 1
    assert world.made == 2


async def test_worker_that_has_not_heard_yet_puts_nothing_old_before_those_who_have(world: World) -> None:
    world.worker()
    world.worker()
    world.save()
    await world.get(0)
    world.save(heard_by={0})
    assert await world.get(0) == 2
    # It has not heard, and may give what is as old as that; from Redis it gets what is newer.
    assert await world.get(1) == 2
    world.save(heard_by={1})
    assert await world.get(1) == 3
    world.workers[0][0].tell("news")
    assert await world.get(0) == 3


async def test_entry_of_a_rolled_back_redis_is_old_for_who_has_heard_more(world: World) -> None:
    """After a failover the entry and the log may both stand where they stood before what was heard."""
    world.worker()
    world.save()
    await world.get()
    before = dict(world.shelf.data)
    world.save()
    assert await world.get() == 2
    world.shelf.data = before
    world.workers[0][1].local.clear()
    world.offset -= 1
    assert await world.get() == 2


async def test_worker_that_has_just_begun_or_lost_count_asks_the_log(world: World) -> None:
    world.worker()
    assert await world.get() == 0
    before = dict(world.shelf.data)
    world.save()
    world.worker()
    assert await world.get(1) == 1
    world.shelf.data = before
    world.workers[1][0].lose("news")
    assert await world.get(1) == 1


async def test_redis_that_is_away_costs_makings_and_nothing_else(world: World) -> None:
    world.worker()
    world.shelf.away = True
    for expected in range(3):
        assert [await world.get() for _ in range(2)] == [expected] * 2
        world.save()
    assert world.made == 3
    world.shelf.away = False
    assert await world.get() == 3
    assert world.shelf.data


async def test_what_somebody_else_wrote_into_redis_is_no_value(world: World) -> None:
    cache = world.worker()
    for data in (
        b"",
        b"x",
        b"fanfare1[]\n",
        b'fanfare1["msgpack",{"/news":"fake.0"}]\n\xc1',
        b'fanfare1["pickle",{"/news":"fake.0"}]\nx',
    ):
        world.shelf.data["news"] = (data, world.clock() + 50)
        cache.local.clear()
        assert await world.get() == 0
    assert cache.counts["unread"] == 2


async def test_entry_of_another_codec_is_read(world: World) -> None:
    world.worker()
    await world.get(0)
    other = world.worker()
    other.codec = codec("json-zlib")
    assert await world.get(1) == 0
    assert world.made == 1


@given(st.data())
async def test_nobody_gets_what_is_older_than_he_has_heard(data: st.DataObject) -> None:
    """Any order of saves, hearing, losses, deafness, restarts of the shelf and reads, on three workers."""
    world = World()
    for _ in range(3):
        world.worker()
    heard = [0, 0, 0]
    waiting: list[list[int]] = [[], [], []]
    for _ in range(data.draw(st.integers(1, 30))):
        act = data.draw(st.sampled_from(["save", "hear", "read", "read", "deaf", "lose", "empty", "away", "age"]))
        number = data.draw(st.integers(0, 2))
        following, cache = world.workers[number]
        if act == "save":
            world.rows += 1
            world.offset += 1
            for queue in waiting:
                queue.append(world.rows)
        elif act == "hear" and waiting[number]:
            heard[number] = waiting[number].pop(0)
            following._offsets["/news"] = heard[number] - 1
            following.tell("news")
        elif act == "read":
            floor = heard[number]
            assert await world.get(number) >= floor
        elif act == "deaf":
            following.hearing = not following.hearing
        elif act == "lose":
            following.lose("news")
        elif act == "empty":
            world.shelf.data.clear()
        elif act == "away":
            world.shelf.away = not world.shelf.away
        elif act == "age":
            world.clock.now += 30
        assert cache.local.bytes >= 0


# Entries


def test_entries_come_back_as_they_were() -> None:
    entry = Entry("msgpack-zstd", {"/a": "e.1", "/b": "e.2"}, b"body\nwith a line")
    assert unpack(pack(entry)) == entry


@given(st.binary(max_size=80))
def test_any_bytes_are_an_entry_or_none(data: bytes) -> None:
    unpack(data)
    unpack(b"fanfare1" + data)


@pytest.mark.parametrize(
    ("made", "top", "verdict"),
    [
        ("e.5", "e.5", "good"),
        ("e.5", "e.6", "old"),
        ("e.5", "e.4", "ask"),
        ("e.5", "f.5", "old"),
        ("e.5", "f.1", "old"),
        ("e.5", "~t0.0", "ask"),
        ("e.5", "e.5+e.6", "ask"),
        ("nonsense", "e.5", "old"),
        ("~t0.0", "~t0.0", "old"),
    ],
)
def test_verdicts(made: str, top: str, verdict: str) -> None:
    assert judge(Entry("json", {"/a": made}, b""), ["/a"], [top]) == verdict


def test_entry_of_other_channels_is_old() -> None:
    assert judge(Entry("json", {"/a": "e.5"}, b""), ["/a", "/b"], ["e.5", "e.5"]) == "old"


def test_log_decides_where_nobody_has_heard() -> None:
    entry = Entry("json", {"/a": "e.5"}, b"")
    assert stands(entry, ["/a"], ["e.5"])
    assert not stands(entry, ["/a"], ["e.6"])
    assert not stands(entry, ["/a"], [None])


@pytest.mark.parametrize(("top", "found"), [("e.5", ("e", 5)), ("~t.5", None), ("e.", None), ("", None), ("e.²", None)])
def test_tops_that_are_positions_are_told_apart(top: str, found: tuple[str, int] | None) -> None:
    assert place(top) == found


# What a process keeps


def test_bytes_are_bounded_and_who_is_asked_for_stays() -> None:
    tops = FakeFollowers()
    local = Local(tops, most=10 * (OVERHEAD + 100), clock=lambda: 0.0)
    stood = tops.marks(("/a",))
    for number in range(50):
        assert local.put(str(number), number, ("/a",), stood, 1.0, 100)
        assert local.look("0") == 0
        assert local.bytes <= 10 * (OVERHEAD + 100)
    assert len(local) == 10
    assert local.look("49") == 49
    assert local.look("30") is MISSING


def test_one_value_does_not_drive_out_all_others() -> None:
    tops = FakeFollowers()
    local = Local(tops, most=8000, clock=lambda: 0.0)
    assert local.put("small", 1, ("/a",), tops.marks(("/a",)), 1.0, 10)
    assert not local.put("large", 2, ("/a",), tops.marks(("/a",)), 1.0, 4000)
    assert local.look("small") == 1


def test_marks_change_with_each_thing_that_is_heard() -> None:
    tops = FakeFollowers()
    seen = [tops.marks(("/a", "/b"))]
    for act in (
        lambda: tops.tell("a"),
        lambda: tops.tell("b"),
        lambda: tops.lose("a"),
        lambda: tops.tell("a"),
        tops.lose,
    ):
        act()  # type: ignore[operator]  # each is a call
        assert tops.marks(("/a", "/b")) not in seen
        seen.append(tops.marks(("/a", "/b")))


# Redis


@pytest.fixture
async def far(redis_url: str) -> Any:
    far = Far(redis_url, 1.0)
    yield far
    await far.close()


async def test_redis_keeps_bytes_for_a_while(far: Far, redis_server: Redis) -> None:
    assert await far.get("k") is None
    await far.put("k", b"\x00body", 60)
    data, left = await far.get("k") or (b"", 0.0)
    assert data == b"\x00body"
    assert 59 < left <= 60
    await far.put("k", b"x", 0.001)
    await asyncio.sleep(0.01)
    assert await far.get("k") is None
    redis_server.command("SET", PREFIX + "endless", "x")
    assert await far.get("endless") is None


async def test_redis_that_does_not_answer_is_not_asked_for_a_while(new_redis: RedisFactory) -> None:
    server = new_redis()
    clock = Clock()
    far = Far(server.url, 0.2, clock=clock)
    await far.put("k", b"x", 60)
    server.pause()
    began = asyncio.get_running_loop().time()
    found = await asyncio.gather(*(far.get("k") for _ in range(10)), return_exceptions=True)
    assert [type(each) for each in found] == [FarAway] * 10
    assert asyncio.get_running_loop().time() - began < 3
    failed = far.counts["failed"]
    with pytest.raises(FarAway):
        await far.get("k")
    assert (far.counts["failed"], far.counts["skipped"]) == (failed, 1)
    server.resume()
    clock.now += 10
    async with asyncio.timeout(20):
        while True:
            try:
                assert (await far.get("k") or (b"",))[0] == b"x"
                break
            except FarAway:
                clock.now += 10
    await far.close()


async def test_hundred_misses_on_two_workers_with_redis_make_two_calls_at_most(redis_url: str) -> None:
    following, calls = FakeFollowers(), 0

    class Standing:
        async def position(self, channel: str) -> str | None:
            return "fake.0"

    async def make() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.05)
        return calls

    caches = [Cache(following, Standing(), codec("orjson-zstd"), far=Far(redis_url, 1.0)) for _ in range(2)]
    await asyncio.gather(*(cache.get("k", NEWS, make) for cache in caches for _ in range(50)))
    assert calls == 2
    await asyncio.gather(*(cache.close() for cache in caches))
    third = Cache(following, Standing(), codec("msgpack"), far=Far(redis_url, 1.0))
    assert await third.get("k", NEWS, make) in (1, 2)
    assert calls == 2
    await third.close()


# Settings and figures


def test_codec_is_the_setting_s_or_the_measured_one_or_the_usual(tmp_path: Any) -> None:
    environ = {"HUB_VAR": str(tmp_path)}
    assert read(CacheSettings, environ).codec == "msgpack"
    (tmp_path / CODEC_FILE).write_text("msgspec-lz4\n")
    assert read(CacheSettings, environ).codec == "msgspec-lz4"
    assert read(CacheSettings, environ | {"SITE_CACHE_CODEC": "orjson"}).codec == "orjson"
    (tmp_path / CODEC_FILE).write_text("pickle\n")
    with pytest.raises(SettingsError, match="remove the file, or set SITE_CACHE_CODEC"):
        _ = read(CacheSettings, environ).codec


@pytest.mark.parametrize("name", ["pickle", "msgpack-rar", "yaml"])
def test_codec_that_is_none_stops_the_start(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"^SITE_CACHE_CODEC: '{name}' is no codec: there is no "):
        read(CacheSettings, {"SITE_CACHE_CODEC": name})


async def test_figures_are_counted(world: World) -> None:
    cache = world.worker()
    await world.get()
    await world.get()
    assert figures(cache) == {"local": 1, "redis": 0, "shared": 0, "made": 1}
    names = {metric.name for metric in await of_cache(cache)}
    assert {"site_cache", "site_cache_values", "site_cache_bytes", "site_cache_redis"} <= names


Act = Callable[[], Awaitable[None]]


async def test_order_of_askers_does_not_matter(world: World) -> None:
    """Many keys, many askers, saves in between: each key is made by one task at a time."""
    cache = world.worker()
    dice = random.Random(3)
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    def maker(key: str) -> Callable[[], Awaitable[int]]:
        async def make() -> int:
            running[key] += 1
            most[key] = max(most[key], running[key])
            rows = world.rows
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            running[key] -= 1
            return rows

        return make

    async def ask(key: str) -> None:
        for _ in range(30):
            floor = world.rows
            assert await cache.get(key, NEWS, maker(key)) >= floor
            if dice.random() < 0.3:
                world.save()
            await asyncio.sleep(0)

    await asyncio.gather(*(ask(key) for key in "abc" for _ in range(6)))
    assert set(most.values()) == {1}
    assert cache._flights == {}
