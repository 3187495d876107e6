"""Views added up, durations in buckets, and callers as hashes of a day."""

from __future__ import annotations

import math
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.forwarded import Proxies
from web.features.views import journal
from web.features.views.buckets import LAST, bucket_of, percentile
from web.features.views.callers import Strangers, hashed, new_salt, wants_none
from web.features.views.journal import Journal, take
from web.features.views.records import View, counts, endpoint
from web.features.views.totals import Endpoint, Totals


def view(at: float = 1e9, micros: int = 1000, caller: str = "~1", status: int = 200, kind: str = "script") -> View:
    return View(at, "", "GET /x", status, micros, kind, caller)


@given(st.integers(min_value=2, max_value=2**31))
def test_buckets_are_a_fourth_of_a_doubling(micros: int) -> None:
    assert bucket_of(micros) == min(LAST, int(4 * math.log2(micros)))


@given(st.lists(st.integers(min_value=1, max_value=10**9), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_percentiles_are_off_by_nine_of_a_hundred(durations: list[int], share: float) -> None:
    totals: dict[int, int] = {}
    for each in durations:
        totals[bucket_of(each)] = totals.get(bucket_of(each), 0) + 1
    ordered = sorted(durations)
    exact = ordered[max(1, -int(-len(ordered) * share // 1)) - 1] / 1000
    found = percentile(totals, share)
    assert found is not None
    assert abs(found - exact) <= exact * 0.0906


def test_durations_have_an_end() -> None:
    assert bucket_of(0) == bucket_of(-5) == 0
    assert bucket_of(10**15) == LAST
    assert percentile({}, 0.5) is None


def test_sums_are_what_was_added() -> None:
    totals = Totals()
    some = [view(at=1e9 + random.randrange(7200), status=random.choice((200, 404))) for _ in range(1000)]
    totals.add(some)
    assert totals.total == sum(totals.times.values()) == sum(totals.minutes.values()) == 1000
    assert sum(totals.callers.values()) == 1000
    assert totals.seen[Endpoint("", "GET /x")] == (min(each.at for each in some), max(each.at for each in some))


def test_callers_beyond_the_bound_are_counted_without_who() -> None:
    totals = Totals()
    totals.add([view(caller=f"~{number}") for number in range(10)], most=4)
    assert (totals.total, len(totals.callers), totals.uncalled) == (10, 4, 6)


def test_a_stream_has_no_duration() -> None:
    totals = Totals()
    totals.add([view(micros=-1)])
    assert totals.total == 1
    assert not totals.times


def test_a_caller_is_another_on_another_day() -> None:
    first, second = new_salt(), new_salt()
    assert hashed(first, "203.0.113.7", "curl") == hashed(first, "203.0.113.7", "curl")
    assert hashed(first, "203.0.113.7", "curl") != hashed(second, "203.0.113.7", "curl")
    assert "203.0.113.7" not in hashed(first, "203.0.113.7", "curl")


def test_a_stranger_is_remembered_until_views_are_written() -> None:
    salts = {0: new_salt(), 1: new_salt()}
    asked = []

    def salt(at: float) -> bytes:
        asked.append(at)
        return salts[int(at // 86400)]

    strangers = Strangers(salt, Proxies(1))
    first = strangers.name(5.0, "10.0.0.1", ("203.0.113.7",), "curl")
    assert first == hashed(salts[0], "203.0.113.7", "curl")
    assert strangers.name(6.0, "10.0.0.1", ("203.0.113.7",), "curl") == first
    assert len(asked) == 1
    others = [
        strangers.name(86400.0, "10.0.0.1", ("203.0.113.7",), "curl"),
        strangers.name(5.0, "10.0.0.1", ("203.0.113.8",), "curl"),
        strangers.name(5.0, "10.0.0.1", ("203.0.113.7",), "wget"),
    ]
    assert len({first, *others}) == 4
    strangers.forget()
    salts[0] = new_salt()
    assert strangers.name(5.0, "10.0.0.1", ("203.0.113.7",), "curl") != first


def test_strangers_that_are_remembered_have_an_end() -> None:
    salt = new_salt()
    strangers = Strangers(lambda at: salt, Proxies())
    for number in range(5000):
        strangers.name(5.0, f"10.0.{number // 250}.{number % 250}", (), "curl")
    strangers.name(5.0, "10.1.0.0", (), "long" * 1000)
    assert len(strangers._known) == 4096
    assert strangers.name(5.0, "10.1.0.1", (), "curl") == hashed(salt, "10.1.0.1", "curl")


@pytest.mark.parametrize(
    ("headers", "wants"), [({}, False), ({"DNT": "1"}, True), ({"Sec-GPC": "1"}, True), ({"DNT": "0"}, False)]
)
def test_who_wants_nothing_kept_is_believed(headers: dict[str, str], wants: bool) -> None:
    assert wants_none(headers) is wants


def test_browsers_pages_count_themselves() -> None:
    assert not counts("browser", "GET", "text/html; charset=utf-8", "text/html,*/*")
    assert not counts("browser", "GET", "image/avif", "image/avif,*/*")
    assert not counts("browser", "POST", "", "text/html")
    assert counts("browser", "GET", "application/json", "application/json")
    assert counts("bot", "GET", "text/html", "text/html")
    assert not counts("script", "OPTIONS", "", "")


def test_methods_of_strangers_are_no_endpoints() -> None:
    assert endpoint("GET", "/x") == "GET /x"
    assert endpoint("BREW", "(no route)") == "OTHER (no route)"


def test_what_was_noted_outlives_who_noted_it(tmp_path: Path) -> None:
    kept = Journal(tmp_path)
    path = tmp_path / f"{kept.name}{journal.SUFFIX}"
    first = [view(status=number, caller=f"~{number}") for number in range(200, 300)]
    for each in first:
        kept.add(each)
    # It lives.
    assert take(path) is None
    kept.turn(2)
    later = View(1.5, "", "POST /ünïcode/{slug}", 500, -1, "bot", "")
    kept.add(later)
    kept._map.close()
    journal.os.close(kept._file)
    left = take(path)
    assert left is not None
    assert [(half.position, half.views) for half in left.halves] == [(1, first), (2, [later])]
    # Another one comes too late.
    assert take(path) is None
    left.close(done=True)
    assert not path.exists()


def test_a_batch_that_is_committed_is_not_left_behind(tmp_path: Path) -> None:
    kept = Journal(tmp_path)
    kept.add(view())
    kept.turn(2)
    kept.free()
    kept.add(view(status=201))
    kept.close(done=False)
    left = take(next(tmp_path.iterdir()))
    assert left is not None
    assert [(half.position, [each.status for each in half.views]) for half in left.halves] == [(2, [201])]
    left.close(done=False)
    assert len(list(tmp_path.iterdir())) == 1


def _left(folder: Path) -> list[tuple[int, list[int]]]:
    """What a process would find of one that was killed now: batches, and the statuses of their views."""
    data = next(folder.iterdir()).read_bytes()
    parts = (data[: len(data) // 2], data[len(data) // 2 :])
    halves = [half for part in parts if (half := journal._read(part)) is not None]
    return sorted((half.position, [each.status for each in half.views]) for half in halves)


def test_a_half_that_is_used_again_has_nothing_of_the_batch_before(tmp_path: Path) -> None:
    kept = Journal(tmp_path, half=4096)
    for position in range(1, 8):
        if position > 1:
            kept.turn(position)
            kept.free()
        # Fewer each time: what the others left lies behind, whole and at the right places.
        statuses = list(range(200, 220 - position))
        for status in statuses:
            kept.add(view(status=status))
        assert _left(tmp_path) == [(position, statuses)]
    kept.close(done=True)


@given(st.data())
def test_a_process_that_is_killed_while_it_notes_has_noted_all_before(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        kept = Journal(Path(name), half=4096)
        noted = data.draw(st.lists(st.sampled_from(["~1", "~22", "key shop", ""]), min_size=1, max_size=20))
        ends = [kept._end]
        for number, caller in enumerate(noted):
            kept.add(view(status=number, caller=caller))
            ends.append(kept._end)
        half = kept._map[kept._begin : kept._begin + 4096]
        kept.close(done=True)
    # Bytes are written from the front: what is behind some place is not there yet.
    cut = data.draw(st.integers(min_value=ends[0], max_value=ends[-1])) - kept._begin
    found = journal._read(half[:cut] + bytes(4096 - cut))
    views = [] if found is None else found.views
    # One more may be whole, where what is not there yet would be noughts.
    assert len(views) >= sum(end - kept._begin <= cut for end in ends) - 1
    assert [(each.status, each.caller) for each in views] == list(enumerate(noted))[: len(views)]


def test_a_full_file_says_so(tmp_path: Path) -> None:
    kept = Journal(tmp_path, half=4096)
    for _ in range(200):
        kept.add(view())
    assert 0 < kept.unwritten < 200
    kept.close(done=True)
    assert list(tmp_path.iterdir()) == []


@given(st.binary(max_size=300))
def test_a_file_of_anything_raises_nothing(data: bytes) -> None:
    journal._read(data)
    journal._read(journal._HEAD.pack(journal._MAGIC, 1) + data)
