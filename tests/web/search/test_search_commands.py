"""`fanfare search`, as it is run, beside a site that is served; and what `/ready` says of Elasticsearch."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from engines import Noida
from shell import Shell

from web.cli import COMMANDS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, "web", "Fanfare on http://localhost:")


@pytest.fixture
def run(shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
        return shell.call(COMMANDS, "search", *arguments, monkeypatch=monkeypatch, capsys=capsys, **environ)

    return run


def _change(shell: Shell, *statements: str) -> None:
    """Change rows and tell nobody."""
    with closing(sqlite3.connect(shell.folder / "var" / "fanfare.sqlite3", timeout=10)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def _ready(shell: Shell) -> tuple[int, Any]:
    try:
        with urlopen(f"{shell.url}/ready", timeout=60) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def _until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for another process to get there."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def _indexed(shell: Shell) -> bool:
    try:
        with urlopen(f"{shell.url}/search.json?q=brass", timeout=60) as answer:
            return bool(json.load(answer)["total"])
    except HTTPError as error:
        error.close()
        return False


def test_check_compares_the_index_of_who_serves_with_the_database(
    shell: Shell, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shell.serving("serve"):
        _until(lambda: _indexed(shell))
        code, said, complaints = run("check")
        assert (code, complaints) == (0, "")
        assert said.endswith(" documents; none missing, no ghosts, none out of date\n")
        with closing(sqlite3.connect(shell.folder / "var" / "fanfare.sqlite3")) as connection:
            (id,) = connection.execute("select id from posts where state = 'published'").fetchone()
        _change(shell, f"update posts set state = 'draft' where id = {id}")
        code, said, complaints = run("check")
        assert code == 1
        ghosts = re.findall(r"[\w-]+", said.partition("ghosts: ")[2])
        assert f"post-{id}" in ghosts
        assert complaints == "`fanfare search reindex` builds the indexes anew\n"
        assert run("reindex")[0] == 0
        assert run("check")[0] == 0
    # Nobody is there: both waited for ever.
    monkeypatch.setattr("web.features.search.commands._CONNECT", 0.5)
    for command in ("check", "reindex"):
        assert (run(command)[0], run(command)[2]) == (1, "nobody who serves the site answered\n")


def test_it_asks_with_the_synonyms_and_the_pins_of_the_site(shell: Shell, run: Run) -> None:
    """It knew none of them, and found another thing than the page."""
    assert shell.run("demo").returncode == 0
    assert run("loudinstruments")[0] == 1
    _change(
        shell,
        "insert into search_synonyms (said, means) values ('loudinstruments', 'brass')",
        "insert into search_pins (said, url, title) values ('loudinstruments', '/events', 'All events')",
    )
    code, said, _ = run("loudinstruments")
    assert code == 0
    assert "/events/brass-on-the-quay" in said
    assert "pinned  /events  All events" in said


def test_it_asks_elasticsearch_as_noida_db_speaks_it_and_ready_says_that_it_is_away(
    shell: Shell, run: Run, tmp_path: Path
) -> None:
    """The command made an index of its own, whatever was configured; `/ready` was tried without a site."""
    noida = Noida(tmp_path / "noida")
    noida.launch()
    environ = {"ELASTICSEARCH_URL": noida.url, "SEARCH_INDEX": "site"}
    try:
        _until(noida.listens)
        with shell.serving("serve", **environ):
            _until(lambda: _indexed(shell))
            assert _ready(shell) == (200, {"ready": True} | _ready(shell)[1])
            code, said, _ = run("brass", **environ)
            assert (code, "/events/brass-on-the-quay" in said) == (0, True)
            assert run("check", **environ)[0] == 0
            noida.end()
            _until(lambda: _ready(shell)[0] == 503)
            assert _ready(shell)[1]["reason"].startswith("ELASTICSEARCH_URL: Elasticsearch does not answer")
            code, _, said = run("brass", **environ)
            assert (code, said) == (2, "fanfare: Elasticsearch does not answer: ConnectionError\n")
            noida.launch()
            _until(lambda: _ready(shell)[0] == 200)
            assert run("brass", **environ)[0] == 0
    finally:
        noida.end()
