"""What waits for clients that don't read their answers, by the address that they come from.

Each connection is bounded: an answer, or a session's queue, and nothing more is read from who doesn't read. But one
address may have two thousand of them, each with a megabyte. Where more waits for an address than may, the
connections that have been paused for longest are aborted: others of the address, who read, have their answers.
Who has been paused for a moment only may well read: a fan-out pauses a hundred good readers in one tick.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

#: Seconds that who is paused is not cut. 120 clients near by have read 900 KB each in a quarter of a second; one
#: that is 100 ms away has read half of it in half a second, as TCP starts slowly. Of 300 sockets a second that read
#: nothing of 1 MiB, 150 MiB come in that.
MOMENT = 0.5

#: Times the limit that may wait meanwhile: of what is more, the longest paused are cut at once.
SPARED = 4

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
class Held:
    """A connection that is paused. since: when it paused. size: bytes that waited when it was measured last."""

    address: str
    transport: asyncio.Transport
    since: float
    size: int = 0


@dataclass(slots=True)
class Unread:
    """most: bytes that may wait for one address, 0 for no limit. count: is called for each connection that is cut.

    time: the time. soon: has a function called in a moment.

    A connection counts from when its transport has more than its high-water mark (64 KiB) until it has less than the
    low one. Who reads costs nothing here.
    """

    most: int
    count: Callable[[], None]
    time: Callable[[], float]
    soon: Callable[[Callable[[], None]], None]
    #: By address.
    bytes: dict[str, int] = field(default_factory=dict, init=False)
    # By address, the longest paused first.
    _held: dict[str, dict[object, Held]] = field(default_factory=dict, init=False)
    _connections: dict[object, Held] = field(default_factory=dict, init=False)
    # Whether a look is ordered.
    _looks: bool = field(default=False, init=False)

    def paused(self, connection: object, address: str, transport: asyncio.Transport | None) -> None:
        """Its transport paused writing. address: whose connection it is, empty where nothing is counted."""
        if not self.most or not address or transport is None or connection in self._connections:
            return
        held = self._connections[connection] = Held(address, transport, self.time())
        self._held.setdefault(address, {})[connection] = held
        self.bytes.setdefault(address, 0)
        self.grew(connection)

    def grew(self, connection: object) -> None:
        """It was written to though its transport has paused writing."""
        held = self._connections.get(connection)
        if held is None:
            return
        address = held.address
        self._measure(held)
        while self.bytes.get(address, 0) > SPARED * self.most:
            self._cut(next(iter(self._held[address])))
        if self.bytes.get(address, 0) > self.most:
            self._look_soon()

    def resumed(self, connection: object) -> None:
        """Its transport resumed writing, or the connection is closed."""
        held = self._connections.pop(connection, None)
        if held is None:
            return
        address = held.address
        theirs = self._held[address]
        del theirs[connection]
        self.bytes[address] -= held.size
        if not theirs:
            del self.bytes[address], self._held[address]

    def _look_soon(self) -> None:
        if not self._looks:
            self._looks = True
            self.soon(self._look)

    def _look(self) -> None:
        """Cut those who have had their moment, where too much waits; come back if it still does."""
        self._looks = False
        before = self.time() - MOMENT
        for address in [each for each, size in self.bytes.items() if size > self.most]:
            theirs = self._held[address]
            for held in theirs.values():
                # Who reads has less by now, and nobody says so.
                self._measure(held)
            while self.bytes.get(address, 0) > self.most:
                connection, held = next(iter(theirs.items()))
                if held.since > before:
                    self._look_soon()
                    break
                self._cut(connection)

    def _measure(self, held: Held) -> None:
        size = held.transport.get_write_buffer_size()
        self.bytes[held.address] += size - held.size
        held.size = size

    def _cut(self, connection: object) -> None:
        self.count()
        # Later: this may be called in the midst of a write.
        asyncio.get_running_loop().call_soon(self._connections[connection].transport.abort)
        self.resumed(connection)
