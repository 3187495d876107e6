"""Failures as pages or JSON, in the form that was asked for."""

from __future__ import annotations

import logging

from aiohttp import hdrs, web

from ..pages.requests import NotAllowed, json_response, wants_json, wants_page
from ..pages.templating import render

logger = logging.getLogger(__name__)

#: By status: what happened, and what to do next.
_ERRORS = {
    400: ("That request can’t be read", "Go back, reload the page and try again."),
    401: ("Please sign in", "Sign in and try again."),
    403: ("That form is too old", "Go back, reload the page and send it again."),
    404: (
        "Nothing here",
        "The address may be mistyped, or what was here has moved. The home page leads on.",
    ),
    405: ("That can’t be done here", "Go back and use the page’s own buttons and links."),
    408: ("That took too long", "Check the connection and send it again."),
    409: ("Someone was faster", "Reload the page to see what changed, then try again."),
    413: ("That is too long", "Shorten it and send it again."),
    415: ("That can’t be read", "Send a form, or a JSON object of strings."),
    429: ("That was a lot at once", "Wait a moment, then try again."),
    500: ("Something went wrong on our side", "It has been noted. Try again in a minute."),
    503: ("We’ll be right back", "The database can’t be reached just now. Try again in a minute."),
}


#: Of a 403 for who is signed in.
_NOT_ALLOWED = ("That takes another role", "A manager can give it to you; or sign in with another account.")


def refusal(request: web.Request, error: web.HTTPException) -> web.Response:
    """An aiohttp exception as an answer in the form that was asked for; its own headers are kept."""
    kept = {
        name: value
        for name, value in error.headers.items()
        if name in {hdrs.LOCATION, hdrs.ALLOW, hdrs.RETRY_AFTER, hdrs.CACHE_CONTROL}
    }
    if error.status < 400:
        return web.Response(status=error.status, headers=kept)
    if error.status >= 500:
        # The page says that it has been noted. A library raises 500 for a template that isn't there.
        facts = {"status": error.status, "method": request.method, "path": request.path, "reason": error.reason}
        logger.warning("view refused", extra=facts, exc_info=error if error.status == 500 else None)
    default = f"{error.status}: {error.reason}"
    reason = error.text if error.text not in {None, default} and error.status != 413 else None
    words = _NOT_ALLOWED if isinstance(error, NotAllowed) else None
    response = failure(request, error.status, reason=reason, headers=kept, words=words)
    if error.status == 408:
        # What is still to come of the body would be taken for another request.
        response.force_close()
    return response


def failure(
    request: web.Request,
    status: int,
    *,
    reason: str | None = None,
    headers: dict[str, str] | None = None,
    words: tuple[str, str] | None = None,
) -> web.Response:
    """The page, JSON or text of a status, with what to do next. words: a title and a step of its own."""
    title, step = words or _ERRORS.get(status, ("That didn’t work", "Go back and try again."))
    headers = {hdrs.CACHE_CONTROL: "no-store"} | (headers or {})
    if wants_json(request):
        response = json_response({"error": reason or f"{title}.", "next": step}, status=status)
        response.headers.update(headers)
        return response
    if not wants_page(request):
        return web.Response(status=status, text=f"{reason or title}\n{step}\n", headers=headers)
    response = render(request, "error.html", {"title": title, "reason": reason, "step": step}, status=status)
    response.headers.update(headers)
    return response
