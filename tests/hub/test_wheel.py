"""The one timer: nothing is forgotten, however late the loop is, and there is only one."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from hub.wheel import HALT, STEP, TIMERS_SECONDS, Wheel


class Loop:
    """A loop whose time we set; it runs what is due when told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Callable[[], None]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        self.timers.append(callback)
        return self

    call_soon = functools.partialmethod(call_later, 0.0)

    def cancel(self) -> None:
        self.timers.clear()

    def run(self, seconds: float) -> None:
        """Be away for some seconds, then run the timers that were set before."""
        self.now += seconds
        timers, self.timers = self.timers, []
        for timer in timers:
            timer()


def test_late_loop_loses_no_entry_even_when_a_callback_adds_one() -> None:
    """It did: a callback that added an entry made the wheel jump to the present, over all that was still due."""
    loop = Loop()
    wheel = Wheel(cast(Any, loop))
    called: list[object] = []

    def again(thing: object) -> None:
        called.append(thing)
        wheel.add(loop.now + 1, called.append, f"{thing} again")

    for number in range(20):
        wheel.add(loop.now + number * STEP, again, number)
    loop.run(5.0)
    assert called == list(range(20))
    loop.run(5.0)
    assert called[20:] == [f"{number} again" for number in range(20)]


def test_there_is_one_timer_whatever_callbacks_add_and_none_when_nothing_is_due() -> None:
    """There were more with every turn, each of which woke the loop ten times a second."""
    loop = Loop()
    wheel = Wheel(cast(Any, loop))
    left = 100

    def again(thing: object) -> None:
        nonlocal left
        left -= 1
        if left:
            wheel.add(loop.now + STEP, again, thing)

    wheel.add(loop.now, again, None)
    while left:
        assert len(loop.timers) == 1
        loop.run(STEP)
    loop.run(STEP)
    assert not loop.timers


def test_wheel_knows_since_when_the_loop_has_turned_without_a_halt() -> None:
    loop = Loop()
    wheel = Wheel(cast(Any, loop))
    seen: list[float] = []
    for seconds in (1, 2, 60, 61):
        wheel.add(loop.now + seconds, lambda _: seen.append(wheel.awake), None)
    for _ in range(10):
        loop.run(HALT)
    assert seen == [0.0, 0.0]
    loop.run(40.0)
    began = loop.now
    for _ in range(60):
        loop.run(HALT)
    assert seen == [0.0, 0.0, began, began]


def test_the_loop_gets_its_turn_among_timers_that_fall_due_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of a flood, thousands of them, ended in one go, and everybody waited for 20 ms."""
    loop, clock = Loop(), Loop()
    monkeypatch.setattr(time, "monotonic", clock.time)
    wheel = Wheel(cast(Any, loop))
    called: list[object] = []

    def work(thing: object) -> None:
        called.append(thing)
        clock.now += TIMERS_SECONDS

    for number in range(20):
        wheel.add(loop.now, work, number)
    loop.run(1.0)
    rounds = 1
    while len(called) < 20:
        assert len(called) <= rounds * 2
        assert len(loop.timers) == 1
        # What is added meanwhile is not lost.
        wheel.add(loop.now, called.append, "late")
        loop.run(0.0)
        rounds += 1
    assert rounds >= 5
    assert called == [*range(20)]
    loop.run(0.0)
    loop.run(1.0)
    assert called[20:] == ["late"] * (rounds - 1)
    assert not loop.timers
