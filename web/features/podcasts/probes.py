"""Lengths that a feed doesn't say, asked of the files themselves: their first 64 KB, within a budget.

Only episodes of the window, the newest first, so many a feed and day. What a file says is kept with its source, and
stays until the feed says something.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from aiohttp import hdrs
from sqlalchemy import Integer, Row, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from ...pages import keys
from ...services.jobs.pools import FailedInProcess, ProcessDied
from ...services.outbound import Fetched, Limits, Outbound, OutboundError
from . import store
from .fetching import InProcess
from .models import Episode, Podcast
from .probing import BYTES, Probed, probe
from .settings import PodcastSettings
from .times import WINDOW

#: How long a file that said nothing is left alone.
_AGAIN = timedelta(days=30)

#: The longest that the beginning of a file may take to be read; its process is killed then.
_SECONDS = 20.0

_LIMITS = Limits(line=16 * 1024, first=BYTES, connect=10.0, gap=10.0, total=20.0)


#: Made once: SQLAlchemy takes as long for a statement as the databases do.
_TODAY = (
    select(func.count())
    .select_from(Episode)
    .where(Episode.podcast_id == bindparam("of"), Episode.probed_at > bindparam("day"))
)
_WANTED = (
    select(Episode.id, Episode.url, Episode.length)
    .where(
        Episode.podcast_id == bindparam("of"),
        Episode.at >= bindparam("since"),
        Episode.seconds.is_(None),
        Episode.is_gone.is_(False),
        Episode.probed_at.is_(None) | (Episode.probed_at < bindparam("again")),
    )
    .order_by(Episode.at.desc(), Episode.id)
    .limit(bindparam("most", type_=Integer))
)


async def wanted(session: AsyncSession, podcast_id: int, most: int) -> list[Row[Any]]:
    """Episodes of the podcast that shall be probed now: id, url, length."""
    at = now()
    today = await session.scalar(_TODAY, {"of": podcast_id, "day": at - timedelta(days=1)}) or 0
    given = {"of": podcast_id, "since": at - WINDOW, "again": at - _AGAIN, "most": max(0, most - today)}
    return list(await session.execute(_WANTED, given))


async def probe_podcast(app: Any, podcast_id: int, in_process: InProcess) -> int:
    """Probe a podcast's episodes, one after the other; how many said how long they are."""
    database, most = app[keys.database], app[keys.settings][PodcastSettings].probes
    async with database.reading() as session:
        rows = await wanted(session, podcast_id, most)
    count = 0
    for row in rows:
        found = await _ask(app[keys.outbound], row.url, row.length, in_process)
        values: dict[str, Any] = {"probed_at": now()}
        if found is not None:
            values |= {"seconds": found.seconds, "source": found.source}
            count += 1
        async with database.saving() as session:
            # The feed may have said something meanwhile.
            mine = update(Episode).where(Episode.id == row.id, Episode.seconds.is_(None)).values(values)
            await session.execute(mine.execution_options(fanfare=False, synchronize_session=False))
    if count:
        async with database.saving() as session:
            podcast = await session.get(Podcast, podcast_id, with_for_update=True)
            if podcast is not None:
                await store.recount(session, podcast)
    return count


async def _ask(outbound: Outbound, url: str, length: int | None, in_process: InProcess) -> Probed | None:
    try:
        fetched = await outbound.fetch(url, limits=_LIMITS)
    except OutboundError:
        return None
    if not fetched.ok:
        return None
    try:
        found: Probed | None = await in_process(probe, fetched.body, _size(fetched, length), limit=_SECONDS)
    except (TimeoutError, ProcessDied, FailedInProcess):
        # The file's failure; it is left alone like others that say nothing.
        return None
    return found


def _size(fetched: Fetched, length: int | None) -> int | None:
    """Bytes of the whole file, as its server says: of a range, else of the body; else as the feed says."""
    total = fetched.headers.get(hdrs.CONTENT_RANGE, "").rpartition("/")[2]
    if fetched.status != 206:
        total = fetched.headers.get(hdrs.CONTENT_LENGTH, "")
    if total.isascii() and total.isdigit() and len(total) < 19 and int(total) >= len(fetched.body):
        return int(total)
    return length
