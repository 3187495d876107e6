"""Content for the first run: the feeds under examples/podcasts, read as if they had been fetched; no network is
needed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import func, select

from hub.files import ROOT

from ...db.database import Database
from ...db.tables import now
from . import picking, store
from .feeds import Feed
from .models import Feed as FeedRow
from .models import Podcast
from .reading import read_feed
from .schedule import Outcome

_FOLDER = ROOT / "examples" / "podcasts"

#: Where the feeds say that they are; nobody is there.
_ADDRESS = "http://podcasts.example/"

#: Lists that somebody has picked, by places of the feeds in order of their names.
_LISTS = ((0, 2, 4), (0, 2), (1, 3, 5), (0, 2, 3), (1, 3), (2, 4, 5))


async def fill(database: Database) -> Sequence[str]:
    """Demo content for a site without podcasts, and what to say of it."""
    count = await load(database)
    return [f"demo content: {count} podcasts"] if count else []


async def load(database: Database) -> int:
    """Fill a site that has no podcasts; how many were made. Of two processes doing so at once one does the work."""
    paths = sorted(_FOLDER.glob("*.xml"))
    feeds = await asyncio.to_thread(lambda: [read_feed(path.read_bytes(), _ADDRESS) for path in paths])
    if not feeds:
        return 0
    shift = now() - timedelta(hours=9) - max(feed.dates[-1] for feed in feeds)
    async with database.saving() as session:
        if await session.scalar(select(func.count()).select_from(Podcast)):
            return 0
        ids = []
        for path, feed in zip(paths, feeds, strict=True):
            podcast, _ = await store.add(session, f"{_ADDRESS}{path.name}", feed.title)
            await store.put(session, podcast, _moved(feed, shift))
            row = await session.get_one(FeedRow, podcast.id)
            row.next, row.outcome, row.repair = None, Outcome.NEW.value, feed.repair
            ids.append(podcast.id)
        for places in _LISTS:
            await picking.pick(session, [ids[place] for place in places if place < len(ids)], None)
    return len(feeds)


def _moved(feed: Feed, by: timedelta) -> Feed:
    """A feed whose newest episodes are new today."""
    episodes = [
        replace(each, published=None if each.published is None else each.published + by) for each in feed.episodes
    ]
    return replace(feed, episodes=tuple(episodes))
