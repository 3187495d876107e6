"""For pytest: `-p web.features.html.plugin`, or `pytest_plugins = ["web.features.html.plugin"]` in conftest.py.

`valid_html(response)` checks an answer of any test client. With `--valid-html`, or `valid_html = true` in the
configuration, every answer of aiohttp's, Django's and Flask's test clients is checked at the end of its test. Without
Java or vnu.jar tests that ask for `valid_html` are skipped, and the run says at its end that nothing was checked; with
`--valid-html=require` they fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import finding
from .checker import Checker
from .clients import Watch, document_of
from .documents import Document
from .filters import Filters, read_baseline
from .reports import as_text
from .server import Server
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
    parser.addini("valid_html_level", "of messages that make a page invalid: error, warning or info", default="error")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say at the end that nothing was checked, where it was to be: such a run has not seen that pages are good."""
    session = _Session(config)
    if session.mode == "on" and session.missing:
        terminalreporter.section("HTML could not be checked")
        terminalreporter.line(session.missing)


class _Session:
    """The validator of a run. config: pytest's."""

    def __init__(self, config: pytest.Config) -> None:
        mode = config.getoption("--valid-html") or config.getini("valid_html") or "off"
        self.mode = "on" if mode in {"true", "yes", "1"} else mode
        self.filters = Filters()
        baseline = config.getini("valid_html_baseline")
        if baseline:
            self.filters.filters += read_baseline((config.rootpath / baseline).read_text(encoding="utf-8"))
        # All workers of a run share one.
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())  # noqa: TID251  # xdist says it so
        self.server = Server(
            lambda: finding.command(finding.java(), finding.jar(folder=config.rootpath)), f"pytest-{run}"
        )
        self.checker = Checker(self.server, self.filters, level=config.getini("valid_html_level"))
        self.missing = self._missing(config.rootpath)

    def _missing(self, root: Path) -> str:
        try:
            finding.command(finding.java(), finding.jar(folder=root))
        except Unchecked as error:
            return str(error)
        return ""

    def need(self) -> None:
        """Skip the test, or fail it, where the validator is missing."""
        if self.missing:
            if self.mode == "require":
                pytest.fail(f"HTML could not be checked: {self.missing}", pytrace=False)
            pytest.skip(f"HTML could not be checked: {self.missing}")

    def require_valid(self, documents: list[Document]) -> None:
        """Raise AssertionError for what is invalid, and for what could not be checked: a test that can't look at a page
        has not seen that it is good."""
        verdicts = [self.checker.check(document) for document in documents]
        bad: list[Verdict] = [verdict for verdict in verdicts if verdict.outcome != "valid"]
        if bad:
            raise AssertionError(as_text(bad))


@pytest.fixture(scope="session")
def html_session(request: pytest.FixtureRequest) -> Iterator[_Session]:
    """What the plugin has for a run."""
    session = _Session(request.config)
    yield session
    session.server.close()


@pytest.fixture
def valid_html(html_session: _Session) -> ValidHtml:
    """`valid_html(response)`, or `valid_html(text, source="…", is_piece=True)`: raises AssertionError."""

    def check(answer: Any, *, source: str = "", is_piece: bool = False) -> None:
        html_session.need()
        html_session.require_valid([document_of(answer, source=source, is_piece=is_piece)])

    return check


@pytest.fixture(scope="session")
def _html_watch(html_session: _Session) -> Iterator[Watch | None]:
    if html_session.mode == "off" or (html_session.missing and html_session.mode != "require"):
        yield None
        return
    watch = Watch()
    with pytest.MonkeyPatch.context() as patch:
        watch.install(patch.setattr)
        yield watch


@pytest.fixture(autouse=True)
def _html_checked(_html_watch: Watch | None, html_session: _Session) -> Iterator[None]:
    yield
    if _html_watch is not None:
        documents = _html_watch.take()
        if documents:
            html_session.need()
            html_session.require_valid(documents)
