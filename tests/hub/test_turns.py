"""Turns: costly work gets a small part of each round of the loop, and everybody's in its order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from itertools import pairwise

import pytest

from hub.turns import TURN_SECONDS, Turns, finished


class Rounds:
    """A loop whose rounds are begun by hand, with a clock that stands still but for the work."""

    def __init__(self, seconds: float = TURN_SECONDS) -> None:
        self.now = 0.0
        self.done: list[str] = []
        self._next: list[Callable[[], None]] = []
        self.turns = Turns(seconds, lambda: self.now, self._next.append)

    def work(self, name: str, pieces: int, seconds: float) -> None:
        """Add work of so many pieces, each so long."""
        self.turns.add(self.pieces(name, pieces, seconds))

    def pieces(self, name: str, pieces: int, seconds: float) -> Callable[[], bool]:
        """Work of so many pieces, each so long."""
        left = pieces

        def piece() -> bool:
            nonlocal left
            self.now += seconds
            self.done.append(name)
            left -= 1
            return left > 0

        return piece

    def go_round(self) -> list[str]:
        """One round of the loop; what was worked at."""
        called, self._next[:] = self._next[:], []
        self.done = []
        for each in called:
            each()
        return self.done

    @property
    def idle(self) -> bool:
        return not self._next


def test_work_is_done_in_a_later_round() -> None:
    rounds = Rounds()
    rounds.work("a", 1, 0)
    assert rounds.done == []
    assert rounds.go_round() == ["a"]
    assert rounds.idle


def test_a_round_ends_when_its_time_is_used_up_however_many_wait() -> None:
    rounds = Rounds()
    for number in range(100):
        rounds.work(str(number), 1, 0.4 * TURN_SECONDS)
    took = []
    for _ in range(3):
        before = rounds.now
        rounds.go_round()
        took.append(rounds.now - before)
    assert took == pytest.approx([1.2 * TURN_SECONDS] * 3)
    assert rounds.turns.cut == 3
    assert len(rounds.turns) == 91


def test_of_pieces_that_can_not_be_divided_there_is_one_in_a_round() -> None:
    rounds = Rounds()
    for name in "abc":
        rounds.work(name, 1, 10 * TURN_SECONDS)
    assert [rounds.go_round() for _ in range(3)] == [["a"], ["b"], ["c"]]


def test_who_has_more_to_do_goes_behind_the_others() -> None:
    rounds = Rounds()
    rounds.work("long", 3, TURN_SECONDS)
    rounds.work("short", 1, TURN_SECONDS)
    assert [rounds.go_round() for _ in range(4)] == [["long"], ["short"], ["long"], ["long"]]
    assert rounds.idle


def test_what_has_begun_is_done_with_before_the_next_begins() -> None:
    rounds = Rounds()

    def begin(name: str, pieces: int) -> None:
        def piece() -> bool:
            rounds.now += TURN_SECONDS
            rounds.done.append(name)
            nonlocal pieces
            pieces -= 1
            return pieces > 0

        def decode() -> bool:
            rounds.turns.begin(piece)
            return piece() and False

        rounds.turns.add(decode)

    begin("long", 3)
    begin("short", 2)
    assert [rounds.go_round() for _ in range(5)] == [["long"], ["long"], ["long"], ["short"], ["short"]]
    assert rounds.idle


def test_of_two_that_have_begun_the_first_is_done_with_first() -> None:
    """A burst of 100 publishes came in five bodies of 20: the second went before the first, the third before that."""
    rounds = Rounds()
    rounds.turns.begin(rounds.pieces("first", 3, TURN_SECONDS))
    rounds.turns.begin(rounds.pieces("second", 2, TURN_SECONDS))
    assert [rounds.go_round() for _ in range(5)] == [["first"]] * 3 + [["second"]] * 2
    assert rounds.idle


def test_a_round_has_one_piece_if_there_is_no_time_for_any() -> None:
    rounds = Rounds(0.0)
    rounds.work("a", 2, 0.0)
    rounds.work("b", 1, 0.0)
    assert [rounds.go_round() for _ in range(3)] == [["a"], ["b"], ["a"]]


def test_time_waited_is_told() -> None:
    rounds = Rounds()
    rounds.work("a", 1, 3.0)
    rounds.work("b", 1, 1.0)
    while not rounds.idle:
        rounds.go_round()
    assert rounds.turns.waited == 3.0
    assert rounds.turns.taken == 2


def test_work_that_fails_keeps_nobody_from_his_turn(caplog: pytest.LogCaptureFixture) -> None:
    rounds = Rounds()

    def fail() -> bool:
        raise ValueError("a bug")

    rounds.turns.add(fail)
    rounds.work("b", 1, 0)
    with caplog.at_level(logging.ERROR, "hub.turns"):
        assert rounds.go_round() == ["b"]
    assert "work failed" in caplog.text


async def test_tasks_that_wait_are_let_in_one_in_a_round() -> None:
    loop = asyncio.get_running_loop()
    turns = Turns()
    seen: list[int] = []
    rounds = 0

    def count() -> None:
        nonlocal rounds
        rounds += 1
        loop.call_soon(count)

    async def costly() -> None:
        await turns.wait()
        seen.append(rounds)

    count()
    await asyncio.gather(*(costly() for _ in range(5)))
    rounds_between = [after - before for before, after in pairwise(seen)]
    assert all(each >= 1 for each in rounds_between), seen


async def test_a_task_that_gave_up_takes_nobodys_turn() -> None:
    turns = Turns()
    first, second = asyncio.create_task(turns.wait()), asyncio.create_task(turns.wait())
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(5):
        await second
    assert first.cancelled()
    assert len(turns) == 0


async def test_steps_of_some_work_have_a_turn_each_but_the_first() -> None:
    def steps() -> Generator[None, None, str]:
        for _ in range(3):
            yield
        return "done"

    turns = Turns()
    assert await turns.through(steps()) == finished(steps()) == "done"
    assert turns.taken == 3
