"""Caches of what was worked out about names. Pure.

Names are written by strangers, so all caches of a process share one bound of bytes (`ROOM`), however many caches,
realms and actions there are. `lru_cache` bounds entries instead: any client could have filled 100 MiB for good, with
16,384 names of 32 segments and the patterns of each.
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

#: Bytes that all caches of a process may take: enough for some 60,000 usual names.
ROOM_BYTES = 16 * 1024 * 1024

#: Bytes that a cache may take whatever the others take.
LEAST_BYTES = 32 * 1024

#: Bytes of an entry beside its name: its places in the dictionary and in its order.
_ENTRY_BYTES = 180

#: How many entries are dropped in one go.
_AT_ONCE = 32


class Room:
    """The bound that caches share. used: bytes that they take. most: that they may take. caches: all of them."""

    __slots__ = ("caches", "lock", "most", "used")

    def __init__(self, most: int = ROOM_BYTES) -> None:
        self.most = most
        self.used = 0
        # Publishers in other threads use the caches too.
        self.lock = threading.RLock()
        self.caches: list[weakref.ref[Remembered[Any, Any]]] = []

    def shrink(self) -> None:
        """Drop the oldest entries of the largest cache; several at once, as finding that cache costs as much as ten."""
        while self.used > self.most:
            caches = [cache for each in tuple(self.caches) if (cache := each()) is not None]
            largest = max(caches, key=lambda cache: cache.bytes)
            if largest.bytes <= LEAST_BYTES:
                return
            for _ in range(min(_AT_ONCE, len(largest))):
                largest.forget_oldest()


#: The one of this process.
ROOM = Room()


class Remembered(OrderedDict[K, V]):
    """A cache: `remembered[key]` is `find(key)`, which is not called again while the entry is kept.

    An entry that is there is found as fast as in any dictionary, without a call. When there is no room, the oldest
    entries of the largest cache are dropped; otherwise, whoever filled one cache would leave the others LEAST_BYTES
    each for good. size: bytes of a key and its value. What `find` raises is raised, and not cached. Keys must be
    bounded in length.
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
        """Drop the oldest entry, and give back its bytes. The room's lock must be held."""
        old, gone = self.popitem(last=False)
        self._take(-self._size(old, gone) - _ENTRY_BYTES)

    def _take(self, size: int) -> None:
        self.bytes += size
        self._room.used += size
