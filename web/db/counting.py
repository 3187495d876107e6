"""How many queries a task asks, and how long they take. Costs nothing where nobody listens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

_BEGAN = "_fanfare_began"


@dataclass(slots=True)
class Tally:
    """What was asked. seconds: until the answer was here; those asked at one moment count each for itself."""

    queries: int = 0
    rows: int = 0
    seconds: float = 0.0


_tally: ContextVar[Tally | None] = ContextVar("tally", default=None)


@contextmanager
def tallying() -> Iterator[Tally]:
    """A tally of what this block asks, and the tasks that it begins."""
    found = Tally()
    token = _tally.set(found)
    try:
        yield found
    finally:
        _tally.reset(token)


def listen(engine: AsyncEngine) -> None:
    """Count what an engine is asked."""
    event.listen(engine.sync_engine, "before_cursor_execute", _before)
    event.listen(engine.sync_engine, "after_cursor_execute", _after)


def _before(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
    if _tally.get() is not None:
        setattr(context, _BEGAN, time.perf_counter())


def _after(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
    tally = _tally.get()
    began = getattr(context, _BEGAN, None)
    if tally is not None and began is not None:
        tally.queries += 1
        # The async drivers' adapters have all rows by now.
        tally.rows += len(getattr(cursor, "_rows", ()))
        tally.seconds += time.perf_counter() - began
