"""A site on an empty database of each kind, with a publisher that records."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp_jinja2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher
from jinja2.bccache import Bucket, BytecodeCache
from services import Postgres
from sqlalchemy import event, text
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.util import LRUCache
from visiting import HINTS, PASSWORD, Browser, Calendar, Heard

from hub.orm import outbox
from hub.orm.database_url import DatabaseUrl
from hub.publisher import RecordingPublisher
from web.app import create_app, read_settings
from web.db import database as databases
from web.db.database import Database
from web.db.migrate import migrate
from web.db.tables import Base
from web.features.accounts.people import create_user
from web.features.events.models import Category, Event
from web.features.views.counting import Counting
from web.identity.passwords import Passwords
from web.pages import templating
from web.services.jobs import rows as jobs
from web.settings import Settings


class Compiled(BytecodeCache):
    """Templates that were compiled for a site of another test: each site has an environment of its own."""

    def __init__(self) -> None:
        self._code: dict[tuple[str, str], bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        code = self._code.get((bucket.key, bucket.checksum))
        if code is not None:
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key, bucket.checksum] = bucket.bytecode_to_string()


@pytest.fixture(scope="session", autouse=True)
def compiled_templates() -> Iterator[None]:
    """Templates are compiled once; for the first page of each site that took 40 ms."""
    setup, compiled = templating.setup, Compiled()

    def setting_up(app: web.Application, folder: Path, more: Any) -> None:
        setup(app, folder, more)
        aiohttp_jinja2.get_env(app).bytecode_cache = compiled

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templating, "setup", setting_up)
        yield


@pytest.fixture(scope="session", autouse=True)
def compiled_statements() -> Iterator[None]:
    """Statements are compiled once, as in a process that serves: it was a third of the CPU of a site with one page.

    What is compiled is kept by dialect: engines of one kind share the first one's, once that has connected.
    """
    new_engine = databases.new_engine
    statements: LRUCache[Any, Any] = LRUCache(5000)
    dialects: dict[str, Dialect] = {}

    def new(url: DatabaseUrl) -> AsyncEngine:
        engine = new_engine(url)
        sync = engine.sync_engine
        # A server says things of itself to a dialect, and files say all the same.
        kind = url.backend if url.backend == "sqlite" else f"{url} {url.driver}"
        sync.update_execution_options(compiled_cache=statements)
        if kind in dialects:
            sync.dialect = dialects[kind]
        else:
            event.listen(sync, "connect", lambda *_: dialects.setdefault(kind, sync.dialect))
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(databases, "new_engine", new)
        yield


#: Folders whose tests are of views, or of everything a site does.
COUNTED = {"views", "guards"}


@pytest.fixture(autouse=True)
def uncounted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what was called in memory, where a test asks for something else.

    Sharing the day's salt, a file of 2 MB and writing everything at the end took each site 15 ms of 40.
    """
    folder = request.path.relative_to(Path(__file__).parent).parent
    if not folder.parts or folder.parts[0] in COUNTED:
        return

    async def nothing(counting: Counting) -> None:
        pass

    monkeypatch.setattr(Counting, "start", nothing)
    monkeypatch.setattr(Counting, "close", nothing)


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
    # Before as well: whoever had it last may have left a counter behind, and some tests name a row by its number.
    await _empty(database)
    await database.start()
    yield database
    await database.notifier.close()
    await _empty(database)
    await database.close()


async def _empty(database: Database) -> None:
    """Have no rows in PostgreSQL's tables, and count from 1 again.

    Few tables have any. TRUNCATE makes files for each table and each index anew, whether or not: all together took
    PostgreSQL 40 ms, this takes 3 ms.
    """
    if database.url.backend != "postgresql":
        return
    tables = [f'"{table.name}"' for one in (Base, outbox, jobs) for table in one.metadata.sorted_tables]
    async with database.engine.begin() as connection:
        found = " union all ".join(f"(select '{name}' from {name} limit 1)" for name in tables)
        filled = (await connection.scalars(text(found))).all()
        if filled:
            # Without triggers, those of foreign keys among them: nothing is left that could miss a row.
            await connection.execute(text("set local session_replication_role = replica"))
            for name in filled:
                await connection.execute(text(f"delete from {name}"))
        back = "setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)"
        await connection.execute(text(f"select {back} from pg_sequences where last_value is not null"))


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
def settings(site_url: str, tmp_path: Path) -> Settings:
    # Jobs are done where a test wants it.
    return read_settings(
        {
            "DATABASE_URL": site_url,
            "HUB_VAR": str(tmp_path / "var"),
            "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
            "JOBS_SERVE": "false",
            # Tests write faster than people do.
            "SITE_COMMENT_CHECKS": "false",
            "SITE_PICTURES_ENGINE": "noop",
            # What was called is written, and told, at the end: every two seconds it was among what tests count.
            "VIEWS_FLUSH": "60s",
        }
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
