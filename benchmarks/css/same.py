"""Compares the computed style of every element of two versions of a page in Chromium, at several widths, media and
forced states.

All responses come from a table of URLs and bodies; no request reaches a network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import zip_longest
from typing import Any

WIDTHS = (390, 820, 1280)

#: Media that are looked at: light and dark on a screen, and paper.
MEDIA = (("screen", "light"), ("screen", "dark"), ("print", "light"))

#: What is forced on every element at once.
REST: tuple[str, ...] = ()
FORCED = ("hover", "focus", "focus-visible", "focus-within", "active")


@dataclass(frozen=True, slots=True)
class Look:
    """One way to look at a page: width in pixels, medium, colour scheme, and states forced on its elements."""

    width: int = 1280
    medium: str = "screen"
    scheme: str = "light"
    state: tuple[str, ...] = REST

    def __str__(self) -> str:
        return f"{self.width} px, {self.medium}, {self.scheme}, {' '.join(self.state) or 'at rest'}"


#: All of them; one of each kind; and one.
ALL = tuple(Look(width, *medium, state) for state in (REST, FORCED) for width in WIDTHS for medium in MEDIA)
SOME = (Look(390, "screen", "dark"), Look(820, "print"), Look(1280, state=FORCED))
ONE = (Look(),)

_COLLECT = """
() => {
  for (const each of document.getAnimations()) { try { each.finish(); } catch { each.cancel(); } }
  const names = [...getComputedStyle(document.documentElement)].filter((name) => !name.startsWith("--"));
  const skipped = new Set(["LINK", "STYLE", "SCRIPT", "META", "TITLE", "BASE"]);
  const found = [];
  const all = (style) => {
    const values = [];
    for (const name of names) values.push(style.getPropertyValue(name));
    // Custom properties come in no fixed order.
    const custom = [];
    for (let i = style.length; i-- && style[i].startsWith("--");) custom.push(style[i]);
    for (const name of custom.sort()) values.push(`${name}: ${style.getPropertyValue(name)}`);
    return values.join("\\n");
  };
  for (const element of document.querySelectorAll("*")) {
    if (skipped.has(element.tagName)) continue;
    const own = getComputedStyle(element);
    const texts = [all(own)];
    for (const name of ["::before", "::after"]) {
      const style = getComputedStyle(element, name);
      texts.push(style.content === "none" ? "" : all(style));
    }
    texts.push(own.display === "list-item" ? all(getComputedStyle(element, "::marker")) : "");
    const isField = element.matches("input, textarea");
    texts.push(isField ? all(getComputedStyle(element, "::placeholder")) : "");
    texts.push(element.matches("dialog, [popover]") ? all(getComputedStyle(element, "::backdrop")) : "");
    found.push(texts);
  }
  window.__names = names;
  window.__styles = found;
  return found.map((texts) => {
    let hash = 5381;
    for (const text of texts) for (let i = 0; i < text.length; i++) hash = (hash * 33 + text.charCodeAt(i)) | 0;
    return hash;
  });
}
"""
_DETAIL = """
(index) => {
  const skipped = ["LINK", "STYLE", "SCRIPT", "META", "TITLE", "BASE"];
  const elements = [...document.querySelectorAll("*")].filter((each) => !skipped.includes(each.tagName));
  return [elements[index].outerHTML.slice(0, 120), window.__styles[index], window.__names];
}
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """Differences in one look: how many elements differ, and the properties of the first of them."""

    where: str
    count: int
    element: str
    properties: tuple[str, ...]


Table = Mapping[str, tuple[bytes, str]]


class Forms:
    """Pages of one browser, one for each version. Each has its own table: URL to body and Content-Type."""

    def __init__(self, pages: Sequence[tuple[Any, Any]], contexts: Sequence[Any], tables: list[Table]) -> None:
        self._pages = pages
        self._contexts = contexts
        self._tables = tables

    @classmethod
    async def open(cls, browser: Any, count: int = 2) -> Forms:
        """Open `count` empty pages with JavaScript disabled, so that scripts can't change what is compared."""
        tables: list[Table] = [{} for _ in range(count)]
        contexts = [await browser.new_context(java_script_enabled=False) for _ in tables]
        pages = []
        for number, context in enumerate(contexts):
            await context.route("**/*", _answers(tables, number))
            page = await context.new_page()
            pages.append((page, await context.new_cdp_session(page)))
        return cls(pages, contexts, tables)

    async def close(self) -> None:
        for context in self._contexts:
            await context.close()

    async def compared(self, tables: Sequence[Table], url: str, looks: Sequence[Look] = ALL) -> list[Comparison]:
        """Load `url` from each table, and compare the others with the first: a Comparison each."""
        self._tables[: len(tables)] = tables
        pages = self._pages[: len(tables)]
        await asyncio.gather(*(page.goto(url, wait_until="load") for page, _ in pages))
        found = [Comparison() for _ in tables[1:]]
        state = REST
        for look in looks:
            changed = look.state != state
            first, *others = await asyncio.gather(*(_hashes(*each, look, force=changed) for each in pages))
            state = look.state
            for comparison, page, hashes in zip(found, pages[1:], others, strict=True):
                await comparison.add([pages[0], page], [first, hashes], str(look))
        return found

    async def differences(
        self, before: Table, after: Table, url: str, looks: Sequence[Look] = ALL
    ) -> tuple[list[Difference], int]:
        """Load `url` from both tables. Returns the differences, and the number of elements compared, over all looks."""
        found = (await self.compared([before, after], url, looks))[0]
        return found.differences, found.looks


@dataclass(slots=True)
class Comparison:
    """Result for one version. elements: elements of the page; looks: elements compared, summed over looks; wrong:
    indexes of elements that differ in at least one look."""

    elements: int = 0
    looks: int = 0
    wrong: set[int] = field(default_factory=set)
    differences: list[Difference] = field(default_factory=list)

    async def add(self, pages: Sequence[tuple[Any, Any]], hashes: Sequence[list[int]], where: str) -> None:
        """Add the elements that one look at the page found."""
        self.elements = len(hashes[0])
        self.looks += len(hashes[0])
        found = await _difference(pages, hashes, where)
        if found is not None:
            self.differences.append(found)
            pairs = enumerate(zip_longest(*hashes))
            self.wrong |= {index for index, (one, other) in pairs if one != other}


async def frames_that_differ(browser: Any, documents: Sequence[tuple[str, str, str]]) -> tuple[list[str], int]:
    """Compare many small documents at once, as frames of two pages. documents: name, HTML before, HTML after. Returns
    the names of those that differ, and the number of elements compared."""
    context = await browser.new_context()
    hashes = []
    for form in (1, 2):
        page = await context.new_page()
        frames = "".join(f'<iframe srcdoc="{escape(document[form])}"></iframe>' for document in documents)
        await page.set_content(f"<!doctype html><title>x</title>{frames}", wait_until="load")
        found = [await frame.evaluate(_COLLECT) for frame in page.frames if frame.parent_frame == page.main_frame]
        hashes.append(found)
    await context.close()
    pairs = zip(documents, *hashes, strict=True)
    return [name for (name, _, _), one, other in pairs if one != other or not one], sum(map(len, hashes[0]))


def _answers(tables: Sequence[Table], number: int) -> Any:
    async def answer(route: Any) -> None:
        found = tables[number].get(route.request.url.partition("#")[0])
        if found is None:
            await route.fulfill(status=404, body="")
        else:
            await route.fulfill(status=200, body=found[0], content_type=found[1])

    return answer


async def _hashes(page: Any, client: Any, look: Look, *, force: bool) -> list[int]:
    if force:
        await _force(client, look.state)
    await page.set_viewport_size({"width": look.width, "height": 900})
    await page.emulate_media(media=look.medium, color_scheme=look.scheme)
    found: list[int] = await page.evaluate(_COLLECT)
    return found


async def _force(client: Any, state: Sequence[str]) -> None:
    await client.send("DOM.enable")
    await client.send("CSS.enable")
    root = (await client.send("DOM.getDocument", {"depth": -1}))["root"]
    found = await client.send("DOM.querySelectorAll", {"nodeId": root["nodeId"], "selector": "body *"})
    # All at once: waiting for each answer, a page of a thousand elements takes a thousand frames.
    forced = [{"nodeId": node, "forcedPseudoClasses": list(state)} for node in found["nodeIds"]]
    await asyncio.gather(*(client.send("CSS.forcePseudoState", each) for each in forced))


async def _difference(pages: Sequence[tuple[Any, Any]], hashes: Sequence[list[int]], where: str) -> Difference | None:
    first, second = hashes
    if len(first) != len(second):
        return Difference(where, abs(len(first) - len(second)), "another number of elements", ())
    wrong = [index for index, (one, other) in enumerate(zip(first, second, strict=True)) if one != other]
    if not wrong:
        return None
    details = [await page.evaluate(_DETAIL, wrong[0]) for page, _ in pages]
    return Difference(where, len(wrong), details[0][0], tuple(_properties(details[0][2], details[0][1], details[1][1])))


def _properties(names: Sequence[str], before: Sequence[str], after: Sequence[str]) -> list[str]:
    found = []
    for one, other in zip(before, after, strict=True):
        if not one or not other:
            found += ["there or not"] if one != other else []
            continue
        values = zip_longest(names, one.split("\n"), other.split("\n"), fillvalue="")
        found += [f"{name or 'custom'}: {a} → {b}" for name, a, b in values if a != b]
    return found[:6]
