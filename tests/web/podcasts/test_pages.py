"""The pages of podcasts, without JavaScript."""

from __future__ import annotations

import html
from datetime import UTC, datetime, timedelta

import pytest
from feeding import feed, item, weekly
from serving import Podcasts, Publisher
from visiting import Browser

from web.db.database import Database
from web.features.podcasts import demo
from web.features.podcasts.models import MAX_PICKS

pytestmark = pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)


async def test_a_site_without_podcasts_has_its_page(browser: Browser) -> None:
    assert (await browser.look("/podcasts")).status == 200
    assert "You have picked none yet" in browser.page
    assert (await browser.look("/podcasts/picks")).status == 200
    assert "Nobody has picked any yet" in browser.page


async def test_demo_podcasts_are_found_picked_and_reckoned(browser: Browser, database: Database) -> None:
    assert await demo.load(database) == 6
    assert await demo.load(database) == 0
    await browser.look("/podcasts?q=night")
    assert "The Night Ferry" in browser.page
    response = await browser.look("/podcasts/mine?id=3&id=1")
    assert response.url.path == "/podcasts/mine/3-1"
    assert "Your Podcasts Time Plot" in browser.page
    assert "all with known length" in browser.page
    assert "Next week: about" in browser.page
    assert "with The Night Ferry" in browser.page
    per_week = _number(browser.page, "per-week")
    await browser.look("/podcasts/mine/3-1?speed=2&bonus=true")
    assert _number(browser.page, "per-week") == pytest.approx(per_week / 2, abs=0.11)


def _number(page: str, id: str) -> float:
    text = page.partition(f'id="{id}">')[2]
    value = float(text.partition("<")[0].replace(",", ""))
    return value / 60 if "minutes" in text[:100] else value


@pytest.mark.parametrize(
    "path",
    [
        "/podcasts/mine/0",
        "/podcasts/mine/99999999999",
        "/podcasts/mine/-",
        "/podcasts/mine/1?speed=9",
        "/podcasts/mine/1?speed=nan",
        "/podcasts/mine/" + "-".join(map(str, range(1, MAX_PICKS + 2))),
    ],
)
async def test_an_address_that_is_none_says_why(browser: Browser, path: str) -> None:
    assert (await browser.look(path)).status == 400


async def test_podcasts_that_are_not_there_are_left_out(browser: Browser) -> None:
    assert (await browser.look("/podcasts/mine/17-18")).status == 200
    assert (await browser.look("/podcasts/17/x")).status == 404
    assert (await browser.look("/podcasts/17/x/feed")).status == 404


async def test_a_feed_is_added_by_a_form_and_greyed_until_it_is_read(
    browser: Browser, podcasts: Podcasts, server: Publisher
) -> None:
    await browser.look("/podcasts")
    response = await browser.submit("/podcasts/add", {"url": server.url, "opml": ""})
    assert response.headers["Location"] == "/podcasts/mine/1"
    await browser.look("/podcasts/mine/1")
    assert "Being fetched…" in browser.page
    server.body = weekly(20, title="A <b>Show</b> & more")
    await podcasts.fetch(1)
    await browser.look("/podcasts/mine/1")
    assert "A Show &amp; more" in browser.page
    assert "from 20 episodes, all with known length" in browser.page
    assert (await browser.look("/podcasts/1/a-show-more")).status == 200
    assert "Number 20" in browser.page


async def test_a_feeds_address_in_the_search_is_there_to_be_added(browser: Browser) -> None:
    await browser.look("/podcasts?q=https://a.example/feed")
    assert "add it below" in browser.page
    assert 'value="https://a.example/feed"' in browser.page


async def test_a_list_of_another_player_comes_in_and_goes_out(browser: Browser) -> None:
    await browser.look("/podcasts")
    opml = '<opml><body><outline text="A" xmlUrl="http://a.example/f"/><outline text="B" xmlUrl="http://b.example/f?token=x"/></body></opml>'
    response = await browser.submit("/podcasts/add", {"url": "", "opml": opml})
    assert response.headers["Location"] == "/podcasts/mine/1-2"
    await browser.look("/podcasts/mine/1-2/podcasts.opml")
    assert "http://a.example/f" in browser.page
    # Whoever has a private feed's address may listen.
    assert "token" not in browser.page


@pytest.mark.parametrize(
    "fields", [{"url": "nothing"}, {"url": ""}, {"opml": "<x/>"}, {"opml": '<!DOCTYPE o [<!ENTITY x "">]><opml/>'}]
)
async def test_what_can_not_be_added_says_why(browser: Browser, fields: dict[str, str]) -> None:
    await browser.look("/podcasts")
    assert (await browser.submit("/podcasts/add", fields)).status == 400
    assert "Nothing was added" in browser.page


async def test_old_addresses_lead_to_the_podcast(browser: Browser, podcasts: Podcasts, server: Publisher) -> None:
    await podcasts.add(server.url, "Old Name")
    assert (await browser.look("/podcasts/1", allow_redirects=False)).headers["Location"] == "/podcasts/1/old-name"
    server.body = weekly(1, title="New Name")
    await podcasts.fetch(1)
    response = await browser.look("/podcasts/1/old-name/feed", allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (301, "/podcasts/1/new-name/feed")


async def test_a_feed_that_fails_says_so_and_is_tried_again_when_asked(
    browser: Browser, podcasts: Podcasts, server: Publisher
) -> None:
    server.status = 410
    await podcasts.add(server.url, "Gone")
    await podcasts.fetch(1)
    await browser.look("/podcasts/1/gone/feed")
    assert "It is gone" in browser.page
    assert "the server says 410" in browser.page
    assert "never by itself" in browser.page
    assert (await browser.submit("/podcasts/1/gone/retry", {})).status == 303
    assert (await podcasts.feed(1)).next is not None
    await browser.look("/podcasts/1/gone")
    assert "can’t be read now" in browser.page


async def test_people_comment_on_a_podcast(browser: Browser, podcasts: Podcasts, server: Publisher) -> None:
    await podcasts.add(server.url, "Talk")
    await browser.look("/podcasts/1/talk")
    response = await browser.submit("/podcasts/1/talk/comments", {"name": "Ada", "text": "Too long!"})
    assert response.headers["Location"] == "/podcasts/1/talk#comment-1"
    await browser.look("/podcasts/1/talk")
    assert "Too long!" in browser.page


async def test_names_of_any_direction_and_length_are_shown(
    browser: Browser, podcasts: Podcasts, server: Publisher
) -> None:
    """radiodaal, pyunicode: right to left, and controls that turn the text after them."""
    server.body = feed(
        item("\u202eabc", date=datetime.now(UTC) - timedelta(days=1)),
        item("&amp;lt;i&amp;gt;", guid="2", url="http://a.example/2.mp3"),
        title="رادیو دال " + "x" * 400,
    )
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    podcast = await podcasts.get(id)
    assert len(podcast.name) == 300
    assert podcast.slug.startswith("رادیو-دال")
    await browser.look(f"/podcasts/{id}/{podcast.slug}")
    assert "رادیو دال" in html.unescape(browser.page)
    assert "\u202e" not in browser.page


async def test_episodes_of_one_moment_keep_their_order(browser: Browser, podcasts: Podcasts, server: Publisher) -> None:
    """AntennaPod 2342: equal dates, and the order flips: by season and number, else as the feed has them."""
    at = datetime.now(UTC) - timedelta(days=1)
    numbered = [
        item(
            f"Episode {number}",
            url=f"http://a.example/{number}.mp3",
            date=at,
            more=f"<itunes:episode>{number}</itunes:episode>",
        )
        for number in (2, 3, 1)
    ]
    plain = [item(f"Plain {name}", url=f"http://a.example/{name}.mp3", date=at - timedelta(days=1)) for name in "bca"]
    server.body = feed(*numbered, *plain, title="Same")
    await podcasts.fetch(await podcasts.add(server.url))
    await browser.look("/podcasts/1/same")
    places = [
        browser.page.index(name) for name in ("Episode 3", "Episode 2", "Episode 1", "Plain b", "Plain c", "Plain a")
    ]
    assert places == sorted(places)


async def test_older_episodes_are_on_pages_of_their_own(
    browser: Browser, podcasts: Podcasts, server: Publisher
) -> None:
    server.body = weekly(120, title="Long")
    await podcasts.fetch(await podcasts.add(server.url))
    await browser.look("/podcasts/1/long?page=3")
    assert "Number 20<" in browser.page
    assert "Number 21<" not in browser.page
    assert "Older episodes" not in browser.page
