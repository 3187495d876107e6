"""What this process keeps, bounded in bytes. Pure, but for the clock that it is given.

A value is good while its channels stand where they stood before it was made, this process hears the log, and it is not
too old. That is asked at each read, so there is no moment between a hint that was heard and a value that is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

#: Stands for no value: None is one.
MISSING: Any = object()

#: Bytes that keeping a value costs beside its size.
OVERHEAD = 512


class Tops(Protocol):
    """How far this process has heard the log (`hub.follower.Following`)."""

    @property
    def hears(self) -> bool:
        """Whether it hears the log now."""

    def positions(self, channels: Iterable[str]) -> tuple[str, ...]:
        """Where channels stand: equal to what it was before if nothing was heard and nothing may have been missed."""


class Deaf:
    """Where nobody hears the log: nothing is kept."""

    hears = False

    def positions(self, channels: Iterable[str]) -> tuple[str, ...]:
        return tuple("" for _ in channels)


def marks_of(tops: Tops) -> Callable[[tuple[str, ...]], tuple[object, ...]]:
    """What compares channels in Bayeux form: cheaper than their positions, where the hub has it."""
    found: Callable[[tuple[str, ...]], tuple[object, ...]] = getattr(tops, "marks", tops.positions)
    return found


class _Kept:
    __slots__ = ("channels", "size", "stood", "until", "used", "value")

    def __init__(
        self, value: Any, channels: tuple[str, ...], stood: tuple[object, ...], until: float, size: int
    ) -> None:
        self.value = value
        self.channels = channels
        self.stood = stood
        self.until = until
        self.size = size
        self.used = False


class Local:
    """Values by key. most: bytes of all."""

    def __init__(self, tops: Tops, most: int, clock: Callable[[], float]) -> None:
        self.bytes = 0
        self._tops = tops
        self._marks = marks_of(tops)
        self._most = most
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def look(self, key: str) -> Any:
        """The value of a key; MISSING for none, and for one that is not good any more."""
        found = self._kept.get(key)
        if found is None:
            return MISSING
        if self._marks(found.channels) == found.stood and found.until > self._clock():
            if self._tops.hears:
                found.used = True
                return found.value
            # It may be good again once what was missed is read.
            return MISSING
        if self._tops.hears:
            self.drop(key)
        return MISSING

    def put(
        self, key: str, value: Any, channels: tuple[str, ...], stood: tuple[object, ...], until: float, size: int
    ) -> bool:
        """Keep a value; whether it is. One alone must not drive out all others: at most a quarter of all."""
        self.drop(key)
        size += OVERHEAD
        if size > self._most // 4:
            return False
        self._kept[key] = _Kept(value, channels, stood, until, size)
        self.bytes += size
        while self.bytes > self._most:
            self._drop_one()
        return True

    def drop(self, key: str) -> None:
        """Forget a value."""
        found = self._kept.pop(key, None)
        if found is not None:
            self.bytes -= found.size

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self.bytes = 0

    def _drop_one(self) -> None:
        """The first that nobody has asked for since it was last looked at; who was asked for gets another round."""
        while True:
            key, found = next(iter(self._kept.items()))
            if not found.used:
                self.drop(key)
                return
            found.used = False
            self._kept[key] = self._kept.pop(key)
