"""Several nodes over one Redis, and clients whose requests reach any of them."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from typing import Any

from conversation import new_rules

from hub.bayeux.names import LONG_POLLING
from hub.bayeux.rules import Bayeux
from hub.brokers.redis import RedisBroker
from hub.ids import new_id
from hub.node import Bounds, Node
from hub.polls import Poll
from hub.protocol.messages import join, loads

Message = dict[str, Any]


@contextlib.asynccontextmanager
async def fleet(
    redis_url: str, count: int = 2, *, rules: list[Bayeux] | None = None, **limits: Any
) -> AsyncIterator[list[Node]]:
    """So many nodes, started; they are stopped at the end. rules: one for each node."""
    prefix = new_id()[:8]
    nodes = []
    for number in range(count):
        each = rules[number] if rules is not None else new_rules(**{"timeout": 5.0} | limits)
        each.connecting._new_id = new_id
        node = Node(RedisBroker(redis_url, prefix=prefix), each, Bounds(tick=0.0))
        await node.start()
        nodes.append(node)
    try:
        yield nodes
    finally:
        for node in nodes:
            await node.stop()


class Request:
    """A poll under way. began: when it came to the node, by its clock; now unless given."""

    def __init__(
        self, node: Node, *messages: Message, transport: str = LONG_POLLING, began: float | None = None
    ) -> None:
        self.node = node
        self.poll = Poll()
        self.poll.began = began
        self._answered: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        self.poll.when_sent(self._answered.set_result)
        node.accept(messages, transport, self.poll)

    @property
    def is_held(self) -> bool:
        return not self._answered.done()

    async def answer(self, *, written: bool = True) -> list[Message]:
        """Its messages, once they are there. written: whether the client gets them."""
        parts = await asyncio.wait_for(self._answered, 60)
        if written:
            self.node.written(self.poll)
        else:
            self.node.abandon(self.poll)
        messages: list[Message] = loads(join(parts))
        return messages


async def say(node: Node, *messages: Message, transport: str = LONG_POLLING) -> list[Message]:
    """One poll: its messages, answered."""
    return await Request(node, *messages, transport=transport).answer()


async def hold(node: Node, client_id: str, **fields: Any) -> Request:
    """A connect that is held, by the node that owns the session."""
    request = Request(node, connect(client_id, 5000, **fields))
    await arrive()
    assert request.is_held
    return request


async def arrive() -> None:
    """Long enough for a request to be where it is carried to."""
    await asyncio.sleep(0.1)


async def start(node: Node, *patterns: str, **fields: Any) -> str:
    types = {"version": "1.0", "supportedConnectionTypes": ["long-polling"]}
    client_id: str = (await say(node, {"channel": "/meta/handshake"} | types | fields))[0]["clientId"]
    for pattern in patterns:
        assert (await say(node, subscribe(client_id, pattern)))[0]["successful"]
    return client_id


def connect(client_id: str, timeout: int = 0, **fields: Any) -> Message:
    advice = {"advice": {"timeout": timeout}}
    return {"channel": "/meta/connect", "clientId": client_id, "connectionType": "long-polling"} | advice | fields


def subscribe(client_id: str, pattern: str, **fields: Any) -> Message:
    return {"channel": "/meta/subscribe", "clientId": client_id, "subscription": pattern} | fields


def unsubscribe(client_id: str, pattern: str) -> Message:
    return {"channel": "/meta/unsubscribe", "clientId": client_id, "subscription": pattern}


def disconnect(client_id: str) -> Message:
    return {"channel": "/meta/disconnect", "clientId": client_id}


async def rest(node: Node) -> None:
    """Until what the node has begun is done: records of sessions are saved after the answers."""
    while node.tasks.running:
        await asyncio.wait(node.tasks.running, timeout=5)


def data(messages: list[Message]) -> list[Any]:
    return [message["data"] for message in messages if "data" in message]


def owners(nodes: list[Node], client_id: str) -> list[Node]:
    """The nodes that remember a session."""
    return [node for node in nodes if client_id in node.registry.sessions]


async def halt(node: Node) -> None:
    """A process that is stopped: it reads nothing, its lease lapses. What it holds stays."""
    broker = node.broker
    assert isinstance(broker, RedisBroker)
    for task in broker._tasks:
        if task.get_name() in ("redis reader", "redis canary"):
            task.cancel()
    await asyncio.sleep(0)
    await broker._ask(None, lambda: ("DEL", broker._canary))
    broker._sure_until = -math.inf


def wake(node: Node) -> None:
    """Let a halted node read from Redis again."""
    broker = node.broker
    assert isinstance(broker, RedisBroker)
    broker._tasks += [asyncio.create_task(broker._read_on()), asyncio.create_task(broker._sing_on())]
