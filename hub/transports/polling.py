"""Bayeux over HTTP: long-polling (POST) and callback-polling (GET, JSONP).

A request's messages go to the node; its answer comes at once or when something is delivered.
The session is bound to no connection: a handshake over JSONP continues on a WebSocket.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Generator
from typing import Any

from aiohttp import HttpVersion11, hdrs, web

from ..bayeux.names import CALLBACK_POLLING, LONG_POLLING
from ..errors import BadEncoding, BadMessage, TooLarge
from ..peers import Peer
from ..polls import Poll
from ..protocol import escapes
from ..protocol.messages import (
    MAX_HALVES,
    MAX_VALUES,
    check_values,
    client_in,
    dumps,
    join,
    looks_like_json,
    parse_batch,
    skim,
)
from ..turns import finished
from .answers import NO_STORE, Answer, response, script, text
from .bodies import SMALL_BYTES, read_body
from .browsers import browser_of
from .eventsource import Streams
from .front import Entrance
from .halves import hurried, is_over
from .origins import PREFLIGHT

#: Faye's callback grammar; CometD bounds the length at 64, we at 128.
_CALLBACK = re.compile(r"[a-z_$][a-z0-9_$]*(\.[a-z_$][a-z0-9_$]*)*", re.IGNORECASE)
_MAX_CALLBACK = 128

#: Reads a form in pieces, and returns its messages or the refusal.
Reading = Generator[None, None, list[object] | Answer]

#: Fields of a form; each of its messages may have one. And bytes that take as long as a field itself.
MAX_FIELDS = 1000
_FIELD_COST = 400

#: The same of a query. Clients put a batch into one, as a list: 2,600 that were a message each took 3 ms to read.
MAX_QUERY_FIELDS = 200


class Polling:
    """The handlers of `/bayeux` and everything under it.

    message_bytes: the longest body whose messages are taken; a longer one, up to body_bytes, is
    refused message by message, because Faye repeats for ever what fails by HTTP status.
    body_timeout: seconds for a body to arrive. like_faye: empty batches and odd methods as Faye's server.
    browsers: whether polls get a cookie that says which browser they are of.
    """

    def __init__(
        self,
        entrance: Entrance,
        *,
        message_bytes: int,
        body_bytes: int,
        body_timeout: float,
        like_faye: bool = False,
        browsers: bool = False,
    ) -> None:
        self._node = entrance.node
        self._door = entrance.door
        self._streams = Streams(entrance)
        self.address = entrance.door.address
        self.visitor = entrance.visitor
        self._origins = entrance.origins
        self._message_bytes = message_bytes
        self._body_bytes = body_bytes
        self._body_timeout = body_timeout
        self._like_faye = like_faye
        self._browsers = browsers

    async def post(self, request: web.Request) -> web.StreamResponse:
        """POST: a batch as JSON, or as the `message` field of a form, whatever the Content-Type says."""
        cors, refusal = self.admit(request.headers.get(hdrs.ORIGIN), request.headers.get(hdrs.HOST))
        if refusal is not None:
            return response(refusal)
        try:
            body = await read_body(request, self._body_bytes, self._body_timeout, self._node.turns, wait=False)
        except (BadMessage, BadEncoding, TooLarge) as error:
            self._node.bayeux.count(error)
            return response(_text(error.code, error.wire(), cors, close=True))
        except TimeoutError:
            self._door.count("bodies")
            return response(_text(408, "Body did not arrive in time.", cors, close=True))
        # What is costly waits for its turn, in its client's order.
        is_costly, is_large = len(body) > SMALL_BYTES, len(body) > self._message_bytes
        # A refused body needs no order.
        client = client_in(body) if is_costly and not is_large else None
        if is_costly:
            await self._node.lanes.wait(client)
        try:
            short = skim(body, self._message_bytes) if is_large else body
            messages = self._too_large(cors) if short is None else await self._read_in_turns(short, cors)
            if isinstance(messages, Answer):
                return response(messages)
            if is_large:
                parts = [dumps(reply) for reply in self._node.bayeux.too_large(messages)]
                return response(Answer(200, replied(cors), join(parts)))
            exchange = self._begin(request, messages, LONG_POLLING, cors, None, client)
        finally:
            self._node.lanes.free(client)
        return await exchange

    def admit(self, origin: str | None, host: str | None) -> tuple[dict[str, str], Answer | None]:
        """The CORS headers of answers to this origin, and the refusal if it may not come in."""
        cors = self._origins.headers(origin, host)
        refused = self._origins.refuse(origin, host)
        return cors, _text(403, refused, cors) if refused else None

    def browser(
        self, cookie: str | None, origin: str | None, host: str | None, path: str
    ) -> tuple[str, dict[str, str]]:
        """Which browser a poll over HTTP/1.1 is of, empty if nobody asks, and the headers that tell a new one."""
        if not self._browsers:
            return "", {}
        browser, cookie = browser_of(cookie, origin, host, path)
        return browser, {"Set-Cookie": cookie} if cookie else {}

    def read(self, body: bytes, cors: dict[str, str]) -> list[object] | Answer:
        """The messages of a POST, at least one, or the refusal."""
        try:
            messages = parse_body(body, self._node.bayeux.limits.max_values)
        except BadMessage as error:
            return self._unread(error, cors)
        return messages or self._nothing(cors)

    def reading(self, form: bytes, cors: dict[str, str]) -> Reading:
        """As `read`, in pieces."""
        try:
            messages = yield from _parsing(form, self._node.bayeux.limits.max_values)
        except BadMessage as error:
            return self._unread(error, cors)
        return messages or self._nothing(cors)

    def _nothing(self, cors: dict[str, str]) -> Answer:
        return Answer(200, replied(cors), b"[]") if self._like_faye else _text(400, "400::No message", cors)

    def _unread(self, error: BadMessage, cors: dict[str, str]) -> Answer:
        self._node.bayeux.count(error)
        return _text(400, error.wire(), cors)

    async def _read_in_turns(self, body: bytes, cors: dict[str, str]) -> list[object] | Answer:
        if is_long_form(body):
            return await self._node.turns.through(self.reading(body, cors))
        return self.read(body, cors)

    def _too_large(self, cors: dict[str, str]) -> Answer:
        error = TooLarge()
        self._node.bayeux.count(error)
        return _text(error.code, error.wire(), cors)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """GET with `message`: callback-polling. The answer is a script that calls `jsonp`."""
        if "websocket" in request.headers.get(hdrs.UPGRADE, "").lower():
            return await self._door.take_over(request)
        # Before anything of the query is decoded.
        if request.rel_url.raw_query_string.count("&") >= MAX_QUERY_FIELDS:
            return response(_text(400, "Bad request: too many fields", {}))
        if "text/event-stream" in request.headers.get(hdrs.ACCEPT, ""):
            return await self._streams.get(request)
        texts = request.query.getall("message", [])
        if not texts:
            return response(_text(400, "Bad request: POST messages, open a WebSocket, or GET with ?message=", {}))
        headers = request.headers
        refusal = self._origins.refuse_script(
            headers.get("Sec-Fetch-Site"),
            headers.get(hdrs.REFERER),
            headers.get(hdrs.HOST),
            headers.get(hdrs.USER_AGENT),
        )
        if refusal:
            return response(_text(403, refusal, {}))
        callback = request.query.get("jsonp", "jsonpcallback")
        if len(callback) > _MAX_CALLBACK or _CALLBACK.fullmatch(callback) is None:
            return response(_text(400, "Bad request: jsonp is not the name of a function", {}))
        try:
            most = self._node.bayeux.limits.max_values
            messages = _parse_all(texts, most)
        except BadMessage as error:
            return response(_text(400, error.wire(), {}))
        if not messages:
            return response(_text(400, "400::No message", {}))
        return await self._begin(request, messages, CALLBACK_POLLING, {}, callback)

    async def options(self, request: web.Request) -> web.Response:
        """The preflight of a page at another origin."""
        origin = request.headers.get(hdrs.ORIGIN)
        host = request.headers.get(hdrs.HOST)
        headers = self._origins.headers(origin, host)
        if not self._origins.refuse(origin, host):
            headers |= PREFLIGHT
        return web.Response(status=204, headers=headers)

    async def refuse(self, request: web.Request) -> web.Response:
        """Any other method."""
        if self._like_faye:
            return web.Response(status=400, text="Bad request\n")
        return web.Response(status=405, headers={"Allow": "GET, POST, OPTIONS"}, text="Method not allowed\n")

    def _begin(
        self,
        request: web.Request,
        messages: list[object],
        transport: str,
        cors: dict[str, str],
        callback: str | None,
        lane: str | None = None,
    ) -> Coroutine[Any, Any, web.StreamResponse]:
        """Let the node take the messages, and return what sends its answer: await that."""
        address = self._door.address_of(request)
        # Any page may run a script from here, and read what it is called with: who asks by one is a stranger.
        visitor = None if callback is not None else self.visitor(request.headers.get(hdrs.COOKIE))
        browser, made = "", dict[str, str]()
        if request.version == HttpVersion11:
            headers = request.headers
            browser, made = self.browser(
                headers.get(hdrs.COOKIE), headers.get(hdrs.ORIGIN), headers.get(hdrs.HOST), request.path
            )
        poll = Poll(Peer(address, visitor, browser))
        self._node.accept(messages, transport, poll, lane=lane)
        return self._answer(request, poll, made if callback else replied(cors) | made, callback)

    async def _answer(
        self, request: web.Request, poll: Poll, headers: dict[str, str], callback: str | None
    ) -> web.StreamResponse:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        poll.when_sent(lambda parts: None if answered.done() else answered.set_result(None))
        over = False
        try:
            # The server is told to cancel handlers whose client has left: a held connect must not take
            # the next publication with it.
            with hurried(request, lambda: self._node.hurry(poll)):
                await answered
            over = poll.is_counted and is_over(request)
            body = join(poll.parts or [])
            answer = response(script(body, callback, headers) if callback else Answer(poll.status, headers, body))
            await answer.prepare(request)
            await answer.write_eof()
        except (asyncio.CancelledError, ConnectionError):
            self._node.abandon(poll)
            raise
        if over or request.transport is None or request.transport.is_closing():
            self._node.abandon(poll)
        else:
            self._node.written(poll)
        return answer


def replied(cors: dict[str, str]) -> dict[str, str]:
    """The headers of an answer that carries messages."""
    return {**NO_STORE, **cors, "Content-Type": "application/json"}


def parse_body(body: bytes, most: int = MAX_VALUES) -> list[object]:
    """The messages of a POST body; raises BadMessage. most: values that it may have.

    JSON if it looks like it (python-bayeux sends no Content-Type, Faye's cross-origin transport
    text/plain), else a form whose `message` fields, each a message or an array, count in order.
    """
    if not body.strip():
        raise BadMessage(text="Empty body")
    if looks_like_json(body):
        return parse_batch(body, most)
    return finished(_parsing(body, most))


def is_long_form(body: bytes) -> bool:
    """Whether a body is to be read in pieces."""
    return len(body) > escapes.PIECE and not looks_like_json(body)


def _parsing(form: bytes, most: int) -> Generator[None, None, list[object]]:
    try:
        texts = yield from _texts_of_form(form)
    except ValueError:
        raise BadMessage(text="Neither JSON nor a form") from None
    if not texts:
        raise BadMessage("message", text="Missing field")
    return _parse_all(texts, most)


def _parse_all(texts: list[str], most: int) -> list[object]:
    """The messages of several texts. They may have as much in all as one: 999 fields of a form, each with as much as a
    text may have, were one piece of 160 ms.
    """
    if len(texts) > 1:
        check_values(",".join(texts), most)
    halves = max(1, MAX_HALVES // len(texts))
    return [message for each in texts for message in parse_batch(each, most, halves)]


def messages_of_form(body: bytes) -> list[str]:
    """The `message` fields of a form, in order; raises ValueError for what is none."""
    return finished(_texts_of_form(body))


def _texts_of_form(body: bytes) -> Generator[None, None, list[str]]:
    parts = body.split(b"&", MAX_FIELDS)
    # Refused before they are looked at.
    if len(parts) > MAX_FIELDS:
        raise ValueError("too many fields")
    fields = escapes.Fields()
    texts = []
    done = 0
    for part in parts:
        done += len(part) + _FIELD_COST
        if done > escapes.PIECE:
            done = len(part) % escapes.PIECE
            yield
        name, equals, value = part.partition(b"=")
        if not equals:
            raise ValueError("a field without =")
        if value:
            # Bad UTF-8 in any of them makes it no form.
            name = yield from fields.read(name)
            value = yield from fields.read(value)
            text = value.decode()
            if name.decode() == "message":
                texts.append(text)
    if len(body) > escapes.PIECE:
        # What it has is decoded in a turn of its own.
        yield
    return texts


def _text(status: int, words: str, headers: dict[str, str], *, close: bool = False) -> Answer:
    return text(status, words, {**NO_STORE, **headers}, close=close)
