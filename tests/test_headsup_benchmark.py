"""A short run of the ledger of heads-ups: workers die, the mail server fails, and each remark arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import headsup

pytestmark = pytest.mark.long


def test_each_remark_reaches_each_recipient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path / 'headsup.db'}"
    good = headsup.ledger(url, "SQLite", deliveries=120, workers=2, pause=0.7, faults=1.0, patience=60.0)
    said = capsys.readouterr().out
    assert good, said
    assert "lost 0" in said
