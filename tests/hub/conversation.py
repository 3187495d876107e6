"""Talk to the rules or to a node as a client would: alice handshakes, subscribes, connects."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import orjson

from hub.bayeux.limits import Limits
from hub.bayeux.names import LONG_POLLING, WEBSOCKET
from hub.bayeux.outcome import Outcome
from hub.bayeux.rules import Bayeux
from hub.peers import UNKNOWN
from hub.protocol.access import Access
from hub.protocol.messages import join
from hub.sessions.links import Batch
from hub.sessions.registry import Registry
from hub.sessions.session import Session

TYPES = ["websocket", "long-polling", "callback-polling"]


class Wire:
    """A link that remembers what was sent: `messages` decoded, in order."""

    closed_by = ""

    def __init__(self) -> None:
        self.peer = UNKNOWN
        self.messages: list[dict[str, Any]] = []
        self.answers = 0
        self.left: tuple[int, str] | None = None
        self.blocked = False
        self.session: Session | None = None

    def send(self, parts: list[bytes]) -> None:
        self.answers += 1
        self.messages.extend(orjson.loads(join(parts)))

    def offer(self, batch: Batch) -> None:
        self.messages.extend(orjson.loads(publication.message) for publication in batch.publications)

    def tell_lost(self, channels: Iterable[str]) -> bool:
        return False

    def leave(self, code: int, reason: str) -> None:
        self.left = (code, reason)

    def take(self) -> list[dict[str, Any]]:
        """What was sent since the last take."""
        taken, self.messages = self.messages, []
        return taken

    def data(self) -> list[Any]:
        """The data of the deliveries since the last take."""
        return [message["data"] for message in self.take() if "data" in message]


def new_rules(**limits: Any) -> Bayeux:
    """Rules over an empty registry; clientIds are client1, client2…; browsers may publish to /chat/**."""
    ids = (f"client{number}" for number in itertools.count(1))
    return Bayeux(Registry(), lambda: next(ids), limits=Limits(**limits), access=Access(["/chat/**", "/*"]))


class Talk:
    """A client that speaks to the rules directly, at a time you choose."""

    def __init__(self, rules: Bayeux, transport: str = LONG_POLLING) -> None:
        self.rules = rules
        self.transport = transport
        self.wire = Wire()
        self.client_id: str | None = None
        self.now = 0.0

    def say(self, *messages: Any) -> Outcome:
        link = self.wire if self.transport == WEBSOCKET else None
        return self.rules.receive(messages, self.now, self.transport, self.wire, link)

    def reply(self, message: Any) -> dict[str, Any]:
        """Say one message; its reply, which must not be held."""
        outcome = self.say(message)
        assert outcome.hold is None, "the reply is held"
        (reply,) = outcome.replies
        return reply

    def handshake(self, **fields: Any) -> dict[str, Any]:
        message = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": TYPES} | fields
        reply = self.reply(message)
        self.client_id = reply.get("clientId")
        return reply

    def meta(self, name: str, **fields: Any) -> dict[str, Any]:
        return {"channel": f"/meta/{name}", "clientId": self.client_id} | fields

    def subscribe(self, *patterns: str, **fields: Any) -> dict[str, Any]:
        subscription = patterns[0] if len(patterns) == 1 else list(patterns)
        return self.reply(self.meta("subscribe", subscription=subscription, **fields))

    def unsubscribe(self, pattern: str) -> dict[str, Any]:
        return self.reply(self.meta("unsubscribe", subscription=pattern))

    def connect(self, **fields: Any) -> Outcome:
        return self.say(self.meta("connect", connectionType=self.transport, **fields))

    def publish(self, channel: str, data: Any = None, **fields: Any) -> dict[str, Any]:
        return self.reply({"channel": channel, "clientId": self.client_id, "data": data} | fields)

    @property
    def session(self) -> Session:
        session = self.rules.registry.get(self.client_id)
        assert session is not None
        return session
