"""The seed's API: its names, shapes and statuses, and its faults mended."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from feeding import feed, item, weekly
from serving import Podcasts, Publisher
from sqlalchemy import select, update
from visiting import Browser

from web.db.database import Database
from web.features.pictures.forms import Shown
from web.features.pictures.geometry import Size
from web.features.podcasts import store
from web.features.podcasts.models import Feed, Pick, PickList, Podcast
from web.features.podcasts.shown import BadIds, read_ids
from web.services.jobs import rows

API = "/api/podcasttime"


async def ask(browser: Browser, path: str, status: int = 200) -> Any:
    response = await browser.fetch(f"{API}/{path}")
    assert response.status == status, await response.text()
    return await response.json()


async def picks(browser: Browser, status: int = 200, **fields: str) -> Any:
    headers = {"Accept": "application/json", "Origin": browser.origin}
    response = await browser.client.post(f"{API}/picked", data=fields, headers=headers)
    assert response.status == status, await response.text()
    return await response.json()


@pytest.fixture
async def shows(podcasts: Podcasts, server: Publisher) -> list[int]:
    """Twelve podcasts with ten weekly episodes of half an hour each."""
    ids = []
    for number in range(12):
        server.body = weekly(10, title=f"Show {number}")
        ids.append(await podcasts.add(f"{server.url}?n={number}"))
        await podcasts.fetch(ids[-1])
    return ids


@pytest.mark.usefixtures("shows")
async def test_find_by_name_has_the_seeds_shape_and_five_at_most(browser: Browser) -> None:
    found = await ask(browser, "find?q=sho")
    assert (len(found["items"]), found["total"], found["q"]) == (5, 12, "sho")
    one = found["items"][0]
    assert {
        "id",
        "slug",
        "name",
        "link",
        "subtitle",
        "times_picked",
        "latest_episode",
        "last_fetch",
        "modified",
    } <= set(one)
    assert {"episodes_count", "total_hours", "thumbnail_160", "thumbnail_348", "_outdated"} <= set(one)
    assert "summary" not in one
    assert (one["episodes_count"], one["total_hours"], one["_outdated"]) == (10, 5.0, False)


async def test_thumbnails_are_the_sites_own_once_they_are_made(
    browser: Browser, podcasts: Podcasts, shows: list[int]
) -> None:
    """Until then, and where a picture is broken, they are where the feed says."""
    address = "https://pictures.example/art.png"
    ready = Shown("5" * 32, Size(1000, 1000), ready=True, sizes=(Size(348, 348),), cropped=(50, 50))
    pictures = [None, replace(ready, ready=False, cropped=None), replace(ready, error="It is broken."), ready]
    for id, shown in zip(shows, pictures, strict=False):
        values = {"image_url": address, "picture": None if shown is None else shown.as_row()}
        async with podcasts.database.saving() as session:
            await session.execute(update(Podcast).where(Podcast.id == id).values(**values))
    found = (await ask(browser, f"find?ids={','.join(map(str, shows[:4]))}"))["items"]
    assert [one["thumbnail_160"] for one in found] == [address] * 3 + [ready.crop_path(174, "jpeg")]
    assert [one["thumbnail_348"] for one in found] == [address] * 3 + [ready.crop_path(348, "jpeg")]


async def test_find_by_ids_has_all_of_them_in_the_order_asked(browser: Browser, shows: list[int]) -> None:
    """③ Elasticsearch gave ten, and picks beyond that vanished."""
    wanted = list(reversed(shows))
    found = await ask(browser, f"find?ids={','.join(map(str, wanted))},999")
    assert [one["id"] for one in found["items"]] == wanted


@pytest.mark.parametrize(
    "path",
    [
        "find", "find?ids=x", "find?ids=1,x", "find?ids=0", "find?ids=-1", "find?ids=" + "9" * 30,
        "find?ids=" + ",".join(map(str, range(1, 1001))), "stats", "stats?ids=x", "stats/episodes?ids=",
        "podcasts/data/?page=x", "podcasts/data/?page=0", "podcasts/table/?page=-1", "podcasts/table/?page_size=0",
        "podcasts/table/?sorting=password:true",
    ],
)  # fmt: skip
async def test_what_can_not_be_understood_says_why(browser: Browser, path: str) -> None:
    """⑦ ids that are no numbers, and a bad key, were answered 500."""
    assert set(await ask(browser, path, 400)) == {"error", "next"}


def test_long_texts_are_not_taken_apart_for_ids() -> None:
    """20 kB of separators, or of one id again and again, took the loop up to 2 ms."""
    for text in ("-" * 5000, "1-" * 2500, " " * 5000, "1" * 5000):
        with pytest.raises(BadIds, match="4,096 characters"):
            read_ids(text, "-")
    assert read_ids(", ".join(str(2**31 - number) for number in range(1, 101)))[99] == 2**31 - 100


async def test_what_is_not_read_yet_is_found_at_once_and_its_feed_asked_for(
    browser: Browser, podcasts: Podcasts, server: Publisher, database: Database
) -> None:
    id = await podcasts.add(server.url, "Brand New")
    (one,) = (await ask(browser, "find?q=brand"))["items"]
    assert (one["episodes_count"], one["last_fetch"], one["total_hours"]) == (None, None, None)
    (one,) = (await ask(browser, f"find?ids={id}"))["items"]
    assert one["_updating"] is True
    async with database.engine.connect() as connection:
        keys = [key for (key,) in await connection.execute(select(rows.table.c.key))]
    assert keys == ["podcasts:0:127.0.0.1", "podcasts:1:127.0.0.1"]
    await podcasts.fetch(id)
    (one,) = (await ask(browser, f"find?ids={id}"))["items"]
    assert (one["episodes_count"], "_updating" in one) == (0, False)


async def test_a_feeds_address_is_found_by_being_added(browser: Browser) -> None:
    found = await ask(browser, "find?q=feed://A.example/x&submitted=true")
    assert (found["total"], found["items"][0]["name"]) == (1, "a.example")
    again = await ask(browser, "find?q=https://www.a.example/x/&submitted=true")
    assert again["items"][0]["id"] == found["items"][0]["id"]


async def test_numbers_of_podcasts(browser: Browser, shows: list[int]) -> None:
    found = await ask(browser, f"stats?ids={shows[0]},{shows[1]}")
    # Ten episodes of half an hour in the nine weeks since the first, and each of two.
    assert found["per_week"] == pytest.approx(2 * 5 / 9, rel=0.01)
    assert found["per_month"] == pytest.approx(found["per_day"] * 365 / 12)
    assert found["min_date"] < found["max_date"]
    assert await ask(browser, "stats?ids=999") == {
        "per_day": 0,
        "per_week": 0,
        "per_month": 0,
        "known": 0,
        "episodes": 0,
    }


async def test_two_new_podcasts_are_no_division_by_zero(
    browser: Browser, podcasts: Podcasts, server: Publisher
) -> None:
    """⑥ two podcasts within a day: 500."""
    ids = []
    for number in range(2):
        at = datetime.now(UTC) - timedelta(hours=number)
        server.body = feed(item(f"Only {number}", date=at, duration="3600"))
        ids.append(await podcasts.add(f"{server.url}?n={number}"))
        await podcasts.fetch(ids[-1])
    assert (await ask(browser, f"stats?ids={ids[0]},{ids[1]}"))["per_day"] == pytest.approx(2.0, rel=0.01)


async def test_unknown_is_not_zero(browser: Browser, podcasts: Podcasts, server: Publisher) -> None:
    server.body = feed(
        item("a", date=datetime.now(UTC), duration="NaN"), item("b", url="http://a/b.mp3", date="?", duration=None)
    )
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    (one,) = (await ask(browser, f"find?ids={id}"))["items"]
    assert (one["episodes_count"], one["known_count"], one["total_hours"]) == (2, 0, None)
    found = (await ask(browser, f"podcasts/episodes/{id}"))["episodes"]
    assert [(each["title"], each["duration"]) for each in found] == [("a", None), ("b", None)]
    # ⑨ the date is UTC; ⑩ an entry without one costs nothing of the others.
    assert found[1]["published"] is None
    assert await ask(browser, f"stats/episodes?ids={id}") == {"episodes": [{"name": "A Show", "episodes": []}]}


async def test_lengths_over_time(browser: Browser, shows: list[int]) -> None:
    found = await ask(browser, f"stats/episodes?ids={shows[1]},{shows[0]}")
    assert [each["name"] for each in found["episodes"]] == ["Show 1", "Show 0"]
    dates = [each["date"] for each in found["episodes"][0]["episodes"]]
    assert len(dates) == 10
    assert dates == sorted(dates)


async def test_trailers_do_not_count_and_bonus_does(browser: Browser, podcasts: Podcasts, server: Publisher) -> None:
    kinds = ("full", "trailer", "bonus")
    server.body = feed(
        *(
            item(
                kind,
                url=f"http://a/{kind}.mp3",
                date=datetime.now(UTC) - timedelta(hours=1),
                duration="600",
                more=f"<itunes:episodeType>{kind}</itunes:episodeType>",
            )
            for kind in kinds
        )
    )
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    for query, count in (("", 2), ("&trailers=true", 3), ("&bonus=false", 1)):
        assert (await ask(browser, f"stats?ids={id}{query}"))["episodes"] == count


async def test_lists_are_picked_changed_and_counted(browser: Browser, shows: list[int], database: Database) -> None:
    a, b, c = shows[:3]
    key = (await picks(browser, ids=f"{a},{b}"))["session_key"]
    assert len(key) == 32
    first = (await ask(browser, "picks/data/"))["items"]
    assert [each["id"] for each in first[0]["podcasts"]] == [a, b]
    other = (await picks(browser, ids=f"{c},999"))["session_key"]
    assert other != key
    assert (await picks(browser, ids=f"{b},{c}", picks=key))["session_key"] == key
    # ⑧ what was edited last comes first.
    items = (await ask(browser, "picks/data/"))["items"]
    assert [[each["id"] for each in one["podcasts"]] for one in items] == [[b, c], [c]]
    async with database.reading() as session:
        counts = dict((await session.execute(select(Podcast.id, Podcast.times_picked))).all())
    assert (counts[a], counts[b], counts[c]) == (0, 1, 2)
    assert {*items[0]["podcasts"][0]} == {"id", "name", "slug", "image", "times_picked"}
    await picks(browser, ids="", picks=key)
    assert len((await ask(browser, "picks/data/"))["items"]) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"ids": ""}, {"ids": "x"}, {"ids": "1", "picks": "nobody"}, {"ids": "1", "picks": "x" * 33},
        {"ids": "1", "picks": "' or 1=1"}, {"ids": ",".join(map(str, range(1, 200)))},
    ],
)  # fmt: skip
async def test_bad_picks_say_why(browser: Browser, fields: dict[str, str], database: Database) -> None:
    assert set(await picks(browser, 400, **fields)) == {"error", "next"}
    async with database.reading() as session:
        assert list(await session.scalars(select(PickList))) == []


async def test_picked_is_no_get(browser: Browser) -> None:
    assert (await browser.fetch(f"{API}/picked")).status == 405


async def test_the_last_partial_page_is_there(browser: Browser, database: Database) -> None:
    """④ the last page of podcasts/data was 404 unless it was full; ⑤ 12 of 15 were shown."""
    async with database.saving() as session:
        for number in range(32):
            await store.add(session, f"http://a.example/{number}", f"Show {number}")
    pages = [await ask(browser, f"podcasts/data/?page={page}") for page in (1, 2, 3)]
    assert [len(page["items"]) for page in pages] == [15, 15, 2]
    assert pages[2]["pagination"] == {
        "has_previous": True,
        "has_next": False,
        "number": 3,
        "num_pages": 3,
        "previous_page_number": 2,
    }
    assert pages[0]["pagination"]["next_page_number"] == 2
    assert pages[0]["count"] == 32
    await ask(browser, "podcasts/data/?page=4", 404)
    assert (await ask(browser, "podcasts/data/?search=show+31"))["count"] == 1


async def test_the_table_sorts_as_it_says(browser: Browser, database: Database) -> None:
    """`desc:false` was descending."""
    async with database.saving() as session:
        for name in "bca":
            await store.add(session, f"http://{name}.example/", name)
    for down, names in (("false", "abc"), ("true", "cba")):
        table = await ask(browser, f"podcasts/table/?sorting=name:{down}&page_size=2")
        assert ([row["name"] for row in table["rows"]], table["pages"]) == (list(names[:2]), 2)
    assert [
        row["name"] for row in (await ask(browser, "podcasts/table/?sorting=name:false&page_size=2&page=1"))["rows"]
    ] == ["c"]
    await ask(browser, "podcasts/table/?page=7", 404)


async def test_pages_of_picks_that_are_none_are_the_first_and_the_last(browser: Browser, shows: list[int]) -> None:
    for _ in range(16):
        await picks(browser, ids=str(shows[0]))
    assert (await ask(browser, "picks/data/?page=x"))["pagination"]["number"] == 1
    last = await ask(browser, "picks/data/?page=99")
    assert (last["pagination"]["number"], len(last["items"])) == (2, 1)


@pytest.mark.usefixtures("shows")
async def test_general_numbers(browser: Browser) -> None:
    assert (await ask(browser, "general-stats/numbers"))["numbers"] == {
        "podcasts": 12,
        "picks": 0,
        "episodes": 120,
        "total_hours": 60,
    }


async def test_private_and_blocked_podcasts_are_not_found(
    browser: Browser, podcasts: Podcasts, server: Publisher
) -> None:
    server.body = feed(title="Secret Show", more="<itunes:block>yes</itunes:block>")
    await podcasts.fetch(await podcasts.add(server.url))
    await podcasts.add("http://a.example/?token=x", "Secret Two")
    assert (await ask(browser, "find?q=secret"))["total"] == 0
    assert (await ask(browser, "podcasts/data/"))["count"] == 0


async def test_episodes_of_a_private_feed_give_no_addresses(
    browser: Browser, podcasts: Podcasts, server: Publisher
) -> None:
    """Members' feeds have the file's address, with its token, as the guid."""
    server.body = feed(
        item("One", guid="http://a.example/1.mp3?token=geheim", url="http://a.example/1.mp3?auth=geheim")
    )
    for address in (f"{server.url}?token=geheim", server.url):
        await podcasts.fetch(await podcasts.add(address))
    assert "geheim" not in json.dumps(await ask(browser, "podcasts/episodes/1"))
    assert (await ask(browser, "podcasts/episodes/2"))["episodes"][0]["guid"].endswith("geheim")
    for path in ("/podcasts/1", "/podcasts/1/a-show", "/podcasts/1/a-show/feed", "/podcasts/mine/1"):
        await browser.look(path)
        assert "geheim" not in browser.page


async def test_two_podcasts_at_one_feed_become_one_and_picks_follow(
    podcasts: Podcasts, database: Database, browser: Browser
) -> None:
    one, two = [await podcasts.add(f"http://{name}.example/") for name in "ab"]
    await picks(browser, ids=f"{one},{two}")
    await picks(browser, ids=f"{one}")
    async with database.saving() as session:
        podcast = await session.get_one(Podcast, one)
        await store.move(session, podcast, await session.get_one(Feed, one), "http://b.example/")
    async with database.reading() as session:
        assert list(await session.scalars(select(Pick.podcast_id))) == [two, two]
        assert (await session.get_one(Podcast, two)).times_picked == 2
        assert await session.get(Podcast, one) is None
    assert await podcasts.add("http://a.example/") == two


async def test_a_feed_that_two_add_at_once_is_one(browser: Browser, database: Database) -> None:
    answers = await asyncio.gather(*(ask(browser, "find?q=http://a.example/x&submitted=true") for _ in range(5)))
    assert {one["id"] for answer in answers for one in answer["items"]} == {1}


async def test_one_address_has_so_many_feeds_fetched_in_a_minute(browser: Browser) -> None:
    for number in range(60):
        await ask(browser, f"find?q=http://a.example/{number}&submitted=true")
    response = await browser.fetch(f"{API}/find?q=http://a.example/x&submitted=true")
    assert response.status == 429
    assert int(response.headers["Retry-After"]) > 0
