"""What is done of views by itself: what is old is deleted, and a day's callers become a number when it is over."""

from __future__ import annotations

import time
from datetime import timedelta

from sqlalchemy import Delete, delete, func, select

from ...db.database import Database
from ...db.tables import now
from ...pages import keys
from ...services.jobs.kinds import Every, Job, Kind
from . import store
from .callers import DAY, day_of
from .models import (
    ViewCaller,
    ViewCount,
    ViewCrowd,
    ViewEndpoint,
    ViewMinute,
    ViewReceipt,
    ViewSalt,
    ViewTime,
    ViewWriter,
)
from .receipts import MAX_PAST
from .settings import ViewSettings
from .store import moment
from .totals import HOUR

#: How long minutes are kept; and what processes said of how far they had written, which one that is gone may need.
MINUTES = timedelta(hours=3)
WRITERS = timedelta(days=30)

#: Rows of callers that become one in a transaction, days at a time.
_QUIETLY = {"fanfare": False, "synchronize_session": False}


async def tidy(job: Job) -> None:
    """Let go of what is old."""
    settings = job.app[keys.settings][ViewSettings]
    await forget(job.app[keys.database], settings)


async def forget(database: Database, settings: ViewSettings, at: float | None = None) -> None:
    """Delete what is older than it may be, and the hashes and the salt of each day that is over."""
    at = time.time() if at is None else at
    today = moment(day_of(at) * DAY)
    await _crowd(database, at)
    hours, days = moment(at - settings.hours), moment(at - settings.days)
    old: list[Delete] = [
        delete(ViewSalt).where(ViewSalt.day < day_of(at)),
        delete(ViewMinute).where(ViewMinute.start < now() - MINUTES),
        delete(ViewReceipt).where(ViewReceipt.at < moment(at - MAX_PAST - DAY)),
        delete(ViewWriter).where(ViewWriter.at < moment(at) - WRITERS, ViewWriter.digest == ""),
        delete(ViewCount).where(ViewCount.seconds == HOUR, ViewCount.start < hours),
        delete(ViewTime).where(ViewTime.seconds == HOUR, ViewTime.start < hours),
        delete(ViewCount).where(ViewCount.seconds == DAY, ViewCount.start < days),
        delete(ViewTime).where(ViewTime.seconds == DAY, ViewTime.start < days),
        delete(ViewCaller).where(ViewCaller.start < min(days, today)),
        delete(ViewCrowd).where(ViewCrowd.start < days),
        # What nobody has called for longer than anything is kept.
        delete(ViewEndpoint).where(ViewEndpoint.last_at < days),
    ]
    for statement in old:
        async with database.saving() as session:
            await session.execute(statement.execution_options(**_QUIETLY))


async def _crowd(database: Database, at: float) -> None:
    """Make a number of who had no name on days that are over. Views of such a day may still come: theirs are added."""
    nameless = ViewCaller.caller.like("~%")
    # A batch that waited at midnight is written within some minutes.
    over = moment(day_of(at - 900) * DAY)
    async with database.saving() as session:
        asked = (
            select(ViewCaller.start, ViewCaller.endpoint_id, ViewCaller.kind, func.count())
            .where(ViewCaller.start < over, nameless)
            .group_by(ViewCaller.start, ViewCaller.endpoint_id, ViewCaller.kind)
            .order_by(ViewCaller.start, ViewCaller.endpoint_id, ViewCaller.kind)
        )
        crowds = {(start, id, kind): count for start, id, kind, count in await session.execute(asked)}
        await store.add_crowds(session, crowds)
        await session.execute(delete(ViewCaller).where(ViewCaller.start < over, nameless).execution_options(**_QUIETLY))


KINDS = (Kind(name="views tidied", run=tidy, limit=3600, at_once=1),)
# A quarter past each hour: the first one of a day deletes the salt of the day before.
PERIODIC = (Every(name="views tidied", kind="views tidied", seconds=3600, offset=900),)
