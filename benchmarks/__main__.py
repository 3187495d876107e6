"""`python -m benchmarks`: measure, print the table, and with --write put it into the pages."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from hub.bench import LoadFailed

from . import report
from .calm import Watch
from .scenarios import FULL, QUICK, SCENARIOS, Figures, Scenario, Size
from .servers import ROOT, Fanfare, Faye, Nchan, SendLoop, Subject

SUBJECTS: tuple[type[Subject], ...] = (Fanfare, Faye, Nchan, SendLoop)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, fewer connections")
    parser.add_argument("--rounds", type=int, metavar="N", help="repeat each run N times")
    parser.add_argument(
        "--only", action="append", metavar="ROW", choices=[row.name for row in SCENARIOS], help="a row; again for more"
    )
    parser.add_argument(
        "--server", action="append", metavar="NAME", choices=[s.name for s in SUBJECTS], help="a server; again for more"
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures here")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.*")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    args = parser.parse_args()

    size = QUICK if args.quick else FULL
    rounds = args.rounds or size.rounds
    subjects = []
    for kind in SUBJECTS:
        subject = kind()
        if args.server and subject.name not in args.server:
            continue
        if reason := subject.missing():
            print(f"{subject.name} is left out: {reason}", file=sys.stderr)
        else:
            subjects.append(subject)
    if len(os.sched_getaffinity(0)) < 2:
        print("There is one core only: server and generator share it, so ratios alone mean something.", file=sys.stderr)

    started = time.monotonic()
    runs: dict[str, dict[str, list[Figures]]] = {}
    failures: list[str] = []
    # Round by round, so that a disturbance of minutes falls on all servers alike.
    for number in range(rounds):
        # And within a round what is measured more than once comes again after all else.
        for row in _order():
            if (args.only and row.name not in args.only) or (row.once and number):
                continue
            for subject in subjects:
                if type(subject) in row.servers:
                    figures = _one(row, subject, number, rounds, failures, size=size)
                    if figures is not None:
                        runs.setdefault(row.name, {}).setdefault(subject.name, []).append(figures)
    results = {
        row: {server: report.medians(found) for server, found in servers.items()} for row, servers in runs.items()
    }
    about = report.circumstances(subjects)
    about["rounds"] = "one round" if rounds == 1 else f"medians of {rounds} rounds"
    about["took"] = f"{(time.monotonic() - started) / 60:.0f} minutes"
    text = report.page(results, about)
    print(text)
    for failure in failures:
        print(failure, file=sys.stderr)
    everything = {"about": about, "medians": results, "runs": runs}
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(everything, file, indent=1)
    if args.write:
        report.RESULTS.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
        report.plot(results, report.PLOT)
        for path in report.write_pages(text):
            print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)
    return 1 if failures or (args.strict and report.missed(results)) else 0


def _order() -> list[Scenario]:
    """The runs of a round."""
    most = max(row.times for row in SCENARIOS)
    return [row for again in range(most) for row in SCENARIOS if again < row.times]


def _one(
    row: Scenario, subject: Subject, number: int, rounds: int, failures: list[str], *, size: Size
) -> Figures | None:
    """One run, or None when it does not count; why is added to `failures`."""
    started = time.monotonic()
    try:
        with Watch() as watch:
            figures = row.measure(subject, size)
    except LoadFailed as error:
        failures.append(f"{row.name}, {subject.name}, round {number + 1}: {error}")
        print(failures[-1], file=sys.stderr)
        return None
    figures["others"] = watch.others
    note = "".join(f" {name} {report.figure(value)}" for name, value in figures.items())
    print(
        f"{number + 1}/{rounds} {row.name:13} {subject.name:8}{note} ({time.monotonic() - started:.0f} s)",
        file=sys.stderr,
    )
    return figures


if __name__ == "__main__":
    raise SystemExit(main())
