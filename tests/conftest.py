"""Fixtures with real servers, started for the first test that asks and stopped after the last.

With pytest-xdist each worker has its own, so no test sees another worker's data. What this machine
hasn't got is a skip with its reason, and a failure when CI=true: a green run there ran everything.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import markup
import pytest
import pytest_asyncio
import services
from axe import Axe
from hypothesis import HealthCheck
from hypothesis import settings as examples
from ignored import UNCHECKED
from services import Missing, Postgres, Redis, RedisFactory

from web.features.html.server import Server

T = TypeVar("T")

#: True where a missing server is a failure.
CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

if not CI:
    # As Hypothesis itself does where CI is set: how long an example takes is the machine's business.
    examples.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    examples.load_profile("patient")

#: Fixture → the mark its tests carry, so that `pytest -m "not browser"` leaves them out.
MARKS = {
    "redis_url": "redis",
    "redis_server": "redis",
    "new_redis": "redis",
    "valkey_url": "redis",
    "postgres_url": "postgres",
    "postgres_server": "postgres",
    "new_postgres_database": "postgres",
    "chromium": "browser",
    "shared_chromium": "browser",
    "node": "node",
    "node_modules": "node",
}


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell has it for what it runs in the background; programs that the tests start would ignore Ctrl-C too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# What is made while nine thousand tests are collected stays to the end: looking through it again and again took half of
# the time of collecting, and as much with each full collection after it.
gc.disable()


def pytest_collection_finish() -> None:
    """From here on only what tests make is looked through."""
    gc.enable()
    gc.freeze()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test by the servers it asks for."""
    for name in getattr(item, "fixturenames", ()):
        if name in MARKS:
            item.add_marker(MARKS[name])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the PostgreSQL half of tests that run on each database."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and callspec.params.get("database_url") == "postgresql":
            item.add_marker("postgres")
    items[:] = spread(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def spread(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """The long tests first, in half of the workers: one that is begun last keeps the others waiting for its end.

    They work all the time, the others wait half of theirs: side by side they use the cores best. pytest-xdist
    begins by giving each worker one part of the list.
    """
    long = [item for item in items if item.get_closest_marker("long")]
    others = [item for item in items if not item.get_closest_marker("long")]
    found: list[pytest.Item] = []
    for worker in range(busy := max(1, workers // 2)):
        part = long[worker::busy]
        room = max(0, len(items) // workers - len(part))
        found += part + others[:room]
        others = others[room:]
    return found + others


def need(find: Callable[[], T]) -> T:
    """What `find` returns; without it the test is skipped, or fails when CI=true."""
    try:
        return find()
    except Missing as reason:
        if CI:
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def services_folder() -> Iterator[Path]:
    """A folder for the data of servers; not pytest's own, which only its owner may enter."""
    folder = Path(tempfile.mkdtemp(prefix="fanfare-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


# Redis


@pytest.fixture(scope="session")
def redis_server(services_folder: Path) -> Iterator[Redis]:
    """One Redis for all tests that only need one; don't stop it, and expect what other tests left."""
    need(services.redis_program)
    redis = Redis(services_folder)
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture
def redis_url(redis_server: Redis) -> str:
    """The URL of a real, empty Redis."""
    redis_server.command("FLUSHALL")
    return redis_server.url


@pytest.fixture(scope="session")
def valkey_server(services_folder: Path) -> Iterator[Redis]:
    """One Valkey for all tests that ask what it does otherwise than Redis."""
    valkey = Redis(services_folder, program=need(services.valkey_program))
    valkey.start()
    yield valkey
    valkey.kill()


@pytest.fixture
def valkey_url(valkey_server: Redis) -> str:
    """The URL of a real, empty Valkey."""
    valkey_server.command("FLUSHALL")
    return valkey_server.url


@pytest.fixture
def new_redis(services_folder: Path) -> Iterator[RedisFactory]:
    """Makes Redis servers of the test's own: new_redis(), new_redis(replica_of=primary).

    Each has url, port, command(), kill(), restart(), start(), pause() and resume().
    """
    need(services.redis_program)
    factory = RedisFactory(services_folder)
    yield factory
    factory.close()


# Databases


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One PostgreSQL for all tests; every module gets a database of its own in it."""
    need(services.postgres_programs)
    folder = Path(tempfile.mkdtemp(prefix="fanfare-postgres-"))
    folder.chmod(0o755)
    postgres = Postgres(folder)
    postgres.start()
    yield postgres
    postgres.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def pgbouncer() -> str:
    """The path of pgbouncer."""
    return need(services.pgbouncer_program)


@pytest.fixture(scope="module")
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """The URL, postgresql://…, of an empty database that this module has for itself."""
    url = postgres_server.create()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def new_postgres_database(postgres_server: Postgres) -> Iterator[Callable[[], str]]:
    """Makes empty databases for one test and gives their URLs."""
    made: list[str] = []

    def new() -> str:
        made.append(postgres_server.create())
        return made[-1]

    yield new
    for url in made:
        postgres_server.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database for this test, of each kind in turn, as DATABASE_URL takes it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'site.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    url = server.create()
    yield url
    server.drop(url)


# Browser and Node


@contextlib.asynccontextmanager
async def launched() -> AsyncIterator[object]:
    """A running Chromium as a playwright Browser."""
    program = need(services.chromium_program)
    from playwright.async_api import async_playwright, expect

    # What must come sooner says so; five seconds, the default, are a slow machine's business.
    expect.set_options(timeout=30_000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program,
            args=list(services.CHROMIUM_FLAGS),
            # Root may not use Chromium's sandbox.
            chromium_sandbox=os.geteuid() != 0,
        )
        yield browser
        await browser.close()


@pytest.fixture
async def chromium() -> AsyncIterator[object]:
    """A playwright Browser of the test's own: `page = await (await chromium.new_context()).new_page()`."""
    async with launched() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_chromium() -> AsyncIterator[object]:
    """One for the tests of a module that share a loop: `pytestmark = pytest.mark.asyncio(loop_scope="module")`."""
    async with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def node() -> str:
    """The path of Node.js."""
    return need(services.node_program)


@pytest.fixture(scope="session")
def curl() -> str:
    """The path of curl."""
    return need(services.curl_program)


@pytest.fixture(scope="session")
def old_pubcontrol() -> Path:
    """The folder with pubcontrol 3.4.0, for PYTHONPATH."""
    return need(lambda: services.older("pubcontrol", "3.4.0"))


@pytest.fixture(scope="session")
def old_django() -> Path:
    """The folder with Django 4.2, the oldest that is still supported, for PYTHONPATH."""
    return need(lambda: services.older("django", "4.2.30"))


@pytest.fixture(scope="session")
def node_modules(node: str) -> Path:
    """The folder node_modules, with the packages of package.json in it."""
    return need(services.node_folder)


# Pages


@pytest.fixture(scope="session")
def validator() -> Iterator[Server]:
    """The HTML validator; begun when it is first asked."""
    server = need(markup.validator)
    yield server
    server.close()


@pytest.fixture(scope="session")
def site_pages() -> Iterator[markup.Pages | None]:
    """The HTML that the site's answers have; None where there is no validator for it."""
    try:
        server = markup.validator()
    except Missing:
        # tests/web/guards say what is missing.
        yield None
        return
    pages = markup.Pages(server)
    with pytest.MonkeyPatch.context() as patch:
        markup.watch(pages, patch)
        yield pages
    server.close()


@pytest.fixture(scope="session")
def axe(site_pages: markup.Pages | None) -> Axe:
    """Looks at pages in a browser: whoever makes those hands them to it at the end of a test."""
    return Axe(site_pages)


@pytest.fixture(autouse=True)
def valid_pages(site_pages: markup.Pages | None, request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test in which the site answered with HTML that is none."""
    yield
    if site_pages is None:
        return
    if request.node.nodeid.partition("::")[0] in UNCHECKED:
        site_pages.forget()
    else:
        site_pages.check()


# The loop


@pytest.fixture
def blockbuster() -> Iterator[object]:
    """Fails the test that blocks the event loop: ask for it where the loop's time matters."""
    from blockbuster import blockbuster_ctx

    # Imports inside functions read files; that is not what the loop waits for in service.
    with blockbuster_ctx(excluded_modules=["importlib"]) as found:
        yield found


def skipped(terminalreporter: pytest.TerminalReporter) -> dict[str, int]:
    """How many tests did not run, for each reason."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        place = report.longrepr
        reason = place[2] if isinstance(place, tuple) else str(place)
        reason = reason.removeprefix("Skipped: ")
        reasons[reason] = reasons.get(reason, 0) + 1
    return reasons


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """With CI=true a test that did not run fails the run, whoever skipped it."""
    terminalreporter = session.config.pluginmanager.get_plugin("terminalreporter")
    is_worker = hasattr(session.config, "workerinput")
    if CI and terminalreporter is not None and not is_worker and skipped(terminalreporter) and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the very end what did not run, once for each reason."""
    reasons = skipped(terminalreporter)
    if reasons:
        terminalreporter.section("did not run" + (": a failure, as CI=true" if CI else ""))
        for reason, count in sorted(reasons.items()):
            terminalreporter.line(f"{count} test{'s' if count > 1 else ''}: {reason}")
