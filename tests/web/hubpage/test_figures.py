"""What workers said becomes one history, one verdict, and a forecast; and is drawn."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.inside.fields import FIELDS, NAMES
from web.features.hubpage import drawing, figures


def answer(worker: str, number: int, columns: list[list[Any]], machine: str = "one", **more: Any) -> dict[str, Any]:
    return {"worker": worker, "number": number, "machine": machine, "names": NAMES, "columns": columns, **more}


def column(at: int, samples: int, **values: float | None) -> list[Any]:
    return [at, samples, *(values.get(field.name, 0) for field in FIELDS)]


def test_workers_become_one_history() -> None:
    past = figures.past(
        [
            answer("b", 1, [column(0, 10, delivered=50, lag=0.2), [10, 0]]),
            answer("a", 0, [column(0, 10, delivered=100, lag=0.1), column(10, 5, delivered=10, lag=None)]),
        ]
    )
    assert past.workers == ["worker 0", "worker 1"]
    assert past.total("delivered") == [15.0, 2.0]
    assert past.worst("lag") == [0.2, None]
    assert past.counted("delivered") == 160
    assert past.counts("delivered") == [150, 10]
    assert figures.past([]).total("delivered") == []


def test_a_worker_of_another_release_has_what_it_has() -> None:
    other = {"worker": "a", "number": 0, "machine": "one", "names": ["delivered"], "columns": [[0, 2, 8]]}
    past = figures.past([other])
    assert past.total("delivered") == [4.0]
    assert past.worst("lag") == [None]


@pytest.mark.parametrize(
    ("values", "limit", "said"),
    [
        ([float(n) for n in range(20)], 39.0, "in 3 minutes"),
        ([5.0] * 20, 39.0, "not in sight: it does not grow steadily"),
        ([20.0 - n for n in range(20)], 39.0, "not in sight: it does not grow steadily"),
        ([float(n) for n in range(20)], 10.0, "now"),
        ([1.0, 2.0], 10.0, "not enough is known yet"),
        ([n * 1e-9 for n in range(20)], 39.0, "not within a year"),
    ],
)
def test_when_a_limit_is_reached_is_said(values: list[float], limit: float, said: str) -> None:
    assert figures.when([10 * n for n in range(len(values))], values, limit) == said


def worker(**more: Any) -> dict[str, Any]:
    base = {
        "number": 0,
        "draining": False,
        "reason": "",
        "latency": {},
        "max_connections": 100,
        "clients": 1,
        "clock": 5.0,
    }
    return base | more


@pytest.mark.parametrize(
    ("changes", "values", "name"),
    [
        ({"reason": "deaf for 3 s"}, {}, "Worker 0"),
        ({"draining": True}, {}, "Worker 0"),
        ({"latency": {"websocket": {"p99": 3.0}}}, {}, "Lateness"),
        ({"clients": 95}, {}, "Connections"),
        ({}, {"lost": 1}, "Losses"),
        ({}, {"lag": 0.4}, "Event loop"),
        ({}, {"log_lag": 0.5}, "Log"),
        ({}, {"database": 5.0}, "Database"),
    ],
)
def test_what_is_not_well_is_named(changes: dict[str, Any], values: dict[str, float], name: str) -> None:
    well = figures.checks([worker()], [], figures.past([answer("a", 0, [column(0, 1)])]))
    assert all(check.well for check in well)
    ill = figures.checks([worker(**changes)], [], figures.past([answer("a", 0, [column(0, 1, **values)])]))
    assert [check.name for check in ill if not check.well] == [name]


def test_silent_workers_and_clocks_apart_are_not_well() -> None:
    found = figures.checks([worker(), worker(clock=60.0)], ["x"], figures.past([answer("a", 0, [column(0, 1)])]))
    assert {check.name for check in found if not check.well} == {"Worker x", "Clocks"}


_VALUES = st.lists(st.one_of(st.none(), st.floats(0, 1e12, allow_nan=False)), min_size=1, max_size=60)


@given(_VALUES, _VALUES, st.integers(1, 43_200))
def test_whatever_is_drawn_is_a_picture_within_its_box(one: list[Any], other: list[Any], width: int) -> None:
    count = min(len(one), len(other))
    times = [1_800_000_000 // width * width + width * at for at in range(count)]
    axis = drawing.Axis(times, width, [drawing.Mark(times[0], "<a worker> & started")])
    series = {"one": one[:count], "two <b>": other[:count]}
    counts = [[int(min(value or 0, 1e6)) for value in values] for values in series.values()]
    for figure in (
        drawing.lines("a", "A & b", axis, series),
        drawing.stack("b", "B", axis, series, unit=" ms"),
        drawing.heat("c", "C", axis, list(series), counts),
    ):
        root = ElementTree.fromstring(str(figure.svg))
        assert root.tag == "svg"
        for each in root.iter("rect"):
            assert float(each.attrib["x"]) >= 0
            assert float(each.attrib["x"]) + float(each.attrib["width"]) <= drawing.WIDTH + 0.1


def test_nothing_at_all_is_drawn_too() -> None:
    axis = drawing.Axis([], 1)
    for figure in (drawing.lines("a", "A", axis, {"x": []}), drawing.stack("b", "B", axis, {"x": []})):
        ElementTree.fromstring(str(figure.svg))
