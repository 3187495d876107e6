"""What strangers and tired people write: a clear answer each, and nothing lost of what was typed.

Titles, slugs, dates and double sends are in test_posts.py and test_desk.py too; HTML of every kind in test_text.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from io import BytesIO
from urllib.parse import urlencode

import feedparser
import pytest
from blogging import Blog
from cpu import taking
from sqlalchemy import select
from visiting import PASSWORD, Browser, Forms

from web.db.database import Database
from web.features.accounts.people import create_user
from web.features.blog.models import Post
from web.features.blog.posts import BadPost, Writing, ready
from web.identity.passwords import Passwords
from web.identity.roles import Role

NEW = "/manage/posts"


@pytest.fixture
async def writer(new_browser: Callable[[], Awaitable[Browser]], database: Database, passwords: Passwords) -> Browser:
    await create_user(database, passwords, "bo", PASSWORD, Role.WRITER)
    browser = await new_browser()
    assert (await browser.sign_in("bo")).status == 303
    return browser


async def send(writer: Browser, **fields: str) -> int:
    await writer.look("/manage/posts/new")
    given = Forms.of(writer.page)[NEW] | {"title": "Snow", "text": "x", "comments": "open", "do": "publish"} | fields
    head = {"Content-Type": "application/x-www-form-urlencoded", "Origin": writer.origin}
    body = BytesIO(urlencode(given).encode())
    response = await writer.client.post(NEW, data=body, headers=head, allow_redirects=False)
    writer.page = await response.text()
    return response.status


async def slugs(database: Database) -> list[str]:
    async with database.reading() as session:
        return sorted(await session.scalars(select(Post.slug)))


BOMBS = {
    "quotes in quotes": ">" * 30_000 + " x",
    "lists in lists": "\n".join("  " * depth + "- x" for depth in range(400)),
    "a megabyte of brackets": "[" * 1_000_000,
    "links in links": "[" * 20_000 + "x" + "](y)" * 20_000,
    "emphasis in emphasis": "*a_ " * 40_000,
    "tables": ("|" * 2_000 + "\n" + "|-" * 2_000 + "\n") + "|\n" * 2_000,
    "tags in tags": "<div>" * 30_000,
    "one long link many times": f"[a]: https://site.example/{'x' * 20_000}\n\n" + "[a] " * 2_000,
    "backticks": " ".join("`" * number for number in range(1, 600)),
    "footnotes": "".join(f"[^{n}] " for n in range(20_000)),
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_bomb_is_refused_in_words_and_soon_and_is_still_in_the_form(
    writer: Browser, database: Database, bomb: str
) -> None:
    with taking(time.process_time) as taken:
        assert await send(writer, text=BOMBS[bomb]) == 422
        # Of this process, with the client and the form's page in it.
    assert taken.seconds < 5
    assert re.search(r'<p class="error" id="text-error">[A-Z][^<]+\.</p>', writer.page)
    found = re.search(r'<textarea id="text"[^>]*>\n(.*?)</textarea>', writer.page, re.DOTALL)
    assert found
    typed = found[1].replace("&gt;", ">").replace("&lt;", "<").replace("&#34;", '"').replace("&amp;", "&")
    assert typed == BOMBS[bomb]
    assert await slugs(database) == []


EVIL = """
<script>alert(1)</script><style>body{display:none}</style>
<img src=x onerror=alert(2)> <a href="javascript:alert(3)">a</a>
<a href="data:text/html,<script>alert(4)</script>">b</a>
[c](javascript:alert\\(5\\)) [d](data:text/html;base64,PHNjcmlwdD4=) ![e](javascript:alert(6)) <svg onload=alert(7)>
<iframe src="https://evil.example"></iframe> <form action="https://evil.example"><input name="password"></form>
<a href=" jAvAsCrIpT&#58;alert(8)">f</a> <p style="position:fixed" onclick="alert(9)">g</p> <base href="https://evil.example">
<meta http-equiv="refresh" content="0;url=https://evil.example"> <object data="x"></object> <a href="vbscript:x">h</a>
"""


@pytest.mark.parametrize("format", ["markdown", "html", "text"])
async def test_what_runs_or_hides_is_not_in_the_page_nor_in_the_feeds(
    writer: Browser, browser: Browser, database: Database, format: str
) -> None:
    assert (
        await send(writer, title="<script>alert(0)</script> & <b>", text=EVIL, format=format, categories="<i>x") == 303
    )
    await browser.look(f"/posts/{(await slugs(database))[0]}")
    _assert_harmless(re.sub(r"(?s)^.*?<main", "<main", browser.page))
    for file in ("rss.xml", "atom.xml"):
        await browser.look(f"/{file}")
        # As it came: feedparser would clean it.
        found = feedparser.parse(browser.page, sanitize_html=False)
        assert not found.bozo
        _assert_harmless(found.entries[0].content[0].value)
    answer = await browser.fetch("/feed.json")
    _assert_harmless((await answer.json())["items"][0]["content_html"])
    await writer.look("/manage/posts/1")
    preview = writer.page.partition('<div id="preview"')[2]
    _assert_harmless(preview)


def _assert_harmless(html: str) -> None:
    tags = " ".join(re.findall(r"<[a-zA-Z][^>]*>", html)).lower()
    for bad in (
        "javascript:",
        "vbscript:",
        "data:text",
        " on",
        "<iframe",
        "<svg",
        "<object",
        "<base",
        "<style",
        "style=",
    ):
        # Words that begin with "on" stand in texts; here they would be attributes.
        assert not re.search(r"\son[a-z]+=" if bad == " on" else re.escape(bad), tags), (bad, tags)
    assert 'action="https://evil' not in tags
    assert 'http-equiv="refresh"' not in tags
    assert not re.search(r"<script(?! src=| type=\"application/ld\+json\")", html), html


@pytest.mark.parametrize("title", ["🎉", "🇫🇴🎺🎺", "👨‍👩‍👧", "️⃣🎉"])
async def test_titles_of_emoji_only_have_an_address_and_are_shown(
    writer: Browser, browser: Browser, database: Database, title: str
) -> None:
    assert await send(writer, title=title) == 303
    [slug] = await slugs(database)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", slug)
    await browser.look(f"/posts/{slug}")
    assert f"{title}</h1>" in browser.page


async def test_slugs_that_are_taken_are_said_with_all_that_was_typed(writer: Browser, blog: Blog) -> None:
    await blog.edit(await blog.post("Old name"), title="Snow", slug="snow")
    for slug in ("snow", "old-name"):
        assert await send(writer, title="Other", slug=slug, text="Long and typed.") == 422
        assert "Another post has this address already, or had it." in writer.page
        assert "Long and typed." in writer.page


@pytest.mark.parametrize("name", ["Djangо", "Ρython", "раypal", "Web devеlopment"])
async def test_a_category_that_looks_like_another_is_refused(name: str) -> None:
    """Letters of other scripts that look like Latin ones; whole words of one script are fine."""
    with pytest.raises(BadPost) as error:
        await ready(Writing(title="Snow", categories=(name,)))
    assert "mixes letters of several scripts" in error.value.errors["categories"]


@pytest.mark.parametrize("name", ["Погода", "Ελλάδα", "天気", "Wetter & Погода", "C++", "Café", "日本Python"])
async def test_a_category_of_one_script_or_with_words_of_two_is_fine(name: str) -> None:
    assert (await ready(Writing(title="Snow", categories=(name,)))).writing.categories == (name,)


async def test_a_title_with_look_alikes_has_an_address_of_its_own(blog: Blog, browser: Browser) -> None:
    one, other = await blog.post("paypal news"), await blog.post("раураl news")
    assert one.slug != other.slug
    await browser.look(f"/posts/{other.slug}")
    assert "раураl news" in browser.page


async def test_overrides_of_direction_turn_nothing_around_but_their_own_text(
    writer: Browser, browser: Browser, database: Database
) -> None:
    turned = "gnp.\u202eexe \u2066x\u2069 \u200f"
    fields = {
        "title": f"Photo {turned}",
        "summary": f"S {turned}",
        "categories": f"K{turned}",
        "keywords": f"W{turned}",
    }
    assert await send(writer, text=f"T {turned}", **fields) == 303
    [slug] = await slugs(database)
    for path in (f"/posts/{slug}", "/", "/rss.xml", "/feed.json", "/sitemap.xml"):
        await browser.look(path)
        # In the text it stays, within an element of its own direction.
        page = (
            browser.page.partition('<div class="post-text" dir="auto">')[0]
            if path.startswith("/posts")
            else browser.page
        )
        if path in ("/", f"/posts/{slug}", "/sitemap.xml"):
            assert not re.search("[\u202a-\u202e\u2066-\u2069]", page), path
    await browser.look(f"/posts/{slug}")
    assert '<h1 dir="auto">' in browser.page


@pytest.mark.parametrize(
    "fields",
    [
        {"uid": "x"},
        {"uid": ""},
        {"do": "drop"},
        {"format": "exe"},
        {"comments": "maybe"},
        {"edition": "-1", "title": ""},
        {"edition": "9" * 400, "title": ""},
        {"zone": "\0"},
        {"published_at": "tomorrow"},
        {"title": "\0"},
        {"title": "x" * 500},
        {"categories": ",".join("abcdefghijkl")},
        {"slug": "../../etc"},
    ],
)
async def test_forms_that_no_page_of_ours_sends_are_refused(
    writer: Browser, database: Database, fields: dict[str, str]
) -> None:
    status = await send(writer, **fields)
    assert status in (400, 422) or (fields.get("zone") == "\0" and status == 303)
    assert len(await slugs(database)) == (status == 303)
