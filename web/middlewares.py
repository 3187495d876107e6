"""Around every view of the site: errors as pages or JSON, who is asking, headers, conditional answers.

The hub's routes live in the same application and speak their own protocols, so all of this keeps
its hands off them.
"""

from __future__ import annotations

import hashlib
import logging
import re
from urllib.parse import urlsplit

from aiohttp import ETag, hdrs, web
from aiohttp.typedefs import Handler, Middleware

from hub.origins import is_same

from . import heads, keys
from .db import is_away
from .models import User
from .requests import (
    NEW_VISITOR,
    USER,
    VISITOR,
    json_response,
    read_fields,
    wants_json,
    wants_page,
)
from .templating import render

logger = logging.getLogger(__name__)

_SAFE = {hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS}

#: A host as a policy may name it; anything else in the Host header stays out of our headers.
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")

#: By status: what happened, and what to do next.
_ERRORS = {
    400: ("That request can’t be read", "Go back, reload the page and try again."),
    401: ("Please sign in", "Sign in and try again."),
    403: ("That form is too old", "Go back, reload the page and send it again."),
    404: (
        "Nothing here",
        "The address may be mistyped, or the event was renamed. Everything that is on is on the home page.",
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


def site_middlewares(views: frozenset[Handler]) -> list[Middleware]:
    """The middlewares, outermost first. views: the site's own handlers; others pass untouched."""

    def is_ours(request: web.Request) -> bool:
        # The hub answers everything below its own paths, so what no route knows is the site's to refuse.
        return request.match_info.handler in views or request.match_info.http_exception is not None

    @web.middleware
    async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_ours(request):
            return await handler(request)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            response = _refusal(request, error)
        except Exception as error:
            # Whatever it was, the other end learns nothing of our insides.
            if is_away(error):
                logger.warning("database can't be reached", extra={"path": request.path, "error": str(error)[:200]})
                response = _error(request, 503, headers={hdrs.RETRY_AFTER: "5"})
            else:
                logger.exception("view failed", extra={"method": request.method, "path": request.path})
                response = _error(request, 500)
        _secure(request, response)
        return _conditional(request, response)

    @web.middleware
    async def visitors(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_ours(request):
            return await handler(request)
        signer = request.app[keys.signer]
        visitor = signer.read(request)
        if visitor is not None:
            request[VISITOR] = visitor
            if signer.is_fading(visitor):
                request[NEW_VISITOR] = request[VISITOR] = visitor = signer.renew(visitor)
            if visitor.user_id is not None:
                await _recognise(request, visitor.user_id, visitor.stamp)
        try:
            if request.method not in _SAFE and request.match_info.http_exception is None:
                await _check_form(request)
            response = await handler(request)
        except web.HTTPException as error:
            response = _refusal(request, error)
        if NEW_VISITOR in request:
            signer.write(response, request[NEW_VISITOR])
        return response

    return [errors, visitors]


async def _recognise(request: web.Request, user_id: int, stamp: str) -> None:
    async with request.app[keys.database].reading() as session:
        user = await session.get(User, user_id)
    if user is None or user.stamp != stamp:
        # Signed out elsewhere: go on as someone we have not met.
        request[NEW_VISITOR] = request[VISITOR] = request.app[keys.signer].new()
    else:
        request[USER] = user


async def _check_form(request: web.Request) -> None:
    """Raise HTTPForbidden unless the request comes from a page of ours that we gave this visitor."""
    origin = request.headers.get(hdrs.ORIGIN)
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        raise web.HTTPForbidden(text="Sent from another site’s page.")
    # Hosts only: behind a proxy we don't know which scheme the browser used.
    if origin is not None and not is_same(origin, _host(request)):
        raise web.HTTPForbidden(text="Sent from another site’s page.")
    token = request.headers.get("X-CSRF-Token") or (await read_fields(request)).get("csrf_token", "")
    if VISITOR not in request or not request.app[keys.signer].is_form_token(request[VISITOR], token):
        raise web.HTTPForbidden(text="The form’s token is missing or too old.")


def _host(request: web.Request) -> str:
    url = request.app[keys.settings].url
    # Not `request.host`, which asks the machine's resolver where there is no such header.
    return urlsplit(url).netloc.lower() if url else request.headers.get(hdrs.HOST, "").lower()


def _refusal(request: web.Request, error: web.HTTPException) -> web.Response:
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
    response = _error(request, error.status, reason=reason, headers=kept)
    if error.status == 408:
        # What is still to come of the body would be taken for another request.
        response.force_close()
    return response


def _error(
    request: web.Request, status: int, *, reason: str | None = None, headers: dict[str, str] | None = None
) -> web.Response:
    title, step = _ERRORS.get(status, ("That didn’t work", "Go back and try again."))
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


def _secure(request: web.Request, response: web.StreamResponse) -> None:
    headers = response.headers
    host = _host(request)
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    headers.setdefault(
        "Content-Security-Policy",
        # Some browsers still don't count a WebSocket of the same host as 'self'.
        f"default-src 'self'; connect-src 'self'{sockets}; object-src 'none'; base-uri 'none';"
        " form-action 'self'; frame-ancestors 'none'",
    )
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
    if request.app[keys.settings].is_https:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    # The same address has another page for a manager, and another form token for each visitor.
    headers.setdefault(hdrs.CACHE_CONTROL, "private, no-cache")
    headers.setdefault(hdrs.VARY, "Accept, Cookie")


def _conditional(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Tag a page that may be kept, and say 304 to a browser that has this very one."""
    if (
        request.method not in {hdrs.METH_GET, hdrs.METH_HEAD}
        or response.status != 200
        or not isinstance(response, web.Response)
        or not isinstance(response.body, bytes)
        or response.etag is not None
        or "no-store" in response.headers[hdrs.CACHE_CONTROL]
    ):
        return response
    tag = ETag(hashlib.blake2b(response.body, digest_size=12).hexdigest())
    if heads.has_tag(request, tag.value):
        skipped = {hdrs.CONTENT_TYPE.lower(), hdrs.CONTENT_LENGTH.lower()}
        headers = [(name, value) for name, value in response.headers.items() if name.lower() not in skipped]
        cookies = response.cookies
        response = web.Response(status=304, headers=headers)
        response.cookies.update(cookies)
    response.etag = tag
    return response
