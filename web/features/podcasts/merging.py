"""Which episode of a feed is which of those that are known: identity across fetches. Pure.

The guid says so; if a publisher has changed those, the same enclosure and title; if the enclosure has a token that
changes, its URL without the query; and without a guid the same title and date. Each known episode is one of the
feed's at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from .addresses import without_query
from .feeds import Item


class Known(Protocol):
    """An episode that is known: a row."""

    @property
    def id(self) -> int: ...
    @property
    def guid(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def published_at(self) -> datetime | None: ...
    @property
    def is_gone(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Merged:
    """new: to be made. same: pairs of id and item, to be updated in place if they differ. gone: ids of those that have
    left the feed just now."""

    new: list[Item] = field(default_factory=list)
    same: list[tuple[int, Item]] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)


def merge(known: Sequence[Known], items: Sequence[Item], *, whole: bool = True) -> Merged:
    """What to do. whole: the items are the whole feed, not its first page: what is not among them has left it.

    A feed without any items changes nothing.
    """
    if not items:
        return Merged()
    found: dict[int, int] = {}
    taken: set[int] = set()
    guids = {item.guid for item in items if item.guid}
    for of_known, of_item in _LOOKS:
        left = [each for each in known if each.id not in taken]
        if not left or len(found) == len(items):
            break
        # One whose guid is in the document is that item, whatever else looks alike.
        free = left if of_known is _guid_of_known else [each for each in left if each.guid not in guids]
        by_key = _unique(free, of_known)
        new_keys = Counter(of_item(item) for place, item in enumerate(items) if place not in found)
        for place, item in enumerate(items):
            key = of_item(item)
            if place not in found and key is not None and new_keys[key] == 1 and key in by_key:
                found[place] = by_key[key].id
                taken.add(by_key[key].id)
    merged = Merged()
    for place, item in enumerate(items):
        if place in found:
            merged.same.append((found[place], item))
        else:
            merged.new.append(item)
    if whole:
        merged.gone.extend(each.id for each in known if each.id not in taken and not each.is_gone)
    return merged


def _guid_of_known(known: Known) -> Hashable:
    return known.guid or None


def _title_and(part: str, title: str) -> Hashable:
    return (part, title) if part else None


def _dated(guid: str, title: str, when: datetime | None) -> Hashable:
    return (title, when) if title and when is not None and not guid else None


_LOOKS: tuple[tuple[Callable[[Known], Hashable], Callable[[Item], Hashable]], ...] = (
    (_guid_of_known, lambda item: item.guid or None),
    (lambda known: _title_and(known.url, known.title), lambda item: _title_and(item.url, item.title)),
    (
        lambda known: _title_and(without_query(known.url), known.title),
        lambda item: _title_and(without_query(item.url), item.title),
    ),
    (
        lambda known: _dated(known.guid, known.title, known.published_at),
        lambda item: _dated(item.guid, item.title, item.published),
    ),
)


def _unique(known: Sequence[Known], key_of: Callable[[Known], Hashable]) -> dict[Hashable, Known]:
    """By key; keys that two have are none."""
    counts = Counter(key_of(each) for each in known)
    return {key: each for each in known if (key := key_of(each)) is not None and counts[key] == 1}
