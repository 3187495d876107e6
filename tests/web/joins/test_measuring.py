"""Songs are made and dropped, and each way asks as many questions as it says: on both databases."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import func, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from hub.orm.database_url import parse
from web.db.engine import checked, new_engine
from web.features.joins import measuring
from web.features.joins.measuring import Options, Result, WrongCount, measure
from web.features.joins.songs import artist, artists_of, song
from web.features.joins.store import Refused, Store, file_of
from web.features.joins.ways import WAYS, Artist, Song

SONGS = 600
SHORT = Options(seconds=30, looks=40)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = Store(parse(database_url))
    yield store
    await store.close()


async def test_songs_are_made_once_and_dropped_whole(store: Store) -> None:
    assert await store.size() is None
    told = []
    made = await store.make(SONGS, lambda done, total, words: told.append((done, total)))
    assert (made.songs, made.artists) == (SONGS, artists_of(SONGS))
    assert made.bytes > 10_000
    assert told[-1] == (660, 660)
    assert await store.make(SONGS, lambda *_: pytest.fail("they are there")) == made
    async with AsyncSession(store.engine) as session:
        assert await session.scalar(select(func.count()).select_from(Song)) == SONGS
        found = await session.get(Song, 321)
        assert found is not None
        assert (found.id, found.title, found.seconds, found.artist_id) == song(321, artists_of(SONGS))
        first = await session.get(Artist, 7)
        assert first is not None
        assert (first.id, first.name) == artist(7)
    assert await store.drop()
    assert await store.size() is None
    assert not await store.drop()


async def test_another_number_makes_them_anew(store: Store) -> None:
    await store.make(SONGS)
    assert (await store.make(SONGS + 100)).songs == SONGS + 100


async def test_site_tables_are_left_alone(store: Store, database_url: str) -> None:
    """They have a schema, or a file, of their own."""
    site = new_engine(checked(database_url))
    async with site.begin() as connection:
        await connection.execute(text("create table songs (id integer primary key)"))
    await store.make(SONGS)
    await store.drop()
    async with site.connect() as connection:
        names = await connection.run_sync(lambda plain: inspect(plain).get_table_names())
        assert names == ["songs"]
        assert await connection.scalar(text("select count(*) from songs")) == 0
    await site.dispose()


async def test_half_made_songs_are_made_again(store: Store) -> None:
    await store.make(SONGS)
    schema = "" if store.url.path else "lab_joins."
    async with store.engine.execution_options(writing=True).begin() as connection:
        await connection.execute(text(f"delete from {schema}made"))
    assert await store.size() is None
    assert (await store.make(SONGS)).songs == SONGS


async def test_ways_ask_two_one_and_two_questions(store: Store) -> None:
    result = await measure(store, await store.make(SONGS), SHORT)
    assert {way.name: len(way.statements) for way in result.ways} == {"lookup": 2, "join": 1, "selectin": 2}
    assert [way.queries for way in result.ways] == [2, 1, 2]
    lookup, join, select_in = ([each.sql for each in way.statements] for way in result.ways)
    assert all("JOIN" not in each for each in lookup + select_in)
    assert "JOIN" in join[0]
    assert "LEFT" not in join[0]
    assert " IN (" in select_in[1]


async def test_database_says_how_it_would_find_them(store: Store) -> None:
    result = await measure(store, await store.make(SONGS), SHORT)
    plans = [each.plan for way in result.ways for each in way.statements]
    assert all(plans)
    if result.database == "SQLite":
        assert all("USING INTEGER PRIMARY KEY" in plan for plan in plans)
    else:
        assert all("Execution Time" in plan for plan in plans)


async def test_every_way_reads_the_same_songs_and_what_warms_up_does_not_count(store: Store) -> None:
    result = await measure(store, await store.make(SONGS), replace(SHORT, warm_up=5))
    assert [way.figures and way.figures.count for way in result.ways] == [40, 40, 40]
    assert result.missing == 0
    assert all(way.figures is not None and 0 < way.figures.median < 1000 for way in result.ways)
    assert [way.change is None for way in result.ways] == [True, False, False]


async def test_ids_of_no_song_are_left_out_and_counted(store: Store) -> None:
    size = await store.make(SONGS)
    schema = "" if store.url.path else "lab_joins."
    async with store.engine.execution_options(writing=True).begin() as connection:
        await connection.execute(text(f"delete from {schema}songs where id % 2 = 0"))
    # The first id of the shuffled is read for its statements: one with an odd number.
    shuffle = next(each for each in range(1, 50) if _first(each) % 2)
    result = await measure(store, size, replace(SHORT, looks=SONGS, warm_up=0, shuffle=shuffle))
    assert result.missing == SONGS // 2
    assert [way.figures and way.figures.count for way in result.ways] == [SONGS // 2] * 3


def _first(shuffle: int) -> int:
    return random.Random(shuffle).sample(range(1, SONGS + 1), SONGS)[0]


async def test_time_ends_a_run(store: Store) -> None:
    result = await measure(store, await store.make(SONGS), Options(seconds=0.05, looks=SONGS, warm_up=0))
    first = result.ways[0].figures
    assert first is not None
    assert 0 < first.count < SONGS


async def test_way_that_asks_more_than_it_says_ends_the_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lying = [replace(WAYS[0], queries=1), *WAYS[1:]]
    monkeypatch.setattr(measuring, "WAYS", lying)
    with pytest.raises(WrongCount, match="look-up asked 2 questions for a song, and not 1"):
        await measure(store, await store.make(SONGS), SHORT)


async def test_result_is_the_same_after_json(store: Store) -> None:
    result = await measure(store, await store.make(SONGS), SHORT)
    assert Result.of(result.as_json()) == result


async def test_report_has_what_came_so_far(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_REPORT", 0.0)
    counts = []

    def report(done: int, total: int, so_far: object) -> None:
        result: Result = so_far()  # type: ignore[operator]  # a function
        counts.append(result.ways[0].figures.count if result.ways[0].figures else 0)

    await measure(store, await store.make(SONGS), replace(SHORT, warm_up=2), report)
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] > 30


async def test_user_who_may_not_make_schemas_is_told_what_to_do(new_postgres_database: object) -> None:
    url = new_postgres_database()  # type: ignore[operator]  # a function
    owner = Store(parse(url))
    async with owner.engine.begin() as connection:
        await connection.execute(text("create role joins_reader login password 'word'"))
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        reader = Store(parse(urlunsplit(parts._replace(netloc=f"joins_reader:word@{host}"))))
        with pytest.raises(Refused, match=r"permission denied for database .*grant create on database"):
            await reader.make(SONGS)
        await reader.close()
    finally:
        async with owner.engine.begin() as connection:
            await connection.execute(text("drop role joins_reader"))
        await owner.close()


def test_file_is_beside_the_site_and_named_after_it() -> None:
    assert file_of("/var/lib/fanfare.sqlite3") == Path("/var/lib/fanfare-lab-joins.sqlite3")
