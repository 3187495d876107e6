"""The rules: what each message changes, and what it is answered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from ..errors import BadMessage, Failed, ForbiddenChannel, InvalidChannel, ProtocolError, TooMany
from ..protocol.access import Access, Who
from ..protocol.channels import MAX_CHARS, Grammar, is_meta
from ..protocol.dialects import SPEC, Dialect, wire
from ..protocol.messages import Message
from ..seen import SEEN, Seen
from ..sessions.links import Answers, Link
from ..sessions.registry import Registry
from ..tentative import Tentative
from .asked import channel_of, echo_id
from .checks import Checks
from .connecting import Connecting
from .grants import Grants
from .limits import Crowd, Limits
from .names import CONNECT, CONNECTION_TYPES, DISCONNECT, HANDSHAKE, SUBSCRIBE, UNSUBSCRIBE
from .outcome import Incoming, Outcome, Request, Service
from .publishing import Publishing
from .replies import Replies
from .subscribing import Subscribing

logger = logging.getLogger(__package__)

#: A request with more messages than it may have gets an error for each, up to so many times the limit; for the rest
#: there is one error.
ANSWERED = 2

_Handler = Callable[[Message, Message, Request], None]


class Bayeux:
    """The protocol's rules over one registry.

    new_id: makes a clientId of at least 128 random bits, in letters and digits. wall: gives the seconds since 1970, for
    tokens and for clients that set their clock by ours. types: the types of connection that handshakes announce. crowd:
    limits that all realms of a process share.

    services: handlers of service channels, by channel. incoming, outgoing: extensions, in the order they are called.
    """

    def __init__(
        self,
        registry: Registry,
        new_id: Callable[[], str],
        *,
        limits: Limits | None = None,
        access: Access | None = None,
        grammar: Grammar | None = None,
        dialect: Dialect = SPEC,
        wall: Callable[[], float] = lambda: 0.0,
        types: Sequence[str] = CONNECTION_TYPES,
        crowd: Crowd | None = None,
    ) -> None:
        self.registry = registry
        self.types = types = tuple(types)
        self.crowd = crowd = crowd or Crowd()
        crowd.registries.append(registry)
        self.dialect = dialect
        self.wall = wall
        self.limits = limits = limits or Limits()
        self.access = access = access or Access()
        self.grammar = grammar = grammar or Grammar()
        registry.access = access
        self.services: dict[str, Service] = {}
        self.incoming: list[Incoming] = []
        #: The ext of handshake replies. `replay`: Salesforce's clients look for it before they ask for a replay.
        #: `seen`: our client confirms one publication in so many.
        self.ext: dict[str, Any] = {"replay": True}
        if limits.seen_rate:
            self.ext["seen"] = limits.seen_rate
        #: Publications that clients have confirmed.
        self.seen = Seen(registry.recent)
        self.replies = Replies(registry, limits, dialect, wall)
        self.grants = Grants(registry, access, wall)
        self.checks = Checks(registry, access, grammar, dialect, limits, self.grants, self.incoming)
        self.connecting = Connecting(
            registry, limits, crowd, dialect, self.replies, self.grants, new_id, types, self.ext, wall
        )
        self.subscribing = Subscribing(registry, access, limits, crowd, self.checks, self.grants)
        self.publishing = Publishing(registry, access, grammar, limits, crowd, self.services, self.incoming, self.seen)
        #: What is legal on the protocol's own channels; anything else under /meta/ is forbidden.
        self._handlers: dict[str, _Handler] = {
            HANDSHAKE: self.connecting.handshake,
            CONNECT: self.connecting.connect,
            SUBSCRIBE: self.subscribing.subscribe,
            UNSUBSCRIBE: self.subscribing.unsubscribe,
            DISCONNECT: self.connecting.disconnect,
            SEEN: self.publishing.see,
        }
        self._bind()

    def _bind(self) -> None:
        """Give the parts' functions the names by which others call them: a call of the rules costs no call more."""
        replies, grants, checks, connecting = self.replies, self.grants, self.checks, self.connecting
        self.outgoing = replies.outgoing
        #: Refusals by limit, for the metrics. Transports count what they refuse here too.
        self.limited = replies.limited
        self.retry, self.rehandshake, self.stream = replies.retry, replies.rehandshake, replies.stream
        self.count = replies.count
        self.answer = replies.answer
        self.encode = replies.encode
        self.too_large = replies.too_large
        self.unavailable = replies.unavailable
        self.unknown = replies.unknown
        self.refuse_for_now = replies.refuse_for_now
        self._refuse = replies.refuse
        self._no_message = replies.no_message
        self._synchronise = replies.synchronise
        self.renewal = grants.renewal
        self.newer_grant = grants.newer_grant
        self.take_grant = grants.take_grant
        self.is_long = checks.is_long
        self.check = checks.check
        self.check_opening = connecting.check_opening
        self.check_sessions = connecting.check_sessions
        self.new_session = connecting.new_session
        self.check_room = self.subscribing.check_room
        self._publish = self.publishing.publish

    def use(self, queue_count: int, queue_bytes: int, tentative: Tentative | None) -> None:
        """Say how many publications, and bytes, may wait for a session, and which subscriptions are not saved yet.

        tentative: None where sessions are not saved.
        """
        self.connecting.queue_bounds = (queue_count, queue_bytes)
        self.subscribing.tentative = tentative

    def receive(
        self, messages: Sequence[object], now: float, transport: str, to: Answers, link: Link | None = None
    ) -> Outcome:
        """Apply the rules to one batch that arrived by `transport`.

        to: where answers go. link: the WebSocket it came through, if any. Raises nothing: every message gets its own
        reply, and a refused message has changed nothing.
        """
        request = self.begin(messages, now, transport, to, link)
        while self.step(request):
            pass
        return request.outcome

    def begin(
        self, messages: Sequence[object], now: float, transport: str, to: Answers, link: Link | None = None
    ) -> Request:
        """As `receive`, but process nothing yet: the caller calls `step` for as long as it has time."""
        request = Request(messages, transport, to, link, now, Outcome())
        # A lone message is most of the traffic; only a batch can have something beside a handshake.
        if len(messages) > 1:
            answered = islice(messages, self.limits.max_messages * ANSWERED)
            request.handshake = next((each for each in answered if channel_of(each) == HANDSHAKE), None)
        return request

    def step(self, request: Request) -> bool:
        """Apply the rules to the next message of a request; False if there was none left. Raises nothing."""
        number, outcome, most = request.taken, request.outcome, self.limits.max_messages
        if number == len(request.messages):
            return False
        message = request.messages[number]
        request.taken += 1
        # Nobody waits for a reply to a value that is not an object.
        if number >= most * ANSWERED or (number >= most and not isinstance(message, dict)):
            rest = TooMany(text="Too many messages in one request", limit="messages")
            self.count(rest)
            outcome.replies.append({"successful": False, "error": wire(rest, self.dialect)})
            request.taken = len(request.messages)
            return True
        if not isinstance(message, dict):
            outcome.replies.append({"successful": False, "error": self._no_message})
            return True
        channel = message.get("channel")
        # A name that is too long to be valid is cut.
        shown = channel[:MAX_CHARS] if isinstance(channel, str) else None
        reply: Message = {"channel": shown, "successful": True}
        sender = self.registry.get(message.get("clientId")) if self.outgoing else None
        try:
            if number >= most:
                raise TooMany(text="Too many messages in one request", limit="messages")
            echo_id(message, reply)
            if request.handshake is not None and message is not request.handshake:
                # "A server MUST ignore any other message sent in the same request as a handshake":
                # ignored, but answered, because Faye repeats what gets no answer.
                raise BadMessage(text="Not allowed with handshake")
            if self.incoming:
                self._pass_in(message)
            self._dispatch(message, reply, request)
        except ProtocolError as error:
            self._refuse(message, reply, error)
            outcome.replies.append(reply)
        request.checked = request.renewal = None
        if self.outgoing and (sender := sender or outcome.opened) is not None:
            outcome.senders[id(reply)] = sender.who
        return True

    def _pass_in(self, message: Message) -> None:
        """Let extensions see a message, change it, or refuse it."""
        session = self.registry.get(message.get("clientId"))
        who = Who() if session is None else session.who
        for extension in self.incoming:
            try:
                extension(message, who)
            except ProtocolError:
                raise
            except Exception as error:
                logger.exception("extension failed")
                raise Failed() from error

    def _dispatch(self, message: Message, reply: Message, request: Request) -> None:
        channel = message.get("channel")
        if not isinstance(channel, str):
            raise InvalidChannel() if "channel" in message else BadMessage("channel", text="Missing field")
        # Guard and dispatch on the same comparison: Faye before 1.2.5 let /meta/subscribe/x subscribe
        # while every check compared with /meta/subscribe.
        handler = self._handlers.get(channel)
        if handler is not None:
            handler(message, reply, request)
            ext = message.get("ext")
            if isinstance(ext, dict) and "timesync" in ext:
                self._synchronise(ext["timesync"], reply, request)
        elif is_meta(channel):
            raise ForbiddenChannel(channel)
        else:
            self._publish(channel, message, reply, request)
