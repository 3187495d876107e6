"""The yardstick: a slow machine must not fail a limit, and no machine may hide a cost."""

from __future__ import annotations

import pytest
from cpu import MOST, QUIET, _yardstick, least, slowness, taking


@pytest.mark.parametrize("times", [1, 10, 100])
def test_work_takes_what_a_quiet_machine_takes(times: int) -> None:
    """Whatever machine this is, up to MOST times slower. The faults that limits are for cost ten times as much."""

    def work() -> None:
        for _ in range(times):
            _yardstick()

    assert least(work) / (times * QUIET) == pytest.approx(0.9, abs=0.5)


def test_block_is_measured_as_a_call_is() -> None:
    with taking() as taken:
        for _ in range(100):
            _yardstick()
    assert 20 * QUIET < taken.seconds < 100 * MOST * QUIET


def test_nothing_is_made_cheaper_on_a_fast_machine() -> None:
    assert 1 <= slowness() <= MOST
