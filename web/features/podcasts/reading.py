"""A feed read from its bytes: what it says of the podcast, its items, and which of those are episodes. Pure.

RSS 0.9 to 2.0 and Atom. One pass of expat, with bounds as numbers, and a table of the elements that count: direct
children of the channel or of an item, in RSS's own namespaces or in those of iTunes, Media RSS, Dublin Core, Atom and
Podcasting 2.0. Whatever else there is (a live item, the author's name inside an Atom person) is nobody's title.
Entities that a feed declares are refused at once.
"""

from __future__ import annotations

import gzip
import html
import zlib
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.parsers import expat

from ...services.domains import may_be_split
from . import repairs
from .addresses import media_url
from .dates import parse_date
from .durations import parse_duration
from .feeds import Feed, FeedError, Item, NotAFeed, Refused, Unreadable
from .names import plain

#: Part of what is known of a feed: with another reader the same bytes may say something else. Count it up with it.
VERSION = 2

#: Elements within each other.
MAX_DEPTH = 100

#: Items that are read; what is behind them is left out, and said.
MAX_ITEMS = 10_000

#: Bytes of a feed as it is unpacked.
MAX_BYTES = 40 * 1024 * 1024

#: Characters of one element's text.
_MAX_TEXT = 50_000

MAX_TITLE = 300
MAX_SUMMARY = 2000
MAX_GUID = 1000

CORE, ITUNES, MEDIA, DC, ATOM, CONTENT, PODCAST, ENCLOSURES, OTHER = range(9)

_BASE = "http://www.w3.org/XML/1998/namespace\x01base"
_LANGUAGE = "http://www.w3.org/XML/1998/namespace\x01lang"

_MEDIA_ENDINGS = frozenset(
    [
        "mp3",
        "m4a",
        "m4b",
        "mp4",
        "m4v",
        "mov",
        "ogg",
        "oga",
        "ogv",
        "opus",
        "aac",
        "wav",
        "flac",
        "webm",
        "mka",
        "mkv",
        "wma",
        "wmv",
        "avi",
        "mpg",
        "mpeg",
        "mp2",
        "3gp",
        "aif",
        "aiff",
        "caf",
    ]
)

Key = tuple[int, str]

_CHANNEL: dict[Key, str] = {
    (CORE, "title"): "title",
    (CORE, "link"): "link",
    (CORE, "description"): "description",
    (CORE, "language"): "language",
    (CORE, "ttl"): "ttl",
    (ITUNES, "summary"): "summary",
    (ITUNES, "subtitle"): "subtitle",
    (ITUNES, "author"): "author",
    (ITUNES, "block"): "block",
    (ITUNES, "new-feed-url"): "moved",
    (PODCAST, "guid"): "guid",
}

_ITEM: dict[Key, str] = {
    (CORE, "title"): "title",
    (CORE, "guid"): "guid",
    (CORE, "pubdate"): "date 0",
    (DC, "date"): "date 1",
    (CORE, "published"): "date 2",
    (ATOM, "published"): "date 2",
    (CORE, "updated"): "date 3",
    (ATOM, "updated"): "date 3",
    (CORE, "description"): "description",
    (ITUNES, "summary"): "summary",
    (ITUNES, "duration"): "duration",
    (ITUNES, "episodetype"): "kind",
    (ITUNES, "season"): "season",
    (ITUNES, "episode"): "number",
}

#: The same of an Atom feed and its entries. Atom 0.3 has other names for dates.
_FEED: dict[Key, str] = {
    (ATOM, "title"): "title",
    (ATOM, "subtitle"): "description",
    (ATOM, "tagline"): "description",
    (ATOM, "logo"): "image",
    **{key: field for key, field in _CHANNEL.items() if key[0] != CORE},
}

_ENTRY: dict[Key, str] = {
    (ATOM, "title"): "title",
    (ATOM, "id"): "guid",
    (ATOM, "issued"): "date 2",
    (ATOM, "modified"): "date 3",
    (ATOM, "summary"): "description",
    (ATOM, "content"): "summary",
    **{key: field for key, field in _ITEM.items() if key[0] != CORE},
}

#: The first that can be read counts.
_DATES = ("date 0", "date 1", "date 2", "date 3")

_KINDS = frozenset({"full", "trailer", "bonus"})


def read_feed(body: bytes, base: str = "", charset: str = "") -> Feed:
    """What the bytes say; raises FeedError, and nothing else.

    base: where they come from, for relative addresses. charset: of the answer's Content-Type, which counts where
    neither the bytes nor the declaration say anything.
    """
    body = _unpacked(body)
    if len(body) > MAX_BYTES:
        raise Refused(f"it is longer than {MAX_BYTES} bytes")
    if not body.strip(b"\x00 \t\r\n"):
        raise NotAFeed("it is empty")
    try:
        return repairs.read(body, charset, lambda data, encoding: _parse(data, encoding, base))
    except FeedError:
        raise
    except (ValueError, LookupError, RecursionError, MemoryError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}"[:200]) from None


def _unpacked(body: bytes) -> bytes:
    """A body that is gzip although nobody said so."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        found = inflater.decompress(body, MAX_BYTES + 1)
    except zlib.error as error:
        raise Unreadable(f"it is not packed as it says: {error}") from None
    if len(found) > MAX_BYTES:
        raise Refused(f"it unpacks to more than {MAX_BYTES} bytes")
    return found


def pack(body: bytes) -> bytes:
    """As little as it may be; for tests and the demo."""
    return gzip.compress(body, mtime=0)


def _space(uri: str) -> int:
    uri = uri.lower()
    if not uri or "userland.com" in uri or "netscape.com" in uri or uri == "http://purl.org/rss/1.0/":
        return CORE
    if "law.harvard.edu/tech/rss" in uri:
        return CORE
    if "itunes" in uri and "dtd" in uri:
        return ITUNES
    for part, space in (
        ("search.yahoo.com/mrss", MEDIA),
        ("purl.org/dc/elements", DC),
        ("www.w3.org/2005/atom", ATOM),
        ("purl.org/atom/ns#", ATOM),
        ("purl.oclc.org/net/rss_2.0/enc", ENCLOSURES),
        ("purl.org/rss/1.0/modules/content", CONTENT),
        ("podcastindex.org/namespace", PODCAST),
        ("podcastindex-org/podcast-namespace", PODCAST),
    ):
        if part in uri:
            return space
    return OTHER


#: Where an element is: what it is a child of decides what it means.
(
    _ROOT, _RDF, _IN_ROOT, _IN_CHANNEL, _IN_ITEM, _IN_GROUP, _IN_IMAGE, _IN_FEED, _IN_ENTRY, _IN_AUTHOR, _ELSEWHERE,
) = range(11)  # fmt: skip


@dataclass(slots=True)
class _Draft:
    """An item while it is read."""

    texts: dict[str, str] = field(default_factory=dict)
    enclosures: list[tuple[str, str, str]] = field(default_factory=list)
    #: What its relative addresses are of, if it says so.
    base: str = ""


class _Reader:
    """The handlers of one pass."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.stack = [_ROOT]
        self.names: dict[str, Key] = {}
        #: Names of an item's elements, as expat has them, by where their text goes: most of a feed is those.
        self.fields: dict[str, str] = {}
        self.channel: dict[str, str] = {}
        self.has_channel = False
        self.items = 0
        self.cut = False
        self.drafts: list[_Draft] = []
        self.image = self.own_image = ""
        self.links: dict[str, str] = {}
        #: The text that is being read: where it goes, by which name, and how deep its element is.
        self.into: dict[str, str] | None = None
        self.name = ""
        self.level = 0
        self.parts: list[str] = []
        self.length = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        stack = self.stack
        if len(stack) > MAX_DEPTH:
            raise Refused(f"its elements are more than {MAX_DEPTH} deep")
        if stack[-1] == _IN_ITEM and (field := self.fields.get(name)) is not None:
            stack.append(_ELSEWHERE)
            if self.into is None:
                self.into, self.name, self.level = self.drafts[-1].texts, field, len(stack) - 1
                self.parts, self.length = [], 0
            return
        key = self.names.get(name)
        if key is None:
            uri, _, local = name.rpartition("\x01")
            key = self.names[name] = (_space(uri), local.lower())
        parent, state = stack[-1], _ELSEWHERE
        if parent == _IN_ITEM:
            if (field := _ITEM.get(key)) is not None:
                self.fields[name] = field
                if self.into is None:
                    self._capture(self.drafts[-1].texts, field)
            elif key == (CORE, "enclosure") or key == (MEDIA, "content"):
                self._enclosure(attributes)
            elif key == (MEDIA, "group"):
                state = _IN_GROUP
            elif key == (ENCLOSURES, "enclosure"):
                # The module of RSS 1.0 (mod_enclosure): rdf:resource, enc:type, enc:length.
                bare = {name.rpartition("\x01")[2]: value for name, value in attributes.items()}
                self._enclosure({"url": bare.get("resource", ""), **bare})
        elif parent == _IN_CHANNEL:
            state = self._in_channel(key, attributes)
        elif parent == _IN_ENTRY:
            state = self._in_entry(key, attributes)
        elif parent == _IN_FEED:
            state = self._in_feed(key, attributes)
        elif parent == _IN_GROUP:
            if key == (MEDIA, "content"):
                self._enclosure(attributes)
        elif parent == _IN_IMAGE:
            if key == (CORE, "url") and self.into is None:
                self._capture(self.channel, "image")
        elif parent == _IN_AUTHOR:
            if key == (ATOM, "name") and self.into is None:
                self._capture(self.channel, "author")
        elif parent in (_IN_ROOT, _RDF):
            if key == (CORE, "channel") and not self.has_channel:
                self.has_channel = True
                state = _IN_CHANNEL
            elif parent == _RDF and key == (CORE, "item"):
                state = self._item()
        elif parent == _ROOT:
            if key[1] == "feed" and key[0] in (ATOM, CORE):
                state = self._feed(attributes)
            else:
                state = _RDF if key[1] == "rdf" else _IN_ROOT
        stack.append(state)

    def _in_channel(self, key: Key, attributes: dict[str, str]) -> int:
        if key == (CORE, "item"):
            return self._item()
        if key == (CORE, "image"):
            return _IN_IMAGE
        if key == (ITUNES, "image"):
            self.own_image = self.own_image or attributes.get("href", attributes.get("url", "")).strip()
        elif key == (ATOM, "link"):
            self._link(attributes)
        elif self.into is None and (field := _CHANNEL.get(key)) is not None:
            self._capture(self.channel, field)
        return _ELSEWHERE

    def _feed(self, attributes: dict[str, str]) -> int:
        self.has_channel = True
        self.base = _joined(self.base, attributes.get(_BASE, ""))
        self.channel["language"] = attributes.get(_LANGUAGE, "").strip()
        return _IN_FEED

    def _in_feed(self, key: Key, attributes: dict[str, str]) -> int:
        key = _as_atom(key)
        if key == (ATOM, "entry"):
            state = self._item(_IN_ENTRY)
            if state == _IN_ENTRY:
                self.drafts[-1].base = _joined(self.base, attributes.get(_BASE, ""))
            return state
        if key == (ATOM, "author"):
            return _IN_AUTHOR
        if key == (ITUNES, "image"):
            self.own_image = self.own_image or attributes.get("href", attributes.get("url", "")).strip()
        elif key == (ATOM, "link"):
            self._link(attributes)
        elif self.into is None and (field := _FEED.get(key)) is not None:
            self._capture(self.channel, field)
        return _ELSEWHERE

    def _in_entry(self, key: Key, attributes: dict[str, str]) -> int:
        key = _as_atom(key)
        if key == (MEDIA, "group"):
            return _IN_GROUP
        if key == (MEDIA, "content"):
            self._enclosure(attributes)
        elif key == (ATOM, "link"):
            if _relation(attributes) == "enclosure":
                url = _joined(attributes.get(_BASE, ""), attributes.get("href", ""))
                self._enclosure({**attributes, "url": url})
        elif self.into is None and (field := _ENTRY.get(key)) is not None:
            self._capture(self.drafts[-1].texts, field)
        return _ELSEWHERE

    def _link(self, attributes: dict[str, str]) -> None:
        self.links.setdefault(_relation(attributes), attributes.get("href", "").strip())

    def _item(self, state: int = _IN_ITEM) -> int:
        self.items += 1
        if len(self.drafts) >= MAX_ITEMS:
            self.cut = True
            return _ELSEWHERE
        self.drafts.append(_Draft())
        return state

    def _enclosure(self, attributes: dict[str, str]) -> None:
        if len(self.drafts[-1].enclosures) < 20:
            get = attributes.get
            length = get("length") or get("fileSize") or ""
            self.drafts[-1].enclosures.append((get("url", ""), get("type", "").strip().lower(), length))

    def _capture(self, into: dict[str, str], name: str) -> None:
        self.into, self.name, self.level = into, name, len(self.stack)
        self.parts, self.length = [], 0

    def text(self, data: str) -> None:
        if self.into is not None and self.length < _MAX_TEXT:
            self.parts.append(data)
            self.length += len(data)

    def end(self, name: str) -> None:
        self.stack.pop()
        if self.into is not None and len(self.stack) == self.level:
            text = "".join(self.parts)[:_MAX_TEXT].strip()
            # The first that says something.
            if text and not self.into.get(self.name):
                self.into[self.name] = text
            self.into = None

    def entity(self, name: str, *rest: Any) -> None:
        raise Refused("it declares entities")

    def skipped(self, name: str, is_parameter: bool) -> None:
        # Of a DTD elsewhere, which is not read; some feeds have one that declares HTML's.
        if not is_parameter:
            self.text(html.unescape(f"&{name};"))

    def made(self) -> Feed:
        if not self.has_channel:
            raise NotAFeed("it has no channel: this is no RSS or Atom feed")
        episodes: list[Item] = []
        repeats = conflicts = 0
        guids: dict[str, tuple[str, str]] = {}
        pairs: set[tuple[str, str]] = set()
        for draft in self.drafts:
            item = _episode(draft, draft.base or self.base)
            if item is None:
                continue
            pair = (item.url, item.title)
            if (item.guid and item.guid in guids) or pair in pairs:
                repeats += 1
                conflicts += pair not in pairs and all(a != b for a, b in zip(guids[item.guid], pair, strict=True))
                continue
            pairs.add(pair)
            if item.guid:
                guids[item.guid] = pair
            episodes.append(item)
        get = self.channel.get
        return Feed(
            title=get("title", ""),
            episodes=tuple(episodes),
            items=self.items,
            repeats=repeats,
            conflicts=conflicts,
            cut=self.cut,
            link=media_url(get("link") or self.links.get("alternate", ""), self.base) or "",
            subtitle=plain(get("subtitle"), MAX_TITLE),
            summary=plain(get("description") or get("summary"), MAX_SUMMARY),
            author=plain(get("author"), MAX_TITLE),
            language=plain(get("language"), 20),
            image=media_url(self.own_image or get("image", ""), self.base) or "",
            guid=get("guid", "")[:100],
            moved=get("moved", "")[:2000],
            hub=self.links.get("hub", ""),
            self_url=self.links.get("self", ""),
            next_url=media_url(self.links.get("next", ""), self.base) or "",
            is_blocked=get("block", "").lower() in {"yes", "true", "explicit"},
            ttl=_number(get("ttl"), 100_000),
        )


def _as_atom(key: Key) -> Key:
    """A child of an Atom feed that forgot to say its namespace is as one that didn't."""
    return (ATOM, key[1]) if key[0] == CORE else key


def _relation(attributes: dict[str, str]) -> str:
    """What a link is to; registered names may be written as URIs (RFC 4287, 4.2.7.2)."""
    return attributes.get("rel", "").strip().lower().rpartition("/")[2] or "alternate"


def _joined(base: str, url: str) -> str:
    """An address as it is relative to another; as it stands if it is none."""
    if not may_be_split(url):
        return url
    try:
        return urljoin(base, url.strip())
    except ValueError:
        return url


def _episode(draft: _Draft, base: str) -> Item | None:
    for said in draft.enclosures:
        chosen = _playable(*said, base)
        if chosen is not None:
            break
    else:
        return None
    url, type, length = chosen
    get = draft.texts.get
    published = None
    for name in _DATES:
        if name in draft.texts and (published := parse_date(draft.texts[name])) is not None:
            break
    kind = (get("kind") or "full").lower()
    return Item(
        guid=(get("guid") or "")[:MAX_GUID],
        title=get("title") or "",
        published=published,
        seconds=parse_duration(get("duration"), length),
        url=url,
        length=length,
        type=type[:100],
        kind=kind if kind in _KINDS else "full",
        season=_number(get("season"), 1_000_000),
        number=_number(get("number"), 1_000_000),
        summary=plain(get("description") or get("summary"), MAX_SUMMARY),
    )


def _playable(url: str, type: str, length: str, base: str) -> tuple[str, str, int | None] | None:
    found = media_url(url, base)
    if found is None:
        return None
    family = type.partition("/")[0]
    if family not in {"audio", "video"}:
        if family in {"image", "text"}:
            return None
        ending = urlsplit(found).path.rpartition(".")[2].lower()
        if ending not in _MEDIA_ENDINGS:
            return None
    return found, type, _number(length, 2**63 - 1)


def _number(text: str | None, most: int) -> int | None:
    """A whole number within the range of its column; None for garbage."""
    if not text:
        return None
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    number = int(text)
    return number if number <= most else None


def _parse(body: bytes, encoding: str | None, base: str) -> Feed:
    """One pass; raises expat.ExpatError for what is not well-formed, and FeedError."""
    reader = _Reader(base)
    parser = expat.ParserCreate(encoding, "\x01")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.EntityDeclHandler = reader.entity
    parser.SkippedEntityHandler = reader.skipped
    parser.Parse(body, True)
    return reader.made()
