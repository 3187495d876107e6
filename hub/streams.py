"""Sessions that go on on an event stream, and certainty whose they are after this process stood still."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from .brokers import Broker
from .ends import Ends
from .errors import BrokerUnavailable
from .protocol.close_codes import NORMAL, TRY_AGAIN_LATER
from .sending import Sending
from .session_store import SessionStore
from .sessions.links import Link
from .sessions.registry import Registry
from .sessions.session import Session

#: Seconds until it is asked again whose a session is, where the broker could not say.
SURE_AGAIN_SECONDS = 0.5


class Host(Protocol):
    """The node: whether it is about to stop."""

    draining: bool


class Streams:
    """The event streams of one node. `streamed`: sessions that went on on one."""

    def __init__(
        self,
        host: Host,
        broker: Broker,
        registry: Registry,
        store: SessionStore,
        ends: Ends,
        sending: Sending,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._host = host
        self._broker = broker
        self._registry = registry
        self._store = store
        self._end_session = ends.end_session
        self._flush_queue = sending.flush_queue
        self._go_on_with = sending.go_on_with
        self._spawn = spawn
        self.streamed: WeakKeyDictionary[Session, None] = WeakKeyDictionary()
        # Those that wait until it is certain whose they are, and the lease in which something was received last.
        self._held_back: set[Session] = set()
        self._life = 0

    def check(self) -> None:
        """Something was received: what comes for streams waits if this is another lease than the last time."""
        life = self._broker.life
        # 0: the lease is over. `_life` may be 0 too, if nothing was received during the last lease.
        if life != self._life or not life:
            self._hold_back()

    def move(self, session: Session, link: Link, last: str) -> None:
        """Let a session go on on a stream. last: the position that its client saw last, empty if it says none."""
        # It was awake when its client asked for it, and may have fallen asleep while the stream was opened.
        if self._registry.get(session.id) is None:
            link.leave(TRY_AGAIN_LATER, "slow")
            return
        old = session.depart()
        if old is not None:
            old.leave(NORMAL, "continued elsewhere")
        if session.lost:
            # A stream can't tell, and the next connect's answer may be a hold away.
            self._end_session(session, "lost")
            link.leave(NORMAL, "lost")
            return
        self._registry.saw(session, last)
        if not self._registry.resume(session):
            self._end_session(session, "not recovered")
            link.leave(NORMAL, "not recovered")
            return
        self._registry.attach(session, link)
        self.streamed[session] = None
        self._flush_queue(session)

    def _hold_back(self) -> None:
        """What comes for event streams waits until it is certain that their sessions are still this node's.

        It stood still, or the broker was away. Their clients' polls may have gone to other workers meanwhile, and have
        changed there what is heard. What a socket's client asks comes by the socket itself.
        """
        self._life = self._broker.life
        for session in list(self.streamed):
            if session.link is None or session.ended:
                del self.streamed[session]
            elif session.fence > 0 and not self._store.is_mine(session) and session not in self._held_back:
                self._held_back.add(session)
                session.begin_recovery()
                self._spawn(self._make_sure(session))

    async def _make_sure(self, session: Session) -> None:
        store = self._store
        try:
            while self._is_held_back(session):
                with contextlib.suppress(BrokerUnavailable):
                    async with store.turn(session.id):
                        if not session.ended:
                            await store.locate(session.id)
                if self._is_held_back(session):
                    await asyncio.sleep(SURE_AGAIN_SECONDS)
        finally:
            self._held_back.discard(session)
            session.end_recovery()
        self._go_on_with(session)

    def _is_held_back(self, session: Session) -> bool:
        return session.link is not None and not self._store.is_mine(session) and not self._host.draining
