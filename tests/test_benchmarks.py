"""The benchmark's table says what was measured, and says so when it was not."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import soak
from benchmarks.calm import LIMIT, Watch, used
from benchmarks.report import medians, missed, page, table, targets
from benchmarks.scenarios import Figures, Results
from hub.bench import cores

CALM = {"others": 0.01}
BUSY = {"others": 0.4}

#: Works for a second of CPU on the core that it is given.
STRANGER = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
while time.process_time() < 1: pass
print("worked", flush=True)
sys.stdin.read()
"""

ABOUT = {"date": "2026-11-25", "commit": "abc", "machine": "two cores"}


def results(more: Figures, fanfare: float = 700.0, nchan: float = 3.0) -> Results:
    return {"paced": {"Fanfare": {"p99_ms": fanfare, **more}, "Nchan": {"p99_ms": nchan, **more}}}


def test_a_latency_on_a_calm_machine_is_shown_and_judged() -> None:
    found = results(CALM)
    assert "| 700 |  | 3.00 |" in table(found)
    assert "**missed**" in targets(found)
    assert missed(found) == ["40 a second: ms of p99 above Nchan"]


def test_a_latency_beside_other_work_is_neither_shown_nor_judged() -> None:
    """It was once: 655 ms below Nchan's, and met."""
    found = results(BUSY, fanfare=25.3, nchan=681.0)
    assert "25.3" not in page(found, ABOUT)
    assert "| disturbed |  | disturbed |" in table(found)
    assert "not measured: disturbed" in targets(found)
    assert missed(found) == []


def test_cpu_seconds_beside_other_work_are_marked() -> None:
    found = {"connects": {"Fanfare": {"cpu_rate": 9450.0, **BUSY}, "Faye": {"cpu_rate": 3380.0, **BUSY}}}
    assert r"9,450\*" in table(found)
    assert r"**missed**\*" in targets(found)
    assert "up to 40%" in page(found, ABOUT)
    assert "isturbed" not in page({"connects": {"Fanfare": {"cpu_rate": 9450.0, **CALM}}}, ABOUT)


def test_a_disturbed_round_counts_only_where_no_round_was_calm() -> None:
    rounds = [{"p99_ms": 1.0, **CALM}, {"p99_ms": 90.0, **BUSY}, {"p99_ms": 3.0, **CALM}]
    assert medians(rounds) == {"p99_ms": 2.0, **CALM}
    assert medians(rounds[1:2]) == rounds[1]


def test_time_of_interrupts_and_time_that_was_taken_away_count_as_used() -> None:
    stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 0 50 900 7 1 2 47 0 0\ncpu1 100 0 0 900 0 0 0 0 0 0\nintr 5\n"
    assert used(stat, {0}) * 100 == 200
    assert used(stat, {0, 1}) * 100 == 300


def test_what_another_program_does_disturbs() -> None:
    command = [sys.executable, "-c", STRANGER, str(cores()[0])]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
        Watch() as watch,
    ):
        # Whoever was not waited for is a stranger.
        assert other.stdout is not None
        assert other.stdout.readline() == b"worked\n"
    assert watch.others > LIMIT


def soaked(minutes: int, *, kept: float = 0.0, open_files: float = 0.0) -> list[soak.Sample]:
    """A run of 5,000 connections of which 20 a second leave; kept: bytes of each, open_files: of a thousand."""
    samples = []
    for seconds in range(0, minutes * 60 + 1, 10):
        left = 20.0 * seconds
        samples.append(
            {
                "seconds": float(seconds),
                "resident": 80 * 2**20 + (seconds % 70) * 10_000 + kept * left,
                "descriptors": 5012.0 + seconds % 3 + left * open_files / 1000,
                "connections": 5000.0,
                "sessions": 5300.0,
                "left": left,
                "deliveries": 50.0 * seconds,
                "cut": 0.0,
                "cpu": 0.1 * seconds,
            }
        )
    return samples


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def test_a_soak_in_which_nothing_stays_behind_is_flat() -> None:
    assert soak.verdict(soaked(60), soak.WARM_SECONDS) == []
    assert "that is flat." in unwrapped(soak.words(soaked(60), soak.WARM_SECONDS, 0.02))


def test_a_hundred_bytes_kept_of_each_connection_are_found_in_an_hour() -> None:
    (wrong,) = soak.verdict(soaked(60, kept=100.0), soak.WARM_SECONDS) or []
    assert wrong.startswith("memory grew by")
    assert "not flat: memory grew" in unwrapped(soak.words(soaked(60, kept=100.0), soak.WARM_SECONDS, None))


def test_one_descriptor_in_a_thousand_that_stays_open_is_found_in_an_hour() -> None:
    (wrong,) = soak.verdict(soaked(60, open_files=1.0), soak.WARM_SECONDS) or []
    assert wrong.endswith("more descriptors than connections left open")


def test_a_short_soak_is_not_judged() -> None:
    assert soak.verdict(soaked(11, kept=100.0), soak.WARM_SECONDS) is None
    assert "too short" in unwrapped(soak.words(soaked(11), soak.WARM_SECONDS, None))


@pytest.mark.parametrize(("kept", "code"), [(0.0, 0), (200.0, 1)])
def test_a_soak_writes_its_page_and_fails_when_it_was_not_flat(
    kept: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = soaked(60, kept=kept)
    table, page = tmp_path / "soak.csv", tmp_path / "page.md"
    with table.open("w", newline="", encoding="ascii") as file:
        writer = csv.DictWriter(file, list(samples[0]))
        writer.writeheader()
        writer.writerows(samples)
    begin, end = soak.MARKS
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(soak, "PAGE", page)
    monkeypatch.setattr(soak, "draw", lambda samples: None)
    assert soak.main(["--draw", str(table)]) == code
    assert ("WRONG: memory grew" in capsys.readouterr().err) == bool(code)
    written = page.read_text(encoding="utf-8")
    assert written.startswith(f"before\n{begin}\nMeasured on")
    assert written.endswith(f"(soak.svg)\n{end}\nafter\n")
    assert "old" not in written
