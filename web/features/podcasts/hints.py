"""Which change of a podcast tells which channel. What a podcast says is public; pages ask their own address what it
is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hub.orm.declarations import Change, Notice, notices
from hub.orm.sqlalchemy import AsyncNotifier

from .models import Fetch, PickList, Podcast

#: What may be found has changed: a podcast was made or removed, or has another name.
PODCASTS = "podcasts"

#: Somebody has picked; recommendations and the page of picks follow it.
PICKS = "podcast-picks"

_PODCAST = "podcast-{id}"
_FEED = "podcast-feed-{podcast_id}"


def podcast_channel(podcast_id: int) -> str:
    """What a podcast's page and lists with it follow: its episodes, its name, its error have changed; `true`."""
    return _PODCAST.format(id=podcast_id)


def feed_channel(podcast_id: int) -> str:
    """What the page of a podcast's feed follows: it was fetched; `true`."""
    return _FEED.format(podcast_id=podcast_id)


def declare(notify: AsyncNotifier) -> None:
    """Say to a notifier what rows that are made, changed or removed tell."""
    notify.declare(Podcast, PODCASTS, watch=["name", "slug", "is_listed", "image_url", "picture", "error"])
    notify.declare(Podcast, _PODCAST)
    notify.declare(Fetch, _FEED, on=["created"])
    notify.declare(PickList, PICKS)


def of_change(notifier: AsyncNotifier, stands: Any, values: dict[str, Any]) -> list[Notice]:
    """What a podcast tells whose columns are these from now on: as a flush would find it, of a change that none sees.

    stands: the columns as they are, the id among them.
    """
    if not values:
        return []
    before = {name: getattr(stands, name) for name in values}
    row = SimpleNamespace(**stands._mapping)
    row.__dict__.update(values)
    change = Change("changed", frozenset(values), before)
    return notices(notifier.declarations(Podcast), row, change, model=Podcast.__tablename__, identity=stands.id)


def of_fetch(notifier: AsyncNotifier, id: int, podcast_id: int) -> list[Notice]:
    """What a fetch tells that was made."""
    row = SimpleNamespace(id=id, podcast_id=podcast_id)
    return notices(notifier.declarations(Fetch), row, Change("created"), model=Fetch.__tablename__, identity=id)
