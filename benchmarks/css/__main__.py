"""Pages of frameworks: bytes that are left, elements that look otherwise, and time; beside PurgeCSS and Beasties.

npm install --prefix DIR --ignore-scripts bootstrap bulma …       (benchmarks.css.frameworks.PACKAGES)
python -m benchmarks.css DIR/node_modules [--only NAME] [--short]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from playwright.async_api import async_playwright

from web.features.css.inline import Sheets, inline

from .frameworks import Sample, samples
from .same import ALL, ONE, Pair

ORIGIN = "https://bench.example"
HTML = "text/html; charset=utf-8"


def main() -> int:
    """Print a table; 1 if an element of ours looks otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--short", action="store_true", help="one width, at rest")
    parser.add_argument("--no-rivals", action="store_true")
    found = parser.parse_args()
    return asyncio.run(_run(found.modules.resolve(), found.only, short=found.short, rivals=not found.no_rivals))


async def _run(modules: Path, only: str, *, short: bool, rivals: bool) -> int:
    root = Path(__file__).resolve().parents[2]
    sys.path.insert(0, str(root / "tests"))
    import services

    wrong = 0
    print(f"{'page':34} {'tool':9} {'CSS':>9} {'left':>8} {'plan ms':>8} {'page ms':>8} {'differ':>7} {'of':>7}")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=services.chromium_program(), args=list(services.CHROMIUM_FLAGS), chromium_sandbox=False
        )
        pair = await Pair.open(browser)
        for sample in samples(modules):
            if only in sample.name:
                wrong += await _one(pair, sample, modules, short=short, rivals=rivals)
        await browser.close()
    print(f"{wrong} elements look otherwise")
    return 1 if wrong else 0


async def _one(pair: Pair, sample: Sample, modules: Path, *, short: bool, rivals: bool) -> int:
    texts = {ORIGIN + href: path.read_text("utf-8", errors="replace") for href, path in sample.sheets.items()}
    url = f"{ORIGIN}/sample.html"
    began = time.perf_counter()
    sheets = Sheets(_load(texts, modules))
    result = inline(sample.html, url, sheets.plan)
    planned = time.perf_counter() - began
    began = time.perf_counter()
    result = inline(sample.html, url, sheets.plan)
    took = time.perf_counter() - began
    rows = [("fanfare", result.html, planned, took, result.left)]
    if rivals and shutil.which("node"):
        for name in ("purgecss", "beasties"):
            html, seconds = _rival(name, modules, sample, texts)
            rows.append((name, html, 0.0, seconds, ""))
    size = sum(len(text) for text in texts.values())
    table = {found: (text.encode(), "text/css; charset=utf-8") for found, text in texts.items()}
    wrong = 0
    for name, html, first, second, left in rows:
        different, compared = await pair.differences(
            {url: (sample.html.encode(), HTML), **table},
            {url: (html.encode(), HTML), **table},
            url,
            ONE if short else ALL,
        )
        count = sum(each.count for each in different)
        kept = max(0, len(html) - len(sample.html))
        print(
            f"{sample.name[-34:]:34} {name:9} {size:9,} {kept:8,} {first * 1000:8.0f} {second * 1000:8.2f} {count:7,}"
            f" {compared:7,} {left}",
            flush=True,
        )
        for each in different[:2] if name == "fanfare" else ():
            print(f"    {each.where}: {each.element!r}: {'; '.join(each.properties)}")
        wrong += count if name == "fanfare" else 0
    return wrong


def _load(texts: Mapping[str, str], modules: Path):  # type: ignore[no-untyped-def]  # a function of a URL
    def load(url: str) -> str | None:
        if url in texts:
            return texts[url]
        path = modules / url.removeprefix(ORIGIN + "/")
        return path.read_text("utf-8") if url.startswith(ORIGIN) and path.is_file() else None

    return load


def _rival(name: str, modules: Path, sample: Sample, texts: Mapping[str, str]) -> tuple[str, float]:
    given = {"html": sample.html, "sheets": {url.removeprefix(ORIGIN): text for url, text in texts.items()}}
    script = Path(__file__).with_name("rivals.mjs")
    done = subprocess.run(
        ["node", str(script), name, str(modules)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        print(done.stderr[-300:], file=sys.stderr)
        return sample.html, 0.0
    said = json.loads(done.stdout.splitlines()[-1])
    return said["html"], said["ms"] / 1000


if __name__ == "__main__":
    raise SystemExit(main())
