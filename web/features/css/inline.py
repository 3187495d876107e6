"""A page and its sheets in; the page with what it uses of them out.

    find = Sheets(load)                  # a sheet's text by its URL
    result = inline(html, "https://example.org/posts", find.plan)
    result.html, result.hashes, result.left

Pure but for what `find` does. A page that can't be judged comes back as it was, and `left` says why.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from html import escape

from .addresses import joined, shown_from
from .errors import LeftPage, LeftSheet
from .page import Page, Place
from .plan import Plan, Tally, compile_sheet
from .policy import allows_inline, hash_of

#: The URL of a sheet to its plan; raises LeftSheet.
Find = Callable[[str], Plan]

_CLOSE = re.compile(r"</(?=style)", re.IGNORECASE)
_SIZES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}

#: Attributes of a link that go to the style in its place.
_KEPT = ("media", "nonce", "class")


@dataclass(frozen=True, slots=True)
class Sheet:
    """What became of a sheet. state: "pruned", "whole" (`data-mincss="no"`), or "link": it stays one, `why` says so.
    before, after: characters."""

    url: str
    state: str
    why: str = ""
    before: int = 0
    after: int = 0
    rules: int = 0
    kept: int = 0
    reasons: tuple[tuple[int, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """A page. left: why it is as it was, "" if it is not. hashes: of its new styles, for a policy."""

    html: str
    sheets: tuple[Sheet, ...] = ()
    left: str = ""
    hashes: tuple[str, ...] = ()

    @property
    def header(self) -> str:
        """A line that says what was done."""
        if self.left:
            return f'original; why="{self.left}"'
        before, after = sum(each.before for each in self.sheets), sum(each.after for each in self.sheets)
        links = sum(each.state == "link" for each in self.sheets)
        return f"inline; sheets={len(self.sheets) - links}; links={links}; of={before}; kept={after}"


class Sheets:
    """Plans by URL, each compiled once. load: a sheet's text, None where there is none."""

    def __init__(self, load: Callable[[str], str | None]) -> None:
        self._load = load
        self._plans: dict[str, Plan | LeftSheet] = {}

    def plan(self, url: str) -> Plan:
        """The plan of the sheet at a URL. Raises LeftSheet."""
        found = self._plans.get(url)
        if found is None:
            try:
                text = self._load(url)
                if text is None:
                    raise LeftSheet("it can't be had")
                found = compile_sheet(text, url, self._load)
            except LeftSheet as error:
                found = error
            except RecursionError:
                found = LeftSheet("its blocks are too deep within each other")
            self._plans[url] = found
        if isinstance(found, LeftSheet):
            raise found
        return found


@dataclass(slots=True)
class _Work:
    page: Page
    url: str
    base: str
    find: Find
    explain: bool
    late: Callable[[], bool]
    sheets: list[Sheet] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)


def inline(
    html: str,
    url: str,
    find: Find,
    *,
    keep: Iterable[str] = (),
    reads_scripts: bool = True,
    explain: bool = False,
    late: Callable[[], bool] = lambda: False,
) -> Result:
    """A page with its style sheets in it, pruned.

    url: where the page is, absolute. find: the plan of a sheet by its absolute URL. keep: names that scripts set, as
    selectors write them (`Page`). reads_scripts: whether words of scripts in the page count as such names. explain:
    say of each rule why it is kept. late: asked now and then; once it is True the page stays as it was.
    """
    try:
        page = Page(html, keep, reads_scripts=reads_scripts)
        if not any(_is_sheet(place) or place.tag == "style" for place in page.places):
            return Result(html, left="it has no style sheets")
        page.check()
        policy = page.policy()
        if policy is not None and not allows_inline(policy):
            raise LeftPage("its own policy forbids inline styles")
        base = joined(url, page.base) if page.base is not None else url
        work = _Work(page, url, base, find, explain, late)
        out, last = [], 0
        for place in page.places:
            if late():
                raise LeftPage("it took too long")
            new = _replaced(work, place)
            if new is not None:
                out += [html[last : place.start], new]
                last = place.end
        out.append(html[last:])
    except LeftPage as error:
        return Result(html, left=str(error))
    except (RecursionError, MemoryError) as error:
        return Result(html, left=type(error).__name__)
    if not last:
        return Result(html, tuple(work.sheets), left=_all_left(work.sheets))
    return Result("".join(out), tuple(work.sheets), "", tuple(work.hashes))


def _all_left(sheets: list[Sheet]) -> str:
    reasons = list(dict.fromkeys(sheet.why for sheet in sheets))
    return "; ".join(reasons[:3]) or "it has no style sheets"


def _is_sheet(place: Place) -> bool:
    return place.tag == "link" and "stylesheet" in place.attributes.get("rel", "").lower().split()


def _replaced(work: _Work, place: Place) -> str | None:
    """What stands in a sheet's place; None for what stays."""
    if place.tag == "style":
        return _restyled(work, place)
    if not _is_sheet(place):
        return None
    href = place.attributes.get("href", "").strip()
    where = joined(work.base, href) if href else ""
    try:
        _check_link(place, href)
        plan = work.find(where)
        _check_integrity(place, plan)
        tally = Tally(why=[] if work.explain else None)
        whole = place.mark == "no"
        text = plan.verbatim() if whole else plan.left_by(work.page, tally)
        text = _told_from(work, text, plan)
    except LeftSheet as error:
        work.sheets.append(Sheet(where, "link", str(error)))
        return None
    work.sheets.append(
        Sheet(
            where,
            "whole" if whole else "pruned",
            "",
            plan.size,
            len(text),
            tally.rules,
            tally.kept,
            tuple(tally.why or ()),
        )
    )
    attributes = "".join(
        f' {name}="{escape(place.attributes[name])}"'
        for name in place.attributes
        if name in _KEPT or (name.startswith("data-") and name != "data-mincss")
    )
    work.hashes.append(hash_of(text))
    return f'<style{attributes} data-href="{escape(href)}">{text}</style>'


def _restyled(work: _Work, place: Place) -> str | None:
    kind = place.attributes.get("type", "").strip().lower()
    if place.mark in {"no", "ignore"} or kind not in {"", "text/css"}:
        return None
    try:
        plan = compile_sheet(place.text, work.base, lambda url: None)
        tally = Tally(why=[] if work.explain else None)
        text = _told_from(work, plan.left_by(work.page, tally), plan)
    except LeftSheet as error:
        work.sheets.append(Sheet("<style>", "link", str(error)))
        return None
    work.sheets.append(
        Sheet("<style>", "pruned", "", plan.size, len(text), tally.rules, tally.kept, tuple(tally.why or ()))
    )
    work.hashes.append(hash_of(text))
    start = work.page.html.index(place.text, place.start) if place.text else place.end
    tag = work.page.html[place.start : start] if place.text else None
    return None if tag is None else f"{tag}{text}</style>"


def _check_link(place: Place, href: str) -> None:
    """Raise LeftSheet for a link that is more than a sheet that applies."""
    attributes = place.attributes
    if place.mark == "ignore":
        raise LeftSheet("it is marked to be ignored")
    if not href:
        raise LeftSheet("it has no address")
    words = attributes.get("rel", "").lower().split()
    if set(words) != {"stylesheet"} or "title" in attributes:
        raise LeftSheet("it is one of several to choose from")
    if attributes.get("type", "text/css").strip().lower() not in {"", "text/css"}:
        raise LeftSheet(f"it is {attributes['type']}")
    for name in ("disabled", "id", "blocking", *(each for each in attributes if each.startswith("on"))):
        if name in attributes:
            raise LeftSheet(f"a script may want it, by its {name}")


def _check_integrity(place: Place, plan: Plan) -> None:
    wanted = place.attributes.get("integrity", "").split()
    if not wanted:
        return
    # The strongest that is named counts.
    name = max((each.partition("-")[0] for each in wanted), key=lambda each: each if each in _SIZES else "")
    if name not in _SIZES:
        return
    digest = _SIZES[name](plan.source.given.encode()).digest()
    for each in wanted:
        kind, _, value = each.partition("-")
        try:
            if kind == name and base64.b64decode(value.partition("?")[0]) == digest:
                return
        except binascii.Error:
            continue
    raise LeftSheet("it is not what its integrity says")


def _told_from(work: _Work, text: str, plan: Plan) -> str:
    """A style's text as it may stand in HTML: nothing in it ends the style."""
    if plan.has_addresses:
        origin = re.match(r"[a-z]+://[^/]*", work.url)
        if origin is not None and joined(work.base, "/x") == origin[0] + "/x":
            text = text.replace(f'"{origin[0]}/', '"/')
    # In strings and addresses, the only places for it, `\/` is a slash.
    return _CLOSE.sub(r"<\\/", text)


__all__ = ["Result", "Sheet", "Sheets", "inline", "shown_from"]
