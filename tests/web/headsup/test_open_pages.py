"""In a browser: from signing in with GitHub to the first mail, and a log that changes by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from axe import Axe
from fake_github import CLIENT_ID, CLIENT_SECRET, FakeGitHub
from playwright.async_api import Browser, Page, expect
from pushing import commit, github, ping, push
from sqlalchemy import select
from visiting import HINTS

from hub.app import Hub, running
from hub.settings import Settings as HubSettings
from web.app import create_app, read_settings
from web.db.database import Database
from web.features.accounts.github_views import BACK
from web.features.headsup.models import HeadsupAddress
from web.services.mail.addresses import Address
from web.services.mail.jobs import POST_OFFICE, PostOffice
from web.services.mail.postmen import RecordingPostman

pytestmark = [pytest.mark.asyncio(loop_scope="module")]


@dataclass
class Site:
    url: str
    database: Database
    postman: Any

    async def hook(self, sent: dict[str, Any]) -> int:
        async with ClientSession() as session, session.post(f"{self.url}/headsup/hook", **sent) as response:
            return response.status


@pytest_asyncio.fixture(loop_scope="module")
async def site(environ: dict[str, str], site_url: str) -> AsyncIterator[Site]:
    fake = FakeGitHub()
    await fake.start()
    more = {"GITHUB_CLIENT_ID": CLIENT_ID, "GITHUB_CLIENT_SECRET": CLIENT_SECRET, "GITHUB_ANYBODY": "true"}
    settings = read_settings(environ | more | {"GITHUB_URL": fake.url})
    hub = Hub(HubSettings(drain_timeout=1.0))
    database = Database(site_url, hub.publisher, hints=HINTS)
    app = create_app(settings, hub.publisher, database=database, tops=hub.followers, with_jobs=True)
    postman = RecordingPostman()
    app[POST_OFFICE] = PostOffice(postman, Address("noreply", "example.org", "Fanfare"))
    hub.setup(app)
    async with running(app, hub) as url:
        fake.callback = url + BACK
        await database.start()
        yield Site(url, database, postman)
    await database.close()
    await fake.close()


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


async def test_from_signing_in_to_the_first_mail(page: Page, site: Site, axe: Axe) -> None:
    await page.goto("/headsup")
    await page.get_by_role("main").get_by_role("link", name="Sign in").click()
    await page.get_by_role("button", name="Sign in with GitHub").click()
    await page.wait_for_url("**/headsup/new")
    await page.get_by_label("Repository").fill("ada/engine")
    await page.get_by_label("Who gets it").fill("team@example.org")
    await axe.check(page)
    await page.set_viewport_size({"width": 390, "height": 900})
    assert await page.evaluate("() => document.documentElement.scrollWidth") <= 390
    await page.get_by_role("button", name="Watch it").click()
    secret = await page.locator("#new-secret").inner_text()
    state = page.locator("#hook-state")
    await expect(state).to_contain_text("Waiting for GitHub’s ping…")
    await page.wait_for_function("() => window.Fanout?.status === 'websocket'")
    assert await site.hook(github(ping(), event="ping", secret=secret)) == 200
    # It turns green by itself.
    await expect(state.locator("[data-kind=success]")).to_contain_text("The forge reaches this site")
    await axe.check(page)
    await page.get_by_role("button", name="Sign an example").click()
    await expect(page.locator("#signed-1")).to_contain_text("sha256=")
    await axe.check(page)
    assert await page.evaluate("() => document.documentElement.scrollWidth") <= 390
    async with site.database.reading() as session:
        token = await session.scalar(select(HeadsupAddress.token))
    await page.goto(f"/headsup/confirm/{token}")
    await page.get_by_role("button", name="Yes, send them").click()
    await expect(page.get_by_role("status")).to_contain_text("gets them from now on")
    await page.goto("/headsup/1/log")
    await page.wait_for_function("() => window.Fanout?.status === 'websocket'")
    await page.evaluate("() => { window.same = true; }")
    assert await site.hook(github(push(commit("headsup: run it"), commit("nothing")), secret=secret)) == 202
    await expect(page.get_by_role("heading", name="1 heads-up")).to_be_visible()
    await expect(page.locator(".recipients .status")).to_have_text("Sent")
    assert await page.evaluate("() => window.same")
    await axe.check(page)
    assert any(b"Subject: Headsup! ada/engine: run it" in raw for raw, _, _ in site.postman.mails)
    for width in (390, 1280):
        await page.set_viewport_size({"width": width, "height": 900})
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= width
    await page.goto("/headsup/1/log/2")
    await page.get_by_role("button", name="Send again").click()
    await expect(page.locator(".recipients .status")).to_have_count(2)
