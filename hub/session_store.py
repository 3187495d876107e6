"""Sessions that several workers know of: which of them this node owns, and how it comes by one or gives one up.

The broker's word on who owns a session is final, and what this node remembers of one is good while the fence is its
own. While the node's lease lasts nobody takes a session from it, so a client whose requests reach the owner costs no
question. What a message changes is in the record before the message is answered.

For each session one thing is done at a time (`turn`): two requests that come at once don't claim it twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Protocol
from weakref import WeakSet

from .brokers import KEY_SECONDS, Broker, Claim
from .counters import Counters
from .errors import BadWire, BrokerUnavailable
from .protocol.channels import is_wild
from .protocol.publications import Position
from .record import SessionRecord
from .sessions.registry import Registry
from .sessions.session import Session
from .wheel import Wheel

logger = logging.getLogger(__name__)

#: Seconds until a record is saved again that could not be.
AGAIN_SECONDS = 1.0

#: Seconds for which a request waits for this worker's lease, and between two looks at it. One that wakes up renews it
#: within milliseconds; with Redis back from a fault it takes up to a second.
LEASE_WAIT_SECONDS = 5.0
LEASE_LOOK_SECONDS = 0.05

#: Numbers of batches that are left out when a session goes on here. Its last owner may have given them to batches that
#: the record does not know of: a client that acknowledges one of those would acknowledge another, and miss it. For an
#: owner that died, whose last saves may have failed; and for one that gave it up. Some clients read 31 bits only.
UNKNOWN_BATCHES = 1 << 16
UNSAVED_BATCHES = 1 << 8

#: Sessions given up at once at the end.
RELEASED_AT_ONCE = 200


class Host(Protocol):
    """What the node does for the store."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Finish this whatever becomes of the request."""

    async def recover_adopted(self, session: Session, channel: str, since: Position) -> bool:
        """Let what came after a position wait for a session; whether all did. Raises BrokerUnavailable."""

    def may_go_on(self, session: Session, patterns: Sequence[str]) -> bool:
        """Whether a session that another worker had, and its subscriptions, are still allowed now."""

    def adopted(self, session: Session) -> None:
        """A session goes on here that another worker had."""

    def not_recovered(self, session: Session) -> None:
        """An adopted session may have missed something, and can't be told so."""

    def let_go(self, session: Session, *, by: str | None) -> None:
        """A session goes on elsewhere: answer what it holds, send away its link; nothing is taken from its queue.

        by: the transport of the connection of its client that asks for it, empty where that is not known; None if none
        does.
        """

    def unconfirmed(self, session_id: str) -> bool:
        """Whether nobody knows yet if a session's last answer was written, as another worker has it."""

    async def confirmed(self, session_id: str) -> None:
        """Wait until that is known; if it is not in time, the answer counts as lost."""

    def delivered_up_to(self, channel: str) -> Position | None:
        """Where everything has been delivered to a channel's subscribers, if it had publications lately."""


class _Turn:
    """Whose turn it is with a session, and how many wait."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class _Saves:
    """The saves of a session: one at a time. count: how many have begun.

    saved: what became of the last, None if nobody knows.
    """

    __slots__ = ("count", "lock", "saved", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.count = 0
        self.saved: bool | None = None


class SessionStore:
    """The sessions of a node, and their records in the broker. seconds: how long a record is kept.

    time: the loop's clock.
    """

    def __init__(
        self,
        host: Host,
        broker: Broker,
        registry: Registry,
        counters: Counters,
        wheel: Wheel,
        time: Callable[[], float],
        seconds: float,
    ) -> None:
        self._host = host
        self._broker = broker
        self._registry = registry
        self._counters = counters
        self._wheel = wheel
        self._time = time
        self._seconds = seconds
        self._turns: dict[str, _Turn] = {}
        # Requests under way, by session: it is not given up in their midst.
        self._working: dict[str, int] = {}
        self._rested: dict[str, asyncio.Event] = {}
        # Sessions whose records must be saved again.
        self._unsaved: set[Session] = set()
        self._saves: dict[Session, _Saves] = {}
        # Sessions of which a save may still come to the broker, after others.
        self._unsure: WeakSet[Session] = WeakSet()

    # What is asked at each request

    def is_mine(self, session: Session) -> bool:
        """Whether this node owns a session for certain."""
        return session.life == self._broker.life != 0

    def is_busy(self, session_id: str) -> bool:
        """Whether something is being decided about a session."""
        return session_id in self._turns

    @contextlib.asynccontextmanager
    async def turn(self, session_id: str) -> AsyncIterator[None]:
        """One after the other, in the order of asking."""
        turn = self._turns.get(session_id)
        if turn is None:
            turn = self._turns[session_id] = _Turn()
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[session_id]

    def begin(self, session_id: str) -> None:
        """A request of a session has something to wait for; `done` follows."""
        self._working[session_id] = self._working.get(session_id, 0) + 1

    def done(self, session_id: str) -> None:
        """It waits no more."""
        self._working[session_id] -= 1
        if not self._working[session_id]:
            del self._working[session_id]
            rested = self._rested.pop(session_id, None)
            if rested is not None:
                rested.set()

    async def _rest(self, session_id: str) -> None:
        """Wait until no request of the session is under way."""
        while session_id in self._working:
            await self._rested.setdefault(session_id, asyncio.Event()).wait()

    # Coming by a session; in its turn

    async def locate(self, session_id: str, *, against: int = 0) -> Claim | None:
        """Who owns a session, None if that is decided here: it is this node's now, or is no more, or never was.

        It is this node's for certain: claimed without a lease, as by a process that stood still, another could take it,
        and change what it hears, before the broker's word is here. against: the fence of an owner that is not alive.
        Raises BrokerUnavailable.
        """
        until = self._time() + LEASE_WAIT_SECONDS
        while True:
            claim = await self._locate(session_id, against)
            session = self._registry.get(session_id)
            if claim is not None or session is None or self.is_mine(session):
                return claim
            against = 0
            await self._wait_for_lease(until)

    async def _wait_for_lease(self, until: float) -> None:
        """Wait until this worker has a lease; raises BrokerUnavailable after `until` (loop time), lease or not."""
        while self._time() <= until:
            if self._broker.life:
                return
            await asyncio.sleep(LEASE_LOOK_SECONDS)
        raise BrokerUnavailable("this worker's lease was not renewed")

    async def _locate(self, session_id: str, against: int) -> Claim | None:
        """As `locate`, by a claim that may have been made without a lease."""
        session = self._registry.get(session_id)
        if session is not None and self.is_mine(session):
            return None
        if session is None and self._registry.ended_lately(session_id):
            return None
        life = self._broker.life
        claim = await self._broker.claim_session(session_id, self._seconds, against=against)
        session = self._registry.get(session_id)
        if claim is None:
            if session is not None:
                # The broker has forgotten it: evicted, or lost with a failover.
                session.own(session.fence, life)
                await self.save(session)
            return None
        if claim.owner != self._broker.worker:
            if session is not None:
                self._drop(session)
            return claim
        taken_over = against > 0 and claim.fence == against + 1
        if taken_over:
            self._counters.taken_over += 1
        if session is not None and claim.fence == session.fence + 1:
            # Nobody had it meanwhile.
            session.own(claim.fence, life)
            return None
        if session is not None:
            self._drop(session)
        await self._adopt(session_id, claim, life, skip=UNKNOWN_BATCHES if taken_over else UNSAVED_BATCHES)
        return None

    async def _adopt(self, session_id: str, claim: Claim, life: int, *, skip: int = 0) -> None:
        """Continue a session here, by its record. skip: numbers of batches that are left out."""
        registry = self._registry
        try:
            record = SessionRecord.parse(claim.record)
            if record.ended:
                registry.bury(session_id, record.user)
                return
            session = record.session(session_id, self._time())
        except BadWire as error:
            # Its client is told that it is unknown, and begins anew.
            logger.warning("session record can't be read", extra={"session": session_id[:8], "error": str(error)})
            return
        session.own(claim.fence, life)
        assert session.delivered is not None
        if not self._host.may_go_on(session, record.patterns):
            # Its token has expired, or its user was sent away, while nobody had it. Its client handshakes again.
            logger.info("session not continued", extra={"session": session_id[:8], "reason": "not allowed any more"})
            registry.bury(session_id, record.user)
            await self.bury_later(session)
            return
        registry.add(session)
        self._counters.adopted += 1
        lost = set(record.lost)
        session.begin_recovery()
        registry.subscribe_all(session, list(dict.fromkeys(record.patterns)))
        known = [name for name in record.patterns if name in session.delivered]
        lost.update(name for name in record.patterns if name not in session.delivered)
        try:
            found = await asyncio.gather(
                *(self._host.recover_adopted(session, name, session.delivered[name]) for name in known),
                return_exceptions=True,
            )
            for each in found:
                if isinstance(each, BaseException):
                    raise each
        except BaseException:
            # Half of a session must not go on; its record is as it was.
            self._drop(session)
            raise
        session.end_recovery()
        if session.ended:
            # Its user was sent away meanwhile.
            return
        record.restore_sent(session)
        session.skip_acks(skip)
        session.settle()
        lost.update(name for name, complete in zip(known, found, strict=True) if not complete)
        self._host.adopted(session)
        if lost and session.tracks:
            session.mark_lost(lost)
        elif lost:
            self._host.not_recovered(session)

    async def recover(self, session_id: str, *, by: str = "") -> None:
        """Give a session again what the broker has since what its client certainly has, as here that is forgotten.

        by: the transport of the connection that goes on with it. Raises BrokerUnavailable.
        """
        await self._rest(session_id)
        session = self._registry.get(session_id)
        if session is None or self._registry.is_resumable(session):
            return
        await self._position(session)
        if not session.ended:
            record = SessionRecord.of(session)
            claim = Claim(self._broker.worker, session.fence, record.encode())
            life = session.life
            self._drop(session, by=by)
            await self._adopt(session_id, claim, life)

    def _drop(self, session: Session, *, by: str | None = None) -> None:
        """Forget a session that another worker owns."""
        if session.ended:
            return
        self._host.let_go(session, by=by)
        self._registry.forget(session)
        session.disown()
        self._unsaved.discard(session)
        logger.info("session moved", extra={"session": session.id[:8]})

    # Keeping it

    async def save(self, session: Session) -> bool:
        """Keep a session's record; False if another worker owns it. Raises BrokerUnavailable.

        Then the session is none of this node's any more. One save follows the other: of two at once, on two
        connections, the older could come last. What is asked for while one is under way is saved by the next.
        """
        saves = self._saves.get(session)
        if saves is None:
            saves = self._saves[session] = _Saves()
        saves.users += 1
        count = saves.count
        try:
            async with saves.lock:
                if saves.count == count:
                    saves.count, saves.saved = count + 1, None
                    saves.saved = await self._save(session)
                elif saves.saved is None:
                    raise BrokerUnavailable("the save that this one waited for failed")
                return saves.saved
        finally:
            saves.users -= 1
            if not saves.users:
                del self._saves[session]

    async def _save(self, session: Session) -> bool:
        broker, registry = self._broker, self._registry
        while True:
            if session.ended:
                return session.fence >= 0
            await self._position(session)
            if registry.sessions.get(session.id) is not session:
                return session.fence >= 0
            if session in self._unsure and not await self._claim_anew(session):
                continue
            life = broker.life
            fence = session.fence or 1
            session.own(fence)
            record = SessionRecord.of(session).encode()
            self._unsaved.discard(session)
            try:
                saved = await broker.save_session(session.id, fence, record, self._seconds)
            except BrokerUnavailable:
                self._unsure.add(session)
                self._save_again(session)
                raise
            if saved:
                if session.fence == fence:
                    session.own(fence, life)
                return True
            if session.fence in (fence, -1):
                self._counters.fenced += 1
                self._drop(session)
                return False
            # Claimed meanwhile, by this node.

    async def _claim_anew(self, session: Session) -> bool:
        """Get a session's next fence, as a save of which nothing was heard may have its effect any time.

        With this fence's it could take back what was answered since. False if the session is not this node's, or not
        any more what the broker has of it: then it is forgotten. Raises BrokerUnavailable.
        """
        life, was_mine = self._broker.life, self.is_mine(session)
        try:
            claim = await self._broker.claim_session(session.id, self._seconds)
        except BrokerUnavailable:
            self._save_again(session)
            raise
        if session.ended:
            # Its end is written with the newer fence.
            if claim is not None and claim.owner == self._broker.worker and session.fence >= 0:
                session.own(max(session.fence, claim.fence))
            self._unsure.discard(session)
            return False
        if claim is None:
            # No save has ever got there.
            self._unsure.discard(session)
            return True
        if claim.owner == self._broker.worker and session.fence >= claim.fence:
            # Claimed once more meanwhile, by this node.
            return True
        if claim.owner == self._broker.worker and (was_mine or claim.fence == session.fence + 1):
            session.own(claim.fence, life)
            self._unsure.discard(session)
            return True
        self._counters.fenced += 1
        self._drop(session)
        return False

    async def _position(self, session: Session) -> None:
        """Find out where the channels are that a session subscribed to without asking."""
        known = session.keep_positions()
        new = [name for name in session.patterns if name not in known and not is_wild(name)]
        if new:
            positions = await asyncio.gather(*map(self._broker.position, new))
            for name, position in zip(new, positions, strict=True):
                session.place(name, position)

    async def save_later(self, session: Session) -> None:
        """As `save`, of what was answered already: if the broker is away it is saved when it is back."""
        try:
            await self.save(session)
        except BrokerUnavailable:
            logger.debug("session not saved", extra={"session": session.id[:8]})

    def _save_again(self, session: Session) -> None:
        if not self._unsaved:
            self._wheel.add(self._time() + AGAIN_SECONDS, self._again_due, None)
        self._unsaved.add(session)

    def _again_due(self, _: None) -> None:
        sessions, self._unsaved = self._unsaved, set()
        for session in sessions:
            if not session.ended:
                self._host.spawn(self.save_later(session))

    async def bury(self, session: Session) -> bool:
        """Let other workers know for a while that a session has ended: a client publishes late under its id.

        As long as a repeated publish is known for one. False if another worker owns the session: there it goes on.
        Raises BrokerUnavailable.
        """
        broker = self._broker
        record = SessionRecord.of_ended(session).encode()
        while session.fence >= 0:
            if session in self._unsure and not await self._claim_ended(session):
                break
            fence = session.fence
            if await broker.save_session(session.id, fence, record, KEY_SECONDS, release=True):
                return True
            if session.fence == fence and session not in self._unsure:
                break
            # Claimed meanwhile, by this node.
        else:
            return False
        self._counters.fenced += 1
        self._registry.dig_up(session.id)
        return False

    async def _claim_ended(self, session: Session) -> bool:
        """Get the next fence of a session that has ended here, as a claim of which nothing was heard may have got one.

        With the older one its end would be refused, and its record, which lacks what was asked for last, would go on.
        False if another worker owns it. Raises BrokerUnavailable.
        """
        claim = await self._broker.claim_session(session.id, self._seconds)
        self._unsure.discard(session)
        if claim is None:
            return True
        if claim.owner != self._broker.worker:
            return False
        session.own(max(session.fence, claim.fence))
        return True

    async def bury_later(self, session: Session) -> None:
        """As `bury`, of a session whose client need not hear of it."""
        try:
            await self.bury(session)
        except BrokerUnavailable:
            # The record expires by itself, and here the id is known as an ended one till then.
            logger.debug("session record not ended", extra={"session": session.id[:8]})

    # Giving it up; in its turn

    async def release(self, session_id: str, *, by: str | None = None) -> None:
        """Let any other worker have a session; it is forgotten here. Raises BrokerUnavailable.

        by: as for `Host.let_go`.
        """
        while True:
            await self._rest(session_id)
            session = self._registry.get(session_id)
            if session is None:
                # Remembered no more, and perhaps still this worker's by the broker's word.
                claim = await self._broker.claim_session(session_id, self._seconds)
                if claim is not None and claim.owner == self._broker.worker:
                    record, seconds = claim.record, self._seconds
                    if self._registry.ended_lately(session_id):
                        # It ended here, and its record does not say so yet.
                        ended = SessionRecord.of_one_that_ended(self._registry.user_of_ended(session_id))
                        record, seconds = ended.encode(), KEY_SECONDS
                    await self._broker.save_session(session_id, claim.fence, record, seconds, release=True)
                return
            await self._position(session)
            if session.ended:
                return
            if not self._host.unconfirmed(session_id):
                break
            # Whoever has it next takes the next connect for the word that this answer arrived.
            await self._host.confirmed(session_id)
        self._update_positions(session)
        record, fence = SessionRecord.of(session).encode(), session.fence or 1
        self._drop(session, by=by)
        self._counters.moved += 1
        await self._broker.save_session(session_id, fence, record, self._seconds, release=True)

    def _update_positions(self, session: Session) -> None:
        """What went out on a link was not noted one by one: find out up to where the client certainly has it."""
        delivered = session.delivered
        if delivered is None or session.arrived is None or session.recovering or session.ack is not None:
            return
        if not self._registry.resume(session):
            return
        # An answer from before the link came may not have arrived either: the next connect says.
        sent = [item for _, items in session.unacked or () for item in items]
        firsts: dict[str, Position] = {}
        for publication in (*sent, *(session.queue or ())):
            firsts.setdefault(publication.channel, publication.position)
        for name in session.patterns:
            first, known = firsts.get(name), delivered.get(name)
            if first is not None:
                place: Position | None = Position(first.epoch, first.offset - 1)
            else:
                place = None if is_wild(name) else self._host.delivered_up_to(name)
            # What was published before it subscribed may have come here late, and is not for it.
            if place is not None and not (
                known is not None and known.epoch == place.epoch and known.offset > place.offset
            ):
                session.begin(name, place)

    async def release_all(self) -> None:
        """Give up all sessions, at the node's end: other workers need not wait until its lease is over."""
        ids = [each.id for each in self._registry.sessions.values() if each.fence > 0 and each.connected]
        for start in range(0, len(ids), RELEASED_AT_ONCE):
            await asyncio.gather(*map(self._release_one, ids[start : start + RELEASED_AT_ONCE]))

    async def _release_one(self, session_id: str) -> None:
        try:
            async with self.turn(session_id):
                if session_id in self._registry.sessions:
                    await self.release(session_id)
        except BrokerUnavailable:
            logger.debug("session not released", extra={"session": session_id[:8]})
