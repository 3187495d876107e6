"""Where a request is taken: here, or by the worker that owns its session. One session has one owner at a moment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from .bayeux.names import CONNECT, EVENTSOURCE
from .bayeux.outcome import Request
from .bayeux.rules import Bayeux
from .brokers import Broker
from .carrier import CARRIED_BYTES, Carried, Carrier
from .carrier import Host as CarrierHost
from .counters import Counters
from .errors import BrokerUnavailable
from .ids import ID_CHARS
from .lanes import Lanes
from .link_queues import LinkQueues
from .polls import Poll
from .protocol.channels import is_wild
from .protocol.messages import dumps
from .session_store import SessionStore
from .sessions.links import Answers, Link
from .sessions.registry import Registry
from .sessions.session import Session

logger = logging.getLogger(__name__)

#: Times a request is routed, when its session moves under it.
MAX_TRIES = 6

#: Subscriptions of a session that moves to where its polls go: each costs a look at a history.
MOVED_PATTERNS = 50

#: Sessions one request may claim. Clients send their own; more is somebody guessing.
MAX_CLAIMS = 4


class Host(CarrierHost, Protocol):
    """What the node does for the router, and for the carrier that the router has."""

    def is_attached(self, link: Link) -> bool:
        """Whether a link is still there."""

    def take(self, messages: Sequence[object], transport: str, to: Answers, link: Link | None, tries: int = 0) -> bool:
        """Take a batch here; whether that goes on in later turns of the loop."""

    def free_link(self, link: Link | None, to: Answers) -> None:
        """A batch is done with: take what its link sent meanwhile."""


class Router:
    """Routes the requests of one node."""

    def __init__(
        self,
        host: Host,
        broker: Broker,
        bayeux: Bayeux,
        store: SessionStore,
        counters: Counters,
        lanes: Lanes,
        queues: LinkQueues,
        time: Callable[[], float],
    ) -> None:
        self._host = host
        self._broker = broker
        self._bayeux = bayeux
        self._registry: Registry = bayeux.registry
        self._store = store
        self._lanes = lanes
        self._queues = queues
        self.carrier = Carrier(host, self, broker, counters, time, bayeux.limits.timeout)

    def accept_anew(self, request: Request) -> None:
        """Take a request again whose session turned out to be another worker's.

        One that was carried is the business of the worker that it came through: that may have had it done elsewhere
        while this one stood still, and answered. Done again, a subscribe would undo what its client asked for since.
        Nor is it that of a link that has gone: its client asks again where it is now.
        """
        link = request.link
        if link is not None and not self._host.is_attached(link):
            return
        if isinstance(request.to, Carried):
            self.carrier.elsewhere(request.to)
            return
        self._queues.hold(link)
        self._host.spawn(self.route(request.messages, request.transport, request.to, link, request.tries + 1))

    def is_routed(self, messages: Sequence[object], link: Link | None) -> bool:
        """Whether somebody must be asked before this batch is taken.

        Not for a session that this node owns for certain, or that goes on on this link: what its requests change is
        refused by its fence if it is another's now.
        """
        store, carrier = self._store, self.carrier
        for client_id in _client_ids(messages):
            session = self._registry.get(client_id)
            if session is not None and link is not None and session.link is link:
                continue
            if session is None or not store.is_mine(session):
                return True
            if store.is_busy(client_id) or carrier.unconfirmed(client_id):
                return True
            if link is None:
                carrier.polled_here(client_id)
            if session.arrived is not None and _resumes(messages, client_id) and not self._is_resumable(session):
                return True
        return False

    async def route(
        self, messages: Sequence[object], transport: str, to: Answers, link: Link | None, tries: int = 0
    ) -> None:
        """Take a batch where its session is, here or elsewhere."""
        goes_on = False
        try:
            client_ids = _client_ids(messages)
            if len(client_ids) == 1 and isinstance(to, Poll):
                await self._take_or_carry(client_ids[0], messages, transport, to, tries)
                return
            for client_id in client_ids:
                await self.bring(client_id, resumes=_resumes(messages, client_id), link=link)
            if not self._queues.is_gone(link):
                # Else it has gone meanwhile. A session that went on with it would have nobody and never expire.
                goes_on = self._host.take(messages, transport, to, link, tries)
        except BrokerUnavailable:
            self.refuse_for_now(messages, to)
        except Exception:
            # A bug. The client must not wait for ever; what is unknown here begins anew.
            logger.exception("session not claimed")
            if not self._queues.is_gone(link):
                goes_on = self._host.take(messages, transport, to, link, tries)
        finally:
            if not goes_on:
                self._host.free_link(link, to)

    def refuse_for_now(self, messages: Sequence[object], to: Answers) -> None:
        """Have a client try again: whose its session is can't be found out now."""
        logger.debug("session not claimed")
        if isinstance(to, Poll):
            # Faye repeats what gets another status, under the same id: of a connect that got an answer before, and
            # lost it, another id would say that it had arrived.
            to.status = 503
        to.send([dumps(reply) for reply in self._bayeux.unavailable(messages)])

    async def _take_or_carry(
        self, client_id: str, messages: Sequence[object], transport: str, to: Poll, tries: int
    ) -> None:
        """Take a poll if its session is this node's, else send it to the owner. Raises BrokerUnavailable."""
        store, carrier = self._store, self.carrier
        async with store.turn(client_id):
            against, sent = 0, None
            for _ in range(MAX_TRIES):
                owner = carrier.owner(client_id) if client_id not in self._registry.sessions else None
                if owner is None:
                    claim = await store.locate(client_id, against=against)
                    if claim is None:
                        await carrier.confirmed(client_id)
                        if _resumes(messages, client_id):
                            await store.recover(client_id)
                        self._host.take(messages, transport, to, None, tries)
                        return
                    owner, against = claim.owner, claim.fence
                if to.gone:
                    return
                if tries > MAX_TRIES:
                    break
                if sent is None:
                    sent = dumps(messages)
                if len(sent) > CARRIED_BYTES or (carrier.is_offered(client_id) and _resumes(messages, client_id)):
                    against = 0 if await carrier.ask_for(owner, client_id) else against
                elif await carrier.carry(owner, client_id, messages, sent, transport, to, tries):
                    return
        raise BrokerUnavailable("the session's owner can't be found")

    # What the carrier leaves to the router

    def accept_again(self, messages: Sequence[object], transport: str, to: Poll, tries: int) -> None:
        self._host.spawn(self.route(messages, transport, to, None, tries))

    def may_move(self, session_id: str) -> bool:
        session = self._registry.sessions.get(session_id)
        return (
            session is not None
            and session.link is None
            and len(session.patterns) <= MOVED_PATTERNS
            and not any(map(is_wild, session.patterns))
        )

    def accept_carried(self, session_id: str, messages: Sequence[object], transport: str, poll: Carried) -> None:
        poll.counts = _resumes(messages, session_id)
        if session_id in self._lanes.taken:
            self._lanes.add(session_id, partial(self._begin_carried, session_id, messages, transport, poll))
        else:
            self._begin_carried(session_id, messages, transport, poll)

    def _begin_carried(self, session_id: str, messages: Sequence[object], transport: str, poll: Carried) -> None:
        session = self._registry.get(session_id)
        if (
            session is not None
            and self._store.is_mine(session)
            and not self._store.is_busy(session_id)
            and not self.carrier.unconfirmed(session_id)
            and not self._host.draining
            and (session.arrived is None or not poll.counts or self._is_resumable(session))
        ):
            self._host.take(messages, transport, poll, None)
        else:
            self._lanes.hold(session_id)
            self._host.spawn(
                self._lanes.finish(session_id, self._accept_carried(session_id, messages, transport, poll))
            )

    async def _accept_carried(self, session_id: str, messages: Sequence[object], transport: str, poll: Carried) -> None:
        try:
            async with self._store.turn(session_id):
                if self._host.draining:
                    await self._store.release(session_id)
                    self.carrier.elsewhere(poll)
                elif await self._store.locate(session_id) is None:
                    await self.carrier.confirmed(session_id)
                    if _resumes(messages, session_id):
                        await self._store.recover(session_id)
                    self._host.take(messages, transport, poll, None)
                else:
                    self.carrier.elsewhere(poll)
        except BrokerUnavailable:
            self.refuse_for_now(messages, poll)

    async def session(self, session_id: str) -> Session | None:
        """The session with this id, for a stream, brought here if another worker has it. Raises BrokerUnavailable."""
        session = self._registry.get(session_id)
        if self._broker.keeps_sessions and len(session_id) == ID_CHARS:
            is_here = session is not None and self._store.is_mine(session) and self._is_resumable(session)
            if not is_here or self._store.is_busy(session_id) or self.carrier.unconfirmed(session_id):
                await self.bring(session_id, resumes=True, by=EVENTSOURCE)
            session = self._registry.get(session_id)
        return session

    async def session_still(self, session: Session) -> Session | None:
        """As `session`, of one that it returned some turns of the loop ago. Raises BrokerUnavailable.

        Another link may have come and gone meanwhile, with what can't be given again from here.
        """
        found: Session | None = session
        while found is not None and not found.ended and not self._is_resumable(found):
            found = await self.session(found.id)
        return found

    def _is_resumable(self, session: Session) -> bool:
        """Whether another connection can go on with a session without asking the broker what the last one carried."""
        return session.fence <= 0 or self._registry.is_resumable(session)

    async def bring(self, session_id: str, *, resumes: bool, by: str = "", link: Link | None = None) -> None:
        """Make this node the owner of a session, if there is one with this id. Raises BrokerUnavailable.

        resumes: whether another connection is about to be its link. by: its transport, where the owner is to know.
        link: what it is for. For one that has gone no session is taken from where its client is by now.
        """
        store, against = self._store, 0
        async with store.turn(session_id):
            for _ in range(MAX_TRIES):
                if self._queues.is_gone(link):
                    return
                claim = await store.locate(session_id, against=against)
                if claim is None:
                    await self.carrier.confirmed(session_id)
                    if resumes:
                        await store.recover(session_id, by=by)
                    return
                against = 0 if await self.carrier.ask_for(claim.owner, session_id, by) else claim.fence
        raise BrokerUnavailable("the session's owner can't be found")

    def give_up(self, session_id: str, by: str, done: Callable[[bool], None]) -> None:
        self._host.spawn(self._give_up(session_id, by, done))

    async def _give_up(self, session_id: str, by: str, done: Callable[[bool], None]) -> None:
        try:
            async with self._store.turn(session_id):
                await self._store.release(session_id, by=by)
        except BrokerUnavailable:
            done(False)
        else:
            done(True)


def _client_ids(messages: Sequence[object]) -> list[str]:
    """The sessions that a batch speaks of, MAX_CLAIMS at most."""
    found: list[str] = []
    for message in messages:
        client_id = message.get("clientId") if isinstance(message, dict) else None
        if isinstance(client_id, str) and len(client_id) == ID_CHARS and client_id not in found:
            found.append(client_id)
    return found[:MAX_CLAIMS]


def _resumes(messages: Sequence[object], client_id: str) -> bool:
    """Whether a batch makes its connection a session's only one. A poll beside an event stream does not."""
    return any(
        isinstance(each, dict)
        and each.get("channel") == CONNECT
        and each.get("clientId") == client_id
        and each.get("connectionType") != EVENTSOURCE
        for each in messages
    )
