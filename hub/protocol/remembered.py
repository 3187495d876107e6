"""What was found out about names, for when they come again. Pure.

Strangers write names, so all that is remembered of them in a process has one bound of bytes (`ROOM`), however many
caches, realms and actions there are. `lru_cache` counts entries: 16,384 names of 32 segments, with the patterns of
each, were 100 MiB that any client could have the hub keep for good.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")

#: Bytes that are remembered in a process: of some 60,000 usual names.
ROOM_BYTES = 16 * 1024 * 1024

#: Bytes that each cache may have whatever the others have.
LEAST_BYTES = 32 * 1024

#: Bytes of an entry beside its name: its places in the dictionary and in the order.
_ENTRY_BYTES = 180

#: Entries that are forgotten in one go.
_AT_ONCE = 32


class Room:
    """What caches share. used: bytes that they have, most: that they may have. caches: who they are."""

    __slots__ = ("caches", "lock", "most", "used")

    def __init__(self, most: int = ROOM_BYTES) -> None:
        self.most = most
        self.used = 0
        # Publishers in other threads share the names.
        self.lock = threading.RLock()
        self.caches: list[weakref.ref[Remembered[Any, Any]]] = []

    def shrink(self) -> None:
        """Forget the oldest entries of the largest cache, in batches: finding it costs as much as ten of them."""
        while self.used > self.most:
            caches = [cache for each in tuple(self.caches) if (cache := each()) is not None]
            largest = max(caches, key=lambda cache: cache.bytes)
            if largest.bytes <= LEAST_BYTES:
                return
            for _ in range(min(_AT_ONCE, len(largest))):
                largest.forget_oldest()


#: The process's.
ROOM = Room()


class Remembered(OrderedDict[K, V]):
    """`remembered[key]` is `find(key)`, which is called again only for what was forgotten: the oldest goes first.

    Where there is no room it goes from the cache that has the most, or who fills one of them would leave the others
    with LEAST_BYTES each for good.
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
        self.bytes = 0
        with room.lock:
            room.caches.append(weakref.ref(self, self._forget(room)))

    def __missing__(self, key: K) -> V:
        value = self._find(key)
        size = self._size(key, value) + _ENTRY_BYTES
        room = self._room
        with room.lock:
            if key not in self:
                self[key] = value
                self._take(size)
                if room.used > room.most:
                    room.shrink()
        return value

    def __del__(self) -> None:
        self._room.used -= self.bytes

    @staticmethod
    def _forget(room: Room) -> Callable[[weakref.ref[Remembered[Any, Any]]], None]:
        def forget(own: weakref.ref[Remembered[Any, Any]]) -> None:
            with room.lock:
                room.caches.remove(own)

        return forget

    def forget_oldest(self) -> None:
        """Give back the bytes of the entry that came first; the room's lock is held."""
        old, gone = self.popitem(last=False)
        self._take(-self._size(old, gone) - _ENTRY_BYTES)

    def _take(self, size: int) -> None:
        self.bytes += size
        self._room.used += size
