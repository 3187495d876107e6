"""What checking all HTML costs a suite of a hundred pages (examples/html/hundred).

    python -m benchmarks.html [--rounds 3]

The suite runs in four ways: without the plugin; with it, with nothing known and no validator begun; with nothing known
and the validator that a run before has left; and with what a run has kept of each page. The four are run in turns, so
that what else the machine does counts for all alike. CPU has all processes in it, the validator's too. The pages are
fine: a run of each kind passes.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import signal
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

_KINDS = ("not checked", "nothing known", "nothing known, validator left by a run before", "all known")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks.html", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="3 by default")
    rounds = parser.parse_args().rounds
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        sys.exit("a validator's CPU time can't be had here")
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in _KINDS}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            found[_KINDS[0]].append(_run(folder, "0"))
            found[_KINDS[1]].append(_run(folder, "1", checked=True))
            # The run that leaves it is not counted.
            _run(folder, "2", checked=True, left=True)
            found[_KINDS[2]].append(_run(folder, "3", checked=True, left=True))
            _end_all()
            found[_KINDS[3]].append(_run(folder, "1", checked=True))
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
    print("load:", *(f"{each:.1f}" for each in os.getloadavg()))


def _run(folder: str, cache: str, *, checked: bool = False, left: bool = False) -> tuple[float, float]:
    """CPU and clock of a run. cache: the name of what it keeps. left: the validator lives on."""
    before, begun = _cpu(), time.monotonic()
    checking = ("--valid-html=require", "-o", f"valid_html_keep={600 if left else 0}") if checked else ()
    environ = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", f"cache_dir={folder}/{cache}", *checking],
        cwd=_FOLDER,
        capture_output=True,
        text=True,
        check=False,
        env={**environ, "PYTHONPATH": str(_FOLDER.parents[2]), "TMPDIR": folder},
    )
    clock = time.monotonic() - begun
    if "100 passed" not in done.stdout or done.returncode:
        sys.exit(done.stdout[-2000:])
    if not left:
        # The validator ends when its last user has.
        with suppress(ChildProcessError):
            while True:
                os.wait()
    return _cpu() - before, clock


def _cpu() -> float:
    """Seconds that all our processes took, those that live too."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = used.ru_utime + used.ru_stime
    for pid in _living():
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            # utime, stime, cutime, cstime of proc(5); the first field here is the third there.
            found += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return found


def _living() -> list[int]:
    """The processes that this one started, directly or not."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found, ours = [], {os.getpid()}
    while ours := {pid for pid, parent in parents.items() if parent in ours}:
        found += sorted(ours)
    return found


def _end_all() -> None:
    """End the validator, and wait for it."""
    for pid in _living():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.wait()


if __name__ == "__main__":
    main()
