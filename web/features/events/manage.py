"""The manager's table of events: it follows what others change, and changes it in place."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from sqlalchemy import case, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from ...db.tables import now
from ...pages import keys
from ...pages.charts import Chart, bars
from ...pages.requests import clean_line, clean_long, json_response, read_fields, redirect, wants_json
from ...pages.templating import read_positions, render
from .hints import EVENTS
from .models import MAX_DESCRIPTION, MAX_SLUG, MAX_TITLE, Category, Event, Status

#: Rows of the table; the newest ones.
SHOWN = 200

#: Weeks of the chart before and after this one.
WEEKS = 6

# Live first, then what comes, then what was.
_ORDER = case((Event.status == Status.LIVE, 0), (Event.status == Status.SCHEDULED, 1), else_=2)
#: Of those to come the next one is first, as on the calendar; of the others the newest.
_NEXT = case((Event.status == Status.SCHEDULED, Event.starts_at))

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
#: Characters of a field that is a date or a number.
_MAX_WORD = 32

_START = "%Y-%m-%dT%H:%M"


@dataclass(frozen=True, slots=True)
class EventForm:
    """The fields of the form as text, and by field what is wrong."""

    title: str = ""
    slug: str = ""
    description: str = ""
    starts_at: str = ""
    category: str = ""
    edition: str = ""
    errors: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def read(cls, fields: dict[str, str]) -> EventForm:
        """A form as it came in, cleaned and checked; an empty slug is made of the title."""
        title = clean_line(fields.get("title", ""), MAX_TITLE)
        slug = clean_line(fields.get("slug", ""), MAX_SLUG).lower() or slug_of(title)
        form = cls(
            title=title,
            slug=slug,
            description=await clean_long(fields.get("description", ""), MAX_DESCRIPTION),
            starts_at=clean_line(fields.get("starts_at", ""), _MAX_WORD),
            category=clean_line(fields.get("category", ""), _MAX_WORD),
            edition=clean_line(fields.get("edition", ""), _MAX_WORD),
        )
        form._check()
        return form

    @classmethod
    def of(cls, event: Event) -> EventForm:
        """The form that shows an event as it is."""
        return cls(
            title=event.title,
            slug=event.slug,
            description=event.description,
            starts_at=event.starts_at.strftime(_START),
            category=str(event.category_id),
            edition=str(event.edition),
        )

    @property
    def shown_start(self) -> str:
        """What the field for the start may hold: nothing that is no time."""
        return self.starts_at if _parse_start(self.starts_at) else ""

    def values(self) -> dict[str, Any]:
        """The event's columns; only of a form without errors."""
        start = _parse_start(self.starts_at)
        assert start is not None
        return {
            "title": self.title,
            "slug": self.slug,
            "description": self.description,
            "starts_at": start,
            "category_id": int(self.category),
        }

    def _check(self) -> None:
        errors = self.errors
        if not self.title:
            errors["title"] = "An event needs a title."
        elif len(self.title) > MAX_TITLE:
            errors["title"] = f"Titles have at most {MAX_TITLE} characters."
        if len(self.slug) > MAX_SLUG or not _SLUG.fullmatch(self.slug):
            errors["slug"] = f"Use a-z, 0-9 and single hyphens, at most {MAX_SLUG} in all, such as jazz-night."
        if len(self.description) > MAX_DESCRIPTION:
            errors["description"] = f"Descriptions have at most {MAX_DESCRIPTION} characters."
        start = _parse_start(self.starts_at)
        if start is None:
            errors["starts_at"] = "Give a date and a time, such as 2030-05-17T18:30."
        elif not 1970 <= start.year < 2200:
            errors["starts_at"] = "Give a date between 1970 and 2200."
        if not (self.category.isascii() and self.category.isdigit() and len(self.category) < 10):
            errors["category"] = "Choose a category."


async def table(request: web.Request) -> web.StreamResponse:
    """GET /manage/events."""
    positions = await read_positions(request.app[keys.publisher], EVENTS)
    async with request.app[keys.database].reading() as session:
        events = list(
            await session.scalars(
                select(Event)
                .options(joinedload(Event.category))
                .order_by(_ORDER, _NEXT, Event.starts_at.desc(), Event.id.desc())
                .limit(SHOWN)
            )
        )
        by_week = await _by_week(session)
    context = {"positions": positions, "events": events, "by_week": by_week}
    return render(request, "events/manage.html", context, cache="no-store")


async def new(request: web.Request) -> web.StreamResponse:
    """GET /manage/events/new."""
    tomorrow = (now() + timedelta(days=1)).replace(minute=0)
    return await _form(request, EventForm(starts_at=tomorrow.strftime(_START)), None)


async def post_new(request: web.Request) -> web.StreamResponse:
    """POST /manage/events."""
    form = await EventForm.read(await read_fields(request))
    event: Event | None = None
    if not form.errors:
        try:
            async with request.app[keys.database].saving() as session:
                if await _fits(session, form, None):
                    event = Event(status=Status.SCHEDULED, edition=1, **form.values())
                    session.add(event)
        except IntegrityError:
            event = None
            form.errors["slug"] = _TAKEN
    if form.errors or event is None:
        return await _form(request, form, None, status=422)
    if wants_json(request):
        return json_response({"id": event.id, "slug": event.slug}, status=201)
    return redirect("/manage/events")


async def edit(request: web.Request) -> web.StreamResponse:
    """GET /manage/events/{id}/edit."""
    async with request.app[keys.database].reading() as session:
        event = await _get(session, request)
    return await _form(request, EventForm.of(event), event)


async def post_edit(request: web.Request) -> web.StreamResponse:
    """POST /manage/events/{id}/edit; 409 when someone else has edited the event since the form was made."""
    form = await EventForm.read(await read_fields(request))
    conflict = False
    try:
        async with request.app[keys.database].saving() as session:
            event = await _get(session, request, lock=True)
            conflict = form.edition != str(event.edition)
            if not form.errors and not conflict and await _fits(session, form, event.id):
                for name, value in form.values().items():
                    setattr(event, name, value)
                if session.is_modified(event):
                    event.edition += 1
    except IntegrityError:
        form.errors["slug"] = _TAKEN
    if conflict:
        return await _form(request, form, event, status=409, newer=EventForm.of(event))
    if form.errors:
        return await _form(request, form, event, status=422)
    if wants_json(request):
        return json_response({"id": event.id, "slug": event.slug})
    return redirect("/manage/events")


async def post_status(request: web.Request) -> web.StreamResponse:
    """POST /manage/events/{id}/status: `status` is scheduled, live or ended."""
    try:
        status = Status((await read_fields(request)).get("status", ""))
    except ValueError:
        raise web.HTTPBadRequest(text="A status is scheduled, live or ended.") from None
    async with request.app[keys.database].saving() as session:
        event = await _get(session, request, lock=True)
        event.status = status
    if wants_json(request):
        return json_response({"id": event.id, "status": status.value})
    return redirect("/manage/events")


def slug_of(title: str) -> str:
    """A slug for a title: its letters without accents, its words joined by hyphens; may be empty."""
    plain = unicodedata.normalize("NFKD", title[:MAX_TITLE]).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:MAX_SLUG].strip("-")


_TAKEN = "Another event has this address already."


async def _fits(session: AsyncSession, form: EventForm, event_id: int | None) -> bool:
    """Whether the form can be saved; what is wrong is added to it."""
    other = await session.scalar(select(Event.id).where(Event.slug == form.slug))
    if other is not None and other != event_id:
        form.errors["slug"] = _TAKEN
    if await session.get(Category, int(form.category)) is None:
        form.errors["category"] = "Choose a category."
    return not form.errors


async def _get(session: AsyncSession, request: web.Request, *, lock: bool = False) -> Event:
    event = await session.get(Event, int(request.match_info["id"]), with_for_update=lock or None)
    if event is None:
        raise web.HTTPNotFound(text="There is no such event.")
    return event


async def _form(
    request: web.Request,
    form: EventForm,
    event: Event | None,
    *,
    status: int = 200,
    newer: EventForm | None = None,
) -> web.Response:
    if status >= 400 and wants_json(request):
        what: dict[str, Any] = {"error": "The event was not saved.", "next": "Correct it and send it again."}
        if newer is not None:
            what = {"error": "Someone else has edited this event.", "next": "Load it again, then edit it."}
        return json_response(what | {"fields": form.errors}, status=status)
    async with request.app[keys.database].reading() as session:
        categories = list(await session.scalars(select(Category).order_by(Category.name)))
    options = [(category.id, category.name) for category in categories]
    context = {"form": form, "event": event, "newer": newer, "options": options}
    return render(request, "events/manage_form.html", context, status=status, cache="no-store")


async def _by_week(session: AsyncSession) -> Chart:
    """How many events the weeks around this one have."""
    today = now().replace(hour=0, minute=0, second=0, microsecond=0)
    monday = today - timedelta(days=today.weekday())
    begins = [monday + timedelta(weeks=number) for number in range(-WEEKS, WEEKS + 1)]
    counts = [
        func.count().filter(Event.starts_at >= begin, Event.starts_at < begin + timedelta(weeks=1)) for begin in begins
    ]
    row = (await session.execute(select(*counts).select_from(Event))).one()
    return bars("by-week", "Events by week", [f"{begin.day} {begin:%b}" for begin in begins], {"events": [*row]})


def _parse_start(text: str) -> datetime | None:
    # With seconds too: some browsers add them.
    for pattern in (_START, _START + ":%S"):
        try:
            return datetime.strptime(text, pattern).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None
