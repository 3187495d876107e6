"""The page of results in a real browser, with a real hub."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from axe import Axe
from blogging import Blog
from playwright.async_api import Browser, Error, Page, Route, expect

from hub.app import Hub, running
from hub.publisher import RecordingPublisher
from hub.settings import Settings as HubSettings
from web.app import all_hints_of, create_app
from web.db.database import Database
from web.features.search.service import Search, search
from web.features.search.settings import SearchSettings
from web.settings import Settings

pytestmark = [
    pytest.mark.parametrize("site_url", ["sqlite"], indirect=True),
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass
class Site:
    url: str
    blog: Blog
    search: Search


@pytest_asyncio.fixture(loop_scope="module")
async def site(settings: Settings, site_url: str) -> AsyncIterator[Site]:
    hub = Hub(HubSettings(drain_timeout=1.0))
    database = Database(site_url, hub.publisher, hints=all_hints_of())
    settings = settings.with_(SearchSettings, folder="memory")
    app = create_app(settings, hub.publisher, database=database, following=hub.followers, tops=hub.followers)
    hub.setup(app)
    blog = Blog(database, RecordingPublisher())
    for number in range(30):
        await blog.post(f"Firefox {number:02}", "Web", text="A browser in winter. " * 10)
    await blog.post("Redis cache", text="<b>bold</b> & quick: a cache in Redis.")
    async with running(app, hub) as url:
        await database.start()
        yield Site(url, blog, app[search])
    await database.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(shared_chromium: Browser, site: Site) -> AsyncIterator[Page]:
    """A page of a browser; an error of our scripts, or something the policy forbids, fails the test."""
    page = await (await shared_chromium.new_context(base_url=site.url)).new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Security Policy" in message.text else None)
    yield page
    await page.context.close()
    assert errors == []


async def test_results_come_with_each_key_and_the_last_one_wins(page: Page, site: Site) -> None:
    await page.goto("/search")
    await page.keyboard.press("/")
    box = page.get_by_role("combobox", name="Search")
    await expect(box).to_be_focused()
    await page.keyboard.type("rdeis")
    await expect(page.locator(".instead")).to_contain_text("Showing results for redis")
    await expect(page.locator(".hit mark").first).to_have_text("Redis")
    # Answers that come late change nothing.
    await box.fill("")
    await expect(page.locator(".hit")).to_have_count(0)
    assert page.url.endswith("/search")
    await page.keyboard.type("fire")
    await expect(page.locator(".hit")).to_have_count(10)


async def test_an_answer_that_is_overtaken_changes_nothing(page: Page, site: Site) -> None:
    """The first answers are held until the later ones are shown: the results, and what is offered."""
    let_go, held = asyncio.Event(), 0

    async def hold(route: Route) -> None:
        nonlocal held
        query = parse_qs(urlsplit(route.request.url).query).get("q", [""])[0]
        if query != "fire":
            await route.continue_()
            return
        held += 1
        answer = await route.fetch()
        await let_go.wait()
        # A browser that has given it up does not take it.
        with contextlib.suppress(Error):
            await route.fulfill(response=answer)

    await page.route(re.compile(r"/(search|autocomplete)\?"), hold)
    await page.goto("/search")
    # As if it could not be stopped: then only its number says that it is old.
    await page.evaluate("() => { AbortController.prototype.abort = () => {}; }")
    box = page.get_by_role("combobox", name="Search")
    await box.fill("fire")
    await box.fill("redis")
    await expect(page.locator(".hit a").first).to_have_text("Redis cache")
    assert held == 2
    ended = [
        asyncio.create_task(page.wait_for_event("requestfinished", lambda one, path=path: f"{path}?q=fire" in one.url))
        for path in ("/search", "/autocomplete")
    ]
    await asyncio.sleep(0)
    let_go.set()
    await asyncio.gather(*ended)
    # A turn of the page after the answers were there.
    await page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    await expect(page.locator(".hit a").first).to_have_text("Redis cache")
    assert await page.locator(".hit").count() == 1
    await expect(page.get_by_role("option", name="firefox")).to_have_count(0)


async def test_the_box_offers_words_and_is_used_by_keys_alone(page: Page, site: Site) -> None:
    await page.goto("/search")
    box = page.get_by_role("combobox", name="Search")
    await box.press_sequentially("cache re")
    option = page.get_by_role("option", name="cache redis")
    await expect(option).to_be_visible()
    await expect(box).to_have_attribute("aria-expanded", "true")
    await page.keyboard.press("ArrowDown")
    await expect(option).to_have_attribute("aria-selected", "true")
    assert await box.get_attribute("aria-activedescendant") == await option.get_attribute("id")
    await page.keyboard.press("Enter")
    await expect(box).to_have_value("cache redis")
    await expect(page.get_by_role("listbox")).to_be_hidden()
    await expect(page.locator(".hit a").first).to_have_text("Redis cache")
    await box.press_sequentially("x")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("listbox")).to_be_hidden()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Search")).to_be_focused()


async def test_a_post_that_is_published_elsewhere_appears_marked_and_without_a_jump(page: Page, site: Site) -> None:
    await page.set_viewport_size({"width": 900, "height": 500})
    await page.goto("/search?q=firefox+winter")
    await page.wait_for_function("() => window.Fanout?.status === 'websocket'")
    third = page.locator(".hit").nth(3)
    await third.scroll_into_view_if_needed()
    await page.evaluate(
        "() => { window.same = true; scrollTo({ top: document.querySelectorAll('.hit')[3].offsetTop }); }"
    )
    name = await third.get_attribute("id")
    assert name is not None
    top = await page.evaluate("(id) => document.getElementById(id).getBoundingClientRect().top", name)
    began = time.monotonic()
    await site.blog.post("Firefox winter", text="Firefox in winter.")
    await expect(page.locator(".hit.is-new a").first).to_have_text("Firefox winter", timeout=1000)
    assert time.monotonic() - began < 1
    assert await page.evaluate("() => window.same")
    after = await page.evaluate("(id) => document.getElementById(id).getBoundingClientRect().top", name)
    assert abs(after - top) <= 2


@pytest.mark.parametrize("width", [390, 1280])
async def test_it_is_for_everybody_at_any_width(page: Page, site: Site, axe: Axe, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 900})
    for path in (
        "/search",
        "/search?q=firefix+" + "w" * 60,
        "/search?q=redis",
        "/search?q=nothingatall",
        "/search?q=" + "x" * 91,
    ):
        await page.goto(path)
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= width, path
        await axe.check(page)
    await page.goto("/search?q=redis")
    await page.get_by_role("combobox").fill("redis ca")
    await page.get_by_role("option").first.wait_for()
    await axe.check(page)
