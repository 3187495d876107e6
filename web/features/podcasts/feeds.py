"""What a feed says, as values; and why bytes are none. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Any


class FeedError(Exception):
    """Bytes that are no feed that can be read. The text says why, in a line.

    NotAFeed    they are something else: HTML, an empty body
    Unreadable  they are XML that no repair mends
    Refused     they ask for more than a feed may: depth, entities, bytes
    """


class NotAFeed(FeedError):
    pass


class Unreadable(FeedError):
    pass


class Refused(FeedError):
    pass


@dataclass(frozen=True, slots=True)
class Item:
    """An episode. seconds: None if the feed doesn't say, or nothing that can be used. published: None if unreadable."""

    guid: str
    title: str
    published: datetime | None
    seconds: int | None
    url: str
    length: int | None = None
    type: str = ""
    kind: str = "full"
    season: int | None = None
    number: int | None = None
    summary: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        # A feed comes from another process: as dataclasses do it themselves it takes twice the time.
        return Item, _values(self)


_values = attrgetter(*(each.name for each in fields(Item)))


@dataclass(frozen=True, slots=True)
class Feed:
    """What a feed says.

    items: how many there are, episodes or not. episodes: distinct ones, in the document's order; repeats: how many were
    left out for those before; conflicts: how many of these had the guid of another with another title and enclosure.
    first, last: dates of episodes. repair: what mended it, or "" if it was well-formed. cut: items beyond MAX_ITEMS.
    """

    title: str
    episodes: tuple[Item, ...]
    items: int
    repeats: int = 0
    conflicts: int = 0
    repair: str = ""
    cut: bool = False
    link: str = ""
    subtitle: str = ""
    summary: str = ""
    author: str = ""
    language: str = ""
    image: str = ""
    guid: str = ""
    moved: str = ""
    hub: str = ""
    self_url: str = ""
    next_url: str = ""
    is_blocked: bool = False
    ttl: int | None = None

    @property
    def known(self) -> int:
        """Episodes with a known length."""
        return sum(each.seconds is not None for each in self.episodes)

    @property
    def total_seconds(self) -> int:
        """The seconds of all episodes whose length is known."""
        return sum(each.seconds or 0 for each in self.episodes)

    @property
    def dates(self) -> list[datetime]:
        """The dates of its episodes, the earliest first."""
        return sorted(each.published for each in self.episodes if each.published is not None)
