"""docs/orm.md tells the truth about its tests: each that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHORT = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
NAMED = re.compile(r"\[(test_\w+)\]\((\.\./tests/[\w/]+\.py)\)")


def test_the_tests_that_the_page_names_are_there() -> None:
    page = (ROOT / "docs" / "orm.md").read_text(encoding="utf-8")
    named = NAMED.findall(page)
    assert len(named) > 25
    for name, path in named:
        source = (ROOT / "docs" / path).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), f"{path} has no {name}"


def test_every_row_of_what_is_told_names_a_test_that_is_there() -> None:
    """The table of watched tables names its tests in another form, which nothing compared with the tests."""
    page = (ROOT / "docs" / "orm.md").read_text(encoding="utf-8")
    tables = [part for part in page.split("\n\n") if part.startswith("|") and "test" in part.splitlines()[0]]
    assert len(tables) == 3
    for row in (line for table in tables for line in table.splitlines()[2:]):
        named = [(path.rpartition("/")[2], name) for name, path in NAMED.findall(row)] + SHORT.findall(row)
        assert named, row
        for path, name in named:
            [file] = (ROOT / "tests").rglob(path)
            assert re.search(rf"^(async )?def {name}\(", file.read_text(encoding="utf-8"), re.MULTILINE), row
