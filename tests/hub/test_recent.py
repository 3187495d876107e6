"""What is remembered of the last seconds, and when it says that it does not know any more."""

from __future__ import annotations

from itertools import count

import pytest

from hub.protocol.publications import Position, Publication
from hub.recent import Recent

OFFSETS = count(1)


def batch(channel: str, *data: int, size: int = 0) -> list[Publication]:
    return [Publication(channel, b"%*d" % (size, item), Position("e", next(OFFSETS))) for item in data]


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
        monkeypatch.setattr("hub.recent.MAX_CHANNELS", 2)
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
