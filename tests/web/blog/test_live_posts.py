"""Posts on open pages, in a real browser with a real hub and a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
import pytest_asyncio
from axe import Axe
from blogging import Blog
from playwright.async_api import Browser, Page, expect
from visiting import HINTS

from hub.app import Hub, running
from hub.publisher import RecordingPublisher
from hub.settings import Settings as HubSettings
from web.app import create_app
from web.db.database import Database
from web.db.tables import now
from web.features.comments.models import Comment
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


@pytest_asyncio.fixture(loop_scope="module")
async def site(settings: Settings, site_url: str) -> AsyncIterator[Site]:
    hub = Hub(HubSettings(drain_timeout=1.0))
    database = Database(site_url, hub.publisher, hints=HINTS)
    app = create_app(settings, hub.publisher, database=database, tops=hub.followers, with_jobs=True)
    hub.setup(app)
    async with running(app, hub) as url:
        await database.start()
        yield Site(url, Blog(database, RecordingPublisher(), app[keys.jobs]))
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


async def connected(page: Page) -> None:
    await page.wait_for_function("() => window.Fanout?.status === 'websocket'")


async def test_a_planned_post_comes_to_an_open_page_when_its_time_has_come(page: Page, site: Site) -> None:
    await site.blog.post("There", "A")
    await page.goto("/oc-A")
    await connected(page)
    await page.evaluate("() => { window.same = true; }")
    at = now() + timedelta(seconds=1)
    await site.blog.post("Planned", "A", at=at)
    await expect(page.locator(".post-title").first).to_have_text("Planned")
    assert now() >= at
    assert await page.locator(".post-title").all_inner_texts() == ["Planned", "There"]
    assert await page.evaluate("() => window.same")


async def test_an_edit_and_a_comment_come_to_the_open_post(page: Page, site: Site) -> None:
    post = await site.blog.post("Snow", text="It snows.")
    await page.goto(f"/posts/{post.slug}")
    await connected(page)
    await site.blog.edit(post, title="Ice", text="It is **cold**.")
    await expect(page.locator("#post h1")).to_have_text("Ice")
    await expect(page.locator("#post strong")).to_have_text("cold")
    async with site.blog.database.saving() as session:
        session.add(Comment(thread_id=post.thread_id, name="Ada", text="Very"))
    await expect(page.locator("#comments .comment-text")).to_have_text("Very")


@pytest.mark.parametrize("width", [390, 1280])
async def test_no_page_is_wider_than_the_window(page: Page, site: Site, width: int) -> None:
    text = f"{'w' * 300}\n\n```\n{'c' * 300}\n```\n\n| {' | '.join('abcdefghijklmnop')} |\n|{'---|' * 16}\n"
    post = await site.blog.post("t" * 150, "A", "x" * 60, text=text, slug=f"wide-{width}")
    await page.set_viewport_size({"width": width, "height": 900})
    for path in ("/", "/oc-A", f"/posts/{post.slug}"):
        await page.goto(path)
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= width, path


async def test_code_is_copied_by_a_button_that_stays_through_an_edit(page: Page, site: Site, axe: Axe) -> None:
    """To the letter, by keyboard too, in lists as well; nothing moves for it, and a live edit leaves it where it is."""
    code = "if here:\n    go()"
    text = f"Do this:\n\n```python lines\n{code}\n```\n\n- And this:\n\n  ```\n  make\n  ```\n\nDone."
    post = await site.blog.post("Code to copy", text=text)
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.url)
    # Of what is in the text: the page's times become the reader's, beside it.
    moved = "(each) => each.sources.some(({node}) => node?.parentElement?.closest('.post-text'))"
    shifts = f"new PerformanceObserver((list) => window.shifts.push(...list.getEntries().filter({moved})))"
    await page.add_init_script(f"window.shifts = []; {shifts}.observe({{type: 'layout-shift', buffered: true}})")
    await page.goto(f"/posts/{post.slug}")
    await connected(page)
    buttons = page.get_by_role("button", name="Copy this code")
    await expect(buttons).to_have_count(2)
    await buttons.first.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Copied")).to_be_focused()
    await expect(page.locator(".post-text [role=status]").first).to_have_text("Copied")
    assert await page.evaluate("() => navigator.clipboard.readText()") == code
    await buttons.nth(1).click()
    assert await page.evaluate("() => navigator.clipboard.readText()") == "make"
    # What follows makes the post longer.
    assert await page.evaluate("() => window.shifts.length") == 0
    await axe.check(page)
    await page.evaluate("() => { window.buttons = [...document.querySelectorAll('.copy-code')]; }")
    await site.blog.edit(post, text=text.replace("Done.", "Done it.\n\n    more"))
    await expect(page.locator(".copy-code")).to_have_count(3)
    assert await page.evaluate("() => window.buttons.every((each) => each.isConnected)")


async def test_without_a_clipboard_code_is_selected(page: Page, site: Site) -> None:
    """As on plain http, where a browser has none to give."""
    post = await site.blog.post("Code to select", text="```\nmake\n```")
    await page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    await page.goto(f"/posts/{post.slug}")
    await page.get_by_role("button", name="Copy this code").click()
    assert (await page.evaluate("() => getSelection().toString()")).strip() == "make"
