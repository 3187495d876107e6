"""What is kept by position: never given when something was told since, made once for all who ask meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from web.pages.kept import OVERHEAD, Kept, Reading


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Log:
    """A log that one process hears; `told` is ahead of `heard` until `hear`."""

    def __init__(self) -> None:
        self.hears = True
        self.heard: dict[str, int] = {}

    def tell(self, channel: str) -> None:
        self.heard[channel] = self.heard.get(channel, 0) + 1

    def positions(self, channels: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"e.{self.heard.get(channel, 0)}" for channel in channels)

    async def reached(self, channel: str, position: str, timeout: float = 0.0) -> bool:
        return int(position.partition(".")[2]) <= self.heard.get(channel, 0)

    async def position(self, channel: str) -> str | None:
        return self.positions([channel])[0] if self.hears else None


class Made:
    """Makes numbered values of the channel "a", when told to go on."""

    def __init__(self, *channels: str) -> None:
        self.channels = channels or ("a",)
        self.count = 0
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, reading: Reading) -> int:
        self.count += 1
        number = self.count
        await reading.at(*self.channels)
        self.begun.set()
        await self.go_on.wait()
        return number


@dataclass(frozen=True)
class Question:
    """A key with a stranger's text in it."""

    text: str


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(log: Log, clock: Clock) -> Kept[int]:
    return Kept(log, log.position, lambda value: 0, seconds=60.0, most=100 * OVERHEAD, clock=clock)


async def test_value_is_given_again_while_its_channels_stand(kept: Kept[int], log: Log) -> None:
    make = Made("a", "b")
    assert await kept.get("k", make) == (1, "made")
    log.tell("c")
    assert await kept.get("k", make) == (1, "hit")
    log.tell("b")
    assert await kept.get("k", make) == (2, "made")
    assert await kept.get("other", make) == (3, "made")
    assert kept.counts == {"hit": 1, "made": 3}


async def test_all_who_ask_meanwhile_have_one(kept: Kept[int]) -> None:
    make = Made()
    make.go_on.clear()
    asking = [asyncio.create_task(kept.get("k", make)) for _ in range(10)]
    await make.begun.wait()
    asking += [asyncio.create_task(kept.get("k", make)) for _ in range(10)]
    make.go_on.set()
    found = await asyncio.gather(*asking)
    assert {value for value, _ in found} == {1}
    assert [how for _, how in found].count("made") == 1


async def test_who_comes_after_a_change_waits_for_the_next_and_all_of_them_for_the_same(
    kept: Kept[int], log: Log
) -> None:
    make = Made()
    make.go_on.clear()
    first = asyncio.create_task(kept.get("k", make))
    await make.begun.wait()
    log.tell("a")
    later = [asyncio.create_task(kept.get("k", make)) for _ in range(5)]
    await asyncio.sleep(0)
    log.tell("a")
    # The next has not begun to read: it is good for these too.
    later += [asyncio.create_task(kept.get("k", make)) for _ in range(5)]
    await asyncio.sleep(0)
    make.go_on.set()
    assert await first == (1, "made")
    assert {value for value, _ in await asyncio.gather(*later)} == {2}
    assert await kept.get("k", make) == (2, "hit")


async def test_what_was_made_while_something_was_told_is_not_kept_as_new(kept: Kept[int], log: Log) -> None:
    make = Made()
    make.go_on.clear()
    first = asyncio.create_task(kept.get("k", make))
    await make.begun.wait()
    log.tell("a")
    make.go_on.set()
    assert await first == (1, "made")
    assert await kept.get("k", make) == (2, "made")


async def test_who_does_not_hear_gives_nothing_that_was_kept(kept: Kept[int], log: Log) -> None:
    make = Made()
    assert await kept.get("k", make) == (1, "made")
    log.hears = False
    assert [await kept.get("k", make) for _ in range(2)] == [(2, "made"), (3, "made")]
    log.hears = True
    # Nothing was missed, so what was made before is as good as ever.
    assert await kept.get("k", make) == (1, "hit")


async def test_who_does_not_hear_shares_what_begins_after_the_question(kept: Kept[int], log: Log) -> None:
    """A page that was being made may lack what was saved meanwhile, and nobody here would know."""
    log.hears = False
    make = Made()
    make.go_on.clear()
    first = asyncio.create_task(kept.get("k", make))
    await make.begun.wait()
    later = [asyncio.create_task(kept.get("k", make)) for _ in range(10)]
    await asyncio.sleep(0)
    make.go_on.set()
    assert await first == (1, "made")
    assert {value for value, _ in await asyncio.gather(*later)} == {2}


async def test_value_is_too_old_after_its_time(kept: Kept[int], clock: Clock) -> None:
    make = Made()
    assert await kept.get("k", make) == (1, "made")
    clock.now = 59.9
    assert await kept.get("k", make) == (1, "hit")
    clock.now = 60.0
    assert await kept.get("k", make) == (2, "made")


async def test_age_counts_from_before_the_rows_were_read(kept: Kept[int], clock: Clock) -> None:
    make = Made()
    make.go_on.clear()
    first = asyncio.create_task(kept.get("k", make))
    await make.begun.wait()
    clock.now = 50.0
    make.go_on.set()
    await first
    clock.now = 60.0
    assert await kept.get("k", make) == (2, "made")


async def test_who_knows_more_has_it_made_of_rows_read_from_now_on(kept: Kept[int]) -> None:
    make = Made()
    assert await kept.get("k", make) == (1, "made")
    assert await kept.get("k", make, anew=True) == (2, "made")
    make.go_on.clear()
    make.begun.clear()
    running = asyncio.create_task(kept.get("k", make, anew=True))
    await make.begun.wait()
    asking = [asyncio.create_task(kept.get("k", make, anew=True)) for _ in range(50)]
    await asyncio.sleep(0)
    make.go_on.set()
    assert await running == (3, "made")
    # However many ask: at most one is being made, and one waits.
    assert {value for value, _ in await asyncio.gather(*asking)} == {4}
    assert await kept.get("k", make) == (4, "hit")


async def test_page_whose_position_is_not_known_is_not_kept(kept: Kept[int], log: Log) -> None:
    """Each browser that has it asks again at once."""

    async def make(reading: Reading) -> int:
        log.hears = False
        assert await reading.at("a") == {"a": ""}
        log.hears = True
        return 1

    assert await kept.get("k", make) == (1, "made")
    assert await kept.get("k", make) == (1, "made")


async def test_first_to_ask_may_leave(kept: Kept[int]) -> None:
    make = Made()
    make.go_on.clear()
    first = asyncio.create_task(kept.get("k", make))
    second = asyncio.create_task(kept.get("k", make))
    await make.begun.wait()
    first.cancel()
    make.go_on.set()
    assert await second == (1, "shared")


async def test_failure_is_for_all_who_wait_and_not_kept_and_the_next_is_made(kept: Kept[int], log: Log) -> None:
    make = Made()
    go_on = asyncio.Event()

    async def fail(reading: Reading) -> int:
        await reading.at("a")
        await go_on.wait()
        raise ZeroDivisionError

    failing = [asyncio.create_task(kept.get("k", fail)) for _ in range(2)]
    await asyncio.sleep(0.01)
    log.tell("a")
    after = asyncio.create_task(kept.get("k", make))
    await asyncio.sleep(0)
    go_on.set()
    found = await asyncio.gather(*failing, return_exceptions=True)
    assert [type(one) for one in found] == [ZeroDivisionError] * 2
    assert await after == (1, "made")
    assert await kept.get("k", make) == (1, "hit")


async def test_bytes_are_bounded_and_the_least_recently_used_goes_first(log: Log) -> None:
    kept = Kept[int](log, log.position, lambda value: 9 * OVERHEAD, seconds=60.0, most=40 * OVERHEAD)
    make = Made()
    for key in "abcd":
        await kept.get(key, make)
    assert await kept.get("a", make) == (1, "hit")
    await kept.get("e", make)
    assert (len(kept), kept.bytes) == (4, 40 * OVERHEAD)
    assert await kept.get("a", make) == (1, "hit")
    assert await kept.get("b", make) == (6, "made")


async def test_what_was_asked_with_counts_as_much_as_what_was_made(log: Log) -> None:
    """Ten thousand questions of 30 kB each, whose answers were 40 bytes, took 300 MB where 64 were allowed."""
    kept: Kept[int] = Kept(log, log.position, lambda value: 0, seconds=60.0, most=100_000)
    for number in range(100):
        await kept.get(("find", f"{number}" * 5_000, (1, 2)), Made())
    assert len(kept) < 20
    held = len(kept)
    await kept.get(("a", Reading), Made())
    await kept.get(Question("x" * 10_000), Made())
    assert kept.bytes <= 100_000
    assert len(kept) <= held + 1


async def test_one_that_is_too_large_drives_nothing_out(log: Log) -> None:
    kept = Kept[int](log, log.position, lambda value: value, seconds=60.0, most=40 * OVERHEAD)

    async def large(reading: Reading) -> int:
        reading.follow("a")
        return 39 * OVERHEAD

    await kept.get("small", Made())
    assert (await kept.get("large", large))[1] == "made"
    assert (await kept.get("large", large))[1] == "made"
    assert (await kept.get("small", Made()))[1] == "hit"


async def test_what_grows_is_counted_anew(log: Log) -> None:
    sizes = {1: 0}
    kept = Kept[int](log, log.position, lambda value: sizes[value], seconds=60.0, most=100 * OVERHEAD)
    await kept.get("k", Made())
    sizes[1] = 5 * OVERHEAD
    kept.grown("k", 1)
    assert kept.bytes == 6 * OVERHEAD


async def test_switched_off_everything_is_made(log: Log) -> None:
    kept = Kept[int](log, log.position, lambda value: 0, seconds=60.0, most=100 * OVERHEAD, on=False)
    make = Made()
    assert [await kept.get("k", make) for _ in range(2)] == [(1, "own"), (2, "own")]
