"""What one client may do, and what one address, in all realms of a process together."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from ..sessions.bucket import Bucket
from ..sessions.registry import Registry

#: The limits whose refusals are counted, by name in the metrics, and what is refused.
LIMITS = {
    "handshakes": "handshakes and listeners refused because their address had too many a second",
    "sessions": "sessions refused because there were too many",
    "publishes": "publishes of clients refused because they had too many a second",
    "subscriptions": "subscriptions refused because a session or a message had too many",
    "messages": "messages and items refused because there were too many in a request",
    "large": "messages and bodies refused because they were too long",
    "deep": "publications refused because they were nested too deeply",
    "values": "bodies and batches refused because they had too many values",
    "claims": "connections closed because too much waited for what they had sent before",
    "channels": "channel names refused because they were too long or had too many segments",
    "heads": "connections ended because a request's head was too long or did not come in time",
    "bodies": "requests refused because the body did not come in time",
    "connections": "connections refused because there were too many",
    "unread": "connections ended because too much waited for their address, whose clients did not read",
}

#: Addresses whose rates are counted; beyond that the one that was quiet longest is forgotten.
MAX_ADDRESSES = 10_000

#: When bytes for subscriptions run short, one session may use 1/SHARES of those that are left.
SHARES = 64

#: Seconds of an unused publish rate that are saved up: a page that loads sends several messages at once.
BURST_SECONDS = 2.0

#: The same for an address's handshakes: all browsers of an office come back at once after a restart.
HANDSHAKE_BURST_SECONDS = 10.0

#: The same for opening channels with presence: a page that lists a thousand of them opens them at once.
ROOM_BURST_SECONDS = 100.0

#: Joins and leaves allowed for each channel with presence that may be opened; a page reload makes two in each.
ROOM_CHANGES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may do. Times are seconds, sizes bytes, rates a second; a rate of 0 is no limit."""

    timeout: float = 45.0
    interval: float = 0.0
    session_ttl: float = 30.0
    message_bytes: int = 1024 * 1024
    max_messages: int = 1000
    max_values: int = 50_000
    max_depth: int = 64
    max_subscriptions: int = 1000
    subscription_bytes: int = 0
    max_sessions: int = 0
    publish_rate: float = 0.0
    address_publish_rate: float = 0.0
    browser_polls: int = 0
    handshake_rate: float = 0.0
    presence_rate: float = 0.0
    seen_rate: int = 0


class Crowd:
    """Limits for a process as a whole, all realms together: of its sessions, and of each address.

    registries: those of all realms. addresses, publishers, openers, tellers: the allowances of addresses for
    handshakes, publishes, opening channels with presence, and changes in them; the address heard from longest ago comes
    first.
    """

    def __init__(self) -> None:
        self.registries: list[Registry] = []
        self.addresses: OrderedDict[str, Bucket] = OrderedDict()
        self.publishers: OrderedDict[str, Bucket] = OrderedDict()
        self.openers: OrderedDict[str, Bucket] = OrderedDict()
        self.tellers: OrderedDict[str, Bucket] = OrderedDict()

    @property
    def sessions(self) -> int:
        """How many sessions are remembered."""
        return sum(len(registry.sessions) for registry in self.registries)

    def share(self, most: int) -> float:
        """Bytes that one session's subscriptions may take. most: what those of all sessions may; 0 is no limit.

        There is no limit while less than half is used. After that a session may take a part of what is left, so one
        with many or long names leaves room for the others.
        """
        if not most:
            return math.inf
        left = most
        # Runs for each subscription; `sum` over a generator takes four times as long.
        for registry in self.registries:
            left -= registry.subscribed
        return math.inf if left > most // 2 else left // SHARES

    def may_handshake(self, address: str, now: float, rate: float) -> bool:
        """Whether this address has handshakes left. An empty address (loopback, or unknown) is not limited."""
        if not rate or not address:
            return True
        burst = rate * HANDSHAKE_BURST_SECONDS
        return _of_address(self.addresses, address, now, burst).take(now, rate, burst)

    def may_publish(self, address: str, now: float, rate: float) -> bool:
        """Whether this address has publishes left.

        A new address starts with a tenth of a second's worth, not with all that can be saved up: each new session
        starts with a full allowance of its own, and a client may open many sessions.
        """
        if not rate or not address:
            return True
        burst = max(1.0, rate * BURST_SECONDS)
        first = max(1.0, rate / 10)
        return _of_address(self.publishers, address, now, first).take(now, rate, burst)

    def may_open_room(self, address: str, now: float, rate: float) -> bool:
        """Whether this address may open another channel with presence, one that nobody is in yet."""
        if not rate or not address:
            return True
        burst = rate * ROOM_BURST_SECONDS
        return _of_address(self.openers, address, now, burst).take(now, rate, burst)

    def may_change_room(self, address: str, now: float, rate: float) -> bool:
        """Whether another join or leave by this address in a channel with presence may be reported now."""
        if not rate or not address:
            return True
        burst = rate * ROOM_BURST_SECONDS
        return _of_address(self.tellers, address, now, burst).take(now, rate * ROOM_CHANGES, burst)


def _of_address(buckets: OrderedDict[str, Bucket], address: str, now: float, first: float) -> Bucket:
    """The allowance of an address. first: how much a new address starts with."""
    bucket = buckets.get(address)
    if bucket is None:
        bucket = buckets[address] = Bucket(now, first)
        if len(buckets) > MAX_ADDRESSES:
            buckets.popitem(last=False)
    else:
        buckets.move_to_end(address)
    return bucket
