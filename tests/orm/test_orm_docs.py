"""docs/orm.md tells the truth about its tests: each that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"\[(test_\w+)\]\((\.\./tests/[\w/]+\.py)\)")


def test_the_tests_that_the_page_names_are_there() -> None:
    page = (ROOT / "docs" / "orm.md").read_text(encoding="utf-8")
    named = NAMED.findall(page)
    assert len(named) > 25
    for name, path in named:
        source = (ROOT / "docs" / path).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), f"{path} has no {name}"
