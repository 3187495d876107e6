"""The worker: takes jobs, does them, writes down what became of them.

One task looks and takes, one writes down what ended, one renews the leases; each job is a task of its own. Rows are
taken and ended in batches: a job that does nothing costs two hundredths of a statement each way.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from hub.errors import HubError
from hub.orm import outbox
from hub.orm.away import brief, trace
from hub.orm.retries import jitter, new_owner, pause_after
from hub.publisher import Publisher

from ...db.engine import is_away
from . import rows
from .kinds import Every, GiveUp, JobError, Kind, LeaseLost, TryAgain, by_name
from .pools import Processes, Threads
from .rows import DONE, GIVEN_UP, MAX_ERROR, MERGED, Failure, Taken

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds of work that may wait here, taken but not begun: the next batch is fetched meanwhile.
AHEAD = 0.25

#: Seconds between two looks when somebody else seems to have what is due, or when the database is away.
_SHORT, _LONG = 0.2, 15.0

#: Seconds that a job may wait here, taken but not begun, before it is given back.
_TICK = 1.0

#: Seconds after which a job that was cancelled and goes on is left behind.
_STUBBORN = 5.0

#: Seconds for which ends are gathered where one process writes at a time.
_GATHER = 0.02

#: Times in a row that a batch of ends could not be written, after which they are written one by one.
_BLAMED = 3

#: Seconds between two rounds of housekeeping: what is old is deleted, what nobody knows is given up.
_KEEPING = 60.0

#: Seconds between two publications of one job's progress.
_PROGRESS = 0.25

_KEEPER = "jobs"


class Saves(Protocol):
    """The database: `web.db.Database` is one."""

    @property
    def engine(self) -> AsyncEngine: ...
    def saving(self) -> AbstractAsyncContextManager[AsyncSession]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a worker works. Seconds, and counts.

    at_once: jobs in work in one process. processes: for kinds that ask for one. poll: the longest between two looks.
    lease: for which a silent worker's jobs are left alone. grace: that jobs have to end when the worker stops.
    keep, keep_given_up: for which ended jobs are kept; kept: how many of each at most. unknown: that a job is
    overdue when it is given up since no worker knows its kind.
    """

    at_once: int = 20
    processes: int = 2
    poll: float = 5.0
    lease: float = 30.0
    grace: float = 5.0
    keep: float = 86400.0
    keep_given_up: float = 30 * 86400.0
    kept: int = 100_000
    unknown: float = 86400.0


@dataclass(slots=True)
class Stats:
    """What one kind's jobs came to in this process; how many attempts there were, and the seconds they took."""

    ended: int = 0
    done: int = 0
    failed: int = 0
    given_up: int = 0
    lost: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class _Line:
    """What a worker has of one kind: jobs that wait for a place, and how many run."""

    kind: Kind
    places: int
    queued: deque[_Run] = field(default_factory=deque)
    running: int = 0
    #: Seconds that one takes, as of late; None before the first.
    usual: float | None = None

    def room(self, free: int) -> int:
        """How many more to take when it may have so many places more."""
        ahead = 0 if self.usual is None else min(int(AHEAD / max(self.usual, 1e-5)) * self.places, rows.BATCH)
        if len(self.queued) > ahead // 2:
            return 0
        places = max(min(self.places - self.running, free), 0)
        return max(places + ahead - len(self.queued), 0)

    def note(self, seconds: float) -> None:
        self.usual = seconds if self.usual is None else 0.8 * self.usual + 0.2 * seconds


class _Run:
    """One attempt at a job: what its handler is given, and what is known of it here."""

    __slots__ = (
        "_runner",
        "_saved",
        "begun",
        "data",
        "kind",
        "lost",
        "news",
        "taken",
        "taken_at",
        "task",
        "timed",
        "told_after",
        "write",
    )

    def __init__(self, runner: Runner, kind: Kind, taken: Taken, now: float) -> None:
        self._runner = runner
        self.kind = kind
        self.taken = taken
        self.data: Any = None
        self.task: asyncio.Task[None] | None = None
        #: By the loop's clock.
        self.taken_at = now
        self.begun = 0.0
        #: Another worker has it, or may have: nothing is written any more.
        self.lost = False
        self._saved = False
        #: What the transaction that ends it writes as well.
        self.write: Callable[[Session], None] | None = None
        #: The newest word of its progress; when the next may be told, by the loop's clock; whether one waits for that.
        self.news: dict[str, object] | None = None
        self.told_after = 0.0
        self.timed = False

    @property
    def app(self) -> Any:
        return self._runner.app

    @property
    def id(self) -> int:
        return self.taken.id

    @property
    def key(self) -> str | None:
        return self.taken.key

    @property
    def attempt(self) -> int:
        return self.taken.attempts

    @property
    def created(self) -> float:
        return self.taken.created

    @property
    def saved(self) -> bool:
        """Whether a transaction of its own has ended it."""
        return self._saved

    def progress(self, done: float, total: float, words: str = "") -> None:
        self._runner.tell(self, {"job": self.id, "state": "running", "done": done, "total": total, "words": words})

    @asynccontextmanager
    async def saving(self) -> AsyncIterator[AsyncSession]:
        if self._saved:
            raise RuntimeError("the job has ended with its first saving()")
        try:
            async with self._runner.turn(), self._runner.saves.saving() as session:
                yield session
                await session.run_sync(lambda plain: self._end(plain.connection()))
        except BaseException:
            # Perhaps it was committed all the same: then the row is nobody's, and what is written of it is void.
            self._saved = False
            raise

    def end_with(self, write: Callable[[Session], None]) -> None:
        self.write = write

    def _end(self, connection: Connection) -> None:
        # The last statement before the commit: locked any earlier, the row would hold up the renewal of all leases.
        ended = rows.finish(connection, self._runner.owner, [self.id], self._runner.clock())
        if self.lost or not ended:
            raise LeaseLost(f"job {self.id} is another worker's by now")
        self._saved = True

    async def in_thread(self, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        return await self._runner.threads.call(f"job {self.id}", function, *args, **named)

    async def in_process(self, function: Callable[..., T], *args: Any, limit: float | None = None) -> T:
        return await self._runner.processes.call(function, *args, limit=limit)


class Runner:
    """Does jobs of the kinds it knows. `start` it, `stop` it.

    saves: the database. publisher: where progress is told. app: what handlers get as `job.app`. clock: the time that is
    in the rows. Raises ValueError for kinds that don't fit together.
    """

    def __init__(
        self,
        saves: Saves,
        kinds: Iterable[Kind],
        publisher: Publisher,
        *,
        periodic: Iterable[Every] = (),
        options: Options | None = None,
        app: Any = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.options = options or Options()
        self.saves = saves
        self.app = app
        self.clock = clock
        self.owner = new_owner()
        self._turns = asyncio.Lock() if saves.engine.dialect.name == "sqlite" else None
        self.threads = Threads()
        self.processes = Processes(self.options.processes, self.threads)
        self._periodic = tuple(periodic)
        self.kinds: Mapping[str, Kind] = by_name(kinds, self._periodic)
        self.stats = {name: Stats() for name in self.kinds}
        self._publisher = publisher
        self._lines = {
            name: _Line(kind, min(kind.at_once or self.options.at_once, self._most(kind)))
            for name, kind in self.kinds.items()
        }
        self._runs: dict[int, _Run] = {}
        self._running = 0
        self._ended: list[int] = []
        self._failures: list[Failure] = []
        self._settling: set[int] = set()
        #: Those among the ended that have something to write.
        self._writers: dict[int, _Run] = {}
        self._wake = asyncio.Event()
        self._settle = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._telling: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._leaving: asyncio.Task[None] | None = None
        self._scheduled = 0.0
        self._kept = 0.0
        #: Looks in a row that found something due and could take none of it.
        self._in_vain = 0
        #: Until when the leases hold for certain, by the loop's clock.
        self._certain = 0.0

    def _most(self, kind: Kind) -> int:
        return self.options.processes if kind.where == "process" else self.options.at_once

    # From outside

    async def start(self) -> None:
        """Begin to take jobs. Twice is once."""
        if not self._tasks and self.kinds:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.get_ident()
            self._certain = self._loop.time() + self.options.lease
            works = (self._look_on(), self._settle_on(), self._renew_on())
            self._tasks = [asyncio.create_task(work, name="web.services.jobs") for work in works]

    def wake(self) -> None:
        """Look for jobs now. Only from the loop's thread."""
        self._wake.set()

    def leave(self) -> None:
        """Take no more from now on; `stop` waits for the rest. For a process that has other things to end as well."""
        if self._tasks and self._leaving is None:
            self._leaving = asyncio.create_task(self._leave_off(), name="web.services.jobs")

    async def stop(self) -> None:
        """Take no more, wait the grace for what runs, give the rest back, write down what ended."""
        self.leave()
        if self._leaving is not None:
            await self._leaving

    async def _leave_off(self) -> None:
        self._stopping = True
        self._wake.set()
        looking, settling, renewing = self._tasks
        # It is not cut off while it takes some: they would be nobody's until their leases end.
        await asyncio.wait([looking], timeout=_STUBBORN)
        await _end(looking)
        await self._give_back([run for line in self._lines.values() for run in self._unqueue(line)])
        with suppress(TimeoutError):
            async with asyncio.timeout(self.options.grace):
                await self._quiet.wait()
        left = [run for run in self._runs.values() if run.task is not None]
        for run in left:
            run.lost = True
            assert run.task is not None
            run.task.cancel()
        if left:
            logger.warning("jobs have not ended in time, others will do them", extra={"jobs": len(left)})
            await asyncio.wait([run.task for run in left if run.task is not None], timeout=1.0)
            await self._give_back(left)
        await _end(renewing)
        with suppress(TimeoutError):
            async with asyncio.timeout(_STUBBORN):
                while self._ended or self._failures or self._settling:
                    self._settle.set()
                    await asyncio.sleep(0.01)
        await _end(settling)
        if self._telling:
            await asyncio.wait(self._telling, timeout=1.0)
        self.processes.close()
        self._tasks.clear()

    @property
    def running(self) -> int:
        """Jobs in work in this process."""
        return self._running

    # Looking and taking

    async def _look_on(self) -> None:
        failures = 0
        while not self._stopping:
            self._wake.clear()
            try:
                wait = await self._look()
                failures = 0
            # The database's errors are its driver's; the rows outlive them all.
            except Exception as error:
                failures += 1
                wait = pause_after(failures, _SHORT, _LONG, jitter)
                logger.warning("jobs can't be looked for, trying again: %s", brief(error), exc_info=trace(error))
                # Whoever wakes can't make the database come back.
                await asyncio.sleep(wait)
                continue
            if wait > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wake.wait()

    async def _look(self) -> float:
        """Take what is due and fits; return for how many seconds there is nothing to do, unless woken."""
        now = self.clock()
        if self._periodic and now >= self._scheduled:
            await self._schedule(now)
        if now >= self._kept:
            await self._keep(now)
        if self.threads.left_behind >= self.options.at_once:
            logger.error("no jobs are taken: threads of jobs hang", extra={"threads": self.threads.left_behind})
            return self.options.poll
        free = self._free()
        may = [name for name, line in self._lines.items() if line.room(free) or self._owed(line, self._busy(line))]
        if not may:
            return self.options.poll
        times = await self._read(rows.peek, may)
        now = self.clock()
        later = [due for due in (*times.values(), self._scheduled) if due > now]
        wait = min(max(min(later, default=now + self.options.poll) - now, 0.001), self.options.poll)
        wanted = self._shares({name: due for name, due in times.items() if due <= now})
        if not wanted:
            self._in_vain = 0
            return wait
        taken = await self._write(rows.claim, wanted, self.owner, now, now + self.options.lease)
        self._take(taken)
        # Somebody else has what was due, or it waits behind another of its key.
        self._in_vain = 0 if taken else self._in_vain + 1
        return 0.0 if taken else min(wait, pause_after(self._in_vain, _SHORT, self.options.poll, jitter))

    def _free(self) -> int:
        """Places that nobody has, nor waits for here."""
        return self.options.at_once - self._running - sum(len(line.queued) for line in self._lines.values())

    def _busy(self, *more: _Line) -> int:
        """The number of kinds that have jobs here, these included."""
        return sum(bool(line.running or line.queued) or line in more for line in self._lines.values())

    def _owed(self, line: _Line, busy: int) -> int:
        """How many jobs of a kind to fetch although no place is free, where `busy` kinds share the places.

        A free place goes to the kind with the fewest running jobs among those with a job fetched. Slow kinds are not
        fetched ahead, so without this they would wait until no quick job is due. Only if a place is free soon: jobs
        that wait for long are given back.
        """
        frees = sum(each.running / each.usual for each in self._lines.values() if each.usual)
        if frees * AHEAD < 1:
            return 0
        return max(min(line.places, max(self.options.at_once // busy, 1)) - line.running - len(line.queued), 0)

    def _shares(self, due: Mapping[str, float]) -> dict[str, int]:
        """How many jobs to take of each kind that has some: they share the free places, who has fewest comes first."""
        names = sorted(due, key=lambda name: (self._lines[name].running, due[name]))
        free = self._free()
        busy = self._busy(*(self._lines[name] for name in names))
        found = {}
        for place, name in enumerate(names):
            share = max(-(-free // (len(names) - place)), 0)
            found[name] = max(self._lines[name].room(share), self._owed(self._lines[name], busy))
            free -= min(found[name], share)
        return {name: count for name, count in found.items() if count > 0}

    def _take(self, taken: Iterable[Taken]) -> None:
        now = self._loop.time()
        for each in taken:
            if each.id in self._runs:
                # The lease was over, but nobody else had noticed either: it goes on.
                continue
            line = self._lines[each.kind]
            run = _Run(self, line.kind, each, now)
            self._runs[each.id] = run
            self._quiet.clear()
            if each.attempts > line.kind.attempts:
                words = f"its worker ended, or lost it, {each.attempts - 1} times while it had this job"
                self._fail(run, words, None)
                self._drop(run)
                continue
            line.queued.append(run)
        self._begin()

    def _begin(self) -> None:
        """Begin what waits while there are places, of the kind first that has fewest."""
        while self._running < self.options.at_once and not self._stopping:
            lines = [line for line in self._lines.values() if line.queued and line.running < line.places]
            if not lines:
                return
            line = min(lines, key=lambda line: line.running)
            run = line.queued.popleft()
            line.running += 1
            self._running += 1
            run.begun = self._loop.time()
            run.task = asyncio.create_task(self._do(run, line))

    def _unqueue(self, line: _Line, before: float = float("inf")) -> list[_Run]:
        """Take out of a line what was taken before a time and not begun."""
        found = []
        while line.queued and line.queued[0].taken_at < before:
            run = line.queued.popleft()
            del self._runs[run.id]
            found.append(run)
        self._note_quiet()
        return found

    async def _give_back(self, runs: list[_Run]) -> None:
        if not runs:
            return
        try:
            await self._write(rows.give_back, self.owner, [run.taken for run in runs], self.clock())
        # Their leases end by themselves.
        except Exception as error:
            logger.warning("jobs were not given back: %s", brief(error), exc_info=trace(error))

    # Doing

    async def _do(self, run: _Run, line: _Line) -> None:
        try:
            await self._try(run)
        finally:
            if run.id in self._runs and self._runs[run.id] is run:
                self._leave(run, line)

    def _leave(self, run: _Run, line: _Line) -> None:
        """Count a job that has ended, and free its place."""
        seconds = self._loop.time() - run.begun
        self.stats[run.kind.name].ended += 1
        self.stats[run.kind.name].seconds += seconds
        line.note(seconds)
        line.running -= 1
        self._running -= 1
        self._drop(run)
        self._begin()
        if self._running < self.options.at_once or line.room(0):
            self._wake.set()

    def _drop(self, run: _Run) -> None:
        del self._runs[run.id]
        self._note_quiet()

    def _note_quiet(self) -> None:
        if not self._runs:
            self._quiet.set()

    async def _try(self, run: _Run) -> None:
        limit = asyncio.timeout(run.kind.limit)
        try:
            run.data = run.kind.parse(json.loads(run.taken.data))
        # Whatever a feature's parser says of nonsense: it is nonsense the next time too.
        except Exception as error:  # noqa: BLE001
            self._fail(run, f"its data can't be read: {_words(error)}", None)
            return
        try:
            async with limit:
                await self._handle(run)
        except asyncio.CancelledError:
            if not run.lost:
                # Neither the worker nor the limit did it: the handler's own.
                self._retry(run, "cancelled itself", None)
        except LeaseLost as error:
            run.lost = True
            self.stats[run.kind.name].lost += 1
            logger.warning("job was lost to another worker", extra={"job": run.id, "error": str(error)})
        except GiveUp as error:
            self._fail(run, str(error), None)
        except TryAgain as error:
            self._retry(run, str(error), error.after)
        except TimeoutError as error:
            self._retry(run, f"took longer than {run.kind.limit:g} s" if limit.expired() else _traced(error), None)
        except JobError as error:
            self._retry(run, str(error), None)
        # One job's failure is that job's, whatever it raises; a SystemExit would end the worker.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            self._retry(run, _traced(error), None)
        else:
            self._done(run)

    async def _handle(self, run: _Run) -> None:
        kind = run.kind
        if kind.where == "loop":
            waiting = kind.run(run)
            assert waiting is not None
            await waiting
        elif kind.where == "thread":
            await self.threads.call(f"job {run.id}", kind.run, run)
        else:
            await self.processes.call(kind.run, run.data)

    def _done(self, run: _Run) -> None:
        if run.lost:
            return
        self.stats[run.kind.name].done += 1
        if not run.saved:
            if run.write is not None:
                self._writers[run.id] = run
            self._ended.append(run.id)
            self._settle.set()
        self._tell_end(run, "done")

    def _retry(self, run: _Run, error: str, after: float | None) -> None:
        if run.taken.attempts >= run.kind.attempts:
            self._fail(run, error, None)
            return
        pause = pause_after(run.taken.attempts, run.kind.first, run.kind.longest, jitter) if after is None else after
        self._fail(run, error, self.clock() + max(pause, 0.0))

    def _fail(self, run: _Run, error: str, due: float | None) -> None:
        if run.lost:
            return
        facts = {"job": run.id, "kind": run.kind.name, "attempt": run.attempt, "error": error.partition("\n")[0]}
        if run.saved:
            # Its own transaction has ended it: nothing to try again.
            logger.warning("job failed after it was done", extra=facts)
            self.stats[run.kind.name].done += 1
            self._tell_end(run, "done")
            return
        if due is None:
            self.stats[run.kind.name].given_up += 1
            logger.error("job is given up, `fanfare jobs` shows it", extra=facts)
        else:
            self.stats[run.kind.name].failed += 1
            logger.warning("job failed, trying again", extra=facts)
        self._failures.append(Failure(run.id, run.key, storable(error), due))
        self._settle.set()
        self._tell_end(run, "given up" if due is None else "failed")

    # Writing down

    async def _settle_on(self) -> None:
        failures, singly = 0, 0
        while True:
            await self._settle.wait()
            if self._turns is not None and not self._stopping:
                # A few more will have ended, and be written in one transaction.
                await asyncio.sleep(_GATHER)
            self._settle.clear()
            while self._ended or self._failures:
                # One that no database takes would keep the others from being written for ever.
                count = 1 if singly or failures >= _BLAMED else rows.BATCH
                singly = max(singly - 1, 0)
                ended, self._ended = self._ended[:count], self._ended[count:]
                failed, self._failures = self._failures[:count], self._failures[count:]
                # Their leases are renewed until this is written: nobody shall do them once more meanwhile.
                self._settling = {*ended, *(each.id for each in failed)}
                try:
                    await self._write_down(ended, failed)
                    failures = 0
                # The database's errors are its driver's, and a feature's are its own.
                except Exception as error:
                    if not is_away(error) and any(id in self._writers for id in ended):
                        # What one of them writes may be the reason.
                        self._failures += failed
                        if len(ended) == 1:
                            self._fail_late(ended[0], error)
                        else:
                            self._ended[:0] = ended
                            singly = len(ended)
                        continue
                    failures += 1
                    self._ended += ended
                    self._failures += failed
                    logger.warning(
                        "what became of jobs can't be written down, trying again: %s",
                        brief(error),
                        exc_info=trace(error),
                    )
                    await asyncio.sleep(pause_after(failures, _SHORT, _LONG, jitter))
                finally:
                    self._settling = set()

    async def _write_down(self, ended: list[int], failed: list[Failure]) -> None:
        writers = [self._writers[id] for id in ended if id in self._writers]
        if not writers:
            await self._write(self._write_ends, ended, failed)
            return
        async with self.turn(), self.saves.saving() as session:
            lost = await session.run_sync(self._write_all, writers, ended, failed)
        for run in writers:
            del self._writers[run.id]
        for run in lost:
            stats = self.stats[run.kind.name]
            stats.done, stats.lost = stats.done - 1, stats.lost + 1
            logger.warning("job was lost to another worker", extra={"job": run.id})

    def _write_all(self, session: Session, writers: list[_Run], ended: list[int], failed: list[Failure]) -> list[_Run]:
        """Write what jobs end with, and their ends; return those that are another worker's by now."""
        connection = session.connection()
        ids = [run.id for run in writers]
        mine = rows.mine(connection, self.owner, ids)
        for run in writers:
            if run.id in mine:
                assert run.write is not None
                run.write(session)
        session.flush()
        # The jobs' rows come last: locked any earlier, they would hold up the renewal of all leases.
        if rows.finish(connection, self.owner, ids, self.clock()) != len(mine):
            raise LeaseLost("jobs went to another worker while their ends were written")
        rest = set(ids)
        self._write_ends(connection, [id for id in ended if id not in rest], failed)
        return [run for run in writers if run.id not in mine]

    def _fail_late(self, id: int, error: Exception) -> None:
        """What a job ends with can't be written: this attempt has failed."""
        run = self._writers.pop(id)
        self.stats[run.kind.name].done -= 1
        self._retry(run, _traced(error), None)

    def _write_ends(self, connection: Connection, ended: list[int], failed: list[Failure]) -> None:
        now = self.clock()
        if ended:
            rows.finish(connection, self.owner, ended, now)
        for each in failed:
            rows.fail(connection, self.owner, each, now)

    # Leases

    async def _renew_on(self) -> None:
        renewed = self._loop.time()
        while True:
            await asyncio.sleep(min(self.options.lease / 3, _TICK))
            await self._let_go(self._loop.time() - _TICK)
            if self._loop.time() < renewed + self.options.lease / 3:
                continue
            renewed = self._loop.time()
            try:
                await self._renew()
            # The database's errors are its driver's; what that means for the leases is seen below.
            except Exception as error:
                logger.warning("leases of jobs can't be renewed: %s", brief(error), exc_info=trace(error))
            now = self._loop.time()
            if now >= self._certain:
                self._lose([*self._runs.values()], "lease could not be renewed")
            for run in [*self._runs.values()]:
                if run.begun and now > run.begun + run.kind.limit + _STUBBORN:
                    self._leave_behind(run)

    async def _let_go(self, before: float) -> None:
        """Give back what waits here since a time: it could be done elsewhere at once."""
        for line in self._lines.values():
            if found := self._unqueue(line, before):
                # They take longer than they used to: none is taken ahead until one has ended.
                line.usual = None
                await self._give_back(found)

    async def _renew(self) -> None:
        asked = self._loop.time()
        ids = {*self._runs, *self._ended, *(each.id for each in self._failures), *self._settling}
        if ids:
            until = self.clock() + self.options.lease
            kept = await self._write(rows.leases.renew, self.owner, ids, until)
            gone = [run for id, run in self._runs.items() if id in ids and id not in kept and not run.saved]
            self._lose(gone, "lease was taken by another worker")
        self._certain = asked + self.options.lease

    def _lose(self, runs: list[_Run], why: str) -> None:
        for run in runs:
            if run.lost:
                continue
            run.lost = True
            self.stats[run.kind.name].lost += 1
            logger.warning("job is stopped", extra={"job": run.id, "kind": run.kind.name, "why": why})
            if run.task is None:
                # It was not begun yet.
                self._lines[run.kind.name].queued.remove(run)
                self._drop(run)
            else:
                run.task.cancel()

    def _leave_behind(self, run: _Run) -> None:
        """A handler that goes on after it was cancelled: its place is for others."""
        logger.error("job does not end when it is cancelled", extra={"job": run.id, "kind": run.kind.name})
        self._retry(run, f"took longer than {run.kind.limit:g} s, and did not end when it was cancelled", None)
        run.lost = True
        self._leave(run, self._lines[run.kind.name])

    # Now and then

    async def _schedule(self, now: float) -> None:
        names = {each.name: (each.new(now), each.after(now)) for each in self._periodic}
        times = await self._write(rows.schedule, names, now)
        self._scheduled = min(times.values())

    async def _keep(self, now: float) -> None:
        self._kept = now + _KEEPING * jitter(0.8, 1.2)
        options = self.options

        def keep(connection: Connection) -> int:
            if not outbox.named.hold(connection, _KEEPER, self.owner, now, _KEEPING):
                return 0
            rows.give_up_unknown(connection, tuple(self.kinds), now - options.unknown, now)
            kept = ((DONE, options.keep), (MERGED, options.keep), (GIVEN_UP, options.keep_given_up))
            return max(rows.prune(connection, outcome, now - age, options.kept) for outcome, age in kept)

        try:
            if await self._write(keep) >= 10 * rows.BATCH:
                # There is more.
                self._kept = now + 1.0
        # The database's errors are its driver's; jobs are done in a house that isn't tidy, too.
        except Exception as error:
            logger.warning("ended jobs can't be deleted: %s", brief(error), exc_info=trace(error))

    # Telling

    def tell(self, run: _Run, news: dict[str, object]) -> None:
        """Publish a job's progress, now or soon; from any thread."""
        if threading.get_ident() == self._thread:
            # At once: what a handler says as its last word comes before its end is told.
            self._tell(run, news)
        else:
            self._loop.call_soon_threadsafe(self._tell, run, news)

    def _tell(self, run: _Run, news: dict[str, object]) -> None:
        if run.lost or run.id not in self._runs:
            return
        waits = run.news is not None and run.told_after > self._loop.time()
        run.news = news
        if not waits:
            self._publish(run)
        elif not run.timed:
            run.timed = True
            self._loop.call_at(run.told_after, self._tell_late, run)

    def _tell_late(self, run: _Run) -> None:
        run.timed = False
        if run.id in self._runs:
            self._publish(run)

    def _tell_end(self, run: _Run, state: str) -> None:
        if run.news is not None:
            run.news = {**run.news, "state": state}
            self._publish(run)

    def _publish(self, run: _Run) -> None:
        run.told_after = self._loop.time() + _PROGRESS
        task = asyncio.create_task(self._publish_one(f"job-{run.id}", run.news))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _publish_one(self, channel: str, news: dict[str, object] | None) -> None:
        try:
            await self._publisher.publish(channel, news, hint=True)
        except HubError as error:
            logger.info("progress could not be told", extra={"channel": channel, "error": str(error)})

    # The database

    async def _read(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **named: P.kwargs) -> T:
        async with self.saves.engine.connect() as connection:
            return await connection.run_sync(function, *args, **named)

    async def _write(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **named: P.kwargs) -> T:
        async with self.turn(), self.saves.engine.execution_options(writing=True).begin() as connection:
            return await connection.run_sync(function, *args, **named)

    def turn(self) -> AbstractAsyncContextManager[object]:
        """This worker's turn to write. SQLite lets one write, and who asks most often gets the lock, not who waits."""
        return self._turns if self._turns is not None else nullcontext()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def storable(text: str) -> str:
    """Text as a database takes it: no NUL, no half characters; its first line and its end, if it is long."""
    text = text.replace("\x00", "").encode("utf-8", "replace").decode()
    if len(text) <= MAX_ERROR:
        return text
    head = text[: MAX_ERROR // 4]
    return f"{head}\n…\n{text[-(MAX_ERROR - len(head) - 3) :]}"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _traced(error: BaseException) -> str:
    """An error's own words first, then where it came from."""
    return f"{_words(error)}\n\n{''.join(traceback.format_exception(error))}"
