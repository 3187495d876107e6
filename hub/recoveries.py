"""Recovery: a channel's history after a position is put into the queue of the session that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .bayeux.outcome import Recovery
from .brokers import Broker
from .counters import Counters
from .errors import BrokerUnavailable
from .protocol.publications import History, Position, Publication, conflate
from .protocol.replay import NEW, replay_id, start_of
from .sessions.registry import Registry
from .sessions.session import Session
from .turns import PIECE, Turns
from .wheel import Wheel

#: Seconds after which this node has certainly received, live, all that a history read has returned.
FLOOR_SECONDS = 5.0


class Recoveries:
    """Reads histories for the sessions of one node.

    count, size: most publications, and bytes, that may wait for a session. passed: returns those publications that
    extensions let this process's subscribers have. time: the loop's clock, in seconds.
    """

    def __init__(
        self,
        broker: Broker,
        registry: Registry,
        counters: Counters,
        turns: Turns,
        wheel: Wheel,
        time: Callable[[], float],
        passed: Callable[[Sequence[Publication]], Sequence[Publication]],
        count: int,
        size: int,
    ) -> None:
        self._broker = broker
        self._registry = registry
        self._counters = counters
        self._turns = turns
        self._wheel = wheel
        self._time = time
        self._passed = passed
        self._count = count
        self._bytes = size

    async def recover_all(self, recoveries: Sequence[Recovery]) -> None:
        """Do the recoveries of a request, and complete its replies; other work has its turns in between."""
        # First those that ask for a position only: they are told it before anything more is published there.
        histories = [each for each in recoveries if each.since is not None or each.replay is not None]
        for recovery in recoveries:
            if recovery.since is None and recovery.replay is None:
                await self._recover_one(recovery)
        for number, recovery in enumerate(histories, 1):
            if number % PIECE == 0:
                await self._turns.wait()
            await self._recover_one(recovery)

    async def _recover_one(self, recovery: Recovery) -> None:
        session, channel, ext = recovery.session, recovery.channel, recovery.reply["ext"]
        try:
            if recovery.replay is None:
                top, complete = await self.recover(session, channel, recovery.since)
            else:
                top, complete = await self._replay(session, channel, recovery.replay)
        except BrokerUnavailable:
            top, complete = None, False
        if top is not None:
            ext["position"][channel] = str(top)
        if recovery.since is not None or recovery.replay is not None:
            ext["recovered"][channel] = complete
        if recovery.replay is not None and top is not None:
            ext.setdefault("replay", {})[channel] = replay_id(top)

    async def recover(self, session: Session, channel: str, since: Position | None) -> tuple[Position, bool]:
        """Put what came after `since` at the head of the session's queue.

        Returns the channel's newest position, and whether everything since then was there. Raises BrokerUnavailable.
        """
        if since is None:
            top = await self._broker.position(channel)
            self._place(session, channel, top)
            return top, True
        return self._recovered(session, channel, await self._broker.history(channel, since))

    def _place(self, session: Session, channel: str, top: Position) -> None:
        """Note where a session starts. Not if it has unsubscribed: it would start there when it subscribes again."""
        if self._registry.listens(session, channel):
            session.began(channel, top)

    async def _replay(self, session: Session, channel: str, replay: int | Position) -> tuple[Position, bool]:
        """As `recover`, by a replay id. Where something may be missing it counts as not recovered."""
        top = await self._broker.position(channel)
        if replay == NEW:
            self._place(session, channel, top)
            return top, True
        start = start_of(replay, top)
        top, complete = self._recovered(session, channel, await self._broker.history(channel, start.since))
        return top, complete and start.sure

    def _recovered(self, session: Session, channel: str, history: History) -> tuple[Position, bool]:
        if session.ended:
            return history.top, False
        if not self._registry.listens(session, channel):
            # It has unsubscribed meanwhile.
            return history.top, history.recovered
        publications = self._passed(history.publications)
        count, size = self._count, self._bytes
        if not session.has_room(channel, publications, count, size):
            # The bound holds for history too: a request of 700 bytes may ask for 20 MiB.
            publications = conflate(publications)
            if not session.has_room(channel, publications, count, size):
                history, publications = History((), history.top, False), ()
                self._counters.oversized += 1
        if not history.recovered and session.tracks and session.link is None and session.awaits(channel):
            # The reply to an earlier subscribe promised these, and the client may leave before the reply to this one.
            session.mark_lost({channel})
        first = history.publications[0].position if history.publications else None
        session.begin(channel, history.top if first is None else Position(first.epoch, first.offset - 1))
        session.recovered(channel, publications, history.top)
        if history.recovered:
            self._counters.recovered += 1
        else:
            self._counters.unrecovered += 1
        if not session.tracks:
            self._registry.unsure(session)
        self._wheel.add(self._time() + FLOOR_SECONDS, self._drop_floor, (session, channel))
        return history.top, history.recovered

    def _drop_floor(self, entry: tuple[Session, str]) -> None:
        session, channel = entry
        if session.slept is not None:
            # When it wakes, what it slept through is compared with the floors.
            self._wheel.add(self._time() + FLOOR_SECONDS, self._drop_floor, entry)
            return
        if not session.ended:
            session.drop_floor(channel)
