"""Lists of podcasts with very many episodes: what is read of them, what it says, and what it costs the others."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from rounds import pieces
from serving import Podcasts
from sqlalchemy import insert
from visiting import Browser

from web.db.database import Database
from web.db.tables import now
from web.features.podcasts import api, mine, queries
from web.features.podcasts.forecast import weekly
from web.features.podcasts.mine import Wanted
from web.features.podcasts.models import Episode, Pick, PickList
from web.features.podcasts.times import WINDOW

AT = datetime(2026, 12, 1, 9, 30, 15, 250_000, tzinfo=UTC)


async def fill(podcasts: Podcasts, dates: Sequence[Sequence[datetime]], seconds: int = 3600) -> list[int]:
    """Podcasts with an episode at each date."""
    ids = [await podcasts.add(f"http://sound.example/{number}.xml", f"Show {number}") for number in range(len(dates))]
    rows = [
        {"podcast_id": id, "at": when, "published_at": when, "seconds": seconds + place % 7, "guid": f"{id}-{place}"}
        for id, each in zip(ids, dates, strict=True)
        for place, when in enumerate(each)
    ]
    async with podcasts.database.saving() as session:
        for start in range(0, len(rows), 2000):
            await session.execute(insert(Episode), rows[start : start + 2000])
    return ids


async def test_sums_of_weeks_and_hours_are_those_of_the_episodes(podcasts: Podcasts, database: Database) -> None:
    chance = random.Random(7)
    edges = [AT.replace(microsecond=0) - timedelta(days=7 * week, seconds=more) for week in range(5) for more in (0, 1)]
    some = [
        AT.replace(microsecond=0) - timedelta(seconds=chance.randrange(int(WINDOW.total_seconds()))) for _ in range(400)
    ]
    dates = [sorted([*edges, *some[:200]]), sorted(some[200:]), []]
    ids = await fill(podcasts, dates)
    everything = [(when, 3600 + place % 7) for each in dates for place, when in enumerate(each)]
    options = queries.Options()
    async with database.reading() as session:
        weeks = await queries.by_week(session, ids, options, AT)
        hours = await queries.by_hour(session, ids, options, AT)
        numbers = await mine.read_numbers(session, await queries.by_ids(session, ids), Wanted(tuple(ids)), AT)
    expected = weekly([((AT - when).total_seconds() / 86400, seconds) for when, seconds in everything], 43)
    assert [weeks.get(week, 0) for week in range(43)] == expected[::-1]
    assert (sum(weeks.values()), sum(hours.values())) == (sum(each for _, each in everything), len(everything))
    assert numbers.heat is not None
    assert numbers.plot is not None
    for day, (_, shown) in enumerate(numbers.heat.rows):
        for hour, (count, _) in enumerate(shown):
            assert count == sum((when.weekday(), when.hour) == (day, hour) for when, _ in everything)
    assert "Lengths of 410 episodes of 3 podcasts" in numbers.plot.about
    assert numbers.plot.most == 0


async def test_of_many_episodes_the_latest_are_given(browser: Browser, podcasts: Podcasts) -> None:
    start = now().replace(microsecond=0) - timedelta(days=290)
    dates = [[start + timedelta(minutes=place) for place in range(count)] for count in (400, 300)]
    ids = await fill(podcasts, [*dates, *[[]] * 38])
    path = f"{api_path('stats/episodes?ids=')}{','.join(map(str, ids))}"
    first, second, *_ = (await (await browser.fetch(path)).json())["episodes"]
    assert [each["date"] for each in first["episodes"]] == [f"{when:%Y-%m-%dT%H:%M:%SZ}" for when in dates[0][100:]]
    assert [each["date"] for each in second["episodes"]] == [f"{when:%Y-%m-%dT%H:%M:%SZ}" for when in dates[1]]
    assert (first["more"], "more" in second) == (True, False)
    await browser.look(f"/podcasts/mine/{'-'.join(map(str, ids))}")
    assert "the latest 150 episodes are drawn" in browser.page
    assert f'href="/podcasts/mine/{"-".join(map(str, ids[1:]))}" data-remove="{ids[0]}"' in browser.page


async def test_an_answer_of_episodes_says_that_there_are_more(
    browser: Browser, podcasts: Podcasts, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await fill(podcasts, [[AT - timedelta(minutes=place) for place in range(1200)]] * 3)

    async def ask(id: int) -> tuple[list[str], bool]:
        found = await (await browser.fetch(api_path(f"podcasts/episodes/{id}"))).json()
        return [each["published"] for each in found["episodes"]], found.get("more", False)

    dates = [f"{AT - timedelta(minutes=place):%Y-%m-%dT%H:%M:%SZ}" for place in range(1200)]
    assert await ask(ids[0]) == (dates, False)
    monkeypatch.setattr(api, "EPISODES", 700)
    assert await ask(ids[1]) == (dates[:700], True)
    monkeypatch.setattr(api, "_BYTES", 1000)
    assert await ask(ids[2]) == (dates[: queries.PART], True)


@pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)
async def test_many_episodes_keep_nobody_waiting(browser: Browser, podcasts: Podcasts) -> None:
    """Six podcasts of 10,000 episodes took the loop 366 to 413 ms in one go, and a hundred would have taken 7 s."""
    start = now() - timedelta(days=299)
    ids = await fill(podcasts, [[start + timedelta(minutes=80 * place) for place in range(5000)]] * 6)
    took: dict[str, float] = {}
    for number in range(4):
        # What was made once is kept.
        mixed = ids[number:] + ids[:number]
        for what, path in {
            "list": f"/podcasts/mine/{'-'.join(map(str, mixed))}",
            "lengths": api_path(f"stats/episodes?ids={','.join(map(str, mixed))}"),
            "episodes": api_path(f"podcasts/episodes/{ids[number]}"),
        }.items():
            with pieces() as each:
                response = await browser.fetch(path)
                assert response.status == 200
            took[what] = min(took.get(what, 9.0), max(each))
        if max(took.values()) < 0.015:
            break
    assert {what: seconds for what, seconds in took.items() if seconds > 0.025} == {}


@pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)
async def test_long_lists_keep_nobody_waiting(browser: Browser, podcasts: Podcasts) -> None:
    """A list of a hundred podcasts is a page of 560 kB, which was made in one piece of 46 to 49 ms, and the lists that
    others have picked are fifteen such lists on one page."""
    start = now() - timedelta(days=299)
    ids = await fill(podcasts, [[start + timedelta(minutes=4000 * place) for place in range(100)]] * 100)
    async with podcasts.database.saving() as session:
        for number in range(15):
            session.add(PickList(id=number + 1, key=f"list {number}", size=100, modified_at=AT))
            await session.flush()
            session.add_all(Pick(list_id=number + 1, podcast_id=id, place=place) for place, id in enumerate(ids))
    took: dict[str, float] = {}
    for number in range(6):
        for what, path in {
            "list": f"/podcasts/mine/{'-'.join(map(str, ids[number:] + ids[:number]))}",
            # What is no page is the last: each of these is made.
            "picks": f"/podcasts/picks?page={number + 1}",
        }.items():
            with pieces() as each:
                await browser.look(path)
            assert len(browser.page) > 100_000
            took[what] = min(took.get(what, 9.0), max(each))
    assert {what: seconds for what, seconds in took.items() if seconds > 0.015} == {}


def api_path(path: str) -> str:
    return f"/api/podcasttime/{path}"
