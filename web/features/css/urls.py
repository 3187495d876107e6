"""Addresses inside a rule, found by its tokens: told anew where they are relative to the sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .addresses import is_relative, joined, quoted
from .minify import minified
from .source import Node, Source
from .syntax import Declaration, Rule

#: Functions whose strings are addresses.
_IMAGES = frozenset({"image-set", "-webkit-image-set", "src"})


@dataclass(slots=True)
class Edits:
    """Pieces of a text that are written otherwise: from, to, what."""

    text: str
    found: list[tuple[int, int, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.found)

    def minified(self, start: int, end: int) -> str:
        """The text between two places, with the edits, minified."""
        out, last = [], start
        for begin, stop, new in self.found:
            if start <= begin and stop <= end:
                out += [self.text[last:begin], new]
                last = stop
        out.append(self.text[last:end])
        return minified("".join(out))


def rewritten(source: Source, what: Rule | Declaration, url: str) -> Edits:
    """The addresses of a rule or a declaration that are relative to the sheet at `url`."""
    edits = Edits(source.text)
    text = source.text[what.start : what.end].lower()
    # Most rules have none, and looking at each token takes time.
    if "url" not in text and "image-set" not in text and "src(" not in text and "\\" not in text:
        return edits
    nodes: Sequence[Node]
    if isinstance(what, Rule):
        nodes = [] if what.block is None else what.block
        stop = what.close
    else:
        nodes, stop = what.value, what.end
    for begin, end, address in _addresses(source, nodes, stop, in_images=False):
        if is_relative(address):
            edits.found.append(
                (
                    begin,
                    end,
                    quoted(joined(url, address))
                    if source.text[begin] in "\"'"
                    else f"url({quoted(joined(url, address))})",
                )
            )
    return edits


def all_rewritten(source: Source, url: str) -> str:
    """A whole sheet with its addresses told anew, and nothing else."""
    out, last = [], 0
    for begin, end, address in _addresses(source, source.nodes, source.stop, in_images=False):
        if is_relative(address):
            new = quoted(joined(url, address))
            out += [source.text[last:begin], new if source.text[begin] in "\"'" else f"url({new})"]
            last = end
    return "".join([*out, source.text[last:]])


def _addresses(source: Source, nodes: Sequence[Node], stop: int, in_images: bool) -> Iterator[tuple[int, int, str]]:
    for index, node in enumerate(nodes):
        begin, end = source.at(node), source.ends(nodes, index, stop)
        if node.type == "url" or (node.type == "string" and in_images):
            yield begin, end, node.value
        elif node.type == "function":
            name = node.lower_name
            # `type("image/avif")` within an image-set is no address.
            yield from _addresses(source, node.arguments, end - 1, name in _IMAGES or (name == "url"))
        elif node.type in {"{} block", "() block", "[] block"}:
            yield from _addresses(source, node.content, end - 1, False)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What follows the address of an import. layer: "" for one without a name."""

    layer: str | None = None
    supports: str = ""
    media: str = ""


def imported_url(source: Source, rule: Rule) -> tuple[str | None, Conditions, int]:
    """What an `@import` imports, under which conditions, and where those begin; None for one that is not understood."""
    nodes = [(index, node) for index, node in enumerate(rule.prelude) if node.type not in {"whitespace", "comment"}]
    if not nodes:
        return None, Conditions(), 0
    first = nodes.pop(0)[1]
    if first.type in {"string", "url"}:
        target = first.value
    elif first.type == "function" and first.lower_name == "url":
        strings = [each for each in first.arguments if each.type == "string"]
        if len(strings) != 1:
            return None, Conditions(), 0
        target = strings[0].value
    else:
        return None, Conditions(), 0

    tail = source.at(nodes[0][1]) if nodes else rule.prelude_end

    def inside(index: int, node: Node) -> str:
        end = source.ends(rule.prelude, index, rule.prelude_end)
        text = source.text[source.at(node) : end]
        return text[text.index("(") + 1 : -1].strip()

    layer: str | None = None
    supports = ""
    if nodes and nodes[0][1].type == "ident" and nodes[0][1].lower_value == "layer":
        layer = ""
        nodes.pop(0)
    elif nodes and nodes[0][1].type == "function" and nodes[0][1].lower_name == "layer":
        layer = inside(*nodes.pop(0))
        if not layer:
            return None, Conditions(), 0
    if nodes and nodes[0][1].type == "function" and nodes[0][1].lower_name == "supports":
        text = inside(*nodes.pop(0))
        # A declaration, or a whole condition.
        supports = text if text.startswith(("(", "not ", "not(", "selector(", "font-")) else f"({text})"
    wrong = {"layer", "supports"}
    if any(each.type == "error" or (each.type == "function" and each.lower_name in wrong) for _, each in nodes):
        return None, Conditions(), 0
    media = ""
    if nodes:
        media = minified(source.text[source.at(nodes[0][1]) : rule.prelude_end], body=False)
    return target, Conditions(layer, supports, media), tail
