"""Bayeux over HTTP: long-polling (POST) and callback-polling (GET, JSONP).

A request's messages go to the node; its answer comes at once or when something is delivered.
The session is bound to no connection: a handshake over JSONP continues on a WebSocket.
"""

from __future__ import annotations

import asyncio
import re
from urllib.parse import parse_qsl

from aiohttp import hdrs, web

from ..bayeux import CALLBACK_POLLING, LONG_POLLING
from ..errors import BadMessage, TooLarge
from ..node import Node, Poll
from ..protocol.messages import dumps, join, looks_like_json, parse_batch
from .eventsource import Streams
from .front import Door
from .origins import PREFLIGHT

#: Faye's callback grammar; CometD bounds the length at 64, we at 128.
_CALLBACK = re.compile(r"[a-z_$][a-z0-9_$]*(\.[a-z_$][a-z0-9_$]*)*", re.IGNORECASE)
_MAX_CALLBACK = 128

_NO_STORE = {"Cache-Control": "no-cache, no-store", "X-Content-Type-Options": "nosniff"}


class Polling:
    """The handlers of `/bayeux` and everything under it.

    message_bytes: the longest body whose messages are taken; a longer one, up to what aiohttp
    reads, is refused message by message, because Faye repeats for ever what fails by HTTP status.
    """

    def __init__(self, node: Node, door: Door, *, message_bytes: int) -> None:
        self._node = node
        self._door = door
        self._streams = Streams(node, door)
        self._origins = door.origins
        self._message_bytes = message_bytes

    async def post(self, request: web.Request) -> web.StreamResponse:
        """POST: a batch as JSON, or as the `message` field of a form, whatever the Content-Type says."""
        cors = self._origins.headers(request.headers.get(hdrs.ORIGIN), request.host)
        if not self._origins.allows(request.headers.get(hdrs.ORIGIN), request.host):
            return _text(403, "Origin not allowed. Add it to HUB_ORIGINS.", cors)
        try:
            messages = parse_body(await request.read())
        except BadMessage as error:
            return _text(400, error.wire(), cors)
        if not messages:
            return _text(400, "400::No message", cors)
        if (request.content_length or 0) > self._message_bytes:
            return self._too_large(messages, cors)
        return await self._exchange(request, messages, LONG_POLLING, cors, None)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """GET with `message`: callback-polling. The answer is a script that calls `jsonp`."""
        if "websocket" in request.headers.get(hdrs.UPGRADE, "").lower():
            return await self._door.take_over(request)
        if "text/event-stream" in request.headers.get(hdrs.ACCEPT, ""):
            return await self._streams.get(request)
        texts = request.query.getall("message", [])
        if not texts:
            return _text(400, "Bad request: POST messages, open a WebSocket, or GET with ?message=", {})
        callback = request.query.get("jsonp", "jsonpcallback")
        if len(callback) > _MAX_CALLBACK or _CALLBACK.fullmatch(callback) is None:
            return _text(400, "Bad request: jsonp is not the name of a function", {})
        try:
            messages = [message for text in texts for message in parse_batch(text)]
        except BadMessage as error:
            return _text(400, error.wire(), {})
        if not messages:
            return _text(400, "400::No message", {})
        return await self._exchange(request, messages, CALLBACK_POLLING, {}, callback)

    async def options(self, request: web.Request) -> web.Response:
        """The preflight of a page at another origin."""
        origin = request.headers.get(hdrs.ORIGIN)
        headers = self._origins.headers(origin, request.host)
        if self._origins.allows(origin, request.host):
            headers |= PREFLIGHT
        return web.Response(status=204, headers=headers)

    async def refuse(self, request: web.Request) -> web.Response:
        """Any other method."""
        return web.Response(status=405, headers={"Allow": "GET, POST, OPTIONS"}, text="Method not allowed\n")

    async def _exchange(
        self, request: web.Request, messages: list[object], transport: str, cors: dict[str, str], callback: str | None
    ) -> web.StreamResponse:
        poll = Poll()
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        poll.when_sent(lambda parts: None if answered.done() else answered.set_result(None))
        self._node.accept(messages, transport, poll)
        try:
            # The server is told to cancel handlers whose client has left: a held connect must not take
            # the next publication with it.
            await answered
            response = self._response(join(poll.parts or []), cors, callback)
            await response.prepare(request)
            await response.write_eof()
        except (asyncio.CancelledError, ConnectionError):
            self._node.abandon(poll)
            raise
        if request.transport is None or request.transport.is_closing():
            self._node.abandon(poll)
        return response

    def _response(self, body: bytes, cors: dict[str, str], callback: str | None) -> web.Response:
        if callback is None:
            return web.Response(body=body, headers={**_NO_STORE, **cors, "Content-Type": "application/json"})
        # U+2028 and U+2029 end a line in old JavaScript; the leading comment and the download name keep
        # the answer from being run as something else (Rosetta Flash).
        script = body.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
        return web.Response(
            body=b"/**/%b(%b);" % (callback.encode(), script),
            headers={
                **_NO_STORE,
                "Content-Type": "text/javascript; charset=utf-8",
                "Content-Disposition": "attachment; filename=f.txt",
            },
        )

    def _too_large(self, messages: list[object], cors: dict[str, str]) -> web.Response:
        replies = []
        for message in messages[:1000]:
            named = message if isinstance(message, dict) else {}
            reply = {"successful": False, "error": TooLarge().wire()}
            if isinstance(named.get("channel"), str):
                reply["channel"] = named["channel"][:255]
            if isinstance(named.get("id"), str | int):
                reply["id"] = named["id"] if isinstance(named["id"], int) else named["id"][:128]
            replies.append(dumps(reply))
        return self._response(join(replies), cors, None)


def parse_body(body: bytes) -> list[object]:
    """The messages of a POST body; raises BadMessage.

    JSON if it looks like it (python-bayeux sends no Content-Type, Faye's cross-origin transport
    text/plain), else a form whose `message` fields, each a message or an array, count in order.
    """
    if not body.strip():
        raise BadMessage(text="Empty body")
    if looks_like_json(body):
        return parse_batch(body)
    try:
        fields = parse_qsl(body.decode("utf-8"), strict_parsing=True, errors="strict", max_num_fields=1000)
    except ValueError:
        raise BadMessage(text="Neither JSON nor a form") from None
    texts = [value for name, value in fields if name == "message"]
    if not texts:
        raise BadMessage("message", text="Missing field")
    return [message for text in texts for message in parse_batch(text)]


def _text(status: int, text: str, headers: dict[str, str]) -> web.Response:
    return web.Response(status=status, text=text + "\n", headers={**_NO_STORE, **headers})
