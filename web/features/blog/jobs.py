"""What a post needs later: to be told when its time has come, its comments closed, its text rendered anew.

The first two are rows of the save that plans them. A time that is moved leaves its job where it was: when that is done
too early it plans itself again.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from ...pages import keys
from ...services.jobs.kinds import Every, Job, Kind
from ...services.jobs.queue import Queue
from ...services.jobs.rows import New
from ..comments.models import Thread
from . import text as renderer
from .models import Post, State, Subscription

#: The kind of job that tells who follows a feed (`subscribers`).
DELIVER = "websub tell"

#: Posts that are rendered anew between two looks at the clock.
_BATCH = 50


async def plan_telling(session: AsyncSession, jobs: Queue, post: Post) -> None:
    """Tell, when its time has come, that a post is there."""
    await _plan(session, jobs, "post due", post, post.published_at)


async def plan_closing(session: AsyncSession, jobs: Queue, post: Post) -> None:
    """Close a post's comments at their time."""
    await _plan(session, jobs, "post comments", post, post.comments_close_at)


async def plan_delivery(session: AsyncSession, jobs: Queue) -> None:
    """Let those be told who follow a feed, if anybody does: readers see another post, or one that has changed."""
    if await session.scalar(select(Subscription.id).limit(1)) is not None:
        await jobs.add(session, DELIVER, key=DELIVER)


async def _plan(session: AsyncSession, jobs: Queue, kind: str, post: Post, when: datetime | None) -> None:
    if when is not None:
        await jobs.add_many(session, [New(kind, post.id, key=f"{kind}:{post.id}", due=when.timestamp())])


async def _tell(job: Job) -> None:
    async with job.saving() as session:
        post = await session.get(Post, job.data)
        if post is None or post.state is not State.PUBLISHED or post.published_at is None:
            return
        if post.published_at > now():
            await plan_telling(session, job.app[keys.jobs], post)
            return
        # No column changes: pages ask for what is published by now.
        await job.app[keys.database].notifier.touch(session, post)
        await plan_delivery(session, job.app[keys.jobs])


async def _close(job: Job) -> None:
    async with job.saving() as session:
        post = await session.get(Post, job.data)
        if post is None or post.comments_close_at is None:
            return
        if post.comments_close_at > now():
            await plan_closing(session, job.app[keys.jobs], post)
            return
        (await session.get_one(Thread, post.thread_id)).is_open = False


async def _render(job: Job) -> None:
    database = job.app[keys.database]
    columns = (Post.id, Post.edition, Post.text, Post.format)
    old = select(*columns).where(Post.html_version != renderer.VERSION).order_by(Post.id)
    last = 0
    while True:
        async with database.reading() as session:
            rows = (await session.execute(old.where(Post.id > last).limit(_BATCH))).all()
        if not rows:
            return
        last = rows[-1].id
        done = []
        for row in rows:
            try:
                done.append((row, await asyncio.to_thread(renderer.render, row.text, format=row.format.value)))
            except renderer.TextError:
                # It was within the bounds of its time, and stays as it is.
                continue
        async with database.saving() as session:
            for row, made in done:
                await session.execute(
                    update(Post)
                    # Edited meanwhile, it was rendered.
                    .where(Post.id == row.id, Post.edition == row.edition)
                    .values(html=made.html, excerpt=made.summary, html_version=renderer.VERSION)
                    # Ten thousand pages need not be fetched for it: those that are kept are within a minute.
                    .execution_options(fanfare=False, synchronize_session=False)
                )


def _id(data: object) -> int:
    if not isinstance(data, int):
        raise TypeError("a post's job has its id")
    return data


KINDS = (
    Kind(name="post due", run=_tell, parse=_id),
    Kind(name="post comments", run=_close, parse=_id),
    Kind(name="post texts", run=_render, limit=3600, at_once=1),
)

PERIODIC = (Every(name="post texts", kind="post texts", seconds=3600),)
