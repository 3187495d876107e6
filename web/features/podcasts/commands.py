"""What `fanfare podcasts` does."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import select

from hub.cli import DONE, FAILED, Environ, Wrong, shown
from hub.publisher import RecordingPublisher
from hub.settings import read as read_settings

from ...db.database import Database
from ...db.migrate import migrate
from ...db.settings import DatabaseSettings
from ...pages import keys
from ...pages.settings import PageSettings
from ...pages.templating import machine_time
from ...services.addresses import Guard
from ...services.jobs.pools import Processes, Threads
from ...services.jobs.queue import Queue
from ...services.outbound import Outbound, OutboundError
from ...services.settings import ServiceSettings
from . import fetching, hints, jobs, store
from .addresses import BadUrl, canonical, host_of
from .durations import clock, words
from .feeds import Feed
from .models import Feed as FeedRow
from .models import Podcast
from .opml import BadOpml, read_opml
from .podcast import ask_again
from .schedule import Outage
from .settings import PodcastSettings


def as_json(feed: Feed) -> dict[str, Any]:
    """What a feed says, in the fields of `read --json`."""
    dates = feed.dates
    return {
        "title": feed.title,
        "items": feed.items,
        "episodes": [
            {
                "guid": each.guid,
                "title": each.title,
                "published": None if each.published is None else machine_time(each.published),
                "seconds": each.seconds,
                "source": None if each.seconds is None else "feed",
                "url": each.url,
            }
            for each in feed.episodes
        ],
        "known": feed.known,
        "total_seconds": feed.total_seconds,
        "first": machine_time(dates[0]) if dates else None,
        "last": machine_time(dates[-1]) if dates else None,
        "repair": feed.repair,
    }


def read(what: str, with_json: bool, environ: Environ) -> int:
    """Say what we make of a feed; nothing is stored."""
    body, base, charset = _bytes_of(what, environ)
    feed, kind, reason = fetching.read_bytes(body, base, charset)
    if feed is None:
        if with_json:
            print(json.dumps({"error": reason, "kind": kind}))
        else:
            print(f"fanfare: {shown(what)}: {reason}", file=sys.stderr)
        return FAILED
    if with_json:
        print(json.dumps(as_json(feed), ensure_ascii=False))
        return DONE
    print(shown(feed.title or "(no title)"))
    if feed.repair:
        print(f"not well-formed; mended: {feed.repair}")
    left = f", {feed.repeats} said twice" if feed.repeats else ""
    print(f"{feed.items} items, {len(feed.episodes)} episodes{left}; {feed.known} with known length")
    dates = feed.dates
    if dates:
        print(f"from {dates[0]:%Y-%m-%d} to {dates[-1]:%Y-%m-%d}; {words(feed.total_seconds / 3600)} in all")
    for each in feed.episodes[:20]:
        when = "no date   " if each.published is None else f"{each.published:%Y-%m-%d}"
        print(f"  {when}  {'unknown' if each.seconds is None else clock(each.seconds):>8}  {shown(each.title)[:100]}")
    if len(feed.episodes) > 20:
        print(f"  … and {len(feed.episodes) - 20} more")
    return DONE


def _bytes_of(what: str, environ: Environ) -> tuple[bytes, str, str]:
    """A feed's bytes, where they are from, and the charset of the answer."""
    if "://" not in what:
        try:
            return Path(what).read_bytes(), "", ""
        except OSError as error:
            raise Wrong(f"{what}: {error.strerror}") from None
    try:
        url = canonical(what)
    except BadUrl as error:
        raise Wrong(f"{what}: {error}") from None
    settings = read_settings(PodcastSettings, environ)

    async def fetch() -> tuple[bytes, str, str]:
        outbound = _outbound(environ)
        try:
            fetched = await outbound.fetch(
                url, headers={"Accept": fetching.ACCEPT}, limits=fetching.limits_of(settings)
            )
        except OutboundError as error:
            raise Wrong(str(error)) from None
        finally:
            await outbound.close()
        if not fetched.ok:
            raise Wrong(f"the server says {fetched.status}")
        return fetched.body, fetched.url, fetching.charset_of(fetched)

    return asyncio.run(fetch())


def _outbound(environ: Environ) -> Outbound:
    url = read_settings(PageSettings, environ).url
    guard = Guard(read_settings(ServiceSettings, environ).outbound_allow)
    return Outbound(guard, f"Fanfare/{version('fanfare')}" + (f" (+{url})" if url else ""))


def on_database(action: str, what: list[str], with_json: bool, environ: Environ) -> int:
    """Do what needs the site's database."""
    acts = {"add": _add, "import": _import, "list": _list, "retry": _retry, "fetch": _fetch, "unread": _unread}
    act = acts[action]

    async def run() -> int:
        async with _site(environ) as app:
            return await act(app, argparse.Namespace(what=what, json=with_json))

    return asyncio.run(run())


@asynccontextmanager
async def _site(environ: Environ) -> AsyncIterator[dict[Any, Any]]:
    """The parts of the site that are used here; what is told waits in the outbox for who serves it."""
    url = read_settings(DatabaseSettings, environ).url
    await migrate(url)
    database = Database(url, RecordingPublisher(), hints=[hints.declare])
    outbound = _outbound(environ)
    settings = {PodcastSettings: read_settings(PodcastSettings, environ)}
    try:
        yield {
            keys.database: database,
            keys.outbound: outbound,
            keys.settings: settings,
            keys.jobs: Queue(),
            jobs.outage: Outage(),
            jobs.counts: Counter(),
            jobs.turn: jobs.Turn(),
        }
    finally:
        await outbound.close()
        await database.close()


async def _add(app: dict[Any, Any], found: argparse.Namespace) -> int:
    wrong = 0
    for text in found.what:
        try:
            url = canonical(text)
        except BadUrl as error:
            print(f"{shown(text)}: {error}", file=sys.stderr)
            wrong += 1
            continue
        podcast, is_new = await _add_url(app, url, "")
        print(f"{podcast.id}: {shown(podcast.name)}: {'added, it is fetched soon' if is_new else 'was there already'}")
    return FAILED if wrong else DONE


async def _add_url(app: dict[Any, Any], url: str, name: str) -> tuple[Podcast, bool]:
    async with app[keys.database].saving() as session:
        podcast, is_new = await store.add(session, url, name)
        if is_new:
            await jobs.plan(session, app[keys.jobs], host_of(url)[:255])
    return podcast, is_new


async def _import(app: dict[Any, Any], found: argparse.Namespace) -> int:
    try:
        # A command has nothing else to do meanwhile.
        entries, wrong = read_opml(Path(found.what[0]).read_bytes())  # noqa: ASYNC240
    except OSError as error:
        raise Wrong(f"{found.what[0]}: {error.strerror}") from None
    except BadOpml as error:
        raise Wrong(f"{found.what[0]}: {error}") from None
    new = 0
    for entry in entries:
        new += (await _add_url(app, entry.url, entry.name))[1]
    for line in wrong:
        print(shown(line), file=sys.stderr)
    print(f"{len(entries)} podcasts: {new} added, {len(entries) - new} were there already")
    return FAILED if wrong else DONE


async def _list(app: dict[Any, Any], found: argparse.Namespace) -> int:
    async with app[keys.database].reading() as session:
        rows = await session.execute(
            select(Podcast, FeedRow).outerjoin(FeedRow, FeedRow.podcast_id == Podcast.id).order_by(Podcast.id)
        )
        pairs = rows.all()
    if found.json:
        print(json.dumps([_as_row(podcast, feed) for podcast, feed in pairs], ensure_ascii=False))
        return DONE
    for podcast, feed in pairs:
        print(shown(_line(podcast, feed)))
    if not pairs:
        print("no podcasts; say podcasts add URL")
    return DONE


def _as_row(podcast: Podcast, feed: FeedRow | None) -> dict[str, Any]:
    return {
        "id": podcast.id,
        "name": podcast.name,
        "url": podcast.url if podcast.is_listed else None,
        "episodes": podcast.episodes,
        "known": podcast.known,
        "total_seconds": podcast.seconds,
        "last_fetch": None if podcast.fetched_at is None else machine_time(podcast.fetched_at),
        "error": podcast.error or None,
        "next": None if feed is None or feed.next is None else int(feed.next),
    }


def _line(podcast: Podcast, feed: FeedRow | None) -> str:
    if feed is None or not feed.outcome:
        state = "not fetched yet"
    elif podcast.error:
        state = podcast.error
    else:
        state = f"{podcast.episodes} episodes, {words(podcast.seconds / 3600)} of {podcast.known}"
    if feed is not None and feed.next is not None and feed.outcome:
        state += f"; next in {max(feed.next - time.time(), 0) / 60:.0f} min"
    return f"{podcast.id}: {podcast.name}: {state}"


async def _retry(app: dict[Any, Any], found: argparse.Namespace) -> int:
    ids = [_number(text) for text in found.what]
    async with app[keys.database].saving() as session:
        if not ids:
            failing = (FeedRow.failures > 0) | (FeedRow.outcome == "")
            ids = list(await session.scalars(select(FeedRow.podcast_id).where(failing)))
        count = 0
        for id in ids:
            count += await ask_again(session, app, id)
    print(f"{count} to be fetched again")
    return DONE


async def _fetch(app: dict[Any, Any], found: argparse.Namespace) -> int:
    text = found.what[0]
    async with app[keys.database].reading() as session:
        if text.isascii() and text.isdigit():
            podcast = await session.get(Podcast, _number(text))
        else:
            try:
                podcast = await store.find_url(session, canonical(text))
            except BadUrl as error:
                raise Wrong(f"{text}: {error}") from None
    if podcast is None:
        raise Wrong(f"there is no podcast {text}; say podcasts add URL")
    processes = Processes(1, Threads())
    try:
        outcome, told = await jobs.fetch(app, podcast.id, processes.call, whole=True)
    finally:
        processes.close()
    print(f"{podcast.id}: {shown(podcast.name)}: {shown(told)}")
    return DONE if outcome.is_well else FAILED


async def _unread(app: dict[Any, Any], found: argparse.Namespace) -> int:
    id = _number(found.what[0])
    async with app[keys.database].reading() as session:
        packed = await session.scalar(select(FeedRow.unread).where(FeedRow.podcast_id == id))
    if packed is None:
        print(f"{id}: there is no feed of this number that could not be read", file=sys.stderr)
        return FAILED
    sys.stdout.buffer.write(zlib.decompress(packed))
    sys.stdout.buffer.flush()
    return DONE


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Wrong(f"{text!r} is no number of a podcast")
    return int(text)
