"""A site whose views are written when a test wants it, and what its tables say then."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from sqlalchemy import func, select
from visiting import Browser

from web.db.database import Database
from web.features.views.models import ViewCaller, ViewCount, ViewEndpoint, ViewTime
from web.features.views.service import Views, views
from web.features.views.totals import HOUR

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36"


def views_of(browser: Browser) -> Views:
    """The views of the site that a browser asks."""
    app: web.Application = browser.client.app
    return app[views]


async def written(browser: Browser, database: Database) -> dict[str, int]:
    """The calls by endpoint, once all that waits is written."""
    assert await views_of(browser).counting.flush()
    return await calls(database)


async def calls(database: Database, **more: Any) -> dict[str, int]:
    """The calls by endpoint, as the hours say."""
    asked = select(ViewEndpoint.name, func.sum(ViewCount.calls)).join(ViewCount).where(ViewCount.seconds == HOUR)
    for name, value in more.items():
        asked = asked.where(getattr(ViewCount if name != "source" else ViewEndpoint, name) == value)
    async with database.reading() as session:
        rows = await session.execute(asked.group_by(ViewEndpoint.name))
        return {name: int(count) for name, count in rows}


async def callers(database: Database) -> list[str]:
    """All callers that are in the database."""
    async with database.reading() as session:
        return list(await session.scalars(select(ViewCaller.caller).order_by(ViewCaller.caller)))


async def timed(database: Database) -> int:
    """How many durations are counted, over all hours."""
    async with database.reading() as session:
        return int(await session.scalar(select(func.sum(ViewTime.calls)).where(ViewTime.seconds == HOUR)) or 0)
