"""What views hand in."""

from __future__ import annotations

from aiohttp import web

from ...feature import Feature, allow
from ...identity.roles import Permission
from ...pages.links import Link
from . import jobs, manage, metrics, models, receiving, service
from .settings import ViewSettings

FEATURE = Feature(
    name="views",
    routes=(
        # Who sends it says so by a key.
        *allow(Permission.READ, web.post("/views", receiving.post), from_anywhere=True),
        *allow(
            Permission.MANAGE_VIEWS,
            web.get(manage.PATH, manage.show),
            web.get(f"{manage.PATH}.json", manage.as_json),
            web.get(f"{manage.PATH}.csv", manage.as_csv),
            web.get(f"{manage.PATH}/now", manage.now),
            web.get(rf"{manage.PATH}/{{id:\d{{1,9}}}}", manage.show_one),
            web.post(f"{manage.PATH}/keys", manage.post_key),
            web.post(rf"{manage.PATH}/keys/{{id:\d{{1,9}}}}/remove", manage.post_remove_key),
        ),
    ),
    tables=models.TABLES,
    settings=ViewSettings,
    setup=service.setup,
    contexts=(service.running,),
    clocks=True,
    links=(Link("Views", manage.PATH, to=Permission.MANAGE_VIEWS, order=86, within=manage.PATH),),
    statics=("views.css",),
    jobs=jobs.KINDS,
    periodic=jobs.PERIODIC,
    metrics=metrics.metrics_of,
)
