"""What is written of podcasts: added, read, moved, merged. Each function takes part in its caller's transaction."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from ...db.tables import now
from ..comments.models import Comment, Thread
from . import rows
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


_TABLE: Any = Episode.__table__
_UPDATE = (
    update(_TABLE).where(_TABLE.c.id == bindparam("row")).values({name: bindparam(f"new_{name}") for name in UPDATED})
)


#: A feed and its podcast. It is made once, for SQLAlchemy takes as long for each statement as the database does.
BOTH = (
    select(Feed, Podcast).join(Podcast, Podcast.id == Feed.podcast_id).where(Feed.podcast_id == bindparam("podcast_id"))
)
_LOCKED = (
    # A flush looks at its thread, and would ask for it by itself.
    BOTH.options(joinedload(Podcast.thread, innerjoin=True))
    .with_for_update(of=Feed)
    .execution_options(populate_existing=True)
)


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


def state_of(feed: Feed, podcast: Podcast, at: float) -> State:
    """A row as its schedule."""
    values = {name: getattr(feed, name) for name in _STATE}
    return State(gap=podcast.gap, pushed=feed.pushed_until > at, **values)


async def write(
    session: AsyncSession, podcast_id: int, result: Result, dice: float, *, ours: bool = False
) -> tuple[Outcome, str]:
    """Write down what a fetch came to; return that, and in words. dice: from 0 to 1. ours: our own line is down.

    The feed's row is locked, so that of two that have fetched one feed the second finds what the first has written.
    """
    both = (await session.execute(_LOCKED, {"podcast_id": podcast_id})).one_or_none()
    if both is None:
        return Outcome.GONE, "there is no such podcast any more"
    feed, podcast = both
    at, answer, stored = time.time(), result.answer, Stored()
    # It has no fetches yet that could be too many; of one that has failed so far there may be some.
    is_first = not feed.outcome and answer.outcome.is_well
    if result.feed is not None and result.is_redirected and await _is_other(session, podcast, result.feed):
        answer = Answer(outcome=Outcome.NOT_FEED)
        result = replace(
            result, answer=answer, feed=None, move="", new_url="", words="it leads to the feed of another podcast"
        )
    if result.feed is not None:
        stored = await put(session, podcast, result.feed, whole=not (result.is_paged or feed.is_paged))
        feed.digest, feed.repair, feed.items = result.digest, result.feed.repair, result.feed.items
        feed.is_paged = result.is_paged
        feed.hub, feed.topic = result.feed.hub[:2000], result.feed.self_url[:2000]
    if result.unread:
        # What it was, for who asks why (`fanfare podcasts unread`): it may be another tomorrow.
        feed.unread = zlib.compress(result.unread[:KEPT])
    elif answer.outcome.is_well:
        feed.unread = None
    if ours and answer.outcome is Outcome.NETWORK:
        feed.next = at + 600
        _note(session, podcast_id, result, "our own line seems to be down; this does not count")
    else:
        state = after(state_of(feed, podcast, at), answer, at, dice, VERSION)
        moved = False
        if answer.outcome.is_well:
            state, moved = seen_move(state, result.move, at)
        for name in _STATE:
            setattr(feed, name, getattr(state, name))
        feed.outcome = answer.outcome.value
        _note(session, podcast_id, result, _words(result, stored))
        _set_error(podcast, answer, result, state)
        if moved or result.new_url:
            await move(session, podcast, feed, result.new_url or result.move)
    feed.taken = 0.0
    if answer.outcome is Outcome.SAME:
        # That it was looked at is no news for who looks at it.
        looked = update(Podcast).where(Podcast.id == podcast_id).values(fetched_at=now())
        await session.execute(looked.execution_options(fanfare=False, synchronize_session=False))
    await _note_host(session, feed.host, answer, at)
    await session.flush()
    if not is_first:
        await _prune(session, podcast_id)
    if result.feed is not None and podcast.is_listed and (twin := await _twin(session, podcast, result.feed)):
        await unite(session, podcast, twin)
    return answer.outcome, _words(result, stored)


async def _twin(session: AsyncSession, podcast: Podcast, feed: ReadFeed) -> Podcast | None:
    """The older podcast that this one is as well, at another address: the same podcast:guid, and episodes in common.

    Not a private one: members' feeds have the guid of the public one.
    """
    if not feed.guid:
        return None
    older = Podcast.id < podcast.id, Podcast.guid == feed.guid, Podcast.is_listed
    found: Podcast | None = await session.scalar(select(Podcast).where(*older).order_by(Podcast.id).limit(1))
    if found is None:
        return None
    guids = set(await session.scalars(select(Episode.guid).where(Episode.podcast_id == found.id)))
    return found if any(each.guid and each.guid in guids for each in feed.episodes) else None


async def _is_other(session: AsyncSession, podcast: Podcast, feed: ReadFeed) -> bool:
    """Whether a feed is another podcast's: hotels and hosters redirect to what they like."""
    guids = set(await session.scalars(select(Episode.guid).where(Episode.podcast_id == podcast.id)))
    return bool(guids - {""}) and not is_same(feed, guids, podcast.guid)


def _words(result: Result, stored: Stored) -> str:
    if result.feed is None:
        return result.words
    return f"{result.words}; {stored.new} new, {stored.changed} changed, {stored.gone} gone"


def _note(session: AsyncSession, podcast_id: int, result: Result, words: str) -> None:
    session.add(
        Fetch(
            podcast_id=podcast_id,
            outcome=result.answer.outcome.value,
            status=result.status,
            took=result.took,
            bytes=result.size,
            words=plain(words, 500),
        )
    )


def _set_error(podcast: Podcast, answer: Answer, result: Result, state: State) -> None:
    error = "" if answer.outcome.is_well else plain(result.words, 300)
    if state.is_gone:
        error = f"the feed is gone: {error}"
    if podcast.error != error:
        podcast.error = error


async def _note_host(session: AsyncSession, name: str, answer: Answer, at: float) -> None:
    if answer.outcome is not Outcome.BUSY:
        return
    host = await session.get(Host, name, with_for_update=True)
    if host is None:
        host = Host(name=name, paused=0.0, singly=0.0)
        session.add(host)
    found = host_after(HostState(host.paused, host.singly), answer, at)
    host.paused, host.singly = max(host.paused, found.paused), max(host.singly, found.singly)


async def _prune(session: AsyncSession, podcast_id: int) -> None:
    old = (
        select(Fetch.id).where(Fetch.podcast_id == podcast_id).order_by(Fetch.id.desc()).offset(FETCHES).limit(FETCHES)
    )
    ids = list(await session.scalars(old))
    if ids:
        await session.execute(delete(Fetch.__table__).where(Fetch.id.in_(ids)))  # type: ignore[arg-type]  # a Table is one


async def put(session: AsyncSession, podcast: Podcast, feed: ReadFeed, *, whole: bool = True) -> Stored:
    """Put what a feed says into a podcast and its episodes, in place. whole: the items are all of the feed.

    What has left the feed stays, and is marked. A feed without episodes changes none.
    """
    moment = now()
    known: list[Row] = []
    # Of one that was never read there are none to look for: they are counted where they are written.
    if podcast.episodes:
        async for some in rows.read(session, podcast.id, _BATCH):
            known += some
            await asyncio.sleep(0)
    if len(known) + len(feed.episodes) <= _SMALL:
        work = _work(known, feed.episodes, whole, moment)
    else:
        work = await asyncio.to_thread(_work, known, feed.episodes, whole, moment)
    for made in _batches(work.made):
        await rows.make(session, podcast.id, moment, made)
    for changes in _batches(work.changes):
        await session.execute(_UPDATE, changes)
    for ids in _batches(work.gone):
        await session.execute(update(_TABLE).where(_TABLE.c.id.in_(ids)).values(is_gone=True))
    _describe(podcast, feed)
    _count(podcast, work.dated)
    podcast.fetched_at = moment
    stored = Stored(len(work.made), len(work.changes), len(work.gone))
    if stored != Stored():
        podcast.modified_at = moment
    return stored


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


def _describe(podcast: Podcast, feed: ReadFeed) -> None:
    name = plain(feed.title, MAX_TITLE) or podcast.name
    values = {
        "name": name,
        "slug": slug_of(name),
        "link": feed.link,
        "subtitle": feed.subtitle,
        "author": feed.author,
        "language": feed.language,
        "guid": feed.guid,
        "summary": feed.summary,
        "is_listed": not feed.is_blocked and not is_private(podcast.url),
    }
    if feed.image:
        values["image_url"] = feed.image
    for key, value in values.items():
        if getattr(podcast, key) != value:
            setattr(podcast, key, value)


def _count(podcast: Podcast, episodes: Sequence[tuple[datetime | None, int | None]]) -> None:
    dates = sorted(at for at, _ in episodes if at is not None)
    known = [seconds for _, seconds in episodes if seconds is not None]
    podcast.episodes, podcast.known, podcast.seconds = len(episodes), len(known), sum(known)
    podcast.first_at, podcast.latest_at = (dates[0], dates[-1]) if dates else (None, None)
    podcast.gap = median_gap(dates)


async def recount(session: AsyncSession, podcast: Podcast) -> None:
    """Sum up a podcast's episodes anew."""
    rows = await session.execute(select(Episode.at, Episode.seconds).where(Episode.podcast_id == podcast.id))
    _count(podcast, [(at, seconds) for at, seconds in rows])
    podcast.modified_at = now()


async def move(session: AsyncSession, podcast: Podcast, feed: Feed, target: str) -> None:
    """A feed has gone to another URL for good. If that is another podcast's, both are one from now on: that one."""
    other = await find_url(session, target)
    if other is not None and other.id != podcast.id:
        await unite(session, podcast, other)
        return
    old, podcast.url = podcast.url, target
    feed.host = host_of(target)[:255]
    feed.etag = feed.modified = ""
    await session.execute(delete(Alias).where(Alias.url.in_([target, old])))
    session.add(Alias(url=old, podcast_id=podcast.id))
    podcast.is_listed = podcast.is_listed and not is_private(target)


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
