"""POST /views: other servers tell us of what was called there. Each event gets a receipt once it is counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import hdrs, web
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ... import heads
from ...db.tables import now
from ...pages import keys
from ...pages.requests import json_response
from . import sources, store
from .callers import day_of
from .models import ViewEndpoint, ViewKey, ViewReceipt
from .receipts import Judged, judge
from .records import View
from .service import KEY, views
from .settings import ViewSettings
from .totals import Totals

_SAMPLE = 'Send {"events": [{"endpoint": "GET /api/songs/{id}", "status": 200, "ms": 12.5}]}.'

#: Seconds of judging after which others are served.
_PIECE = 0.0005

#: Lists and objects for each event that a body may have: its own, and what looks so in its texts. 87,000 empty lists
#: are decoded in 12 ms.
_OPENED = 20

#: How often a transaction is tried whose ids another request has just written.
_TRIES = 3


async def post(request: web.Request) -> web.StreamResponse:
    """POST /views, `{"events": […]}` with `Authorization: Bearer KEY`."""
    here = request.app[views]
    settings = request.app[keys.settings][ViewSettings]
    key = request.headers.get(hdrs.AUTHORIZATION, "")
    source = None
    if key[:7].lower() == "bearer " and len(key) < 200:
        async with request.app[keys.database].reading() as session:
            source = await sources.find(session, key[7:].strip())
    if source is None:
        here.received["refused"] += 1
        words = "Send a key of /manage/views as Authorization: Bearer KEY."
        return _refuse(401, "No key that is known.", words, {"WWW-Authenticate": 'Bearer realm="views"'})
    request[KEY] = source.name
    wait = here.limiter.take(source.name)
    if wait:
        here.received["refused"] += 1
        words = f"More than {settings.rate} requests a minute with this key."
        more = {"Retry-After": str(int(wait) + 1)}
        return _refuse(429, words, f"Wait {int(wait) + 1} s, and send more events in each.", more)
    events = await _read(request, settings)
    if isinstance(events, web.StreamResponse):
        here.received["refused"] += 1
        return events
    judged = await _judge(request, source, events)
    receipts = await _count(request, source, judged, settings)
    counted = sum(receipt["result"] == "counted" for receipt in receipts)
    here.received["counted"] += counted
    here.received["ignored"] += len(receipts) - counted
    return json_response({"counted": counted, "ignored": len(receipts) - counted, "receipts": receipts})


async def _read(request: web.Request, settings: ViewSettings) -> list[Any] | web.StreamResponse:
    if heads.content_type(request) != "application/json":
        return _refuse(415, "This is not JSON.", "Send JSON, with Content-Type: application/json.")
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() not in {"", "identity"}:
        return _refuse(415, "It is packed.", "Send it without a Content-Encoding.")
    try:
        async with asyncio.timeout(request.app[keys.body_timeout]):
            body = await request.clone(client_max_size=settings.body).read()
        if body.count(b"[") + body.count(b"{") > _OPENED * settings.events:
            words = f"It has too much in it for {settings.events} events."
            return _refuse(413, words, "Send them in several, as flat objects.")
        data = orjson.loads(body)
    except TimeoutError:
        request.app[keys.when_late]()
        request.content.feed_eof()
        return _refuse(408, "The body did not arrive in time.", "Send it again, or less of it.")
    except web.HTTPRequestEntityTooLarge:
        return _refuse(413, f"A body has at most {settings.body} bytes.", "Send the events in several.")
    except ValueError:
        return _refuse(400, "This is not JSON.", _SAMPLE)
    events = data.get("events") if isinstance(data, dict) else None
    if not isinstance(events, list) or not events:
        return _refuse(400, "There are no events.", _SAMPLE)
    if len(events) > settings.events:
        return _refuse(413, f"One request has at most {settings.events} events.", "Send them in several.")
    return events


async def _judge(request: web.Request, source: ViewKey, events: list[Any]) -> list[Judged]:
    here = request.app[views]
    at = time.time()
    # Of other days nobody knows the salt any more, nor should.
    salts = {day_of(at): here.counting.salt(at)}
    judged: list[Judged] = []
    began = time.perf_counter()
    for event in events:
        judged.append(judge(event, source=source.name, now=at, salts=salts, kinds=here.kinds))
        # A new agent takes as long as a hundred known ones: 100 events with such were a piece of 30 to 80 ms.
        if time.perf_counter() - began > _PIECE:
            await asyncio.sleep(0)
            began = time.perf_counter()
    return judged


async def _count(
    request: web.Request, source: ViewKey, judged: list[Judged], settings: ViewSettings
) -> list[dict[str, str]]:
    """Write those that are views, and say of each what became of it: nothing is counted that is not committed."""
    for attempt in range(_TRIES):
        try:
            async with request.app[keys.database].saving() as session:
                await sources.note(session, source)
                results = await _write(session, source, judged, settings)
        except IntegrityError:
            # Another request has just counted one of the same ids.
            if attempt == _TRIES - 1:
                raise
            continue
        break
    return [
        {"result": "counted" if not why else "ignored", **({"why": why} if why else {}), **({"id": id} if id else {})}
        for why, id in results
    ]


async def _write(
    session: AsyncSession, source: ViewKey, judged: list[Judged], settings: ViewSettings
) -> list[tuple[str, str | None]]:
    ids = sorted({each.event for each in judged if each.event})
    asked = select(ViewReceipt.event).where(ViewReceipt.key_id == source.id)
    there: set[str] = set()
    for part in store.in_parts(ids):
        there.update(await session.scalars(asked.where(ViewReceipt.event.in_(part))))
    room = await _room(session, source, judged, settings)
    results: list[tuple[str, str | None]] = []
    counted: list[View] = []
    receipts: list[dict[str, Any]] = []
    for each in judged:
        why = each.why
        if each.view is not None:
            if each.event and each.event in there:
                why = "counted before: its id is known"
            elif each.view.endpoint not in room:
                why = f"this source has {settings.endpoints} endpoints already: name routes, not addresses"
            else:
                counted.append(each.view)
                if each.event:
                    there.add(each.event)
                    receipts.append({"key_id": source.id, "event": each.event, "at": now()})
        results.append((why, each.id))
    totals = Totals()
    for views_of_part in store.in_parts(counted):
        totals.add(views_of_part)
        await asyncio.sleep(0)
    if totals:
        for some in store.in_parts(receipts):
            await session.execute(insert(ViewReceipt), some)
        await store.write(session, totals, {})
    return results


async def _room(session: AsyncSession, source: ViewKey, judged: list[Judged], settings: ViewSettings) -> set[str]:
    """Those of the endpoints that there are, or may still be."""
    wanted = list(dict.fromkeys(each.view.endpoint for each in judged if each.view is not None))
    of_source = ViewEndpoint.source == source.name
    known: set[str] = set()
    for part in store.in_parts(wanted):
        known.update(await session.scalars(select(ViewEndpoint.name).where(of_source, ViewEndpoint.name.in_(part))))
    count = await session.scalar(select(func.count()).select_from(ViewEndpoint).where(of_source)) or 0
    new = [name for name in wanted if name not in known]
    return known | set(new[: max(0, settings.endpoints - count)])


def _refuse(status: int, words: str, what: str, headers: Mapping[str, str] | None = None) -> web.Response:
    response = json_response({"error": words, "next": what}, status=status)
    response.headers.update(headers or {})
    return response
