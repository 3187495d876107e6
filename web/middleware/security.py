"""Headers that keep pages from harm."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from ..pages import keys
from ..pages.settings import PageSettings
from ..pages.styles import HASHES

#: A host as a policy may name it; anything else in the Host header stays out of our headers.
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")


def host_of(request: web.Request) -> str:
    """The host that browsers see, in lower case."""
    url = request.app[keys.settings][PageSettings].url
    # Not `request.host`, which asks the machine's resolver where there is no such header.
    return urlsplit(url).netloc.lower() if url else request.headers.get(hdrs.HOST, "").lower()


def secure(request: web.Request, response: web.StreamResponse) -> None:
    """Put the headers on an answer that it does not have already."""
    headers = response.headers
    host = host_of(request)
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    hashes = response.get(HASHES)
    ours = "" if hashes is None else f" style-src 'self' {' '.join(hashes)};"
    headers.setdefault(
        "Content-Security-Policy",
        # Some browsers still don't count a WebSocket of the same host as 'self'.
        f"default-src 'self';{ours} connect-src 'self'{sockets}; object-src 'none'; base-uri 'none';"
        " form-action 'self'; frame-ancestors 'none'",
    )
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
    if request.app[keys.settings][PageSettings].is_https:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    # The same address has another page for a manager, and another form token for each visitor.
    headers.setdefault(hdrs.CACHE_CONTROL, "private, no-cache")
    headers.setdefault(hdrs.VARY, "Accept, Cookie")
