"""What waits for clients that don't read their answers, by the address that they come from.

Each connection is bounded: an answer, or a session's queue, and nothing more is read from who doesn't read. But one
address may have two thousand of them, each with a megabyte. Where more waits for an address than may, the
connections that have been paused for longest are aborted: others of the address, who read, have their answers.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

#: Bytes of a connection that the kernel takes without sending them: two of asyncio's high-water marks.
UNSENT = 128 * 1024


def bound_unsent(fileno: int) -> None:
    """Have the connections that this listening socket accepts take no more than UNSENT bytes beyond what is on its way.

    The kernel takes up to 4 MiB of a connection (`tcp_wmem`), which no limit of ours sees: 300 sockets of an address
    that read nothing of 1 MiB each held 280 MB there. What it doesn't take waits here, and is bounded. Systems
    without the option (tcp(7), TCP_NOTSENT_LOWAT) do as they do; Unix sockets have no such memory.
    """
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    with socket.socket(fileno=os.dup(fileno)) as listener:
        if option is not None and listener.family in (socket.AF_INET, socket.AF_INET6):
            listener.setsockopt(socket.IPPROTO_TCP, option, UNSENT)


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
