"""What the laboratory's benchmark makes of what wrk says."""

from __future__ import annotations

import pytest

from benchmarks.redislab import Said

REPORT = """\
Running 30s test @ http://127.0.0.1:53017/lab/redis/random
  2 threads and 10 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    32.58ms   65.68ms 783.72ms   97.13%
    Req/Sec   219.05     91.00   520.00     67.52%
  12810 requests in 30.01s, 8.71MB read
"""
MORE = """\
  Socket errors: connect 1, read 2, write 0, timeout 4
  Non-2xx or 3xx responses: 10
"""


def test_wrks_report_is_read() -> None:
    assert Said.read(REPORT) == Said(12810, others=0, broken=0)
    # An answer that is late is an answer.
    assert Said.read(REPORT + MORE) == Said(12810, others=10, broken=3)


def test_no_report_is_refused() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        Said.read("unable to connect to 127.0.0.1:1 Connection refused")


@pytest.mark.parametrize(("measured", "agrees"), [(99, False), (100, True), (110, True), (111, False)])
def test_each_answer_is_a_measurement_and_one_more_a_connection_may_be(measured: int, agrees: bool) -> None:
    assert Said(105, others=5, broken=0).agrees(measured, connections=10) is agrees
