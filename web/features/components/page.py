"""The page of all components, and a form to try. Nothing that is sent is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from ...identity.roles import Permission
from ...pages import keys
from ...pages.kept import Reading
from ...pages.page import answer, pages
from ...pages.requests import (
    clean_line,
    clean_long,
    json_response,
    may,
    read_fields,
    read_number,
    redirect,
    wants_json,
)
from ...pages.sorting import Sorting
from ...pages.templating import render
from ...services.jobs import rows
from . import samples
from .job import COUNTING

PATH = "/components"

MAX_NAME, MAX_ABOUT = 40, 400

_MOST_ID = 2**53


@dataclass(frozen=True, slots=True)
class TryForm:
    """The form's fields, and by field what is wrong."""

    name: str = ""
    kind: str = "show"
    about: str = ""
    agreed: bool = False
    errors: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def read(cls, fields: dict[str, str]) -> TryForm:
        """A form as it came in, checked."""
        form = cls(
            name=clean_line(fields.get("name", ""), MAX_NAME),
            kind=clean_line(fields.get("kind", ""), MAX_NAME),
            about=await clean_long(fields.get("about", ""), MAX_ABOUT),
            agreed=fields.get("agreed") == "true",
        )
        if not form.name:
            form.errors["name"] = "Give it a name."
        elif len(form.name) > MAX_NAME:
            form.errors["name"] = f"Names have at most {MAX_NAME} characters."
        if len(form.about) > MAX_ABOUT:
            form.errors["about"] = f"At most {MAX_ABOUT} characters."
        if not form.agreed:
            form.errors["agreed"] = "It takes your consent."
        return form


async def show(request: web.Request) -> web.StreamResponse:
    """GET /components, with ?sort= of the table, ?tab= of the tabs, ?sent=1 after a form and ?job=id after a job."""
    tab = request.query.get("tab")
    known = {"tab": next((each[1] for each in samples.TABS if each[1] == tab), "all")}
    sorting = Sorting.read(request.query.get("sort"), samples.COLUMNS, Sorting("name"))
    sent = request.query.get("sent") == "1"
    # Who started one sees it, so its rows are in no page that is kept.
    job = read_number(request, "job", default=0, most=_MOST_ID) if may(request, Permission.MANAGE_EVENTS) else 0

    async def make(reading: Reading) -> web.Response:
        # It shows no rows: nothing is told there, and the page is kept.
        reading.follow("components")
        more = await _job(request, reading, job) if job else {}
        return _page(request, TryForm(), known | {"sorting": sorting, "sent": sent} | more)

    return await answer(request, ("components", known["tab"], sorting, sent), make)


async def post(request: web.Request) -> web.StreamResponse:
    """POST /components: the form, which comes back with what is wrong."""
    form = await TryForm.read(await read_fields(request))
    if not form.errors:
        return json_response({"name": form.name}) if wants_json(request) else redirect(f"{PATH}?sent=1#form")
    if wants_json(request):
        what = {"error": "The form was not taken.", "next": "Correct it and send it again.", "fields": form.errors}
        return json_response(what, status=422)
    context = {"tab": "all", "sorting": Sorting("name"), "sent": False}

    async def make(reading: Reading) -> web.Response:
        return _page(request, form, context, status=422)

    return await request.app[pages].unkept(make)


async def post_job(request: web.Request) -> web.StreamResponse:
    """POST /components/job: count, and watch it."""
    await read_fields(request)
    async with request.app[keys.database].saving() as session:
        number = await request.app[keys.jobs].add(session, COUNTING, key="components")
    return redirect(f"{PATH}?job={number}#progress")


async def _job(request: web.Request, reading: Reading, number: int) -> dict[str, Any]:
    channel = f"job-{number}"
    positions = await reading.at(channel)
    async with request.app[keys.database].reading() as session:
        row = await session.run_sync(lambda session: rows.get(session.connection(), number))
    if row is None or row.kind != COUNTING.name:
        raise web.HTTPNotFound(text="There is no such job here.")
    state = {rows.DONE: "done", rows.GIVEN_UP: "given up"}.get(row.outcome or "", "running" if row.owner else "waiting")
    return {"positions": positions, "job": number, "job_channel": channel, "job_state": state}


def _page(request: web.Request, form: TryForm, more: dict[str, Any], status: int = 200) -> web.Response:
    sorting: Sorting = more["sorting"]
    context = {
        "positions": {},
        "form": form,
        "limits": {"name": MAX_NAME, "about": MAX_ABOUT},
        "may_start": may(request, Permission.MANAGE_EVENTS),
        "job": 0,
        "charts": samples.charts(),
        "sparks": samples.sparks(),
        "shows": samples.shows(sorting),
        "columns": [
            sorting.column("name", "Show", PATH + "?sort={}#table"),
            sorting.column("hours", "Hours", PATH + "?sort={}#table", number=True),
            {"label": "This week"},
        ],
        "tabs": [(name, f"{PATH}?tab={key}#tabs", count) for name, key, count in samples.TABS],
    }
    return render(request, "components/page.html", context | more, status=status)
