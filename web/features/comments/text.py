"""What a comment's text becomes on a page. Pure; rendered once, at the save."""

from __future__ import annotations

from html import escape

from ...pages.markdown import TextError, render_comment

#: One more whenever the same text becomes other HTML, and what was kept is made anew. Before the first, comments were
#: plain text.
VERSION = 1

__all__ = ["VERSION", "TextError", "plain", "shown"]


def shown(text: str) -> str:
    """The HTML of a text, whatever it is: what Markdown can't be made of is shown as it was typed."""
    try:
        return render_comment(text)
    except TextError:
        return plain(text)


def plain(text: str) -> str:
    """The HTML of a text that has no marks: its paragraphs and lines."""
    parts = [part.strip() for part in text.replace("\r\n", "\n").split("\n\n") if part.strip()]
    return "".join("<p>" + escape(part, quote=False).replace("\n", "<br>\n") + "</p>\n" for part in parts)
