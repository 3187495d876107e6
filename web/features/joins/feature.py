"""What the joins hand in."""

from __future__ import annotations

from aiohttp import web

from ...feature import Feature, allow
from ...identity.roles import Permission
from ...pages.links import Link
from . import jobs, page, runs
from .settings import JoinsSettings

FEATURE = Feature(
    name="joins",
    routes=(
        *allow(Permission.READ, web.get(page.PATH, page.show), web.get(f"{page.PATH}.json", page.as_json)),
        *allow(Permission.RUN_LABS, web.post(page.PATH, page.post), web.post(f"{page.PATH}/drop", page.post_drop)),
    ),
    tables=(runs.JoinsRun,),
    hints=runs.declare,
    settings=JoinsSettings,
    links=(Link("Joins", page.PATH, foot=True),),
    jobs=(jobs.MEASURING, jobs.DROPPING),
    statics=("joins.css",),
)
