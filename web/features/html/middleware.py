"""For aiohttp, in development: `check_pages(app, checker, publisher)`. docs/html.md."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from hub.publisher import Publisher

from .checker import Checker
from .watcher import PATH, Watcher

#: Seconds that the hub has to take a verdict.
_SECONDS = 10.0


def check_pages(
    app: web.Application,
    checker: Checker,
    publisher: Publisher,
    *,
    hub: str = "/bayeux",
    replace: Callable[[Any, str, Any], None] = setattr,
) -> Watcher:
    """Have an application's pages checked, and put a badge on them. Called before what packs answers is added: it goes
    inside of that."""
    loop: asyncio.AbstractEventLoop | None = None

    def tell(channel: str, data: object) -> None:
        assert loop is not None
        asyncio.run_coroutine_threadsafe(publisher.publish(channel, data), loop).result(_SECONDS)

    watcher = Watcher(checker, tell, hub=hub, replace=replace)

    async def running(app: web.Application) -> AsyncIterator[None]:
        nonlocal loop
        loop = asyncio.get_running_loop()
        yield
        await asyncio.to_thread(watcher.close)

    @web.middleware
    async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == PATH and request.method == hdrs.METH_GET:
            status, kind, body = watcher.answer(request.query_string)
            return web.Response(status=status, headers={hdrs.CONTENT_TYPE: kind}, body=body)
        response = await handler(request)
        if not isinstance(response, web.Response) or not isinstance(response.body, bytes) or response.prepared:
            return response
        if not watcher.wants(request.method, response.status, list(response.headers.items())):
            return response
        shown = watcher.take(f"GET {request.rel_url}", response.body, list(response.headers.items()))
        response.headers.clear()
        response.headers.extend(shown.headers)
        response.headers.popall(hdrs.CONTENT_LENGTH, None)
        response.body = shown.body
        return response

    app.cleanup_ctx.append(running)
    app.middlewares.append(checked)
    return watcher
