"""A page's HTML: where its style sheets stand in the text, and which names it has. Pure.

The text is looked through with an expression, to find what stands where; Lexbor, a real parser, is asked for the same.
Where the two don't agree, the page is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import unescape

from selectolax.lexbor import LexborHTMLParser, LexborNode

from .errors import LeftPage
from .selectors import Part

#: Characters of a page that are looked at.
MAX_PAGE = 5 * 1024**2

_TAG = re.compile(
    r"<(?:(?P<comment>!--)|(?P<close>/?)(?P<name>s(?:cript|tyle|vg)|t(?:extarea|itle|emplate)|no(?:script|embed|frames)|"
    r"math|link|base|iframe|xmp|plaintext)(?=[\s/>]))",
    re.IGNORECASE,
)
_ATTRIBUTE = re.compile(
    r"[\s/]*(?P<name>[^\s/>][^\s/>=]*)(?:\s*=\s*(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>[^\s>\"'][^\s>]*)))?"
)
_END = re.compile(r"[\s/]*>")
_RAW = frozenset(["script", "style", "textarea", "title", "iframe", "xmp", "noembed", "noframes"])
_INSIDE = frozenset(["template", "noscript", "svg", "math"])
_DOCTYPE = re.compile(
    r"\s*(?:<!--.*?-->\s*)*<!doctype\s+html\s*(?:system\s+[\"']about:legacy-compat[\"']\s*)?>", re.I | re.S
)
_WORD = re.compile(r"-?[A-Za-z_][\w-]*")
#: Scripts that are data.
_DATA_SCRIPTS = frozenset({"application/json", "application/ld+json", "importmap", "speculationrules"})

#: Whatever may be a tag that begins, to the first `>`; and one that is told by that text alone, as no `>` is in it.
_BEGUN = re.compile(r"<[A-Za-z][^>]*>?")
_SIMPLE = re.compile(r"<[A-Za-z][^\s/>]*(?:\s+[^\s\"'>/=]+(?:=\"[^\"]*\"|(?=[\s/>])))*\s*/?>")
_LONG = re.compile(r"(?<=\s)(?!(?:class|id)=)([^\s\"'>/=]+)=\"[^\"]{40,}\"", re.IGNORECASE)
#: Characters of a tag, and of a template, that is remembered.
_SHORT, _MIDDLE = 400, 4000

#: What a parser makes of nothing, or of what is written as something else: elements, and what they are made of.
_ALWAYS = frozenset({"html", "head", "body"})
_IMPLIED = (("tbody", "table"), ("tr", "table"), ("colgroup", "col"), ("img", "image"), ("p", ""), ("br", ""))

Attributes = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """A `<link>` or a `<style>` in the text. text: what is in a `<style>`."""

    tag: str
    start: int
    end: int
    attributes: Attributes
    text: str = ""

    @property
    def mark(self) -> str:
        """What `data-mincss` says of it."""
        return self.attributes.get("data-mincss", "").strip().lower()


class Page:
    """An HTML document. keep: names that scripts set, as selectors write them: `.is-open`, `#menu`, `dialog`,
    `[data-state]`; with `*` at its end, all that begin so. Raises LeftPage for one that is not understood."""

    def __init__(self, html: str, keep: Iterable[str] = (), *, reads_scripts: bool = True) -> None:
        if len(html) > MAX_PAGE:
            raise LeftPage(f"longer than {MAX_PAGE:,} characters")
        self.html = html
        self.places, scripts, self.base = _scan(html)
        self._tree = LexborHTMLParser(html)
        # Of an older kind, where classes and ids are alike in any letters.
        self.quirks = _DOCTYPE.match(html) is None
        #: Names that the page has; and of those, the ones that a script or a template may put anywhere.
        self.names, self.loose = self._names()
        if reads_scripts:
            for script in scripts:
                for word in set(_WORD.findall(script)):
                    self.loose |= {"." + word, "#" + word, "[" + word.lower(), word.lower()}
        self._beginnings = tuple(name[:-1].rstrip("]") for name in keep if name.endswith("*"))
        self.loose |= {name.rstrip("]") for name in keep if not name.endswith("*")}
        if self.quirks:
            self.names = {name.lower() for name in self.names}
            self.loose = {name.lower() for name in self.loose}
        self.all = self.names | self.loose
        self._asked: dict[str, bool] = {}
        self._asking: set[str] = set()

    def lives(self, part: Part) -> bool:
        """Whether a part may match something of the page, now or in another state."""
        if not part.judged:
            return True
        if not all(map(self._has, part.needs)) if self._slow else not part.needs <= self.all:
            return False
        for alternatives in part.either:
            if not any(all(map(self._has, needs)) for needs in alternatives):
                return False
        query = part.query
        if query is None or self.quirks or self._beginnings or not part.needs.isdisjoint(self.loose):
            return True
        self._asking.add(query)
        return self.matches(query)

    def shape(self, names: frozenset[str]) -> Hashable | None:
        """Which of these names the page has, and which a script may add anywhere; None if more than names decides."""
        return None if self._slow else (names & self.all, names & self.loose)

    def matches(self, query: str) -> bool:
        """Whether a part's query matches something; True for one that isn't understood."""
        found = self._asked.get(query)
        if found is None:
            found = self._asked[query] = self._matches(query)
        return found

    def agrees(self, queries: Sequence[str], answers: Sequence[bool]) -> bool:
        """Whether that is what `matches` says of each. Two questions instead of fifty, which take twice as long; False,
        too, where that can't be said so quickly."""
        no = ",".join([query for query, answer in zip(queries, answers, strict=True) if not answer])
        # What matches below the root matches. What does not may match with the root in it, so it is asked plainly.
        yes = "".join([f":has({query})" for query, answer in zip(queries, answers, strict=True) if answer])
        try:
            return (not no or self._tree.css_first(no) is None) and (
                not yes or self._tree.css_first("html" + yes) is not None
            )
        except Exception:  # noqa: BLE001  # one of them is not understood: then each is asked alone
            return False

    def asking(self, queries: set[str]) -> None:
        """Add each query that is asked from now on to a set."""
        self._asking = queries

    @property
    def _slow(self) -> bool:
        return self.quirks or bool(self._beginnings)

    def _has(self, name: str) -> bool:
        if self.quirks:
            name = name.lower()
        return name in self.all or (bool(self._beginnings) and name.startswith(self._beginnings))

    def _matches(self, query: str) -> bool:
        try:
            return self._tree.css_first(query) is not None
        except Exception:  # noqa: BLE001  # what it doesn't know is kept
            return True

    def _names(self) -> tuple[set[str], set[str]]:
        # What is between the tags may look like some: that is a name too many, which does no harm. Asking Lexbor for
        # each element's took three times as long.
        tags = set(_BEGUN.findall(self.html))
        read = [_read(tag if len(tag) <= _SHORT else _shortened(tag)) for tag in tags]
        known = [each.names for each in read if each is not None]
        # Where one can't be read by itself, by the tree: to read all of the text tag by tag takes ten times as long.
        names = set().union(*known) if len(known) == len(read) else self._names_of_elements()
        loose: set[str] = set()
        if "template" in names:
            for fragment in _templates(self.html):
                loose |= _known_names(fragment) if len(fragment) <= _MIDDLE else _loose_names(fragment)
        names |= _ALWAYS
        for name, origin in _IMPLIED:
            if name not in names and (not origin or origin in names) and self._tree.css_first(name) is not None:
                names.add(name)
        return names, loose

    def _names_of_elements(self) -> set[str]:
        root = self._tree.root
        assert root is not None
        tags: set[str] = set()
        attributes: set[str] = set()
        classes: set[str | None] = set()
        ids: set[str | None] = set()
        for node in root.traverse():
            tags.add(node.tag or "")
            found = node.attributes
            if found:
                attributes.update(found)
                # Of a list, whose items are alike, each once.
                classes.add(found.get("class"))
                ids.add(found.get("id"))
        names = {"#" + each for each in ids if each}
        names.update(["." + each for value in classes if value for each in value.split()])
        names.update(map(str.lower, tags))
        names.update(["[" + name.lower() for name in attributes])
        return names

    def check(self) -> None:
        """Raise LeftPage unless Lexbor sees the same sheets in the same order."""
        seen = []
        for node in self._tree.css("link, style"):
            if not _is_inside(node):
                attributes = {name.lower(): value or "" for name, value in node.attributes.items()}
                seen.append((node.tag, attributes.get("href"), attributes.get("rel"), attributes.get("media")))
        ours = [
            (place.tag, *(place.attributes.get(name) for name in ("href", "rel", "media"))) for place in self.places
        ]
        if seen != ours:
            raise LeftPage("its HTML can be read in two ways")

    def policy(self) -> str | None:
        """The content security policy that the page itself names, if it does."""
        for node in self._tree.css("meta[http-equiv]"):
            if (node.attributes.get("http-equiv") or "").strip().lower() == "content-security-policy":
                return node.attributes.get("content") or ""
        return None


def _add(attributes: Mapping[str, str | None], names: set[str]) -> None:
    for name, value in attributes.items():
        if name == "class":
            if value:
                names.update(["." + each for each in value.split()])
        elif name == "id" and value:
            names.add("#" + value)
        names.add("[" + name)


def _is_inside(node: LexborNode) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.tag in _INSIDE:
            return True
        parent = parent.parent
    return False


_TEMPLATE = re.compile(r"<(/?)template", re.IGNORECASE)


def _templates(html: str) -> Iterable[str]:
    """What is between `<template>` and `</template>`: more than that, where they are within each other."""
    begin = first = last = -1
    depth = most = 0
    for match in _TEMPLATE.finditer(html):
        if match[1]:
            last, depth = match.start(), depth - 1
            if begin >= 0:
                yield html[begin:last]
                begin = -1
            continue
        depth += 1
        most = max(most, depth)
        if begin < 0:
            begin = match.start()
        if first < 0:
            first = begin
    if begin >= 0:
        yield html[begin:]
    if most > 1 and last > first >= 0:
        yield html[first:last]


_MARKUP = re.compile(r"<([A-Za-z][^\s/>]*)")


def _loose_names(text: str) -> set[str]:
    """The names in a piece of HTML, without a parser, which would move what stands in the wrong place."""
    found: set[str] = set()
    for match in _MARKUP.finditer(text):
        found.add(match[1].lower())
        for name, value in _attributes(text, match.end())[0].items():
            _add({name: value}, found)
    return found


@lru_cache(maxsize=256)
def _known_names(text: str) -> frozenset[str]:
    return frozenset(_loose_names(text))


@dataclass(frozen=True, slots=True)
class _Tag:
    attributes: Attributes
    names: frozenset[str]


@lru_cache(maxsize=4096)
def _read(tag: str) -> _Tag | None:
    """What is in the text of a tag, to its first `>`; None if that may be in a value, so that more of it follows."""
    if not _SIMPLE.fullmatch(tag):
        return None
    match = _MARKUP.match(tag)
    assert match is not None
    return _Tag(_attributes(tag, match.end())[0], frozenset(_loose_names(tag)))


def _shortened(tag: str) -> str:
    """A tag without long values that have no names in them: the path of a drawing. It has the same names."""
    return _LONG.sub(r'\1=""', tag) if _SIMPLE.fullmatch(tag) else tag


def _attributes(html: str, at: int) -> tuple[dict[str, str], int]:
    """A tag's attributes, from behind its name, and where it ends (HTML standard, §13.2.5.32 and on)."""
    found: dict[str, str] = {}
    while True:
        end = _END.match(html, at)
        if end is not None:
            return found, end.end()
        match = _ATTRIBUTE.match(html, at)
        if match is None or match.end() == at:
            return found, -1
        value = match["double"] if match["double"] is not None else match["single"]
        if value is None:
            value = match["bare"] or ""
        found.setdefault(match["name"].lower(), unescape(value) if "&" in value else value)
        at = match.end()


def _begun(html: str, match: re.Match[str]) -> tuple[Attributes, int]:
    """A tag's attributes, and where it ends; -1 if it doesn't."""
    end = html.find(">", match.end()) + 1
    known = _read(html[match.start() : end]) if 0 < end - match.start() <= _SHORT else None
    return _attributes(html, match.end()) if known is None else (known.attributes, end)


def _scan(html: str) -> tuple[list[Place], list[str], str | None]:
    """The sheets outside of templates and the like, the scripts' texts, and the first `<base>`'s address."""
    places: list[Place] = []
    scripts: list[str] = []
    base: str | None = None
    inside: list[str] = []
    at = 0
    while (match := _TAG.search(html, at)) is not None:
        if match["comment"]:
            if html.startswith((">", "->"), match.end()):
                at = match.end()
                continue
            ends = [end for end in (html.find("-->", match.end() - 2), html.find("--!>", match.end())) if end >= 0]
            if not ends:
                break
            at = min(ends) + 3
            continue
        name = match["name"].lower()
        if match["close"]:
            at = match.end()
            if name in inside:
                while inside.pop() != name:
                    pass
            continue
        attributes, end = _begun(html, match)
        if end < 0:
            raise LeftPage("a tag of it doesn't end")
        at = end
        if name == "plaintext":
            break
        if name in _INSIDE:
            if name in {"template", "noscript"} or not html.endswith("/>", 0, end):
                inside.append(name)
            continue
        # In SVG and MathML these are elements like any other.
        foreign = "svg" in inside or "math" in inside
        if name in _RAW and not foreign:
            close = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE).search(html, end)
            if close is None:
                raise LeftPage(f"a <{name}> of it doesn't end")
            text = html[end : close.start()]
            if name == "script":
                if "<!--" in text and "<script" in text.lower():
                    raise LeftPage("a script in it can be read in two ways")
                if attributes.get("type", "").strip().lower() not in _DATA_SCRIPTS and "src" not in attributes:
                    scripts.append(text)
            after = html.find(">", close.end())
            if after < 0:
                raise LeftPage(f"a <{name}> of it doesn't end")
            at = after + 1
            if name == "style" and not inside:
                places.append(Place("style", match.start(), at, attributes, text))
        elif name == "link" and not inside:
            places.append(Place("link", match.start(), end, attributes))
        elif name == "base" and not inside and base is None and "href" in attributes:
            base = attributes["href"]
    return places, scripts, base
