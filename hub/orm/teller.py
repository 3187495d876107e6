"""Who tells: at once what this process has committed, and as the sweeper what others have left.

Two shells around the same rules (`rows.telling`): `Teller` is a task of an event loop,
`ThreadTeller` a thread for sites without one. Neither knows a database or a hub: they are given
a store and a publisher. A save hands over ids after its commit and goes on; nothing that happens
here can fail it, and nothing is lost when the process ends first, for the rows are still there.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from typing import Protocol

from ..errors import HubError
from ..publisher import Item, Publisher
from .away import brief, trace
from .retries import jitter, new_owner, pause_after
from .rows import BATCH, Outcome, Row, telling

logger = logging.getLogger(__name__)

#: Seconds between two looks for what was left behind. With GRACE: how late a hint may be whose process was killed.
POLL = 2.0

#: The same for a thread, which perhaps no NOTIFY wakes: a change by a trigger still shows within a second.
THREAD_POLL = 0.5

#: Seconds a process has lived with its teller before it listens: a short-lived one needs no second connection.
LISTEN_AFTER = 1.0

#: Seconds before a lost connection that listened is tried again; polls go on meanwhile.
LISTEN_AGAIN = 5.0

#: Seconds a sweeper is let alone; another takes over after that.
LEASE = 10.0

#: Seconds that a poll under way has to end when its teller is closed.
_LAST_STATEMENT = 1.0

#: Ids remembered at most; what is beyond is left to the sweeper.
MOST_IDS = 10_000

#: Seconds between two tries of a hub that is away: doubled from the first to the last.
FIRST_PAUSE, LAST_PAUSE = 0.5, 15.0


class Listening(Protocol):
    """A connection of its own that hears NOTIFY."""

    def fileno(self) -> int:
        """Readable when there may be something to take."""

    def take(self) -> int:
        """How many came since the last call; does not wait. Raises when the connection is lost."""

    def close(self) -> None: ...


class Store(Protocol):
    """The outbox as a thread uses it. Every call is a transaction; it may raise what its database raises."""

    def take(self, ids: Collection[int], subjects: Collection[str]) -> list[Row]: ...
    def due(self, now: float) -> list[Row]: ...
    def settle(self, outcome: Outcome) -> None: ...
    def hold_lease(self, owner: str, now: float, seconds: float) -> bool: ...
    def drop_lease(self, owner: str) -> None: ...
    def listen(self) -> Listening | None:
        """Begin to hear of rows that others write; None where nobody says so."""

    def release(self) -> None:
        """The thread has nothing to do for a while, or ends."""

    def forked(self) -> None:
        """This is a forked child: connections that are open are the parent's, and must not be used or closed."""


class AsyncStore(Protocol):
    """The outbox as an event loop uses it."""

    async def take(self, ids: Collection[int], subjects: Collection[str]) -> list[Row]: ...
    async def due(self, now: float) -> list[Row]: ...
    async def settle(self, outcome: Outcome) -> None: ...
    async def hold_lease(self, owner: str, now: float, seconds: float) -> bool: ...
    async def drop_lease(self, owner: str) -> None: ...
    def listening(self, wake: Callable[[], None], lost: Callable[[], None]) -> AbstractAsyncContextManager[None]: ...


class _Committed:
    """What this process has committed and not yet told: ids, and their subjects. Bounded."""

    __slots__ = ("ids",)

    def __init__(self) -> None:
        self.ids: dict[int, str | None] = {}

    def add(self, rows: Iterable[tuple[int, str | None]]) -> None:
        for id, subject in rows:
            if len(self.ids) >= MOST_IDS:
                return
            self.ids[id] = subject

    def take(self) -> tuple[list[int], list[str]]:
        """Up to a batch of ids and their subjects, oldest commit first; they are not remembered any more."""
        ids = list(self.ids)[:BATCH]
        subjects = {self.ids.pop(id) for id in ids}
        return ids, sorted(subject for subject in subjects if subject is not None)


class _Pause:
    """How long to leave a hub alone that can't be reached."""

    __slots__ = ("_failures", "_until")

    def __init__(self) -> None:
        self._failures = 0
        self._until = 0.0

    def note(self, away: HubError | None, now: float) -> None:
        if away is None:
            if self._failures:
                logger.info("hub is back, telling what waits")
            self._failures, self._until = 0, 0.0
            return
        if not self._failures:
            # In the message itself: Django's logging, and most others, leave out what is only in `extra`.
            logger.warning("hub can't be told, changes wait in the outbox: %s", away)
        self._failures += 1
        # Jitter: many workers wait for the same hub.
        self._until = now + pause_after(self._failures, FIRST_PAUSE, LAST_PAUSE, jitter)

    def left(self, now: float) -> float:
        return max(self._until - now, 0.0)


class Teller:
    """Tells as a task of the running event loop. `start` it, `close` it.

    `tell` is called after a commit; everything else goes on by itself.
    """

    def __init__(
        self,
        store: AsyncStore,
        publisher: Publisher,
        *,
        poll: float = POLL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._poll = poll
        self._clock = clock
        self._owner = new_owner()
        self._committed = _Committed()
        self._pause = _Pause()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._sweep_now = True
        self._leased = False
        self._deaf = False
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        #: Rows told so far.
        self.told = 0

    async def start(self) -> None:
        """Begin telling, with what earlier processes have left. Twice is once."""
        if self._task is None:
            self._closing = False
            self._task = asyncio.create_task(self._run(), name="hub.orm.teller")

    def tell(self, rows: Iterable[tuple[int, str | None]]) -> None:
        """Tell rows (id, subject) that have been committed. Returns at once; only from the loop's thread."""
        self._committed.add(rows)
        self._idle.clear()
        self._wake.set()

    def sweep(self) -> None:
        """Look for what is left now, not at the next poll."""
        self._sweep_now = True
        self._idle.clear()
        self._wake.set()

    async def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was handed over is told; False if the hub was away or `timeout` seconds went by."""
        if self._pause.left(self._clock()):
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._idle.wait()
                return not self._pause.left(self._clock())
        return False

    async def close(self, timeout: float = 5.0) -> None:
        """Tell what can be told within `timeout` seconds, then stop; the rest stays in the outbox."""
        task = self._task
        if task is None:
            return
        if not task.done() and await self.flush(timeout):
            # Nothing is left but perhaps a poll under way. A statement that is cancelled takes its connection with it,
            # which SQLAlchemy closes later: SQLite's found the loop closed by then.
            self._closing = True
            self._wake.set()
            await asyncio.wait([task], timeout=_LAST_STATEMENT)
        self._task = None
        task.cancel()
        await asyncio.wait([task])
        if self._leased:
            try:
                await self._store.drop_lease(self._owner)
            # Whatever the database says now: the lease ends by itself.
            except Exception:
                logger.info("sweeper's lease was not given back", exc_info=True)

    async def _run(self) -> None:
        while True:
            self._deaf = False
            try:
                async with self._store.listening(self.sweep, self._go_deaf):
                    await self._turns()
                    if self._closing:
                        return
            # The database's errors are its driver's; the outbox outlives them all.
            except Exception as error:
                logger.warning("outbox can't be read, trying again: %s", brief(error), exc_info=trace(error))
            await asyncio.sleep(min(self._poll, POLL))
            self._sweep_now = True

    def _go_deaf(self) -> None:
        self._deaf = True
        self._wake.set()

    async def _turns(self) -> None:
        """Tell and sweep, until the connection that listens is lost."""
        polled = float("-inf")
        while True:
            pause = self._pause.left(self._clock())
            if pause:
                # Nothing will be told for a while: who waits in `flush` need not.
                self._idle.set()
                await asyncio.sleep(pause)
                self._idle.clear()
                self._sweep_now = True
            self._wake.clear()
            if self._deaf or self._closing:
                return
            if self._committed.ids:
                await self._tell(*self._committed.take())
            if self._sweep_now or self._clock() - polled >= self._poll:
                self._sweep_now = False
                polled = self._clock()
                await self._sweep()
            if self._committed.ids or self._sweep_now:
                continue
            self._idle.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll):
                    await self._wake.wait()

    async def _tell(self, ids: list[int], subjects: list[str]) -> None:
        rows = await self._store.take(ids, subjects)
        for batch in _batches(rows):
            if not await self._publish(batch):
                self._committed.add((row.id, row.subject) for row in rows)
                return

    async def _sweep(self) -> None:
        while rows := await self._store.due(self._clock()):
            if not await self._store.hold_lease(self._owner, self._clock(), LEASE):
                return
            self._leased = True
            if not await self._publish(rows) or len(rows) < BATCH:
                return

    async def _publish(self, rows: Sequence[Row]) -> bool:
        plan = telling(rows, self._clock())
        items = next(plan)
        while True:
            error = await self._try(items)
            try:
                items = plan.send(error)
            except StopIteration as stop:
                outcome: Outcome = stop.value
                break
        if outcome.told or outcome.failed:
            await self._store.settle(outcome)
            self.told += len(outcome.told)
        _log(outcome)
        self._pause.note(outcome.away, self._clock())
        return outcome.away is None

    async def _try(self, items: Sequence[Item]) -> HubError | None:
        try:
            await self._publisher.publish_many(items)
        except HubError as error:
            return error
        return None


class ThreadTeller:
    """Tells from a daemon thread, which starts with the first commit and again in a forked child.

    store: its calls are made in that thread. publish_many: publishes items in order and waits, or
    raises a HubError. At exit it has `exit_timeout` seconds to tell what is left of this process's
    own; the rest stays in the outbox for another, so that an exit never hangs on the hub.
    """

    def __init__(
        self,
        store: Store,
        publish_many: Callable[[Sequence[Item]], object],
        *,
        poll: float = THREAD_POLL,
        exit_timeout: float = 3.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._publish_many = publish_many
        self._poll = poll
        self._exit_timeout = exit_timeout
        self._clock = clock
        #: Held around every call of the store, and by a fork: a lock inside the database's library
        #: that is held by this thread at a fork would stay held in the child for ever.
        self._calling = threading.Lock()
        #: What a forked child has of its parent's: never used, and never closed, which would be a goodbye for it.
        self._inherited: list[object] = []
        self._listening: Listening | None = None
        self._bell: tuple[int, int] | None = None
        self._reset()
        _watch_process()
        _living.add(self)

    def _reset(self) -> None:
        """As new: in a forked child the thread is gone, the locks may be held, the ids are the parent's."""
        self._owner = new_owner()
        self._committed = _Committed()
        self._pause = _Pause()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ear: threading.Thread | None = None
        self._inherited.append(self._listening)
        self._listening = None
        if self._bell is not None:
            for end in self._bell:
                os.close(end)
        self._bell = None
        self._busy = False
        self._sweep_now = True
        self._stopping = False
        self._leased = False

    def start(self) -> None:
        """Begin telling and sweeping, with what earlier processes have left. Twice is once."""
        with self._changed:
            self._started()

    def tell(self, rows: Iterable[tuple[int, str | None]]) -> None:
        """Tell rows (id, subject) that have been committed. Returns at once; from any thread."""
        with self._changed:
            self._committed.add(rows)
            self._started()
            self._changed.notify_all()

    def sweep(self) -> None:
        """Look for what is left now, not at the next poll."""
        with self._changed:
            self._sweep_now = True
            self._started()
            self._changed.notify_all()

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was handed over is told; False if the hub was away or `timeout` seconds went by."""
        with self._changed:
            if self._thread is None:
                return True
            idle = self._changed.wait_for(
                lambda: self._pause.left(self._clock()) or not (self._busy or self._committed.ids or self._sweep_now),
                timeout,
            )
            return bool(idle) and not self._pause.left(self._clock())

    def close(self, timeout: float = 5.0) -> None:
        """Tell what can be told within `timeout` seconds, then stop; the rest stays in the outbox."""
        told = self.flush(timeout)
        with self._changed:
            if not told and not self._pause.left(self._clock()):
                # Not logged yet: the publisher is still trying.
                logger.warning("hub could not be told before the end, changes wait in the outbox")
            thread, self._thread = self._thread, None
            ear, self._ear = self._ear, None
            bell, self._bell = self._bell, None
            self._stopping = True
            self._changed.notify_all()
            if bell is not None:
                os.write(bell[1], b"!")
        if thread is not None:
            thread.join(1.0)
        if ear is not None:
            ear.join(1.0)

    def _started(self) -> None:
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name="hub.orm.teller", daemon=True)
            self._thread.start()
            self._bell = os.pipe()
            self._ear = threading.Thread(target=self._hear, args=(self._bell,), name="hub.orm.ear", daemon=True)
            self._ear.start()

    def _hear(self, bell: tuple[int, int]) -> None:
        """Sweep when the database says so, until the bell is rung."""
        try:
            pause = LISTEN_AFTER
            while not select.select([bell[0]], [], [], pause)[0]:
                try:
                    with self._calling:
                        self._listening = self._store.listen()
                    if self._listening is None:
                        return
                    if self._heard_until(bell[0], self._listening):
                        return
                # The database's errors are its driver's. Polls go on without it.
                except Exception:
                    logger.info("no NOTIFY is heard, polling", exc_info=True)
                finally:
                    listening, self._listening = self._listening, None
                    if listening is not None:
                        with self._calling:
                            listening.close()
                pause = LISTEN_AGAIN
        finally:
            with self._changed:
                # A bell that may still be rung must not be another's file by then.
                if self._bell is bell:
                    self._bell = None
            for end in bell:
                os.close(end)

    def _heard_until(self, bell: int, listening: Listening) -> bool:
        """Sweep for every NOTIFY; True when the bell is rung. Raises when the connection is lost."""
        count = 1  # Whatever was written while nobody listened.
        while True:
            if count:
                with self._changed:
                    # Not by `sweep`, which would start a thread that is being closed.
                    self._sweep_now = not self._stopping
                    self._changed.notify_all()
            # Not under the lock: a fork need not wait for silence.
            ready = select.select([bell, listening.fileno()], [], [])[0]
            if bell in ready:
                return True
            with self._calling:
                count = listening.take()

    def _run(self) -> None:
        polled = float("-inf")
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                due = self._clock() - polled >= self._poll
                if not (self._stopping or due or self._committed.ids or self._sweep_now):
                    self._changed.wait(self._poll)
                while (pause := self._pause.left(self._clock())) and not self._stopping:
                    self._changed.wait(pause)
                    self._sweep_now = True
                if self._stopping:
                    break
                ids, subjects = self._committed.take()
                sweep = self._sweep_now or self._clock() - polled >= self._poll
                self._sweep_now = False
                self._busy = True
            try:
                if ids:
                    self._tell(ids, subjects)
                if sweep:
                    polled = self._clock()
                    self._sweep()
                if not self._committed.ids:
                    with self._calling:
                        self._store.release()
            # The database's errors are its driver's; the outbox outlives them all.
            except Exception as error:
                logger.warning("outbox can't be read, trying again: %s", brief(error), exc_info=trace(error))
        try:
            with self._calling:
                if self._leased:
                    self._store.drop_lease(self._owner)
                self._store.release()
        # Whatever the database says now: the lease ends by itself.
        except Exception:
            logger.info("sweeper's lease was not given back", exc_info=True)

    def _tell(self, ids: list[int], subjects: list[str]) -> None:
        with self._calling:
            rows = self._store.take(ids, subjects)
        for batch in _batches(rows):
            if not self._publish(batch):
                with self._changed:
                    self._committed.add((row.id, row.subject) for row in rows)
                return

    def _sweep(self) -> None:
        while not self._stopping:
            with self._calling:
                rows = self._store.due(self._clock())
                if not rows or not self._store.hold_lease(self._owner, self._clock(), LEASE):
                    return
            self._leased = True
            if not self._publish(rows) or len(rows) < BATCH:
                return

    def _publish(self, rows: Sequence[Row]) -> bool:
        plan = telling(rows, self._clock())
        items = next(plan)
        while True:
            error = self._try(items)
            try:
                items = plan.send(error)
            except StopIteration as stop:
                outcome: Outcome = stop.value
                break
        if outcome.told or outcome.failed:
            with self._calling:
                self._store.settle(outcome)
        _log(outcome)
        with self._changed:
            self._pause.note(outcome.away, self._clock())
        return outcome.away is None

    def _try(self, items: Sequence[Item]) -> HubError | None:
        try:
            self._publish_many(items)
        except HubError as error:
            return error
        return None


#: Thread tellers of this process, for a fork and for the exit.
_living: weakref.WeakSet[ThreadTeller] = weakref.WeakSet()


#: Seconds a fork waits for a teller to come out of its database.
_FORK_PATIENCE = 5.0

#: Tellers that a fork under way holds still.
_held: list[ThreadTeller] = []


def _before_fork() -> None:
    _held[:] = [teller for teller in list(_living) if teller._calling.acquire(timeout=_FORK_PATIENCE)]


def _after_fork_in_parent() -> None:
    for teller in _held:
        teller._calling.release()
    _held.clear()


def _after_fork() -> None:
    _held.clear()
    for teller in list(_living):
        teller._calling = threading.Lock()
        teller._store.forked()
        teller._reset()


def _at_exit() -> None:
    for teller in list(_living):
        teller.close(teller._exit_timeout)


@lru_cache(maxsize=1)
def _watch_process() -> None:
    """Hear of this process's forks and of its end; once, and only where there is a teller."""
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork)
    atexit.register(_at_exit)


def _batches(rows: list[Row]) -> Iterable[list[Row]]:
    return (rows[at : at + BATCH] for at in range(0, len(rows), BATCH))


def _log(outcome: Outcome) -> None:
    for failure in outcome.failed:
        facts = {"outbox_id": failure.row.id, "channel": failure.row.channel, "error": failure.error}
        if failure.due is None:
            logger.error("hub refuses a change, parked in the outbox", extra=facts)
        else:
            logger.warning("hub refused a change, trying again", extra=facts)
