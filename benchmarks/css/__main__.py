"""Compares Fanfare's CSS pruning with PurgeCSS and Beasties: bytes of CSS left, elements whose computed style differs
from the original page, and time. Input: pages of CSS frameworks, pages that npm packages contain, the site's own pages.

python -m benchmarks.css DIR/node_modules --fetch        install frameworks, pages and other tools with npm
python -m benchmarks.css DIR/node_modules --write        run everything and write the table into docs/css.md
python -m benchmarks.css --time                          measure only CPU: the site's pages, and compiling plans
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from playwright.async_api import async_playwright

from web.features.css.inline import Sheets, inline
from web.features.css.plan import compile_sheet

from . import own
from .frameworks import Sample, fetch, samples
from .same import ALL, ONE, Forms

ORIGIN = "https://bench.example"
HTML = "text/html; charset=utf-8"
TOOLS = {
    "fanfare": "Fanfare",
    "purgecss": "PurgeCSS 8.0.0",
    "beasties": "Beasties 0.5.4",
    "compiled": "Beasties, compiled",
}
DOCS = own.ROOT / "docs" / "css.md"
BEGIN, END = "<!-- benchmarks.css -->\n", "<!-- end -->"


@dataclass(slots=True)
class Row:
    """Results for one page, or for all pages of the site together; each dict has one entry per tool. left: bytes of CSS
    in the result, None if the tool failed; wrong: elements whose style differs in at least one look; ms: CPU or clock
    milliseconds for one page, without compiling the plan; plan: milliseconds to compile the plan."""

    name: str
    size: int = 0
    elements: int = 0
    left: dict[str, int | None] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)
    ms: dict[str, float] = field(default_factory=dict)
    plan: dict[str, float] = field(default_factory=dict)

    def cells(self) -> list[str]:
        """The cells of its row in the table."""
        cells = [self.name, f"{self.size:,}", f"{self.elements:,}"]
        for tool in TOOLS:
            left = self.left.get(tool)
            cells.append("failed" if left is None else f"{left:,}, {self.wrong[tool]:,}, {_short(self.ms[tool])}")
        return cells


def main() -> int:
    """Print the table. Returns 1 if Fanfare changed the computed style of any element, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", type=Path, nargs="?")
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument(
        "--only", action="append", default=[], help="pages with this in their names; the site's are `the site: /path`"
    )
    parser.add_argument("--short", action="store_true", help="one width, at rest")
    parser.add_argument("--no-rivals", action="store_true")
    found = parser.parse_args()
    modules = None if found.modules is None else found.modules.resolve()
    if found.time:
        return asyncio.run(_times(modules))
    if modules is None:
        parser.error("where are the frameworks? Say DIR/node_modules, and --fetch at first")
    if found.fetch:
        fetch(modules)
        return 0
    rows = asyncio.run(_run(modules, found.only, ONE if found.short else ALL, rivals=not found.no_rivals))
    if found.write:
        _write(rows)
    wrong = sum(row.wrong["fanfare"] for row in rows)
    print(f"{wrong} elements look otherwise")
    return 1 if wrong else 0


# Looks


async def _run(modules: Path, only: Sequence[str], looks: Sequence[Any], *, rivals: bool) -> list[Row]:
    rows = []
    for sample in samples(modules):
        if _is_wanted(sample.name, only):
            async with _forms() as forms:
                rows.append(await _one(forms, sample, modules, looks, rivals=rivals))
            print(" | ".join(rows[-1].cells()), flush=True)
    if not only or any(each.startswith("the site") for each in only):
        async with _forms() as forms:
            rows.append(await _site(forms, modules, only, looks, rivals=rivals))
        print(" | ".join(rows[-1].cells()), flush=True)
    return rows


def _is_wanted(name: str, only: Sequence[str]) -> bool:
    return not only or any(each in name for each in only)


@asynccontextmanager
async def _forms() -> Any:
    sys.path.insert(0, str(own.ROOT / "tests"))
    import services

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=services.chromium_program(), args=list(services.CHROMIUM_FLAGS), chromium_sandbox=False
        )
        yield await Forms.open(browser, len(TOOLS) + 1)
        await browser.close()


async def _one(forms: Forms, sample: Sample, modules: Path, looks: Sequence[Any], *, rivals: bool) -> Row:
    url = ORIGIN + sample.path
    texts = {href: path.read_text("utf-8", errors="replace") for href, path in sample.sheets.items()}
    by_url = {urljoin(url, href): text for href, text in texts.items()}
    files = {address: (text.encode(), "text/css; charset=utf-8") for address, text in by_url.items()}
    before = {url: (sample.html.encode(), HTML), **files}
    row = Row(sample.name, sum(map(len, by_url.values())))
    sheets = Sheets(by_url.get)
    row.plan["fanfare"], _ = _least(lambda: inline(sample.html, url, sheets.plan), 1)
    row.ms["fanfare"], result = _least(lambda: inline(sample.html, url, sheets.plan), 5)
    row.left["fanfare"] = sum(each.after for each in result.sheets if each.url != "<style>" and each.state != "link")
    after = {"fanfare": {url: (result.html.encode(), HTML), **files}}
    if rivals:
        after |= _rivals(row, sample.html, url, texts, files, modules)
    await _compare(forms, row, before, after, url, looks)
    return row


async def _site(forms: Forms, modules: Path, only: Sequence[str], looks: Sequence[Any], *, rivals: bool) -> Row:
    """One row for all pages of the site: sums of bytes and elements, mean milliseconds per page."""
    made = own.styles()
    rows = []
    for path, html in (await own.pages_of_a_new_site()).items():
        page = own.own(path, html, made)
        if page is None or not _is_wanted(f"the site: {path} ", only):
            continue
        url = own.ORIGIN + path
        row = Row(path, sum(map(len, page.sheets.values())))
        row.ms["fanfare"], _ = _least(partial(made.styled, html.encode(), path.partition("?")[0]), 5)
        row.left["fanfare"] = len(page.styled) - len(html) + sum(map(len, _LINK.findall(html)))
        after = {"fanfare": page.after}
        if rivals:
            after |= _rivals(row, html, url, page.sheets, page.before, modules)
        await _compare(forms, row, page.before, after, url, looks)
        print(f"    {path}: {row.wrong}", flush=True)
        rows.append(row)
    total = Row(f"the site, {len(rows)} pages", sum(each.size for each in rows), sum(each.elements for each in rows))
    for tool in rows[0].left:
        total.left[tool] = sum(each.left[tool] or 0 for each in rows)
        total.wrong[tool] = sum(each.wrong[tool] for each in rows)
        total.ms[tool] = sum(each.ms[tool] for each in rows) / len(rows)
    return total


_LINK = re.compile(r'<link rel="stylesheet"[^>]*>')


async def _compare(
    forms: Forms, row: Row, before: own.Table, after: Mapping[str, own.Table], url: str, looks: Sequence[Any]
) -> None:
    found = await forms.compared([before, *after.values()], url, looks)
    for tool, comparison in zip(after, found, strict=True):
        row.elements = comparison.elements
        row.wrong[tool] = len(comparison.wrong)
        for each in comparison.differences[:2] if tool == "fanfare" else ():
            print(f"    {each.where}: {each.element!r}: {'; '.join(each.properties)}")


def _rivals(
    row: Row, html: str, url: str, texts: Mapping[str, str], files: own.Table, modules: Path
) -> dict[str, own.Table]:
    script = Path(__file__).with_name("rivals.mjs")
    done = subprocess.run(
        ["node", str(script), str(modules)],
        input=json.dumps({"html": html, "sheets": dict(texts)}),
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    after = {}
    for tool, said in json.loads(done.stdout.splitlines()[-1]).items():
        if "error" in said:
            print(f"    {tool}: {said['error']}")
            row.left[tool], row.wrong[tool] = None, 0
            continue
        row.ms[tool], row.plan[tool] = said["ms"], said.get("plan", 0.0)
        made = dict(files)
        made[url] = (said.get("html", html).encode(), HTML)
        for href, text in said.get("sheets", {}).items():
            made[urljoin(url, href)] = (text.encode(), "text/css; charset=utf-8")
        row.left[tool] = (
            sum(map(len, said["sheets"].values()))
            if "sheets" in said
            else sum(map(len, _STYLE.findall(said["html"]))) - sum(map(len, _STYLE.findall(html)))
        )
        after[tool] = made
    return after


_STYLE = re.compile(r"<style[^>]*>(.*?)</style>", re.DOTALL)


def _least(run: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Run `run` that many times. Returns the smallest CPU time in milliseconds, and the last result."""
    times = []
    made = None
    for _ in range(rounds):
        began = time.process_time()
        made = run()
        times.append((time.process_time() - began) * 1000)
    return min(times), made


# Times


async def _times(modules: Path | None) -> int:
    """Print CPU times. Returns 1 if a page takes over 1 ms for 20 kB of HTML, or bootstrap's plan over 300 ms."""
    made = own.styles()
    found = await own.pages_of_a_new_site()
    slow = 0
    print(f"{'page':50} {'bytes':>8} {'ms':>6}  of 20 kB")
    for path, html in sorted(found.items()):
        body, name = html.encode(), path.partition("?")[0]
        took, _ = _least(partial(made.styled, body, name), 20)
        each = took * 20_000 / max(20_000, len(body))
        slow += each > 1
        print(f"{path[:50]:50} {len(body):8,} {took:6.2f}  {each:.2f}{'  slow' if each > 1 else ''}")
    if modules is not None:
        for name in ("bootstrap/dist/css/bootstrap.css", "bulma/css/bulma.css"):
            text = (modules / name).read_text("utf-8")
            took, _ = _least(partial(compile_sheet, text, ORIGIN + "/x.css"), 3)
            bad = name.startswith("bootstrap") and took > 300
            slow += bad
            print(f"plan of {name}, {len(text):,} bytes: {took:.0f} ms{'  slow' if bad else ''}")
    return 1 if slow else 0


# Docs


def _write(rows: Iterable[Row]) -> None:
    head = ["page", "CSS", "elements", *TOOLS.values()]
    lines = [f"| {' | '.join(head)} |", "|---|---:|---:|" + "---|" * len(TOOLS)]
    lines += [f"| {' | '.join(row.cells())} |" for row in rows]
    text = DOCS.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCS.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + after, "utf-8")


def _short(ms: float) -> str:
    return f"{ms:,.0f}" if ms >= 10 else f"{ms:.1f}"


if __name__ == "__main__":
    raise SystemExit(main())
