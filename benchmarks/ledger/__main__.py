"""Run the ledger and print its table; exit code 1 when something was lost without a word."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..report import circumstances, put
from ..servers import ROOT
from .accounts import percentile
from .faults import FAULTS
from .stage import Stage

MARKS = ("<!-- ledger begin -->", "<!-- ledger end -->")

HEADS = (
    "fault",
    "publications",
    "deliveries",
    "duplicates",
    "flagged losses",
    "silent losses",
    "heard after leaving",
    "kept pages given",
    "too old",
    "recovery p50 s",
    "p99 s",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One fault's figures. flagged: changes covered by fetches after "lost". strays: heard after leaving.

    pages: given as they were kept. old: of those, that lacked what was told long ago.
    """

    fault: str
    publications: int
    deliveries: int
    duplicates: int
    flagged: int
    silent: int
    strays: int
    pages: int
    old: int
    p50: float
    p99: float
    holes: tuple[str, ...] = ()
    arrivals: tuple[float, ...] = ()

    def cells(self) -> list[str]:
        numbers = (
            *(self.publications, self.deliveries, self.duplicates, self.flagged, self.silent, self.strays),
            *(self.pages, self.old),
        )
        return [self.fault, *(f"{number:,}" for number in numbers), f"{self.p50:.2f}", f"{self.p99:.2f}"]


async def run_fault(
    name: str, *, clients: int, workers: int, channels: int, rate: float, seconds: float, scale: float
) -> Row:
    """One fault on a fresh stage: quiet, fault, quiet, books closed."""
    persistent = name == "Redis restart, data kept"
    async with Stage(workers=workers, clients=clients, channels=channels, rate=rate, persistent=persistent) as stage:
        await asyncio.sleep(seconds / 3)
        began = time.monotonic()
        await FAULTS[name](stage, scale)
        recovery = await stage.recovery(30.0)
        await asyncio.sleep(seconds / 3)
        await stage.settle(30.0)
        accounts = stage.accounts() + stage.side_accounts()
        holes = tuple(f"{kind} {channel} {account.holes[:3]}" for kind, channel, account in accounts if account.silent)
        if holes:
            # What the workers said is gone with the stage.
            print(stage.log()[-4000:], file=sys.stderr)
        return Row(
            name,
            stage.publications,
            sum(account.deliveries for _, _, account in accounts),
            sum(account.duplicates for _, _, account in accounts),
            sum(account.flagged for _, _, account in accounts),
            sum(account.silent for _, _, account in accounts),
            stage.strays,
            sum(page.given for page in stage.pages()),
            sum(page.old for page in stage.pages()),
            percentile(recovery, 0.5),
            percentile(recovery, 0.99),
            holes[:5],
            tuple(when - began for client in stage.clients for when in client.arrivals if when > began),
        )


def histogram(arrivals: tuple[float, ...], width: float = 0.5) -> str:
    """When clients came back, seconds after the fault began, a line a bin."""
    if not arrivals:
        return ""
    bins = [0] * (int(max(arrivals) / width) + 1)
    for when in arrivals:
        bins[int(when / width)] += 1
    most = max(bins)
    return "\n".join(f"{n * width:5.1f} s {count:6} {'#' * round(count * 50 / most)}" for n, count in enumerate(bins))


def command(words: Sequence[str]) -> str:
    """How to make this run again."""
    words = [word for word in words if word != "--write"]
    return f'make chaos ARGS="{shlex.join(words)}"' if words else "make chaos"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--channels", type=int, default=10)
    parser.add_argument("--rate", type=float, default=40.0, help="changes a second of each channel")
    parser.add_argument("--seconds", type=float, default=9.0, help="quiet time around a fault")
    parser.add_argument("--scale", type=float, default=1.0, help="how long faults last, of their usual time")
    parser.add_argument("--fault", action="append", choices=list(FAULTS), help="only this one; may be repeated")
    parser.add_argument("--histogram", action="store_true", help="print when clients came back")
    parser.add_argument("--write", action="store_true", help="put the table into docs/promise.md")
    found = parser.parse_args()
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    print("\n".join(lines), flush=True)
    began = time.monotonic()
    rows = []
    for name in found.fault or FAULTS:
        row = asyncio.run(
            run_fault(
                name,
                clients=found.clients,
                workers=found.workers,
                channels=found.channels,
                rate=found.rate,
                seconds=found.seconds,
                scale=found.scale,
            )
        )
        rows.append(row)
        lines.append("| " + " | ".join(row.cells()) + " |")
        print(lines[-1], flush=True)
        if found.histogram:
            print(histogram(row.arrivals), file=sys.stderr, flush=True)
        for hole in row.holes:
            print(f"  {hole}", file=sys.stderr, flush=True)
    total = Row(
        "**all**",
        sum(row.publications for row in rows),
        sum(row.deliveries for row in rows),
        sum(row.duplicates for row in rows),
        sum(row.flagged for row in rows),
        sum(row.silent for row in rows),
        sum(row.strays for row in rows),
        sum(row.pages for row in rows),
        sum(row.old for row in rows),
        max(row.p50 for row in rows),
        max(row.p99 for row in rows),
    )
    lines.append("| " + " | ".join(total.cells()) + " |")
    print(lines[-1])
    seconds = time.monotonic() - began
    print(f"\n{found.clients} clients, {found.workers} workers, {seconds:.0f} s", file=sys.stderr)
    if found.write:
        about = circumstances(())
        text = (
            f"Measured on {about['date']} at commit {about['commit']}: {about['machine']}; {seconds / 60:.0f} minutes. "
            f"{found.clients} clients (WebSockets of Bayeux and plain, long-polling, Server-Sent Events, followers, "
            f"fanout.js), "
            f"{found.workers} workers, {found.channels} channels with up to {found.rate:g} changes a second each: "
            f"`{command(sys.argv[1:])}`."
        )
        table = "\n".join(lines)
        put(ROOT / "docs/promise.md", MARKS, f"{table}\n\n{textwrap.fill(text, 120)}\n")
    return 1 if total.silent or total.strays or total.old else 0


if __name__ == "__main__":
    sys.exit(main())
