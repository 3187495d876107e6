"""What is written of podcasts: added, read, moved, merged. Each function takes part in its caller's transaction."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from hub.orm.declarations import Notice
from hub.orm.sqlalchemy import AsyncNotifier

from ...db.tables import Base, now
from ..comments.models import Comment, Thread
from . import hints, rows
from .addresses import alike, host_of, is_private
from .feeds import Feed as ReadFeed
from .feeds import Item
from .fetching import Result, is_same
from .merging import merge
from .models import Alias, Episode, Feed, Fetch, Host, Pick, Podcast
from .names import plain, slug_of
from .reading import MAX_TITLE, VERSION
from .rows import UPDATED, Row, Values
from .schedule import Answer, Outcome, State, after, host_after, median_gap, seen_move
from .schedule import Host as HostState

#: Fetches that are kept of each feed.
FETCHES = 10

#: Rows of one statement: some milliseconds of the loop.
_BATCH = 200

#: Episodes, known and read, that are compared on the loop; 10,000 would halt it for a quarter of a second.
_SMALL = 1000

#: Bytes that are kept of a feed that can't be read.
KEPT = 1024 * 1024

T = TypeVar("T")

_STATE = ("next", "failures", "missing", "since", "etag", "modified", "reader", "whole", "move", "moves", "move_since")


@dataclass(frozen=True, slots=True)
class Stored:
    """How many episodes of a feed were new, were changed, and have left it."""

    new: int = 0
    changed: int = 0
    gone: int = 0


#: Outcomes of a feed that is there; "" of one that was never fetched.
_WELL = frozenset({Outcome.NEW.value, Outcome.SAME.value, ""})

#: In place of a column that was not asked for.
_UNKNOWN = object()

_TABLE: Any = Episode.__table__
_UPDATE = (
    update(_TABLE).where(_TABLE.c.id == bindparam("row")).values({name: bindparam(f"new_{name}") for name in UPDATED})
)


#: Statements are made once, for SQLAlchemy takes as long for each as the database does; and they are of tables, not of
#: models: what a session does for each of its rows would be a third of what a feed costs.
_PODCASTS: Any = Podcast.__table__
_FEEDS: Any = Feed.__table__
_FETCHES: Any = Fetch.__table__

#: A feed and its podcast as one row: no column of the one has the name of another's.
STANDING: Any = select(
    *(each for each in _FEEDS.c if each.key != "unread"),
    *(each for each in _PODCASTS.c if each.key not in {"thread_id", "picture"}),
).join_from(_FEEDS, _PODCASTS, _PODCASTS.c.id == _FEEDS.c.podcast_id)
STANDS = STANDING.where(_FEEDS.c.podcast_id == bindparam("wanted"))
_LOCKED = STANDS.with_for_update(of=_FEEDS)
_NOTE = insert(_FETCHES)
_PRUNE = delete(_FETCHES).where(
    _FETCHES.c.podcast_id == bindparam("wanted"),
    _FETCHES.c.id
    <= select(_FETCHES.c.id)
    .where(_FETCHES.c.podcast_id == bindparam("wanted"))
    .order_by(_FETCHES.c.id.desc())
    .offset(FETCHES)
    .limit(1)
    .scalar_subquery(),
)


#: The same for what is rare: a feed that moves, or two podcasts that are one.
_BOTH = (
    select(Feed, Podcast)
    .join(Podcast, Podcast.id == Feed.podcast_id)
    .where(Feed.podcast_id == bindparam("podcast_id"))
    # A flush looks at its thread, and would ask for it by itself.
    .options(joinedload(Podcast.thread, innerjoin=True))
    .execution_options(populate_existing=True)
)


@lru_cache(maxsize=200)
def _changing(model: type[Base], key: str, names: tuple[str, ...]) -> Any:
    """The statement that changes these columns of a row."""
    table: Any = model.__table__
    return (
        update(table).where(table.c[key] == bindparam("row")).values({name: bindparam(f"new_{name}") for name in names})
    )


async def _change(session: AsyncSession, model: type[Base], key: str, id: int, values: dict[str, Any]) -> None:
    if values:
        given = {f"new_{name}": value for name, value in values.items()}
        await (await session.connection()).execute(_changing(model, key, tuple(sorted(values))), {"row": id, **given})


@dataclass(frozen=True, slots=True)
class Came:
    """What a fetch of a podcast's feed came to. dice: from 0 to 1. ours: our own line is down."""

    podcast_id: int
    result: Result
    dice: float
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What was written of a fetch: what it came to, and in words. unknown: there are episodes of unknown length. image:
    another picture than the one that was asked for last. hub: the feed has one that was not asked to tell us."""

    outcome: Outcome
    words: str
    unknown: bool = False
    image: bool = False
    hub: bool = False


async def find_url(session: AsyncSession, url: str) -> Podcast | None:
    """The podcast whose feed is at this URL, or was, or is at one that differs by `alike` only."""
    found = await session.scalar(select(Podcast).where(Podcast.url == url))
    if found is None:
        found = await session.scalar(
            select(Podcast).join(Alias, Alias.podcast_id == Podcast.id).where(Alias.url.in_([url, alike(url)]))
        )
    return found


async def add(session: AsyncSession, url: str, name: str = "", *, image: str = "") -> tuple[Podcast, bool]:
    """The podcast of a feed's canonical URL, and whether it was made. Its feed is due at once."""
    found = await find_url(session, url)
    if found is not None:
        return found, False
    moment = now()
    shown = plain(name, MAX_TITLE) or host_of(url)
    podcast = Podcast(
        url=url,
        name=shown,
        slug=slug_of(shown),
        image_url=image,
        is_listed=not is_private(url),
        created_at=moment,
        modified_at=moment,
    )
    session.add(podcast)
    await session.flush()
    session.add(Feed(podcast_id=podcast.id, host=host_of(url)[:255], next=time.time()))
    other = alike(url)
    if other != url and await session.get(Alias, other) is None:
        session.add(Alias(url=other, podcast_id=podcast.id))
    await session.flush()
    return podcast, True


def state_of(stands: Any, at: float) -> State:
    """A row of `STANDING` as its schedule."""
    values = {name: getattr(stands, name) for name in _STATE}
    return State(gap=stands.gap, pushed=stands.pushed_until > at, **values)


async def write(session: AsyncSession, notifier: AsyncNotifier, came: Sequence[Came]) -> list[Written]:
    """Write down what fetches came to, and tell it with the commit; return what was written, in their order.

    The feeds' rows are locked, in the order of their ids, so that of two that have fetched one feed the second finds
    what the first has written.
    """
    told: list[Notice] = []
    written: dict[int, Written] = {}
    for place in sorted(range(len(came)), key=lambda place: came[place].podcast_id):
        written[place] = await _write(session, notifier, came[place], told)
    if told:
        await session.run_sync(notifier.write, None, told)
    return [written[place] for place in range(len(came))]


async def _write(session: AsyncSession, notifier: AsyncNotifier, came: Came, told: list[Notice]) -> Written:
    connection = await session.connection()
    podcast_id, result = came.podcast_id, came.result
    stands: Any = (await connection.execute(_LOCKED, {"wanted": podcast_id})).one_or_none()
    if stands is None:
        return Written(Outcome.GONE, "there is no such podcast any more")
    at, answer, stored = time.time(), result.answer, Stored()
    # It has no fetches yet that could be too many; of one that has failed so far there may be some.
    is_first = not stands.outcome and answer.outcome.is_well
    if result.feed is not None and result.is_redirected and await _is_other(session, stands, result.feed):
        answer = Answer(outcome=Outcome.NOT_FEED)
        result = replace(
            result, answer=answer, feed=None, move="", new_url="", words="it leads to the feed of another podcast"
        )
    feed: dict[str, Any] = {"taken": 0.0}
    podcast: dict[str, Any] = {}
    if result.feed is not None:
        stored, podcast = await _put(session, stands, result.feed, whole=not (result.is_paged or stands.is_paged))
        feed |= {
            "digest": result.digest,
            "repair": result.feed.repair,
            "items": result.feed.items,
            "is_paged": result.is_paged,
            "hub": result.feed.hub[:2000],
            "topic": result.feed.self_url[:2000],
        }
    if result.unread:
        # What it was, for who asks why (`fanfare podcasts unread`): it may be another tomorrow.
        feed["unread"] = zlib.compress(result.unread[:KEPT])
    elif answer.outcome.is_well and stands.outcome not in _WELL:
        feed["unread"] = None
    moved, words = False, _words(result, stored)
    if came.ours and answer.outcome is Outcome.NETWORK:
        feed["next"] = at + 600
        words = "our own line seems to be down; this does not count"
    else:
        gap = podcast.get("gap", stands.gap)
        state = after(replace(state_of(stands, at), gap=gap), answer, at, came.dice, VERSION)
        if answer.outcome.is_well:
            state, moved = seen_move(state, result.move, at)
        feed |= {name: getattr(state, name) for name in _STATE}
        feed["outcome"] = answer.outcome.value
        podcast["error"] = _error(answer, result, state)
    podcast = _others(stands, podcast)
    told += hints.of_change(notifier, stands, podcast)
    if answer.outcome is Outcome.SAME:
        # That it was looked at is no news for who looks at it.
        podcast["fetched_at"] = now()
    await _change(session, Podcast, "id", podcast_id, podcast)
    await _change(session, Feed, "podcast_id", podcast_id, _others(stands, feed))
    told += await _note(session, notifier, podcast_id, result, words)
    await _note_host(session, stands.host, answer, at)
    if not is_first:
        await connection.execute(_PRUNE, {"wanted": podcast_id})
    written = Written(
        answer.outcome,
        _words(result, stored),
        unknown=podcast.get("known", stands.known) < podcast.get("episodes", stands.episodes),
        image=podcast.get("image_url", stands.image_url) not in ("", stands.image),
        hub=result.feed is not None
        and bool(result.feed.hub and result.feed.self_url)
        and stands.pushed_until <= time.time(),
    )
    if moved or result.new_url:
        of_both = (await session.execute(_BOTH, {"podcast_id": podcast_id})).one()
        is_one = await move(session, of_both.Podcast, of_both.Feed, result.new_url or result.move)
        await session.flush()
        if is_one:
            return written
    if result.feed is not None and podcast.get("is_listed", stands.is_listed):
        twin = await _twin(session, podcast_id, result.feed)
        if twin is not None:
            await unite(session, (await session.execute(_BOTH, {"podcast_id": podcast_id})).one().Podcast, twin)
            await session.flush()
    return written


def _others(stands: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Those values that are other than what stands; what was not asked for is."""
    return {name: value for name, value in values.items() if getattr(stands, name, _UNKNOWN) != value}


async def _twin(session: AsyncSession, podcast_id: int, feed: ReadFeed) -> Podcast | None:
    """The older podcast that this one is as well, at another address: the same podcast:guid, and episodes in common.

    Not a private one: members' feeds have the guid of the public one.
    """
    if not feed.guid:
        return None
    older = Podcast.id < podcast_id, Podcast.guid == feed.guid, Podcast.is_listed
    found: Podcast | None = await session.scalar(select(Podcast).where(*older).order_by(Podcast.id).limit(1))
    if found is None:
        return None
    guids = set(await session.scalars(select(Episode.guid).where(Episode.podcast_id == found.id)))
    return found if any(each.guid and each.guid in guids for each in feed.episodes) else None


async def _is_other(session: AsyncSession, stands: Any, feed: ReadFeed) -> bool:
    """Whether a feed is another podcast's: hotels and hosters redirect to what they like."""
    guids = set(await session.scalars(select(Episode.guid).where(Episode.podcast_id == stands.id)))
    return bool(guids - {""}) and not is_same(feed, guids, stands.guid)


def _words(result: Result, stored: Stored) -> str:
    if result.feed is None:
        return result.words
    return f"{result.words}; {stored.new} new, {stored.changed} changed, {stored.gone} gone"


async def _note(
    session: AsyncSession, notifier: AsyncNotifier, podcast_id: int, result: Result, words: str
) -> list[Notice]:
    values = {
        "podcast_id": podcast_id,
        "at": now(),
        "outcome": result.answer.outcome.value,
        "status": result.status,
        "took": result.took,
        "bytes": result.size,
        "words": plain(words, 500),
    }
    made: Any = await (await session.connection()).execute(_NOTE, values)
    return hints.of_fetch(notifier, made.inserted_primary_key[0], podcast_id)


def _error(answer: Answer, result: Result, state: State) -> str:
    """What is wrong with a feed, for people."""
    error = "" if answer.outcome.is_well else plain(result.words, 300)
    return f"the feed is gone: {error}" if state.is_gone else error


async def _note_host(session: AsyncSession, name: str, answer: Answer, at: float) -> None:
    if answer.outcome is not Outcome.BUSY:
        return
    host = await session.get(Host, name, with_for_update=True)
    if host is None:
        host = Host(name=name, paused=0.0, singly=0.0)
        session.add(host)
    found = host_after(HostState(host.paused, host.singly), answer, at)
    host.paused, host.singly = max(host.paused, found.paused), max(host.singly, found.singly)
    # The next feed is looked for in this transaction.
    await session.flush()


async def put(session: AsyncSession, podcast: Podcast, feed: ReadFeed, *, whole: bool = True) -> Stored:
    """Put what a feed says into a podcast and its episodes, in place. whole: the items are all of the feed.

    What has left the feed stays, and is marked. A feed without episodes changes none.
    """
    stored, values = await _put(session, podcast, feed, whole=whole)
    for name, value in _others(podcast, values).items():
        setattr(podcast, name, value)
    return stored


async def _put(session: AsyncSession, stands: Any, feed: ReadFeed, *, whole: bool) -> tuple[Stored, dict[str, Any]]:
    """Write a feed's episodes; return what the podcast's columns are then. stands: what they are."""
    moment = now()
    known: list[Row] = []
    # Of one that was never read there are none to look for: they are counted where they are written.
    if stands.episodes:
        async for some in rows.read(session, stands.id, _BATCH):
            known += some
            await asyncio.sleep(0)
    if len(known) + len(feed.episodes) <= _SMALL:
        work = _work(known, feed.episodes, whole, moment)
    else:
        work = await asyncio.to_thread(_work, known, feed.episodes, whole, moment)
    for made in _batches(work.made):
        await rows.make(session, stands.id, moment, made)
    for changes in _batches(work.changes):
        await session.execute(_UPDATE, changes)
    for ids in _batches(work.gone):
        await session.execute(update(_TABLE).where(_TABLE.c.id.in_(ids)).values(is_gone=True))
    stored = Stored(len(work.made), len(work.changes), len(work.gone))
    values = _described(stands, feed) | _counted(work.dated) | {"fetched_at": moment}
    if stored != Stored():
        values["modified_at"] = moment
    return stored, values


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be written: rows to be made and changed, ids of those that have left the feed; and dates and seconds
    of all episodes then."""

    made: list[Values]
    changes: list[dict[str, Any]]
    gone: list[int]
    dated: list[tuple[datetime | None, int | None]]


def _work(known: list[Row], episodes: Sequence[Item], whole: bool, moment: datetime) -> _Work:
    merged = merge(known, [_shown(item) for item in episodes], whole=whole)
    made = [_values(item, moment) for item in merged.new]
    left = {row.id: row for row in known}
    changes: list[dict[str, Any]] = []
    dated: list[tuple[datetime | None, int | None]] = []
    for id, item in merged.same:
        row = left.pop(id)
        values = _values(item, row.seen_at)
        if values.seconds is None and row.seconds is not None and row.source != "feed":
            # What the file itself has told stays until the feed says something.
            values = values._replace(seconds=row.seconds, source=row.source)
        if row[2:] != values:
            changes.append({"row": id} | {f"new_{name}": value for name, value in zip(UPDATED, values, strict=True)})
        dated.append((values.at, values.seconds))
    dated += [(row.at, row.seconds) for row in left.values()]
    dated += [(each.at, each.seconds) for each in made]
    return _Work(made, changes, merged.gone, dated)


def _batches(values: list[T]) -> Iterator[list[T]]:
    return (values[at : at + _BATCH] for at in range(0, len(values), _BATCH))


def _shown(item: Item) -> Item:
    title = plain(item.title, MAX_TITLE)
    return item if title == item.title else replace(item, title=title)


def _values(item: Item, seen: datetime) -> Values:
    # PostgreSQL and SQLite take all years that Python has.
    published = None if item.published is None else item.published.astimezone(UTC)
    return Values(
        # A date of the future is there to stay on top.
        at=None if published is None else min(published, seen),
        published_at=published,
        seconds=item.seconds,
        source="" if item.seconds is None else "feed",
        kind=item.kind,
        season=item.season,
        number=item.number,
        length=item.length,
        is_gone=False,
        type=item.type,
        title=item.title,
        guid=item.guid,
        url=item.url,
        summary=item.summary,
    )


def _described(stands: Any, feed: ReadFeed) -> dict[str, Any]:
    """Columns of a podcast that its feed says. stands: what they are."""
    name = plain(feed.title, MAX_TITLE) or stands.name
    values = {
        "name": name,
        "slug": slug_of(name),
        "link": feed.link,
        "subtitle": feed.subtitle,
        "author": feed.author,
        "language": feed.language,
        "guid": feed.guid,
        "summary": feed.summary,
        "is_listed": not feed.is_blocked and not is_private(stands.url),
    }
    if feed.image:
        values["image_url"] = feed.image
    return values


def _counted(episodes: Sequence[tuple[datetime | None, int | None]]) -> dict[str, Any]:
    """Columns of a podcast that sum up its episodes."""
    dates = sorted(at for at, _ in episodes if at is not None)
    known = [seconds for _, seconds in episodes if seconds is not None]
    first_at, latest_at = (dates[0], dates[-1]) if dates else (None, None)
    return {
        "episodes": len(episodes),
        "known": len(known),
        "seconds": sum(known),
        "first_at": first_at,
        "latest_at": latest_at,
        "gap": median_gap(dates),
    }


async def recount(session: AsyncSession, podcast: Podcast) -> None:
    """Sum up a podcast's episodes anew."""
    rows = await session.execute(select(Episode.at, Episode.seconds).where(Episode.podcast_id == podcast.id))
    for name, value in _counted([(at, seconds) for at, seconds in rows]).items():
        setattr(podcast, name, value)
    podcast.modified_at = now()


async def move(session: AsyncSession, podcast: Podcast, feed: Feed, target: str) -> bool:
    """A feed has gone to another URL for good. If that is another podcast's, both are one from now on, that one: True
    then."""
    other = await find_url(session, target)
    if other is not None and other.id != podcast.id:
        await unite(session, podcast, other)
        return True
    old, podcast.url = podcast.url, target
    feed.host = host_of(target)[:255]
    feed.etag = feed.modified = ""
    await session.execute(delete(Alias).where(Alias.url.in_([target, old])))
    session.add(Alias(url=old, podcast_id=podcast.id))
    podcast.is_listed = podcast.is_listed and not is_private(target)
    return False


async def unite(session: AsyncSession, podcast: Podcast, other: Podcast) -> None:
    """Make two podcasts the second: picks, comments and addresses follow, the first goes."""
    both = select(Pick.list_id).where(Pick.podcast_id == other.id)
    await session.execute(delete(Pick).where(Pick.podcast_id == podcast.id, Pick.list_id.in_(both)))
    await session.execute(update(Pick).where(Pick.podcast_id == podcast.id).values(podcast_id=other.id))
    await session.execute(update(Alias).where(Alias.podcast_id == podcast.id).values(podcast_id=other.id))
    await session.execute(
        update(Comment).where(Comment.thread_id == podcast.thread_id).values(thread_id=other.thread_id)
    )
    session.add(Alias(url=podcast.url, podcast_id=other.id))
    other.times_picked = (
        await session.scalar(select(func.count()).select_from(Pick).where(Pick.podcast_id == other.id)) or 0
    )
    thread = await session.get(Thread, podcast.thread_id)
    await session.execute(delete(Podcast).where(Podcast.id == podcast.id))
    if thread is not None:
        await session.delete(thread)
