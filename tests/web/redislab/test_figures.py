"""Averages, intervals, who wins, the front and the text table are arithmetic."""

from __future__ import annotations

import random
import statistics

import pytest

from web.features.redislab.figures import (
    Figures,
    Sample,
    figures,
    front,
    interval,
    line_ms,
    percentile,
    point,
    times,
    winners,
)
from web.features.redislab.summary import short_bytes, summary


def samples(*milliseconds: float, size: int = 100) -> list[Sample]:
    return [Sample(round(each * 1e6), round(each * 2e6), size) for each in milliseconds]


def made(read: float, size: int, *, spread: float = 0.0, count: int = 101) -> Figures:
    values = [read + spread * (number / (count - 1) - 0.5) for number in range(count)]
    found = figures(samples(*values, size=size))
    assert found is not None
    return found


def test_averages_are_those_of_the_library() -> None:
    dice = random.Random(1)
    values = [dice.randrange(80_000, 300_000) for _ in range(1001)]
    found = times(values)
    assert found.mean == pytest.approx(statistics.mean(values) / 1e6)
    assert found.median == statistics.median(values) / 1e6
    assert found.sd == pytest.approx(statistics.stdev(values) / 1e6)
    assert found.low < found.median < found.high
    assert found.p95 <= found.p99 <= max(values) / 1e6


def test_median_of_an_even_number_is_the_mean_of_the_middle_two() -> None:
    """The post's was the upper one."""
    assert times([1_000_000, 2_000_000, 3_000_000, 10_000_000]).median == 2.5


def test_one_measurement_has_no_spread() -> None:
    found = times([2_000_000])
    assert (found.mean, found.median, found.sd, found.p99, found.low, found.high) == (2.0, 2.0, 0.0, 2.0, 2.0, 2.0)


def test_percentiles_are_numbers_that_were_measured() -> None:
    ordered = list(range(1, 101))
    assert (percentile(ordered, 0.95), percentile(ordered, 0.99), percentile([7], 0.99)) == (95, 99, 7)


def test_interval_has_the_true_median_nineteen_times_of_twenty() -> None:
    dice = random.Random(7)
    hits = 0
    for _ in range(2000):
        low, high = interval(sorted(dice.expovariate(1.0) for _ in range(60)))
        hits += low <= 0.693147 <= high
    assert 0.94 <= hits / 2000 <= 0.99


def test_warm_up_is_dropped() -> None:
    found = figures(samples(*([50.0] * 10), 1.0, 2.0, 3.0), warm_up=10)
    assert found is not None
    assert (found.count, found.read.mean, found.write.mean) == (3, 2.0, 4.0)


@pytest.mark.parametrize("count", [0, 1, 9, 10])
def test_no_more_than_the_warm_up_is_nothing(count: int) -> None:
    """The post's divided by zero."""
    assert figures(samples(*([1.0] * count)), warm_up=10) is None


def test_warm_up_that_is_not_kept_any_more_is_not_dropped_twice() -> None:
    """Only the newest hundred of a thousand are here: the first ten went long ago."""
    found = figures(samples(*([1.0] * 100)), count=1000, warm_up=10)
    assert found is not None
    assert found.count == 990
    assert figures(samples(*([1.0] * 100)), count=104, warm_up=10).count == 94  # type: ignore[union-attr]


def test_figures_survive_json() -> None:
    found = made(0.1, 300, spread=0.02)
    assert Figures.from_json(found.as_json()) == found


def test_line_adds_what_the_bytes_take() -> None:
    assert line_ms(125_000, 100) == 10.0
    assert line_ms(125_000, 0) == 0.0
    assert point("a", made(0.1, 125_000), 100).ms == pytest.approx(point("a", made(0.1, 125_000)).ms + 10)


def test_slow_line_turns_the_winner_round() -> None:
    found = {"plain": made(0.1, 100_000), "packed": made(0.2, 10_000)}
    assert winners(point(name, each) for name, each in found.items())[0].name == "plain"
    assert winners(point(name, each, 10) for name, each in found.items())[0].name == "packed"


def test_front_has_none_that_another_beats_in_both() -> None:
    points = [
        point(name, made(ms, size))
        for name, ms, size in (("a", 0.1, 500), ("b", 0.2, 400), ("c", 0.2, 600), ("d", 0.5, 100), ("e", 0.6, 100))
    ]
    assert [each.name for each in front(points)] == ["a", "b", "d"]


def test_those_that_measurements_cannot_tell_apart_win_together() -> None:
    near = {"a": made(0.100, 10, spread=0.05), "b": made(0.101, 10, spread=0.05), "c": made(0.3, 10, spread=0.05)}
    assert [each.name for each in winners(point(name, found) for name, found in near.items())] == ["a", "b"]


def test_table_has_a_line_for_each_and_says_of_which_there_is_nothing() -> None:
    text = summary(["json", "zlib"], {"json": made(0.25, 35_400)})
    lines = text.splitlines()
    assert lines[0].split() == ["TIMES", "AVERAGE", "MEDIAN", "STDDEV"]
    assert lines[1].split() == ["json", "101", "0.250ms", "0.250ms", "0.000ms"]
    assert lines[2] == "Nothing for zlib"
    for title in (
        "Best Averages (shorter better)",
        "Best Medians (shorter better)",
        "Size of Data Saved (shorter better)",
    ):
        assert title in lines
    assert any("35K" in line for line in lines)


def test_table_of_nothing_has_no_bars() -> None:
    assert summary(["json"], {}).splitlines()[1:] == ["Nothing for json"]


def test_bars_are_the_shortest_first_and_as_long_as_their_numbers() -> None:
    text = summary(["slow", "fast"], {"slow": made(0.4, 10), "fast": made(0.1, 10)})
    bars = [line for line in text.splitlines() if "█" in line][:2]
    assert [line.split()[-1] for line in bars] == ["fast", "slow"]
    assert [line.count("█") for line in bars] == [15, 60]


@pytest.mark.parametrize(("size", "said"), [(0, "0B"), (999, "999B"), (34_655, "35K"), (2_400_000, "2M")])
def test_bytes_are_said_shortly(size: int, said: str) -> None:
    assert short_bytes(size) == said
