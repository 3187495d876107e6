"""In a browser: the room and the blur, then the picture, without a reload, and nothing moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from argon2 import PasswordHasher
from axe import Axe
from drawing import file_of
from playwright.async_api import Browser, BrowserContext, Page, expect
from sqlalchemy import select
from visiting import HINTS, PASSWORD, Calendar

from hub.app import Hub, running
from hub.publisher import RecordingPublisher
from hub.settings import Settings as HubSettings
from web.app import create_app
from web.db.database import Database
from web.db.settings import DatabaseSettings
from web.features.accounts.people import create_user
from web.features.events.models import Event
from web.features.pictures import jobs
from web.features.pictures.forms import Shown, form_sizes
from web.features.pictures.geometry import Size
from web.features.pictures.keys import store
from web.features.pictures.making import hash_of
from web.features.pictures.settings import PictureSettings
from web.identity.passwords import Passwords
from web.pages import keys
from web.services.jobs.settings import JobSettings
from web.settings import Settings

pytestmark = [
    pytest.mark.browser,
    pytest.mark.parametrize("site_url", ["sqlite"], indirect=True),
    pytest.mark.asyncio(loop_scope="module"),
]

EVENT = "/events/brass-on-the-quay"


@pytest_asyncio.fixture(loop_scope="module")
async def served(settings: Settings, site_url: str, tmp_path: Path) -> AsyncIterator[tuple[str, object, Database]]:
    """The site with a hub, jobs and the real engine."""
    settings = settings.with_(DatabaseSettings, var=tmp_path).with_(PictureSettings, engine="pillow")
    settings = settings.with_(JobSettings, serve=True)
    hub = Hub(HubSettings(drain_timeout=1.0))
    database = Database(site_url, hub.publisher, hints=HINTS)
    calendar = Calendar(Database(site_url, RecordingPublisher(), hints=HINTS), RecordingPublisher())
    await calendar.event("Brass on the Quay", await calendar.category("Music"), description="Three bands.")
    await calendar.database.notifier.flush()
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    app = create_app(settings, hub.publisher, database=database, tops=hub.followers, hasher=hasher)
    hub.setup(app)
    async with running(app, hub) as url:
        await database.start()
        yield url, app, database
    await calendar.database.close()
    await database.close()


async def test_picture_comes_into_the_open_page(shared_chromium: Browser, served: tuple[str, object, Database]) -> None:
    url, app, database = served
    data = file_of((1200, 800))
    shown = Shown(hash_of(data), Size(1200, 800), alt="The quay")
    original = app[store].original(shown.hash)  # type: ignore[index]  # an application
    original.parent.mkdir(parents=True)
    original.write_bytes(data)
    async with database.saving() as session:
        event = await session.scalar(select(Event))
        assert event is not None
        event.picture = shown.as_row()
        number = event.id
    page = await (await shared_chromium.new_context(base_url=url)).new_page()
    shifts = "new PerformanceObserver((list) => { for (const each of list.getEntries()) window.shift += each.value; })"
    await page.add_init_script(f"window.shift = 0; {shifts}.observe({{type: 'layout-shift', buffered: true}})")
    await page.goto(EVENT)
    blur = page.locator("figure.picture svg.picture-blur")
    await expect(blur).to_be_visible()
    room = await page.locator("figure.picture").bounding_box()
    await page.wait_for_function("() => window.Fanout?.status === 'websocket'")
    await page.evaluate("window.same = true")
    async with database.saving() as session:
        await jobs.plan(session, app[keys.jobs], "events", number, shown.hash)  # type: ignore[index]  # an application
    image = page.locator("figure.picture img")
    await expect(image).to_be_visible()
    await page.wait_for_function("() => document.querySelector('figure.picture img').complete")
    assert await image.evaluate("(image) => image.naturalWidth > 0 && image.currentSrc.endsWith('.avif')")
    assert await page.locator("figure.picture").bounding_box() == room
    await asyncio.sleep(0)
    assert await page.evaluate("[window.same, window.shift]") == [True, 0]
    await page.context.close()


async def own_page(context: BrowserContext, database: Database, passwords: Passwords, number: int) -> Page:
    """The page where an event's picture is sent."""
    await create_user(database, passwords, "ada", PASSWORD)
    page = await context.new_page()
    await page.goto("/login")
    await page.get_by_label("Name").fill("ada")
    await page.get_by_label("Password").first.fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.goto(f"/manage/events/{number}/picture")
    return page


async def test_the_page_where_it_is_sent_follows_it(
    shared_chromium: Browser, served: tuple[str, object, Database], passwords: Passwords
) -> None:
    """The forms, then squares of a focus that another has said; what is typed, chosen and pointed at stays."""
    url, app, database = served
    data = file_of((1200, 800))
    shown = Shown(hash_of(data), Size(1200, 800))
    original = app[store].original(shown.hash)  # type: ignore[index]  # an application
    original.parent.mkdir(parents=True)
    original.write_bytes(data)

    async def change(picture: Shown | None, make: bool = True) -> None:
        async with database.saving() as session:
            event = await session.scalar(select(Event))
            assert event is not None
            event.picture = None if picture is None else picture.as_row()
            if make:
                await jobs.plan(session, app[keys.jobs], "events", event.id, shown.hash)  # type: ignore[index]  # an application

    await change(shown, make=False)
    async with database.reading() as session:
        number = (await session.scalars(select(Event.id))).one()
    context = await shared_chromium.new_context(base_url=url)
    page = await own_page(context, database, passwords, number)
    await page.wait_for_function("() => window.Fanout?.status === 'websocket'")
    await page.evaluate("window.same = true")
    await expect(page.locator("#picture svg.picture-blur")).to_be_visible()
    await expect(page.locator(".focus-both")).to_have_count(0)
    await page.get_by_label("What it shows, in words").fill("The quay")
    await page.get_by_label("Per cent from the left").fill("70")
    await page.get_by_label("A picture").set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": b"x"})
    await change(shown)
    await expect(page.locator("#picture figure.picture img")).to_be_visible()
    mark = page.get_by_role("button", name="The point: 70 % from the left, 50 % from above.")
    await mark.press("ArrowRight")
    async with database.reading() as session:
        ready = (await session.get_one(Event, number)).shown_picture
    assert ready is not None
    await change(replace(ready, alt="By another", focus=(20, 80)))
    crop = f"/pictures/{shown.hash}/174x174-20-80.webp"
    await expect(page.get_by_label("Per cent from above")).to_have_attribute("value", "80")
    # Somebody points at another point here: the square is the one that this will be.
    await expect(page.locator(".focus-square figcaption")).to_have_text("The square, once it is saved")
    mark = page.get_by_role("button", name="The point: 71 % from the left, 50 % from above.")
    await expect(mark).to_be_focused()
    await expect(page.get_by_label("What it shows, in words")).to_have_value("The quay")
    assert await page.locator("#file").evaluate("(field) => field.files.length") == 1
    other = await context.new_page()
    await other.goto(f"/manage/events/{number}/picture")
    await expect(other.locator(f".focus-square source[type='image/webp'][srcset^='{crop}']")).to_have_count(1)
    await change(None, make=False)
    for each in (page, other):
        await expect(each.locator("#picture figure.picture, #focus")).to_have_count(0)
    assert await page.locator("#file").evaluate("(field) => field.files.length") == 1
    assert await page.evaluate("window.same")
    await context.close()


@pytest.mark.parametrize("scripts", [True, False])
async def test_focus_is_pointed_at(
    shared_chromium: Browser, served: tuple[str, object, Database], passwords: Passwords, axe: Axe, scripts: bool
) -> None:
    """By a mark that a key or a pointer moves, with the square as it will be; without scripts by a click."""
    url, _, database = served
    data = file_of((1200, 600))
    async with database.saving() as session:
        event = await session.scalar(select(Event))
        assert event is not None
        number = event.id
        shown = Shown(hash_of(data), Size(1200, 600), ready=True, sizes=form_sizes(Size(1200, 600)))
        event.picture = shown.as_row()
    context = await shared_chromium.new_context(base_url=url, java_script_enabled=scripts)
    page = await own_page(context, database, passwords, number)
    image = page.locator("input[type=image]")
    box = await image.bounding_box()
    assert box is not None
    assert (box["width"], box["height"]) == (240, 120)
    if scripts:
        mark = page.get_by_role("button", name="The point: 50 % from the left, 50 % from above.")
        await mark.press("ArrowRight")
        await page.get_by_role("button", name="The point: 51 %").press("Shift+ArrowUp")
        assert await page.get_by_label("Per cent from above").input_value() == "40"
        # The page has been scrolled to it.
        box = await image.bounding_box()
        assert box is not None
        await page.mouse.click(box["x"] + 180, box["y"] + 30)
        assert await page.get_by_label("Per cent from the left").input_value() == "75"
        square = page.locator(".focus-square img")
        assert await square.evaluate("(each) => each.style.objectPosition") == "100% 50%"
        await axe.check(page)
        await page.get_by_role("button", name="Save the point", exact=True).click()
    else:
        await image.click(position={"x": 180, "y": 30})
    await expect(page.get_by_label("Per cent from the left")).to_have_value("75")
    async with database.reading() as session:
        after = (await session.get_one(Event, number)).shown_picture
    assert after is not None
    assert after.focus == (75, 25)
    await context.close()
