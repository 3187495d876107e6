"""What clients are answered: advice, refusals, and the replies to held connects."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence

from ..errors import (
    BadMessage,
    Failed,
    InvalidId,
    NoClientId,
    ProtocolError,
    TooLarge,
    TooMany,
    Unavailable,
    UnknownClient,
)
from ..protocol.access import Who
from ..protocol.channels import MAX_CHARS
from ..protocol.dialects import Dialect, wire
from ..protocol.messages import Message, dumps
from ..sessions.links import Hold
from ..sessions.registry import Registry
from .asked import echo_id, shown_id, subscription_echo, synchronised
from .limits import LIMITS, Limits
from .names import CONNECT, HANDSHAKE, SUBSCRIBE, UNSUBSCRIBE
from .outcome import Outgoing, Request

logger = logging.getLogger(__package__)

#: Milliseconds a client that lost its held connect to a newer one waits before the next; without a
#: pause two pages that share a session would take the connect from each other in a loop.
SUPERSEDED_INTERVAL = 2000

#: Milliseconds after which a client that was refused because there were too many may handshake again.
BUSY_INTERVAL = 5000

#: Milliseconds after which a client connects again whose session could not be looked up.
UNAVAILABLE_INTERVAL = 2000


class Replies:
    """The replies of one realm. wall: gives the seconds since 1970.

    retry, rehandshake, give_up, stream: advice. limited: refusals by limit. outgoing: extensions that see each reply.
    """

    def __init__(self, registry: Registry, limits: Limits, dialect: Dialect, wall: Callable[[], float]) -> None:
        self._registry = registry
        self._limits = limits
        self._dialect = dialect
        self.wall = wall
        self.outgoing: list[Outgoing] = []
        self.limited = dict.fromkeys(LIMITS, 0)
        self.no_message = wire(BadMessage(text="Message must be an object"), dialect)
        timeout, interval = round(limits.timeout * 1000), round(limits.interval * 1000)
        # CometD's client replaces its advice by that of a reply, Faye's merges them: so always send all fields.
        self.retry = {"reconnect": "retry", "interval": interval, "timeout": timeout}
        self.rehandshake = {"reconnect": "handshake", "interval": interval, "timeout": timeout}
        self.give_up = {"reconnect": "none", "interval": interval, "timeout": timeout}
        # An EventSource carries the deliveries, so its connects are only signs of life.
        self.stream = {"reconnect": "retry", "interval": timeout, "timeout": 0}

    def count(self, error: ProtocolError) -> None:
        """Count this refusal, if a limit was the reason."""
        if error.limit is not None:
            self.limited[error.limit] += 1

    def refuse(self, message: Message, reply: Message, error: ProtocolError) -> None:
        self.count(error)
        reply["successful"] = False
        reply["error"] = wire(error, self._dialect)
        channel = message.get("channel")
        if channel == HANDSHAKE:
            # Faye's client loops without pause on "handshake" here (its issue 542). "Too many" is temporary: retry.
            busy = isinstance(error, TooMany | Unavailable)
            reply["advice"] = {**self.retry, "interval": BUSY_INTERVAL} if busy else self.give_up
        elif channel == CONNECT:
            if isinstance(error, Unavailable):
                reply["advice"] = {**self.retry, "interval": UNAVAILABLE_INTERVAL}
            else:
                lost = isinstance(error, UnknownClient | NoClientId)
                reply["advice"] = self.rehandshake if lost else self.retry
        # No advice on anything else: Faye obeys it on any message and would handshake twice, and
        # CometD's client throws when it meets "handshake" again on the next successful connect.
        if isinstance(channel, str) and channel in (SUBSCRIBE, UNSUBSCRIBE):
            reply["subscription"] = subscription_echo(message)

    def refuse_for_now(self, reply: Message) -> None:
        """Turn a reply into one that says: nothing was done, try again."""
        asked = dict(reply)
        reply.clear()
        reply.update({name: asked[name] for name in ("channel", "id") if name in asked})
        self.refuse(asked, reply, Unavailable())

    def too_large(self, messages: Sequence[object]) -> list[Message]:
        """The replies to a batch that is too long as a whole: one for each message, as Faye repeats what gets none."""
        replies: list[Message] = []
        for message in messages[: self._limits.max_messages]:
            error = TooLarge()
            self.count(error)
            reply: Message = {"successful": False, "error": wire(error, self._dialect)}
            if isinstance(message, dict):
                if isinstance(channel := message.get("channel"), str):
                    reply["channel"] = channel[:MAX_CHARS]
                with contextlib.suppress(InvalidId):
                    echo_id(message, reply)
            replies.append(reply)
        return replies

    def unavailable(self, messages: Sequence[object]) -> list[Message]:
        """The replies to a batch whose session can't be looked up now, one for each message. Nothing was changed."""
        replies: list[Message] = []
        for message in messages[: self._limits.max_messages]:
            reply: Message = {"successful": False, "error": wire(Unavailable(), self._dialect)}
            if isinstance(message, dict):
                if isinstance(channel := message.get("channel"), str):
                    reply["channel"] = channel[:MAX_CHARS]
                with contextlib.suppress(InvalidId):
                    echo_id(message, reply)
                self.refuse(message, reply, Unavailable())
            replies.append(reply)
        return replies

    def unknown(self, client_id: str) -> Message:
        """The reply to a client that comes back to a session we don't know: handshake again."""
        error = wire(UnknownClient(shown_id(client_id)), self._dialect)
        return {"channel": CONNECT, "successful": False, "error": error, "advice": self.rehandshake}

    def answer(self, hold: Hold) -> Message:
        """The reply to a held connect."""
        reply: Message = {
            "channel": CONNECT,
            "successful": hold.error is None,
            "clientId": hold.session.id,
            "advice": hold.advice or self.retry,
        }
        if hold.id is not None:
            reply["id"] = hold.id
        if hold.error is not None:
            reply["error"] = wire(hold.error, self._dialect)
        if hold.sync is not None:
            reply["ext"] = {"timesync": hold.sync | {"p": max(0, self._milliseconds() - hold.sync["ts"])}}
        return reply

    def synchronise(self, asked: object, reply: Message, request: Request) -> None:
        """CometD's timesync: when the message arrived, and for how long it was held here (`p`, ms)."""
        sync = synchronised(asked, self._milliseconds())
        if sync is None:
            return
        hold = request.outcome.hold
        if hold is not None and reply["channel"] == CONNECT:
            hold.sync = sync
        else:
            reply.setdefault("ext", {})["timesync"] = sync

    def _milliseconds(self) -> int:
        return round(self.wall() * 1000)

    def encode(self, reply: Message, who: Who) -> bytes:
        """A reply's bytes, after extensions have seen it."""
        if not self.outgoing:
            return dumps(reply)
        if "advice" in reply:
            # All replies share one advice object.
            reply["advice"] = dict(reply["advice"])
        asked: Message = {name: value for name, value in reply.items() if name in _ASKED}
        error: ProtocolError = Failed()
        try:
            for extension in self.outgoing:
                extension(reply, who)
            return dumps(reply)
        except BadMessage as bad:
            # Raised by an extension, or by `dumps` for what it put in.
            error = bad
        except ProtocolError as refused:
            error = refused
        except Exception:
            logger.exception("extension failed")
        refusal: Message = {name: value for name, value in asked.items() if name in ("channel", "id")}
        self.refuse(asked, refusal, error)
        session = self._registry.get(asked.get("clientId"))
        if asked.get("channel") == HANDSHAKE and session is not None:
            # The client never learns this session's id.
            self._registry.end(session)
        return dumps(refusal)


#: Fields of a reply that repeat what was asked.
_ASKED = ("channel", "clientId", "id", "subscription")
