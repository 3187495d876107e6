"""Publish, calls of service channels, and confirmations of what was received."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import BadMessage, NoClientId, TooDeep, TooLarge, TooMany, UnknownChannel, UnknownClient
from ..protocol.access import Access, Who, refusal
from ..protocol.channels import Grammar, is_service, patterns_of
from ..protocol.messages import Message, dumps, is_deeper
from ..protocol.publications import Draft
from ..seen import SEEN, Seen
from ..sessions.bucket import Bucket
from ..sessions.registry import Registry
from ..sessions.session import Session
from .asked import forwarded, key_of, session_of, shown_id
from .limits import BURST_SECONDS, Crowd, Limits
from .names import EVENTSOURCE
from .outcome import Call, Incoming, Request, Service


class Publishing:
    """What one realm's clients publish. services: handlers of service channels, by channel."""

    def __init__(
        self,
        registry: Registry,
        access: Access,
        grammar: Grammar,
        limits: Limits,
        crowd: Crowd,
        services: Mapping[str, Service],
        incoming: Sequence[Incoming],
        seen: Seen,
    ) -> None:
        self._registry = registry
        self.access = access
        self._grammar = grammar
        self._limits = limits
        self._crowd = crowd
        self._services = services
        self._incoming = incoming
        self._seen = seen
        # The allowance of clients that publish under ids of ended sessions.
        self._late: Bucket | None = None

    # MUST: channel, data. MAY: clientId, id, ext. All other fields are dropped: Faye forwards `advice`, and there one
    # publish with {"reconnect": "none"} silences all long-polling subscribers.
    def publish(self, channel: str, message: Message, reply: Message, request: Request) -> None:
        client_id = message.get("clientId")
        if client_id is None:
            raise NoClientId()
        session = self._registry.get(client_id)
        # After a new handshake Faye sends publishes that were waiting under the old id.
        if session is None and not self._registry.ended_lately(client_id):
            raise UnknownClient(shown_id(client_id))
        if session is not None:
            session.touch(request.now)
        self._grammar.check_name(channel)
        service = is_service(channel)
        if service and channel not in self._services:
            raise UnknownChannel(channel)
        address = request.to.peer.address
        if not self._may_publish_now(session, request.now) or not self._crowd.may_publish(
            address, request.now, self._limits.address_publish_rate
        ):
            raise TooMany(limit="publishes")
        who = Who() if session is None else session.who
        if not service and not (decision := self.access.decide("publish", channel, who)).allowed:
            raise refusal(decision, channel)
        if "data" not in message:
            raise BadMessage("data", text="Missing field")
        data = self._encoded(channel, message["data"])
        if service:
            call = Call(channel, message["data"], client_id, who)
            request.outcome.calls.append((self._services[channel], call, reply))
            request.outcome.replies.append(reply)
            return
        kept = forwarded(message)
        ext = self._encoded(channel, kept) if kept else None
        number = message.get("id")
        # A client that got no answer publishes again under the same id; it is the same publication.
        key = None if number is None else key_of(client_id, number)
        if self._registry.events is not None and session is not None:
            self._registry.events.tell("publish", session, channel)
        request.outcome.publishes.append((Draft(channel, data, key, ext=ext), reply))
        request.outcome.replies.append(reply)

    # MUST: channel, clientId, data. MAY: id.
    def see(self, message: Message, reply: Message, request: Request) -> None:
        """A client confirms that it has received a publication: `[channel, position]`."""
        session = session_of(self._registry, message)
        session.touch(request.now)
        if not self._limits.seen_rate:
            raise UnknownChannel(SEEN)
        if not self._may_publish_now(session, request.now):
            raise TooMany(limit="publishes")
        data = message.get("data")
        if not (isinstance(data, list) and len(data) == 2 and all(isinstance(each, str) for each in data)):
            raise BadMessage("data", text="Not a channel and a position")
        channel, position = data
        self._grammar.check_name(channel)
        # It came by the connection that carries the deliveries, or by HTTP beside an event stream that does.
        transport = EVENTSOURCE if request.link is None and session.link is not None else request.transport
        if any(pattern in session.patterns for pattern in patterns_of(channel)):
            self._seen.take(session.id, channel, position, transport, request.now)
        request.outcome.replies.append(reply)

    def _encoded(self, channel: str, value: object) -> bytes:
        """A client's data as JSON; raises TooLarge or TooDeep."""
        # An extension may have put in NaN, which JSON that we have read can't contain.
        data = dumps(value, was_read=not self._incoming)
        if len(data) > self._limits.message_bytes:
            raise TooLarge(channel)
        depth = self._limits.max_depth
        # Most values have fewer brackets than that, and need no walk.
        if data.count(b"[") + data.count(b"{") > depth and is_deeper(value, depth):
            raise TooDeep(channel, text=f"Nested more than {depth} deep")
        return data

    def _may_publish_now(self, session: Session | None, now: float) -> bool:
        """Whether a client has publishes left. Clients that publish under ids of ended sessions share one allowance."""
        rate = self._limits.publish_rate
        if not rate:
            return True
        burst = max(1.0, rate * BURST_SECONDS)
        if session is not None:
            return session.may_publish(now, rate, burst)
        if self._late is None:
            self._late = Bucket(now, burst)
        return self._late.take(now, rate, burst)
