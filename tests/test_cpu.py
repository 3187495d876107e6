"""The yardstick: a slow machine must not fail a limit, and no machine may hide a cost."""

from __future__ import annotations

import pytest
from cpu import MOST, QUIET, least, slowness, taking, yardstick


def work(times: int) -> None:
    for _ in range(times):
        yardstick()


@pytest.mark.parametrize("times", [1, 10, 100])
def test_work_takes_no_longer_than_on_a_quiet_machine(times: int) -> None:
    """Whatever machine this is, up to MOST times slower."""
    assert least(lambda: work(times)) < 1.5 * times * QUIET


def test_work_that_is_ten_times_as_dear_is_seen() -> None:
    """The faults that limits are for cost ten times as much, and more."""
    assert least(lambda: work(100)) > 5 * least(lambda: work(10))


def test_block_is_measured_as_a_call_is() -> None:
    with taking() as taken:
        work(100)
    assert 5 * least(lambda: work(10)) < taken.seconds < 100 * MOST * QUIET


def test_nothing_is_made_cheaper_on_a_fast_machine() -> None:
    assert 1 <= slowness() <= MOST
