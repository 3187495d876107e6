"""A sheet's text, and where in it tinycss2's nodes are: what is kept is cut out of it, never written anew.

Writing tokens anew changes them in small ways (escapes, empty custom properties); a slice of what was there does not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import tinycss2
from tinycss2.bytes import decode_stylesheet_bytes

from .errors import LeftSheet

#: A node of tinycss2, which has no types.
Node = Any

#: Characters of a sheet that are looked at, and how deep its blocks may be within each other.
MAX_TEXT = 4 * 1024**2
MAX_DEPTH = 100

#: Follows the text when it is read: in which blocks it is found says which ones the text leaves open.
_PROBE = "fanfare-end-of-the-sheet"
_OPEN = {"{} block": "}", "[] block": "]", "() block": ")", "function": ")"}


def decoded(body: bytes, charset: str | None = None, page_charset: str = "utf-8") -> str:
    """A sheet's text (CSS Syntax 3, §3.2): by its byte order mark, the header's charset, `@charset`, or the page's."""
    from webencodings import lookup

    text, _ = decode_stylesheet_bytes(
        body, protocol_encoding=charset, environment_encoding=lookup(page_charset) or lookup("utf-8")
    )
    return str(text)


def plain(text: str) -> str:
    """A text with the line ends and without the NULs that CSS Syntax 3, §3.3 has it read with."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\0", "\ufffd")
    return text.removeprefix("\ufeff")


class Source:
    """A text whose every block and string is closed, with its top-level nodes. Raises LeftSheet for one that is not
    to be understood."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_TEXT:
            raise LeftSheet(f"longer than {MAX_TEXT:,} characters")
        #: As it came.
        self.given = text
        self.text, self.nodes = _closed(plain(text))
        #: Where its own nodes end: the probe begins there.
        self.stop = len(self.text)
        self._lines = [0]
        at = self.text.find("\n")
        while at >= 0:
            self._lines.append(at + 1)
            at = self.text.find("\n", at + 1)

    def at(self, node: Node) -> int:
        """Where a node begins."""
        return int(self._lines[node.source_line - 1] + node.source_column - 1)

    def line(self, at: int) -> int:
        """The line, from 1, of a place in the text."""
        return bisect_right(self._lines, at)

    def ends(self, nodes: Sequence[Node], index: int, stop: int) -> int:
        """Where the node at an index of its siblings ends, which themselves end at `stop`."""
        return self.at(nodes[index + 1]) if index + 1 < len(nodes) else stop


def _closed(text: str) -> tuple[str, list[Node]]:
    for closer in ("", '"', "'", "*/", ")"):
        whole = text + closer
        nodes = tinycss2.parse_component_value_list(f"{whole} {_PROBE}")
        path = _path(nodes)
        if path is None:
            continue
        if not path:
            # The probe. What is blank before it stays: the last block ends where that begins.
            del nodes[-1]
            return whole, nodes
        if len(path) > MAX_DEPTH:
            break
        return _closed(whole + "".join(_OPEN[kind] for kind in reversed(path)))
    raise LeftSheet("its end can't be understood")


def _path(nodes: list[Node]) -> list[str] | None:
    """In which blocks the probe is; None if it was taken for something else."""
    path: list[str] = []
    while nodes:
        last = nodes[-1]
        if last.type == "ident" and last.value == _PROBE:
            return path
        if last.type not in _OPEN:
            return None
        path.append(last.type)
        nodes = last.arguments if last.type == "function" else last.content
    return None
