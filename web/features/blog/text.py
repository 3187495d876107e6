"""What a post's text becomes on a page. Pure; rendered once, at the save, and not on the loop: it may take a second."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape, unescape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.footnote import footnote_plugin

from ...pages.markdown import (
    Allowed,
    Bounds,
    Piece,
    TextError,
    check,
    check_nesting,
    clean,
    new_parser,
    parse,
    pieces,
    plain,
)
from .highlight import CLASSES, LANGUAGES, Highlighter, language_of

__all__ = ["FORMATS", "POST", "VERSION", "Heading", "Rendered", "TextError", "render"]

#: Of this module: one more whenever the same text becomes other HTML, and what was kept is made anew.
VERSION = 2

#: What a text may be written in. HTML is what other tools left behind; it is cleaned like everything else.
FORMATS = ("markdown", "html", "text")

POST = Bounds("A post", 200_000, 10_000, 30_000, 5_000, 10_000, 5_000, 400_000)
#: Characters of HTML that is imported: of markup most of it.
MAX_HTML = 1_000_000
MAX_TAGS = 20_000

#: Characters of a summary.
SUMMARY = 280
_LONGEST_WORD = 40


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading and where it is: its id, with the prefix; level 2 to 6."""

    level: int
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text as it is shown.

    html: safe and well-formed. summary: its first words without markup, to be escaped like any text.
    """

    html: str
    summary: str
    headings: tuple[Heading, ...]
    version: int = VERSION


def render(text: str, *, format: str = "markdown", prefix: str = "post-") -> Rendered:
    """What a text becomes.

    prefix: what all its ids begin with, another one for each post on a page.

    Raises:
        TextError: it has more of something than `POST` allows.
    """
    text = plain(text)
    if format == "markdown":
        html = _markdown(text)
    elif format == "html":
        html = _html(text)
    elif format == "text":
        html = _text(text)
    else:
        raise ValueError(format)
    # Twice: headings are numbered in what is known to be well-formed, and the last word is the cleaner's.
    check_nesting(html)
    html, headings = _with_anchors(plain(clean(html, _ALLOWED_FIRST, prefix)), prefix)
    html = clean(html, _ALLOWED, prefix)
    return Rendered(html, summarize(html), headings)


def _markdown(text: str) -> str:
    parser = _parser()
    env: dict[str, Any] = {"code": Highlighter()}
    tokens = parse(parser, text, POST, env)
    _mark_tasks(tokens)
    for token in tokens:
        # The parser says it as a style, which the site's policy refuses.
        if token.type in ("th_open", "td_open") and (style := token.attrs.pop("style", None)):
            token.attrSet("class", str(style).removeprefix("text-align:"))
    return str(parser.renderer.render(tokens, parser.options, env))


def _html(text: str) -> str:
    for name, found, most in (("characters", len(text), MAX_HTML), ("tags", text.count("<"), MAX_TAGS)):
        if found > most:
            raise TextError(f"A post in HTML has at most {most:,} {name}; this one has {found:,}.")
    return text


def _text(text: str) -> str:
    check(text, POST)
    paragraphs = [part for part in re.split(r"\n[ \t]*\n", text) if part.strip()]
    return "".join("<p>" + escape(part.strip()).replace("\n", "<br>\n") + "</p>\n" for part in paragraphs)


@cache
def _parser() -> MarkdownIt:
    parser = new_parser(["table", "strikethrough"], html=True)
    # Not the ones in a line, `^[…]`: each parses its content apart, however deep.
    footnote_plugin(parser, inline=False)
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("code_block", _fence)
    return parser


_FIRST_LINE = re.compile(r"(:::|#!)([\w+#-]+)[ \t]*\n")


def _fence(_renderer: Any, tokens: Sequence[Token], index: int, _options: Any, env: Any) -> str:
    token = tokens[index]
    info, code = token.info.strip(), token.content
    # Pelican's indented code says its language in its first line: `:::python`, or `#!python` with numbers.
    if token.type == "code_block" and (said := _FIRST_LINE.match(code)):
        info, code = f"{said[2]}{' lines' if said[1] == '#!' else ''}", code[said.end() :]
    name, *words = re.split(r"[\s,]+", info)
    # As Hugo, Jekyll and Pelican write it: `python {linenos=true}`, `{.python}`.
    name = name.split("{")[0].strip(".,") or name.strip("{}.")
    has_lines = any(word.strip("{},") in ("lines", "linenos", "linenos=true", "linenos=table") for word in words)
    language = language_of(name)
    lines = env["code"].lines(code, language or "")
    if has_lines:
        lines = [f'<span class="line">{line}</span>' for line in lines]
    named = f' class="language-{language}"' if language else ""
    return f'<pre class="code{" lines" if has_lines else ""}"><code{named}>' + "\n".join(lines) + "\n</code></pre>\n"


_TASK = re.compile(r"\[([ xX])\][ \t\n]+")


def _mark_tasks(tokens: Sequence[Token]) -> None:
    """Boxes in items that begin with [ ] or [x]. The plugin looks back through the whole list for each item."""
    lists: list[Token] = []
    for index, token in enumerate(tokens):
        if token.type in ("bullet_list_open", "ordered_list_open"):
            lists.append(token)
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            lists.pop()
        elif token.type == "inline" and index > 1 and tokens[index - 2].type == "list_item_open" and token.children:
            first = token.children[0]
            found = _TASK.match(token.content)
            if found and first.type == "text" and first.content.startswith(found[0].rstrip()):
                first.content = first.content[3:].lstrip()
                box = Token("html_inline", "", 0)
                box.content = "<input> " if found[1] == " " else "<input checked> "
                token.children.insert(0, box)
                tokens[index - 2].attrSet("class", "task")
                lists[-1].attrSet("class", "tasks")


# Headings: their anchors, and the summary

# Whatever was written as an input, it becomes one of these: it can only be looked at.
_BOX_DONE = '<input type="checkbox" disabled="" checked="" aria-label="done">'
_BOX_TO_DO = '<input type="checkbox" disabled="" aria-label="to do">'
_HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
_ID = re.compile(r'\sid="([^"]*)"')
_MAX_SLUG = 60


def slug(text: str) -> str:
    """A text as the end of an address: letters and digits of any script, in small."""
    text = unicodedata.normalize("NFKC", text[:1000]).casefold()
    words = "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in text).split()
    return "-".join(words)[:_MAX_SLUG].strip("-")


def _with_anchors(html: str, prefix: str) -> tuple[str, tuple[Heading, ...]]:
    """Each heading with an id of its own, the highest as the second level: the page's title is the first."""
    all_pieces = pieces(html)
    down = any(tag == "h1" for _, tag, _, _ in all_pieces)
    used = {found[1] for _, _, attributes, _ in all_pieces if attributes and (found := _ID.search(attributes))}
    seen: set[str] = set()
    numbers: dict[str, int] = {}
    out: list[str] = []
    headings: list[Heading] = []
    # Links whose address was taken away are no links, though one may be led to; none is within another.
    link = "a"
    for index, (slash, tag, attributes, text) in enumerate(all_pieces):
        if not tag:
            out.append(text)
            continue
        if tag == "a":
            if not slash:
                link = "a" if " href=" in attributes else "span" if _ID.search(attributes) else ""
            if not link:
                continue
            tag = link
        if tag == "img" and " alt=" not in attributes:
            attributes += ' alt=""'
        if attributes and (found := _ID.search(attributes)):
            # Only the first may have it.
            if found[1] in seen:
                attributes = attributes[: found.start()] + attributes[found.end() :]
            seen.add(found[1])
        if tag in _HEADINGS:
            level = min(6, int(tag[1]) + down)
            tag = f"h{level}"
            if not slash:
                title = _until_closed(all_pieces, index)
                if (found := _ID.search(attributes)) is None:
                    id = _unused(prefix + (slug(title) or "section"), used, numbers)
                    attributes += f' id="{escape(id)}"'
                else:
                    id = unescape(found[1])
                if title:
                    headings.append(Heading(level, id, title))
        if tag == "input":
            out.append(_BOX_DONE if " checked=" in attributes else _BOX_TO_DO)
        else:
            out.append(f"<{slash}{tag}{attributes}>")
    return "".join(out), tuple(headings)


def _unused(id: str, used: set[str], numbers: dict[str, int]) -> str:
    """The id, with the first number behind it that makes it the only one."""
    found, number = id, numbers.get(id, 1)
    while found in used:
        number += 1
        found = f"{id}-{number}"
    numbers[id] = number
    used.add(found)
    return found


def _until_closed(all_pieces: Sequence[Piece], index: int) -> str:
    words = []
    level, in_note = all_pieces[index][1], False
    # No title has more pieces, and headings within headings would have theirs read again for each.
    for _, tag, attributes, text in all_pieces[index + 1 : index + 200]:
        if tag == level:
            break
        if tag == "sup":
            in_note = "footnote-ref" in attributes
        elif not tag and not in_note:
            words.append(text)
    return " ".join(unescape("".join(words)).split())


_SKIPPED = {"h2", "h3", "h4", "h5", "h6", "pre", "table", "figure", "input", "summary"}
_WORDS_TOGETHER = {
    *("a", "abbr", "b", "cite", "code", "del", "em", "i", "ins", "kbd", "mark", "q", "s", "samp", "small", "span"),
    *("strong", "sub", "sup", "time", "u", "var"),
}
_EMPTY = {"br", "hr", "img", "input"}


def summarize(html: str, most: int = SUMMARY) -> str:
    """The first words of cleaned HTML without its markup; of its paragraphs if it has any, else of all."""
    return cut(_words(html, 4 * most, _SKIPPED) or _words(html, 4 * most, set()), most)


def cut(text: str, most: int) -> str:
    """A text of at most so many characters, cut between words."""
    if len(text) <= most:
        return text
    begun = text[: most - 1]
    # The word that is cut goes; some languages have no spaces, and are cut anywhere.
    if not text[most - 1].isspace():
        whole = begun.rpartition(" ")[0]
        begun = whole if len(begun) - len(whole) <= _LONGEST_WORD and whole else begun
    # A mark belongs to the letter before it, and a joiner to what it joins.
    while begun and (
        unicodedata.combining(text[len(begun)]) or text[len(begun)] in "\u200d\ufe0f" or begun[-1] == "\u200d"
    ):
        begun = begun[:-1]
    return begun.rstrip(" ,;:-–—.…") + "…"


def _words(html: str, most: int, skipped: Iterable[str]) -> str:
    words: list[str] = []
    length = 0
    inside: list[str] = []
    for slash, tag, attributes, text in pieces(html):
        if not tag:
            if not inside:
                words.append(text)
                length += len(text)
                if length > most:
                    break
            continue
        is_skipped = tag in skipped or (tag in ("sup", "section") and "footnote" in attributes)
        if tag not in _EMPTY and (inside or is_skipped):
            if not slash:
                inside.append(tag)
            elif inside:
                inside.pop()
        if tag not in _WORDS_TOGETHER:
            words.append(" ")
    return " ".join(unescape("".join(words)).split())


# What may be in a post

_ADMONITIONS = "admonition note warning tip important caution danger hint attention error"
_TAGS = """
    p br hr h2 h3 h4 h5 h6 strong em b i u s del ins code pre kbd samp var sub sup mark small abbr q cite blockquote
    ul ol li dl dt dd table caption thead tbody tfoot tr th td a img figure figcaption section aside div span details
    summary time input
"""
_ALLOWED = Allowed(
    tags=frozenset(_TAGS.split()),
    attributes={
        "*": frozenset({"id", "lang", "dir"}),
        "a": frozenset({"href", "title"}),
        "abbr": frozenset({"title"}),
        "blockquote": frozenset({"cite"}),
        "img": frozenset({"src", "alt", "title", "width", "height"}),
        "input": frozenset({"type", "disabled", "checked", "aria-label"}),
        "li": frozenset({"value"}),
        "ol": frozenset({"start"}),
        "td": frozenset({"colspan", "rowspan"}),
        "th": frozenset({"colspan", "rowspan"}),
        "time": frozenset({"datetime"}),
    },
    classes={
        "a": frozenset({"footnote-backref"}),
        "aside": frozenset(_ADMONITIONS.split()),
        "code": frozenset(f"language-{name}" for name in LANGUAGES),
        "hr": frozenset({"footnotes-sep"}),
        "li": frozenset({"task", "footnote-item"}),
        "ol": frozenset({"footnotes-list"}),
        "p": frozenset({"title"}),
        "pre": frozenset({"code", "lines"}),
        "section": frozenset({"footnotes"}),
        "span": CLASSES | {"line"},
        "sup": frozenset({"footnote-ref"}),
        "td": frozenset({"left", "right", "center"}),
        "th": frozenset({"left", "right", "center"}),
        "ul": frozenset({"tasks"}),
    },
    # Code wider than its box is scrolled by keys too. One each: several would come in another order each time.
    fixed={"pre": {"tabindex": "0"}, "img": {"loading": "lazy"}},
    rel="noopener",
)
_ALLOWED_FIRST = Allowed(_ALLOWED.tags | {"h1"}, _ALLOWED.attributes, _ALLOWED.classes, {}, _ALLOWED.rel)
