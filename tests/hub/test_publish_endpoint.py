"""The Fanout publish API of a running hub: who may publish, what is answered, and that it is delivered."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import random
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, web
from hypothesis import given
from hypothesis import strategies as st
from listening import KEY, REALM, listening, serving

from hub.app import Hub, running
from hub.brokers.memory import MemoryBroker
from hub.errors import BadMessage, BadToken, BrokerUnavailable, TooLarge
from hub.protocol import tokens
from hub.protocol.publications import Draft, Published
from hub.settings import Settings
from hub.transports.bodies import _unpack
from hub.transports.publish import Gate
from hub.turns import Turns

PATH = f"/realm/{REALM}/publish/"


def bearer(realm: str = REALM, key: bytes = KEY, *, late: float = 0.0) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.sign(realm, key, time.time() - late)}"}


class Api:
    """Says things to a hub's publish API."""

    def __init__(self, url: str, http: ClientSession) -> None:
        self.url = url
        self._http = http

    async def post(
        self, body: object, path: str = PATH, headers: dict[str, str] | None = None, method: str = "POST"
    ) -> ClientResponse:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = bearer() if headers is None else headers
        response = await self._http.request(
            method, self.url + path, data=io.BytesIO(data), headers=headers, allow_redirects=False
        )
        await response.read()
        return response

    async def refusal(self, body: object, **options: Any) -> tuple[int, str]:
        """Status and reason of a request that must fail: one line, in plain text."""
        response = await self.post(body, **options)
        text = await response.text()
        assert response.content_type == "text/plain"
        assert text.endswith("\n")
        assert text.count("\n") == 1
        return response.status, text.strip()


@pytest.fixture
async def hub() -> AsyncIterator[tuple[str, Hub]]:
    async with serving() as served:
        yield served


@pytest.fixture
async def api(hub: tuple[str, Hub]) -> AsyncIterator[Api]:
    async with ClientSession() as http:
        yield Api(hub[0], http)


def one(channel: str = "comments-17", data: object = 17) -> dict[str, Any]:
    return {"items": [{"channel": channel, "json-object": data}]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PATH, one()),
        (PATH.rstrip("/"), one()),
        ("/publish/", one()),
        ("/publish", one()),
        (PATH, {"items": [{"channel": "comments-17", "formats": {"json-object": 17}}]}),
        (f"{PATH}comments-17/", {"items": [{"fpp": 17}]}),
        (f"{PATH}comments-17", {"items": [{"json-object": 17}]}),
        (f"{PATH}comments%2D17/", {"items": [{"fpp": 17}]}),
    ],
)
async def test_every_shape_at_every_url_is_delivered(api: Api, path: str, body: object) -> None:
    async with listening(api.url, "/comments-17") as listener:
        response = await api.post(body, path)
        assert (response.status, await response.text()) == (200, "Published\n")
        assert response.headers["Fanfare-Subscribers"] == "1"
        assert await listener.take(1) == [("/comments-17", 17)]


@pytest.mark.parametrize("data", [None, 0, False, "", [], {}, True, "é☃", {"a": [1, None]}])
async def test_any_json_value_arrives_as_it_was(api: Api, data: object) -> None:
    async with listening(api.url, "/x") as listener:
        await api.post(one("x", data))
        assert await listener.take(1) == [("/x", data)]


async def test_a_batch_is_delivered_in_order(api: Api) -> None:
    async with listening(api.url, "/**") as listener:
        await api.post({"items": [{"channel": "a", "json-object": number} for number in range(27)]})
        assert await listener.take(27) == [("/a", number) for number in range(27)]


async def test_a_publish_that_nobody_hears_succeeds_and_says_so(api: Api) -> None:
    response = await api.post(one())
    assert (response.status, await response.text()) == (200, "Published (nobody is subscribed)\n")
    assert response.headers["Fanfare-Subscribers"] == "0"


async def test_who_accepts_json_is_told_positions_and_subscribers(api: Api) -> None:
    async with listening(api.url, "/a"):
        body = {"items": [{"channel": "a", "json-object": 1, "id": "one"}, {"channel": "b", "json-object": 2}]}
        answer = await (await api.post(body, headers=bearer() | {"Accept": "application/json"})).json()
        again = await (await api.post(body, headers=bearer() | {"Accept": "application/json"})).json()
    assert (answer["message"], answer["subscribers"]) == ("Published", 1)
    first, other = answer["items"]
    assert (first["channel"], first["subscribers"], first["repeated"]) == ("a", 1, False)
    assert [first["position"][-2:], other["position"][-2:]] == [".1", ".1"]
    assert (again["items"][0]["position"], again["items"][0]["repeated"]) == (first["position"], True)
    assert again["items"][1]["position"].endswith(".2")


async def test_a_repeated_id_is_published_once(api: Api) -> None:
    """pubcontrol repeats the same body after a 5xx, which a proxy may have made of our answer."""
    body = {"items": [{"channel": "a", "json-object": 1, "id": "i"}]}
    async with listening(api.url, "/a") as listener:
        await api.post(body)
        await api.post(body)
        await api.post(one("a", 2))
        assert await listener.take(2) == [("/a", 1), ("/a", 2)]


async def test_one_bad_item_publishes_nothing(api: Api) -> None:
    async with listening(api.url, "/a") as listener:
        bad = {"items": [{"channel": "a", "json-object": 1}, {"channel": "a"}]}
        assert await api.refusal(bad) == (400, "Invalid format: no formats specified (item 1)")
        await api.post(one("a", 2))
        assert await listener.take(1) == [("/a", 2)]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", [PATH, PATH.rstrip("/"), "/publish/", f"{PATH}a/"])
async def test_only_post_publishes(api: Api, method: str, path: str) -> None:
    """A library that follows a redirect comes as GET and takes 200 for success."""
    response = await api.post(one(), path, method=method)
    assert (response.status, response.headers["Allow"]) == (405, "POST")
    assert await response.text() == f"Method not allowed: {method}.\n"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "Authorization header missing: Bearer and a token signed with the realm's key"),
        ({"Authorization": "Bearer "}, "Neither a token nor the realm's key"),
        ({"Authorization": "Bearer a.b.c"}, "Not a token"),
        ({"Authorization": "Digest x"}, "Authorization scheme not known: use Bearer"),
        ({"Authorization": "Basic b'dTpw'"}, "Basic authorization is not base64"),
        ({"Authorization": "Basic " + base64.b64encode(b"r:k").decode()}, "Neither a token nor the realm's key"),
        (bearer(late=3600), "Token expired"),
        # A function: made when the tests are collected, tokens had expired by the time of the test.
        (lambda: bearer("other"), "Token is for another realm"),
        (lambda: bearer(key=b"x" * 32), "Token signed with another key"),
    ],
)
async def test_without_the_key_nothing_is_published(
    api: Api, headers: dict[str, str] | Callable[[], dict[str, str]], reason: str
) -> None:
    response = await api.post(one(), headers=headers() if callable(headers) else headers)
    assert (response.status, await response.text()) == (401, reason + "\n")
    assert response.headers["WWW-Authenticate"] == f'Bearer realm="{REALM}"'


async def test_the_key_itself_is_accepted_as_grip_libraries_send_it(api: Api) -> None:
    key = base64.b64encode(KEY).decode()
    basic = base64.b64encode(f"{REALM}:{key}".encode()).decode()
    assert (await api.post(one(), headers={"Authorization": f"Bearer {key}"})).status == 200
    assert (await api.post(one(), headers={"Authorization": f"Basic {basic}"})).status == 200


async def test_another_realm_is_forbidden_to_who_holds_the_key(api: Api) -> None:
    assert await api.refusal(one(), path="/realm/other/publish/") == (403, f"Realm unknown: this hub's is {REALM}.")
    assert (await api.refusal(one(), path="/realm/other/publish/", headers={}))[0] == 401


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "Body is not valid JSON."),
        (b"{", 400, "Body is not valid JSON."),
        (b'{"items":[{"channel":"a","json-object":NaN}]}', 400, "Body is not valid JSON."),
        (b"[" * 100_000, 400, "Body is not valid JSON."),
        ([], 400, "Invalid format."),
        ({}, 400, "Invalid format: object does not contain 'items'"),
        (one("meta/connect"), 400, "Invalid format: Invalid channel: meta/connect"),
        (one("a\nb"), 400, "Invalid format: Invalid channel: a_b"),
        (one("a", json.loads("[" * 65 + "]" * 65)), 400, "Nested more than 64 deep"),
        (one("a", "x" * 1024 * 1024), 413, "Longer than 1048576 bytes"),
        ({"items": [{"channel": "a", "json-object": 1}] * 1001}, 413, "More than 1000 items"),
        (b"x" * (8 * 1024 * 1024 + 1), 413, "Body is longer than 8388608 bytes"),
    ],
)
async def test_what_can_never_succeed_is_refused_in_one_line(api: Api, body: object, status: int, reason: str) -> None:
    assert await api.refusal(body) == (status, reason)


async def test_a_body_that_unpacks_beyond_the_limit_is_refused() -> None:
    async with serving(message_bytes=1000, body_bytes=10_000) as (url, _), ClientSession() as http:
        api = Api(url, http)
        packed = gzip.compress(b" " * 100_000)
        assert len(packed) < 1000
        headers = bearer() | {"Content-Encoding": "gzip"}
        assert await api.refusal(packed, headers=headers) == (413, "Body is longer than 10000 bytes")
        assert (await api.post(gzip.compress(json.dumps(one()).encode()), headers=headers)).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "deflate", "raw deflate", "members", "identity"])
async def test_a_packed_body_is_read(api: Api, encoding: str) -> None:
    data = json.dumps(one(data="x" * 300_000)).encode()
    packed = {
        "deflate": zlib.compress(data),
        "raw deflate": zlib.compress(data)[2:-4],
        "members": gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
        "identity": data,
    }.get(encoding, gzip.compress(data))
    name = {"raw deflate": "deflate", "members": "gzip"}.get(encoding, encoding)
    assert (await api.post(packed, headers=bearer() | {"Content-Encoding": name})).status == 200


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x"])
async def test_a_body_packed_in_another_way_is_refused(api: Api, encoding: str) -> None:
    status, reason = await api.refusal(b"{}", headers=bearer() | {"Content-Encoding": encoding})
    assert (status, reason) == (415, "Content-Encoding not known - send gzip or deflate or none")


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "x-gzip"]))
async def test_whatever_bytes_are_unpacked_or_refused(data: bytes, encoding: str) -> None:
    for body in (data, gzip.compress(data), zlib.compress(data)[: len(data)]):
        with suppress(BadMessage, TooLarge):
            assert len(await _unpack(body, encoding, 250, Turns())) <= 250


async def test_what_was_packed_more_than_a_hundredfold_is_unpacked_to_a_megabyte(api: Api) -> None:
    """8 kB that were 8 MB cost a hundred times what they cost their sender, as they do not over a WebSocket."""
    headers = bearer() | {"Content-Encoding": "deflate"}
    bomb = zlib.compress(b" " * 8_000_000, 9)
    assert await api.refusal(bomb, headers=headers) == (413, "Body is longer than 1048576 bytes")
    assert (await api.post(bomb, "/bayeux", headers={"Content-Encoding": "deflate"})).status == 413
    long = b"{" + b" " * 2_000_000 + random.Random(1).randbytes(20_000).hex().encode() + b"}"
    assert await api.refusal(zlib.compress(long), headers=headers) == (400, "Body is not valid JSON.")


async def test_a_bomb_is_unpacked_no_further_than_it_may_be(api: Api) -> None:
    """aiohttp inflated bodies to their end, also those that nobody reads: 194 kB halted the loop for half a second."""
    pack = zlib.compressobj(9)
    bomb = b"".join([*(pack.compress(bytes(1_000_000)) for _ in range(200)), pack.flush()])
    headers = {"Content-Encoding": "deflate"}
    ways: list[tuple[str, str, dict[str, str], int]] = [
        ("POST", "/bayeux", {}, 413),
        ("POST", PATH, bearer(), 413),
        ("POST", PATH, {}, 401),
        ("GET", "/ws", {}, 426),
        ("POST", "/poll", {}, 413),
        ("PUT", "/bayeux", {}, 405),
    ]
    for method, path, more, status in ways:
        began = time.process_time()
        response = await api.post(bomb, path, headers=headers | more, method=method)
        assert (response.status, path) == (status, path)
        # The whole of it takes 150 ms and more.
        assert time.process_time() - began < 0.1, path


async def test_a_body_that_is_not_what_its_encoding_says_is_refused(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    headers = bearer() | {"Content-Encoding": "gzip"}
    status, reason = await api.refusal(b"not gzip", headers=headers)
    assert (status, reason) == (400, "Body is not what its Content-Encoding or Transfer-Encoding says.")
    assert "Traceback" not in caplog.text


async def test_a_body_that_stalls_is_given_up() -> None:
    async with serving(body_timeout=0.2) as (url, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        token = bearer()["Authorization"]
        writer.write(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: 9\r\n\r\n{{".encode()
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        await writer.wait_closed()


async def test_a_request_in_absolute_form_is_served(api: Api) -> None:
    """What a library sends that was told that the hub is its HTTP proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rsplit(":", 1)[1]))
    body = json.dumps(one()).encode()
    head = f"POST http://api.fanout.io{PATH} HTTP/1.1\r\nHost: api.fanout.io\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Authorization: {bearer()['Authorization']}\r\n\r\n".encode() + body)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    await writer.wait_closed()


class AwayBroker(MemoryBroker):
    """A broker that has lost its server."""

    async def publish(self, drafts: Any) -> list[Published]:
        raise BrokerUnavailable("redis://localhost:1: connection refused")

    def try_publish(self, drafts: Any) -> Any:
        return None


async def test_a_lost_broker_is_told_as_503_with_a_time_to_come_back() -> None:
    app = web.Application()
    hub = Hub(Settings(key=KEY, realm=REALM), broker=AwayBroker())
    hub.setup(app)
    async with running(app, hub) as url, ClientSession() as http:
        response = await Api(url, http).post(one())
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert "redis" not in await response.text()


async def test_the_newest_position_is_told_to_who_holds_the_key(hub: tuple[str, Hub], api: Api) -> None:
    url, served = hub
    async with ClientSession() as http:
        path = f"{url}/realm/{REALM}/position/?channel=comments-17"
        async with http.get(path) as refused:
            assert refused.status == 401
        (published,) = await served.node.publish([Draft("/comments-17", b"1")])
        async with http.get(path, headers=bearer()) as response:
            assert await response.json() == {"channel": "comments-17", "position": str(published.position)}
        async with http.get(f"{url}/realm/{REALM}/position/", headers=bearer()) as missing:
            assert missing.status == 400


async def test_who_wants_to_set_an_origin_server_is_told_that_there_is_no_proxy(api: Api) -> None:
    path = f"/realm/{REALM}/http/default/"
    assert await api.refusal(b"host=localhost&port=80", path=path, headers={"Authorization": "Bearer x"}) == (
        401,
        "Neither a token nor the realm's key",
    )
    status, words = await api.refusal(b"host=localhost&port=80", path=path)
    assert (status, words) == (501, "Not implemented: this hub is no proxy and has no origin servers.")


def test_a_right_token_is_remembered_until_it_expires() -> None:
    """One token serves an hour of publishes; its signature is checked once."""
    now = [1_700_000_000.0]
    gate = Gate(Settings(key=KEY, realm=REALM, token_leeway=30.0), clock=lambda: now[0])
    header = f"Bearer {tokens.sign(REALM, KEY, now[0], life=600)}"
    gate.check(header)
    now[0] += 629
    gate.check(header)
    now[0] += 1
    for _ in range(2):
        with pytest.raises(BadToken):
            gate.check(header)


def test_remembered_tokens_are_bounded() -> None:
    gate = Gate(Settings(key=KEY, realm=REALM))
    now = time.time()
    headers = [f"Bearer {tokens.sign(REALM, KEY, now, jti=str(number))}" for number in range(1100)]
    for header in headers:
        gate.check(header)
    assert len(gate._known) == 1024
    gate.check(headers[0])


def test_without_a_key_nobody_is_let_in() -> None:
    gate = Gate(Settings())
    for header in (None, "", "Bearer ", "Bearer .", "Basic " + base64.b64encode(b"fanfare:").decode()):
        with pytest.raises(BadToken):
            gate.check(header)
