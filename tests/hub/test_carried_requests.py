"""A client's requests reach any worker, in any order and at once: what was answered successful has happened."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from changed_rules import set_access
from conversation import Wire
from fleet import (
    Request,
    arrive,
    connect,
    data,
    disconnect,
    fleet,
    halt,
    hold,
    owners,
    rest,
    say,
    start,
    subscribe,
    unsubscribe,
    wake,
)
from test_access import NOW, new_access, token

from hub.bayeux.limits import Limits
from hub.bayeux.names import CALLBACK_POLLING, EVENTSOURCE, WEBSOCKET
from hub.bayeux.rules import Bayeux
from hub.brokers.redis import RedisBroker
from hub.errors import BrokerUnavailable
from hub.ids import new_id
from hub.node import Node
from hub.presence.pace import Pace
from hub.protocol.access import Access, parse_rules
from hub.protocol.publications import Draft
from hub.reporter import Reporter
from hub.sessions.registry import Registry


def unavailable(*arguments: Any, **options: Any) -> Any:
    raise BrokerUnavailable("gone")


async def stream_of(node: Node, client_id: str) -> Wire:
    """A session goes on on an event stream here."""
    await say(node, connect(client_id))
    session, stream = await node.session(client_id), Wire()
    assert session is not None
    node.attach(stream)
    node.move(session, stream, "")
    return stream


class TestAtOnce:
    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    async def test_subscribe_and_connect_at_two_workers_both_happen(
        self, redis_url: str, order: tuple[int, int]
    ) -> None:
        """Both were answered successful, and each worker took the session from the other: one did not know of the
        subscription and saved its record last, so that the client heard nothing of 17 publications in 80 s."""
        async with fleet(redis_url) as nodes:
            for turn in range(20):
                client_id = await start(nodes[turn % 2])
                channel = f"/a{turn}"
                replies = await asyncio.gather(
                    say(nodes[order[0]], subscribe(client_id, channel)), say(nodes[order[1]], connect(client_id))
                )
                assert [reply[-1]["successful"] for reply in replies] == [True, True]
                held = await hold(nodes[(turn + order[0]) % 2], client_id)
                await nodes[0].publish([Draft(channel, b"1")])
                assert data(await held.answer()) == [1]
                assert len(owners(nodes, client_id)) == 1

    @pytest.mark.parametrize("count", [2, 4])
    async def test_subscribes_at_several_workers_while_a_poll_is_held_all_stand(
        self, redis_url: str, count: int
    ) -> None:
        """CometD and Faye clients with five subscribes 100 ms apart were deaf to all of them in most pages."""
        async with fleet(redis_url, count) as nodes:
            client_id = await start(nodes[0])
            await say(nodes[1], connect(client_id))
            held = await hold(nodes[-1], client_id)
            names = [f"/a{number}" for number in range(8)]
            answers = await asyncio.gather(
                *(say(nodes[number % count], subscribe(client_id, name)) for number, name in enumerate(names))
            )
            assert all(reply["successful"] for (reply,) in answers)
            assert held.is_held, "a subscribe does not end the poll"
            heard = []
            for number, name in enumerate(names):
                await nodes[number % count].publish([Draft(name, b"%d" % number)])
                heard += data(await held.answer())
                held = await hold(nodes[number % count], client_id)
            assert heard == list(range(8))

    async def test_second_poll_at_another_worker_releases_the_first(self, redis_url: str) -> None:
        """The first was answered successful with the advice to shake hands, at which CometD's client throws."""
        async with fleet(redis_url, 3) as nodes:
            client_id = await start(nodes[0], "/a")
            await say(nodes[0], connect(client_id))
            first = await hold(nodes[1], client_id, id="1")
            second = await hold(nodes[2], client_id, id="2")
            (reply,) = await first.answer()
            assert reply["error"].startswith("408:")
            assert reply["advice"]["reconnect"] == "retry"
            await nodes[1].publish([Draft("/a", b"1")])
            assert data(await second.answer()) == [1]

    async def test_polls_at_two_workers_at_the_same_moment_leave_one_that_hears(self, redis_url: str) -> None:
        async with fleet(redis_url, 3) as nodes:
            client_id = await start(nodes[0], "/a")
            await say(nodes[0], connect(client_id))
            polls = [Request(nodes[number], connect(client_id, 5000, id=str(number))) for number in (1, 2, 0)]
            await arrive()
            (last,) = [poll for poll in polls if poll.is_held]
            await nodes[1].publish([Draft("/a", b"1")])
            assert data(await last.answer()) == [1]
            for poll in polls:
                if poll is not last:
                    assert [reply["advice"]["reconnect"] for reply in await poll.answer()] == ["retry"]

    @pytest.mark.parametrize("seed", range(12))
    async def test_whatever_was_answered_last_of_a_channel_is_how_it_is(self, redis_url: str, seed: int) -> None:
        """Subscribes and unsubscribes in a random order over four workers, one a channel at a time, polls between."""
        dice = random.Random(seed)
        async with fleet(redis_url, 4) as nodes:
            client_id = await start(dice.choice(nodes))
            heard: list[Any] = []
            stop = asyncio.Event()

            async def poll() -> None:
                while not stop.is_set():
                    messages = await say(dice.choice(nodes), connect(client_id, 300))
                    assert messages[-1]["successful"], messages
                    heard.extend(data(messages))

            async def change(channel: str) -> bool:
                listens = False
                for _ in range(10):
                    listens = not listens
                    message = subscribe(client_id, channel) if listens else unsubscribe(client_id, channel)
                    (reply,) = await say(dice.choice(nodes), message)
                    assert reply["successful"]
                    await asyncio.sleep(dice.choice([0.0, 0.005]))
                if dice.random() < 0.5:
                    (reply,) = await say(dice.choice(nodes), subscribe(client_id, channel))
                    listens = reply["successful"]
                return listens

            polling = asyncio.create_task(poll())
            channels = [f"/{seed}/{number}" for number in range(5)]
            listens = await asyncio.gather(*map(change, channels))
            for channel in channels:
                await dice.choice(nodes).publish([Draft(channel, b'"%b"' % channel.encode())])
            expected = [channel for channel, each in zip(channels, listens, strict=True) if each]
            async with asyncio.timeout(20):
                while not set(expected) <= set(heard):
                    await asyncio.sleep(0.05)
            stop.set()
            await polling
            assert sorted(heard) == sorted(expected)


class TestElsewhere:
    """The session is at one worker, a poll is held, and something is asked at another."""

    async def test_what_was_unsubscribed_is_not_heard(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a", "/b")
            await say(one, connect(client_id))
            held = await hold(one, client_id)
            assert (await say(two, unsubscribe(client_id, "/a")))[0]["successful"]
            assert held.is_held
            await two.publish([Draft("/a", b"1"), Draft("/b", b"2")])
            assert data(await held.answer()) == [2]

    async def test_disconnect_ends_the_poll_and_the_session_everywhere(self, redis_url: str) -> None:
        async with fleet(redis_url) as nodes:
            one, two = nodes
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            held = await hold(one, client_id)
            assert (await say(two, disconnect(client_id)))[0]["successful"]
            (reply,) = await held.answer()
            assert reply["advice"]["reconnect"] == "none"
            for node in nodes:
                assert (await say(node, connect(client_id)))[0]["error"].startswith("402:")
            assert owners(nodes, client_id) == []

    async def test_disconnect_is_answered_once_no_worker_can_go_on_with_the_session(self, redis_url: str) -> None:
        """The record was ended after the answer: another worker that was asked in between went on with it."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            replies = await asyncio.gather(say(one, disconnect(client_id)), say(two, connect(client_id)))
            assert replies[0][0]["successful"]
            assert (await say(two, connect(client_id)))[0]["error"].startswith("402:")
            assert (await say(one, connect(client_id)))[0]["error"].startswith("402:")

    async def test_wildcards_are_heard_through_any_worker(self, redis_url: str) -> None:
        """Their session had to begin anew whenever a poll reached another worker: they can't be recovered."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a/*")
            await say(two, connect(client_id))
            for number, node in enumerate((one, two, two, one)):
                held = await hold(node, client_id)
                await one.publish([Draft("/a/b", b"%d" % number)])
                assert data(await held.answer()) == [number]

    async def test_publish_is_counted_by_the_session_s_own_allowance(self, redis_url: str) -> None:
        """Each worker had one of its own: with four of them a client could publish four times as much."""
        async with fleet(redis_url, 3, publish_rate=1.0) as nodes:
            client_id = await start(nodes[0])
            await say(nodes[0], connect(client_id))
            replies = []
            for number in range(6):
                message = {"channel": "/chat/a", "clientId": client_id, "data": number, "id": str(number)}
                replies += await say(nodes[number % 3], message)
            assert [reply["successful"] for reply in replies] == [True, True, False, False, False, False]
            assert replies[-1]["error"].startswith("429:")

    async def test_position_and_history_come_with_the_carried_reply(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, two):
            since = str(await one.broker.position("/a"))
            await one.publish([Draft("/a", b"1"), Draft("/a", b"2")])
            client_id = await start(one)
            await say(one, connect(client_id))
            held = await hold(one, client_id)
            (reply,) = await say(two, subscribe(client_id, "/a", ext={"position": {"/a": since}}))
            assert reply["ext"]["recovered"] == {"/a": True}
            assert data(await held.answer()) == [1, 2]

    async def test_callback_polling_is_carried_as_such(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            message = connect(client_id) | {"connectionType": CALLBACK_POLLING}
            assert (await say(two, message, transport=CALLBACK_POLLING))[0]["successful"]
            held = Request(two, message | {"advice": {"timeout": 5000}}, transport=CALLBACK_POLLING)
            await arrive()
            await two.publish([Draft("/a", b"1")])
            assert data(await held.answer()) == [1]

    async def test_poll_beside_an_event_stream_leaves_it_where_it_is(self, redis_url: str) -> None:
        """Another worker that got the poll took the session from its stream; so streams were not offered."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            stream = Wire()
            session = await one.session(client_id)
            assert session is not None
            one.move(session, stream, "")
            for node in (two, one, two):
                (reply,) = await say(node, connect(client_id) | {"connectionType": EVENTSOURCE})
                assert reply["successful"]
            await two.publish([Draft("/a", b"1")])
            async with asyncio.timeout(20):
                while not stream.messages:
                    await asyncio.sleep(0.01)
            assert stream.data() == [1]
            assert stream.left is None

    async def test_event_stream_brings_its_session_along(self, redis_url: str) -> None:
        async with fleet(redis_url) as nodes:
            one, two = nodes
            client_id = await start(one, "/a")
            session = await two.session(client_id)
            assert session is not None
            assert owners(nodes, client_id) == [two]
            stream = Wire()
            two.move(session, stream, "")
            await one.publish([Draft("/a", b"1")])
            async with asyncio.timeout(20):
                while not stream.messages:
                    await asyncio.sleep(0.01)
            assert stream.data() == [1]

    @pytest.mark.parametrize("through", range(3))
    async def test_poll_that_is_held_while_a_stream_opens_at_another_worker_ends_well(
        self, redis_url: str, through: int
    ) -> None:
        """Faye sends it before it knows that its stream has opened. A quarter of the pages were told 408."""
        async with fleet(redis_url, 3) as nodes:
            one, two, _ = nodes
            client_id = await start(one, "/a")
            await say(one, connect(client_id, id="1"))
            held = await hold(nodes[through], client_id, id="2")
            await one.publish([Draft("/a", b"1")])
            assert data(await held.answer()) == [1]
            held = await hold(nodes[through], client_id, id="3")
            session = await two.session(client_id)
            assert session is not None
            (reply,) = await held.answer()
            assert reply["successful"]
            assert reply["advice"]["reconnect"] == "retry"
            assert 0 < reply["advice"]["interval"] <= 2000, "not at once, and soon if no stream opens"
            await one.publish([Draft("/a", b"2")])
            stream = Wire()
            two.attach(stream)
            two.move(session, stream, "")
            (reply,) = await say(one, connect(client_id, id="4") | {"connectionType": EVENTSOURCE})
            assert reply["successful"]
            await one.publish([Draft("/a", b"3")])
            heard: list[Any] = []
            async with asyncio.timeout(20):
                while len(heard) < 2:
                    heard += stream.data()
                    await asyncio.sleep(0.01)
            assert heard + stream.data() == [2, 3]
            assert stream.left is None
            assert owners(nodes, client_id) == [two]

    async def test_poll_that_is_held_while_no_stream_opens_after_all_is_followed_by_one_that_hears(
        self, redis_url: str
    ) -> None:
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id, id="1"))
            held = await hold(one, client_id, id="2")
            assert await two.session(client_id) is not None
            assert (await held.answer())[0]["successful"]
            await one.publish([Draft("/a", b"1")])
            assert data(await say(one, connect(client_id, 5000, id="3"))) == [1]

    async def test_unmatched_batches_of_several_sessions_are_answered_whole(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, two):
            first, second = await start(one, "/a"), await start(two, "/a")
            replies = await say(two, subscribe(first, "/b"), subscribe(second, "/b"), connect("nobody"))
            assert [reply["successful"] for reply in replies] == [True, True, False]
            await one.publish([Draft("/b", b"1")])
            for client_id in (first, second):
                heard = data(await say(one, connect(client_id)))
                assert (heard or data(await say(one, connect(client_id, 5000)))) == [1]

    async def test_session_follows_its_polls(self, redis_url: str) -> None:
        """A browser's polls stay on one connection, and so with one worker: they are not carried for ever."""
        async with fleet(redis_url) as nodes:
            one, two = nodes
            client_id = await start(one, "/a")
            heard: list[Any] = []
            for number in range(12):
                await one.publish([Draft("/a", b"%d" % number)])
                heard += data(await say(two, connect(client_id, 500, id=str(number))))
            assert owners(nodes, client_id) == [two]
            assert two.counters.carried <= 6
            heard += data(await say(two, connect(client_id, 300, id="x")))
            assert heard == list(range(12))
            await say(one, subscribe(client_id, "/b"))
            assert owners(nodes, client_id) == [two]

    @pytest.mark.parametrize("patterns", [["/a/*"], ["/a", "/b/**"]])
    async def test_session_with_wildcards_stays(self, redis_url: str, patterns: list[str]) -> None:
        """They can't be recovered."""
        async with fleet(redis_url) as nodes:
            one, two = nodes
            client_id = await start(one, *patterns)
            for _ in range(10):
                assert (await say(two, connect(client_id)))[0]["successful"]
            assert owners(nodes, client_id) == [one]

    async def test_session_whose_polls_alternate_stays(self, redis_url: str) -> None:
        async with fleet(redis_url) as nodes:
            client_id = await start(nodes[0], "/a")
            for turn in range(12):
                await say(nodes[turn % 2], connect(client_id))
            assert owners(nodes, client_id) == [nodes[0]]
            assert nodes[0].counters.moved == 0

    async def test_large_request_moves_its_session_instead(self, redis_url: str) -> None:
        """What is published goes through the broker once, not as mail besides."""
        async with fleet(redis_url) as nodes:
            one, two = nodes
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            held = await hold(one, client_id)
            message = {"channel": "/chat/a", "clientId": client_id, "data": "x" * 100_000, "id": "1"}
            assert (await say(two, message))[0]["successful"]
            assert owners(nodes, client_id) == [two]
            assert (await held.answer())[0]["advice"]["reconnect"] == "retry"

    async def test_request_whose_mail_got_lost_is_refused_in_the_end(self, redis_url: str) -> None:
        """It was routed anew, and took the place of the poll that its client had begun meanwhile."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(two, connect(client_id))
            one.carrier.take = lambda message: None  # type: ignore[method-assign]  # it is lost
            request = Request(two, connect(client_id, 5000))
            await arrive()
            assert request.is_held
            two.carrier._longest = 0.0
            (reply,) = await request.answer()
            assert (reply["error"][:3], request.poll.status) == ("503", 503)

    async def test_answer_that_the_broker_does_not_take_is_sent_again(self, redis_url: str) -> None:
        """Whoever waited for it waited for a minute."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(two, connect(client_id))
            held = await hold(two, client_id)
            mail, one.broker.mail = one.broker.mail, unavailable  # type: ignore[method-assign]  # for a moment
            await one.publish([Draft("/a", b"1")])
            await arrive()
            one.broker.mail = mail  # type: ignore[method-assign]
            assert data(await held.answer()) == [1]


class TestLate:
    """Connects that a worker which stood still sends on when it wakes; their clients have asked again since."""

    async def test_connect_that_came_before_the_newest_takes_nothing(self, redis_url: str) -> None:
        """A poll of ten seconds ago was taken for the newest: it said that the last answer had arrived, and what waited
        was given to a client that had hung up. In the ledger, a worker stopped for 10 s: 9 to 11 silent losses.
        """
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id, id="1"))
            await one.publish([Draft("/a", b"1")])
            assert data(await say(one, connect(client_id, id="7"))) == [1]
            await one.publish([Draft("/a", b"2")])
            late = Request(two, connect(client_id, id="4"), began=two.time() - 5)
            (reply,) = await late.answer()
            assert (reply["successful"], reply["error"][:3]) == (False, "408")
            assert reply["advice"]["interval"] > 0
            assert data(await say(one, connect(client_id, id="8"))) == [2]

    async def test_held_connect_is_not_superseded_by_an_older_one(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id, id="1"))
            held = await hold(one, client_id, id="7")
            await Request(two, connect(client_id, 5000, id="4"), began=two.time() - 5).answer()
            await one.publish([Draft("/a", b"1")])
            assert data(await held.answer()) == [1]

    async def test_signs_of_life_beside_a_stream_may_overtake_each_other(self, redis_url: str) -> None:
        """Faye's were refused on a busy machine, of 15 of 60 pages. They carry nothing and say nothing of what came."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            beside = {"connectionType": EVENTSOURCE}
            for number, ago in enumerate((0, 5)):
                late = Request(two, connect(client_id, id=str(number)) | beside, began=two.time() - ago)
                assert (await late.answer())[0]["successful"]

    async def test_connect_that_waited_and_is_the_newest_all_the_same_is_taken(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id, id="1"))
            session = one.registry.get(client_id)
            assert session is not None
            session.polled = one.time() - 9
            await one.publish([Draft("/a", b"1")])
            assert data(await Request(two, connect(client_id, id="2"), began=two.time() - 5).answer()) == [1]


class TestEnded:
    @pytest.mark.parametrize("reason", ["lost", "expired"])
    async def test_session_that_its_owner_ended_goes_on_nowhere(self, redis_url: str, reason: str) -> None:
        """Another worker asked for it before its record said so, and went on with what the record had: a subscribe that
        was answered successful a moment before the end was in nothing (the simulator, seed 1002296).
        """
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            session = one.registry.get(client_id)
            assert session is not None
            one.end_session(session, reason)
            await two.carrier.ask_for(one.broker.worker, client_id)  # type: ignore[attr-defined]  # a Redis broker's
            (reply,) = await say(two, connect(client_id))
            assert reply["error"].startswith("402:")
            assert reply["advice"]["reconnect"] == "handshake"

    @pytest.mark.parametrize("heard", ["never", "after the end"])
    async def test_session_that_ended_while_a_claim_was_not_heard_of_goes_on_nowhere(
        self, redis_url: str, monkeypatch: pytest.MonkeyPatch, heard: str
    ) -> None:
        """Its end was written with the fence before, and refused: the record went on without a subscription that had
        been answered successful (the simulator, seed 1280454).
        """
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            session = one.registry.get(client_id)
            assert session is not None
            claim_session, arrived, goes_on = one.broker.claim_session, asyncio.Event(), asyncio.Event()

            async def claim(*arguments: Any, **options: Any) -> Any:
                found = await claim_session(*arguments, **options)
                arrived.set()
                if heard == "never":
                    raise BrokerUnavailable("no answer")
                await goes_on.wait()
                return found

            with monkeypatch.context() as patched:
                patched.setattr(one.broker, "save_session", unavailable)
                patched.setattr(one.broker, "claim_session", claim)
                await one.store.save_later(session)
                saving = asyncio.create_task(one.store.save_later(session))
                await arrived.wait()
                if heard == "never":
                    await saving
            one.end_session(session, "lost")
            goes_on.set()
            await saving
            await rest(one)
            (reply,) = await say(two, connect(client_id))
            assert reply["error"].startswith("402:")


class TestLinks:
    async def test_websocket_and_polls_of_a_session_take_turns_at_two_workers(self, redis_url: str) -> None:
        async with fleet(redis_url) as nodes:
            one, two = nodes
            client_id = await start(one, "/a")
            received: list[Any] = []
            for turn in range(4):
                node = nodes[(turn + 1) % 2]
                wire = Wire()
                node.attach(wire)
                node.accept([connect(client_id) | {"connectionType": WEBSOCKET}], WEBSOCKET, wire, wire)
                async with asyncio.timeout(20):
                    while not wire.answers:
                        await asyncio.sleep(0.01)
                await one.publish([Draft("/a", b"%d" % (2 * turn))])
                async with asyncio.timeout(20):
                    while not any("data" in message for message in wire.messages):
                        await asyncio.sleep(0.01)
                received += wire.data()
                node.detach(wire, node.registry.get(client_id))
                await two.publish([Draft("/a", b"%d" % (2 * turn + 1))])
                messages = await say(nodes[turn % 2], connect(client_id, 5000))
                received += data(messages)
                received += data(await say(nodes[turn % 2], connect(client_id, 0)))
            assert list(dict.fromkeys(received)) == list(range(8))

    async def test_websocket_that_has_gone_takes_no_session_from_where_its_client_is(self, redis_url: str) -> None:
        """Its worker was going, and went on to ask for the session of which another connection was at the owner."""
        async with fleet(redis_url) as nodes:
            one, two = nodes
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            held = await hold(one, client_id)
            wire = Wire()
            two.attach(wire)
            two.accept([connect(client_id) | {"connectionType": WEBSOCKET}], WEBSOCKET, wire, wire)
            two.detach(wire, None)
            await rest(two)
            await arrive()
            assert held.is_held
            assert owners(nodes, client_id) == [one]

    async def test_what_a_socket_brings_from_before_its_client_went_on_elsewhere_undoes_nothing(
        self, redis_url: str
    ) -> None:
        """A worker stood still with a subscribe unread. Its client went to another worker, and unsubscribed there; the
        one that woke took the session back and subscribed (the simulator, seed 2166261).
        """
        async with fleet(redis_url) as nodes:
            one, two = nodes
            client_id = await start(one, "/a")
            wire = Wire()
            one.attach(wire)
            one.accept([connect(client_id) | {"connectionType": WEBSOCKET}], WEBSOCKET, wire, wire)
            await rest(one)
            await halt(one)
            assert (await say(two, unsubscribe(client_id, "/b")))[0]["successful"]
            wake(one)
            one.accept([subscribe(client_id, "/b")], WEBSOCKET, wire, wire)
            # The end of the connection is read with it.
            one.detach(wire, one.registry.get(client_id))
            await rest(one)
            await arrive()
            assert owners(nodes, client_id) == [two]
            session = two.registry.get(client_id)
            assert session is not None
            assert session.patterns == ["/a"]

    async def test_stream_of_a_worker_that_stood_still_waits_though_nothing_had_come_before(
        self, redis_url: str
    ) -> None:
        """It was not held back where the worker had received nothing in its last lease: what had come in none counted
        as the same (the simulator, seed 2131996).
        """
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            session = await one.session(client_id)
            assert session is not None
            stream = Wire()
            one.attach(stream)
            one.move(session, stream, "")
            await rest(one)
            assert one.counters.received == 0
            await halt(one)
            assert (await say(two, unsubscribe(client_id, "/a")))[0]["successful"]
            await two.publish([Draft("/a", b"1")])
            broker = one.broker
            assert isinstance(broker, RedisBroker)
            broker._tasks.append(asyncio.create_task(broker._read_on()))
            async with asyncio.timeout(20):
                while not one.counters.received or stream.left is None:
                    await asyncio.sleep(0.01)
            assert stream.data() == []
            wake(one)

    async def test_poll_held_at_another_worker_gives_way_to_a_websocket(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            held = await hold(one, client_id)
            wire = Wire()
            two.accept([connect(client_id) | {"connectionType": WEBSOCKET}], WEBSOCKET, wire, wire)
            (reply,) = await held.answer()
            assert reply["advice"]["reconnect"] == "retry"
            async with asyncio.timeout(20):
                while not wire.answers:
                    await asyncio.sleep(0.01)
            await one.publish([Draft("/a", b"1")])
            async with asyncio.timeout(20):
                while wire.data() != [1]:
                    await asyncio.sleep(0.01)

    async def test_record_of_a_session_that_only_has_a_link_does_not_expire(
        self, redis_url: str, redis_server: Any
    ) -> None:
        """It was saved with its last subscription; a request at another worker was unknown 75 s later."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            wire = Wire()
            one.attach(wire)
            one.accept([connect(client_id) | {"connectionType": WEBSOCKET}], WEBSOCKET, wire, wire)
            await rest(one)
            session = one.registry.get(client_id)
            assert session is not None
            key = f"{one.broker._log._prefix}:c:{client_id}"  # type: ignore[attr-defined]  # a Redis broker's
            redis_server.command("DEL", key)
            one.deadlines._session_due(session)
            await rest(one)
            assert b":1" in redis_server.command("EXISTS", key)
            redis_server.command("DEL", key)
            one.detach(wire, session)
            await rest(one)
            assert (await say(two, connect(client_id)))[0]["successful"], "and when the link is cut"

    async def test_history_that_went_out_on_a_stream_that_was_cut_is_given_to_the_next(self, redis_url: str) -> None:
        """It is in nothing that the worker delivered lately: the session had to begin anew."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            await rest(one)
            await one.broker.close()
            await two.publish([Draft("/a", b"1"), Draft("/a", b"2")])
            for _ in range(3):
                session = await two.session(client_id)
                assert session is not None
                stream = Wire()
                two.attach(stream)
                two.move(session, stream, "")
                assert stream.left is None
                assert stream.data() == [1, 2]
                two.detach(stream, session)
            assert data(await say(two, connect(client_id))) == [1, 2]

    async def test_history_that_went_out_on_a_stream_is_given_to_a_poll_that_is_carried(self, redis_url: str) -> None:
        """Faye repeats a poll from before its stream opened. At the stream's own worker the session went on, through
        another one it was ended."""
        async with fleet(redis_url, 3) as (one, two, three):
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            await rest(one)
            await one.broker.close()
            await two.publish([Draft("/a", b"1"), Draft("/a", b"2")])
            session, stream = await two.session(client_id), Wire()
            assert session is not None
            two.attach(stream)
            two.move(session, stream, "")
            assert stream.data() == [1, 2]
            assert data(await say(three, connect(client_id))) == [1, 2]
            assert stream.left is not None

    @pytest.mark.parametrize("streams", ["nowhere", "at the new worker"])
    async def test_what_a_lost_answer_carried_outlives_a_stream_that_opened_after_it(
        self, redis_url: str, streams: str
    ) -> None:
        """The client's network changed as the answer came, and its stream opened all the same. When the session moved,
        the stream's mark was taken for the client's: what the repeated poll asked for was lost (the simulator, seeds
        1229340 and 1235276)."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id, id="1"))
            await rest(one)
            await one.publish([Draft("/a", b"1")])
            assert data(await say(one, connect(client_id, id="2"))) == [1]
            session, stream = await one.session(client_id), Wire()
            assert session is not None
            one.attach(stream)
            one.move(session, stream, "")
            one.detach(stream, session)
            await one.publish([Draft("/a", b"2")])
            if streams == "at the new worker":
                session, stream = await two.session(client_id), Wire()
                assert session is not None
                two.attach(stream)
                two.move(session, stream, "")
                two.detach(stream, session)
            else:
                await two.router.bring(client_id, resumes=True)
            heard = data(await say(two, connect(client_id, id="2")))
            heard += data(await say(two, connect(client_id, id="3")))
            assert heard == [1, 2]

    async def test_second_stream_that_opens_at_the_same_time_goes_on_with_the_session(self, redis_url: str) -> None:
        """Its client's network changed twice. The first stream, of which nobody was left, took a history with it while
        the second one's head was written; the session was ended as not recovered."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            await rest(one)
            await one.broker.close()
            await two.publish([Draft("/a", b"1"), Draft("/a", b"2")])
            session = await two.session(client_id)
            assert session is not None
            for wire in (Wire(), Wire()):
                found = await two.session_still(session)
                assert found is not None
                two.attach(wire)
                two.move(found, wire, "")
                assert wire.left is None
                assert wire.data() == [1, 2]
            await say(two, disconnect(client_id))
            assert found.ended
            assert await two.session_still(found) is found, "nobody asks for it again"


class TestAnswers:
    async def test_carried_answer_that_could_not_be_written_is_given_again(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(two, connect(client_id))
            held = await hold(two, client_id)
            await one.publish([Draft("/a", b"1")])
            assert data(await held.answer(written=False)) == [1]
            assert data(await say(one, connect(client_id))) == [1]
            assert data(await say(two, connect(client_id))) == []

    async def test_client_that_leaves_a_carried_poll_loses_nothing(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(two, connect(client_id))
            held = await hold(two, client_id)
            two.abandon(held.poll)
            await arrive()
            session = one.registry.get(client_id)
            assert session is not None
            assert session.hold is None
            await one.publish([Draft("/a", b"1")])
            assert data(await say(two, connect(client_id, 5000))) == [1]

    async def test_answer_whose_worker_died_before_writing_it_is_given_again(self, redis_url: str) -> None:
        """The next connect has another id, which says that the answer arrived; but it never left its worker."""
        async with fleet(redis_url, 3) as (one, two, three):
            client_id = await start(one, "/a")
            await say(two, connect(client_id, id="1"))
            held = await hold(two, client_id, id="2")
            await one.publish([Draft("/a", b"1")])
            async with asyncio.timeout(20):
                while held.is_held:
                    await asyncio.sleep(0.01)
            await halt(two)
            assert data(await say(three, connect(client_id, id="3"))) == [1]

    @pytest.mark.parametrize("way", ["stop", "move", "stay"])
    async def test_answer_that_was_not_written_is_given_again_though_its_owner_had_no_word_of_that(
        self, redis_url: str, way: str
    ) -> None:
        """A client left its poll as the owner answered it, which stopped while the word of that was on its way. Its
        record said that the answer was sent, and the next worker took the next connect for the word that it arrived."""
        async with fleet(redis_url, 3) as (one, two, three):
            client_id = await start(one, "/a")
            await say(two, connect(client_id, id="1"))
            held = await hold(two, client_id, id="2")
            await one.publish([Draft("/a", b"1")])
            async with asyncio.timeout(20):
                while held.is_held:
                    await asyncio.sleep(0.01)
            wire = Wire()
            if way == "stop":
                going: Any = asyncio.create_task(one.stop())
            elif way == "move":
                going = asyncio.create_task(three.session(client_id))
            else:
                going = asyncio.create_task(arrive())
                one.attach(wire)
                one.accept([connect(client_id, id="3") | {"connectionType": WEBSOCKET}], WEBSOCKET, wire, wire)
            await arrive()
            two.abandon(held.poll)
            await going
            if way == "stay":
                async with asyncio.timeout(20):
                    while not wire.data():
                        await asyncio.sleep(0.01)
            assert (wire.data() or data(await say(three, connect(client_id, id="3")))) == [1]

    async def test_owner_that_goes_does_not_wait_for_that_word_for_long(self, redis_url: str) -> None:
        async with fleet(redis_url, 3) as (one, two, three):
            client_id = await start(one, "/a")
            await say(two, connect(client_id, id="1"))
            held = await hold(two, client_id, id="2")
            await one.publish([Draft("/a", b"1")])
            async with asyncio.timeout(20):
                while held.is_held:
                    await asyncio.sleep(0.01)
            assert await three.session(client_id) is not None
            assert data(await say(three, connect(client_id, id="3"))) == [1]

    async def test_answer_that_came_while_a_worker_stood_still_is_asked_for_again(self, redis_url: str) -> None:
        """Its inbox was thrown away with the lease; the owner is alive, so nothing was found to be wrong for 55 s."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(two, connect(client_id))
            held = await hold(two, client_id)
            await halt(two)
            await one.publish([Draft("/a", b"1")])
            await arrive()
            wake(two)
            assert data(await held.answer()) == [1]

    async def test_request_that_came_while_its_owner_stood_still_is_sent_again(self, redis_url: str) -> None:
        async with fleet(redis_url) as nodes:
            one, two = nodes
            client_id = await start(one, "/a")
            await say(two, connect(client_id))
            for task in one.broker._tasks:  # type: ignore[attr-defined]  # a Redis broker's
                if task.get_name() == "redis reader":
                    task.cancel()
            request = Request(two, subscribe(client_id, "/b"))
            await arrive()
            await halt(one)
            wake(one)
            (reply,) = await request.answer()
            assert reply["successful"]
            await two.publish([Draft("/b", b"1")])
            assert data(await say(two, connect(client_id, 5000))) == [1]

    async def test_poll_of_a_worker_that_died_counts_as_left(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(two, connect(client_id))
            await hold(two, client_id)
            await halt(two)
            async with asyncio.timeout(20):
                while (session := one.registry.get(client_id)) is not None and session.hold is not None:
                    await asyncio.sleep(0.05)


class TestOwnersThatGo:
    async def test_killed_owner_s_sessions_go_on_with_all_that_was_answered(self, redis_url: str) -> None:
        async with fleet(redis_url, 3) as (one, two, three):
            client_id = await start(one, "/a", "/b")
            await say(two, connect(client_id))
            assert (await say(three, unsubscribe(client_id, "/b")))[0]["successful"]
            assert (await say(three, subscribe(client_id, "/c")))[0]["successful"]
            await halt(one)
            await two.publish([Draft("/a", b"1"), Draft("/b", b"2"), Draft("/c", b"3")])
            assert sorted(data(await say(two, connect(client_id)))) == [1, 3]
            assert two.counters.taken_over == 1

    async def test_poll_that_a_killed_owner_held_goes_on_by_itself(self, redis_url: str) -> None:
        """Its client notices nothing: the worker it is connected to takes the session over."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(two, connect(client_id))
            held = await hold(two, client_id)
            await halt(one)
            async with asyncio.timeout(20):
                while client_id not in two.registry.sessions:
                    await asyncio.sleep(0.05)
            await two.publish([Draft("/a", b"1")])
            assert data(await held.answer()) == [1]

    async def test_owner_that_says_nothing_loses_its_sessions_when_its_lease_is_over(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            for task in one.broker._tasks:  # type: ignore[attr-defined]  # a Redis broker's
                task.cancel()
            assert (await say(two, subscribe(client_id, "/b")))[0]["successful"]
            await two.publish([Draft("/b", b"1")])
            assert data(await say(two, connect(client_id, 5000))) == [1]

    async def test_stopped_owner_that_wakes_answers_nothing_for_a_session_it_lost(self, redis_url: str) -> None:
        async with fleet(redis_url) as nodes:
            one, two = nodes
            client_id = await start(one, "/a", "/b")
            await say(one, connect(client_id))
            held = await hold(one, client_id)
            await halt(one)
            assert (await say(two, unsubscribe(client_id, "/a")))[0]["successful"]
            await two.publish([Draft("/a", b"1"), Draft("/b", b"2")])
            wake(one)
            answer = await held.answer()
            assert data(answer) == [], "the session is another worker's now"
            assert (answer[0]["successful"], answer[0]["advice"]["reconnect"]) == (True, "retry")
            assert data(await say(one, connect(client_id, 5000))) == [2]
            assert owners(nodes, client_id) == [two]

    async def test_stopped_owner_that_wakes_writes_nothing_to_the_stream_of_a_session_it_lost(
        self, redis_url: str
    ) -> None:
        """A poll beside the stream had gone to another worker, and there the client had unsubscribed."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            stream = await stream_of(one, client_id)
            await two.publish([Draft("/a", b"1")])
            await arrive()
            assert stream.data() == [1]
            await halt(one)
            assert (await say(two, unsubscribe(client_id, "/a")))[0]["successful"]
            await two.publish([Draft("/a", b"2")])
            wake(one)
            async with asyncio.timeout(20):
                while stream.left is None:
                    await asyncio.sleep(0.01)
            assert stream.data() == []

    async def test_stopped_owner_goes_on_with_a_stream_once_it_knows_that_its_session_is_its_own(
        self, redis_url: str
    ) -> None:
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            stream = await stream_of(one, client_id)
            await halt(one)
            await two.publish([Draft("/a", b"1")])
            wake(one)
            async with asyncio.timeout(20):
                while not (found := stream.data()):
                    await asyncio.sleep(0.01)
            await two.publish([Draft("/a", b"2")])
            await arrive()
            assert found + stream.data() == [1, 2]
            assert stream.left is None

    async def test_stopped_owner_that_wakes_before_anybody_came_goes_on(self, redis_url: str) -> None:
        async with fleet(redis_url) as nodes:
            one, two = nodes
            client_id = await start(one, "/a/*")
            await say(one, connect(client_id))
            held = await hold(one, client_id)
            await halt(one)
            wake(one)
            await two.publish([Draft("/a/b", b"1")])
            assert data(await held.answer()) == [1]
            assert owners(nodes, client_id) == [one]

    async def test_owner_without_a_lease_answers_nothing_for_a_session_that_it_loses_meanwhile(
        self, redis_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It stood still, and its lease was not renewed yet when the broker said that the session was its own. Before
        that word was there another worker had taken the session, and its client had unsubscribed."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a", "/b")
            await say(one, connect(client_id))
            await two.publish([Draft("/b", b"1")])
            await arrive()
            await halt(one)
            claim_session = one.broker.claim_session

            async def lose_it_meanwhile(*arguments: Any, **options: Any) -> Any:
                claim = await claim_session(*arguments, **options)
                if one.broker.claim_session is lose_it_meanwhile:
                    monkeypatch.undo()
                    assert (await say(two, unsubscribe(client_id, "/a")))[0]["successful"]
                    await two.publish([Draft("/a", b"2")])
                    wake(one)
                    async with asyncio.timeout(20):
                        while one.delivered_up_to("/a") is None:
                            await asyncio.sleep(0.01)
                return claim

            monkeypatch.setattr(one.broker, "claim_session", lose_it_meanwhile)
            assert data(await say(one, connect(client_id, 5000))) == [1]

    async def test_request_at_a_worker_whose_lease_is_not_renewed_is_refused(
        self, redis_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hub.session_store.LEASE_WAIT_SECONDS", 0.1)
        async with fleet(redis_url) as (one, _):
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            await halt(one)
            (reply,) = await say(one, subscribe(client_id, "/b"))
            assert (reply["successful"], reply["error"][:4]) == (False, "503:")
            wake(one)
            async with asyncio.timeout(20):
                while not one.broker.life:
                    await asyncio.sleep(0.01)
            assert (await say(one, subscribe(client_id, "/b")))[0]["successful"]

    async def test_stopped_owner_does_not_say_that_a_session_ended(self, redis_url: str) -> None:
        """Its own clock says that the session expired, and a record that says so would end it for all."""
        async with fleet(redis_url) as nodes:
            one, two = nodes
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            session = one.registry.get(client_id)
            assert session is not None
            await halt(one)
            await say(two, connect(client_id))
            session.seen = -1000.0
            one.deadlines._session_due(session)
            await rest(one)
            assert owners(nodes, client_id) == [two]
            assert (await say(two, connect(client_id)))[0]["successful"]
            wake(one)
            assert (await say(one, connect(client_id)))[0]["successful"]

    async def test_subscribe_that_is_fenced_is_taken_to_the_new_owner(self, redis_url: str) -> None:
        """The session moved between the rules and the record."""
        async with fleet(redis_url) as nodes:
            one, two = nodes
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            saved = one.broker.save_session

            async def lose_it_first(*arguments: Any, **options: Any) -> bool:
                one.broker.save_session = saved  # type: ignore[method-assign]  # once
                session = one.registry.get(client_id)
                assert session is not None
                claim = await two.broker.claim_session(client_id, 60, against=session.fence)
                assert claim is not None
                return await saved(*arguments, **options)

            one.broker.save_session = lose_it_first  # type: ignore[method-assign]  # as above
            assert (await say(one, subscribe(client_id, "/b")))[0]["successful"]
            assert one.counters.fenced == 1
            assert owners(nodes, client_id) == [two]
            await two.publish([Draft("/b", b"1")])
            assert data(await say(one, connect(client_id, 5000))) == [1]

    async def test_request_that_another_worker_has_done_meanwhile_is_not_done_again(self, redis_url: str) -> None:
        """The owner stood still with a carried subscribe in its hands. The worker that it had come through took it to
        be dead, went on with the session and subscribed; then the client unsubscribed. The owner woke, found that the
        session was another's and sent it the request: what had been unsubscribed was heard again."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(two, connect(client_id))
            saved, goes_on, stands = one.broker.save_session, asyncio.Event(), asyncio.Event()

            async def stand_still(*arguments: Any, **options: Any) -> bool:
                one.broker.save_session = saved  # type: ignore[method-assign]  # once
                await halt(one)
                stands.set()
                await goes_on.wait()
                return await saved(*arguments, **options)

            one.broker.save_session = stand_still  # type: ignore[method-assign]  # as above
            request = Request(two, subscribe(client_id, "/b"))
            await stands.wait()
            assert (await request.answer())[0]["successful"]
            assert (await say(two, unsubscribe(client_id, "/b")))[0]["successful"]
            wake(one)
            goes_on.set()
            await rest(one)
            await arrive()
            await two.publish([Draft("/b", b"1"), Draft("/a", b"2")])
            assert data(await say(two, connect(client_id, 5000))) == [2]

    async def test_draining_worker_hands_its_sessions_over(self, redis_url: str) -> None:
        """Nobody waits until its lease is over, and what it holds for others is answered."""
        async with fleet(redis_url) as nodes:
            one, two = nodes
            client_id = await start(one, "/a")
            await say(two, connect(client_id))
            held = await hold(two, client_id)
            await one.drain()
            (reply,) = await held.answer()
            assert (reply["successful"], reply["advice"]["reconnect"]) == (True, "retry")
            await two.publish([Draft("/a", b"1")])
            assert data(await say(two, connect(client_id, 5000))) == [1]
            assert owners(nodes, client_id) == [two]
            assert (one.counters.moved, two.counters.taken_over) == (1, 0)

    async def test_stopping_worker_leaves_its_sessions_to_whoever_is_asked(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            await one.stop()
            await two.publish([Draft("/a", b"1")])
            assert data(await say(two, connect(client_id, 5000))) == [1]
            assert two.counters.taken_over == 0

    async def test_draining_worker_answers_the_polls_that_others_hold_for_it(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(two, connect(client_id))
            held = await hold(two, client_id)
            await two.drain()
            assert (await held.answer())[0]["advice"]["reconnect"] == "retry"
            assert (await say(two, connect(client_id, 5000)))[0]["successful"], "nothing is held any more"


class TestBrokerAway:
    """What can't be made safe is refused, and is as it was."""

    async def test_subscribe_is_refused_and_not_done(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            saved, one.broker.save_session = one.broker.save_session, unavailable  # type: ignore[method-assign]
            for node in (one, two):
                (reply,) = await say(node, subscribe(client_id, "/b"))
                assert not reply["successful"]
                assert reply["error"].startswith("503:")
                assert reply["subscription"] == "/b"
            one.broker.save_session = saved  # type: ignore[method-assign]
            await one.publish([Draft("/b", b"1"), Draft("/a", b"2")])
            assert data(await say(one, connect(client_id, 5000))) == [2]
            assert (await say(two, subscribe(client_id, "/b")))[0]["successful"]

    async def test_unsubscribe_is_refused_and_its_client_learns_that_something_may_be_missing(
        self, redis_url: str
    ) -> None:
        async with fleet(redis_url) as (one, _):
            client_id = await start(one)
            await say(one, subscribe(client_id, "/a", ext={"position": {"/a": None}}))
            await say(one, connect(client_id))
            saved, one.broker.save_session = one.broker.save_session, unavailable  # type: ignore[method-assign]
            (reply,) = await say(one, unsubscribe(client_id, "/a"))
            assert reply["error"].startswith("503:")
            one.broker.save_session = saved  # type: ignore[method-assign]
            (reply,) = await say(one, connect(client_id))
            assert reply["ext"]["lost"] == ["/a"]
            await one.publish([Draft("/a", b"1")])
            assert data(await say(one, connect(client_id, 5000))) == [1]

    async def test_save_that_comes_late_takes_nothing_back(self, redis_url: str) -> None:
        """A subscribe was refused, as nothing was heard of the save of its session. That lay in a buffer, and had its
        effect after the client had unsubscribed from another channel. Then the worker died: who took the session over
        found that channel in its record, and the client heard it."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a", "/c")
            await say(one, connect(client_id))
            saved, late = one.broker.save_session, []

            async def lose_sight_of_it(*arguments: Any, **options: Any) -> bool:
                one.broker.save_session = saved  # type: ignore[method-assign]  # once
                late.append((arguments, options))
                raise BrokerUnavailable("gone")

            one.broker.save_session = lose_sight_of_it  # type: ignore[method-assign]  # as above
            assert not (await say(one, subscribe(client_id, "/b")))[0]["successful"]
            assert (await say(one, unsubscribe(client_id, "/a")))[0]["successful"]
            ((arguments, options),) = late
            assert not await saved(*arguments, **options)
            assert (await say(one, subscribe(client_id, "/d")))[0]["successful"], "it is this worker's as before"
            await halt(one)
            await say(two, connect(client_id))
            await two.publish([Draft(f"/{name}", str(ord(name) - 96).encode()) for name in "abcd"])
            await arrive()
            assert sorted(data(await say(two, connect(client_id, 5000)))) == [3, 4]

    async def test_saves_of_a_session_follow_each_other(self, redis_url: str) -> None:
        """Of two under way at once, on two connections, the older could come last."""
        async with fleet(redis_url) as (one, _):
            client_id = await start(one)
            saved, under_way, most, count = one.broker.save_session, 0, 0, 0

            async def save_slowly(*arguments: Any, **options: Any) -> bool:
                nonlocal under_way, most, count
                under_way, count = under_way + 1, count + 1
                most = max(most, under_way)
                await asyncio.sleep(0.02)
                under_way -= 1
                return await saved(*arguments, **options)

            one.broker.save_session = save_slowly  # type: ignore[method-assign]  # of this worker alone
            answers = await asyncio.gather(*(say(one, subscribe(client_id, f"/a{each}")) for each in range(5)))
            assert all(reply["successful"] for (reply,) in answers)
            assert (most, count) == (1, 2), "what waited for the first is in the second"
            one.broker.save_session = unavailable  # type: ignore[method-assign]  # as above
            answers = await asyncio.gather(*(say(one, subscribe(client_id, f"/b{each}")) for each in range(3)))
            assert not any(reply["successful"] for (reply,) in answers)
            one.broker.save_session = saved  # type: ignore[method-assign]  # as above

    async def test_handshake_is_refused_and_may_be_repeated(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, _):
            saved, one.broker.save_session = one.broker.save_session, unavailable  # type: ignore[method-assign]
            message = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}
            (reply,) = await say(one, message)
            assert reply["error"].startswith("503:")
            assert reply["advice"]["reconnect"] == "retry"
            assert reply["advice"]["interval"] > 0
            assert "clientId" not in reply
            assert not one.registry.sessions
            one.broker.save_session = saved  # type: ignore[method-assign]
            assert (await say(one, message))[0]["successful"]

    async def test_disconnect_is_refused_while_others_could_go_on(self, redis_url: str) -> None:
        async with fleet(redis_url) as (one, _):
            client_id = await start(one)
            await say(one, connect(client_id))
            one.broker.save_session = unavailable  # type: ignore[method-assign]
            (reply,) = await say(one, disconnect(client_id))
            assert reply["error"].startswith("503:")

    @pytest.mark.parametrize("method", ["claim_session", "mail"])
    async def test_connect_is_refused_with_a_pause_and_goes_on_afterwards(self, redis_url: str, method: str) -> None:
        """It was told that it is unknown, and began anew."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            whole = getattr(two.broker, method)
            setattr(two.broker, method, unavailable)
            request = Request(two, connect(client_id))
            (reply,) = await request.answer()
            assert request.poll.status == 503, "so that Faye repeats it under the same id"
            assert reply["error"].startswith("503:")
            assert (reply["advice"]["reconnect"], reply["advice"]["interval"]) == ("retry", 2000)
            setattr(two.broker, method, whole)
            assert (await say(two, connect(client_id)))[0]["successful"]

    async def test_poll_is_held_no_longer_than_it_may_and_takes_nothing_with_it(self, redis_url: str) -> None:
        """The worker does not know whether the session is still its own."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            held = Request(one, connect(client_id, 500))
            await halt(one)
            one.broker.claim_session = unavailable  # type: ignore[method-assign]
            (reply,) = await held.answer()
            assert (reply["successful"], reply["advice"]["interval"]) == (True, 2000)
            await two.publish([Draft("/a", b"1")])
            assert data(await say(two, connect(client_id, 5000))) == [1]

    async def test_session_that_the_broker_forgot_goes_on_at_its_owner(self, redis_url: str, redis_server: Any) -> None:
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            prefix = one.broker._log._prefix  # type: ignore[attr-defined]  # a Redis broker's
            redis_server.command("DEL", f"{prefix}:c:{client_id}")
            assert (await say(one, subscribe(client_id, "/b")))[0]["successful"]
            await two.publish([Draft("/b", b"1")])
            assert data(await say(two, connect(client_id, 5000))) == [1]


class TestRecords:
    async def test_record_of_another_release_is_an_unknown_session(
        self, redis_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A field that another release did not write was a KeyError."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one)
            session = one.registry.get(client_id)
            assert session is not None
            record = b'{"version":99,"patterns":[]}'
            assert await one.broker.save_session(client_id, session.fence, record, 60, release=True)
            one.registry.forget(session)
            (reply,) = await say(two, connect(client_id))
            assert reply["error"].startswith("402:")
            assert "session record can't be read" in caplog.text

    async def test_channel_that_was_left_and_joined_again_begins_then(self, redis_url: str) -> None:
        """The record remembered where the first subscription began: another worker gave what came between them."""
        async with fleet(redis_url) as (one, two):
            client_id = await start(one, "/a")
            await say(one, connect(client_id))
            await say(one, unsubscribe(client_id, "/a"))
            await one.publish([Draft("/a", b"1")])
            await say(one, subscribe(client_id, "/a"))
            await halt(one)
            assert data(await say(two, connect(client_id))) == []


class TestTogether:
    async def test_token_in_a_carried_message_counts(self, redis_url: str) -> None:
        rules = [
            Bayeux(Registry(), new_id, access=new_access(), wall=lambda: NOW, limits=Limits(timeout=5.0))
            for _ in range(2)
        ]
        async with fleet(redis_url, rules=rules) as (one, two):
            client_id = await start(one)
            await say(one, connect(client_id))
            assert not (await say(two, subscribe(client_id, "/team/a")))[0]["successful"]
            shown = {"ext": {"token": token(channels=["team/a"], exp=NOW + 60)}}
            assert (await say(two, subscribe(client_id, "/team/a", **shown)))[0]["successful"]
            await halt(one)
            await two.publish([Draft("/team/a", b"1")])
            assert data(await say(two, connect(client_id, 5000))) == [1]
            session = two.registry.get(client_id)
            assert session is not None
            assert session.grant is not None

    async def test_session_counts_once_in_a_channel_wherever_its_requests_go(self, redis_url: str) -> None:
        async with fleet(redis_url) as nodes:
            reporters = [Reporter(node, Pace(tick=0.05, leave=0.5, wait=0.1), alone=False) for node in nodes]
            for node in nodes:
                rules = parse_rules('[[rule]]\nchannels = ["a"]\nsubscribe = "open"\npresence = "open"')
                set_access(node.bayeux, Access(["/**"], rules))
            for reporter in reporters:
                reporter._access = nodes[0].bayeux.access
                reporter.start()
            one, two = nodes
            async with asyncio.timeout(30):
                while not all(reporter.rules.ready for reporter in reporters):
                    await asyncio.sleep(0.05)
                client_id = await start(one, "/a")
                for node in (two, one, two, two):
                    await say(node, connect(client_id))

                async def counted(count: int) -> None:
                    while [each.rules.everywhere.count("/a") for each in reporters] != [count, count]:
                        await asyncio.sleep(0.02)

                await counted(1)
                await two.session(client_id)
                await asyncio.sleep(0.5)
                await counted(1)
                await halt(two)
                await say(one, connect(client_id))
                assert owners(nodes, client_id)[0] is one
                wake(two)
                await asyncio.sleep(0.5)
                await counted(1)
                await say(one, disconnect(client_id))
                await counted(0)
