"""A site on an empty database of each kind, with a publisher that records."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher
from services import Postgres
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from visiting import HINTS, PASSWORD, Browser, Calendar, Heard

from hub.orm import outbox
from hub.publisher import RecordingPublisher
from web.app import create_app, read_settings
from web.db.database import Database
from web.db.migrate import migrate
from web.db.tables import Base
from web.features.accounts.people import create_user
from web.features.events.models import Category, Event
from web.identity.passwords import Passwords
from web.services.jobs import rows as jobs
from web.settings import Settings


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the PostgreSQL half, as tests/conftest.py does for `database_url`."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and callspec.params.get("site_url") == "postgresql":
            item.add_marker("postgres")


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with the site's tables, to be copied: migrating costs more than most tests."""
    path = tmp_path_factory.mktemp("site") / "migrated.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: Postgres) -> Iterator[str]:
    """A PostgreSQL database with the site's tables."""
    url = postgres_server.create("site")
    _migrate(url)
    yield url
    postgres_server.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def site_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with the site's tables and nothing in them, of each kind in turn."""
    if request.param == "sqlite":
        path = tmp_path / "site.db"
        shutil.copyfile(request.getfixturevalue("migrated_file"), path)
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("migrated_postgres")
    return url


class Prompt(Database):
    """A database whose saves are over when they are told, so that a test can look at once."""

    @asynccontextmanager
    async def saving(self) -> AsyncIterator[AsyncSession]:
        async with super().saving() as session:
            yield session
        await self.notifier.flush()


@pytest.fixture
async def database(site_url: str, publisher: RecordingPublisher) -> AsyncIterator[Database]:
    """A database with its tables and nothing in them."""
    database = Prompt(site_url, publisher, hints=HINTS)
    await database.start()
    yield database
    await database.notifier.close()
    if database.url.backend == "postgresql":
        tables = [each for one in (Base, outbox, jobs) for each in one.metadata.sorted_tables]
        names = ", ".join(f'"{table.name}"' for table in tables)
        async with database.engine.begin() as connection:
            await connection.execute(text(f"truncate {names} restart identity cascade"))
    await database.close()


def _migrate(url: str) -> None:
    # In a thread of its own: the tests' loop is not for session fixtures.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, migrate(url)).result()


@pytest.fixture
def passwords() -> Passwords:
    """Hashes as the site does, at a price for tests."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
async def calendar(database: Database, publisher: RecordingPublisher) -> Calendar:
    return Calendar(database, publisher)


@pytest.fixture
async def music(calendar: Calendar) -> Category:
    return await calendar.category("Music")


@pytest.fixture
async def concert(calendar: Calendar, music: Category) -> Event:
    """An event to look at: /events/brass-on-the-quay."""
    return await calendar.event("Brass on the Quay", music, description="Three bands.\n\nOne wall.")


@pytest.fixture
def settings(site_url: str) -> Settings:
    # Jobs are done where a test wants it.
    return read_settings(
        {"DATABASE_URL": site_url, "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==", "JOBS_SERVE": "false"}
    )


@pytest.fixture
def heard(publisher: RecordingPublisher) -> Heard:
    """How far the site has heard the log."""
    return Heard(publisher)


@pytest.fixture
async def new_browser(
    settings: Settings, database: Database, publisher: RecordingPublisher, passwords: Passwords, heard: Heard
) -> AsyncIterator[Callable[[], Awaitable[Browser]]]:
    """Makes browsers of one running site."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    server = TestServer(create_app(settings, publisher, database=database, tops=heard, hasher=hasher))
    await server.start_server()
    clients = []

    async def new() -> Browser:
        clients.append(TestClient(server))
        return Browser(clients[-1])

    yield new
    for client in clients:
        await client.session.close()
    await server.close()


@pytest.fixture
async def browser(new_browser: Callable[[], Awaitable[Browser]]) -> Browser:
    return await new_browser()


@pytest.fixture
async def manager(new_browser: Callable[[], Awaitable[Browser]], database: Database, passwords: Passwords) -> Browser:
    """A browser in which ada has signed in."""
    await create_user(database, passwords, "ada", PASSWORD)
    browser = await new_browser()
    assert (await browser.sign_in()).status == 303
    return browser
