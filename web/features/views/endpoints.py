"""Endpoints: those that an OpenAPI file or a router knows, and which of them an address is of. Pure.

An address of a log may be anything, a token too. What no known route matches is called by its shape: numbers, hashes
and words of chance become `{…}`, and what is asked for where nothing is becomes nothing at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .records import NO_ROUTE, endpoint

_PARAMETER = re.compile(r"\{[^{}/]*(?:\{[^{}]*\}[^{}/]*)*\}")
_METHODS = ("get", "head", "post", "put", "patch", "delete")

#: A part of an address that names one of many: a number, a hash, a UUID, or long and of letters and digits.
_ONE_OF_MANY = re.compile(
    r"\d+|[0-9a-fA-F]{8,}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?=[^/]*\d)(?=[^/]*[A-Za-z])[^/]{16,}|[^/]{40,}"
)
_MOST_PARTS = 8


class Described(NamedTuple):
    """What a file says of an endpoint. name: as a view's; about: in its words."""

    name: str
    about: str


def described(openapi: Any) -> list[Described]:
    """The endpoints of an OpenAPI file's data, 2 or 3. Raises ValueError for what is none."""
    paths = openapi.get("paths") if isinstance(openapi, dict) else None
    if not isinstance(paths, dict):
        raise ValueError("has no `paths`: it is no OpenAPI file in JSON")
    found = []
    for path, item in paths.items():
        if isinstance(item, dict):
            for method in _METHODS:
                operation = item.get(method)
                if isinstance(operation, dict):
                    said = str(operation.get("summary") or operation.get("operationId") or "")
                    found.append(Described(endpoint(method.upper(), str(path)), said[:120]))
    return found


def plain(name: str) -> str:
    """An endpoint, so that two who call a parameter differently are the same: `GET /events/{}`."""
    return _PARAMETER.sub("{}", name)


def unused(
    known: Iterable[Described], called: Mapping[str, float], since: float
) -> list[tuple[Described, float | None]]:
    """Which endpoints nobody has called since a time, with when they last were; those never called first.

    called: by endpoint, when it last was, in seconds since 1970.
    """
    last: dict[str, float] = {}
    for name, when in called.items():
        last[plain(name)] = max(when, last.get(plain(name), 0.0))
    found: list[tuple[Described, float | None]] = []
    for each in known:
        at = last.get(plain(each.name))
        if at is None or at < since:
            found.append((each, at))
    return sorted(found, key=lambda one: (one[1] or 0.0, one[0].name))


class Matcher:
    """Finds the route of an address. routes: `/events/{slug}`, also with aiohttp's expressions in them."""

    def __init__(self, routes: Iterable[str]) -> None:
        exact: dict[str, str] = {}
        patterns: list[tuple[int, re.Pattern[str], str]] = []
        for route in routes:
            shown = re.sub(r"\{(\w+)(?::(?:[^{}]|\{[^{}]*\})*)?\}", r"{\1}", route)
            if "{" not in shown:
                exact[shown] = shown
                continue
            pieces = re.split(r"\{\w+\}", shown)
            pattern = "[^/]+".join(map(re.escape, pieces))
            # Whose fixed text is longest is meant.
            patterns.append((-sum(map(len, pieces)), re.compile(pattern), shown))
        self._exact = exact
        self._patterns = [(pattern, shown) for _, pattern, shown in sorted(patterns, key=lambda each: each[0])]

    def route(self, path: str, status: int) -> str:
        """The route of a path, without its query, that was answered with a status."""
        path = path.partition("?")[0].partition("#")[0]
        found = self._exact.get(path)
        if found is not None:
            return found
        for pattern, shown in self._patterns:
            if pattern.fullmatch(path):
                return shown
        # Where nothing is, strangers look for what they could break.
        return NO_ROUTE if status in {400, 404, 405, 410} or not path.startswith("/") else shape(path)


def shape(path: str) -> str:
    """A path with what names one of many left out."""
    # PostgreSQL takes no NUL.
    parts = "".join(each if each.isprintable() else "…" for each in path).split("/")
    shown = [("{…}" if _ONE_OF_MANY.fullmatch(part) else part) for part in parts[: _MOST_PARTS + 1]]
    return "/".join(shown) + ("/…" if len(parts) > _MOST_PARTS + 1 else "")


def routes_in(known: Sequence[Described]) -> list[str]:
    """The routes of endpoints."""
    return [each.name.partition(" ")[2] for each in known]
