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

    #: Whether sessions are kept where other nodes find them; without it the two below are never called.
    keeps_sessions = False

    async def claim_session(self, session_id: str, worker: str) -> bytes | None:
        """Make `worker` the owner of a session; returns its record, None if it is not known."""
        return None

    async def save_session(self, session_id: str, worker: str, record: bytes, seconds: float) -> bool:
        """Keep a session's record for `seconds`; False, and nothing is kept, if another worker owns it."""
        return True

    def try_publish(self, drafts: Sequence[Draft]) -> list[Published] | None:
        """Publish without waiting if this broker can, else None and nothing was done."""
        return None

    def try_position(self, channel: str) -> Position | None:
        """As `position` if this broker knows without waiting, else None."""
        return None
