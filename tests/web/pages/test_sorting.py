"""Sorting by links."""

from __future__ import annotations

import pytest

from web.pages.sorting import Sorting

COLUMNS = ("name", "hours")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, Sorting("name")),
        ("hours", Sorting("hours")),
        ("-hours", Sorting("hours", down=True)),
        ("", Sorting("name")),
        ("--hours", Sorting("name")),
        ("password", Sorting("name")),
    ],
)
def test_an_address_says_how_and_anything_else_is_the_default(text: str | None, found: Sorting) -> None:
    assert Sorting.read(text, COLUMNS, Sorting("name")) == found


def test_a_column_links_to_itself_the_other_way_round() -> None:
    sorting = Sorting("hours")
    assert sorting.column("hours", "Hours", "/x?sort={}", number=True) == {
        "label": "Hours",
        "number": True,
        "sort": "/x?sort=-hours",
        "sorted": "ascending",
    }
    assert Sorting("hours", down=True).column("hours", "Hours", "?sort={}")["sort"] == "?sort=hours"
    assert sorting.column("name", "Name", "?sort={}") == {
        "label": "Name",
        "number": False,
        "sort": "?sort=name",
        "sorted": None,
    }


def test_rows_are_sorted_and_equal_ones_stay() -> None:
    rows = [(2, "a"), (1, "b"), (2, "c")]
    assert Sorting("hours", down=True).sort(rows, lambda row: row[0]) == [(2, "a"), (2, "c"), (1, "b")]
