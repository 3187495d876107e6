"""Feeds as text: what their specifications want is there, and nothing that a post says breaks them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import feedparser
import pytest

from web.features.blog.syndication import Entry, Feed, absolute, atom, json_feed, rss, sitemap

SINCE = datetime(2026, 11, 27, 18, 30, 5, 123000, tzinfo=UTC)
UID = "urn:uuid:9b0f8c4e-5b1c-4c5e-9b69-2b8a1f6f2a10"


def entry(**fields: Any) -> Entry:
    values: dict[str, Any] = {
        "uid": UID,
        "url": "https://site.example/posts/a",
        "title": "First",
        "html": '<p>Hello <a href="/b">b</a></p>',
        "published_at": SINCE,
        "updated_at": SINCE,
        "summary": "Hello b",
        "categories": ("Django", "R&D"),
        "comments": "https://site.example/posts/a/rss.xml",
    }
    return Entry(**values | fields)


def feed(*entries: Entry) -> Feed:
    return Feed("Fanfare", "Newest posts", "https://site.example/", "https://site.example/rss.xml", "Fanfare", entries)


def parsed(text: bytes) -> Any:
    found = feedparser.parse(text)
    assert found.bozo is False, found.bozo_exception
    return found


@pytest.mark.parametrize("write", [rss, atom])
def test_a_reader_finds_all_of_a_post(write: Callable[[Feed], bytes]) -> None:
    found = parsed(write(feed(entry())))
    assert found.version == {rss: "rss20", atom: "atom10"}[write]
    assert (found.feed.title, found.feed.link) == ("Fanfare", "https://site.example/")
    [one] = found.entries
    assert (one.id, one.link, one.title) == (UID, "https://site.example/posts/a", "First")
    assert one.published_parsed[:6] == (2026, 11, 27, 18, 30, 5)
    assert [tag.term for tag in one.tags] == ["Django", "R&D"]
    assert one.content[0].value == '<p>Hello <a href="https://site.example/b">b</a></p>'
    assert one.summary == "Hello b"


def test_rss_has_what_its_specification_wants() -> None:
    root = ElementTree.fromstring(rss(feed(entry())))
    assert (root.tag, root.get("version")) == ("rss", "2.0")
    [channel] = root
    assert {"title", "link", "description"} <= {each.tag for each in channel}
    itself = channel.find("{http://www.w3.org/2005/Atom}link")
    assert itself is not None
    assert itself.attrib == {
        "rel": "self",
        "type": "application/rss+xml",
        "href": "https://site.example/rss.xml",
    }
    item = channel.find("item")
    assert item is not None
    assert item.findtext("pubDate") == "Fri, 27 Nov 2026 18:30:05 GMT"
    guid = item.find("guid")
    assert guid is not None
    assert (guid.text, guid.attrib) == (UID, {"isPermaLink": "false"})
    for each in item:
        assert not each.tag.startswith("{") or each.text


def test_atom_has_what_its_specification_wants() -> None:
    """RFC 4287 4.1.1 and 4.1.2: these exactly once; and an author, of the feed or of each entry."""
    space = "{http://www.w3.org/2005/Atom}"
    root = ElementTree.fromstring(atom(feed(entry(), entry(uid="urn:uuid:2", author="Ada"))))
    assert root.tag == f"{space}feed"
    for parent in (root, *root.findall(f"{space}entry")):
        for name in ("id", "title", "updated"):
            assert len(parent.findall(space + name)) == 1
    time = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
    assert all(time.fullmatch(each.text or "") for each in root.iter(f"{space}updated"))
    assert len(root.findall(f"{space}author")) == 1
    assert [each.get("rel") for each in root.findall(f"{space}link")] == ["self", "alternate"]
    content = root.find(f"{space}entry/{space}content")
    assert content is not None
    assert content.get("type") == "html"


def test_json_feed_has_what_its_specification_wants() -> None:
    found = json.loads(json_feed(feed(entry())))
    assert found["version"] == "https://jsonfeed.org/version/1.1"
    assert (found["title"], found["home_page_url"]) == ("Fanfare", "https://site.example/")
    [item] = found["items"]
    assert item["id"] == UID
    assert item["content_html"] == '<p>Hello <a href="https://site.example/b">b</a></p>'
    assert item["tags"] == ["Django", "R&D"]
    assert item["date_published"] == "2026-11-27T18:30:05Z"


@pytest.mark.parametrize("write", [rss, atom])
def test_a_feed_without_entries_is_a_feed_and_the_same_one_each_time(write: Callable[[Feed], bytes]) -> None:
    assert parsed(write(feed())).entries == []
    assert write(feed()) == write(feed())
    assert json.loads(json_feed(feed()))["items"] == []


HOSTILE = {
    "control characters": "a\x00b\x08\x0b\x0c\x1fc",
    "end of CDATA": "a ]]> b <![CDATA[ c",
    "markup": '</title></item><script>alert("1")</script> & &amp; &lt;',
    "half a surrogate pair": "a\ud800b\udfffc",
    "no characters": "a\ufffe\uffffb",
    "planes": "😀 \U0010fffd 𝔘",
    "a lone CR": "a\rb\r\nc",
    "quotes": "\"'<>&",
    "other direction": "\u202eabc",
}


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("write", [rss, atom])
def test_nothing_that_is_said_breaks_xml(write: Callable[[Feed], bytes], words: str) -> None:
    text = write(feed(entry(title=words, summary=words, html=words, author=words, categories=(words,))))
    [one] = parsed(text).entries
    assert one.id == UID
    root = ElementTree.fromstring(text)
    titles = [each.text for each in root.iter() if each.tag.rpartition("}")[2] == "title"]
    # What no document may have is replaced, and all else is as it was.
    kept = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", words)
    assert titles[1] == kept


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_nothing_that_is_said_breaks_json(words: str) -> None:
    found = json.loads(json_feed(feed(entry(title=words, summary=words, html=words, categories=(words,)))))
    assert len(found["items"]) == 1


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<a href="/b?x=1&amp;y=2">', '<a href="https://s.example/b?x=1&amp;y=2">'),
        ('<a href="#note">', '<a href="https://s.example/posts/a#note">'),
        ('<img src="//cdn.example/x.png" alt="a > b">', '<img src="https://cdn.example/x.png" alt="a > b">'),
        (
            '<img alt="href=&quot;/no&quot;" src="x.png">',
            '<img alt="href=&quot;/no&quot;" src="https://s.example/posts/x.png">',
        ),
        (
            '<img srcset="/a.png 1x, /b.png 2x">',
            '<img srcset="https://s.example/a.png 1x, https://s.example/b.png 2x">',
        ),
        ('<a href="https://other.example/">', '<a href="https://other.example/">'),
        ('<a href="mailto:a@b.example">', '<a href="mailto:a@b.example">'),
        ('<a href="http://[">', '<a href="http://[">'),
        ('<p>say href="/b" aloud</p>', '<p>say href="/b" aloud</p>'),
        ('<a title="<b href=" href="/b">', '<a title="<b href=" href="https://s.example/b">'),
    ],
)
def test_addresses_hold_wherever_they_are_read(html: str, expected: str) -> None:
    assert absolute(html, "https://s.example/posts/a") == expected


def test_sitemap_has_what_its_protocol_wants() -> None:
    root = ElementTree.fromstring(sitemap([("https://s.example/?a&b", SINCE), ("https://s.example/c", None)]))
    space = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
    assert root.tag == f"{space}urlset"
    assert [[each.text for each in url] for url in root] == [
        ["https://s.example/?a&b", "2026-11-27T18:30:05Z"],
        ["https://s.example/c"],
    ]
