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
    """A subscribe that asked for its channel's position, and perhaps for what came after an earlier one.

    The node reads the history, delivers it, and completes `reply`'s ext. since: the position to recover from, None if
    only the current one is asked for. replay: the same as Salesforce's clients ask for it (`protocol.replay`).
    """

    session: Session
    channel: str
    since: Position | None
    reply: Message
    replay: int | Position | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A message that a client sent to a service channel. who: the visitor, and what the client's token grants."""

    channel: str
    data: object
    client_id: str
    who: Who


#: Answers calls of a service channel. What it returns is sent to the caller; None sends nothing. A ProtocolError that
#: it raises becomes the reply's error.
Service = Callable[[Call], Awaitable[object]]
#: Sees every message of a client before the rules do. It may change the message, or refuse it by raising a
#: ProtocolError; it must not wait.
Incoming = Callable[[Message, Who], None]

#: Sees every reply to a client's message right before it is sent. It may change the reply, or refuse it by
#: raising a ProtocolError: the client is told the error instead. It must not wait.
Outgoing = Callable[[Message, Who], None]


@dataclass(slots=True)
class Change:
    """A change of a session that must be saved in the broker, in the session's record, before the reply goes out.

    flips: subscriptions made or ended. opened: whether the session is new.
    """

    session: Session
    reply: Message
    flips: Sequence[Flip] = ()
    opened: bool = False


class Outcome:
    """What is left to do after the rules were applied.

    publishes: drafts to publish, each with the reply that must say whether it was accepted.
    calls: services to ask, each with the reply to complete.
    recoveries: histories to read.
    changed: what must be saved before the replies go out.
    replies: the answers, in the order of the messages.
    hold: a connect of this request to answer later. `Bayeux.answer` makes its reply, which is not in `replies`.
    resumed: the session whose queue goes out with this answer.
    released: older held connects to answer now.
    replaced: links whose session has moved to this one.
    opened: a new session. ended: sessions that have ended, with the reason. granted: sessions that showed a token.
    close: the client said goodbye; the connection may end after the replies.
    senders: who gets each reply, by the reply's `id()`; filled only if an extension wants to know.
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
    """How far the check of a message with a long list of patterns has got; it changes nothing else yet.

    First each pattern's form is checked, then whether the client may subscribe to it.

    asked: the list as it came. looked: how many patterns of it were checked for their form. names: those patterns;
    duplicates are dropped when all were checked. refused: what is wrong with the next one. who: whose rights are being
    checked, None before that begins. decided: how many patterns are allowed. forbidden: why the next one is not.
    positions: allowed channels whose position is asked for and may be, each with the position to recover from; None
    where `step` must find that out.
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
        """Whether the whole list was checked for its form."""
        return self.looked == len(self.asked)


@dataclass(slots=True)
class Request:
    """One batch on its way through the rules: `Bayeux.step` takes its messages one by one.

    handshake: the batch's first handshake; if there is one, no other message is processed. taken: how many messages
    were processed. patterns: how many those asked for. tries: how often the batch was routed anew. checked,
    renewal: checks of the next message that are under way. began: when the batch reached the worker that first had it,
    if that was before `now`.
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
        """Whether it is the batch's only message."""
        return len(self.messages) == 1
