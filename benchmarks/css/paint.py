"""Measures bytes, requests and paint times with inlined CSS and with linked sheets, on an emulated slow connection.

python -m benchmarks.css.paint [--rounds 5] [--write]

The site runs with its demo content; Chromium loads the home page and a post. CDP's Network.emulateNetworkConditions
limits bandwidth and adds latency, as on a phone. "Before" is SITE_CSS_INLINE=off. Repeat visits are measured too: the
sheets are in the browser's cache then, and the page has links. `--write` puts the table into docs/css.md and draws
docs/images/css-paint.svg.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from playwright.async_api import async_playwright

from benchmarks.pages import site
from benchmarks.ports import free_port
from benchmarks.servers import HOST, ROOT

DOCS = ROOT / "docs" / "css.md"
CHART = ROOT / "docs" / "images" / "css-paint.svg"
BEGIN, END = "<!-- benchmarks.css.paint -->\n", "<!-- end of paint -->"

#: Name: bits a second down, and milliseconds that each request waits more. The first is Lighthouse's "slow 4G" as
#: DevTools gives it to requests.
LINES = {"slow 4G": (1_474_560, 562.5), "3G": (700_000, 900.0)}
FORMS = ("links", "inlined", "inlined, next page")

_SEEN = """
new Promise((resolve) => {
  new PerformanceObserver((list) => { window.__largest = list.getEntries().at(-1); })
    .observe({ type: "largest-contentful-paint", buffered: true });
  const look = () => {
    const [first] = performance.getEntriesByName("first-contentful-paint");
    if (!first || !window.__largest) { setTimeout(look, 50); return; }
    const page = performance.getEntriesByType("navigation")[0];
    const before = performance.getEntriesByType("resource").filter((each) => each.responseEnd <= first.startTime);
    // What the browser had is none.
    const asked = [page, ...before].filter((each) => each.transferSize > 0);
    resolve({
      first: first.startTime,
      largest: window.__largest.startTime,
      bytes: asked.reduce((sum, each) => sum + each.transferSize, 0),
      requests: asked.length,
      kept: before.length + 1 - asked.length,
    });
  };
  look();
})
"""


@dataclass(frozen=True, slots=True)
class Paint:
    """One page load. first, largest: milliseconds to First and Largest Contentful Paint. bytes, requests: sent over the
    network before the first paint. kept: files read from the browser's cache before it."""

    line: str
    page: str
    form: str
    first: float
    largest: float
    bytes: float
    requests: float
    kept: float


async def _paint(browser: Any, origin: str, path: str, line: str, *, other: str = "") -> dict[str, float]:
    """Load a page. other: a page to load first, so that its sheets are in the cache."""
    context = await browser.new_context(viewport={"width": 390, "height": 844}, device_scale_factor=2)
    page = await context.new_page()
    client = await context.new_cdp_session(page)
    await client.send("Network.enable")
    if other:
        await page.goto(origin + other, wait_until="load")
        # css.js puts the whole sheets in the styles' places.
        await page.wait_for_function("!document.querySelector('style[data-href]')")
        await page.wait_for_load_state("networkidle")
    bits, latency = LINES[line]
    limits = {"offline": False, "latency": latency, "downloadThroughput": bits / 8, "uploadThroughput": bits / 16}
    await client.send("Network.emulateNetworkConditions", limits)
    await page.goto(origin + path, wait_until="load")
    found: dict[str, float] = await page.evaluate(_SEEN)
    await context.close()
    return found


async def _all(rounds: int) -> list[Paint]:
    sys.path.insert(0, str(ROOT / "tests"))
    import services

    found = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=services.chromium_program(), args=list(services.CHROMIUM_FLAGS), chromium_sandbox=False
        )
        for forms, setting in ((FORMS[:1], "off"), (FORMS[1:], "on")):
            with tempfile.TemporaryDirectory(prefix="fanfare-paint-") as name:
                port = free_port()
                with site(Path(name), port, frozenset(os.sched_getaffinity(0)), SITE_CSS_INLINE=setting):
                    found += await _forms(browser, f"http://{HOST}:{port}", forms, rounds)
        await browser.close()
    return sorted(found, key=lambda each: (list(LINES).index(each.line), each.page, FORMS.index(each.form)))


async def _forms(browser: Any, origin: str, forms: Sequence[str], rounds: int) -> list[Paint]:
    home = await asyncio.to_thread(lambda: urlopen(origin + "/").read().decode())
    post = re.findall(r'href="(/posts/[\w-]+)"', home)
    pages = {"home": ("/", post[1]), "post": (post[0], "/")}
    found = []
    for line in LINES:
        for name, (path, other) in pages.items():
            for form in forms:
                once = [
                    await _paint(browser, origin, path, line, other=other if form == FORMS[2] else "")
                    for _ in range(rounds + 1)
                ][1:]
                middle = {key: statistics.median(each[key] for each in once) for key in once[0]}
                found.append(Paint(line, name, form, **middle))
                print(found[-1], flush=True)
    return found


def _table(paints: Sequence[Paint]) -> str:
    lines = [
        "| line | page | form | requests | bytes | first paint, ms | largest, ms |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for each in paints:
        had = f" (+{each.kept:.0f} kept)" if each.kept else ""
        lines.append(
            f"| {each.line} | {each.page} | {each.form} | {each.requests:.0f}{had} | {each.bytes:,.0f}"
            f" | {each.first:,.0f} | {each.largest:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def _draw(paints: Sequence[Paint]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    # The same figures give the same bytes, and text stays text.
    mpl.rcParams.update({"svg.hashsalt": "fanfare", "svg.fonttype": "none", "font.size": 9})
    cases = [(line, page) for line in LINES for page in ("home", "post")]
    figure, axes = pyplot.subplots(2, 2, figsize=(9.0, 3.6))
    colours = ["#7a8794", "#b3202c", "#d98a90"]
    for axis, (line, page) in zip(axes.flat, cases, strict=True):
        shown = [each for each in paints if (each.line, each.page) == (line, page)]
        axis.barh([each.form for each in shown], [each.largest for each in shown], color=colours)
        axis.invert_yaxis()
        axis.set_title(f"{page}, {line}", loc="left", fontsize=9)
        axis.margins(x=0.25)
        axis.xaxis.set_visible(False)
        for side in ("top", "right", "bottom"):
            axis.spines[side].set_visible(False)
        for place, each in enumerate(shown):
            axis.text(each.largest, place, f" {each.largest:,.0f} ms", va="center")
    figure.suptitle("Largest Contentful Paint", x=0.02, ha="left", fontsize=10)
    figure.tight_layout()
    figure.savefig(CHART, format="svg", metadata={"Date": None})


def main() -> int:
    """Print the table. Returns 1 if inlining delays the first paint of a first visit, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    found = parser.parse_args()
    paints = asyncio.run(_all(found.rounds))
    print(_table(paints))
    if found.write:
        text = DOCS.read_text("utf-8")
        before, _, rest = text.partition(BEGIN)
        DOCS.write_text(before + BEGIN + _table(paints) + END + rest.partition(END)[2], "utf-8")
        _draw(paints)
    by = {(each.line, each.page, each.form): each.largest for each in paints}
    return int(any(by[line, page, FORMS[1]] > by[line, page, FORMS[0]] for line, page, _ in by))


if __name__ == "__main__":
    raise SystemExit(main())
