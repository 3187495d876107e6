"""Kicks: a user's sessions end on every node, and the user's existing tokens are refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from .bayeux.rules import Bayeux
from .brokers import Broker
from .errors import BrokerUnavailable
from .histories import HistoryRule
from .protocol.messages import dumps, loads
from .protocol.publications import Draft, Publication
from .sessions.registry import Registry
from .sessions.session import Session
from .turns import FEW, Turns
from .wheel import Wheel

logger = logging.getLogger(__name__)

#: The channel of the log by which nodes tell each other of kicks. Only the hub itself can publish to a meta channel.
KICK = "/meta/kick"

#: For how many seconds a kick is kept in the log, and how many kicks are.
KICK_SECONDS = 24 * 3600.0
KICKS = HistoryRule((KICK,), {"count": 10_000, "seconds": KICK_SECONDS, "bytes": 4 * 1024 * 1024}, "hub")

#: Seconds until the kept kicks are read again if the broker was unavailable.
AGAIN_SECONDS = 1.0


class Host(Protocol):
    """What the node does for the kicks."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this as a task."""

    def end_session(self, session: Session, reason: str) -> None:
        """End a session."""


class Kicks:
    """The kicks that one node knows of. time: the loop's clock, in seconds."""

    def __init__(
        self, host: Host, broker: Broker, bayeux: Bayeux, turns: Turns, wheel: Wheel, time: Callable[[], float]
    ) -> None:
        self._host = host
        self._broker = broker
        self._bayeux = bayeux
        self._registry: Registry = bayeux.registry
        self._turns = turns
        self._wheel = wheel
        self._time = time

    def draft(self, user: str) -> Draft:
        """The draft to publish to kick a user on all nodes."""
        return Draft(KICK, dumps({"user": user, "at": self._bayeux.wall()}))

    async def learn(self) -> None:
        """Refuse tokens of users kicked before this node was up. Raises BrokerUnavailable."""
        for publication in (await self._broker.history(KICK, None)).publications:
            told = loads(publication.data)
            self._bayeux.access.revoke(told["user"], told["at"])

    async def learn_again(self) -> None:
        """As `learn`, and end the sessions of users whose kicks this node has missed."""
        try:
            await self.learn()
        except BrokerUnavailable:
            logger.debug("kicks not read")
            self._wheel.add(self._time() + AGAIN_SECONDS, self._is_due, None)
            return
        self._send_away([session for session in self._registry.sessions.values() if self.is_sent_away(session)])

    def _is_due(self, _: None) -> None:
        self._host.spawn(self.learn_again())

    def is_sent_away(self, session: Session) -> bool:
        """Whether a session's user was kicked after the session was opened, or after its token was made."""
        access, bearer = self._bayeux.access, session.bearer
        if access.is_revoked(session.user, session.opened):
            return True
        # Even after its token has expired a session may be subscribed to open channels.
        return bearer is not None and access.is_revoked(*bearer)

    def take(self, publications: Sequence[Publication]) -> None:
        for publication in publications:
            told = loads(publication.data)
            user = told["user"]
            self._bayeux.access.revoke(user, told["at"])
            theirs = [
                session
                for session in self._registry.sessions.values()
                if session.user == user or (session.bearer is not None and session.bearer[0] == user)
            ]
            self._send_away(theirs)

    def _send_away(self, sessions: list[Session]) -> None:
        """End these sessions: a few at once, more of them in pieces, as ten thousand of one user took 56 ms.

        None of them hears anything from now on, even those of later pieces.
        """
        for session in sessions:
            session.begin_recovery()

        def end_some() -> bool:
            for session in sessions[-FEW:]:
                self._host.end_session(session, "kicked")
            del sessions[-FEW:]
            return bool(sessions)

        if end_some():
            self._turns.begin(end_some)
