"""Counting the comments of a list of posts."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from web.db.database import Database
from web.features.comments.queries import count_comments


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
