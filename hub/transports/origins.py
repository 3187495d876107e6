"""Which pages may talk to the hub: those of its own origin, and those on a list."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from ..origins import MAX_ORIGIN, SHARED, is_same, is_same_host, origin_of, read_origin

logger = logging.getLogger(__name__)

#: Seconds until a refused origin is logged again; and, once MAX_LINES are written, until the next line about any.
AGAIN_SECONDS = 3600.0
LINE_SECONDS = 60.0
MAX_LINES = 20

#: What something is told that is no origin at all.
NO_ORIGIN = "Origin is not an origin such as https://example.org."


#: What a script is told where there are none.
NO_SCRIPTS = "JSONP is off here (HUB_JSONP)."

#: What a script of another site is told that doesn't say which.
NO_REFERER = "Origin not known: scripts of other sites must send a Referer, or use CORS."


class Origins:
    """The origin policy of a realm. `allowed` has origins such as https://example.org, or "*" for any.

    place: where they are written, for who is refused. own: the URL of the site whose pages are the hub's own. scripts:
    whether answers may be loaded as scripts at all.
    """

    __slots__ = ("_allowed", "_clock", "_lines", "_named", "_place", "_scripts", "_told", "_until", "any", "refusal")

    def __init__(
        self,
        allowed: Sequence[str] = (),
        place: str = "HUB_ORIGINS",
        own: str | None = None,
        scripts: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        #: What another origin is told.
        self.refusal = f"Origin not allowed. Add it to {place}."
        self.any = "*" in allowed
        mine = None if own is None else origin_of(own)
        self._allowed = frozenset((*allowed, *([] if mine is None else [mine])))
        self._place = place
        self._named = tuple(allowed)
        self._scripts = scripts
        self._clock = clock
        # Refused origins, and when they were logged.
        self._told: dict[str, float] = {}
        self._lines = 0
        self._until = 0.0

    def allows(self, origin: str | None, host: str | None) -> bool:
        """Whether a request with this Origin header, sent to this Host, may be served.

        Programs send no Origin; browsers always do on WebSockets and cross-origin requests. Only
        the host is compared for the same origin: behind a proxy that ends TLS we can't know our scheme.
        """
        if origin is None:
            return True
        found = read_origin(origin)
        return found is not None and (self.any or found in self._allowed or is_same(origin, host))

    def refuse(self, origin: str | None, host: str | None) -> str:
        """ "" if it may, else what it is told; the log says how to let it in, once an hour for each origin."""
        if self.allows(origin, host):
            return ""
        assert origin is not None
        found = read_origin(origin)
        self._log(origin[:80] if found is None else found, host, known=found is not None)
        return NO_ORIGIN if found is None else self.refusal

    def refuse_script(self, site: str | None, referer: str | None, host: str | None, agent: str | None) -> str:
        """ "" if a page may load an answer as a script, else what it is told. site: the request's Sec-Fetch-Site.

        Such a request has no Origin, and whatever page asks can read the answer: one on the internet would reach hubs
        in its visitor's own network. Those are asked over plain http, where no browser says Sec-Fetch-Site; then the
        Referer counts, which a page can have left out, but not the browser's name (agent: the User-Agent).
        """
        if not self._scripts:
            return NO_SCRIPTS
        if self.any or site in ("same-origin", "none"):
            return ""
        if site is None and referer is None and not (agent or "").startswith("Mozilla/"):
            # A program's.
            return ""
        origin = None if referer is None else origin_of(referer[:MAX_ORIGIN])
        if origin is None:
            return NO_REFERER
        return self.refuse(origin, host)

    def trusts(self, origin: str | None, host: str | None) -> bool:
        """As `allows`, but for pages that may come in only because any may, or whose origin many share.

        The cookies of those say nothing of who asks.
        """
        if origin is None or is_same(origin, host):
            return True
        found = read_origin(origin)
        return found is not None and found in self._allowed and found not in SHARED

    def headers(self, origin: str | None, host: str | None) -> dict[str, str]:
        """CORS headers of an answer to this origin. "*" and origins that many share never go with credentials.

        A refusal may be read by any page: it says nothing but why, and nothing else tells the page.
        """
        if origin is None:
            return {"Vary": "Origin"}
        if not self.allows(origin, host):
            return {"Access-Control-Allow-Origin": "*", "Vary": "Origin"}
        if self.trusts(origin, host):
            return {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Credentials": "true",
                "Vary": "Origin",
            }
        return {"Access-Control-Allow-Origin": "*" if self.any else origin, "Vary": "Origin"}

    def _log(self, origin: str, host: str | None, *, known: bool) -> None:
        now = self._clock()
        if origin in self._told and now - self._told[origin] < AGAIN_SECONDS:
            return
        if self._lines >= MAX_LINES and now < self._until:
            # A stranger can invent as many as they like.
            return
        self._lines += 1
        self._until = now + LINE_SECONDS
        if len(self._told) >= 1000:
            self._told.clear()
        self._told[origin] = now
        logger.warning(
            "origin refused",
            extra={"origin": origin, "host": (host or "")[:80], "mend": self._mend(origin, host, known=known)},
        )

    def _mend(self, origin: str, host: str | None, *, known: bool) -> str:
        if not known:
            return "none: this is no origin, no browser sent it"
        # The whole setting, so that pasting it keeps the origins already named.
        named = f"{self._place}={','.join((*self._named, origin))}"
        if is_same_host(origin, host):
            return (
                f"if this page is the site's own, SITE_URL={origin}, or let the proxy pass the port in Host"
                f" (nginx: proxy_set_header Host $http_host); else {named}"
            )
        return (
            f"{named}; if this page is the site's own, SITE_URL={origin},"
            " or let the proxy pass Host (nginx: proxy_set_header Host $http_host)"
        )


#: What Faye's server allows too; its browser client sends Pragma and X-Requested-With, and asks before
#: every POST unless the answer may be kept. Polyfills of EventSource send Cache-Control and Last-Event-ID.
PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": (
        "Accept, Authorization, Cache-Control, Content-Type, Last-Event-ID, Pragma, X-Requested-With"
    ),
    "Access-Control-Max-Age": "86400",
}
