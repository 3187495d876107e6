"""The calendar: what is live, what comes, what was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload
from yarl import URL

from ...pages import keys
from ...pages.kept import Reading
from ...pages.page import answer
from ...pages.requests import read_number
from ...pages.sitemaps import Place
from ...pages.templating import Positions, render
from .hints import EVENTS
from .models import Category, Event, Status

#: Past events on one page, and the most that are shown of the others.
PAST_SHOWN = 8
LIVE_SHOWN = 30
UPCOMING_SHOWN = 60

#: Nobody turns more pages; a robot that does would make the database count them.
MAX_PAGE = 500


@dataclass(frozen=True, slots=True)
class Calendar:
    """The calendar's rows. older: whether there is another page of past ones."""

    live: list[Event]
    upcoming: list[Event]
    past: list[Event]
    older: bool


async def count_events(session: AsyncSession) -> int:
    """How many events there are, for the sitemap."""
    return await session.scalar(select(func.count()).select_from(Event)) or 0


async def read_places(session: AsyncSession, skip: int, most: int) -> Sequence[Place]:
    """Where events are, the oldest first."""
    slugs = await session.scalars(select(Event.slug).order_by(Event.id).offset(skip).limit(most))
    return [(f"/events/{slug}", None) for slug in slugs]


_EVENTS = select(Event).options(joinedload(Event.category))


def _live(events: Select[Event]) -> Select[Event]:
    return events.where(Event.status == Status.LIVE).order_by(Event.starts_at.desc(), Event.id).limit(LIVE_SHOWN)


async def home(request: web.Request) -> web.StreamResponse:
    """GET /events, or / where it is home: with ?category=slug for one category, ?page=n for older past events."""
    page = read_number(request, "page", default=1, most=MAX_PAGE)

    async def make(reading: Reading) -> web.Response:
        return await _page(request, page, await reading.at(EVENTS))

    return await answer(request, ("calendar", request.query.get("category"), page), make)


async def read_live(session: AsyncSession) -> list[Event]:
    """What is live now, for the home page of the site."""
    return list(await session.scalars(_live(_EVENTS)))


async def _page(request: web.Request, page: int, positions: Positions) -> web.Response:
    async with request.app[keys.database].reading() as session:
        categories = list(await session.scalars(select(Category).order_by(Category.name)))
        chosen = None
        if "category" in request.query:
            chosen = next((one for one in categories if one.slug == request.query["category"]), None)
            if chosen is None:
                raise web.HTTPNotFound(text="There is no such category.")
        calendar = await _calendar(session, chosen, page)
    # Made of what was understood, not of the address that was asked for: everyone gets this page.
    query = ({"category": chosen.slug} if chosen else {}) | ({"page": str(page)} if page > 1 else {})
    context = {
        "source": str(URL(request.app[keys.homes]["events"]).with_query(query)),
        "positions": positions,
        "categories": categories,
        "chosen": chosen,
        "calendar": calendar,
        "page": page,
    }
    return render(request, "events/calendar.html", context)


async def _calendar(session: AsyncSession, category: Category | None, page: int) -> Calendar:
    events = _EVENTS
    if category is not None:
        events = events.where(Event.category_id == category.id)
    upcoming = events.where(Event.status == Status.SCHEDULED).order_by(Event.starts_at, Event.id).limit(UPCOMING_SHOWN)
    past = events.where(Event.status == Status.ENDED).order_by(Event.starts_at.desc(), Event.id.desc())
    # One more than is shown tells whether there are others.
    past = past.offset((page - 1) * PAST_SHOWN).limit(PAST_SHOWN + 1)
    ended = list(await session.scalars(past))
    return Calendar(
        live=list(await session.scalars(_live(events))),
        upcoming=list(await session.scalars(upcoming)),
        past=ended[:PAST_SHOWN],
        older=len(ended) > PAST_SHOWN and page < MAX_PAGE,
    )
