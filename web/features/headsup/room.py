"""Room for deliveries: how many bytes of them are held at once, whoever sends them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import web


@dataclass(slots=True)
class Held:
    """What one delivery holds. size: bytes."""

    room: Room
    size: int = 0

    def grow(self, size: int) -> bool:
        """Hold `size` bytes from now on; False if there is no room for them."""
        more = size - self.size
        if self.room.held + more > self.room.most:
            return False
        self.room.held += more
        self.size = size
        return True


@dataclass(slots=True)
class Room:
    """Bytes of deliveries in memory. most: how many there may be."""

    most: int
    held: int = 0

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """Of one delivery, until it is dealt with."""
        held = Held(self)
        try:
            yield held
        finally:
            self.held -= held.size


room: web.AppKey[Room] = web.AppKey("headsup room", Room)
