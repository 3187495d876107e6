"""Sessions outlive connections and workers: two nodes over one Redis."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from conversation import Wire
from fleet import connect, data, fleet, halt, rest, say, start, subscribe, unsubscribe

from hub.bayeux.names import WEBSOCKET
from hub.errors import BrokerUnavailable
from hub.node import Node
from hub.protocol.publications import Draft, History, Position


async def test_any_worker_continues_a_polling_session(redis_url: str) -> None:
    """No sticky routing: each request of a session goes to another node, and nothing is missed."""
    async with fleet(redis_url) as (one, two):
        client_id = await start(one, "/a")
        received: list[Any] = []
        for turn in range(10):
            await one.publish([Draft("/a", str(turn).encode())])
            node = (two, one)[turn % 2]
            messages = await say(node, connect(client_id, 2000))
            if not data(messages):
                messages = await say(node, connect(client_id, 2000))
            received += data(messages)
        assert list(dict.fromkeys(received)) == list(range(10))
        assert one.counters.carried + two.counters.carried >= 2


async def test_session_of_a_worker_that_died_goes_on(redis_url: str) -> None:
    async with fleet(redis_url) as (one, two):
        client_id = await start(one, "/a")
        await say(one, connect(client_id))
        await one.broker.close()
        await two.publish([Draft("/a", b"1"), Draft("/a", b"2")])
        assert data(await say(two, connect(client_id))) == [1, 2]


async def test_wildcards_of_a_worker_that_died_can_not_be_recovered_and_the_client_is_told(redis_url: str) -> None:
    async with fleet(redis_url) as (one, two):
        client_id = await start(one, "/a/*")
        await say(one, connect(client_id))
        await rest(one)
        await one.broker.close()
        (reply,) = await say(two, connect(client_id))
        assert not reply["successful"]
        assert reply["advice"]["reconnect"] == "handshake"


@pytest.mark.parametrize("client_id", ["x" * 40, "nobody"])
async def test_unknown_session_is_nowhere(redis_url: str, client_id: str) -> None:
    async with fleet(redis_url) as (one, _):
        (reply,) = await say(one, connect(client_id))
        assert reply["error"].startswith("402:")
        assert not one.registry.sessions


async def test_disconnect_ends_a_session_everywhere(redis_url: str) -> None:
    async with fleet(redis_url) as (one, two):
        client_id = await start(one, "/a")
        await say(one, {"channel": "/meta/disconnect", "clientId": client_id})
        await rest(one)
        assert (await say(two, connect(client_id)))[0]["error"].startswith("402:")


async def test_answer_that_was_lost_is_given_again_by_another_worker(redis_url: str) -> None:
    """Faye repeats a connect under the same id; any other id says that the answer arrived."""
    async with fleet(redis_url) as (one, two):
        client_id = await start(one, "/a")
        await say(one, connect(client_id, id="1"))
        await one.publish([Draft("/a", b"1"), Draft("/a", b"2")])
        assert data(await say(one, connect(client_id, 2000, id="2"))) == [1, 2]
        await rest(one)
        assert data(await say(two, connect(client_id, id="2"))) == [1, 2]
        await rest(two)
        assert data(await say(one, connect(client_id, id="3"))) == []
        await one.publish([Draft("/a", b"3")])
        assert data(await say(two, connect(client_id, 2000, id="4"))) == [3]


async def test_answer_that_was_not_acknowledged_is_given_again_by_another_worker(redis_url: str) -> None:
    async with fleet(redis_url) as (one, two):
        handshake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}
        client_id = (await say(one, handshake | {"ext": {"ack": True}}))[0]["clientId"]
        await say(one, {"channel": "/meta/subscribe", "clientId": client_id, "subscription": "/a"})
        await say(one, connect(client_id, ext={"ack": 0}))
        await one.publish([Draft("/a", b"1")])
        first, reply = await say(one, connect(client_id, 2000, ext={"ack": 1}))
        assert (first["data"], reply["ext"]["ack"]) == (1, 2)
        await rest(one)
        first, reply = await say(two, connect(client_id, ext={"ack": 1}))
        assert (first["data"], reply["ext"]["ack"]) == (1, 3)
        await rest(two)
        assert data(await say(one, connect(client_id, ext={"ack": 3}))) == []


async def test_acknowledgement_of_a_batch_that_died_with_its_worker_is_of_no_other(redis_url: str) -> None:
    """A worker died before it had saved that it gave an empty batch 2. The next one gave another batch 2, which got
    lost on its way: the client, which had the first, acknowledged it by its number, and never got the second."""
    async with fleet(redis_url) as (one, two):
        client_id = await start(one, "/a", ext={"ack": True})
        (reply,) = await say(one, connect(client_id, ext={"ack": 0}))
        await rest(one)

        async def fail(*arguments: Any, **options: Any) -> bool:
            raise BrokerUnavailable("gone")

        one.broker.save_session = fail  # type: ignore[method-assign]  # it dies before
        (reply,) = await say(one, connect(client_id, ext=reply["ext"]))
        await halt(one)
        await two.publish([Draft("/a", b"1")])
        lost = await say(two, connect(client_id, ext=reply["ext"]))
        assert data(lost) == [1]
        assert data(await say(two, connect(client_id, ext=reply["ext"]))) == [1]


async def test_history_that_still_waits_moves_with_the_session(redis_url: str) -> None:
    """The record said that the client was at the top when it had asked for what was before; the ledger found it."""
    async with fleet(redis_url) as (one, two):
        since = str(await one.broker.position("/a"))
        await one.publish([Draft("/a", b"1"), Draft("/a", b"2")])
        client_id = await start(one)
        message = {"channel": "/meta/subscribe", "clientId": client_id, "subscription": "/a"}
        (reply,) = await say(one, message | {"ext": {"position": {"/a": since}}})
        assert reply["ext"]["recovered"] == {"/a": True}
        await rest(one)
        assert data(await say(two, connect(client_id))) == [1, 2]


async def test_position_that_was_told_is_where_another_worker_begins(redis_url: str) -> None:
    async with fleet(redis_url) as (one, two):
        client_id = await start(one)
        message = {"channel": "/meta/subscribe", "clientId": client_id, "subscription": "/a"}
        saved = one.broker.save_session

        async def publish_first(*arguments: Any, **options: Any) -> bool:
            await two.publish([Draft("/a", b"1")])
            return await saved(*arguments, **options)

        one.broker.save_session = publish_first  # type: ignore[method-assign]  # between the answer and the record
        (reply,) = await say(one, message | {"ext": {"position": {"/a": None}}})
        assert reply["ext"]["position"]["/a"].endswith(".0")
        one.broker.save_session = saved  # type: ignore[method-assign]
        await halt(one)
        assert data(await say(two, connect(client_id))) == [1]


async def test_websocket_s_session_goes_on_elsewhere_with_what_it_may_have_missed(redis_url: str) -> None:
    async with fleet(redis_url) as (one, two):
        client_id = await start(one, "/a")
        wire = Wire()
        message = connect(client_id) | {"connectionType": "websocket"}
        one.accept([message], WEBSOCKET, wire, wire)
        while not wire.answers:
            await asyncio.sleep(0.01)
        await one.publish([Draft("/a", b"1"), Draft("/a", b"2")])
        while wire.data()[-1:] != [2]:
            await asyncio.sleep(0.01)
        other = Wire()
        two.accept([message], WEBSOCKET, other, other)
        while not other.messages:
            await asyncio.sleep(0.01)
        assert data(other.messages) == [1, 2], "what the first socket carried may not have arrived"


async def test_history_that_a_second_dead_socket_carried_is_given_again_whole(redis_url: str) -> None:
    """Every connection was cut, and a page's new one at another worker was cut again before it said anything.

    The worker looked for what that connection had carried among what it had delivered lately. Others of its clients
    had subscribed to the page's channels for a part of the time, so it found a part, and took it for all.
    """
    async with fleet(redis_url) as (one, two):
        client_id = await start(one, "/a", "/b")
        message = connect(client_id) | {"connectionType": "websocket"}
        await talk(one, message)
        neighbour = await start(two, "/a", "/b")
        await publish_to_both(one, [two], b"1")
        await say(two, unsubscribe(neighbour, "/b"))
        await publish_to_both(one, [two], b"2")
        await say(two, unsubscribe(neighbour, "/a"))
        await publish_to_both(one, [two], b"3")
        await say(two, subscribe(neighbour, "/a"), subscribe(neighbour, "/b"))
        await publish_to_both(one, [two], b"4")
        assert of_each(await talk(two, message)) == {"/a": [1, 2, 3, 4], "/b": [1, 2, 3, 4]}
        assert of_each(await talk(two, message)) == {"/a": [1, 2, 3, 4], "/b": [1, 2, 3, 4]}


async def test_session_that_moves_hears_nothing_from_before_its_subscription(redis_url: str) -> None:
    """The worker that it left read late what was published before: how far it was counted as how far the client was."""
    async with fleet(redis_url) as (one, two):
        client_id = await start(one, "/a")
        message = connect(client_id) | {"connectionType": "websocket"}
        await talk(one, message)
        await publish_to_both(two, [one], b"1")
        one.receive = lambda publications: None  # type: ignore[method-assign]  # it reads late
        await publish_to_both(two, [two], b"2")
        assert (await say(one, subscribe(client_id, "/b")))[0]["successful"]
        assert of_each(await talk(two, message)) == {"/a": [1, 2]}


@pytest.mark.parametrize("ack", [False, True])
async def test_position_that_a_client_says_counts_and_not_the_answer_that_got_lost(redis_url: str, ack: bool) -> None:
    """Its connection was cut, it said where it was, and its session moved: what the lost answer had carried was lost.

    The connect that the next worker got had another id than the lost one, which says that the answer had arrived.
    """
    async with fleet(redis_url) as (one, two):
        client_id = await start(one, ext={"ack": True} if ack else {})
        since = {"ext": {"position": {"/a": str(await one.broker.position("/a"))}}}
        await say(one, subscribe(client_id, "/a") | since)
        await say(one, connect(client_id, id="1", ext={"ack": 0}))
        await one.publish([Draft("/a", b"1")])
        answer = await say(one, connect(client_id, 2000, id="2", ext={"ack": 1}))
        assert data(answer) == [1]
        await one.publish([Draft("/a", b"2")])
        await say(one, subscribe(client_id, "/a") | since)
        await halt(one)
        number = answer[-1]["ext"]["ack"] if ack else 0
        assert data(await say(two, connect(client_id, id="3", ext={"ack": number}))) == [1, 2]


async def test_what_an_answer_carried_is_not_where_a_later_subscription_begins(redis_url: str) -> None:
    """The client unsubscribed, acknowledged what it had heard before, and subscribed again."""
    async with fleet(redis_url) as (one, two):
        client_id = await start(one, "/a")
        await say(one, connect(client_id, id="1"))
        await one.publish([Draft("/a", b"1")])
        assert data(await say(one, connect(client_id, 2000, id="2"))) == [1]
        await say(one, unsubscribe(client_id, "/a"))
        await say(one, connect(client_id, id="3"))
        await one.publish([Draft("/a", b"2")])
        await say(one, subscribe(client_id, "/a"))
        await halt(one)
        assert data(await say(two, connect(client_id, id="4"))) == []


async def test_late_publish_of_a_session_that_ended_elsewhere_is_published(redis_url: str) -> None:
    """After a handshake Faye sends waiting publishes again under the old id, and not to the same worker."""
    async with fleet(redis_url) as (one, two):
        client_id = await start(one, "/chat/a")
        await say(one, connect(client_id))
        session = one.registry.get(client_id)
        assert session is not None
        one.end_session(session, "expired")
        await rest(one)
        message = {"channel": "/chat/a", "clientId": client_id, "data": 1, "id": "9"}
        assert [reply["successful"] for reply in await say(two, message)] == [True]
        assert two.registry.get(client_id) is None, "the session does not come back by it"
        assert (await say(two, connect(client_id)))[0]["error"].startswith("402:")
        before = await one.broker.position("/chat/a")
        assert [reply["successful"] for reply in await say(one, message)] == [True]
        assert await one.broker.position("/chat/a") == before, "the same message again, at another worker"


async def test_replay_is_the_same_at_every_worker(redis_url: str) -> None:
    async with fleet(redis_url) as (one, two):
        await one.publish([Draft("/a", b"1"), Draft("/a", b"2"), Draft("/a", b"3")])
        for node in (one, two):
            for replay, expected in ((-2, [1, 2, 3]), (-1, []), (2, [3])):
                client_id = await start(node)
                message = {"channel": "/meta/subscribe", "clientId": client_id, "subscription": "/a"}
                await say(node, message | {"ext": {"replay": {"/a": replay}}})
                assert data(await say(node, connect(client_id))) == expected


async def test_session_is_continued_whole_or_not_at_all(redis_url: str) -> None:
    """The broker went away while a session was being taken over: half of it stayed, and delivered nothing more."""
    async with fleet(redis_url) as (one, two):
        client_id = await start(one, "/a", "/b")
        await say(one, connect(client_id))
        await rest(one)
        await one.broker.close()
        history = two.broker.history

        async def fail(channel: str, since: Position | None) -> History:
            if channel == "/b":
                raise BrokerUnavailable("gone")
            return await history(channel, since)

        two.broker.history = fail  # type: ignore[method-assign]  # for a moment
        (reply,) = await say(two, connect(client_id))
        assert reply["error"].startswith("503:")
        assert reply["advice"]["reconnect"] == "retry"
        two.broker.history = history  # type: ignore[method-assign]
        await two.publish([Draft("/a", b"1"), Draft("/b", b"2")])
        assert sorted(data(await say(two, connect(client_id)))) == [1, 2]


async def test_loss_while_a_session_is_taken_over_is_told_with_what_that_lost(redis_url: str) -> None:
    """The log was trimmed while the histories were read: what could not be recovered took the place of that."""
    async with fleet(redis_url) as (one, two):
        client_id = await start(one)
        position = {"ext": {"position": {"/a": None}}}
        await say(one, subscribe(client_id, "/a") | position, subscribe(client_id, "/b/*"))
        await say(one, connect(client_id))
        await rest(one)
        await one.broker.close()
        history = two.broker.history

        async def lose(channel: str, since: Position | None) -> History:
            found = await history(channel, since)
            two.lost(["/a"])
            return found

        two.broker.history = lose  # type: ignore[method-assign]
        (reply,) = await say(two, connect(client_id))
        assert reply["ext"]["lost"] == ["/a", "/b/*"]


async def talk(node: Node, message: dict[str, Any]) -> list[dict[str, Any]]:
    """What a new WebSocket carries on which this is said; its client never says that it arrived."""
    wire = Wire()
    node.accept([message], WEBSOCKET, wire, wire)
    while not wire.answers:
        await asyncio.sleep(0.01)
    await rest(node)
    return wire.messages


async def publish_to_both(node: Node, hearers: list[Node], data: bytes) -> None:
    """To /a and /b, until these nodes have read it."""
    before = [each.counters.received for each in hearers]
    await node.publish([Draft("/a", data), Draft("/b", data)])
    while any(each.counters.received < count + 2 for each, count in zip(hearers, before, strict=True)):
        await asyncio.sleep(0.01)


def of_each(messages: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """What was delivered, by channel."""
    found: dict[str, list[Any]] = {}
    for message in messages:
        if "data" in message:
            found.setdefault(message["channel"], []).append(message["data"])
    return found
