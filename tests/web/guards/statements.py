"""Which SQL a request asks for, and from where."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import greenlet
from aiohttp import web
from aiohttp.typedefs import Handler
from services import ROOT
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

#: Folders whose code asks for something; what SQLAlchemy asks for by itself has a place in them too.
_CODE = tuple(f"{ROOT / name}/" for name in ("web", "tests"))


@dataclass(frozen=True, slots=True)
class Asked:
    """One statement. place: the file and line of ours that led to it."""

    statement: str
    place: str


_asked: ContextVar[list[Asked] | None] = ContextVar("asked", default=None)


@web.middleware
async def _noting(request: web.Request, handler: Handler) -> web.StreamResponse:
    # A context of the request's own: what jobs and the notifier ask for meanwhile is not counted.
    request.app[_FOUND].append(found := [])
    token = _asked.set(found)
    try:
        return await handler(request)
    finally:
        _asked.reset(token)


_FOUND: web.AppKey[list[list[Asked]]] = web.AppKey("statements", list)


def listen(app: web.Application) -> list[list[Asked]]:
    """Note what each request to an application that has not started asks for: a list for each, in their order."""
    app[_FOUND] = []
    app.middlewares.insert(0, _noting)
    return app[_FOUND]


@contextmanager
def noting(engine: AsyncEngine) -> Iterator[None]:
    """Note the statements of a database's engine."""
    event.listen(engine.sync_engine, "before_cursor_execute", _note)
    try:
        yield
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", _note)


def more(few: list[Asked], many: list[Asked]) -> str:
    """What was asked for more often the second time, a statement a line; "" if nothing was."""
    lines = []
    for asked, count in (Counter(many) - Counter(few)).most_common():
        statement = " ".join(asked.statement.split())
        lines.append(f"  {count} times more, from {asked.place}: {statement}")
    return "\n".join(lines)


def _note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
    found = _asked.get()
    if found is not None:
        found.append(Asked(statement, _place()))


def _place() -> str:
    # SQLAlchemy runs the driver in a greenlet: the view is further up, in the one that waits for it.
    running = greenlet.getcurrent()
    frame = sys._getframe(2)
    while True:
        while frame is not None:
            name = frame.f_code.co_filename
            if name.startswith(_CODE) and not name.startswith(str(ROOT / "web" / "db")):
                return f"{name.removeprefix(f'{ROOT}/')}:{frame.f_lineno}"
            frame = frame.f_back  # type: ignore[assignment]  # None ends it
        running = running.parent  # type: ignore[assignment]  # None ends it
        if running is None:
            return "elsewhere"
        frame = running.gr_frame
