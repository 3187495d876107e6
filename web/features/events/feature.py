"""What the events hand in."""

from __future__ import annotations

from aiohttp import web

from ...feature import Feature, Home, allow
from ...identity.roles import Permission
from ...pages.links import Link
from ...pages.parts import Part
from ...pages.sitemaps import SiteMap
from ..pictures.views import Owner, owner_routes
from . import calendar, demo, documents, hints, manage, models, page

FEATURE = Feature(
    name="events",
    needs=("comments", "pictures"),
    routes=(
        *allow(
            Permission.READ,
            web.get("/events/{slug}", page.show),
            web.get("/events/{slug}/about", page.about),
            web.get("/events/{slug}/comments.json", page.comments),
        ),
        *allow(Permission.COMMENT, web.post("/events/{slug}/comments", page.post)),
        *allow(
            Permission.MANAGE_EVENTS,
            web.get("/manage/events", manage.table),
            web.post("/manage/events", manage.post_new),
            web.get("/manage/events/new", manage.new),
            web.get(r"/manage/events/{id:\d{1,9}}/edit", manage.edit),
            web.post(r"/manage/events/{id:\d{1,9}}/edit", manage.post_edit),
            web.post(r"/manage/events/{id:\d{1,9}}/status", manage.post_status),
        ),
        *owner_routes(
            Owner(models.Event, lambda event: f"/events/{event.slug}", hints.event_channel),
            Permission.MANAGE_EVENTS,
            r"/manage/events/{id:\d{1,9}}/picture",
        ),
    ),
    home=Home(calendar.home, "/events", "What’s on"),
    part=Part("events/_live.html", hints.EVENTS, calendar.read_live),
    sitemap=SiteMap("events", (hints.EVENTS,), calendar.count_events, calendar.read_places),
    tables=(models.Category, models.Event),
    hints=hints.declare,
    setup=page.setup,
    links=(Link("Manage", "/manage/events", to=Permission.MANAGE_EVENTS, order=80, within="/manage/events"),),
    globals={
        "EVENTS": hints.EVENTS,
        "event_channel": hints.event_channel,
        "event_limits": models,
        "Status": models.Status,
    },
    demo=demo.fill,
    documents=documents.DOCUMENTS,
)
