"""Forms come from pages of ours: no other site's page can send one in a visitor's name.

Pages of who is not signed in are the same for everybody, so there is no token of one visitor in them. Browsers say with
a form from where it is sent, in Origin or Sec-Fetch-Site. One that says neither is asked once more, on a page of its
own with a token and with what was written. Who is signed in has a token on each page, and must repeat it."""

from __future__ import annotations

from aiohttp import hdrs, web

from hub.origins import is_same

from ..pages import keys
from ..pages.requests import USER, VISITOR, form_token, read_fields, wants_page
from ..pages.templating import render
from .security import host_of

_SAFE = {hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS}


def is_form(request: web.Request) -> bool:
    """Whether a request may change something."""
    return request.method not in _SAFE and request.match_info.http_exception is None


class AskAgain(Exception):
    """Nothing says from where a form was sent: whoever sent it is to say once more that it is meant."""


async def check_form(request: web.Request) -> None:
    """Raise HTTPForbidden unless the request comes from a page of ours; AskAgain if nobody says so."""
    origin = request.headers.get(hdrs.ORIGIN)
    site = request.headers.get("Sec-Fetch-Site")
    if (site or "same-origin") not in {"same-origin", "none"}:
        raise web.HTTPForbidden(text="Sent from another site’s page.")
    # Hosts only: behind a proxy we don't know which scheme the browser used.
    if origin is not None and not is_same(origin, host_of(request)):
        raise web.HTTPForbidden(text="Sent from another site’s page.")
    if USER not in request and (origin is not None or site == "same-origin"):
        return
    token = request.headers.get("X-CSRF-Token") or (await read_fields(request)).get("csrf_token", "")
    if VISITOR in request and request.app[keys.signer].is_form_token(request[VISITOR], token):
        return
    if USER in request or token or not wants_page(request):
        raise web.HTTPForbidden(text="The form’s token is missing or too old.")
    raise AskAgain


async def ask_again(request: web.Request) -> web.Response:
    """The page that asks whether a form was meant, with all that was written in it."""
    fields = {name: value for name, value in (await read_fields(request)).items() if name != "csrf_token"}
    context = {"action": request.path_qs, "fields": fields, "token": form_token(request)}
    return render(request, "again.html", context, status=403, cache="no-store")
