"""The API of the first Podcast Time, with its names and shapes: /api/podcasttime/…"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
from aiohttp import web
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import columns_of, now
from ...pages import keys
from ...pages.kept import Reading
from ...pages.page import answer
from ...pages.requests import json_response, read_fields
from . import jobs, picking, queries, search
from .finding import MAX_QUESTION, MOST
from .hints import PICKS, PODCASTS, podcast_channel
from .limits import check_adds
from .models import MAX_KEY, Episode, Feed, Podcast
from .picks import read_lists, read_page
from .queries import PAGE, PART, Options
from .shown import BadIds, item, items, pagination, read_ids, time_text
from .times import time_of

#: Episodes in one answer, the newest, and about how many bytes they may be.
EPISODES, _BYTES = 10_000, 8 * 1024**2

#: Of the lengths of several podcasts' episodes each has at least so many: one a day.
LENGTHS = 300

# Of a model's attributes all rows would be made in one go.
_EPISODE = columns_of(Episode)

#: Said where there are more episodes than an answer has.
_MORE = b',"more":true'

#: A podcast that was not read for so long is read again when somebody asks for it.
STALE = timedelta(days=7)

_SORTS: dict[str, Any] = {
    "id": Podcast.id,
    "name": func.lower(Podcast.name),
    "times_picked": Podcast.times_picked,
    "last_fetch": Podcast.fetched_at,
    "latest_episode": Podcast.latest_at,
    "created": Podcast.created_at,
    "modified": Podcast.modified_at,
    "episodes_count": Podcast.episodes,
    "error": Podcast.error,
}


def _bad(reason: str, what: str = "Correct the address and ask again.") -> web.Response:
    return json_response({"error": reason, "next": what}, status=400)


#: Makes an answer's data, or its JSON.
Make = Callable[[Reading, AsyncSession], Awaitable[dict[str, Any] | bytes]]


async def _kept(request: web.Request, key: tuple[Any, ...], channels: Sequence[str], make: Make) -> web.StreamResponse:
    """A JSON answer that is kept as long as its channels stand."""

    async def made(reading: Reading) -> web.Response:
        reading.follow(*channels)
        async with request.app[keys.database].reading() as session:
            data = await make(reading, session)
        body = data if isinstance(data, bytes) else orjson.dumps(data)
        return web.Response(body=body, content_type="application/json")

    return await answer(request, ("podcasttime", *key), made, personal=False)


async def find(request: web.Request) -> web.StreamResponse:
    """GET find?ids=1,2,3, find?q=, find?q=&submitted=true."""
    query = request.query
    if query.get("ids"):
        try:
            ids = read_ids(query["ids"])
        except BadIds as error:
            return _bad(str(error))
        return await _find_ids(request, ids)
    question = query.get("q", "").strip()
    if not question:
        return _bad("no ids or q", "Ask for ?q=name or ?ids=1,2,3.")
    if query.get("submitted"):
        return await _submitted(request, question)
    question = question[:MAX_QUESTION]
    ids, total = await search.by_name(request, question)

    async def make(reading: Reading, session: AsyncSession) -> dict[str, Any]:
        rows = await queries.by_ids(session, ids)
        return {"items": items(rows, now()), "total": total, "q": question}

    channels = [PODCASTS, *(podcast_channel(id) for id in ids)]
    return await _kept(request, ("find", question, tuple(ids)), channels, make)


async def _find_ids(request: web.Request, ids: list[int]) -> web.StreamResponse:
    async def make(reading: Reading, session: AsyncSession) -> dict[str, Any]:
        rows, at = await queries.by_ids(session, ids), now()
        found = []
        for row in rows:
            one = item(row, at)
            if _is_stale(row, at):
                one["_updating"] = True
            found.append(one)
        stale = [one["id"] for one in found if "_updating" in one]
        if stale:
            # Looked at, it shall be fresh; a feed that fails keeps its own time.
            await _refresh(request.app, stale)
        return {"items": found, "total": len(found), "q": None}

    return await _kept(request, ("ids", tuple(ids)), [podcast_channel(id) for id in ids], make)


def _is_stale(row: Any, at: datetime) -> bool:
    return not row.error and (row.fetched_at is None or row.fetched_at < at - STALE)


async def _refresh(app: web.Application, ids: Sequence[int]) -> None:
    at = time.time()
    async with app[keys.database].saving() as session:
        hosts = set(
            await session.scalars(
                select(Feed.host).where(Feed.podcast_id.in_(ids), Feed.failures == 0, Feed.next.is_not(None))
            )
        )
        await session.execute(
            update(Feed)
            .where(Feed.podcast_id.in_(ids), Feed.failures == 0, Feed.next > at)
            .values(next=at)
            .execution_options(synchronize_session=False)
        )
        await jobs.plan(session, app[keys.jobs], *sorted(hosts))


async def _submitted(request: web.Request, question: str) -> web.StreamResponse:
    check_adds(request)
    ids, words = await search.submitted(request.app, question)
    async with request.app[keys.database].reading() as session:
        rows = await queries.by_ids(session, ids)
    data: dict[str, Any] = {"items": items(rows, now())[:MOST], "total": len(rows), "q": question[:MAX_QUESTION]}
    return json_response(data | {"error": words} if words else data)


async def picked(request: web.Request) -> web.StreamResponse:
    """POST picked: ids, and picks, the key of the list that is changed; answers with the list's key."""
    fields = await read_fields(request)
    key = fields.get("picks") or None
    try:
        # Somebody who takes the last one out has an empty list.
        ids = [] if key and not fields.get("ids", "").strip() else read_ids(fields.get("ids", ""))
    except BadIds as error:
        return _bad(str(error), "Send ids=1,2,3.")
    if key is not None and (len(key) > MAX_KEY or not key.isalnum() or not key.isascii()):
        return _bad("there is no list with this key", "Leave out picks to begin a list.")
    check_adds(request)
    try:
        async with request.app[keys.database].saving() as session:
            found = await picking.pick(session, ids, key)
    except LookupError:
        return _bad("there is no list with this key", "Leave out picks to begin a list.")
    return json_response({"session_key": found})


async def picks_data(request: web.Request) -> web.StreamResponse:
    """GET picks/data/?page=n."""
    page = read_page(request.query.get("page"))

    async def make(reading: Reading, session: AsyncSession) -> dict[str, Any]:
        listed = await read_lists(session, page)
        found = [
            {
                "podcasts": [
                    {
                        "name": row.name,
                        "image": row.image_url or None,
                        "times_picked": row.times_picked,
                        "id": row.id,
                        "slug": row.slug,
                    }
                    for row in rows
                ],
                "id": id,
            }
            for id, rows in listed.lists
        ]
        return {"items": found, "pagination": pagination(listed.page, listed.pages)}

    return await _kept(request, ("picks", page), [PICKS, PODCASTS], make)


async def podcasts_data(request: web.Request) -> web.StreamResponse:
    """GET podcasts/data/?page=n&search=: 15 a page, those that are picked most first."""
    text, question = request.query.get("page", "1"), request.query.get("search", "").strip()[:MAX_QUESTION]
    if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text)):
        return _bad("page is a number from 1 on")
    page = int(text)

    async def make(reading: Reading, session: AsyncSession) -> dict[str, Any]:
        where: list[ColumnElement[bool]] = [Podcast.is_listed.is_(True)]
        if question:
            ids, _ = await search.by_name(request, question, 1000)
            where.append(Podcast.id.in_(ids))
        count = await session.scalar(select(func.count()).select_from(Podcast).where(*where)) or 0
        pages = -(-count // PAGE)
        if page > max(pages, 1):
            raise web.HTTPNotFound(text="There is no such page.")
        rows = await session.execute(
            select(*queries.SHOWN)
            .where(*where)
            .order_by(Podcast.times_picked.desc(), Podcast.id)
            .offset((page - 1) * PAGE)
            .limit(PAGE)
        )
        return {"count": count, "items": items(rows, now()), "pagination": pagination(page, pages)}

    return await _kept(request, ("podcasts", page, question), [PODCASTS, PICKS], make)


async def podcasts_table(request: web.Request) -> web.StreamResponse:
    """GET podcasts/table/?page_size=10&page=0&sorting=column:desc, where desc is true or false."""
    query = request.query
    try:
        size, page = (_count(query.get(name, default), name) for name, default in (("page_size", "10"), ("page", "0")))
        if not 1 <= size <= 100:
            raise ValueError("page_size is a number from 1 to 100")
        sorting = tuple(_sorting(text) for text in query.getall("sorting", [])[:5])
    except ValueError as error:
        return _bad(str(error))

    async def make(reading: Reading, session: AsyncSession) -> dict[str, Any]:
        count = await session.scalar(select(func.count()).select_from(Podcast).where(Podcast.is_listed)) or 0
        pages = max(1, -(-count // size))
        if page >= pages:
            raise web.HTTPNotFound(text="There is no such page.")
        order = [_SORTS[name].desc() if down else _SORTS[name] for name, down in sorting] or [
            Podcast.modified_at.desc()
        ]
        rows = await session.execute(
            select(*queries.SHOWN).where(Podcast.is_listed).order_by(*order, Podcast.id).offset(page * size).limit(size)
        )
        return {"rows": [_row(row) for row in rows], "pages": pages}

    return await _kept(request, ("table", size, page, sorting), [PODCASTS, PICKS], make)


def _row(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "last_fetch": time_text(row.fetched_at),
        "error": row.error or None,
        "times_picked": row.times_picked,
        "latest_episode": time_text(row.latest_at),
        "slug": row.slug,
        "created": time_text(row.created_at),
        "modified": time_text(row.modified_at),
        "episodes_count": row.episodes,
    }


def _count(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise ValueError(f"{name} is a number")
    return int(text)


def _sorting(text: str) -> tuple[str, bool]:
    name, _, down = text.partition(":")
    if name not in _SORTS or down not in {"true", "false", ""}:
        raise ValueError("sorting is column:true (the largest first) or column:false")
    return name, down == "true"


async def podcast_episodes(request: web.Request) -> web.StreamResponse:
    """GET podcasts/episodes/{id}: the newest first, those without a date last. more: whether there are others."""
    id = int(request.match_info["id"])

    async def make(reading: Reading, session: AsyncSession) -> bytes:
        podcast = await session.get(Podcast, id)
        if podcast is None:
            raise web.HTTPNotFound(text="There is no such podcast.")
        rows = await session.execute(
            select(*(_EPISODE[name] for name in ("seconds", "source", "published_at", "title", "summary", "guid")))
            .where(_EPISODE.podcast_id == id)
            .order_by(_EPISODE.at.desc().nulls_last(), _EPISODE.id)
            .limit(EPISODES + 1)
        )
        parts: list[bytes] = []
        count = size = 0
        for part in rows.partitions(PART):
            await asyncio.sleep(0)
            if size >= _BYTES:
                count = EPISODES + 1
                break
            found = [
                {
                    "duration": row.seconds,
                    "source": row.source or None,
                    "published": time_text(row.published_at),
                    "title": row.title,
                    "summary": row.summary or None,
                    # In a members' feed it is often the file's address, with what lets in whoever has it.
                    "guid": (row.guid or None) if podcast.is_listed else None,
                }
                for row in part[: EPISODES - count]
            ]
            count += len(part)
            if found:
                parts.append(orjson.dumps(found)[1:-1])
                size += len(parts[-1])
        if not count and podcast.fetched_at is None:
            await _refresh(request.app, [id])
        return b'{"episodes":[%b]%b}' % (b",".join(parts), _MORE if count > EPISODES else b"")

    return await _kept(request, ("episodes", id), [podcast_channel(id)], make)


async def general_stats(request: web.Request) -> web.StreamResponse:
    """GET general-stats/numbers."""

    async def make(reading: Reading, session: AsyncSession) -> dict[str, Any]:
        return {"numbers": await queries.general(session)}

    return await _kept(request, ("general",), [PODCASTS, PICKS], make)


async def stats(request: web.Request) -> web.StreamResponse:
    """GET stats?ids=: hours a day, week and month; zeros, and no dates, if nothing is known."""
    try:
        ids, options = read_ids(request.query.get("ids", "")), _options(request)
    except BadIds as error:
        return _bad(str(error), "Ask for ?ids=1,2,3.")

    async def make(reading: Reading, session: AsyncSession) -> dict[str, Any]:
        at = now()
        time = time_of((await queries.heard(session, ids, options, at)).values(), at)
        found: dict[str, Any] = {
            "per_day": time.per_day,
            "per_week": time.per_week,
            "per_month": time.per_month,
            "known": time.known,
            "episodes": time.count,
        }
        if time.per_day and time.oldest and time.newest:
            found |= {"min_date": time_text(time.oldest), "max_date": time_text(time.newest)}
        return found

    return await _kept(request, ("stats", tuple(ids), options), [podcast_channel(id) for id in ids], make)


async def stats_episodes(request: web.Request) -> web.StreamResponse:
    """GET stats/episodes?ids=: dates and lengths of the last 300 days, by podcast.

    Of many episodes the latest: 10,000 of all podcasts, but at least 300 of each. more: whether there are others.
    """
    try:
        ids, options = read_ids(request.query.get("ids", "")), _options(request)
    except BadIds as error:
        return _bad(str(error), "Ask for ?ids=1,2,3.")

    async def make(reading: Reading, session: AsyncSession) -> bytes:
        rows = await queries.by_ids(session, ids)
        latest = queries.Lengths(max(LENGTHS, EPISODES // max(len(rows), 1)))
        parts: dict[int, list[bytes]] = {row.id: [] for row in rows}
        async for id, points in latest.read(session, [*parts], options, now()):
            if points:
                each = [{"date": time_text(when), "duration": seconds} for when, seconds in points]
                parts[id].append(orjson.dumps(each)[1:-1])
        found = [
            b'{"name":%b,"episodes":[%b]%b}'
            % (orjson.dumps(row.name), b",".join(parts[row.id]), _MORE if row.id in latest.more else b"")
            for row in rows
        ]
        return b'{"episodes":[%b]}' % b",".join(found)

    channels = [podcast_channel(id) for id in ids]
    return await _kept(request, ("stats episodes", tuple(ids), options), channels, make)


def _options(request: web.Request) -> Options:
    query = request.query
    return Options(trailers=query.get("trailers") == "true", bonus=query.get("bonus", "true") == "true")
