"""Bayeux over HTTP: what browsers and libraries really send, and what they get."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientSession
from listening import serving

HANDSHAKE = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"], "id": "1"}


async def post(http: ClientSession, url: str, body: Any, **headers: str) -> tuple[int, Any, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with http.post(url + "/bayeux", data=data, headers=headers, skip_auto_headers=["Content-Type"]) as response:
        text = await response.text()
        return response.status, json.loads(text) if text[:1] in "[{" else text, response.headers


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (json.dumps([HANDSHAKE]).encode(), {"Content-Type": "application/json"}),
        (json.dumps([HANDSHAKE]).encode(), {"Content-Type": "Application/JSON;charset=UTF-8"}),
        (json.dumps(HANDSHAKE).encode(), {}),
        (json.dumps(HANDSHAKE).encode(), {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"\xef\xbb\xbf" + json.dumps([HANDSHAKE]).encode(), {"Content-Type": "application/json"}),
        (f"message={quote(json.dumps([HANDSHAKE]))}".encode(), {"Content-Type": "application/x-www-form-urlencoded"}),
        (f"message={quote(json.dumps(HANDSHAKE))}".encode(), {"Content-Type": "text/plain;charset=UTF-8"}),
    ],
)
async def test_handshake_is_taken_in_every_shape(body: bytes, headers: dict[str, str]) -> None:
    """python-bayeux posts a bare object without a type, Faye's cross-origin transport a form as text/plain."""
    async with serving() as (url, _), ClientSession() as http:
        status, (reply,), _ = await post(http, url, body, **headers)
        assert (status, reply["successful"]) == (200, True)


@pytest.mark.parametrize("path", ["/bayeux", "/bayeux/", "/bayeux/handshake", "/bayeux/a/b"])
async def test_every_path_under_the_mount_is_the_endpoint(path: str) -> None:
    """CometD appends the message's type to the URL."""
    async with serving() as (url, _), ClientSession() as http, http.post(url + path, json=[HANDSHAKE]) as response:
        assert (await response.json())[0]["successful"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"[null", b"7", b"hello", b'{"a":NaN}', b"\xff\xfe", b"[" * 30000]
)
async def test_body_that_is_no_batch_is_a_400_of_one_line(body: bytes) -> None:
    async with serving() as (url, _), ClientSession() as http:
        status, text, headers = await post(http, url, body)
        assert status == 400
        assert text.count("\n") == 1
        assert "Traceback" not in text
        assert headers["Content-Type"].startswith("text/plain")


async def test_too_long_a_body_is_refused_message_by_message() -> None:
    """Faye repeats for ever what fails by an HTTP status, so each message gets a Bayeux error."""
    async with serving(message_bytes=2000) as (url, _), ClientSession() as http:
        message = {"channel": "/chat/a", "data": "x" * 3000, "id": "7", "clientId": "a"}
        status, (reply,), _ = await post(http, url, [message])
        assert status == 200
        assert reply == {"successful": False, "error": "413::Message too large", "channel": "/chat/a", "id": "7"}


async def test_methods_that_mean_nothing_are_405() -> None:
    async with serving() as (url, _), ClientSession() as http:
        for method in ("PUT", "DELETE", "HEAD", "PATCH"):
            async with http.request(method, url + "/bayeux") as response:
                assert response.status == 405
                assert response.headers["Allow"] == "GET, POST, OPTIONS"


class TestHolding:
    async def test_held_connect_is_answered_by_a_publish(self) -> None:
        async with serving(connect_timeout=5.0) as (url, hub), ClientSession() as http:
            _, (shake,), _ = await post(http, url, [HANDSHAKE])
            me = {"clientId": shake["clientId"]}
            connect = {"channel": "/meta/connect", "connectionType": "long-polling"} | me
            await post(http, url, [{"channel": "/meta/subscribe", "subscription": "/a"} | me])
            await post(http, url, [connect])
            held = asyncio.create_task(post(http, url, [connect | {"id": "5"}]))
            session = hub.node.registry.get(shake["clientId"])
            assert session is not None
            while session.hold is None:
                await asyncio.sleep(0.01)
            await hub.publisher.publish("a", {"x": 1})
            _, (delivery, reply), _ = await held
            assert delivery["data"] == {"x": 1}
            assert reply["id"] == "5"

    async def test_browser_that_leaves_a_held_connect_takes_nothing_with_it(self) -> None:
        """Without cancelled handlers the dead hold took the next publication, and it was lost."""
        async with serving(connect_timeout=5.0) as (url, hub), ClientSession() as http:
            _, (shake,), _ = await post(http, url, [HANDSHAKE])
            me = {"clientId": shake["clientId"]}
            connect = {"channel": "/meta/connect", "connectionType": "long-polling"} | me
            await post(http, url, [{"channel": "/meta/subscribe", "subscription": "/a"} | me])
            await post(http, url, [connect])
            session = hub.node.registry.get(shake["clientId"])
            assert session is not None
            held = asyncio.create_task(post(http, url, [connect]))
            while session.hold is None:
                await asyncio.sleep(0.01)
            held.cancel()
            while session.hold is not None:
                await asyncio.sleep(0.01)
            await hub.publisher.publish("a", 1)
            _, (delivery, _), _ = await post(http, url, [connect])
            assert delivery["data"] == 1

    async def test_shutdown_answers_held_connects_at_once(self) -> None:
        loop = asyncio.get_running_loop()
        async with ClientSession() as http:
            async with serving(connect_timeout=30.0) as (url, hub):
                _, (shake,), _ = await post(http, url, [HANDSHAKE])
                connect = {"channel": "/meta/connect", "connectionType": "long-polling", "clientId": shake["clientId"]}
                await post(http, url, [connect])
                held = asyncio.create_task(post(http, url, [connect]))
                session = hub.node.registry.get(shake["clientId"])
                assert session is not None
                while session.hold is None:
                    await asyncio.sleep(0.01)
                began = loop.time()
            status, (reply,), _ = await held
            assert (status, reply["advice"]["reconnect"]) == (200, "retry")
            assert loop.time() - began < 15


class TestCallbackPolling:
    async def get(self, http: ClientSession, url: str, **query: str) -> tuple[int, str, Any]:
        async with http.get(url + "/bayeux", params=query) as response:
            return response.status, await response.text(), response.headers

    async def test_answer_is_a_call_of_the_callback(self) -> None:
        async with serving() as (url, _), ClientSession() as http:
            message = json.dumps([HANDSHAKE])
            status, text, headers = await self.get(http, url, message=message, jsonp="__jsonp1__")
            assert status == 200
            assert text.startswith("/**/__jsonp1__([")
            assert text.endswith("]);")
            assert headers["Content-Type"] == "text/javascript; charset=utf-8"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Content-Disposition"] == "attachment; filename=f.txt"

    async def test_script_of_another_site_needs_hub_origins(self) -> None:
        """Any page on the internet could make its visitor's browser listen and publish at hubs of his own network."""
        friend, stranger = "https://friend.example/page", "https://evil.example/"
        ways = [("/bayeux", {"message": json.dumps(HANDSHAKE)}), ("/fpp/feed/", {"callback": "f", "sid": "x"})]
        async with serving(origins=("https://friend.example",)) as (url, _), ClientSession() as http:
            for path, query in ways:
                for site, referer, refused in (
                    # Over plain http, as hubs of one's own network are asked, no browser says Sec-Fetch-Site.
                    (None, stranger, True),
                    (None, friend, False),
                    (None, url + "/page", False),
                    (None, None, True),
                    ("same-origin", None, False),
                    ("none", None, False),
                    ("cross-site", friend, False),
                    ("cross-site", stranger, True),
                    ("same-site", stranger, True),
                    ("cross-site", None, True),
                    ("cross-site", "nonsense", True),
                    ("cross-site", "https://" + "a\u0301" * 1000, True),
                ):
                    fields = {"Sec-Fetch-Site": site, "Referer": referer, "User-Agent": "Mozilla/5.0 (X11)"}
                    headers = {name: value for name, value in fields.items() if value is not None}
                    async with http.get(url + path, params=query, headers=headers) as response:
                        assert (response.status == 403) == refused, (path, site, referer, await response.text())
                        if refused:
                            assert response.content_type == "text/plain"
                            assert response.headers["X-Content-Type-Options"] == "nosniff"
                # A program says neither, and no page makes it ask.
                async with http.get(url + path, params=query) as response:
                    assert response.status != 403

    @pytest.mark.parametrize(("settings", "status"), [({"origins": ("*",)}, 200), ({"jsonp": False}, 403)])
    async def test_scripts_are_for_all_or_nobody_where_that_is_set(self, settings: Any, status: int) -> None:
        async with serving(**settings) as (url, _), ClientSession() as http:
            headers = {"Sec-Fetch-Site": "cross-site"}
            async with http.get(f"{url}/bayeux", params={"message": json.dumps(HANDSHAKE)}, headers=headers) as answer:
                assert answer.status == status

    async def test_session_of_a_callback_goes_on_over_a_websocket(self) -> None:
        """Faye's browser client does so from another origin."""
        async with serving() as (url, hub), ClientSession() as http:
            _, text, _ = await self.get(http, url, message=json.dumps(HANDSHAKE))
            assert text.startswith("/**/jsonpcallback(")
            client_id = json.loads(text[len("/**/jsonpcallback(") : -2])[0]["clientId"]
            async with http.ws_connect(url + "/bayeux") as socket:
                connect = {"channel": "/meta/connect", "connectionType": "websocket", "clientId": client_id}
                await socket.send_json(
                    [connect, {"channel": "/meta/subscribe", "clientId": client_id, "subscription": "/a"}]
                )
                assert [reply["successful"] for reply in await socket.receive_json()] == [True, True]
                await hub.publisher.publish("a", "\u2028")
                assert (await socket.receive_json())[0]["data"] == "\u2028"

    @pytest.mark.parametrize("callback", ["alert(1)", "a;b", "1a", "", "a" * 129, "a..b", "<x>", "a\n"])
    async def test_callback_that_is_no_function_name_is_refused(self, callback: str) -> None:
        async with serving() as (url, _), ClientSession() as http:
            status, text, _ = await self.get(http, url, message=json.dumps(HANDSHAKE), jsonp=callback)
            assert status == 400
            assert callback not in text or not callback

    async def test_get_without_messages_says_what_to_do(self) -> None:
        async with serving() as (url, _), ClientSession() as http:
            status, text, _ = await self.get(http, url)
            assert status == 400
            assert "POST" in text


class TestOrigins:
    async def test_other_origins_are_refused_and_told_what_to_set(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            status, text, headers = await post(http, url, [HANDSHAKE], Origin="https://elsewhere.example")
            assert status == 403
            assert "HUB_ORIGINS" in text
            # The page may read why, which no browser would tell it.
            assert headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in headers
            assert not hub.node.registry.sessions

    async def test_listed_origin_gets_cors_headers_and_a_preflight(self) -> None:
        origin = "https://pages.example"
        async with serving(origins=(origin,)) as (url, _), ClientSession() as http:
            status, _, headers = await post(http, url, [HANDSHAKE], Origin=origin)
            assert status == 200
            assert headers["Access-Control-Allow-Origin"] == origin
            assert headers["Access-Control-Allow-Credentials"] == "true"
            assert headers["Vary"] == "Origin"
            ask = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            async with http.options(url + "/bayeux", headers=ask) as response:
                assert response.status == 204
                assert "Pragma" in response.headers["Access-Control-Allow-Headers"]
                assert int(response.headers["Access-Control-Max-Age"]) > 0

    async def test_any_origin_never_goes_with_credentials(self) -> None:
        async with serving(origins=("*",)) as (url, _), ClientSession() as http:
            _, _, headers = await post(http, url, [HANDSHAKE], Origin="https://elsewhere.example")
            assert headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in headers

    async def test_websocket_of_another_origin_is_refused_before_the_upgrade(self) -> None:
        async with serving() as (url, _):
            port = int(url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"GET /bayeux HTTP/1.1\r\nHost: a.example\r\nOrigin: https://b.example\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert b"HUB_ORIGINS" in answer
            writer.close()
