"""In a browser, every element of each case's page looks the same before and after."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher
from routes import fill, pages_of
from services import ROOT
from test_vectors import SHEET, URL, page
from vectors import VECTORS
from visiting import PASSWORD, Browser

from benchmarks.css.same import ALL, FORCED, SOME, Look, Pair, frames_that_differ
from hub.publisher import RecordingPublisher
from web.app import create_app, read_settings
from web.db.database import Database
from web.features.accounts.people import create_user
from web.features.css.inline import Sheets, inline
from web.features.css.site import SiteStyles
from web.identity.passwords import Passwords
from web.pages.assets import Assets

pytestmark = [pytest.mark.browser, pytest.mark.long]


@dataclass
class Site:
    paths: list[str]
    pages: dict[str, str]


@pytest.fixture
def site_url(tmp_path: Path, migrated_file: Path) -> str:
    """Pages look the same from either database."""
    shutil.copyfile(migrated_file, tmp_path / "site.db")
    return f"sqlite:///{tmp_path / 'site.db'}"


@pytest.fixture
async def own_site(database: Database, site_url: str, passwords: Passwords) -> AsyncIterator[Site]:
    """The HTML of every page, as a manager has it: with links, and more of everything than a visitor's."""
    await create_user(database, passwords, "ada", PASSWORD)
    await fill(database, 0, 3)
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    environ = {"DATABASE_URL": site_url, "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==", "JOBS_SERVE": "false"}
    settings = read_settings(environ | {"GITHUB_CLIENT_ID": "x", "GITHUB_CLIENT_SECRET": "y", "GITHUB_ANYBODY": "true"})
    app = create_app(settings, RecordingPublisher(), database=database, hasher=hasher)
    paths = pages_of(app)
    async with TestClient(TestServer(app)) as client:
        browser = Browser(client)
        await browser.sign_in()
        pages = {}
        for path in paths:
            response = await client.get(path, headers={"Accept": "text/html"})
            if response.content_type == "text/html":
                # Of addresses that lead to one page, as /posts does to the home page, that page once.
                pages[response.url.path_qs] = await response.text()
        yield Site(list(pages), pages)


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
    pair = await Pair.open(chromium)
    html, css = page(f'<link rel="stylesheet" href="{SHEET}">', "<p>x</p>"), "p:hover{color:red}"
    found, _ = await pair.differences(
        table(html, css), table(html, ""), URL, (Look(390, "print", "dark"), Look(390, "print", "dark", FORCED))
    )
    await pair.close()
    assert [each.where for each in found] == ["390 px, print, dark, hover focus focus-visible focus-within active"]
    assert found[0].count == 1
    assert "<p>" in found[0].element
    assert "border-left-color: rgb(255, 0, 0) → rgb(0, 0, 0)" in found[0].properties


# A minute on a machine of its own, and it grows with the pages.
@pytest.mark.timeout(900)
async def test_every_page_of_the_site_looks_the_same(chromium: object, own_site: Site) -> None:
    pair = await Pair.open(chromium)
    styles = SiteStyles(Assets(ROOT / "static"))
    styles.prepare(ROOT / "static")
    found, compared, shown = [], 0, []
    for path in own_site.paths:
        url = f"https://site.example{path}"
        html = own_site.pages[path]
        styled = styles.styled(html.encode(), path.partition("?")[0])
        if styled.body is None:
            assert "no style sheets" in styled.said
            continue
        shown.append(path)
        sheets = {
            f"https://site.example{match}": ((ROOT / "static" / match.partition("?")[0][8:]).read_bytes(), "text/css")
            for match in re.findall(r'<link rel="stylesheet" href="([^"]*)"', html)
        }
        before = {url: (html.encode(), "text/html; charset=utf-8"), **sheets}
        # Without its scripts, so that the whole sheets don't come.
        after = {url: (styled.body, "text/html; charset=utf-8")}
        # Each page in one way; in all of them where somebody has a quarter of an hour.
        looks = ALL if os.environ.get("CSS_LOOKS") == "all" else SOME[len(shown) % 3 :][:1]
        different, count = await pair.differences(before, after, url, looks)
        compared += count
        found += [(path, each) for each in different]
    await pair.close()
    assert found == []
    assert compared > 1_000
    assert {"/", "/posts/post-0", "/events", "/events/scheduled-0", "/components"} <= set(shown)
