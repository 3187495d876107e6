"""The desk in a real browser with a real hub: what is typed is kept, previewed and saved, and others are told."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from argon2 import PasswordHasher
from blogging import Blog
from playwright.async_api import Browser, BrowserContext, Page, expect
from visiting import HINTS, PASSWORD

from hub.app import Hub, running
from hub.publisher import RecordingPublisher
from hub.settings import Settings as HubSettings
from web.app import create_app
from web.db.database import Database
from web.features.accounts.people import create_user
from web.features.blog.models import Post
from web.identity.passwords import Passwords
from web.identity.roles import Role
from web.pages import keys
from web.settings import Settings

pytestmark = [
    pytest.mark.parametrize("site_url", ["sqlite"], indirect=True),
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass
class Site:
    """Where it is served, and its blog, whose saves tell the hub."""

    url: str
    blog: Blog

    async def reread(self, post: Post) -> Post:
        async with self.blog.database.reading() as session:
            return await session.get_one(Post, post.id)


@pytest_asyncio.fixture(loop_scope="module")
async def site(settings: Settings, site_url: str) -> AsyncIterator[Site]:
    hub = Hub(HubSettings(drain_timeout=1.0, key=b"sixteen bytes at least"))
    database = Database(site_url, hub.publisher, hints=HINTS)
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    app = create_app(settings, hub.publisher, database=database, tops=hub.followers, hasher=hasher, listening=hub.token)
    hub.setup(app)
    async with running(app, hub) as url:
        await database.start()
        for name in ("ada", "bo"):
            await create_user(database, Passwords(hasher), name, PASSWORD, Role.WRITER)
        yield Site(url, Blog(database, RecordingPublisher(), app[keys.jobs]))
    await database.close()


async def sign_in(chromium: Browser, site: Site, name: str, **options: str) -> BrowserContext:
    context = await chromium.new_context(base_url=site.url, **options)  # type: ignore[arg-type]  # of one kind
    page = await context.new_page()
    await page.goto("/login")
    await page.fill("#name", name)
    await page.fill("#password", PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.wait_for_url(lambda url: not url.endswith("/login"))
    await page.close()
    return context


@pytest_asyncio.fixture(loop_scope="module")
async def page(shared_chromium: Browser, site: Site) -> AsyncIterator[Page]:
    """A page of bo's browser, in Berlin; an error of our scripts, or what the policy forbids, fails the test."""
    context = await sign_in(shared_chromium, site, "bo", timezone_id="Europe/Berlin")
    page = await context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Security Policy" in message.text else None)
    yield page
    await context.close()
    # Of the one that is offline.
    assert [each for each in errors if each != "Failed to fetch"] == []


async def connected(page: Page) -> None:
    await page.wait_for_function("() => window.Fanout?.status === 'websocket'")


async def test_table_follows_drafts_of_others(page: Page, site: Site) -> None:
    await page.goto("/manage/posts")
    await expect(page.locator("#desk[data-follow=private-desk]")).to_be_visible()
    await connected(page)
    await site.blog.draft("Ice")
    await expect(page.get_by_role("link", name="Ice", exact=True)).to_be_visible(timeout=3000)
    await page.get_by_role("button", name="Publish now Ice").click()
    await expect(page.get_by_role("button", name="Unpublish Ice")).to_be_visible(timeout=3000)


async def test_preview_comes_as_one_types_and_a_save_stays_on_the_page(page: Page, site: Site) -> None:
    post = await site.blog.draft("Snow", text="One.")
    await page.goto(f"/manage/posts/{post.id}")
    await page.fill("#text", "It *snows*.")
    await expect(page.locator("#preview em")).to_have_text("snows")
    await page.fill("#title", "First snow")
    await expect(page.locator("#preview-headline")).to_have_text("First snow")
    await page.fill("#text", "It *snows* again.")
    await page.keyboard.press("Control+s")
    await expect(page.locator("#kept")).to_contain_text("Saved.")
    assert (await site.reread(post)).text == "It *snows* again."
    await expect(page.locator('[name="edition"]').first).to_have_value("2")
    # Its own save is no other's.
    await page.fill("#text", "It *snows* once more.")
    await page.keyboard.press("Control+s")
    await expect(page.locator('[name="edition"]').first).to_have_value("3")
    await expect(page.locator("#newer .banner")).to_be_hidden()


async def test_what_is_typed_is_kept_without_a_save(page: Page, site: Site) -> None:
    post = await site.blog.draft("Snow", text="One.")
    await page.goto(f"/manage/posts/{post.id}")
    await page.fill("#text", "Half a sen")
    await expect(page.locator("#kept")).to_contain_text("kept as a draft")
    await page.reload()
    await expect(page.locator("#text")).to_have_value("Half a sen")
    await expect(page.get_by_text("did not save")).to_be_visible()
    assert (await site.reread(post)).text == "One."


async def test_what_is_typed_while_the_site_is_away_is_in_the_browser(page: Page, site: Site) -> None:
    post = await site.blog.draft("Snow", text="One.")
    await page.goto(f"/manage/posts/{post.id}")
    await page.context.set_offline(True)
    await page.fill("#text", "Typed in a train.")
    await expect(page.locator("#kept")).to_contain_text("kept in this browser only")
    await page.keyboard.press("Control+s")
    await expect(page.locator("#kept")).to_contain_text("could not be saved")
    await page.context.set_offline(False)
    await page.goto(f"/manage/posts/{post.id}")
    await page.get_by_role("button", name="Take them").click()
    await expect(page.locator("#text")).to_have_value("Typed in a train.")
    await page.get_by_role("button", name="Save draft").click()
    await expect(page.locator("#kept")).to_contain_text("Saved.")
    assert (await site.reread(post)).text == "Typed in a train."


async def test_second_writer_is_told_at_once_and_shown_both_at_the_save(page: Page, site: Site) -> None:
    post = await site.blog.draft("Snow", text="One.")
    await page.goto(f"/manage/posts/{post.id}")
    await connected(page)
    await page.fill("#text", "Mine.")
    await site.blog.edit(post, text="Theirs.")
    await expect(page.get_by_text("has saved this post meanwhile")).to_be_visible(timeout=3000)
    await expect(page.locator("#text")).to_have_value("Mine.")
    await page.get_by_role("button", name="Save draft").click()
    await expect(page.get_by_text("since you began")).to_be_visible()
    await expect(page.locator("#theirs")).to_have_value("Theirs.")
    await expect(page.locator("#text")).to_have_value("Mine.")


async def test_times_are_of_the_writers_clock(page: Page, site: Site) -> None:
    post = await site.blog.post("Snow", at=datetime(2199, 7, 1, 10, 0, tzinfo=UTC))
    await page.goto(f"/manage/posts/{post.id}")
    await expect(page.locator("#zone")).to_have_value("Europe/Berlin")
    await expect(page.locator("#published_at")).to_have_value("2199-07-01T12:00")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#kept")).to_contain_text("Planned")
    assert (await site.reread(post)).published_at == post.published_at
    await page.fill("#published_at", "2199-07-01T13:30")
    # The words are the same as after the save before.
    async with page.expect_response(f"**/manage/posts/{post.id}") as answer:
        await page.get_by_role("button", name="Save").click()
    assert (await answer.value).status == 200
    await page.reload()
    await expect(page.locator("#published_at")).to_have_value("2199-07-01T13:30")
    assert (await site.reread(post)).published_at == datetime(2199, 7, 1, 11, 30, tzinfo=UTC)


async def test_a_new_post_is_begun_kept_and_saved(page: Page) -> None:
    await page.goto("/manage/posts/new")
    await page.fill("#title", "Thaw")
    await page.fill("#text", "It thaws.")
    await expect(page.locator("#kept")).to_contain_text("kept as a draft")
    await page.get_by_role("button", name="Save draft").click()
    await page.wait_for_url(re.compile(r"/manage/posts/\d+"))
    await expect(page.locator("h1")).to_contain_text("Edit post")
    await page.goto("/manage/posts")
    await expect(page.get_by_text("Begun and not saved")).to_have_count(0)
    await expect(page.get_by_role("link", name="Thaw", exact=True)).to_be_visible()
