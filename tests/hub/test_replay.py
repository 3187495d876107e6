"""Replay ids: one number says a life and an offset."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.protocol.publications import Position
from hub.protocol.replay import MAX_NUMBER, OFFSETS, Start, parse_replay, replay_id, start_of

POSITIONS = st.builds(Position, st.text("abcdef0123456789", min_size=8, max_size=32), st.integers(0, OFFSETS - 1))


@given(POSITIONS, POSITIONS)
def test_number_leads_back_to_its_position(position: Position, top: Position) -> None:
    number = replay_id(position)
    assert OFFSETS <= number <= MAX_NUMBER
    top = top._replace(epoch=position.epoch)
    for form in (number, str(number), str(position)):
        assert start_of(parse_replay(form), top) == Start(position, True)


@given(POSITIONS, st.integers(OFFSETS, 2**53 - 1))
def test_number_of_another_life_is_nowhere(top: Position, number: int) -> None:
    since = start_of(number, top).since
    assert since is not None
    if replay_id(Position(top.epoch, number % OFFSETS)) != number:
        assert since.epoch not in ("", top.epoch)


@given(st.integers(1, 100), st.integers(0, 100))
def test_offset_without_its_life_may_have_missed_something(offset: int, top: int) -> None:
    start = start_of(offset, Position("e", top))
    assert start == Start(Position("e", offset) if offset <= top else None, False)


def test_beginning_is_the_same_in_each_life() -> None:
    assert start_of(0, Position("e", 5)) == Start(Position("e", 0), True)


def test_offsets_beyond_a_number_stay_under_what_javascript_reads() -> None:
    assert replay_id(Position("e", OFFSETS)) == replay_id(Position("e", OFFSETS - 1)) <= MAX_NUMBER
