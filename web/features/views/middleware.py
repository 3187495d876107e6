"""Around all of the site and the hub: every answer is looked at once it is there, and nobody waits for that."""

from __future__ import annotations

import time

from aiohttp import web
from aiohttp.typedefs import Handler

from .service import STREAM, views


@web.middleware
async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count what is answered. Whose client left before that was answered nothing."""
    began = time.perf_counter()
    try:
        response = await handler(request)
    except web.HTTPException as error:
        took = time.perf_counter() - began
        request.app[views].note(request, None, error.status, time.time() - took, took)
        raise
    except Exception:
        took = time.perf_counter() - began
        request.app[views].note(request, None, 500, time.time() - took, took)
        raise
    if STREAM not in request:
        took = time.perf_counter() - began
        request.app[views].note(request, response, response.status, time.time() - took, took)
    return response
