"""/lab/redis and what is below it, with a real Redis and the process that measures."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis.asyncio
from aiohttp.test_utils import TestClient, TestServer
from visiting import Browser

from hub.publisher import RecordingPublisher
from web.app import create_app
from web.db.database import Database
from web.features.redislab import records, service
from web.features.redislab.settings import RedisLabSettings
from web.settings import Settings


async def counted(url: str) -> Counter[str]:
    async with redis.asyncio.Redis.from_url(url) as client:
        return Counter({field.decode(): int(count) for field, count in (await client.hgetall(records.COUNTS)).items()})


async def test_random_measures_once_and_answers_in_milliseconds(browser: Browser, redis_url: str) -> None:
    answer = await browser.fetch("/lab/redis/random")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    found = await answer.json()
    assert set(found) == {"name", "payload", "read_ms", "write_ms", "bytes"}
    assert 0 < found["read_ms"] < 1000
    assert await counted(redis_url) == {f"times:{found['name']}": 1}


async def test_named_configuration_measures_its_payload(browser: Browser, redis_url: str) -> None:
    for _ in range(3):
        found = await (await browser.fetch("/lab/redis/msgpack-zstd-python?payload=html")).json()
    assert (found["name"], found["payload"]) == ("msgpack-zstd-python", "html")
    assert 1000 < found["bytes"] < 12_000
    assert await counted(redis_url) == {"html:msgpack-zstd-python": 3}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/lab/redis/jsno", "There is no configuration"),
        ("/lab/redis/json?payload=x", "There is no such payload; there are times, rows"),
        ("/lab/redis/json?payload=keys", "fanfare lab redis --keys PATTERN"),
        ("/lab/redis?line=fast", "A line has from 0 to 1000000 megabits"),
        ("/lab/redis?line=9999999", "A line has from"),
        ("/lab/redis/summary?part=x", "part is read or write"),
        ("/lab/redis/xx/random", ""),
        ("/xx/lab/redis/random", ""),
    ],
)
async def test_what_is_not_there_is_404_with_what_is(browser: Browser, path: str, words: str) -> None:
    answer = await browser.fetch(path)
    assert answer.status == 404
    assert words in await answer.text()


async def test_measurements_equal_requests(browser: Browser, redis_url: str) -> None:
    """Ten connections at a time; the post's lost a third."""

    async def ask(count: int) -> int:
        return sum([(await browser.fetch("/lab/redis/random")).status == 200 for _ in range(count)])

    answered = sum(await asyncio.gather(*(ask(20) for _ in range(10))))
    assert answered == 200
    assert (await counted(redis_url)).total() == 200


async def test_summary_is_the_text_table(browser: Browser) -> None:
    for _ in range(12):
        await browser.fetch("/lab/redis/json")
    await browser.fetch("/lab/redis/msgpack")
    answer = await browser.fetch("/lab/redis/summary")
    assert answer.content_type == "text/plain"
    lines = (await answer.text()).splitlines()
    line = next(line for line in lines if line.startswith("json "))
    # The first ten are dropped.
    assert line.split()[1] == "2"
    assert "Nothing for msgpack" in lines
    assert "Best Averages (shorter better)" in lines
    written = await (await browser.fetch("/lab/redis/summary?part=write")).text()
    assert written.splitlines()[0] == lines[0]


async def test_empty_summary_is_no_error(browser: Browser) -> None:
    answer = await browser.fetch("/lab/redis/summary")
    assert answer.status == 200
    assert "Nothing for json\n" in await answer.text()


async def test_page_shows_winners_charts_and_the_table(browser: Browser) -> None:
    for name in ("json", "msgpack-zlib", "pickle", "bytes"):
        for _ in range(14):
            await browser.fetch(f"/lab/redis/{name}?payload=rows")
    assert (await browser.look("/lab/redis?payload=rows&line=100")).status == 200
    page = browser.page
    assert page.count("Nothing was measured yet.") == 4
    assert page.count('<figure class="chart') == 4
    assert "Nothing for pickle-python, pickle-zlib, " in page
    assert 'data-follow="lab-redis-times lab-redis-rows ' in page
    assert "56 measurements by all processes" in page
    # The page itself has asked the cache for the figures of five payloads.
    assert '<th scope="row">Made</th><td class="number">5</td>' in page
    assert "<strong>json</strong>" in page or "<strong>msgpack-zlib</strong>" in page


async def test_page_is_kept_and_falls_with_the_hint(
    browser: Browser, publisher: RecordingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "TELL_SECONDS", 0.05)
    await browser.look("/lab/redis")
    assert (await browser.look("/lab/redis")).headers["Cache-Status"] == "fanfare; hit"
    for _ in range(12):
        await browser.fetch("/lab/redis/json")
    async with asyncio.timeout(5):
        while ("lab-redis-times", True) not in publisher.published:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    assert (await browser.look("/lab/redis")).headers["Cache-Status"].startswith("fanfare; fwd=miss")
    assert "12 measurements by all processes" in browser.page
    # Twelve measurements were not twelve words.
    assert publisher.published.count(("lab-redis-times", True)) < 12


async def test_without_redis_the_page_says_how_to_start_one(
    settings: Settings, publisher: RecordingPublisher, database: Database
) -> None:
    app = create_app(settings.with_(RedisLabSettings, redis_url=None), publisher, database=database)
    async with TestClient(TestServer(app)) as client:
        browser = Browser(client)
        assert (await browser.look("/lab/redis")).status == 200
        assert "start redis-server, and the site with REDIS_URL=" in browser.page
        answer = await browser.fetch("/lab/redis/random")
        assert answer.status == 503
        assert "REDIS_URL=redis://localhost:6379/0" in (await answer.json())["error"]
        assert (await browser.fetch("/lab/redis/summary")).status == 503


async def test_redis_that_goes_away_is_said_and_comes_back(
    settings: Settings, publisher: RecordingPublisher, database: Database, new_redis: Any
) -> None:
    server = new_redis()
    app = create_app(settings.with_(RedisLabSettings, redis_url=server.url), publisher, database=database)
    async with TestClient(TestServer(app)) as client:
        browser = Browser(client)
        assert (await browser.fetch("/lab/redis/json")).status == 200
        server.kill()
        for path in ("/lab/redis/json", "/lab/redis/summary"):
            answer = await browser.fetch(path)
            assert (answer.status, "Redis" in await answer.text()) == (503, True)
        assert (await browser.look("/lab/redis")).status == 200
        assert "is shown again once it answers" in browser.page
        server.start()
        assert (await browser.fetch("/lab/redis/json")).status == 200
        await browser.look("/lab/redis")
        assert "1 measurements by all processes" in browser.page


async def test_process_that_is_killed_is_started_again(browser: Browser) -> None:
    assert (await browser.fetch("/lab/redis/json")).status == 200
    here = browser.client.app[service.lab] if browser.client.app else None  # type: ignore[attr-defined]
    assert here is not None
    assert here._worker is not None
    here._worker.process.kill()
    await here._worker.process.wait()
    assert (await browser.fetch("/lab/redis/json")).status == 200
    assert here.counts["started"] == 2


@pytest.mark.parametrize(
    ("given", "is_open"),
    [
        ({}, True),
        ({"HOST": "0.0.0.0"}, False),
        ({"SITE_URL": "https://site.example"}, False),
        ({"HOST": "0.0.0.0", "SITE_LAB_REDIS": "true"}, True),
        ({"SITE_LAB_REDIS": "false"}, False),
    ],
)
def test_everybody_may_measure_in_development(given: dict[str, str], is_open: bool) -> None:
    from hub.settings import read

    assert read(RedisLabSettings, given).is_open is is_open


async def test_closed_laboratory_says_which_setting_opens_it(
    settings: Settings, publisher: RecordingPublisher, database: Database
) -> None:
    app = create_app(settings.with_(RedisLabSettings, open="false"), publisher, database=database)
    async with TestClient(TestServer(app)) as client:
        browser = Browser(client)
        answer = await browser.fetch("/lab/redis/random")
        assert answer.status == 403
        assert "set SITE_LAB_REDIS=true" in await answer.text()
        assert (await browser.look("/lab/redis")).status == 200
        assert "here nobody may" in browser.page


async def test_more_than_the_rate_is_told_to_come_again(
    settings: Settings, publisher: RecordingPublisher, database: Database
) -> None:
    app = create_app(settings.with_(RedisLabSettings, rate=3), publisher, database=database)
    async with TestClient(TestServer(app)) as client:
        browser = Browser(client)
        answers = [await browser.fetch("/lab/redis/json") for _ in range(9)]
        refused = next(answer for answer in answers if answer.status == 429)
        assert int(refused.headers["Retry-After"]) >= 1
        assert "come again in" in (await refused.json())["error"]
        assert answers[0].status == 200


async def test_more_than_may_wait_is_refused_and_what_waits_is_answered(
    settings: Settings, publisher: RecordingPublisher, database: Database
) -> None:
    app = create_app(settings.with_(RedisLabSettings, waiting=4), publisher, database=database)
    async with TestClient(TestServer(app)) as client:
        browser = Browser(client)
        answers = await asyncio.gather(*(browser.fetch("/lab/redis/msgpack-lzma") for _ in range(30)))
        statuses = Counter(answer.status for answer in answers)
        assert set(statuses) <= {200, 503}
        assert statuses[200] >= 4
        assert all(answer.headers["Retry-After"] == "1" for answer in answers if answer.status == 503)
        assert (await browser.fetch("/lab/redis/json")).status == 200


async def test_process_that_is_stuck_is_ended_and_the_next_one_measures(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await browser.fetch("/lab/redis/json")).status == 200
    here = browser.client.app[service.lab] if browser.client.app else None  # type: ignore[attr-defined]
    assert here is not None
    assert here._worker is not None
    here._worker.process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(service, "PATIENCE", 0.3)
    answer = await browser.fetch("/lab/redis/json")
    assert answer.status == 503
    assert "ask again" in (await answer.json())["error"]
    monkeypatch.setattr(service, "PATIENCE", 60.0)
    async with asyncio.timeout(30):
        while (await browser.fetch("/lab/redis/json")).status != 200:
            await asyncio.sleep(0.05)


async def test_only_who_may_run_labs_forgets(
    manager: Browser, new_browser: Callable[[], Awaitable[Browser]], redis_url: str
) -> None:
    await manager.fetch("/lab/redis/json")
    stranger = await new_browser()
    await stranger.look("/lab/redis")
    assert "Forget all measurements" not in stranger.page
    assert (await stranger.send("/lab/redis/reset", {})).status in (401, 403)
    await manager.look("/lab/redis")
    assert (await manager.submit("/lab/redis/reset", {})).status == 303
    assert await counted(redis_url) == {}
    answer = await manager.fetch("/lab/redis/summary")
    assert "Nothing for json\n" in await answer.text()


async def test_figures_are_those_of_what_is_kept(browser: Browser, redis_url: str) -> None:
    for _ in range(30):
        await browser.fetch("/lab/redis/orjson")
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        kept = [records.unpack(each) for each in await client.lrange(records.list_of("times", "orjson"), 0, -1)]
    reads = [each.read / 1e6 for each in kept if each][10:]
    text = await (await browser.fetch("/lab/redis/summary")).text()
    line = next(line for line in text.splitlines() if line.startswith("orjson "))
    assert line.split()[1:3] == ["20", f"{sum(reads) / len(reads):.3f}ms"]
