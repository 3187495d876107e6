"""The ways in without Bayeux: /ws, /sse and /poll."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, TCPConnector
from hypothesis import example, given
from hypothesis import strategies as st
from listening import KEY, REALM, serving
from rounds import pieces

from hub.brokers.memory import MemoryBroker
from hub.errors import ProtocolError
from hub.protocol import tokens
from hub.protocol.channels import from_fanout, is_wild, to_fanout
from hub.protocol.plain import UNKNOWN, Place, format_place, parse_place
from hub.protocol.publications import Position
from hub.protocol.remembered import Remembered, Room
from hub.publisher import Item
from hub.transports.eventsource import EventStream
from hub.transports.plain import MAX_ORDERS, PlainStream


def token(*channels: str) -> str:
    return tokens.sign(REALM, KEY, time.time(), channels=list(channels))


@given(st.dictionaries(st.sampled_from(["/a", "/b/c", "/x,y", "/q@r"]), st.integers(0, 99), min_size=1))
def test_place_is_read_as_it_was_written(offsets: dict[str, int]) -> None:
    positions = {channel: Position("e1", offset) for channel, offset in offsets.items()}
    assert parse_place(format_place(positions), list(positions)) == positions


#: Names as the Fanout API takes them, with characters that places are made of, and extra slashes.
ODD_NAMES = st.text(
    st.sampled_from("a/@,.~%*_-+ \u00e9\u200c") | st.characters(), min_size=1, max_size=12
) | st.sampled_from(["/a", "//a", "a", "///a", "//", "/a/", "//meta/a", "%2Fa", "/*", "a/**"])


def is_taken(name: str) -> bool:
    try:
        return bool(from_fanout(name))
    except ProtocolError:
        return False


@given(
    st.dictionaries(
        ODD_NAMES.filter(is_taken).map(from_fanout),
        st.builds(Position, st.sampled_from(["e1", "f2"]), st.integers(0, 2**53)),
        min_size=1,
    )
)
@example({"//a": Position("e1", 1), "/b": Position("e1", 2)})
@example({"//": Position("e1", 1), "/b": Position("e1", 2)})
def test_place_of_any_name_that_is_taken_is_read_as_it_was_written(positions: dict[str, Position]) -> None:
    """The place of `//a` and `b` named `/a`: what came to `//a` meanwhile was lost, yet "recovered" was true."""
    named = {channel: position for channel, position in positions.items() if not is_wild(channel)}
    found = parse_place(format_place(named) if named else "", list(positions))
    assert found == dict.fromkeys(positions) | named
    assert [from_fanout(to_fanout(channel)) for channel in positions] == list(positions)


LONG_NAMES = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/*"), min_size=20, max_size=80)


@given(st.dictionaries(LONG_NAMES, st.tuples(st.sampled_from(["e1", "f2"]), st.integers(0, 2**53)), max_size=100))
def test_place_of_many_channels_fits_into_a_header(named: dict[str, tuple[str, int]]) -> None:
    """The place of a hundred channels with long names was longer than servers take: each second poll was refused."""
    positions = {f"/{name}": Position(*position) for name, position in named.items()}
    place = format_place(positions) if positions else ""
    assert len(place) <= 4096
    assert place.isascii()
    assert parse_place(place, list(positions)) == positions


@given(st.data())
def test_place_that_moves_is_as_one_written_anew(data: st.DataObject) -> None:
    position = st.builds(Position, st.sampled_from(["e1", "f2", "g3"]), st.integers(0, 2**53))
    names = [f"/{number}{'x' * data.draw(st.integers(0, 40))}" for number in range(data.draw(st.integers(1, 100)))]
    place = Place({name: data.draw(position) for name in names})
    for name in data.draw(st.lists(st.sampled_from(names), max_size=20)):
        place.move(name, data.draw(position))
        assert parse_place(str(place), names) == place.positions
    assert len(str(place)) <= 4096


def test_place_of_other_channels_too_says_where_these_are() -> None:
    """A page that closed half of what it showed asks with the place that it has."""
    positions = {f"/{number}/{'x' * 200}": Position("e1", number) for number in range(90)}
    place = format_place(positions)
    some = list(positions)[::2]
    assert parse_place(place, [*some, "/new"]) == {name: positions[name] for name in some} | {"/new": None}


def test_channels_that_share_a_digest_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them would else be read from the other's position, and miss messages without a word."""
    monkeypatch.setattr("hub.protocol.plain._DIGESTS", Remembered[str, str](lambda channel: channel[1:7], room=Room()))
    positions = {f"/{number % 50:06}/{number}/{'x' * 200}": Position("e1", number) for number in range(51)}
    found = parse_place(format_place(positions), list(positions))
    shared = [name for name in positions if name.startswith("/000000")]
    assert [found[name] for name in shared] == [UNKNOWN, UNKNOWN]
    assert all(found[name] == positions[name] for name in positions if name not in shared)


@given(st.text(max_size=30) | st.text("ae1~.,@-", max_size=30))
def test_reading_a_place_raises_only_declared_errors(text: str) -> None:
    try:
        parse_place(text, ["/a", "/b"])
    except ProtocolError as error:
        assert error.wire()


async def poll(http: ClientSession, url: str, **query: Any) -> dict[str, Any]:
    async with http.get(url + "/poll", params=query) as response:
        assert response.status == 200, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


class TestPoll:
    async def test_positions_lead_from_poll_to_poll(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            first = await poll(http, url, channel="a")
            assert first["messages"] == []
            await hub.publisher.publish("a", 1)
            await hub.publisher.publish("a", 2)
            second = await poll(http, url, channel="a", position=first["position"])
            assert [message["data"] for message in second["messages"]] == [1, 2]
            assert second["messages"][-1]["id"] == second["position"]
            waiting = asyncio.create_task(poll(http, url, channel="a", position=second["position"]))
            while not hub.node.subscribers("/a"):
                await asyncio.sleep(0.01)
            await hub.publisher.publish("a", 3)
            third = await waiting
            assert [message["data"] for message in third["messages"]] == [3]
            assert third["recovered"]
            assert not hub.node.registry.sessions

    async def test_channel_that_begins_with_two_slashes_misses_nothing(self) -> None:
        """It was called by the name of another channel, asked for again as that, and what came meanwhile was lost."""
        async with serving() as (url, hub), ClientSession() as http:
            first = await poll(http, url, channel=["//a", "b"], timeout="0")
            await hub.publisher.publish("//a", 1)
            await hub.publisher.publish("/a", 2)
            again = await poll(http, url, channel=["//a", "b"], position=first["position"], timeout="0")
            assert [(item["channel"], item["data"]) for item in again["messages"]] == [("//a", 1)]
            assert again["recovered"]

    async def test_a_hundred_channels_with_long_names_are_polled_again_and_again(self) -> None:
        """The first poll was answered, and each one that came with its position refused: the URL was too long."""
        names = [f"{number:02}-{'n' * 35}" for number in range(100)]
        query = [("channel", name) for name in names]
        async with serving() as (url, hub), ClientSession() as http:
            position = (await poll(http, url, channel=names))["position"]
            for number in range(3):
                await hub.publisher.publish(names[number], number)
                async with http.get(url + "/poll", params=[*query, ("position", position)]) as response:
                    assert response.status == 200, await response.text()
                    answer = await response.json()
                assert [message["data"] for message in answer["messages"]] == [number]
                assert answer["recovered"]
                position = answer["position"]

    async def test_what_is_too_long_for_a_url_comes_as_a_form(self) -> None:
        fields = [("channel", f"{number:02}-{'ñ' * 100}") for number in range(100)]
        async with serving() as (url, hub), ClientSession() as http:
            async with http.post(url + "/poll", data=fields) as response:
                assert response.status == 200, await response.text()
                place = (await response.json())["position"]
            await hub.publisher.publish(fields[7][1], 7)
            async with http.post(url + "/poll", data=[*fields, ("position", place)]) as response:
                assert [message["data"] for message in (await response.json())["messages"]] == [7]
            for body, status in ((b"channel", 400), (b"channel=\xff", 400), (b"", 400), (b"x" * 200_000, 413)):
                async with http.post(url + "/poll", data=body) as response:
                    assert response.status == status, await response.text()

    async def test_several_channels_share_a_place(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            query = [("channel", "a"), ("channel", "b/c")]
            async with http.get(url + "/poll", params=query) as response:
                place = (await response.json())["position"]
            await hub.publisher.publish("b/c", True)
            async with http.get(url + "/poll", params=[*query, ("position", place)]) as response:
                (message,) = (await response.json())["messages"]
            assert (message["channel"], message["data"]) == ("b/c", True)

    @pytest.mark.parametrize("position", ["other.7", "zzz.0"])
    async def test_foreign_position_is_told_as_lost_with_the_current_one(self, position: str) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            await hub.publisher.publish("a", 1)
            answer = await poll(http, url, channel="a", position=position)
            assert answer["recovered"] is False
            assert answer["position"] == await hub.publisher.position("a")

    async def test_time_limit_is_the_client_s_within_ours(self) -> None:
        async with serving() as (url, _), ClientSession() as http:
            place = (await poll(http, url, channel="a"))["position"]
            assert (await poll(http, url, channel="a", position=place, timeout="0.05"))["messages"] == []

    @pytest.mark.parametrize(
        "query",
        ["", "channel=", "channel=meta/x", "channel=a&position=x", "channel=a&timeout=soon", "channel=" + "a" * 300],
    )
    async def test_bad_question_gets_a_400_with_the_reason(self, query: str) -> None:
        async with serving() as (url, _), ClientSession() as http, http.get(f"{url}/poll?{query}") as response:
            assert response.status == 400
            assert (await response.text()).count(":") >= 2


class TestWebSocket:
    async def test_channels_of_the_url_with_recovery(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            since = await hub.publisher.position("a")
            await hub.publisher.publish("a", 1)
            async with http.ws_connect(f"{url}/ws?channel=a&position={since}") as socket:
                state = await socket.receive_json()
                assert state["subscribed"]["a"]["recovered"] is True
                assert (await socket.receive_json())["data"] == 1
                await hub.publisher.publish("a", 2)
                message = await socket.receive_json()
                assert (message["channel"], message["data"]) == ("a", 2)

    async def test_subscribes_and_unsubscribes_while_open(self) -> None:
        async with serving() as (url, hub), ClientSession() as http, http.ws_connect(url + "/ws") as socket:
            await socket.send_json({"subscribe": ["a", "b/*"]})
            assert set((await socket.receive_json())["subscribed"]) == {"a", "b/*"}
            await hub.publisher.publish("b/x", 1)
            assert (await socket.receive_json())["channel"] == "b/x"
            await socket.send_json({"unsubscribe": ["b/*"]})
            assert await socket.receive_json() == {"unsubscribed": ["b/*"]}
            await hub.publisher.publish("b/x", 2)
            await hub.publisher.publish("a", 3)
            assert (await socket.receive_json())["data"] == 3

    async def test_orders_said_in_one_breath_are_carried_out_in_turn(self) -> None:
        """An unsubscribe overtook the subscribe before it, which waited for the broker, and changed nothing."""
        async with serving() as (url, hub), ClientSession() as http, http.ws_connect(url + "/ws") as socket:
            await asyncio.gather(
                socket.send_json({"subscribe": ["a", "b"]}),
                socket.send_json({"unsubscribe": ["b"]}),
                socket.send_json({"subscribe": ["c"]}),
            )
            said = [next(iter((await socket.receive_json()).items())) for _ in range(3)]
            assert [(word, sorted(names)) for word, names in said] == [
                ("subscribed", ["a", "b"]),
                ("unsubscribed", ["b"]),
                ("subscribed", ["c"]),
            ]
            assert [hub.node.subscribers(channel) for channel in ("/a", "/b", "/c")] == [1, 0, 1]

    async def test_orders_that_wait_for_the_broker_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with serving() as (url, hub), ClientSession() as http, http.ws_connect(url + "/ws") as socket:
            asked, known, position = asyncio.Event(), asyncio.Event(), hub.node.broker.position

            async def late(channel: str) -> Position:
                asked.set()
                await known.wait()
                return await position(channel)

            monkeypatch.setattr(hub.node.broker, "position", late)
            await socket.send_json({"subscribe": "a0"})
            await asked.wait()
            # That one is being carried out, and of the others so many may wait.
            for number in range(1, MAX_ORDERS + 3):
                await socket.send_json({"subscribe": f"a{number}"})
            assert [await socket.receive_json() for _ in range(2)] == [{"error": "429::Too many requests"}] * 2
            known.set()
            for number in range(MAX_ORDERS + 1):
                assert list((await socket.receive_json())["subscribed"]) == [f"a{number}"]

    async def test_subscriptions_of_a_socket_are_bounded_as_a_session_s(self) -> None:
        async with serving(max_subscriptions=3) as (url, hub), ClientSession() as http:
            async with http.ws_connect(url + "/ws?channel=a&channel=b") as socket:
                await socket.receive_json()
                await socket.send_json({"subscribe": ["a", "c", "d"]})
                assert await socket.receive_json() == {"error": "403:/c:Too many subscriptions"}
                await socket.send_json({"subscribe": ["a", "c"]})
                assert set((await socket.receive_json())["subscribed"]) == {"a", "c"}
            assert hub.node.bayeux.limited["subscriptions"] == 1

    @pytest.mark.parametrize(
        "text", ["x", "7", "{}", '{"subscribe": 7}', '{"subscribe": ["meta/x"]}', '{"subscribe": []}']
    )
    async def test_bad_message_is_answered_and_the_socket_stays(self, text: str) -> None:
        async with serving() as (url, _), ClientSession() as http, http.ws_connect(url + "/ws") as socket:
            await socket.send_str(text)
            assert "error" in await socket.receive_json()
            await socket.send_json({"subscribe": "a"})
            assert "subscribed" in await socket.receive_json()

    async def test_closing_forgets_the_listener(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            async with http.ws_connect(url + "/ws?channel=a") as socket:
                await socket.receive_json()
                assert hub.node.subscribers("/a") == 1
            while hub.node.registry.sessions:
                await asyncio.sleep(0.01)
            assert not hub.node.links

    async def test_ping_is_answered_behind_all_that_was_heard(self) -> None:
        """To 300 sockets a publication is written in slices, and the answer to one of the last overtook it."""
        async with serving() as (url, hub), ClientSession(connector=TCPConnector(limit=0)) as http:
            sockets = [await http.ws_connect(f"{url}/ws?channel=a") for _ in range(300)]
            for socket in sockets:
                await socket.receive_json()
            for number in range(3):
                await hub.publisher.publish("a", number)
                for socket in sockets[::-50]:
                    await socket.send_json({"ping": number})
                for socket in sockets[::-50]:
                    heard = [await socket.receive_json(), await socket.receive_json()]
                    assert [each.get("data") for each in heard] == [number, None]
                    assert heard[1] == {"pong": number, "hears": True}
                for socket in {*sockets} - {*sockets[::-50]}:
                    assert (await socket.receive_json())["data"] == number
            await asyncio.gather(*(socket.close() for socket in sockets))

    async def test_ping_says_that_the_hub_does_not_hear_its_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(MemoryBroker, "hears", False)
        async with serving() as (url, _), ClientSession() as http, http.ws_connect(f"{url}/ws?channel=a") as socket:
            await socket.receive_json()
            await socket.send_json({"ping": 1})
            assert await socket.receive_json() == {"pong": 1, "hears": False}

    @pytest.mark.parametrize("number", [None, True, -1, 2**53, "1", [1], 1.5])
    async def test_ping_is_a_number(self, number: object) -> None:
        async with serving() as (url, _), ClientSession() as http, http.ws_connect(f"{url}/ws") as socket:
            await socket.send_json({"ping": number})
            assert (await socket.receive_json())["error"].startswith("400:ping:")

    async def test_subscriber_of_a_pattern_learns_that_some_of_it_is_kept_from_it(self) -> None:
        """`private-7` is not delivered to it, which looked as if nothing was published."""
        async with serving() as (url, _), ClientSession() as http, http.ws_connect(f"{url}/ws?channel=*") as socket:
            assert await socket.receive_json() == {"subscribed": {"*": {"hidden": True}}}
            await socket.send_json({"subscribe": ["news/*", "private-x/*"], "token": token("private-*/**")})
            assert await socket.receive_json() == {"subscribed": {"news/*": {}, "private-x/*": {}}}
            await socket.send_json({"subscribe": ["**"], "token": token("**")})
            assert await socket.receive_json() == {"subscribed": {"**": {}}}

    async def test_lost_is_said(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            async with http.ws_connect(url + "/ws?channel=a") as socket:
                await socket.receive_json()
                hub.node.lost(["/a"])
                assert await socket.receive_json() == {"lost": ["a"]}


async def events(response: ClientResponse, count: int) -> list[dict[str, str]]:
    """The next events that have data, as their fields."""
    found: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    while len(found) < count:
        line = (await response.content.readline()).decode().rstrip("\n")
        if not line:
            if "data" in fields:
                found.append(fields)
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
    return found


async def test_fanouts_test_paths_listen_to_the_channel_test() -> None:
    async with serving() as (url, hub), ClientSession() as http:
        for base in (url, f"{url}/r/{hub.settings.realm}"):
            async with http.get(f"{base}/test") as response:
                assert (response.status, (await response.text()).count("\n")) == (200, 1)
            async with http.get(f"{base}/test/sse?channel=other") as stream:
                await events(stream, 1)
                async with http.ws_connect(f"{base}/test/ws?channel=other") as socket:
                    assert set((await socket.receive_json())["subscribed"]) == {"test"}
                    await hub.publisher.publish("test", 1)
                    assert (await socket.receive_json())["data"] == 1
                (event,) = await events(stream, 1)
                assert '"channel":"test"' in event["data"]


class TestServerSentEvents:
    async def test_stream_resumes_by_the_last_event_id(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            async with http.get(url + "/sse?channel=a") as response:
                assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
                await events(response, 1)
                await hub.publisher.publish("a", 1)
                (event,) = await events(response, 1)
                last = event["id"]
            await hub.publisher.publish("a", 2)
            async with http.get(url + "/sse?channel=a", headers={"Last-Event-ID": last}) as response:
                state, event = await events(response, 2)
                assert state["event"] == "subscribed"
                assert '"data":2' in event["data"]

    async def test_unknown_id_is_told_as_lost(self) -> None:
        async with serving() as (url, _), ClientSession() as http:
            async with http.get(url + "/sse?channel=a", headers={"Last-Event-ID": "gone.4"}) as response:
                _, event = await events(response, 2)
                assert (event["event"], event["data"]) == ("lost", '["a"]')

    async def test_bayeux_deliveries_come_as_events_to_a_session_that_exists(self) -> None:
        shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["eventsource"]}
        accept = {"Accept": "text/event-stream"}
        async with serving() as (url, hub), ClientSession() as http:
            async with http.post(url + "/bayeux", json=[shake]) as answer:
                client_id = (await answer.json())[0]["clientId"]
            subscribe = {"channel": "/meta/subscribe", "clientId": client_id, "subscription": "/a"}
            async with http.post(url + "/bayeux", json=[subscribe]):
                pass
            async with http.get(f"{url}/bayeux/{client_id}", headers=accept) as response:
                await hub.publisher.publish("a", 1)
                (event,) = await events(response, 1)
                assert event["data"].startswith('[{"channel":"/a","data":1')
            async with http.get(f"{url}/bayeux/nobody", headers=accept) as response:
                assert response.status == 200
                (event,) = await events(response, 1)
                assert event["data"].startswith('[{"channel":"/meta/connect","successful":false,"error":"402:')
            async with http.get(f"{url}/bayeux/nobody", headers=accept | {"Last-Event-ID": event["id"]}) as response:
                assert response.status == 404

    @pytest.mark.parametrize("others", [0, 2, 99])
    async def test_stream_that_is_cut_in_a_long_batch_resumes_from_exactly_there(self, others: int) -> None:
        names = ["a", *(f"{'x' * 60}-{number}" for number in range(others))]
        asked = [("channel", name) for name in names]
        async with serving() as (url, hub), ClientSession() as http:
            last: dict[str, str] = {}
            heard: list[int] = []
            for count in (1, 37, 500):
                async with http.get(url + "/sse", params=asked, headers=last) as response:
                    await events(response, 1)
                    if not last:
                        await hub.publisher.publish_many([Item("a", number) for number in range(900)])
                        await hub.publisher.publish_many([Item(names[-1], number) for number in range(900, 950)])
                    found = await events(response, count)
                    last = {"Last-Event-ID": found[-1]["id"]}
                    heard += (json.loads(each["data"])["data"] for each in found)
            async with http.get(url + "/sse", params=asked, headers=last) as response:
                await events(response, 1)
                found = await events(response, 950 - 538)
                await hub.publisher.publish("a", 950)
                found += await events(response, 1)
                heard += (json.loads(each["data"])["data"] for each in found)
                # Of different channels either may come first; nothing comes twice.
                assert [number for number in heard if number < 900] == list(range(900))
                assert [number for number in heard if number >= 900] == list(range(900, 951))

    async def test_stream_of_a_hundred_channels_keeps_nobody_waiting(self) -> None:
        """Each event said where all of the channels are, spelled anew: a thousand that were recovered were a piece of
        38 ms, and a body of a hundred items one of 0.1 s for thirty such listeners, who may be strangers.
        """
        asked = [("channel", "a"), *(("channel", f"{'x' * 60}-{number}") for number in range(99))]
        async with (
            serving() as (url, hub),
            ClientSession(connector=TCPConnector(limit=0)) as http,
            contextlib.AsyncExitStack() as stack,
        ):

            async def listen(**headers: str) -> ClientResponse:
                stream = await http.get(url + "/sse", params=asked, headers=headers)
                stack.callback(stream.close)
                return stream

            streams = [await listen() for _ in range(30)]
            [state] = [(await events(stream, 1))[0] for stream in streams][:1]
            least = 1.0
            for _ in range(4):
                with pieces() as each:
                    await hub.publisher.publish_many([Item("a", number) for number in range(100)])
                    await asyncio.gather(*(events(stream, 100) for stream in streams))
                least = min(least, max(each))
            assert least < 0.02
            least = 1.0
            for _ in range(4):
                stream = await listen(**{"Last-Event-ID": state["id"]})
                with pieces() as each:
                    await events(stream, 401)
                least = min(least, max(each))
            assert least < 0.008

    async def test_what_waited_for_a_stream_is_written_in_turns_however_channels_alternate(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A thousand publications of two channels in turn were a thousand batches of one, all written at once."""
        names = ["a", *(f"{'x' * 60}-{number}" for number in range(99))]
        written: list[int] = []

        def deliver(stream: EventStream, data: bytes) -> int:
            written.append(len(data))
            return into(stream, data)

        into = EventStream.deliver
        monkeypatch.setattr(EventStream, "deliver", deliver)
        async with serving() as (url, hub), ClientSession() as http:
            async with http.get(url + "/sse", params=[("channel", name) for name in names]) as response:
                await events(response, 1)
                [session] = hub.node.registry.sessions.values()
                link = session.link
                assert isinstance(link, PlainStream)
                link.blocked = True
                session.settle()
                for number in range(1000):
                    await hub.publisher.publish(names[number % 2], number)
                    await hub.node.delivered()
                written.clear()
                link.drained()
                assert not written, "its turn comes"
                found = [json.loads(each["data"])["data"] for each in await events(response, 1000)]
                assert [number for number in found if number % 2] == list(range(1, 1000, 2))
                assert [number for number in found if number % 2 == 0] == list(range(0, 1000, 2))
                assert len(written) > 10
                assert max(written) < 40 * 1024
                await hub.publisher.publish("a", 1000)
                assert json.loads((await events(response, 1))[0]["data"])["data"] == 1000

    async def test_stream_that_a_publisher_closes_has_had_all_that_came_before(self) -> None:
        asked = [("channel", "a"), *(("channel", f"{'x' * 60}-{number}") for number in range(99))]
        async with serving() as (url, _), ClientSession() as http:
            async with http.get(url + "/sse", params=asked) as response:
                await events(response, 1)
                close = {"channel": "a", "formats": {"http-stream": {"action": "close"}}}
                items = [*({"channel": "a", "json-object": number} for number in range(500)), close]
                bearer = {"Authorization": f"Bearer {tokens.sign(REALM, KEY, time.time())}"}
                async with http.post(f"{url}/realm/{REALM}/publish/", json={"items": items}, headers=bearer) as answer:
                    assert answer.status == 200, await answer.text()
                text = (await response.read()).decode()
                assert text.count('"channel":"a","data"') == 500
