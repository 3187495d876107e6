"""What is due at a time: answers to held connects, the ends of tokens and of sessions without a client."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary, ref

from .bayeux.rules import Bayeux
from .counters import Counters
from .errors import BrokerUnavailable
from .protocol.access import Grant
from .renewals import Renewal
from .session_store import SessionStore
from .sessions.links import Hold
from .sessions.registry import Registry
from .sessions.session import Session
from .turns import Turns
from .wheel import Wheel

#: Seconds a session that never sent a connect is kept. A client connects right after its handshake;
#: what does not is a flood.
UNCONNECTED_SECONDS = 10.0

#: Longest time between looks at a session whose token expires some day.
GRANT_SECONDS = 60.0


class Host(Protocol):
    """What the node does when something is due."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this beside the rest."""

    def answer(self, session: Session) -> None:
        """Answer the connect that a session holds."""

    def end_session(self, session: Session, reason: str) -> None:
        """End a session."""


class Deadlines:
    """The deadlines of one node's sessions.

    ttl: seconds that a session lives without a client. time: the loop's clock, seconds.
    """

    def __init__(
        self,
        host: Host,
        bayeux: Bayeux,
        store: SessionStore,
        counters: Counters,
        wheel: Wheel,
        turns: Turns,
        time: Callable[[], float],
        ttl: float,
    ) -> None:
        self._host = host
        self._bayeux = bayeux
        self._registry: Registry = bayeux.registry
        self._store = store
        self._counters = counters
        self._wheel = wheel
        self._turns = turns
        self._time = time
        self._ttl = ttl
        # When the wheel looks at a session's token next.
        self._looks: WeakKeyDictionary[Session, float] = WeakKeyDictionary()
        # Bound once: an entry of the wheel then costs no method object.
        self.hold_is_due = self._hold_due
        self.session_is_due = self._session_due
        self.grant_is_due = self._grant_due

    def watch_session(self, session: Session) -> None:
        """Look at a session that has just begun, here or, when it is adopted, for this node."""
        ttl = self._ttl if session.connected else min(self._ttl, UNCONNECTED_SECONDS)
        self._wheel.add(self._time() + ttl, self.session_is_due, session)

    def watch_hold(self, hold: Hold) -> None:
        """Answer a connect when it is due.

        The wheel has the session, once: each hold that was answered would keep its answer there until then, and who
        polls often, or is sent much, had the hub keep 45 seconds of it.
        """
        if hold.session.await_due(hold.deadline):
            self._wheel.add(hold.deadline, self.hold_is_due, hold.session)

    def _hold_due(self, session: Session) -> None:
        now = self._time()
        if session.is_awaited(now):
            # Another entry of the wheel comes later, and looks then.
            return
        hold = session.hold
        if hold is None:
            return
        if hold.deadline <= now:
            self._host.answer(session)
        else:
            self.watch_hold(hold)

    def watch_grant(self, session: Session) -> None:
        """Look at a session again when its token expires, or earlier: the wheel must not keep it for years.

        Nor what is over: a poll with a token lasts for a moment, and a client may show two in turn without end.
        """
        grant = session.grant
        if grant is not None:
            if self._registry.attendance is not None:
                self._registry.attendance.renamed(session)
            left = max(0.0, grant.expires - self._bayeux.wall())
            when = self._time() + min(left, GRANT_SECONDS)
            if not 0 < self._looks.get(session, 0.0) <= when:
                self._looks[session] = when
                self._wheel.add(when, self.grant_is_due, (ref(session), when))

    def _grant_due(self, entry: tuple[ref[Session], float]) -> None:
        session, when = entry[0](), entry[1]
        # Only the newest entry of a session counts: an earlier look has replaced the others.
        if session is not None and not session.ended and self._looks.get(session) == when:
            del self._looks[session]
            self._check_grant(session)

    def _check_grant(self, session: Session) -> None:
        """End a session whose token has expired, if it hears what it may not hear without one."""
        grant = session.grant
        if grant is None:
            return
        if self._bayeux.wall() < grant.expires:
            self.watch_grant(session)
            return
        renewal = Renewal(self._bayeux.access, session, None)
        if renewal.ask_some():
            # It keeps the token till then: one that is shown meanwhile must allow all that this one did.
            self._turns.begin(partial(self._ask, session, grant, renewal))
        else:
            self._expire(session, renewal)

    def _ask(self, session: Session, grant: Grant, renewal: Renewal) -> bool:
        """Ask what a session may hear without its token; whether there is more to ask."""
        if session.ended or session.grant is not grant:
            return False
        if renewal.ask_some():
            return True
        self._expire(session, renewal)
        return False

    def _expire(self, session: Session, renewal: Renewal) -> None:
        known = renewal.known
        session.authorize(None)
        if not all(known[pattern] for pattern in session.patterns):
            self._host.end_session(session, "token expired")
            return
        self._registry.judge_again(session, known)
        if self._registry.attendance is not None:
            self._registry.attendance.renamed(session)

    def _session_due(self, session: Session) -> None:
        if session.ended:
            return
        now = self._time()
        ttl = self._ttl if session.connected else min(self._ttl, UNCONNECTED_SECONDS)
        if session.fence > 0 and not session.reachable and not self._store.is_mine(session):
            # Perhaps it goes on elsewhere.
            self._host.spawn(self._find_out(session))
            self._wheel.add(now + ttl, self.session_is_due, session)
            return
        seen = max(session.seen, self._wheel.awake)
        if session.reachable:
            if session.fence > 0 and session.link is not None:
                # It says nothing that would be saved, and its record must be there when its next request comes
                # to another worker.
                self._host.spawn(self._store.save_later(session))
            self._wheel.add(now + ttl, self.session_is_due, session)
        elif seen + ttl <= now:
            self._counters.expired += 1
            self._host.end_session(session, "expired")
        else:
            self._wheel.add(seen + ttl, self.session_is_due, session)

    async def _find_out(self, session: Session) -> None:
        """Forget a session that another worker has taken."""
        with contextlib.suppress(BrokerUnavailable):
            async with self._store.turn(session.id):
                if not session.ended:
                    await self._store.locate(session.id)
