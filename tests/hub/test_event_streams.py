"""Event streams: what proxies, polyfills and old servers do to them, and how an EventSource comes back."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import ClientResponse, ClientSession
from hypothesis import given
from hypothesis import strategies as st
from listening import KEY, REALM, read_events, serving
from services import RedisFactory

from hub.app import Hub
from hub.ids import new_id
from hub.protocol import events, tokens

SHAKE = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["eventsource"]}
ACCEPT = {"Accept": "text/event-stream"}


async def taken(response: ClientResponse, count: int) -> list[tuple[str, str]]:
    """The next events that have data, as (type, data)."""
    return [(each.get("event", "message"), each["data"]) for each in await read_events(response, count)]


async def raw(url: str, request: str) -> bytes:
    """All that is answered to a request, until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(request.encode())
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer


async def session_of(http: ClientSession, url: str, channel: str) -> str:
    """A Bayeux session with a subscription."""
    async with http.post(url + "/bayeux", json=[SHAKE]) as answer:
        client_id = str((await answer.json())[0]["clientId"])
    subscribe = {"channel": "/meta/subscribe", "clientId": client_id, "subscription": channel}
    async with http.post(url + "/bayeux", json=[subscribe]) as answer:
        assert (await answer.json())[0]["successful"]
    return client_id


class TestLastId:
    """event-source-polyfill lost 39 messages after a cut: it says its last id in the URL, which nobody read."""

    @pytest.mark.parametrize(
        "name", ["lastEventId", "lastEventID", "Last-Event-ID", "evs_last_event_id", "last-event-id", "LASTEVENTID"]
    )
    async def test_query_says_it_where_no_header_does(self, name: str) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            await hub.publisher.publish("a", 1)
            last = await hub.publisher.position("a")
            assert last is not None
            await hub.publisher.publish("a", 2)
            for path in ("/sse?channel=a", f"/r/{REALM}/sse?channel=a"):
                # A position in the page's own URL is older than what it has heard since.
                async with http.get(f"{url}{path}&position=old.1&{name}={quote(last)}") as stream:
                    (_, state), (_, event) = await taken(stream, 2)
                    assert json.loads(state)["a"]["recovered"] is True
                    assert json.loads(event)["data"] == 2

    async def test_header_wins(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            positions = []
            for number in range(3):
                positions.append(str(await hub.publisher.publish("a", number)))
            query = f"/sse?channel=a&lastEventId={positions[0]}"
            async with http.get(url + query, headers={"Last-Event-ID": positions[1]}) as stream:
                assert json.loads((await taken(stream, 2))[1][1])["data"] == 2

    async def test_bayeux_stream_goes_on_after_it(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            client_id = await session_of(http, url, "/a")
            first = await http.get(f"{url}/bayeux/{client_id}", headers=ACCEPT)
            last = str(await hub.publisher.publish("a", 1))
            await taken(first, 1)
            await hub.publisher.publish("a", 2)
            await taken(first, 1)
            second = await http.get(f"{url}/bayeux/{client_id}?lastEventId={last}", headers=ACCEPT)
            ((_, event),) = await taken(second, 1)
            assert [message["data"] for message in json.loads(event)] == [2]
            first.close()
            second.close()

    def test_empty_ones_say_nothing(self) -> None:
        assert events.last_id("", [("lastEventId", ""), ("evs_last_event_id", "e.1")]) == "e.1"
        assert events.last_id(None, [("channel", "lastEventId")]) == ""


class TestForeignPlaces:
    """A 400 ended the EventSource of every page that had listened to the server which was there before."""

    @pytest.mark.parametrize(
        "place",
        [
            "42",
            "1732800000-0",
            "urn:uuid:0e84d4a5-9f6b-4c2a-9b8e-000000000000",
            "*",
            "a@",
            "e~x",
            "\xe9",
            "b@e.1,@",
            ".",
        ],
    )
    @pytest.mark.parametrize("query", ["channel=a", "channel=a&channel=b", "channel=a/*", "channel=a&channel=b/*"])
    async def test_it_is_lost_on_a_stream_that_opens(self, place: str, query: str) -> None:
        names = sorted(part.partition("=")[2] for part in query.split("&"))
        async with serving() as (url, hub), ClientSession() as http:
            for address, headers in (
                (f"{url}/sse?{query}", {"Last-Event-ID": place}),
                (f"{url}/sse?{query}&lastEventId={quote(place)}", {}),
                (f"{url}/sse?{query}&position={quote(place)}", {}),
            ):
                async with http.get(address, headers=headers) as stream:
                    assert stream.status == 200
                    _, (kind, lost) = await taken(stream, 2)
                    assert (kind, json.loads(lost)) == ("lost", names)
                    await hub.publisher.publish(names[0].replace("*", "x"), 1)
                    assert json.loads((await taken(stream, 1))[0][1])["data"] == 1

    async def test_stream_of_patterns_is_told_when_it_comes_back(self) -> None:
        """Nothing is recovered of a pattern, and its events had empty ids: what was missed was never told."""
        async with serving() as (url, hub), ClientSession() as http:
            for query, kept in (("channel=a/*", []), ("channel=a/*&channel=b", ["b"])):
                async with http.get(f"{url}/sse?{query}") as stream:
                    await taken(stream, 1)
                    await hub.publisher.publish("a/x", 1)
                    last = ""
                    async for line in stream.content:
                        if line.startswith(b"id: "):
                            last = line[4:].decode().strip()
                        if line.startswith(b"data: "):
                            break
                assert last
                for name in kept:
                    await hub.publisher.publish(name, 2)
                async with http.get(f"{url}/sse?{query}", headers={"Last-Event-ID": last}) as stream:
                    _, (kind, lost), *more = await taken(stream, 2 + len(kept))
                    assert (kind, json.loads(lost)) == ("lost", ["a/*"])
                    assert [json.loads(data)["channel"] for _, data in more] == kept

    async def test_where_there_is_no_history_it_goes_on_from_now(self, tmp_path: Path) -> None:
        """The stream gave ids, and refused them when its EventSource came back with one: 403, for good."""
        rules = tmp_path / "rules.toml"
        rules.write_text('[[rule]]\nchannels = ["live"]\nhistory = "closed"\n')
        async with serving(rules=rules) as (url, hub), ClientSession() as http:
            last = str(await hub.publisher.publish("live", 1))
            await hub.publisher.publish("live", 2)
            async with http.get(url + "/sse?channel=live", headers={"Last-Event-ID": last}) as stream:
                _, (kind, lost) = await taken(stream, 2)
                assert (kind, json.loads(lost)) == ("lost", ["live"])
                await hub.publisher.publish("live", 3)
                assert json.loads((await taken(stream, 1))[0][1])["data"] == 3


class TestComingBack:
    @given(st.integers(0, 200_000), st.floats(0, 1, exclude_max=True))
    def test_delay_is_spread_over_what_a_process_takes(self, clients: int, luck: float) -> None:
        delay = events.delay(clients, luck)
        assert 500 <= delay <= 500 + max(1000, 1000 * clients / events.RETURNS)

    def test_lone_page_is_back_in_a_second_and_a_half(self) -> None:
        assert events.delay(1, 0) == 500
        assert events.delay(100, 0.999) < 1500

    def test_restart_of_many_is_no_stampede(self) -> None:
        """All had the same two seconds: fifteen thousand came back at once."""
        delays = [events.delay(15_000, number / 15_000) for number in range(15_000)]
        seconds = [sum(start <= delay < start + 1000 for delay in delays) for start in range(0, 31_000, 1000)]
        assert max(seconds) <= events.RETURNS + 1

    async def test_streams_of_one_hub_have_delays_of_their_own(self) -> None:
        async with serving() as (url, _), ClientSession() as http:
            found = set()
            for _ in range(8):
                async with http.get(f"{url}/sse?channel=a") as stream:
                    line = await stream.content.readline()
                    found.add(int(line.removeprefix(b"retry: ")))
            assert len(found) > 1

    async def test_hub_that_goes_tells_when_to_come_back(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            client_id = await session_of(http, url, "/a")
            plain = await http.get(f"{url}/sse?channel=a")
            bayeux = await http.get(f"{url}/bayeux/{client_id}", headers=ACCEPT)
            await taken(plain, 1)
            while len(hub.node.links) < 2:
                await asyncio.sleep(0.01)
            await hub.drain()
            for stream in (plain, bayeux):
                rest = await asyncio.wait_for(stream.content.read(), 60)
                assert re.search(rb"retry: \d+\n\n$", rest)
            # Who comes meanwhile is sent away on a stream too.
            late = await http.get(f"{url}/sse?channel=a")
            assert late.status == 200
            assert re.fullmatch(r"retry: \d+\n\n: Going away\n\n", await late.text())

    @pytest.mark.parametrize("path", ["/sse?channel=a", f"/r/{REALM}/sse?channel=a", "/test/sse"])
    async def test_full_hub_opens_a_stream_for_the_refusal(self, path: str) -> None:
        """A 503 at the door, before a request is read, ended every EventSource that came while the hub was full."""
        async with serving(max_connections=1, origins=("https://app.example",)) as (url, hub), ClientSession() as http:
            socket = await http.ws_connect(f"{url}/ws")
            head = f"GET {path} HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\nAccept: text/event-stream\r\n\r\n"
            answer = await raw(url, head)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"Access-Control-Allow-Origin: https://app.example\r\n" in answer
            assert re.search(rb"\r\n\r\nretry: \d{4,5}\n\n: Too many connections\n\n$", answer)
            assert (await raw(url, head.replace("text/event-stream", "*/*"))).startswith(b"HTTP/1.1 503 ")
            assert hub.node.bayeux.limited["connections"] == 2
            await socket.close()

    async def test_stream_opens_while_redis_is_away_and_goes_on_when_it_is_back(self, new_redis: RedisFactory) -> None:
        redis = await asyncio.to_thread(lambda: new_redis(persist=True))
        async with serving(redis_url=redis.url) as (url, hub), ClientSession() as http:
            own = await session_of(http, url, "/a")
            last = str(await hub.publisher.publish("a", 1))
            await hub.publisher.publish("a", 2)
            await asyncio.to_thread(redis.kill)
            # Of the last a worker can't say while Redis is away whether there is such a session.
            paths = ["/sse?channel=a", f"/r/{REALM}/sse?channel=a", "/test/sse", f"/bayeux/{new_id()}"]
            for path in paths:
                for headers in (ACCEPT, ACCEPT | {"Last-Event-ID": last}):
                    async with http.get(url + path, headers=headers) as stream:
                        assert (stream.status, stream.content_type) == (200, "text/event-stream")
                        text = await asyncio.wait_for(stream.text(), 60)
                        # It ends with nothing that would move its client's place on, or give it up.
                        assert re.match(r"retry: \d+\n\n", text), path
                        assert not re.search("^(id|data|event):", text, re.MULTILINE), path
            async with http.get(f"{url}/bayeux/{own}", headers=ACCEPT) as stream:
                assert stream.status == 200
                assert re.match(rb"retry: \d+\n", await stream.content.readline())
            assert not [each for each in hub.node.registry.sessions if each != own]
            await asyncio.to_thread(redis.start)
            async with asyncio.timeout(60):
                while not hub.node.health.well:
                    await asyncio.sleep(0.05)
            async with http.get(f"{url}/sse?channel=a", headers=ACCEPT | {"Last-Event-ID": last}) as stream:
                (_, state), (_, event) = await taken(stream, 2)
                assert json.loads(state)["a"]["recovered"] is True
                assert json.loads(event)["data"] == 2

    async def test_publishers_feed_is_refused_for_a_second_while_redis_is_away(self, new_redis: RedisFactory) -> None:
        """It is no EventSource that reads it: pubcontrol comes again upon any status."""
        redis = await asyncio.to_thread(new_redis)
        async with serving(redis_url=redis.url) as (url, hub), ClientSession() as http:
            bearer = {"Authorization": f"Bearer {tokens.sign(REALM, KEY, hub.node.bayeux.wall())}"}
            await asyncio.to_thread(redis.kill)
            async with http.get(f"{url}/realm/{REALM}/subscriptions/stream/", headers=bearer) as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "1")

    @pytest.mark.parametrize(
        ("query", "status"),
        [("channel=private-a", 403), ("channel=a&token=x", 401), ("channel=meta/x", 400), ("", 400)],
    )
    async def test_what_can_not_succeed_is_refused(self, query: str, status: int) -> None:
        async with serving() as (url, _), ClientSession() as http:
            async with http.get(f"{url}/sse?{query}", headers={"Last-Event-ID": "42"}) as response:
                assert response.status == status


async def publish_when_heard(hub: Hub, channel: str, data: object) -> None:
    while not hub.node.subscribers("/" + channel):
        await asyncio.sleep(0.01)
    await hub.publisher.publish(channel, data)


class TestProxies:
    @pytest.mark.parametrize("keep_alive", ["", "Connection: keep-alive\r\n"])
    async def test_http_1_0_gets_a_stream_that_ends_with_its_connection(self, keep_alive: str) -> None:
        """nginx's default proxy_pass speaks 1.0: each stream was a 500 and a traceback."""
        async with serving() as (url, hub), ClientSession() as http:
            client_id = await session_of(http, url, "/a")
            feed = f"/realm/{REALM}/subscriptions/stream/"
            fields = f"Host: a\r\n{keep_alive}Accept: text/event-stream\r\n"
            fields += f"Authorization: Bearer {tokens.sign(REALM, KEY, hub.node.bayeux.wall())}\r\n\r\n"
            streams = ("/sse?channel=a", "/test/sse", f"/r/{REALM}/sse?channel=a", f"/bayeux/{client_id}", feed)
            for path in streams:
                head = f"GET {path} HTTP/1.0\r\n{fields}"
                asking = asyncio.create_task(raw(url, head))
                if path == feed:
                    while not hub.node.links:
                        await asyncio.sleep(0.01)
                    async with http.ws_connect(f"{url}/ws?channel=heard") as socket:
                        await socket.receive_json()
                elif "test" in path:
                    await publish_when_heard(hub, "test", 7)
                else:
                    while not hub.node.links:
                        await asyncio.sleep(0.01)
                    await publish_when_heard(hub, "a", 7)
                await asyncio.sleep(0.1)
                for link in list(hub.node.links):
                    link.leave(1000, "enough")
                answer = await asking
                head_, _, body = answer.partition(b"\r\n\r\n")
                assert head_.split()[1] == b"200", answer
                assert b"chunked" not in head_.lower()
                assert (b'"heard"' if path == feed else b'"data":7') in body
                # Nothing of it is a chunk's length.
                assert not re.search(rb"^[0-9a-f]+\r\n", body)
                while hub.node.links:
                    await asyncio.sleep(0.01)

    async def test_streams_ask_proxies_to_leave_them_alone(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            client_id = await session_of(http, url, "/a")
            bearer = {"Authorization": f"Bearer {tokens.sign(REALM, KEY, hub.node.bayeux.wall())}"}
            for path in ("/sse?channel=a", f"/bayeux/{client_id}", f"/realm/{REALM}/subscriptions/stream/"):
                async with http.get(url + path, headers=ACCEPT | bearer) as stream:
                    assert stream.status == 200
                    words = stream.headers["Cache-Control"].split(", ")
                    assert {"no-store", "no-transform"} <= set(words)
                    assert stream.headers["X-Accel-Buffering"] == "no"
                    if "subscriptions" not in path:
                        assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
