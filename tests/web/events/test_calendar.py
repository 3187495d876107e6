"""The calendar: sections, the filter, and what a browser may keep of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from aiohttp.test_utils import TestClient, TestServer
from visiting import STARTS, Browser, Calendar

from hub.publisher import RecordingPublisher
from web.app import create_app
from web.db.database import Database
from web.features.events.models import Category, Event, Status
from web.settings import Settings


def section(page: str, name: str) -> str:
    """One section's HTML."""
    return page.split(f'<section id="{name}"')[1].split("</section>")[0]


async def test_each_event_is_in_the_section_of_its_status(
    browser: Browser, calendar: Calendar, music: Category
) -> None:
    await calendar.event("Now", music, status=Status.LIVE)
    await calendar.event("Soon", music, status=Status.SCHEDULED)
    await calendar.event("Over", music, status=Status.ENDED)
    assert (await browser.look("/events")).status == 200
    assert [
        [title in section(browser.page, name) for title in ("Now", "Soon", "Over")]
        for name in ("live", "upcoming", "past")
    ] == [
        [True, False, False],
        [False, True, False],
        [False, False, True],
    ]


async def test_what_comes_first_is_shown_first(browser: Browser, calendar: Calendar, music: Category) -> None:
    await calendar.event("Later", music, starts_at=STARTS + timedelta(days=1))
    await calendar.event("Sooner", music)
    await browser.look("/events")
    upcoming = section(browser.page, "upcoming")
    assert upcoming.index("Sooner") < upcoming.index("Later")


async def test_a_category_shows_its_own_with_a_banner_to_clear(
    browser: Browser, calendar: Calendar, concert: Event
) -> None:
    film = await calendar.category("Film")
    await calendar.event("Ebb", film)
    await browser.look("/events?category=film")
    assert "Currently only showing <strong>Film</strong>" in browser.page
    assert '<a href="/events">Clear filter</a>' in browser.page
    assert "Ebb" in browser.page
    assert "Brass on the Quay" not in browser.page
    await browser.look("/events")
    assert "Clear filter" not in browser.page


async def test_past_events_come_by_pages(browser: Browser, calendar: Calendar, music: Category) -> None:
    for number in range(1, 11):
        await calendar.event(
            f"Evening {number}.", music, status=Status.ENDED, starts_at=STARTS - timedelta(days=number)
        )
    await browser.look("/events?category=music")
    assert "Evening 8." in browser.page
    assert "Evening 9." not in browser.page
    assert 'href="/events?category=music&page=2"' in browser.page.replace("&amp;", "&")
    await browser.look("/events?category=music&page=2")
    assert "Evening 9." in browser.page
    assert "Evening 8." not in browser.page


async def test_an_empty_site_says_so(browser: Browser) -> None:
    assert (await browser.look("/events")).status == 200
    assert "Nothing is live at the moment." in browser.page


async def test_the_page_carries_the_position_read_before_its_rows(
    browser: Browser, calendar: Calendar, concert: Event, publisher: RecordingPublisher
) -> None:
    position = await publisher.publish("events", True)
    await browser.look("/events")
    assert f'data-follow="events" data-position="{position}"' in browser.page


async def test_a_page_that_did_not_change_is_not_sent_again(
    browser: Browser, concert: Event, publisher: RecordingPublisher
) -> None:
    tag = (await browser.look("/events")).headers["ETag"]
    again = await browser.look("/events", headers={"If-None-Match": tag})
    assert (again.status, browser.page) == (304, "")
    await publisher.publish("events", True)
    assert (await browser.look("/events", headers={"If-None-Match": tag})).status == 200


async def test_looking_needs_no_cookie(browser: Browser, concert: Event) -> None:
    assert "Set-Cookie" not in (await browser.look("/events")).headers


async def test_calendar_is_the_home_page_of_a_site_without_a_blog(
    settings: Settings, database: Database, publisher: RecordingPublisher, concert: Event
) -> None:
    features = tuple(feature for feature in settings.features if feature.name != "blog")
    settings = replace(settings, features=features)
    async with TestClient(TestServer(create_app(settings, publisher, database=database))) as client:
        browser = Browser(client)
        await browser.look("/")
        assert "Brass on the Quay" in section(browser.page, "upcoming")
        assert 'href="/?category=music"' in browser.page
        assert 'data-source="/"' in browser.page
        response = await browser.look("/events", allow_redirects=False)
        assert (response.status, response.headers["Location"]) == (303, "/")
