"""What is remembered of the last seconds, and when it says that it does not know any more."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from hub.protocol.publications import Position, Publication
from hub.sessions.recent import Recent

OFFSETS = count(1)


def batch(channel: str, *data: int, size: int = 0) -> list[Publication]:
    return [Publication(channel, b"%*d" % (size, item), Position("e", next(OFFSETS))) for item in data]


class Read(list[Publication]):
    """Publications that count how often one is read."""

    times = 0

    def __getitem__(self, index: Any) -> Any:
        Read.times += 1
        return super().__getitem__(index)

    def __iter__(self) -> Any:
        Read.times += len(self)
        return super().__iter__()

    def __contains__(self, item: object) -> bool:
        Read.times += len(self)
        return super().__contains__(item)


def hears_all(channel: str) -> bool:
    return True


def data(found: list[Publication] | None) -> list[int] | None:
    return None if found is None else [int(publication.data) for publication in found]


@pytest.fixture
def recent() -> Recent:
    """Three batches: numbers 1 to 3."""
    made = Recent(seconds=10)
    made.add("/a", batch("/a", 1, 2), 0.0)
    made.add("/b", batch("/b", 3), 0.0)
    made.add("/a", batch("/a", 4), 1.0)
    return made


class TestAfter:
    def test_is_what_came_after_the_mark_in_order(self, recent: Recent) -> None:
        assert data(recent.after({"/a": 0}, hears_all)) == [1, 2, 4]
        assert data(recent.after({"/a": 0, "/b": 0}, hears_all)) == [1, 2, 3, 4]
        assert data(recent.after({"/a": 1, "/b": 0}, hears_all)) == [3, 4]
        assert data(recent.after({"/a": 3}, hears_all)) == []
        assert data(recent.after({"/never": 0}, hears_all)) == []
        assert data(recent.after({}, hears_all)) == []

    def test_wildcards_match_as_they_do_live(self, recent: Recent) -> None:
        assert data(recent.after({"/*": 1}, hears_all)) == [3, 4]
        assert data(recent.after({"/*": 2, "/b": 0}, hears_all)) == [3, 4]
        assert data(recent.after({"/x/**": 0}, hears_all)) == []

    def test_what_a_rule_keeps_from_a_wildcard_is_not_in_it(self, recent: Recent) -> None:
        assert data(recent.after({"/*": 0}, lambda channel: channel != "/a")) == [3]
        assert data(recent.after({"/*": 0, "/a": 0}, lambda channel: False)) == [1, 2, 4], "who named it, was asked"


class TestForgetting:
    def test_old_batches_go_and_who_needs_them_is_told(self, recent: Recent) -> None:
        recent.add("/c", batch("/c", 5), 10.5)
        assert recent.after({"/a": 0}, hears_all) is None
        assert recent.after({"/*": 0}, hears_all) is None
        assert recent.after({"/*": 1}, hears_all) is None, "2 was of /b"
        assert data(recent.after({"/a": 1}, hears_all)) == [4]
        assert data(recent.after({"/c": 0}, hears_all)) == [5], "what was forgotten is of other channels"
        assert data(recent.after({"/*": 2}, hears_all)) == [4, 5]

    def test_bytes_are_bounded_and_the_oldest_go_first(self) -> None:
        recent = Recent(size=50_000)
        for number in range(100):
            recent.add("/a", batch("/a", number, size=1000), 0.0)
        kept = recent.after({"/a": 80}, hears_all)
        assert data(kept) == list(range(80, 100))
        assert recent.after({"/a": 0}, hears_all) is None
        assert recent._bytes <= 50_000

    def test_nothing_is_kept_where_that_is_set(self) -> None:
        recent = Recent(size=0)
        recent.add("/a", batch("/a", 1), 0.0)
        assert recent.after({"/a": 0}, hears_all) is None
        assert recent.after({"/a": 1}, hears_all) == []

    def test_so_many_channels_are_known_by_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hub.sessions.recent.MAX_CHANNELS", 2)
        recent = Recent(size=0)
        for name in ("/a", "/b", "/c"):
            recent.add(name, batch(name, 1), 0.0)
        assert len(recent._gone) == 2
        assert recent.after({"/quiet": 0}, hears_all) is None, "it may have been /quiet that was forgotten"
        assert recent.after({"/quiet": 1}, hears_all) == []


class TestNumbers:
    def test_batch_is_found_by_a_publication_and_by_its_last_position(self, recent: Recent) -> None:
        added = batch("/d", 7, 8)
        recent.add("/d", added, 2.0)
        assert recent.before(added[0]) == recent.before(added[1]) == 3
        assert recent.number(added[1].position) == 4
        assert recent.number(added[0].position) is None
        assert recent.before(batch("/d", 7)[0]) is None

    def test_last_forgotten_position_of_a_channel_is_still_known(self, recent: Recent) -> None:
        """A stream's client that names the event it saw last may have been quiet for long."""
        recent.seconds = 0
        last = batch("/a", 9)
        recent.add("/a", last, 20.0)
        recent.add("/b", batch("/b", 10), 30.0)
        assert recent.number(last[-1].position) == 4
        assert data(recent.after({"/a": 4}, hears_all)) == []
        assert recent.after({"/a": 3}, hears_all) is None

    def test_step_is_a_number_of_its_own(self, recent: Recent) -> None:
        recent.written = 2
        assert recent.step() == 4
        assert recent.written == 2, "a batch is still being written"
        recent.written = recent.newest
        assert recent.step() == recent.written == 5

    def test_any_position_is_looked_for_in_few_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client that said that it had seen a position of no epoch there is had the hub walk all that it kept of a
        busy channel, 3.5 ms of each message; who named such an event when its stream came back, all there was.
        """
        recent = Recent()
        old = [Publication("/busy", b"1", Position("before", number)) for number in range(1, 51)]
        new = [Publication("/busy", b"1", Position("now", number)) for number in range(1, 20_001) if number % 10]
        for at in range(0, 50, 5):
            recent.add("/busy", Read(old[at : at + 5]), 0.0)
        for at in range(0, len(new), 5):
            recent.add("/busy", Read(new[at : at + 5]), 0.0)
        monkeypatch.setattr(Read, "times", 0)
        for position in ("none.1", "before.7", "now.0", "now.30", "now.90000"):
            assert recent.find("/busy", Position.parse(position)) is None
            assert recent.number(Position.parse(position)) is None
        for at in (0, 7, 8_888, len(new) - 1):
            found = recent.find("/busy", new[at].position)
            assert found is not None
            assert found.number == 11 + at // 5
            assert recent.before(new[at]) == found.number - 1
            assert recent.number(new[at].position) == (found.number if at % 5 == 4 else None)
        assert recent.find("/quiet", new[0].position) is None
        assert Read.times < 1_000

    def test_nothing_is_kept_of_positions_that_are_forgotten(self) -> None:
        recent = Recent(seconds=1)
        for number in range(100):
            recent.add(f"/{number % 3}", batch(f"/{number % 3}", number), float(number))
        assert len(recent._ends) == len(recent._order) + len(recent._gone) <= 6
