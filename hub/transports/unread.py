"""What waits for clients that don't read their answers, by the address that they come from.

Each connection is bounded: an answer, or a session's queue, and nothing more is read from who doesn't read. But one
address may have two thousand of them, each with a megabyte. Where more waits for an address than may, the
connections that have been paused for longest are aborted: others of the address, who read, have their answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Unread:
    """most: bytes that may wait for one address, 0 for no limit. count: is called for each connection that is cut.

    A connection counts from when its transport has more than its high-water mark (64 KiB) until it has less than the
    low one, with what it had at first: while it is so nothing is added but what was under way.
    """

    most: int
    count: Callable[[], None]
    #: By address.
    bytes: dict[str, int] = field(default_factory=dict, init=False)
    # By address, the longest paused first: bytes that wait, and the transport.
    _held: dict[str, dict[object, tuple[int, asyncio.Transport]]] = field(default_factory=dict, init=False)
    _addresses: dict[object, str] = field(default_factory=dict, init=False)

    def paused(self, connection: object, address: str, transport: asyncio.Transport | None) -> None:
        """Its transport paused writing. address: whose connection it is, empty where nothing is counted."""
        if not self.most or not address or transport is None or connection in self._addresses:
            return
        size = transport.get_write_buffer_size()
        held = self._held.setdefault(address, {})
        held[connection] = size, transport
        self._addresses[connection] = address
        self.bytes[address] = self.bytes.get(address, 0) + size
        while self.bytes.get(address, 0) > self.most:
            oldest, (_, slow) = next(iter(held.items()))
            self.count()
            # Later: this is called in the midst of a write.
            asyncio.get_running_loop().call_soon(slow.abort)
            self.resumed(oldest)

    def resumed(self, connection: object) -> None:
        """Its transport resumed writing, or the connection is closed."""
        address = self._addresses.pop(connection, None)
        if address is None:
            return
        held = self._held[address]
        self.bytes[address] -= held.pop(connection)[0]
        if not held:
            del self.bytes[address], self._held[address]
