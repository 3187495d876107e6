"""The log in one process: a ring per channel.

Nothing waits, so a publish has been delivered to the node when it returns. Rings are bounded by
count, bytes and age, and their number by `MAX_CHANNELS`; a channel that is forgotten comes back
with another epoch, so that a position from its first life is answered with "lost".

Anyone may ask for any name, so asking makes no ring: the epoch of a channel that has none is derived from its name, and
its first publication takes the same. Channels share `_LIVES` counters by a digest of their names; when one is forgotten
its counter goes up, which gives all of them that have no ring another epoch.
"""

from __future__ import annotations

import math
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from hashlib import blake2b
from zlib import crc32

from ..histories import Histories, Retention
from ..protocol.publications import Draft, History, Position, Publication, Published
from . import KEY_SECONDS, Broker, Health, Receiver

#: Channels remembered at most; of those unused for long one is forgotten. An empty one costs
#: about 700 bytes, so the bound is 70 MB.
MAX_CHANNELS = 100_000

#: Counters of forgotten channels. Who waits for a quiet channel of the same counter is told "lost" once in so many.
_LIVES = 4096

#: Epochs of channels without a ring that are kept for who asks next: a digest takes 2 µs, and after a restart thousands
#: of clients ask for the same few.
_MAX_EPOCHS = 1024

#: Idempotency keys remembered at most, about 200 bytes each.
MAX_KEYS = 200_000


class _Ring:
    """One channel's history: publications `top - len + 1` to `top` of an epoch."""

    __slots__ = ("bytes", "entries", "epoch", "identified", "retention", "top", "used")

    def __init__(self, epoch: str, retention: Retention) -> None:
        self.epoch = epoch
        self.top = 0
        self.entries: deque[tuple[float, Publication]] | None = None
        self.bytes = 0
        self.retention = retention
        # Whether anybody came since it was last considered for being forgotten.
        self.used = True
        # When an id was last used in this channel.
        self.identified = -math.inf

    def append(self, publication: Publication, now: float) -> None:
        if self.retention.count == 0:
            return
        if self.entries is None:
            self.entries = deque()
        entries, keep = self.entries, self.retention
        entries.append((now, publication))
        self.bytes += publication.size
        # As in `trim`, which is a call more.
        if len(entries) > keep.count or self.bytes > keep.bytes or entries[0][0] < now - keep.seconds:
            self.trim(now)

    def trim(self, now: float) -> None:
        """Drop what is beyond the bounds of count, bytes and age."""
        entries, keep = self.entries, self.retention
        while entries and (len(entries) > keep.count or self.bytes > keep.bytes or entries[0][0] < now - keep.seconds):
            self.bytes -= entries.popleft()[1].size

    def since(self, position: Position | None) -> History:
        """What came after a position, all that is kept for None."""
        top = Position(self.epoch, self.top)
        kept = () if self.entries is None else tuple(publication for _, publication in self.entries)
        if position is None:
            return History(kept, top, True)
        missing = self.top - position.offset
        if position.epoch != self.epoch or missing < 0 or missing > len(kept):
            return History((), top, False)
        return History(kept[len(kept) - missing :], top, True)


class MemoryBroker(Broker):
    """The broker of a hub that is one process."""

    def __init__(
        self,
        *,
        histories: Histories | None = None,
        clock: Callable[[], float] = time.monotonic,
        max_channels: int = MAX_CHANNELS,
    ) -> None:
        self._histories = histories or Histories()
        self._clock = clock
        self._max_channels = max_channels
        self._receiver: Receiver | None = None
        self._rings: OrderedDict[str, _Ring] = OrderedDict()
        self._keys: OrderedDict[str, tuple[float, Position]] = OrderedDict()
        self._secret = secrets.token_bytes(16)
        self._lives = [0] * _LIVES
        self._epochs: dict[str, str] = {}

    async def open(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def close(self) -> None:
        self._receiver = None

    async def publish(self, drafts: Sequence[Draft]) -> list[Published]:
        return self.try_publish(drafts)

    def try_publish(self, drafts: Sequence[Draft]) -> list[Published]:
        now = self._clock()
        results = []
        publications = []
        for draft in drafts:
            first = None if draft.key is None else self._seen(draft.key, now)
            if first is not None:
                results.append(Published(first, repeated=True))
                continue
            ring = self._ring(draft.channel)
            ring.top += 1
            position = Position(ring.epoch, ring.top)
            publication = Publication(draft.channel, draft.data, position, draft.hint, draft.ext)
            ring.append(publication, now)
            publications.append(publication)
            results.append(Published(position))
            if draft.key is not None:
                self._keys[draft.key] = (now, position)
                if draft.identified:
                    ring.identified = now
        if publications and self._receiver is not None:
            self._receiver.receive(publications)
        return results

    async def position(self, channel: str) -> Position:
        return self.try_position(channel)

    def try_position(self, channel: str) -> Position:
        ring = self._rings.get(channel)
        if ring is None:
            return Position(self._epoch(channel), 0)
        ring.used = True
        return Position(ring.epoch, ring.top)

    async def history(self, channel: str, since: Position | None) -> History:
        ring = self._rings.get(channel)
        if ring is None:
            top = Position(self._epoch(channel), 0)
            return History((), top, since is None or since == top)
        ring.used = True
        ring.trim(self._clock())
        return ring.since(since)

    async def may_follow(self, channel: str, key: str) -> bool:
        now = self._clock()
        ring = self._rings.get(channel)
        return ring is None or ring.identified < now - KEY_SECONDS or self._seen(key, now) is not None

    @property
    def health(self) -> Health:
        return Health(True)

    @property
    def hears(self) -> bool:
        return self._receiver is not None

    @property
    def channels(self) -> int:
        """How many channels have a history now."""
        return len(self._rings)

    def _ring(self, channel: str) -> _Ring:
        ring = self._rings.get(channel)
        if ring is None:
            ring = self._rings[channel] = _Ring(self._epoch(channel), self._histories.of(channel))
            if len(self._rings) > self._max_channels:
                self._forget_one()
        else:
            ring.used = True
        return ring

    def _forget_one(self) -> None:
        """Forget the oldest channel that was not used since its last turn: each use buys it another.

        Moving a channel to the end at each use would be exact, and cost every publication more than this.
        """
        rings = self._rings
        while True:
            channel, ring = rings.popitem(last=False)
            if not ring.used:
                self._lives[self._life(channel)] += 1
                self._epochs.clear()
                return
            ring.used = False
            rings[channel] = ring

    def _epoch(self, channel: str) -> str:
        """The epoch of a channel without a ring: 40 bits, unlike those of its earlier lives."""
        epoch = self._epochs.get(channel)
        if epoch is None:
            lives = b"%d " % self._lives[self._life(channel)]
            epoch = blake2b(lives + channel.encode(), digest_size=5, key=self._secret).hexdigest()
            if len(self._epochs) >= _MAX_EPOCHS:
                self._epochs.clear()
            self._epochs[channel] = epoch
        return epoch

    @staticmethod
    def _life(channel: str) -> int:
        return crc32(channel.encode()) % _LIVES

    def _seen(self, key: str, now: float) -> Position | None:
        keys = self._keys
        while keys:
            first = next(iter(keys))
            if len(keys) <= MAX_KEYS and keys[first][0] >= now - KEY_SECONDS:
                break
            del keys[first]
        found = keys.get(key)
        return None if found is None else found[1]
