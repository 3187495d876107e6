"""`fanfare lab joins`, as it is run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from services import ROOT
from shell import Shell

from web.cli import COMMANDS
from web.features.joins.store import file_of

Joins = Callable[..., tuple[int, str, str]]


@pytest.fixture
def joins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Joins:
    shell = Shell(tmp_path, "web", "Fanfare on http://localhost:")

    def call(*arguments: str) -> tuple[int, str, str]:
        return shell.call(COMMANDS, "lab", "joins", *arguments, monkeypatch=monkeypatch, capsys=capsys)

    return call


def test_it_prints_a_table_and_what_it_says(joins: Joins, database_url: str) -> None:
    code, said, wrong = joins("--database", database_url, "--songs", "500", "--looks", "40", "--plans")
    assert (code, wrong) == (0, "")
    assert said.startswith("500 songs of 50 artists")
    lines = [line.split() for line in said.splitlines()]
    assert ["Join", "1", "40"] in [line[:3] for line in lines]
    assert "Join: 1 query" in said
    assert "Select-in: 2 queries" in said


def test_json_has_all_of_it_and_drop_takes_the_songs_away(joins: Joins, database_url: str) -> None:
    code, said, _ = joins("--database", database_url, "--songs", "500", "--looks", "20", "--json")
    assert code == 0
    assert [way["queries"] for way in json.loads(said)["ways"]] == [2, 1, 2]
    assert joins("--database", database_url, "--drop")[1].endswith(" is gone\n")
    assert joins("--database", database_url, "--drop")[1].endswith(" was not there\n")
    if database_url.startswith("sqlite"):
        assert not file_of(database_url.removeprefix("sqlite:///")).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--songs", "5"), "--songs: 5 is not between 100 and 5,000,000"),
        (("--seconds", "0"), "--seconds: 0 is not between 0 and 3600"),
        (("--seconds", "nan"), "--seconds: nan is not between 0 and 3600"),
        (("--looks", "0"), "--looks: 0 is less than 1"),
        (("--database", "x"), "--database: is not a URL"),
    ],
)
def test_what_is_wrong_is_one_line(joins: Joins, arguments: tuple[str, ...], words: str) -> None:
    code, said, wrong = joins(*arguments)
    assert (code, said) == (2, "")
    assert words in wrong


def test_docs_name_every_option() -> None:
    text = (ROOT / "docs" / "joins.md").read_text(encoding="utf-8")
    for option in ("--songs", "--seconds", "--plans", "--database", "--json", "--drop"):
        assert option in text
