"""A post's page, its comments, and the addresses that it had."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from blogging import Blog, picture
from visiting import Browser

from web.db.tables import now
from web.features.blog.models import PostCategory
from web.features.comments.models import Comment, Thread

HIT, MADE = "fanfare; hit", "fanfare; fwd=miss; stored"
PAGE = "/posts/first-snow"


async def test_a_post_is_shown_with_its_text_and_its_comments(browser: Browser, blog: Blog) -> None:
    post = await blog.post("First snow", "Weather", text="It *snows*. <script>alert(1)</script>")
    async with blog.database.saving() as session:
        session.add(Comment(thread_id=post.thread_id, name="Ada", text="At last"))
    assert (await browser.look(PAGE)).status == 200
    for words in ("First snow</h1>", "<em>snows</em>", "At last", 'href="/oc-Weather"'):
        assert words in browser.page
    assert "<script>alert" not in browser.page
    assert f'data-follow="post-{post.id}"' in browser.page
    await browser.look(f"{PAGE}/about")
    assert "<em>snows</em>" in browser.page
    assert "At last" not in browser.page
    listed = await (await browser.fetch(f"{PAGE}/comments.json")).json()
    assert [each["text"] for each in listed["comments"]] == ["At last"]
    assert listed["channel"] == f"comments-{post.thread_id}"


async def test_what_nobody_may_read_is_not_there(browser: Browser, blog: Blog) -> None:
    await blog.draft("A draft")
    await blog.post("Planned", at=now() + timedelta(minutes=1))
    taken_back = await blog.post("Taken back")
    await browser.look("/posts/taken-back")
    await blog.unpublish(taken_back)
    for slug in ("a-draft", "planned", "taken-back", "nothing", "%00"):
        for rest in ("", "/about", "/comments.json", "/rss.xml"):
            assert (await browser.look(f"/posts/{slug}{rest}")).status == 404, (slug, rest)
        assert (await browser.send(f"/posts/{slug}/comments", {"name": "Ada", "text": "Too early"})).status == 404


async def test_an_old_address_leads_to_the_post_for_good(browser: Browser, blog: Blog) -> None:
    post = await blog.post("First snow")
    await browser.look(PAGE)
    assert (await browser.look(PAGE)).headers["Cache-Status"] == HIT
    post = await blog.edit(post, slug="ice")
    await blog.edit(post, slug="hail")
    for rest in ("", "/about", "/comments.json", "/atom.xml", "?before=9", "?a=%0D%0AX:y"):
        for slug in ("first-snow", "ice"):
            response = await browser.look(f"/posts/{slug}{rest}", allow_redirects=False)
            assert (response.status, response.headers["Location"]) == (301, f"/posts/hail{rest}")
    # What was typed at the old one is not lost.
    response = await browser.send(f"{PAGE}/comments", {"name": "Ada", "text": "Hello"})
    assert response.status == 303
    assert response.headers["Location"].startswith("/posts/hail#comment-")
    await blog.unpublish(post)
    assert (await browser.look(PAGE)).status == 404


async def test_a_comment_is_posted_and_a_wrong_one_kept_with_the_reason(browser: Browser, blog: Blog) -> None:
    await blog.post("First snow")
    await browser.look(PAGE)
    response = await browser.submit(f"{PAGE}/comments", {"name": "Ada", "text": "Hello"})
    assert response.status == 303
    await browser.look(PAGE)
    assert "Hello" in browser.page
    response = await browser.submit(f"{PAGE}/comments", {"name": "", "text": "Who am I?"})
    assert response.status == 422
    assert "Who am I?" in browser.page
    assert "Say who you are" in browser.page


async def test_closed_comments_are_shown_and_refused(browser: Browser, blog: Blog) -> None:
    post = await blog.post("First snow")
    await browser.look(PAGE)
    assert "comment-form" in browser.page
    await blog.edit(post, comments="closed")
    await browser.look(PAGE)
    assert "This discussion is closed." in browser.page
    assert (await browser.send(f"{PAGE}/comments", {"name": "Ada", "text": "Late"})).status == 409


async def test_the_page_is_kept_until_what_it_shows_changes(browser: Browser, blog: Blog) -> None:
    post = await blog.post("First snow", "Weather", text="One")
    other, category = await blog.post("Other"), "Weather"
    for path in (PAGE, f"{PAGE}/about"):
        await browser.look(path)
        other = await blog.edit(other, text="Something else")
        assert (await browser.look(path)).headers["Cache-Status"] == HIT
        post = await blog.edit(post, text=post.text + " more", categories=(category,))
        assert (await browser.look(path)).headers["Cache-Status"] == MADE
        assert post.text in browser.page
        async with blog.database.saving() as session:
            category += "!"
            (await session.get_one(PostCategory, 1)).name = category
        await browser.look(path)
        assert f"{category}</a>" in browser.page
    async with blog.database.saving() as session:
        (await session.get_one(Thread, post.thread_id)).is_open = False
    assert (await browser.look(PAGE)).headers["Cache-Status"] == MADE


async def test_networks_and_engines_are_told_what_it_is(browser: Browser, blog: Blog) -> None:
    title = "Snow </script><script>alert(\"1\")</script> & 'ice'"
    post = await blog.post(title, "Weather", slug="snow", summary="About <b>", keywords=("snow", "ice"))
    await browser.look("/posts/snow")
    assert "<script>alert" not in browser.page
    meta = dict(re.findall(r'<meta (?:property|name)="([^"]+)" content="([^"]*)">', browser.page))
    assert meta["og:type"] == "article"
    assert meta["og:url"] == f"{browser.origin}/posts/snow"
    assert meta["og:title"] == "Snow &lt;/script&gt;&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt; &amp; &#39;ice&#39;"
    assert meta["og:description"] == meta["description"] == "About &lt;b&gt;"
    assert meta["article:published_time"] == f"{post.published_at:%Y-%m-%dT%H:%M:%SZ}"
    assert meta["keywords"] == "snow, ice"
    [data] = re.findall(r'<script type="application/ld\+json">(.*?)</script>', browser.page)
    found = json.loads(data)
    assert found["headline"] == title
    assert (found["@type"], found["url"]) == ("BlogPosting", meta["og:url"])
    assert found["datePublished"] == meta["article:published_time"]
    links = dict(re.findall(r'<link rel="alternate" type="[^"]+" title="([^"]+)" href="([^"]+)">', browser.page))
    assert links["Comments (RSS)"] == "/posts/snow/rss.xml"
    assert links["Fanfare (Atom)"] == "/atom.xml"


async def test_a_picture_is_told_to_networks_and_engines_once_it_is_there(browser: Browser, blog: Blog) -> None:
    post = await blog.post("First snow")
    for ready in (False, True):
        await blog.show(post, picture(ready=ready))
        await browser.look(PAGE)
        meta = dict(re.findall(r'<meta (?:property|name)="([^"]+)" content="([^"]*)">', browser.page))
        [data] = re.findall(r'<script type="application/ld\+json">(.*?)</script>', browser.page)
        address = f"{browser.origin}/pictures/{'a' * 32}/1200.jpeg" if ready else None
        assert meta.get("og:image") == json.loads(data).get("image") == address
        assert meta["twitter:card"] == ("summary_large_image" if ready else "summary")
    assert (meta["og:image:width"], meta["og:image:height"]) == ("1200", "600")
    assert meta["og:image:alt"] == "A &#34;white&#34; quay"


async def test_writers_are_led_to_the_desk_and_readers_are_not(browser: Browser, manager: Browser, blog: Blog) -> None:
    post = await blog.post("First snow")
    for path in (PAGE, f"{PAGE}/about"):
        await manager.look(path)
        assert f'href="/manage/posts/{post.id}">Edit this post</a>' in manager.page
        assert f'href="/manage/posts/{post.id}/picture">Its picture</a>' in manager.page
        await browser.look(path)
        assert "/manage/" not in browser.page


@pytest.mark.parametrize("title", ["مرحبا", "a" * 200, "🎉", "<b>&amp;"])
async def test_any_title_has_a_page(browser: Browser, blog: Blog, title: str) -> None:
    post = await blog.post(title)
    assert (await browser.look(f"/posts/{post.slug}")).status == 200
    assert (await browser.look("/")).status == 200
