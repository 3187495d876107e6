"""A kept page with its style sheets in it, for a browser that has none of them yet: what a feature may make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Styled:
    """A page in its other form. said: what was done, for a header. body: None for a page that stays as it was. hashes:
    of its styles, as a policy names them. known: what a browser says that has the page's sheets, "" for nothing."""

    said: str
    body: bytes | None = None
    hashes: tuple[str, ...] = ()
    known: str = ""


class Styles(Protocol):
    """Makes a page's other form, with its style sheets in it."""

    def styled(self, body: bytes, path: str) -> Styled:
        """A page's other form. It takes a millisecond, and never raises."""


#: What was done to a page; and where a browser says which sheet it has (RFC 9842, §2.2).
SAID = "CSS-Inline"
KNOWN = "Available-Dictionary"

#: What a browser asks for a page for (Fetch Metadata). A script takes pieces out of a page: its styles would be refused
#: by the policy of the page that they come into.
DESTINATION = "Sec-Fetch-Dest"
SHOWN = frozenset({"document", "frame", "iframe"})

styles: web.AppKey[Styles] = web.AppKey("styles")

#: Hashes of an answer's inline styles, for its policy.
HASHES: web.ResponseKey[tuple[str, ...]] = web.ResponseKey("style hashes", tuple)
