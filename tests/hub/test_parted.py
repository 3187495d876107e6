"""A dictionary in parts is one to everybody who uses it."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hub import parted
from hub.parted import Parted

KEYS = st.integers(0, 300).map("/n{}".format)


class AsDict(RuleBasedStateMachine):
    """What is done to it is done to a dict as well. It is made anew already when it had ten entries."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(parted, "MANY", 10)
        self.patch.setattr(parted, "SHRUNK", 2)
        self.table: Parted[str, Any] = Parted()
        self.model: dict[str, Any] = {}

    def teardown(self) -> None:
        self.patch.undo()

    @rule(key=KEYS, value=st.integers(0, 3))
    def set(self, key: str, value: int) -> None:
        self.table[key] = self.model[key] = value

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        if key in self.model:
            del self.table[key], self.model[key]
        else:
            with pytest.raises(KeyError):
                del self.table[key]

    @rule(keys=st.lists(KEYS, unique=True, max_size=60), value=st.integers(0, 3))
    def fill(self, keys: list[str], value: int) -> None:
        new, old = self.table.fill(keys, value)
        assert new == [key for key in keys if key not in self.model]
        assert old == [key for key in keys if key in self.model]
        self.model.update(dict.fromkeys(new, value))

    @rule(data=st.data(), value=st.integers(0, 3), but=st.sets(KEYS))
    def drop(self, data: st.DataObject, value: int, but: set[str]) -> None:
        keys = data.draw(st.lists(st.sampled_from(sorted(self.model)), unique=True)) if self.model else []
        gone, left = self.table.drop(keys, value, but)
        assert gone == [key for key in keys if self.model[key] is value and key not in but]
        assert left == [key for key in keys if key not in gone]
        for key in gone:
            del self.model[key]

    @rule(keys=st.lists(KEYS, max_size=60))
    def among(self, keys: list[str]) -> None:
        assert self.table.among(keys) == [key for key in keys if key in self.model]

    @rule()
    def clear(self) -> None:
        self.table.clear()
        self.model.clear()

    @invariant()
    def same(self) -> None:
        assert self.table == self.model
        assert len(self.table) == len(self.model) == len(list(self.table))
        assert all(self.table.get(f"/n{number}", "?") == self.model.get(f"/n{number}", "?") for number in range(300))
        assert all((f"/n{number}" in self.table) == (f"/n{number}" in self.model) for number in range(300))


TestAsDict = AsDict.TestCase
TestAsDict.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.text(max_size=8), unique=True, max_size=30))
def test_what_is_not_there_is_missed_as_in_a_dict(keys: list[str]) -> None:
    table: Parted[str, int] = Parted()
    for number, key in enumerate(keys):
        assert key not in table
        table[key] = number
    assert dict(table) == {key: number for number, key in enumerate(keys)}
    with pytest.raises(KeyError):
        table["nine characters"]


def test_parts_need_more_room_at_different_times() -> None:
    """A dict of 350,000 names is copied in 15 ms when it needs more room, and who is hearing waits for that."""
    table: Parted[str, int] = Parted()
    most = 0
    rooms = [sys.getsizeof(part) for part in table._parts]
    for some in range(400):
        table.fill([f"/n{some}/{number}" for number in range(900)], some)
        before, rooms = rooms, [sys.getsizeof(part) for part in table._parts]
        copied = sum(len(part) for part, old, new in zip(table._parts, before, rooms, strict=True) if old != new)
        most = max(most, copied)
    assert len(table) == 360_000
    assert most < 50_000


def test_room_is_given_back() -> None:
    table: Parted[str, int] = Parted()
    keys = [f"/n{number}" for number in range(100_000)]
    table.fill(keys, 1)
    full = sys.getsizeof(table)
    random.Random(0).shuffle(keys)
    while len(keys) > 1000:
        table.drop([keys.pop() for _ in range(100)], 1)
    assert set(table) == set(keys)
    assert sys.getsizeof(table) < full / 20
