"""Who is asking: the visitor of the cookie, and the user who has signed in."""

from __future__ import annotations

from aiohttp import web

from ..identity.users import User
from ..pages import keys
from ..pages.requests import NEW_VISITOR, USER, VISITOR


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
        await _recognise_user(request, visitor.user_id, visitor.stamp)


async def _recognise_user(request: web.Request, user_id: int, stamp: str) -> None:
    async with request.app[keys.database].reading() as session:
        user = await session.get(User, user_id)
    if user is None or user.stamp != stamp:
        # Signed out elsewhere: go on as someone we have not met.
        request[NEW_VISITOR] = request[VISITOR] = request.app[keys.signer].new()
    else:
        request[USER] = user
