"""Threads and processes for what would block the event loop.

A thread that hangs can't be stopped: it is left behind, and counted. A process can be: it is killed, and only the job
that it did notices.
"""

from __future__ import annotations

import asyncio
import contextvars
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any, ParamSpec, TypeVar

from .kinds import GiveUp

P = ParamSpec("P")
T = TypeVar("T")

#: Calls after which a process is replaced: what libraries leak goes with it.
MAX_CALLS = 500


class ProcessDied(Exception):
    """The process that did the work was killed: by the system for want of memory, by a crash of a library, by hand."""


class FailedInProcess(Exception):
    """A function failed in its process; has its traceback there."""


class Threads:
    """A thread a call, each named after its work. How many there are is its caller's to bound."""

    def __init__(self) -> None:
        #: Threads whose callers have gone away: hanging, or not done yet.
        self.left_behind = 0

    async def call(self, name: str, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """The function's result, or its exception. When cancelled, the thread goes on by itself."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()
        ended = False

        def settle(result: Any, error: BaseException | None) -> None:
            nonlocal ended
            ended = True
            if waiting.cancelled():
                self.left_behind -= 1
            elif error is not None:
                waiting.set_exception(error)
            else:
                waiting.set_result(result)

        def work() -> None:
            result: T | None = None
            error: BaseException | None = None
            try:
                result = context.run(function, *args, **named)
            except StopIteration as stop:
                # A future takes any other.
                error = RuntimeError(f"StopIteration: {stop.value!r}")
            # What was raised is the caller's.
            except BaseException as raised:  # noqa: BLE001
                error = raised
            # The loop is closed when the process ends: nobody waits then.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, result, error)

        threading.Thread(target=work, name=name, daemon=True).start()
        try:
            return await waiting
        finally:
            if not ended:
                self.left_behind += 1


class _Child:
    """A process that does one call at a time. Its methods block, but `kill`; making it does until it is up."""

    def __init__(self) -> None:
        # Not forked: a copy of locks, connections and threads that are not there is no place to work in.
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name="jobs", daemon=True)
        self._process.start()
        theirs.close()
        # At the interpreter's end multiprocessing sends SIGTERM, which it ignores, and waits.
        Finalize(self, _kill, (self._process,), exitpriority=10)
        self.calls = 0
        self._receive()

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], begun: Callable[[], None]) -> Any:
        """begun: called when the process has what it needs, the function's module too, and begins."""
        self.calls += 1
        try:
            self._ours.send((function, args))
        except ConnectionError as error:
            raise self._died() from error
        outcome, value = self._receive()
        if outcome == "begun":
            begun()
            outcome, value = self._receive()
        if outcome == "done":
            return value
        raise GiveUp(value) if outcome == "give up" else FailedInProcess(value)

    def _receive(self) -> tuple[str, Any]:
        try:
            outcome, value = self._ours.recv()
        except (EOFError, ConnectionError) as error:
            raise self._died() from error
        return outcome, value

    def _died(self) -> ProcessDied:
        self._process.join(5)
        return ProcessDied(f"the process of the job ended: {_exit(self._process.exitcode)}")

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        """End it at once; a call that waits for it raises ProcessDied."""
        self._process.kill()

    def close(self) -> None:
        self._process.kill()
        self._process.join(5)
        self._ours.close()


def _kill(process: BaseProcess) -> None:
    process.kill()


def _exit(code: int | None) -> str:
    if code is None:
        return "without saying how"
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _serve(pipe: Connection) -> None:
    """A child's life: calls, until the parent is gone."""
    # Ctrl-C and systemd's SIGTERM go to the whole group: the parent says when this is over.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    pipe.send(("up", None))
    while True:
        try:
            function, args = pipe.recv()
        except EOFError:
            return
        # A module that can't be imported here is that job's failure.
        except Exception:  # noqa: BLE001
            pipe.send(("failed", traceback.format_exc()))
            continue
        try:
            pipe.send(("begun", None))
            answer = ("done", function(*args))
        except GiveUp as error:
            answer = ("give up", str(error))
        # It is the job's, and told.
        except BaseException:  # noqa: BLE001
            answer = ("failed", traceback.format_exc())
        try:
            pipe.send(answer)
        except BrokenPipeError:
            return
        # It can't be pickled.
        except Exception:  # noqa: BLE001
            pipe.send(("failed", traceback.format_exc()))


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _discard(starting: asyncio.Task[_Child]) -> None:
    """Kill a process that nobody waits for any more."""
    if not starting.cancelled() and starting.exception() is None:
        starting.result().kill()


def _starts(bound: asyncio.Timeout, limit: float | None) -> Callable[[], None]:
    """What lets the time of a call run from when it is called, in any thread."""
    loop = asyncio.get_running_loop()

    def start(at: float | None) -> None:
        # A caller that was cancelled has left its bound.
        with suppress(RuntimeError):
            bound.reschedule(at)

    def begun() -> None:
        # The loop is closed when the process ends: nobody waits then.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(start, loop.time() + limit if limit is not None else None)

    return begun


class Processes:
    """Some processes, begun when they are needed, for calls that take the processor or may crash. Close it."""

    def __init__(self, size: int, threads: Threads) -> None:
        self._slots = asyncio.Semaphore(size)
        self._threads = threads
        self._idle: list[_Child] = []
        #: Of calls that were cancelled while theirs was begun: the next call has it. Where it takes longer to begin a
        #: process than jobs are kept waiting, none would ever be there otherwise.
        self._starting: list[asyncio.Task[_Child]] = []
        self._closed = False

    async def call(self, function: Callable[..., T], *args: Any, limit: float | None = None) -> T:
        """The function's result. Raises ProcessDied or FailedInProcess; when cancelled, its process is killed.

        limit: seconds from when a process begins with it; then that is killed, and TimeoutError raised. That an
        interpreter starts and imports what it needs does not count: on a busy machine it alone may take longer.
        """
        async with self._slots:
            child = await self._ready()
            keep = False
            try:
                async with asyncio.timeout(None) as bound:
                    begun = _starts(bound, limit)
                    result: T = await self._threads.call("jobs: process", child.call, function, args, begun)
                keep = True
                return result
            except (FailedInProcess, GiveUp):
                keep = True
                raise
            finally:
                if keep and child.calls < MAX_CALLS and not self._closed:
                    self._idle.append(child)
                else:
                    child.kill()

    async def _ready(self) -> _Child:
        """A process that waits for a call."""
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
        starting = self._starting.pop() if self._starting else asyncio.create_task(self._start())
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            if self._closed:
                starting.add_done_callback(_discard)
            else:
                self._starting.append(starting)
            raise

    async def _start(self) -> _Child:
        return await self._threads.call("jobs: start", _Child)

    def close(self) -> None:
        """Kill them all; calls under way are their callers' to cancel."""
        self._closed = True
        for starting in self._starting:
            starting.add_done_callback(_discard)
        self._starting.clear()
        for child in self._idle:
            child.close()
        self._idle.clear()
