"""Whose a connection or a request is, as far as the transport that it came by can tell. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Peer(NamedTuple):
    """Who is at the other end; transports hand it to the rules with each request.

    address: what handshakes, publishes and connections are counted by, empty where they are not counted. visitor: the
    site's, if it knows one. browser: whose polls are counted together, empty where they are not.
    """

    address: str = ""
    visitor: str | None = None
    browser: str = ""


#: Nobody in particular: most connections that come through a proxy, or from this machine, share it.
UNKNOWN = Peer()
