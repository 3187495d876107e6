"""A blog that tests write posts into."""

from __future__ import annotations

import pytest
from blogging import Blog

from hub.publisher import RecordingPublisher
from web.db.database import Database


@pytest.fixture
async def blog(database: Database, publisher: RecordingPublisher) -> Blog:
    return Blog(database, publisher)
