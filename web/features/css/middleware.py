"""For aiohttp: `web.Application(middlewares=[inlining(Optimiser(folders({"/static/": Path("static")})))])`."""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from .responses import MAX_BODY, Optimiser


def inlining(optimiser: Optimiser) -> Middleware:
    """A middleware that puts sheets into pages. It goes inside what packs answers."""

    @web.middleware
    async def inlined(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if not isinstance(response, web.Response) or not isinstance(response.body, bytes) or response.prepared:
            return response
        if len(response.body) > MAX_BODY:
            return response
        if not optimiser.wants(request.method, response.status, list(response.headers.items())):
            return response
        # The first page of a kind compiles its sheets.
        answer = await asyncio.to_thread(
            optimiser.answer, str(request.url), response.body, list(response.headers.items())
        )
        response.headers.clear()
        response.headers.extend(answer.headers)
        response.headers.popall(hdrs.CONTENT_LENGTH, None)
        response.body = answer.body
        return response

    return inlined
