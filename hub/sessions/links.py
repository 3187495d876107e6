"""Connections as sessions see them: a link takes batches at any time, a held connect is answered once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ProtocolError
from ..peers import Peer
from ..protocol.publications import Publication

if TYPE_CHECKING:
    from .session import Session


class Batch:
    """One channel's publications of one tick, encoded once for all links that take them.

    It is the unit of fan-out: a link writes it with one call. number: its number in `Recent`, 0 if it is for one
    session only. forms: its encodings, by the name of the encoding; links fill it.
    """

    __slots__ = ("channel", "forms", "number", "publications")

    def __init__(self, channel: str, publications: list[Publication], number: int = 0) -> None:
        self.channel = channel
        self.publications = publications
        self.number = number
        self.forms: dict[str, bytes] = {}


class Link(Protocol):
    """A connection that can be written to at any time: what the node sees of a transport.

    blocked: whether its buffer is full. Batches then wait in the session's queue, and the link calls `Node.writable`
    when there is room again. session: the session whose link it is. closed_by: the format of Fanout items that can end
    it by their action `close`; empty if none can.
    """

    blocked: bool
    session: Session | None
    closed_by: str

    def offer(self, batch: Batch) -> None:
        """Write a batch now; raises LinkClosed. Called only while the link is a session's `sink`."""

    def send(self, parts: list[bytes]) -> None:
        """Write encoded Bayeux messages as one batch (`messages.join`)."""

    def tell_lost(self, channels: Iterable[str]) -> bool:
        """Tell the client that publications of these channels may have been missed.

        False if this link can't, so that the reply to a connect must.
        """

    def leave(self, code: int, reason: str) -> None:
        """Close, and say why. code: of a WebSocket's close frame."""


class Answers(Protocol):
    """Where the answer to a request goes: a WebSocket, or the one response of a poll. peer: who is at the other end."""

    @property
    def peer(self) -> Peer: ...

    def send(self, parts: list[bytes]) -> None:
        """Send encoded Bayeux messages as one batch (`messages.join`)."""


class Hold:
    """A connect whose answer waits.

    id: the message's id, for the reply. to: where the answer goes. deadline: when to answer even if there is nothing to
    deliver. error, advice: what the answer says instead of the usual. sync: the answer's ext.timesync, without the time
    for which the connect was held.
    """

    __slots__ = ("advice", "deadline", "error", "id", "session", "sync", "to")

    def __init__(self, session: Session, id: object, deadline: float, to: Answers) -> None:
        self.session = session
        self.id = id
        self.deadline = deadline
        self.to = to
        self.error: ProtocolError | None = None
        self.advice: dict[str, Any] | None = None
        self.sync: dict[str, Any] | None = None

    def is_for(self, link: object) -> bool:
        """Whether its answer goes to this link."""
        return self.to is link
