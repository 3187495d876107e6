"""Fan-out: what the broker delivers is written to those who subscribe to it, once a tick.

The first publications after a pause go out together when the turn of the loop that brought them ends, what follows
within a tick or less (`pause`) as one batch per channel, each batch encoded once. Batches to more than `SLICE` sessions
are jobs, written in slices, between which the loop serves everyone else, and what came meanwhile for channels that
have no job is written: one popular page delays no other by more than a slice.

What holds, of each session that is attached (`sessions`):

- A channel's batches reach it in the order of their numbers: a channel has one job under way, others wait behind it.
- Of different channels a later batch may come first. So `Recent.written` is the number before the oldest job that is
  not done, and only what is up to there counts as handed to everybody: a session may be given something again by
  numbers after that, and misses nothing. A batch that went before a job remembers that it did (`Recent.add`, `floor`).
- Each batch reaches each of its sessions once: a job passes over those that were given it already, as they woke or
  came back on a new link. One that sleeps on a pattern from a later batch on than the job's is given the job's at once.
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

#: Fan-outs that a pause after one is as long as (`pause`).
PAUSE = 4

#: Writes after which there is no pause: what a client sends when it gets its own message back must not wait for one,
#: and the time that so little takes is mostly other programs'.
LONE = 16

#: Seconds that what comes in a pause waits at least: uvloop's timers know no shorter time.
LATER = 0.001

#: Sessions written to before the loop gets its turn. A write is 3 to 6 µs on one core, so a slice
#: keeps pings, publishes and other channels waiting for about 0.8 ms at the most.
SLICE = 128

#: A session whose rights must still be checked counts as this many of a slice: its token may name a hundred patterns.
UNSURE = 8

#: Seconds for which it counts that the loop has read its sockets: a process that was stopped since then has not.
READ_SECONDS = 0.05

#: Publications waiting for fan-out beyond which publishers wait too.
BACKLOG = 20_000


class Keeper(Protocol):
    """Takes what is not written to a link at once."""

    def put_aside(self, session: Session, publications: Iterable[Publication]) -> None:
        """Keep publications for a session that can't be written to now."""

    @property
    def told_first(self) -> Sequence[str]:
        """Meta channels whose publications take effect before the rest of a flush is delivered."""

    def forgot(self, session: Session) -> None:
        """More came for a session while it slept than may wait for one."""

    def not_delivered(self, session: Session, batch: Batch, error: Exception) -> None:
        """A session's link failed at this batch; others still get it."""

    def told(self, channel: str, publications: Sequence[Publication]) -> None:
        """Publications of a meta channel, to which nobody subscribes."""

    def done(self) -> None:
        """Everything up to `Recent.written` has been delivered."""


class _Job:
    """A batch that is written in slices. at: how many of its sessions have been reached.

    given: who has it already, or may not have it any more. sure: of how many sessions, the first, it is known that
    they may hear it; of the others it is asked when they are reached.
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
        """Whether this session is yet to be reached, and not to be passed over."""
        if self._places is None:
            # Once for all that ask: a thousand may wake while 15,000 are written to.
            self._places = {each: place for place, each in enumerate(self.sessions)}
        return self._places.get(session, -1) >= self.at and (self.given is None or session not in self.given)

    def is_sure(self, session: Session) -> bool:
        """Whether it is known that this session, which is due, may hear it."""
        return self._places is not None and self._places[session] < self.sure

    def pass_over(self, session: Session) -> None:
        """This session needs it no more."""
        if self.given is None:
            self.given = set()
        self.given.add(session)


class Delivery:
    """What is published, on its way to the sessions of one node.

    tick: seconds a publication may wait for others; 0 delivers each at once. backlogs: makes one for those who
    sleep on a pattern. keeper: the node. tops: where channels' newest positions are written. `pending`: what came since
    the last flush, by channel; `waiting`: how many that is. `tops`: those positions.
    """

    def __init__(
        self,
        registry: Registry,
        counters: Counters,
        tick: float,
        backlogs: Callable[[], Backlog],
        keeper: Keeper,
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
        self._loop = asyncio.get_running_loop()
        # When the last fan-out began, and until when what comes after it waits; by a clock of microseconds, while
        # uvloop's loop time is whole milliseconds.
        self._began = 0.0
        self._pause_ends = 0.0
        # How many sessions that fan-out reached.
        self._reached = 0
        self._call: asyncio.Handle | None = None
        # What is written in slices: by number, the oldest first; by channel, the first is under way; and those under
        # way by their size, doublings of a slice. The sizes take turns: a crowd of 1,000 waits for none of 15,000.
        self._jobs: dict[int, _Job] = {}
        self._lines: dict[str, deque[_Job]] = {}
        self._sizes: dict[int, deque[_Job]] = {}
        # Whether the last turn was given to what came meanwhile.
        self._gave_way = False
        # When the slice before the last one was written, and the last; 0 for none without a pause.
        self._ends = (0.0, 0.0)
        # Until when what the loop has read of its sockets is taken for how they are.
        self._read_until = 0.0
        self._new_backlog = backlogs
        # Who waits to publish, first come, first served, until it has gone on; and whether they are being let in.
        self._publishers: deque[asyncio.Future[None]] = deque()
        self._letting_in = False
        registry.on_wake = self._give
        registry.on_resume = self._resumed
        registry.on_judge = self._judged

    @property
    def is_behind(self) -> bool:
        """Whether publishers should wait: so much does, or so many of them do already."""
        return self.waiting > BACKLOG or bool(self._publishers)

    def delivered_up_to(self, channel: str) -> Position | None:
        """Where every publication of a channel was delivered; None if it had none lately."""
        if channel in self._lines:
            return _before(self._lines[channel][0].batch.publications[0])
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

    @property
    def has_read(self) -> bool:
        """Whether the loop has just read its sockets, amid a large fan-out: nobody asks then if a client has left."""
        return time.monotonic() < self._read_until

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
        if len(tops) > self._most_tops:
            self._trim_tops()
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
        """Begin to deliver all that is pending, behind what is being delivered to the same channels."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        pending, self.pending = self.pending, {}
        self.waiting = 0
        self._begin(pending)

    def _begin(self, pending: dict[str, list[Publication]]) -> bool:
        """Number these and write them, or begin a job for them; whether anything was written."""
        registry, recent, now = self._registry, self._registry.recent, self._loop.time()
        working = bool(self._jobs)
        if not working:
            self._began = time.monotonic()
            self._pause_ends = self._began + self._tick
            self._reached = 0
        self._counters.flushes += 1
        left, asks = SLICE, ASKED
        for channel in self._keeper.told_first:
            if channel in pending:
                self._keeper.told(channel, pending.pop(channel))
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
        # When all that came with them has its number.
        for channel, publications in told:
            self._keeper.told(channel, publications)
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
        """A job is done; the next one of its channel begins."""
        del self._jobs[job.batch.number]
        line = self._lines[job.batch.channel]
        line.popleft()
        if line:
            self._start(line[0])
        else:
            del self._lines[job.batch.channel]

    def _advance(self) -> None:
        """Say up to where everything has been delivered."""
        recent = self._registry.recent
        recent.written = next(iter(self._jobs)) - 1 if self._jobs else recent.newest
        self._keeper.done()

    def _quiet(self) -> None:
        """Fan-out is done, but for what the loop writes when this turn ends: the pause begins after that.

        Counted from the beginning, every message that follows a large fan-out would look like a lone
        one, and 1,000 subscribers would cost 1,000 writes a message instead of a tick.
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
        """Write what came for channels without a job, or one slice of those under way; then let the loop go round."""
        if self._jobs and self.pending and not self._gave_way:
            # With the slice in the same round its writes would be among the slice's.
            self._gave_way = self._begin_meanwhile()
            if self._gave_way:
                self._loop.call_soon(self._work)
                return
        self._gave_way = False
        if self._ends[0]:
            # The loop looks at its sockets between two slices, but the first may come straight from a timer when a
            # process stood still, and asyncio's own loop calls the second before what it has found.
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
            # Behind the other sizes.
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
        """Begin to deliver what is pending for channels without a job; whether any was written."""
        pending = {channel: each for channel, each in self.pending.items() if channel not in self._lines}
        for channel, publications in pending.items():
            del self.pending[channel]
            self.waiting -= len(publications)
        return bool(pending) and self._begin(pending)

    def _write(self, job: _Job, most: int) -> int:
        """Write a job to so many of its sessions; returns how many it was, or counts as."""
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
                # One link's failure must not keep the batch from everybody behind it.
                self._keeper.not_delivered(session, batch, error)
        # Those that sleep count when they wake.
        self._counters.delivered += (len(sessions) - asleep) * len(batch.publications)

    def _put_to_sleep(self, session: Session, batch: Batch) -> bool:
        """Let a session that nothing reaches sleep on what matches this batch, which it gets when it wakes.

        Ten thousand sessions whose clients had gone kept the loop for 10 ms a message, and had a list each. False if
        it sleeps from a later batch on, which went before this one: then it is given this one now.
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
        """A new backlog of a pattern. What is being written may be for those who fall asleep at it."""
        backlog = self._new_backlog()
        now = self._loop.time()
        batches = {first.number: first} | {number: job.batch for number, job in self._jobs.items()}
        for number, batch in sorted(batches.items()):
            if pattern in self._registry.matching(batch.channel):
                backlog.add(number, batch.publications, now)
        return backlog

    def _give(self, session: Session, found: list[Numbered] | None) -> None:
        """Give a session that wakes what came while it slept; some of it may still be on its way to others."""
        if found is None:
            self._keeper.forgot(session)
            return
        if self._jobs:
            found = self._pass_over(session, found)
        publications = [publication for _, batch in found for publication in batch]
        self._counters.delivered += len(publications)
        self._keeper.put_aside(session, publications)

    def _pass_over(self, session: Session, found: list[Numbered]) -> list[Numbered]:
        """Have jobs pass over a session that is given this, and add what older jobs of its channels have for it."""
        given = dict(found)
        for channel in {publications[0].channel for publications in given.values()}:
            newest = max(number for number, each in found if each[0].channel == channel)
            for job in self._lines.get(channel, ()):
                number = job.batch.number
                if number in given:
                    job.pass_over(session)
                elif number < newest and job.is_due(session) and self._is_for(job, session):
                    # It sleeps by a wildcard since something that went before this one.
                    given[number] = job.batch.publications
                    job.pass_over(session)
        return sorted(given.items())

    def _is_for(self, job: _Job, session: Session) -> bool:
        """Whether a session that a job is to reach may hear it."""
        return job.is_sure(session) or self._registry.may_hear(session, job.batch.channel)

    def _resumed(self, session: Session) -> None:
        """A session was given again all that its last link may not have carried, what is on its way to it too."""
        for job in self._jobs.values():
            job.pass_over(session)

    def _judged(self, session: Session) -> None:
        """A session may hear less than before: what is on its way to it is not for it any more."""
        for job in self._jobs.values():
            if not self._registry.may_hear(session, job.batch.channel):
                job.pass_over(session)


def pause(tick: float, took: float) -> float:
    """Seconds after a fan-out to more than LONE in which the next waits for company, if it took so many.

    As long as four of them, so that writing takes a fifth of the time or less; a tick at the most, and a quarter of a
    tick at least. With a whole tick after 10 sockets, whose writes take 0.2 ms, nine in ten of 400 messages a second to
    10,000 channels waited for nothing, the median 1.3 ms; with a quarter of one after a single socket, which is a
    millisecond by uvloop's timers, 1,000 messages of a client that waited for each took four times as long.
    """
    return min(tick, max(tick / PAUSE, took * PAUSE))


def _before(publication: Publication) -> Position:
    return Position(publication.position.epoch, publication.position.offset - 1)
