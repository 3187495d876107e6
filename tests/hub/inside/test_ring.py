"""History in a fixed number of bytes: what is read is what was added, whatever came between."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.inside.fields import FIELDS, Field
from hub.inside.insider import columns_of
from hub.inside.ring import MOST_BYTES, TIERS, Ring, Row, Tier, best_tier, merge_rows

SOME = (Field("count", "sum", ""), Field("level", "mean", ""), Field("worst", "most", ""))
SMALL = (Tier(1, 5), Tier(3, 4))


def ring(buffer: bytearray | None = None) -> Ring:
    size = Ring.size(SOME, SMALL)
    return Ring(memoryview(bytearray(size) if buffer is None else buffer), SOME, SMALL)


def test_two_megabytes_have_thirty_days() -> None:
    assert Ring.size() <= MOST_BYTES
    assert [tier.seconds * tier.count for tier in TIERS] == [900, 6 * 3600, 30 * 86400]
    assert len({field.name for field in FIELDS}) == len(FIELDS)


#: Gaps between samples, some longer than the ring, and small whole numbers, which floats of 32 bits have exactly.
_SAMPLES = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 100), st.integers(0, 100), st.integers(0, 100)), max_size=60
)


@given(_SAMPLES)
def test_each_interval_says_what_was_added_in_it_and_no_older_one_is_taken_for_it(
    samples: list[tuple[int, int, int, int]],
) -> None:
    buffer = bytearray(Ring.size(SOME, SMALL))
    at, added = 1000, []
    for gap, *values in samples:
        at += gap
        added.append((at, values))
        # Whoever opens the same bytes, as a process does that comes after one that was killed, goes on.
        ring(buffer).add(at, [float(value) for value in values])
    for tier in SMALL:
        slots: dict[int, list[list[int]]] = defaultdict(list)
        for when, values in added:
            slots[when - when % tier.seconds].append(values)
        until = at + 1
        rows = ring(buffer).read(tier, 0, until)
        assert len(rows) == tier.count
        assert [row.at for row in rows] == sorted(row.at for row in rows)
        for row in rows:
            expected = slots.get(row.at, [])
            assert row.samples == len(expected)
            if expected:
                assert row.values[0] == sum(each[0] for each in expected)
                assert row.values[1] == pytest.approx(sum(each[1] for each in expected) / len(expected), rel=1e-5)
                assert row.values[2] == max(each[2] for each in expected)


@given(_SAMPLES, st.integers(0, 60))
def test_what_another_ring_has_is_absorbed(samples: list[tuple[int, int, int, int]], cut: int) -> None:
    whole, first, second = ring(), ring(), ring()
    at = 1000
    for number, (gap, *values) in enumerate(samples):
        at += gap
        floats = [float(value) for value in values]
        whole.add(at, floats)
        (first if number < cut else second).add(at, floats)
    first.absorb(second, at)
    for tier in SMALL:
        for one, other in zip(whole.read(tier, 0, at + 1), first.read(tier, 0, at + 1), strict=True):
            assert (one.at, one.samples) == (other.at, other.samples)
            assert one.values == pytest.approx(other.values, rel=1e-4)


def test_what_is_not_known_takes_nothing_from_what_is() -> None:
    one = ring()
    one.add(1000, [1.0, 2.0, math.nan])
    assert math.isnan(one.read(SMALL[0], 1000, 1001)[0].values[2])
    one.add(1000, [1.0, 4.0, 7.0])
    one.add(1000, [1.0, math.nan, math.nan])
    assert one.read(SMALL[0], 1000, 1001) == [Row(1000, 3, (3.0, 3.0, 7.0))]


def test_bytes_of_another_form_are_begun_anew() -> None:
    buffer = bytearray(Ring.size(SOME, SMALL))
    ring(buffer).add(1000, [1.0, 1.0, 1.0])
    others: Sequence[Field] = (*SOME[:2], Field("other", "most", ""))
    assert all(row.samples == 0 for row in Ring(memoryview(buffer), others, SMALL).read(SMALL[0], 990, 1010))
    with pytest.raises(ValueError, match="bytes"):
        Ring(memoryview(bytearray(100)), SOME, SMALL)


@pytest.mark.parametrize(("seconds", "tier"), [(60, 1), (900, 1), (901, 10), (21_600, 10), (86_400, 300), (1e9, 300)])
def test_the_finest_tier_is_taken_that_goes_back_so_far(seconds: float, tier: int) -> None:
    assert best_tier(seconds).seconds == tier


def test_intervals_become_one() -> None:
    rows = [Row(10, 2, (1.0, 4.0, 9.0)), Row(11, 0, ()), Row(12, 1, (5.0, 1.0, 3.0))]
    assert merge_rows(rows, SOME) == Row(10, 3, (6.0, 3.0, 9.0))
    assert merge_rows(rows[1:2], SOME) == Row(11, 0, ())


@given(st.integers(60, 40 * 86_400), st.integers(1, 200))
def test_columns_are_as_wide_as_each_other_and_the_last_one_has_now(seconds: int, points: int) -> None:
    whole = Ring(memoryview(bytearray(Ring.size())))
    now = 1_800_000_123.0
    values = [1.0] * len(FIELDS)
    for back in range(0, 600, 7):
        whole.add(now - back, values)
    _, columns = columns_of(whole, seconds, now, points)
    steps = {later[0] - earlier[0] for earlier, later in pairwise(columns)}
    assert len(columns) <= points + 1
    assert len(steps) <= 1
    assert columns[-1][0] <= now
    if steps:
        assert now < columns[-1][0] + steps.pop()
    assert sum(column[1] for column in columns) <= 86
    assert columns[-1][1] >= 1
