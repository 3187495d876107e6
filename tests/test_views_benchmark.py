"""Short runs of the benchmarks of views: as many views as answers though a process is killed, and what one costs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks import views


@pytest.mark.long
def test_there_are_as_many_views_as_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = asyncio.run(views.ledger(tmp_path, f"sqlite:///{tmp_path / 'site.db'}", requests=600, kills=1))
    said = capsys.readouterr().out
    assert good, said
    assert "lost 0" in said


def test_what_an_answer_costs_is_told_in_three_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(views.note(tmp_path, requests=2000, pairs=2))
    said = capsys.readouterr().out.splitlines()
    parts = ["answered by the application", "given again", "added up and written"]
    assert [line.partition(":")[0] for line in said] == parts
    assert "added up and written: 0.00" not in said[2]


def test_a_median_is_as_sure_as_there_are_pairs() -> None:
    # One of six pairs lies beyond: 2 in 64 that the median does too. Of twelve, two on each side may be left out.
    assert views._interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]) == "median; 1.0 to 6.0 with 97%"
    assert views._interval([float(each) for each in range(12)]) == "median; 2.0 to 9.0 with 96%"
