"""The whole site with its hub, seen by Chromium over a road that can break."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from argon2 import PasswordHasher
from axe import Axe
from playwright.async_api import Browser, Page
from road import Road, road_to
from sqlalchemy import select

from hub.app import Hub, running
from hub.settings import Settings as HubSettings
from web.app import create_app, hints_of, read_settings
from web.db.database import Database
from web.db.migrate import migrate
from web.features.accounts.people import create_user
from web.features.comments.models import Comment
from web.features.events.models import Category, Event, Status
from web.identity.passwords import Passwords

PASSWORD = "correct horse battery"


@dataclass
class Site:
    """A running site. Saves of `database` tell the hub, as the site's own do."""

    road: Road
    database: Database
    event: Event
    hub: Hub

    async def comment(self, text: str) -> None:
        """Save a comment on the event."""
        async with self.database.saving() as session:
            session.add(Comment(thread_id=self.event.thread_id, name="Ada", text=text, posted_at=datetime.now(UTC)))

    async def remove(self, text: str) -> None:
        """Delete the row of a comment: of that pages are told only that something has changed."""
        async with self.database.saving() as session:
            await session.delete((await session.scalars(select(Comment).where(Comment.text == text))).one())

    async def set_status(self, status: Status) -> None:
        """Save another status of the event."""
        async with self.database.saving() as session:
            (await session.get_one(Event, self.event.id)).status = status


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the site's tables, to be copied."""
    path = tmp_path_factory.mktemp("tables") / "site.db"
    # In a thread: the tests' own loop is not for session fixtures.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, migrate(f"sqlite:///{path}")).result()
    return path


# On the loop of the module, where the browser is.
@pytest_asyncio.fixture(loop_scope="module")
async def site(tables: Path, tmp_path: Path) -> AsyncIterator[Site]:
    """The site with one event, /events/brass, and a hub; it polls every second while the hub is away."""
    path = tmp_path / "site.db"
    shutil.copyfile(tables, path)
    url = f"sqlite:///{path}"
    settings = read_settings(
        {
            "DATABASE_URL": url,
            "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
            "SITE_POLL": "1",
            "SITE_COMMENT_RATE": "0",
        }
    )
    hub = Hub(HubSettings(drain_timeout=1.0, origins=("*",), client_publish=("/chat/*",)))
    database = Database(url, hub.publisher, hints=hints_of())
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    await create_user(database, Passwords(hasher), "ada", PASSWORD)
    app = create_app(settings, hub.publisher, database=database, tops=hub.followers, hasher=hasher)
    hub.setup(app)
    async with running(app, hub) as base, road_to(urlsplit(base).port or 0) as road:
        await database.start()
        async with database.saving() as session:
            music = Category(name="Music", slug="music")
            session.add(music)
            await session.flush()
            event = Event(
                title="Brass",
                slug="brass",
                description="",
                category_id=music.id,
                edition=1,
                starts_at=datetime(2030, 5, 17, tzinfo=UTC),
                status=Status.SCHEDULED,
            )
            session.add(event)
        await database.notifier.flush()
        yield Site(road, database, event, hub)
        road.cut()
    await database.close()


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(shared_chromium: Browser, site: Site, axe: Axe) -> AsyncIterator[Callable[[], Awaitable[Page]]]:
    """Opens pages, each in a browser context of its own: another visitor. Errors of their scripts fail the test."""
    errors: list[str] = []
    pages: list[Page] = []
    async with contextlib.AsyncExitStack() as stack:

        async def new() -> Page:
            context = await shared_chromium.new_context(base_url=site.road.url)
            stack.push_async_callback(context.close)
            page = await context.new_page()
            # A fetch that fails while there is no network is reported too, as it should be; so is one unanswered.
            page.on(
                "pageerror",
                lambda error: (
                    None
                    if error.message == "Failed to fetch" or error.message.endswith(": no answer")
                    else errors.append(str(error))
                ),
            )
            page.on("console", lambda message: errors.append(message.text) if "Policy" in message.text else None)
            pages.append(page)
            return page

        yield new
        await axe.look_at(pages, site.road.url)
    assert errors == []
