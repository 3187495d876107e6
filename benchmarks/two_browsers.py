"""`python -m benchmarks.two_browsers`: the moving picture of README, of the real site and two browsers of Chromium.

A site of its own is started, with demo content. In one browser somebody writes a comment; the other, with the same
page in dark mode, shows it. The pictures are taken as the pages stand. How long it takes from the click until the
comment is there is measured in the pages, printed, and how long the picture waits, too.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from services import CHROMIUM_FLAGS, ROOT, chromium_program, free_port

OUT = ROOT / "docs" / "images" / "two-browsers.webp"
#: Bytes that README may ask of a reader for it.
MOST = 500_000
#: Of each page; the window around it has a bar above.
WIDTH, HEIGHT, BAR, GAP = 440, 520, 26, 16
TEXT = "Doors are open, and the first song is loud. Come in!"

# When the comment is in the page, by the clock that both pages share.
_WATCH = """text => { window.shownAt = 0; new MutationObserver(() => {
  if (!window.shownAt && document.querySelector('#comments').innerText.includes(text)) window.shownAt = Date.now();
}).observe(document.querySelector('#comments'), { childList: true, subtree: true, characterData: true }); }"""
_CLICKED = """() => document.querySelector('#comment-form').addEventListener('submit', () => {
  window.sentAt = Date.now();
}, true)"""


@contextmanager
def site(folder: Path, said: list[str] | None = None) -> Iterator[str]:
    """A site with demo content, from when it listens to the end of the block; gives its address.

    said: gets the lines that it prints till then.
    """
    port = free_port()
    environ = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environ |= {"PORT": str(port), "HUB_VAR": str(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "web", "serve"]
    server = subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdout is not None
        while "publish: " not in (line := server.stdout.readline()):
            if not line:
                raise SystemExit("the site did not start")
            if said is not None:
                said.append(line)
        yield f"http://localhost:{port}"
    finally:
        server.terminate()
        server.communicate()


def opened(browser: Browser, url: str, scheme: Literal["light", "dark"]) -> Page:
    """The page of the first event, where people talk about it, once it hears its channel."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT},
        color_scheme=scheme,
        reduced_motion="reduce",
        locale="en-GB",
        bypass_csp=True,
    )
    page = context.new_page()
    page.goto(url)
    page.goto(url + str(page.get_attribute("main a[href^='/events/']", "href")))
    page.wait_for_function("window.Fanout && Fanout.status == 'websocket'")
    page.evaluate("document.querySelector('#comments-title').scrollIntoView()")
    page.wait_for_load_state("networkidle")
    return page


def window(page: Page) -> Image.Image:
    """A page in a plain window."""
    shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    dark = sum(shown.getpixel((2, 2))) < 384  # type: ignore[arg-type]  # of RGB it is a tuple
    found = Image.new("RGB", (WIDTH, HEIGHT + BAR), "#2c2f36" if dark else "#e3e5ea")
    found.paste(shown, (0, BAR))
    draw = ImageDraw.Draw(found)
    for number, colour in enumerate(("#ee6a5f", "#f5bd4f", "#61c454")):
        draw.ellipse((12 + 18 * number, 8, 22 + 18 * number, 18), fill=colour)
    return found


class Film:
    """Pictures of both pages, and how long each stands."""

    def __init__(self, pages: tuple[Page, Page]) -> None:
        self._pages = pages
        self.frames: list[Image.Image] = []
        self.times: list[int] = []

    def take(self, milliseconds: float) -> None:
        frame = Image.new("RGB", (2 * WIDTH + GAP, HEIGHT + BAR), "#8b919c")
        for number, page in enumerate(self._pages):
            frame.paste(window(page), (number * (WIDTH + GAP), 0))
        self.frames.append(frame)
        self.times.append(max(20, round(milliseconds)))

    def save(self, path: Path) -> int:
        """Write it, so that it stays below `MOST` bytes; how many it has."""
        first, *others = self.frames
        for quality in (70, 60, 50, 40, 30):
            first.save(
                path,
                save_all=True,
                append_images=others,
                duration=self.times,
                loop=0,
                quality=quality,
                method=6,
                minimize_size=True,
            )
            if path.stat().st_size < MOST:
                break
        return path.stat().st_size


def play(browser: Browser, url: str) -> tuple[Film, int]:
    """Write in one browser and look at the other; the film, and the milliseconds from the click to the other's page."""
    writer, reader = opened(browser, url, "light"), opened(browser, url, "dark")
    reader.evaluate("scrollBy(0, 330)")
    film = Film((writer, reader))
    writer.evaluate(_CLICKED)
    reader.evaluate(_WATCH, TEXT)
    film.take(900)
    for field, text, step in (("[name=name]", "Ada", 1), ("[name=text]", TEXT, 4)):
        writer.click(f"#comment-form {field}")
        for start in range(0, len(text), step):
            writer.keyboard.type(text[start : start + step])
            film.take(55 * step)
    film.take(500)
    # A submit that changes the page would lose what it noted.
    writer.click("#comment-form .primary")
    reader.wait_for_function("window.shownAt")
    late = int(reader.evaluate("shownAt")) - int(writer.evaluate("window.sentAt || 0"))
    film.times[-1] += late
    writer.wait_for_function("text => document.querySelector('#comments').innerText.includes(text)", arg=TEXT)
    film.take(3500)
    return film, late


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    found = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, site(Path(folder)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_program(), args=list(CHROMIUM_FLAGS), chromium_sandbox=os.geteuid() != 0
        )
        film, late = play(browser, url)
        browser.close()
    size = film.save(found.out)
    print(f"{found.out}: {len(film.frames)} frames, {size:,} bytes; {late} ms from the click to the other browser")
    return 0 if size < MOST else 1


if __name__ == "__main__":
    sys.exit(main())
