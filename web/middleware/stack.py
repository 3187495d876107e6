"""The middlewares, outermost first."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from .. import heads
from ..db.database import noting
from ..db.engine import is_away
from ..identity.roles import Permission
from ..pages import keys
from ..pages.requests import BEGAN, MOST_FORM, NEW_VISITOR, may, require
from .conditional import conditional
from .errors import failure, refusal
from .forgery import AskAgain, ask_again, check_form, is_form
from .security import secure
from .timing import timing
from .visitors import recognise
from .writes import carry

logger = logging.getLogger(__name__)


def site_middlewares(
    views: Mapping[Handler, Permission],
    forms: Mapping[Handler, int],
    from_anywhere: Collection[Handler] = frozenset(),
    *,
    timed: bool = False,
    clocked: bool = False,
) -> list[Middleware]:
    """The site's middlewares. views: the site's own handlers, with what each takes; others pass untouched.

    forms: bytes that the forms of some may have, from who may send them. from_anywhere: those of the views that find
    out by themselves who sent a form. timed: whether answers say how long they took. clocked: whether requests say when
    they came, those for others too.
    """

    def is_ours(request: web.Request) -> bool:
        # The hub answers everything below its own paths, so what no route knows is the site's to refuse.
        return request.match_info.handler in views or request.match_info.http_exception is not None

    @web.middleware
    async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        if clocked:
            # Here, as this runs anyway: a middleware of its own would cost each request more than all that counts it.
            request[BEGAN] = time.perf_counter()
        if not is_ours(request):
            return await handler(request)
        try:
            heads.check_query(request)
            response = await handler(request)
        except web.HTTPException as error:
            response = refusal(request, error)
        except Exception as error:
            # Whatever it was, the other end learns nothing of our insides.
            if is_away(error):
                logger.warning("database can't be reached", extra={"path": request.path, "error": str(error)[:200]})
                response = failure(request, 503, headers={hdrs.RETRY_AFTER: "5"})
            else:
                logger.exception("view failed", extra={"method": request.method, "path": request.path})
                response = failure(request, 500)
        secure(request, response)
        return conditional(request, response)

    @web.middleware
    async def visitors(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_ours(request):
            return await handler(request)
        await recognise(request)
        try:
            if is_form(request):
                view = request.match_info.handler
                if view in forms and may(request, views[view]):
                    request[MOST_FORM] = forms[view]
                response = await _form(request, views[view], handler, is_checked=view not in from_anywhere)
            else:
                if request.match_info.http_exception is None:
                    require(request, views[request.match_info.handler])
                response = await handler(request)
        except web.HTTPException as error:
            response = refusal(request, error)
        if NEW_VISITOR in request:
            request.app[keys.signer].write(response, request[NEW_VISITOR])
        return response

    return [*([timing(is_ours)] if timed else []), errors, visitors]


async def _form(
    request: web.Request, permission: Permission, handler: Handler, *, is_checked: bool
) -> web.StreamResponse:
    try:
        if is_checked:
            await check_form(request)
    except AskAgain:
        return await ask_again(request)
    require(request, permission)
    response: web.StreamResponse
    with noting() as told:
        try:
            response = await handler(request)
        except web.HTTPException as error:
            # What was saved before the refusal is saved.
            response = refusal(request, error)
    if told:
        await carry(request, response, told)
    return response
