"""Feeds that tell us themselves: WebSub (w3.org/TR/websub). Where a feed names a hub we ask it to tell us of changes.

What a hub sends is only a hint: the feed is fetched soon, as if its time had come. While a subscription holds the
feed is asked once a week besides, in case the hub has fallen silent. Without SITE_URL nobody could reach us, and no
hub is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from urllib.parse import urlencode

from aiohttp import hdrs, web
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...pages import keys
from ...pages.requests import read_body
from ...pages.settings import PageSettings
from ...services.jobs.kinds import Every, Job, Kind, TryAgain
from ...services.jobs.rows import New
from ...services.outbound import Limits, OutboundError
from . import jobs
from .jobs import PUSH
from .models import Feed
from .schedule import DAY

#: Seconds of a subscription that are asked for, and the most that are believed.
_LEASE, _LONGEST = 10 * DAY, 30 * DAY

#: A subscription is renewed when it ends within so many seconds.
_SOON = DAY

#: Seconds between two fetches that a hub can cause.
_PAUSE = 60.0

#: Subscriptions that are renewed at once.
_MOST = 100

#: Bytes of what a hub sends: the whole feed, if it likes. A longer one is fetched in its own time.
_MOST_BODY = 8 * 1024 * 1024

_LIMITS = Limits(wire=64 * 1024, body=256 * 1024, total=20.0)


def callback_path(feed: Feed) -> str:
    """Where the hub of a feed reaches us; nobody else knows it."""
    return f"/podcasts/push/{feed.podcast_id}/{_token(feed.secret)}"


def _token(secret: str) -> str:
    return hashlib.blake2b(secret.encode(), digest_size=16).hexdigest()


async def _renew(job: Job) -> None:
    at = time.time()
    soon = select(Feed.podcast_id).where(Feed.pushed_until > at, Feed.pushed_until < at + _SOON, Feed.next.is_not(None))
    async with job.app[keys.database].reading() as session:
        ids = list(await session.scalars(soon.limit(_MOST)))
    async with job.saving() as session:
        await job.app[keys.jobs].add_many(session, [New(PUSH, id, key=f"{PUSH}:{id}") for id in ids])


async def _subscribe(job: Job) -> None:
    site, database = job.app[keys.settings][PageSettings].url, job.app[keys.database]
    if not site:
        return
    async with database.saving() as session:
        feed = await session.get(Feed, job.data)
        if feed is None or not feed.hub or not feed.topic or feed.next is None:
            return
        feed.secret = feed.secret or secrets.token_hex(20)
    fields = {
        "hub.mode": "subscribe",
        "hub.topic": feed.topic,
        "hub.callback": site.rstrip("/") + callback_path(feed),
        "hub.lease_seconds": str(int(_LEASE)),
        "hub.secret": feed.secret,
    }
    try:
        answer = await job.app[keys.outbound].fetch(
            feed.hub,
            method=hdrs.METH_POST,
            headers={str(hdrs.CONTENT_TYPE): "application/x-www-form-urlencoded"},
            data=urlencode(fields).encode(),
            limits=_LIMITS,
        )
    except OutboundError as error:
        raise TryAgain(str(error)) from None
    if not answer.ok:
        raise TryAgain(f"the hub says {answer.status}")


async def verify(request: web.Request) -> web.StreamResponse:
    """GET /podcasts/push/{id}/{token}: a hub asks whether we meant it (§5.3), or says that it won't."""
    query = request.query
    async with request.app[keys.database].saving() as session:
        feed = await _feed(request, session)
        if query.get("hub.topic") != feed.topic:
            raise web.HTTPNotFound(text="This is no topic of ours.")
        if query.get("hub.mode") == "denied":
            feed.pushed_until = 0.0
            return web.Response(text="")
        if query.get("hub.mode") != "subscribe" or not query.get("hub.challenge"):
            raise web.HTTPNotFound(text="We have not asked for that.")
        lease = query.get("hub.lease_seconds", "")
        seconds = float(lease[:10]) if lease.isascii() and lease.isdigit() else _LEASE
        feed.pushed_until = time.time() + min(seconds, _LONGEST)
    return web.Response(text=query["hub.challenge"][:1000])


async def take(request: web.Request) -> web.StreamResponse:
    """POST /podcasts/push/{id}/{token}: a hub says that a feed has changed; signed, or nothing happens (§8)."""
    async with request.app[keys.database].reading() as session:
        secret = (await _feed(request, session)).secret
    # Of whoever has no address of ours no body is read.
    body = await read_body(request, _MOST_BODY)
    # Hashing lets others go on, in a thread.
    if not await asyncio.to_thread(is_signed, request.headers.get("X-Hub-Signature", ""), secret, body):
        # The same answer to whoever can't sign: it learns nothing.
        return web.Response(status=202)
    async with request.app[keys.database].saving() as session:
        feed = await _feed(request, session)
        if feed.next is not None:
            at = time.time() + (_PAUSE if feed.taken > time.time() else 0.0)
            await session.execute(
                update(Feed)
                .where(Feed.podcast_id == feed.podcast_id, Feed.next > at)
                .values(next=at)
                .execution_options(synchronize_session=False)
            )
            await jobs.plan(session, request.app[keys.jobs], feed.host)
    return web.Response(status=202)


def is_signed(signature: str, secret: str, body: bytes) -> bool:
    """Whether a hub that knows the secret has sent this."""
    method, _, given = signature.partition("=")
    if method not in {"sha1", "sha256", "sha384", "sha512"} or not secret:
        return False
    # As bytes: of text that is not ASCII `compare_digest` raises TypeError.
    right = hmac.new(secret.encode(), body, method).hexdigest().encode()
    return hmac.compare_digest(right, given.strip().lower().encode(errors="replace"))


async def _feed(request: web.Request, session: AsyncSession) -> Feed:
    feed = await session.get(Feed, int(request.match_info["id"]))
    token = request.match_info["token"].encode(errors="replace")
    if feed is None or not feed.secret or not hmac.compare_digest(_token(feed.secret).encode(), token):
        raise web.HTTPNotFound(text="There is no such subscription.")
    return feed


def _id(data: object) -> int:
    if not isinstance(data, int):
        raise TypeError("a subscription has the id of its podcast")
    return data


KINDS = (
    Kind(name=PUSH, run=_subscribe, parse=_id, limit=60.0, attempts=4, first=60.0, at_once=2),
    Kind(name="podcast pushes", run=_renew, at_once=1),
)

PERIODIC = (Every(name="podcast pushes", kind="podcast pushes", seconds=3600.0, offset=1800.0),)
