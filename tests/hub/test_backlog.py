"""What is kept for those who sleep, and when it says that it does not have all of it any more."""

from __future__ import annotations

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from hub.protocol.publications import Position, Publication, conflate
from hub.sessions.backlog import Backlog

OFFSETS = count(1)


def batch(*data: int, channel: str = "/a", hint: bool = False, size: int = 0) -> list[Publication]:
    return [Publication(channel, b"%*d" % (size, item), Position("e", next(OFFSETS)), hint) for item in data]


def data(backlog: Backlog, number: int) -> list[int] | None:
    found = backlog.since(number)
    return None if found is None else [int(each.data) for _, publications in found for each in publications]


def test_gives_what_came_from_a_number_on_in_order() -> None:
    backlog = Backlog(10, 1000, 60)
    backlog.add(3, batch(1, 2), 0)
    backlog.add(7, batch(3), 0)
    assert [data(backlog, number) for number in (1, 3, 4, 7, 8)] == [[1, 2, 3], [1, 2, 3], [3], [3], []]


def test_what_does_not_fit_goes_and_who_needs_it_is_told() -> None:
    backlog = Backlog(3, 1000, 60)
    for number in range(1, 6):
        backlog.add(number, batch(number), 0)
    assert data(backlog, 2) is None
    assert data(backlog, 3) == [3, 4, 5]
    backlog = Backlog(10, 1000, 60)
    backlog.add(1, batch(1, size=600), 0)
    backlog.add(2, batch(2, size=600), 0)
    assert (data(backlog, 1), data(backlog, 2)) == (None, [2])
    backlog.add(3, batch(3, size=2000), 0)
    assert data(backlog, 3) is None, "one that is larger than all that may wait"
    backlog.add(4, batch(4), 0)
    assert data(backlog, 4) == [4]


def test_old_ones_go() -> None:
    backlog = Backlog(10, 1000, 60)
    backlog.add(1, batch(1), 0)
    backlog.add(2, batch(2), 61)
    assert (data(backlog, 1), data(backlog, 2)) == (None, [2])


def test_hints_go_before_anything_is_forgotten() -> None:
    backlog = Backlog(4, 1000, 60)
    backlog.add(1, batch(1), 0)
    for number in range(2, 50):
        backlog.add(number, batch(number, channel="/ab"[: 2 - number % 2], hint=True), 0)
    found = data(backlog, 1)
    assert found is not None
    assert (found[0], found[-2:]) == (1, [48, 49])
    assert (data(backlog, 49) or [])[-1:] == [49]


@given(st.lists(st.tuples(st.sampled_from(["/a", "/b"]), st.booleans()), max_size=60), st.integers(0, 60))
def test_gives_all_that_conflating_would_keep_or_says_so(script: list[tuple[str, bool]], since: int) -> None:
    backlog = Backlog(8, 10_000, 60)
    published: list[Publication] = []
    for number, (channel, hint) in enumerate(script):
        one = batch(number, channel=channel, hint=hint)
        backlog.add(number, one, 0)
        published += one
    found = backlog.since(since)
    if found is None:
        assert len(published) - since > 8
        return
    numbers = [number for number, _ in found]
    assert numbers == sorted(numbers)
    given_ = [each for _, publications in found for each in publications]
    assert conflate(given_) == conflate(published[since:])
    assert sum(len(publications) for _, publications in found) <= 8
