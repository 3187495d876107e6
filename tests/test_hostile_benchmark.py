"""The benchmark of hostile clients runs, the hub stands, and the others are served."""

from __future__ import annotations

import os

import pytest

from benchmarks.hostile import ATTACKS, MARKS, PAGE, run, table


@pytest.mark.long
async def test_others_are_served_and_memory_stays_bounded_through_attacks() -> None:
    names, cores = ["handshakes", "frames", "batch"], os.sched_getaffinity(0)
    # On a machine that is never idle an attacker that leaves it to others would never attack.
    results = await run(names, 1.0, 1, lambda: os.nice(10))
    assert os.sched_getaffinity(0) == cores, "what comes after it has the whole machine"
    for name in names:
        figures = results[name]
        assert figures["sent"] > 0
        assert figures["p99"] < 15_000, "a loaded machine is slow, a starved client is for ever"
        assert figures["after"] < figures["before"] + 100 * 2**20
    assert table(results).count("\n") == 1 + len(names)


def test_every_attack_is_in_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(mark in page for mark in MARKS)
    assert all(f"| {attack.text} |" in page for attack in ATTACKS.values())
