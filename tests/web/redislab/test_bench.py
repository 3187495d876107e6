"""Measuring, on a real Redis."""

from __future__ import annotations

import multiprocessing
import random
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from services import Redis

from web.features.redislab import payloads, records
from web.features.redislab.bench import Bench, BenchError, CantCarry, in_turns
from web.features.redislab.configurations import chosen, configurations, find
from web.features.redislab.figures import Sample


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    bench = Bench(redis_url, kept=20)
    yield bench
    bench.close()


@pytest.mark.parametrize("payload", ["times", "rows", "html", "counters"])
def test_every_configuration_measures_every_payload(bench: Bench, payload: str) -> None:
    for each in configurations():
        found = bench.measure(each, payload)
        assert found.read > 0
        assert found.write > 0
        assert found.size > 0


def test_list_of_times_grows_by_each_measurement_and_begins_anew(
    bench: Bench, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payloads, "MOST_TIMES", 5)
    sizes = [bench.measure(find("msgpack"), "times").size for _ in range(7)]
    assert sizes == sorted(sizes[:5]) + sizes[:2]
    (key,) = client.scan_iter(match=records.PREFIX + "value:*")
    found = find("msgpack")
    assert len(payloads.read_value(client.get(key))) == 2
    assert found.client == "hiredis"


def test_no_update_is_lost_among_processes(redis_url: str, client: redis.Redis) -> None:
    """The post's read, changed and wrote again: a third of what it measured was lost."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_measure_many, args=(redis_url, 150)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    counts = {field.decode(): int(count) for field, count in client.hgetall(records.COUNTS).items()}
    assert sum(counts.values()) == 4 * 150
    assert set(counts) == {"times:json", "times:msgpack-zlib"}
    for name in ("json", "msgpack-zlib"):
        assert client.llen(records.list_of("times", name)) == counts[f"times:{name}"]


def _measure_many(url: str, count: int) -> None:
    bench = Bench(url)
    for number in range(count):
        configuration = find(("json", "msgpack-zlib")[number % 2])
        bench.record(configuration, "times", [bench.measure(configuration, "times")])
    bench.close()


def test_the_newest_are_kept_and_all_are_counted(bench: Bench, client: redis.Redis) -> None:
    json = find("json")
    for number in range(3):
        bench.record(json, "rows", [Sample(number * 10 + each, 1, 1) for each in range(10)])
    kept = [records.unpack(each) for each in client.lrange(records.list_of("rows", "json"), 0, -1)]
    assert [each.read for each in kept if each] == list(range(10, 30))
    assert client.hget(records.COUNTS, "rows:json") == b"30"
    assert 0 < client.ttl(records.COUNTS) <= records.KEPT_SECONDS


def test_record_that_is_none_is_left_out() -> None:
    assert records.unpack(b"12345") is None
    assert records.unpack(struct.pack("<III", 1, 2, 3)) == Sample(1, 2, 3)
    assert records.unpack(records.pack(Sample(2**40, 5, 6))) == Sample(2**32 - 1, 5, 6)


def test_turns_are_equal_and_their_order_changes(bench: Bench) -> None:
    taken: list[str] = []
    wanted = chosen(["json", "msgpack", "bytes"])
    unable = in_turns(
        bench, wanted, "rows", seconds=60, clock=time.monotonic, rounds=20, each=lambda one, _: taken.append(one.name)
    )
    assert unable == {}
    rounds = [taken[at : at + 3] for at in range(0, len(taken), 3)]
    assert len(rounds) == 20
    assert all(sorted(each) == ["bytes", "json", "msgpack"] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1


def test_own_keys_are_measured_and_stay_as_they_are(bench: Bench, client: redis.Redis) -> None:
    for number in range(30):
        client.set(f"user:{number}", f'{{"id": {number}}}')
    client.set("other", "1")
    client.hset("user:hash", "a", "b")
    client.set("user:long", bytes(payloads.MOST_BYTES + 1))
    before = {key: client.dump(key) for key in client.scan_iter(match="user:*")}
    found = bench.sample("user:*", dice=random.Random(3))
    assert sorted(found.values, key=lambda value: value["id"]) == [{"id": number} for number in range(30)]
    assert found.left == {"long": 1}
    bench.use(found.values)
    for _ in range(40):
        assert bench.measure(find("json"), "keys").size <= 9
    assert {key: client.dump(key) for key in client.scan_iter(match="user:*")} == before
    bench.close()
    assert list(client.scan_iter(match=records.PREFIX + "*")) == []


def test_sample_is_a_part_of_many(bench: Bench, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.features.redislab.bench.MOST_TAKEN", 20)
    client.mset({f"many:{number}": number for number in range(400)})
    first = bench.sample("many:*", dice=random.Random(1)).values
    second = bench.sample("many:*", dice=random.Random(2)).values
    assert len(set(first)) == len(set(second)) == 20
    assert first != second


def test_what_a_configuration_cannot_say_is_left_out_with_its_reason(bench: Bench) -> None:
    bench.use([b"\xff\xfe"])
    with pytest.raises(CantCarry, match="json can't say keys"):
        bench.measure(find("json"), "keys")
    assert bench.measure(find("msgpack"), "keys").size == 4
    unable = in_turns(
        bench,
        chosen(["json", "bytes"]),
        "keys",
        seconds=60,
        rounds=3,
        clock=time.monotonic,
        each=lambda *_: None,
    )
    assert list(unable) == ["json"]


def test_value_that_comes_back_otherwise_is_no_measurement(bench: Bench) -> None:
    bench.use([{1: "a"}])
    with pytest.raises(CantCarry, match="json gives keys back otherwise"):
        bench.measure(find("json"), "keys")


def test_values_are_gone_when_it_is_over(redis_url: str, client: redis.Redis) -> None:
    bench = Bench(redis_url)
    bench.measure(find("json"), "rows")
    assert len(list(client.scan_iter(match=records.PREFIX + "value:*"))) == 1
    bench.close()
    assert list(client.scan_iter(match=records.PREFIX + "*")) == []


def test_value_that_redis_has_lost_is_written_again(bench: Bench, client: redis.Redis) -> None:
    for payload in ("rows", "times"):
        bench.measure(find("json"), payload)
        client.flushall()
        assert bench.measure(find("json"), payload).size > 0


def test_redis_that_is_away_is_said(new_redis: Any) -> None:
    server: Redis = new_redis()
    bench = Bench(server.url)
    bench.measure(find("json"), "rows")
    server.kill()
    with pytest.raises(BenchError, match=f"^Redis at 127.0.0.1:{server.port}: "):
        bench.measure(find("json"), "rows")
    server.start()
    assert bench.measure(find("json"), "rows").size > 0


def test_redis_that_does_not_answer_is_waited_for_a_while_only(new_redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.features.redislab.bench.PATIENCE", 1.0)
    server: Redis = new_redis()
    bench = Bench(server.url)
    for name in ("json", "json-python"):
        bench.measure(find(name), "rows")
    server.pause()
    for name in ("json", "json-python"):
        begin = time.monotonic()
        with pytest.raises(BenchError, match=r"^Redis at 127\.0\.0\.1"):
            bench.measure(find(name), "rows")
        assert 0.5 < time.monotonic() - begin < 20
    server.resume()
    for name in ("json", "json-python"):
        assert bench.measure(find(name), "rows").size > 0
    bench.close()


def test_sentinels_are_refused_with_what_to_say() -> None:
    with pytest.raises(BenchError, match="name it as redis://HOST:6379/0"):
        Bench("redis+sentinel://a,b/primary")
