"""The site's own address, for what is read elsewhere: feeds, the sitemap, what social networks and engines are told."""

from __future__ import annotations

import re

from aiohttp import hdrs, web

from . import keys
from .settings import PageSettings

#: A host as browsers send it; anything else is not repeated.
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


def origin_of(request: web.Request) -> str:
    """SITE_URL without a last slash; while it is not set, the address that was asked, as a page's key must have it."""
    url = request.app[keys.settings][PageSettings].url
    if url is not None:
        return url.rstrip("/")
    host = request.headers.get(hdrs.HOST, "")
    return f"{request.scheme}://{host}" if len(host) < 260 and _HOST.fullmatch(host) else "http://localhost"
