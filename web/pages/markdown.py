"""Markdown as strangers write it, made into HTML that may stand on a page. Pure; knows no feature.

`render_comment` is what anybody may write; posts have more (`web.features.blog.text`), from the parts here. What can be
shown takes a bounded time whatever it is made of: `check` counts before anything is parsed, and refuses the rest with a
sentence for its writer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.gfm_autolink import gfm_autolink_plugin

#: Quotes and lists within each other; a list and its item are two. Deeper ones the parser would leave out in silence.
DEPTH = 20

# What the parser stops at, each a few microseconds.
_MARKS = "*_`~<>|!&\\[]:@"
# Brackets, and what begins an address.
_ADDRESSES = ("[", "://", "www.", "@", "mailto:", "xmpp:")
# Markers without a space between them are text, but a parser has to find that out.
_PREFIX = re.compile(r"^(?:[ \t]*(?:>|[-+*](?=[ \t]|$)|\d{1,9}[.)](?=[ \t]|$)))+", re.MULTILINE)
_MARKER = re.compile(r"[>+*.)-]")


class TextError(ValueError):
    """A text that can't be shown as it is. As a string: a sentence for who wrote it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of what a text may have. Each was set by timing the worst text that it allows."""

    what: str
    characters: int
    lines: int
    #: Signs that mean something in Markdown.
    marks: int
    #: Of these, brackets that open and what begins an address: each makes the parser look at much that follows.
    brackets: int
    #: Of these, signs that begin a tag.
    tags: int
    #: Cells of tables. A row with one cell is filled up to its table's width.
    cells: int
    #: Characters of all addresses once links by name have been looked up: a long one may be named many times.
    addresses: int


COMMENT = Bounds("A comment", 10_000, 500, 1_000, 200, 500, 0, 10_000)


def check(text: str, bounds: Bounds) -> None:
    """Refuse what would take too long, in time that grows with its length alone.

    Raises:
        TextError: it has more of something than `bounds` allow.
    """

    def least(name: str, found: int, most: int) -> None:
        if found > most:
            raise TextError(f"{bounds.what} has at most {most:,} {name}; this one has {found:,}.")

    least("characters", len(text), bounds.characters)
    least("lines", text.count("\n") + 1, bounds.lines)
    least("signs of Markdown (such as * _ ` < |)", sum(text.count(mark) for mark in _MARKS), bounds.marks)
    least("brackets and addresses", sum(text.count(each) for each in _ADDRESSES), bounds.brackets)
    least("signs of tags (<)", text.count("<"), bounds.tags)
    if any(len(_MARKER.findall(found[0])) > DEPTH for found in _PREFIX.finditer(text)):
        raise TextError(_TOO_DEEP)
    if bounds.cells and "|" in text:
        least("cells in tables", _cells(text), bounds.cells)


# What no text has: controls, halves of surrogate pairs, and codes that are no characters.
_NO_TEXT = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufdd0-\\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)


_NO_TEXT_OF_ASCII = bytes(code for code in range(128) if _NO_TEXT.match(chr(code)))


def plain(text: str) -> str:
    """A text with plain line ends, and without what is no text. Not after links have been checked."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii():
        return text.encode().translate(None, _NO_TEXT_OF_ASCII).decode()
    return _NO_TEXT.sub("", text)


_TOO_DEEP = "Quotes and lists are nested too deeply in this text. Use fewer levels."


def _cells(text: str) -> int:
    """At most as many cells as the tables of a text will have."""
    lines = text.split("\n")
    cells = columns = 0
    for line in lines:
        found = line.count("|") + 1
        if "-" in line and not line.strip(" \t>|:-"):
            columns = found
        elif not line.strip(" \t>"):
            columns = 0
        cells += columns
    return cells


def parse(parser: MarkdownIt, text: str, bounds: Bounds, env: dict[str, Any]) -> list[Token]:
    """The tokens of a text that `check` let through.

    Raises:
        TextError: it is nested deeper, or its links are longer together, than may be.
    """
    check(text, bounds)
    tokens = parser.parse(text, env)
    addresses = 0
    for token in tokens:
        if token.nesting == 1 and token.level >= DEPTH - 1:
            raise TextError(_TOO_DEEP)
        for child in token.children or ():
            if child.attrs:
                addresses += sum(len(value) for value in child.attrs.values() if isinstance(value, str))
    if addresses > bounds.addresses:
        raise TextError("Links with long addresses are used too often in this text. Use shorter ones, or fewer.")
    return tokens


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be in HTML: tags, their attributes and classes. Nothing else gets through."""

    tags: frozenset[str]
    attributes: dict[str, frozenset[str]]
    classes: dict[str, frozenset[str]]
    #: Attributes that a tag has, whatever was written.
    fixed: dict[str, dict[str, str]]
    rel: str


_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
# These are closed by the next of their kind, or hold nothing.
_NOT_COUNTED = "p li dt dd td th tr option br hr img input wbr meta link source col area base embed"
_CLOSED_BY_OTHERS = frozenset(_NOT_COUNTED.split())
_MOST_OPEN = 200


def check_nesting(html: str) -> None:
    """Refuse HTML whose tags are deep in each other. Cleaning takes time with the square of that: 10 s for 40,000.

    Tags are counted by their names, as if each was closed by its own end.

    Raises:
        TextError: too many tags are open at once.
    """
    open_tags: dict[str, int] = {}
    deepest: dict[str, int] = {}
    for closes, name in _TAG.findall(html):
        name = name.lower()
        if name not in _CLOSED_BY_OTHERS:
            depth = open_tags[name] = max(0, open_tags.get(name, 0) + (-1 if closes else 1))
            if depth > deepest.get(name, 0):
                deepest[name] = depth
    if sum(deepest.values()) > _MOST_OPEN:
        most = max(deepest, key=deepest.__getitem__)
        raise TextError(
            f"HTML is nested too deeply in this text, or not closed: {deepest[most]} <{most}> are open at once."
        )


# Tags whose content is no text either.
_GONE = {
    *("script", "style", "iframe", "object", "embed", "noscript", "noembed", "noframes", "xmp", "plaintext"),
    *("template", "svg", "math", "textarea", "select", "title", "head", "frameset", "audio", "video", "canvas"),
}
_NUMBERS = {"width", "height", "start", "value", "colspan", "rowspan"}
_NUMBER = re.compile(r"[0-9]{1,4}")
_ID = re.compile(r"[^\s\"'<>&]{1,100}")


def clean(html: str, allowed: Allowed, prefix: str) -> str:
    """Well-formed HTML of a fragment, with nothing but what is allowed. Cleaning it again changes nothing.

    prefix: what its ids begin with, and links to them; an id of the page itself is out of their reach. Tags of `_GONE`
    go with their content, other ones leave theirs.
    """

    def attribute(tag: str, name: str, value: str) -> str | None:
        if name in _NUMBERS:
            return value if _NUMBER.fullmatch(value) else None
        if name == "id":
            return _own(value, prefix) if _ID.fullmatch(value) else None
        if name == "href" and value.startswith("#"):
            return "#" + _own(value[1:], prefix)
        if name == "cite":
            # The library looks at the scheme of a <q>'s, and not of a <blockquote>'s.
            return value if value.startswith(("https://", "http://")) else None
        return value

    return nh3.clean(
        html,
        tags=set(allowed.tags),
        clean_content_tags=_GONE - allowed.tags,
        attributes={tag: set(names) for tag, names in allowed.attributes.items()},
        attribute_filter=attribute,
        allowed_classes={tag: set(names) for tag, names in allowed.classes.items()},
        set_tag_attribute_values=allowed.fixed,
        url_schemes={"http", "https", "mailto"},
        link_rel=allowed.rel,
    )


def _own(id: str, prefix: str) -> str:
    return id if not id or id.startswith(prefix) else prefix + id


# What cleaned HTML is made of: each tag with its attributes, and the text between. No text of it has a `<`, and what
# looks like a tag within an attribute is passed over with it.
_PIECE = re.compile(r"<(/?)([a-z][a-z0-9]*)((?:\s[^\s=\"<>/]+=\"[^\"]*\")*)\s*>|([^<]+)")


#: A piece of cleaned HTML: of a tag a slash if it closes, its name and its attributes as they are written; or text.
Piece = tuple[str, str, str, str]


def pieces(cleaned: str) -> list[Piece]:
    """The tags and texts of what `clean` returned."""
    # Made by the library at once: a post has a thousand, and objects of them took a third of its rendering.
    return _PIECE.findall(cleaned)


_COMMENT = Allowed(
    tags=frozenset(["p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a"]),
    attributes={"a": frozenset({"href", "title"}), "ol": frozenset({"start"})},
    classes={},
    fixed={"pre": {"tabindex": "0"}},
    # ugc: "user-generated content"; a link pays its poster nothing.
    rel="nofollow ugc noopener noreferrer",
)


def new_parser(rules: Sequence[str] = (), without: Sequence[str] = (), **options: Any) -> MarkdownIt:
    """A parser of CommonMark and bare addresses with some rules more and some less."""
    parser = MarkdownIt("commonmark", {"maxNesting": DEPTH, **options}).use(gfm_autolink_plugin)
    return parser.enable(list(rules)).disable(list(without))


@cache
def _comments() -> MarkdownIt:
    # Without links by name: they could repeat a long address at little cost to who posts it. A line's end stays one.
    without = ("heading", "lheading", "html_block", "html_inline", "image", "reference")
    return new_parser(["strikethrough"], without, html=False, breaks=True)


def render_comment(markdown: str) -> str:
    """The HTML of a comment: emphasis, code, lists, quotes, links. What else it has stays visible as it was typed.

    Raises:
        TextError: it has more of something than `COMMENT` allows.
    """
    parser = _comments()
    env: dict[str, Any] = {}
    tokens = parse(parser, plain(markdown), COMMENT, env)
    return clean(parser.renderer.render(tokens, parser.options, env), _COMMENT, "")
