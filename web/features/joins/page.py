"""/lab/joins: what the newest run came to, drawn anew while it is measured; the runs before; a form to begin one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from ...db.settings import DatabaseSettings
from ...identity.roles import Permission
from ...pages import keys
from ...pages.charts import Chart, bars, line
from ...pages.kept import Reading
from ...pages.page import answer, pages
from ...pages.requests import clean_line, json_response, may, read_fields, redirect, wants_json
from ...pages.templating import render
from . import figures, runs
from .jobs import DROPPING, MEASURING
from .measuring import Result
from .runs import RUNS, JoinsRun, Run
from .settings import JoinsSettings
from .store import place_of

PATH = "/lab/joins"

#: Runs of the table.
SHOWN = 20
#: Songs that there are at least, so that there is something to choose from.
FEWEST = 100
_MAX_NUMBER = 12


@dataclass(frozen=True, slots=True)
class RunForm:
    """The fields of the form as text, and by field what is wrong."""

    songs: str
    seconds: str
    errors: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: dict[str, str], settings: JoinsSettings) -> RunForm:
        """A form as it came in, checked; what is left out is the usual."""
        form = cls(
            clean_line(fields.get("songs", ""), _MAX_NUMBER) or str(settings.songs),
            clean_line(fields.get("seconds", ""), _MAX_NUMBER) or f"{settings.seconds:g}",
        )
        most = max(settings.most, settings.songs)
        if not _is_number(form.songs, FEWEST, most):
            form.errors["songs"] = f"Give a number from {FEWEST} to {most:,}."
        if not _is_number(form.seconds, 1, settings.seconds):
            form.errors["seconds"] = f"Give whole seconds, from 1 to {settings.seconds:g}."
        return form


def _is_number(text: str, fewest: float, most: float) -> bool:
    return text.isascii() and text.isdigit() and fewest <= int(text) <= most


async def show(request: web.Request) -> web.StreamResponse:
    """GET /lab/joins, with ?dropped=1 after the songs were."""
    dropped = request.query.get("dropped") == "1"

    async def make(reading: Reading) -> web.Response:
        form = RunForm.read({}, request.app[keys.settings][JoinsSettings])
        return await _page(request, reading, form, dropped=dropped)

    return await answer(request, (PATH, dropped), make)


async def as_json(request: web.Request) -> web.StreamResponse:
    """GET /lab/joins.json: the newest runs."""
    async with request.app[keys.database].reading() as session:
        found = await runs.newest(session, SHOWN)
    return json_response({"runs": [_as_json(run) for run in found]})


async def post(request: web.Request) -> web.StreamResponse:
    """POST /lab/joins: begin a run."""
    form = RunForm.read(await read_fields(request), request.app[keys.settings][JoinsSettings])
    number = None
    if not form.errors:
        number = await _begin(request, form)
        if number is None:
            form.errors["songs"] = "A run is under way. Wait for its end; it is on this page."
    status = 200 if number is not None else 409 if len(form.errors) == 1 and "under way" in str(form.errors) else 422
    if wants_json(request):
        if number is not None:
            return json_response({"run": number}, status=201)
        what = {"error": "No run was begun.", "next": "Correct it and send it again.", "fields": form.errors}
        return json_response(what, status=status)
    if number is not None:
        return redirect(PATH)

    async def make(reading: Reading) -> web.Response:
        return await _page(request, reading, form, status)

    return await request.app[pages].unkept(make)


async def post_drop(request: web.Request) -> web.StreamResponse:
    """POST /lab/joins/drop: take the songs away; the runs' figures stay."""
    await read_fields(request)
    async with request.app[keys.database].saving() as session:
        number = await request.app[keys.jobs].add(session, DROPPING, key="joins-drop")
    return json_response({"job": number}, status=202) if wants_json(request) else redirect(f"{PATH}?dropped=1")


async def _begin(request: web.Request, form: RunForm) -> int | None:
    async with request.app[keys.database].saving() as session:
        if any(run.is_on for run in await runs.newest(session, 1)):
            return None
        run = JoinsRun(songs=int(form.songs), seconds=float(form.seconds))
        session.add(run)
        await session.flush()
        data = {"run": run.id, "songs": run.songs, "seconds": run.seconds}
        run.job = await request.app[keys.jobs].add(session, MEASURING, data, key="joins")
        return run.id


async def _page(
    request: web.Request, reading: Reading, form: RunForm, status: int = 200, *, dropped: bool = False
) -> web.Response:
    positions = await reading.at(RUNS)
    async with request.app[keys.database].reading() as session:
        found = await runs.newest(session, SHOWN)
    current = found[0] if found else None
    # While the newest one has nothing to show, the one before is shown.
    shown = next((run for run in found if run.result is not None), None)
    if current is not None and current.is_on and current.job is not None:
        positions |= await reading.at(f"job-{current.job}")
    settings = request.app[keys.settings]
    context = {
        "positions": positions,
        "channel": RUNS,
        "form": form,
        "dropped": dropped,
        "most": max(settings[JoinsSettings].most, settings[JoinsSettings].songs),
        "fewest": FEWEST,
        "longest": settings[JoinsSettings].seconds,
        "may_start": may(request, Permission.RUN_LABS),
        "place": place_of(settings[DatabaseSettings].url),
        "current": current,
        "shown": shown,
        "runs": found,
        "charts": charts_of(shown.result) if shown is not None and shown.result is not None else [],
        "verdict": verdict_of(shown.result) if shown is not None and shown.result is not None else [],
    }
    return render(request, "joins/page.html", context, status=status)


def charts_of(result: Result) -> Sequence[Chart]:
    """What came of the ways, and how their durations are distributed."""
    measured = [way for way in result.ways if way.figures is not None]
    if not measured:
        return []
    values = [way.figures for way in measured if way.figures is not None]
    series = {
        "median": [each.median for each in values],
        "average": [each.average for each in values],
        "deviation": [each.deviation for each in values],
    }
    parts = {way.title: [round(each, 4) for each in way.figures.parts] for way in measured if way.figures is not None}
    labels = [f"{part:.0%}" for part in figures.PARTS]
    return [
        bars("joins-figures", "A song and its artist, by way", [way.title for way in measured], series, unit="ms"),
        line("joins-parts", "So much of the reads took at most", labels, parts, unit="ms"),
    ]


def verdict_of(result: Result) -> Sequence[str]:
    """What it says, in words."""
    first = f"a {result.ways[0].title.lower()}"
    return [
        f"{way.title}: {figures.words_of(way.change, first)} ({way.change.low:+.0%} to {way.change.high:+.0%})."
        for way in result.ways
        if way.change is not None
    ]


def _as_json(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "at": run.at.isoformat(),
        "state": run.state,
        "songs": run.songs,
        "seconds": run.seconds,
        "error": run.words or None,
        "result": None if run.result is None else run.result.as_json(),
    }
