"""What the components hand in."""

from __future__ import annotations

from aiohttp import web

from ...feature import Feature, allow
from ...identity.roles import Permission
from ...pages.links import Link
from . import job, page

FEATURE = Feature(
    name="components",
    routes=(
        *allow(Permission.READ, web.get(page.PATH, page.show)),
        *allow(Permission.COMMENT, web.post(page.PATH, page.post)),
        *allow(Permission.MANAGE_EVENTS, web.post(f"{page.PATH}/job", page.post_job)),
    ),
    links=(Link("Components", page.PATH, foot=True),),
    jobs=(job.COUNTING,),
)
