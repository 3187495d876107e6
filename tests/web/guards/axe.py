"""Pages in a browser, looked at by axe: in the light and in the dark, on a desk and on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import ignored
import services
from markup import Pages, place_of

if TYPE_CHECKING:
    from playwright.async_api import Page

SCHEMES = ("light", "dark")
WIDTHS = (1280, 390)

#: Violations, each with its elements: where they are in the document, counted among their kind.
_RUN = """async () => {
    const {violations} = await axe.run(document, {resultTypes: ["violations"]});
    return violations.flatMap(({id, help, nodes}) => nodes.map(({target, html}) => {
        const found = document.querySelector(target.flat().join(" "));
        const tag = found?.localName ?? "";
        const nth = found ? [...document.getElementsByTagName(tag)].indexOf(found) : -1;
        return {rule: id, help, target: target.flat().join(" "), html: html.slice(0, 200), tag, nth};
    }));
}"""

#: What a page is made of, whatever its texts and numbers are.
_SHAPE = """() => [...new Set([...document.querySelectorAll("body, body *")].map((one) =>
    [one.localName, ...one.getAttributeNames().map((name) => ["class", "id", "role", "type"].includes(name)
        ? `${name}=${one.getAttribute(name).replace(/\\d+/g, "0")}` : name)].join(" ")))].sort().join("\\n")"""


@dataclass(frozen=True, slots=True)
class _Look:
    scheme: str
    width: int

    def __str__(self) -> str:
        return f"{self.scheme}, {self.width} px"


class Axe:
    """Looks at pages. pages: the answers of the site, which know their templates."""

    def __init__(self, pages: Pages | None) -> None:
        self._pages = pages
        try:
            self._source = (services.node_folder() / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
        except (services.Missing, FileNotFoundError):
            # The tests of axe say that it is missing; others need a browser only.
            self._source = ""
        self._seen: set[str] = set()

    async def look_at(self, pages: Iterable[Page], base: str) -> None:
        """Look at what a site's pages are at the end of a test; at those of one shape once."""
        if not self._source:
            return
        for page in pages:
            if page.is_closed() or not page.url.startswith(base):
                continue
            shape = await page.evaluate(_SHAPE)
            if shape not in self._seen:
                await self.check(page)
                self._seen.add(shape)

    async def check(self, page: Page) -> None:
        """Raise AssertionError for what is wrong with a page. Its window is another one afterwards."""
        found: dict[tuple[str, str], tuple[dict[str, Any], list[str]]] = {}
        # By evaluation: the site's policy forbids scripts that are not its own.
        if not await page.evaluate("() => 'axe' in window"):
            await page.evaluate(self._source)
        for look in (_Look(*each) for each in product(SCHEMES, WIDTHS)):
            await page.emulate_media(color_scheme=look.scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            await page.set_viewport_size({"width": look.width, "height": 900})
            for fault in await page.evaluate(_RUN):
                if any(each.match(f"{fault['rule']} {fault['target']}") for each in ignored.AXE):
                    continue
                found.setdefault((fault["rule"], fault["target"]), (fault, []))[1].append(str(look))
        lines = [self._line(page, fault, looks) for fault, looks in found.values()]
        if lines:
            raise AssertionError("\n".join(lines))

    def _line(self, page: Page, fault: dict[str, Any], looks: list[str]) -> str:
        path = re.sub(r"^https?://[^/]*|#.*$", "", page.url)
        place = place_of(self._pages, f"GET {path}", fault["tag"], fault["nth"]) or fault["target"]
        seen = "" if len(looks) == len(SCHEMES) * len(WIDTHS) else f" ({'; '.join(looks)})"
        return f"GET {path}: {place}: {fault['rule']}: {fault['help']}{seen}: {fault['html']}"
