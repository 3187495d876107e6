"""Files of pictures that no row has any more go a day later: until then pages that others have kept show them.

Feeds name another picture as often as they like; without this each would stay for ever.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from typing import Any

from sqlalchemy import Text, cast, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...pages import keys
from ...services.jobs.kinds import Job, Kind
from ...services.jobs.queue import Queue
from .keys import store
from .models import HasPicture
from .store import Store

#: Seconds.
AFTER = 24 * 3600.0

#: Seconds in which a file that came again may not have a row yet.
_FRESH = 3600.0


async def plan(session: AsyncSession, jobs: Queue, hash: str) -> None:
    """Have the files of a picture taken away that a row has no more, unless another has it."""
    await jobs.add(session, SWEEPING, hash, key=f"picture unused:{hash}", after=AFTER)


async def _sweep(job: Job) -> None:
    hash: str = job.data
    owners: list[Any] = list(HasPicture.__subclasses__())
    async with job.app[keys.database].reading() as session:
        for model in owners:
            having = select(model.id).where(cast(model.picture, Text).contains(hash)).limit(1)
            if await session.scalar(having) is not None:
                return
    await asyncio.to_thread(_take_away, job.app[store], hash)


def _take_away(store: Store, hash: str) -> None:
    original = store.original(hash)
    if original.exists() and original.stat().st_mtime > time.time() - _FRESH:
        return
    shutil.rmtree(store.forms(hash), ignore_errors=True)
    original.unlink(missing_ok=True)


def _hash(data: Any) -> str:
    if not isinstance(data, str) or re.fullmatch("[0-9a-f]{32}", data) is None:
        raise ValueError("a picture is named by its hash")
    return data


SWEEPING = Kind(name="picture unused", run=_sweep, parse=_hash, attempts=3, at_once=1)
