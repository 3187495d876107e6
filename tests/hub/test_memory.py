"""Freed memory goes back to the kernel once the process is calm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hub.memory import FIRST_WORK, KEPT_BYTES, MOST_WORK, Held, Trimming, held, resident

MIB = 2**20


def test_nothing_is_given_back_while_there_is_work() -> None:
    trimming = Trimming(Held(80 * MIB))
    assert not trimming.is_calm(1.9, 2.0)
    assert trimming.is_calm(0.1, 2.0)
    assert trimming.is_due(Held(200 * MIB))


def test_calm_process_that_did_nothing_is_left_alone() -> None:
    trimming = Trimming(Held(80 * MIB))
    assert not any(trimming.is_calm(0.001, 2.0) and trimming.is_due(Held(80 * MIB)) for _ in range(900))


def test_growth_alone_is_reason_enough() -> None:
    trimming = Trimming(Held(80 * MIB))
    assert not trimming.is_due(Held(80 * MIB + KEPT_BYTES // 2))
    assert trimming.is_due(Held(81 * MIB + KEPT_BYTES // 2))
    trimming.done(Held(90 * MIB), Held(89 * MIB))
    assert not trimming.is_due(Held(89 * MIB))


def test_what_is_freed_after_a_vain_try_is_reason_enough() -> None:
    """Sockets left 64 MiB unread for seconds, in which the process was calm: nothing of it went back afterwards."""
    trimming = Trimming(Held(80 * MIB))
    assert trimming.is_due(Held(160 * MIB, 2 * MIB))
    trimming.done(Held(160 * MIB, 2 * MIB), Held(160 * MIB, 2 * MIB))
    assert not trimming.is_due(Held(160 * MIB, 2 * MIB))
    assert trimming.is_due(Held(160 * MIB, 66 * MIB))
    # What was given back is free, but not resident any more.
    trimming.done(Held(160 * MIB, 66 * MIB), Held(96 * MIB, 66 * MIB))
    assert not trimming.is_due(Held(96 * MIB, 66 * MIB))
    assert trimming.is_due(Held(160 * MIB, 66 * MIB))


def test_it_is_tried_more_rarely_where_it_brings_nothing() -> None:
    trimming = Trimming(Held(80 * MIB))
    assert trimming.is_calm(0.1 + FIRST_WORK, 20.0)
    assert trimming.is_due(Held(80 * MIB))
    trimming.done(Held(80 * MIB), Held(80 * MIB))
    assert trimming.is_calm(FIRST_WORK, 20.0)
    assert not trimming.is_due(Held(80 * MIB))
    assert trimming.is_calm(FIRST_WORK, 20.0)
    assert trimming.is_due(Held(80 * MIB))
    for _ in range(20):
        trimming.done(Held(80 * MIB), Held(80 * MIB))
    assert trimming.work == MOST_WORK
    trimming.done(Held(80 * MIB), Held(70 * MIB))
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


@pytest.mark.skipif(not held().free, reason="no mallinfo2 here")
def test_what_the_library_has_free_is_known() -> None:
    # Below the size from which glibc asks the kernel for each.
    blocks = [bytearray(100_000) for _ in range(100)]
    before = held().free
    del blocks[1::2]
    assert 4_000_000 < held().free - before < 6_000_000


@pytest.mark.skipif(not resident(), reason="no /proc here")
def test_holes_between_what_lives_are_given_back() -> None:
    """37 MiB stayed resident for good after a flood of compressed bodies, as something that lived lay behind them."""
    done = subprocess.run(
        [sys.executable, "-c", HOLES], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 16 * MIB, "the C library gave them back by itself: this test shows nothing"
