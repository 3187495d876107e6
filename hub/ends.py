"""How sessions and their links end, and what is noted of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from .bayeux.rules import Bayeux
from .errors import UnknownClient
from .notes import Notes
from .protocol.close_codes import NORMAL, TRY_AGAIN_LATER
from .session_store import SessionStore
from .sessions.links import Link
from .sessions.registry import Registry
from .sessions.session import Session

logger = logging.getLogger(__name__)


class Ends:
    """The ends of one node's sessions. time: the loop's clock, in seconds."""

    def __init__(
        self,
        bayeux: Bayeux,
        store: SessionStore,
        notes: Notes,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        time: Callable[[], float],
    ) -> None:
        self._bayeux = bayeux
        self._registry: Registry = bayeux.registry
        self._store = store
        self._notes = notes
        self._spawn = spawn
        self._time = time

    def end_session(self, session: Session, reason: str) -> None:
        """End a session for a reason of the node's or a transport's."""
        if session.ended:
            return
        hold, link = session.end_hold(), session.detach()
        self.note_end(session, reason)
        self._registry.end(session)
        # One that expires without a connect was never more than a handshake.
        if session.fence > 0 and (session.connected or reason != "expired"):
            self._spawn(self._store.bury_later(session))
        if hold is not None:
            # Never a plain success: CometD's client throws at one with this advice, and polls no more.
            hold.error, hold.advice = UnknownClient(session.id), self._bayeux.rehandshake
            hold.to.send([self._bayeux.encode(self._bayeux.answer(hold), session.who)])
        if link is not None:
            link.leave(TRY_AGAIN_LATER if reason == "slow" else NORMAL, reason)
        logger.info("session ended", extra={"session": session.id[:8], "reason": reason})

    def lose_link(self, session: Session) -> None:
        """A session's link is gone, whoever noticed first; it lives on for `session_ttl` from now."""
        if session.detach() is not None and not session.ended:
            self.note(session, "connection lost")
            self._notes.unlinked(session.id)
        session.touch(self._time())
        if self._registry.attendance is not None:
            self._registry.attendance.away(session)
        if session.fence > 0 and session.connected and not session.ended:
            # Its client comes back at any worker, and the record may be long over.
            self._spawn(self._store.save_later(session))

    def note(self, session: Session, what: str) -> None:
        """Note what has happened to a session, for who looks for it."""
        self._notes.happened(session.id, what, self._bayeux.wall(), session.name, session.address)

    def note_end(self, session: Session, reason: str) -> None:
        """Note that a session has ended, and why."""
        self._notes.ends[reason] += 1
        self._notes.loose.pop(session.id, None)
        self.note(session, f"ended: {reason}")

    def note_return(self, session: Session, link: Link | None) -> None:
        """Note that a client whose connection was lost asks again. link: by which it does, None for a poll."""
        if self._notes.loose.pop(session.id, self) is None:
            self.note(session, "goes on by polling" if link is None else "goes on by another connection")
