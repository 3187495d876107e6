"""Which change of a podcast tells which channel. What a podcast says is public; pages ask their own address what it
is."""

from __future__ import annotations

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
