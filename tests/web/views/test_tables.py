"""What the table for spreadsheets says."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest

from web.features.views.manage import to_csv
from web.features.views.queries import Row

NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "  @"])
def test_what_others_wrote_is_no_formula(first: str) -> None:
    """A cell that begins so is reckoned, and may fetch or start what it names."""
    text = f'{first}HYPERLINK("http://evil.example")'
    (row,) = csv.DictReader(io.StringIO(to_csv([Row(1, text, text, NOW, NOW, 3)]), newline=""))
    assert (row["source"], row["endpoint"], row["calls"]) == (f"'{text}", f"'{text}", "3")


def test_other_names_are_as_they_are() -> None:
    (row,) = csv.DictReader(io.StringIO(to_csv([Row(1, "shop", "GET /a=-1", NOW, NOW, 3)]), newline=""))
    assert (row["source"], row["endpoint"]) == ("shop", "GET /a=-1")
