"""Text that no encoding can say, and numbers that no reader can hold: by every way in, and whatever reads it later."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import orjson
import pytest
from aiohttp import ClientSession
from listening import KEY, REALM, serving

from hub.app import Hub
from hub.brokers.redis import RedisBroker
from hub.errors import InvalidChannel
from hub.protocol import tokens
from hub.protocol.publications import Draft

CUT = "cut \ud83d"
MENDED = "cut \ufffd"

#: What stands in fields that it should not: JSON texts.
NASTY = [
    '"\\ud83d"',
    '"\\udc00\\ud83d"',
    '"\\u0000"',
    '"\\ufffd"',
    '"\\ufeff"',
    '"\\u2028"',
    "1e400",
    "-1e400",
    "1" * 400,
    "1" * 5000,
    "NaN",
    "Infinity",
    "-0.0",
    "1e308",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "[" * 200 + "]" * 200,
    '{"\\ud83d":{"\\udfff":1}}',
    "true",
    "[]",
    '"' + "x" * 3000 + '"',
]

pytestmark = pytest.mark.usefixtures("no_errors")


@pytest.fixture
def no_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing of it is a traceback in the log."""
    yield
    found = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not found, found[0].getMessage() + str(found[0].exc_info)


async def publish(http: ClientSession, url: str, body: str, path: str = "/publish/") -> tuple[int, str]:
    bearer = {"Authorization": f"Bearer {tokens.sign(REALM, KEY, 2e9)}"}
    async with http.post(f"{url}/realm/{REALM}{path}", data=body, headers=bearer) as response:
        return response.status, await response.text()


async def shaken(http: ClientSession, url: str, *channels: str) -> str:
    shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}
    async with http.post(url + "/bayeux", json=[shake]) as response:
        client_id = str((await response.json())[0]["clientId"])
    if channels:
        subscribe = {"channel": "/meta/subscribe", "clientId": client_id, "subscription": list(channels)}
        async with http.post(url + "/bayeux", json=[subscribe]) as response:
            assert (await response.json())[0]["successful"]
    return client_id


async def read_everywhere(http: ClientSession, url: str, channel: str, position: str) -> list[list[Any]]:
    """What came after a position, by every way out; as the strictest reader reads it."""
    found = []
    async with http.get(f"{url}/poll", params={"channel": channel, "position": position}) as response:
        assert response.status == 200, await response.text()
        found.append([message["data"] for message in orjson.loads(await response.read())["messages"]])
    count = len(found[0])
    async with http.get(f"{url}/sse", params={"channel": channel, "position": position}) as response:
        seen: list[Any] = []
        while len(seen) < count:
            line = await asyncio.wait_for(response.content.readline(), 60)
            if line.startswith(b'data: {"channel"'):
                seen.append(orjson.loads(line[6:])["data"])
        found.append(seen)
    async with http.ws_connect(f"{url}/ws?channel={channel}&position={position}") as socket:
        await socket.receive_json()
        found.append([orjson.loads((await socket.receive_str()).encode())["data"] for _ in range(count)])
    async with http.post(f"{url}/fpp/subscribe/", data=f"ci=name%3D{channel}") as response:
        sid = orjson.loads(await response.read())["sid"]
    ci = f"name={channel}&since=cursor:{position}"
    async with http.get(f"{url}/fpp/feed/", params={"sid": sid, "ci": ci}) as response:
        found.append(orjson.loads(await response.read())["channels"][channel]["items"])
    client_id = await shaken(http, url)
    subscribe = {
        "channel": "/meta/subscribe",
        "clientId": client_id,
        "subscription": "/" + channel,
        "ext": {"position": {"/" + channel: position}},
    }
    connect = {"channel": "/meta/connect", "clientId": client_id, "connectionType": "long-polling"}
    async with http.post(f"{url}/bayeux", json=[subscribe]) as response:
        assert orjson.loads(await response.read())[0]["successful"]
    seen = []
    while len(seen) < count:
        async with http.post(f"{url}/bayeux", json=[connect]) as response:
            seen += [each["data"] for each in orjson.loads(await response.read()) if "data" in each]
    found.append(seen)
    return found


class TestHalfAnEmoji:
    """A chat cut a text to 100 characters, within an emoji. Every /poll from before it was a 500, for ever."""

    @pytest.mark.parametrize(
        "item",
        [
            '"json-object":"cut \\ud83d"',
            '"formats":{"json-object":"cut \\ud83d"}',
            '"http-stream":{"content":"cut \\ud83d"}',
            '"ws-message":{"content":"cut \\ud83d"}',
            '"http-response":{"body":"cut \\ud83d"}',
        ],
    )
    async def test_publish_api_takes_it_as_browsers_would_send_it(self, item: str) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            position = await hub.publisher.position("a")
            assert position is not None
            status, _ = await publish(http, url, f'{{"items":[{{"channel":"a",{item}}}]}}')
            assert status == 200
            await publish(http, url, '{"items":[{"channel":"a","json-object":"next"}]}')
            for found in await read_everywhere(http, url, "a", position):
                assert found == [MENDED, "next"]

    async def test_bytes_of_half_a_pair_are_the_same(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            position = str(await hub.publisher.position("a"))
            body = b'{"items":[{"channel":"a","json-object":"cut \xed\xa0\xbd"}]}'
            bearer = {"Authorization": f"Bearer {tokens.sign(REALM, KEY, 2e9)}"}
            async with http.post(f"{url}/publish/", data=body, headers=bearer) as response:
                assert response.status == 200
            for found in await read_everywhere(http, url, "a", position):
                assert found == [MENDED]

    @pytest.mark.parametrize("way", ["json", "form", "script", "websocket"])
    async def test_bayeux_takes_it(self, way: str) -> None:
        async with serving(client_publish=("/**",)) as (url, hub), ClientSession() as http:
            position = str(await hub.publisher.position("a"))
            client_id = await shaken(http, url)
            text = json.dumps([{"channel": "/a", "clientId": client_id, "id": "1", "data": {CUT: CUT}}])
            if way == "json":
                async with http.post(f"{url}/bayeux", data=text) as response:
                    (reply,) = orjson.loads(await response.read())
            elif way == "form":
                async with http.post(f"{url}/bayeux", data=f"message={quote(text)}") as response:
                    (reply,) = orjson.loads(await response.read())
            elif way == "script":
                async with http.get(f"{url}/bayeux", params={"message": text, "jsonp": "f"}) as response:
                    (reply,) = orjson.loads((await response.read())[6:-2])
            else:
                async with http.ws_connect(f"{url}/bayeux") as socket:
                    await socket.send_str(text)
                    (reply,) = orjson.loads((await socket.receive_str()).encode())
            assert reply["successful"]
            for found in await read_everywhere(http, url, "a", position):
                assert found == [{MENDED: MENDED}]

    async def test_code_may_publish_it(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            position = str(await hub.publisher.position("a"))
            await hub.publisher.publish("a", [CUT, 2**70])
            for found in await read_everywhere(http, url, "a", position):
                assert found == [[MENDED, 2.0**70]]

    async def test_names_and_ids_are_refused(self) -> None:
        """Two of them that are broken would be one."""
        async with serving() as (url, hub), ClientSession() as http:
            for field in ('"channel":"x\\ud83d"', '"channel":"a","id":"\\ud83d"', '"channel":"a","prev-id":"\\ud83d"'):
                status, words = await publish(http, url, f'{{"items":[{{{field},"json-object":1}}]}}')
                assert (status, words.count("\n")) == (400, 1)
            assert (await publish(http, url, '{"user":"\\ud83d"}', "/kick/"))[0] == 400
            with pytest.raises(InvalidChannel):
                await hub.publisher.publish("x\ud83d", 1)
            client_id = await shaken(http, url)
            for message in (
                {"channel": "/meta/subscribe", "clientId": client_id, "subscription": "/\ud83d"},
                {"channel": "/meta/connect", "clientId": client_id, "connectionType": "x", "id": "\ud83d"},
                {"channel": "/\ud83d", "clientId": client_id, "data": 1},
                {"channel": "/meta/connect", "clientId": "\ud83d", "connectionType": "\ud83d"},
            ):
                async with http.post(f"{url}/bayeux", json=[message]) as response:
                    assert orjson.loads(await response.read())[0]["successful"] is False
            async with http.ws_connect(f"{url}/ws") as socket:
                await socket.send_str('{"subscribe":["x\\ud83d"]}')
                assert "405:" in orjson.loads((await socket.receive_str()).encode())["error"]

    @pytest.mark.parametrize("claim", [{"sub": "\ud83d"}, {"channels": ["private-\ud83d"]}, {"publish": ["\ufffd"]}])
    async def test_claims_of_a_token_are_refused(self, claim: dict[str, Any]) -> None:
        """In the record of a session they made every later claim of it fail."""
        async with serving() as (url, _), ClientSession() as http:
            claims = {"iss": REALM, "exp": 2e9, "channels": ["a"]} | claim
            token = jwt.encode(claims, KEY, "HS256")
            async with http.get(f"{url}/poll", params={"channel": "a", "token": token}) as response:
                assert response.status == 401

    async def test_what_an_older_release_left_in_redis_is_read_past(self, redis_url: str) -> None:
        async with serving(redis_url=redis_url) as (url, hub), ClientSession() as http:
            position = str(await hub.publisher.position("a"))
            broker = hub.broker
            assert isinstance(broker, RedisBroker)
            await broker.publish([Draft("/a", b'"cut \\ud83d"'), Draft("/a", b'"next"')])
            for found in await read_everywhere(http, url, "a", position):
                assert found == [MENDED, "next"]


async def answers_of(http: ClientSession, url: str, body: str) -> list[Any]:
    async with http.post(f"{url}/bayeux", data=body) as response:
        assert response.status in (200, 400), await response.text()
        text = await response.read()
        return list(orjson.loads(text)) if response.status == 200 else []


class TestNastyValues:
    """Each field that is read or echoed, with each value that some library or other can't take."""

    @pytest.mark.parametrize("nasty", NASTY)
    async def test_fields_of_bayeux(self, nasty: str) -> None:
        async with serving(client_publish=("/**",), connect_timeout=0.01) as (url, _), ClientSession() as http:
            client_id = await shaken(http, url, "/a")
            base = {
                "handshake": '"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]',
                "connect": f'"channel":"/meta/connect","clientId":"{client_id}","connectionType":"long-polling"',
                "subscribe": f'"channel":"/meta/subscribe","clientId":"{client_id}","subscription":"/a"',
                "unsubscribe": f'"channel":"/meta/unsubscribe","clientId":"{client_id}","subscription":"/b"',
                "publish": f'"channel":"/a","clientId":"{client_id}","data":1',
            }
            fields = {
                "handshake": ["version", "minimumVersion", "supportedConnectionTypes", "ext", "id", "advice"],
                "connect": ["connectionType", "advice", "ext", "id"],
                "subscribe": ["subscription", "ext", "id"],
                "unsubscribe": ["subscription", "ext", "id"],
                "publish": ["data", "ext", "id", "clientId"],
            }
            extras = ["ack", "replay", "position", "token", "timesync", "binary", "browser"]
            for kind, names in fields.items():
                batch = [f'{{{base[kind]},"{name}":{nasty}}}' for name in names]
                for extra in extras:
                    for value in (nasty, f'{{"/a":{nasty}}}', f'{{"tc":{nasty},"l":{nasty},"o":{nasty}}}'):
                        batch.append(f'{{{base[kind]},"ext":{{"{extra}":{value}}}}}')
                for inner in ("timeout", "interval"):
                    batch.append(f'{{{base[kind]},"advice":{{"{inner}":{nasty}}}}}')
                for each in [[one] for one in batch] if kind == "handshake" else [batch]:
                    await answers_of(http, url, f"[{','.join(each)}]")
            # Whatever was said, the session or a new one goes on.
            await answers_of(http, url, f"[{{{base['connect']}}}]")

    @pytest.mark.parametrize("nasty", NASTY)
    async def test_fields_of_an_item_and_of_a_socket(self, nasty: str) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            position = str(await hub.publisher.position("a"))
            for field in (
                '"json-object":%s',
                '"json-object":1,"id":%s',
                '"json-object":1,"prev-id":%s,"no-seq":true',
                '"json-object":1,"hint":%s',
                '"json-object":1,"meta":%s',
                '"json-object":1,"no-seq":%s',
                '"formats":%s',
                '"http-stream":{"content":%s}',
                '"http-stream":{"content-bin":%s}',
                '"http-stream":{"action":%s}',
                '"http-response":{"body":"","code":%s}',
                '"ws-message":{"type":%s,"content":""}',
                '"ws-message":{"action":"close","code":%s}',
                '"ws-message":{"action":"close","reason":%s}',
            ):
                status, words = await publish(http, url, f'{{"items":[{{"channel":"a",{field % nasty}}}]}}')
                assert status in (200, 400, 413), words
            status, _ = await publish(http, url, f'{{"items":[{{"channel":{nasty},"json-object":1}}]}}')
            assert status in (200, 400)
            await publish(http, url, '{"items":[{"channel":"a","json-object":"next"}]}')
            for found in await read_everywhere(http, url, "a", position):
                assert found[-1] == "next"
            async with http.ws_connect(f"{url}/ws") as socket:
                for order in (
                    '{"subscribe":%s}',
                    '{"subscribe":["a"],"position":%s}',
                    '{"subscribe":["a"],"token":%s}',
                    '{"unsubscribe":%s}',
                    "%s",
                ):
                    await socket.send_str(order % nasty)
                    orjson.loads((await socket.receive_str()).encode())

    @pytest.mark.parametrize(
        "value",
        [b"\xff", b"\xed\xa0\xbd", "é".encode(), b"%ff", b"%ED%A0%BD", b"%00", b"%EF%BF%BD", b"%F0%9F%98%80", b"1e400"],
    )
    async def test_fields_of_a_url_raw_and_escaped(self, value: bytes, tmp_path: Path) -> None:
        rules = tmp_path / "rules.toml"
        rules.write_text('[[rule]]\nchannels = ["**"]\npresence = "open"\n')
        bearer = f"Authorization: Bearer {tokens.sign(REALM, KEY, 2e9)}\r\n".encode()
        async with serving(rules=rules, connect_timeout=0.01) as (url, hub), ClientSession() as http:
            async with http.post(f"{url}/fpp/subscribe/", data="ci=name%3Da") as response:
                sid = (await response.json())["sid"].encode()
            for target in (
                b"/poll?channel=%s",
                b"/poll?channel=a&position=%s",
                b"/poll?channel=a&timeout=%s",
                b"/poll?channel=a&token=%s",
                b"/sse?channel=meta%s",
                b"/sse?channel=a&token=%s",
                b"/presence?channel=%s",
                b"/fpp/feed/?sid=%s",
                b"/fpp/feed/?sid=" + sid + b"&ci=name=%s",
                b"/fpp/feed/?sid=" + sid + b"&ci=name%%3D%s%%26since%%3Dcursor:%s",
                b"/fpp/feed/?callback=f&_method=%s",
                b"/fpp/subscribe/?callback=f&_method=POST&_body=%s",
                b"/fpp/subscribe/?callback=f&_method=POST&_body=ci%%3Dname%%253D%s",
                b"/bayeux?message=%s&jsonp=f",
                b"/bayeux?message=[]&jsonp=%s",
                b"/realm/" + REALM.encode() + b"/position/?channel=%s",
                b"/realm/" + REALM.encode() + b"/presence/?channel=%s",
                b"/realm/" + REALM.encode() + b"/subscriptions/items/?since=%s",
                b"/realm/%s/position/?channel=a",
                b"/r/%s/poll?channel=a",
                b"/bayeux/%s",
            ):
                line = target.replace(b"%s", value).replace(b"%%", b"%")
                reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
                writer.write(b"GET " + line + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + bearer + b"\r\n")
                status = (await asyncio.wait_for(reader.readuntil(b"\r\n"), 60)).split()[1]
                assert status < b"500", (line, await reader.read())
                writer.close()
            assert isinstance(hub, Hub)

    @pytest.mark.parametrize("offset", ["0", "9" * 19, "9" * 40, "00", "18446744073709551616"])
    @pytest.mark.parametrize("log", ["memory", "redis"])
    async def test_offsets_that_no_log_reaches(self, offset: str, log: str, redis_url: str) -> None:
        async with serving(redis_url=redis_url if log == "redis" else None) as (url, hub), ClientSession() as http:
            await hub.publisher.publish("a", 1)
            epoch = str(await hub.publisher.position("a")).partition(".")[0]
            for named in (epoch, "e"):
                params = {"channel": "a", "position": f"{named}.{offset}", "timeout": "0"}
                async with http.get(f"{url}/poll", params=params) as response:
                    assert response.status == 200, await response.text()
