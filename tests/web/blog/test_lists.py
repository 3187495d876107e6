"""The home page and its filters: which posts are on which page, and what is no page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from aiohttp.test_utils import TestClient, TestServer
from blogging import Blog
from sqlalchemy import event as sqlalchemy_event
from visiting import Browser, Calendar

from hub.publisher import RecordingPublisher
from web.app import create_app, read_settings
from web.db.database import Database
from web.db.tables import now
from web.features.blog import feeds
from web.features.blog.models import PostCategory
from web.features.blog.page import found_posts
from web.features.comments.models import Comment
from web.features.events.models import Category, Event, Status
from web.pages.page import pages
from web.pages.settings import PageSettings
from web.settings import Settings

HIT, MADE = "fanfare; hit", "fanfare; fwd=miss; stored"


def shown(page: str) -> list[str]:
    """The titles of the posts on a page, in their order."""
    return re.findall(r'class="post-title"><a href="/posts/[^"]+" dir="auto">([^<]+)</a>', page)


async def test_ten_a_page_the_newest_first(browser: Browser, blog: Blog) -> None:
    await blog.many(25)
    for path, numbers in (("/", range(25, 15, -1)), ("/p2", range(15, 5, -1)), ("/p3", range(5, 0, -1))):
        assert (await browser.look(path)).status == 200
        assert shown(browser.page) == [f"Post {number}." for number in numbers]
        assert f'data-source="{path}"' in browser.page
    await browser.look("/p2")
    assert re.findall(r'href="([^"]+)" rel="(prev|next)"', browser.page) == [("/", "prev"), ("/p3", "next")]


async def test_page_beyond_the_end_is_none_also_when_the_last_one_is_full(browser: Browser, blog: Blog) -> None:
    """The site this takes after showed an empty page there."""
    await blog.many(20)
    assert (await browser.look("/p2")).status == 200
    assert 'rel="next"' not in browser.page
    response = await browser.look("/p3")
    assert response.status == 404
    assert "Too far back in time" in browser.page
    assert 'href="/"' in browser.page


@pytest.mark.parametrize("path", ["/pabc", "/p0", "/p-1", "/p2x", "/p99999999999", "/oc-A/pabc", "/oc-A/p0", "/oc-A/b"])
async def test_page_that_is_no_number_is_none_and_leads_on(browser: Browser, blog: Blog, path: str) -> None:
    await blog.post("First", "A")
    assert (await browser.look(path)).status == 404
    assert 'href="/"' in browser.page


async def test_an_empty_blog_says_so(browser: Browser) -> None:
    assert (await browser.look("/")).status == 200
    assert "There are no posts yet." in browser.page


async def test_drafts_and_what_is_planned_are_on_no_page(browser: Browser, blog: Blog) -> None:
    await blog.draft("A draft", categories=("A",))
    await blog.post("Planned", "A", at=now() + timedelta(minutes=1))
    await blog.post("There", "A")
    for path in ("/", "/oc-A"):
        await browser.look(path)
        assert shown(browser.page) == ["There"]


async def test_each_post_shows_its_day_its_comments_and_its_categories(browser: Browser, blog: Blog) -> None:
    post = await blog.post("First", "Web development", "C++", summary="What it is about")
    async with blog.database.saving() as session:
        session.add(Comment(thread_id=post.thread_id, name="Ada", text="One"))
    await browser.look("/")
    entry = browser.page.split("<article")[1].split("</article>")[0]
    assert f'<time datetime="{post.published_at:%Y-%m-%d}' in entry
    assert f'<a href="/posts/first#comments-title" data-count-of="{post.thread_id}">1 comment</a>' in entry
    assert re.findall(r'href="(/oc-[^"]+)"', entry) == ["/oc-Web+development", "/oc-C%2B%2B"]
    assert "What it is about" in entry
    async with blog.database.saving() as session:
        session.add(Comment(thread_id=post.thread_id, name="Ada", text="Two"))
    await browser.look("/")
    assert "2 comments</a>" in browser.page


async def test_category_shows_its_own_with_a_banner_to_clear(browser: Browser, blog: Blog) -> None:
    await blog.post("Snow", "Web development")
    await blog.post("Ice", "Other")
    await browser.look("/oc-Web+development")
    assert shown(browser.page) == ["Snow"]
    words = re.sub(r"<[^>]+>", "", browser.page)
    assert (
        "Filtered home page! Currently only showing blog entries under the category: Web development. Clear filter"
        in words
    )
    assert '<a href="/">Clear filter</a>' in browser.page
    await browser.look("/")
    assert "Clear filter" not in browser.page


async def test_several_categories_are_any_of_them_by_pages(browser: Browser, blog: Blog) -> None:
    await blog.many(8, "A")
    await blog.many(5, "A", "B")
    await blog.post("Elsewhere", "C", at=now())
    await browser.look("/oc-A/oc-B")
    assert len(shown(browser.page)) == 10
    assert "Elsewhere" not in browser.page
    await browser.look("/oc-A/oc-B/p2")
    # Each once, however many of the categories it has.
    assert len(shown(browser.page)) == 3
    assert 'href="/oc-A/oc-B" rel="prev"' in browser.page
    assert (await browser.look("/oc-A/oc-B/p3")).status == 404
    await browser.look("/oc-B")
    assert len(shown(browser.page)) == 5


async def test_unknown_category_is_none_and_leads_on(browser: Browser, blog: Blog) -> None:
    await blog.post("Snow", "A")
    for path in ("/oc-Nothing", "/oc-A/oc-Nothing", "/oc-a", "/oc-Nothing/rss.xml"):
        assert (await browser.look(path)).status == 404
        assert "Unrecognized categories" in browser.page
        assert 'href="/"' in browser.page
    await browser.look('/oc-"><script>')
    assert "<script>" not in browser.page


@pytest.mark.parametrize(("path", "to"), [("/oc-", "/"), ("/oc-/p2", "/p2"), ("/p1", "/"), ("/oc-/oc-", "/")])
async def test_filter_of_nothing_goes_to_the_list_for_good(browser: Browser, path: str, to: str) -> None:
    response = await browser.look(path, allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (301, to)


async def test_head_is_answered_everywhere(browser: Browser, blog: Blog) -> None:
    await blog.many(11, "A")
    paths = [
        *("/", "/p2", "/oc-A", "/oc-A/p2", "/rss.xml", "/oc-A/atom.xml", "/feed.json", "/sitemap.xml", "/zitemap.xml"),
        *("/robots.txt", "/posts/post-1", "/posts/post-1/comments.json", "/posts/post-1/rss.xml", "/events"),
    ]
    for path in paths:
        got = await browser.look(path)
        response = await browser.client.head(path, headers={"Accept": "text/html,*/*;q=0.8"})
        assert (response.status, await response.read()) == (200, b""), path
        assert response.headers["ETag"] == got.headers["ETag"]
        assert response.content_type == got.content_type
    assert (await browser.client.head("/p3")).status == 404
    assert (await browser.client.head("/oc-", allow_redirects=False)).status == 301


async def test_what_is_live_now_is_above_the_posts_and_follows_itself(
    browser: Browser, blog: Blog, calendar: Calendar, music: Category, publisher: RecordingPublisher
) -> None:
    await blog.many(11)
    await calendar.event("Soon", music)
    await browser.look("/")
    assert re.search(r'<section id="live"[^>]* hidden>', browser.page)
    live = await calendar.event("Now", music, status=Status.LIVE)
    position = await publisher.publish("events", True)
    for path in ("/", "/p2"):
        await browser.look(path)
        assert f'data-follow="events" data-position="{position}" data-source="{path}"' in browser.page
        assert browser.page.index(f'href="/events/{live.slug}"') < browser.page.index('id="posts"')
        assert "Soon" not in browser.page
    await blog.post("Filed", "A")
    await browser.look("/oc-A")
    assert 'id="live"' not in browser.page


async def test_without_events_there_are_posts_alone(
    site_url: str, publisher: RecordingPublisher, database: Database, blog: Blog
) -> None:
    await blog.post("First")
    environ = {"DATABASE_URL": site_url, "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==", "JOBS_SERVE": "false"}
    settings = read_settings(environ | {"SITE_FEATURES": "comments,pictures,blog"})
    async with TestClient(TestServer(create_app(settings, publisher, database=database))) as client:
        browser = Browser(client)
        await browser.look("/")
        assert shown(browser.page) == ["First"]
        assert 'id="live"' not in browser.page
        assert (await browser.look("/events")).status == 404


async def test_above_a_posts_address_are_the_posts(browser: Browser) -> None:
    response = await browser.look("/posts", allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (303, "/")


async def test_pages_are_kept_until_what_they_show_changes(browser: Browser, blog: Blog, concert: Event) -> None:
    post = await blog.post("First", "A")

    async def how(path: str) -> str:
        return (await browser.look(path)).headers["Cache-Status"]

    paths = ("/", "/oc-A", "/rss.xml", "/oc-A/feed.json")
    for path in paths:
        assert [await how(path), await how(path)] == [MADE, HIT]
    draft = await blog.draft("Second", categories=("A",))
    for path in paths:
        # What nobody may read makes nothing anew.
        assert await how(path) == HIT
    await blog.publish(draft)
    for path in paths:
        assert await how(path) == MADE
        assert "Second" in browser.page
    post = await blog.edit(post, title="Renamed", categories=("A",))
    for path in paths:
        assert await how(path) == MADE
        assert "Renamed" in browser.page
    await blog.unpublish(post)
    for path in paths:
        assert await how(path) == MADE
        assert "Renamed" not in browser.page
    async with blog.database.saving() as session:
        (await session.get_one(PostCategory, 1)).name = "Other words"
    await browser.look("/")
    assert "Other words" in browser.page
    async with blog.database.saving() as session:
        (await session.get_one(Event, concert.id)).status = Status.LIVE
    await browser.look("/")
    assert "Brass on the Quay" in browser.page
    assert await how("/rss.xml") == MADE
    assert await how("/rss.xml") == HIT


async def test_addresses_of_the_site_are_its_settings(
    settings: Settings, database: Database, publisher: RecordingPublisher, blog: Blog
) -> None:
    await blog.post("First", "A")
    settings = settings.with_(PageSettings, url="https://fanfare.example/")
    async with TestClient(TestServer(create_app(settings, publisher, database=database))) as client:
        browser = Browser(client)
        await browser.look("/oc-A", headers={"Host": "evil.example"})
        assert '<link rel="canonical" href="https://fanfare.example/oc-A">' in browser.page
        assert "evil.example" not in browser.page
        await browser.look("/robots.txt")
        assert "Sitemap: https://fanfare.example/sitemap.xml" in browser.page
        for path in ("/sitemap.xml", "/zitemap.xml"):
            await browser.look(path)
            assert re.findall(r"<loc>([^<]+)</loc>", browser.page) == [
                "https://fanfare.example/",
                "https://fanfare.example/oc-A",
                "https://fanfare.example/posts/first",
            ]


async def test_sitemap_of_many_posts_has_parts(browser: Browser, blog: Blog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "IN_PART", 5)
    await blog.many(5, "A")
    await browser.look("/sitemap.xml")
    assert browser.page.count("<url>") == 5 + 2
    await blog.many(6)
    await browser.look("/sitemap.xml")
    parts = re.findall(r"<loc>([^<]+)</loc>", browser.page)
    assert parts == [f"{browser.origin}/sitemap-posts-{number}.xml" for number in (1, 2, 3)]
    found = []
    for part in parts:
        await browser.look(part.removeprefix(browser.origin))
        found += re.findall(r"/posts/[^<]+", browser.page)
    assert len(found) == len(set(found)) == 11
    for path in ("/sitemap-posts-4.xml", "/sitemap-posts-0.xml", "/sitemap-nothing-1.xml", "/sitemap-1.xml"):
        assert (await browser.look(path)).status == 404


async def test_sitemap_has_what_other_features_have(
    browser: Browser, blog: Blog, concert: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    await blog.post("First")
    await browser.look("/sitemap.xml")
    paths = [url.removeprefix(browser.origin) for url in re.findall(r"<loc>([^<]+)</loc>", browser.page)]
    assert paths == ["/", "/posts/first", f"/events/{concert.slug}"]
    # Another event: the one that is kept is made anew.
    async with blog.database.saving() as session:
        session.add(Event(title="x", slug="x", starts_at=now(), category_id=concert.category_id, edition=1))
    await browser.look("/sitemap.xml")
    assert "/events/x<" in browser.page
    monkeypatch.setattr(feeds, "IN_PART", 1)
    await blog.post("Second")
    await browser.look("/sitemap.xml")
    parts = re.findall(r"/(sitemap-[^<]+)", browser.page)
    assert parts == [f"sitemap-{name}-{number}.xml" for name in ("posts", "events") for number in (1, 2)]
    await browser.look("/sitemap-events-2.xml")
    assert re.findall(r"/events/[^<]+", browser.page) == ["/events/x"]


async def test_without_the_setting_nobody_gets_another_host_than_asked_for(browser: Browser, blog: Blog) -> None:
    """A page is the same for all: a stranger's Host must not be on one that others get."""
    await blog.post("First")
    for path in ("/", "/posts/first", "/rss.xml", "/sitemap.xml"):
        await browser.look(path, headers={"Host": "evil.example"})
        assert "http://evil.example/" in browser.page
        await browser.look(path)
        assert "evil.example" not in browser.page
        await browser.look(path, headers={"Host": 'x"><script>'})
        assert '"><script>' not in browser.page


async def test_machines_are_told_what_the_page_is(browser: Browser, blog: Blog) -> None:
    await blog.post("First", "A")
    await browser.look("/oc-A")
    found = re.findall(r'<link rel="alternate" type="([^"]+)" title="[^"]+" href="([^"]+)">', browser.page)
    assert found == [
        ("application/rss+xml", "/oc-A/rss.xml"),
        ("application/atom+xml", "/oc-A/atom.xml"),
        ("application/feed+json", "/oc-A/feed.json"),
    ]
    [data] = re.findall(r'<script type="application/ld\+json">(.*?)</script>', browser.page)
    assert json.loads(data)["url"] == f"{browser.origin}/oc-A"


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    found: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        # On PostgreSQL the driver begins a transaction by itself.
        if statement != "begin":
            found.append(statement)

    sqlalchemy_event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sqlalchemy_event.remove(database.engine.sync_engine, "before_cursor_execute", note)


async def test_pages_take_as_many_queries_of_a_hundred_posts_as_of_ten(browser: Browser, blog: Blog) -> None:
    paths = ("/", "/oc-A/oc-B", "/rss.xml", "/sitemap.xml", "/posts/post-1", "/posts/post-1/atom.xml")

    server = browser.client.server
    assert isinstance(server, TestServer)
    kept = server.app[pages]

    async def counts() -> list[int]:
        found = []
        for path in paths:
            tries = []
            # What jobs ask in the same moment is counted too: the fewest of three times is the page's.
            for _ in range(3):
                kept.clear()
                with counted(blog.database) as statements:
                    assert (await browser.look(path)).headers["Cache-Status"] == MADE
                tries.append(len(statements))
            found.append(min(tries))
        return found

    await blog.many(10, "A", "B")
    few = await counts()
    await blog.many(90, "A", "B", "C")
    for number in range(20):
        await blog.post(f"More {number}", f"Category {number}")
    post = await blog.post("New", "A")
    async with blog.database.saving() as session:
        session.add_all(Comment(thread_id=post.thread_id, name="Ada", text=str(number)) for number in range(90))
    for each in (kept, server.app[found_posts]):
        each.clear()
    many = await counts()
    assert many == few
    assert max(many) <= 8
