"""POST /views: other servers' views, each with an honest receipt."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest
from viewing import callers, calls
from visiting import Browser

from web.db.database import Database
from web.features.views import sources
from web.features.views.kinds import Kinds
from web.features.views.receipts import judge
from web.features.views.settings import ViewSettings
from web.settings import Settings

sqlite = pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)
GOOD = {"endpoint": "GET /api/songs/{id}", "status": 200, "ms": 12.5, "agent": "curl/8.5", "caller": "203.0.113.7"}


@pytest.fixture
async def key(database: Database) -> str:
    return await sources.make(database, "shop")


async def send(browser: Browser, key: str, *events: Any, **headers: str) -> tuple[int, Any]:
    given = {"Authorization": f"Bearer {key}"} | headers
    response = await browser.client.post("/views", json={"events": list(events)}, headers=given)
    return response.status, await response.json()


async def test_each_event_gets_a_receipt(browser: Browser, database: Database, key: str) -> None:
    bad = {"endpoint": "https://shop.example/?token=x"}
    status, answer = await send(browser, key, GOOD | {"id": "a"}, bad, GOOD | {"id": "a"}, GOOD)
    assert status == 200
    assert (answer["counted"], answer["ignored"]) == (2, 2)
    first, second, third, fourth = answer["receipts"]
    assert first == {"result": "counted", "id": "a"}
    assert second["why"].startswith("endpoint: is a method and a route")
    assert third == {"result": "ignored", "why": "counted before: its id is known", "id": "a"}
    assert fourth == {"result": "counted"}
    assert await calls(database, source="shop") == {"GET /api/songs/{id}": 2}
    assert all(re.fullmatch("~[0-9a-f]{16}", caller) for caller in await callers(database))


async def test_what_is_sent_again_is_counted_once(browser: Browser, database: Database, key: str) -> None:
    events = [GOOD | {"id": str(number)} for number in range(50)]
    answers = await asyncio.gather(*(send(browser, key, *events) for _ in range(4)))
    assert [status for status, _ in answers] == [200] * 4
    assert sum(answer["counted"] for _, answer in answers) == 50
    assert await calls(database) == {"GET /api/songs/{id}": 50}


@sqlite
async def test_without_a_key_nothing_is_counted(browser: Browser, database: Database, key: str) -> None:
    for given in ("", "views_nonsense", key + "x", "x" * 500):
        status, answer = await send(browser, given, GOOD)
        assert status == 401
        assert "Authorization: Bearer" in answer["next"]
    assert await calls(database) == {}


@sqlite
async def test_a_key_is_kept_as_its_hash_and_shown_once(manager: Browser, database: Database) -> None:
    await manager.look("/manage/views")
    await manager.submit("/manage/views/keys", {"name": "shop"})
    found = re.search(r"<code>(views_\S+)</code>", manager.page)
    assert found is not None
    await manager.look("/manage/views")
    assert found[1] not in manager.page
    assert (await send(manager, found[1], GOOD))[0] == 200
    await manager.submit("/manage/views/keys", {"name": "Shop!"})
    assert "small letters" in manager.page
    await manager.submit("/manage/views/keys", {"name": "shop"})
    assert "There is a source shop already" in manager.page
    assert (await manager.submit("/manage/views/keys/1/remove", {})).status == 303
    assert (await send(manager, found[1], GOOD))[0] == 401


@sqlite
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b'{"events": []}', {}, 400),
        (b'{"events": {}}', {}, 400),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"Content-Encoding": "gzip"}, 415),
        (b'{"events": [' + b"1," * 600 + b"1]}", {}, 413),
        (b" " * 300_000, {}, 413),
    ],
)
async def test_what_can_not_be_read_is_refused_with_what_to_do(
    browser: Browser, key: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    given = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"} | headers
    response = await browser.client.post("/views", data=body, headers=given)
    assert response.status == status
    assert (await response.json())["next"]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.with_(ViewSettings, endpoints=3, rate=30)


@sqlite
async def test_a_source_has_so_many_endpoints(browser: Browser, database: Database, key: str) -> None:
    _, answer = await send(browser, key, *({"endpoint": f"GET /songs/{number}"} for number in range(5)))
    assert [receipt["result"] for receipt in answer["receipts"]] == ["counted"] * 3 + ["ignored"] * 2
    assert "name routes, not addresses" in answer["receipts"][4]["why"]
    _, answer = await send(browser, key, {"endpoint": "GET /songs/1"}, {"endpoint": "GET /songs/9"})
    assert [receipt["result"] for receipt in answer["receipts"]] == ["counted", "ignored"]


@sqlite
async def test_a_key_has_its_rate(browser: Browser, key: str) -> None:
    found = [(await send(browser, key, GOOD))[0] for _ in range(32)]
    assert found == [200] * 30 + [429] * 2


BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"endpoint": "GET songs"}, "endpoint"),
    ({"endpoint": "GET /songs?x=1"}, "endpoint"),
    ({"endpoint": "BREW /songs"}, "endpoint"),
    ({"endpoint": "GET /" + "x" * 300}, "endpoint"),
    ({"endpoint": None}, "endpoint"),
    ({"status": 99}, "status"),
    ({"status": True}, "status"),
    ({"status": "200"}, "status"),
    ({"ms": -1}, "ms"),
    ({"ms": 1e9}, "ms"),
    ({"at": 5}, "at"),
    ({"at": time.time() + 4000}, "at"),
    ({"at": float("nan")}, "at"),
    ({"agent": 5}, "agent"),
    ({"caller": "x" * 301}, "agent and caller"),
    ({"kind": "human"}, "kind"),
    ({"kind": []}, "kind"),
    ({"quiet": 1}, "quiet"),
    ({"id": ""}, "id"),
    ({"id": 5}, "id"),
    ({"url": "/x"}, "url: is no field"),
)


@pytest.mark.parametrize(("more", "words"), BAD)
def test_bad_events_are_told_why(more: dict[str, Any], words: str) -> None:
    found = judge(GOOD | more, source="shop", now=time.time(), salts={}, kinds=Kinds())
    assert found.view is None
    assert found.why.startswith(words)


def test_who_is_quiet_has_no_caller_and_a_day_without_salt_neither() -> None:
    at = time.time()
    salts = {int(at // 86400): b"salt"}

    def caller(**more: Any) -> str:
        found = judge(GOOD | more, source="shop", now=at, salts=salts, kinds=Kinds())
        assert found.view is not None
        return found.view.caller

    assert caller().startswith("~")
    assert caller(quiet=True) == caller(at=at - 2 * 86400) == ""


def test_a_key_of_bytes_that_are_no_text_is_no_key() -> None:
    """A header may have them (aiohttp keeps each as half a surrogate pair); they were answered with 500."""
    assert sources.hash_of("views_\udcff") != sources.hash_of("views_")
