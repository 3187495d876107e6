"""The answers of Pushpin's control port, and the paths that a Fanout realm had, at a running hub."""

from __future__ import annotations

import time
from typing import Any

import pytest
from aiohttp import ClientSession
from listening import KEY, REALM, listening, serving

from hub.protocol import tokens

ITEM = {"channel": "a", "http-stream": {"content": "x"}}
BASES = ["", f"/realm/{REALM}"]


async def ask(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers of a request that shows the key."""
    token = tokens.sign(REALM, KEY, time.time())
    data = {"data": body} if isinstance(body, bytes) else {"json": body}
    async with serving() as (url, _), ClientSession() as http:
        shown = {"Authorization": f"Bearer {token}", **headers}
        async with http.request(method, url + path, headers=shown, allow_redirects=False, **data) as response:
            return response.status, await response.text(), {**response.headers}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("end", ["", "/"])
async def test_publish_is_served_at_both_spellings_without_a_redirect(base: str, end: str) -> None:
    status, text, _ = await ask("POST", f"{base}/publish{end}", {"items": [ITEM]})
    assert (status, text.split()[0]) == (200, "Published")


async def test_who_wants_json_gets_pushpins_and_more() -> None:
    _, text, headers = await ask("POST", "/publish/", {"items": [ITEM]}, Accept="application/json")
    assert headers["Content-Type"] == "application/json"
    assert text.startswith('{"message":"Published"')


@pytest.mark.parametrize("accept", ["text/plain", "*/*", "image/png", "application/xml;q=0.5"])
async def test_everybody_else_gets_a_line_of_text(accept: str) -> None:
    """Pushpin answers 406 for the last two; here the publish was accepted and must not look like a failure."""
    status, text, headers = await ask("POST", "/publish/", {"items": [ITEM]}, Accept=accept)
    assert (status, text, headers["Content-Type"]) == (
        200,
        "Published (nobody is subscribed)\n",
        "text/plain; charset=utf-8",
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "Body is not valid JSON."),
        ([ITEM], "Invalid format."),
        ({"item": []}, "Invalid format: object does not contain 'items'"),
        ({"items": {}}, "Invalid format: object contains 'items' with wrong type"),
        ({"items": [ITEM, {"channel": "a"}]}, "Invalid format: no formats specified (item 1)"),
        ({"items": [{"http-stream": {"content": "x"}}]}, "publish item object does not contain 'channel' (item 0)"),
        ({"items": [{**ITEM, "formats": []}]}, "publish item object contains 'formats' with wrong type (item 0)"),
        ({"items": [{**ITEM, "no-seq": "true"}]}, "publish item object contains 'no-seq' with wrong type (item 0)"),
        (
            {"items": [{"channel": "a", "http-stream": {"action": "dance"}}]},
            "http-stream object contains 'action' with unknown value (item 0)",
        ),
        (
            {"items": [{"channel": "a", "ws-message": {"type": "smoke", "content": ""}}]},
            "ws-message object contains 'type' with unknown value (item 0)",
        ),
        ({"items": [{"channel": "a", "http-response": {}}]}, "http-response object does not contain 'body' (item 0)"),
    ],
)
async def test_a_body_that_can_never_be_published_is_refused_in_pushpins_words(body: Any, words: str) -> None:
    status, text, headers = await ask("POST", "/publish/", body)
    assert (status, text.endswith(f"{words}\n")) == (400, True), text
    assert headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_other_methods_are_405(method: str) -> None:
    status, text, headers = await ask(method, "/publish/")
    assert (status, headers["Allow"], text) == (405, "POST", f"Method not allowed: {method}.\n")


@pytest.mark.parametrize("path", ["/recover/", "/nothing", f"/realm/{REALM}/nothing"])
async def test_what_only_pushpin_has_is_404(path: str) -> None:
    assert (await ask("POST", path))[0] == 404


@pytest.mark.parametrize("base", ["", f"/r/{REALM}"])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/bayeux", 400),
        ("GET", "/bayeux?message=x", 400),
        ("GET", "/bayeux/nobody", 200),
        ("GET", "/bayeux/static/fanout.js", 200),
        ("GET", "/test", 200),
        ("POST", "/fpp/subscribe/", 400),
        ("GET", "/fpp/feed/", 401),
        ("GET", "/ws", 426),
    ],
)
async def test_what_a_realm_had_for_browsers_is_served(base: str, method: str, path: str, status: int) -> None:
    found, text, _ = await ask(
        method, base + path, b"", Accept="text/event-stream" if path.endswith("nobody") else "*/*"
    )
    assert found == status, text


@pytest.mark.parametrize("base", BASES)
async def test_what_a_realm_had_for_servers_is_served(base: str) -> None:
    status, text, _ = await ask("GET", f"{base}/subscriptions/items/")
    assert (status, text.startswith('{"items":[]')) == (200, True)


async def test_an_item_reaches_every_kind_of_listener_in_its_own_form() -> None:
    """One item with all its formats: the JSON is what is heard."""
    token = tokens.sign(REALM, KEY, time.time())
    item = {"channel": "a", "json-object": 1, "http-stream": {"content": "x"}, "ws-message": {"content": "y"}}
    async with serving() as (url, _), listening(url, "/a") as listener, ClientSession() as http:
        async with http.ws_connect(f"{url}/ws?channel=a") as socket:
            await socket.receive_json()
            headers = {"Authorization": f"Bearer {token}"}
            async with http.post(f"{url}/publish/", json={"items": [item]}, headers=headers) as response:
                assert response.status == 200
            assert (await socket.receive_json())["data"] == 1
        assert await listener.take(1) == [("/a", 1)]
