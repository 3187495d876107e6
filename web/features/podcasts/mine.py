"""The page of one's podcasts: found, picked, and how long they take. What is picked is in its address."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from ...db.tables import now
from ...pages import keys
from ...pages.kept import Reading
from ...pages.page import answer
from ...pages.requests import clean_line, read_fields, redirect
from ...pages.templating import render_long
from . import plots, queries, search
from .addresses import BadUrl, canonical
from .finding import MAX_QUESTION
from .forecast import Forecast, forecast, weekly
from .hints import PICKS, PODCASTS, podcast_channel
from .limits import check_adds
from .opml import BadOpml, TooMany, read_opml, write_opml
from .queries import Options
from .shown import BadIds, item, read_ids
from .times import FASTEST, FORMULA, SLOWEST, WINDOW, Time, by_hour, time_of

#: Speeds as the form has them.
SPEEDS = tuple((f"{speed:g}", f"{speed:g}×") for speed in (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0))

#: Podcasts of a list that is read from another player at once.
MOST_IMPORTED = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an address asks for: podcasts, how they are counted, and what is looked for."""

    ids: tuple[int, ...] = ()
    speed: float = 1.0
    options: Options = field(default_factory=Options)
    question: str = ""

    @property
    def path(self) -> str:
        """The page's path, without what is looked for."""
        path = f"/podcasts/mine/{'-'.join(map(str, self.ids))}" if self.ids else "/podcasts"
        query: dict[str, str] = {}
        if self.speed != 1.0 or self.options != Options():
            query["speed"] = f"{self.speed:g}"
            if self.options.trailers:
                query["trailers"] = "true"
            if self.options.bonus:
                query["bonus"] = "true"
        return f"{path}?{urlencode(query)}" if query else path

    def having(self, ids: Sequence[int]) -> str:
        """The address with other podcasts."""
        return Wanted(tuple(ids), self.speed, self.options).path

    def without(self, ids: Sequence[int], id: int) -> str:
        """The address with these podcasts but one. Each of a list has such: a filter of the template took 20 ms."""
        return self.having([each for each in ids if each != id])


@dataclass(frozen=True, slots=True)
class Numbers:
    """How long the podcasts take: all, and each by its id in hours a week; what comes next; pictures."""

    time: Time
    each: dict[int, float]
    week: Forecast | None
    month: Forecast | None
    plot: plots.Plot | None
    heat: plots.Heat | None


def read_wanted(request: web.Request) -> Wanted:
    """What an address asks for; raises HTTPBadRequest with what is wrong."""
    query = request.query
    try:
        ids = read_ids(request.match_info["ids"], "-") if "ids" in request.match_info else []
        speed = float(query["speed"][:8]) if query.get("speed") else 1.0
        if not SLOWEST <= speed <= FASTEST:
            raise ValueError
    except BadIds as error:
        raise web.HTTPBadRequest(text=f"This is no list of podcasts: {error}.") from None
    except ValueError:
        raise web.HTTPBadRequest(text="The speed is a number from 1 to 3.") from None
    options = Options()
    if "speed" in query:
        options = Options(trailers=query.get("trailers") == "true", bonus=query.get("bonus") == "true")
    question = clean_line(query.get("q", ""), MAX_QUESTION)[:MAX_QUESTION]
    return Wanted(tuple(ids), round(speed, 2), options, question)


async def show(request: web.Request) -> web.StreamResponse:
    """GET /podcasts and /podcasts/mine/1-2-3, with ?q= for podcasts by name, and how they are played."""
    wanted = read_wanted(request)
    found = await search.by_name(request, wanted.question) if wanted.question else ([], 0)

    async def make(reading: Reading) -> web.Response:
        return await _page(request, reading, wanted, found)

    # What is found is part of what was understood: a name that changes makes it another page.
    return await answer(request, ("podcasts", wanted, tuple(found[0])), make)


async def start(request: web.Request) -> web.StreamResponse:
    """GET /podcasts/mine?id=1&id=2: the form of who has no script; leads to the list."""
    try:
        ids = read_ids(",".join(request.query.getall("id", [])))
    except BadIds:
        return redirect("/podcasts")
    return redirect(Wanted(tuple(ids)).path)


async def opml(request: web.Request) -> web.StreamResponse:
    """GET /podcasts/mine/1-2-3/podcasts.opml."""
    wanted = read_wanted(request)
    async with request.app[keys.database].reading() as session:
        rows = await queries.by_ids(session, wanted.ids)
    # A private feed's address lets in whoever has it.
    entries = [(row.name, row.url, row.link) for row in rows if row.is_listed]
    body = write_opml("My podcasts", entries, now())
    return web.Response(body=body, content_type="text/x-opml", headers={"Cache-Control": "no-cache"})


async def post(request: web.Request) -> web.StreamResponse:
    """POST /podcasts/add: a feed by its URL, or a list of another player (OPML), added to the ids of the form."""
    fields = await read_fields(request)
    try:
        ids = read_ids(fields.get("ids", ""), "-")
    except BadIds:
        ids = []
    try:
        entries = await _entries(fields)
    except (BadUrl, BadOpml) as error:
        raise web.HTTPBadRequest(text=f"Nothing was added: {error}.") from None
    check_adds(request, len(entries))
    for url, name in entries:
        ids.append(await search.add_url(request.app, url, name))
    return redirect(Wanted(tuple(dict.fromkeys(ids))[:100]).path)


async def _entries(fields: dict[str, str]) -> list[tuple[str, str]]:
    text = fields.get("opml", "").strip()
    if text:
        try:
            # A hundred hosts in other alphabets are 60 ms.
            found, _ = await asyncio.to_thread(read_opml, text.encode(errors="replace"), MOST_IMPORTED)
        except TooMany as error:
            raise BadOpml(f"{error}; `fanfare podcasts import` takes longer lists") from None
        if not found:
            raise BadOpml("the list has no podcasts")
        return [(entry.url, entry.name) for entry in found]
    return [(canonical(fields.get("url", "")), "")]


async def _page(request: web.Request, reading: Reading, wanted: Wanted, found: tuple[list[int], int]) -> web.Response:
    channels = [podcast_channel(id) for id in wanted.ids]
    positions = await reading.at(PICKS, *channels)
    reading.follow(PODCASTS, *(podcast_channel(id) for id in found[0]))
    at = now()
    async with request.app[keys.database].reading() as session:
        mine = await queries.by_ids(session, wanted.ids)
        results = await queries.by_ids(session, found[0]) if wanted.question else []
        numbers = None
        if mine:
            numbers = await read_numbers(session, mine, wanted, at)
        recommended = await queries.recommended(session, [row.id for row in mine])
        general = await queries.general(session)
    context: dict[str, Any] = {
        "positions": positions,
        "wanted": wanted,
        "channels": channels,
        "ids": [row.id for row in mine],
        "mine": mine,
        "items": {row.id: item(row, at) for row in [*mine, *results, *(each[1] for each in recommended)]},
        "numbers": numbers,
        "results": results,
        "total": found[1],
        "recommended": recommended,
        "general": general,
        "formula": FORMULA,
        "speeds": SPEEDS,
    }
    return await render_long(request, "podcasts/mine.html", context)


async def read_numbers(session: Any, mine: Sequence[Any], wanted: Wanted, at: datetime) -> Numbers:
    """All numbers of a list, in four statements; what is read does not grow with the podcasts' episodes."""
    ids = [row.id for row in mine]
    heard = await queries.heard(session, ids, wanted.options, at)
    weeks_ago = await queries.by_week(session, ids, wanted.options, at)
    hours = await queries.by_hour(session, ids, wanted.options, at)
    lengths: dict[int, list[tuple[datetime, int]]] = {id: [] for id in ids}
    latest = queries.Lengths(plots.most_points(len(ids)))
    async for podcast_id, points in latest.read(session, ids, wanted.options, at):
        lengths[podcast_id] += points
    history = [(week * 7.0, seconds / 3600 / wanted.speed) for week, seconds in weeks_ago.items()]
    firsts = [one.first for one in heard.values() if one.first is not None]
    weeks = min(43, int((at - min(firsts)).days // 7)) if firsts else 0
    by_week = weekly(history, weeks)
    names = {row.id: row.name for row in mine}
    # Thousands of points are drawn while others have their turn.
    named = [(names[id], lengths[id]) for id in ids]
    plot = await asyncio.to_thread(plots.plot, named, at - WINDOW, at, latest.most if latest.more else 0)
    return Numbers(
        time_of(heard.values(), at, wanted.speed),
        {id: time_of([one], at, wanted.speed).per_week for id, one in heard.items()},
        forecast(by_week, 1),
        forecast(by_week, 4),
        plot,
        plots.heat(by_hour(hours)),
    )
