"""The site's own WebSub hub: who asks to be told of a feed is asked whether they meant it, and is told by jobs.

A save that readers see adds one job in its transaction. That makes each feed that somebody follows, and adds a delivery
for each subscriber who has not had it; a delivery is tried again for hours, each time with the feed as it is then.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from aiohttp import hdrs, web
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from ...pages import keys
from ...pages.kept import Reading
from ...pages.limits import Limiter
from ...pages.origin import origin_of
from ...pages.page import Page, pages
from ...pages.requests import address_of, read_fields
from ...services.jobs.kinds import Every, GiveUp, Job, Kind, TryAgain
from ...services.jobs.rows import New
from ...services.outbound import Fetched, Forbidden, Limits, OutboundError
from . import feeds, websub
from .jobs import DELIVER
from .models import Subscription
from .queries import read_categories
from .settings import BlogSettings
from .websub import Ask, BadAsk

limiter: web.AppKey[Limiter] = web.AppKey("websub limiter", Limiter)

#: What a callback may cost us.
_LIMITS = Limits(wire=64 * 1024, body=64 * 1024, connect=5.0, gap=10.0, total=20.0, redirects=3)
_DAY = 86400.0


def setup(app: web.Application) -> None:
    """Put what the view needs into the application."""
    app[limiter] = Limiter(app[keys.settings][BlogSettings].websub_rate, 60.0)


async def post(request: web.Request) -> web.StreamResponse:
    """POST /websub: 202, and the callback is asked whether it meant it."""
    settings = request.app[keys.settings][BlogSettings]
    if not settings.websub_subscribers:
        raise web.HTTPNotFound(text="This site has no hub of its own.")
    if wait := request.app[limiter].take(address_of(request)):
        head = {hdrs.RETRY_AFTER: str(int(wait) + 1)}
        return web.Response(status=429, text="Too many requests: try again later.\n", headers=head)
    lease = int(settings.websub_lease)
    try:
        ask = websub.read_ask(await read_fields(request), default_lease=lease, max_lease=3 * lease)
        origin, address = websub.parse_topic(ask.topic)
        if origin != origin_of(request):
            raise BadAsk("hub.topic is of another site.")
        async with request.app[keys.database].saving() as session:
            if ask.mode == "subscribe":
                known = await read_categories(session, address.names) if address.names else {}
                if any(name not in known for name in address.names):
                    raise BadAsk("hub.topic is of a category that is not there.")
                if await _is_full(session, ask, settings.websub_subscribers):
                    return web.Response(status=503, text="There are as many subscribers as may be.\n")
            await request.app[keys.jobs].add(session, VERIFY, asdict(ask), key=f"websub verify:{ask.key}")
    except BadAsk as error:
        return web.Response(status=400, text=f"{error}\n")
    return web.Response(status=202, text="The callback is asked whether it meant it.\n")


async def _is_full(session: AsyncSession, ask: Ask, most: int) -> bool:
    count = await session.scalar(select(func.count()).select_from(Subscription)) or 0
    if count < most:
        return False
    return await session.scalar(select(Subscription.id).where(Subscription.key == ask.key)) is None


async def _verify(job: Job) -> None:
    ask: Ask = job.data
    challenge = secrets.token_urlsafe(32)
    answer = await _fetch(job, websub.verification(ask, challenge))
    if answer.status >= 500:
        raise TryAgain(f"the callback answers {answer.status}", answer.retry_after)
    # The body is the challenge and nothing else (5.3.1).
    if not answer.ok or not secrets.compare_digest(answer.body, challenge.encode()):
        raise GiveUp(f"the callback did not mean it: it answers {answer.status}")
    told = "" if ask.mode == "unsubscribe" else (await _feed(job.app, ask.topic, anew=True)).tag
    async with job.saving() as session:
        await session.execute(delete(Subscription).where(Subscription.key == ask.key))
        if ask.mode == "subscribe":
            until = now() + timedelta(seconds=ask.lease)
            row = Subscription(
                key=ask.key, topic=ask.topic, callback=ask.callback, secret=ask.secret, until=until, told=told
            )
            session.add(row)


async def _tell(job: Job) -> None:
    """Make the feeds that somebody follows, and a delivery for each who has not had one."""
    database, moment = job.app[keys.database], now()
    async with database.reading() as session:
        topics = list(await session.scalars(select(Subscription.topic).where(Subscription.until > moment).distinct()))
    tags = {}
    for topic in topics:
        try:
            tags[topic] = (await _feed(job.app, topic, anew=True)).tag
        except (BadAsk, web.HTTPException):
            # Its category is gone.
            continue
    async with job.saving() as session:
        for topic, tag in tags.items():
            behind = select(Subscription.id).where(
                Subscription.topic == topic, Subscription.told != tag, Subscription.until > moment
            )
            new = [
                New("websub delivery", {"id": each, "tag": tag}, key=f"websub:{each}", due=job.created)
                for each in await session.scalars(behind)
            ]
            await job.app[keys.jobs].add_many(session, new)


async def _deliver(job: Job) -> None:
    id, tag = job.data
    async with job.app[keys.database].reading() as session:
        found = await session.get(Subscription, id)
    if found is None or found.until <= now():
        return
    try:
        page = await _feed(job.app, found.topic)
        if page.tag != tag:
            # This process may not have heard of the save yet; or there was another one, and it has that too.
            page = await _feed(job.app, found.topic, anew=True)
    except (BadAsk, web.HTTPException) as error:
        raise GiveUp("the feed is gone") from error
    origin, _ = websub.parse_topic(found.topic)
    head = {"Content-Type": page.content_type, "Link": websub.links(origin, found.topic)}
    if found.secret:
        head["X-Hub-Signature"] = websub.signature(found.secret, page.body)
    answer = await _fetch(job, found.callback, method=hdrs.METH_POST, headers=head, data=page.body)
    if answer.status == 410:
        # It will not come back (7).
        async with job.saving() as session:
            await session.execute(delete(Subscription).where(Subscription.id == id))
        return
    if not answer.ok:
        raise TryAgain(f"the callback answers {answer.status}", answer.retry_after)
    async with job.saving() as session:
        await session.execute(update(Subscription).where(Subscription.id == id).values(told=page.tag))


async def _forget(job: Job) -> None:
    async with job.saving() as session:
        await session.execute(delete(Subscription).where(Subscription.until <= now()))


async def _feed(app: Any, topic: str, *, anew: bool = False) -> Page:
    """A feed as it is given to readers."""
    origin, address = websub.parse_topic(topic)

    async def make(reading: Reading) -> Page:
        response = await feeds.make_list(app, reading, address, origin)
        assert isinstance(response.body, bytes)
        return Page(response.body, response.headers[hdrs.CONTENT_TYPE])

    found: Page = (await app[pages].get(feeds.key_of(address, origin), make, anew=anew))[0]
    return found


async def _fetch(job: Job, url: str, **options: Any) -> Fetched:
    try:
        found: Fetched = await job.app[keys.outbound].fetch(url, limits=_LIMITS, **options)
    except Forbidden as error:
        raise GiveUp(str(error)) from None
    except OutboundError as error:
        raise TryAgain(str(error)) from None
    return found


def _parse_ask(data: Any) -> Ask:
    return Ask(**data)


def _parse_delivery(data: Any) -> tuple[int, str]:
    return int(data["id"]), str(data["tag"])


VERIFY = Kind(name="websub verify", run=_verify, parse=_parse_ask, limit=30, attempts=4, first=10.0, at_once=10)
KINDS = (
    VERIFY,
    Kind(name=DELIVER, run=_tell, limit=300, at_once=1),
    # Six hours in all: a subscriber that comes back later asks for the feed.
    Kind(name="websub delivery", run=_deliver, parse=_parse_delivery, limit=30, attempts=12, first=10.0, at_once=20),
    Kind(name="websub leases", run=_forget),
)
PERIODIC = (Every(name="websub leases", kind="websub leases", seconds=_DAY / 24),)
