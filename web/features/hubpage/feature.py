"""What the hub's page hands in."""

from __future__ import annotations

from aiohttp import web

from ...feature import Feature, allow
from ...identity.roles import Permission
from ...pages.links import Link
from . import views

FEATURE = Feature(
    name="hubpage",
    routes=allow(
        Permission.MANAGE_HUB,
        web.get("/manage/hub", views.show),
        web.get("/manage/hub.json", views.as_json),
        web.get("/manage/hub/pictures", views.pictures),
        web.get("/manage/hub/token", views.token),
        web.get("/manage/hub/trace", views.trace),
        web.get("/manage/hub/clients", views.clients),
        web.get("/manage/hub/clients/{session:[0-9A-Za-z]{1,64}}", views.client),
        web.post("/manage/hub/publish", views.post_publish),
        web.post("/manage/hub/kick", views.post_kick),
        web.post("/manage/hub/drain", views.post_drain),
    ),
    links=(Link("Hub", "/manage/hub", to=Permission.MANAGE_HUB, order=87, within="/manage/hub"),),
    statics=("hubpage.js", "hubpage.css"),
)
