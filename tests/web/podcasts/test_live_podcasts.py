"""Podcasts on open pages, in a real browser with a real hub and a worker that fetches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from feeding import episodes, feed, item, weekly
from playwright.async_api import Browser, Page, expect
from serving import Podcasts, Publisher
from sqlalchemy import update
from visiting import HINTS

from hub.app import Hub, running
from hub.settings import Settings as HubSettings
from web.app import create_app, read_settings
from web.db.database import Database
from web.features.pictures.forms import Shown
from web.features.pictures.geometry import Size
from web.features.podcasts.models import Feed, Podcast
from web.pages import keys

pytestmark = [
    pytest.mark.parametrize("site_url", ["sqlite"], indirect=True),
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass
class Site:
    """Where it is served, its podcasts, and a server of their feeds."""

    url: str
    podcasts: Podcasts
    server: Publisher


@pytest_asyncio.fixture(loop_scope="module")
async def site(site_url: str) -> AsyncIterator[Site]:
    from aiohttp import web
    from aiohttp.test_utils import TestServer

    publisher = Publisher()
    feeds = web.Application()
    feeds.router.add_route("*", "/{path:.*}", publisher.answer)
    served = TestServer(feeds)
    await served.start_server()
    publisher.url = str(served.make_url("/feed.xml"))
    hub = Hub(HubSettings(drain_timeout=1.0))
    database = Database(site_url, hub.publisher, hints=HINTS)
    environ = {
        "DATABASE_URL": site_url,
        "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
        "OUTBOUND_ALLOW": "127.0.0.1",
        "PODCASTS_DIRECTORY": str(served.make_url("/itunes")),
        "JOBS_POLL": "0.5",
    }
    app = create_app(read_settings(environ), hub.publisher, database=database, tops=hub.followers, with_jobs=True)
    hub.setup(app)
    async with running(app, hub) as url:
        await database.start()
        parts = {keys.database: database}
        yield Site(url, Podcasts(parts, database), publisher)
    await database.close()
    await served.close()


@pytest_asyncio.fixture(loop_scope="module", params=[1280, 390])
async def page(request: pytest.FixtureRequest, shared_chromium: Browser, site: Site) -> AsyncIterator[Page]:
    """A page of a browser; an error of our scripts, or something the policy forbids, fails the test."""
    size = {"width": request.param, "height": 900}
    page = await (await shared_chromium.new_context(base_url=site.url, viewport=size)).new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Security Policy" in message.text else None)
    yield page
    await page.context.close()
    assert errors == []


async def connected(page: Page) -> None:
    await page.wait_for_function("() => window.Fanout?.status === 'websocket'")


async def fetched(site: Site, name: str, query: str = "") -> int:
    """A podcast that is known, with 30 weekly episodes of half an hour."""
    from serving import here

    from web.features.podcasts import store
    from web.features.podcasts.reading import read_feed

    async with site.podcasts.database.saving() as session:
        podcast, _ = await store.add(session, f"{site.server.url}?{query or name}", name)
        await store.put(session, podcast, await here(read_feed, weekly(30, title=name)))
        # Far from being due.
        await session.execute(update(Feed).where(Feed.podcast_id == podcast.id).values(next=4e9))
    return podcast.id


async def test_found_picked_reckoned_and_changed_by_a_fetch(page: Page, site: Site) -> None:
    """Search, pick three, numbers and plot appear; an episode that is added elsewhere changes the open page."""
    ids = [await fetched(site, f"{word} show") for word in ("First", "Second", "Third")]
    new = item("A long one", date=datetime.now(UTC) - timedelta(minutes=5), duration="20:00:00")
    site.server.body = feed(new, *episodes(30, datetime.now(UTC) - timedelta(hours=1)), title="First show")
    await page.goto("/podcasts")
    await page.fill("#podcast-question", "sho")
    await expect(page.locator("#podcast-found")).to_have_text("3 found")
    await page.get_by_role("button", name="Pick First show").click()
    await expect(page.locator("#mine .pod")).to_have_count(1)
    for word in ("sec", "thir"):
        await page.fill("#podcast-question", word)
        await expect(page.locator("#podcast-found")).to_have_text("1 found!")
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Enter")
        await expect(page.locator("#podcast-question")).to_have_value("")
    await expect(page.locator("#pod-" + str(ids[2]))).to_be_visible()
    assert page.url.endswith(f"/podcasts/mine/{'-'.join(map(str, ids))}")
    await expect(page.locator("#podcast-plot svg.plot path.line")).to_have_count(3)
    await expect(page.locator("#made-from")).to_contain_text("from 90 episodes, all with known length")
    await connected(page)
    await page.evaluate("() => { window.same = true; }")
    before = await page.inner_text("#per-month")
    began = datetime.now(UTC)
    async with site.podcasts.database.saving() as session:
        await session.execute(update(Feed).where(Feed.podcast_id == ids[0]).values(next=0.0))
        from web.features.podcasts import jobs
        from web.services.jobs.queue import Queue

        await jobs.plan(session, Queue(), "127.0.0.1")
    await expect(page.locator("#made-from")).to_contain_text("from 91 episodes")
    assert await page.inner_text("#per-month") != before
    assert await page.evaluate("() => window.same")
    (fetch,) = await site.podcasts.fetches(ids[0])
    # Two seconds after its fetch, on a machine that is not busy; tests are run on busy ones.
    assert datetime.now(UTC) - max(fetch.at, began) < timedelta(seconds=20)


async def test_a_click_on_a_podcast_and_back_ask_nothing(page: Page, site: Site) -> None:
    id = await fetched(site, "Known one")
    await page.goto(f"/podcasts/mine/{id}")
    await connected(page)
    asked: list[str] = []
    # A browser takes a site's icon from its own store each time that the address changes.
    page.on("request", lambda request: "icon.svg" in request.url or asked.append(request.url))
    await page.get_by_role("link", name="Known one", exact=True).click()
    await expect(page.locator("#podcast-shown h1")).to_have_text("Known one")
    assert page.url.endswith(f"/podcasts/{id}/known-one")
    await page.go_back()
    await expect(page.locator("#per-week")).to_be_visible()
    assert page.url.endswith(f"/podcasts/mine/{id}")
    assert asked == []
    # A reload of a podcast's address is its own page.
    await page.goto(f"/podcasts/{id}/known-one")
    await expect(page.locator("h1")).to_have_text("Known one")


async def test_the_search_shows_the_sites_own_squares_and_no_others(page: Page, site: Site) -> None:
    """What is elsewhere our policy forbids: the page has none, and asks for none."""
    own, elsewhere = await fetched(site, "Own square"), await fetched(site, "Square elsewhere")
    shown = Shown("5" * 32, Size(400, 400), ready=True, sizes=(Size(348, 348),), cropped=(50, 50))
    async with site.podcasts.database.saving() as session:
        address = "https://pictures.example/art.png"
        await session.execute(update(Podcast).where(Podcast.id == own).values(picture=shown.as_row()))
        await session.execute(update(Podcast).where(Podcast.id == elsewhere).values(image_url=address))
    await page.goto("/podcasts")
    await page.fill("#podcast-question", "square")
    await expect(page.locator("#podcast-found")).to_have_text("2 found")
    square = page.locator(f"#found-{own} .crop img")
    await expect(square).to_have_attribute("src", shown.crop_path(174, "jpeg"))
    assert await square.evaluate("(each) => [each.offsetWidth, each.offsetHeight]") == [56, 56]
    await expect(page.locator(f"#found-{elsewhere}")).to_contain_text("Square elsewhere")
    await expect(page.locator(f"#found-{elsewhere} img")).to_have_count(0)


async def test_what_is_not_here_comes_from_the_directory_and_fills_in(page: Page, site: Site) -> None:
    """Greyed at once, filled in by the hub; nothing polls."""
    from aiohttp import web

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/itunes":
            results = [
                {"collectionName": "Without feed"},
                {"collectionName": "Far Away", "feedUrl": f"{site.server.url}?far"},
            ]
            return web.json_response({"resultCount": 2, "results": results})
        return web.Response(body=weekly(10, title="Far Away"))

    site.server.handler = answer
    await page.goto("/podcasts")
    await connected(page)
    await page.fill("#podcast-question", "far away")
    await expect(page.locator("#podcast-found")).to_have_text("0 found :(")
    await page.keyboard.press("Enter")
    await expect(page.locator("#podcast-results .pod")).to_have_count(1)
    await expect(page.locator("#podcast-results .pod-facts").first).to_contain_text("10 episodes, 5.0 hours in all")
    await expect(page.locator("#podcast-results .is-waiting")).to_have_count(0)


async def test_picks_are_kept_in_the_browser(page: Page, site: Site) -> None:
    id = await fetched(site, "Kept")
    await page.goto("/podcasts")
    await page.fill("#podcast-question", "kept")
    await page.get_by_role("button", name="Pick Kept").click()
    await expect(page.locator(f"#pod-{id}")).to_be_visible()
    await page.goto("/podcasts")
    await expect(page.locator(f"#pod-{id}")).to_be_visible()
    assert page.url.endswith(f"/podcasts/mine/{id}")
    await page.get_by_role("link", name="Remove Kept").click()
    await expect(page.locator("#mine .pod")).to_have_count(0)
    await page.goto("/podcasts")
    await expect(page.locator("#mine .empty")).to_be_visible()
