"""What css hands in: kept pages with their sheets in them, and the script that brings the whole sheets later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web
from prometheus_client import Metric

from ...feature import Feature
from ...pages import keys
from ...pages.styles import styles
from .settings import CssSettings
from .site import SiteStyles

#: Which sheet a browser is asked about at which paths: one that only pages there have, and all of them.
DICTIONARIES = {"site.css": "/*", "blog.css": "/posts/*", "comments.css": "/events/*"}

site_styles = web.AppKey("css", SiteStyles)


def _setup(app: web.Application) -> None:
    made = app[site_styles] = SiteStyles(app[keys.assets], on=app[keys.settings][CssSettings].inline)
    app[styles] = made
    app[keys.assets].dictionaries.update(DICTIONARIES)


async def _prepared(app: web.Application) -> AsyncIterator[None]:
    await asyncio.to_thread(app[site_styles].prepare, app[keys.assets].folder)
    yield


async def _metrics(app: web.Application) -> list[Metric]:
    return await app[site_styles].metrics()


FEATURE = Feature(
    name="css",
    settings=CssSettings,
    setup=_setup,
    contexts=(_prepared,),
    statics=("css.js",),
    metrics=_metrics,
)
