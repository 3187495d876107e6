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
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import columns_of
from ...pages import keys
from ...services.jobs.kinds import Every, Job, Kind
from ...services.jobs.queue import Queue
from ...services.jobs.rows import New
from . import artwork, fetching, probes, store
from .models import Episode, Feed, Host
from .reading import VERSION
from .schedule import Host as HostState
from .schedule import Outage, Outcome, State
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


#: Fetches that are written in one transaction, where several wait: some 3 ms each, for which SQLite is locked.
_TOGETHER = 8


@dataclass(slots=True, eq=False)
class _Save:
    """What a fetch came to, to be written. place: a place of a host, whose next feed is taken with it; or None.

    written, following: what was written, and the feed that was taken. is_left: nobody waits for it any more.
    """

    came: store.Came
    place: tuple[str, int] | None
    done: asyncio.Future[None]
    written: store.Written | None = None
    following: Taken | None = None
    is_left: bool = False


class Turn(asyncio.Lock):
    """Whose turn it is to write, and what waits for it.

    Of many who wait for SQLite's lock at once, some would wait for longer than it lets them. saves: what is written
    next. task: writes it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.saves: list[_Save] = []
        self.task: asyncio.Task[None] | None = None


turn: web.AppKey[Turn] = web.AppKey("podcast turn", Turn)


@dataclass(frozen=True, slots=True)
class Taken:
    """A feed that this worker has for itself until `until`, and what is known of it."""

    podcast_id: int
    host: str
    url: str
    state: State
    digest: str
    until: float


@asynccontextmanager
async def saving(app: Any) -> AsyncIterator[AsyncSession]:
    """The database's `saving`, one after the other."""
    async with app[turn], app[keys.database].saving() as session:
        yield session


def setup(app: web.Application) -> None:
    """Put what the jobs need into the application."""
    app[outage] = Outage()
    app[counts] = Counter()
    app[turn] = Turn()


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
        select(Feed.host, func.count())
        .outerjoin(Host, Host.name == Feed.host)
        .where(Feed.next <= at, Feed.taken < at, or_(Host.name.is_(None), Host.paused <= at))
        .group_by(Feed.host)
        .limit(_HOSTS)
    )
    async with job.app[keys.database].reading() as session:
        hosts = [(host, count) for host, count in await session.execute(due)]
    new = [
        New(FETCH, {"host": host, "place": place}, _key(host, place), at + random.uniform(0, EVERY))
        for host, count in hosts
        # The second would find nothing.
        for place in range(min(count, 2))
    ]
    async with job.saving() as session:
        await job.app[keys.jobs].add_many(session, new)


async def _fetch(job: Job) -> None:
    host, place = job.data
    if not job.app[keys.settings][PodcastSettings].fetches:
        return
    until = time.monotonic() + _SECONDS
    taken = await _take(job.app, host, place)
    for left in reversed(range(_FEEDS)):
        if taken is None:
            return
        mine = taken
        try:
            result = await _ask(job.app, mine, job.in_process)
            more = left and time.monotonic() <= until
            _, taken = await _save(job.app, mine.podcast_id, result, (host, place) if more else None)
        except asyncio.CancelledError:
            # The worker stops: another can have the feed at once. After what failed here it waits until TAKEN is over.
            await _give_back(job.app, mine.podcast_id, mine.until)
            raise
        if not more:
            break
    # Others wait their turn behind those of other hosts.
    async with job.saving() as session:
        await job.app[keys.jobs].add_many(session, [New(FETCH, {"host": host, "place": place}, job.key)])


#: Made once, as in `store`.
_FEED, _HOST = columns_of(Feed), columns_of(Host)
_DUE = (_FEED.host == bindparam("of"), _FEED.next <= bindparam("now"), _FEED.taken < bindparam("now"))
_FIRST: Any = (
    store.STANDING.add_columns(_HOST.paused, _HOST.singly)
    .outerjoin(Host.__table__, _HOST.name == _FEED.host)
    .where(*_DUE)
    .order_by(_FEED.next)
    .limit(1)
)
_TAKE: Any = (
    update(Feed.__table__)  # type: ignore[arg-type]  # a Table is one
    .where(_FEED.podcast_id == bindparam("row"), *_DUE)
    .values(taken=bindparam("until"))
)


async def take(app: Any, host: str, place: int = 0) -> int | None:
    """Take a feed of a host that is due, for TAKEN seconds; None if there is none, or the host wants to be left
    alone."""
    taken = await _take(app, host, place)
    return None if taken is None else taken.podcast_id


async def _take(app: Any, host: str, place: int) -> Taken | None:
    async with saving(app) as session:
        return await _take_in(session, host, place)


async def _take_in(session: AsyncSession, host: str, place: int) -> Taken | None:
    at = time.time()
    connection = await session.connection()
    due = {"of": host, "now": at}
    for _ in range(5):
        stands: Any = (await connection.execute(_FIRST, due)).one_or_none()
        if stands is None:
            return None
        if stands.paused is not None and place >= HostState(stands.paused, stands.singly).places(at):
            return None
        taken = _taken(stands, at)
        result = await connection.execute(_TAKE, due | {"row": stands.podcast_id, "until": taken.until})
        if result.rowcount:
            return taken
    return None


def _taken(stands: Any, at: float) -> Taken:
    return Taken(stands.podcast_id, stands.host, stands.url, store.state_of(stands, at), stands.digest, at + TAKEN)


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
    async with app[keys.database].reading() as session:
        stands: Any = (await session.execute(store.STANDS, {"wanted": podcast_id})).one_or_none()
    if stands is None:
        return Outcome.GONE, "there is no such podcast any more"
    result = await _ask(app, _taken(stands, time.time()), in_process, whole=whole)
    written, _ = await _save(app, podcast_id, result)
    return written.outcome, written.words


async def _ask(app: Any, taken: Taken, in_process: fetching.InProcess, *, whole: bool = False) -> fetching.Result:
    """What the server of a feed has to say."""

    async def known() -> Collection[str]:
        async with app[keys.database].reading() as session:
            found = await session.scalars(select(Episode.guid).where(Episode.podcast_id == taken.podcast_id))
            return set(found) - {""}

    try:
        async with asyncio.timeout(_LONGEST):
            result = await fetching.fetch_feed(
                app[keys.outbound],
                taken.url,
                taken.state,
                app[keys.settings][PodcastSettings],
                in_process,
                known=known if taken.digest else fetching.none_known,
                digest=taken.digest if taken.state.reader == VERSION and not whole else "",
                whole=whole,
            )
    except TimeoutError:
        result = fetching.too_slow(_LONGEST)
    app[outage].note(taken.host, result.answer.outcome)
    return result


async def _save(
    app: Any, podcast_id: int, result: fetching.Result, place: tuple[str, int] | None = None
) -> tuple[store.Written, Taken | None]:
    """Write down what a fetch came to, perhaps with others that wait; return what was written, and with a place of a
    host the next of its feeds, which is taken in the same transaction."""
    mine, wait = app[turn], asyncio.get_running_loop().create_future()
    one = _Save(store.Came(podcast_id, result, random.random(), app[outage].is_ours), place, wait)
    mine.saves.append(one)
    if mine.task is None or mine.task.done():
        mine.task = asyncio.create_task(_save_on(app), name="web.features.podcasts.jobs")
    try:
        await asyncio.shield(wait)
    except asyncio.CancelledError:
        one.is_left = True
        if one in mine.saves:
            mine.saves.remove(one)
        else:
            # It is being written: who cancels us may close the database next.
            await asyncio.wait([wait], timeout=_GIVE_BACK / 2)
        raise
    assert one.written is not None
    app[counts][one.written.outcome.value] += 1
    return one.written, one.following


async def _save_on(app: Any) -> None:
    """Write all that waits. A task of its own: a job that is cancelled takes nobody's fetch with it."""
    mine = app[turn]
    # PostgreSQL locks rows, and who picks some of these podcasts meanwhile would lock them in another order.
    together = _TOGETHER if app[keys.database].url.backend == "sqlite" else 1
    while mine.saves:
        some, mine.saves[:together] = mine.saves[:together], []
        error = await _try_to_save(app, some)
        if error is not None and len(some) > 1:
            # What one of them wants to write may be the reason.
            for one in some:
                _settle(one, await _try_to_save(app, [one]))
        else:
            for one in some:
                _settle(one, error)
        for one in some:
            if one.is_left and one.following is not None:
                await _give_back(app, one.following.podcast_id, one.following.until)


def _settle(one: _Save, error: Exception | None) -> None:
    if error is None or one.is_left:
        one.done.set_result(None)
    else:
        one.done.set_exception(error)


async def _try_to_save(app: Any, some: Sequence[_Save]) -> Exception | None:
    most = app[keys.settings][PodcastSettings].probes
    for one in some:
        one.following = None
    try:
        async with saving(app) as session:
            written = await store.write(session, app[keys.database].notifier, [one.came for one in some])
            new: list[New] = []
            for one, each in zip(some, written, strict=True):
                new += await _wanted(session, one.came, each, most)
                if one.place is not None:
                    one.following = await _take_in(session, *one.place)
            await app[keys.jobs].add_many(session, new)
    # The database's errors are its driver's, and theirs who wait for it.
    except Exception as error:  # noqa: BLE001
        return error
    for one, each in zip(some, written, strict=True):
        one.written = each
    return None


async def _wanted(session: AsyncSession, came: store.Came, written: store.Written, most: int) -> list[New]:
    """Jobs that a feed wants which was read."""
    if came.result.feed is None:
        return []
    id, found = came.podcast_id, []
    if most and written.unknown and await probes.wanted(session, id, most):
        found.append(New(PROBE, id, f"podcast probes:{id}"))
    if written.hub:
        found.append(New(PUSH, id, f"{PUSH}:{id}"))
    if written.image:
        found.append(New(artwork.ARTWORK, id, f"{artwork.ARTWORK}:{id}"))
    return found


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
