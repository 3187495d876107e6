"""What the Redis laboratory hands in."""

from __future__ import annotations

from aiohttp import web

from ...feature import Feature, allow
from ...identity.roles import Permission
from ...pages.links import Link
from . import metrics, pages, service
from .settings import RedisLabSettings

FEATURE = Feature(
    name="redislab",
    routes=(
        *allow(
            Permission.READ,
            web.get(pages.PATH, pages.show),
            web.get(f"{pages.PATH}/random", pages.measure_random),
            web.get(f"{pages.PATH}/summary", pages.show_summary),
            web.get(pages.PATH + r"/{name:[a-z0-9_-]{1,40}}", pages.measure_named),
        ),
        *allow(Permission.RUN_LABS, web.post(f"{pages.PATH}/reset", pages.post_reset)),
    ),
    settings=RedisLabSettings,
    contexts=(service.running,),
    metrics=metrics.metrics_of,
    statics=("redislab.css",),
    links=(Link("Redis laboratory", pages.PATH, foot=True),),
)
