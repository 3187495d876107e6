"""The rules beside a model that knows only what the replies said: what they tell a client must be so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from conversation import Wire, new_rules

from hub.bayeux.names import LONG_POLLING, WEBSOCKET
from hub.errors import SlowSession
from hub.protocol.channels import is_service
from hub.protocol.messages import dumps
from hub.protocol.publications import Position, Publication

#: What errors look like: Faye's client reads them with a grammar of its own.
_ERROR = re.compile(r"\d{3}:[^:]*:[A-Za-z0-9\-_!~()$@ /*.]+", re.DOTALL)

QUEUE = 4


class World:
    """Rules, a wire for polls and one for a WebSocket, and the subscriptions that the replies speak of, by clientId."""

    def __init__(self) -> None:
        self.rules = new_rules(max_subscriptions=6, max_messages=5, publish_rate=50, message_bytes=2000, max_depth=8)
        self.registry = self.rules.registry
        self.wires = (Wire(), Wire())
        self.known: dict[str, set[str]] = {}
        self.now = 0.0
        self.offset = 0

    def receive(self, messages: Sequence[object], *, socket: bool = False) -> None:
        """Give a batch to the rules, look at what comes out, and do the node's part of it."""
        wire = self.wires[socket]
        outcome = self.rules.receive(
            messages, self.now, WEBSOCKET if socket else LONG_POLLING, wire, wire if socket else None
        )
        answered = len(outcome.replies) + (outcome.hold is not None)
        # Of those beyond the bound, what is no message ends the answers with one for the rest.
        ends = (at for at, each in enumerate(messages) if at >= 5 and not isinstance(each, dict))
        assert answered == min(len(messages), 51, next(ends, 51) + 1), "every message is answered once"
        for reply in outcome.replies:
            self._note(reply)
        for session, reason in outcome.ended:
            # Told by the 402 of its connect: what its last socket took with it is not remembered any more.
            if reason == "not recovered":
                del self.known[session.id]
        if outcome.hold is not None:
            assert outcome.hold.session.hold in (outcome.hold, None)
        for hold in outcome.released:
            reply = self.rules.answer(hold)
            assert reply["channel"] == "/meta/connect"
            dumps(reply)
        for recovery in outcome.recoveries:
            recovery.session.recovering -= 1
            recovery.session.settle()
        for draft, _ in outcome.publishes:
            assert len(draft.data) <= 2000
            self.deliver(draft.channel, draft.data)
        self.check()

    def _note(self, reply: dict[str, Any]) -> None:
        dumps(reply)
        assert isinstance(reply["successful"], bool)
        if not reply["successful"]:
            assert _ERROR.fullmatch(reply["error"]), reply["error"]
            return
        assert "error" not in reply
        client = reply.get("clientId")
        match reply["channel"]:
            case "/meta/handshake":
                assert client not in self.known
                self.known[client] = set()
            case "/meta/subscribe":
                self.known[client] |= {name for name in self._names(reply) if not is_service(name)}
            case "/meta/unsubscribe":
                self.known[client] -= self._names(reply)
            case "/meta/disconnect":
                del self.known[client]

    def _names(self, reply: dict[str, Any]) -> set[str]:
        names = reply["subscription"]
        return {names} if isinstance(names, str) else set(names)

    def deliver(self, channel: str, data: bytes) -> None:
        """Queue a publication for who listens, as the node does for sessions without a link."""
        self.offset += 1
        publication = Publication(channel, Position("e", self.offset), data)
        for session in list(self.registry.audience(channel)):
            try:
                session.enqueue([publication], QUEUE, 10_000)
            except SlowSession:
                self.end(session.id)

    def end(self, client: str) -> None:
        """End a session as the node does when it has expired or is too slow."""
        session = self.registry.get(client)
        if session is not None:
            self.registry.end(session)
            del self.known[client]

    def check(self) -> None:
        """Check what must hold after any conversation."""
        assert set(self.registry.sessions) == set(self.known), "only sessions the replies told of"
        heard: dict[str, set[str]] = {}
        for client, session in self.registry.sessions.items():
            assert set(session.patterns) == self.known[client]
            assert len(session.patterns) == len(set(session.patterns)) <= 6
            assert len(session.queue or ()) <= QUEUE
            assert not session.ended
            for pattern in session.patterns:
                heard.setdefault(pattern, set()).add(client)
        assert {name: {each.id for each in found} for name, found in self.registry.audiences.items()} == heard
        for wire in self.wires:
            assert wire.session is None or wire.session.ended or wire.session.link is wire
