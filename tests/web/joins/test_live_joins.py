"""An open page of joins, in a real browser with a real hub and a worker that measures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from argon2 import PasswordHasher
from playwright.async_api import Browser, Page, expect
from visiting import HINTS, PASSWORD

from hub.app import Hub, running
from hub.settings import Settings as HubSettings
from web.app import create_app, read_settings
from web.db.database import Database
from web.features.accounts.people import create_user
from web.identity.passwords import Passwords

pytestmark = [
    pytest.mark.parametrize("site_url", ["sqlite"], indirect=True),
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass
class Site:
    """Where it is served, and its database."""

    url: str
    database: Database


@pytest_asyncio.fixture(loop_scope="module")
async def site(site_url: str) -> AsyncIterator[Site]:
    hub = Hub(HubSettings(drain_timeout=1.0))
    database = Database(site_url, hub.publisher, hints=HINTS)
    environ = {
        "DATABASE_URL": site_url,
        "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
        "JOBS_POLL": "0.5",
        "SITE_JOINS_SONGS": "2000",
        "SITE_JOINS_LOOKS": "1000000",
    }
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    settings = read_settings(environ)
    app = create_app(settings, hub.publisher, database=database, tops=hub.followers, with_jobs=True, hasher=hasher)
    hub.setup(app)
    async with running(app, hub) as url:
        await database.start()
        await create_user(database, Passwords(hasher), "ada", PASSWORD)
        yield Site(url, database)
    await database.close()


async def opened(browser: Browser, site: Site, *, script: bool = True) -> Page:
    context = await browser.new_context(base_url=site.url, java_script_enabled=script)
    page = await context.new_page()
    await page.goto("/lab/joins")
    return page


async def test_visitor_sees_a_run_that_a_manager_begins(shared_chromium: Browser, site: Site) -> None:
    """Without a reload: how far it is, figures that change while it is measured, and its end."""
    visitor = await opened(shared_chromium, site)
    await expect(visitor.locator("#joins")).to_contain_text("Nothing has been measured here yet.")
    await expect(visitor.get_by_role("button", name="Measure")).to_have_count(0)
    await visitor.wait_for_function("() => window.Fanout?.status === 'websocket'")
    await visitor.evaluate("() => { window.same = true; }")
    manager = await opened(shared_chromium, site)
    await manager.goto("/login")
    await manager.fill("#name", "ada")
    await manager.fill("#password", PASSWORD)
    await manager.locator("main form button").first.click()
    await manager.goto("/lab/joins")
    await manager.fill("#seconds", "4")
    await manager.get_by_role("button", name="Measure").click()
    await expect(visitor.locator("#joins-progress")).to_be_visible()
    await expect(visitor.get_by_role("heading", name="So far")).to_be_visible()
    await expect(visitor.locator("#joins-figures svg rect.bar")).to_have_count(9)
    await expect(visitor.get_by_role("heading", name="The newest run")).to_be_visible()
    await expect(visitor.locator("#joins-progress")).to_have_count(0)
    assert await visitor.evaluate("() => window.same")
    plain = await opened(shared_chromium, site, script=False)
    rows = plain.get_by_role("table", name="Milliseconds to read a song and its artist").get_by_role("row")
    await expect(rows).to_have_count(4)
    for page in (visitor, manager, plain):
        await page.context.close()
