"""Charts: whatever the numbers and the words are, a picture that is well-formed, within its box and says them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.pages.charts import (
    LARGEST,
    MOST_SERIES,
    Chart,
    bars,
    full,
    line,
    scatter,
    sparkline,
    tick_texts,
    ticks,
)

Make = Callable[[Sequence[str], dict[str, list[Any]]], Chart]

KINDS: dict[str, Make] = {
    "line": lambda labels, series: line("a", "Title", labels, series, unit="ms"),
    "bars": lambda labels, series: bars("a", "Title", labels, series, unit="ms"),
    "sparkline": lambda labels, series: sparkline("a", "Title", labels, next(iter(series.values())), unit="ms"),
}

NUMBERS = st.one_of(
    st.none(),
    st.floats(),
    st.integers(-100, 100),
    st.sampled_from([10**400, -(10**400), 5e-324, 1e308, -1e308, LARGEST, 0.1, 1e15 + 1, 1e15 + 2]),
)


@st.composite
def given_data(draw: st.DrawFn) -> tuple[list[str], dict[str, list[Any]]]:
    """Labels, and series that fit them."""
    count = draw(st.integers(0, 12))
    labels = draw(st.lists(st.text(max_size=20), min_size=count, max_size=count))
    names = draw(st.lists(st.text(max_size=10), min_size=1, max_size=MOST_SERIES, unique=True))
    return labels, {name: draw(st.lists(NUMBERS, min_size=count, max_size=count)) for name in names}


def picture(chart: Chart) -> ElementTree.Element:
    """The SVG, as a parser of XML reads it."""
    return ElementTree.fromstring(chart.svg)


def places(element: ElementTree.Element) -> list[tuple[float, float]]:
    """The corners of an element."""
    at = {name: float(value) for name, value in element.attrib.items() if re.fullmatch(r"-?[\d.]+", value)}
    match element.tag:
        case "line":
            return [(at["x1"], at["y1"]), (at["x2"], at["y2"])]
        case "rect":
            assert at["width"] >= 0
            assert at["height"] >= 0
            return [(at["x"], at["y"]), (at["x"] + at["width"], at["y"] + at["height"])]
        case "circle":
            return [(at["cx"] + way * at["r"], at["cy"] + way * at["r"]) for way in (-1, 1)]
        case "path":
            numbers = [float(each) for each in re.findall(r"-?[\d.]+", element.attrib["d"])]
            return list(zip(numbers[::2], numbers[1::2], strict=True))
        case "text":
            # Half as wide as high, which the widest of usual letters are not.
            wide = 8.0 * len(element.text or "")
            left = at["x"] - wide * {"end": 1.0, "middle": 0.5}[element.attrib["text-anchor"]]
            return [(left, at["y"] - 12), (left + wide, at["y"])]
    return []


def texts(chart: Chart, name: str) -> list[str]:
    return [each.text or "" for each in picture(chart).iter() if each.get("class") == name]


@pytest.mark.parametrize("kind", KINDS)
@given(data=given_data())
def test_every_picture_is_well_formed_and_within_its_box(
    kind: str, data: tuple[list[str], dict[str, list[Any]]]
) -> None:
    chart = KINDS[kind](*data)
    svg = picture(chart)
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    for element in svg.iter():
        for x, y in places(element):
            assert -0.2 <= x <= width + 0.2, ElementTree.tostring(element)
            assert -0.2 <= y <= height + 0.2, ElementTree.tostring(element)
    # What names it is in it, and the policy finds nothing to forbid.
    ids = [each.attrib["id"] for each in svg.iter() if "id" in each.attrib]
    assert svg.attrib["aria-labelledby"].split() == ids == ["a-title", "a-about"]
    assert svg.attrib["role"] == "img"
    assert "style" not in {name for each in svg.iter() for name in each.attrib}


@pytest.mark.parametrize("kind", KINDS)
@given(data=given_data())
def test_the_table_has_every_number_or_there_is_none_to_show(
    kind: str, data: tuple[list[str], dict[str, list[Any]]]
) -> None:
    labels, series = data
    chart = KINDS[kind](labels, series)
    known = [each for values in series.values() for each in values if each is not None and not _is_no_number(each)]
    if kind == "sparkline":
        first = next(iter(series.values()))
        known = [each for each in first if each is not None and not _is_no_number(each)]
    assert len(chart.rows) == (len(labels) if known else 0)
    assert {len(row) for row in chart.rows} <= {len(chart.columns)}
    assert sum(cell != "–" for row in chart.rows for cell in row[1:]) == len(known)
    assert ("No data yet." in chart.about) == (not known)


def _is_no_number(value: float) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


@given(
    st.floats(-LARGEST, LARGEST),
    st.floats(-LARGEST, LARGEST),
    st.booleans(),
)
def test_ticks_rise_evenly_around_the_numbers_and_their_texts_differ(one: float, other: float, whole: bool) -> None:
    low, high = min(one, other), max(one, other)
    if whole:
        low, high = float(math.floor(low)), float(math.floor(high))
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        return
    found = ticks(low, high, whole=whole)
    assert 2 <= len(found) <= 8
    assert all(before < after for before, after in pairwise(found))
    steps = [after - before for before, after in pairwise(found)]
    assert max(steps) - min(steps) <= 1e-3 * max(steps)
    slack = 1e-8 * max(abs(low), abs(high))
    assert found[0] <= low + slack
    assert found[-1] >= high - slack
    if whole:
        assert all(each.is_integer() for each in found)
    assert len(set(tick_texts(found))) == len(found)


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 9, ["0", "2", "4", "6", "8", "10"]),
        (-3, 12, ["−5", "0", "5", "10", "15"]),
        (0, 48_000, ["0", "10k", "20k", "30k", "40k", "50k"]),
        (0, 12_345_678, ["0", "5M", "10M", "15M"]),
        (99_999.1, 99_999.4, ["99,999.1", "99,999.2", "99,999.3", "99,999.4"]),
        (0, 3e-9, ["0", "1e−9", "2e−9", "3e−9"]),
        (0, 4e18, ["0", "1e18", "2e18", "3e18", "4e18"]),
    ],
)
def test_ticks_read_well(low: float, high: float, texts: list[str]) -> None:
    assert tick_texts(ticks(low, high)) == texts


def test_words_are_escaped_and_what_no_document_can_have_is_replaced() -> None:
    chart = bars("a", "<b>&\0", ["\ud800", '"x"'], {"</svg>\x1b": [1, 2], "b": [3, 4]}, unit="<i>")
    assert picture(chart).findtext("title") == "<b>&\ufffd"
    assert "</svg>" not in chart.svg.removesuffix("</svg>")
    assert chart.columns == ("", "</svg>\ufffd, <i>", "b, <i>")
    chart.svg.encode()


def test_names_that_look_the_same_stay_apart() -> None:
    chart = line("a", "A", ["x"], {"\0": [1], "\1": [2]})
    assert chart.rows == (("x", "1", "2"),)
    assert len(set(chart.names)) == 2


def test_what_is_no_number_is_a_gap() -> None:
    chart = line("a", "A", list("abcde"), {"n": [1, None, 2, 3, math.nan]})
    (path,) = [each.attrib["d"] for each in picture(chart).iter("path")]
    assert (path.count("M"), path.count("L")) == (2, 1)
    assert [row[1] for row in chart.rows] == ["1", "–", "2", "3", "–"]


def test_a_number_between_gaps_is_seen_however_many_there_are() -> None:
    values: list[float | None] = [None] * 200
    values[77] = 5
    chart = line("a", "A", [str(at) for at in range(200)], {"n": values})
    assert len(list(picture(chart).iter("circle"))) == 1


def test_bars_begin_at_zero_and_go_down_for_what_is_negative() -> None:
    chart = bars("a", "A", ["x", "y"], {"n": [50, -50]})
    up, down = picture(chart).iter("rect")
    assert float(up.attrib["y"]) + float(up.attrib["height"]) == pytest.approx(float(down.attrib["y"]), abs=0.2)
    assert up.attrib["height"] == down.attrib["height"]


def test_whole_numbers_have_whole_ticks() -> None:
    assert texts(bars("a", "A", ["x"], {"n": [1]}), "tick")[:-1] == ["0", "1"]
    assert texts(bars("a", "A", ["x"], {"n": [0.5]}), "tick")[:-1] == ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]


def test_labels_do_not_lie_on_each_other() -> None:
    chart = bars("a", "A", [f"{at} November" for at in range(100, 400)], {"n": [1] * 300})
    shown = [each for each in picture(chart).iter("text") if each.attrib["text-anchor"] == "middle"]
    assert 2 <= len(shown) <= 6
    edges = [(places(each)[0][0], places(each)[1][0]) for each in shown]
    assert all(before[1] < after[0] for before, after in pairwise(edges))


def test_what_is_said_to_who_does_not_see_it() -> None:
    chart = line("a", "Visits", ["Mon", "Tue", "Wed"], {"people": [3, 5, 4], "robots": [9, 9, 9]}, unit="a day")
    assert chart.about == (
        "Line chart, from Mon to Wed. people: lowest 3 a day (Mon), highest 5 a day (Tue), last 4 a day (Wed)."
        " robots: 9 a day throughout."
    )
    assert picture(chart).findtext("desc") == chart.about


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (1234567.0, "1,234,567"), (-0.5, "−0.5"), (1e300, "1e+300"), (2.50004, "2.50004")],
)
def test_numbers_as_a_table_says_them(value: float | None, text: str) -> None:
    assert full(value) == text


@pytest.mark.parametrize(
    ("id", "labels", "series"),
    [
        ("a b", ["x"], {"n": [1]}),
        ("", ["x"], {"n": [1]}),
        ("a", ["x"], {"n": [1, 2]}),
        ("a", ["x"], {}),
        ("a", ["x"], {str(at): [1] for at in range(MOST_SERIES + 1)}),
    ],
)
def test_what_is_no_chart_is_refused(id: str, labels: list[str], series: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match=r"chart|values"):
        line(id, "A", labels, series)


MARKS = st.lists(st.tuples(st.text(max_size=20), NUMBERS, NUMBERS), max_size=12)


@given(st.dictionaries(st.text(max_size=10), MARKS, min_size=1, max_size=MOST_SERIES))
def test_scatter_of_whatever_there_is_is_within_its_box_and_has_all_in_its_table(series: dict[str, Any]) -> None:
    chart = scatter("a", "Title", ("ms", "bytes"), series, joined=next(iter(series)))
    svg = picture(chart)
    width, height = (float(each) for each in svg.attrib["viewBox"].split()[2:])
    for element in svg.iter():
        for x, y in places(element):
            assert -0.1 <= x <= width + 0.1
            assert -0.1 <= y <= height + 0.1
    assert len(chart.names) == (len(series) if len(series) > 1 else 0)
    assert len(chart.rows) == sum(map(len, series.values()))


def test_scatter_puts_the_faster_left_and_the_smaller_below() -> None:
    chart = scatter("a", "T", ("ms", "bytes"), {"all": [("fast", 0.1, 900), ("small", 0.9, 100)]}, joined="all")
    fast, small = (each.attrib for each in picture(chart).iter("circle"))
    assert float(fast["cx"]) < float(small["cx"])
    assert float(fast["cy"]) < float(small["cy"])
    assert len(list(picture(chart).iter("path"))) == 1
    assert chart.columns == ("", "ms", "bytes")
    assert chart.rows == (("fast", "0.1", "900"), ("small", "0.9", "100"))
    assert chart.about == "Dots. Least ms: fast, 0.1; least bytes: small, 100. 2 in all."


def test_scatter_of_nothing_says_so() -> None:
    chart = scatter("a", "T", ("ms", "bytes"), {"all": []})
    assert "No data yet" in chart.svg
    assert chart.rows == ()
