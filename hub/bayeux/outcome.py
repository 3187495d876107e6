"""A batch on its way through the rules, and what is left to do after them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import (
    ProtocolError,
)
from ..protocol.access import Who
from ..protocol.messages import Message
from ..protocol.publications import Draft, Position
from ..renewals import Renewal
from ..sessions.links import Answers, Hold, Link
from ..sessions.session import Session
from ..tentative import Flip


class Recovery(NamedTuple):
    """A subscription that asked where its channel is, and perhaps what came after a position.

    The node reads the history, delivers it, and completes `reply`'s ext. replay: as Salesforce's
    clients ask (`protocol.replay`).
    """

    session: Session
    channel: str
    since: Position | None
    reply: Message
    replay: int | Position | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What a client sent to a service channel. who: the visitor and the token's grant."""

    channel: str
    data: object
    client_id: str
    who: Who


#: Answers calls of a service channel: what it returns is sent to the caller, None sends nothing. A
#: ProtocolError it raises is the reply's error.
Service = Callable[[Call], Awaitable[object]]
#: Sees every message of a client before the rules do. It may change the message, or refuse it by raising a
#: ProtocolError; it must not wait.
Incoming = Callable[[Message, Who], None]

#: Sees every reply to a client's message right before it is sent. It may change the reply, or refuse it by
#: raising a ProtocolError: the client is told the error instead. It must not wait.
Outgoing = Callable[[Message, Who], None]


@dataclass(slots=True)
class Change:
    """What a message changed in a session that its record must have before the reply goes out.

    flips: subscriptions. opened: whether it is a new session.
    """

    session: Session
    reply: Message
    flips: Sequence[Flip] = ()
    opened: bool = False


class Outcome:
    """What is left to do after the rules were applied, in this order.

    publishes: drafts with the replies that must say whether they were accepted. recoveries:
    histories to read. replies: answers, in the order of the messages. hold: a connect of this
    request to answer later (`Bayeux.answer` makes its reply; it is not among `replies`). resumed: the
    session whose queue goes out with this answer. released: older connects to answer now. replaced: links that lost
    their sessions to this one. ended: sessions that are no more, with the reason. opened: a new session.
    granted: sessions that showed a token. calls: services to ask, with the replies to complete.
    changed: what must be kept before the replies go out. close: the client
    said goodbye; the connection can end after the replies. senders: who gets a reply, by its `id()`, if an
    extension wants to know.
    """

    __slots__ = (
        "calls",
        "changed",
        "close",
        "ended",
        "granted",
        "hold",
        "opened",
        "publishes",
        "recoveries",
        "released",
        "replaced",
        "replies",
        "resumed",
        "senders",
    )

    def __init__(self) -> None:
        self.replies: list[Message] = []
        self.publishes: list[tuple[Draft, Message]] = []
        self.calls: list[tuple[Service, Call, Message]] = []
        self.recoveries: list[Recovery] = []
        self.hold: Hold | None = None
        self.resumed: Session | None = None
        self.released: list[Hold] = []
        self.replaced: tuple[Link, ...] = ()
        self.ended: list[tuple[Session, str]] = []
        self.opened: Session | None = None
        self.granted: tuple[Session, ...] = ()
        self.changed: list[Change] = []
        self.close = False
        self.senders: dict[int, Who] = {}


@dataclass(slots=True, eq=False)
class Checked:
    """What is known of a message's long list of patterns before it is taken: nothing has been changed for it yet.

    asked: the list, as it was. looked: how many of it were looked at. names: those, each once when all were.
    refused: what is wrong with the next one. who: for whom the rules were asked, None before they were. decided: how
    many of them are allowed. forbidden: why the next one is not. positions: of the allowed ones those whose position is
    asked for, and may be, with the one to recover from; None where `step` must look itself.
    """

    asked: tuple[object, ...]
    names: list[str] = field(default_factory=list)
    looked: int = 0
    refused: ProtocolError | None = None
    who: Who | None = None
    decided: int = 0
    forbidden: ProtocolError | None = None
    positions: dict[str, Position | None] | None = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether all of the list has been looked at."""
        return self.looked == len(self.asked)


@dataclass(slots=True)
class Request:
    """One batch on its way through the rules: `Bayeux.step` takes its messages one by one.

    handshake: the first of a batch, beside which nothing else is taken. taken: messages that have been. patterns: that
    were asked for so far. checked, renewal: of the next message. began: when it came to the worker that it reached, if
    that was before now.
    """

    messages: Sequence[object]
    transport: str
    to: Answers
    link: Link | None
    now: float
    outcome: Outcome
    handshake: object = None
    taken: int = 0
    patterns: int = 0
    tries: int = 0
    checked: Checked | None = None
    renewal: Renewal | None = None
    began: float | None = None

    @property
    def alone(self) -> bool:
        """Whether it has one message."""
        return len(self.messages) == 1
