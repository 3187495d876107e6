"""What a site counts of what is asked of it, and what managers see of that."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from datetime import timedelta

import pytest
from sqlalchemy import inspect, select, text
from viewing import CHROME, callers, calls, timed, views_of, written
from visiting import Browser

from web.db.database import Database
from web.db.tables import now
from web.features.events.models import Event
from web.features.views.counting import Counting
from web.features.views.jobs import forget
from web.features.views.models import TABLES, ViewCaller, ViewCrowd, ViewEndpoint, ViewSalt
from web.features.views.records import View
from web.features.views.settings import ViewSettings
from web.pages import keys
from web.settings import Settings

PAGE = '<!DOCTYPE html><html lang="en"><title>Songs</title><p>All of them.</html>'

sqlite = pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)


async def test_what_no_script_counts_is_counted(browser: Browser, database: Database, concert: Event) -> None:
    for _ in range(3):
        assert (await browser.client.get("/rss.xml", headers={"User-Agent": "Feedly/1.0"})).status == 200
    await browser.client.get(f"/events/{concert.slug}/comments.json", headers={"User-Agent": CHROME})
    await browser.client.get(f"/events/{concert.slug}", headers={"User-Agent": "curl/8.5"})
    await browser.client.get("/no/such/token-of-somebody", headers={"User-Agent": "curl/8.5"})
    # What a page of a browser's may count by itself.
    for path in (f"/events/{concert.slug}", "/no/such/page"):
        await browser.look(path, headers={"User-Agent": CHROME})
    assert await written(browser, database) == {
        "GET /rss.xml": 3,
        "GET /events/{slug}/comments.json": 1,
        "GET /events/{slug}": 1,
        "GET (no route)": 1,
    }
    assert await calls(database, status=404) == {"GET (no route)": 1}
    assert await calls(database, kind="reader") == {"GET /rss.xml": 3}
    assert await timed(database) == 6


@sqlite
async def test_refusals_are_counted(browser: Browser, database: Database) -> None:
    headers = {"User-Agent": "curl/8.5", "Accept": "application/json"}
    assert (await browser.client.get("/manage/events", headers=headers)).status == 401
    assert (await browser.client.put("/rss.xml", headers=headers)).status == 405
    assert await written(browser, database) == {"GET /manage/events": 1, "PUT (no route)": 1}


async def test_nothing_of_who_it_was_is_kept(browser: Browser, database: Database) -> None:
    agent = "curl/8.5 of-somebody"
    await browser.client.get("/rss.xml?token=of-somebody", headers={"User-Agent": agent, "Authorization": "Bearer x"})
    await browser.client.get("/rss.xml", headers={"User-Agent": agent, "Referer": "https://of-somebody.example"})
    await written(browser, database)
    found = await callers(database)
    assert len(found) == 1
    assert re.fullmatch(r"~[0-9a-f]{16}", found[0])
    async with database.engine.connect() as connection:
        for table in TABLES:
            rows = await connection.execute(text(f"select * from {table.__tablename__}"))
            said = repr(rows.all())
            assert "of-somebody" not in said
            assert "127.0.0.1" not in said


@sqlite
async def test_who_wants_nothing_kept_is_a_call_without_a_caller(browser: Browser, database: Database) -> None:
    for headers in ({"DNT": "1"}, {"Sec-GPC": "1"}):
        await browser.client.get("/rss.xml", headers={"User-Agent": "curl/8.5"} | headers)
    assert await written(browser, database) == {"GET /rss.xml": 2}
    assert await callers(database) == []


@sqlite
async def test_a_user_is_a_caller_by_account(manager: Browser, database: Database) -> None:
    await manager.fetch("/manage/views.json")
    await written(manager, database)
    assert "user 1" in await callers(database)


@sqlite
async def test_a_kept_page_is_counted_for_each_script_that_asks(browser: Browser, database: Database) -> None:
    for _ in range(10):
        await browser.client.get("/events", headers={"User-Agent": "curl/8.5"})
    assert await written(browser, database) == {"GET /events": 10}


async def test_workers_add_to_the_same_sums(database: Database) -> None:
    workers = [Counting(database, None, most=100_000) for _ in range(4)]
    at = now().timestamp()
    for number, worker in enumerate(workers):
        for count in range(200):
            endpoint = f"GET /{count % 7}"
            worker.add(View(at, "", endpoint, 200 + count % 2, count, "script", f"~{number}{count % 3}"))
    await asyncio.gather(*(worker.flush() for worker in workers))
    found = await calls(database)
    assert sum(found.values()) == 800
    assert len(found) == 7
    assert await timed(database) == 800


async def test_all_workers_have_one_salt(database: Database) -> None:
    workers = [Counting(database, None, most=100) for _ in range(4)]
    await asyncio.gather(*(worker.start() for worker in workers))
    at = now().timestamp()
    assert len({worker.salt(at) for worker in workers}) == 1


async def test_a_commit_that_was_not_told_is_not_made_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(database, None, most=100)
    counting.add(View(now().timestamp(), "", "GET /x", 200, 1, "script", ""))
    write = counting._write

    async def lost(*args: object) -> None:
        await write(*args)  # type: ignore[arg-type]
        raise OSError("the connection broke off")

    monkeypatch.setattr(counting, "_write", lost)
    assert not await counting.flush()
    assert counting.is_away
    monkeypatch.undo()
    counting.add(View(now().timestamp(), "", "GET /x", 200, 1, "script", ""))
    assert await counting.flush()
    assert await calls(database) == {"GET /x": 2}


@sqlite
async def test_a_database_that_is_away_loses_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(database, None, most=100)

    async def away(*args: object) -> None:
        raise OSError("away")

    monkeypatch.setattr(counting, "_write", away)
    for _ in range(10):
        for _ in range(50):
            counting.add(View(now().timestamp(), "", "GET /x", 200, 1, "script", ""))
        assert not await counting.flush()
    assert counting.waiting == 500
    monkeypatch.undo()
    assert await counting.flush()
    assert counting.waiting == 0
    assert await calls(database) == {"GET /x": 500}


@sqlite
async def test_what_waits_is_bounded_and_counted(database: Database) -> None:
    counting = Counting(database, None, most=100)
    for _ in range(150):
        counting.add(View(now().timestamp(), "", "GET /x", 200, 1, "script", ""))
    assert counting.counts["dropped"] == 50
    assert await counting.flush()
    assert await calls(database) == {"GET /x": 100}


async def test_what_a_process_left_behind_is_counted_once(database: Database, settings: Settings, tmp_path) -> None:  # type: ignore[no-untyped-def]
    killed = Counting(database, tmp_path, most=100)
    await killed.start()
    for _ in range(3):
        killed.add(View(now().timestamp(), "", "GET /x", 200, 1, "script", "~1"))
    # It was killed after its transaction, and before it knew.
    assert killed._journal is not None
    await killed._write(*_cut(killed))
    killed.add(View(now().timestamp(), "", "GET /y", 200, 1, "script", "~1"))
    await asyncio.to_thread(killed._journal.close, done=False)
    for _ in range(2):
        heir = Counting(database, tmp_path, most=100)
        await heir.start()
        await heir.close()
    assert await calls(database) == {"GET /x": 3, "GET /y": 1}
    assert list(tmp_path.glob("*.views")) == []


def _cut(counting: Counting):  # type: ignore[no-untyped-def]
    counting._cut()
    return counting._batch, counting._position


async def test_a_day_that_is_over_has_a_number_of_callers_and_no_salt(
    browser: Browser, database: Database, settings: Settings
) -> None:
    yesterday = (now() - timedelta(days=1)).timestamp()
    counting = Counting(database, None, most=100)
    for caller in ("~aa", "~bb", "~bb", "user 7"):
        counting.add(View(yesterday, "", "GET /x", 200, 1, "script", caller))
    await counting.flush()
    async with database.saving() as session:
        session.add(ViewSalt(day=int(yesterday // 86400), salt=b"of yesterday"))
    later = now().replace(hour=12).timestamp()
    for _ in range(2):
        await forget(database, settings[ViewSettings], later)
    async with database.reading() as session:
        assert list(await session.scalars(select(ViewCaller.caller))) == ["user 7"]
        assert list(await session.scalars(select(ViewCrowd.callers))) == [2]
        assert b"of yesterday" not in list(await session.scalars(select(ViewSalt.salt)))


async def test_what_is_old_is_deleted(database: Database, settings: Settings) -> None:
    counting = Counting(database, None, most=100)
    at = now().timestamp()
    for days in (1, 20, 500):
        counting.add(View(at - days * 86400, "", f"GET /{days}", 200, 1, "script", "~aa"))
    await counting.flush()
    await forget(database, settings[ViewSettings], at)
    assert await calls(database) == {"GET /1": 1}
    async with database.reading() as session:
        assert sorted(await session.scalars(select(ViewEndpoint.name))) == ["GET /1", "GET /20"]


async def test_the_page_shows_who_called_what(manager: Browser, database: Database) -> None:
    await manager.look("/manage/views")
    assert "Nothing was called yet" in manager.page
    for _ in range(4):
        await manager.client.get("/rss.xml", headers={"User-Agent": "Feedly/1.0"})
    await manager.client.get("/search.json?q=x", headers={"User-Agent": "curl/8.5"})
    await written(manager, database)
    await manager.look("/manage/views?days=1&sort=-calls")
    page = manager.page
    assert page.index("<code>GET /rss.xml</code>") < page.index("<code>GET /search.json</code>")
    assert "feed readers 4" in page
    # It was called, and this was not.
    assert "<code>POST /publish/</code>" in page[page.index("Unused for") :]
    assert "<code>GET /search.json</code>" not in page[page.index("Unused for") :]
    found = await (await manager.fetch("/manage/views.json?days=7")).json()
    rows = {row["endpoint"]: row for row in found["endpoints"]}
    assert rows["GET /rss.xml"]["calls"] == 4
    assert rows["GET /rss.xml"]["callers"] == 1
    assert rows["GET /rss.xml"]["kinds"]["reader"] == 4
    assert rows["GET /rss.xml"]["p95_ms"] >= rows["GET /rss.xml"]["p50_ms"] > 0
    text = await (await manager.fetch("/manage/views.csv?days=7")).text()
    table = {row["endpoint"]: row for row in csv.DictReader(io.StringIO(text))}
    assert table["GET /rss.xml"]["calls"] == "4"
    number = re.search(r"/manage/views/(\d+)\?days=1", page)
    assert number is not None
    assert (await manager.look(f"/manage/views/{number[1]}")).status == 200
    assert (await manager.look("/manage/views/99999")).status == 404
    assert (await manager.look("/manage/views?days=401")).status == 404
    assert (await manager.look("/manage/views/now")).status == 200


@sqlite
async def test_pages_are_for_managers(browser: Browser) -> None:
    for path in ("/manage/views", "/manage/views/now", "/manage/views.json", "/manage/views.csv", "/manage/views/1"):
        assert (await browser.fetch(path)).status == 401


@sqlite
async def test_an_open_page_is_told_and_no_more(browser: Browser, database: Database) -> None:
    await browser.fetch("/rss.xml", headers={"User-Agent": "curl"})
    await written(browser, database)
    publisher = browser.client.app[keys.publisher]
    told = [each for each in publisher.items if each.channel == "views"]
    assert [each.data for each in told] == [True]


@sqlite
async def test_tables_have_no_column_for_an_address(database: Database) -> None:
    async with database.engine.connect() as connection:
        names = await connection.run_sync(
            lambda plain: {each["name"] for table in TABLES for each in inspect(plain).get_columns(table.__tablename__)}
        )
    assert not names & {"address", "ip", "path", "query", "url", "agent", "user_agent"}


@sqlite
async def test_metrics_say_what_became_of_views(browser: Browser, database: Database) -> None:
    from web.features.views.metrics import metrics_of

    await browser.client.get("/rss.xml")
    await written(browser, database)
    found = {sample.name: sample for metric in await metrics_of(browser.client.app) for sample in metric.samples}
    assert found["site_views_waiting"].value == 0
    assert views_of(browser).counting.counts["written"] == 1


@sqlite
async def test_a_bug_in_counting_is_nobodys_error(
    browser: Browser, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(view: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(views_of(browser).counting, "add", broken)
    assert (await browser.client.get("/rss.xml")).status == 200
    assert "view not counted" in caplog.text
    assert views_of(browser).counting.counts["dropped"] == 1


@sqlite
async def test_a_title_has_a_page_counted_whoever_asks(database: Database, settings: Settings) -> None:
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer

    from hub.publisher import RecordingPublisher
    from web.app import create_app
    from web.feature import Feature, allow
    from web.features.views.service import track_pageview, views
    from web.identity.roles import Permission

    async def songs(request: web.Request) -> web.Response:
        track_pageview(request, title="All songs")
        return web.Response(text=PAGE, content_type="text/html")

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await asyncio.sleep(60)
        return response

    async def broken(request: web.Request) -> web.Response:
        await asyncio.sleep(0.01)
        raise RuntimeError

    routes = [web.get("/songs", songs), web.get("/stream", stream), web.get("/broken", broken)]
    feature = Feature(name="songs", routes=allow(Permission.READ, *routes))
    chosen = Settings((*(each for each in settings.features if each.name == "views"), feature), settings.values)
    app = create_app(chosen, RecordingPublisher(), database=database)
    async with TestClient(TestServer(app)) as client:
        told = []
        app[views].senders.append(type("Sender", (), {"add": staticmethod(told.append)}))
        await client.get("/songs", headers={"User-Agent": CHROME, "Accept": "text/html"})
        # Who listens leaves, and is counted from when it came.
        async with client.get("/stream", headers={"User-Agent": CHROME}) as response:
            assert await response.content.readline() == b"data: 1\n"
        assert await app[views].counting.flush()
        assert await calls(database) == {"GET /songs": 1, "GET /stream": 1}
        # The page alone says how long it took.
        assert await timed(database) == 1
        assert (await client.get("/broken", headers={"User-Agent": "curl/8.5"})).status == 500
        assert await app[views].counting.flush()
        assert await calls(database, status=500) == {"GET /broken": 1}
        assert await timed(database) == 2
        assert [(each.title, each.endpoint) for each in told if each.title] == [("All songs", "GET /songs")]
        app[views].senders.clear()


def test_half_of_googles_settings_stops_the_start(settings: Settings) -> None:
    from hub.errors import SettingsError
    from web.features.views.service import targets_of

    with pytest.raises(SettingsError, match="VIEWS_GA4_SECRET"):
        targets_of(settings.with_(ViewSettings, ga4="G-ABCD1234"))
