"""A podcast's picture: fetched from where its feed says it is once that has changed, and then as one that was sent.

What will not be there a minute later either (no picture, 404, an address that is not public) is asked for again when
the feed names another address, and the picture that there was stays; the rest is tried again.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from ...pages import keys
from ...services.jobs.kinds import Job, Kind, TryAgain
from ...services.outbound import Limits, OutboundError, TooSlow, Unreachable
from ..pictures import jobs as pictures
from ..pictures import sweeping
from ..pictures.forms import Shown
from ..pictures.keys import store
from ..pictures.making import keep
from ..pictures.settings import PictureSettings
from ..pictures.sniffing import NoPicture
from .models import Feed, Fetch, Podcast
from .names import plain
from .settings import PodcastSettings

ARTWORK = "podcast picture"

#: Bytes. What Apple takes, 3000 pixels a side, has a fraction of it.
MOST = 10 * 1024**2

#: Seconds.
_TOTAL = 60.0


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a fetch. words: what is wrong, "" if nothing is; may_come: it is worth another try."""

    words: str = ""
    shown: Shown | None = None
    status: int | None = None
    size: int = 0
    may_come: bool = False


async def is_wanted(session: AsyncSession, podcast_id: int) -> bool:
    """Whether a podcast's feed names another picture than the one that was asked for last."""
    podcast, feed = await session.get(Podcast, podcast_id), await session.get(Feed, podcast_id)
    return podcast is not None and feed is not None and podcast.image_url not in ("", feed.image)


async def _fetch(job: Job) -> None:
    app, podcast_id = job.app, job.data
    if not app[keys.settings][PodcastSettings].fetches:
        return
    async with app[keys.database].reading() as session:
        if not await is_wanted(session, podcast_id):
            return
        url = (await session.get_one(Podcast, podcast_id)).image_url
    began = time.monotonic()
    came = await fetch(app, url)
    if came.may_come:
        async with app[keys.database].saving() as session:
            await _write(session, app, podcast_id, url, came, time.monotonic() - began)
        raise TryAgain(came.words)
    async with job.saving() as session:
        await _write(session, app, podcast_id, url, came, time.monotonic() - began)


async def fetch(app: Any, url: str) -> Came:
    """Fetch a picture, and keep its file. Raises nothing for what others do."""
    most = min(MOST, app[keys.settings][PictureSettings].bytes)
    try:
        fetched = await app[keys.outbound].fetch(url, limits=Limits(wire=most, body=most, total=_TOTAL))
    except (Unreachable, TooSlow) as error:
        return Came(str(error), may_come=True)
    except OutboundError as error:
        return Came(str(error))
    status, size = fetched.status, len(fetched.body)
    if not fetched.ok:
        may_come = status >= 500 or status in {408, 425, 429}
        return Came(f"its server says {status}", status=status, size=size, may_come=may_come)
    try:
        shown = await asyncio.to_thread(keep, app[store], fetched.body)
    except NoPicture as error:
        return Came(str(error).rstrip("."), status=status, size=size)
    except OSError as error:
        # A full disk.
        return Came(f"it can’t be kept: {error.strerror}", status=status, size=size, may_come=True)
    return Came(shown=shown, status=status, size=size)


async def _write(session: AsyncSession, app: Any, podcast_id: int, url: str, came: Came, took: float) -> None:
    feed = await session.get(Feed, podcast_id, with_for_update=True)
    # A flush looks at its thread, and would ask for it by itself.
    podcast = await session.get(Podcast, podcast_id, options=[joinedload(Podcast.thread)])
    if feed is None or podcast is None or podcast.image_url != url:
        # Another one by now has a job of its own.
        return
    feed.image_error = plain(came.words, 300)
    if not came.may_come:
        feed.image = url
    words = f"its picture: {came.words}" if came.words else "its picture came"
    session.add(
        Fetch(
            podcast_id=podcast_id,
            outcome="picture",
            status=came.status,
            took=took,
            bytes=came.size,
            words=plain(words, 500),
        )
    )
    before = podcast.shown_picture
    # The same file at another address, as hosters have it, is there already.
    if came.shown is not None and (before is None or before.hash != came.shown.hash):
        if before is not None:
            await sweeping.plan(session, app[keys.jobs], before.hash)
        podcast.picture = came.shown.as_row()
        await pictures.plan(session, app[keys.jobs], Podcast.__tablename__, podcast_id, came.shown.hash)


def _id(data: Any) -> int:
    if not isinstance(data, int):
        raise TypeError("the picture of a podcast has its id")
    return data


KIND = Kind(name=ARTWORK, run=_fetch, parse=_id, limit=2 * _TOTAL, attempts=5, first=60.0, at_once=2)
