"""The log of a project: every delivery that was verified, what was found in it and why not, and each mail's state."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ...pages import keys
from ...pages.requests import read_number, redirect
from ...pages.templating import read_positions, render
from .access import project_of
from .forges import BY_NAME
from .hints import project_channel
from .jobs import PUSH
from .models import HeadsupDelivery, HeadsupMessage, HeadsupNotice, HeadsupProject

#: Deliveries on a page.
_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Shown:
    """A delivery with what became of it."""

    row: HeadsupDelivery
    forge: str
    found: list[dict[str, Any]]
    notices: list[HeadsupNotice]

    @property
    def can_replay(self) -> bool:
        """Whether it may be looked at again: also when there was no rule, or none that found anything."""
        return bool(self.row.kept) and self.row.state == "done"

    @property
    def refs(self) -> list[str]:
        """What was pushed, in short."""
        names = [str(each.get("ref", "")) for each in self.found]
        return list(
            dict.fromkeys(name.removeprefix("refs/heads/").removeprefix("refs/tags/") for name in names if name)
        )


async def show(request: web.Request) -> web.StreamResponse:
    """GET /headsup/{project}/log, with ?before=id for older ones."""
    before = read_number(request, "before", default=0, most=2**31 - 1)
    positions, project, shown = await _read(request, before=before)
    older = f"?before={shown[-1].row.id}" if len(shown) > _SHOWN else ""
    if older:
        older = f"?before={shown[_SHOWN - 1].row.id}"
    context = {
        "positions": positions,
        "channel": project_channel(project.id),
        "source": request.path_qs,
        "project": project,
        "deliveries": shown[:_SHOWN],
        "older": older,
        "before": before,
    }
    return render(request, "headsup/log.html", context, cache="no-store")


async def show_one(request: web.Request) -> web.StreamResponse:
    """GET /headsup/{project}/log/{delivery}."""
    positions, project, shown = await _read(request, only=int(request.match_info["delivery"]))
    if not shown:
        raise web.HTTPNotFound(text="There is no such delivery, or it is not kept any more.")
    context = {
        "positions": positions,
        "channel": project_channel(project.id),
        "source": request.path,
        "project": project,
        "delivery": shown[0],
    }
    return render(request, "headsup/delivery.html", context, cache="no-store")


async def post_replay(request: web.Request) -> web.StreamResponse:
    """POST /headsup/{project}/log/{delivery}/replay: tell it again, whatever was told before."""
    async with request.app[keys.database].saving() as session:
        project = await project_of(session, request)
        delivery = await session.get(HeadsupDelivery, int(request.match_info["delivery"]))
        if delivery is None or delivery.project_id != project.id:
            raise web.HTTPNotFound(text="There is no such delivery.")
        if not delivery.kept:
            raise web.HTTPConflict(text="Its payload is not kept.")
        if delivery.state == "unreadable":
            raise web.HTTPConflict(text="It can't be read, however often it is tried.")
        # Who presses twice gets it once.
        if delivery.state != "queued":
            await request.app[keys.jobs].add(session, PUSH, {"delivery": delivery.id, "replay": True})
            delivery.state = "queued"
    return redirect(f"/headsup/{project.id}/log/{delivery.id}")


async def _read(request: web.Request, *, before: int = 0, only: int = 0) -> tuple[Any, HeadsupProject, list[Shown]]:
    channel = project_channel(int(request.match_info["project"]))
    positions = await read_positions(request.app[keys.publisher], channel)
    async with request.app[keys.database].reading() as session:
        project = await project_of(session, request)
        asked = select(HeadsupDelivery).where(HeadsupDelivery.project_id == project.id)
        if only:
            asked = asked.where(HeadsupDelivery.id == only)
        if before:
            asked = asked.where(HeadsupDelivery.id < before)
        rows = list(await session.scalars(asked.order_by(HeadsupDelivery.id.desc()).limit(_SHOWN + 1)))
        return positions, project, await _with_notices(session, rows)


async def _with_notices(session: AsyncSession, rows: Sequence[HeadsupDelivery]) -> list[Shown]:
    asked = (
        select(HeadsupMessage.delivery_id, HeadsupNotice)
        .join(HeadsupNotice, HeadsupNotice.message_id == HeadsupMessage.id)
        .where(HeadsupMessage.delivery_id.in_([row.id for row in rows]))
        .order_by(HeadsupNotice.id)
    )
    notices: dict[int, list[HeadsupNotice]] = {}
    for delivery_id, notice in await session.execute(asked):
        notices.setdefault(delivery_id, []).append(notice)
    return [
        Shown(
            row,
            BY_NAME[row.forge].label if row.forge in BY_NAME else row.forge,
            json.loads(row.found),
            notices.get(row.id, []),
        )
        for row in rows
    ]
