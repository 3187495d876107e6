"""The newest positions that this process has heard, by channel: what is made from rows is good while they stand. Pure.

A *top* is text that is only ever compared with another of the same process. That of a channel with a publication that
was heard is its position, "epoch.offset". That of any other begins with `~`, which no position does, and says which
time of not having heard it is: since the start, the last loss, or since a channel like it was forgotten. So
any publication that is heard, any loss, and whatever is forgotten changes a top, and it never comes back to what it
was: who kept one and finds it equal has missed nothing that this process heard. Every name has a top and asking keeps
nothing, so that nobody fills the memory with names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from zlib import crc32

from .protocol.publications import Position, Publication

#: Channels whose newest position is remembered. What has none shares a number with others: `_MARKS` of them.
MAX_TOPS = 50_000
_MARKS = 4096


class Tops:
    """The tops of one node. token: unlike that of any other process, letters and digits; most: channels remembered.

    heard: the positions by channel in Bayeux form, which `delivery` writes as publications come; whoever writes there
    calls `trim` when there are more than `most`.
    """

    __slots__ = ("_losses", "_marks", "_token", "_withheld", "heard", "most")

    def __init__(self, token: str = "", most: int = MAX_TOPS) -> None:
        self.heard: dict[str, Position] = {}
        self.most = most
        self._token = token
        self._losses = 0
        # By a digest of the name, how often a channel was forgotten or lost something.
        self._marks = [0] * _MARKS
        # Of channels whose newest publication an extension kept from this process's subscribers.
        self._withheld: dict[str, Position] = {}

    def of(self, channel: str) -> str:
        """A channel's top; its name is in Bayeux form."""
        found = self.heard.get(channel)
        if found is None:
            top = f"~{self._token}{self._losses}.{self._marks[_mark(channel)]}"
        else:
            top = f"{found.epoch}.{found.offset}"
        if self._withheld and channel in self._withheld:
            return f"{top}+{self._withheld[channel]}"
        return top

    def marks(self, channels: Sequence[str]) -> tuple[object, ...]:
        """What can be compared instead of the tops of channels, at a third of the price: it need not be text.

        Unequal wherever the tops are, and equal where they are but for what was compared while an extension withheld.
        """
        if self._withheld:
            return tuple([self.of(channel) for channel in channels])
        heard = self.heard
        if len(channels) == 1:
            # The usual case: a list costs as much as all the rest.
            channel = channels[0]
            return (heard.get(channel) or self.of(channel),)
        return tuple([heard.get(channel) or self.of(channel) for channel in channels])

    def has(self, channel: str, position: Position) -> bool:
        """Whether what stands at a position, or something after it, was heard."""
        return any(
            found is not None and found.epoch == position.epoch and found.offset >= position.offset
            for found in (self.heard.get(channel), self._withheld.get(channel))
        )

    def withhold(self, publications: Iterable[Publication]) -> None:
        """These were heard, and are not delivered."""
        for publication in publications:
            self._withheld[publication.channel] = publication.position
        if len(self._withheld) > self.most:
            self.lost(None)

    def trim(self) -> None:
        """Forget the channels that were remembered first, until there are no more than `most`."""
        heard = self.heard
        while len(heard) > self.most:
            self._forget(next(iter(heard)))

    def lost(self, channels: Iterable[str] | None) -> None:
        """Publications of these channels, or of any, may have been missed."""
        if channels is None:
            self._losses += 1
            self.heard.clear()
            self._withheld.clear()
        else:
            for channel in channels:
                self._forget(channel)

    def _forget(self, channel: str) -> None:
        self.heard.pop(channel, None)
        self._withheld.pop(channel, None)
        self._marks[_mark(channel)] += 1


def _mark(channel: str) -> int:
    return crc32(channel.encode()) % _MARKS
