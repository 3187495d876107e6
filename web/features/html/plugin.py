"""For pytest: `-p web.features.html.plugin`, or `pytest_plugins = ["web.features.html.plugin"]` in conftest.py.

`valid_html(response)` checks an answer of any test client. With `--valid-html`, or `valid_html = true` in the
configuration, every answer of aiohttp's, Django's and Flask's test clients is checked at the end of its test. Without
Java or vnu.jar tests that ask for `valid_html` are skipped, and the run says at its end that nothing was checked; with
`--valid-html=require` they fail.

What was said of a page is kept in pytest's cache: the validator is begun only for pages that no run has seen, and lives
on for the next run. Tests don't wait for it: what it says of a test's pages is told when it has said it, at the latest
when all tests are done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest

from . import finding
from .ahead import Ahead
from .checker import Checker
from .clients import Watch, document_of
from .documents import Document
from .filters import Filters, read_baseline
from .kept import Kept
from .reports import as_text
from .server import KEPT_SECONDS, Server
from .verdicts import Unchecked, Verdict

ValidHtml = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--valid-html` and the settings."""
    group = parser.getgroup("html")
    group.addoption(
        "--valid-html",
        nargs="?",
        const="on",
        default=None,
        choices=("on", "off", "require"),
        help="check every HTML answer of test clients; `require`: fail where the validator is missing",
    )
    parser.addini("valid_html", "check every HTML answer of test clients: on, off or require", default="off")
    parser.addini("valid_html_baseline", "a baseline file: what is let pass", default="")
    parser.addini(
        "valid_html_keep",
        "seconds that the validator lives on for the next run; 0 on a machine of CI",
        default=f"{KEPT_SECONDS:g}",
    )
    parser.addini("valid_html_level", "of messages that make a page invalid: error, warning or info", default="error")


@dataclass(frozen=True, slots=True)
class _Late:
    """What a test was answered with, and the validator has not seen yet."""

    test: str
    location: tuple[str, int | None, str]
    documents: list[Document]


class _Session:
    """The validator of a run. config: pytest's."""

    def __init__(self, config: pytest.Config) -> None:
        mode = config.getoption("--valid-html") or config.getini("valid_html") or "off"
        self.mode = "on" if mode in {"true", "yes", "1"} else mode
        #: Answers that nobody could look at, for want of a validator.
        self.unseen = 0
        self._root = config.rootpath
        self._patch = pytest.MonkeyPatch()
        self._late: list[_Late] = []
        # A worker of xdist can say nothing of a test that it has left, and who wants to stop at the first fault wants
        # to know it at once.
        self._waits = hasattr(config, "workerinput") or bool(config.getoption("maxfail"))
        filters = Filters()
        baseline = config.getini("valid_html_baseline")
        if baseline:
            filters.filters += read_baseline((config.rootpath / baseline).read_text(encoding="utf-8"))
        # All workers of a run share one, and it is kept for the next run; on a machine of CI there is none.
        is_ci = bool(os.environ.get("CI"))  # noqa: TID251  # CI's say it so, all of them
        kept = 0.0 if is_ci else float(config.getini("valid_html_keep"))
        self._server = Server(self._command, None, kept=kept)
        self._kept = self._found_kept(config)
        self._checker = Checker(self._server, filters, level=config.getini("valid_html_level"), kept=self._kept)
        self._ahead = Ahead(self._server, self._checker)

    @cached_property
    def missing(self) -> str:
        """Why there is no validator; "" if there is one."""
        return self._found if isinstance(self._found, str) else ""

    @cached_property
    def watch(self) -> Watch | None:
        """Hears what test clients are answered, from now on until the run ends."""
        if self.mode == "off":
            return None
        watch = Watch()
        watch.install(self._patch.setattr)
        return watch

    def begin(self) -> None:
        """Begin the validator before the first page, where no run has kept anything: all pages will be new."""
        if self.mode != "off" and self._kept is not None and self._kept.is_new and not self.missing:
            self._kept.begin()
            self._server.start()

    def need(self, documents: list[Document]) -> None:
        """Skip the test, or fail it, if the validator is missing and one of these isn't known."""
        if self._unknown(documents) and self.missing:
            if self.mode == "require":
                pytest.fail(f"HTML could not be checked: {self.missing}", pytrace=False)
            pytest.skip(f"HTML could not be checked: {self.missing}")

    def end_of_test(self, item: pytest.Item, documents: list[Document]) -> None:
        """Look at what a test was answered with: at once if it is known, else when the validator has said what it is.
        Raises AssertionError."""
        if not documents:
            return
        unknown = self._unknown(documents)
        if unknown and self.missing:
            self.unseen += len(unknown)
            if self.mode == "require":
                pytest.fail(f"HTML could not be checked: {self.missing}", pytrace=False)
            documents = [each for each in documents if each not in unknown]
        elif unknown and not self._waits:
            self._ahead.take(unknown)
            self._late.append(_Late(item.nodeid, item.location, documents))
            return
        self.require_valid(documents)

    def late(self, *, waits: bool) -> Iterator[pytest.TestReport]:
        """Reports of tests that were over before the validator had seen their pages, and had one that is not valid.
        waits: of all of them."""
        if not self._late:
            return
        self._ahead.go_on(waits=waits)
        while self._late and (waits or not self._unknown(self._late[0].documents)):
            each = self._late.pop(0)
            try:
                self.require_valid(each.documents)
            except AssertionError as error:
                yield pytest.TestReport(each.test, each.location, {}, "failed", str(error), "teardown")

    def require_valid(self, documents: list[Document]) -> None:
        """Raise AssertionError for what is invalid, and for what could not be checked: a test that can't look at a page
        has not seen that it is good."""
        verdicts = [self._checker.check(document) for document in documents]
        bad: list[Verdict] = [verdict for verdict in verdicts if verdict.outcome != "valid"]
        if bad:
            raise AssertionError(as_text(bad))

    def close(self) -> None:
        """Leave the validator, the test clients, and what is kept."""
        self._patch.undo()
        self._ahead.close()
        self._server.close()
        if self._kept is not None:
            self._kept.close()

    def _unknown(self, documents: list[Document]) -> list[Document]:
        return [each for each in documents if not self._checker.knows(each)]

    @cached_property
    def _found(self) -> list[str] | str:
        try:
            return finding.command(finding.java(), finding.jar(folder=self._root))
        except Unchecked as error:
            return str(error)

    def _command(self) -> list[str]:
        if isinstance(self._found, str):
            raise Unchecked(self._found)
        return self._found

    def _found_kept(self, config: pytest.Config) -> Kept | None:
        cache: pytest.Cache | None = getattr(config, "cache", None)
        if cache is None:
            return None
        try:
            return Kept(cache.mkdir("fanfare-html"), finding.identity(finding.jar(folder=self._root)))
        except (Unchecked, OSError):
            return None


_SESSION = pytest.StashKey[_Session]()


def _of(config: pytest.Config) -> _Session:
    found = config.stash.get(_SESSION, None)
    if found is None:
        found = config.stash[_SESSION] = _Session(config)
    return found


#: What a worker of xdist hands to the process that tells how it went.
_MISSING = "fanfare_html_missing"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin the validator, where all pages will be new; not in the process that only deals tests out."""
    is_worker = hasattr(session.config, "workerinput")
    if not session.config.option.collectonly and (is_worker or getattr(session.config.option, "dist", "no") == "no"):
        _of(session.config).begin()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Say which tests before this one had pages that are not valid, as soon as it is known."""
    result = yield
    _report(item.session, waits=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Say it of the rest, when all tests are done."""
    result = yield
    _report(session, waits=True)
    return result


def _report(session: pytest.Session, *, waits: bool) -> None:
    for report in _of(session.config).late(waits=waits):
        session.config.hook.pytest_runtest_logreport(report=report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let the validator go."""
    made = _of(session.config)
    made.close()
    if made.unseen and hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_MISSING] = (made.unseen, made.missing)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear what a worker of xdist could not look at."""
    unseen, why = (getattr(node, "workeroutput", None) or {}).get(_MISSING, (0, ""))
    if unseen:
        made = _of(node.config)
        made.unseen += unseen
        made.missing = why


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say at the end what was not checked, where it was to be: such a run has not seen that pages are good."""
    made = _of(config)
    if made.mode == "on" and made.unseen:
        terminalreporter.section("HTML could not be checked")
        terminalreporter.line(f"{made.unseen} pages: {made.missing}")


@pytest.fixture(scope="session")
def html_session(request: pytest.FixtureRequest) -> _Session:
    """What the plugin has for a run."""
    return _of(request.config)


@pytest.fixture
def valid_html(html_session: _Session) -> ValidHtml:
    """`valid_html(response)`, or `valid_html(text, source="…", is_piece=True)`: raises AssertionError."""

    def check(answer: Any, *, source: str = "", is_piece: bool = False) -> None:
        document = document_of(answer, source=source, is_piece=is_piece)
        html_session.need([document])
        html_session.require_valid([document])

    return check


@pytest.fixture(scope="session")
def _html_watch(html_session: _Session) -> Watch | None:
    # Not before the first test: Django is set up by then.
    return html_session.watch


@pytest.fixture(autouse=True)
def _html_checked(_html_watch: Watch | None, html_session: _Session, request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if _html_watch is not None:
        html_session.end_of_test(request.node, _html_watch.take())
