"""Feeds that tell us themselves: a hub that is asked, answers, pushes, lies."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from feeding import feed
from serving import Podcasts, Publisher
from visiting import Browser
from yarl import URL

from web.features.podcasts import push
from web.features.podcasts.schedule import DAY
from web.features.podcasts.settings import PodcastSettings
from web.pages import keys
from web.pages.settings import PageSettings

pytestmark = pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)

TOPIC = "http://a.example/feed"


@dataclass
class Asked:
    """A job as its handler sees it."""

    app: Any
    data: int


async def subscribed(podcasts: Podcasts, server: Publisher, site: str) -> tuple[int, dict[str, str]]:
    """A podcast whose feed names the server as its hub, and what the hub was asked."""
    asked: dict[str, str] = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/hub":
            asked.update({name: str(value) for name, value in (await request.post()).items()})
            return web.Response(status=202)
        hub = str(URL(server.url).with_path("/hub"))
        links = "".join(
            f'<a:link xmlns:a="http://www.w3.org/2005/Atom" rel="{rel}" href="{href}"/>'
            for rel, href in (("hub", hub), ("self", TOPIC))
        )
        return web.Response(body=feed(more=links))

    server.handler = answer
    podcasts.app[keys.settings] = {PodcastSettings: PodcastSettings(), PageSettings: PageSettings(url=site)}
    id = await podcasts.add(server.url)
    await podcasts.fetch(id)
    await push._subscribe(Asked(podcasts.app, id))  # type: ignore[arg-type]  # all that the handler looks at
    return id, asked


async def test_a_hub_that_a_feed_names_is_asked_answers_and_pushes(
    podcasts: Podcasts, server: Publisher, browser: Browser
) -> None:
    id, asked = await subscribed(podcasts, server, "http://site.example")
    assert (asked["hub.mode"], asked["hub.topic"]) == ("subscribe", TOPIC)
    path = asked["hub.callback"].removeprefix("http://site.example")
    challenge = {"hub.mode": "subscribe", "hub.topic": TOPIC, "hub.challenge": "echo me", "hub.lease_seconds": "864000"}
    wrong = await browser.client.get(path, params=challenge | {"hub.topic": "http://other.example/"})
    assert wrong.status == 404
    answer = await browser.client.get(path, params=challenge)
    assert (answer.status, await answer.text()) == (200, "echo me")
    state = await podcasts.feed(id)
    assert state.pushed_until - time.time() == pytest.approx(10 * DAY, abs=60)
    # Pushed feeds are asked weekly besides.
    await podcasts.fetch(id, whole=True)
    state = await podcasts.feed(id)
    assert state.next is not None
    assert state.next - time.time() == pytest.approx(7 * DAY, abs=60)
    body = b"<rss/>"
    for secret, due in (("guessed", False), (asked["hub.secret"], True)):
        signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        answer = await browser.client.post(path, data=body, headers={"X-Hub-Signature": signature})
        assert answer.status == 202
        next = (await podcasts.feed(id)).next
        assert next is not None
        assert (next <= time.time()) is due
    denied = await browser.client.get(path, params={"hub.mode": "denied", "hub.topic": TOPIC})
    assert denied.status == 200
    assert (await podcasts.feed(id)).pushed_until == 0


async def test_an_address_that_nobody_was_told_is_none(podcasts: Podcasts, server: Publisher, browser: Browser) -> None:
    id, _ = await subscribed(podcasts, server, "http://site.example")
    for path in (f"/podcasts/push/{id}/{'0' * 32}", f"/podcasts/push/{id}/%C3%A9", "/podcasts/push/99/x"):
        assert (await browser.client.get(path, params={"hub.mode": "subscribe"})).status == 404
        assert (await browser.client.post(path, data=b"x")).status == 404


async def test_who_was_told_no_address_is_answered_before_the_body_and_others_have_their_time(
    podcasts: Podcasts, server: Publisher, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight megabytes that never came were waited for without an end, whoever sent them."""
    id, asked = await subscribed(podcasts, server, "http://site.example")
    monkeypatch.setitem(browser.client.app._state, keys.body_timeout, 0.05)  # type: ignore[union-attr]  # there is one

    async def send(path: str) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", browser.client.port)
        writer.write(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf".encode())
        async with asyncio.timeout(5):
            line = await reader.readline()
        writer.close()
        return int(line.split()[1])

    assert await send(f"/podcasts/push/{id}/{'0' * 32}") == 404
    assert await send(asked["hub.callback"].removeprefix("http://site.example")) == 408


async def test_a_site_that_nobody_can_reach_asks_no_hub(podcasts: Podcasts, server: Publisher) -> None:
    _, asked = await subscribed(podcasts, server, "")
    assert asked == {}


@pytest.mark.parametrize("signature", ["", "sha256=", "md5=aa", "sha256=zz", "plain", "sha256=\udcff\u00e9"])
def test_what_is_not_signed_is_not_believed(signature: str, site_url: str) -> None:
    assert not push.is_signed(signature, "secret", b"body")
    assert not push.is_signed("sha256=" + hmac.new(b"", b"body", "sha256").hexdigest(), "", b"body")
