"""For ASGI: `app = Inlining(app, Optimiser(folders({"/static/": Path("static")})))`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from .responses import MAX_BODY, Optimiser

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Callable[[], Awaitable[Message]], Send], Awaitable[None]]


class Inlining:
    """An application whose pages have their sheets in them. What is long goes through as it is."""

    def __init__(self, app: App, optimiser: Optimiser) -> None:
        self._app = app
        self._optimiser = optimiser

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        held = _Held(self._optimiser, scope, send)
        await self._app(scope, receive, held.send)


class _Held:
    """An answer that waits for its end."""

    def __init__(self, optimiser: Optimiser, scope: Message, send: Send) -> None:
        self._optimiser = optimiser
        self._scope = scope
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", [])]
            if self._optimiser.wants(self._scope["method"], message["status"], headers):
                self._start = message
                return
        if self._start is None or message["type"] != "http.response.body":
            await self._send(message)
            return
        self._body += message.get("body", b"")
        more = message.get("more_body", False)
        if more and len(self._body) <= MAX_BODY:
            return
        start, self._start = self._start, None
        body = self._body
        if not more and len(body) <= MAX_BODY:
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
            # The first page of a kind compiles its sheets.
            answer = await asyncio.to_thread(self._optimiser.answer, _url(self._scope), body, headers)
            body = answer.body
            start = start | {
                "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
            }
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def _url(scope: Message) -> str:
    host = dict(scope.get("headers", [])).get(b"host", b"localhost").decode("latin-1")
    return f"{scope.get('scheme', 'http')}://{host}{scope.get('root_path', '')}{scope['path']}"
