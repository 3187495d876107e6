"""Podcasts as the API and the pages' scripts have them: the names and shapes of the first Podcast Time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ...pages.templating import machine_time
from ..pictures.models import picture_of
from .queries import OUTDATED

#: The most ids that are asked for at once; a list has at most as many podcasts.
MOST_IDS = 100
_MOST_ID = 2**31 - 1

#: Characters of a list of ids: a hundred of ten digits, and room for spaces and separators too many.
_MAX_TEXT = 4096


class BadIds(ValueError):
    """What is no list of ids; the text says why."""


def read_ids(text: str, separator: str = ",") -> list[int]:
    """Ids in the order in which they are given, each once; raises BadIds."""
    if len(text) > _MAX_TEXT:
        raise BadIds(f"there are more than {MOST_IDS} ids, or than {_MAX_TEXT:,} characters")
    words = [word.strip() for word in text.split(separator)]
    words = [word for word in words if word]
    if not words:
        raise BadIds("there are no ids")
    if len(words) > MOST_IDS:
        raise BadIds(f"there are more than {MOST_IDS} ids")
    found = []
    for word in words:
        if not (word.isascii() and word.isdigit() and len(word) <= 10 and 0 < int(word) <= _MOST_ID):
            raise BadIds(f"{word[:40]!r} is no id")
        found.append(int(word))
    return list(dict.fromkeys(found))


def time_text(when: datetime | None) -> str | None:
    return None if when is None else machine_time(when)


def item(row: Any, at: datetime) -> dict[str, Any]:
    """A podcast as `/find` has it: what isn't read yet has no episodes_count and no last_fetch."""
    is_read = row.fetched_at is not None
    return {
        "id": row.id,
        "name": row.name,
        "slug": row.slug,
        "link": row.link or None,
        "subtitle": row.subtitle or None,
        "times_picked": row.times_picked,
        "latest_episode": time_text(row.latest_at),
        "last_fetch": time_text(row.fetched_at),
        "modified": time_text(row.modified_at),
        "episodes_count": row.episodes if is_read else None,
        "known_count": row.known if is_read else None,
        "total_hours": row.seconds / 3600 if is_read and row.known else None,
        "thumbnail_160": _square(row, 0),
        "thumbnail_348": _square(row, -1),
        "error": row.error or None,
        "_outdated": row.latest_at is None or row.latest_at < at - OUTDATED,
    }


def _square(row: Any, which: int) -> str | None:
    """The site's own square of a picture, in what every browser knows; until it is made, where its feed says it is."""
    shown = picture_of(row)
    if shown is None or shown.error or not shown.crops:
        return row.image_url or None
    return shown.crop_path(shown.crops[which], shown.formats[-1])


def items(rows: Iterable[Any], at: datetime) -> list[dict[str, Any]]:
    return [item(row, at) for row in rows]


def pagination(page: int, pages: int) -> dict[str, Any]:
    """Where a page is among others, from 1."""
    found: dict[str, Any] = {
        "has_previous": page > 1,
        "has_next": page < pages,
        "number": page,
        "num_pages": pages,
    }
    if page > 1:
        found["previous_page_number"] = page - 1
    if page < pages:
        found["next_page_number"] = page + 1
    return found
