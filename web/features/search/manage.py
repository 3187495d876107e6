"""/manage/search: what readers look for and don't find, and the synonym or the page that mends it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from aiohttp import web
from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.exc import IntegrityError

from ...db.tables import now
from ...pages import keys
from ...pages.requests import clean_line, read_fields, read_number, redirect
from ...pages.templating import render
from .asked import MAX_QUERY
from .intents import said as counted
from .models import MAX_URL, Pin, Search, Synonym
from .service import search
from .settings import SearchSettings
from .tokens import all_parts
from .words import MOST

#: Rows of each table, and the days that may be looked back.
SHOWN = 20
MAX_DAYS = 366


async def show(request: web.Request) -> web.StreamResponse:
    """GET /manage/search, with ?days=."""
    return await _page(request, read_number(request, "days", default=30, most=MAX_DAYS))


async def post_synonym(request: web.Request) -> web.StreamResponse:
    """POST /manage/search/synonyms: words that mean others too, at once on every worker."""
    fields = await read_fields(request)
    said, means = (_words(fields.get(name, "")) for name in ("said", "means"))
    if not said or not means or said == means:
        return await _page(request, 30, "A synonym needs words that are said, and others that they mean.", 422)
    return await _save(request, Synonym(said=said, means=means), Synonym, said)


async def post_pin(request: web.Request) -> web.StreamResponse:
    """POST /manage/search/pins: a page that comes first for a query."""
    fields = await read_fields(request)
    said = counted(clean_line(fields.get("said", ""), MAX_QUERY))
    url = clean_line(fields.get("url", ""), MAX_URL)
    title = clean_line(fields.get("title", ""), MAX_URL) or url
    if not said or not url.startswith("/") or url.startswith("//") or len(url) > MAX_URL:
        return await _page(request, 30, "A pin needs a query, and an address of this site such as /posts/redis.", 422)
    return await _save(request, Pin(said=said, url=url, title=title[:MAX_URL]), Pin, said)


async def post_remove_synonym(request: web.Request) -> web.StreamResponse:
    """POST /manage/search/synonyms/{id}/remove."""
    return await _remove(request, Synonym)


async def post_remove_pin(request: web.Request) -> web.StreamResponse:
    """POST /manage/search/pins/{id}/remove."""
    return await _remove(request, Pin)


async def _remove(request: web.Request, model: Any) -> web.StreamResponse:
    async with request.app[keys.database].saving() as session:
        await session.execute(delete(model).where(model.id == int(request.match_info["id"])))
    return redirect("/manage/search")


async def _save(request: web.Request, row: Synonym | Pin, model: type[Any], said: str) -> web.StreamResponse:
    try:
        async with request.app[keys.database].saving() as session:
            if (await session.scalar(select(func.count()).select_from(model)) or 0) >= MOST:
                return await _page(request, 30, f"There are {MOST} of these already. Remove some first.", 422)
            # The newest word counts.
            await session.execute(delete(model).where(model.said == said))
            session.add(row)
    except IntegrityError:
        return await _page(request, 30, "Somebody else said the same just now.", 409)
    return redirect("/manage/search")


def _words(text: str) -> str:
    """Words as they are compared: those of its stream."""
    line = clean_line(text, MAX_QUERY)[:MAX_QUERY]
    return " ".join(word for parts in all_parts(line) for word in parts.stream)


async def _page(request: web.Request, days: int, error: str | None = None, status: int = 200) -> web.Response:
    since = now() - timedelta(days=days)
    slow = request.app[keys.settings][SearchSettings].slow * 1000
    async with request.app[keys.database].reading() as session:
        context: dict[str, Any] = {
            "top": (await session.execute(_top(since))).all(),
            "missed": (await session.execute(_top(since, Search.total == 0))).all(),
            "unopened": (await session.execute(_top(since, Search.total > 0, clicked=False))).all(),
            "slow": (await session.execute(_slow(since, slow))).all(),
            "synonyms": (await session.execute(select(Synonym).order_by(Synonym.said).limit(MOST))).scalars().all(),
            "pins": (await session.execute(select(Pin).order_by(Pin.said).limit(MOST))).scalars().all(),
            "searches": await session.scalar(select(func.count()).select_from(Search).where(Search.at >= since)) or 0,
        }
    state = request.app[search].indexer.state
    context |= {"days": days, "error": error, "slow_ms": slow, "state": state, "max_query": MAX_QUERY}
    return render(request, "search/manage.html", context, status=status, cache="no-store")


def _top(since: Any, *conditions: ColumnElement[bool], clicked: bool | None = None) -> Select[Any]:
    count, clicks = func.count().label("count"), func.sum(Search.clicks).label("clicks")
    statement = select(
        Search.text, count, clicks, func.max(Search.total).label("total"), func.avg(Search.milliseconds).label("took")
    )
    statement = statement.where(Search.at >= since, *conditions).group_by(Search.text)
    if clicked is False:
        statement = statement.having(func.sum(Search.clicks) == 0)
    return statement.order_by(count.desc(), Search.text).limit(SHOWN)


def _slow(since: Any, milliseconds: float) -> Select[Any]:
    slowest = func.max(Search.milliseconds).label("took")
    statement: Any = select(Search.text, func.count().label("count"), slowest)
    statement = statement.where(Search.at >= since, Search.milliseconds >= milliseconds).group_by(Search.text)
    found: Select[Any] = statement.order_by(slowest.desc(), Search.text).limit(SHOWN)
    return found
