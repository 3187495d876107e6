"""Jobs as rows: what is added, taken, ended and kept; on PostgreSQL and SQLite."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.db.database import Database
from web.services.jobs import rows
from web.services.jobs.kinds import Every, Kind, by_name
from web.services.jobs.rows import Failure, New, Taken

T = TypeVar("T")


class Table:
    """The statements, each in its own transaction."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine.execution_options(writing=True)

    async def __call__(self, function: Callable[..., T], *args: Any, **named: Any) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(function, *args, **named)

    async def add(self, *jobs: New, now: float = 100.0) -> list[int]:
        return await self(rows.add, jobs, now)

    async def claim(self, owner: str, now: float, count: int = 10, **kinds: int) -> list[Taken]:
        return await self(rows.claim, kinds or {"mail": count}, owner, now, now + 30)


@pytest.fixture
def jobs(saves: Database) -> Table:
    return Table(saves)


async def test_a_job_is_taken_once_and_only_when_it_is_due(jobs: Table) -> None:
    first, second = await jobs.add(New("mail", {"n": 1}), New("mail", {"n": 2}, due=200.0))
    assert await jobs(rows.peek, ["mail", "feed"]) == {"mail": 100.0}
    assert [each.id for each in await jobs.claim("alice", 150.0)] == [first]
    assert await jobs.claim("bob", 150.0) == []
    # As a lease's end, it is when the first may be taken again.
    assert await jobs(rows.peek, ["mail"]) == {"mail": 180.0}
    assert [(each.id, each.attempts) for each in await jobs.claim("bob", 250.0)] == [(second, 1), (first, 2)]


async def test_a_job_whose_lease_is_over_is_no_longer_its_first_owners(jobs: Table) -> None:
    [id] = await jobs.add(New("mail", None))
    await jobs.claim("alice", 100.0)
    assert await jobs(rows.leases.renew, "alice", [id], 140.0) == {id}
    assert await jobs.claim("bob", 135.0) == []
    await jobs.claim("bob", 141.0)
    assert await jobs(rows.leases.renew, "alice", [id], 180.0) == set()
    assert await jobs(rows.finish, "alice", [id], 150.0) == 0
    await jobs(rows.fail, "alice", Failure(id, None, "late", 0.0), 150.0)
    assert await jobs(rows.finish, "bob", [id], 150.0) == 1


async def test_of_jobs_with_one_key_one_waits_with_the_newest_data_and_the_earliest_time(jobs: Table) -> None:
    [first] = await jobs.add(New("feed", {"n": 1}, "feed:3", 300.0))
    again = await jobs.add(New("feed", {"n": 2}, "feed:3", 200.0), New("feed", {"n": 9}, "feed:4"))
    assert again[0] == first
    [third] = await jobs.add(New("feed", {"n": 3}, "feed:3", 400.0))
    assert third == first
    found = await jobs(rows.get, first)
    assert found is not None
    assert (found.data, found.due) == ('{"n":3}', 200.0)


async def test_a_key_twice_in_one_call_is_one_job(jobs: Table) -> None:
    ids = await jobs.add(New("feed", 1, "a", 300.0), New("feed", 2), New("feed", 3, "a", 400.0))
    assert ids[0] == ids[2] != ids[1]
    found = await jobs(rows.get, ids[0])
    assert found is not None
    assert (found.data, found.due) == ("3", 300.0)


async def test_a_job_whose_key_is_running_waits_for_it(jobs: Table) -> None:
    """What changed after the first had read its rows needs a second look, but not at the same time."""
    [first] = await jobs.add(New("feed", 1, "feed:3"))
    await jobs.claim("alice", 100.0, feed=5)
    [second] = await jobs.add(New("feed", 2, "feed:3"))
    assert second != first
    assert await jobs.claim("bob", 110.0, feed=5) == []
    await jobs(rows.finish, "alice", [first], 120.0)
    assert [each.id for each in await jobs.claim("bob", 121.0, feed=5)] == [second]


async def test_a_lease_that_is_over_and_a_newer_one_of_its_key_are_not_taken_at_once(jobs: Table) -> None:
    [first] = await jobs.add(New("feed", 1, "feed:3"))
    await jobs.claim("alice", 100.0, feed=5)
    await jobs.add(New("feed", 2, "feed:3"))
    assert [each.id for each in await jobs.claim("bob", 200.0, feed=5)] == [first]
    assert await jobs.claim("carol", 201.0, feed=5) == []


async def test_a_retry_gives_way_to_a_newer_one_of_its_key(jobs: Table) -> None:
    [first] = await jobs.add(New("feed", 1, "feed:3"))
    await jobs.claim("alice", 100.0, feed=5)
    [second] = await jobs.add(New("feed", 2, "feed:3"))
    await jobs(rows.fail, "alice", Failure(first, "feed:3", "no answer", 110.0), 105.0)
    found = await jobs(rows.get, first)
    assert found is not None
    assert found.outcome == rows.MERGED
    assert [each.id for each in await jobs.claim("bob", 120.0, feed=5)] == [second]


async def test_what_is_given_back_is_not_counted_as_an_attempt(jobs: Table) -> None:
    await jobs.add(New("mail", 1), New("mail", 2, "k"))
    taken = await jobs.claim("alice", 100.0)
    await jobs(rows.give_back, "alice", taken, 101.0)
    assert [each.attempts for each in await jobs.claim("bob", 102.0)] == [1, 1]


async def test_what_was_given_up_is_kept_with_its_error_and_can_be_run_again(jobs: Table) -> None:
    plain, keyed, newest = await jobs.add(New("mail", 1), New("mail", 2, "k"), New("mail", 3))
    for each in await jobs.claim("alice", 100.0):
        await jobs(rows.fail, "alice", Failure(each.id, each.key, "550 no such user", None), 105.0)
    assert {each.id for each in await jobs(rows.listed, outcome=rows.GIVEN_UP)} == {newest, keyed, plain}
    assert (await jobs(rows.counts, 110.0))["mail"].given_up == 3
    # Of two with one key the one that waits does the work.
    await jobs.add(New("mail", 4, "k"))
    assert await jobs(rows.again, 110.0, [plain, keyed]) == 1
    assert {each.attempts for each in await jobs.claim("bob", 111.0)} == {1}
    assert await jobs(rows.again, 112.0) == 2
    assert await jobs(rows.drop, [keyed]) == 1


async def test_done_and_given_up_are_kept_for_a_time_and_never_more_than_a_number(jobs: Table) -> None:
    await jobs.add(*(New("mail", n) for n in range(10)))
    ids = [each.id for each in await jobs.claim("alice", 100.0)]
    for moment, id in enumerate(ids):
        await jobs(rows.finish, "alice", [id], 200.0 + moment)
    assert await jobs(rows.prune, rows.DONE, 202.0, 100) == 3
    assert await jobs(rows.prune, rows.DONE, 0.0, 4) == 3
    assert [each.finished for each in await jobs(rows.listed, outcome=rows.DONE)] == [209.0, 208.0, 207.0, 206.0]
    assert await jobs(rows.prune, rows.GIVEN_UP, 1e9, 0) == 0


async def test_data_of_a_done_job_is_not_kept(jobs: Table) -> None:
    [id] = await jobs.add(New("mail", {"text": "your password is"}))
    await jobs.claim("alice", 100.0)
    await jobs(rows.finish, "alice", [id], 101.0)
    found = await jobs(rows.get, id)
    assert found is not None
    assert found.data == "null"


async def test_unknown_kinds_are_left_for_others_and_given_up_after_a_while(jobs: Table) -> None:
    await jobs.add(New("mail", 1), New("thumbnail", 1))
    assert await jobs.claim("alice", 150.0, mail=5, feed=5) != []
    assert await jobs(rows.give_up_unknown, ["mail", "feed"], 99.0, 150.0) == 0
    assert await jobs(rows.give_up_unknown, ["mail", "feed"], 101.0, 150.0) == 1
    [found] = await jobs(rows.listed, outcome=rows.GIVEN_UP)
    assert (found.kind, found.error) == ("thumbnail", "no worker knows this kind of job")


async def test_counts_by_kind(jobs: Table) -> None:
    await jobs.add(New("mail", 1), New("mail", 2), New("feed", 1, due=500.0))
    await jobs.claim("alice", 120.0, mail=1)
    assert await jobs(rows.counts, 130.0) == {
        "mail": rows.Count(waiting=1, due=1, running=1, given_up=0, oldest=100.0),
        "feed": rows.Count(waiting=1, due=0, running=0, given_up=0, oldest=None),
    }


@pytest.mark.parametrize(
    "job",
    [
        New("", 1),
        New("k" * 65, 1),
        New("a\nb", 1),
        New("mail", float("nan")),
        New("mail", "x" * (rows.MAX_DATA + 1)),
        New("mail", 1, ""),
        New("mail", 1, "k" * 201),
        New("mail", 1, "a\x00b"),
        New("mail", 1, "\ud83d"),
    ],
)
async def test_what_cannot_be_a_job_is_refused_before_it_is_written(jobs: Table, job: New) -> None:
    with pytest.raises(ValueError, match=r"no kind|no key|longer|JSON"):
        await jobs.add(New("mail", 1), job)
    assert await jobs(rows.counts, 100.0) == {}


async def test_any_text_in_data_arrives_as_it_was(jobs: Table) -> None:
    text = "half \ud83d an emoji, NUL \x00, \u2028, 👋"
    await jobs.add(New("mail", text))
    [taken] = await jobs.claim("alice", 100.0)
    assert json.loads(taken.data) == text


# Periodic jobs


def names(every: Every, now: float) -> dict[str, tuple[New, float]]:
    return {every.name: (every.new(now), every.after(now))}


async def test_a_periodic_job_is_added_once_in_the_fleet_and_once_for_all_times_it_missed(jobs: Table) -> None:
    every = Every(name="feeds", kind="feed", seconds=60)
    assert await jobs(rows.schedule, names(every, 100.0), 100.0) == {"feeds": 100.0}
    for _ in range(2):
        # Two workers.
        assert await jobs(rows.schedule, names(every, 100.0), 100.0) == {"feeds": 120.0}
    assert len(await jobs.claim("alice", 101.0, feed=5)) == 1
    # The fleet was away for a day.
    assert await jobs(rows.schedule, names(every, 86_430.0), 86_430.0) == {"feeds": 86_460.0}
    assert await jobs(rows.schedule, names(every, 86_431.0), 86_431.0) == {"feeds": 86_460.0}
    assert len(await jobs.claim("alice", 86_432.0, feed=5)) == 1


async def test_a_periodic_job_that_is_to_come_more_often_does_so_at_once(jobs: Table) -> None:
    await jobs(rows.schedule, names(Every(name="f", kind="feed", seconds=86400, offset=0.0), 100.0), 100.0)
    often = Every(name="f", kind="feed", seconds=60, offset=0.0)
    assert await jobs(rows.schedule, names(often, 110.0), 110.0) == {"f": 120.0}


@given(st.floats(1, 1e6), st.one_of(st.none(), st.floats(0, 1e6)), st.floats(1.6e9, 2e9))
def test_the_time_after_is_later_and_not_more_than_a_period_away(
    seconds: float, offset: float | None, now: float
) -> None:
    every = Every(name="f", kind="feed", seconds=seconds, offset=offset)
    # Seconds since 1970 have no more digits than these.
    assert now - 1e-5 <= every.after(now) <= now + seconds + 1e-5


def test_a_day_has_its_hour() -> None:
    every = Every(name="digest", kind="digest", seconds=86400, offset=3 * 3600)
    midnight = 20_000 * 86400.0
    assert every.first(midnight) == midnight + 3 * 3600
    assert every.after(midnight + 3 * 3600) == midnight + 27 * 3600


async def run(_: Any) -> None:
    pass


def test_kinds_that_do_not_fit_together_stop_the_start() -> None:
    mail = Kind(name="mail", run=run)
    with pytest.raises(ValueError, match="two kinds of jobs are called mail"):
        by_name([mail, Kind(name="mail", run=run)])
    with pytest.raises(ValueError, match="there is no kind feed"):
        by_name([mail], [Every(name="feeds", kind="feed", seconds=60)])
    with pytest.raises(ValueError, match="two periodic jobs are called m"):
        by_name([mail], [Every(name="m", kind="mail", seconds=60), Every(name="m", kind="mail", seconds=61)])
    for bad in ({"name": ""}, {"limit": 0}, {"attempts": 0}, {"first": 0}, {"at_once": 0}):
        with pytest.raises(ValueError, match=r"mail: |no name"):
            Kind(**{"name": "mail", "run": run, **bad})
    with pytest.raises(ValueError, match="seconds are at least 1"):
        Every(name="m", kind="mail", seconds=0.5)


async def test_ids_are_in_the_order_of_the_jobs(jobs: Table) -> None:
    ids = await jobs.add(*(New("mail", n, f"k{n}" if n % 7 == 0 else None) for n in range(3000)))
    taken = {each.id: int(each.data) for each in await jobs.claim("alice", 200.0, count=3000)}
    assert [taken[id] for id in ids] == list(range(3000))
