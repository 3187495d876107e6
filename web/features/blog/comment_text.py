"""The HTML of a comment of another tool as the text that a comment here is written in. Pure.

Paragraphs, line breaks, quotes, lists, code and links become what people type for them; other markup leaves its words.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

_BLOCKS = frozenset(
    [
        "p",
        "div",
        "section",
        "article",
        "table",
        "tr",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "ul",
        "ol",
        "blockquote",
        "pre",
    ]
)
_GONE = frozenset(["script", "style", "template", "noscript", "iframe", "object", "title", "head"])
_MARKS = {"em": "*", "i": "*", "strong": "**", "b": "**", "del": "~~", "s": "~~", "code": "`"}
_MOST_QUOTES = 5


class _Reader(HTMLParser):
    """Lines, each with how many quotes it is in."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[tuple[int, str]] = [(0, "")]
        self.quotes = 0
        self.gone = 0
        self.pre = 0
        #: Of links that are open: the address, and where their words begin.
        self.links: list[tuple[str, int, int]] = []

    def _add(self, words: str) -> None:
        quotes, line = self.lines[-1]
        self.lines[-1] = (quotes, line + words)

    def _break(self, *, paragraph: bool = False) -> None:
        """Begin a new line, or a new paragraph."""
        if self.lines[-1][1].strip():
            self.lines.append((self.quotes, ""))
        else:
            self.lines[-1] = (self.quotes, "")
        if paragraph and len(self.lines) > 1 and self.lines[-2][1].strip():
            self.lines.append((self.quotes, ""))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _GONE:
            self.gone += 1
        elif tag == "br":
            self.lines.append((self.quotes, ""))
        elif tag == "li":
            self._break()
            self._add("- ")
        elif tag in _BLOCKS:
            if tag == "blockquote":
                self.quotes = min(self.quotes + 1, _MOST_QUOTES)
            self._break(paragraph=True)
            if tag == "pre":
                self.pre += 1
                self._add("```")
                self.lines.append((self.quotes, ""))
        elif tag == "a":
            self.links.append((dict(attrs).get("href") or "", len(self.lines) - 1, len(self.lines[-1][1])))
        elif tag in _MARKS and not self.pre:
            self._add(_MARKS[tag])

    def handle_endtag(self, tag: str) -> None:
        if tag in _GONE:
            self.gone = max(0, self.gone - 1)
        elif tag in _BLOCKS:
            if tag == "pre" and self.pre:
                self.pre -= 1
                self._break()
                self._add("```")
            if tag == "blockquote":
                self.quotes = max(0, self.quotes - 1)
            self._break(paragraph=True)
        elif tag == "a" and self.links:
            href, line, column = self.links.pop()
            said = self.lines[line][1][column:].strip() if line == len(self.lines) - 1 else ""
            # Many tools show an address, or its beginning, as the link's words.
            if re.match(r"https?://", href) and not (said and href.startswith(said.removesuffix("…"))):
                self._add(f" ({href})")
        elif tag in _MARKS and not self.pre:
            self._add(_MARKS[tag])

    def handle_data(self, data: str) -> None:
        if self.gone:
            return
        if self.pre:
            first, *rest = data.split("\n")
            self._add(first)
            self.lines += [(self.quotes, each) for each in rest]
            return
        words = re.sub(r"\s+", " ", data)
        self._add(words if self.lines[-1][1].strip() else words.lstrip())


def text_of(html: str) -> str:
    """What somebody would have typed for a comment's HTML."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = [(quotes, line.rstrip()) for quotes, line in reader.lines]
    while lines and not lines[-1][1]:
        lines.pop()
    while lines and not lines[0][1]:
        del lines[0]
    text = []
    for at, (quotes, line) in enumerate(lines):
        if not line:
            # Between two quotes, or a quote and what answers it.
            quotes = min(lines[at - 1][0], lines[at + 1][0])
        text.append(("> " * quotes + line).rstrip())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(text))
