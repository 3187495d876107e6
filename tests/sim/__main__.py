"""Run simulated hubs: python -m tests.sim --seeds 200000 --jobs 2, or --seed 17 for one of them, step by step."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterable

from .sealed import sealed
from .stories import shorten, tell, write, write_rights

#: Seeds a process takes at a time.
_PIECE = 250

#: Seeds after which it is said how far they are.
_TELL = 10_000


def _run(piece: tuple[int, int, int, int, bool]) -> tuple[int, Counter[str], list[tuple[int, str]]]:
    first, count, steps, workers, rights = piece
    counts: Counter[str] = Counter()
    broken: list[tuple[int, str]] = []
    with sealed() as seal:
        for seed in range(first, first + count):
            story = (write_rights if rights else write)(seed, steps, workers)
            ending = tell(story, seal)
            counts.update(ending.counts)
            counts["steps"] += len(story.steps)
            counts[f"weather {story.weather}"] += 1
            if ending.broken:
                broken.append((seed, ending.broken[0]))
    return count, counts, broken


def replay(seed: int, steps: int, workers: int, *, rights: bool, short: bool) -> int:
    """Tell one story with all that happens in it."""
    with sealed() as seal:
        story = (write_rights if rights else write)(seed, steps, workers)
        if short and tell(story, seal).broken:
            story = shorten(story, seal)
        ending = tell(story, seal, traced=True)
    print(story)
    if short:
        # For a test: tests/sim/test_simulator.py
        print(f"\n{story!r}")
    print()
    print("\n".join(ending.trace))
    print()
    print("\n".join(f"BROKEN: {each}" for each in ending.broken) or "All promises were kept.")
    return bool(ending.broken)


def many(first: int, seeds: int, steps: int, workers: int, jobs: int, most: int, *, rights: bool) -> int:
    """Tell many stories and count."""
    began = time.perf_counter()
    pieces = [
        (start, min(_PIECE, first + seeds - start), steps, workers, rights)
        for start in range(first, first + seeds, _PIECE)
    ]
    done, counts, broken = 0, Counter[str](), []
    with multiprocessing.Pool(jobs) as pool:
        results: Iterable[tuple[int, Counter[str], list[tuple[int, str]]]]
        results = pool.imap_unordered(_run, pieces) if jobs > 1 else map(_run, pieces)
        for count, more, failures in results:
            if (done + count) // _TELL > done // _TELL and done + count < seeds:
                rate = (done + count) / (time.perf_counter() - began)
                left = (seeds - done - count) / rate
                print(f"{done + count:,} of {seeds:,}, {rate:.0f} a second, {left:.0f} s to go", file=sys.stderr)
            done += count
            counts.update(more)
            for seed, words in failures:
                if len(broken) < most:
                    print(f"seed {seed}: {words}", flush=True)
                broken.append((seed, words))
            if len(broken) >= most:
                break
    seconds = time.perf_counter() - began
    for name, number in sorted(counts.items()):
        print(f"{number:14,}  {name}")
    print(f"{done:14,}  seeds in {seconds:.1f} s, {done / seconds:.0f} a second")
    print(f"{len(broken):14,}  seeds with broken promises")
    return bool(broken)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one, with a trace of all that happens")
    parser.add_argument("--short", action="store_true", help="with --seed: drop the steps that are not needed")
    parser.add_argument("--seeds", type=int, default=2000, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--steps", type=int, default=30, help="steps of each story")
    parser.add_argument("--workers", type=int, default=0, help="2 to 4, as the seed says, unless this says otherwise")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--most", type=int, default=20, help="broken seeds after which to stop")
    parser.add_argument("--rights", action="store_true", help="stories of tokens that expire and users who are kicked")
    found = parser.parse_args()
    if found.seed is not None:
        return replay(found.seed, found.steps, found.workers, rights=found.rights, short=found.short)
    return many(found.first, found.seeds, found.steps, found.workers, found.jobs, found.most, rights=found.rights)


if __name__ == "__main__":
    sys.exit(main())
