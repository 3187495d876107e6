"""Virtual time, and processes that share nothing but messages.

A `World` has one queue of all that is due. A `Process` is the event loop of one worker: what is ready there runs in
the order in which asyncio would run it, round by round; between two rounds, and between two processes, anything else
may happen first. Nothing waits for real, and nothing reads a clock or rolls dice of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from random import Random
from typing import Any

#: Rounds of one process without virtual time going on, after which it counts as one that never ends.
MOST_ROUNDS = 20_000


#: The chance that nothing comes between two rounds of a process that is busy: rounds take microseconds.
AT_ONCE = 0.7


class World:
    """What is due, in order of time; `trace` takes a line for each thing that happens, if somebody reads it."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.seed = seed
        self.trace: list[str] | None = None
        #: Sentences about promises that were broken.
        self.broken: list[str] = []
        self.happened = 0
        #: Whose code runs now, or ran last.
        self.running: Process | None = None
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def dice(self, number: int) -> Random:
        """Dice of its own for each that rolls any: what one does less must not change another's luck."""
        return Random(self.seed * 1009 + number)

    def at(self, when: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call at a time; what is due at the same time is called in the order of asking."""
        self._number += 1
        heappush(self._due, (when, self._number, call, arguments))

    def after(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call a function after this many simulated seconds."""
        self._number += 1
        heappush(self._due, (self.now + seconds, self._number, call, arguments))

    def run(self, until: float) -> None:
        """Let everything happen that is due before a time."""
        due = self._due
        while due and due[0][0] <= until and not self.broken:
            self.now, _, call, arguments = heappop(due)
            self.happened += 1
            call(*arguments)
        if not self.broken:
            self.now = until

    def say(self, who: object, words: str) -> None:
        """Write a line of the trace; callers look at `trace` first, for most runs have no reader."""
        if self.trace is not None:
            self.trace.append(f"{self.now:10.4f}  {who!s:<10} {words}")

    def end(self) -> None:
        """End the simulation: asyncio has no running loop any more."""
        self.running = None
        events._set_running_loop(None)

    def accuse(self, words: str) -> None:
        """Note that a promise is broken."""
        self.say("PROMISE", words)
        self.broken.append(words)


class _Handle:
    """As asyncio.Handle, and quicker: making one, with a context that nobody uses, was the most of a run."""

    __slots__ = ("arguments", "call", "context", "gone", "time")

    def __init__(
        self, call: Callable[..., Any], arguments: tuple[Any, ...], context: contextvars.Context | None, time: float
    ) -> None:
        self.call = call
        self.arguments = arguments
        self.context = context
        self.time = time
        self.gone = False

    def cancel(self) -> None:
        self.gone = True

    def cancelled(self) -> bool:
        return self.gone

    def when(self) -> float:
        return self.time


class Process(asyncio.AbstractEventLoop):
    """The event loop of one worker. offset: how its clock differs from the world's, seconds."""

    def __init__(self, world: World, name: str, dice: Random, offset: float = 0.0) -> None:
        self.world = world
        self.name = name
        self.offset = offset
        self.dead = False
        self.stopped = False
        #: By how much a round may come later than the one before, at most about a third of this.
        self.pace = 0.001
        self.tasks: list[asyncio.Task[Any]] = []
        self._dice = dice
        self._ready: deque[_Handle] = deque()
        # What arrived while the process was stopped: read after the timers, as after a SIGCONT.
        self._mail: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._ordered = False
        self._rounds = 0
        self._last = -1.0

    # What the world does to it

    def arrive(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call this for something that arrives: later if the process is stopped, never if it is dead."""
        if self.dead:
            return
        if self.stopped:
            self._mail.append((call, arguments))
            return
        self._ready.append(_Handle(call, arguments, None, 0.0))
        if not self._ordered:
            # It slept till now, and wakes at once.
            self._round()

    def kill(self) -> None:
        """Kill the process, as by SIGKILL."""
        self.dead = True
        self._ready.clear()
        self._mail.clear()

    def stop_for(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT so much later."""
        if not self.stopped and not self.dead:
            self.stopped = True
            self.world.after(seconds, self._continue)

    def _continue(self) -> None:
        self.stopped = False
        mail, self._mail = self._mail, []
        if self.dead:
            return
        self._ready.extend(_Handle(call, arguments, None, 0.0) for call, arguments in mail)
        if self._ready:
            self._order()

    def forget(self) -> None:
        """The run is over: nothing of it may speak up when it is collected.

        But for a task that failed and that nobody asks: all are kept until now, and asyncio would tell only when they
        go. Code that followed channels died of a bug in its first step, and seemed to hear nothing.
        """
        for task in self.tasks if not self.dead else ():
            if task.done() and task._log_traceback:  # type: ignore[attr-defined]  # no other way to know
                self.world.accuse(f"{self.name}: {task.exception()!r} in {task.get_coro()}")
        self.kill()
        for task in self.tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # no other way to say so
                with contextlib.suppress(Exception):
                    _close(task.get_coro())  # type: ignore[arg-type]  # all are coroutines here

    def _order(self) -> None:
        if not self._ordered:
            self._ordered = True
            self.world.after(self._dice.random() * self.pace, self._round)

    def _round(self) -> None:
        """One round of the loop, and perhaps the next ones before anything else happens."""
        self._ordered = False
        if self.dead or self.stopped:
            return
        ready, world, roll = self._ready, self.world, self._dice.random
        if world.running is not self:
            world.running = self
            events._set_running_loop(self)
        # What is made ready by a round belongs to the next one, which orders itself.
        self._ordered = True
        while True:
            for _ in range(len(ready)):
                handle = ready.popleft()
                if handle.gone:
                    continue
                try:
                    if handle.context is None:
                        handle.call(*handle.arguments)
                    else:
                        handle.context.run(handle.call, *handle.arguments)
                except Exception as error:  # noqa: BLE001  # asyncio would log it; here it is a finding
                    world.accuse(f"{self.name}: {error!r} in {handle.call}")
                if self.dead:
                    return
            if not ready:
                self._ordered = False
                return
            if world.now - self._last > 1.0:
                self._last, self._rounds = world.now, 0
            self._rounds += 1
            if self._rounds > MOST_ROUNDS:
                world.accuse(f"{self.name} never comes to rest")
                return
            luck = roll()
            if luck > AT_ONCE or self.stopped:
                world.after((luck - AT_ONCE) * self.pace, self._round)
                return

    # What asyncio asks of a loop

    def time(self) -> float:
        return self.world.now + self.offset

    def call_soon(  # type: ignore[override]  # nobody looks at what kind of handle it is
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, context, 0.0)
        if not self.dead:
            self._ready.append(handle)
            if not self._ordered and not self.stopped:
                self._order()
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # as above

    def call_later(  # type: ignore[override]  # as above
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:
        world = self.world
        handle = _Handle(callback, args, context, world.now + self.offset + delay)
        world.after(max(delay, 0.0), self._timer, handle)
        return handle

    def call_at(  # type: ignore[override]  # as above
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:
        return self.call_later(when - self.world.now - self.offset, callback, *args, context=context)

    def _timer(self, handle: _Handle) -> None:
        if not handle.gone and not self.dead:
            self._ready.append(handle)
            if not self.stopped and not self._ordered:
                self._round()

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: object = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name and str(name), context=context)
        self.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self.dead

    def is_closed(self) -> bool:
        return self.dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dead:
            self.world.accuse(f"{self.name}: {context.get('message')}: {context.get('exception')!r}")


def _close(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Close a coroutine, and one that it was given and has not begun: nobody will await that any more."""
    if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:  # type: ignore[arg-type]  # one of `async def`
        for value in inspect.getcoroutinelocals(coroutine).values():  # type: ignore[arg-type]  # as above
            if asyncio.iscoroutine(value):
                _close(value)
    coroutine.close()
