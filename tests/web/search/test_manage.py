"""What readers look for, kept without who, and the words that mend it."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import pytest
from finding import Searching
from sqlalchemy import select
from visiting import PASSWORD

from web.db.tables import now
from web.features.accounts.people import create_user
from web.features.search.intents import Intents, forget
from web.features.search.models import Search
from web.identity.passwords import Passwords
from web.identity.roles import Role

sqlite = pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)


async def _kept(site: Searching) -> list[tuple[str, int, int]]:
    assert site.search.intents is not None
    await site.search.intents.write(everything=True)
    async with site.database.reading() as session:
        rows = await session.scalars(select(Search).order_by(Search.id))
        return [(row.text, row.total, row.clicks) for row in rows]


async def _ask(site: Searching, query: str, **headers: str) -> None:
    response = await site.browser.fetch("/search.json", params={"q": query}, headers=headers)
    assert response.status == 200


async def test_a_run_of_keystrokes_is_one_intent(site: Searching) -> None:
    await site.blog.post("Firefox")
    await site.settle()
    for typed in ("f", "fi", "fire", "Fïrefox "):
        await _ask(site, typed, **{"Search-Intent": "a-random-name"})
    await _ask(site, "zebra", **{"Search-Intent": "another-name"})
    await _ask(site, "zebra")
    assert sorted(await _kept(site)) == [("firefox", 1, 0), ("zebra", 0, 0), ("zebra", 0, 0)]


@sqlite
async def test_a_run_may_be_heard_by_two_workers(site: Searching) -> None:
    first, second = Intents(site.database), Intents(site.database)
    first.note("a-random-name", "fire", 3, 1.0)
    second.note("a-random-name", "firefox", 1, 1.0)
    await second.write(everything=True)
    await first.write(everything=True)
    assert [text for text, *_ in await _kept(site)] == ["firefox"]


@sqlite
async def test_nothing_is_kept_of_who_does_not_want_it(site: Searching) -> None:
    await _ask(site, "secret", DNT="1")
    await _ask(site, "secret", **{"Sec-GPC": "1"})
    # A page that follows what changes has not asked again.
    await _ask(site, "secret", **{"Search-Intent": "none"})
    await site.browser.fetch("/search.json", params={"q": "x" * 91})
    assert await _kept(site) == []


@sqlite
async def test_clicks_are_counted_before_and_after_it_is_written_down(site: Searching) -> None:
    await _ask(site, "firefox", **{"Search-Intent": "a-random-name"})
    for _ in range(2):
        assert (await site.browser.send("/search/clicks", {"intent": "a-random-name"})).status == 204
        await _kept(site)
    await site.browser.send("/search/clicks", {"intent": "nobody-knows-it"})
    await site.browser.send("/search/clicks", {"intent": "' or 1=1"})
    assert await _kept(site) == [("firefox", 0, 2)]


@sqlite
async def test_a_page_that_is_loaded_anew_counts_its_clicks(site: Searching) -> None:
    """Only a page on which somebody had typed had a name to say: who came by a link or an address found "no clicks"."""
    await site.blog.post("Firefox")
    await site.settle()
    await site.browser.look("/search?q=firefox")
    (name,) = re.findall(r'data-intent="([\w-]+)"', site.browser.page)
    assert (await site.browser.send("/search/clicks", {"intent": name})).status == 204
    assert await _kept(site) == [("firefox", 1, 1)]
    for path, headers in (("/search?q=firefox", {"DNT": "1"}), ("/search", {}), ("/search?q=firefox&page=2", {})):
        response = await site.browser.fetch(path, headers=headers)
        assert "data-intent" not in await response.text()


@sqlite
async def test_a_click_that_another_worker_hears_of_is_counted_once_the_search_is_written_down(site: Searching) -> None:
    """A result is mostly opened within seconds of the search; a worker that did not know its name yet dropped it."""
    first, second = Intents(site.database), Intents(site.database)
    first.note("a-random-name", "firefox", 1, 1.0)
    for _ in range(2):
        await second.click("a-random-name")
    await second.write()
    await first.write(everything=True)
    await second.write()
    await second.write()
    assert await _kept(site) == [("firefox", 1, 2)]


@sqlite
async def test_clicks_that_wait_are_bounded_and_end(site: Searching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.features.search.intents.MOST", 2)
    monkeypatch.setattr("web.features.search.intents.PATIENCE", 0.0)
    intents = Intents(site.database)
    for number in range(5):
        await intents.click(f"nobody-knows-{number}")
    assert intents.dropped == 3
    await intents.write()
    # There is room again.
    await intents.click("nobody-knows-9")
    assert intents.dropped == 3


@sqlite
async def test_what_waits_is_bounded(site: Searching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.features.search.intents.MOST", 2)
    intents = Intents(site.database)
    for number in range(5):
        intents.note(None, str(number), 0, 1.0)
    assert intents.dropped == 3


async def test_old_searches_are_deleted(site: Searching) -> None:
    async with site.database.saving() as session:
        for days in (1, 100):
            at = now() - timedelta(days=days)
            session.add(Search(intent=f"intent-{days}", text="x", at=at, total=0, milliseconds=1.0, clicks=0))
    assert await forget(site.database, 90 * 86400) == 1
    assert len(await _kept(site)) == 1


@pytest.fixture
async def writer(site: Searching, passwords: Passwords) -> Searching:
    """The site, with a writer signed in."""
    await create_user(site.database, passwords, "ada", PASSWORD, Role.WRITER)
    assert (await site.browser.sign_in()).status == 303
    return site


async def test_the_page_shows_what_is_not_found_and_a_synonym_mends_it_at_once(writer: Searching) -> None:
    await writer.blog.post("Web development")
    await writer.settle()
    await _ask(writer, "homepage making")
    await _ask(writer, "web")
    await _kept(writer)
    await writer.browser.look("/manage/search")
    page = writer.browser.page
    assert "2 searches in 30 days" in page
    assert page.index("homepage making") < page.index("Without clicks") or "homepage making" in page
    response = await writer.browser.submit("/manage/search/synonyms", {"said": "Homepage", "means": "web"})
    assert response.status == 303
    async with asyncio.timeout(1):
        while await writer.found("homepage") != ["Web development"]:
            await asyncio.sleep(0.01)
    assert writer.answer["terms"] == [[1.1, "homepage"], [1.0, "web"]]
    assert "a synonym" in writer.answer["results"][0]["why"][0]
    await writer.browser.look("/manage/search")
    await writer.browser.submit("/manage/search/synonyms/1/remove", {})
    async with asyncio.timeout(1):
        while await writer.found("homepage"):
            await asyncio.sleep(0.01)


@sqlite
async def test_a_pinned_page_comes_first_and_once(writer: Searching) -> None:
    await writer.blog.post("Redis")
    await writer.blog.post("Redis cache")
    await writer.settle()
    await writer.browser.look("/manage/search")
    pin = {"said": "REDIS", "url": "/posts/redis-cache", "title": "Start here"}
    assert (await writer.browser.submit("/manage/search/pins", pin)).status == 303
    async with asyncio.timeout(1):
        while len(await writer.found("redis")) == 2:
            await asyncio.sleep(0.01)
    await writer.browser.look("/search?q=redis")
    assert writer.browser.page.index("Start here") < writer.browser.page.index('/posts/redis"')
    assert writer.browser.page.count("/posts/redis-cache") == 1


@sqlite
async def test_programs_are_told_of_a_pinned_page_too(writer: Searching) -> None:
    """It was taken out of the results of /search.json and of what is offered, and named nowhere."""
    await writer.blog.post("Redis")
    await writer.blog.post("Redis cache")
    await writer.settle()
    await writer.browser.look("/manage/search")
    pin = {"said": "redis", "url": "/posts/redis-cache", "title": "Start here"}
    assert (await writer.browser.submit("/manage/search/pins", pin)).status == 303
    async with asyncio.timeout(1):
        while len(await writer.found("redis")) == 2:
            await asyncio.sleep(0.01)
    assert writer.answer["pinned"] == {"title": "Start here", "url": "/posts/redis-cache"}
    offered = await (await writer.browser.fetch("/autocomplete", params={"q": "redis"})).json()
    assert offered["results"] == [
        {"type": "page", "title": "Start here", "url": "/posts/redis-cache"},
        {"type": "post", "title": "Redis", "url": "/posts/redis"},
    ]
    offered = await (await writer.browser.fetch("/autocompete/v1", params={"q": "redis"})).json()
    assert offered["results"] == [["/posts/redis-cache", "Start here"], ["/posts/redis", "Redis"]]


@sqlite
async def test_what_cannot_be_is_refused_in_words(writer: Searching) -> None:
    await writer.browser.look("/manage/search")
    response = await writer.browser.submit("/manage/search/synonyms", {"said": "?!", "means": ""})
    assert (response.status, "A synonym needs words" in writer.browser.page) == (422, True)
    for url in ("//evil.example", "https://evil.example", "javascript:x", ""):
        response = await writer.browser.submit("/manage/search/pins", {"said": "x", "url": url, "title": ""})
        assert (response.status, "A pin needs a query" in writer.browser.page) == (422, True)


@sqlite
async def test_the_table_of_terms_is_for_staff(site: Searching, writer: Searching) -> None:
    await site.blog.post("Firefox")
    await site.settle()
    await site.browser.look("/search?q=firefix&debug-search")
    assert '<th scope="col">Search Term Score</th>' in site.browser.page
    assert '<td class="number">1.100</td><td class="number">4.4</td><td class="number">2.2</td>' in site.browser.page
    site.browser.client.session.cookie_jar.clear()
    await site.browser.look("/search?q=firefix&debug-search")
    assert "Search Term Score" not in site.browser.page
