"""The timer wheel: one timer for all that is due some time, however many wait for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

logger = logging.getLogger(__name__)

#: Seconds between turns of the timer wheel: the precision of holds, pings and expiry.
STEP = 0.1

#: Seconds of timers that fall due together before the loop gets its turn, looked at after each of them: a flood of
#: sessions ends as suddenly as it came, and one that leaves a thousand names is 0.3 ms.
TIMERS_SECONDS = 0.0005

#: Seconds the loop may be late before it counts as halted: a process that was stopped, a machine that stood still.
HALT = 1.0


class Wheel:
    """One timer for everything that is due some time: holds, pings, expiry.

    Entries are never cancelled; whoever is called looks whether there is still something to do.
    The loop is only woken while the wheel is not empty.

    awake: since when the loop has turned without a halt (loop time). Who counts somebody's silence counts
    it from then on: what came during a halt is read only after the timers.
    """

    __slots__ = ("_at", "_call", "_due", "_entries", "_loop", "_slots", "_until", "awake")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # By callback, so that an entry costs one reference: every idle connection has three.
        self._slots: dict[int, dict[Callable[[Any], None], list[Any]]] = {}
        self._call: asyncio.Handle | None = None
        # The slot whose entries are called, and the one up to which they are due.
        self._at = 0
        self._until = 0
        self._entries: Iterator[tuple[Callable[[Any], None], Any]] = iter(())
        self._due = 0.0
        self.awake = 0.0

    def add(self, when: float, callback: Callable[[Any], None], thing: Any) -> None:
        """Call `callback(thing)` at `when` (loop time), up to STEP late."""
        slot = int(when / STEP) + 1
        if self._call is None:
            self._at = int(self._loop.time() / STEP)
            self._arm()
        slot = max(slot, self._at + 1)
        entries = self._slots.get(slot)
        if entries is None:
            self._slots[slot] = {callback: [thing]}
            return
        things = entries.get(callback)
        if things is None:
            entries[callback] = [thing]
        else:
            things.append(thing)

    def stop(self) -> None:
        """Forget everything."""
        self._slots.clear()
        self._entries = iter(())
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _arm(self) -> None:
        self._due = self._loop.time() + STEP
        self._call = self._loop.call_later(STEP, self._turn)

    def _turn(self) -> None:
        if self._loop.time() - self._due > HALT:
            self.awake = self._loop.time()
        self._until = int(self._loop.time() / STEP)
        self._entries = self._fall_due()
        self._go_on()

    def _fall_due(self) -> Iterator[tuple[Callable[[Any], None], Any]]:
        while self._at < self._until:
            self._at += 1
            for callback, things in self._slots.pop(self._at, {}).items():
                for thing in things:
                    yield callback, thing

    def _go_on(self) -> None:
        # `_call` stays set meanwhile: else an entry that a callback adds would start a second timer, and
        # move `_at` over slots whose turn is yet to come when the loop is late.
        ends = time.monotonic() + TIMERS_SECONDS
        for callback, thing in self._entries:
            try:
                callback(thing)
            except Exception:
                # One entry's bug must not stop everybody's timers.
                logger.exception("timer failed")
            if time.monotonic() >= ends:
                self._call = self._loop.call_soon(self._go_on)
                return
        if self._slots:
            self._arm()
        else:
            self._call = None
