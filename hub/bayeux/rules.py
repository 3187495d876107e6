"""The rules: what each message changes, and what it is answered."""

from __future__ import annotations

import contextlib
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import Any

from ..errors import (
    BadMessage,
    Failed,
    ForbiddenChannel,
    InvalidChannel,
    InvalidId,
    NoClientId,
    NoCommonTransport,
    ProtocolError,
    Superseded,
    TooDeep,
    TooLarge,
    TooMany,
    Unavailable,
    UnknownChannel,
    UnknownClient,
    VersionMismatch,
)
from ..protocol.access import Access, Action, Decision, Grant, Verdicts, Who, allows_all_of, refusal
from ..protocol.channels import MAX_CHARS, Grammar, is_meta, is_service, patterns_of
from ..protocol.dialects import SPEC, Dialect, wire
from ..protocol.messages import Message, dumps, is_deeper
from ..protocol.publications import Draft, Position
from ..renewals import Renewal
from ..seen import SEEN, Seen
from ..sessions.bucket import Bucket
from ..sessions.links import Answers, Hold, Link
from ..sessions.registry import Registry, size_of
from ..sessions.session import Session
from ..tentative import Tentative
from .asked import (
    accepts_1,
    asked_positions,
    asked_replays,
    brief,
    channel_of,
    echo_id,
    forwarded,
    key_of,
    shown_id,
    shows_token,
    speaks_1,
    subscription_echo,
    synchronised,
)
from .limits import BURST_SECONDS, LIMITS, Crowd, Limits
from .names import (
    CONNECT,
    CONNECTION_TYPES,
    DISCONNECT,
    EVENTSOURCE,
    HANDSHAKE,
    SUBSCRIBE,
    UNSUBSCRIBE,
)
from .outcome import Call, Change, Checked, Incoming, Outcome, Outgoing, Recovery, Request, Service

logger = logging.getLogger(__package__)

#: How many types of connection of a handshake are looked at; clients know six.
MAX_OFFERED = 50

#: Milliseconds a client that lost its held connect to a newer one waits before the next; without a
#: pause two pages that share a session would take the connect from each other in a loop.
SUPERSEDED_INTERVAL = 2000

#: Milliseconds after which a client that was refused because there were too many may handshake again.
BUSY_INTERVAL = 5000

#: Milliseconds after which a client connects again whose session could not be looked up.
UNAVAILABLE_INTERVAL = 2000

#: Milliseconds between the polls of a page whose browser may hold no more of them; CometD's own number.
MULTIPLE_INTERVAL = 2000

#: Browsers whose held polls are counted; beyond that the one that polled longest ago is forgotten.
MAX_BROWSERS = 10_000

#: How many patterns of a message `Bayeux.check` checks at a time: they take 1.5 µs each, and fewer are checked at a
#: time where each takes longer (`Access.piece`). Of messages with more patterns than this the decisions are not
#: remembered.
FEW_PATTERNS = 100

#: How many names may be checked against the access rules in one go, whatever the rules and claims are.
FEW_GRANTED = 10

#: A request with more messages than it may have gets an error for each, up to so many times the limit; for the rest
#: there is one error.
ANSWERED = 2

_Handler = Callable[["Bayeux", Message, Message, Request], None]


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
        self.types = tuple(types)
        # By browser: its sessions that held a poll when it was last looked at.
        self._browsers: OrderedDict[str, set[str]] = OrderedDict()
        self.crowd = crowd or Crowd()
        self.crowd.registries.append(registry)
        self.dialect = dialect
        self.wall = wall
        #: How many publications may wait for a session, and how many bytes; set by the node.
        self.queue_bounds = (1000, 1024 * 1024)
        #: Subscriptions that are not saved in the broker yet; None where sessions are not saved.
        self.tentative: Tentative | None = None
        self.services: dict[str, Service] = {}
        self.incoming: list[Incoming] = []
        self.outgoing: list[Outgoing] = []
        #: Refusals by limit, for the metrics. Transports count what they refuse here too.
        self.limited = dict.fromkeys(LIMITS, 0)
        self._late: Bucket | None = None
        self._no_message = wire(BadMessage(text="Message must be an object"), dialect)
        self.limits = limits or Limits()
        self.access = access or Access()
        self.grammar = grammar or Grammar()
        registry.access = self.access
        self._new_id = new_id
        timeout, interval = round(self.limits.timeout * 1000), round(self.limits.interval * 1000)
        # CometD's client replaces its advice by that of a reply, Faye's merges them: so always send all fields.
        self.retry = {"reconnect": "retry", "interval": interval, "timeout": timeout}
        self.rehandshake = {"reconnect": "handshake", "interval": interval, "timeout": timeout}
        self.give_up = {"reconnect": "none", "interval": interval, "timeout": timeout}
        #: The ext of handshake replies. `replay`: Salesforce's clients look for it before they ask for a replay.
        #: `seen`: our client confirms one publication in so many.
        self.ext: dict[str, Any] = {"replay": True}
        if self.limits.seen_rate:
            self.ext["seen"] = self.limits.seen_rate
        #: Publications that clients have confirmed.
        self.seen = Seen(registry.recent)
        # An EventSource carries the deliveries, so its connects are only signs of life.
        self.stream = {"reconnect": "retry", "interval": timeout, "timeout": 0}

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

    def is_long(self, message: object) -> bool:
        """Whether a message asks for so much that `check` should be called for it before `step`, until it is done."""
        if not isinstance(message, dict) or message.get("channel") != SUBSCRIBE:
            return False
        return self._asks_much(message) or self._renews_much(message)

    def _asks_much(self, message: Message) -> bool:
        asked = message.get("subscription")
        if not isinstance(asked, list) or not FEW_GRANTED < len(asked) <= self.limits.max_subscriptions:
            return False
        if len(asked) > FEW_PATTERNS or shows_token(message):
            return True
        session = self.registry.peek(message.get("clientId"))
        if session is None or self.access.is_short(len(asked), session.who):
            return False
        names = [each for each in asked if isinstance(each, str)]
        return len(self.access.piece(names, 0, len(names), session.who)) < len(names)

    def _renews_much(self, message: Message) -> bool:
        if not shows_token(message) or (session := self.registry.peek(message.get("clientId"))) is None:
            return False
        unacked = sum(len(items) for _, items in session.unacked or ())
        return len(session.patterns) + len(session.queue or ()) + unacked > FEW_GRANTED

    def check(self, request: Request) -> bool:
        """If the next message is long, check a part of it ahead of `step`. True if there is more to check.

        `step` then has less to do at once, and does the same as without: it uses what was found only if the message and
        its sender are still the same. Changes no state, raises nothing.
        """
        number = request.taken
        if number >= min(len(request.messages), self.limits.max_messages):
            return False
        message = request.messages[number]
        if not isinstance(message, dict) or message.get("channel") != SUBSCRIBE or request.handshake is not None:
            return False
        if request.renewal is None and self._renews_much(message):
            request.renewal = self._begin_renewal(message)
        if request.renewal is not None and request.renewal.ask_some():
            return True
        checked = request.checked
        if checked is None:
            checked = request.checked = self._begin_check(message, request.patterns)
        elif checked.refused is not None or checked.forbidden is not None:
            return False
        return checked is not None and self._check_some(checked, request)

    def _begin_renewal(self, message: Message) -> Renewal | None:
        session = self.registry.peek(message.get("clientId"))
        try:
            return None if session is None else self.renewal(session, message["ext"]["token"])
        except ProtocolError:
            # `step` meets it too.
            return None

    def _begin_check(self, message: Message, patterns: int) -> Checked | None:
        # What will be refused anyway, without looking into it, needs no check either.
        if (
            not self._asks_much(message)
            or self.registry.peek(message.get("clientId")) is None
            or patterns + len(message["subscription"]) > 2 * self.limits.max_subscriptions
        ):
            return None
        return Checked(tuple(message["subscription"]))

    def _check_some(self, checked: Checked, request: Request) -> bool:
        """Check up to FEW_PATTERNS more: first the form of all patterns, then whether they are allowed."""
        return self._check_allowances(checked, request) if checked.whole else self._check_grammar(checked)

    def _check_grammar(self, checked: Checked) -> bool:
        some = checked.asked[checked.looked : checked.looked + FEW_PATTERNS]
        checked.looked += len(some)
        try:
            checked.names += self.grammar.check_patterns(some)
        except InvalidChannel as error:
            checked.refused = error
            return False
        if checked.whole:
            checked.names = list(dict.fromkeys(checked.names))
        return True

    def _check_allowances(self, checked: Checked, request: Request) -> bool:
        message = request.messages[request.taken]
        if not isinstance(message, dict) or (session := self.registry.peek(message.get("clientId"))) is None:
            return False
        if checked.who is None:
            try:
                checked.who = self._asking(session, self._shown_grant(session, message, request))
            except ProtocolError:
                # `step` meets it too.
                return False
        some = self.access.piece(checked.names, checked.decided, FEW_PATTERNS, checked.who)
        decide = self.access.decide_once if len(checked.names) > FEW_PATTERNS else self.access.decide
        try:
            for pattern in some:
                self._check_allowed(pattern, checked.who, decide)
        except ForbiddenChannel as error:
            checked.forbidden = error
            return False
        if checked.positions is not None:
            found = asked_positions(message, some)
            if all(self._may_recover(channel, checked.who) for channel in found):
                checked.positions |= found
            else:
                checked.positions = None
        checked.decided += len(some)
        return checked.decided < len(checked.names)

    def _may_recover(self, channel: str, who: Who) -> bool:
        return self.access.decide_once("history", channel, who).allowed

    def too_large(self, messages: Sequence[object]) -> list[Message]:
        """The replies to a batch that is too long as a whole: one for each message, as Faye repeats what gets none."""
        replies: list[Message] = []
        for message in messages[: self.limits.max_messages]:
            error = TooLarge()
            self.count(error)
            reply: Message = {"successful": False, "error": wire(error, self.dialect)}
            if isinstance(message, dict):
                if isinstance(channel := message.get("channel"), str):
                    reply["channel"] = channel[:MAX_CHARS]
                with contextlib.suppress(InvalidId):
                    echo_id(message, reply)
            replies.append(reply)
        return replies

    def unavailable(self, messages: Sequence[object]) -> list[Message]:
        """The replies to a batch whose session can't be looked up now, one for each message. Nothing was changed."""
        replies: list[Message] = []
        for message in messages[: self.limits.max_messages]:
            reply: Message = {"successful": False, "error": wire(Unavailable(), self.dialect)}
            if isinstance(message, dict):
                if isinstance(channel := message.get("channel"), str):
                    reply["channel"] = channel[:MAX_CHARS]
                with contextlib.suppress(InvalidId):
                    echo_id(message, reply)
                self._refuse(message, reply, Unavailable())
            replies.append(reply)
        return replies

    def refuse_for_now(self, reply: Message) -> None:
        """Turn a reply into one that says: nothing was done, try again."""
        asked = dict(reply)
        reply.clear()
        reply.update({name: asked[name] for name in ("channel", "id") if name in asked})
        self._refuse(asked, reply, Unavailable())

    def count(self, error: ProtocolError) -> None:
        """Count this refusal, if a limit was the reason."""
        if error.limit is not None:
            self.limited[error.limit] += 1

    def check_opening(self, address: str, now: float) -> None:
        """Raise TooMany if a client of this address may not open a session now."""
        if not self.crowd.may_handshake(address, now, self.limits.handshake_rate):
            raise TooMany(text="Too many handshakes", limit="handshakes")
        self.check_sessions()

    def check_sessions(self) -> None:
        """Raise TooMany if there are as many sessions as there may be."""
        if self.limits.max_sessions and self.crowd.sessions >= self.limits.max_sessions:
            raise TooMany(text="Too many sessions", limit="sessions")

    def unknown(self, client_id: str) -> Message:
        """The reply to a client that comes back to a session we don't know: handshake again."""
        error = wire(UnknownClient(shown_id(client_id)), self.dialect)
        return {"channel": CONNECT, "successful": False, "error": error, "advice": self.rehandshake}

    def new_session(self, now: float, visitor: str | None, address: str = "") -> Session:
        """A session with a new id, not in the registry yet."""
        return Session(self._new_id(), now, visitor, 0.0 if visitor is None else self.wall(), address)

    def check_room(self, session: Session, patterns: Collection[str]) -> list[str]:
        """The patterns that a session does not have yet; raises ForbiddenChannel if they would be too many."""
        new = self.registry.news(session, patterns)
        if len(session.patterns) + len(new) > self.limits.max_subscriptions:
            raise ForbiddenChannel(new[0], text="Too many subscriptions", limit="subscriptions")
        share = self.crowd.share(self.limits.subscription_bytes)
        if new and share < math.inf and size_of(session.patterns) + size_of(new) > share:
            raise ForbiddenChannel(new[0], text="Too many subscriptions at this server", limit="subscriptions")
        return new

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

    def encode(self, reply: Message, who: Who) -> bytes:
        """A reply's bytes, after extensions have seen it."""
        if not self.outgoing:
            return dumps(reply)
        if "advice" in reply:
            # All replies share one advice object.
            reply["advice"] = dict(reply["advice"])
        asked: Message = {name: value for name, value in reply.items() if name in _ASKED}
        error: ProtocolError = Failed()
        try:
            for extension in self.outgoing:
                extension(reply, who)
            return dumps(reply)
        except BadMessage as bad:
            # Raised by an extension, or by `dumps` for what it put in.
            error = bad
        except ProtocolError as refused:
            error = refused
        except Exception:
            logger.exception("extension failed")
        refusal: Message = {name: value for name, value in asked.items() if name in ("channel", "id")}
        self._refuse(asked, refusal, error)
        session = self.registry.get(asked.get("clientId"))
        if asked.get("channel") == HANDSHAKE and session is not None:
            # The client never learns this session's id.
            self.registry.end(session)
        return dumps(refusal)

    def _dispatch(self, message: Message, reply: Message, request: Request) -> None:
        channel = message.get("channel")
        if not isinstance(channel, str):
            raise InvalidChannel() if "channel" in message else BadMessage("channel", text="Missing field")
        # Guard and dispatch on the same comparison: Faye before 1.2.5 let /meta/subscribe/x subscribe
        # while every check compared with /meta/subscribe.
        handler = _HANDLERS.get(channel)
        if handler is not None:
            handler(self, message, reply, request)
            ext = message.get("ext")
            if isinstance(ext, dict) and "timesync" in ext:
                self._synchronise(ext["timesync"], reply, request)
        elif is_meta(channel):
            raise ForbiddenChannel(channel)
        else:
            self._publish(channel, message, reply, request)

    def _refuse(self, message: Message, reply: Message, error: ProtocolError) -> None:
        self.count(error)
        reply["successful"] = False
        reply["error"] = wire(error, self.dialect)
        channel = message.get("channel")
        if channel == HANDSHAKE:
            # Faye's client loops without pause on "handshake" here (its issue 542). "Too many" is temporary: retry.
            busy = isinstance(error, TooMany | Unavailable)
            reply["advice"] = {**self.retry, "interval": BUSY_INTERVAL} if busy else self.give_up
        elif channel == CONNECT:
            if isinstance(error, Unavailable):
                reply["advice"] = {**self.retry, "interval": UNAVAILABLE_INTERVAL}
            else:
                lost = isinstance(error, UnknownClient | NoClientId)
                reply["advice"] = self.rehandshake if lost else self.retry
        # No advice on anything else: Faye obeys it on any message and would handshake twice, and
        # CometD's client throws when it meets "handshake" again on the next successful connect.
        if isinstance(channel, str) and channel in (SUBSCRIBE, UNSUBSCRIBE):
            reply["subscription"] = subscription_echo(message)

    # MUST: channel, version, supportedConnectionTypes. MAY: minimumVersion, ext, id.
    def _handshake(self, message: Message, reply: Message, request: Request) -> None:
        if "version" not in message:
            raise BadMessage("version", text="Missing field")
        if not speaks_1(message["version"]) or not accepts_1(message.get("minimumVersion", "1.0")):
            raise VersionMismatch(brief(message["version"])[:20])
        types = message.get("supportedConnectionTypes")
        if types is None:
            raise BadMessage("supportedConnectionTypes", text="Missing field")
        offered = [types] if isinstance(types, str) else types
        if not isinstance(offered, list):
            raise BadMessage("supportedConnectionTypes", text="Not a list")
        reply["supportedConnectionTypes"] = self.types
        if not any(name in self.types for name in offered[:MAX_OFFERED]):
            raise NoCommonTransport(",".join(brief(name)[:40] for name in offered[:5]))
        peer = request.to.peer
        self.check_opening(peer.address, request.now)
        # Whatever clientId the client sent, it gets a new one: a client never chooses its id.
        session = self.new_session(request.now, peer.visitor, peer.address)
        self._take_grant(session, self._shown_grant(session, message, request), request)
        reply["ext"] = self.ext.copy()
        ext = message.get("ext")
        if isinstance(ext, dict) and ext.get("ack") is True:
            session.use_acks()
            reply["ext"]["ack"] = True
        self.registry.add(session)
        reply.update(version="1.0", clientId=session.id, advice=self.retry)
        request.outcome.opened = session
        request.outcome.changed.append(Change(session, reply, opened=True))
        request.outcome.replies.append(reply)

    # MUST: channel, clientId, connectionType. MAY: ext, id, advice.timeout.
    def _connect(self, message: Message, reply: Message, request: Request) -> None:
        session = self._session(message)
        kind = message.get("connectionType")
        if kind is None:
            raise BadMessage("connectionType", text="Missing field")
        if kind not in CONNECTION_TYPES:
            raise NoCommonTransport(brief(kind)[:40])
        session.touch(request.now)
        http = request.link is None
        began = request.now if request.began is None else request.began
        # Beside an event stream a connect is only a sign of life; those may overtake each other.
        polls = http and kind != EVENTSOURCE
        if polls and session.is_older(began, reply.get("id")):
            # A newer connect has overtaken it: it came through a worker that stood still, or that is gone. Treated as
            # the newest, it would confirm the last answer, and take what comes next to a client that has hung up.
            reply.update(clientId=session.id, advice={**self.retry, "interval": SUPERSEDED_INTERVAL})
            reply.update(successful=False, error=wire(Superseded(), self.dialect))
            request.outcome.replies.append(reply)
            return
        if polls or not http:
            session.note_connect(began, reply.get("id") if http else None)
        self._acknowledge(session, message, request)
        self._take_over(session, message, request, kind)
        first = session.connect()
        timeout = self._timeout(message)
        request.outcome.resumed = session
        # The first connect is answered at once on every transport: aiocometd's open() waits for it, and
        # Faye's transport:up comes late without. Over HTTP other replies must not wait for a held one.
        if (
            first
            or timeout == 0
            or kind == EVENTSOURCE
            or (http and not request.alone)
            # A batch may hold connects of several sessions, but only one of them can be held.
            or (request.outcome.hold is not None and request.outcome.hold.session is not session)
            or session.lost
            or (session.has_ready and (http or session.ack is not None))
        ):
            reply.update(clientId=session.id, advice=self.stream if kind == EVENTSOURCE else self.retry)
            request.outcome.replies.append(reply)
            return
        if self._is_crowded(session, request):
            several = {**self.retry, "interval": MULTIPLE_INTERVAL, "multiple-clients": True}
            reply.update(clientId=session.id, advice=several)
            request.outcome.replies.append(reply)
            return
        hold = request.outcome.hold = Hold(session, reply.get("id"), request.now + timeout, request.to)
        session.begin_hold(hold)

    def _is_crowded(self, session: Session, request: Request) -> bool:
        """Whether other sessions of this one's browser hold as many polls as it may have.

        A browser opens six connections to a host: with a held poll in each tab, the seventh page does not load.
        """
        browser = request.to.peer.browser
        if not self.limits.browser_polls or not browser:
            return False
        holding = {
            each
            for each in self._browsers.pop(browser, ())
            if each != session.id
            and (other := self.registry.get(each)) is not None
            and other.hold is not None
            and other.hold.to.peer.browser == browser
        }
        crowded = len(holding) >= self.limits.browser_polls
        if not crowded:
            holding.add(session.id)
        self._browsers[browser] = holding
        if len(self._browsers) > MAX_BROWSERS:
            self._browsers.popitem(last=False)
        return crowded

    def answer(self, hold: Hold) -> Message:
        """The reply to a held connect."""
        reply: Message = {
            "channel": CONNECT,
            "successful": hold.error is None,
            "clientId": hold.session.id,
            "advice": hold.advice or self.retry,
        }
        if hold.id is not None:
            reply["id"] = hold.id
        if hold.error is not None:
            reply["error"] = wire(hold.error, self.dialect)
        if hold.sync is not None:
            reply["ext"] = {"timesync": hold.sync | {"p": max(0, self._milliseconds() - hold.sync["ts"])}}
        return reply

    def _synchronise(self, asked: object, reply: Message, request: Request) -> None:
        """CometD's timesync: when the message arrived, and for how long it was held here (`p`, ms)."""
        sync = synchronised(asked, self._milliseconds())
        if sync is None:
            return
        hold = request.outcome.hold
        if hold is not None and reply["channel"] == CONNECT:
            hold.sync = sync
        else:
            reply.setdefault("ext", {})["timesync"] = sync

    def _milliseconds(self) -> int:
        return round(self.wall() * 1000)

    def _shown_grant(self, session: Session, message: Message, request: Request) -> Grant | None:
        """What the token of a message allows its session, None without one. Raises as `newer_grant`."""
        if not shows_token(message):
            return None
        return self.newer_grant(session, message["ext"]["token"], _known(request))

    def _take_grant(self, session: Session, grant: Grant | None, request: Request) -> None:
        if grant is not None and self.take_grant(session, grant, _known(request)):
            request.outcome.granted += (session,)

    def renewal(self, session: Session, token: object) -> Renewal:
        """What is to be asked before a session may have this token, in pieces. Raises BadToken."""
        return Renewal(self.access, session, self.access.grant(token, self.wall()))

    def newer_grant(self, session: Session, token: object, known: Verdicts | None = None) -> Grant:
        """What a token allows that may take the place of the session's. Raises BadToken, or ForbiddenChannel if the
        session subscribes to what an older token allowed and this one does not. known: of a `renewal`.
        """
        grant = self.access.grant(token, self.wall())
        if grant != session.grant:
            self.access.check_newer(grant, session.grant, session.patterns, session.user, known)
        return grant

    def take_grant(self, session: Session, grant: Grant, known: Verdicts | None = None) -> bool:
        """Let a session do what a newer token allows, and nothing else; whether that is new. known: of a `renewal`."""
        older = session.grant
        if grant == older:
            return False
        session.authorize(grant)
        if not allows_all_of(grant, older):
            self.registry.judge_again(session, known)
        return True

    def _acknowledge(self, session: Session, message: Message, request: Request) -> None:
        """Forget what the client has, put back what it has not; raises UnknownClient if that is too much to wait."""
        if not session.unacked and not session.renumbered:
            return
        batch = 0
        if session.ack is not None:
            ext = message.get("ext")
            seen = ext.get("ack") if isinstance(ext, dict) else None
            batch = seen if isinstance(seen, int) else -1
        elif session.answered == message.get("id") is not None:
            # Faye repeats a connect it got no answer to under the same id: that answer was lost.
            batch = -1
        session.acknowledge(batch)
        if session.queue is not None and not session.shrink(*self.queue_bounds):
            # It takes answers and says that it has none of them: each would be longer than the one before.
            self.registry.end(session)
            request.outcome.ended.append((session, "slow"))
            raise UnknownClient(shown_id(session.id))

    def _take_over(self, session: Session, message: Message, request: Request, kind: str) -> None:
        """Make the connection that a connect came by the session's only one.

        Raises UnknownClient if the session can't go on there.
        """
        held = session.end_hold()
        if held is not None and not (held.id == message.get("id") and held.to is request.to):
            # (On one WebSocket a repeated id is the same connect and gets one answer.) Never a plain
            # success: a client that lost its connect to another must not take it back at once.
            held.error = Superseded()
            held.advice = {**self.retry, "interval": SUPERSEDED_INTERVAL}
            request.outcome.released.append(held)
        if request.link is None and (kind == EVENTSOURCE or (session.link is not None and not session.connected)):
            # The stream is its link, and this connect only a sign of life. Faye sends the first one with another
            # connectionType, before it knows that its stream has opened.
            return
        if session.link is not request.link or request.link is None:
            replaced = session.depart()
            if replaced is not None:
                request.outcome.replaced += (replaced,)
            if session.arrived is not None and not self.registry.resume(session):
                if held is not None:
                    held.error, held.advice = UnknownClient(shown_id(session.id)), self.rehandshake
                self.registry.end(session)
                request.outcome.ended.append((session, "not recovered"))
                raise UnknownClient(shown_id(session.id))
            if request.link is not None:
                self.registry.attach(session, request.link)
        session.settle()

    # MUST: channel, clientId. MAY: ext, id.
    def _disconnect(self, message: Message, reply: Message, request: Request) -> None:
        session = self._session(message)
        reply["clientId"] = session.id
        held = session.end_hold()
        if held is not None:
            held.advice = self.give_up
            request.outcome.released.append(held)
        self.registry.end(session)
        request.outcome.ended.append((session, "disconnect"))
        request.outcome.close = True
        request.outcome.replies.append(reply)

    # MUST: channel, clientId, subscription (string or array). MAY: ext, id.
    def _subscribe(self, message: Message, reply: Message, request: Request) -> None:
        session = self._session(message)
        # All are checked before any is added, so that a refused message has changed nothing.
        patterns = self._patterns(message, request)
        grant = self._shown_grant(session, message, request)
        who = self._asking(session, grant)
        self._check_all_allowed(patterns, who, request)
        asked, is_allowed = self._positions(message, patterns, who, request)
        replays = asked_replays(message, patterns)
        for channel in replays if is_allowed else (*asked, *replays):
            if not self.access.may_recover(channel, who):
                raise ForbiddenChannel(channel, text="Forbidden channel - no history")
        new = self.check_room(session, patterns)
        # Only now: after a refused message the session is not saved, and a worker that takes it over would have the
        # older grant.
        self._take_grant(session, grant, request)
        session.touch(request.now)
        # A service channel has no subscribers, but CometD clients subscribe to be tidy.
        heard = [pattern for pattern in new if pattern[:8] != "/service" or not is_service(pattern)]
        self.registry.subscribe_all(session, heard)
        self._change(request, session, reply, patterns, new, on=True)
        reply["clientId"] = session.id
        reply["subscription"] = message["subscription"]
        if asked or replays:
            reply["ext"] = {"position": {}, "recovered": {}}
            # A client that asks only for a replay keeps no positions; it is told of lost publications another way.
            if asked:
                session.track()
            for channel, since in asked.items():
                session.begin_recovery()
                request.outcome.recoveries.append(Recovery(session, channel, since, reply))
            for channel, replay in replays.items():
                if channel not in asked:
                    session.begin_recovery()
                    request.outcome.recoveries.append(Recovery(session, channel, None, reply, replay))
        request.outcome.replies.append(reply)

    def _positions(
        self, message: Message, patterns: list[str], who: Who, request: Request
    ) -> tuple[dict[str, Position | None], bool]:
        """As `asked_positions`; and whether `check` has found already that the client may ask for all of them."""
        checked = request.checked
        # An extension may have changed the message since it was checked.
        if checked is None or self.incoming or checked.names is not patterns or checked.who != who:
            return asked_positions(message, patterns), False
        if checked.positions is None or checked.decided < len(patterns):
            return asked_positions(message, patterns), False
        return checked.positions, True

    # As subscribe.
    def _unsubscribe(self, message: Message, reply: Message, request: Request) -> None:
        session = self._session(message)
        patterns = self._patterns(message, request)
        session.touch(request.now)
        removed = self.registry.unsubscribe_all(session, patterns)
        self._change(request, session, reply, patterns, removed, on=False)
        reply["clientId"] = session.id
        reply["subscription"] = message["subscription"]
        request.outcome.replies.append(reply)

    def _change(
        self, request: Request, session: Session, reply: Message, asked: list[str], changed: list[str], *, on: bool
    ) -> None:
        """Note a change of subscriptions, for the node to save it; undone if that fails (`Tentative`)."""
        flips = [] if self.tentative is None else self.tentative.begin(session, asked, changed, on=on)
        request.outcome.changed.append(Change(session, reply, flips))

    # MUST: channel, data. MAY: clientId, id, ext. All other fields are dropped: Faye forwards `advice`, and there one
    # publish with {"reconnect": "none"} silences all long-polling subscribers.
    def _publish(self, channel: str, message: Message, reply: Message, request: Request) -> None:
        client_id = message.get("clientId")
        if client_id is None:
            raise NoClientId()
        session = self.registry.get(client_id)
        # After a new handshake Faye sends publishes that were waiting under the old id.
        if session is None and not self.registry.ended_lately(client_id):
            raise UnknownClient(shown_id(client_id))
        if session is not None:
            session.touch(request.now)
        self.grammar.check_name(channel)
        service = is_service(channel)
        if service and channel not in self.services:
            raise UnknownChannel(channel)
        address = request.to.peer.address
        if not self._may_publish_now(session, request.now) or not self.crowd.may_publish(
            address, request.now, self.limits.address_publish_rate
        ):
            raise TooMany(limit="publishes")
        who = Who() if session is None else session.who
        if not service and not (decision := self.access.decide("publish", channel, who)).allowed:
            raise refusal(decision, channel)
        if "data" not in message:
            raise BadMessage("data", text="Missing field")
        data = self._encoded(channel, message["data"])
        if service:
            call = Call(channel, message["data"], client_id, who)
            request.outcome.calls.append((self.services[channel], call, reply))
            request.outcome.replies.append(reply)
            return
        kept = forwarded(message)
        ext = self._encoded(channel, kept) if kept else None
        number = message.get("id")
        # A client that got no answer publishes again under the same id; it is the same publication.
        key = None if number is None else key_of(client_id, number)
        if self.registry.events is not None and session is not None:
            self.registry.events.tell("publish", session, channel)
        request.outcome.publishes.append((Draft(channel, data, key, ext=ext), reply))
        request.outcome.replies.append(reply)

    # MUST: channel, clientId, data. MAY: id.
    def _see(self, message: Message, reply: Message, request: Request) -> None:
        """A client confirms that it has received a publication: `[channel, position]`."""
        session = self._session(message)
        session.touch(request.now)
        if not self.limits.seen_rate:
            raise UnknownChannel(SEEN)
        if not self._may_publish_now(session, request.now):
            raise TooMany(limit="publishes")
        data = message.get("data")
        if not (isinstance(data, list) and len(data) == 2 and all(isinstance(each, str) for each in data)):
            raise BadMessage("data", text="Not a channel and a position")
        channel, position = data
        self.grammar.check_name(channel)
        # It came by the connection that carries the deliveries, or by HTTP beside an event stream that does.
        transport = EVENTSOURCE if request.link is None and session.link is not None else request.transport
        if any(pattern in session.patterns for pattern in patterns_of(channel)):
            self.seen.take(session.id, channel, position, transport, request.now)
        request.outcome.replies.append(reply)

    def _encoded(self, channel: str, value: object) -> bytes:
        """A client's data as JSON; raises TooLarge or TooDeep."""
        # An extension may have put in NaN, which JSON that we have read can't contain.
        data = dumps(value, was_read=not self.incoming)
        if len(data) > self.limits.message_bytes:
            raise TooLarge(channel)
        depth = self.limits.max_depth
        # Most values have fewer brackets than that, and need no walk.
        if data.count(b"[") + data.count(b"{") > depth and is_deeper(value, depth):
            raise TooDeep(channel, text=f"Nested more than {depth} deep")
        return data

    def _may_publish_now(self, session: Session | None, now: float) -> bool:
        """Whether a client has publishes left. Clients that publish under ids of ended sessions share one allowance."""
        rate = self.limits.publish_rate
        if not rate:
            return True
        burst = max(1.0, rate * BURST_SECONDS)
        if session is not None:
            return session.may_publish(now, rate, burst)
        if self._late is None:
            self._late = Bucket(now, burst)
        return self._late.take(now, rate, burst)

    def _session(self, message: Message) -> Session:
        client_id = message.get("clientId")
        if client_id is None:
            raise NoClientId()
        session = self.registry.get(client_id)
        if session is None:
            raise UnknownClient(shown_id(client_id))
        return session

    def _patterns(self, message: Message, request: Request) -> list[str]:
        subscription = message.get("subscription")
        if subscription is None:
            raise BadMessage("subscription", text="Missing field")
        if isinstance(subscription, str):
            return [self.grammar.check_pattern(subscription)]
        asked = subscription if isinstance(subscription, list) else [subscription]
        if not asked:
            raise BadMessage("subscription", text="Empty list")
        # Bounded for a whole request too, else a body of 200 such messages would be half a second's work. Twice the
        # limit, for a client that unsubscribes from all it has and subscribes to as many others.
        request.patterns += len(asked)
        if len(asked) > self.limits.max_subscriptions or request.patterns > 2 * self.limits.max_subscriptions:
            raise ForbiddenChannel(text="Too many subscriptions", limit="subscriptions")
        checked = request.checked
        # An extension may have changed the message since it was checked.
        if checked is not None and checked.asked == tuple(asked):
            if checked.refused is not None:
                raise checked.refused
            if checked.whole:
                return checked.names
        if len(asked) > FEW_PATTERNS:
            return list(dict.fromkeys(self.grammar.check_patterns(asked)))
        return list(dict.fromkeys(map(self.grammar.check_pattern, asked)))

    def _asking(self, session: Session, grant: Grant | None) -> Who:
        """Whose rights count for a message. grant: that of the token in the message, if there is one."""
        return session.who if grant is None else Who(session.user, grant)

    def _check_all_allowed(self, patterns: list[str], who: Who, request: Request) -> None:
        """Raise ForbiddenChannel for the first pattern that may not be subscribed to."""
        checked = request.checked
        decide, begin = self.access.decide, 0
        if len(patterns) > FEW_PATTERNS:
            decide = self.access.decide_once
        # A decision holds for one `who`: never use one that was made before the session's grant changed.
        if checked is not None and checked.names is patterns and checked.who == who:
            if checked.forbidden is not None:
                raise checked.forbidden
            begin = checked.decided
        for pattern in islice(patterns, begin, None):
            self._check_allowed(pattern, who, decide)

    def _check_allowed(self, pattern: str, who: Who, decide: Callable[[Action, str, Who], Decision]) -> None:
        if is_meta(pattern) or (is_service(pattern) and self.dialect == "faye"):
            raise ForbiddenChannel(pattern)
        decision = decide("subscribe", pattern, who)
        if not decision.allowed:
            raise refusal(decision, pattern)

    def _timeout(self, message: Message) -> float:
        """Seconds to hold this connect: what the client asked for, up to our limit."""
        advice = message.get("advice")
        asked = advice.get("timeout") if isinstance(advice, dict) else None
        if isinstance(asked, int | float) and not isinstance(asked, bool) and asked >= 0:
            return min(asked / 1000, self.limits.timeout)
        return self.limits.timeout


#: Fields of a reply that repeat what was asked.
_ASKED = ("channel", "clientId", "id", "subscription")

#: What is legal on the protocol's own channels; anything else under /meta/ is forbidden.
_HANDLERS: dict[str, _Handler] = {
    HANDSHAKE: Bayeux._handshake,
    CONNECT: Bayeux._connect,
    SUBSCRIBE: Bayeux._subscribe,
    UNSUBSCRIBE: Bayeux._unsubscribe,
    DISCONNECT: Bayeux._disconnect,
    SEEN: Bayeux._see,
}


def _known(request: Request) -> Verdicts | None:
    return None if request.renewal is None else request.renewal.known
