"""Code in a worker that follows channels, and keeps what it makes from rows while their tops stand.

It lives as long as its worker. `Watcher` holds it to what is promised: what the log accepted after the follower was
entered is heard, for the first time in order, or told as lost; and what was kept, and is given again because its tops
are equal and the worker hears, lacks nothing that was accepted more than DOUBT seconds ago.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.follower import Heard, Lost
from hub.node import Node

from .redis import HEARS_SECONDS
from .world import World

if TYPE_CHECKING:
    from .books import Books
    from .hosts import Host

#: Seconds for which a worker may believe that it hears when it does not: what the broker promises, and a moment for a
#: round of its loop.
DOUBT = HEARS_SECONDS + 0.1

#: Seconds between two looks at a page.
_LOOK = 0.5


class Watcher:
    """One worker's follower of all channels, and its pages of one channel each."""

    def __init__(self, host: Host, node: Node, world: World, books: Books, channels: tuple[str, ...]) -> None:
        self.name = f"code in {host.name}"
        self.world = world
        self.node = node
        self.books = books
        self.channels = channels
        self.process = host.process
        #: Pages given as they were kept, and made.
        self.given = self.made = 0
        self._sure: dict[str, int] = {}
        self._heard: dict[str, set[int]] = {channel: set() for channel in channels}
        self._newest: dict[str, int] = {}
        self._pages: dict[str, tuple[str, int]] = {}
        # What the log had accepted of each channel, at each look.
        self._past: list[tuple[float, dict[str, int]]] = []

    def _accepted(self) -> dict[str, int]:
        return {channel: self.books.store.position(channel).offset for channel in self.channels}

    async def follow(self) -> None:
        """Follow the channels, once the node has started."""
        exact, *_ = self.channels
        async with self.node.followers.follow(exact, *(f"{channel[:-1]}*" for channel in self.channels)) as follower:
            self._sure = self._accepted()
            self.world.after(_LOOK, self._look)
            async for heard in follower:
                if isinstance(heard, Lost):
                    self._told_lost(heard)
                else:
                    self._take(heard)

    def _take(self, heard: Heard) -> None:
        channel, offset = "/" + heard.channel, heard.position.offset
        known = self._heard[channel]
        if offset not in known and offset < self._newest.get(channel, 0):
            self.world.accuse(f"{self.name} hears {channel} {offset} for the first time after {self._newest[channel]}")
        known.add(offset)
        self._newest[channel] = max(offset, self._newest.get(channel, 0))

    def _told_lost(self, lost: Lost) -> None:
        if not self.books.faults:
            self.world.accuse(f"{self.name} is told that {lost.channel} lost something without a fault")
        accepted = self._accepted()
        for channel in self.channels:
            self._sure[channel] = max(self._sure[channel], accepted[channel])

    def _look(self) -> None:
        """Ask for each page, as a visitor does whose request reaches the worker now."""
        if self.process.dead:
            return
        self._past.append((self.world.now, self._accepted()))
        self._past = [each for each in self._past if each[0] >= self.world.now - 30.0]
        if not self.process.stopped:
            self.process.arrive(self._ask)
        self.world.after(_LOOK, self._look)

    def _ask(self) -> None:
        now = self.world.now
        # What was accepted so long ago must be in every page.
        due = next((accepted for when, accepted in reversed(self._past) if when < now - DOUBT), {})
        for channel in self.channels:
            top = self.node.followers.position(channel)
            kept = self._pages.get(channel)
            if kept is None or kept[0] != top or not self.node.followers.hears:
                self._pages[channel] = (top, self._accepted()[channel])
                self.made += 1
                continue
            self.given += 1
            if kept[1] < due.get(channel, 0):
                self.world.accuse(
                    f"{self.name} gives a page of {channel} that was made at {kept[1]}, {DOUBT} s after {due[channel]}"
                )

    def check(self) -> None:
        """In the end everything has been heard that had to be."""
        if self.process.dead or not self._sure:
            return
        for channel, top in self._accepted().items():
            missing = [each for each in range(self._sure[channel] + 1, top + 1) if each not in self._heard[channel]]
            if missing:
                self.world.accuse(f"{self.name} has not heard {channel} {missing}, and was not told")
