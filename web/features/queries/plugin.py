"""For pytest: `-p web.features.queries.plugin`, or `pytest_plugins = ["web.features.queries.plugin"]` in conftest.py.

With `--n-plus-one`, or `n_plus_one = on` in the configuration, a test fails in which rows are asked for one by one,
with the line that asks and the loader to write. `queries` bounds what a block asks; `query_budgets` holds routes to
what a file says. SQLAlchemy, sync and async, and Django.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from . import budgets, finding, frameworks
from .asked import Asked, recorder
from .budgets import Budget, Count, count_of
from .places import Project
from .shapes import short

_ALLOWED = "n_plus_one_allowed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--n-plus-one`, `--write-budgets` and the settings."""
    group = parser.getgroup("queries")
    group.addoption(
        "--n-plus-one",
        nargs="?",
        const="on",
        default=None,
        choices=("on", "off", "report"),
        help="fail tests in which rows are asked for one by one; `report`: only say so at the end",
    )
    group.addoption("--write-budgets", action="store_true", help="write what routes ask into the file of budgets")
    parser.addini("n_plus_one", "fail tests in which rows are asked for one by one: on, off or report", default="off")
    parser.addini("n_plus_one_times", "questions of one shape from one line that are too many", default="3")
    parser.addini("n_plus_one_ignore", "lines or shapes to let pass: a part of one, # and the reason", type="linelist")
    parser.addini("n_plus_one_skip", "folders whose callers are meant: layers of the project's own", type="linelist")
    parser.addini("query_budgets", "the file of budgets", default="query_budgets.json")


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings; a bad one stops the run."""
    config.addinivalue_line("markers", f"{_ALLOWED}(reason): let this test ask for rows one by one")
    config.stash[_SESSION] = _Session(config)


class _Session:
    """What the plugin has for a run. config: pytest's."""

    def __init__(self, config: pytest.Config) -> None:
        mode = config.getoption("--n-plus-one") or config.getini("n_plus_one") or "off"
        self.mode = "on" if mode in {"true", "yes", "1"} else mode
        try:
            self.times = int(config.getini("n_plus_one_times"))
        except ValueError:
            self.times = 0
        if self.times < 2:
            raise pytest.UsageError("n_plus_one_times: a whole number, 2 or more")
        self.ignored = [_ignored(line) for line in config.getini("n_plus_one_ignore")]
        self.used: set[str] = set()
        skipped = tuple(config.getini("n_plus_one_skip"))
        self.project = Project(config.rootpath, config.getini("python_files"), skipped)
        self.budgets = QueryBudgets(
            config.rootpath / config.getini("query_budgets"), writes=bool(config.getoption("--write-budgets"))
        )
        if self.budgets.writes and getattr(config.option, "numprocesses", None):
            raise pytest.UsageError("--write-budgets: one process writes the file; say -n 0 too")

    def listen(self) -> None:
        """Listen to what has been imported by now."""
        recorder.project = self.project
        if "sqlalchemy.engine" in sys.modules:
            from . import alchemy

            alchemy.listen()
        if "django.db.backends.utils" in sys.modules:
            from . import django

            django.listen()
        frameworks.listen()

    def judge(self, units: list[Any]) -> list[finding.Finding]:
        """What is wrong, and not let pass."""
        found = finding.find(units, self.project.is_test, self.times)
        return [each for each in found if not self._is_ignored(each)]

    def _is_ignored(self, one: finding.Finding) -> bool:
        said = (str(one.place), one.shape, short(one.shape), one.relation)
        for text in self.ignored:
            if any(text in each for each in said):
                self.used.add(text)
                return True
        return False


_SESSION = pytest.StashKey[_Session]()
#: Of a test that is not failed for it.
_FOUND = pytest.StashKey[list[str]]()


def _ignored(line: str) -> str:
    text, sign, reason = (part.strip() for part in line.partition("#"))
    if not text or not sign or not reason:
        raise pytest.UsageError(f"n_plus_one_ignore: {line!r} has no reason: say a part of a line or statement # why")
    return text


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Watch a test, and fail it for what was asked row by row."""
    session = item.config.stash[_SESSION]
    mark = item.get_closest_marker(_ALLOWED)
    if mark is not None and not (mark.args and str(mark.args[0]).strip()):
        pytest.fail(f"{_ALLOWED} needs a reason", pytrace=False)
    if session.mode == "off" or mark is not None:
        return (yield)
    session.listen()
    with recorder.watching("the test") as units:
        done = yield
    found = session.judge(units)
    if found and session.mode == "on":
        pytest.fail(finding.as_text(found), pytrace=False)
    item.stash[_FOUND] = [str(each) for each in found]
    return done


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    """Put what was found beside the test's outcome: with pytest-xdist that alone gets to who tells the user."""
    report = yield
    if call.when == "call":
        report.n_plus_one = item.stash.get(_FOUND, [])
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was found, what is let pass for nothing, and which budgets can be smaller."""
    session = config.stash[_SESSION]
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    found = [(report.nodeid, each) for report in reports for each in getattr(report, "n_plus_one", ())]
    if found:
        terminalreporter.section("rows asked for one by one")
        for test, each in found:
            terminalreporter.line(f"{test}\n{each}")
    if session.budgets.below and not session.budgets.writes:
        count = len(session.budgets.below)
        words = "1 route asks" if count == 1 else f"{count} routes ask"
        terminalreporter.line(f"{words} less than they may; --write-budgets makes budgets smaller")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the budgets, if it was asked for."""
    session.config.stash[_SESSION].budgets.save()


class Queries:
    """Bounds what blocks ask."""

    def __init__(self, session: _Session) -> None:
        self._session = session

    @contextmanager
    def most(self, queries: int, *, rows: int | None = None) -> Iterator[list[Asked]]:
        """Raise AssertionError if this block asks more; what it asked is in the list afterwards."""
        asked: list[Asked] = []
        with self.asking(asked):
            yield asked
        count = count_of(asked)
        if count.queries > queries or (rows is not None and count.rows > rows):
            said = f"{count.queries} queries" + ("" if rows is None else f" for {count.rows} rows")
            bound = f"{queries}" + ("" if rows is None else f" for {rows}")
            lines = [f"  {times} times, from {', '.join(count.places[each])}: {each}" for each, times in _most(count)]
            raise AssertionError("\n".join([f"{said}, where {bound} are allowed:", *lines]))

    @contextmanager
    def asking(self, asked: list[Asked]) -> Iterator[None]:
        """Put what this block asks into a list."""
        self._session.listen()
        with recorder.watching("a block") as units:
            yield
        asked += [each for unit in units for each in unit.asked]


def _most(count: Count) -> list[tuple[str, int]]:
    return sorted(count.statements.items(), key=lambda each: -each[1])


class QueryBudgets:
    """Holds routes to a file. sizes: how many rows of everything there are, first and then."""

    def __init__(self, path: Path, *, writes: bool = False) -> None:
        self.path = path
        self.writes = writes
        self.sizes = (1, 10)
        self._asked: dict[str, Budget] = {}
        self._known: dict[str, Budget] | None = None

    @property
    def known(self) -> dict[str, Budget]:
        """What the file has. Raises ValueError for a file that is none."""
        if self._known is None:
            try:
                self._known = budgets.read(self.path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                self._known = {}
            except ValueError as error:
                raise ValueError(f"{self.path.name} {error}") from None
        return self._known

    def over(self, route: str, few: Count, many: Count) -> str:
        """What is wrong with a route, "" if nothing is; with --write-budgets what it asks is its budget."""
        now = Budget(few, many)
        self._asked[route] = budgets.larger(self._asked[route], now) if route in self._asked else now
        return budgets.over(route, now if self.writes else self.known.get(route), now, sizes=self.sizes)

    @property
    def below(self) -> list[str]:
        """Routes that asked less than they may, whatever database they asked in this run."""
        return [route for route, asked in self._asked.items() if budgets.below(self.known.get(route), asked)]

    def check(self, route: str, few: list[Asked], many: list[Asked]) -> None:
        """Raise AssertionError if a route is over its budget."""
        if words := self.over(route, count_of(few), count_of(many)):
            raise AssertionError(words)

    def forget(self, routes: set[str]) -> None:
        """Of routes that are no more: take them out of the file, or raise AssertionError that names them."""
        gone = sorted(set(self.known) & routes)
        if gone and not self.writes:
            raise AssertionError(f"{', '.join(gone)}: in {self.path.name}, and no route; --write-budgets takes it out")
        for route in gone:
            del self.known[route]

    def save(self) -> None:
        """Write the file, if it was asked for and there is something."""
        if self.writes and self._asked:
            self.path.write_text(budgets.write({**self.known, **self._asked}), encoding="utf-8")


@pytest.fixture
def queries(request: pytest.FixtureRequest) -> Queries:
    """`with queries.most(2):` raises AssertionError for a third query."""
    return Queries(request.config.stash[_SESSION])


@pytest.fixture
def query_budgets(request: pytest.FixtureRequest) -> QueryBudgets:
    """`query_budgets.check("GET /songs", few, many)`, with lists that `queries.asking` has filled."""
    return request.config.stash[_SESSION].budgets
