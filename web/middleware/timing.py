"""Server-Timing: how long an answer took, and the database for it. For who builds pages; browsers' tools show it."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ..db.counting import Tally, tallying

HEADER = "Server-Timing"


def timing(is_ours: Callable[[web.Request], bool]) -> Middleware:
    """Tells of each answer of ours."""

    @web.middleware
    async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_ours(request):
            return await handler(request)
        began = time.perf_counter()
        with tallying() as tally:
            response = await handler(request)
        if not response.prepared:
            response.headers[HEADER] = words(tally, time.perf_counter() - began)
        return response

    return timed


def words(tally: Tally, seconds: float) -> str:
    """The header's value. Its durations are milliseconds (w3.org/TR/server-timing)."""
    queries = "1 query" if tally.queries == 1 else f"{tally.queries} queries"
    rows = "1 row" if tally.rows == 1 else f"{tally.rows} rows"
    return f'db;dur={tally.seconds * 1000:.2f};desc="{queries}, {rows}", total;dur={seconds * 1000:.2f}'
