"""Spaces and comments out of CSS, and nothing else: merging or reordering rules changes what wins. Pure."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
    (?P<gap>(?:[ \t\n]+|/\*.*?\*/)+)
    | (?P<kept>"(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' | url\(\s*[^"'\s()][^"'()]*\))
    | (?P<escape>\\[0-9a-f]{1,6}[ \t\n]? | \\.)
    | (?P<quote>["'])
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)

_NO_MINCSS = re.compile(r"/\*\s*no mincss\s*\*/", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)

#: Beside these a space says nothing, in rules' bodies and in preludes.
_TIGHT = frozenset("{};,")

#: What two tokens may be glued of, without a comment between them.
_GLUES = re.compile(r"[^\s{};:,]")


def is_marked(text: str) -> bool:
    """Whether somebody has written `/* no mincss */`."""
    return "mincss" in text and _NO_MINCSS.search(text) is not None


def minified(text: str, *, body: bool = True) -> str:
    """A text between two tokens, without what says nothing. body: of declarations, where a space after `:` says
    nothing either. Strings, escapes and unquoted addresses stay; a text with a broken string stays whole."""
    text = text.lstrip(" \t\n")
    if text.endswith((" ", "\t", "\n")) and "\\" not in text[-9:]:
        text = text.rstrip(" \t\n")
    if "\n" not in text and "  " not in text and "/*" not in text and "; " not in text and ": " not in text:
        return text
    out: list[str] = []
    last = escaped = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        start, end = match.span()
        if kind == "quote":
            return text
        if kind == "escape":
            escaped = end
        if kind != "gap":
            continue
        out.append(text[last:start])
        last = end
        before = text[start - 1] if start else ""
        after = text[end : end + 1]
        if not before or not after:
            continue
        is_escape = start == escaped
        gap = match[0]
        if "/*" in gap and not _COMMENT.sub("", gap):
            if is_escape or (_GLUES.match(before) and _GLUES.match(after)):
                out.append("/**/")
        elif after not in _TIGHT and (is_escape or not (before in _TIGHT or (body and before == ":"))):
            out.append(" ")
    out.append(text[last:])
    # An escape may end with the space that ends the text.
    return "".join(out)
