"""No page asks for its rows one by one: with ten times as many rows it makes the same number of queries."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import statements
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher
from planting import plant
from routes import ALIKE, BY_THE_CLOCK, EMPTY, fill, index, pages_of
from services import ROOT
from sqlalchemy import func, select
from sqlalchemy.orm import Mapped, configure_mappers, joinedload, mapped_column, registry, relationship
from sqlalchemy.schema import ForeignKey
from visiting import PASSWORD, Browser

from hub.follower import FakeFollowers
from hub.publisher import RecordingPublisher
from web.app import FEATURES, create_app, read_settings
from web.db.database import Database
from web.db.tables import Base
from web.feature import Feature, allow
from web.features.accounts.people import create_user
from web.features.events.models import Category, Event
from web.features.queries.asked import Asked, Unit
from web.features.queries.budgets import Budget, Count, count_of
from web.features.queries.budgets import over as budget_over
from web.features.queries.finding import as_text, find
from web.features.queries.plugin import QueryBudgets
from web.identity.passwords import Passwords
from web.identity.roles import Permission
from web.pages import keys
from web.pages.templating import render
from web.settings import Settings

FEW, MANY = 2, 20

GITHUB = {"GITHUB_CLIENT_ID": "x", "GITHUB_CLIENT_SECRET": "y", "GITHUB_ANYBODY": "true"}


@pytest.fixture
def settings(site_url: str) -> Settings:
    """Every page there can be, each made anew."""
    secret = {
        "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
        "JOBS_SERVE": "false",
        "SITE_PAGES": "off",
        "SEARCH_DIR": "memory",
    }
    return read_settings({"DATABASE_URL": site_url, **secret, **GITHUB})


@pytest.fixture
async def with_ada(database: Database, passwords: Passwords) -> Database:
    await create_user(database, passwords, "ada", PASSWORD)
    return database


class Walk:
    """Asks for pages, and knows what each of them asked the database for."""

    def __init__(self, browser: Browser, requests: list[Unit], caplog: pytest.LogCaptureFixture) -> None:
        self.browser = browser
        self._requests = requests
        self._caplog = caplog

    @property
    def unit(self) -> Unit:
        """What the last page asked."""
        return self._requests[-1]

    async def look(self, path: str) -> tuple[list[Asked], int]:
        """The statements of a page, and how long its answer is; 0 for one that is not for who asks."""
        response = await self.browser.look(path, allow_redirects=False)
        if response.status >= 500 or response.status == 404:
            raise AssertionError(self._why(path, response.status))
        return self.unit.asked, len(self.browser.page) if response.status == 200 else 0

    def _why(self, path: str, status: int) -> str:
        errors = [record.exc_info[1] for record in self._caplog.records if record.exc_info]
        return "\n".join([f"GET {path}: {status}", *(f"  {place(error)}: {error}" for error in errors if error)])


def place(error: BaseException) -> str:
    """The last line of ours, or of a template, that led to an error."""
    found = "elsewhere"
    for frame in traceback.extract_tb(error.__traceback__):
        name = frame.filename.removeprefix(f"{ROOT}/")
        if name.startswith(("web/", "templates/", "tests/")):
            found = f"{name}:{frame.lineno}"
    return found


@asynccontextmanager
async def walking(app: web.Application, who: str, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Walk]:
    """A walk through a site as a visitor or as a manager, ada."""
    requests = statements.listen(app)
    caplog.set_level(logging.ERROR)
    async with TestClient(TestServer(app)) as client:
        browser = Browser(client)
        if who == "manager":
            assert (await browser.sign_in()).status == 303
        with statements.noting():
            yield Walk(browser, requests, caplog)


async def compare(
    walk: Walk,
    paths: Sequence[str],
    more_rows: Callable[[], Awaitable[None]],
    over: Callable[[str, Count, Count], str] = lambda path, few, many: "",
) -> dict[str, bool]:
    """Fail for a page that makes another number of queries when there are more rows, and for one over its budget.

    Returns, by path, whether the page was shown and was longer then. over: what is wrong with what a page asks.
    """
    few = {path: await walk.look(path) for path in paths}
    await more_rows()
    grown, failures = {}, []
    for path in paths:
        asked, length = await walk.look(path)
        if loops := find([walk.unit], statements.is_test):
            failures.append(as_text(loops))
        before, shorter = few[path]
        if len(asked) != len(before):
            failures.append(
                f"GET {path}: {len(before)} statements with {FEW} rows of everything, {len(asked)} with {MANY}:\n"
                + (statements.more(before, asked) or statements.more(asked, before))
            )
        elif words := over(path, count_of(before), count_of(asked)):
            failures.append(words)
        grown[path] = length > shorter > 0
    if failures:
        raise AssertionError("\n".join(failures))
    return grown


def new_app(settings: Settings, publisher: RecordingPublisher, database: Database) -> web.Application:
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    return create_app(settings, publisher, database=database, following=FakeFollowers(), hasher=hasher)


@pytest.mark.parametrize("who", ["visitor", "manager"])
async def test_no_page_asks_more_often_for_more_rows(
    settings: Settings,
    publisher: RecordingPublisher,
    with_ada: Database,
    who: str,
    caplog: pytest.LogCaptureFixture,
    query_budgets: QueryBudgets,
) -> None:
    """Nor does one ask for more than its budget says, in queries or rows: `--write-budgets` writes those down."""
    query_budgets.sizes = (FEW, MANY)
    app = new_app(settings, publisher, with_ada)
    paths = pages_of(app)
    await fill(with_ada, 0, FEW)

    async def more_rows() -> None:
        await fill(with_ada, FEW, MANY)
        await index(app)

    async with walking(app, who, caplog) as walk:
        await index(app)
        grown = await compare(
            walk, paths, more_rows, lambda path, few, many: query_budgets.over(f"{who} GET {path}", few, many)
        )
    names = {f"{who} GET {path}" for path in paths}
    query_budgets.forget({each for each in query_budgets.known if each.startswith(f"{who} ")} - names)
    if who == "manager":
        # A page that shows none of the rows would prove nothing.
        alike = {path for path in paths if not grown[path]}
        assert sorted(alike - BY_THE_CLOCK) == sorted(set(ALIKE) - BY_THE_CLOCK), "see tests/web/guards/routes.py"


async def test_every_table_is_filled(with_ada: Database) -> None:
    await fill(with_ada, 0, FEW)
    async with with_ada.reading() as session:
        sizes = {
            name: await session.scalar(select(func.count()).select_from(table)) or 0
            for name, table in Base.metadata.tables.items()
        }
    few = sorted(name for name, size in sizes.items() if size < FEW)
    assert few == sorted(EMPTY), "put rows of these tables into `fill` of tests/web/guards/routes.py"


def lazy(models: registry) -> list[str]:
    """The relationships that load their rows when they are touched."""
    models.configure()
    return sorted(str(each) for mapper in models.mappers for each in mapper.relationships if each.lazy != "raise")


def test_no_relationship_loads_by_itself() -> None:
    """What a view forgot to load fails in its first test, rather than row by row."""
    configure_mappers()
    assert lazy(Base.registry) == []


# The guards themselves: each finds what is planted.


async def by_row(request: web.Request) -> web.Response:
    """A query for each event."""
    async with request.app[keys.database].reading() as session:
        events = await session.scalars(select(Event))
        names = [await session.scalar(select(Category.name).where(Category.id == one.category_id)) for one in events]
    return web.Response(text="\n".join(map(str, names)))


def planted(settings: Settings, view: Callable[[web.Request], Awaitable[web.Response]]) -> Settings:
    feature = Feature(name="planted", routes=allow(Permission.READ, web.get("/planted", view)))
    return Settings((*FEATURES, feature), settings.values)


async def test_page_with_a_query_for_each_row_is_found(
    settings: Settings, publisher: RecordingPublisher, with_ada: Database, caplog: pytest.LogCaptureFixture
) -> None:
    app = new_app(planted(settings, by_row), publisher, with_ada)
    await fill(with_ada, 0, FEW)
    line = by_row.__code__.co_firstlineno + 4
    with pytest.raises(AssertionError) as caught:
        async with walking(app, "visitor", caplog) as walk:
            await compare(walk, ["/", "/planted"], lambda: fill(with_ada, FEW, MANY))
    words = str(caught.value)
    assert words.startswith("GET /planted: ")
    assert f"times more, from tests/web/guards/test_queries.py:{line}: SELECT categories.name FROM categories" in words
    assert "GET /:" not in words


async def test_page_over_its_budget_is_found(
    settings: Settings, publisher: RecordingPublisher, with_ada: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """One query more, and always one: it names the page, before, after, and the statement with its line."""
    asks = [select(Event)]

    async def view(request: web.Request) -> web.Response:
        async with request.app[keys.database].reading() as session:
            found = [len(list(await session.scalars(one))) for one in asks]
        return web.Response(text=str(found))

    budgets: dict[str, Budget] = {}

    def over(path: str, few: Count, many: Count) -> str:
        now = Budget(few, many)
        return budget_over(path, budgets.setdefault(path, now), now, sizes=(FEW, MANY))

    app = new_app(planted(settings, view), publisher, with_ada)
    await fill(with_ada, 0, FEW)
    async with walking(app, "visitor", caplog) as walk:
        await compare(walk, ["/planted"], no_more_rows, over)
        asks.append(select(Category))
        with pytest.raises(AssertionError) as caught:
            await compare(walk, ["/planted"], no_more_rows, over)
    lines = str(caught.value).splitlines()
    assert lines[:2] == ["/planted is over its budget", "  queries: 1 before, 2 now, with 2 rows of everything"]
    line = view.__code__.co_firstlineno + 2
    assert f"    1 more: SELECT … FROM categories (tests/web/guards/test_queries.py:{line})" in lines


async def no_more_rows() -> None:
    """For those that compare a page with itself."""


async def test_template_that_reads_what_was_not_loaded_is_found(
    settings: Settings, publisher: RecordingPublisher, with_ada: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A template that touched a row's row asked for each of them; now it names its line."""

    async def view(request: web.Request) -> web.Response:
        async with request.app[keys.database].reading() as session:
            events = list(await session.scalars(select(Event).options(joinedload(Event.category))))
        return render(request, "planted.html", {"events": events})

    app = new_app(planted(settings, view), publisher, with_ada)
    plant(app, "planted.html", "<!doctype html>\n{% for event in events %}\n{{ event.thread.is_open }}\n{% endfor %}")
    await fill(with_ada, 0, FEW)
    with pytest.raises(AssertionError) as caught:
        async with walking(app, "visitor", caplog) as walk:
            await walk.look("/planted")
    expected = "GET /planted: 500\n  templates/planted.html:3: 'Event.thread' is not available due to lazy='raise'"
    assert str(caught.value) == expected


async def test_route_without_rows_is_named_with_what_to_do(settings: Settings, publisher: RecordingPublisher) -> None:
    with pytest.raises(AssertionError, match=r"^/planted: say in PAGES of tests/web/guards/routes.py at which"):
        pages_of(create_app(planted(settings, by_row), publisher))


def test_relationship_that_loads_by_itself_is_found() -> None:
    models = registry()

    @models.mapped
    class Shelf:
        __tablename__ = "shelves"
        id: Mapped[int] = mapped_column(primary_key=True)

    @models.mapped
    class Book:
        __tablename__ = "books"
        id: Mapped[int] = mapped_column(primary_key=True)
        shelf_id: Mapped[int] = mapped_column(ForeignKey("shelves.id"))
        shelf: Mapped[Shelf] = relationship()

    assert lazy(models) == ["Book.shelf"]
