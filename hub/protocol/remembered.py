"""What was found out about names, for when they come again. Pure.

Strangers write names, so all that is remembered of them in a process has one bound of bytes (`ROOM`), however many
caches, realms and actions there are. `lru_cache` counts entries: 16,384 names of 32 segments, with the patterns of
each, were 100 MiB that any client could have the hub keep for good.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

#: Bytes that are remembered in a process: of some 60,000 usual names.
ROOM_BYTES = 16 * 1024 * 1024

#: Bytes that each cache may have whatever the others have.
LEAST_BYTES = 32 * 1024

#: Bytes of an entry beside its name: its places in the dictionary and in the order.
_ENTRY_BYTES = 180


class Room:
    """What caches share. used: bytes that they have, most: that they may have."""

    __slots__ = ("lock", "most", "used")

    def __init__(self, most: int = ROOM_BYTES) -> None:
        self.most = most
        self.used = 0
        # Publishers in other threads share the names.
        self.lock = threading.Lock()


#: The process's.
ROOM = Room()


class Remembered(OrderedDict[K, V]):
    """`remembered[key]` is `find(key)`, which is called again only for what was forgotten: the oldest goes first.

    What is there is found as fast as in any dictionary, with no call. size: bytes of a key and its value. Whatever
    `find` raises is raised, and not remembered. A key whose length is not bounded is not for this.
    """

    def __init__(
        self, find: Callable[[K], V], size: Callable[[K, V], int] = lambda key, _: sys.getsizeof(key), room: Room = ROOM
    ) -> None:
        super().__init__()
        self._find = find
        self._size = size
        self._room = room
        self._bytes = 0

    def __missing__(self, key: K) -> V:
        value = self._find(key)
        size = self._size(key, value) + _ENTRY_BYTES
        room = self._room
        with room.lock:
            if key not in self:
                self[key] = value
                self._take(size)
                while room.used > room.most and self._bytes > LEAST_BYTES:
                    old, gone = self.popitem(last=False)
                    self._take(-self._size(old, gone) - _ENTRY_BYTES)
        return value

    def __del__(self) -> None:
        self._room.used -= self._bytes

    def _take(self, size: int) -> None:
        self._bytes += size
        self._room.used += size
