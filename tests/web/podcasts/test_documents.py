"""Podcasts in the site's search, from the save to the answer: with a hub beside it, on an index of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from feeding import feed, item
from finding import Searching, serving
from sqlalchemy import delete, select, update

from web.features.podcasts import store
from web.features.podcasts.models import Feed, Podcast
from web.features.podcasts.reading import read_feed
from web.features.search.settings import SearchSettings
from web.settings import Settings

pytestmark = pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)


@pytest_asyncio.fixture
async def site(settings: Settings, site_url: str) -> AsyncIterator[Searching]:
    async with serving(settings.with_(SearchSettings, folder="memory"), site_url) as site:
        async with asyncio.timeout(10):
            while not site.search.indexer.state.ready:
                await asyncio.sleep(0.005)
        yield site


async def _add(site: Searching, url: str, name: str = "") -> int:
    async with site.database.saving() as session:
        podcast, _ = await store.add(session, url, name)
    return podcast.id


async def _read(site: Searching, id: int, title: str, more: str = "") -> None:
    """What a fetch writes when the feed says this."""
    async with site.database.saving() as session:
        podcast = await session.get_one(Podcast, id)
        await store.put(session, podcast, read_feed(feed(item("One"), title=title, more=more)))


async def test_a_podcast_is_found_by_its_name_as_soon_as_it_is_there(site: Searching) -> None:
    await _add(site, "http://a.example/feed", "Planet Money")
    assert await site.found("planet money") == ["Planet Money"]
    (result,) = site.answer["results"]
    assert (result["url"], result["type"]) == ("/podcasts/1/planet-money", "podcast")


async def test_a_name_is_found_past_a_slip_and_offered_by_its_beginning(site: Searching) -> None:
    await _add(site, "http://a.example/feed", "Planet Money")
    await _add(site, "http://b.example/feed", "The Lighthouse Keepers")
    assert await site.found("ligthouse") == ["The Lighthouse Keepers"]
    assert await site.found("planet mon") == ["Planet Money"]
    response = await site.browser.fetch("/autocomplete", params={"q": "plan"})
    offers = await response.json()
    assert ["Planet Money", "/podcasts/1/planet-money"] in [[each["title"], each["url"]] for each in offers["results"]]


async def test_what_its_feed_says_is_found_once_it_is_fetched(site: Searching) -> None:
    id = await _add(site, "http://a.example/feed", "Planet Money")
    await _read(site, id, "Harbour Tales", "<description>About &lt;b&gt;ferries&lt;/b&gt;</description>")
    assert await site.found("planet") == []
    assert await site.found("harbour") == ["Harbour Tales"]
    assert await site.found("ferries") == ["Harbour Tales"]
    assert site.answer["results"][0]["url"] == "/podcasts/1/harbour-tales"


async def test_private_and_blocked_podcasts_are_not_found(site: Searching) -> None:
    """podcast-namespace 167: private feeds in a public index."""
    await _add(site, "http://a.example/feed?token=abc", "Secret Harbour")
    await _add(site, "http://ada:pw@a.example/feed", "Hidden Harbour")
    id = await _add(site, "http://b.example/feed", "Open Harbour")
    assert await site.found("harbour") == ["Open Harbour"]
    await _read(site, id, "Open Harbour", "<itunes:block>Yes</itunes:block>")
    assert await site.found("harbour") == []
    await _read(site, id, "Open Harbour")
    assert await site.found("harbour") == ["Open Harbour"]


async def test_a_podcast_that_goes_is_out_with_its_comments(site: Searching) -> None:
    id = await _add(site, "http://a.example/feed", "Harbour Tales")
    async with site.database.reading() as session:
        thread = await session.scalar(select(Podcast.thread_id).where(Podcast.id == id))
    assert thread is not None
    await site.say(thread, "I like marmalade.")
    assert await site.found("marmalade") == ["Harbour Tales"]
    await site.save(lambda session: session.execute(delete(Podcast).where(Podcast.id == id)))
    assert await site.found("harbour") == []
    assert await site.found("marmalade") == []


async def test_two_that_become_one_are_found_once_with_the_comments_of_both(site: Searching) -> None:
    first = await _add(site, "http://a.example/feed", "Harbour Tales")
    second = await _add(site, "http://b.example/feed", "Harbour Tales")
    async with site.database.reading() as session:
        thread = await session.scalar(select(Podcast.thread_id).where(Podcast.id == first))
    assert thread is not None
    await site.say(thread, "I like marmalade.")
    assert await site.found("harbour") == ["Harbour Tales", "Harbour Tales"]
    async with site.database.saving() as session:
        podcast, state = await session.get_one(Podcast, first), await session.get_one(Feed, first)
        await store.move(session, podcast, state, "http://b.example/feed")
    assert await site.found("harbour") == ["Harbour Tales"]
    assert site.answer["results"][0]["url"] == f"/podcasts/{second}/harbour-tales"
    assert await site.found("marmalade") == ["Harbour Tales"]
    (result,) = site.answer["results"]
    assert str(result["url"]).startswith(f"/podcasts/{second}/")


async def test_a_fetch_that_brings_nothing_new_tells_the_index_nothing(site: Searching) -> None:
    id = await _add(site, "http://a.example/feed", "Harbour Tales")
    await _read(site, id, "Harbour Tales")
    await site.settle()
    before = await site.hub.publisher.position("documents")
    await _read(site, id, "Harbour Tales")
    await site.save(lambda session: session.execute(update(Podcast).values(times_picked=3)))
    await site.database.notifier.flush()
    assert await site.hub.publisher.position("documents") == before
