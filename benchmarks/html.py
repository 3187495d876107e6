"""What checking all HTML costs a suite of a hundred pages (examples/html/hundred).

    python -m benchmarks.html [--rounds 3]

The suite runs without the plugin, with it and nothing known, and once more with what that run has kept: in turns, so
that what else the machine does counts for all alike. CPU has all processes in it, the validator's too. The pages are
fine: a run of each kind passes.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "examples" / "html" / "hundred"

#: Of prctl(2): processes that outlive their parent become ours, so that what they took is told to us.
_PR_SET_CHILD_SUBREAPER = 36

_KINDS = ("not checked", "nothing known", "all known")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks.html", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="3 by default")
    rounds = parser.parse_args().rounds
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        sys.exit("a validator's CPU time can't be had here")
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in _KINDS}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            for kind in _KINDS:
                found[kind].append(_run(cache, *(() if kind == _KINDS[0] else ("--valid-html=require",))))
    print("| 100 pages | CPU, s | more | clock, s | more |")
    print("|---|---:|---:|---:|---:|")
    plain = found[_KINDS[0]]
    for kind in _KINDS:
        cells = []
        for n in range(2):
            cells.append(f"{statistics.median(each[n] for each in found[kind]):.2f}")
            # Each against the run beside it.
            more = statistics.median(
                with_[n] / without[n] - 1 for with_, without in zip(found[kind], plain, strict=True)
            )
            cells.append("" if kind == _KINDS[0] else f"{100 * more:.1f} %")
        print(f"| {kind} | {' | '.join(cells)} |")


def _run(cache: str, *arguments: str) -> tuple[float, float]:
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", f"cache_dir={cache}", *arguments],
        cwd=_FOLDER,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(_FOLDER.parents[2])},
    )
    clock = time.monotonic() - begun
    if "100 passed" not in done.stdout or done.returncode:
        sys.exit(done.stdout[-2000:])
    # The validator ends when its last user has.
    with suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, clock


if __name__ == "__main__":
    main()
