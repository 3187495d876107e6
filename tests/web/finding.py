"""What tests of the search share: a site whose index has heard of all that was saved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher
from blogging import Blog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from visiting import Browser, Calendar

from hub.app import Hub
from hub.orm import outbox
from hub.publisher import RecordingPublisher
from hub.settings import Settings as HubSettings
from web.app import all_hints_of, create_app
from web.db.database import Database
from web.db.tables import Base
from web.features.comments.models import Comment
from web.features.search.service import Search, search
from web.pages.documents import CHANGED
from web.services.jobs import rows as jobs
from web.settings import Settings


@dataclass
class Searching:
    """A site that runs; rows are saved as it does, and `found` looks once the index has heard of them."""

    browser: Browser
    blog: Blog
    calendar: Calendar
    database: Database
    hub: Hub
    search: Search
    answer: dict[str, Any] = field(default_factory=dict)

    async def settle(self) -> None:
        """Wait until all that was saved is in the index."""
        await self.database.notifier.flush()
        position = await self.hub.publisher.position(CHANGED)
        assert position is not None
        if not position.endswith(".0"):
            assert await self.search.indexer.reached(position, 5.0)

    async def found(self, query: str, **more: str) -> list[str]:
        """The titles that a query finds, in their order."""
        await self.settle()
        response = await self.browser.fetch("/search.json", params={"q": query, **more})
        self.answer = await response.json()
        assert response.status == 200, self.answer
        return [each["title"] for each in self.answer["results"]]

    async def say(self, thread_id: int, text: str) -> Comment:
        async with self.database.saving() as session:
            comment = Comment(thread_id=thread_id, name="Ada", text=text)
            session.add(comment)
        return comment

    async def save(self, change: Any) -> None:
        async with self.database.saving() as session:
            await _call(change, session)


async def _call(change: Any, session: AsyncSession) -> None:
    result = change(session)
    if asyncio.iscoroutine(result):
        await result


@asynccontextmanager
async def serving(settings: Settings, site_url: str) -> AsyncIterator[Searching]:
    """A site and a hub, on a database that is left as it was found."""
    hub = Hub(HubSettings(drain_timeout=1.0))
    database = Database(site_url, hub.publisher, hints=all_hints_of())
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    app = create_app(
        settings, hub.publisher, database=database, following=hub.followers, tops=hub.followers, hasher=hasher
    )
    hub.setup(app)
    server = TestServer(app)
    await server.start_server()
    await database.start()
    client = TestClient(server)
    recorder = RecordingPublisher()
    blog, calendar = Blog(database, recorder), Calendar(database, recorder)
    yield Searching(Browser(client), blog, calendar, database, hub, app[search])
    await client.session.close()
    await server.close()
    if database.url.backend == "postgresql":
        names = ", ".join(f'"{table.name}"' for one in (Base, outbox, jobs) for table in one.metadata.sorted_tables)
        async with database.engine.begin() as connection:
            await connection.execute(text(f"truncate {names} restart identity cascade"))
    await database.close()
