"""Server-Timing says what an answer took of the database: in development, or where it is asked for."""

from __future__ import annotations

import re

import pytest
from aiohttp.test_utils import TestClient, TestServer
from visiting import Browser, Calendar

from hub.publisher import RecordingPublisher
from web.app import create_app, read_settings
from web.commands import with_timing
from web.db.counting import Tally
from web.db.database import Database
from web.middleware.timing import HEADER, words
from web.pages.settings import PageSettings
from web.settings import Settings

_FORM = re.compile(r'db;dur=(\d+\.\d\d);desc="(\d+) quer(?:y|ies), (\d+) rows?", total;dur=(\d+\.\d\d)')


def test_words_are_a_server_timing() -> None:
    assert words(Tally(2, 30, 0.0015), 0.01) == 'db;dur=1.50;desc="2 queries, 30 rows", total;dur=10.00'
    assert words(Tally(1, 1, 0.001), 0.002) == 'db;dur=1.00;desc="1 query, 1 row", total;dur=2.00'


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.with_(PageSettings, server_timing=True, keeps=False)


@pytest.mark.usefixtures("concert")
async def test_page_says_what_it_asked(browser: Browser) -> None:
    response = await browser.look("/events")
    found = _FORM.fullmatch(response.headers[HEADER])
    assert found is not None
    database, queries, rows, total = float(found[1]), int(found[2]), int(found[3]), float(found[4])
    assert 1 <= queries < 12
    assert rows >= 1
    assert 0 < database <= total


async def test_more_rows_are_counted(browser: Browser, calendar: Calendar) -> None:
    music = await calendar.category("Music")
    counts = []
    for number in range(3):
        await calendar.event(f"Event {number}", music)
        found = _FORM.fullmatch((await browser.look("/events")).headers[HEADER])
        assert found is not None
        counts.append((int(found[2]), int(found[3])))
    assert len({queries for queries, _ in counts}) == 1
    assert counts[0][1] < counts[1][1] < counts[2][1]


async def test_refusals_and_files_say_it_too(browser: Browser) -> None:
    assert (await browser.look("/events/nothing")).status == 404
    assert HEADER in (await browser.look("/events/nothing")).headers


async def test_nothing_is_said_unless_it_is_asked_for(
    settings: Settings, publisher: RecordingPublisher, database: Database
) -> None:
    for chosen in (None, False):
        app = create_app(settings.with_(PageSettings, server_timing=chosen), publisher, database=database)
        async with TestClient(TestServer(app)) as client:
            assert HEADER not in (await client.get("/events")).headers


async def test_page_that_is_given_again_asked_nothing(
    settings: Settings, publisher: RecordingPublisher, database: Database, heard: object
) -> None:
    kept = settings.with_(PageSettings, keeps=True)
    app = create_app(kept, publisher, database=database, tops=heard)  # type: ignore[arg-type]  # a fake
    async with TestClient(TestServer(app)) as client:
        first = (await client.get("/events", headers={"Accept": "text/html"})).headers[HEADER]
        again = (await client.get("/events", headers={"Accept": "text/html"})).headers[HEADER]
    assert '"0 queries, 0 rows"' not in first
    assert '"0 queries, 0 rows"' in again


@pytest.mark.parametrize(
    ("environ", "development", "answer"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"SITE_URL": "https://fanfare.example"}, True, False),
        ({"SITE_SERVER_TIMING": "false"}, True, False),
        ({"SITE_SERVER_TIMING": "true", "SITE_URL": "https://fanfare.example"}, False, True),
    ],
)
def test_it_is_for_development_unless_it_is_set(environ: dict[str, str], development: bool, answer: bool) -> None:
    found = with_timing(read_settings(environ), development=development)
    assert found[PageSettings].server_timing is answer
