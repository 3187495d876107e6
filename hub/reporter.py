"""Presence in a node: reports who is here to the other workers, reads their reports, and publishes what changes.

`presence` has the rules; this module waits. If no access rule lets anybody see who is in a channel there is no
reporter, and presence costs nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

from .bayeux.outcome import Call
from .errors import BadMessage, BadWire, BrokerUnavailable, ProtocolError
from .node import Node
from .presence.everywhere import MAX_NAMES
from .presence.pace import Pace
from .presence.reports import REPORTS, check_report
from .presence.worker import Presence
from .protocol.access import PRESENCE, Who, refusal
from .protocol.channels import is_wild, to_fanout
from .protocol.messages import loads
from .protocol.plain import channels_of
from .protocol.publications import Draft, Position, Publication
from .sessions.session import Session

logger = logging.getLogger(__name__)

#: Seconds that an answer waits for this worker to read the reports that are in the log.
PATIENCE = 2.0

#: Seconds between the pieces of a large report: each is delivered before the next is published, so that no worker has
#: to deliver many of them in one go.
PAUSE = 0.02

#: If `_turn` was not called for so many seconds, the process is assumed to have been halted.
HALT_SECONDS = 2.0

#: Most names in an answer about several channels: a hundred channels of MAX_NAMES each made 2 MB, and blocked the event
#: loop for 20 ms.
MOST_NAMES = 2 * MAX_NAMES

#: The service channel where clients ask who is in a channel.
SERVICE_CHANNEL = "/service/presence"


class Reporter:
    """The presence of a node's sessions. Registers itself with the node, which calls `start` and `stop`.

    alone: whether this node is the only one on its log.
    """

    def __init__(self, node: Node, pace: Pace, *, alone: bool) -> None:
        numbers = itertools.count(1)
        # Idempotency keys with this prefix are made by no other process.
        life = secrets.token_hex(8)
        self.rules = Presence(node.worker, pace, lambda: f"presence:{life}:{next(numbers)}", alone=alone)
        self.rules.here.may_tell = self._may_tell
        self._node = node
        self._access = node.bayeux.access
        self._tick = pace.tick
        self._unsent: list[Draft] = []
        self._sending: asyncio.Task[None] | None = None
        self._stopped = False
        self._turned = node.time()
        self._read: Position | None = None
        # Publications that come while the kept reports are being read.
        self._early: list[Publication] | None = None if alone else []
        self._waiting: set[asyncio.Future[None]] = set()
        node.registry.attendance = self
        node.take_from(REPORTS, self._take)
        node.bayeux.services[SERVICE_CHANNEL] = self._serve

    # Called by the node

    def came(self, session: Session, pattern: str) -> None:
        if self._access.keeps_presence(pattern):
            if self._may_open(session, pattern):
                self.rules.here.came(session.id, session.name, pattern, session.address)
            else:
                self.rules.here.uncounted += 1

    def _may_open(self, session: Session, channel: str) -> bool:
        """Whether a session may be counted in this channel.

        The log keeps the reports and events of each new channel: a client that invented a thousand names a second
        filled Redis with a hundred times what it sent.
        """
        bayeux = self._node.bayeux
        rate = bayeux.limits.presence_rate
        return (
            not rate
            or self.rules.knows(channel)
            or bayeux.crowd.may_open_room(session.address, self._node.time(), rate)
        )

    def _may_tell(self, address: str) -> bool:
        """Whether another join or leave from this address may be reported now.

        A client that joined and left a thousand channels had a thousand events published each time.
        """
        bayeux = self._node.bayeux
        return bayeux.crowd.may_change_room(address, self._node.time(), bayeux.limits.presence_rate)

    def went(self, session: Session, pattern: str) -> None:
        self.rules.here.went(session.id, pattern, self._node.time())

    def away(self, session: Session) -> None:
        self.rules.here.away(session.id, self._node.time())

    def back(self, session: Session) -> None:
        self.rules.here.back(session.id)

    def renamed(self, session: Session) -> None:
        self.rules.here.renamed(session.id, session.name, self._node.time())

    def adopted(self, session: Session) -> None:
        self.rules.adopted(session.id)

    def lost(self) -> None:
        self.rules.lost()

    def start(self) -> None:
        if self._early is not None:
            self._begin(self._replay())
        self._turn()

    async def stop(self) -> None:
        self._stopped = True
        try:
            async with asyncio.timeout(PATIENCE):
                if self._sending is not None:
                    await self._sending
                for drafts in self.rules.bye(self._node.time()):
                    self._unsent += drafts
                    await self._send()
                    await asyncio.sleep(0)
        except TimeoutError:
            logger.warning("end not reported")

    async def _replay(self) -> None:
        """Read the reports that the log has kept, then those that have come meanwhile."""
        try:
            history = await self._node.broker.history(REPORTS, None)
        except BrokerUnavailable:
            # The next turn sends a hello, and the others answer with all they know. Only what workers that are gone
            # have reported is missing.
            logger.warning("reports not read")
        else:
            self.rules.replay(_reports(history.publications), self._node.time())
            self._read = history.top
        early, self._early = self._early, None
        self._take([each for each in early or () if not self._is_read(each.position)])

    def _is_read(self, position: Position) -> bool:
        read = self._read
        return read is not None and read.epoch == position.epoch and read.offset >= position.offset

    def _take(self, publications: Sequence[Publication]) -> None:
        if self._early is not None:
            self._early += publications
            return
        for report in _reports(publications):
            self.rules.take(report, self._node.time())
        if publications:
            self._read = publications[-1].position
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    # Reports that are sent

    def _turn(self, _: object = None) -> None:
        node = self._node
        if self._stopped:
            return
        # After it was halted, a process first reads what the others have reported meanwhile.
        halted = node.time() > self._turned + HALT_SECONDS
        self._turned = node.time()
        if self._sending is None and not halted:
            # First repeat what was not accepted, with the same idempotency keys.
            self._unsent = self._unsent or self.rules.tick(node.time())
            if self._unsent or self.rules.more:
                self._begin(self._tell())
        node.wheel.add(node.time() + self._tick, self._turn, None)

    async def _tell(self) -> None:
        """Publish what is due now, piece by piece."""
        node, rules = self._node, self.rules
        began = node.time()
        while await self._send() and rules.more and not self._stopped:
            if rules.shows:
                # A worker that starts waits for the snapshot, but no longer than `Pace.wait`: don't pause.
                await node.turns.wait()
            else:
                await asyncio.sleep(PAUSE)
            if node.time() > began + HALT_SECONDS:
                # As in `_turn`, which goes on with it later.
                return
            began = node.time()
            self._unsent = rules.rest(began)

    async def _send(self) -> bool:
        """Publish what is unsent; True if it was accepted."""
        try:
            if self._unsent:
                await self._node.publish(self._unsent)
            self._unsent = []
        except BrokerUnavailable:
            logger.debug("report not published")
            return False
        return True

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._sending = asyncio.get_running_loop().create_task(work)
        self._sending.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._sending = None
        if not task.cancelled() and (error := task.exception()) is not None:
            # A bug; the drafts may or may not have been published.
            logger.error("report failed", exc_info=error)
            self._unsent = []
            self.rules.lost()

    # Questions

    async def states(self, names: Sequence[str], who: Who | None) -> list[dict[str, Any]]:
        """Who is in these channels: for each its `channel`, `count`, `users` and `position`.

        who: the client that asks; None for a server with the realm's key. position: in the channel `/presence/…`; what
        is published there after it is what the state lacks. Raises ProtocolError, and BrokerUnavailable while this
        worker does not know.
        """
        channels = channels_of(names)
        for channel in channels:
            if is_wild(channel):
                raise BadMessage("channel", text="Name channels, not a pattern")
            decision = self._access.decide("presence", channel, who or Who())
            if not decision.allowed and (who is not None or decision.need == "closed"):
                raise refusal(decision, channel)
        broker = self._node.broker
        positions = await asyncio.gather(*(broker.position(PRESENCE + channel) for channel in channels))
        # An event up to that position may come from a report that this worker has not read yet.
        await self._catch_up(await broker.position(REPORTS))
        found, left = [], MOST_NAMES
        for channel, position in zip(channels, positions, strict=True):
            found.append(self._state(channel, position, min(MAX_NAMES, left)))
            left -= len(found[-1]["users"])
        return found

    def _state(self, channel: str, position: Position, most: int) -> dict[str, Any]:
        users = self.rules.everywhere.users(channel)
        state: dict[str, Any] = {
            "channel": to_fanout(channel),
            "count": self.rules.everywhere.count(channel),
            "users": [{"user": user} for user in itertools.islice(users, most)],
            "position": str(position),
        }
        if len(users) > most:
            state["more"] = len(users) - most
        return state

    async def _catch_up(self, top: Position) -> None:
        """Wait until the reports up to `top` are read; raises BrokerUnavailable after PATIENCE."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not self._has_read(top):
                    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiting.add(future)
                    try:
                        await future
                    finally:
                        self._waiting.discard(future)
        except TimeoutError:
            raise BrokerUnavailable("who is here is not known yet") from None

    def _has_read(self, top: Position) -> bool:
        if not self.rules.ready:
            return False
        return top.offset == 0 or self._is_read(top)

    async def _serve(self, call: Call) -> object:
        """Answer a client's `{"channel": name}` or `{"channel": [names]}` on the service channel."""
        asked = call.data.get("channel") if isinstance(call.data, dict) else None
        names = [asked] if isinstance(asked, str) else asked
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadMessage("channel", text="Name a channel or a list of channels")
        return answer(await self.states(names, call.who))


def answer(states: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer: one channel's state, or those of several under `channels`."""
    return states[0] if len(states) == 1 else {"channels": states}


def _reports(publications: Sequence[Publication]) -> Iterator[dict[str, Any]]:
    for publication in publications:
        try:
            report = loads(publication.data)
            check_report(report)
        except (LookupError, TypeError, ValueError, AttributeError, ProtocolError) as error:
            # Another release writes to our log. Its report counts as lost, like an entry that was not received.
            logger.error("report can't be read", extra={"error": repr(BadWire(str(error)))})
        else:
            yield report
