"""/manage/views: what was called by whom and how long it took, and what nobody calls. As JSON and CSV too."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
from aiohttp import hdrs, web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from hub.files import ROOT

from ...db.tables import now as utc_now
from ...pages import keys
from ...pages.charts import Chart, line
from ...pages.requests import read_fields, read_number, redirect
from ...pages.sorting import Sorting
from ...pages.templating import render
from . import queries, sources
from .endpoints import Described, described
from .kinds import NAMES, Kind
from .models import ViewEndpoint, ViewKey
from .queries import CLASSES, UNUSED_DAYS, Report, Row
from .service import CHANNEL, views
from .settings import ViewSettings

PATH = "/manage/views"
MAX_DAYS = 400
PERIODS = (1, 7, 30, 90)

#: Minutes of the live line, and rows of the page's table; JSON and CSV have all.
LIVE = 60
SHOWN = 200

_OWN = ROOT / "docs" / "openapi.json"
_MOST_FILE = 16 * 1024 * 1024

_KEYS = {
    "name": lambda row: (row.source, row.name.partition(" ")[2], row.name),
    "calls": lambda row: row.calls,
    "callers": lambda row: row.callers,
    "p50": lambda row: row.p50 or 0.0,
    "p95": lambda row: row.p95 or 0.0,
    "failed": lambda row: row.failed,
    "seen": lambda row: row.last,
}


def known_endpoints(settings: ViewSettings) -> tuple[list[Described], str]:
    """What the site's file and one's own describe; and what is wrong with the latter, "" if nothing is."""
    found, problem = [], ""
    for path in (_OWN, settings.openapi):
        if path is None or (path == _OWN and not path.is_file()):
            continue
        try:
            found += _described(path, path.stat().st_mtime)
        except (OSError, ValueError) as error:
            problem = f"VIEWS_OPENAPI: {path} {getattr(error, 'strerror', None) or error}"
    return found, problem


@lru_cache(maxsize=4)
def _described(path: Path, changed: float) -> list[Described]:
    if path.stat().st_size > _MOST_FILE:
        raise ValueError(f"is longer than {_MOST_FILE} bytes")
    try:
        return described(orjson.loads(path.read_bytes()))
    except orjson.JSONDecodeError:
        raise ValueError("is not JSON") from None


async def show(request: web.Request) -> web.StreamResponse:
    """GET /manage/views, with ?days= and ?sort=."""
    return await _page(request)


async def now(request: web.Request) -> web.StreamResponse:
    """GET /manage/views/now: the last hour, which the page's live line fetches."""
    position = await request.app[keys.publisher].position(CHANNEL) or ""
    async with request.app[keys.database].reading() as session:
        live = await _live(session)
    context = {"live": live, "positions": {CHANNEL: position}, "channel": CHANNEL, "source": f"{PATH}/now"}
    return render(request, "views/now.html", context, cache="no-store")


async def show_one(request: web.Request) -> web.StreamResponse:
    """GET /manage/views/{id}: one endpoint, with ?days=."""
    days = read_number(request, "days", default=30, most=MAX_DAYS)
    id = int(request.match_info["id"])
    async with request.app[keys.database].reading() as session:
        row = await session.scalar(select(ViewEndpoint).where(ViewEndpoint.id == id))
        if row is None:
            raise web.HTTPNotFound(text="Nobody has called such an endpoint.")
        found = await queries.report(session, days, endpoint=id)
        statuses = await queries.statuses(session, id, days)
        named = await queries.named_callers(session, id, days)
    context = {
        "endpoint": row,
        "row": found.rows[0] if found.rows else None,
        "by_kind": chart_of(found),
        "statuses": statuses,
        "named": named,
        "days": days,
        "all_periods": PERIODS,
        "names": NAMES,
    }
    return render(request, "views/endpoint.html", context, cache="no-store")


async def as_json(request: web.Request) -> web.StreamResponse:
    """GET /manage/views.json, with ?days=."""
    found, unused, since, _ = await _look(request)
    data = to_json(found, unused, since)
    return web.Response(
        body=orjson.dumps(data), content_type="application/json", headers={hdrs.CACHE_CONTROL: "no-store"}
    )


async def as_csv(request: web.Request) -> web.StreamResponse:
    """GET /manage/views.csv, with ?days=."""
    found, _, _, _ = await _look(request)
    headers = {
        hdrs.CACHE_CONTROL: "no-store",
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="views-{found.days}-days.csv"',
    }
    return web.Response(text=to_csv(found.rows), content_type="text/csv", charset="utf-8", headers=headers)


async def post_key(request: web.Request) -> web.StreamResponse:
    """POST /manage/views/keys: a source, whose key is shown this once."""
    name = (await read_fields(request)).get("name", "").strip()
    try:
        key = await sources.make(request.app[keys.database], name)
    except sources.NoSource as error:
        return await _page(request, {"error": str(error), "given": name[:100]}, 422)
    return await _page(request, {"key": key, "made": name})


async def post_remove_key(request: web.Request) -> web.StreamResponse:
    """POST /manage/views/keys/{id}/remove."""
    async with request.app[keys.database].saving() as session:
        await sources.remove(session, int(request.match_info["id"]))
    return redirect(f"{PATH}#sources")


async def _look(
    request: web.Request,
) -> tuple[Report, list[tuple[Described, datetime | None]], datetime | None, str]:
    days = read_number(request, "days", default=30, most=MAX_DAYS)
    known, problem = known_endpoints(request.app[keys.settings][ViewSettings])
    async with request.app[keys.database].reading() as session:
        found = await queries.report(session, days)
        unused = await queries.unused_endpoints(session, known)
    return found, unused, found.since, problem


async def _page(request: web.Request, more: Mapping[str, Any] | None = None, status: int = 200) -> web.Response:
    position = await request.app[keys.publisher].position(CHANNEL) or ""
    found, unused, since, problem = await _look(request)
    sorting = Sorting.read(request.query.get("sort"), _KEYS, Sorting("calls", down=True))
    async with request.app[keys.database].reading() as session:
        live = await _live(session)
        known = list(await session.scalars(select(ViewKey).order_by(ViewKey.name).limit(sources.MOST)))
    here = request.app[views]
    context: dict[str, Any] = {
        "report": found,
        "rows": sorting.sort(found.rows, _KEYS[sorting.by])[:SHOWN],
        "columns": _columns(sorting, found.days),
        "by_kind": chart_of(found),
        "live": live,
        "unused": unused,
        "described": len(known_endpoints(request.app[keys.settings][ViewSettings])[0]),
        "since": since,
        "counted_days": 0 if since is None else (utc_now() - since).days,
        "problem": problem,
        "unused_days": UNUSED_DAYS,
        "names": NAMES,
        "classes": CLASSES,
        "all_periods": PERIODS,
        "days": found.days,
        "sources": known,
        "here": here,
        "channel": CHANNEL,
        "positions": {CHANNEL: position},
        "source": f"{PATH}/now",
        "key": None,
        "error": None,
        "given": "",
    }
    return render(request, "views/manage.html", context | dict(more or {}), status=status, cache="no-store")


def _columns(sorting: Sorting, days: int) -> list[Any]:
    address = f"{PATH}?days={days}&sort={{}}#endpoints"
    return [
        sorting.column("name", "Endpoint", address),
        sorting.column("calls", "Calls", address, number=True),
        sorting.column("callers", "Callers" if days == 1 else "Callers a day, at most", address, number=True),
        sorting.column("p50", "p50, ms", address, number=True),
        sorting.column("p95", "p95, ms", address, number=True),
        sorting.column("failed", "Answers", address),
        "By",
        sorting.column("seen", "Last called", address),
    ]


def chart_of(found: Report) -> Chart:
    """The calls of a period, by kind of caller."""
    labels = [f"{span:%H:%M}" if found.days == 1 else f"{span:%-d %b}" for span in found.spans]
    series = {NAMES[kind]: values for kind, values in found.lines.items() if any(values)}
    words = "Calls an hour, in UTC" if found.days == 1 else "Calls a day, in UTC"
    return line("calls", words, labels, series or {"Calls": [0] * len(labels)})


async def _live(session: AsyncSession) -> Chart:
    spans, lines = await queries.minutes(session, LIVE)
    series = {NAMES[kind]: values for kind, values in lines.items() if any(values)}
    labels = [f"{span:%H:%M}" for span in spans]
    return line("live", "Calls a minute, in UTC", labels, series or {"Calls": [0] * len(labels)})


def to_json(
    found: Report, unused: Sequence[tuple[Described, datetime | None]], since: datetime | None
) -> dict[str, Any]:
    """A report for programs."""
    return {
        "days": found.days,
        "calls": found.calls,
        "counted_since": None if since is None else since.isoformat(),
        "kinds": {kind.value: found.kinds[kind] for kind in Kind},
        "endpoints": [row.as_json() for row in found.rows],
        "unused_days": UNUSED_DAYS,
        "unused": [
            {"endpoint": each.name, "about": each.about, "last_seen": None if last is None else last.isoformat()}
            for each, last in unused
        ],
    }


#: What a spreadsheet takes a cell for a formula by; names that other servers send may begin with it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def _cell(text: str) -> str:
    """A text that a spreadsheet shows and does not reckon: with an apostrophe before what would begin a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def to_csv(rows: Sequence[Row]) -> str:
    """Endpoints as a table. What others wrote is no formula in it."""
    out = io.StringIO()
    writer = csv.writer(out)
    kinds = [kind.value for kind in Kind]
    writer.writerow(["source", "endpoint", "calls", "callers", "p50_ms", "p95_ms", *CLASSES, *kinds, "last_seen"])
    for row in rows:
        said = row.as_json()
        numbers = [said[name] for name in ("calls", "callers", "p50_ms", "p95_ms")]
        mix = [*(row.statuses[name] for name in CLASSES), *(row.kinds[kind] for kind in kinds)]
        # Sources and endpoints are what other servers and logs say.
        names = [_cell(said[name]) for name in ("source", "endpoint")]
        writer.writerow([*names, *numbers, *mix, said["last_seen"]])
    return out.getvalue()
