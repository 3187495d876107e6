"""Fan-out: what the broker delivers is written to those who subscribe to it, once a tick.

The first publications after a pause go out together when the turn of the loop that brought them ends, what follows
within a tick or less (`pause`) as one batch per channel, each batch encoded once. Batches to more than `SLICE` sessions
are written in slices, between which the loop serves everyone else.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from .backlog import Backlog, Numbered
from .counters import Counters
from .protocol.channels import META
from .protocol.publications import Position, Publication
from .sessions import Batch, Registry, Session

#: Fan-outs that a pause after one is as long as (`pause`).
PAUSE = 4

#: Seconds that what comes in a pause waits at least: uvloop's timers know no shorter time.
LATER = 0.001

#: Sessions written to before the loop gets its turn. A write is 3 to 6 µs on one core, so a slice
#: keeps pings, publishes and other channels waiting for about 3 ms at the most.
SLICE = 512

#: Publications waiting for fan-out beyond which publishers wait too.
BACKLOG = 20_000

#: Channels whose newest position is remembered for heartbeats.
MAX_TOPS = 50_000


class Keeper(Protocol):
    """Takes what is not written to a link at once."""

    def put_aside(self, session: Session, publications: Iterable[Publication]) -> None:
        """Keep publications for a session that can't be written to now."""

    def forgot(self, session: Session) -> None:
        """More came for a session while it slept than may wait for one."""

    def not_delivered(self, session: Session, batch: Batch, error: Exception) -> None:
        """A session's link failed at this batch; others still get it."""

    def told(self, channel: str, publications: Sequence[Publication]) -> None:
        """Publications of a meta channel, to which nobody subscribes."""

    def done(self) -> None:
        """Everything that was taken has been delivered."""


class Delivery:
    """What is published, on its way to the sessions of one node.

    tick: seconds a publication may wait for others; 0 delivers each at once. backlogs: makes one for those who
    sleep on a pattern. keeper: the node. `pending`: what came since the last flush, by channel; `waiting`: how many
    that is. `tops`: channels' newest positions, of MAX_TOPS.
    """

    def __init__(
        self, registry: Registry, counters: Counters, tick: float, backlogs: Callable[[], Backlog], keeper: Keeper
    ) -> None:
        self.pending: dict[str, list[Publication]] = {}
        self.waiting = 0
        self.tops: dict[str, Position] = {}
        self._registry = registry
        self._counters = counters
        self._tick = tick
        self._keeper = keeper
        self._loop = asyncio.get_running_loop()
        # When the last fan-out began, and until when what comes after it waits; by a clock of microseconds, while
        # uvloop's loop time is whole milliseconds.
        self._began = 0.0
        self._pause_ends = 0.0
        self._call: asyncio.Handle | None = None
        # Batches that are being written; and those of them that sessions were given already, as they woke.
        self._jobs: deque[tuple[Batch, Iterator[Session]]] = deque()
        self._ahead: dict[Session, set[int]] = {}
        self._new_backlog = backlogs
        # Who waits to publish, first come, first served, until it has gone on; and whether they are being let in.
        self._publishers: deque[asyncio.Future[None]] = deque()
        self._letting_in = False
        registry.on_wake = self._give

    @property
    def is_behind(self) -> bool:
        """Whether publishers should wait: so much does, or so many of them do already."""
        return self.waiting > BACKLOG or bool(self._publishers)

    def delivered_up_to(self, channel: str) -> Position | None:
        """Where every publication of a channel was delivered; None if it had none lately."""
        for batch, _ in self._jobs:
            if batch.channel == channel:
                return _before(batch.publications[0])
        pending = self.pending.get(channel)
        return _before(pending[0]) if pending else self.tops.get(channel)

    def room(self) -> asyncio.Future[None] | None:
        """What to await before publishing, None if nothing. Whoever asked first goes on first, and must go on."""
        if not self.is_behind:
            return None
        turn: asyncio.Future[None] = self._loop.create_future()
        self._publishers.append(turn)
        return turn

    def _let_in(self) -> None:
        """Let those go on who wait to publish; until they have, who comes now waits behind them."""
        if self._letting_in or not self._publishers:
            return
        self._letting_in = True
        for turn in [each for each in self._publishers if not each.done()]:
            turn.set_result(None)
        # Tasks that are woken run in this order, before this.
        self._loop.call_soon(self._let_in_all)

    def _let_in_all(self) -> None:
        self._letting_in = False
        while self._publishers and self._publishers[0].done():
            del self._publishers[0]
        if self.waiting <= BACKLOG:
            self._let_in()

    def stop(self) -> None:
        """Deliver no more."""
        if self._call is not None:
            self._call.cancel()

    def take(self, publications: Sequence[Publication]) -> None:
        """Take what the broker accepted; flush after this turn of the loop if the tick was quiet, else at its end."""
        pending, tops = self.pending, self.tops
        for publication in publications:
            waiting = pending.get(publication.channel)
            if waiting is None:
                pending[publication.channel] = [publication]
            else:
                waiting.append(publication)
            tops[publication.channel] = publication.position
        self.waiting += len(publications)
        while len(tops) > MAX_TOPS:
            del tops[next(iter(tops))]
        if self._call is None and not self._jobs:
            wait = self._pause_ends - time.monotonic()
            if not self._tick:
                self.flush()
            elif wait <= 0:
                # Not before this turn of the loop ends: what was read together goes out together. With 4 messages
                # in flight to 1,000 sockets the first of them went alone, and a third of the writes was its.
                self._call = self._loop.call_soon(self.flush)
            else:
                self._call = self._loop.call_later(min(self._tick, max(wait, LATER)), self.flush)

    def flush(self) -> None:
        """Begin to deliver what is pending, behind what is being delivered."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        now = self._loop.time()
        working = bool(self._jobs)
        if not working:
            self._began = time.monotonic()
            self._pause_ends = self._began + self._tick
        self._counters.flushes += 1
        pending, self.pending = self.pending, {}
        self.waiting = 0
        left = SLICE
        for channel, publications in pending.items():
            audience = self._registry.audience(channel)
            backlogs = self._registry.sleeps_on(channel) if self._registry.asleep else ()
            if not audience and not backlogs:
                if channel.startswith(META):
                    self._keeper.told(channel, publications)
                continue
            self._registry.recent.add(channel, publications, now)
            batch = Batch(channel, publications, self._registry.recent.newest)
            for backlog in backlogs:
                backlog.add(batch.number, publications, now)
            if len(audience) <= left and not self._jobs:
                left -= len(audience)
                self._deliver(batch, list(audience))
            else:
                self._jobs.append((batch, iter(list(audience))))
        if not self._jobs:
            self._quiet()
        elif not working:
            self._loop.call_soon(self._work)

    def _quiet(self) -> None:
        """Fan-out is done, but for what the loop writes when this turn ends: the pause begins after that.

        Counted from the beginning, every message that follows a large fan-out would look like a lone
        one, and 1,000 subscribers would cost 1,000 writes a message instead of a tick.
        """
        self._registry.recent.written = self._registry.recent.newest
        self._ahead.clear()
        self._loop.call_soon(self._begin_pause)
        self._keeper.done()
        self._let_in()

    def _begin_pause(self) -> None:
        now = time.monotonic()
        self._pause_ends = now + pause(self._tick, now - self._began)

    def _work(self) -> None:
        """Write one slice of the batches under way; then let the loop go round."""
        left = SLICE
        while self._jobs and left:
            batch, sessions = self._jobs[0]
            turn = list(islice(sessions, left))
            left -= len(turn)
            if self._ahead:
                turn = [each for each in turn if batch.number not in self._ahead.get(each, ())]
            self._deliver(batch, turn)
            if left:
                self._jobs.popleft()
        if self._jobs:
            self._loop.call_soon(self._work)
            return
        self._quiet()
        if self.pending and self._call is None:
            self._call = self._loop.call_later(self._tick, self.flush)

    def _deliver(self, batch: Batch, sessions: Sequence[Session]) -> None:
        asleep = 0
        for session in sessions:
            sink = session.sink
            try:
                if sink is not None:
                    sink.offer(batch)
                elif session.may_sleep and not session.ended:
                    self._put_to_sleep(session, batch)
                    asleep += 1
                elif not session.ended:
                    self._keeper.put_aside(session, batch.publications)
            except Exception as error:  # noqa: BLE001  # logged by the keeper
                # One link's failure must not keep the batch from everybody behind it.
                self._keeper.not_delivered(session, batch, error)
        # Those that sleep count when they wake.
        self._counters.delivered += (len(sessions) - asleep) * len(batch.publications)

    def _put_to_sleep(self, session: Session, batch: Batch) -> None:
        """Let a session that nothing reaches sleep on what matches this batch, which it gets when it wakes.

        Ten thousand sessions whose clients had gone kept the loop for 10 ms a message, and had a list each.
        """
        registry = self._registry
        for pattern in registry.matching(batch.channel):
            if session in registry.audiences.get(pattern, ()):
                backlog = None if pattern in registry.asleep else self._backlog(pattern, batch)
                registry.sleep(session, pattern, batch.number, backlog)

    def _backlog(self, pattern: str, first: Batch) -> Backlog:
        """A new backlog of a pattern. What is being written may be for those who sleep from this batch on."""
        backlog = self._new_backlog()
        now = self._loop.time()
        for batch in ({first.number: first} | {job.number: job for job, _ in self._jobs}).values():
            if batch.number >= first.number and pattern in self._registry.matching(batch.channel):
                backlog.add(batch.number, batch.publications, now)
        return backlog

    def _give(self, session: Session, found: list[Numbered] | None) -> None:
        """Give a session that wakes what came while it slept; some of it may still be on its way to others."""
        if found is None:
            self._keeper.forgot(session)
            return
        if self._jobs:
            self._ahead.setdefault(session, set()).update(number for number, _ in found)
        publications = [publication for _, batch in found for publication in batch]
        self._counters.delivered += len(publications)
        self._keeper.put_aside(session, publications)


def pause(tick: float, took: float) -> float:
    """Seconds after a fan-out in which the next waits for company, if it took so many; a tick at the most.

    As long as four of them, so that writing takes a fifth of the time or less, and a quarter of a tick at least.
    With a whole tick after 10 sockets, whose writes take 0.2 ms, nine in ten of 400 messages a second to 10,000
    channels waited for nothing, the median 1.3 ms.
    """
    return min(tick, max(tick / PAUSE, took * PAUSE))


def _before(publication: Publication) -> Position:
    return Position(publication.position.epoch, publication.position.offset - 1)
