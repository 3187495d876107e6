"""Runs jobs inside a test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from web.db.database import Database


@dataclass
class Doing:
    """A job as its handler is given it."""

    app: Any
    data: Any
    database: Database

    async def in_process(self, function: Callable[..., Any], *args: Any, limit: float | None = None) -> Any:
        return await asyncio.to_thread(function, *args)

    def saving(self) -> AbstractAsyncContextManager[AsyncSession]:
        return self.database.saving()
