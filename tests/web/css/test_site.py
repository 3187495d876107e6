"""The site's kept pages have their sheets in them, for a browser that has none of them yet."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from pathlib import Path

import pytest
from cpu import least
from services import ROOT
from test_vectors import page
from visiting import Browser

from web.features.css.feature import site_styles
from web.features.css.inline import inline
from web.features.css.site import SiteStyles
from web.features.events.models import Event
from web.pages.assets import Assets
from web.pages.styles import KNOWN, SAID

PAGE = "/events/brass-on-the-quay"
STYLE = re.compile(r'<style data-href="([^"]*)">(.*?)</style>', re.DOTALL)


def known(name: str) -> str:
    digest = hashlib.sha256((ROOT / "static" / name).read_bytes()).digest()
    return f":{base64.b64encode(digest).decode()}:"


async def test_first_visit_has_its_styles_and_a_policy_that_allows_them(browser: Browser, concert: Event) -> None:
    response = await browser.look(PAGE)
    assert response.headers[SAID].startswith("inline; sheets=2; links=0; of=")
    href, style = STYLE.findall(browser.page)[0]
    assert href.startswith("/static/site.css?v=")
    assert '<link rel="stylesheet"' not in browser.page
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'self' 'sha256-{digest}' " in response.headers["Content-Security-Policy"]
    assert KNOWN in response.headers["Vary"]
    assert "/static/css.js?v=" in browser.page
    # Nothing of what only managers see.
    assert ".comment" in style
    assert len(style) < len((ROOT / "static" / "site.css").read_text()) * 0.7


async def test_browser_that_has_the_sheet_gets_its_link(browser: Browser, concert: Event) -> None:
    inlined = await browser.look(PAGE)
    linked = await browser.client.get(PAGE, headers={KNOWN: known("comments.css")})
    text = await linked.text()
    assert "<style" not in text
    assert '<link rel="stylesheet" href="/static/site.css?v=' in text
    assert "style-src" not in linked.headers["Content-Security-Policy"]
    assert linked.headers["ETag"] != inlined.headers["ETag"]
    script = await browser.client.get(PAGE, headers={"Sec-Fetch-Dest": "empty"})
    assert await script.text() == text
    other = await browser.client.get(PAGE, headers={KNOWN: known("live.js"), "Sec-Fetch-Dest": "document"})
    assert "<style" in await other.text()
    # Each form is told to be there still, with its own policy.
    for response, headers in ((inlined, {}), (linked, {KNOWN: known("comments.css")})):
        again = await browser.client.get(PAGE, headers={"If-None-Match": response.headers["ETag"], **headers})
        assert again.status == 304
        assert again.headers["Content-Security-Policy"] == response.headers["Content-Security-Policy"]


async def test_sheet_says_that_it_is_a_dictionary(browser: Browser) -> None:
    await browser.look("/events")
    href = STYLE.findall(browser.page)[0][0]
    sheet = await browser.client.get(href)
    assert sheet.headers["Use-As-Dictionary"] == 'match="/*", match-dest=("document")'
    assert "Use-As-Dictionary" not in (await browser.client.get(href.partition("?")[0])).headers


async def test_own_pages_are_as_they_were(manager: Browser, concert: Event) -> None:
    response = await manager.look(PAGE)
    assert SAID not in response.headers
    assert '<link rel="stylesheet" href="/static/site.css?v=' in manager.page


async def test_what_is_no_page_is_not_looked_at(browser: Browser, concert: Event) -> None:
    response = await browser.client.get(f"{PAGE}/comments.json")
    assert SAID not in response.headers


async def test_pages_are_counted_by_what_became_of_them(browser: Browser, concert: Event) -> None:
    await browser.look(PAGE)
    found = await browser.client.server.app[site_styles].metrics()  # type: ignore[union-attr]  # a TestServer
    assert {sample.labels["how"]: sample.value for sample in found[0].samples} == {
        "inline": 1.0,
        "original": 0.0,
        "failed": 0.0,
    }


def styles_of(folder: Path) -> SiteStyles:
    made = SiteStyles(Assets(folder))
    made.prepare(folder)
    return made


def test_error_leaves_the_page_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    styles = styles_of(ROOT / "static")

    def broken(*args: object, **options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("web.features.css.site.inline", broken)
    assert styles.styled(b"<!doctype html>", "/").said == 'original; why="ZeroDivisionError"'
    assert styles.counts["failed"] == 1
    assert styles.styled(b"\xff", "/").body is None


def test_sheet_of_another_is_left_a_link() -> None:
    html = page('<link rel="stylesheet" href="https://cdn.example/x.css">', "<p>x</p>")
    styled = styles_of(ROOT / "static").styled(html.encode(), "/")
    assert (styled.body, styled.said) == (None, 'original; why="it is not one of ours"')


async def test_page_takes_a_millisecond(browser: Browser, concert: Event) -> None:
    """20 kB of a page, once the plan is there; ten times that here, where others use the machine too."""
    styles = styles_of(ROOT / "static")
    response = await browser.client.get(PAGE, headers={KNOWN: known("comments.css")})
    html = (await response.text()).replace("</main>", "<p class='empty'>Some more words for it.</p>" * 300 + "</main>")
    assert not inline(html, "https://site.invalid" + PAGE, styles._plan).left
    assert least(lambda: inline(html, "https://site.invalid" + PAGE, styles._plan), 20) < 0.010
    await asyncio.sleep(0)
