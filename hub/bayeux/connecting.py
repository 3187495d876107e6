"""Handshake, connect and disconnect."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import BadMessage, NoCommonTransport, Superseded, TooMany, UnknownClient, VersionMismatch
from ..protocol.dialects import Dialect, wire
from ..protocol.messages import Message
from ..sessions.links import Hold
from ..sessions.registry import Registry
from ..sessions.session import Session
from .asked import accepts_1, brief, session_of, shown_id, speaks_1
from .grants import Grants
from .limits import Crowd, Limits
from .names import CONNECTION_TYPES, EVENTSOURCE
from .outcome import Change, Request
from .replies import SUPERSEDED_INTERVAL, Replies

#: How many types of connection of a handshake are looked at; clients know six.
MAX_OFFERED = 50

#: Milliseconds between the polls of a page whose browser may hold no more of them; CometD's own number.
MULTIPLE_INTERVAL = 2000

#: Browsers whose held polls are counted; beyond that the one that polled longest ago is forgotten.
MAX_BROWSERS = 10_000


class Connecting:
    """The sessions and connections of one realm's clients.

    new_id: makes a clientId. types, ext: what handshakes announce. wall: gives the seconds since 1970.

    queue_bounds: how many publications may wait for a session, and how many bytes. browsers: by browser, its sessions
    that held a poll when it was last looked at.
    """

    def __init__(
        self,
        registry: Registry,
        limits: Limits,
        crowd: Crowd,
        dialect: Dialect,
        replies: Replies,
        grants: Grants,
        new_id: Callable[[], str],
        types: Sequence[str],
        ext: dict[str, Any],
        wall: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._crowd = crowd
        self._dialect = dialect
        # Bound once: each is needed for every session.
        self._retry, self._rehandshake = replies.retry, replies.rehandshake
        self._give_up, self._stream = replies.give_up, replies.stream
        self._shown_grant = grants.shown_grant
        self._take_shown = grants.take_shown
        self._new_id = new_id
        self._types = types
        self._ext = ext
        self.wall = wall
        self.queue_bounds = (1000, 1024 * 1024)
        self.browsers: OrderedDict[str, set[str]] = OrderedDict()

    # MUST: channel, version, supportedConnectionTypes. MAY: minimumVersion, ext, id.
    def handshake(self, message: Message, reply: Message, request: Request) -> None:
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
        reply["supportedConnectionTypes"] = self._types
        if not any(name in self._types for name in offered[:MAX_OFFERED]):
            raise NoCommonTransport(",".join(brief(name)[:40] for name in offered[:5]))
        peer = request.to.peer
        self.check_opening(peer.address, request.now)
        # Whatever clientId the client sent, it gets a new one: a client never chooses its id.
        session = self.new_session(request.now, peer.visitor, peer.address)
        self._take_shown(session, self._shown_grant(session, message, request), request)
        reply["ext"] = self._ext.copy()
        ext = message.get("ext")
        if isinstance(ext, dict) and ext.get("ack") is True:
            session.use_acks()
            reply["ext"]["ack"] = True
        self._registry.add(session)
        reply.update(version="1.0", clientId=session.id, advice=self._retry)
        request.outcome.opened = session
        request.outcome.changed.append(Change(session, reply, opened=True))
        request.outcome.replies.append(reply)

    def check_opening(self, address: str, now: float) -> None:
        """Raise TooMany if a client of this address may not open a session now."""
        if not self._crowd.may_handshake(address, now, self._limits.handshake_rate):
            raise TooMany(text="Too many handshakes", limit="handshakes")
        self.check_sessions()

    def check_sessions(self) -> None:
        """Raise TooMany if there are as many sessions as there may be."""
        if self._limits.max_sessions and self._crowd.sessions >= self._limits.max_sessions:
            raise TooMany(text="Too many sessions", limit="sessions")

    def new_session(self, now: float, visitor: str | None, address: str = "") -> Session:
        """A session with a new id, not in the registry yet."""
        return Session(self._new_id(), now, visitor, 0.0 if visitor is None else self.wall(), address)

    # MUST: channel, clientId, connectionType. MAY: ext, id, advice.timeout.
    def connect(self, message: Message, reply: Message, request: Request) -> None:
        session = session_of(self._registry, message)
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
            reply.update(clientId=session.id, advice={**self._retry, "interval": SUPERSEDED_INTERVAL})
            reply.update(successful=False, error=wire(Superseded(), self._dialect))
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
            reply.update(clientId=session.id, advice=self._stream if kind == EVENTSOURCE else self._retry)
            request.outcome.replies.append(reply)
            return
        if self._is_crowded(session, request):
            several = {**self._retry, "interval": MULTIPLE_INTERVAL, "multiple-clients": True}
            reply.update(clientId=session.id, advice=several)
            request.outcome.replies.append(reply)
            return
        hold = request.outcome.hold = Hold(session, reply.get("id"), request.now + timeout, request.to)
        session.begin_hold(hold)

    def _timeout(self, message: Message) -> float:
        """Seconds to hold this connect: what the client asked for, up to our limit."""
        advice = message.get("advice")
        asked = advice.get("timeout") if isinstance(advice, dict) else None
        if isinstance(asked, int | float) and not isinstance(asked, bool) and asked >= 0:
            return min(asked / 1000, self._limits.timeout)
        return self._limits.timeout

    def _is_crowded(self, session: Session, request: Request) -> bool:
        """Whether other sessions of this one's browser hold as many polls as it may have.

        A browser opens six connections to a host: with a held poll in each tab, the seventh page does not load.
        """
        browser = request.to.peer.browser
        if not self._limits.browser_polls or not browser:
            return False
        holding = {
            each
            for each in self.browsers.pop(browser, ())
            if each != session.id
            and (other := self._registry.get(each)) is not None
            and other.hold is not None
            and other.hold.to.peer.browser == browser
        }
        crowded = len(holding) >= self._limits.browser_polls
        if not crowded:
            holding.add(session.id)
        self.browsers[browser] = holding
        if len(self.browsers) > MAX_BROWSERS:
            self.browsers.popitem(last=False)
        return crowded

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
            self._registry.end(session)
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
            held.advice = {**self._retry, "interval": SUPERSEDED_INTERVAL}
            request.outcome.released.append(held)
        if request.link is None and (kind == EVENTSOURCE or (session.link is not None and not session.connected)):
            # The stream is its link, and this connect only a sign of life. Faye sends the first one with another
            # connectionType, before it knows that its stream has opened.
            return
        if session.link is not request.link or request.link is None:
            replaced = session.depart()
            if replaced is not None:
                request.outcome.replaced += (replaced,)
            if session.arrived is not None and not self._registry.resume(session):
                if held is not None:
                    held.error, held.advice = UnknownClient(shown_id(session.id)), self._rehandshake
                self._registry.end(session)
                request.outcome.ended.append((session, "not recovered"))
                raise UnknownClient(shown_id(session.id))
            if request.link is not None:
                self._registry.attach(session, request.link)
        session.settle()

    # MUST: channel, clientId. MAY: ext, id.
    def disconnect(self, message: Message, reply: Message, request: Request) -> None:
        session = session_of(self._registry, message)
        reply["clientId"] = session.id
        held = session.end_hold()
        if held is not None:
            held.advice = self._give_up
            request.outcome.released.append(held)
        self._registry.end(session)
        request.outcome.ended.append((session, "disconnect"))
        request.outcome.close = True
        request.outcome.replies.append(reply)
