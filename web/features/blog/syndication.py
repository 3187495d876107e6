"""Feeds and the sitemap as text. Pure.

RSS 2.0 (rssboard.org/rss-specification), Atom (RFC 4287), JSON Feed 1.1 (jsonfeed.org/version/1.1) and sitemaps
(sitemaps.org/protocol.html). Entries have their whole text, absolute addresses, and names that stay when they move.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from html import escape, unescape
from urllib.parse import urljoin

import orjson

from ...pages.templating import machine_time
from ...services.domains import may_be_split


@dataclass(frozen=True, slots=True)
class Entry:
    """A post or a comment. uid: a URI that never changes. html: safe, with addresses that may be relative to `url`.

    comments: the address of a feed of its comments, or "". image: that of its picture, or "".
    """

    uid: str
    url: str
    title: str
    html: str
    published_at: datetime
    updated_at: datetime
    summary: str = ""
    author: str = ""
    categories: tuple[str, ...] = ()
    comments: str = ""
    image: str = ""


@dataclass(frozen=True, slots=True)
class Feed:
    """A list of entries, the newest first. page: its address for people; url: its own.

    hub: of a WebSub hub that tells of what is new in it, or "".
    """

    title: str
    subtitle: str
    page: str
    url: str
    author: str
    entries: Sequence[Entry]
    hub: str = ""

    @property
    def updated_at(self) -> datetime:
        """When the newest change was; of an empty one, always the same."""
        return max((entry.updated_at for entry in self.entries), default=datetime(1970, 1, 1, tzinfo=UTC))


def rss(feed: Feed) -> bytes:
    """RSS 2.0, with the text in content:encoded."""
    channel: list[str] = [
        _element("title", feed.title),
        _element("link", feed.page),
        _element("description", feed.subtitle),
        _element("language", "en"),
        _element("lastBuildDate", _mail_time(feed.updated_at)),
        _empty("atom:link", rel="self", type="application/rss+xml", href=feed.url),
        *([_empty("atom:link", rel="hub", href=feed.hub)] if feed.hub else []),
    ]
    for entry in feed.entries:
        item = [
            _element("title", entry.title),
            _element("link", entry.url),
            _element("guid", entry.uid, isPermaLink="false"),
            _element("pubDate", _mail_time(entry.published_at)),
            _element("dc:creator", entry.author or feed.author),
            *(_element("category", name) for name in entry.categories),
        ]
        if entry.summary:
            item.append(_element("description", escape(entry.summary)))
        item.append(_element("content:encoded", absolute(entry.html, entry.url)))
        if entry.comments:
            item += [_element("comments", f"{entry.url}#comments-title"), _element("wfw:commentRss", entry.comments)]
        channel.append(_group("item", item))
    spaces = {
        "xmlns:atom": "http://www.w3.org/2005/Atom",
        "xmlns:content": "http://purl.org/rss/1.0/modules/content/",
        "xmlns:dc": "http://purl.org/dc/elements/1.1/",
        "xmlns:wfw": "http://wellformedweb.org/CommentAPI/",
    }
    return _document(_group("rss", [_group("channel", channel)], version="2.0", **spaces))


def atom(feed: Feed) -> bytes:
    """Atom 1.0."""
    inside = [
        _element("title", feed.title),
        _element("subtitle", feed.subtitle),
        _element("id", feed.url),
        _element("updated", machine_time(feed.updated_at)),
        _empty("link", rel="self", type="application/atom+xml", href=feed.url),
        *([_empty("link", rel="hub", href=feed.hub)] if feed.hub else []),
        _empty("link", rel="alternate", type="text/html", href=feed.page),
        _group("author", [_element("name", feed.author)]),
    ]
    for entry in feed.entries:
        parts = [
            _element("title", entry.title),
            _element("id", entry.uid),
            _empty("link", rel="alternate", type="text/html", href=entry.url),
            _element("published", machine_time(entry.published_at)),
            _element("updated", machine_time(entry.updated_at)),
            *([_group("author", [_element("name", entry.author)])] if entry.author else []),
            *(_empty("category", term=name) for name in entry.categories),
            *([_element("summary", entry.summary)] if entry.summary else []),
            _element("content", absolute(entry.html, entry.url), type="html"),
        ]
        if entry.comments:
            parts.append(_empty("link", rel="replies", type="application/atom+xml", href=entry.comments))
        inside.append(_group("entry", parts))
    return _document(_group("feed", inside, xmlns="http://www.w3.org/2005/Atom", **{"xml:lang": "en"}))


def json_feed(feed: Feed) -> bytes:
    """JSON Feed 1.1."""
    items = []
    for entry in feed.entries:
        item: dict[str, object] = {
            "id": entry.uid,
            "url": entry.url,
            "title": _whole(entry.title),
            "content_html": _whole(absolute(entry.html, entry.url)),
            "date_published": machine_time(entry.published_at),
            "date_modified": machine_time(entry.updated_at),
        }
        if entry.summary:
            item["summary"] = _whole(entry.summary)
        if entry.image:
            item["image"] = _joined(entry.url, entry.image)
        if entry.author:
            item["authors"] = [{"name": _whole(entry.author)}]
        if entry.categories:
            item["tags"] = [_whole(name) for name in entry.categories]
        items.append(item)
    return orjson.dumps(
        {
            "version": "https://jsonfeed.org/version/1.1",
            "title": _whole(feed.title),
            "description": _whole(feed.subtitle),
            "home_page_url": feed.page,
            "feed_url": feed.url,
            "language": "en",
            "authors": [{"name": feed.author}],
            **({"hubs": [{"type": "WebSub", "url": feed.hub}]} if feed.hub else {}),
            "items": items,
        }
    )


#: How the feed of a file is written.
WRITERS: Mapping[str, Callable[[Feed], bytes]] = {"rss.xml": rss, "atom.xml": atom, "feed.json": json_feed}


def sitemap(pages: Iterable[tuple[str, datetime | None]]) -> bytes:
    """A sitemap of absolute addresses, each with when it last changed, if that is known."""
    urls = [
        f"<url>{_element('loc', url)}{_element('lastmod', machine_time(when)) if when else ''}</url>"
        for url, when in pages
    ]
    return _document(_group("urlset", urls, xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"))


def sitemap_index(parts: Iterable[str]) -> bytes:
    """Where the parts of a sitemap are, by absolute addresses."""
    found = [f"<sitemap>{_element('loc', url)}</sitemap>" for url in parts]
    return _document(_group("sitemapindex", found, xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"))


# A tag of HTML as a cleaner writes it: attributes with quotation marks, in which `<` and `>` may stand as they are.
_TAG = re.compile(r"""<[a-zA-Z][^\s"'<>/]*(?:\s+[^\s"'<>/=]+(?:="[^"]*")?)*\s*/?>""")
_ATTRIBUTE = re.compile(r"""(\s+([^\s"'<>/=]+)=")([^"]*)(")""")
_ADDRESSES = frozenset({"href", "src", "cite", "poster"})


def absolute(html: str, base: str) -> str:
    """HTML that a cleaner has written, with addresses that hold wherever it is read."""

    def attribute(match: re.Match[str]) -> str:
        begin, name, value, end = match.groups()
        if name in _ADDRESSES:
            value = escape(_joined(base, unescape(value)))
        elif name == "srcset":
            pictures = [each.strip().partition(" ") for each in unescape(value).split(",") if each.strip()]
            value = escape(", ".join(f"{_joined(base, url)} {size}".strip() for url, _, size in pictures))
        return f"{begin}{value}{end}"

    return _TAG.sub(lambda tag: _ATTRIBUTE.sub(attribute, tag[0]), html)


def _joined(base: str, address: str) -> str:
    if not may_be_split(address):
        return address
    try:
        return urljoin(base, address)
    except ValueError:
        # `http://[` is no address; it leads nowhere here as it does on the page.
        return address


# All but what XML 1.0 lets a document have (production 2): one of these makes a feed that no reader takes.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _whole(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def _escaped(text: str) -> str:
    # Text, never CDATA: `]]>` has no meaning once its `>` is written so. A bare CR would be read as LF.
    return escape(_whole(text)).replace("\r", "&#13;")


def _attributes(attributes: Mapping[str, str]) -> str:
    return "".join(f' {name}="{_escaped(value)}"' for name, value in attributes.items())


def _element(name: str, text: str, **attributes: str) -> str:
    return f"<{name}{_attributes(attributes)}>{_escaped(text)}</{name}>"


def _empty(name: str, **attributes: str) -> str:
    return f"<{name}{_attributes(attributes)}/>"


def _group(name: str, inside: Iterable[str], **attributes: str) -> str:
    return f"<{name}{_attributes(attributes)}>\n" + "\n".join(inside) + f"\n</{name}>"


def _document(root: str) -> bytes:
    return f'<?xml version="1.0" encoding="utf-8"?>\n{root}\n'.encode()


def _mail_time(when: datetime) -> str:
    return format_datetime(when.astimezone(UTC).replace(microsecond=0), usegmt=True)
