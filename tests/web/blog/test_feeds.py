"""Feeds as readers fetch them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import feedparser
import pytest
from blogging import Blog, picture
from visiting import Browser

from web.db.tables import now
from web.features.comments.models import Comment

FILES = ("rss.xml", "atom.xml", "feed.json")


async def read(browser: Browser, path: str) -> list[Any]:
    """The entries of a feed."""
    response = await browser.client.get(path)
    assert response.status == 200
    body = await response.read()
    if path.endswith(".json"):
        assert response.content_type == "application/feed+json"
        return json.loads(body)["items"]  # type: ignore[no-any-return]  # JSON
    found = feedparser.parse(body, response_headers={"content-type": response.headers["Content-Type"]})
    assert found.bozo is False, found.bozo_exception
    return list(found.entries)


@pytest.mark.parametrize("file", FILES)
async def test_feed_has_the_newest_posts_whole(browser: Browser, blog: Blog, file: str) -> None:
    await blog.many(25)
    text = "See [there](/posts/post-1) and ![it](pictures/a.png).\n\n" + "Long. " * 500
    await blog.post("Whole", text=text, at=now() - timedelta(minutes=1))
    await blog.draft("A draft")
    await blog.post("Planned", at=now() + timedelta(days=1))
    entries = await read(browser, f"/{file}")
    assert [each["title"] for each in entries][:2] == ["Whole", "Post 25."]
    assert len(entries) == 20
    html = entries[0]["content_html"] if file == "feed.json" else entries[0].content[0].value
    assert html.count("Long.") == 500
    assert f'href="{browser.origin}/posts/post-1"' in html
    assert f'src="{browser.origin}/posts/pictures/a.png"' in html
    url = entries[0]["url"] if file == "feed.json" else entries[0].link
    assert url == f"{browser.origin}/posts/whole"


@pytest.mark.parametrize("file", FILES)
async def test_feed_has_the_picture_of_a_post_once_it_is_there(browser: Browser, blog: Blog, file: str) -> None:
    post = await blog.post("First snow", text="It snows.")
    address = f"{browser.origin}/pictures/{'a' * 32}/1200.jpeg"
    for ready in (False, True):
        await blog.show(post, picture(ready=ready))
        [one] = await read(browser, f"/{file}")
        html = one["content_html"] if file == "feed.json" else one.content[0].value
        assert ("<img" in html) is ready
        assert one.get("image") == (address if ready and file == "feed.json" else None)
    assert f'src="{address}"' in html
    assert 'alt="A &quot;white&quot; quay"' in html
    assert html.index("<img") < html.index("It snows.")


@pytest.mark.parametrize("file", FILES)
async def test_feed_of_categories_has_theirs_only(browser: Browser, blog: Blog, file: str) -> None:
    await blog.post("One", "Web development")
    await blog.post("Two", "B")
    await blog.post("Three", "C")
    assert [each["title"] for each in await read(browser, f"/oc-Web+development/{file}")] == ["One"]
    assert {each["title"] for each in await read(browser, f"/oc-Web+development/oc-B/{file}")} == {"One", "Two"}


@pytest.mark.parametrize("file", FILES)
async def test_feed_of_comments_has_a_posts_own(browser: Browser, blog: Blog, file: str) -> None:
    post = await blog.post("First snow")
    other = await blog.post("Other")
    async with blog.database.saving() as session:
        for each, text in ((post, "One\n\n<b>Two</b> ]]> \ufffe"), (other, "Elsewhere")):
            session.add(Comment(thread_id=each.thread_id, name="Ada & Bo", text=text))
            await session.flush()
    [one] = await read(browser, f"/posts/first-snow/{file}")
    assert one["title"] == "Ada & Bo on “First snow”"
    html = one["content_html"] if file == "feed.json" else one.content[0].value
    # Readers of XML leave out what is at the end.
    assert html.rstrip() == "<p>One</p>\n<p>&lt;b&gt;Two&lt;/b&gt; ]]&gt;</p>"
    assert (one["url"] if file == "feed.json" else one.link).startswith(f"{browser.origin}/posts/first-snow#comment-")


@pytest.mark.parametrize("file", FILES)
async def test_names_of_entries_stay_when_all_else_changes(browser: Browser, blog: Blog, file: str) -> None:
    post = await blog.post("First snow")
    [before] = await read(browser, f"/{file}")
    await blog.edit(post, title="Ice", slug="ice", text="Other")
    [after] = await read(browser, f"/{file}")
    assert after["title"] == "Ice"
    assert after["id"] == before["id"]
    assert after["id"].startswith("urn:uuid:")


@pytest.mark.parametrize(
    "path", ["/rss.xml", "/atom.xml", "/feed.json", "/oc-A/rss.xml", "/posts/post-1/rss.xml", "/sitemap.xml"]
)
async def test_feed_that_did_not_change_is_not_sent_again(browser: Browser, blog: Blog, path: str) -> None:
    post = await blog.post("Post 1", "A")
    first = await browser.client.get(path)
    asked = {"If-None-Match": first.headers["ETag"]}
    again = await browser.client.get(path, headers=asked)
    assert (again.status, await again.read()) == (304, b"")
    await blog.edit(post, title="Other", slug="other", categories=("A",))
    assert (await browser.client.get(path, headers=asked)).status == 200


async def test_edit_is_the_time_of_the_entry_and_writing_before_it_was_published_is_not(
    browser: Browser, blog: Blog
) -> None:
    post = await blog.post("Old", at=now() - timedelta(days=400))
    [one] = await read(browser, "/feed.json")
    # It was written now, and is said to be of last year.
    assert one["date_published"] < one["date_modified"]
    planned = await blog.draft("New")
    await blog.publish(planned, now())
    [new, _] = await read(browser, "/feed.json")
    assert new["date_published"] == new["date_modified"]
    assert post.uid in one["id"]


async def test_unknown_feeds_are_none(browser: Browser, blog: Blog) -> None:
    await blog.post("Post 1", "A")
    for path in ("/rss", "/oc-A/rss", "/posts/post-1/feed.xml", "/posts/nothing/rss.xml", "/oc-Nothing/feed.json"):
        assert (await browser.client.get(path)).status == 404
