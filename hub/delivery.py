"""Fan-out: what comes from the broker is written to its subscribers, once a tick.

After a pause, the first publications go out together at the end of the loop's round that brought them. What follows
goes out within a tick (`pause`) as one batch per channel, and each batch is encoded once. A batch to more than `SLICE`
sessions is a job, written in slices. Between slices the loop serves everyone else, and publications of channels without
a job are written: so a popular page delays no other by more than a slice.

For each session that is attached (`sessions`) these hold:

- A channel's batches reach it in the order of their numbers: a channel has one job under way, and its others wait.
- Of different channels a later batch may come first. So `Recent.written` is the number before the oldest unfinished
  job, and only batches up to there count as delivered to everybody: a session may be sent something after that number
  twice, but misses nothing. A batch that was delivered before an older job notes that (`Recent.add`, `floor`).
- Each batch reaches each of its sessions once: a job skips sessions that have got its batch already, because they woke
  or came back on a new link. A session that sleeps on a pattern from a later batch on is given the job's batch at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from .counters import Counters
from .protocol.channels import META
from .protocol.publications import Position, Publication
from .sessions.backlog import Backlog, Numbered
from .sessions.links import Batch
from .sessions.registry import ASKED, Registry
from .sessions.session import Session
from .tops import Tops

#: After a fan-out, pause for this many times as long as it took (`pause`).
PAUSE = 4

#: After a fan-out of at most so many writes there is no pause: a client that publishes when it gets its own message
#: back must not wait, and the time measured for so little is mostly that of other programs.
LONE = 16

#: What comes in a pause waits at least so many seconds: uvloop's timers are no finer.
LATER = 0.001

#: How many sessions are written to before the loop goes on. A write takes 3 to 6 µs on one core, so a slice delays
#: pings, publishes and other channels by at most about 0.8 ms.
SLICE = 128

#: A session whose rights must still be checked counts as so many in a slice: its token may name a hundred patterns.
UNSURE = 8

#: For how many seconds after the loop has read its sockets their state is trusted; the process may have been stopped
#: since.
READ_SECONDS = 0.05

#: When more publications than this wait for fan-out, publishers must wait too.
BACKLOG = 20_000


class Keeper(Protocol):
    """What is done with sessions that can't be written to."""

    def put_aside(self, session: Session, publications: Iterable[Publication]) -> None:
        """Keep publications for a session that can't be written to now."""

    def forgot(self, session: Session) -> None:
        """More came for a session while it slept than may wait for it."""

    def not_delivered(self, session: Session, batch: Batch, error: Exception) -> None:
        """Writing this batch to a session's link failed; the other sessions still get it."""


class Hearer(Protocol):
    """What is done with publications that are for the node itself."""

    @property
    def told_first(self) -> Sequence[str]:
        """Meta channels whose publications take effect before the rest of a flush is delivered."""

    def told(self, channel: str, publications: Sequence[Publication]) -> None:
        """Handle publications of a meta channel: they are from the hub itself, and have no subscribers."""

    def done(self) -> None:
        """Everything up to `Recent.written` has been delivered."""


class _Job:
    """A batch that is written in slices.

    at: how many of its sessions have been reached. given: sessions to skip, as they have it already or may not have it
    any more. sure: the first so many sessions are known to be allowed to hear it; the others are checked when they are
    reached.
    """

    __slots__ = ("_places", "at", "batch", "given", "sessions", "sure")

    def __init__(self, batch: Batch, sessions: list[Session], sure: int) -> None:
        self.batch = batch
        self.sessions = sessions
        self.sure = sure
        self.at = 0
        self.given: set[Session] | None = None
        self._places: dict[Session, int] | None = None

    def is_due(self, session: Session) -> bool:
        """Whether this session is still to be reached, and not to be skipped."""
        if self._places is None:
            # Made once: a thousand sessions may wake while 15,000 are written to.
            self._places = {each: place for place, each in enumerate(self.sessions)}
        return self._places.get(session, -1) >= self.at and (self.given is None or session not in self.given)

    def is_sure(self, session: Session) -> bool:
        """Whether this session, which is due, is known to be allowed to hear it."""
        return self._places is not None and self._places[session] < self.sure

    def pass_over(self, session: Session) -> None:
        """Skip this session."""
        if self.given is None:
            self.given = set()
        self.given.add(session)


class Delivery:
    """Delivers publications to the sessions of one node.

    tick: how many seconds a publication may wait for others; 0 delivers each at once. backlogs: makes a backlog for
    sessions that sleep on a pattern. keeper: gets what can't be written. hearer: gets what is for the node itself.
    tops: keeps the newest positions of channels.

    pending: by channel, what came since the last flush. waiting: how many publications that is.
    """

    def __init__(
        self,
        registry: Registry,
        counters: Counters,
        tick: float,
        backlogs: Callable[[], Backlog],
        keeper: Keeper,
        hearer: Hearer,
        tops: Tops,
    ) -> None:
        self.pending: dict[str, list[Publication]] = {}
        self.waiting = 0
        self.tops = tops.heard
        self._most_tops = tops.most
        self._trim_tops = tops.trim
        self._registry = registry
        self._counters = counters
        self._tick = tick
        self._keeper = keeper
        self._hearer = hearer
        self._loop = asyncio.get_running_loop()
        # When the last fan-out began, and until when the pause after it lasts; by a clock with microseconds, as
        # uvloop's own is in whole milliseconds.
        self._began = 0.0
        self._pause_ends = 0.0
        # How many sessions that fan-out reached.
        self._reached = 0
        self._call: asyncio.Handle | None = None
        # The jobs: by number, oldest first; by channel, where the first is under way; and those under way by size
        # class, in doublings of a slice. The classes take turns, so a job for 1,000 does not wait for one for 15,000.
        self._jobs: dict[int, _Job] = {}
        self._lines: dict[str, deque[_Job]] = {}
        self._sizes: dict[int, deque[_Job]] = {}
        # Whether the last round was left to what came meanwhile.
        self._gave_way = False
        # When the last slice but one, and the last slice, were written; 0 if none was since the last pause.
        self._ends = (0.0, 0.0)
        # Until when the sockets' state, as the loop has last read it, is trusted.
        self._read_until = 0.0
        self._new_backlog = backlogs
        # Publishers that wait, in order, each until it has gone on; and whether they are being let in.
        self._publishers: deque[asyncio.Future[None]] = deque()
        self._letting_in = False
        registry.on_wake = self._give
        registry.on_resume = self._resumed
        registry.on_judge = self._judged

    @property
    def is_behind(self) -> bool:
        """Whether publishers should wait, as too much waits for fan-out, or other publishers wait already."""
        return self.waiting > BACKLOG or bool(self._publishers)

    def delivered_up_to(self, channel: str) -> Position | None:
        """The position up to which a channel was delivered; None if it had no publications lately."""
        if channel in self._lines:
            return _before(self._lines[channel][0].batch.publications[0])
        pending = self.pending.get(channel)
        return _before(pending[0]) if pending else self.tops.get(channel)

    def room(self) -> asyncio.Future[None] | None:
        """What to await before publishing; None if nothing. First come, first served; who has waited must go on."""
        if not self.is_behind:
            return None
        turn: asyncio.Future[None] = self._loop.create_future()
        self._publishers.append(turn)
        return turn

    def _let_in(self) -> None:
        """Let the publishers that wait go on; until they have, newcomers wait behind them."""
        if self._letting_in or not self._publishers:
            return
        self._letting_in = True
        for turn in [each for each in self._publishers if not each.done()]:
            turn.set_result(None)
        # The tasks that were woken run before this, in their order.
        self._loop.call_soon(self._let_in_all)

    def _let_in_all(self) -> None:
        self._letting_in = False
        while self._publishers and self._publishers[0].done():
            del self._publishers[0]
        if self.waiting <= BACKLOG:
            self._let_in()

    @property
    def has_read(self) -> bool:
        """Whether the loop has just read its sockets, amid a large fan-out: hung-up clients need no other check."""
        return time.monotonic() < self._read_until

    def stop(self) -> None:
        """Deliver no more."""
        if self._call is not None:
            self._call.cancel()

    def take(self, publications: Sequence[Publication]) -> None:
        """Take publications from the broker; flush at the end of this round if it was quiet, else after the pause."""
        pending, tops = self.pending, self.tops
        for publication in publications:
            waiting = pending.get(publication.channel)
            if waiting is None:
                pending[publication.channel] = [publication]
            else:
                waiting.append(publication)
            tops[publication.channel] = publication.position
        self.waiting += len(publications)
        if len(tops) > self._most_tops:
            self._trim_tops()
        if self._call is None and not self._jobs:
            wait = self._pause_ends - time.monotonic()
            if not self._tick:
                self.flush()
            elif wait <= 0:
                # At the end of the round, so that what was read together goes out together. When the first of 4
                # messages to 1,000 sockets went alone it accounted for a third of the writes.
                self._call = self._loop.call_soon(self.flush)
            else:
                self._call = self._loop.call_later(min(self._tick, max(wait, LATER)), self.flush)

    def flush(self) -> None:
        """Begin to deliver all that is pending; it queues behind unfinished jobs of the same channels."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        pending, self.pending = self.pending, {}
        self.waiting = 0
        self._begin(pending)

    def _begin(self, pending: dict[str, list[Publication]]) -> bool:
        """Number these batches, and write them or make them jobs. True if anything was written."""
        registry, recent, now = self._registry, self._registry.recent, self._loop.time()
        working = bool(self._jobs)
        if not working:
            self._began = time.monotonic()
            self._pause_ends = self._began + self._tick
            self._reached = 0
        self._counters.flushes += 1
        left, asks = SLICE, ASKED
        for channel in self._hearer.told_first:
            if channel in pending:
                self._hearer.told(channel, pending.pop(channel))
        told: list[tuple[str, list[Publication]]] = []
        for channel, publications in pending.items():
            audience, asked, asks = registry.reach(channel, asks)
            backlogs = registry.sleeps_on(channel) if registry.asleep else ()
            if not audience and not asked and not backlogs:
                if channel.startswith(META):
                    told.append((channel, publications))
                continue
            floor = next(iter(self._jobs)) - 1 if self._jobs else None
            recent.add(channel, publications, now, floor, len(audience) + len(asked))
            batch = Batch(channel, publications, recent.newest)
            for backlog in backlogs:
                backlog.add(batch.number, publications, now)
            if not asked and len(audience) <= left and channel not in self._lines:
                left -= len(audience)
                self._deliver(batch, list(audience))
            else:
                self._add_job(_Job(batch, [*audience, *asked], len(audience)))
        # Only now, when all that came with them is numbered.
        for channel, publications in told:
            self._hearer.told(channel, publications)
        if not self._jobs:
            self._quiet()
        elif not working:
            self._loop.call_soon(self._work)
        return left < SLICE

    def _add_job(self, job: _Job) -> None:
        self._jobs[job.batch.number] = job
        line = self._lines.get(job.batch.channel)
        if line is None:
            self._lines[job.batch.channel] = deque([job])
            self._start(job)
        else:
            line.append(job)

    def _start(self, job: _Job) -> None:
        size = (len(job.sessions) // SLICE).bit_length()
        self._sizes.setdefault(size, deque()).append(job)

    def _end_job(self, job: _Job) -> None:
        """A job is done; begin its channel's next one."""
        del self._jobs[job.batch.number]
        line = self._lines[job.batch.channel]
        line.popleft()
        if line:
            self._start(line[0])
        else:
            del self._lines[job.batch.channel]

    def _advance(self) -> None:
        """Set `Recent.written`: up to where everything has been delivered."""
        recent = self._registry.recent
        recent.written = next(iter(self._jobs)) - 1 if self._jobs else recent.newest
        self._hearer.done()

    def _quiet(self) -> None:
        """Begin the pause when this round ends: only then has the loop written everything.

        If it were counted from the beginning of the fan-out, each message after a large one would seem to come alone,
        and 1,000 subscribers would cost 1,000 writes a message instead of a tick.
        """
        self._advance()
        if self._reached > LONE:
            self._loop.call_soon(self._begin_pause)
        else:
            self._pause_ends = self._began
        self._let_in()

    def _begin_pause(self) -> None:
        now = time.monotonic()
        self._pause_ends = now + pause(self._tick, now - self._began)

    def _work(self) -> None:
        """Write what came for channels without a job, or else one slice of a job; then let the loop go round."""
        if self._jobs and self.pending and not self._gave_way:
            # Not in the same round as a slice, or its writes would wait among the slice's.
            self._gave_way = self._begin_meanwhile()
            if self._gave_way:
                self._loop.call_soon(self._work)
                return
        self._gave_way = False
        if self._ends[0]:
            # The loop polls its sockets between two slices. But after a standstill the first may come straight from a
            # timer, and asyncio's own loop calls the second before it handles what it found.
            self._read_until = self._ends[0] + READ_SECONDS
        left, done = SLICE, False
        while left and self._sizes:
            size, jobs = next(iter(self._sizes.items()))
            while left and jobs:
                job = jobs[0]
                left -= self._write(job, left)
                if job.at == len(job.sessions):
                    jobs.popleft()
                    self._end_job(job)
                    done = True
            # To the end, behind the other size classes.
            del self._sizes[size]
            if jobs:
                self._sizes[size] = jobs
        self._read_until = 0.0
        if self._jobs:
            self._ends = (self._ends[1], time.monotonic())
            self._loop.call_soon(self._work)
            if done:
                self._advance()
            if self.waiting <= BACKLOG // 2:
                self._let_in()
            return
        self._ends = (0.0, 0.0)
        self._quiet()
        if self.pending and self._call is None:
            self._call = self._loop.call_later(self._tick, self.flush)

    def _begin_meanwhile(self) -> bool:
        """Begin to deliver what is pending for channels without a job. True if anything was written."""
        pending = {channel: each for channel, each in self.pending.items() if channel not in self._lines}
        for channel, publications in pending.items():
            del self.pending[channel]
            self.waiting -= len(publications)
        return bool(pending) and self._begin(pending)

    def _write(self, job: _Job, most: int) -> int:
        """Write a job to about `most` of its sessions; returns how many it has used up (`UNSURE`)."""
        begin = job.at
        is_sure = begin < job.sure
        end = min(begin + most, job.sure) if is_sure else begin + max(1, most // UNSURE)
        turn = job.sessions[begin:end]
        job.at += len(turn)
        given = job.given
        sessions = turn if given is None else [each for each in turn if each not in given]
        if not is_sure:
            may_hear, channel = self._registry.may_hear, job.batch.channel
            sessions = [each for each in sessions if may_hear(each, channel)]
        self._deliver(job.batch, sessions)
        return len(turn) if is_sure else min(most, len(turn) * UNSURE)

    def _deliver(self, batch: Batch, sessions: Sequence[Session]) -> None:
        asleep = 0
        self._reached += len(sessions)
        for session in sessions:
            sink = session.sink
            try:
                if sink is not None:
                    sink.offer(batch)
                elif session.may_sleep and not session.ended:
                    asleep += self._put_to_sleep(session, batch)
                elif not session.ended:
                    self._keeper.put_aside(session, batch.publications)
            except Exception as error:  # noqa: BLE001  # logged by the keeper
                # One link's failure must not keep the batch from all after it.
                self._keeper.not_delivered(session, batch, error)
        # Sessions that sleep are counted when they wake.
        self._counters.delivered += (len(sessions) - asleep) * len(batch.publications)

    def _put_to_sleep(self, session: Session, batch: Batch) -> bool:
        """Let a session without a connection sleep on the patterns that match this batch; it gets it when it wakes.

        Ten thousand sessions whose clients had gone took 10 ms of the loop for each message, and had a queue each.
        Returns False if it sleeps on them already, from a later batch on: then it is given this one now.
        """
        registry = self._registry
        since = []
        for pattern in registry.matching(batch.channel):
            if session in registry.audiences.get(pattern, ()):
                backlog = None if pattern in registry.asleep else self._backlog(pattern, batch)
                registry.sleep(session, pattern, batch.number, backlog)
            sleepers = registry.asleep.get(pattern)
            if sleepers is not None and session in sleepers.since:
                since.append(sleepers.since[session])
        if not since or min(since) <= batch.number:
            return True
        self._keeper.put_aside(session, batch.publications)
        return False

    def _backlog(self, pattern: str, first: Batch) -> Backlog:
        """A new backlog of a pattern, with the unfinished jobs that match: sessions may fall asleep at one of them."""
        backlog = self._new_backlog()
        now = self._loop.time()
        batches = {first.number: first} | {number: job.batch for number, job in self._jobs.items()}
        for number, batch in sorted(batches.items()):
            if pattern in self._registry.matching(batch.channel):
                backlog.add(number, batch.publications, now)
        return backlog

    def _give(self, session: Session, found: list[Numbered] | None) -> None:
        """Give a waking session what came while it slept; some of that may still be on its way to others."""
        if found is None:
            self._keeper.forgot(session)
            return
        if self._jobs:
            found = self._pass_over(session, found)
        publications = [publication for _, batch in found for publication in batch]
        self._counters.delivered += len(publications)
        self._keeper.put_aside(session, publications)

    def _pass_over(self, session: Session, found: list[Numbered]) -> list[Numbered]:
        """Have jobs skip a session that is given this, and add what older jobs of its channels have for it."""
        given = dict(found)
        for channel in {publications[0].channel for publications in given.values()}:
            newest = max(number for number, each in found if each[0].channel == channel)
            for job in self._lines.get(channel, ()):
                number = job.batch.number
                if number in given:
                    job.pass_over(session)
                elif number < newest and job.is_due(session) and self._is_for(job, session):
                    # It sleeps on a wildcard from a later batch on, which went before this job's.
                    given[number] = job.batch.publications
                    job.pass_over(session)
        return sorted(given.items())

    def _is_for(self, job: _Job, session: Session) -> bool:
        """Whether a session that a job will reach may hear it."""
        return job.is_sure(session) or self._registry.may_hear(session, job.batch.channel)

    def _resumed(self, session: Session) -> None:
        """All that a session's last link may have lost is queued again, with what jobs still had for it: skip it."""
        for job in self._jobs.values():
            job.pass_over(session)

    def _judged(self, session: Session) -> None:
        """A session may hear less than before: have jobs skip it where that is so."""
        for job in self._jobs.values():
            if not self._registry.may_hear(session, job.batch.channel):
                job.pass_over(session)


def pause(tick: float, took: float) -> float:
    """For how many seconds to collect publications after a fan-out to more than LONE sessions that took `took` seconds.

    Four times as long as that, so that at most a fifth of the time goes into writing; but a quarter of a tick at least,
    and a tick at most. With a whole tick after 10 sockets, whose writes take 0.2 ms, nine in ten of 400 messages a
    second to 10,000 channels waited for nothing, 1.3 ms at the median. With a quarter of a tick (a millisecond by
    uvloop's timers) after a single socket, 1,000 messages of a client that waited for each took four times as long.
    """
    return min(tick, max(tick / PAUSE, took * PAUSE))


def _before(publication: Publication) -> Position:
    return Position(publication.position.epoch, publication.position.offset - 1)
