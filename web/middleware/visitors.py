"""Who is asking: the visitor of the cookie, and the user who has signed in."""

from __future__ import annotations

import logging

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from ..identity import signins
from ..identity.signins import SignIn
from ..identity.visitors import Visitor
from ..pages import keys
from ..pages.requests import NEW_VISITOR, SIGN_IN, USER, VISITOR, where_of

logger = logging.getLogger(__name__)


async def recognise(request: web.Request) -> None:
    """Put the visitor whom the cookie names, and the user, on the request."""
    signer = request.app[keys.signer]
    visitor = signer.read(request)
    if visitor is None:
        return
    request[VISITOR] = visitor
    if signer.is_fading(visitor):
        request[NEW_VISITOR] = request[VISITOR] = visitor = signer.renew(visitor)
    if visitor.user_id is not None:
        await _recognise_user(request, visitor)


async def _recognise_user(request: web.Request, visitor: Visitor) -> None:
    async with request.app[keys.database].reading() as session:
        found = await signins.find(session, visitor)
    if found is None:
        # Signed out elsewhere: go on as someone we have not met.
        request[NEW_VISITOR] = request[VISITOR] = request.app[keys.signer].new()
        return
    request[SIGN_IN], request[USER] = found
    await _see(request, found[0])


async def _see(request: web.Request, sign_in: SignIn) -> None:
    where = where_of(request)
    if not signins.is_stale(sign_in, where):
        return
    try:
        async with request.app[keys.database].saving() as session:
            await signins.see(session, sign_in, where)
    except SQLAlchemyError as error:
        # A page that can be read needs no row written.
        logger.info("sign-in not noted", extra={"error": str(error)[:200]})
