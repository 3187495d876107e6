"""Fanout's own protocol for browsers, from before it spoke Bayeux: subscribe, then poll with a cursor.

    POST {base}/subscribe/   form: ci=name%3Dnews, more of them, [sid], [auth_token]
                             {"sid": "…", "channels": {"news": {"last_cursor": "…"}}}
    GET  {base}/feed/?sid=…&ci=name%3Dnews%26since%3Dcursor%3A…
                             {"channels": {"news": {"last_cursor": "…", "items": [data, …]}}}

The base is `/fpp`, `/pubsub` or `/r/{realm}`. A cursor is a position, so what came after it comes in full, and one
that the history can't answer is 404, upon which the client begins anew. Nothing is kept of a client between its
polls: its `sid` is a token of ours, with the client's own in it, and is known to every worker; one that is not
known is 401, upon which the client subscribes again and keeps its cursors. Scripts of browsers without CORS
ask in the JSON-P form, `?callback=…&_method=POST&_body=…`; their cookies don't count, for any site can ask so.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import hdrs, web

from ..errors import (
    BadEncoding,
    BadMessage,
    BadToken,
    BrokerUnavailable,
    ForbiddenChannel,
    ProtocolError,
    TooLarge,
    TooMany,
)
from ..protocol import tokens
from ..protocol.access import Access, Who
from ..protocol.channels import from_fanout_name
from ..protocol.messages import dumps
from ..protocol.plain import MAX_CHANNELS
from ..protocol.publications import Position, Publication
from ..sessions.links import Batch
from ..turns import FEW, PIECE
from .answers import NO_STORE, Answer, response, script, text
from .bodies import read_body, read_form
from .front import Entrance
from .halves import hurried
from .plain import MAX_FIELDS, PlainPoll, fields_of

#: Bytes of a subscribe's form: MAX_CHANNELS names of which every character is escaped twice, and a token.
FORM_BYTES = 256 * 1024

#: Characters of a client's token, which comes back in every poll's URL.
MAX_TOKEN_CHARS = 2048

#: Seconds a sid is good for, and which part of them must be left for a subscribe to keep it.
SID_SECONDS = 24 * 3600.0

#: The callback of a script: Bayeux's, or as Fanout's client has it, a function that is asked for one by number.
_CALLBACK = re.compile(r'[a-z_$][a-z0-9_$]*(\.[a-z_$][a-z0-9_$]*)*(\("[0-9]{1,9}"\))?', re.IGNORECASE)
_MAX_CALLBACK = 128

#: Fields of a `ci`.
MAX_SAID = 10

_SINCE = "cursor:"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, by HTTP or as a script's URL says it. fields: of the query, body: of a POST."""

    method: str
    fields: Sequence[tuple[str, str]]
    body: bytes
    callback: str | None

    def get(self, name: str) -> str:
        """A field's first value, "" if there is none."""
        return next((value for key, value in self.fields if key == name), "")


class _Feed(PlainPoll):
    """A poll that keeps publications as they are."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Publication] = []

    def offer(self, batch: Batch) -> None:
        self.taken += batch.publications
        self.answer()


class Fpp:
    """The handlers of a realm. keys: the realm's; hold: seconds a poll waits, under a minute."""

    def __init__(
        self, entrance: Entrance, access: Access, *, realm: str, keys: Sequence[bytes], hold: float, body_timeout: float
    ) -> None:
        self._entrance = entrance
        self._node = entrance.node
        self._access = access
        self._realm = realm
        # Keys of its own: a sid must not pass for a token that publishes.
        self._keys = [hmac.digest(key, b"fpp sid", "sha256") for key in keys] or [secrets.token_bytes(32)]
        self._hold = hold
        self._body_timeout = body_timeout

    async def subscribe(self, request: web.Request) -> web.Response:
        """POST subscribe, or its JSON-P form: where each channel is, and a sid to poll with."""
        return await self._serve(request, hdrs.METH_POST)

    async def feed(self, request: web.Request) -> web.Response:
        """GET feed, or its JSON-P form: what came after the cursors, or comes first."""
        return await self._serve(request, hdrs.METH_GET)

    async def _serve(self, request: web.Request, method: str) -> web.Response:
        # Before anything of the query is decoded.
        fields = request.rel_url.raw_query_string.count("&")
        if fields >= MAX_FIELDS:
            return response(text(400, "Too many fields.", NO_STORE))
        if fields >= FEW:
            await self._node.turns.wait()
        callback = request.query.get("callback")
        if callback is not None and (len(callback) > _MAX_CALLBACK or _CALLBACK.fullmatch(callback) is None):
            return response(text(400, "Bad request: callback is not the name of a function", NO_STORE))
        if callback is not None:
            refused = self._entrance.origins.refuse_script(
                request.headers.get("Sec-Fetch-Site"),
                request.headers.get(hdrs.REFERER),
                request.headers.get(hdrs.HOST),
                request.headers.get(hdrs.USER_AGENT),
            )
            if refused:
                return response(text(403, refused, NO_STORE))
        answer = await self._answer(request, callback, method)
        if callback is None:
            return response(answer)
        said = {
            "code": answer.status,
            "reason": HTTPStatus(answer.status).phrase,
            "headers": {"Content-Type": answer.headers["Content-Type"]},
            "body": answer.body.decode(),
        }
        return response(script(dumps(said), callback))

    async def _answer(self, request: web.Request, callback: str | None, method: str) -> Answer:
        origin = request.headers.get(hdrs.ORIGIN)
        host = request.headers.get(hdrs.HOST)
        headers = {**NO_STORE, **self._entrance.origins.headers(origin, host)}
        refused = self._entrance.origins.refuse(origin, host)
        if refused:
            return text(403, refused, headers)
        asked: _Asked | None = None
        try:
            asked = await self._read(request, callback)
            if asked.method != method:
                return text(405, f"Method not allowed: {asked.method[:20]}.", {**headers, hdrs.ALLOW: method})
            visitor = None
            if callback is None:
                visitor = self._entrance.visitor(request.headers.get(hdrs.COOKIE))
            body = await (self._subscribe if method == hdrs.METH_POST else self._poll)(request, asked, visitor)
        except TooMany as error:
            # It passes, and upon 429 the client would give up for good.
            self._node.bayeux.count(error)
            return text(503, f"{error.text}. Try again.", {**headers, hdrs.RETRY_AFTER: "1"})
        except TimeoutError:
            self._node.bayeux.limited["bodies"] += 1
            return text(408, "Body did not arrive in time.", headers, close=True)
        except BrokerUnavailable:
            return text(503, "Try again.", {**headers, hdrs.RETRY_AFTER: "1"})
        except BadToken as error:
            return text(401, error.text, headers)
        except ProtocolError as error:
            self._node.bayeux.count(error)
            # What is left of a body that was not read would be taken for the next request.
            status = error.code if isinstance(error, TooLarge | BadEncoding) else 400
            return text(status, error.text, headers, close=asked is None)
        if body is None:
            return text(404, "Cursor not known.", headers)
        return Answer(200, {**headers, "Content-Type": "application/json"}, body)

    async def _read(self, request: web.Request, callback: str | None) -> _Asked:
        fields = list(request.query.items())
        if callback is None:
            if request.method != hdrs.METH_POST:
                return _Asked(request.method, fields, b"", None)
            form = await read_body(request, FORM_BYTES, self._body_timeout, self._node.turns)
            return _Asked(request.method, fields, form, None)
        # Pushpin's names begin with an underscore, those of Fanout's own script don't.
        method, body = (request.query.get(f"_{name}") or request.query.get(name, "") for name in ("method", "body"))
        return _Asked(method.upper() or hdrs.METH_GET, fields, body.encode("utf-8", "replace"), callback)

    # Subscribe

    async def _subscribe(self, _: web.Request, asked: _Asked, visitor: str | None) -> bytes | None:
        if asked.body.count(b"&") >= FEW:
            await self._node.turns.wait()
        try:
            fields = await read_form(asked.body, MAX_FIELDS, self._node.turns)
        except ValueError:
            raise BadMessage(text="Body is not a form") from None
        form = _Asked(asked.method, fields, b"", None)
        sid, who = self._session(form.get("sid"), form.get("auth_token") or None, visitor)
        values = [value for key, value in fields if key == "ci"]
        if not values:
            raise BadMessage(text="No ci=name%3D… in the form")
        self._check_count(values)
        found: dict[str, object] = {}
        for number, value in enumerate(values, 1):
            if number % PIECE == 0:
                await self._node.turns.wait()
            name = _instruction(value).get("name", "")
            try:
                found[name] = {"last_cursor": str(await self._node.broker.position(self._channel(name, who)))}
            except ProtocolError as error:
                found[name] = {"error_code": _code(error)}
        return dumps({"sid": sid, "channels": found})

    def _session(self, sid: str, token: str | None, visitor: str | None) -> tuple[str, Who]:
        """A sid for the client's token, the one it has if that is good for long; raises BadToken."""
        now = self._node.bayeux.wall()
        known: str | None = None
        if sid:
            try:
                claims = tokens.verify(sid, self._realm, self._keys, now)
                known = claims.all.get("token")
                if claims.expires - now < SID_SECONDS / 2 or (token is not None and known != token):
                    sid = ""
            except BadToken:
                sid = ""
        token = token or known
        if token is not None and len(token) > MAX_TOKEN_CHARS:
            raise BadToken(text="Token too long")
        grant = None if token is None else self._access.grant(token, now)
        if not sid:
            sid = tokens.sign(self._realm, self._keys[0], now, life=SID_SECONDS, token=token)
        return sid, Who(visitor, grant)

    def _check_count(self, instructions: Sequence[object]) -> None:
        most = min(MAX_CHANNELS, self._node.bayeux.limits.max_subscriptions)
        if len(instructions) > most:
            raise ForbiddenChannel(text=f"More than {most} channels", limit="subscriptions")

    def _channel(self, name: str, who: Who) -> str:
        """The channel of a name, if it may be had with its history: without, a cursor is of no use.

        Raises InvalidChannel and ForbiddenChannel.
        """
        channel = from_fanout_name(name)
        self._node.bayeux.grammar.check_size(channel)
        if not (self._access.may_subscribe(channel, who) and self._access.may_recover(channel, who)):
            raise ForbiddenChannel(channel)
        return channel

    # Feed

    async def _poll(self, request: web.Request, asked: _Asked, visitor: str | None) -> bytes | None:
        now = self._node.bayeux.wall()
        claims = tokens.verify(asked.get("sid"), self._realm, self._keys, now)
        token = claims.all.get("token")
        who = Who(visitor, None if token is None else self._access.grant(token, now))
        values = [value for key, value in asked.fields if key == "ci"]
        self._check_count(values)
        many = len(values) > FEW
        channels: dict[str, str] = {}
        positions: dict[str, Position | None] = {}
        answers: dict[str, bytes] = {}
        for number, value in enumerate(values, 1):
            if number % PIECE == 0:
                await self._node.turns.wait()
            instruction = _instruction(value)
            name = instruction.get("name", "")
            try:
                channel = channels[name] = self._channel(name, who)
            except ProtocolError as error:
                answers[name] = b'{"error_code":%d}' % _code(error)
                continue
            positions[channel] = _since(instruction.get("since"))
        taken = await self._wait(request, positions, who, 0.0 if answers else self._hold)
        if taken is None:
            return None
        if many:
            await self._node.turns.wait()
        of_channels: dict[str, list[Publication]] = {}
        for publication in taken:
            of_channels.setdefault(publication.channel, []).append(publication)
        for name, channel in channels.items():
            mine = of_channels.get(channel)
            if mine:
                answers[name] = b'{"last_cursor":"%b","items":[%b]}' % (
                    str(mine[-1].position).encode(),
                    b",".join(publication.data for publication in mine),
                )
        return b'{"channels":{%b}}' % b",".join(b"%b:%b" % (dumps(name), said) for name, said in answers.items())

    async def _wait(
        self, request: web.Request, positions: dict[str, Position | None], who: Who, seconds: float
    ) -> list[Publication] | None:
        """What came after the positions, or comes first within `seconds`; None if something may be missing.

        Raises BrokerUnavailable.
        """
        self._node.bayeux.check_sessions()
        poll = _Feed()
        session = poll.session = self._node.open_session(poll, who, self._entrance.door.address_of(request))
        self._node.attach(poll)
        try:
            found = await self._node.subscribe(session, positions)
            if not all(complete for _, complete in found.values()):
                return None
            self._node.writable(session)
            if not poll.taken and not poll.lost:
                with hurried(request, poll.answer):
                    await poll.wait(seconds)
        finally:
            self._node.detach(poll, session)
            self._node.end_session(session, "closed")
        return None if poll.lost else poll.taken


def _code(error: ProtocolError) -> int:
    """What a channel's error_code says: 403, upon which the client says "unauthorized", or 400."""
    return error.code if isinstance(error, ForbiddenChannel) else 400


def _instruction(value: str) -> dict[str, str]:
    """What a `ci` field says: `name=…&since=…`, escaped once more."""
    return {} if value.count("&") >= MAX_SAID else dict(fields_of(value))


def _since(text: str | None) -> Position | None:
    """A cursor's position; one that can't be read is of a history that is gone."""
    if text is None:
        return None
    try:
        return Position.parse(text.removeprefix(_SINCE))
    except BadMessage:
        return Position("unknown", 0)
