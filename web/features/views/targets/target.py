"""What a service has to say of itself, so that one sender does for all. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from ..records import View


class Call(NamedTuple):
    """A request to send, with how many views it tells of."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    views: int


class Taken(NamedTuple):
    """What an answer of 2xx means: how many of the views it did not take, and why in one line for the log."""

    ignored: int = 0
    why: str = ""


class Target(Protocol):
    """A service. name: in settings, metrics and the log."""

    @property
    def name(self) -> str: ...

    def calls(self, views: Sequence[View]) -> list[Call]:
        """The requests that tell of these views, each within the service's bounds; none of what can't be told."""

    def taken(self, call: Call, headers: Mapping[str, str], body: bytes) -> Taken:
        """What it says of a request that it answered with 2xx."""


def client_of(view: View) -> str:
    """Whose a view is, for others: 16 hexadecimal digits. Of who is known here, what does not say who."""
    if view.caller.startswith("~") and len(view.caller) == 17:
        return view.caller[1:]
    return hashlib.blake2b(view.caller.encode(), digest_size=8).hexdigest()


def location(base: str, view: View) -> str:
    """Where a view was, by its route: an address may have a token in it."""
    route = view.endpoint.partition(" ")[2]
    return base + (route if route.startswith("/") else "/")


def title(view: View) -> str:
    """What a view is called."""
    return view.title or f"API ({view.endpoint.partition(' ')[2]})"
