"""Let the pages come, and print the table; exit code 1 when one is deaf, refused, or hears what it left."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time

from playwright.async_api import async_playwright

from .cast import CAST, Outcome, head, line
from .stage import failures, staged

_CHROMIUM = ("--no-sandbox", "--disable-background-timer-throttling", "--disable-renderer-backgrounding")


async def run(pages: int, workers: list[int], ways: list[str], only: str) -> list[Outcome]:
    """Every row, printed as it comes."""
    outcomes: list[Outcome] = []
    cast = [part for part in CAST if only in str(part)]
    print(head(), flush=True)
    async with contextlib.AsyncExitStack() as stack:
        browser = None
        if any(part.place == "Chromium" for part in cast):
            playwright = await stack.enter_async_context(async_playwright())
            path = os.environ.get("CHROMIUM") or ("/usr/bin/chromium" if os.path.exists("/usr/bin/chromium") else None)
            browser = await playwright.chromium.launch(executable_path=path, args=_CHROMIUM)
        for count in workers:
            async with staged(count) as stage:
                for way in ways:
                    for part in cast:
                        outcomes.append(await stage.visit(part, way, pages, browser))
                        print(line(outcomes[-1].cells()), flush=True)
                        for each in failures(outcomes[-1:]):
                            print(f"  {each}", file=sys.stderr, flush=True)
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roaming", description=__doc__)
    parser.add_argument("--pages", type=int, default=300, help="of each kind")
    parser.add_argument("--workers", type=int, action="append", help="2 and 4 unless said; may be repeated")
    parser.add_argument("--way", action="append", choices=["direct", "nginx"], help="only this; may be repeated")
    parser.add_argument("--only", default="", metavar="TEXT", help="kinds with this in their name, as 'faye, Chromium'")
    found = parser.parse_args()
    began = time.monotonic()
    outcomes = asyncio.run(run(found.pages, found.workers or [2, 4], found.way or ["direct", "nginx"], found.only))
    print(f"\n{sum(each.pages for each in outcomes)} pages, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0 if all(each.is_good for each in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
