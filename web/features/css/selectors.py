"""What must be on a page for a selector to matter, read off the selector once.

A part (what stands between two commas) has names that it needs, all of them: `.card`, `#top`, `li`, `[href`. What can
change without the page's HTML being another, the states (`:hover`, `:checked`, `[open]`), where in its parent an
element is, what it is not or what it has, counts as given. So a part that is dead here can't come alive in the browser.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import tinycss2

from .source import Node

#: Attributes that browsers and their readers set, or that scripts do to say a state.
STATES = frozenset(
    [
        "open",
        "hidden",
        "disabled",
        "checked",
        "selected",
        "inert",
        "popover",
        "value",
        "readonly",
        "required",
        "indeterminate",
        "contenteditable",
        "placeholder",
        "dir",
        "lang",
        "style",
        "tabindex",
        "draggable",
        "size",
        "multiple",
        "max",
        "min",
        "pattern",
    ]
)

_PSEUDO_CLASSES = frozenset(
    [
        "link",
        "visited",
        "hover",
        "active",
        "focus",
        "focus-visible",
        "focus-within",
        "target",
        "root",
        "empty",
        "first-child",
        "last-child",
        "only-child",
        "first-of-type",
        "last-of-type",
        "only-of-type",
        "enabled",
        "disabled",
        "checked",
        "indeterminate",
        "default",
        "valid",
        "invalid",
        "in-range",
        "out-of-range",
        "required",
        "optional",
        "read-only",
        "read-write",
        "placeholder-shown",
    ]
)
_FUNCTIONS = frozenset(["not", "is", "where", "lang", "nth-child", "nth-last-child", "nth-of-type", "nth-last-of-type"])
_PSEUDO_ELEMENTS = frozenset(["before", "after", "first-line", "first-letter", "selection", "placeholder"])
_OLD_ELEMENTS = frozenset(["before", "after", "first-line", "first-letter"])
#: Of what is not in this tree: never judged.
_ELSEWHERE = frozenset(["host", "host-context", "slotted", "part", "cue"])
_LISTS = frozenset(["is", "where", "matches", "any", "-webkit-any", "-moz-any"])

#: A name that is written as it is.
_PLAIN = re.compile(r"[a-z][a-z0-9_-]*")

Needs = frozenset[str]


@dataclass(frozen=True, slots=True)
class Part:
    """One selector of a list.

    needs: names that must all be there. either: of each tuple, one of its sets must be there whole (`:is(…)`). query:
    the selector as Lexbor is asked, without states; None if names are all that can be asked for. known: whether every
    browser of the last years knows all of it, so that cutting it out of its list leaves the others as they were.
    inverse: whether `&` stands inside a function, so that it may match where its parent does not. judged: False for
    one that is always kept.
    """

    text: str
    needs: Needs = frozenset()
    either: tuple[tuple[Needs, ...], ...] = ()
    query: str | None = None
    known: bool = True
    inverse: bool = False
    judged: bool = True


@dataclass(slots=True)
class _Reading:
    nested: bool
    needs: set[str] = field(default_factory=set)
    either: list[tuple[Needs, ...]] = field(default_factory=list)
    compounds: list[str] = field(default_factory=list)
    known: bool = True
    inverse: bool = False
    judged: bool = True
    asks: bool = True


def _identifier(name: str) -> str:
    # What most are takes no second look.
    return name if _PLAIN.fullmatch(name) else str(tinycss2.serializer.serialize_identifier(name))


def split(nodes: Sequence[Node]) -> list[tuple[list[Node], Node | None]]:
    """A list of selectors at its commas: the nodes of each, and the comma behind it."""
    parts: list[tuple[list[Node], Node | None]] = []
    part: list[Node] = []
    for node in nodes:
        if node.type == "literal" and node.value == ",":
            parts.append((part, node))
            part = []
        else:
            part.append(node)
    parts.append((part, None))
    return parts


def parts_of(
    nodes: Sequence[Node], text_of: Callable[[Sequence[Node], Node | None], str], *, nested: bool = False
) -> list[Part]:
    """The parts of a rule's list. text_of: the text of some nodes before a comma, or the end. nested: inside a rule."""
    found = []
    for part, comma in split(nodes):
        reading = _Reading(nested)
        _read(part, reading)
        query = None
        if reading.asks and reading.judged and reading.known and len(reading.needs) > 1:
            query = "".join(reading.compounds).strip()
        found.append(
            Part(
                text_of(part, comma),
                frozenset(reading.needs),
                tuple(reading.either),
                query,
                reading.known,
                reading.inverse,
                reading.judged,
            )
        )
    return found


def _read(nodes: Sequence[Node], reading: _Reading) -> None:
    nodes = [node for node in nodes if node.type != "comment"]
    while nodes and nodes[0].type == "whitespace":
        nodes = nodes[1:]
    while nodes and nodes[-1].type == "whitespace":
        nodes = nodes[:-1]
    if not nodes:
        # An empty part makes the whole list none.
        reading.known = reading.judged = False
        return
    index = 0
    compound: list[str] = []
    anything = False
    combinator = ""
    while index < len(nodes):
        node = nodes[index]
        index += 1
        if node.type == "whitespace" or (node.type == "literal" and node.value in {">", "+", "~"}):
            sign = " "
            if node.type != "whitespace":
                sign = str(node.value)
            else:
                while index < len(nodes) and nodes[index].type == "whitespace":
                    index += 1
                if index < len(nodes) and nodes[index].type == "literal" and nodes[index].value in {">", "+", "~"}:
                    sign = str(nodes[index].value)
                    index += 1
            while index < len(nodes) and nodes[index].type == "whitespace":
                index += 1
            if not anything and not (reading.nested and not combinator and not reading.compounds):
                # `> a` outside of a rule, or two in a row.
                reading.known = False
            if anything:
                reading.compounds.append("".join(compound) or "*")
            if sign in {"+", "~"} or not anything:
                # Who stands beside whom changes when something is put between them.
                reading.asks = False
            reading.compounds.append(sign)
            combinator = sign
            compound, anything = [], False
            continue
        anything = True
        index = _simple(node, nodes, index, reading, compound)
    if not anything:
        reading.known = False
        reading.asks = False
    reading.compounds.append("".join(compound) or "*")


def _simple(node: Node, nodes: Sequence[Node], index: int, reading: _Reading, compound: list[str]) -> int:
    """Read one simple selector, which begins with `node`; returns where the next one begins."""
    kind = node.type
    after = nodes[index] if index < len(nodes) else None
    if kind == "literal" and node.value == ".":
        if after is None or after.type != "ident":
            reading.known = reading.judged = False
            return index
        reading.needs.add("." + after.value)
        compound.append("." + _identifier(after.value))
        return index + 1
    if kind == "hash":
        if not node.is_identifier:
            reading.known = reading.judged = False
            return index
        reading.needs.add("#" + node.value)
        compound.append("#" + _identifier(node.value))
        return index
    if kind == "ident" or (kind == "literal" and node.value == "*"):
        if after is not None and after.type == "literal" and after.value == "|":
            # Of a namespace: who has which is declared elsewhere.
            reading.known = reading.asks = False
            return index + 1
        if kind == "ident":
            reading.needs.add(node.lower_value)
            if compound:
                reading.known = reading.judged = False
            if node.value.isascii() and node.lower_value == node.value and node.value.isalnum():
                compound.append(node.value)
            else:
                # SVG's names have capitals, and a parser's ways with them differ.
                reading.asks = False
        return index
    if kind == "[] block":
        _attribute(node, reading, compound)
        return index
    if kind == "literal" and node.value == ":":
        return _pseudo(nodes, index, reading)
    if kind == "literal" and node.value == "&":
        reading.asks = False
        reading.known = reading.known and reading.nested
        return index
    if kind == "literal" and node.value == "|":
        reading.known = reading.asks = False
        return index
    reading.known = reading.judged = False
    return index


def _attribute(node: Node, reading: _Reading, compound: list[str]) -> None:
    content = [each for each in node.content if each.type not in {"whitespace", "comment"}]
    if not content or content[0].type != "ident":
        reading.known = reading.asks = False
        return
    name = content[0].lower_value
    rest = content[1:]
    if rest and rest[0].type == "literal" and rest[0].value == "|":
        reading.known = reading.asks = False
        return
    # `[name]`, `[name=value]`, `[name=value i]`.
    if rest and not (
        rest[0].type == "literal"
        and rest[0].value in {"=", "~=", "|=", "^=", "$=", "*="}
        and len(rest) > 1
        and rest[1].type in {"ident", "string"}
        and (len(rest) == 2 or (len(rest) == 3 and rest[2].type == "ident" and rest[2].lower_value == "i"))
    ):
        reading.known = False
    if name in STATES or name.startswith("aria-"):
        return
    reading.needs.add("[" + name)
    if name.isascii() and name.replace("-", "").isalnum():
        compound.append(f"[{name}]")
    else:
        reading.asks = False


def _pseudo(nodes: Sequence[Node], index: int, reading: _Reading) -> int:
    if index >= len(nodes):
        reading.known = reading.judged = False
        return index
    node = nodes[index]
    is_element = node.type == "literal" and node.value == ":"
    if is_element:
        index += 1
        node = nodes[index] if index < len(nodes) else None
    if node is None or node.type not in {"ident", "function"}:
        reading.known = reading.judged = False
        return index
    name = node.lower_value if node.type == "ident" else node.lower_name
    if name in _ELSEWHERE:
        reading.known = reading.judged = False
    elif is_element:
        reading.known = reading.known and node.type == "ident" and name in _PSEUDO_ELEMENTS
    elif node.type == "ident":
        reading.known = reading.known and (name in _PSEUDO_CLASSES or name in _OLD_ELEMENTS)
    else:
        _function(name, node.arguments, reading)
    return index + 1


def _function(name: str, arguments: Sequence[Node], reading: _Reading) -> None:
    if name not in _FUNCTIONS:
        reading.known = False
    if name.startswith("nth-") and any(each.type == "ident" and each.lower_value == "of" for each in arguments):
        reading.known = False
    if "&" in tinycss2.serialize(arguments):
        reading.inverse = True
    if name not in _LISTS:
        # What it is not, what it has, where it stands: all that may change.
        return
    alternatives = []
    for part, _ in split(arguments):
        inner = _Reading(nested=True)
        _read(part, inner)
        alternatives.append(frozenset(inner.needs) if inner.judged else frozenset())
    if frozenset() not in alternatives:
        reading.either.append(tuple(alternatives))
