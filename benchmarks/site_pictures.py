"""`python -m benchmarks.site_pictures`: README's small pictures of each part of the site, with demo content.

A site of its own is started. A manager signs in, and each page is taken once nothing of it is on its way any more.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from .two_browsers import CHROMIUM_FLAGS, ROOT, chromium_program, site

OUT = ROOT / "docs" / "images"

#: What is seen of a page, and what is left of it in the picture: half as large.
WIDTH, HEIGHT = 900, 560

#: Bytes that README may ask of a reader for one.
MOST = 30_000

#: By the picture's name, the page; one that begins with a selector is where its first link leads from the home page.
PAGES = {
    "events": "main a[href^='/events/']",
    "blog": "main a[href^='/posts/']",
    "search": "/search?q=night",
    "podcasts": "/podcasts",
    "headsup": "/headsup",
    "desk": "/manage/events",
    "views": "/manage/views",
    "hub": "/manage/hub",
    "lab": "/lab/joins",
}


def signed_in(page: Page, url: str, said: list[str]) -> None:
    """Sign in as the manager of the demo content. said: what the site printed when it started."""
    [(name, password)] = re.findall(r"account for \S+: (\w+), password (\S+)", "".join(said))
    page.goto(f"{url}/login?next=/")
    page.fill("main [name=name]", name)
    page.fill("main [name=password]", password)
    page.press("main [name=password]", "Enter")
    page.wait_for_url(f"{url}/")


def taken(page: Page, url: str, where: str) -> bytes:
    """A page as a small picture in WebP, below `MOST` bytes."""
    if not where.startswith("/"):
        page.goto(url)
        where = str(page.get_attribute(where, "href"))
    page.goto(url + where)
    page.wait_for_load_state("networkidle")
    shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB").resize((WIDTH // 2, HEIGHT // 2), Image.LANCZOS)
    for quality in (75, 60, 45, 30):
        data = io.BytesIO()
        shown.save(data, "WEBP", quality=quality, method=6)
        if data.tell() < MOST:
            break
    return data.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    found = parser.parse_args()
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder, site(Path(folder), said) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_program(), args=list(CHROMIUM_FLAGS), chromium_sandbox=os.geteuid() != 0
        )
        context = browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce", locale="en-GB"
        )
        page = context.new_page()
        signed_in(page, url, said)
        for name, where in PAGES.items():
            path = found.out / f"site-{name}.webp"
            path.write_bytes(taken(page, url, where))
            print(f"{path}: {path.stat().st_size:,} bytes")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
