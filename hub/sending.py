"""What sessions are sent: answers to their held connects, and their queues by their links."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any
from weakref import WeakKeyDictionary

from .bayeux.outcome import Recovery
from .bayeux.replies import UNAVAILABLE_INTERVAL
from .bayeux.rules import Bayeux
from .carrier import Carrier
from .counters import Counters
from .ends import Ends
from .errors import BrokerUnavailable, LinkClosed, SlowSession
from .polls import Poll
from .protocol.publications import Position, Publication
from .session_store import SessionStore
from .sessions.links import Answers, Batch
from .sessions.registry import Registry
from .sessions.session import Session

logger = logging.getLogger(__name__)


class Sending:
    """Sends to the sessions of one node; what its `Delivery` can't write at once comes here.

    tops: the newest positions of channels that had a publication lately. count, size: most publications, and bytes,
    that may wait for a session. time: the loop's clock, in seconds.
    """

    def __init__(
        self,
        bayeux: Bayeux,
        store: SessionStore,
        carrier: Carrier,
        counters: Counters,
        ends: Ends,
        tops: Mapping[str, Position],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        time: Callable[[], float],
        count: int,
        size: int,
    ) -> None:
        self._bayeux = bayeux
        self._registry: Registry = bayeux.registry
        self._store = store
        self._carrier = carrier
        self._counters = counters
        self._end_session = ends.end_session
        self._lose_link = ends.lose_link
        self._tops = tops
        self._spawn = spawn
        self._time = time
        self._count = count
        self._bytes = size
        # Sessions of which is being found out whether they are still this node's.
        self._checking: set[Session] = set()
        #: Sessions that go when they have what waits for them, with the code and the words of the close.
        self.leaving: WeakKeyDictionary[Session, tuple[int, str]] = WeakKeyDictionary()

    # Answers

    def answer(self, session: Session, *, sure: bool = False) -> None:
        """Answer the held connect with what waits for the session. sure: whether the broker said it is this node's."""
        hold = session.hold
        if hold is None:
            return
        if session.fence > 0 and not sure and session.link is None and not self._store.is_mine(session):
            # This process stood still, or the broker is away: perhaps it goes on elsewhere.
            if session not in self._checking:
                self._checking.add(session)
                self._spawn(self._answer_when_sure(session))
            return
        session.end_hold()
        session.touch(self._time())
        reply = self._bayeux.answer(hold)
        parts = self.parts(session, reply, hold.to)
        parts.append(self._bayeux.encode(reply, session.who))
        hold.to.send(parts)
        if session.link is not None:
            # What waited behind the word that something is lost.
            self.flush_queue(session)

    async def _answer_when_sure(self, session: Session) -> None:
        """As `answer`, once the broker said whose the session is."""
        try:
            async with self._store.turn(session.id):
                if not session.ended:
                    await self._store.locate(session.id)
            self._checking.discard(session)
            if not session.ended:
                self.answer(session, sure=True)
        except BrokerUnavailable:
            # Its client comes again, and what waits for it stays.
            hold = session.end_hold()
            if hold is not None:
                session.touch(self._time())
                hold.advice = {**self._bayeux.retry, "interval": UNAVAILABLE_INTERVAL}
                hold.to.send([self._bayeux.encode(self._bayeux.answer(hold), session.who)])
        finally:
            self._checking.discard(session)

    def parts(self, session: Session, reply: dict[str, Any], to: Answers) -> list[bytes]:
        """Take a session's queue to go before a connect's reply, and complete the reply's ext.

        Events go before the reply: a session can't expire between them, and CometD's server does so.
        """
        ext: dict[str, Any] = {}
        publications: list[Publication] = []
        # What waits for an event stream that comes back is the stream's: here it would overtake what the last one took
        # with it.
        beside = reply.get("advice") is self._bayeux.stream
        if (session.link is None and not beside) or session.ack is not None:
            publications = session.take_batch(reply.get("id"))
            if session.ack is not None:
                ext["ack"] = session.ack
            if session.delivered is not None and session.link is None:
                # Saved after the answer: who takes the session over before finds the older positions, and its client
                # gets some publications again rather than none.
                self._spawn(self._store.save_later(session))
            if isinstance(to, Poll):
                to.session, to.taken = session, publications
        if session.tracks:
            if session.lost:
                ext["lost"] = session.take_lost()
                if isinstance(to, Poll):
                    to.told_lost = ext["lost"]
            tops = self.tops_of(session)
            if tops:
                ext["tops"] = tops
        if ext:
            reply["ext"] = reply.get("ext", {}) | ext
        return [publication.message for publication in publications]

    def tops_of(self, session: Session) -> dict[str, str]:
        """The newest positions of a session's channels, of those that had a publication lately."""
        tops = self._tops
        return {name: str(tops[name]) for name in session.patterns if name in tops}

    # Polls

    def abandon(self, poll: Poll) -> None:
        """A poll's client is gone, or its answer could not be written: what it held or took is kept."""
        poll.gone = True
        if poll.carried is not None:
            self._carrier.leave(poll)
        session = poll.session
        if session is None or session.ended:
            return
        if session.hold is not None and session.hold.to is poll:
            session.end_hold()
            session.touch(self._time())
            if self._registry.attendance is not None:
                self._registry.attendance.away(session)
        elif poll.taken:
            self._registry.return_batch(session, poll.taken)
            if session.link is not None:
                self.flush_queue(session)
            if session.delivered is not None:
                self._spawn(self._store.save_later(session))
        if poll.told_lost:
            self.tell_lost(session, set(poll.told_lost))
        poll.session = None

    def hurry(self, poll: Poll) -> None:
        """Answer a poll now if it is held, with nothing: its client sends no more, and may be gone."""
        poll.hurried = True
        if poll.carried is not None:
            self._carrier.hurry(poll)
            return
        session = poll.session
        if session is None or session.ended or session.hold is None or session.hold.to is not poll:
            return
        self.answer(session)
        if self._registry.attendance is not None:
            self._registry.attendance.away(session)

    def written(self, poll: Poll) -> None:
        """A poll's answer was written; its transport says this or `abandon`."""
        if poll.carried is not None:
            self._carrier.written(poll)

    # Queues

    def flush_queue(self, session: Session) -> None:
        """Write a queue to its link, if there is one that takes it; then batches go straight there again."""
        link = session.link
        if link is None or session.ack is not None or session.recovering or session.lost or session.ended:
            return
        if session.queue is not None and not link.blocked:
            taken = session.take()
            try:
                for channel, run in groupby(taken, attrgetter("channel")):
                    link.offer(Batch(channel, list(run)))
            except LinkClosed:
                self._lose_link(session)
                session.put_back(taken)
        session.settle()
        if self.leaving and session in self.leaving:
            self._leave(session)

    def _leave(self, session: Session) -> None:
        """Send a session away that was told to go, once it has what was published before."""
        link = session.link
        if session.queue is not None or session.recovering or link is None or link.blocked:
            return
        code, words = self.leaving.pop(session)
        link.leave(code, words)
        self._end_session(session, "closed by a publisher")

    def put_aside(self, session: Session, publications: Iterable[Publication]) -> None:
        """The slow path: what can't be written at once waits in the session's queue."""
        try:
            session.enqueue(publications, self._count, self._bytes)
        except SlowSession:
            self.forgot(session)
            return
        if session.queue is not None:
            if session.hold is not None and (session.link is None or session.ack is not None):
                if not session.recovering:
                    self.answer(session)
                return
            self.flush_queue(session)
        elif session.floors is None:
            session.settle()

    def not_delivered(self, session: Session, batch: Batch, error: Exception) -> None:
        """A link could not be written to: usually it is closed, and has not been told yet."""
        if session.ended:
            return
        if isinstance(error, LinkClosed):
            self._lose_link(session)
            self.put_aside(session, batch.publications)
        else:
            logger.error("delivery failed", exc_info=error)
            self._end_session(session, "failed")

    def forgot(self, session: Session) -> None:
        """More came for a session than may wait for one."""
        self._counters.slow += 1
        self._end_session(session, "slow")

    def tell_lost(self, session: Session, channels: set[str]) -> None:
        """Tell a client that publications of these channels may have been missed; ends a session that can't be told."""
        if session.link is not None and session.link.tell_lost(channels):
            return
        if not session.tracks:
            # The only word every Bayeux client knows for "start anew".
            self._end_session(session, "lost")
            return
        session.mark_lost(channels)
        if session.hold is not None:
            self.answer(session)

    def go_on_after(self, recoveries: Iterable[Recovery]) -> None:
        """Let sessions have what waited behind their recoveries, now that their clients have been told of these."""
        for session in {recovery.session: None for recovery in recoveries}:
            self.go_on_with(session)

    def go_on_with(self, session: Session) -> None:
        """Let a session have what has waited, by the answer to its held connect or by its link."""
        session.settle()
        is_due = session.has_ready or session.lost is not None
        if session.hold is not None and is_due and (session.link is None or session.ack is not None):
            self.answer(session)
        else:
            self.flush_queue(session)
