"""A short way for the first messages of a client on a WebSocket: handshake, subscribe, connect. Pure.

Clients send them in few forms. A message that has one of these, and no field more, is answered here by looking at
it once and filling its reply into a text; for anything else `Usual.answer` returns None with nothing changed, and the
long way (`Bayeux.receive`, and what the node does with its Outcome) answers. Both ways leave the same state and give
the same bytes, which tests/hub/test_usual.py holds them to; the rules themselves are `bayeux`'s.

It is here because a site that restarts has all its clients back at once: in one process, with a transport that only
counts, the three messages take 32 µs of CPU instead of 91 (docs/profile.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ..errors import TooMany
from ..peers import Peer
from ..protocol.access import NOBODY
from ..protocol.channels import MAX_CHARS, is_meta, is_service, is_wild
from ..protocol.messages import Message, dumps
from ..protocol.publications import Position
from ..protocol.remembered import Remembered
from ..sessions.links import Link
from ..sessions.session import Session
from .asked import MAX_ID_CHARS
from .names import CONNECT, HANDSHAKE, SUBSCRIBE, WEBSOCKET
from .rules import Bayeux


class Usual:
    """The short way through one realm's rules.

    position: a channel's newest position, None if finding out would have to wait. tops: of a session's channels, those
    whose newest position its connects' replies tell, with it. opened: is told of each new session.
    """

    __slots__ = ("_after_id", "_bayeux", "_is_open", "_opened", "_position", "_registry", "_retry", "_tops")

    def __init__(
        self,
        bayeux: Bayeux,
        position: Callable[[str], Position | None],
        tops: Callable[[Session], Mapping[str, str]],
        opened: Callable[[Session], None],
    ) -> None:
        self._bayeux = bayeux
        self._registry = bayeux.registry
        self._position = position
        self._tops = tops
        self._opened = opened
        self._retry = dumps(bayeux.retry).decode()
        types = dumps(bayeux.types).decode()
        ext = dumps(bayeux.ext).decode()
        self._after_id = f'"supportedConnectionTypes":{types},"ext":{ext},"version":"1.0"'
        # Patterns repeat, and what is decided about strangers stays. One look-up for a dozen calls: 4 µs.
        self._is_open = Remembered[str, bool](self._is_open_to_strangers)

    def answer(self, message: object, now: float, link: Link, peer: Peer) -> bytes | None:
        """Do what a lone message asks for and return its reply, encoded; None: nothing was done, ask the long way."""
        bayeux = self._bayeux
        # Code of the site is shown whole messages and whole replies.
        if not isinstance(message, dict) or bayeux.incoming or bayeux.outgoing:
            return None
        channel = message.get("channel")
        if channel == CONNECT:
            return self._connect(message, now, link)
        if channel == SUBSCRIBE:
            return self._subscribe(message, now)
        if channel == HANDSHAKE:
            return self._handshake(message, now, peer)
        return None

    def _handshake(self, message: Message, now: float, peer: Peer) -> bytes | None:
        bayeux, number, types = self._bayeux, message.get("id"), message.get("supportedConnectionTypes")
        if (
            len(message) != 4
            or message.get("version") != "1.0"
            or not isinstance(types, list)
            or WEBSOCKET not in types
            or not _is_plain(number)
        ):
            return None
        try:
            # In this order nothing was taken from the allowance of an address that is refused, now or by the long way.
            bayeux.check_sessions()
            bayeux.check_opening(peer.address, now)
        except TooMany:
            return None
        session = bayeux.new_session(now, peer.visitor, peer.address)
        self._registry.add(session)
        reply = (
            f'{{"channel":"/meta/handshake","successful":true,"id":"{number}",{self._after_id},'
            f'"clientId":"{session.id}","advice":{self._retry}}}'
        )
        self._opened(session)
        return reply.encode()

    def _subscribe(self, message: Message, now: float) -> bytes | None:
        registry, number, pattern = self._registry, message.get("id"), message.get("subscription")
        session = registry.get(message.get("clientId"))
        if (
            session is None
            or not isinstance(pattern, str)
            or not _is_plain(number)
            or session.queue is not None
            or len(session.patterns) >= self._bayeux.limits.max_subscriptions
            or self._bayeux.crowd.share(self._bayeux.limits.subscription_bytes) < math.inf
            or len(pattern) > MAX_CHARS
            or not self._is_open[pattern]
        ):
            return None
        told = ""
        if len(message) == 5:
            # How a client asks where a channel is that it hears for the first time.
            if message.get("ext") != {"position": {pattern: None}} or is_wild(pattern):
                return None
            position = self._position(pattern)
            if position is None:
                return None
            told = f',"ext":{{"position":{{"{pattern}":"{position}"}},"recovered":{{}}}}'
            session.track()
        elif len(message) != 4:
            return None
        session.touch(now)
        registry.subscribe(session, pattern)
        reply = (
            f'{{"channel":"/meta/subscribe","successful":true,"id":"{number}","clientId":"{session.id}",'
            f'"subscription":"{pattern}"{told}}}'
        )
        return reply.encode()

    def _is_open_to_strangers(self, pattern: str) -> bool:
        """Whether anybody may subscribe to a pattern, and be told where it is: then those whom we know may too."""
        bayeux = self._bayeux
        return (
            bayeux.grammar.is_pattern(pattern)
            and not is_meta(pattern)
            and not is_service(pattern)
            and bayeux.access.may_subscribe(pattern, NOBODY)
            and bayeux.access.may_recover(pattern, NOBODY)
        )

    def _connect(self, message: Message, now: float, link: Link) -> bytes | None:
        registry, number = self._registry, message.get("id")
        session = registry.get(message.get("clientId"))
        if (
            session is None
            or len(message) != 4
            or message.get("connectionType") != WEBSOCKET
            or not _is_plain(number)
            # Only the first connect of a session, which so holds nothing and waits for no acknowledgement; that never
            # had a link, on a link that has no session: nothing is taken over. And only if nothing waits.
            or session.connected
            or session.arrived is not None
            or link.session is not None
            or session.queue is not None
            or session.ack is not None
            or session.lost is not None
        ):
            return None
        session.touch(now)
        session.note_connect(now, None)
        session.connect()
        registry.attach(session, link)
        if registry.attendance is not None:
            registry.attendance.back(session)
        tops = self._tops(session) if session.tracks else None
        told = f',"ext":{{"tops":{dumps(tops).decode()}}}' if tops else ""
        reply = (
            f'{{"channel":"/meta/connect","successful":true,"id":"{number}","clientId":"{session.id}",'
            f'"advice":{self._retry}{told}}}'
        )
        return reply.encode()


def _is_plain(number: object) -> bool:
    """Whether it is an id as clients make them, which JSON writes as it is."""
    return isinstance(number, str) and len(number) <= MAX_ID_CHARS and number.isalnum()
