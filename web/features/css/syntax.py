"""A sheet's nodes as rules: CSS Syntax 3, §5.4, over the tokens of tinycss2; nested rules as browsers read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .source import Node, Source


@dataclass(frozen=True, slots=True)
class Rule:
    """A qualified rule, or an at-rule with its name in small letters.

    From `start` to `end` is all of it; its prelude begins at `prelude_start`; `block` is None for one that ends with
    `;`, else its content is from `open` to `close`."""

    name: str
    prelude: Sequence[Node]
    start: int
    prelude_start: int
    prelude_end: int
    block: Sequence[Node] | None
    open: int
    close: int
    end: int


@dataclass(frozen=True, slots=True)
class Declaration:
    """Text between rules in a rule's block: a declaration with its `;`, or what browsers throw away."""

    start: int
    end: int
    name: str
    value: Sequence[Node]


@dataclass(frozen=True, slots=True)
class Broken:
    """What is left at the end and is no rule."""

    start: int
    end: int


_BLANK = {"whitespace", "comment"}


def rules_of(source: Source, nodes: Sequence[Node], stop: int) -> Iterator[Rule | Broken]:
    """The rules of a sheet, or of a group's block that ends at `stop`."""
    index = 0
    while index < len(nodes):
        node = nodes[index]
        if node.type in _BLANK or (node.type == "literal" and node.value in {"<!--", "-->"}):
            index += 1
        elif node.type == "at-keyword":
            rule, index = _at_rule(source, nodes, index, stop)
            yield rule
        else:
            found, index = _qualified(source, nodes, index, stop)
            yield found


def contents_of(source: Source, nodes: Sequence[Node], stop: int) -> Iterator[Rule | Declaration | Broken]:
    """What is in a rule's block: declarations, and rules within it."""
    index = 0
    while index < len(nodes):
        node = nodes[index]
        if node.type in _BLANK or (node.type == "literal" and node.value == ";"):
            index += 1
        elif node.type == "at-keyword":
            rule, index = _at_rule(source, nodes, index, stop)
            yield rule
        else:
            end = index
            while end < len(nodes) and not (nodes[end].type == "literal" and nodes[end].value == ";"):
                end += 1
            is_custom = node.type == "ident" and node.value.startswith("--") and _colon(nodes, index + 1, end) > 0
            block = next((at for at in range(index, end) if nodes[at].type == "{} block"), None)
            if block is None or is_custom:
                colon = _colon(nodes, index + 1, end) if node.type == "ident" else 0
                name = node.value if colon else ""
                until = source.at(nodes[end]) if end < len(nodes) else stop
                yield Declaration(source.at(node), until, name, nodes[colon:end] if colon else nodes[index:end])
                index = end
            else:
                found, index = _qualified(source, nodes, index, stop)
                yield found


def _colon(nodes: Sequence[Node], index: int, end: int) -> int:
    """The index behind the colon that comes next, 0 if something else does."""
    while index < end and nodes[index].type in _BLANK:
        index += 1
    if index < end and nodes[index].type == "literal" and nodes[index].value == ":":
        return index + 1
    return 0


def _at_rule(source: Source, nodes: Sequence[Node], index: int, stop: int) -> tuple[Rule, int]:
    start = source.at(nodes[index])
    name = nodes[index].lower_value
    first = index + 1
    at = first
    while at < len(nodes):
        node = nodes[at]
        if node.type == "{} block":
            end = source.ends(nodes, at, stop)
            opened = source.at(node)
            return (
                Rule(
                    name,
                    nodes[first:at],
                    start,
                    _begin(source, nodes, first, opened),
                    opened,
                    node.content,
                    opened + 1,
                    end - 1,
                    end,
                ),
                at + 1,
            )
        if node.type == "literal" and node.value == ";":
            until = source.at(node)
            return (
                Rule(
                    name,
                    nodes[first:at],
                    start,
                    _begin(source, nodes, first, until),
                    until,
                    None,
                    until,
                    until,
                    until + 1,
                ),
                at + 1,
            )
        at += 1
    return Rule(name, nodes[first:], start, _begin(source, nodes, first, stop), stop, None, stop, stop, stop), at


def _begin(source: Source, nodes: Sequence[Node], index: int, stop: int) -> int:
    return source.at(nodes[index]) if index < len(nodes) else stop


def _qualified(source: Source, nodes: Sequence[Node], index: int, stop: int) -> tuple[Rule | Broken, int]:
    start = source.at(nodes[index])
    for at in range(index, len(nodes)):
        if nodes[at].type == "{} block":
            end = source.ends(nodes, at, stop)
            opened = source.at(nodes[at])
            rule = Rule("", nodes[index:at], start, start, opened, nodes[at].content, opened + 1, end - 1, end)
            return rule, at + 1
    return Broken(start, stop), len(nodes)
