"""static/comments.js in a real browser, with a real hub beside the site."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from argon2 import PasswordHasher
from axe import Axe
from playwright.async_api import Browser, BrowserContext, Page, expect
from sqlalchemy import select
from talking import PAGE, fill, working_settings
from visiting import HINTS, Calendar

from hub.app import Hub, running
from hub.publisher import RecordingPublisher
from hub.settings import Settings as HubSettings
from web.app import create_app
from web.db.database import Database
from web.features.comments.models import Comment, Status, Thread
from web.features.comments.saving import change_status
from web.features.events.models import Event
from web.settings import Settings

pytestmark = [
    pytest.mark.parametrize("site_url", ["sqlite"], indirect=True),
    # They share a browser, which takes longer to start than most of them do.
    pytest.mark.asyncio(loop_scope="module"),
]

#: Milliseconds within which others see it.
SOON = 1000


@dataclass
class Site:
    """Where it is served, and its database, whose saves tell the hub."""

    url: str
    database: Database
    concert: Event

    async def say(self, text: str, name: str = "Cy", parent: int | None = None) -> int:
        """A comment by somebody else."""
        async with self.database.saving() as session:
            comment = Comment(thread_id=self.concert.thread_id, name=name, text=text, parent_id=parent)
            session.add(comment)
        return comment.id


@dataclass
class Readers:
    """Opens pages, each with cookies of its own; an error of our scripts fails the test."""

    chromium: Browser
    url: str
    contexts: list[BrowserContext] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    async def open(self, path: str = PAGE, *, waits: bool = True) -> Page:
        page = await self.new()
        await page.goto(path)
        if waits:
            await page.wait_for_function("() => window.Fanout?.status === 'websocket'")
        return page

    async def new(self) -> Page:
        context = await self.chromium.new_context(base_url=self.url)
        self.contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console", lambda message: self.errors.append(message.text) if "Security Policy" in message.text else None
        )
        return page


@pytest_asyncio.fixture(loop_scope="module")
async def site(settings: Settings, site_url: str) -> AsyncIterator[Site]:
    hub = Hub(HubSettings(drain_timeout=1.0), counted=["comments-*"])
    database = Database(site_url, hub.publisher, hints=HINTS)
    publisher = RecordingPublisher()
    calendar = Calendar(Database(site_url, publisher, hints=HINTS), publisher)
    concert = await calendar.event("Brass on the Quay", await calendar.category("Music"), description="Three bands.")
    await calendar.database.notifier.flush()
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    app = create_app(settings, hub.publisher, database=database, tops=hub.followers, hasher=hasher)
    hub.setup(app)
    async with running(app, hub) as url:
        await database.start()
        yield Site(url, database, concert)
    await calendar.database.close()
    await database.close()


@pytest_asyncio.fixture(loop_scope="module")
async def readers(shared_chromium: Browser, site: Site, axe: Axe) -> AsyncIterator[Readers]:
    readers = Readers(shared_chromium, site.url)
    yield readers
    for context in readers.contexts:
        await axe.look_at(context.pages, site.url)
        await context.close()
    assert readers.errors == []


async def write(page: Page, text: str, name: str = "Ada") -> None:
    await page.locator("#name").fill(name)
    await page.locator("#text").fill(text)
    await page.get_by_role("button", name="Post comment").click()


async def count_requests(page: Page) -> list[str]:
    """The requests of a page from now on."""
    found: list[str] = []
    page.on("request", lambda request: found.append(request.url))
    return found


async def test_what_one_writes_two_others_see_within_a_second_and_ask_for_nothing(readers: Readers) -> None:
    writer, *others = [await readers.open() for _ in range(3)]
    asked = [await count_requests(other) for other in others]
    await write(writer, "**Loud** <b>x</b>")
    for page in (writer, *others):
        await expect(page.locator("#comments .comment-text")).to_have_text("Loud <b>x</b>", timeout=SOON)
        await expect(page.locator("#comments .comment-text strong")).to_have_text("Loud")
        await expect(page.locator("#comment-count")).to_have_text("1")
    await others[0].locator(".comment-reply").click()
    await others[0].locator("#reply-name").fill("Bo")
    await others[0].locator("#reply-text").fill("Quite")
    await others[0].get_by_role("button", name="Post reply").click()
    for page in (writer, *others):
        await expect(page.locator(".replies .comment-text")).to_have_text("Quite", timeout=SOON)
    await expect(others[0].locator("#reply-form")).to_have_count(0)
    await writer.get_by_role("link", name="Edit or delete").first.click()
    await writer.get_by_role("dialog").get_by_label("Comment").fill("Softer")
    await writer.get_by_role("button", name="Save").click()
    for page in (writer, *others):
        await expect(page.locator("#comments .comment-text").first).to_have_text("Softer", timeout=SOON)
        await expect(page.locator(".comment-edited").first).to_be_visible()
    await writer.get_by_role("link", name="Edit or delete").first.click()
    await writer.get_by_role("button", name="Delete this comment").click()
    for page in (writer, *others):
        await expect(page.locator(".comment-gone")).to_have_text(
            "This comment was taken away. What answers it is below.", timeout=SOON
        )
        await expect(page.locator("#comment-count")).to_have_text("1")
    # The one that replied has sent its form, and nobody has asked for comments. The event itself is another part.
    for urls, sent in zip(asked, (["comments"], []), strict=True):
        assert [each for url in urls if (each := url.rpartition("/")[2]) != "about"] == sent


async def test_a_reader_further_down_is_not_moved_and_asks_for_what_is_new(readers: Readers, site: Site) -> None:
    await fill(site.database, site.concert, 40)
    page = await readers.open()
    await page.evaluate(
        "() => { window.shifts = 0; new PerformanceObserver((list) => {"
        " for (const one of list.getEntries()) {"
        "  window.shifts += one.value; window.moved = one.sources.map(({ node }) => node?.outerHTML ?? node?.data); }"
        "}).observe({ type: 'layout-shift', buffered: false }); }"
    )
    # As by a wheel: what follows an input of the reader at once is not counted as a shift.
    await page.evaluate("() => document.querySelector('#comment-20').scrollIntoView()")
    await page.wait_for_timeout(600)
    before = await page.evaluate("() => [scrollY, document.querySelector('#comment-20').getBoundingClientRect().top]")
    await site.say("One")
    async with site.database.saving() as session:
        await change_status(session, await session.get_one(Comment, 39), Status.DELETED)
        (await session.get_one(Comment, 38)).html = "<p>" + "Longer " * 200 + "</p>"
        (await session.get_one(Comment, 38)).edition = 2
    more = page.get_by_role("button", name="1 new comment", exact=True)
    await expect(more).to_be_visible(timeout=SOON)
    await site.say("Two")
    await expect(page.get_by_role("button", name="2 new comments")).to_be_visible(timeout=SOON)
    await expect(page.locator("#comment-38")).to_contain_text("Longer")
    await expect(page.locator("#comment-39")).to_contain_text("This comment was taken away.")
    await expect(page.locator("#comment-count")).to_have_text("41")
    await page.wait_for_timeout(100)
    after = await page.evaluate("() => document.querySelector('#comment-20').getBoundingClientRect().top")
    # Chromium holds on to what is read by whole pixels.
    assert abs(after - before[1]) < 1
    assert await page.evaluate("() => [window.shifts, window.moved ?? null]") == [0, None]
    await expect(page.locator("#comment-41")).to_have_count(0)
    await page.get_by_role("button", name="2 new comments").click()
    await expect(page.locator("#comment-42")).to_be_focused()
    await expect(page.locator("#comment-41")).to_be_visible()
    await expect(page.locator("#new-comments")).to_be_hidden()


async def test_who_can_not_see_it_is_told_once(readers: Readers, site: Site) -> None:
    page = await readers.open()
    await page.evaluate(
        "() => { window.said = []; const news = document.querySelector('#comment-news');"
        " new MutationObserver(() => window.said.push(news.textContent)).observe(news, { childList: true }); }"
    )
    await site.say("Hello", "Cy")
    await expect(page.locator("#comment-news")).to_have_text("New comment from Cy")
    await write(page, "Mine")
    await expect(page.locator("#comments .comment-text").first).to_have_text("Mine")
    assert await page.evaluate("() => window.said") == ["New comment from Cy"]


async def test_with_the_hub_refused_comments_come_by_the_slow_poll(readers: Readers, site: Site) -> None:
    page = await readers.new()
    await page.context.route("**/bayeux**", lambda route: route.abort())
    await page.context.route_web_socket("**/bayeux**", lambda socket: socket.close())
    await page.goto(PAGE)
    await site.say("Slowly")
    # SITE_POLL of the tests' site.
    await expect(page.locator("#comments .comment-text")).to_have_text("Slowly", timeout=15_000)
    await expect(page.locator("#comment-count")).to_have_text("1")


async def test_by_keyboard_alone(readers: Readers, site: Site) -> None:
    await site.say("First")
    page = await readers.open()
    await page.locator("#name").focus()
    await page.keyboard.type("Ada")
    await page.keyboard.press("Tab")
    await page.keyboard.type("By keys")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator("#comments .comment-text").first).to_have_text("By keys")
    reply = page.get_by_role("link", name="Reply to Cy")
    await reply.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#reply-text")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(reply).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.type("A reply")
    await page.keyboard.press("Control+Enter")
    row = page.locator(".replies [data-comment-id]")
    await expect(row).to_be_focused()
    await expect(row.locator(".comment-text")).to_have_text("A reply")


async def test_a_thread_that_is_closed_meanwhile_says_so_and_keeps_what_is_typed(readers: Readers, site: Site) -> None:
    page = await readers.open()
    await page.locator("#text").fill("Half a thought")
    async with site.database.saving() as session:
        (await session.get_one(Thread, site.concert.thread_id)).is_open = False
    await expect(page.locator("#comment-form .notice")).to_have_text(
        "This discussion was closed just now.", timeout=SOON
    )
    await expect(page.locator("#text")).to_have_value("Half a thought")


async def test_readers_see_how_many_they_are(readers: Readers) -> None:
    first = await readers.open()
    await expect(first.locator("#reading-now")).to_have_text("")
    second = await readers.open()
    for page in (first, second):
        await expect(page.locator("#reading-now")).to_have_text("2 reading now")
    answer = await (await first.request.get("/presence?channel=comments-1")).json()
    # No names, and nothing else of anybody.
    assert (answer["count"], answer["users"]) == (2, [])
    await second.close()
    await expect(first.locator("#reading-now")).to_have_text("")


async def test_what_is_published_can_do_no_harm(readers: Readers, site: Site) -> None:
    """If somebody else could publish to the channel."""
    page = await readers.open()
    async with site.database.saving() as session:
        comment = Comment(
            thread_id=site.concert.thread_id,
            name="Eve",
            text="x",
            html='<p>Hi<img src=/x><a href="javascript:alert(1)">a</a><button>b</button></p>',
        )
        session.add(comment)
    row = page.locator("#comments .comment-text")
    await expect(row).to_have_text("Hia")
    assert await row.evaluate("(each) => each.innerHTML") == "<p>Hi<a>a</a></p>"


class TestWork:
    """A site that asks for work before a comment is sent."""

    @pytest.fixture
    def settings(self, site_url: str, tmp_path: Path) -> Settings:
        return working_settings(site_url, tmp_path, 20)

    async def test_page_works_from_the_first_letter_on(self, readers: Readers, site: Site) -> None:
        page = await readers.open()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.locator("#name").focus()
        assert not any("/comments/work" in url for url in asked)
        async with page.expect_response("**/comments/work"):
            await page.locator("#text").type("B")
        await write(page, "By hand and head")
        await expect(page.locator("#comment-form .notice")).to_have_text("Posted.")
        await page.locator("article", has_text="By hand and head").get_by_role("link", name="Reply").click()
        await page.locator("#reply-text").fill("And an answer")
        await page.get_by_role("button", name="Post reply").click()
        await expect(page.locator("article", has_text="And an answer")).to_be_visible()
        # Each has work of its own.
        assert sum("/comments/work" in url for url in asked) == 2
        async with site.database.reading() as session:
            found = list(await session.scalars(select(Comment.status).order_by(Comment.id)))
        assert found == [Status.PUBLISHED, Status.PUBLISHED]

    async def test_browser_that_can_not_work_is_told_that_it_has_to_wait(self, readers: Readers) -> None:
        """Over plain HTTP browsers have no crypto.subtle."""
        page = await readers.new()
        await page.add_init_script("Object.defineProperty(Crypto.prototype, 'subtle', { value: undefined })")
        await page.goto(PAGE)
        await write(page, "Without")
        await expect(page.locator("#comment-form .notice")).to_have_text("A moderator will look at it first.")
        await expect(page.locator("article", has_text="Without")).to_contain_text("moderator")
