"""The Fanout publish API: `POST /realm/{realm}/publish/`, with a channel in the path for its oldest
clients, and `POST /publish/` for the hub's own realm; each with and without the last slash.

Never a redirect: pubcontrol follows one as a GET without a body and reports success, so GET is 405.
Never a 5xx after a publish was accepted: pubcontrol repeats the body on one. Answers are Pushpin's
in text, or JSON for who accepts that first, with each item's position and its number of subscribers.

Who publishes shows the realm's key: a token signed with it (`protocol.tokens`), or, as GRIP
libraries may be told to, the key itself as bearer token or as Basic password.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import time
from collections.abc import Callable, Sequence
from functools import lru_cache

import orjson
from aiohttp import hdrs, web

from ..counting import Counting
from ..errors import (
    BadEncoding,
    BadMessage,
    BadToken,
    BrokerUnavailable,
    InvalidChannel,
    ProtocolError,
    TooLarge,
    TooMany,
)
from ..node import Node
from ..ordering import Ordering
from ..protocol import fanout, tokens
from ..protocol.channels import from_fanout, is_whole, to_fanout
from ..protocol.messages import loads
from ..protocol.publications import Published
from ..realms import Directory
from ..sessions.registry import ASKED
from ..settings import Settings
from .answers import Answer, response, text
from .bodies import read_body
from .routes import of_publishers

logger = logging.getLogger(__name__)

#: Tokens remembered as right. The libraries sign one for each publish or for an hour; a token costs 30 µs to verify.
_MAX_TOKENS = 1024

#: How often pubcontrol and others should try again, in seconds, while the broker is away.
_RETRY_AFTER = "1"

#: Bytes of a body that names a user.
_KICK_BYTES = 4096

_NOSNIFF = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def add_routes(app: web.Application, endpoints: Directory[Endpoint]) -> None:
    """Add the publish API's routes to an application."""
    for path in (
        "/publish",
        "/publish/",
        "/realm/{realm}/publish",
        "/realm/{realm}/publish/",
        "/realm/{realm}/publish/{channel:.+}",
    ):
        app.router.add_route("*", path, of_publishers(endpoints, lambda endpoint: endpoint.publish))
    for path in ("/realm/{realm}/http/{domain}", "/realm/{realm}/http/{domain}/"):
        app.router.add_post(path, of_publishers(endpoints, lambda endpoint: endpoint.set_origin))
    for path in ("/realm/{realm}/kick", "/realm/{realm}/kick/"):
        app.router.add_post(path, of_publishers(endpoints, lambda endpoint: endpoint.kick))
    for path in ("/realm/{realm}/position", "/realm/{realm}/position/"):
        app.router.add_get(path, of_publishers(endpoints, lambda endpoint: endpoint.position), allow_head=False)


#: What a publisher's token says, and nothing else: the libraries sign iss and exp. One with any other was made for
#: a browser (`sub` alone lets it be seen in a channel), and must not have the stronger right for lack of `channels`.
_PUBLISHER_CLAIMS = {"iss", "exp", "iat", "nbf", "jti"}


class Gate:
    """Whether a request shows the realm's key. Right tokens are remembered until they expire.

    clock: seconds since 1970.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._realm = settings.realm
        self._keys = settings.keys
        self._leeway = settings.token_leeway
        self._plain = [base64.b64encode(key) for key in settings.keys]
        self._clock = clock
        self._known: dict[str, float] = {}

    def check(self, authorization: str | None) -> None:
        """Return for a header that shows the key; raise BadToken, with the reason, for any other."""
        if not authorization:
            raise BadToken(text="Authorization header missing: Bearer and a token signed with the realm's key")
        now = self._clock()
        expires = self._known.get(authorization)
        if expires is not None:
            if now < expires:
                return
            del self._known[authorization]
        scheme, _, shown = authorization.partition(" ")
        shown = shown.strip()
        match scheme.lower():
            case "bearer" if "." in shown:
                claims = tokens.verify(shown, self._realm, self._keys, now, leeway=self._leeway)
                if not claims.all.keys() <= _PUBLISHER_CLAIMS:
                    # Browsers hold these (protocol.access); what they may publish to, Bayeux decides.
                    raise BadToken(text="Listener's token can't publish: it says more than iss, exp, iat, nbf and jti")
                self._remember(authorization, claims.expires + self._leeway)
            case "bearer":
                self._check_key(shown)
            case "basic":
                self._check_basic(shown)
            case _:
                raise BadToken(text="Authorization scheme not known: use Bearer")

    def _remember(self, authorization: str, expires: float) -> None:
        if len(self._known) >= _MAX_TOKENS:
            del self._known[next(iter(self._known))]
        self._known[authorization] = expires

    def _check_basic(self, shown: str) -> None:
        try:
            realm, _, key = base64.b64decode(shown, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            raise BadToken(text="Basic authorization is not base64") from None
        self._check_key(key)
        if realm != self._realm:
            raise BadToken(text="Key is for another realm")

    def _check_key(self, shown: str) -> None:
        given = shown.encode("utf-8", "surrogateescape")
        if not any(hmac.compare_digest(given, key) for key in self._plain):
            raise BadToken(text="Neither a token nor the realm's key")


class Endpoint:
    """The handlers of the publish API."""

    def __init__(self, node: Node, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._node = node
        self._gate = Gate(settings, clock)
        self._ordering = Ordering(
            node, settings.order_wait, per_channel=settings.order_channel, in_all=settings.order_items
        )
        self._counting = Counting(node.registry, node.turns)
        #: Whose key lets in.
        self.realm = settings.realm
        self._limits = fanout.Limits(
            items=settings.max_messages, bytes=settings.message_bytes, depth=settings.max_depth
        )
        self._body_bytes = settings.body_bytes
        self._body_timeout = settings.body_timeout
        # Other processes may have subscribers that this one can't count.
        self._alone = settings.redis_url is None

    async def publish(self, request: web.Request) -> web.Response:
        """POST a body; 200 once the broker has accepted all of its items."""
        if request.method != hdrs.METH_POST:
            return response(_text(405, f"Method not allowed: {request.method}.", Allow="POST"))
        refusal = self.admit(request.headers.get(hdrs.AUTHORIZATION), request.match_info.get("realm"))
        if refusal is not None:
            return response(refusal)
        try:
            body = await read_body(request, self._body_bytes, self._body_timeout, self._node.turns)
        except BadMessage as error:
            answer = response(_text(400, error.text))
            answer.force_close()
            return answer
        except TimeoutError:
            self._node.bayeux.limited["bodies"] += 1
            return response(late())
        except (BadEncoding, TooLarge) as error:
            return response(self._refused(error))
        items = self.read(body, request.match_info.get("channel"))
        if isinstance(items, Answer):
            return response(items)
        return response(await self.accept(items, wants_json(request.headers.get(hdrs.ACCEPT, ""))))

    def admit(self, authorization: str | None, realm: str | None) -> Answer | None:
        """The refusal of who does not show the key of this realm, else None. realm: the URL's, if it names one."""
        try:
            self._gate.check(authorization)
        except BadToken as error:
            return self._refused(error)
        # The key was right, so nothing is told to strangers.
        if realm is not None and realm != self.realm:
            return _text(403, f"Realm unknown: this hub's is {self.realm}.")
        return None

    def read(self, body: bytes, channel: str | None) -> list[fanout.Item] | Answer:
        """The items of a body, or the refusal. channel: the URL's, if it names one."""
        if channel is not None and channel.endswith("/"):
            channel = channel[:-1]
        check_size = self._node.bayeux.grammar.check_size
        try:
            items = fanout.parse(body, channel=channel, limits=self._limits)
            for item in items:
                check_size(item.channel)
        except ProtocolError as error:
            return self._refused(error)
        access = self._node.bayeux.access
        if access.has_presence and any(access.is_presence(item.channel) for item in items):
            return _text(400, "Channels under presence/ are the hub's: it says there who is in a channel.")
        return items

    async def accept(self, items: list[fanout.Item], as_json: bool) -> Answer:
        """Publish the items, and say what became of them."""
        try:
            if _asks_for_order(items):
                results = await self._ordering.publish(items)
                kept = [item for item, result in zip(items, results, strict=True) if result is not None]
                published = [each for result in results if result is not None for each in result]
                counts = await self._count(kept)
                return self._accepted(kept, published, as_json, counts, dropped=len(items) - len(kept))
            published = await self._node.publish(fanout.drafts_of(items))
        except TooMany as error:
            # Before anything was published, and it passes: the same body may succeed soon.
            return _text(503, f"Not published: {error.text}. Try again.", **{hdrs.RETRY_AFTER: _RETRY_AFTER})
        except BrokerUnavailable as error:
            logger.warning("publish not accepted", extra={"error": str(error)})
            return _text(
                503, "Not published: the hub has lost its broker. Try again.", **{hdrs.RETRY_AFTER: _RETRY_AFTER}
            )
        return self._accepted(items, published, as_json, await self._count(items))

    def try_accept(self, items: list[fanout.Item], as_json: bool) -> Answer | None:
        """As `accept` if that needs no waiting, else None, and nothing was published."""
        if _asks_for_order(items) or (self._node.registry.wild and not self._is_short(items)):
            return None
        published = self._node.try_publish(fanout.drafts_of(items))
        if published is None:
            return None
        if self._ordering.waiting:
            self._ordering.came(items)
        return self._accepted(items, published, as_json)

    def _is_short(self, items: list[fanout.Item]) -> bool:
        if len(items) == 1:
            return self._node.registry.cost(items[0].channel) <= ASKED
        return self._counting.is_short(item.channel for item in items)

    async def _count(self, items: list[fanout.Item]) -> dict[str, int] | None:
        """Who hears published items, by channel; None if that may as well be counted at once."""
        if self._ordering.waiting:
            # Before anything is awaited: who asked may hang up.
            self._ordering.came(items)
        return None if self._is_short(items) else await self._counting.count(dict.fromkeys(i.channel for i in items))

    def _accepted(
        self,
        items: list[fanout.Item],
        published: list[Published],
        as_json: bool,
        counts: dict[str, int] | None = None,
        dropped: int = 0,
    ) -> Answer:
        if len(items) == 1 and not as_json and not dropped:
            # Most bodies have one item.
            channel = items[0].channel
            count = self._node.subscribers(channel) if counts is None else counts[channel]
            return _told(count, True, self._alone)
        if counts is None:
            counts = {channel: self._node.subscribers(channel) for channel in {item.channel: 0 for item in items}}
        total = sum(counts[item.channel] for item in items)
        if not as_json:
            return _told(total, bool(items), self._alone, dropped)
        results = iter(published)
        answers = []
        for item in items:
            answer: dict[str, object] = {"channel": to_fanout(item.channel), "subscribers": counts[item.channel]}
            if item.draft is not None:
                result = next(results)
                answer["position"] = str(result.position)
                answer["repeated"] = result.repeated
            if item.close is not None:
                next(results)
            answers.append(answer)
        told = {"message": "Published", "subscribers": total, "items": answers}
        if dropped:
            told["dropped"] = dropped
        return Answer(
            200,
            {**_NOSNIFF, "Fanfare-Subscribers": str(total), "Content-Type": "application/json"},
            orjson.dumps(told) + b"\n",
        )

    async def position(self, request: web.Request) -> web.Response:
        """GET the newest position of `?channel=`."""
        refusal = self.admit(request.headers.get(hdrs.AUTHORIZATION), request.match_info.get("realm"))
        if refusal is not None:
            return response(refusal)
        try:
            channel = from_fanout(request.query.get("channel"))
            position = await self._node.broker.position(channel)
        except BrokerUnavailable:
            return response(
                _text(503, "Not known: the hub has lost its broker. Try again.", **{hdrs.RETRY_AFTER: _RETRY_AFTER})
            )
        except ProtocolError as error:
            return response(self._refused(error))
        body = orjson.dumps({"channel": to_fanout(channel), "position": str(position)}) + b"\n"
        return response(Answer(200, {**_NOSNIFF, "Content-Type": "application/json"}, body))

    async def set_origin(self, request: web.Request) -> web.Response:
        """POST where a domain's requests go, as GRIP libraries tell a proxy: 501, whatever it says."""
        refusal = self.admit(request.headers.get(hdrs.AUTHORIZATION), request.match_info.get("realm"))
        words = "Not implemented: this hub is no proxy and has no origin servers."
        return response(refusal or _text(501, words))

    async def kick(self, request: web.Request) -> web.Response:
        """POST `{"user": "alice"}`: end a user's sessions on every worker and refuse the tokens they have."""
        refusal = self.admit(request.headers.get(hdrs.AUTHORIZATION), request.match_info.get("realm"))
        if refusal is not None:
            return response(refusal)
        try:
            told = loads(await read_body(request, _KICK_BYTES, self._body_timeout, self._node.turns))
            user = told.get("user") if isinstance(told, dict) else None
            # Any name that a token may have can be sent away, those with a joiner or a non-breaking space in them too.
            if not isinstance(user, str) or not user or not is_whole(user):
                raise BadMessage(text="Send an object with a user")
            await self._node.kick(user)
        except BrokerUnavailable:
            return response(_text(503, "Not done: the hub has lost its broker. Try again.", **{hdrs.RETRY_AFTER: "1"}))
        except TimeoutError:
            self._node.bayeux.limited["bodies"] += 1
            return response(late())
        except ProtocolError as error:
            return response(self._refused(error))
        return response(_text(200, "Kicked"))

    def _refused(self, error: ProtocolError) -> Answer:
        self._node.bayeux.count(error)
        match error:
            case BadToken():
                return _text(401, error.text, **{hdrs.WWW_AUTHENTICATE: f'Bearer realm="{self.realm}"'})
            case TooLarge() | TooMany():
                return _text(413, error.text)
            case BadEncoding():
                return _text(415, error.text)
            case InvalidChannel():
                return _text(400, f"Invalid format: {error.text}: {', '.join(error.params)}")
            case BadMessage():
                return _text(400, error.text)
        return _text(400, error.wire())


@lru_cache(maxsize=1024)
def _told(subscribers: int, published: bool, alone: bool, dropped: int = 0) -> Answer:
    """The line that says what became of a body. published: whether it had items. alone: this is the only worker."""
    words = "Published"
    if published and not subscribers:
        words += " (nobody is subscribed)" if alone else " (nobody is subscribed at this worker)"
    if dropped:
        words += f", but for {dropped} whose prev-id another item has"
    return _text(200, words, **{"Fanfare-Subscribers": str(subscribers)})


def _asks_for_order(items: Sequence[fanout.Item]) -> bool:
    # The loop costs a third of the generator that `any` would need.
    for item in items:  # noqa: SIM110
        if item.prev_id is not None:
            return True
    return False


def wants_json(accept: str) -> bool:
    """Whether an Accept header prefers JSON to a line of text."""
    return "application/json" in accept and not accept.lstrip().startswith(("text/plain", "*/*"))


def late() -> Answer:
    """What a body gets that stalls."""
    return text(408, "Body did not arrive in time.", _NOSNIFF, close=True)


def _text(status: int, words: str, **headers: str) -> Answer:
    return text(status, words, {**_NOSNIFF, **headers})
