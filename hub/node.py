"""The hub in one process: the only place that waits.

The rules (`bayeux`) decide, the broker keeps the log; the node does what is left: it publishes,
reads histories, holds connects, fans out what the broker received, expires the silent and
drains at the end. Transports hand it requests and links; it knows neither HTTP nor frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any
from weakref import WeakKeyDictionary

from .bayeux.names import CONNECT, DISCONNECT, EVENTSOURCE, SUBSCRIBE
from .bayeux.outcome import Call, Change, Outcome, Recovery, Request, Service
from .bayeux.rules import SUPERSEDED_INTERVAL, UNAVAILABLE_INTERVAL, Bayeux
from .bayeux.usual import Usual
from .brokers import Broker, Health
from .counters import Counters
from .deadlines import Deadlines
from .delivery import Delivery
from .errors import BrokerUnavailable, Failed, LinkClosed, ProtocolError, SlowSession, Superseded, UnknownClient
from .follower import FollowBounds, Followers
from .ids import new_id
from .kicks import KICK, Kicks
from .lanes import Lanes
from .link_queues import LinkQueues
from .notes import SERVER, Notes
from .polls import Poll
from .protocol.access import NOBODY, Grant, Verdicts, Who
from .protocol.channels import home, is_meta, is_wild, matches
from .protocol.dialects import wire
from .protocol.messages import client_of, dumps, dumps_all, loads
from .protocol.publications import Draft, History, Position, Publication, Published
from .recoveries import Recoveries
from .routing import MAX_TRIES, Router
from .session_store import SessionStore
from .sessions.backlog import Backlog
from .sessions.links import Answers, Batch, Link
from .sessions.registry import Registry
from .sessions.session import Session
from .tentative import Tentative
from .tops import Tops
from .turns import PIECE, Turns
from .wheel import Wheel

logger = logging.getLogger(__name__)

#: Links told to go a second while draining: a quarter of what one core was measured to accept, with
#: handshake, subscribe and connect (docs/benchmarks.md); and how many of them at once.
DRAIN_RATE = 2000
DRAIN_SLICE = 100

#: Seconds a service channel's answer may take; a client waits for 10 s (CometD's maxNetworkDelay) and more.
SERVICE_SECONDS = 8.0

#: Messages of a request that are taken at once; and seconds for those of a larger one before other connections have
#: their turn. Ten thousand that were refused kept the loop for 50 ms.
FEW_MESSAGES = 16
PIECE_SECONDS = 0.00025

#: Seconds at the end for giving sessions to other workers.
RELEASE_SECONDS = 5.0

#: Seconds until it is asked again whose a session is, where the broker could not say.
SURE_AGAIN_SECONDS = 0.5

GOING_AWAY = 1001
NORMAL = 1000
#: "Try again later" (RFC 6455 registry): the client was too slow and must come back and recover.
SLOW = 1013


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


#: Sees a publication before this process's subscribers do: what it returns is delivered, None drops it. It
#: may give other data (`Publication.with_data`), keeps channel and position, and must not wait.
Passing = Callable[[Publication], Publication | None]


class Node:
    """One realm of the hub in one process. Made inside a running loop; `start` before use, `stop` at the end."""

    # A kick takes effect before what was published in the same tick is delivered.
    told_first = (KICK,)

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
        self.bounds = bounds or Bounds()
        bayeux.queue_bounds = (self.bounds.queue_count, self.bounds.queue_bytes)
        #: Subscriptions whose records are not saved yet.
        self.tentative = Tentative()
        bayeux.tentative = self.tentative if broker.keeps_sessions else None
        self.counters = Counters()
        #: What was published here and by whom, and what became of sessions.
        self.notes = Notes(self.bounds.notes)
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
        self._loop = asyncio.get_running_loop()
        self.time = self._loop.time
        self.wheel = Wheel(self._loop)
        #: How far this process has heard each channel, and code that follows channels.
        self.tops = Tops(new_id()[:8])
        follow = FollowBounds(self.bounds.follower_count, self.bounds.follower_bytes)
        self.followers = Followers(self.tops, lambda: self.broker.hears, self._followed_history, follow)
        self.delivery = Delivery(self.registry, self.counters, self.bounds.tick, self._new_backlog, self, self.tops)
        self.kicks = Kicks(self, broker, bayeux, self.turns, self.wheel, self.time)
        self.recoveries = Recoveries(
            broker,
            self.registry,
            self.counters,
            self.turns,
            self.wheel,
            self.time,
            self._passed,
            self.bounds.queue_count,
            self.bounds.queue_bytes,
        )
        # Who waits until what came before a batch's number has been delivered.
        self._undelivered: list[tuple[int, asyncio.Future[None]]] = []
        #: Called when publications may have been missed.
        self.when_lost: list[Callable[[], None]] = []
        # What takes the publications of meta channels.
        self._takers: dict[str, Callable[[Sequence[Publication]], None]] = {KICK: self.kicks.take}
        # None where a session's record is kept before its replies go out, which takes waiting.
        self._usual = (
            None
            if broker.keeps_sessions
            else Usual(bayeux, broker.try_position, tops=self._tops_of, opened=self._opened)
        )
        # What publishers said of connections, and sessions that go when they have what waits for them.
        self._closings: list[tuple[int, Publication]] = []
        self._leaving: WeakKeyDictionary[Session, tuple[int, str]] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        #: Links whose last batch is not done with, and what they sent meanwhile.
        self.queues = LinkQueues()
        #: Extensions that see each publication once, before it is encoded for all.
        self.published: list[Passing] = []
        #: The name by which this node owns sessions.
        self.worker = broker.worker or new_id()[:16]
        self.store = SessionStore(
            self,
            broker,
            self.registry,
            self.counters,
            self.wheel,
            self.time,
            # A held connect lasts longer than a session without one.
            self.bounds.session_ttl + bayeux.limits.timeout,
        )
        self.router = Router(self, broker, bayeux, self.store, self.counters, self.lanes, self.queues, self.time)
        self.carrier = self.router.carrier
        self.deadlines = Deadlines(
            self, bayeux, self.store, self.counters, self.wheel, self.turns, self.time, self.bounds.session_ttl
        )
        # Sessions of which is being found out whether they are still this node's.
        self._checking: set[Session] = set()
        # Sessions that went on on an event stream, those of them that wait until it is certain whose they are, and the
        # lease in which something was received last.
        self._streamed: WeakKeyDictionary[Session, None] = WeakKeyDictionary()
        self._held_back: set[Session] = set()
        self._life = 0

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
        self.draining = True
        for session in list(self.registry.sessions.values()):
            if session.hold is not None:
                self.answer(session)
        self.carrier.hurry_all()
        return list(self.links)

    async def stop(self) -> None:
        """Drain, finish what was begun, close the broker."""
        await self.drain()
        await self._finish_tasks()
        if self.broker.keeps_sessions:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELEASE_SECONDS):
                    # For all at once: they are given up in parts, which would wait one after the other.
                    await self.carrier.all_confirmed()
                    await self.store.release_all()
                    await self.carrier.finished()
            await self._finish_tasks()
        if self.registry.attendance is not None:
            await self.registry.attendance.stop()
        self.carrier.stop()
        self.followers.close()
        await self.broker.close()
        self.wheel.stop()
        self.delivery.stop()

    async def _finish_tasks(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    @property
    def health(self) -> Health:
        """Whether this node can do its work now, and the reason when it can't."""
        if self.draining:
            return Health(False, "draining")
        return self.broker.health

    # Requests

    def accept(
        self,
        messages: Sequence[object],
        transport: str,
        to: Answers,
        link: Link | None = None,
        size: int = 0,
        lane: str | None = None,
    ) -> None:
        """Take a batch of Bayeux messages; `to.send` gets the answer, now or when it is ready.

        size: its bytes. lane: the client whose lane the caller holds for it (`lanes`).

        A poll gets exactly one answer. A WebSocket (`link`) may get several: replies at once, a
        held connect's later. Nothing here can be cancelled half-way: what must wait runs in a
        task of the node, whatever becomes of the request. A client's batches are taken in the order
        in which they came here, or joined its lane; so they are if another worker owns its session,
        as far as they came to this one.
        """
        queue = self.queues.taken.get(link) if self.queues.taken and link is not None else None
        if link is not None and queue is not None:
            # A socket's batches keep their order: what comes before one is done with waits for it.
            queue.batches.append((messages, transport, size))
            queue.bytes += size
            if len(queue.batches) > self.bounds.queue_count or queue.bytes > self.bounds.queue_bytes:
                # None of them is taken: that they are not answered tells the client so.
                self.queues.drop(link)
                self.bayeux.limited["claims"] += 1
                link.leave(SLOW, "try again later")
            return
        if self.lanes.taken:
            client = client_of(messages)
            if client != lane and client in self.lanes.taken:
                self.queues.hold(link)
                self.lanes.add(client, partial(self._accept_late, messages, transport, to, link))
                return
        if self._usual is not None and link is not None and len(messages) == 1 and not self.delivery.pending:
            reply = self._usual.answer(messages[0], self.time(), link, to.peer)
            if reply is not None:
                link.send([reply])
                return
        self._begin(messages, transport, to, link)

    def _begin(self, messages: Sequence[object], transport: str, to: Answers, link: Link | None) -> bool:
        """Take a batch whose turn it is; whether that goes on in later turns of the loop."""
        if self.broker.keeps_sessions and self.router.is_routed(messages, link):
            self.queues.hold(link)
            if isinstance(to, Poll) and to.began is None:
                to.began = self.time()
            client = client_of(messages)
            self.lanes.hold(client)
            self.spawn(self.lanes.finish(client, self.router.route(messages, transport, to, link)))
            return True
        return self.take(messages, transport, to, link)

    def _accept_late(self, messages: Sequence[object], transport: str, to: Answers, link: Link | None) -> None:
        """Take a batch that has waited in its client's lane."""
        if self.queues.is_gone(link):
            return
        goes_on = False
        try:
            goes_on = self._begin(messages, transport, to, link)
        finally:
            if not goes_on:
                self.free_link(link, to)

    def is_busy(self, link: Link, ready: Callable[[], None]) -> bool:
        """Whether what comes from this link now would wait; then calls `ready` when it would not any more."""
        if link not in self.queues.taken:
            return False
        self.queues.taken[link].ready = ready
        return True

    def take(self, messages: Sequence[object], transport: str, to: Answers, link: Link | None, tries: int = 0) -> bool:
        """Take a batch; whether that goes on in later turns of the loop."""
        bayeux = self.bayeux
        request = bayeux.begin(messages, self.time(), transport, to, link)
        request.tries = tries
        if isinstance(to, Poll):
            request.began = to.began
        if len(messages) > FEW_MESSAGES or any(map(bayeux.is_long, messages)):
            # In pieces of PIECE_SECONDS, none in the turn of decoding it.
            self.queues.hold(link)
            client = client_of(messages)
            self.lanes.hold(client)
            if client is not None:
                # Nor does its session go to another worker in between.
                self.store.begin(client)
            self.turns.begin(partial(self._go_on, request, client))
            return True
        if self.delivery.pending and any(_subscribes(message) for message in messages):
            # What waits for the end of the tick was published before, and is for those who subscribed before.
            self.delivery.flush()
        while bayeux.step(request):
            pass
        self._carry_out(request)
        return False

    def _go_on(self, request: Request, client: str | None) -> bool:
        """Do another piece of a batch; whether there is more of it. client: whose lane it holds."""
        to, link = request.to, request.link
        # With a link that has gone meanwhile no session must go on: it would have nobody and never expire.
        more = not self.queues.is_gone(link)
        try:
            more = more and self._take_some(request)
        except Exception:
            # A bug. What was taken till then is carried out, and the link not left waiting.
            logger.exception("request failed")
            more = False
        if more:
            return True
        try:
            self._carry_out(request)
        finally:
            if client is not None:
                self.store.done(client)
            self.lanes.free(client)
            self.free_link(link, to)
        return False

    def _take_some(self, request: Request) -> bool:
        """Apply the rules to some more messages of a request; whether there may be more."""
        ends = time.monotonic() + PIECE_SECONDS
        messages, bayeux = request.messages, self.bayeux
        while request.taken < len(messages):
            if not bayeux.check(request):
                if self.delivery.pending and _subscribes(messages[request.taken]):
                    self.delivery.flush()
                bayeux.step(request)
            if time.monotonic() >= ends:
                # What many messages lead to is a piece of its own; the answer to few goes before what comes for them.
                return request.taken < len(messages) or len(messages) > FEW_MESSAGES
        return False

    def free_link(self, link: Link | None, to: Answers) -> None:
        """A batch is done with: take what its link sent meanwhile."""
        queue = None if link is None else self.queues.drop(link)
        if queue is None:
            # A request of its own, or the link has gone meanwhile.
            return
        for messages, transport, size in queue.batches:
            self.accept(messages, transport, to, link, size)
        if link in self.queues.taken:
            self.queues.taken[link].ready = queue.ready
        elif queue.ready is not None:
            queue.ready()

    def _carry_out(self, request: Request) -> None:
        """Do what the rules left to do, and answer."""
        outcome, to, link = request.outcome, request.to, request.link
        if outcome.resumed is not None:
            if self.registry.attendance is not None:
                self.registry.attendance.back(outcome.resumed)
            if self.notes.loose:
                self._note_return(outcome.resumed, link)
        if outcome.ended or outcome.released or outcome.replaced or outcome.opened or outcome.granted:
            self._settle(outcome)
        kept = self.broker.keeps_sessions and (outcome.changed or outcome.ended)
        room = None
        if outcome.publishes and not self._try_publish(outcome):
            # From here on what others publish waits behind it.
            room = self.delivery.room()
        if outcome.publishes or outcome.recoveries or outcome.calls or kept:
            if not kept and self._try_finish(outcome):
                self._respond(outcome, to, link)
                self._go_on_after(outcome.recoveries)
            else:
                names = self._begin_work(outcome)
                client = None
                if len(outcome.recoveries) > PIECE:
                    # What its client sends next waits for all of them.
                    client = client_of(request.messages)
                    self.lanes.hold(client)
                self.spawn(self.lanes.finish(client, self._finish(request, names, room)))
        else:
            self._respond(outcome, to, link)

    def abandon(self, poll: Poll) -> None:
        """A poll's client is gone, or its answer could not be written: what it held or took is kept."""
        poll.gone = True
        if poll.carried is not None:
            self.carrier.leave(poll)
        session = poll.session
        if session is None or session.ended:
            return
        if session.hold is not None and session.hold.to is poll:
            session.end_hold()
            session.touch(self.time())
            if self.registry.attendance is not None:
                self.registry.attendance.away(session)
        elif poll.taken:
            self.registry.return_batch(session, poll.taken)
            if session.link is not None:
                self._flush_queue(session)
            if session.delivered is not None:
                self.spawn(self.store.save_later(session))
        if poll.told_lost:
            self._tell_lost(session, set(poll.told_lost))
        poll.session = None

    def hurry(self, poll: Poll) -> None:
        """Answer a poll now if it is held, with nothing: its client sends no more, and may be gone."""
        poll.hurried = True
        if poll.carried is not None:
            self.carrier.hurry(poll)
            return
        session = poll.session
        if session is None or session.ended or session.hold is None or session.hold.to is not poll:
            return
        self.answer(session)
        if self.registry.attendance is not None:
            self.registry.attendance.away(session)

    def written(self, poll: Poll) -> None:
        """A poll's answer was written; its transport says this or `abandon`."""
        if poll.carried is not None:
            self.carrier.written(poll)

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

    async def session(self, session_id: str) -> Session | None:
        """As `Router.session`. Raises BrokerUnavailable."""
        return await self.router.session(session_id)

    async def session_still(self, session: Session) -> Session | None:
        """As `Router.session_still`. Raises BrokerUnavailable."""
        return await self.router.session_still(session)

    def subscribers(self, channel: str) -> int:
        """How many sessions of this process a publication of the channel reaches."""
        return self.registry.count(channel)

    # Links

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
            self._lose_link(session)

    def _lose_link(self, session: Session) -> None:
        """A session's link is gone, whoever noticed first; it lives on for `session_ttl` from now."""
        if session.detach() is not None and not session.ended:
            self._note(session, "connection lost")
            self.notes.unlinked(session.id)
        session.touch(self.time())
        if self.registry.attendance is not None:
            self.registry.attendance.away(session)
        if session.fence > 0 and session.connected and not session.ended:
            # Its client comes back at any worker, and the record may be long over.
            self.spawn(self.store.save_later(session))

    def move(self, session: Session, link: Link, last: str) -> None:
        """Let a session go on on a stream. last: the position that its client saw last, empty if it says none."""
        # It was awake when its client asked for it, and may have fallen asleep while the stream was opened.
        if self.registry.get(session.id) is None:
            link.leave(SLOW, "slow")
            return
        old = session.depart()
        if old is not None:
            old.leave(NORMAL, "continued elsewhere")
        if session.lost:
            # A stream can't tell, and the next connect's answer may be a hold away.
            self.end_session(session, "lost")
            link.leave(NORMAL, "lost")
            return
        self.registry.saw(session, last)
        if not self.registry.resume(session):
            self.end_session(session, "not recovered")
            link.leave(NORMAL, "not recovered")
            return
        self.registry.attach(session, link)
        self._streamed[session] = None
        self._flush_queue(session)

    def _hold_streams_back(self) -> None:
        """What comes for event streams waits until it is certain that their sessions are still this node's.

        It stood still, or the broker was away. Their clients' polls may have gone to other workers meanwhile, and have
        changed there what is heard. What a socket's client asks comes by the socket itself.
        """
        self._life = self.broker.life
        for session in list(self._streamed):
            if session.link is None or session.ended:
                del self._streamed[session]
            elif session.fence > 0 and not self.store.is_mine(session) and session not in self._held_back:
                self._held_back.add(session)
                session.begin_recovery()
                self.spawn(self._make_sure(session))

    async def _make_sure(self, session: Session) -> None:
        store = self.store
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
        return session.link is not None and not self.store.is_mine(session) and not self.draining

    def count_address(self, address: str, change: int) -> None:
        """A connection of this address came (1) or went (-1)."""
        count = self.addresses.get(address, 0) + change
        if count > 0:
            self.addresses[address] = count
        else:
            self.addresses.pop(address, None)

    def writable(self, session: Session) -> None:
        """A link's buffer has drained: send what waited."""
        self._flush_queue(session)

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

    def end_session(self, session: Session, reason: str) -> None:
        """End a session for a reason of the node's or a transport's."""
        if session.ended:
            return
        hold, link = session.end_hold(), session.detach()
        self._note_end(session, reason)
        self.registry.end(session)
        # One that expires without a connect was never more than a handshake.
        if session.fence > 0 and (session.connected or reason != "expired"):
            self.spawn(self.store.bury_later(session))
        if hold is not None:
            # Never a plain success: CometD's client throws at one with this advice, and polls no more.
            hold.error, hold.advice = UnknownClient(session.id), self.bayeux.rehandshake
            hold.to.send([self.bayeux.encode(self.bayeux.answer(hold), session.who)])
        if link is not None:
            link.leave(SLOW if reason == "slow" else NORMAL, reason)
        logger.info("session ended", extra={"session": session.id[:8], "reason": reason})

    def _note(self, session: Session, what: str) -> None:
        """Note what has happened to a session, for who looks for it."""
        self.notes.happened(session.id, what, self.bayeux.wall(), session.name, session.address)

    def _note_end(self, session: Session, reason: str) -> None:
        self.notes.ends[reason] += 1
        self.notes.loose.pop(session.id, None)
        self._note(session, f"ended: {reason}")

    def _note_return(self, session: Session, link: Link | None) -> None:
        """A client whose connection was lost asks again."""
        if self.notes.loose.pop(session.id, self) is None:
            self._note(session, "goes on by polling" if link is None else "goes on by another connection")

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
            life = self.broker.life
            # 0: the lease is over. `_life` may be 0 too, if nothing was received during the last lease.
            if life != self._life or not life:
                self._hold_streams_back()
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
        history = await self.broker.history(channel, since)
        if not self.published:
            return history
        passed = tuple(kept for kept in map(self._pass_one, history.publications) if kept is not None)
        return History(passed, history.top, history.recovered)

    def _pass_out(self, publications: Sequence[Publication]) -> list[Publication]:
        """Let code of the site change publications, or drop them, for this process's subscribers."""
        passed = [kept for kept in map(self._pass_one, publications) if kept is not None]
        self.counters.withheld += len(publications) - len(passed)
        return passed

    def _passed(self, publications: Sequence[Publication]) -> Sequence[Publication]:
        """As `_pass_out`, where there is such code."""
        return self._pass_out(publications) if self.published else publications

    def _pass_one(self, publication: Publication) -> Publication | None:
        if is_meta(publication.channel):
            return publication
        kept = publication
        try:
            for extension in self.published:
                changed = extension(kept)
                if changed is None:
                    return None
                if (changed.channel, changed.position) != (publication.channel, publication.position):
                    raise ValueError("channel or position changed")
                kept = changed
        except Exception:
            # What should perhaps not be seen is not, and the others go on.
            logger.exception("extension failed", extra={"channel": publication.channel})
            return None
        return kept

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
                self._tell_lost(session, names)
        if self.registry.attendance is not None:
            self.registry.attendance.lost()
        for tell in self.when_lost:
            tell()

    def take_from(self, channel: str, taker: Callable[[Sequence[Publication]], None]) -> None:
        """Hand what comes on a meta channel to `taker`, in order; it must not wait or raise."""
        self._takers[channel] = taker

    def _tell_lost(self, session: Session, channels: set[str]) -> None:
        if session.link is not None and session.link.tell_lost(channels):
            return
        if not session.tracks:
            # The only word every Bayeux client knows for "start anew".
            self.end_session(session, "lost")
            return
        session.mark_lost(channels)
        if session.hold is not None:
            self.answer(session)

    # What delivery leaves to the node

    def not_delivered(self, session: Session, batch: Batch, error: Exception) -> None:
        """A link could not be written to: usually it is closed, and has not been told yet."""
        if session.ended:
            return
        if isinstance(error, LinkClosed):
            self._lose_link(session)
            self.put_aside(session, batch.publications)
        else:
            logger.error("delivery failed", exc_info=error)
            self.end_session(session, "failed")

    def _new_backlog(self) -> Backlog:
        # No session sleeps for longer than it lives without a client, unless the whole process stood still.
        return Backlog(self.bounds.queue_count, self.bounds.queue_bytes, 2 * self.bounds.session_ttl)

    def forgot(self, session: Session) -> None:
        """More came for a session than may wait for one."""
        self.counters.slow += 1
        self.end_session(session, "slow")

    def put_aside(self, session: Session, publications: Iterable[Publication]) -> None:
        """The slow path: what can't be written at once waits in the session's queue."""
        try:
            session.enqueue(publications, self.bounds.queue_count, self.bounds.queue_bytes)
        except SlowSession:
            self.forgot(session)
            return
        if session.queue is not None:
            if session.hold is not None and (session.link is None or session.ack is not None):
                if not session.recovering:
                    self.answer(session)
                return
            self._flush_queue(session)
        elif session.floors is None:
            session.settle()

    def told(self, channel: str, publications: Sequence[Publication]) -> None:
        """Another node, or this one, says what all are to do."""
        taker = self._takers.get(channel)
        if taker is not None:
            taker(publications)
        elif home(channel) != channel:
            # Later: what was published to the channel before may still be on its way.
            number = self.registry.recent.newest
            self._closings += ((number, publication) for publication in publications)

    def done(self) -> None:
        """Some of what came has been delivered to all: now connections end that are to end after it."""
        if self._closings:
            self._close_links()
        if self._undelivered:
            written = self.registry.recent.written
            for number, future in self._undelivered:
                if number <= written and not future.done():
                    future.set_result(None)
            self._undelivered = [each for each in self._undelivered if not each[1].done()]

    async def delivered(self) -> None:
        """Until what this node has received by now was written to the sessions' links, or waits for them."""
        if self.delivery.pending:
            self.delivery.flush()
        recent = self.registry.recent
        if recent.written < recent.newest:
            entry = (recent.newest, self._loop.create_future())
            self._undelivered.append(entry)
            await entry[1]

    def _flush_queue(self, session: Session) -> None:
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
        if self._leaving and session in self._leaving:
            self._leave(session)

    def _close_links(self) -> None:
        """End the connections of plain clients, by channel and format, as their publishers said."""
        written = self.registry.recent.written
        closings = [publication for number, publication in self._closings if number <= written]
        self._closings = [each for each in self._closings if each[0] > written]
        for publication in closings:
            told = loads(publication.data)
            sessions = [
                session
                for session in self.registry.audiences.get(home(publication.channel), ())
                if session.link is not None and session.link.closed_by in told
            ]
            if sessions:
                self.spawn(self._close_each(sessions, told))

    async def _close_each(self, sessions: Sequence[Session], told: dict[str, tuple[int, str]]) -> None:
        for number, session in enumerate(sessions, 1):
            if session.link is not None:
                code, words = told[session.link.closed_by]
                self._leaving[session] = (code, words)
                self._flush_queue(session)
            if number % DRAIN_SLICE == 0:
                await asyncio.sleep(0)

    def _leave(self, session: Session) -> None:
        """Send a session away that was told to go, once it has what was published before."""
        link = session.link
        if session.queue is not None or session.recovering or link is None or link.blocked:
            return
        code, words = self._leaving.pop(session)
        link.leave(code, words)
        self.end_session(session, "closed by a publisher")

    # What waits

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what must be finished whatever becomes of the request; `stop` waits for it."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("request failed", exc_info=error)

    def _try_publish(self, outcome: Outcome) -> bool:
        """Publish what a request publishes if that need not wait; else do nothing and return False.

        Before anything else of it is waited for: what its client sends next would be published first.
        """
        if self.broker.keeps_sessions or self.try_publish([draft for draft, _ in outcome.publishes], "") is None:
            return False
        outcome.publishes = []
        return True

    def _try_finish(self, outcome: Outcome) -> bool:
        """Do what is left of a request if none of it has to wait; else do nothing and return False."""
        broker, recoveries = self.broker, outcome.recoveries
        if outcome.publishes or outcome.calls or self.delivery.is_behind:
            return False
        # A client that is new asks where its channels are, and for no history.
        tops = []
        for recovery in recoveries:
            if recovery.since is not None or recovery.replay is not None:
                return False
            top = broker.try_position(recovery.channel)
            if top is None:
                return False
            tops.append(top)
        for recovery, top in zip(recoveries, tops, strict=True):
            recovery.reply["ext"]["position"][recovery.channel] = str(top)
            recovery.session.end_recovery()
        return True

    def _begin_work(self, outcome: Outcome) -> set[str]:
        """Sessions that are not given up before a request is finished."""
        names = {change.session.id for change in outcome.changed} | {each.session.id for each in outcome.recoveries}
        if outcome.resumed is not None:
            names.add(outcome.resumed.id)
        for name in names:
            self.store.begin(name)
        return names

    async def _finish(self, request: Request, names: Iterable[str], room: asyncio.Future[None] | None) -> None:
        """Do what is left of a request, and answer it. names: what `_begin_work` returned; room: its place there."""
        outcome, link = request.outcome, request.link
        kept = True
        on_link = link is not None and any(change.session.link is link for change in outcome.changed)
        try:
            if outcome.publishes:
                await self._publish(outcome, room)
            for service, call, reply in outcome.calls:
                await self._serve(service, call, reply, outcome.replies)
            await self.recoveries.recover_all(outcome.recoveries)
            if self.broker.keeps_sessions and (outcome.changed or outcome.ended):
                kept = await self._keep(request)
        finally:
            for name in names:
                self.store.done(name)
            # Not before: what comes live while the record is kept would go ahead of the word that something is missing.
            for recovery in outcome.recoveries:
                recovery.session.end_recovery()
            for change in outcome.changed:
                self._finish_change(change, kept=True)
            if kept:
                self._respond(outcome, request.to, request.link)
        # A link whose session goes on elsewhere was sent away.
        if not kept and not on_link:
            self.router.accept_anew(request)
        self._go_on_after(outcome.recoveries)

    def _go_on_after(self, recoveries: Iterable[Recovery]) -> None:
        """Let sessions have what waited behind their recoveries, now that their clients have been told of these."""
        for session in {recovery.session: None for recovery in recoveries}:
            self._go_on_with(session)

    def _go_on_with(self, session: Session) -> None:
        session.settle()
        is_due = session.has_ready or session.lost is not None
        if session.hold is not None and is_due and (session.link is None or session.ack is not None):
            self.answer(session)
        else:
            self._flush_queue(session)

    # Sessions that outlive their worker

    async def _keep(self, request: Request) -> bool:
        """Have the broker know what a request changed, before it is answered.

        False if another worker turned out to own a session, and the request must be taken there. What the broker could
        not be told is undone, and refused.
        """
        outcome, unknown = request.outcome, False
        for session in dict.fromkeys(change.session for change in outcome.changed):
            try:
                unknown = not await self.store.save(session) or unknown
            except BrokerUnavailable:
                self._undo(outcome, session)
        for session, _ in outcome.ended:
            try:
                unknown = not await self.store.bury(session) or unknown
            except BrokerUnavailable:
                for reply in outcome.replies:
                    if reply.get("clientId") == session.id and reply.get("channel") == DISCONNECT:
                        self.bayeux.refuse_for_now(reply)
        if not unknown:
            return True
        # What is published again must be known for the same.
        repeatable = all(draft.key is not None for draft, _ in outcome.publishes) and not outcome.calls
        if repeatable and request.tries < MAX_TRIES:
            return False
        for change in outcome.changed:
            self.bayeux.refuse_for_now(change.reply)
        return True

    def _undo(self, outcome: Outcome, session: Session) -> None:
        """Make a session what it was before a request, as nobody else could go on with what it is now."""
        undone: dict[str, bool] = {}
        for change in outcome.changed:
            if change.session is not session:
                continue
            self.bayeux.refuse_for_now(change.reply)
            undone |= self._finish_change(change, kept=False)
            if change.opened and not session.ended:
                session.own(0)
                self.registry.end(session)
        if session.ended:
            return
        for pattern in (pattern for pattern, on in undone.items() if not on):
            self.registry.unsubscribe(session, pattern)
        again = {pattern for pattern, on in undone.items() if on and self.registry.subscribe(session, pattern)}
        if again:
            self._tell_lost(session, again)

    def _finish_change(self, change: Change, *, kept: bool) -> dict[str, bool]:
        """Say whether a change was kept; returns what must be undone, as `Tentative.finish`."""
        flips, change.flips = change.flips, ()
        return self.tentative.finish(change.session, flips, kept=kept)

    # What the store leaves to the node

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
        self._note(session, "came from another worker")
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
        self._note(session, "went to another worker")
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

    async def _publish(self, outcome: Outcome, room: asyncio.Future[None] | None) -> None:
        try:
            if room is not None:
                await room
            drafts = [draft for draft, _ in outcome.publishes]
            published = await self.broker.publish(drafts)
            self.counters.published += len(published)
            self.notes.note(drafts, published, "", self.bayeux.wall())
        except BrokerUnavailable:
            for _, reply in outcome.publishes:
                reply.update(successful=False, error="503::Not published - try again")

    async def _serve(self, service: Service, call: Call, reply: dict[str, Any], replies: list[dict[str, Any]]) -> None:
        """Ask a service; what it returns goes to the caller right after the reply, under the message's id."""
        try:
            async with asyncio.timeout(SERVICE_SECONDS):
                result = await service(call)
        except ProtocolError as error:
            reply.update(successful=False, error=wire(error, self.bayeux.dialect))
            return
        except BrokerUnavailable:
            reply.update(successful=False, error="503::Not known - try again")
            return
        except Exception:
            # Whatever code of the site does, the other messages of the request go on.
            logger.exception("service failed", extra={"channel": call.channel})
            reply.update(successful=False, error=Failed().wire())
            return
        if result is not None:
            answer = {"channel": call.channel, "data": result}
            if "id" in reply:
                answer["id"] = reply["id"]
            replies.insert(replies.index(reply) + 1, answer)

    # Answers

    def _settle(self, outcome: Outcome) -> None:
        """What the rules decided about other connections and sessions."""
        for hold in outcome.released:
            hold.to.send([self.bayeux.encode(self.bayeux.answer(hold), hold.session.who)])
        for link in outcome.replaced:
            link.leave(NORMAL, "continued elsewhere")
        for session in outcome.granted:
            self.deadlines.watch_grant(session)
        if outcome.opened is not None:
            self._opened(outcome.opened)
        for session, reason in outcome.ended:
            self._note_end(session, reason)
            logger.debug("session ended", extra={"session": session.id[:8], "reason": reason})

    def _opened(self, session: Session) -> None:
        self.counters.opened += 1
        self.deadlines.watch_session(session)

    def _respond(self, outcome: Outcome, to: Answers, link: Link | None) -> None:
        parts: list[bytes] = []
        session = outcome.resumed
        if link is None and isinstance(to, Poll):
            to.session = session
        hold = outcome.hold
        if session is not None and hold is None and not session.ended:
            # Not a refused one's, nor another session's; and what is no message has a reply without a channel.
            reply = next(
                each
                for each in outcome.replies
                if each.get("channel") == CONNECT and each.get("successful") and each.get("clientId") == session.id
            )
            parts = self._parts(session, reply, to)
        if self.bayeux.outgoing:
            parts += [self._encode(reply, outcome.senders.get(id(reply), NOBODY)) for reply in outcome.replies]
        elif len(outcome.replies) > FEW_MESSAGES and not outcome.calls:
            parts.append(dumps_all(outcome.replies))
        else:
            parts += [dumps(reply) for reply in outcome.replies]
        if hold is None or parts:
            to.send(parts)
        poll = to if isinstance(to, Poll) else None
        if poll is not None and poll.gone:
            # Before its answer was ready, so that nobody could say what it took.
            self.abandon(poll)
            return
        if session is not None and link is not None:
            self._flush_queue(session)
        if outcome.close and link is not None:
            link.leave(NORMAL, "disconnect")
        if hold is not None:
            hurried = poll is not None and poll.hurried
            if self.draining or hurried or (link is None and (session is None or session.has_ready)):
                if hold.session.hold is hold:
                    self.answer(hold.session)
            else:
                self.deadlines.watch_hold(hold)

    def _encode(self, reply: dict[str, Any], who: Who) -> bytes:
        # What a service returned comes among the replies, and is none.
        return self.bayeux.encode(reply, who) if "successful" in reply else dumps(reply)

    async def _answer_when_sure(self, session: Session) -> None:
        """As `_answer`, once the broker said whose the session is."""
        try:
            async with self.store.turn(session.id):
                if not session.ended:
                    await self.store.locate(session.id)
            self._checking.discard(session)
            if not session.ended:
                self.answer(session, sure=True)
        except BrokerUnavailable:
            # Its client comes again, and what waits for it stays.
            hold = session.end_hold()
            if hold is not None:
                session.touch(self.time())
                hold.advice = {**self.bayeux.retry, "interval": UNAVAILABLE_INTERVAL}
                hold.to.send([self.bayeux.encode(self.bayeux.answer(hold), session.who)])
        finally:
            self._checking.discard(session)

    def answer(self, session: Session, *, sure: bool = False) -> None:
        """Answer the held connect with what waits for the session. sure: whether the broker said it is this node's."""
        hold = session.hold
        if hold is None:
            return
        if session.fence > 0 and not sure and session.link is None and not self.store.is_mine(session):
            # This process stood still, or the broker is away: perhaps it goes on elsewhere.
            if session not in self._checking:
                self._checking.add(session)
                self.spawn(self._answer_when_sure(session))
            return
        session.end_hold()
        session.touch(self.time())
        reply = self.bayeux.answer(hold)
        parts = self._parts(session, reply, hold.to)
        parts.append(self.bayeux.encode(reply, session.who))
        hold.to.send(parts)
        if session.link is not None:
            # What waited behind the word that something is lost.
            self._flush_queue(session)

    def _parts(self, session: Session, reply: dict[str, Any], to: Answers) -> list[bytes]:
        """Take a session's queue to go before a connect's reply, and complete the reply's ext.

        Events go before the reply: a session can't expire between them, and CometD's server does so.
        """
        ext: dict[str, Any] = {}
        publications: list[Publication] = []
        # What waits for an event stream that comes back is the stream's: here it would overtake what the last one took
        # with it.
        beside = reply.get("advice") is self.bayeux.stream
        if (session.link is None and not beside) or session.ack is not None:
            publications = session.take_batch(reply.get("id"))
            if session.ack is not None:
                ext["ack"] = session.ack
            if session.delivered is not None and session.link is None:
                # Saved after the answer: who takes the session over before finds the older positions, and its client
                # gets some publications again rather than none.
                self.spawn(self.store.save_later(session))
            if isinstance(to, Poll):
                to.session, to.taken = session, publications
        if session.tracks:
            if session.lost:
                ext["lost"] = session.take_lost()
                if isinstance(to, Poll):
                    to.told_lost = ext["lost"]
            tops = self._tops_of(session)
            if tops:
                ext["tops"] = tops
        if ext:
            reply["ext"] = reply.get("ext", {}) | ext
        return [publication.message for publication in publications]

    def _tops_of(self, session: Session) -> dict[str, str]:
        """The newest positions of a session's channels, of those that had a publication lately."""
        tops = self.delivery.tops
        return {name: str(tops[name]) for name in session.patterns if name in tops}

    # What is due


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


def _subscribes(message: object) -> bool:
    return isinstance(message, dict) and message.get("channel") == SUBSCRIBE
