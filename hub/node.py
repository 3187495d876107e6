"""The hub in one process: it puts the parts of a realm together, and is what transports and the site see of them.

The rules (`bayeux`) decide, the broker keeps the log. `intake` takes requests, `effects` carries out what the rules
decided, `delivery` fans out what the broker received, `sending` answers and writes what has waited, `deadlines` expires
the silent. The node knows neither HTTP nor frames.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .bayeux.names import EVENTSOURCE
from .bayeux.replies import SUPERSEDED_INTERVAL
from .bayeux.rules import Bayeux
from .bayeux.usual import Usual
from .brokers import Broker, Health
from .closings import Closings
from .counters import Counters
from .deadlines import Deadlines
from .delivery import Delivery
from .effects import Effects
from .ends import Ends
from .errors import BrokerUnavailable, Superseded
from .extensions import Extensions
from .follower import FollowBounds, Followers
from .ids import new_id
from .intake import Intake
from .kicks import KICK, Kicks
from .lanes import Lanes
from .link_queues import LinkQueues
from .notes import SERVER, Notes
from .protocol.access import NOBODY, Grant, Verdicts, Who
from .protocol.channels import is_wild, matches
from .protocol.close_codes import GOING_AWAY, NORMAL
from .protocol.publications import Draft, History, Position, Publication, Published
from .recoveries import Recoveries
from .routing import Router
from .sending import Sending
from .session_store import SessionStore
from .sessions.backlog import Backlog
from .sessions.links import Link
from .sessions.registry import Registry
from .sessions.session import Session
from .streams import Streams
from .tasks import Tasks
from .tentative import Tentative
from .tops import Tops
from .turns import PIECE, Turns
from .wheel import Wheel

#: Links told to go a second while draining: a quarter of what one core was measured to accept, with
#: handshake, subscribe and connect (docs/benchmarks.md); and how many of them at once.
DRAIN_RATE = 2000
DRAIN_SLICE = 100

#: Seconds at the end for giving sessions to other workers.
RELEASE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the node allows itself and its sessions. Seconds, bytes."""

    tick: float = 0.002
    queue_count: int = 1000
    queue_bytes: int = 1024 * 1024
    session_ttl: float = 30.0
    follower_count: int = 10_000
    follower_bytes: int = 16 * 1024 * 1024
    notes: int = 20_000


class Node:
    """One realm of the hub in one process. Made inside a running loop; `start` before use, `stop` at the end."""

    def __init__(
        self,
        broker: Broker,
        bayeux: Bayeux,
        bounds: Bounds | None = None,
        addresses: dict[str, int] | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.broker = broker
        self.bayeux = bayeux
        self.registry: Registry = bayeux.registry
        self.bounds = bounds = bounds or Bounds()
        count, size = bounds.queue_count, bounds.queue_bytes
        #: Subscriptions whose records are not saved yet.
        self.tentative = Tentative()
        bayeux.use(count, size, self.tentative if broker.keeps_sessions else None)
        self.counters = Counters()
        #: What was published here and by whom, and what became of sessions.
        self.notes = Notes(bounds.notes)
        #: What workers say to each other beside requests, by the word that it begins with.
        self.mailboxes: dict[bytes, Callable[[bytes], None]] = {}
        self.draining = False
        self.links: set[Link] = set()
        #: WebSockets open, and how many connections an address has, by address, at all nodes of the process.
        self.sockets = 0
        self.addresses: dict[str, int] = {} if addresses is None else addresses
        #: The costly work of all nodes of the process.
        self.turns = Turns() if turns is None else turns
        #: Clients whose requests wait or are under way, so that the next ones follow them.
        self.lanes = Lanes(self.turns)
        #: Links whose last batch is not done with, and what they sent meanwhile.
        self.queues = LinkQueues()
        loop = asyncio.get_running_loop()
        self.time = loop.time
        self.wheel = Wheel(loop)
        self.tasks = Tasks()
        self.spawn = spawn = self.tasks.spawn
        #: How far this process has heard each channel, and code that follows channels.
        self.tops = Tops(new_id()[:8])
        follow = FollowBounds(bounds.follower_count, bounds.follower_bytes)
        self.followers = Followers(self.tops, lambda: self.broker.hears, self._followed_history, follow)
        #: The name by which this node owns sessions.
        self.worker = broker.worker or new_id()[:16]
        # A held connect lasts longer than a session without one.
        ttl = bounds.session_ttl + bayeux.limits.timeout
        self.store = SessionStore(self, broker, self.registry, self.counters, self.wheel, self.time, ttl)
        self.router = Router(self, broker, bayeux, self.store, self.counters, self.lanes, self.queues, self.time)
        self.carrier = self.router.carrier
        self.ends = Ends(bayeux, self.store, self.notes, spawn, self.time)
        self.sending = Sending(
            bayeux, self.store, self.carrier, self.counters, self.ends, self.tops.heard, spawn, self.time, count, size
        )
        self.kicks = Kicks(self, broker, bayeux, self.turns, self.wheel, self.time)
        # A kick takes effect before what was published in the same tick is delivered.
        self.closings = Closings(self.registry, self.sending, spawn, told_first=(KICK,))
        self.closings.take_from(KICK, self.kicks.take)
        self.delivery = Delivery(
            self.registry, self.counters, bounds.tick, self._new_backlog, self.sending, self.closings, self.tops
        )
        self.streams = Streams(self, broker, self.registry, self.store, self.ends, self.sending, spawn)
        self.deadlines = Deadlines(
            self, bayeux, self.store, self.counters, self.wheel, self.turns, self.time, bounds.session_ttl
        )
        self.extensions = Extensions(self.counters)
        self.recoveries = Recoveries(
            broker,
            self.registry,
            self.counters,
            self.turns,
            self.wheel,
            self.time,
            self.extensions.passed,
            count,
            size,
        )
        self.effects = self._new_effects()
        self.intake = self._new_intake()
        #: Called when publications may have been missed.
        self.when_lost: list[Callable[[], None]] = []
        self._bind()

    def _new_effects(self) -> Effects:
        return Effects(
            self.broker,
            self.bayeux,
            self.store,
            self.router,
            self.delivery,
            self.deadlines,
            self.recoveries,
            self.tentative,
            self.lanes,
            self.counters,
            self.notes,
            self.ends,
            self.sending,
            self.spawn,
            self.try_publish,
        )

    def _new_intake(self) -> Intake:
        usual = None
        if not self.broker.keeps_sessions:
            # Else a session's record is kept before its replies go out, which takes waiting.
            usual = Usual(self.bayeux, self.broker.try_position, tops=self.sending.tops_of, opened=self.effects.opened)
        return Intake(
            self.broker,
            self.bayeux,
            self.store,
            self.router,
            self.delivery,
            self.lanes,
            self.turns,
            self.queues,
            self.effects,
            usual,
            self.spawn,
            self.time,
            self.bounds.queue_count,
            self.bounds.queue_bytes,
        )

    def _bind(self) -> None:
        """Give the parts' functions the names by which others call them: a call of the node costs no call more."""
        #: Extensions that see each publication once, before it is encoded for all.
        self.published = self.extensions.published
        self._pass_out = self.extensions.pass_out
        self._streamed = self.streams.streamed
        self.accept = self.intake.accept
        self.is_busy = self.intake.is_busy
        self.take = self.intake.take
        self.free_link = self.intake.free_link
        self.answer = self.sending.answer
        self.abandon = self.sending.abandon
        self.hurry = self.sending.hurry
        self.written = self.sending.written
        #: A link's buffer has drained: sends what has waited for it.
        self.writable = self.sending.flush_queue
        self.end_session = self.ends.end_session
        #: Lets a session go on on a stream.
        self.move = self.streams.move
        self.take_from = self.closings.take_from

    # Life

    async def start(self) -> None:
        """Open the broker; raises BrokerUnavailable."""
        await self.broker.open(self)
        if self.broker.keeps_sessions:
            await self.kicks.learn()
            self.carrier.start()
        if self.registry.attendance is not None:
            self.registry.attendance.start()

    async def drain(self) -> None:
        """Answer every held connect and say goodbye on every link, DRAIN_RATE of them a second.

        Clients come back elsewhere, most of them at once: the rate is what the others can take.
        """
        await drain([self])

    def begin_drain(self) -> list[Link]:
        """Answer every held connect, and take nobody new; returns the links to say goodbye on, none the second time."""
        if self.draining:
            return []
        self.draining = self.effects.holds_none = True
        for session in list(self.registry.sessions.values()):
            if session.hold is not None:
                self.answer(session)
        self.carrier.hurry_all()
        return list(self.links)

    async def stop(self) -> None:
        """Drain, finish what was begun, close the broker."""
        await self.drain()
        await self.tasks.finish()
        if self.broker.keeps_sessions:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELEASE_SECONDS):
                    # For all at once: they are given up in parts, which would wait one after the other.
                    await self.carrier.all_confirmed()
                    await self.store.release_all()
                    await self.carrier.finished()
            await self.tasks.finish()
        if self.registry.attendance is not None:
            await self.registry.attendance.stop()
        self.carrier.stop()
        self.followers.close()
        await self.broker.close()
        self.wheel.stop()
        self.delivery.stop()

    @property
    def health(self) -> Health:
        """Whether this node can do its work now, and the reason when it can't."""
        if self.draining:
            return Health(False, "draining")
        return self.broker.health

    # Publishing

    async def publish(self, drafts: Sequence[Draft], by: str = SERVER) -> list[Published]:
        """Publish drafts; raises BrokerUnavailable. Waits while fan-out is far behind. by: as for `Notes.note`."""
        room = self.delivery.room()
        if room is not None:
            await room
        published = await self.broker.publish(drafts)
        self.counters.published += len(published)
        self.notes.note(drafts, published, by, self.bayeux.wall())
        return published

    def try_publish(self, drafts: Sequence[Draft], by: str = SERVER) -> list[Published] | None:
        """Publish without waiting, or None: then nothing was done, and it takes `publish`."""
        if self.delivery.is_behind:
            return None
        published = self.broker.try_publish(drafts)
        if published is not None:
            self.counters.published += len(published)
            self.notes.note(drafts, published, by, self.bayeux.wall())
        return published

    async def kick(self, user: str) -> None:
        """End a user's sessions on every node, and refuse the tokens they have; raises BrokerUnavailable.

        They come back with a token made later, if the site gives them one. With Redis a node that
        starts later learns of it for `kicks.KICK_SECONDS`; tokens should not live for longer.
        """
        await self.publish([self.kicks.draft(user)])

    # Sessions and their links

    async def session(self, session_id: str) -> Session | None:
        """As `Router.session`. Raises BrokerUnavailable."""
        return await self.router.session(session_id)

    async def session_still(self, session: Session) -> Session | None:
        """As `Router.session_still`. Raises BrokerUnavailable."""
        return await self.router.session_still(session)

    def subscribers(self, channel: str) -> int:
        """How many sessions of this process a publication of the channel reaches."""
        return self.registry.count(channel)

    def is_attached(self, link: Link) -> bool:
        """Whether a link is still there."""
        return link in self.links

    def attach(self, link: Link) -> None:
        """A link exists; it will be told when the node drains."""
        self.links.add(link)

    def detach(self, link: Link, session: Session | None) -> None:
        """A link is gone. Its session lives on for `session_ttl`."""
        self.links.discard(link)
        self.queues.drop(link)
        if session is not None and session.link is link:
            self.ends.lose_link(session)

    def count_address(self, address: str, change: int) -> None:
        """A connection of this address came (1) or went (-1)."""
        count = self.addresses.get(address, 0) + change
        if count > 0:
            self.addresses[address] = count
        else:
            self.addresses.pop(address, None)

    def open_session(self, link: Link, who: Who = NOBODY, address: str = "") -> Session:
        """A session for a client that speaks no Bayeux: it lives as long as its link. address: whose it is."""
        session = self.bayeux.new_session(self.time(), who.visitor, address)
        session.authorize(who.grant)
        self.deadlines.watch_grant(session)
        session.connect()
        session.track()
        self.registry.add(session)
        session.attach(link)
        self.counters.opened += 1
        return session

    def take_grant(self, session: Session, grant: Grant, known: Verdicts | None = None) -> None:
        """Let a plain session do what a newer token allows. known: as `Bayeux.take_grant`."""
        if self.bayeux.take_grant(session, grant, known):
            self.deadlines.watch_grant(session)

    async def subscribe(
        self, session: Session, positions: dict[str, Position | None]
    ) -> dict[str, tuple[Position, bool]]:
        """Subscribe a plain session and recover each channel; returns the channel's position and whether all came.

        Raises BrokerUnavailable; then those that are new are taken back, for a client that had something newer would
        ask again from there. Ends the session if it may not hear one of them any more: the rules were asked before
        others had their turn.
        """
        if self.kicks.is_sent_away(session):
            self.end_session(session, "kicked")
        session.begin_recovery()
        if self.delivery.pending:
            self.delivery.flush()
        new: list[str] = []
        try:
            for number, pattern in enumerate(positions, 1):
                if number % PIECE == 0:
                    await self.turns.wait()
                if not session.ended and not self.bayeux.access.may_subscribe(pattern, session.who):
                    self.end_session(session, "token expired")
                if session.ended:
                    break
                if self.registry.subscribe(session, pattern):
                    new.append(pattern)
            found = {}
            for number, (channel, since) in enumerate(positions.items(), 1):
                if number % PIECE == 0:
                    await self.turns.wait()
                if not is_wild(channel):
                    found[channel] = await self.recoveries.recover(session, channel, since)
            return found
        except BrokerUnavailable:
            for pattern in new:
                self.registry.unsubscribe(session, pattern)
            session.keep_only(lambda channel: any(matches(pattern, channel) for pattern in session.patterns))
            raise
        finally:
            session.end_recovery()
            session.settle()

    # The broker's receiver

    def receive(self, publications: Sequence[Publication]) -> None:
        """Take what the broker accepted, and deliver it."""
        if self.broker.keeps_sessions and self._streamed:
            self.streams.check()
        self.counters.received += len(publications)
        if self.published:
            heard, publications = publications, self._pass_out(publications)
            if len(publications) < len(heard):
                delivered = {(each.channel, each.position) for each in publications}
                self.tops.withhold(each for each in heard if (each.channel, each.position) not in delivered)
        self.delivery.take(publications)
        if self.followers.active:
            self.followers.take(publications)

    async def _followed_history(self, channel: str, since: Position) -> History:
        """What a follower may have of a channel's history. Raises BrokerUnavailable."""
        return self.extensions.history(await self.broker.history(channel, since))

    def lost(self, channels: Sequence[str] | None) -> None:
        """Publications may have been missed: every subscriber is told to refetch, in its own way."""
        self.counters.lost += 1
        if self.broker.keeps_sessions and (channels is None or KICK in channels):
            self.spawn(self.kicks.learn_again())
        self.tops.lost(channels)
        if self.followers.active:
            self.followers.lost(channels)
        if channels is None:
            affected = {session: set(session.patterns) for session in self.registry.sessions.values()}
        else:
            affected = {}
            for channel in channels:
                for session in self.registry.subscribers(channel):
                    affected.setdefault(session, set()).add(channel)
        for session, names in affected.items():
            if names:
                self.sending.tell_lost(session, names)
        if self.registry.attendance is not None:
            self.registry.attendance.lost()
        for tell in self.when_lost:
            tell()

    async def delivered(self) -> None:
        """Until what this node has received by now was written to the sessions' links, or waits for them."""
        if self.delivery.pending:
            self.delivery.flush()
        await self.closings.delivered()

    def _new_backlog(self) -> Backlog:
        # No session sleeps for longer than it lives without a client, unless the whole process stood still.
        return Backlog(self.bounds.queue_count, self.bounds.queue_bytes, 2 * self.bounds.session_ttl)

    # What the session store leaves to the node

    async def recover_adopted(self, session: Session, channel: str, since: Position) -> bool:
        return (await self.recoveries.recover(session, channel, since))[1]

    def may_go_on(self, session: Session, patterns: Sequence[str]) -> bool:
        if self.kicks.is_sent_away(session):
            return False
        if session.grant is not None and session.grant.expires <= self.bayeux.wall():
            session.authorize(None)
        who = session.who
        return all(self.bayeux.access.may_subscribe(pattern, who) for pattern in patterns)

    def adopted(self, session: Session) -> None:
        self.ends.note(session, "came from another worker")
        self.deadlines.watch_grant(session)
        self.deadlines.watch_session(session)
        if self.registry.attendance is not None:
            self.registry.attendance.adopted(session)

    def unconfirmed(self, session_id: str) -> bool:
        return self.carrier.unconfirmed(session_id)

    async def confirmed(self, session_id: str) -> None:
        await self.carrier.confirmed(session_id)

    def not_recovered(self, session: Session) -> None:
        self.end_session(session, "not recovered")

    def let_go(self, session: Session, *, by: str | None) -> None:
        self.ends.note(session, "went to another worker")
        hold, link = session.end_hold(), session.depart()
        if hold is not None:
            if by is not None:
                # It must not take the session back at once.
                hold.advice = {**self.bayeux.retry, "interval": SUPERSEDED_INTERVAL}
                # Beside a stream a poll goes on: that it ends here is no failure. Its client is not told to come as
                # seldom as one that has a stream, since nobody knows yet whether this one will open.
                hold.error = None if by == EVENTSOURCE else Superseded()
            hold.to.send([self.bayeux.encode(self.bayeux.answer(hold), session.who)])
        if link is not None:
            link.leave(NORMAL, "continued elsewhere")

    def delivered_up_to(self, channel: str) -> Position | None:
        return self.delivery.delivered_up_to(channel)

    def mail(self, message: bytes) -> None:
        """Take what another worker sent."""
        box = self.mailboxes.get(message[: message.find(b":")]) if self.mailboxes else None
        if box is None:
            self.carrier.take(message)
        else:
            box(message[message.find(b":") + 1 :])


async def drain(nodes: Iterable[Node]) -> None:
    """Drain the nodes of one process: as `Node.drain`, at the same rate for them all together."""
    links = [link for node in nodes for link in node.begin_drain()]
    for start in range(0, len(links), DRAIN_SLICE):
        if start:
            await asyncio.sleep(DRAIN_SLICE / DRAIN_RATE)
        for link in links[start : start + DRAIN_SLICE]:
            link.leave(GOING_AWAY, "going away")
    if links:
        await asyncio.sleep(0)
