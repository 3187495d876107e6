"""Feeds fetched when their time has come, by whichever worker is free.

A job is of a host and one of its two places, by its key: so a host has two fetches at once at the most, in the whole
fleet, and a feed, which a job takes for itself first, has one. Jobs do the feeds of their host that are due, one
after the other, and end; every half a minute those hosts that have some due get theirs, spread over the time until
the next.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...pages import keys
from ...services.jobs.kinds import Every, Job, Kind
from ...services.jobs.queue import Queue
from ...services.jobs.rows import New
from . import artwork, fetching, probes, store
from .models import Episode, Feed, Host
from .reading import VERSION
from .schedule import Host as HostState
from .schedule import Outage, Outcome
from .settings import PodcastSettings

FETCH = "podcast feeds"
SWEEP = "podcasts due"
PROBE = "podcast probes"
PUSH = "podcast push"

#: Seconds between two looks at what is due; hosts' jobs are spread over them.
EVERY = 30.0

#: Seconds that a worker has a feed for itself: longer than the fetch, the reading and the writing of one may take.
TAKEN = 300.0

#: Feeds and seconds of one job; then its host has another.
_FEEDS, _SECONDS = 20, 60.0

#: Seconds of one fetch with all that belongs to it: pages, a new address, the wait for a process. Less than a job has
#: after _SECONDS: one that is cut off by its job would be begun again at once, and for ever.
_LONGEST = 120.0

#: Seconds in which a feed that was not fetched may be given back.
_GIVE_BACK = 0.8

#: Hosts that one look gives jobs.
_HOSTS = 1000

#: Whether our own line is down, as this process has seen.
outage: web.AppKey[Outage] = web.AppKey("podcast outage", Outage)


#: How many fetches there were in this process, by what they came to.
counts: web.AppKey[Counter[str]] = web.AppKey("podcast fetches", Counter)


#: Whose turn it is to write. Of many who wait for SQLite's lock at once, some would wait for longer than it lets them.
turn: web.AppKey[asyncio.Lock] = web.AppKey("podcast turn", asyncio.Lock)


@asynccontextmanager
async def saving(app: Any) -> AsyncIterator[AsyncSession]:
    """The database's `saving`, one after the other."""
    async with app[turn], app[keys.database].saving() as session:
        yield session


def setup(app: web.Application) -> None:
    """Put what the jobs need into the application."""
    app[outage] = Outage()
    app[counts] = Counter()
    app[turn] = asyncio.Lock()


async def metrics(app: web.Application) -> list[Metric]:
    """Fetches of this process by what they came to, and feeds of the fleet that are overdue."""
    fetches = CounterMetricFamily(
        "site_podcast_fetches",
        "fetches of feeds by what they came to: new, same, or how they failed",
        labels=["outcome"],
    )
    for each in Outcome:
        fetches.add_metric([each.value], app[counts][each.value])
    async with app[keys.database].reading() as session:
        late = select(func.count()).select_from(Feed).where(Feed.next < time.time() - 600)
        overdue = await session.scalar(late) or 0
    return [
        fetches,
        GaugeMetricFamily("site_podcast_feeds_overdue", "feeds due for ten minutes or more", value=overdue),
    ]


async def plan(session: AsyncSession, jobs: Queue, *hosts: str) -> None:
    """Let hosts' feeds that are due be fetched soon."""
    new = [New(FETCH, {"host": host, "place": place}, _key(host, place)) for host in hosts for place in (0, 1)]
    await jobs.add_many(session, new)


def _key(host: str, place: int) -> str:
    return f"podcasts:{place}:{host}"[:180]


async def _sweep(job: Job) -> None:
    at = time.time()
    due = (
        select(Feed.host)
        .outerjoin(Host, Host.name == Feed.host)
        .where(Feed.next <= at, Feed.taken < at, or_(Host.name.is_(None), Host.paused <= at))
        .group_by(Feed.host)
        .limit(_HOSTS)
    )
    async with job.app[keys.database].reading() as session:
        hosts = list(await session.scalars(due))
    new = [
        New(FETCH, {"host": host, "place": place}, _key(host, place), at + random.uniform(0, EVERY))
        for host in hosts
        for place in (0, 1)
    ]
    async with job.saving() as session:
        await job.app[keys.jobs].add_many(session, new)


async def _fetch(job: Job) -> None:
    host, place = job.data
    if not job.app[keys.settings][PodcastSettings].fetches:
        return
    until = time.monotonic() + _SECONDS
    for _ in range(_FEEDS):
        podcast_id = await take(job.app, host, place)
        if podcast_id is None:
            return
        mine = time.time() + TAKEN
        try:
            await fetch(job.app, podcast_id, job.in_process)
        except asyncio.CancelledError:
            # The worker stops: another can have the feed at once. After what failed here it waits until TAKEN is over.
            await _give_back(job.app, podcast_id, mine)
            raise
        if time.monotonic() > until:
            break
    # Others wait their turn behind those of other hosts.
    async with job.saving() as session:
        await job.app[keys.jobs].add_many(session, [New(FETCH, {"host": host, "place": place}, job.key)])


async def take(app: Any, host: str, place: int = 0) -> int | None:
    """Take a feed of a host that is due, for TAKEN seconds; None if there is none, or the host wants to be left
    alone."""
    at = time.time()
    due = and_(Feed.host == host, Feed.next <= at, Feed.taken < at)
    first = (
        select(Feed.podcast_id, Host.paused, Host.singly)
        .outerjoin(Host, Host.name == Feed.host)
        .where(due)
        .order_by(Feed.next)
        .limit(1)
    )
    async with saving(app) as session:
        for _ in range(5):
            row: Any = (await session.execute(first)).one_or_none()
            if row is None:
                return None
            id, paused, singly = row
            if paused is not None and place >= HostState(paused, singly).places(at):
                return None
            taken = update(Feed).where(Feed.podcast_id == id, due).values(taken=at + TAKEN)
            result: Any = await session.execute(taken.execution_options(synchronize_session=False))
            if result.rowcount:
                return int(id)
    return None


async def _give_back(app: Any, podcast_id: int, mine: float) -> None:
    """Let others take a feed that was not fetched, if that can be written now, and nobody has taken it since `mine`."""
    back = update(Feed).where(Feed.podcast_id == podcast_id, Feed.taken <= mine).values(taken=0.0)
    with suppress(Exception):
        async with asyncio.timeout(_GIVE_BACK), saving(app) as session:
            await session.execute(back.execution_options(synchronize_session=False))


async def fetch(
    app: Any, podcast_id: int, in_process: fetching.InProcess, *, whole: bool = False
) -> tuple[Outcome, str]:
    """Fetch one feed and write down what came of it; return what that was, and in words."""
    database, settings = app[keys.database], app[keys.settings][PodcastSettings]
    async with database.reading() as session:
        both = (await session.execute(store.BOTH, {"podcast_id": podcast_id})).one_or_none()
        if both is None:
            return Outcome.GONE, "there is no such podcast any more"
        feed, podcast = both
        state = store.state_of(feed, podcast, time.time())
        known = set(await session.scalars(select(Episode.guid).where(Episode.podcast_id == podcast_id)))
    try:
        async with asyncio.timeout(_LONGEST):
            result = await fetching.fetch_feed(
                app[keys.outbound],
                podcast.url,
                state,
                settings,
                in_process,
                known=known - {""} if feed.digest else (),
                digest=feed.digest if feed.reader == VERSION and not whole else "",
                whole=whole,
            )
    except TimeoutError:
        result = fetching.too_slow(_LONGEST)
    seen: Outage = app[outage]
    seen.note(feed.host, result.answer.outcome)
    async with saving(app) as session:
        told = await store.write(session, podcast_id, result, random.random(), ours=seen.is_ours)
        if result.feed is not None and settings.probes and await probes.wanted(session, podcast_id, settings.probes):
            await app[keys.jobs].add(session, PROBE, podcast_id, key=f"podcast probes:{podcast_id}")
        if result.feed is not None and result.feed.hub and result.feed.self_url and feed.pushed_until <= time.time():
            await app[keys.jobs].add(session, PUSH, podcast_id, key=f"{PUSH}:{podcast_id}")
        if result.feed is not None and await artwork.is_wanted(session, podcast_id):
            await app[keys.jobs].add(session, artwork.ARTWORK, podcast_id, key=f"{artwork.ARTWORK}:{podcast_id}")
    app[counts][told[0].value] += 1
    return told


async def _probe(job: Job) -> None:
    await probes.probe_podcast(job.app, job.data, job.in_process)


def _id(data: Any) -> int:
    if not isinstance(data, int):
        raise TypeError("the job of a podcast has its id")
    return data


def _place(data: Any) -> tuple[str, int]:
    return str(data["host"]), int(data["place"])


KINDS = (
    Kind(name=FETCH, run=_fetch, parse=_place, limit=_SECONDS + _LONGEST + 60.0, attempts=5, at_once=8),
    Kind(name=SWEEP, run=_sweep, limit=60.0, at_once=1),
    # Of few podcasts at once: one without lengths must not keep the others waiting.
    Kind(name=PROBE, run=_probe, parse=_id, limit=900.0, attempts=3, at_once=2),
)

PERIODIC = (Every(name="podcasts due", kind=SWEEP, seconds=EVERY),)
