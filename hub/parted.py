"""A dictionary in parts, for what may become very large. Pure.

A dict is copied as a whole when it needs more room: 5 ms at 87,000 entries, 29 ms at 700,000, in which nobody is
served. Of 256 small ones each is copied at a time of its own, as no two have equally many. A look-up costs 0.1 µs
more than a dict's; what is done to many keys at once goes through `among`, `fill` and `drop`.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, MutableMapping
from typing import Any, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

PARTS = 256
_MASK = PARTS - 1

#: A part is chosen by the upper half of a hash: within one, a dict goes by the lower bits, and would find all of its
#: keys in the same place.
_SHIFT = sys.hash_info.width // 2

#: Entries from which on the parts are made anew when they have so many times fewer: a dict keeps the room that it once
#: took, 20 MiB after half a million names.
MANY = 16_384
SHRUNK = 32


class Parted(MutableMapping[K, V]):
    """A dict in all but the order, which is none."""

    __slots__ = ("_anew", "_count", "_most", "_parts")

    def __init__(self) -> None:
        self._parts: list[dict[K, V]] = [{} for _ in range(PARTS)]
        self._count = 0
        # The most entries since the parts were last rebuilt; and how many parts of this rebuild are done.
        self._most = self._anew = 0

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | D) -> V | D: ...
    def get(self, key: K, /, default: Any = None) -> Any:
        return self._parts[hash(key) >> _SHIFT & _MASK].get(key, default)

    def __getitem__(self, key: K) -> V:
        return self._parts[hash(key) >> _SHIFT & _MASK][key]

    def __contains__(self, key: object) -> bool:
        return key in self._parts[hash(key) >> _SHIFT & _MASK]

    def __setitem__(self, key: K, value: V) -> None:
        part = self._parts[hash(key) >> _SHIFT & _MASK]
        before = len(part)
        part[key] = value
        self._count += len(part) - before

    def __delitem__(self, key: K) -> None:
        del self._parts[hash(key) >> _SHIFT & _MASK][key]
        self._lost(1)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[K]:
        for part in self._parts:
            yield from part

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + sum(map(sys.getsizeof, (self._parts, *self._parts)))

    def among(self, keys: Iterable[K]) -> list[K]:
        """Those of some keys that are there."""
        parts = self._parts
        return [key for key in keys if key in parts[hash(key) >> _SHIFT & _MASK]]

    def fill(self, keys: Iterable[K], value: V) -> tuple[list[K], list[K]]:
        """Give a value to those of some keys that have none; returns these, and the others."""
        parts = self._parts
        new, old = [], []
        for key in keys:
            part = parts[hash(key) >> _SHIFT & _MASK]
            if key in part:
                old.append(key)
            else:
                part[key] = value
                new.append(key)
        self._count += len(new)
        return new, old

    def drop(self, keys: Iterable[K], value: object, but: Collection[K] = ()) -> tuple[list[K], list[K]]:
        """Delete those of some keys, all there, that have this very value; returns these, and the others.

        but: keys that stay whatever they have.
        """
        parts = self._parts
        gone, left = [], []
        for key in keys:
            part = parts[hash(key) >> _SHIFT & _MASK]
            if part[key] is value and not (but and key in but):
                del part[key]
                gone.append(key)
            else:
                left.append(key)
        self._lost(len(gone))
        return gone, left

    def _lost(self, count: int) -> None:
        """Count so many deleted entries, and rebuild parts if few are left."""
        self._most = max(self._most, self._count)
        self._count -= count
        if self._most > MANY and self._count < self._most // SHRUNK:
            # Rebuilt a few at a time, as all of them take 3 ms; the last one before the last entry is deleted.
            some = max(PARTS // 16, PARTS * count // (count + self._count))
            for number in range(self._anew, min(self._anew + some, PARTS)):
                self._parts[number] = dict(self._parts[number])
            self._anew += some
            if self._anew >= PARTS:
                self._anew, self._most = 0, self._count
