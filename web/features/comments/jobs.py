"""What is done of comments by itself: texts rendered anew, and forgetting."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import aliased

from ...db.tables import now
from ...pages import keys
from ...services.jobs.kinds import Every, Job, Kind
from .mails import DIGEST
from .models import Comment, Record, Status, Subscription
from .settings import CommentSettings
from .text import VERSION, shown

_REPLY = aliased(Comment)

#: Comments that are rendered anew between two looks at the clock.
_BATCH = 200


async def _render(job: Job) -> None:
    database = job.app[keys.database]
    old = select(Comment.id, Comment.edition, Comment.text).where(Comment.html_version != VERSION)
    last = 0
    while True:
        async with database.reading() as session:
            rows = (await session.execute(old.where(Comment.id > last).order_by(Comment.id).limit(_BATCH))).all()
        if not rows:
            return
        last = rows[-1].id
        made = await asyncio.to_thread(lambda texts: [shown(each) for each in texts], [row.text for row in rows])
        async with database.saving() as session:
            for row, html in zip(rows, made, strict=True):
                await session.execute(
                    update(Comment)
                    # Edited meanwhile, it was rendered.
                    .where(Comment.id == row.id, Comment.edition == row.edition)
                    .values(html=html, html_version=VERSION)
                    # Ten thousand pages need not be fetched for it: those that are kept are within a minute.
                    .execution_options(fanfare=False, synchronize_session=False)
                )


async def _forget(job: Job) -> None:
    """Let go of what was taken away long ago, and of whose comments were."""
    database = job.app[keys.database]
    before = now() - timedelta(seconds=job.app[keys.settings][CommentSettings].keep)
    taken = (Status.REFUSED, Status.SPAM, Status.DELETED)
    old = select(Comment.id).where(Comment.status.in_(taken), Comment.replies == 0, Comment.posted_at < before)
    # Of what has replies only its place is left, and that without them.
    old = old.where(~select(_REPLY.id).where(_REPLY.parent_id == Comment.id).exists())
    while True:
        async with database.saving() as session:
            ids = list(await session.scalars(old.order_by(Comment.id).limit(_BATCH)))
            quietly = {"fanfare": False, "synchronize_session": False}
            await session.execute(delete(Comment).where(Comment.id.in_(ids)).execution_options(**quietly))
            if len(ids) < _BATCH:
                whose = update(Record).where(Record.at < before, Record.address != "")
                await session.execute(whose.values(visitor="", address="", key=None).execution_options(**quietly))
                unsaid = delete(Subscription).where(Subscription.confirmed_at.is_(None), Subscription.asked_at < before)
                await session.execute(unsaid.execution_options(**quietly))
                return


KINDS = (
    Kind(name="comment texts", run=_render, limit=3600, at_once=1),
    Kind(name="comments forgotten", run=_forget, limit=3600, at_once=1),
    DIGEST,
)

PERIODIC = (
    Every(name="comment texts", kind="comment texts", seconds=3600),
    Every(name="comments forgotten", kind="comments forgotten", seconds=86400, offset=4 * 3600),
)
