"""How requests are taken: each client's in the order in which they came, and large ones in pieces."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from .bayeux.names import SUBSCRIBE
from .bayeux.outcome import Request
from .bayeux.rules import Bayeux
from .bayeux.usual import Usual
from .brokers import Broker
from .delivery import Delivery
from .effects import Effects
from .lanes import Lanes
from .link_queues import LinkQueues
from .polls import Poll
from .protocol.close_codes import TRY_AGAIN_LATER
from .protocol.messages import client_of
from .routing import Router
from .session_store import SessionStore
from .sessions.links import Answers, Link
from .turns import Turns

logger = logging.getLogger(__name__)

#: Messages of a request that are taken at once; and seconds for those of a larger one before other connections have
#: their turn. Ten thousand that were refused kept the loop for 50 ms.
FEW_MESSAGES = 16
PIECE_SECONDS = 0.00025


class Intake:
    """Takes the requests of one node, and hands what the rules decide to its effects.

    usual: the short way for the first messages of a client on a WebSocket; None where there is none. now: the loop's
    clock, in seconds. count, size: most batches, and bytes, that may wait for a link.
    """

    def __init__(
        self,
        broker: Broker,
        bayeux: Bayeux,
        store: SessionStore,
        router: Router,
        delivery: Delivery,
        lanes: Lanes,
        turns: Turns,
        queues: LinkQueues,
        effects: Effects,
        usual: Usual | None,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        now: Callable[[], float],
        count: int,
        size: int,
    ) -> None:
        self._broker = broker
        self._bayeux = bayeux
        self._store = store
        self._router = router
        self._delivery = delivery
        self._lanes = lanes
        self._turns = turns
        self._queues = queues
        # Bound once: it is called for every request.
        self._carry_out = effects.carry_out
        self._usual = usual
        self._spawn = spawn
        self._time = now
        self._count = count
        self._bytes = size

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
        queue = self._queues.taken.get(link) if self._queues.taken and link is not None else None
        if link is not None and queue is not None:
            # A socket's batches keep their order: what comes before one is done with waits for it.
            queue.batches.append((messages, transport, size))
            queue.bytes += size
            if len(queue.batches) > self._count or queue.bytes > self._bytes:
                # None of them is taken: that they are not answered tells the client so.
                self._queues.drop(link)
                self._bayeux.limited["claims"] += 1
                link.leave(TRY_AGAIN_LATER, "try again later")
            return
        if self._lanes.taken:
            client = client_of(messages)
            if client != lane and client in self._lanes.taken:
                self._queues.hold(link)
                self._lanes.add(client, partial(self._accept_late, messages, transport, to, link))
                return
        if self._usual is not None and link is not None and len(messages) == 1 and not self._delivery.pending:
            reply = self._usual.answer(messages[0], self._time(), link, to.peer)
            if reply is not None:
                link.send([reply])
                return
        self._begin(messages, transport, to, link)

    def _begin(self, messages: Sequence[object], transport: str, to: Answers, link: Link | None) -> bool:
        """Take a batch whose turn it is; whether that goes on in later turns of the loop."""
        if self._broker.keeps_sessions and self._router.is_routed(messages, link):
            self._queues.hold(link)
            if isinstance(to, Poll) and to.began is None:
                to.began = self._time()
            client = client_of(messages)
            self._lanes.hold(client)
            self._spawn(self._lanes.finish(client, self._router.route(messages, transport, to, link)))
            return True
        return self.take(messages, transport, to, link)

    def _accept_late(self, messages: Sequence[object], transport: str, to: Answers, link: Link | None) -> None:
        """Take a batch that has waited in its client's lane."""
        if self._queues.is_gone(link):
            return
        goes_on = False
        try:
            goes_on = self._begin(messages, transport, to, link)
        finally:
            if not goes_on:
                self.free_link(link, to)

    def is_busy(self, link: Link, ready: Callable[[], None]) -> bool:
        """Whether what comes from this link now would wait; then calls `ready` when it would not any more."""
        if link not in self._queues.taken:
            return False
        self._queues.taken[link].ready = ready
        return True

    def take(self, messages: Sequence[object], transport: str, to: Answers, link: Link | None, tries: int = 0) -> bool:
        """Take a batch; whether that goes on in later turns of the loop."""
        bayeux = self._bayeux
        request = bayeux.begin(messages, self._time(), transport, to, link)
        request.tries = tries
        if isinstance(to, Poll):
            request.began = to.began
        if len(messages) > FEW_MESSAGES or any(map(bayeux.is_long, messages)):
            # In pieces of PIECE_SECONDS, none in the turn of decoding it.
            self._queues.hold(link)
            client = client_of(messages)
            self._lanes.hold(client)
            if client is not None:
                # Nor does its session go to another worker in between.
                self._store.begin(client)
            self._turns.begin(partial(self._go_on, request, client))
            return True
        if self._delivery.pending and any(_subscribes(message) for message in messages):
            # What waits for the end of the tick was published before, and is for those who subscribed before.
            self._delivery.flush()
        while bayeux.step(request):
            pass
        self._carry_out(request)
        return False

    def _go_on(self, request: Request, client: str | None) -> bool:
        """Do another piece of a batch; whether there is more of it. client: whose lane it holds."""
        to, link = request.to, request.link
        # With a link that has gone meanwhile no session must go on: it would have nobody and never expire.
        more = not self._queues.is_gone(link)
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
                self._store.done(client)
            self._lanes.free(client)
            self.free_link(link, to)
        return False

    def _take_some(self, request: Request) -> bool:
        """Apply the rules to some more messages of a request; whether there may be more."""
        ends = time.monotonic() + PIECE_SECONDS
        messages, bayeux = request.messages, self._bayeux
        while request.taken < len(messages):
            if not bayeux.check(request):
                if self._delivery.pending and _subscribes(messages[request.taken]):
                    self._delivery.flush()
                bayeux.step(request)
            if time.monotonic() >= ends:
                # What many messages lead to is a piece of its own; the answer to few goes before what comes for them.
                return request.taken < len(messages) or len(messages) > FEW_MESSAGES
        return False

    def free_link(self, link: Link | None, to: Answers) -> None:
        """A batch is done with: take what its link sent meanwhile."""
        queue = None if link is None else self._queues.drop(link)
        if queue is None:
            # A request of its own, or the link has gone meanwhile.
            return
        for messages, transport, size in queue.batches:
            self.accept(messages, transport, to, link, size)
        if link in self._queues.taken:
            self._queues.taken[link].ready = queue.ready
        elif queue.ready is not None:
            queue.ready()


def _subscribes(message: object) -> bool:
    return isinstance(message, dict) and message.get("channel") == SUBSCRIBE
