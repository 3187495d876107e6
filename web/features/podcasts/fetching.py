"""One fetch of a feed: what is asked, what came, and what it says; nothing is written here.

The bytes are read in a process of their own, so that no feed, however long or mean, keeps the event loop waiting.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import hdrs

from ...services.jobs.pools import FailedInProcess, ProcessDied
from ...services.outbound import (
    BadAnswer,
    Fetched,
    Forbidden,
    Limits,
    Outbound,
    OutboundError,
    TooLarge,
    TooSlow,
    Validators,
)
from .addresses import BadUrl, canonical
from .feeds import Feed, FeedError, NotAFeed, Refused
from .reading import MAX_ITEMS, VERSION, read_feed
from .schedule import Answer, Outcome, State, conditions, good_for, outcome_of_status
from .settings import PodcastSettings

ACCEPT = "application/rss+xml, application/atom+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.5"

#: Bytes of a header's line: some servers have long cookies and policies.
_LINE = 16 * 1024

#: Bytes that are hashed on the loop: 20 MB would halt it for a fiftieth of a second.
_SMALL = 256 * 1024

#: Seconds after which no further page of a feed is asked for.
_PAGES = 45.0

_PERMANENT = frozenset({301, 308})

InProcess = Callable[..., Awaitable[Any]]

Known = Callable[[], Awaitable[Collection[str]]]


async def none_known() -> Collection[str]:
    """The guids of a podcast that has no episodes yet."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a fetch came to. words: for people. feed: what the bytes say, if they are new. move: where the feed has
    gone for good, as its server says, "" for nowhere; new_url: the same as the feed itself says, where we have
    looked, and found the same podcast. unread: the bytes that could not be read, if that is how it failed."""

    answer: Answer
    words: str
    status: int | None = None
    feed: Feed | None = None
    digest: str = ""
    size: int = 0
    took: float = 0.0
    move: str = ""
    is_redirected: bool = False
    new_url: str = ""
    is_paged: bool = False
    unread: bytes = b""


def limits_of(settings: PodcastSettings) -> Limits:
    """What a fetch may cost."""
    return Limits(line=_LINE, wire=settings.wire, body=settings.body, connect=10.0, gap=10.0, total=settings.seconds)


def read_bytes(body: bytes, base: str, charset: str) -> tuple[Feed | None, str, str]:
    """What a feed's bytes say, or why they are none: what is called in the other process, and raises nothing."""
    try:
        return read_feed(body, base, charset), "", ""
    except FeedError as error:
        return None, type(error).__name__, str(error)
    # A parser that fails in a way of its own is that feed's failure (feedparser's issues have several).
    except Exception as error:  # noqa: BLE001
        return None, "Unreadable", f"{type(error).__name__}: {error}"[:200]


async def fetch_feed(
    outbound: Outbound,
    url: str,
    state: State,
    settings: PodcastSettings,
    in_process: InProcess,
    *,
    known: Known = none_known,
    digest: str = "",
    whole: bool = False,
) -> Result:
    """Fetch a feed and read it. Raises nothing that a server or a feed can cause.

    known: asks for the guids of episodes that are known; pages are followed until one is met. digest: of the bytes that
    were read before by this reader, which need not be read again. whole: don't ask for changes only.
    """
    began = time.monotonic()
    asked = None if whole else conditions(state, time.time(), VERSION)
    try:
        fetched = await outbound.fetch(
            url,
            headers={str(hdrs.ACCEPT): ACCEPT},
            validators=None if asked is None else Validators(*asked),
            limits=limits_of(settings),
        )
    except OutboundError as error:
        return _failed(_outcome_of(error), str(error), took=time.monotonic() - began)
    result = await _look(outbound, fetched, url, settings, in_process, known, digest, asked is not None)
    return replace(result, took=time.monotonic() - began, status=fetched.status, size=len(fetched.body))


async def _look(
    outbound: Outbound,
    fetched: Fetched,
    url: str,
    settings: PodcastSettings,
    in_process: InProcess,
    known: Known,
    digest: str,
    conditional: bool,
) -> Result:
    headers = {str(name).title(): value for name, value in fetched.headers.items()}
    etag, modified = fetched.validators.etag, fetched.validators.modified
    if fetched.status == 304 and conditional:
        answer = Answer(
            outcome=Outcome.SAME, etag=etag, modified=modified, wait=good_for(headers, None), conditional=True
        )
        words = "nothing new: the server says it has not changed (304)"
        return Result(answer=answer, words=words, move=_move(url, fetched))
    if not fetched.ok:
        outcome = outcome_of_status(fetched.status)
        words = f"the server says {fetched.status}"
        if outcome is Outcome.BUSY and fetched.retry_after is not None:
            words += f", and to come back in {_time(fetched.retry_after)}"
        return _failed(outcome, words, wait=fetched.retry_after)
    new = _digest(fetched.body) if len(fetched.body) < _SMALL else await asyncio.to_thread(_digest, fetched.body)
    if new == digest:
        # A server without validators, or with wrong ones; or we have asked for all of it.
        answer = Answer(
            outcome=Outcome.SAME, etag=etag, modified=modified, wait=good_for(headers, None), conditional=False
        )
        return Result(answer=answer, words="nothing new: the same bytes as before", move=_move(url, fetched))
    feed, failed = await _read(fetched, settings, in_process)
    if failed is not None:
        return failed
    assert feed is not None
    paged = bool(feed.next_url)
    if paged:
        feed = await _pages(outbound, fetched.url, feed, settings, in_process, await known())
    words = f"read {len(feed.episodes)} episodes of {feed.items} items"
    if feed.repair:
        words += f"; it was not well-formed, and mended ({feed.repair})"
    if feed.cut:
        words += "; the rest of it is left out"
    if feed.conflicts:
        words += f"; {feed.conflicts} have the guid of another"
    answer = Answer(
        outcome=Outcome.NEW, etag=etag, modified=modified, wait=good_for(headers, feed.ttl), conditional=False
    )
    return Result(
        answer=answer,
        words=words,
        feed=feed,
        digest=new,
        move=_move(url, fetched),
        is_redirected=bool(fetched.hops),
        new_url=await _new_url(outbound, url, fetched.url, feed, settings, in_process),
        is_paged=paged,
    )


async def _read(
    fetched: Fetched, settings: PodcastSettings, in_process: InProcess
) -> tuple[Feed | None, Result | None]:
    charset = charset_of(fetched)
    try:
        feed, kind, words = await in_process(read_bytes, fetched.body, fetched.url, charset, limit=settings.parse)
    except TimeoutError:
        words = f"reading it took longer than {settings.parse:g} s"
        return None, replace(_failed(Outcome.TOO_LARGE, words), unread=fetched.body)
    except (ProcessDied, FailedInProcess) as error:
        words = f"its reader died: {str(error).splitlines()[-1][:200]}"
        return None, replace(_failed(Outcome.UNREADABLE, words), unread=fetched.body)
    if feed is not None:
        return feed, None
    outcome = {NotAFeed.__name__: Outcome.NOT_FEED, Refused.__name__: Outcome.TOO_LARGE}.get(kind, Outcome.UNREADABLE)
    return None, replace(_failed(outcome, words), unread=fetched.body)


async def _pages(
    outbound: Outbound,
    at: str,
    first: Feed,
    settings: PodcastSettings,
    in_process: InProcess,
    known: Collection[str],
) -> Feed:
    """A feed with the pages behind its first, until an episode is known; any that fails ends them quietly."""
    episodes, seen, page = list(first.episodes), {at}, first
    items, guids = first.items, {each.guid for each in first.episodes}
    until = time.monotonic() + _PAGES
    while page.next_url and page.next_url not in seen and len(seen) < settings.pages and time.monotonic() < until:
        if items >= MAX_ITEMS:
            return replace(first, episodes=tuple(episodes[:MAX_ITEMS]), items=items, cut=True)
        if known and any(each.guid in known for each in page.episodes):
            break
        seen.add(page.next_url)
        try:
            fetched = await outbound.fetch(
                page.next_url, headers={str(hdrs.ACCEPT): ACCEPT}, limits=limits_of(settings)
            )
        except OutboundError:
            break
        if not fetched.ok or fetched.url in seen - {page.next_url}:
            break
        read, failed = await _read(fetched, settings, in_process)
        if failed is not None or read is None:
            break
        page = read
        items += page.items
        new = [each for each in page.episodes if not each.guid or each.guid not in guids]
        guids |= {each.guid for each in new}
        episodes += new
    return replace(first, episodes=tuple(episodes[:MAX_ITEMS]), items=items, cut=first.cut or len(episodes) > MAX_ITEMS)


async def _new_url(
    outbound: Outbound, url: str, at: str, feed: Feed, settings: PodcastSettings, in_process: InProcess
) -> str:
    """Where the feed says that it has gone, if the same podcast is there; many say so on the new feed as well."""
    if not feed.moved:
        return ""
    try:
        target = canonical(feed.moved)
        if target in (url, canonical(at)) or (url.startswith("https:") and target.startswith("http:")):
            return ""
        fetched = await outbound.fetch(target, headers={str(hdrs.ACCEPT): ACCEPT}, limits=limits_of(settings))
    except (BadUrl, OutboundError):
        return ""
    other = (await _read(fetched, settings, in_process))[0] if fetched.ok else None
    return target if other is not None and is_same(feed, {each.guid for each in other.episodes}, other.guid) else ""


def is_same(feed: Feed, guids: Collection[str], guid: str) -> bool:
    """Whether a feed is of the podcast that has this guid, or has these guids of episodes."""
    return bool(feed.guid and feed.guid == guid) or any(each.guid and each.guid in guids for each in feed.episodes)


def _move(url: str, fetched: Fetched) -> str:
    """Where the feed has gone for good: the end of redirects that are all permanent."""
    if not fetched.hops or any(hop.status not in _PERMANENT for hop in fetched.hops):
        return ""
    try:
        target = canonical(fetched.url)
    except BadUrl:
        return ""
    if target == url or (url.startswith("https:") and target.startswith("http:")):
        return ""
    return target


def _failed(outcome: Outcome, words: str, *, wait: float | None = None, took: float = 0.0) -> Result:
    return Result(answer=Answer(outcome=outcome, wait=wait), words=words, took=took)


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def too_slow(seconds: float) -> Result:
    """What a fetch came to that was cut off after so many seconds."""
    return _failed(Outcome.TOO_SLOW, f"it took longer than {seconds:g} s in all", took=seconds)


def _outcome_of(error: OutboundError) -> Outcome:
    if isinstance(error, Forbidden):
        return Outcome.BLOCKED
    if isinstance(error, TooLarge):
        return Outcome.TOO_LARGE
    if isinstance(error, TooSlow):
        return Outcome.TOO_SLOW
    if isinstance(error, BadAnswer):
        return Outcome.SERVER
    return Outcome.NETWORK


def charset_of(fetched: Fetched) -> str:
    """The charset that an answer says it is in, or ""."""
    for part in fetched.headers.get(hdrs.CONTENT_TYPE, "").split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'")[:40]
    return ""


def _time(seconds: float) -> str:
    for length, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
