"""The feed of what is subscribed to, as pubcontrol's `require_subscribers` reads it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from aiohttp import ClientSession
from listening import KEY, REALM, serving

from hub.hearing import Own, Run
from hub.protocol import tokens
from hub.sessions.registry import Registry
from hub.sessions.session import Session


def bearer() -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.sign(REALM, KEY, time.time())}"}


async def items(http: ClientSession, url: str, since: str | None = None) -> Any:
    query = {} if since is None else {"since": f"cursor:{since}"}
    async with http.get(f"{url}/realm/{REALM}/subscriptions/items/", params=query, headers=bearer()) as response:
        return await response.json() if response.status == 200 else response.status


async def test_items_are_all_names_at_first_and_changes_after_a_cursor() -> None:
    async with serving() as (url, _), ClientSession() as http:
        first = await http.ws_connect(f"{url}/ws?channel=a&channel=b/*")
        await first.receive_json()
        told = await items(http, url)
        assert told["items"] == [{"channel": "a", "state": "subscribed"}]
        assert (await items(http, url, told["last_cursor"]))["items"] == []
        second = await http.ws_connect(f"{url}/ws?channel=a&channel=c")
        await second.receive_json()
        await second.send_json({"unsubscribe": ["c"]})
        await second.receive_json()
        changed = await items(http, url, told["last_cursor"])
        assert [(item["channel"], item["state"]) for item in changed["items"]] == [
            ("c", "subscribed"),
            ("c", "unsubscribed"),
        ]
        await first.close()
        await second.close()


@pytest.mark.parametrize("cursor", ["", "x", "!!!", "YV8x", "X18=", "ZXBvY2hfOTk5OTk="])
async def test_unknown_cursor_is_404(cursor: str) -> None:
    async with serving() as (url, _), ClientSession() as http:
        assert await items(http, url, cursor) == 404


async def test_stream_says_what_changes_with_the_place_before_it() -> None:
    async with serving() as (url, _), ClientSession() as http:
        async with http.get(f"{url}/subscriptions/stream", headers=bearer()) as stream:
            assert await stream.content.readline() == b"\n"
            told = await items(http, url)
            async with http.ws_connect(f"{url}/ws?channel=a") as socket:
                await socket.receive_json()
                line = json.loads(await stream.content.readline())
                assert line["item"] == {"channel": "a", "state": "subscribed"}
                assert line["prev_cursor"] == told["last_cursor"]
            after = json.loads(await stream.content.readline())
            assert after["item"] == {"channel": "a", "state": "unsubscribed"}
            assert after["prev_cursor"] == line["cursor"]


async def test_shutdown_ends_a_stream() -> None:
    async with ClientSession() as http:
        async with serving(drain_timeout=20.0) as (url, _):
            stream = await http.get(f"{url}/subscriptions/stream/", headers=bearer())
            assert await stream.content.readline() == b"\n"
            began = time.monotonic()
        assert await stream.content.read() == b""
        assert time.monotonic() - began < 15


async def test_only_who_holds_the_key_is_told() -> None:
    async with serving() as (url, _), ClientSession() as http:
        for path in ("items/", "stream/"):
            async with http.get(f"{url}/subscriptions/{path}") as response:
                assert response.status == 401
            async with http.get(f"{url}/realm/other/subscriptions/{path}", headers=bearer()) as response:
                assert response.status == 403


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.hearing.MAX_CHANGES", 3)
    registry = Registry()
    changes, session = Own(registry), Session("client1", 0.0)
    registry.subscribe(session, "/before")
    assert changes.place == (0, 0), "nothing is kept before somebody reads"
    await changes.begin()
    for number in range(5):
        registry.subscribe(session, f"/{number}")
    assert changes.after((5, 0)) == []
    assert changes.after((2, 0)) == [
        Run((2, 0), 3, 0, ["/2"], heard=True),
        Run((3, 0), 4, 0, ["/3"], heard=True),
        Run((4, 0), 5, 0, ["/4"], heard=True),
    ]
    assert changes.after((1, 0)) is None
    assert changes.after((6, 0)) is None


async def test_names_that_come_together_are_one_run_that_a_reader_may_have_part_of() -> None:
    registry = Registry()
    changes, session = Own(registry), Session("client1", 0.0)
    await changes.begin()
    registry.subscribe_all(session, ["/a", "/b/*", "/b", "/c"])
    assert changes.after((0, 0)) == [Run((0, 0), 1, 0, ["/a", "/b", "/c"], heard=True)]
    assert changes.after((1, 0)) == [Run((1, 0), 1, 1, ["/b", "/c"], heard=True)]
    registry.add(session)
    registry.end(session)
    gone = Run((1, 2), 2, 0, ["/a", "/b", "/c"], heard=False)
    assert changes.after((1, 1)) == [Run((1, 1), 1, 2, ["/c"], heard=True), gone]
    assert changes.after((1, 2)) == [gone]
    assert changes.after((2, 2)) == []


async def test_run_that_is_longer_than_what_is_remembered_is_forgotten_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub.hearing.MAX_CHANGES", 3)
    registry = Registry()
    changes, session = Own(registry), Session("client1", 0.0)
    await changes.begin()
    registry.subscribe_all(session, ["/a", "/b", "/c", "/d"])
    assert changes.after((0, 0)) is None
    assert changes.place == (1, 3)
    assert changes.after(changes.place) == []
