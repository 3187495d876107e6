"""Counting the comments of a list of posts."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from hub.publisher import RecordingPublisher
from web.db.database import Database
from web.features.comments.hints import COUNTS, comments_channel
from web.features.comments.models import Comment, Status
from web.features.comments.queries import count_comments
from web.features.events.models import Event


@pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)
async def test_a_list_counts_its_comments_without_reading_all_there_are(database: Database) -> None:
    """SQLite has no statistics unless someone runs ANALYZE. It took the index of the moderators' queue, and a home page
    of ten posts read each of 100,000 published comments: 20 ms."""
    sent: list[tuple[str, Any]] = []

    def note(connection: object, cursor: object, statement: str, parameters: Any, *_: object) -> None:
        sent.append((statement, parameters))

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    async with database.reading() as session:
        await count_comments(session, list(range(1, 11)))
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)
    [(statement, parameters)] = [each for each in sent if "count(" in each[0]]
    async with database.engine.connect() as connection:
        plan = await connection.exec_driver_sql(f"explain query plan {statement}", parameters)
        steps = [row[-1] for row in plan]
    assert "USING COVERING INDEX ix_comments_thread_id_status (thread_id=? AND status=?)" in steps[0], steps


async def told(database: Database, publisher: RecordingPublisher, channel: str) -> list[int]:
    """The counts that were told on a channel, in order."""
    assert await database.notifier.flush(10)
    return [data["count"] for where, data in publisher.published if where == channel and isinstance(data, dict)]


def comment(concert: Event, status: Status = Status.PUBLISHED) -> Comment:
    return Comment(thread_id=concert.thread_id, name="Ada", text="Hello", status=status)


async def test_each_flush_tells_what_there_is_after_it(
    database: Database, publisher: RecordingPublisher, concert: Event
) -> None:
    async with database.saving() as session:
        session.add_all([comment(concert), comment(concert), comment(concert, Status.HELD)])
        await session.flush()
        more = comment(concert)
        session.add(more)
        await session.flush()
        more.status = Status.SPAM
        await session.flush()
        session.add(comment(concert))
    for channel in (comments_channel(concert.thread_id), COUNTS):
        assert await told(database, publisher, channel) == [2, 2, 3, 2, 3], channel


async def test_a_savepoint_that_is_rolled_back_leaves_no_count(
    database: Database, publisher: RecordingPublisher, concert: Event
) -> None:
    async with database.saving() as session:
        session.add(comment(concert))
        await session.flush()
        point = await session.begin_nested()
        session.add_all([comment(concert), comment(concert)])
        await session.flush()
        await point.rollback()
        session.add(comment(concert))
    assert await told(database, publisher, COUNTS) == [1, 2]


async def test_a_comment_that_is_saved_counts_its_thread_once(database: Database, concert: Event) -> None:
    """It told the count on two channels, and counted for each."""
    sent: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    async with database.saving() as session:
        session.add_all([comment(concert), comment(concert)])
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)
    assert len([each for each in sent if "count(" in each]) == 1
