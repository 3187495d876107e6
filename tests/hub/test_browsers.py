"""Several tabs of one browser: the cookie BAYEUX_BROWSER and the advice `multiple-clients`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar
from listening import serving

from hub.bayeux.connecting import MAX_BROWSERS
from hub.transports.browsers import browser_of


class Tab:
    """A page's session; its browser is the HTTP client with its cookies. script: it polls by JSONP."""

    def __init__(self, url: str, http: ClientSession, *, script: bool = False, mount: str = "/bayeux") -> None:
        self.url = url + mount
        self.http = http
        self.script = script
        self.cookie: str | None = None
        self.id = ""

    async def say(self, message: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
        batch = [{"clientId": self.id} | message]
        if self.script:
            query = {"message": json.dumps(batch), "jsonp": "f"}
            async with self.http.get(self.url, params=query, headers=headers) as response:
                self.cookie = response.headers.get("Set-Cookie")
                return list(json.loads((await response.text())[6:-2]))
        async with self.http.post(self.url, json=batch, headers=headers) as response:
            self.cookie = response.headers.get("Set-Cookie")
            return list(await response.json())

    async def start(self, **headers: str) -> None:
        shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}
        self.id = (await self.say(shake, **headers))[0]["clientId"]
        await self.say({"channel": "/meta/subscribe", "subscription": "/a"}, **headers)
        await self.connect(**headers)

    async def connect(self, **headers: str) -> list[dict[str, Any]]:
        return await self.say({"channel": "/meta/connect", "connectionType": "long-polling"}, **headers)


def browser() -> ClientSession:
    return ClientSession(cookie_jar=CookieJar(unsafe=True))


@pytest.mark.parametrize("script", [False, True])
async def test_tab_that_is_one_too_many_polls_every_two_seconds(script: bool) -> None:
    async with serving(browser_polls=1, connect_timeout=20.0) as (url, hub), browser() as http, browser() as other:
        first, second, third = (Tab(url, each, script=script) for each in (http, http, other))
        for tab in (first, second, third):
            await tab.start()
        held = asyncio.create_task(first.connect())
        session = hub.node.registry.get(first.id)
        assert session is not None
        while session.hold is None:
            await asyncio.sleep(0.01)
        (reply,) = await second.connect()
        assert reply["successful"]
        assert reply["advice"] == {"reconnect": "retry", "interval": 2000, "timeout": 20000, "multiple-clients": True}
        elsewhere = asyncio.create_task(third.connect())
        await hub.publisher.publish("a", 1)
        for answer in (await held, await elsewhere, await second.connect()):
            assert [message["data"] for message in answer if "data" in message] == [1], "nobody misses anything"
            assert "multiple-clients" not in answer[-1]["advice"]
        again = asyncio.create_task(second.connect())
        session = hub.node.registry.get(second.id)
        assert session is not None
        while session.hold is None:
            await asyncio.sleep(0.01)
        assert (await first.connect())[0]["advice"]["multiple-clients"], "now the other is one too many"
        again.cancel()


async def test_cookie_is_set_once_for_the_mount_and_pages_can_not_read_it() -> None:
    async with serving(browser_polls=1) as (url, hub), browser() as http:
        tab = Tab(url, http)
        shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}
        await tab.say(shake)
        assert tab.cookie is not None
        assert tab.cookie.partition(";")[2] == " Path=/bayeux; HttpOnly; SameSite=Lax"
        await tab.say(shake)
        assert tab.cookie is None
        assert hub.desk is not None
        assert hub.desk.requests == 2, "polls need no framework for it"


async def test_no_cookie_is_set_where_nobody_asked_for_it() -> None:
    async with serving() as (url, _), browser() as http:
        tab = Tab(url, http)
        await tab.start()
        assert tab.cookie is None
        assert not list(http.cookie_jar)


async def test_page_of_another_origin_is_not_counted() -> None:
    async with serving(browser_polls=1, origins=("https://other.example",)) as (url, _), browser() as http:
        tab = Tab(url, http)
        await tab.start(Origin="https://other.example")
        assert not list(http.cookie_jar)


async def test_browsers_are_bounded_and_their_names_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.bayeux.connecting.MAX_BROWSERS", 3)
    async with serving(browser_polls=1, connect_timeout=0.05) as (url, hub), ClientSession() as http:
        for number in range(6):
            tab = Tab(url, http)
            await tab.start(Cookie=f"BAYEUX_BROWSER={number:032x}")
            await tab.connect(Cookie=f"BAYEUX_BROWSER={number:032x}")
        assert len(hub.node.bayeux.connecting.browsers) == 3
    assert MAX_BROWSERS <= 10_000


@pytest.mark.parametrize(
    ("cookie", "known"),
    [
        ("BAYEUX_BROWSER=" + "a" * 32, True),
        ("x=1; BAYEUX_BROWSER=" + "0" * 32 + "; y=2", True),
        ("BAYEUX_BROWSER=" + "a" * 33, False),
        ("BAYEUX_BROWSER=__proto__", False),
        ("NOT_BAYEUX_BROWSER=" + "a" * 32, False),
        (None, False),
    ],
)
def test_cookie_is_read_if_it_is_one_of_ours(cookie: str | None, known: bool) -> None:
    browser, made = browser_of(cookie, None, "h", "/bayeux")
    assert (made == "") is known
    assert len(browser) == 32


@pytest.mark.parametrize(
    ("path", "mount"),
    [("/bayeux", "/bayeux"), ("/bayeux/connect", "/bayeux"), ("/r/team/bayeux/x", "/r/team/bayeux"), ("/x", "/")],
)
def test_cookie_is_for_the_mount_it_came_by(path: str, mount: str) -> None:
    assert f"; Path={mount};" in browser_of(None, "http://H:1", "h:1", path)[1]
