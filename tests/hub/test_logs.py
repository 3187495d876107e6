"""The log's lines: a fixed message and facts, one line each, whatever the facts are."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from hub import logs
from hub.logs import JsonLines, TextLines


def record(message: str, **facts: object) -> logging.LogRecord:
    made = logging.LogRecord("hub.node", logging.INFO, "", 0, message, (), None)
    vars(made).update(facts)
    return made


def test_a_line_of_text_has_the_message_and_its_facts() -> None:
    line = TextLines().format(record("session ended", session="3f9a", reason="gone away", count=3, empty=""))
    assert line[8:] == ' INFO hub.node session ended session=3f9a reason="gone away" count=3 empty=""'


def test_a_fact_cannot_break_a_line_or_pass_for_another() -> None:
    line = TextLines().format(record("published", channel='a\nERROR x=1 "b"'))
    assert "\n" not in line
    assert line.endswith(r'channel="a\nERROR x=1 \"b\""')


def test_a_json_line_is_one_object_with_the_facts_in_it() -> None:
    line = JsonLines().format(record("published", channel="a\nb", error=ValueError("x"), level="not the level"))
    assert "\n" not in line
    entry = json.loads(line)
    assert (entry["message"], entry["channel"], entry["error"]) == ("published", "a\nb", "x")
    assert (entry["level"], entry["logger"]) == ("info", "hub.node")


def test_a_traceback_follows() -> None:
    made = record("failed")
    try:
        raise ValueError("the reason")
    except ValueError:
        made.exc_info = sys.exc_info()
    assert TextLines().format(made).endswith("ValueError: the reason")
    assert "ValueError: the reason" in json.loads(JsonLines().format(made))["exception"]


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    """Later tests of this process would log at debug, to a stream that is closed by then."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("logging_as_it_was")
def test_debug_lines_of_others_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """The database's driver wrote a dozen every two seconds, with the values of each statement."""
    logs.configure("debug", "text")
    for name in ("hub.node", "web.db", "aiosqlite", "asyncio", "hubble"):
        logging.getLogger(name).debug("at debug")
        logging.getLogger(name).info("at info")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[2] for line in lines if "at debug" in line] == ["hub.node", "web.db"]
    assert len([line for line in lines if "at info" in line]) == 5
