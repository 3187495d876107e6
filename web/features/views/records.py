"""One view, and what is one. Pure."""

from __future__ import annotations

from typing import NamedTuple

from .kinds import Kind

#: Characters of an endpoint, a source and a title.
MAX_ENDPOINT, MAX_SOURCE, MAX_TITLE = 200, 40, 100

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WS"})

#: Where there is no route: what was asked for is nobody's address to keep.
NO_ROUTE = "(no route)"

#: Parts of a page: its browser fetches them for what a script of it has counted, or could have.
_PARTS = ("text/html", "text/css", "text/javascript", "application/javascript", "image/", "font/", "audio/", "video/")


class View(NamedTuple):
    """A request that was answered.

    at: seconds since 1970. source: "" for this site, else whose it is. endpoint: `GET /events/{slug}`. micros: how long
    it took, -1 where that says nothing. kind: of `Kind`. title: what it is called where it is told to others; None
    if it may not be. agent: for those others, and kept nowhere.
    """

    at: float
    source: str
    endpoint: str
    status: int
    micros: int
    kind: str
    caller: str
    title: str | None = None
    agent: str = ""


def counts(kind: str, method: str, content_type: str, accept: str) -> bool:
    """Whether an answer is a view: no script of a browser's counts it.

    content_type: of the answer. A browser's pages, forms and what belongs to pages are not; all that others ask for is.
    """
    if method == "OPTIONS":
        # A browser asks before it asks.
        return False
    return kind != Kind.BROWSER or not ("text/html" in accept or content_type.startswith(_PARTS))


def endpoint(method: str, route: str) -> str:
    """What an endpoint is called."""
    return f"{method if method in METHODS else 'OTHER'} {route}"[:MAX_ENDPOINT]
