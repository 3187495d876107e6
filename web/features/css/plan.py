"""A sheet's plan, compiled once: a tree of texts and of rules with what each needs; and what a page leaves of it.

`compile_sheet` takes a sheet; `Plan.left_by` gives the text that a page keeps. Nothing is written anew: all that is
kept was cut out of the sheet when it was compiled.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from .addresses import joined, quoted
from .errors import LeftSheet
from .minify import is_marked, minified
from .selectors import Part, parts_of
from .source import Node, Source
from .syntax import Broken, Declaration, Rule, contents_of, rules_of
from .urls import Edits, all_rewritten, imported_url, rewritten

#: At-rules whose blocks hold rules.
GROUPS = frozenset(["media", "supports", "container", "scope", "layer", "starting-style"])

#: Shapes of pages of which it is known what they keep.
SHAPES = 64

#: How deep imports may be.
MAX_IMPORTS = 10


class Judge(Protocol):
    """A page, as a plan asks about it."""

    def lives(self, part: Part) -> bool:
        """Whether a part may match something of it, now or in another state."""

    def shape(self, names: frozenset[str]) -> Hashable | None:
        """Which of these names the page has: equal for pages that match alike; None if more than names decides."""

    def matches(self, query: str) -> bool:
        """Whether a part's query matches something."""

    def agrees(self, queries: Sequence[str], answers: Sequence[bool]) -> bool:
        """Whether `matches` says that of each; False, too, where it is not known soon."""

    def asking(self, queries: set[str]) -> None:
        """Add each query that is asked from now on to a set."""


@dataclass(slots=True)
class Style:
    """A rule. head: its list with `{`; cut: whether parts may be left out. pieces: texts, and rules within it. whole:
    the rule as it is kept when nothing in it can be left out."""

    parts: tuple[Part, ...]
    cut: bool
    pieces: tuple[str | Style | Group, ...]
    inverse: bool
    line: int


@dataclass(slots=True)
class Group:
    """An at-rule with rules in it. empty: what is left of it without them (an emptied layer still has its place)."""

    head: str
    pieces: tuple[str | Style | Group, ...]
    empty: str = ""


Piece = str | Style | Group


@dataclass(slots=True)
class Tally:
    """What became of the rules: how many, and of those that are kept, which part did it."""

    rules: int = 0
    kept: int = 0
    why: list[tuple[int, str, str]] | None = None


@dataclass(frozen=True, slots=True)
class _Text:
    """The CSS that pages of one shape keep."""

    text: str
    rules: int
    kept: int


@dataclass(frozen=True, slots=True)
class _Known:
    """What pages keep that have the same names: by what these queries say of them."""

    queries: tuple[str, ...]
    texts: dict[tuple[bool, ...], _Text] = field(default_factory=dict)

    def by(self, page: Judge) -> _Text | None:
        """What a page keeps, if one that answered as it does was seen."""
        # Most are as the one before.
        for answers in itertools.islice(reversed(self.texts), 1):
            if page.agrees(self.queries, answers):
                return self.texts[answers]
        answers = tuple([page.matches(query) for query in self.queries])
        found = self.texts.pop(answers, None)
        if found is not None:
            self.texts[answers] = found
        return found


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled sheet. url: where it came from. size: characters of it and of what it imports. has_addresses: whether
    some were told anew, in absolute form."""

    url: str
    size: int
    pieces: tuple[Piece, ...]
    source: Source
    has_addresses: bool = False
    #: What its parts need, and by the shape of pages what they keep: most pages of a site are like others.
    names: frozenset[str] = frozenset()
    known: dict[Hashable, _Known] = field(default_factory=dict, compare=False)

    def left_by(self, page: Judge, tally: Tally | None = None) -> str:
        """What of it a page keeps."""
        tally = Tally() if tally is None else tally
        shape = page.shape(self.names) if tally.why is None else None
        if shape is None:
            return self._left_by(page, tally)
        known = self.known.get(shape)
        if known is not None:
            found = known.by(page)
            if found is not None:
                tally.rules += found.rules
                tally.kept += found.kept
                return found.text
        queries = set() if known is None else set(known.queries)
        page.asking(queries)
        mine = Tally()
        text = self._left_by(page, mine)
        tally.rules += mine.rules
        tally.kept += mine.kept
        if known is None or len(queries) > len(known.queries):
            # A rule in a rule is asked about only if the outer one lives: another page may bring more.
            known = _Known(tuple(queries))
            while len(self.known) >= SHAPES:
                self.known.pop(next(iter(self.known)), None)
            self.known[shape] = known
        if len(known.texts) < SHAPES:
            known.texts[tuple([page.matches(query) for query in known.queries])] = _Text(text, mine.rules, mine.kept)
        return text

    def _left_by(self, page: Judge, tally: Tally) -> str:
        return "".join([_left(piece, page, tally) for piece in self.pieces])

    def verbatim(self) -> str:
        """All of it as it was written, but for addresses. Raises LeftSheet for one that imports others."""
        source = self.source
        for rule in rules_of(source, source.nodes, source.stop):
            if rule.name == "import" if isinstance(rule, Rule) else False:
                raise LeftSheet("it imports others, and is to stay as it is")
        return all_rewritten(source, self.url)


def _left(piece: Piece, page: Judge, tally: Tally, forced: bool = False) -> str:
    if isinstance(piece, str):
        return piece
    if isinstance(piece, Group):
        inner = "".join([_left(each, page, tally, forced) for each in piece.pieces])
        return f"{piece.head}{{{inner}}}" if inner else piece.empty
    tally.rules += 1
    live = [part for part in piece.parts if page.lives(part)]
    if not live and not piece.inverse:
        return ""
    tally.kept += 1
    if tally.why is not None:
        tally.why.append((piece.line, ", ".join(part.text for part in piece.parts), _reason(piece, live)))
    kept = live if piece.cut else piece.parts
    inner = "".join([_left(each, page, tally) for each in piece.pieces])
    return f"{','.join([part.text for part in kept])}{{{inner}}}"


def _reason(piece: Style, live: Sequence[Part]) -> str:
    if not live:
        return "a rule within it says what it is not"
    first = live[0]
    if not first.judged:
        return "can't be judged"
    return "the page has " + (", ".join(sorted(first.needs)) or "what may match it")


class Compiler:
    """Compiles one sheet, and those that it imports. load: a sheet's text by its URL, None where there is none."""

    def __init__(self, load: Callable[[str], str | None]) -> None:
        self._load = load
        self.size = 0
        self.has_addresses = False

    def compile(self, text: str, url: str, depth: int = 0) -> Plan:
        """The plan of a sheet. Raises LeftSheet."""
        source = Source(text)
        self.size += len(text)
        pieces = tuple(self._sheet(source, url, depth))
        return Plan(url, self.size, pieces, source, self.has_addresses, frozenset(_names_of(pieces)))

    def _sheet(self, source: Source, url: str, depth: int) -> list[Piece]:
        found: list[Piece] = []
        # Where imports may still be: before all but `@charset` and the layers' order.
        early, unsure = True, False
        for rule in rules_of(source, source.nodes, source.stop):
            if isinstance(rule, Broken):
                continue
            if rule.name == "charset":
                # Its work is done, or it had none to do where it stood.
                continue
            if rule.name == "import":
                if unsure:
                    raise LeftSheet("an @import behind what may be a rule or not")
                if early:
                    found += self._import(source, rule, url, depth, found)
                # What stands too late is nothing, and must not come to stand early.
                continue
            if rule.name == "namespace":
                if early:
                    raise LeftSheet("it has namespaces")
                continue
            piece = self._rule(source, rule, url)
            if not (rule.name == "layer" and rule.block is None):
                if rule.name == "" and not all(part.judged for part in _parts(piece)):
                    unsure = unsure or early
                early = early and unsure
            found.append(piece)
        return found

    def _import(self, source: Source, rule: Rule, url: str, depth: int, found: Sequence[Piece]) -> list[Piece]:
        if rule.block is not None:
            return []
        target, conditions, tail_start = imported_url(source, rule)
        if target is None:
            raise LeftSheet("an @import that can't be understood")
        if depth >= MAX_IMPORTS:
            raise LeftSheet(f"imports more than {MAX_IMPORTS} deep")
        where = joined(url, target)
        text = self._load(where)
        if text is None:
            if depth or not all(isinstance(piece, str) for piece in found):
                raise LeftSheet(f"it imports {where}, which can't be had")
            # It stays an import, before all rules.
            tail = minified(source.text[tail_start : rule.prelude_end], body=False)
            return [f"@import {quoted(where)}{' ' if tail else ''}{tail};"]
        pieces: tuple[Piece, ...] = self.compile(text, where, depth + 1).pieces
        # The innermost first.
        if conditions.layer is not None:
            name = f" {conditions.layer}" if conditions.layer else ""
            pieces = (Group(f"@layer{name}", pieces, f"@layer{name};" if name else "@layer{}"),)
        if conditions.supports:
            pieces = (Group(f"@supports {conditions.supports}", pieces),)
        if conditions.media:
            pieces = (Group(f"@media {conditions.media}", pieces),)
        return list(pieces)

    # Rules

    def _rule(self, source: Source, rule: Rule, url: str, nested: bool = False) -> Piece:
        text = source.text
        if rule.name == "":
            return self._style(source, rule, url, nested)
        if rule.name not in GROUPS or rule.block is None or _is_marked(source, rule.block):
            if rule.name == "scope" and rule.block is not None and not _has_root(rule):
                raise LeftSheet("an @scope without a root means another element inside the page")
            return self._edits(source, rule, url).minified(rule.start, rule.end)
        if rule.name == "scope" and not _has_root(rule):
            raise LeftSheet("an @scope without a root means another element inside the page")
        prelude = minified(text[rule.prelude_start : rule.prelude_end], body=False)
        head = f"@{rule.name}" + (f" {prelude}" if prelude else "")
        empty = ""
        if rule.name == "layer":
            empty = f"{head};" if prelude else f"{head}{{}}"
        if nested:
            pieces = self._contents(source, rule.block, rule.close, url)
        else:
            pieces = tuple(
                self._rule(source, each, url)
                for each in rules_of(source, rule.block, rule.close)
                if isinstance(each, Rule) and each.name not in {"charset", "import", "namespace"}
            )
        return Group(head, pieces, empty)

    def _edits(self, source: Source, what: Rule | Declaration, url: str) -> Edits:
        edits = rewritten(source, what, url)
        self.has_addresses = self.has_addresses or bool(edits)
        return edits

    def _style(self, source: Source, rule: Rule, url: str, nested: bool) -> Piece:
        assert rule.block is not None
        text = source.text

        def text_of(nodes: Sequence[Node], comma: Node | None) -> str:
            if not nodes:
                return ""
            stop = rule.prelude_end if comma is None else source.at(comma)
            return minified(text[source.at(nodes[0]) : stop], body=False)

        edits = self._edits(source, rule, url)
        if is_marked(text[rule.start : rule.end]) and _is_marked(source, rule.block):
            return edits.minified(rule.start, rule.end)
        parts = tuple(parts_of(rule.prelude, text_of, nested=nested))
        inner = text[rule.open : rule.close]
        if "{" not in inner and "@" not in inner and "--" not in inner:
            body = edits.minified(rule.open, rule.close).rstrip(";")
            pieces: tuple[Piece, ...] = (body,) if body else ()
        else:
            pieces = self._contents(source, rule.block, rule.close, url)
        has_rules = any(not isinstance(each, str) for each in pieces)
        # The list of a rule with rules in it gives them its weight, whatever of it matches.
        cut = not has_rules and len(parts) > 1 and all(part.known for part in parts)
        inverse = has_rules and _is_inverse(pieces)
        return Style(parts, cut, pieces, inverse, source.line(rule.start))

    def _contents(self, source: Source, nodes: Sequence[Node], stop: int, url: str) -> tuple[Piece, ...]:
        found: list[Piece] = []
        for each in contents_of(source, nodes, stop):
            if isinstance(each, Rule):
                found.append(self._rule(source, each, url, nested=True))
            elif isinstance(each, Declaration):
                edits = self._edits(source, each, url)
                if each.name.startswith("--"):
                    if edits:
                        raise LeftSheet("a custom property with an address that is relative to the sheet")
                    if "</style" in source.text[each.start : each.end].lower():
                        raise LeftSheet("a custom property with the end of a style in it")
                    body = source.text[each.start : each.end].rstrip(" \t\n")
                else:
                    body = edits.minified(each.start, each.end)
                found.append(body + ";")
        return tuple(found)


def _has_root(rule: Rule) -> bool:
    return any(node.type == "() block" for node in rule.prelude[:2])


def _is_marked(source: Source, nodes: Sequence[Node]) -> bool:
    """Whether a block has the mark, in itself and not in a block within it."""
    return any(node.type == "comment" and node.value.strip().lower() == "no mincss" for node in nodes)


def _names_of(pieces: Sequence[Piece]) -> Iterator[str]:
    for piece in pieces:
        if isinstance(piece, str):
            continue
        if isinstance(piece, Style):
            for part in piece.parts:
                yield from part.needs
                for alternatives in part.either:
                    for needs in alternatives:
                        yield from needs
        yield from _names_of(piece.pieces)


def _parts(piece: Piece) -> Sequence[Part]:
    return piece.parts if isinstance(piece, Style) else ()


def _is_inverse(pieces: Sequence[Piece]) -> bool:
    for piece in pieces:
        if isinstance(piece, Group) and (piece.empty or _is_inverse(piece.pieces)):
            return True
        if isinstance(piece, str) and piece.lower().startswith("@layer"):
            return True
        if isinstance(piece, Style) and (any(part.inverse for part in piece.parts) or _is_inverse(piece.pieces)):
            return True
    return False


def compile_sheet(text: str, url: str, load: Callable[[str], str | None] = lambda url: None) -> Plan:
    """The plan of a sheet. url: where it is, absolute. load: the text of one that it imports. Raises LeftSheet."""
    with _uncollected():
        return Compiler(load).compile(text, url)


@contextmanager
def _uncollected() -> Iterator[None]:
    # Bootstrap is 67,000 nodes, which all stay until it is read. In a process that has a site loaded the collector
    # takes as long again: it looks through all of it each time that some more of them are there.
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


__all__ = ["Edits", "Group", "Judge", "Plan", "Style", "Tally", "compile_sheet"]
