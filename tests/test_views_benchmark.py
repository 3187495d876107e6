"""A short run of the ledger of views: a process is killed, and there are as many views as answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks import views

pytestmark = pytest.mark.long


def test_there_are_as_many_views_as_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = asyncio.run(views.ledger(tmp_path, f"sqlite:///{tmp_path / 'site.db'}", requests=600, kills=1))
    said = capsys.readouterr().out
    assert good, said
    assert "lost 0" in said
