"""Clients that mean no good, or are broken.

Each gets an answer or is closed, memory stays bounded, and the others are served.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientSession, WSMsgType
from conversation import TYPES, Talk, new_rules
from listening import KEY, REALM, listening, serving
from stopwatch import Stopwatch

from hub.app import Hub
from hub.peers import Peer
from hub.polls import Poll
from hub.protocol import tokens

SHAKE: dict[str, Any] = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": TYPES}


async def said(hub: Hub, *messages: Any) -> list[dict[str, Any]]:
    """The answer to a batch that is given to the node itself: ten thousand clients need no sockets here."""
    poll = Poll()
    answered = asyncio.get_running_loop().create_future()
    poll.when_sent(answered.set_result)
    hub.node.accept(messages, "long-polling", poll)
    return [json.loads(part) for part in await answered]


async def handshake(hub: Hub) -> str:
    [reply] = await said(hub, SHAKE)
    client: str = reply["clientId"]
    return client


async def raw(url: str, data: bytes, *, seconds: float = 60.0) -> bytes:
    """What the hub answers to bytes on a connection that stays open, until the hub closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(data)
    try:
        async with asyncio.timeout(seconds):
            return await reader.read()
    finally:
        writer.close()


class TestVanished:
    async def test_ten_thousand_vanished_sessions_are_bounded_and_forgotten(self) -> None:
        """Faye kept a deep copy for each until 2.96 GB were used."""
        async with serving(session_ttl=1.0, queue_count=50, handshake_rate=0) as (_, hub):
            for _ in range(10_000):
                client = await handshake(hub)
                await said(hub, {"channel": "/meta/subscribe", "clientId": client, "subscription": "/a"})
            registry = hub.node.registry
            assert len(registry.sessions) == 10_000
            began = time.process_time()
            for number in range(40):
                await hub.publisher.publish("a", {"n": number, "text": "x" * 1000})
                await asyncio.sleep(0)
            while any(session.queue is None for session in registry.sessions.values()):
                await asyncio.sleep(0.01)
            queues = [session.queue for session in registry.sessions.values() if session.queue]
            shared = {id(publication) for queue in queues for publication in queue}
            assert len(shared) <= 40, "what waits is kept once, not once for each"
            while registry.sessions:
                await asyncio.sleep(0.05)
            assert not registry.audiences
            assert time.process_time() - began < 30

    async def test_slow_reader_is_ended_at_its_bound(self) -> None:
        async with serving(queue_count=20, session_ttl=30.0) as (_, hub):
            client = await handshake(hub)
            await said(hub, {"channel": "/meta/subscribe", "clientId": client, "subscription": "/a"})
            for number in range(21):
                await hub.publisher.publish("a", number)
                await asyncio.sleep(hub.settings.tick * 2)
            assert hub.node.registry.get(client) is None
            assert hub.node.counters.slow == 1

    async def test_late_messages_of_ended_sessions_keep_nothing(self) -> None:
        async with serving(client_publish=("/**",), publish_rate=2) as (_, hub):
            ids = []
            for _ in range(50):
                ids.append(await handshake(hub))
                await said(hub, {"channel": "/meta/disconnect", "clientId": ids[-1]})
            began = time.monotonic()
            replies = [(await said(hub, {"channel": "/a", "clientId": each, "data": 1}))[0] for each in ids]
            assert not hub.node.registry.sessions
            allowed = 5 + 2 * (time.monotonic() - began)
            assert sum(reply["successful"] for reply in replies) <= allowed, "all ended ids share one allowance"


class TestFloods:
    async def test_handshake_flood_of_an_address_leaves_the_others_served(self) -> None:
        async with serving(proxies=1, handshake_rate=3) as (url, hub), ClientSession() as http:

            async def shake(address: str) -> dict[str, Any]:
                headers = {"X-Forwarded-For": f"9.9.9.9, {address}"}
                async with http.post(f"{url}/bayeux", json=[SHAKE], headers=headers) as response:
                    reply: dict[str, Any] = (await response.json())[0]
                    return reply

            began = time.monotonic()
            replies = [await shake("192.0.2.1") for _ in range(60)]
            taken = sum(reply["successful"] for reply in replies)
            assert 30 <= taken <= 31 + 3 * (time.monotonic() - began)
            assert replies[-1]["error"] == "429::Too many handshakes"
            assert replies[-1]["advice"]["interval"] >= 1000, "it may come back, but not at once"
            assert (await shake("192.0.2.2"))["successful"]
            assert hub.node.bayeux.limited["handshakes"] == 60 - taken
            async with http.get(f"{url}/metrics") as response:
                assert "hub_handshakes_refused_total" in await response.text()

    async def test_counted_addresses_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hub.bayeux.limits.MAX_ADDRESSES", 10)
        rules = new_rules(handshake_rate=1)
        talk = Talk(rules)
        for number in range(100):
            talk.wire.peer = Peer(f"192.0.2.{number}")
            assert talk.handshake()["successful"]
        assert len(rules.crowd.addresses) == 10

    async def test_publish_flood_is_told_so_and_may_go_on_later(self) -> None:
        alice = Talk(new_rules(publish_rate=5))
        alice.handshake()
        replies = [alice.publish("/chat/a", number) for number in range(20)]
        assert [reply["successful"] for reply in replies] == [True] * 10 + [False] * 10
        assert replies[-1]["error"] == "429::Too many requests"
        alice.now += 1
        assert [alice.publish("/chat/a", 1)["successful"] for _ in range(6)] == [True] * 5 + [False]

    async def test_many_sessions_of_an_address_publish_no_more_than_it_may(self) -> None:
        """Each had an allowance of its own: 30 sessions published 6,000 messages in 0.2 s."""
        rules = new_rules(publish_rate=5, address_publish_rate=20)
        now, published = 0.0, 0
        for _ in range(30):
            talk = Talk(rules)
            talk.wire.peer = Peer("192.0.2.1")
            talk.now = now
            talk.handshake()
            published += sum(talk.publish("/chat/a", number)["successful"] for number in range(10))
        assert published == 2, "a tenth of a second's"
        other = Talk(rules)
        other.wire.peer = Peer("192.0.2.2")
        other.handshake()
        assert other.publish("/chat/a", 1)["successful"]
        talk.now += 10
        assert sum(talk.publish("/chat/a", number)["successful"] for number in range(20)) == 10, "its session's"

    @pytest.mark.parametrize("proxies", [0, 1])
    async def test_strangers_are_not_told_what_the_hub_leans_on(self, proxies: int) -> None:
        """Reasons named hosts and users of databases, and metrics the realms of every tenant, to whoever asked."""
        told = "redis.inner.example: password authentication failed for user fanfare_prod"
        key = {"Authorization": f"Bearer {tokens.sign(REALM, KEY, time.time())}"}
        listener = {"Authorization": f"Bearer {tokens.sign(REALM, KEY, time.time(), channels=['a'])}"}
        ways: list[tuple[dict[str, str], bool]] = [
            ({}, True),
            ({"X-Forwarded-For": "192.168.1.7"}, proxies == 1),
            ({"X-Forwarded-For": "8.8.8.8"}, False),
            ({"X-Forwarded-For": "127.0.0.1, 8.8.8.8"}, False),
            ({"X-Forwarded-For": "2a00:1450::1"}, False),
            ({"Forwarded": "for=8.8.8.8"}, proxies == 1),
            ({"X-Forwarded-For": "8.8.8.8"} | key, True),
            ({"X-Forwarded-For": "8.8.8.8"} | listener, False),
        ]

        async def fail() -> None:
            raise OSError(told)

        async with serving(proxies=proxies) as (url, hub), ClientSession() as http:
            hub.checks.append(fail)
            for headers, near in ways:
                for path, status in (("/health", 200), ("/ready", 503)):
                    async with http.get(url + path, headers=headers) as response:
                        assert response.status == status
                        text = await response.text()
                        assert (told in text, "sessions" in text) == (near, near), (headers, text)
                        assert (await response.json())["ready"] is False
                async with http.get(f"{url}/metrics", headers=headers) as response:
                    assert (response.status, "hub_opened" in await response.text()) == (200 if near else 403, near)

    async def test_sessions_have_a_bound(self) -> None:
        async with serving(max_sessions=5) as (_, hub):
            replies = [(await said(hub, SHAKE))[0] for _ in range(7)]
            assert [reply["successful"] for reply in replies] == [True] * 5 + [False] * 2
            assert replies[-1]["error"] == "429::Too many sessions"

    async def test_connections_of_an_address_have_a_bound(self) -> None:
        async with serving(proxies=1, address_connections=2) as (url, hub), ClientSession() as http:
            one, other = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
            sockets = [await http.ws_connect(f"{url}/bayeux", headers=one) for _ in range(2)]
            upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
            upgrade |= one | {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
            async with http.get(f"{url}/bayeux", headers=upgrade) as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "5")
            await (await http.ws_connect(f"{url}/ws?channel=a", headers=other)).close()
            await sockets[0].close()
            while hub.node.addresses != {"192.0.2.1": 1}:
                await asyncio.sleep(0.01)
            await (await http.ws_connect(f"{url}/bayeux", headers=one)).close()
            await sockets[1].close()

    async def test_connections_in_all_have_a_bound(self) -> None:
        async with serving(max_connections=3) as (url, hub):
            port = int(url.rpartition(":")[2])
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            for reader, writer in idle:
                writer.write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (await reader.read(15)).startswith(b"HTTP/1.1 200")
            answer = await raw(url, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 5" in answer
            assert hub.node.bayeux.limited["connections"] == 1
            for _, writer in idle:
                writer.close()

    async def test_twenty_thousand_subscriptions_in_a_message_are_refused_whole(self) -> None:
        async with serving() as (url, hub), ClientSession() as http, http.ws_connect(f"{url}/bayeux") as socket:
            await socket.send_json([SHAKE])
            client = (await socket.receive_json())[0]["clientId"]
            names = [f"/a{number}" for number in range(20_000)]
            await socket.send_json([{"channel": "/meta/subscribe", "clientId": client, "subscription": names}])
            assert (await socket.receive_json())[0]["error"] == "403::Too many subscriptions"
            assert not hub.node.registry.audiences

    async def test_three_thousand_messages_in_a_request_are_cut_at_the_bound(self) -> None:
        async with serving(client_publish=("/**",), publish_rate=0) as (url, hub), ClientSession() as http:
            client = await handshake(hub)
            batch = [{"channel": "/a", "clientId": client, "data": 1}] * 3000
            async with http.post(f"{url}/bayeux", json=batch) as response:
                replies = await response.json()
            assert [reply["successful"] for reply in replies] == [True] * 1000 + [False] * 1001


class Line(asyncio.Transport):
    """The transport of a client with this address."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 1) if address else None})


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "address"),
    [
        ("203.0.114.7", None, 0, "203.0.114.7"),
        ("203.0.114.7", "9.9.9.9", 0, "203.0.114.7"),
        ("::ffff:203.0.114.7", None, 0, "203.0.114.7"),
        ("2a00:1:2:3::4", None, 0, "2a00:1:2:3::/64"),
        ("127.0.0.1", None, 0, ""),
        ("10.1.2.3", "9.9.9.9", 0, ""),
        ("::ffff:10.1.2.3", None, 0, ""),
        ("::1", None, 0, ""),
        ("", None, 0, ""),
        ("10.1.2.3", "9.9.9.9", 1, "9.9.9.9"),
        ("10.1.2.3", "1.1.1.1, 9.9.9.9, 10.0.0.1", 2, "9.9.9.9"),
        ("10.1.2.3", "9.9.9.9", 3, "9.9.9.9"),
        ("10.1.2.3", None, 1, ""),
        ("10.1.2.3", ",,", 1, ""),
        ("203.0.114.7", None, 1, "203.0.114.7"),
        ("203.0.114.7", "unknown", 1, "203.0.114.7"),
    ],
)
async def test_address_is_the_last_that_a_proxy_of_ours_wrote(
    peer: str, forwarded: str | None, proxies: int, address: str
) -> None:
    """What stands before it, the client may have written itself."""
    async with serving(proxies=proxies) as (_, hub):
        hub.door.local = False
        assert hub.door.address(Line(peer), () if forwarded is None else (forwarded,)) == address


class TestSlow:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"G",
            b"GET /bayeux HTTP/1.1\r\nHost: a\r\n",
            b"POST /bayeux HTTP/1.1\r\nHost: a\r\nX: ",
            b"POST /bayeux HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n[",
            b"POST /bayeux HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[",
            b"POST /publish/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
        ],
    )
    async def test_head_or_body_that_does_not_come_is_given_up(self, data: bytes) -> None:
        async with serving(head_timeout=0.2, body_timeout=0.2) as (url, _):
            answer = await raw(url, data)
            assert answer == b"" or answer.split()[1] in (b"400", b"401", b"408")


class TestLies:
    async def test_fields_a_publisher_adds_go_nowhere(self) -> None:
        """One publish with such advice silences every long-polling subscriber of Faye's server."""
        async with serving(client_publish=("/**",)) as (_, hub):
            alice, mallory = await handshake(hub), await handshake(hub)
            me = {"clientId": alice, "connectionType": "long-polling"}
            await said(hub, {"channel": "/meta/subscribe", "clientId": alice, "subscription": "/a"})
            lies = {
                "advice": {"reconnect": "none"},
                "successful": False,
                "error": "402::x",
                "subscription": "/a",
                "timestamp": "x",
                "__proto__": {"a": 1},
                "constructor": 1,
                "ext": {"token": "secret", "ack": 7},
                "id": "evil",
            }
            await said(hub, {"channel": "/a", "clientId": mallory, "data": {"__proto__": 1}} | lies)
            # The first connect is answered at once, and what was published may come with the second.
            answers = await said(hub, {"channel": "/meta/connect"} | me)
            while all(answer["channel"] != "/a" for answer in answers):
                answers += await said(hub, {"channel": "/meta/connect"} | me)
            [delivery] = [answer for answer in answers if answer["channel"] == "/a"]
            assert set(delivery) == {"channel", "data", "id"}
            assert delivery["data"] == {"__proto__": 1}
            assert delivery["id"] != "evil"
            assert mallory not in json.dumps(delivery)

    @pytest.mark.parametrize("client", ["__proto__", "constructor", "0", "a" * 100_000, 7, None, [], {}, True])
    async def test_made_up_client_id_opens_nothing_and_keeps_nothing(self, client: object) -> None:
        async with serving(client_publish=("/**",)) as (_, hub):
            for channel in ("/meta/connect", "/meta/subscribe", "/meta/unsubscribe", "/meta/disconnect", "/a"):
                message = {"channel": channel, "clientId": client, "subscription": "/a", "data": 1}
                [reply] = await said(hub, message | {"connectionType": "websocket"})
                assert reply["error"][:3] in ("401", "402")
                assert len(reply["error"]) < 200
            assert not hub.node.registry.sessions
            assert not hub.node.registry.audiences

    async def test_client_ids_can_not_be_guessed(self) -> None:
        async with serving() as (_, hub):
            ids = {await handshake(hub) for _ in range(200)}
            assert len(ids) == 200
            assert {len(each) for each in ids} == {40}

    async def test_another_site_s_page_can_neither_publish_nor_listen(self) -> None:
        foreign = {"Origin": "https://evil.example"}
        async with serving(client_publish=("/**",)) as (url, hub), ClientSession() as http:
            client = await handshake(hub)
            form = f"message={quote(json.dumps({'channel': '/a', 'clientId': client, 'data': 1}))}"
            headers = foreign | {"Content-Type": "text/plain"}
            async with http.post(f"{url}/bayeux", data=form, headers=headers) as response:
                assert response.status == 403
                # It may read why it is refused, and nothing else.
                assert "Access-Control-Allow-Credentials" not in response.headers
                assert await response.text() == "Origin not allowed. Add it to HUB_ORIGINS.\n"
            for path in ("/sse?channel=a", "/poll?channel=a"):
                async with http.get(url + path, headers=foreign) as response:
                    assert response.status == 403
            assert hub.node.counters.published == 0

    @pytest.mark.parametrize(
        "callback", ["alert(1)//", "a" * 129, "a;b", "<script>", "a\u2028b", "a\r\nX-Evil: 1", "🦊", "a.", ".a"]
    )
    async def test_callback_is_a_name_or_nothing(self, callback: str) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            query = {"message": json.dumps(SHAKE), "jsonp": callback}
            async with http.get(f"{url}/bayeux", params=query) as response:
                assert response.status == 400
                assert "X-Evil" not in response.headers
                assert response.headers["Content-Type"].startswith("text/plain")
            assert not hub.node.registry.sessions

    async def test_script_in_an_id_stays_text(self) -> None:
        async with serving() as (url, _), ClientSession() as http:
            query = {"message": json.dumps(SHAKE | {"id": "</script>\u2028<script>"}), "jsonp": "cb"}
            async with http.get(f"{url}/bayeux", params=query) as response:
                text = await response.text()
                assert "\u2028" not in text
                assert response.headers["X-Content-Type-Options"] == "nosniff"

    async def test_token_of_another_key_opens_nothing(self) -> None:
        async with serving() as (_, hub):
            shown = tokens.sign(REALM, KEY[::-1], time.time(), channels=["**"])
            [reply] = await said(hub, SHAKE | {"ext": {"token": shown}})
            assert reply["error"] == "401::Token signed with another key"
            [reply] = await said(hub, SHAKE | {"ext": {"token": "x" * 1_000_000}})
            assert reply["error"] == "401::Token too long"
            assert not hub.node.registry.sessions


class TestOversized:
    @pytest.mark.parametrize(
        "body",
        [
            b"[" * 1_000_000,
            b'{"a":' * 200_000,
            b'[{"channel":"/a","data":' + b"[" * 500 + b"]" * 500 + b"}]",
            b'[{"channel":"' + b"/a" * 400_000 + b'"}]',
            b'[{"id":"' + b"x" * 900_000 + b'","channel":"/meta/handshake"}]',
            b'{"channel":"/a","data":' + b"9" * 10_000 + b"}",
            b"message=1&" * 100_000,
            b"&" * 1_000_000,
            b"\x00" * 1_000_000,
            b"[null," * 100_000,
            b"[" + b"1," * 400_000 + b"1]",
        ],
        ids=lambda body: body[:12].decode(),
    )
    async def test_monstrous_body_gets_a_short_answer(self, body: bytes) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            began = time.process_time()
            async with http.post(f"{url}/bayeux", data=body) as response:
                answer = await response.read()
                assert response.status in (200, 400)
                assert len(answer) < 100 * len(body)
                assert b"Traceback" not in answer
            assert time.process_time() - began < 10
            assert not hub.node.registry.sessions
            async with http.get(f"{url}/ready") as response:
                assert response.status == 200

    async def test_body_beyond_what_is_read_is_413_whatever_its_length_says(self) -> None:
        async with serving(message_bytes=1000, body_bytes=2000) as (url, _), ClientSession() as http:

            async def chunks() -> Any:
                for _ in range(100):
                    yield b"[" * 1000

            for data in (b"[" * 3000, chunks(), gzip.compress(b"[" * 10_000_000)):
                headers = {"Content-Encoding": "gzip"} if isinstance(data, bytes) and data[:2] == b"\x1f\x8b" else {}
                async with http.post(f"{url}/bayeux", data=data, headers=headers) as response:
                    assert response.status == 413

    async def test_body_that_is_not_what_its_encoding_says_is_a_400(self, caplog: pytest.LogCaptureFixture) -> None:
        async with serving() as (url, _), ClientSession() as http:
            async with http.post(f"{url}/bayeux", data=b"[{}]", headers={"Content-Encoding": "gzip"}) as response:
                assert response.status == 400
            assert not [record for record in caplog.records if record.levelname == "ERROR"]

    async def test_oversized_frame_is_closed_with_1009(self) -> None:
        async with serving(message_bytes=1000, body_bytes=2000) as (url, _), ClientSession() as http:
            async with http.ws_connect(f"{url}/bayeux") as socket:
                await socket.send_str("[" * 3000)
                message = await socket.receive()
                assert (message.type, message.data) == (WSMsgType.CLOSE, 1009)

    async def test_endless_head_is_refused(self) -> None:
        async with serving(head_timeout=1.0) as (url, _):
            for start in (b"GET /bayeux HTTP/1.1\r\n", b"POST /bayeux HTTP/1.1\r\n"):
                answer = await raw(url, start + b"X: y\r\n" * 20_000)
                assert answer == b"" or answer.split()[1] in (b"400", b"431")


async def test_others_are_served_while_it_all_happens() -> None:
    """Publications arrive in a fraction of a second through floods of handshakes, garbage and dead sessions."""
    async with serving(session_ttl=0.5) as (url, hub), ClientSession() as http, listening(url, "/quiet") as alice:
        stop = asyncio.Event()

        async def flood() -> None:
            while not stop.is_set():
                client = await handshake(hub)
                await said(hub, {"channel": "/meta/subscribe", "clientId": client, "subscription": "/quiet"})
                async with http.post(f"{url}/bayeux", data=b"[" * 10_000) as response:
                    assert response.status == 400

        floods = [asyncio.create_task(flood()) for _ in range(5)]
        waits = []
        for number in range(20):
            with Stopwatch() as watch:
                await hub.publisher.publish("quiet", number)
                assert await alice.take(1) == [("/quiet", number)]
            waits.append(watch.seconds)
        stop.set()
        await asyncio.gather(*floods)
        assert sorted(waits)[-2] < 1.0, waits


@pytest.mark.parametrize("channel", ["/meta/:0}subscribe", "/meta/x\n402::", "/meta/\ud83d"])
async def test_error_repeats_nothing_that_reads_as_another_error(channel: str) -> None:
    """A meta channel's name stood in the error as it came, and Faye's client split the error at its colon."""
    alice = Talk(new_rules())
    error = alice.reply({"channel": channel})["error"]
    assert error.count(":") == 2
    assert error.isprintable()
