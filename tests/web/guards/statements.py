"""Which SQL a request asks for, and from where: what the plugin of queries notes, a unit for each request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web
from aiohttp.typedefs import Handler
from services import ROOT

from web.features.queries import alchemy
from web.features.queries.asked import Asked, Unit, recorder
from web.features.queries.places import Project

_PROJECT = Project(ROOT, ["test_*.py"], skipped=("web/db/", "hub/"))

is_test = _PROJECT.is_test

_FOUND: web.AppKey[list[Unit]] = web.AppKey("statements", list)


@web.middleware
async def _noting(request: web.Request, handler: Handler) -> web.StreamResponse:
    # A unit of the request's own: what jobs and the notifier ask for meanwhile is not counted.
    with recorder.unit(f"{request.method} {request.path}") as unit:
        request.app[_FOUND].append(unit)
        return await handler(request)


def listen(app: web.Application) -> list[Unit]:
    """Note what each request to an application that has not started asks for: a unit for each, in their order."""
    app[_FOUND] = []
    app.middlewares.insert(0, _noting)
    return app[_FOUND]


@contextmanager
def noting() -> Iterator[None]:
    """Record the SQL statements that run in the block."""
    alchemy.listen()
    before, recorder.project = recorder.project, _PROJECT
    try:
        yield
    finally:
        recorder.project = before


def more(few: list[Asked], many: list[Asked]) -> str:
    """What was asked for more often the second time, a statement a line; "" if nothing was."""
    lines = []
    said = [Counter((" ".join(each.statement.split()), each.place) for each in asked) for asked in (few, many)]
    for (statement, place), count in (said[1] - said[0]).most_common():
        lines.append(f"  {count} times more, from {place}: {statement}")
    return "\n".join(lines)
