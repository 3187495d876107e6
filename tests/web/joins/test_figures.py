"""What durations come to."""

from __future__ import annotations

import random
import statistics

import pytest

from web.features.joins.figures import Change, change_of, figures_of, interval, part_of, words_of

MS = 1_000_000


def test_figures_are_those_of_the_textbook() -> None:
    found = figures_of([4 * MS, 1 * MS, 3 * MS, 2 * MS])
    assert found is not None
    assert (found.count, found.median, found.average) == (4, 2.5, 2.5)
    assert found.deviation == pytest.approx(statistics.stdev([1, 2, 3, 4]))
    assert found.p95 == found.p99 == 4


def test_nothing_comes_of_nothing() -> None:
    assert figures_of([]) is None
    assert change_of([], []) is None


def test_one_duration_has_no_deviation() -> None:
    found = figures_of([3 * MS])
    assert found is not None
    assert (found.median, found.deviation, found.low, found.high) == (3, 0, 3, 3)


def test_part_is_the_smallest_that_so_many_do_not_exceed() -> None:
    assert [part_of(range(1, 101), part) for part in (0.01, 0.5, 0.95, 0.99, 1)] == [1, 50, 95, 99, 100]


def test_interval_has_the_median_in_nineteen_of_twenty_samples() -> None:
    shuffled = random.Random(5)
    hits = 0
    for _ in range(400):
        low, high = interval(sorted(shuffled.expovariate(1.0) for _ in range(101)))
        hits += low <= 0.693147 <= high
    assert 0.92 < hits / 400 < 0.99


def test_change_is_of_pairs_so_that_what_slows_both_is_no_change() -> None:
    before = [100, 200, 5000, 300, 40000]
    found = change_of(before, [70, 140, 3500, 210, 28000])
    assert found is not None
    assert found.part == pytest.approx(-0.3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Change(-0.3, -0.31, -0.29), "30% less than it"),
        (Change(0.25, 0.2, 0.3), "25% more than it"),
        (Change(0.01, -0.1, 0.1), "no different from it, as far as this tells"),
        (None, ""),
    ],
)
def test_words_say_no_more_than_is_certain(change: Change | None, words: str) -> None:
    assert words_of(change, "it") == words
