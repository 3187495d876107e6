"""What the rules left to do for a request: publish, read histories, ask services, save sessions, and answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from .bayeux.names import CONNECT, DISCONNECT
from .bayeux.outcome import Call, Change, Outcome, Request, Service
from .bayeux.rules import Bayeux
from .brokers import Broker
from .counters import Counters
from .deadlines import Deadlines
from .delivery import Delivery
from .ends import Ends
from .errors import BrokerUnavailable, Failed, ProtocolError
from .lanes import Lanes
from .notes import Notes
from .polls import Poll
from .protocol.access import NOBODY, Who
from .protocol.close_codes import NORMAL
from .protocol.dialects import wire
from .protocol.messages import client_of, dumps, dumps_all
from .protocol.publications import Draft, Published
from .recoveries import Recoveries
from .routing import MAX_TRIES, Router
from .sending import Sending
from .session_store import SessionStore
from .sessions.links import Answers, Link
from .sessions.registry import Registry
from .sessions.session import Session
from .tentative import Tentative
from .turns import PIECE

logger = logging.getLogger(__name__)

#: Seconds a service channel's answer may take; a client waits for 10 s (CometD's maxNetworkDelay) and more.
SERVICE_SECONDS = 8.0

#: Replies of a request that are encoded one by one.
FEW_REPLIES = 16


class Effects:
    """Carries out what the rules of one node decided.

    publish_now: publishes without waiting, or returns None with nothing done (`Node.try_publish`).
    """

    def __init__(
        self,
        broker: Broker,
        bayeux: Bayeux,
        store: SessionStore,
        router: Router,
        delivery: Delivery,
        deadlines: Deadlines,
        recoveries: Recoveries,
        tentative: Tentative,
        lanes: Lanes,
        counters: Counters,
        notes: Notes,
        ends: Ends,
        sending: Sending,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        publish_now: Callable[[Sequence[Draft], str], list[Published] | None],
    ) -> None:
        self._broker = broker
        self._bayeux = bayeux
        self._registry: Registry = bayeux.registry
        self._store = store
        self._router = router
        self._delivery = delivery
        self._deadlines = deadlines
        self._recoveries = recoveries
        self._tentative = tentative
        self._lanes = lanes
        self._counters = counters
        self._notes = notes
        # Bound once: each is called for every request, or for many.
        self._note_end = ends.note_end
        self._note_return = ends.note_return
        self._answer = sending.answer
        self._abandon = sending.abandon
        self._parts = sending.parts
        self._flush_queue = sending.flush_queue
        self._go_on_after = sending.go_on_after
        self._tell_lost = sending.tell_lost
        self._spawn = spawn
        self._publish_now = publish_now
        #: Set while the node drains: every connect is answered at once.
        self.holds_none = False

    def carry_out(self, request: Request) -> None:
        """Do what the rules left to do, and answer."""
        outcome, to, link = request.outcome, request.to, request.link
        if outcome.resumed is not None:
            if self._registry.attendance is not None:
                self._registry.attendance.back(outcome.resumed)
            if self._notes.loose:
                self._note_return(outcome.resumed, link)
        if outcome.ended or outcome.released or outcome.replaced or outcome.opened or outcome.granted:
            self._settle(outcome)
        kept = self._broker.keeps_sessions and (outcome.changed or outcome.ended)
        room = None
        if outcome.publishes and not self._try_publish(outcome):
            # From here on what others publish waits behind it.
            room = self._delivery.room()
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
                    self._lanes.hold(client)
                self._spawn(self._lanes.finish(client, self._finish(request, names, room)))
        else:
            self._respond(outcome, to, link)

    # What waits

    def _try_publish(self, outcome: Outcome) -> bool:
        """Publish what a request publishes if that need not wait; else do nothing and return False.

        Before anything else of it is waited for: what its client sends next would be published first.
        """
        if self._broker.keeps_sessions or self._publish_now([draft for draft, _ in outcome.publishes], "") is None:
            return False
        outcome.publishes = []
        return True

    def _try_finish(self, outcome: Outcome) -> bool:
        """Do what is left of a request if none of it has to wait; else do nothing and return False."""
        broker, recoveries = self._broker, outcome.recoveries
        if outcome.publishes or outcome.calls or self._delivery.is_behind:
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
            self._store.begin(name)
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
            await self._recoveries.recover_all(outcome.recoveries)
            if self._broker.keeps_sessions and (outcome.changed or outcome.ended):
                kept = await self._keep(request)
        finally:
            for name in names:
                self._store.done(name)
            # Not before: what comes live while the record is kept would go ahead of the word that something is missing.
            for recovery in outcome.recoveries:
                recovery.session.end_recovery()
            for change in outcome.changed:
                self._finish_change(change, kept=True)
            if kept:
                self._respond(outcome, request.to, request.link)
        # A link whose session goes on elsewhere was sent away.
        if not kept and not on_link:
            self._router.accept_anew(request)
        self._go_on_after(outcome.recoveries)

    async def _publish(self, outcome: Outcome, room: asyncio.Future[None] | None) -> None:
        try:
            if room is not None:
                await room
            drafts = [draft for draft, _ in outcome.publishes]
            published = await self._broker.publish(drafts)
            self._counters.published += len(published)
            self._notes.note(drafts, published, "", self._bayeux.wall())
        except BrokerUnavailable:
            for _, reply in outcome.publishes:
                reply.update(successful=False, error="503::Not published - try again")

    async def _serve(self, service: Service, call: Call, reply: dict[str, Any], replies: list[dict[str, Any]]) -> None:
        """Ask a service; what it returns goes to the caller right after the reply, under the message's id."""
        try:
            async with asyncio.timeout(SERVICE_SECONDS):
                result = await service(call)
        except ProtocolError as error:
            reply.update(successful=False, error=wire(error, self._bayeux.dialect))
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

    # Sessions that outlive their worker

    async def _keep(self, request: Request) -> bool:
        """Have the broker know what a request changed, before it is answered.

        False if another worker turned out to own a session, and the request must be taken there. What the broker could
        not be told is undone, and refused.
        """
        outcome, unknown = request.outcome, False
        for session in dict.fromkeys(change.session for change in outcome.changed):
            try:
                unknown = not await self._store.save(session) or unknown
            except BrokerUnavailable:
                self._undo(outcome, session)
        for session, _ in outcome.ended:
            try:
                unknown = not await self._store.bury(session) or unknown
            except BrokerUnavailable:
                for reply in outcome.replies:
                    if reply.get("clientId") == session.id and reply.get("channel") == DISCONNECT:
                        self._bayeux.refuse_for_now(reply)
        if not unknown:
            return True
        # What is published again must be known for the same.
        repeatable = all(draft.key is not None for draft, _ in outcome.publishes) and not outcome.calls
        if repeatable and request.tries < MAX_TRIES:
            return False
        for change in outcome.changed:
            self._bayeux.refuse_for_now(change.reply)
        return True

    def _undo(self, outcome: Outcome, session: Session) -> None:
        """Make a session what it was before a request, as nobody else could go on with what it is now."""
        undone: dict[str, bool] = {}
        for change in outcome.changed:
            if change.session is not session:
                continue
            self._bayeux.refuse_for_now(change.reply)
            undone |= self._finish_change(change, kept=False)
            if change.opened and not session.ended:
                session.own(0)
                self._registry.end(session)
        if session.ended:
            return
        for pattern in (pattern for pattern, on in undone.items() if not on):
            self._registry.unsubscribe(session, pattern)
        again = {pattern for pattern, on in undone.items() if on and self._registry.subscribe(session, pattern)}
        if again:
            self._tell_lost(session, again)

    def _finish_change(self, change: Change, *, kept: bool) -> dict[str, bool]:
        """Say whether a change was kept; returns what must be undone, as `Tentative.finish`."""
        flips, change.flips = change.flips, ()
        return self._tentative.finish(change.session, flips, kept=kept)

    # Answers

    def _settle(self, outcome: Outcome) -> None:
        """What the rules decided about other connections and sessions."""
        for hold in outcome.released:
            hold.to.send([self._bayeux.encode(self._bayeux.answer(hold), hold.session.who)])
        for link in outcome.replaced:
            link.leave(NORMAL, "continued elsewhere")
        for session in outcome.granted:
            self._deadlines.watch_grant(session)
        if outcome.opened is not None:
            self.opened(outcome.opened)
        for session, reason in outcome.ended:
            self._note_end(session, reason)
            logger.debug("session ended", extra={"session": session.id[:8], "reason": reason})

    def opened(self, session: Session) -> None:
        """A session was opened: it is counted, and expires if its client says nothing more."""
        self._counters.opened += 1
        self._deadlines.watch_session(session)

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
        if self._bayeux.outgoing:
            parts += [self._encode(reply, outcome.senders.get(id(reply), NOBODY)) for reply in outcome.replies]
        elif len(outcome.replies) > FEW_REPLIES and not outcome.calls:
            parts.append(dumps_all(outcome.replies))
        else:
            parts += [dumps(reply) for reply in outcome.replies]
        if hold is None or parts:
            to.send(parts)
        poll = to if isinstance(to, Poll) else None
        if poll is not None and poll.gone:
            # Before its answer was ready, so that nobody could say what it took.
            self._abandon(poll)
            return
        if session is not None and link is not None:
            self._flush_queue(session)
        if outcome.close and link is not None:
            link.leave(NORMAL, "disconnect")
        if hold is not None:
            hurried = poll is not None and poll.hurried
            if self.holds_none or hurried or (link is None and (session is None or session.has_ready)):
                if hold.session.hold is hold:
                    self._answer(hold.session)
            else:
                self._deadlines.watch_hold(hold)

    def _encode(self, reply: dict[str, Any], who: Who) -> bytes:
        # What a service returned comes among the replies, and is none.
        return self._bayeux.encode(reply, who) if "successful" in reply else dumps(reply)
