"""A bound, for each address, of what waits to be written to clients that don't read.

Each connection has its own bound: an answer, or a session's queue, and the hub reads nothing more from a client that
does not read. But an address may have two thousand connections with a megabyte each. If more waits for an address than
may, the connections that have been paused longest are aborted, so others of that address still get their answers.
Connections that were paused just now are spared, as their clients may well be reading: one fan-out pauses a hundred
good readers in a tick.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

#: A connection that has been paused for less than so many seconds is not aborted. 120 clients near by read 900 KB each
#: in a quarter of a second; one that is 100 ms away reads half of that in half a second, as TCP starts slowly. 300 new
#: sockets a second that read nothing of 1 MiB pile up 150 MiB in that time.
MOMENT = 0.5

#: If more than so many times the limit waits, the connections that have been paused longest are aborted at once.
SPARED = 4

#: Bytes of a connection that the kernel may hold unsent: twice asyncio's high-water mark.
UNSENT = 128 * 1024


def bound_unsent(fileno: int) -> None:
    """Let the kernel hold at most UNSENT unsent bytes for each connection that this listening socket accepts.

    Without this it holds up to 4 MiB of a connection (`tcp_wmem`), where no limit of ours counts it: 300 sockets that
    read nothing of 1 MiB each held 280 MB there. What the kernel does not take waits in the process, and is counted.
    Nothing changes on systems without the option (tcp(7), TCP_NOTSENT_LOWAT); Unix sockets have no such buffer.
    """
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    with socket.socket(fileno=os.dup(fileno)) as listener:
        if option is not None and listener.family in (socket.AF_INET, socket.AF_INET6):
            listener.setsockopt(socket.IPPROTO_TCP, option, UNSENT)


@dataclass(slots=True)
class Held:
    """A paused connection. since: when it paused. size: how many bytes waited when it was last measured."""

    address: str
    transport: asyncio.Transport
    since: float
    size: int = 0


@dataclass(slots=True)
class Unread:
    """What waits for each address, in connections that are paused.

    A connection counts from when its transport holds more than the high-water mark (64 KiB) until it holds less than
    the low one. So clients that read cost nothing here.

    most: bytes that may wait for one address; 0 is no limit. count: called for each connection that is aborted. time:
    gives the time in seconds. soon: has a function called in a moment.
    """

    most: int
    count: Callable[[], None]
    time: Callable[[], float]
    soon: Callable[[Callable[[], None]], None]
    #: By address, how many bytes wait.
    bytes: dict[str, int] = field(default_factory=dict, init=False)
    # By address, its paused connections, those paused longest first.
    _held: dict[str, dict[object, Held]] = field(default_factory=dict, init=False)
    _connections: dict[object, Held] = field(default_factory=dict, init=False)
    # Whether a call of `_look` is under way.
    _looks: bool = field(default=False, init=False)

    def paused(self, connection: object, address: str, transport: asyncio.Transport | None) -> None:
        """A connection's transport has paused writing. address: the client's, empty if it is not limited."""
        if not self.most or not address or transport is None or connection in self._connections:
            return
        held = self._connections[connection] = Held(address, transport, self.time())
        self._held.setdefault(address, {})[connection] = held
        self.bytes.setdefault(address, 0)
        self.grew(connection)

    def grew(self, connection: object) -> None:
        """A connection was written to although its transport has paused writing."""
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
        """A connection's transport has resumed writing, or the connection is closed."""
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
        """Abort connections paused for MOMENT or more, where too much waits; look again while it still does."""
        self._looks = False
        before = self.time() - MOMENT
        for address in [each for each, size in self.bytes.items() if size > self.most]:
            theirs = self._held[address]
            for held in theirs.values():
                # A client that reads has less waiting by now, and nothing has told us so.
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
        # In the next round: this may have been called in the middle of a write.
        asyncio.get_running_loop().call_soon(self._connections[connection].transport.abort)
        self.resumed(connection)
