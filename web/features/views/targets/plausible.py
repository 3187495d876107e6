"""Plausible, by its Events API (plausible.io/docs/events-api).

It tells visitors apart by their address and agent, which it hashes. It gets an address that is nobody's, made of our
own hash (RFC 3849 keeps 2001:db8::/32 for documents): so it can count, and not say where a caller is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from hub.forwarded import HEADERS

from ..records import View
from .target import Call, Taken, client_of, location, title

#: Characters of an agent that are passed on.
_AGENT = 300


@dataclass(frozen=True, slots=True)
class Plausible:
    """A site there. base: where this site is. server: Plausible's, or your own."""

    domain: str
    base: str
    server: str = "https://plausible.io"
    name: str = "plausible"

    def calls(self, views: Sequence[View]) -> list[Call]:
        """One request a view: it takes no more."""
        return [
            Call(
                f"{self.server}/api/event",
                {
                    "Content-Type": "application/json",
                    "User-Agent": "".join(filter(str.isprintable, view.agent))[:_AGENT] or "-",
                    HEADERS[0]: address_of(client_of(view)),
                },
                orjson.dumps(
                    {
                        "name": "pageview",
                        "domain": self.domain,
                        "url": location(self.base, view),
                        "props": {"title": title(view), "caller": str(view.kind), "status": str(view.status)},
                    }
                ),
                1,
            )
            for view in views
        ]

    def taken(self, call: Call, headers: Mapping[str, str], body: bytes) -> Taken:
        """It answers 202 to what it drops, too, such as bots; a field says so."""
        dropped = headers.get("x-plausible-dropped", headers.get("X-Plausible-Dropped", ""))
        return Taken(call.views, "it drops bots, and addresses of its blocklist") if dropped == "1" else Taken()


def address_of(client: str) -> str:
    """An address that is nobody's, of a client."""
    groups = ":".join(client[at : at + 4] for at in range(0, 16, 4))
    return f"2001:db8:0:0:{groups}"
