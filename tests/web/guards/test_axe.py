"""Every page of the site in a browser, looked at by axe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from aiohttp import web
from argon2 import PasswordHasher
from axe import Axe
from planting import plant
from playwright.async_api import Browser, Page
from routes import SAVED, fill, pages_of
from services import ROOT
from sqlalchemy import select
from visiting import HINTS, PASSWORD

from hub.app import Hub, running
from hub.settings import Settings as HubSettings
from web.app import create_app, read_settings
from web.db.database import Database
from web.features.accounts.people import create_user
from web.features.comments.models import Thread
from web.features.events.models import Event
from web.identity.passwords import Passwords

pytestmark = [
    pytest.mark.parametrize("site_url", ["sqlite"], indirect=True),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("node_modules"),
]

#: Beside the routes' own addresses: what is only seen now and then.
MORE = ("/nothing", "/?page=2", "/events/scheduled-0?before=5", "/events/live-1", "/account?done=ended")


@dataclass
class Site:
    url: str
    app: web.Application
    paths: list[str]


@pytest_asyncio.fixture(loop_scope="module")
async def site(passwords: Passwords, site_url: str) -> AsyncIterator[Site]:
    """The whole site with a dozen rows of everything, and a hub."""
    environ = {"DATABASE_URL": site_url, "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==", "JOBS_SERVE": "false"} | {
        "SEARCH_DIR": "memory"
    }
    settings = read_settings(environ | {"GITHUB_CLIENT_ID": "x", "GITHUB_CLIENT_SECRET": "y", "GITHUB_ANYBODY": "true"})
    hub = Hub(HubSettings(drain_timeout=1.0))
    database = Database(site_url, hub.publisher, hints=HINTS)
    await create_user(database, passwords, "ada", PASSWORD)
    await fill(database, 0, 12)
    async with database.saving() as session:
        # An event that is live, and takes no comments any more: /events/live-1.
        event = await session.scalar(select(Event).where(Event.slug == "live-1"))
        assert event is not None
        (await session.get_one(Thread, event.thread_id)).is_open = False
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    app = create_app(
        settings, hub.publisher, database=database, following=hub.followers, tops=hub.followers, hasher=hasher
    )
    # Before the hub has its own routes in it.
    paths = pages_of(app)
    hub.setup(app)
    async with running(app, hub) as url:
        await database.start()
        yield Site(url, app, paths)
    await database.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(shared_chromium: Browser, site: Site) -> AsyncIterator[Page]:
    page = await (await shared_chromium.new_context(base_url=site.url)).new_page()
    yield page
    await page.context.close()


async def sign_in(page: Page, password: str = PASSWORD) -> None:
    await page.goto("/login")
    await page.get_by_label("Name").fill("ada")
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in", exact=True).click()


# Some eighty pages at two widths: two minutes on a machine of its own.
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("who", ["visitor", "manager"])
async def test_every_page_is_for_everybody(page: Page, site: Site, axe: Axe, who: str) -> None:
    if who == "manager":
        await sign_in(page)
        await page.wait_for_url("**/manage/events")
    faults, looked_at = [], 0
    for path in (*site.paths, *MORE):
        if path in SAVED:
            continue
        response = await page.goto(path)
        assert response is not None
        if not response.headers["content-type"].startswith("text/html"):
            continue
        looked_at += 1
        try:
            await axe.look_at([page], site.url)
        except AssertionError as error:
            faults.append(str(error))
    assert looked_at > len(site.paths) // 2
    if faults:
        raise AssertionError("\n".join(faults))


async def test_forms_with_errors_are_for_everybody(page: Page, site: Site, axe: Axe) -> None:
    await sign_in(page, "not the password")
    await page.locator("#login-error").wait_for()
    await axe.check(page)
    await sign_in(page)
    await page.wait_for_url("**/manage/events")
    await page.goto("/manage/events/new")
    await page.get_by_label("Title").fill("Jazz Night")
    await page.get_by_label("Address").fill("Not a slug!")
    await page.get_by_role("button", name="Save").click()
    await page.locator("#slug-error").wait_for()
    await axe.check(page)


async def test_field_without_a_label_is_found(page: Page, site: Site, axe: Axe) -> None:
    text = (ROOT / "templates" / "accounts" / "login.html").read_text(encoding="utf-8")
    before, _, after = text.partition("{{ input('name'")
    plant(site.app, "accounts/login.html", before + '<input id="name" name="name">' + after[after.index("}}") + 2 :])
    line = before.count("\n") + 1
    await page.goto("/login")
    with pytest.raises(AssertionError) as caught:
        await axe.check(page)
    (fault,) = str(caught.value).split("\n")
    assert fault.startswith(f"GET /login: templates/accounts/login.html:{line}: label: ")


async def test_faint_text_is_found_where_it_is_faint(page: Page, site: Site, axe: Axe) -> None:
    """In the dark alone, and on the phone alone."""
    text = (ROOT / "templates" / "error.html").read_text(encoding="utf-8")
    style = '<p class="faint">Hard to read</p>'
    plant(site.app, "error.html", text.replace("<p>{{ step }}</p>", style))
    await page.goto("/nothing")
    await page.evaluate(
        """() => {
            const sheet = new CSSStyleSheet();
            sheet.replaceSync(`@media (prefers-color-scheme: dark) and (max-width: 400px) {
                .faint { color: #333; background: #222; }
            }`);
            document.adoptedStyleSheets.push(sheet);
        }"""
    )
    with pytest.raises(AssertionError, match=r"color-contrast: .* \(dark, 390 px\)") as caught:
        await axe.look_at([page], site.url)
    line = text[: text.index("<p>{{ step }}</p>")].count("\n") + 1
    assert f"templates/error.html:{line}: " in str(caught.value)
