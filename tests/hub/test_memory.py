"""Freed memory goes back to the kernel once the process is calm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hub.memory import FIRST_WORK, KEPT_BYTES, MOST_WORK, Trimming, resident

MIB = 2**20


def test_nothing_is_given_back_while_there_is_work() -> None:
    trimming = Trimming(80 * MIB)
    assert not trimming.is_due(1.9, 2.0, 200 * MIB)
    assert trimming.is_due(0.1, 2.0, 200 * MIB)


def test_calm_process_that_did_nothing_is_left_alone() -> None:
    trimming = Trimming(80 * MIB)
    assert not any(trimming.is_due(0.001, 2.0, 80 * MIB) for _ in range(900))


def test_growth_alone_is_reason_enough() -> None:
    trimming = Trimming(80 * MIB)
    assert not trimming.is_due(0.01, 2.0, 80 * MIB + KEPT_BYTES // 2)
    assert trimming.is_due(0.01, 2.0, 81 * MIB + KEPT_BYTES // 2)
    trimming.done(90 * MIB, 89 * MIB)
    assert not trimming.is_due(0.01, 2.0, 89 * MIB)


def test_it_is_tried_more_rarely_where_it_brings_nothing() -> None:
    trimming = Trimming(80 * MIB)
    assert trimming.is_due(0.1 + FIRST_WORK, 20.0, 80 * MIB)
    trimming.done(80 * MIB, 80 * MIB)
    assert not trimming.is_due(FIRST_WORK, 20.0, 80 * MIB)
    assert trimming.is_due(FIRST_WORK, 20.0, 80 * MIB)
    for _ in range(20):
        trimming.done(80 * MIB, 80 * MIB)
    assert trimming.work == MOST_WORK
    trimming.done(80 * MIB, 70 * MIB)
    assert trimming.work == FIRST_WORK


#: Blocks as bodies are, with something that lives between each two: the end of the heap is never free.
HOLES = """
import asyncio
from hub.memory import give_back, keep_memory, resident
keep_memory()
blocks, living = [], []
for number in range(640):
    blocks.append(bytearray(100_000))
    living.append(bytearray(2_000))
full = resident()
blocks.clear()
kept = resident()
async def main():
    task = asyncio.create_task(give_back(0.05))
    # What was full when it began to look was not grown since: work makes it due.
    while sum(range(100_000)) and resident() > full - 48 * 2**20:
        await asyncio.sleep(0.005)
    task.cancel()
asyncio.run(asyncio.wait_for(main(), 60))
print(full - kept)
"""


@pytest.mark.skipif(not resident(), reason="no /proc here")
def test_holes_between_what_lives_are_given_back() -> None:
    """37 MiB stayed resident for good after a flood of compressed bodies, as something that lived lay behind them."""
    done = subprocess.run(
        [sys.executable, "-c", HOLES], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 16 * MIB, "the C library gave them back by itself: this test shows nothing"
