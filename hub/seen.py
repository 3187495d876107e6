"""How late publications are in browsers, as some of them say. Pure.

The hub tells a client that asks for nothing more, in its handshake's reply, how many publications it is to say of that
it has got one (`ext.seen`); `fanout.js` picks them by chance and answers on the service channel SEEN. What is measured
is the time from when this worker had heard the publication until the word was back: of the way to the browser and the
way back, so it is never too small. The way through the log before that is measured by itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import NamedTuple

from .sessions.recent import Recent

#: Where clients say what they have got: `[channel, position]`.
SEEN = "/service/seen"

#: Upper bounds of the counts, in seconds.
BOUNDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 2.0)

#: Words of clients that are remembered one by one, for quantiles and traces: some 200 bytes each.
LATELY = 5_000


class Sight(NamedTuple):
    """A client's word that it had got something. when: by the loop's clock, when it came; late: seconds."""

    when: float
    transport: str
    late: float
    channel: str
    position: str
    session: str


class Spread:
    """Counts of times by BOUNDS, the last one beyond them all; their sum and the longest."""

    __slots__ = ("counts", "most", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0
        self.most = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds
        self.most = max(self.most, seconds)


class Seen:
    """What the clients of one node have said. spreads: by transport."""

    def __init__(self, recent: Recent) -> None:
        self.spreads: dict[str, Spread] = {}
        self.lately: deque[Sight] = deque(maxlen=LATELY)
        self._recent = recent

    def take(self, session: str, channel: str, position: str, transport: str, now: float) -> bool:
        """A client has got a publication; False if this worker does not know of it, or not any more."""
        heard = self._recent.when(channel, position)
        if heard is None:
            return False
        late = max(0.0, now - heard)
        self.spreads.setdefault(transport, Spread()).add(late)
        self.lately.append(Sight(now, transport, late, channel, position, session))
        return True

    def counts(self) -> list[int]:
        """By BOUNDS, of all transports together."""
        return [sum(each) for each in zip(*(spread.counts for spread in self.spreads.values()), strict=True)] or [0] * (
            len(BOUNDS) + 1
        )


def quantile(ordered: list[float], share: float) -> float:
    """Of times in order: the one below which are so many of them. 0 of none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
