"""The frame of all pages in a real browser: the navigation with seven parts, and what is live in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio
from argon2 import PasswordHasher
from playwright.async_api import Browser, Page, expect
from visiting import HINTS, PASSWORD, Calendar

from hub.app import Hub, running
from hub.publisher import RecordingPublisher
from hub.settings import Settings as HubSettings
from web.app import create_app
from web.db.database import Database
from web.db.tables import now
from web.feature import Feature
from web.features.accounts.people import create_user
from web.features.events.models import Category, Event
from web.identity.passwords import Passwords
from web.pages.links import Link
from web.settings import Settings

pytestmark = [
    pytest.mark.parametrize("site_url", ["sqlite"], indirect=True),
    pytest.mark.asyncio(loop_scope="module"),
]

#: The site's parts, one more than there are now, and those of who manages it.
PARTS = ("Posts", "What’s on", "Podcasts", "Heads-ups", "Search", "Lab")
MANAGING = ("Write", "Manage", "Comments", "Searches", "Views", "Hub", "Account")
MORE = Feature(name="more", links=[Link("Lab", "/lab", order=75)])

WIDTHS = (390, 768, 1280)


@dataclass
class Site:
    url: str
    database: Database
    music: Category


@pytest_asyncio.fixture(loop_scope="module")
async def site(settings: Settings, passwords: Passwords, site_url: str) -> AsyncIterator[Site]:
    hub = Hub(HubSettings(drain_timeout=1.0))
    database = Database(site_url, hub.publisher, hints=HINTS)
    await create_user(database, passwords, "ada", PASSWORD)
    publisher = RecordingPublisher()
    calendar = Calendar(Database(site_url, publisher, hints=HINTS), publisher)
    music = await calendar.category("Music")
    await calendar.event("Brass on the Quay", music)
    await calendar.database.notifier.flush()
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    whole = replace(settings, features=(*settings.features, MORE))
    app = create_app(whole, hub.publisher, database=database, tops=hub.followers, hasher=hasher, with_jobs=True)
    hub.setup(app)
    async with running(app, hub) as url:
        await database.start()
        yield Site(url, database, music)
    await calendar.database.close()
    await database.close()


async def visit(browser: Browser, site: Site, **options: object) -> Page:
    """A page in a browser of its own."""
    return await (await browser.new_context(base_url=site.url, **options)).new_page()  # type: ignore[arg-type]


async def sign_in(page: Page) -> None:
    await page.goto("/manage/events")
    await page.get_by_label("Name").fill("ada")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/manage/events")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
async def test_navigation_holds_seven_parts_at_every_width(
    shared_chromium: Browser, site: Site, width: int, scheme: str
) -> None:
    """Without JavaScript."""
    page = await visit(
        shared_chromium,
        site,
        viewport={"width": width, "height": 844},
        color_scheme=scheme,
        java_script_enabled=False,
    )
    await sign_in(page)
    navigation = page.get_by_role("navigation", name="Site")
    if width < 960:
        await expect(navigation.get_by_role("link")).to_have_count(0)
        await navigation.get_by_role("button", name="Menu").click()
    assert await navigation.get_by_role("link").all_inner_texts() == [*PARTS, *MANAGING]
    await expect(navigation.locator("[aria-current=page]")).to_have_text("Manage")
    for link in [*await navigation.get_by_role("link").all(), navigation.get_by_role("button", name="Sign out")]:
        await expect(link).to_be_in_viewport(ratio=1)
    if width >= 960:
        # In one row.
        tops = {(await link.bounding_box() or {})["y"] for link in await navigation.get_by_role("link").all()}
        assert len(tops) == 1
    await navigation.get_by_role("link", name="What’s on").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("What’s on")
    await page.context.close()


async def test_menu_is_opened_and_left_by_keys(shared_chromium: Browser, site: Site) -> None:
    page = await visit(shared_chromium, site, viewport={"width": 390, "height": 844}, java_script_enabled=False)
    await page.goto("/")
    menu = page.get_by_role("button", name="Menu")
    # The skip link, the brand, the menu.
    for _ in range(3):
        await page.keyboard.press("Tab")
    await expect(menu).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    first = page.get_by_role("navigation", name="Site").get_by_role("link", name="Posts")
    await expect(first).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(first).to_be_hidden()
    await expect(menu).to_be_focused()
    await page.context.close()


@pytest.mark.parametrize("width", WIDTHS)
async def test_components_are_no_wider_than_the_window(shared_chromium: Browser, site: Site, width: int) -> None:
    page = await visit(shared_chromium, site, viewport={"width": width, "height": 844})
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if "Security Policy" in message.text else None)
    for path in ("/components", "/components?tab=past&sent=1"):
        await page.goto(path)
        for summary in await page.locator("summary").all():
            await summary.click()
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= width
        # The labels of charts, which may be wider than was reckoned.
        assert (
            await page.evaluate("""() => [...document.querySelectorAll("svg.plot text")].filter((text) => {
            const box = text.closest("svg").getBoundingClientRect(), own = text.getBoundingClientRect();
            return own.left < box.left - 1 || own.right > box.right + 1 || own.bottom > box.bottom + 1;
        }).map((text) => text.textContent)""")
            == []
        )
    assert refused == []
    await page.context.close()


async def test_form_is_sent_without_javascript(shared_chromium: Browser, site: Site) -> None:
    page = await visit(shared_chromium, site, java_script_enabled=False)
    await page.goto("/components")
    # A link of the summary leads to the field.
    await page.get_by_role("link", name="Choose a feed.").click()
    await expect(page.get_by_label("Select with an error")).to_be_focused()
    await page.get_by_label("Name", exact=True).fill("A name")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("alert").filter(has_text="It takes your consent.").first).to_be_visible()
    await expect(page.get_by_label("Name", exact=True)).to_have_value("A name")
    await page.get_by_label("I know that nothing is kept").check()
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_text("It was sent. Nothing of it is kept.")).to_be_visible()
    await page.context.close()


async def test_numbers_of_a_chart_are_read_without_javascript(shared_chromium: Browser, site: Site) -> None:
    page = await visit(shared_chromium, site, java_script_enabled=False)
    await page.goto("/components")
    chart = page.locator("#chart-gaps")
    await expect(chart.get_by_role("img", name="With gaps")).to_be_visible()
    await chart.locator("summary").click()
    await expect(chart.get_by_role("row", name="Thu 3.5")).to_be_visible()
    await page.context.close()


async def test_chart_follows_its_channel_and_its_numbers_stay_open(shared_chromium: Browser, site: Site) -> None:
    """What the reader has opened closed itself at the first hint."""
    page = await visit(shared_chromium, site)
    await sign_in(page)
    await page.wait_for_function("() => window.Fanout?.status === 'websocket'")
    chart = page.locator("#by-week")
    await chart.locator("summary").click()
    await expect(chart.get_by_role("cell", name="1", exact=True)).to_have_count(0)
    drawn = await chart.locator("svg.plot").inner_html()
    async with site.database.saving() as session:
        event = await session.get_one(Event, 1)
        event.starts_at = now()
    await expect(chart.get_by_role("cell", name="1", exact=True)).to_have_count(1)
    assert await chart.locator("svg.plot").inner_html() != drawn
    await expect(chart.locator("details")).to_have_attribute("open", "")
    await page.context.close()


async def test_bar_moves_as_its_job_tells_and_nothing_is_fetched(
    shared_chromium: Browser, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.features.components.job._PAUSE", 0.05)
    page = await visit(shared_chromium, site)
    await sign_in(page)
    await page.goto("/components")
    await page.get_by_role("button", name="Start a job that counts").click()
    await page.wait_for_url("**/components?job=*")
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url) if "/components" in request.url else None)
    bar = page.locator("#progress-live")
    await expect(bar.get_by_role("status")).to_have_text("Done", timeout=30_000)
    await expect(bar.locator(".progress-share")).to_have_text("100 %")
    await expect(bar.locator(".progress-words")).to_have_text("40 steps")
    assert await bar.locator("progress").evaluate("(bar) => bar.position") == 1
    assert fetched == []
    # What the page says when it is asked for again.
    await page.reload()
    await expect(bar.get_by_role("status")).to_have_text("Done")
    await page.context.close()
