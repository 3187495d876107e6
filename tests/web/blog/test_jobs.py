"""What a post needs later, and when it comes: at its time, not before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from blogging import Blog
from sqlalchemy import select, update
from visiting import Browser

from hub.publisher import RecordingPublisher
from web.db.database import Database
from web.db.tables import now
from web.features.blog import text as renderer
from web.features.blog.jobs import KINDS, PERIODIC
from web.features.blog.models import MAX_TEXT, Post
from web.features.comments.models import Thread
from web.pages import keys
from web.services.jobs import rows
from web.services.jobs.runner import Options, Runner

#: Seconds that something may take on a slow machine before a test gives up waiting for it.
PATIENCE = 60.0


class Told(RecordingPublisher):
    """Says when a channel is told."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()

    def record(self, items: Any) -> Any:
        found = super().record(items)
        self.changed.set()
        return found

    async def until(self, channel: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while channel not in {each for each, _ in self.published}:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def publisher() -> Told:
    return Told()


@pytest.fixture
async def worker(database: Database, publisher: Told, blog: Blog) -> AsyncIterator[Runner]:
    """Does the blog's jobs, once it is started."""
    app: dict[Any, Any] = {keys.database: database, keys.jobs: blog.jobs}
    runner = Runner(database, KINDS, publisher, options=Options(poll=0.5, lease=5.0, grace=2.0), app=app)
    blog.jobs.listeners.append(runner.wake)
    yield runner
    await runner.stop()


async def until_done(database: Database, kind: str) -> None:
    """Wait until no job of a kind is left to do."""
    left = select(rows.table.c.id).where(rows.table.c.kind == kind, rows.table.c.finished.is_(None))
    async with asyncio.timeout(PATIENCE):
        while True:
            async with database.engine.connect() as connection:
                if not (await connection.execute(left)).all():
                    return
            await asyncio.sleep(0.01)


async def make_due(database: Database) -> None:
    """Let all jobs be due now."""
    async with database.engine.begin() as connection:
        await connection.execute(update(rows.table).values(due=0.0))


async def test_post_that_is_due_comes_by_itself_and_not_early(
    worker: Runner, blog: Blog, browser: Browser, publisher: Told
) -> None:
    at = now() + timedelta(seconds=3)
    post = await blog.post("Snow", at=at)
    assert blog.told() == set()
    await browser.look("/")
    await browser.look("/rss.xml")
    assert (await browser.look("/")).headers["Cache-Status"] == "fanfare; hit"
    assert "Snow" not in browser.page
    await worker.start()
    await publisher.until("posts")
    assert now() >= at
    await publisher.until(f"post-{post.id}")
    for path in ("/", "/rss.xml", f"/posts/{post.slug}"):
        assert (await browser.look(path)).status == 200
        assert "Snow" in browser.page
    async with blog.database.reading() as session:
        # What was planned is no edit.
        assert (await session.get_one(Post, post.id)).edition == post.edition


async def test_job_that_comes_early_tells_nothing_and_comes_again(
    worker: Runner, blog: Blog, database: Database
) -> None:
    """A post that is put off leaves its job where it was."""
    at = now() + timedelta(days=1)
    await blog.post("Snow", at=at)
    await make_due(database)
    blog.told()
    await worker.start()
    waiting = select(rows.table.c.kind, rows.table.c.due).where(rows.table.c.finished.is_(None))
    async with asyncio.timeout(PATIENCE):
        while True:
            async with database.engine.connect() as connection:
                found = [tuple(row) for row in await connection.execute(waiting)]
            if found == [("post due", at.timestamp())]:
                break
            await asyncio.sleep(0.01)
    assert blog.told() == set()


async def test_post_that_was_taken_back_or_is_gone_does_not_come(
    worker: Runner, blog: Blog, database: Database
) -> None:
    at = now() + timedelta(days=1)
    back, gone = await blog.post("Back", at=at), await blog.post("Gone", at=at)
    await blog.unpublish(back)
    async with database.saving() as session:
        found = await session.get_one(Post, gone.id)
        await session.refresh(found, ["thread"])
        await session.delete(found)
    await make_due(database)
    blog.told()
    await worker.start()
    await until_done(database, "post due")
    assert blog.told() == set()


async def test_comments_close_at_their_time(worker: Runner, blog: Blog, publisher: Told, database: Database) -> None:
    post = await blog.post("Snow", comments=now() + timedelta(days=1))
    async with database.saving() as session:
        (await session.get_one(Post, post.id)).comments_close_at = now() - timedelta(seconds=1)
    await make_due(database)
    blog.told()
    await worker.start()
    await publisher.until(f"comments-{post.thread_id}")
    async with database.reading() as session:
        assert not (await session.get_one(Thread, post.thread_id)).is_open


async def test_comments_that_were_opened_again_stay_open(worker: Runner, blog: Blog, database: Database) -> None:
    post = await blog.post("Snow", comments=now() + timedelta(days=1))
    await blog.edit(post, comments="open")
    await make_due(database)
    await worker.start()
    await until_done(database, "post comments")
    async with database.reading() as session:
        assert (await session.get_one(Thread, post.thread_id)).is_open


async def test_texts_of_an_older_renderer_are_rendered_again_and_tell_nobody(
    worker: Runner, blog: Blog, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts = [await blog.post(f"Post {number}", text="*Words*") for number in range(60)]
    async with database.saving() as session:
        await session.execute(
            update(Post).values(html="old", html_version=-1).execution_options(fanfare=False, synchronize_session=False)
        )
        # Beyond the bounds of now it stays as it is, and keeps no other waiting.
        await session.execute(update(Post).where(Post.id == posts[3].id).values(text="x" * (MAX_TEXT + 1)))
    await database.notifier.flush()
    blog.told()
    async with database.saving() as session:
        await blog.jobs.add(session, PERIODIC[0].kind)
    await worker.start()
    await until_done(database, "post texts")
    async with database.reading() as session:
        found = {post.id: post for post in await session.scalars(select(Post))}
    assert found.pop(posts[3].id).html == "old"
    assert all("<em>Words</em>" in post.html and post.html_version == renderer.VERSION for post in found.values())
    assert blog.told() == set()


async def test_data_that_is_no_post_is_given_up(worker: Runner, blog: Blog, database: Database) -> None:
    async with database.saving() as session:
        job = await blog.jobs.add(session, "post due", "first")
    await worker.start()
    await until_done(database, "post due")
    async with database.engine.connect() as connection:
        found = await connection.run_sync(rows.get, job)
    assert found is not None
    assert found.outcome == rows.GIVEN_UP
