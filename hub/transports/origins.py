"""Which pages may talk to the hub: those of its own origin, and those on a list. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit


class Origins:
    """The origin policy of a realm. `allowed` has origins such as https://example.org, or "*" for any.

    place: where they are written, for who is refused.
    """

    __slots__ = ("_allowed", "any", "refusal")

    def __init__(self, allowed: Sequence[str] = (), place: str = "HUB_ORIGINS") -> None:
        #: What another origin is told.
        self.refusal = f"Origin not allowed. Add it to {place}."
        self.any = "*" in allowed
        self._allowed = frozenset(allowed)

    def allows(self, origin: str | None, host: str | None) -> bool:
        """Whether a request with this Origin header, sent to this Host, may be served.

        Programs send no Origin; browsers always do on WebSockets and cross-origin requests. Only
        the host is compared for the same origin: behind a proxy that ends TLS we can't know our scheme.
        """
        return self.any or self.trusts(origin, host)

    def trusts(self, origin: str | None, host: str | None) -> bool:
        """As `allows`, but for pages that may come in only because any may: their cookies say nothing."""
        if origin is None or origin.lower() in self._allowed:
            return True
        return host is not None and urlsplit(origin.lower()).netloc == host.lower()

    def headers(self, origin: str | None, host: str | None) -> dict[str, str]:
        """CORS headers of an answer to this origin. "*" never goes with credentials."""
        if origin is None or not self.allows(origin, host):
            return {"Vary": "Origin"}
        if self.any and origin.lower() not in self._allowed:
            return {"Access-Control-Allow-Origin": "*", "Vary": "Origin"}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Vary": "Origin",
        }


#: What Faye's server allows too; its browser client sends Pragma and X-Requested-With, and asks before
#: every POST unless the answer may be kept.
PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Accept, Authorization, Content-Type, Last-Event-ID, Pragma, X-Requested-With",
    "Access-Control-Max-Age": "86400",
}
