"""What others have picked: lists, the newest first, 15 a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...pages import keys
from ...pages.kept import Reading
from ...pages.page import answer
from ...pages.templating import render
from . import queries
from .hints import PICKS, PODCASTS
from .models import Pick, PickList, Podcast
from .queries import PAGE


@dataclass(frozen=True, slots=True)
class Listed:
    """Some lists. page, pages: which of how many."""

    lists: list[tuple[int, list[Any]]]
    page: int
    pages: int


def read_page(text: str | None) -> int:
    """The page that is asked for; what is no number is the first."""
    return int(text) if text and text.isascii() and text.isdigit() and 0 < len(text) < 9 and int(text) else 1


async def read_lists(session: AsyncSession, page: int) -> Listed:
    """A page of lists; one that is too high is the last. A list without podcasts is none."""
    total = await session.scalar(select(func.count()).select_from(PickList).where(PickList.size > 0)) or 0
    pages = max(1, -(-total // PAGE))
    page = min(page, pages)
    ids = list(
        await session.scalars(
            select(PickList.id)
            .where(PickList.size > 0)
            .order_by(PickList.modified_at.desc(), PickList.id.desc())
            .offset((page - 1) * PAGE)
            .limit(PAGE)
        )
    )
    rows = await session.execute(
        select(Pick.list_id, *queries.SHOWN)
        .join(Podcast, Podcast.id == Pick.podcast_id)
        .where(Pick.list_id.in_(ids), Podcast.is_listed)
        .order_by(Pick.list_id, Pick.place)
    )
    found: dict[int, list[Any]] = {id: [] for id in ids}
    for row in rows:
        found[row.list_id].append(row)
    return Listed(list(found.items()), page, pages)


async def show(request: web.Request) -> web.StreamResponse:
    """GET /podcasts/picks, with ?page=n for older ones."""
    page = read_page(request.query.get("page"))

    async def make(reading: Reading) -> web.Response:
        positions = await reading.at(PICKS)
        reading.follow(PODCASTS)
        async with request.app[keys.database].reading() as session:
            listed = await read_lists(session, page)
            recommended = await queries.recommended(session, [])
        context = {"positions": positions, "listed": listed, "recommended": recommended}
        return render(request, "podcasts/picks.html", context)

    return await answer(request, ("podcast picks", page), make)
