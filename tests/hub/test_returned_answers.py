"""An answer that was not written waits again, once.

The simulator met it with a client that acknowledges and moved between networks, while its session's owner stood still.
The owner woke and found several of its polls, and the word that the clients of the first had gone. What the first
answer carried was put back as the next connect did not acknowledge it, and again as it was not written: each answer
from then on was twice as long. And what later answers had carried beside it was forgotten, acknowledged or not.
"""

from __future__ import annotations

from typing import Any

from conversation import Wire
from fleet import Message, Request, connect, data, say, start, subscribe
from test_node import new_node, publish

from hub.node import Node
from hub.protocol.publications import Position, Publication
from hub.sessions.session import Session

ACK = {"ext": {"ack": True}}


def acks(client_id: str, batch: int, timeout: int = 0, **fields: Any) -> Message:
    return connect(client_id, timeout, ext={"ack": batch}, **fields)


async def answered(node: Node, message: Message) -> tuple[Request, list[Any]]:
    """A poll that is answered, of which nobody knows yet whether it is written; and what it carries."""
    request = Request(node, message)
    assert request.poll.parts is not None
    return request, data(await request.answer())


async def test_what_the_next_connect_put_back_is_not_put_back_again() -> None:
    async with new_node() as node:
        client_id = await start(node, "/a", **ACK)
        await say(node, acks(client_id, 0))
        await publish(node, "/a", 1)
        first, carried = await answered(node, acks(client_id, 1))
        assert carried == [1]
        second, carried = await answered(node, acks(client_id, 1))
        assert carried == [1]
        node.abandon(first.poll)
        node.abandon(second.poll)
        assert data(await say(node, acks(client_id, 1))) == [1]


async def test_what_a_later_answer_carried_is_still_to_be_acknowledged() -> None:
    async with new_node() as node:
        client_id = await start(node, "/a", **ACK)
        await say(node, acks(client_id, 0))
        await publish(node, "/a", 1)
        first, _ = await answered(node, acks(client_id, 1))
        await publish(node, "/a", 2)
        _, carried = await answered(node, acks(client_id, 1))
        assert carried == [1, 2]
        node.abandon(first.poll)
        assert data(await say(node, acks(client_id, 1))) == [1, 2], "that answer was lost, and nobody noticed"


async def test_what_was_acknowledged_is_not_put_back() -> None:
    async with new_node() as node:
        client_id = await start(node, "/a", **ACK)
        await say(node, acks(client_id, 0))
        await publish(node, "/a", 1)
        first, _ = await answered(node, acks(client_id, 1))
        await say(node, acks(client_id, 2))
        node.abandon(first.poll)
        assert data(await say(node, acks(client_id, 3))) == []


async def test_what_an_older_connect_had_given_again_is_acknowledged_by_its_first_number() -> None:
    """It counted from then on as of the later batch. A client with eight polls under way heard it eight times."""
    async with new_node() as node:
        client_id = await start(node, "/a", **ACK)
        await say(node, acks(client_id, 0))
        await publish(node, "/a", 1)
        _, carried = await answered(node, acks(client_id, 1))
        assert carried == [1], "batch 2"
        assert data(await say(node, acks(client_id, 1))) == [1], "batch 3, sent before the answer came"
        await publish(node, "/a", 2)
        assert data(await say(node, acks(client_id, 2))) == [2], "batch 4"
        assert data(await say(node, acks(client_id, 2))) == [2], "which is not acknowledged"
        assert data(await say(node, acks(client_id, 5))) == []


async def test_what_waits_to_be_given_again_is_not_once_it_is_acknowledged() -> None:
    async with new_node() as node:
        client_id = await start(node, "/a", **ACK)
        session = node.registry.sessions[client_id]
        await say(node, acks(client_id, 0))
        await publish(node, "/a", 1)
        await answered(node, acks(client_id, 1))
        session.begin_recovery()
        poll = Request(node, acks(client_id, 1, 5000))
        assert poll.is_held
        await publish(node, "/a", 2)
        last = Request(node, acks(client_id, 2, 5000))
        session.end_recovery()
        assert session.renumbered is None
        assert [each.data for each in session.queue or ()] == [b"2"]
        node.abandon(last.poll)


async def test_history_that_the_client_asked_for_is_not_taken_for_what_it_acknowledged() -> None:
    async with new_node() as node:
        client_id = await start(node, "/a", **ACK)
        await say(node, acks(client_id, 0))
        await publish(node, "/a", 1)
        await answered(node, acks(client_id, 1))
        (told,) = (await say(node, acks(client_id, 1)))[:1]
        epoch = told["id"].partition(".")[0]
        await say(node, subscribe(client_id, "/a", ext={"position": {"/a": f"{epoch}.0"}}))
        assert data(await say(node, acks(client_id, 2))) == [1]


async def test_without_acknowledgements_an_answer_that_was_not_written_is_given_again_whatever_came_meanwhile() -> None:
    """The next connect says that it arrived by having another id. Two that are under way at once say nothing."""
    async with new_node() as node:
        client_id = await start(node, "/a")
        await say(node, connect(client_id, id="1"))
        await publish(node, "/a", 1)
        first, carried = await answered(node, connect(client_id, id="2"))
        assert carried == [1]
        held = Request(node, connect(client_id, 5000, id="3"))
        node.abandon(first.poll)
        node.abandon(held.poll)
        assert data(await say(node, connect(client_id, id="4"))) == [1]
        assert data(await say(node, connect(client_id, id="5"))) == []


async def test_repeated_connect_and_the_word_that_its_first_answer_was_not_written_give_it_once() -> None:
    async with new_node() as node:
        client_id = await start(node, "/a")
        await say(node, connect(client_id, id="1"))
        await publish(node, "/a", 1)
        first, _ = await answered(node, connect(client_id, id="2"))
        _, carried = await answered(node, connect(client_id, id="2"))
        assert carried == [1]
        node.abandon(first.poll)
        assert data(await say(node, connect(client_id, id="3"))) == []


async def with_a_lost_answer(node: Node) -> tuple[str, Request, Wire]:
    """A session whose last poll's answer, "2" with 1, may have got lost, and then a stream opens."""
    client_id = await start(node, "/a")
    await say(node, connect(client_id, id="1"))
    await publish(node, "/a", 1)
    poll, carried = await answered(node, connect(client_id, id="2"))
    assert carried == [1]
    stream = Wire()
    node.attach(stream)
    node.move(node.registry.sessions[client_id], stream, "")
    return client_id, poll, stream


async def test_poll_that_is_repeated_beside_a_stream_is_given_what_its_first_answer_carried() -> None:
    """It was put back, and lost as the session was given what came since the stream had opened: without a word.

    Faye repeats polls from before its stream has opened."""
    async with new_node() as node:
        client_id, _, stream = await with_a_lost_answer(node)
        await publish(node, "/a", 2)
        assert stream.data() == [2]
        assert data(await say(node, connect(client_id, id="2"))) == [1, 2], "of 2 nobody knows whether it arrived"
        assert stream.left is not None
        assert data(await say(node, connect(client_id, id="3"))) == []


async def test_what_a_poll_carried_that_was_not_written_goes_to_the_stream_that_has_opened() -> None:
    """It waited for the next publication."""
    async with new_node() as node:
        _, poll, stream = await with_a_lost_answer(node)
        node.abandon(poll.poll)
        assert stream.data() == [1]
        await publish(node, "/a", 2)
        assert stream.data() == [2]


async def test_what_went_to_the_stream_so_is_given_again_when_that_breaks() -> None:
    async with new_node() as node:
        client_id, poll, stream = await with_a_lost_answer(node)
        node.abandon(poll.poll)
        await publish(node, "/a", 2)
        node.detach(stream, node.registry.sessions[client_id])
        assert data(await say(node, connect(client_id, id="3"))) == [1, 2]


def test_what_it_may_not_hear_any_more_is_not_put_back_either() -> None:
    session = Session("s", 0.0)
    session.use_acks()
    both = [Publication(name, b"1", Position("e", 1), False, None) for name in ("/a", "/b")]
    session.enqueue(both, 10, 1000)
    carried = session.take_batch("1")
    session.keep_only(lambda channel: channel == "/a")
    session.return_batch(carried)
    assert [each.channel for each in session.queue or ()] == ["/a"]


def test_what_its_client_said_that_it_has_is_not_put_back() -> None:
    session = Session("s", 0.0)
    session.use_acks()
    session.enqueue([Publication("/a", b"1", Position("e", 1), False, None)], 10, 1000)
    carried = session.take_batch("1")
    session.recovered("/a", (), Position("e", 1))
    session.return_batch(carried)
    assert session.queue is None
