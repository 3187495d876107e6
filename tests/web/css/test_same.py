"""In a browser, every element of each case's page looks the same before and after."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from test_vectors import SHEET, URL, page
from vectors import VECTORS

from benchmarks.css.own import ORIGIN, own, pages, styles
from benchmarks.css.same import ALL, FORCED, SOME, Forms, Look, frames_that_differ
from web.db.database import Database
from web.features.css.inline import Sheets, inline
from web.identity.passwords import Passwords

pytestmark = [pytest.mark.browser, pytest.mark.long]


@pytest.fixture
def site_url(tmp_path: Path, migrated_file: Path) -> str:
    """Pages look the same from either database."""
    shutil.copyfile(migrated_file, tmp_path / "site.db")
    return f"sqlite:///{tmp_path / 'site.db'}"


def table(html: str, css: str) -> dict[str, tuple[bytes, str]]:
    return {URL: (html.encode(), "text/html; charset=utf-8"), SHEET: (css.encode(), "text/css; charset=utf-8")}


async def test_every_case_looks_the_same(chromium: object) -> None:
    documents = []
    for story, body, css, _ in VECTORS:
        result = inline(page(f'<link rel="stylesheet" href="{SHEET}">', body), URL, Sheets({SHEET: css}.get).plan)
        documents.append((story, page(f"<style>{css}</style>", body), result.html))
    documents.append(("one that differs", page("<style>p{color:red}</style>", "<p>x"), page("", "<p>x")))
    wrong, compared = await frames_that_differ(chromium, documents)
    assert wrong == ["one that differs"]
    assert compared > 4 * len(VECTORS)


async def test_a_rule_too_few_is_seen(chromium: object) -> None:
    forms = await Forms.open(chromium)
    html, css = page(f'<link rel="stylesheet" href="{SHEET}">', "<p>x</p>"), "p:hover{color:red}"
    found, _ = await forms.differences(
        table(html, css), table(html, ""), URL, (Look(390, "print", "dark"), Look(390, "print", "dark", FORCED))
    )
    await forms.close()
    assert [each.where for each in found] == ["390 px, print, dark, hover focus focus-visible focus-within active"]
    assert found[0].count == 1
    assert "<p>" in found[0].element
    assert "border-left-color: rgb(255, 0, 0) → rgb(0, 0, 0)" in found[0].properties


# A minute on a machine of its own, and it grows with the pages.
@pytest.mark.timeout(1800)
async def test_every_page_of_the_site_looks_the_same(
    chromium: object, database: Database, passwords: Passwords, site_url: str
) -> None:
    forms = await Forms.open(chromium)
    made = styles()
    found, compared, shown = [], 0, []
    for path, html in (await pages(database, passwords, site_url)).items():
        each = own(path, html, made)
        if each is None:
            continue
        shown.append(path)
        # Each page in one way; in all of them where somebody has a quarter of an hour.
        looks = ALL if os.environ.get("CSS_LOOKS") == "all" else SOME[len(shown) % 3 :][:1]
        different, count = await forms.differences(each.before, each.after, ORIGIN + path, looks)
        compared += count
        found += [(path, each) for each in different]
    await forms.close()
    assert found == []
    assert compared > 1_000
    assert {"/", "/posts/post-0", "/events", "/events/scheduled-0", "/components"} <= set(shown)
