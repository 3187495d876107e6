"""What the events hand in."""

from __future__ import annotations

from aiohttp import web

from ...feature import Feature, allow
from ...identity.roles import Permission
from ...pages.links import Link
from . import calendar, demo, hints, manage, models, page

FEATURE = Feature(
    name="events",
    needs=("comments",),
    routes=(
        *allow(
            Permission.READ,
            web.get("/", calendar.home),
            web.get("/events", calendar.to_home),
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
    ),
    tables=(models.Category, models.Event),
    hints=hints.declare,
    setup=page.setup,
    links=(
        Link("What’s on", "/", order=10),
        Link("Manage", "/manage/events", to=Permission.MANAGE_EVENTS, order=80, within="/manage"),
    ),
    globals={
        "EVENTS": hints.EVENTS,
        "event_channel": hints.event_channel,
        "event_limits": models,
        "Status": models.Status,
    },
    demo=demo.fill,
)
