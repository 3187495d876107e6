"""static/live.js in a real browser, with a real hub beside the site."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from argon2 import PasswordHasher
from axe import Axe
from playwright.async_api import Browser, Page, Route, expect
from visiting import HINTS, PASSWORD, Calendar

from hub.app import Hub, running
from hub.publisher import RecordingPublisher
from hub.settings import Settings as HubSettings
from web.app import create_app
from web.db.database import Database
from web.features.accounts.people import create_user
from web.features.events.models import Category, Event, Status
from web.identity.passwords import Passwords
from web.settings import Settings

pytestmark = [
    pytest.mark.parametrize("site_url", ["sqlite"], indirect=True),
    # They share a browser, which takes longer to start than most of them do.
    pytest.mark.asyncio(loop_scope="module"),
]

PAGE = "/events/brass-on-the-quay"


@dataclass
class Site:
    """Where it is served, its database, whose saves tell the hub, and one event, /events/brass-on-the-quay."""

    url: str
    database: Database
    calendar: Calendar
    music: Category
    concert: Event


# On the loop of the module, where the browser is.
@pytest_asyncio.fixture(loop_scope="module")
async def site(settings: Settings, passwords: Passwords, site_url: str) -> AsyncIterator[Site]:
    hub = Hub(HubSettings(drain_timeout=1.0))
    database = Database(site_url, hub.publisher, hints=HINTS)
    await create_user(database, passwords, "ada", PASSWORD)
    publisher = RecordingPublisher()
    calendar = Calendar(Database(site_url, publisher, hints=HINTS), publisher)
    music = await calendar.category("Music")
    concert = await calendar.event("Brass on the Quay", music, description="Three bands.\n\nOne wall.")
    await calendar.database.notifier.flush()
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    app = create_app(settings, hub.publisher, database=database, tops=hub.followers, hasher=hasher)
    hub.setup(app)
    async with running(app, hub) as url:
        await database.start()
        yield Site(url, database, calendar, music, concert)
    await calendar.database.close()
    await database.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(shared_chromium: Browser, site: Site, axe: Axe) -> AsyncIterator[Page]:
    """A page of a browser; an error of our scripts, or something the policy forbids, fails the test."""
    page = await (await shared_chromium.new_context(base_url=site.url)).new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Security Policy" in message.text else None)
    yield page
    await axe.look_at(page.context.pages, site.url)
    await page.context.close()
    assert errors == []


async def connected(page: Page) -> None:
    """Wait until the page hears the hub."""
    await page.wait_for_function("() => window.Fanout?.status === 'websocket'")


async def manage(page: Page) -> None:
    """Sign in, and wait until the manager's table hears the hub."""
    await page.goto("/manage/events")
    await page.get_by_label("Name").fill("ada")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await connected(page)


async def test_a_comment_is_posted_without_leaving_the_page(page: Page, shared_chromium: Browser, site: Site) -> None:
    other = await (await shared_chromium.new_context(base_url=site.url)).new_page()
    await other.goto(PAGE)
    await connected(other)
    await page.goto(PAGE)
    await page.evaluate("() => { window.same = true; }")
    await page.get_by_label("Your name").fill("Bo")
    await page.get_by_label("Comment", exact=True).fill("<b>Bold</b> & more")
    await page.get_by_role("button", name="Post comment").click()
    for each in (page, other):
        comment = each.locator("#comments [data-comment-id]")
        await expect(comment.locator(".comment-text")).to_have_text("<b>Bold</b> & more")
        await expect(each.locator("#comment-count")).to_have_text("1")
    assert await page.evaluate("() => window.same")
    await expect(page.get_by_label("Comment", exact=True)).to_have_value("")
    await other.context.close()


async def test_a_refused_comment_is_kept_with_the_reason(page: Page, site: Site) -> None:
    await page.goto(PAGE)
    await page.get_by_label("Your name").fill("Bo")
    await page.get_by_label("Comment", exact=True).fill(" ")
    await page.get_by_role("button", name="Post comment").click()
    await expect(page.locator("#text-error")).to_have_text("Write something first.")
    await expect(page.get_by_label("Comment", exact=True)).to_be_focused()
    await page.get_by_label("Comment", exact=True).fill("Something")
    await page.get_by_role("button", name="Post comment").click()
    await expect(page.locator("#comments li")).to_have_count(1)
    await expect(page.locator("#text-error")).to_have_count(0)


async def test_a_refresh_that_fails_is_tried_again(page: Page, site: Site) -> None:
    """The hint that asked for it won't come twice."""
    failed: list[str] = []

    async def fail_once(route: Route) -> None:
        if failed:
            await route.continue_()
        else:
            failed.append(route.request.url)
            await route.fulfill(status=503)

    await page.goto(PAGE)
    await connected(page)
    await page.route("**/about", fail_once)
    async with site.database.saving() as session:
        (await session.get_one(Event, site.concert.id)).status = Status.LIVE
    await expect(page.locator("#event .status")).to_have_text("Live")
    assert len(failed) == 1


async def test_an_event_moves_on_the_calendar_when_its_status_changes(page: Page, site: Site) -> None:
    await page.goto("/events")
    await connected(page)
    await expect(page.locator("#upcoming article")).to_have_count(1)
    async with site.database.saving() as session:
        (await session.get_one(Event, site.concert.id)).status = Status.LIVE
    await expect(page.locator("#live article")).to_have_count(1)
    await expect(page.locator("#upcoming article")).to_have_count(0)


async def test_the_status_is_set_in_place_and_the_focus_stays(page: Page, site: Site) -> None:
    await site.calendar.event("Another", site.music)
    await site.calendar.database.notifier.flush()
    await manage(page)
    row = page.locator("tr[data-event-id]", has_text="Brass on the Quay")
    button = row.get_by_role("button", name="Live")
    await button.focus()
    await page.keyboard.press("Enter")
    await expect(row.locator(".status")).to_have_text("Live")
    # Live ones come first: the row has moved, and the finger is still on its button.
    await expect(page.locator("tr[data-event-id]").first).to_contain_text("Brass on the Quay")
    await expect(button).to_be_focused()


async def test_an_event_is_made_and_edited_in_a_dialog(page: Page, site: Site) -> None:
    await manage(page)
    await page.get_by_role("link", name="New event").click()
    dialog = page.get_by_role("dialog", name="New event")
    await dialog.get_by_label("Title").fill("Jazz Night")
    await dialog.get_by_label("Address").fill("Not a slug!")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog.locator("#slug-error")).to_be_visible()
    await expect(dialog.get_by_label("Address")).to_be_focused()
    await dialog.get_by_label("Address").fill("")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_have_count(0)
    row = page.locator("tr[data-event-id]", has_text="Jazz Night")
    await row.get_by_role("link", name="Edit").click()
    dialog = page.get_by_role("dialog", name="Edit event")
    await dialog.get_by_label("Title").fill("Jazz Night, Moved")
    await dialog.get_by_role("button", name="Save").click()
    await expect(page.locator("tr[data-event-id]", has_text="Jazz Night, Moved")).to_have_count(1)


@pytest.mark.parametrize("width", [390, 1280])
async def test_no_page_is_wider_than_the_window(page: Page, site: Site, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 900})
    await manage(page)
    for path in ("/", "/events", PAGE, "/components", "/manage/events", "/manage/events/new", "/login", "/nothing"):
        await page.goto(path)
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= width, path
