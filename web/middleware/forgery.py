"""Forms come from pages of ours: no other site's page can send one in a visitor's name."""

from __future__ import annotations

from aiohttp import hdrs, web

from hub.origins import is_same

from ..pages import keys
from ..pages.requests import VISITOR, read_fields
from .security import host_of

_SAFE = {hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS}


def is_form(request: web.Request) -> bool:
    """Whether a request may change something."""
    return request.method not in _SAFE and request.match_info.http_exception is None


async def check_form(request: web.Request) -> None:
    """Raise HTTPForbidden unless the request comes from a page of ours that we gave this visitor."""
    origin = request.headers.get(hdrs.ORIGIN)
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        raise web.HTTPForbidden(text="Sent from another site’s page.")
    # Hosts only: behind a proxy we don't know which scheme the browser used.
    if origin is not None and not is_same(origin, host_of(request)):
        raise web.HTTPForbidden(text="Sent from another site’s page.")
    token = request.headers.get("X-CSRF-Token") or (await read_fields(request)).get("csrf_token", "")
    if VISITOR not in request or not request.app[keys.signer].is_form_token(request[VISITOR], token):
        raise web.HTTPForbidden(text="The form’s token is missing or too old.")
