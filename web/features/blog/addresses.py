"""The blog's addresses: of lists, of posts, and of all of them with the site's own. Pure.

/  /p2  /oc-Django  /oc-Web+development/oc-Redis/p2  /oc-Django/rss.xml
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from .models import MAX_CATEGORIES, MAX_CATEGORY

#: Nobody turns more pages; a robot that does would make the database count them.
MAX_PAGE = 100_000

#: Characters of a list's address, which are decoded before anything is looked up: of as many categories as can be
#: chosen, with four bytes a character, `%F0%9F%8E%BA`. And its parts: a category may be there twice.
MAX_PATH, _MAX_PARTS = MAX_CATEGORIES * (12 * MAX_CATEGORY + 4) + 16, 2 * MAX_CATEGORIES


@dataclass(frozen=True, slots=True)
class FeedFile:
    """A feed's file. name: as people know its format."""

    file: str
    name: str
    content_type: str


#: Each list of posts has these, and so have the comments of a post.
FEEDS = (
    FeedFile("rss.xml", "RSS", "application/rss+xml"),
    FeedFile("atom.xml", "Atom", "application/atom+xml"),
    FeedFile("feed.json", "JSON Feed", "application/feed+json"),
)
_FILES = frozenset(feed.file for feed in FEEDS)

_PAGE = re.compile(r"p([1-9][0-9]{0,5})")


class NoAddress(ValueError):
    """An address of nothing; says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class ListAddress:
    """What the address of a list asks for. names: of categories, any of which a post may have; none for all posts.

    feed: the file of a feed, or "".
    """

    names: tuple[str, ...] = ()
    page: int = 1
    feed: str = ""

    @property
    def path(self) -> str:
        """The one way to write it."""
        last = self.feed or (f"p{self.page}" if self.page > 1 else "")
        return "/" + "/".join([*(f"oc-{quote_name(name)}" for name in self.names), *([last] if last else [])])

    def at(self, page: int) -> ListAddress:
        """The same list's other page."""
        return ListAddress(self.names, page)

    def as_feed(self, file: str) -> ListAddress:
        """A feed of the same posts."""
        return ListAddress(self.names, feed=file)


def parse_list(raw_path: str) -> ListAddress:
    """What a path asks for, given as it was sent: `%2B` is a plus, and `+` a space. Raises NoAddress."""
    names: list[str] = []
    page, feed, ended = 1, "", False
    if len(raw_path) > MAX_PATH:
        raise NoAddress(f"There is no such page: addresses of lists have at most {MAX_PATH} characters.")
    path = raw_path.strip("/")
    parts = path.split("/", _MAX_PARTS) if path else []
    if len(parts) > _MAX_PARTS:
        raise NoAddress(_TOO_MANY)
    for part in parts:
        if ended:
            raise NoAddress("There is no such page.")
        if part.startswith("oc-"):
            name = unquote(part[3:].replace("+", " "))
            if "\0" in name:
                # PostgreSQL has no text with a NUL in it, and would fail rather than find nothing.
                raise NoAddress("There is no such category.")
            if name.strip():
                names.append(name)
        elif match := _PAGE.fullmatch(part):
            page, ended = int(match[1]), True
        elif part in _FILES:
            feed, ended = part, True
        else:
            raise NoAddress("There is no such page: pages have numbers.")
    if page > MAX_PAGE:
        raise NoAddress(TOO_FAR)
    found = tuple(dict.fromkeys(names))
    if len(found) > MAX_CATEGORIES:
        raise NoAddress(_TOO_MANY)
    return ListAddress(found, page, feed)


_TOO_MANY = f"At most {MAX_CATEGORIES} categories can be chosen."

#: Of a page beyond the end.
TOO_FAR = "Too far back in time: there are not so many posts."


def quote_name(name: str) -> str:
    """A category's name in an address."""
    return quote(name, safe="").replace("%20", "+")


def category_path(name: str) -> str:
    """Where a category's posts are."""
    return ListAddress((name,)).path


def post_path(slug: str) -> str:
    """Where a post is."""
    return f"/posts/{slug}"
