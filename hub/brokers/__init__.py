"""The log: where publications get their positions and how they reach every node.

One interface, two brokers: `memory` for one process, `redis` for many. The same test suite
runs against both, so what is promised here is what is tested.

Promises
- Order: within a channel, offsets are contiguous from 1 in an epoch, and every node receives
  the channel's publications in offset order. Nothing is promised across channels.
- Delivery: a node receives each accepted publication at least once between `open` and `close`,
  or learns by `lost` that it may have missed some of a channel. Never silence.
- Validation is the caller's: names are checked, data is encoded JSON within the size limit.
- Place: what is published to a meta channel that speaks of another (`channels.home`) is received
  after what was published to that other before it.
- A publish whose key was used in the last ten minutes changes nothing and returns the first result.
- Owners: of two workers one owns a session. A worker that is stopped or cut off knows by `life` that it may be thought
  dead before anybody takes what it owns, and its fence is refused after that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..protocol.publications import Draft, History, Position, Publication, Published

#: Seconds for which an idempotency key is remembered.
KEY_SECONDS = 600.0


class Receiver(Protocol):
    """What a broker tells its node. Called on the event loop; must not block or raise."""

    def receive(self, publications: Sequence[Publication]) -> None:
        """Take publications, each channel's in offset order."""

    def lost(self, channels: Sequence[str] | None) -> None:
        """Publications of these channels (None: of any channel) may have been missed.

        The node tells their subscribers to refetch; positions of the channels are stale.
        """

    def mail(self, message: bytes) -> None:
        """Take what another worker sent to this one (`Broker.mail`)."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who owns a session. record: the session, empty if another worker owns it."""

    owner: str
    fence: int
    record: bytes


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the broker carries publications now, and the reason when it does not."""

    well: bool
    reason: str = ""


class Broker(ABC):
    """The log. Methods that wait raise BrokerUnavailable when it can't be reached."""

    @abstractmethod
    async def open(self, receiver: Receiver) -> None:
        """Start carrying publications to `receiver`. Raises BrokerUnavailable, naming the address."""

    @abstractmethod
    async def close(self) -> None:
        """Stop; nothing is received afterwards. Safe to call twice."""

    @abstractmethod
    async def publish(self, drafts: Sequence[Draft]) -> list[Published]:
        """Accept drafts, in order, and return what became of each, in the same order."""

    @abstractmethod
    async def position(self, channel: str) -> Position:
        """The channel's newest position; its history begins now if it had none (offset 0)."""

    @abstractmethod
    async def history(self, channel: str, since: Position | None) -> History:
        """What came after `since`; with None, all that is kept (then `recovered` is True)."""

    @abstractmethod
    async def may_follow(self, channel: str, key: str) -> bool:
        """Whether what follows the draft with this key, an id in its channel, need not wait for it.

        True once it was accepted by any node, and while no id of the channel is known: both as far back
        as keys are remembered. What was accepted before the call counts; a later True stays for as long.
        """

    @property
    @abstractmethod
    def health(self) -> Health:
        """The state now, without asking anyone."""

    @property
    def hears(self) -> bool:
        """Whether all that was accepted until a moment ago has been received, or told as lost. Known without asking.

        `health` may say "well" while the log is read again after an interruption, and this does not.
        """
        return self.health.well

    # Sessions that several workers know of. A session has one owner at a moment, and a fence: a number that grows with
    # each change of owner. What an owner of the past wants to keep is refused by it.

    #: Seconds from saying something until this process hears it, as it was lately.
    lag = 0.0

    #: Whether sessions are kept where other workers find them; without it none of the methods below is called.
    keeps_sessions = False

    #: The name by which this broker's node owns sessions and gets mail.
    worker = ""

    @property
    def life(self) -> int:
        """The number of this worker's lease: while it is the same and not 0, nobody took a session of the worker.

        Known without asking. 0 while others may take the worker for dead. After a lease that lapsed comes one with a
        new number; one that was only renewed late keeps its own.
        """
        return 0

    async def claim_session(self, session_id: str, seconds: float, *, against: int = 0) -> Claim | None:
        """Make this worker the owner of a session, if nobody owns it, this worker does, or its fence is `against`.

        Then the fence is 1 more, and the record is kept for `seconds`. Else nothing changes, and the owner is returned.
        None if there is no record. against: the fence of an owner that is not alive.
        """
        return None

    async def save_session(
        self, session_id: str, fence: int, record: bytes, seconds: float, *, release: bool = False
    ) -> bool:
        """Keep a session's record for `seconds`; False, and nothing changes, if the owner or the fence is another.

        A record that is not there is made. release: afterwards nobody owns the session.
        """
        return True

    async def mail(self, worker: str, message: bytes) -> bool:
        """Send to another worker; False if it is not alive, and nothing was sent.

        Of one sender in order. If the connection to the broker breaks it may come twice; if the receiver dies, never.
        """
        return False

    async def is_alive(self, worker: str) -> bool:
        """Whether a worker's lease holds: it renewed it lately, and was not closed."""
        return False

    def try_publish(self, drafts: Sequence[Draft]) -> list[Published] | None:
        """Publish without waiting if this broker can, else None and nothing was done."""
        return None

    def try_position(self, channel: str) -> Position | None:
        """As `position` if this broker knows without waiting, else None."""
        return None
