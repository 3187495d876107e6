"""Which channels have subscribers, and how that changes: in one process, or at all workers on one log.

A channel is *heard* while it has subscribers. Nothing is kept or reported before somebody asks. Then, with several
workers, each reports which channels begin and cease to be heard at it, in the way of `presence`: to a meta channel that
all workers read in the same order. A change's place is that of the report that made it, so a place given by one worker
means the same at another. Workers stop when nobody has asked for LEASE seconds.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import itertools
import logging
import secrets
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from .errors import BrokerUnavailable, ProtocolError
from .node import Node
from .presence.here import MAX_CHANNELS
from .presence.pace import Pace
from .presence.reports import check_report
from .presence.worker import Presence
from .protocol.channels import is_wild, wild_ones
from .protocol.messages import dumps, loads
from .protocol.publications import Draft, Publication
from .sessions.registry import Registry

logger = logging.getLogger(__name__)

#: How many changes are kept; a reader that is further behind starts again.
MAX_CHANGES = 10_000

#: The channel of reports. Only the hub itself can publish to a meta channel.
REPORTS = "/meta/heard"

#: For how many seconds workers go on reporting after somebody asked; and seconds between two notes that somebody asks.
LEASE = 60.0
RENEW = 15.0

#: The times of reports. `leave` may be long: nobody waits to learn that a channel has lost its subscribers.
PACE = Pace(leave=5.0, tick=0.2, wait=0.5)

#: Seconds until all workers have reported all that is heard at them: one that starts waits `PACE.wait` first, and a
#: tick or two.
SETTLE = 2.0

#: Seconds that an answer waits for this worker to read the reports that another worker has read.
PATIENCE = 3.0

#: How many names are counted in one go, at 2 µs each.
PIECE = 64

#: The place of a change: the offset of the report that made it, and the change's number in that report.
Place = tuple[int, int]


#: Higher than the number of any change in a report.
LAST = 10**9


class Run(NamedTuple):
    """Channels that began, or ceased, to be heard together: changes of one report, numbered from `first` on.

    before: the place of the change before them.
    """

    before: Place
    report: int
    first: int
    channels: Sequence[str]
    heard: bool

    @property
    def last(self) -> Place:
        """The place of its last change."""
        return self.report, self.first + len(self.channels) - 1

    def after(self, place: Place) -> Run:
        """The part of it that comes after a place; all of it if the place is before it."""
        skipped = place[1] - self.first + 1 if place[0] == self.report else 0
        if skipped <= 0:
            return self
        return Run(place, self.report, self.first + skipped, self.channels[skipped:], self.heard)


class Changes(ABC):
    """The latest changes, in the order of their places. place: that of the newest.

    Changes that come together are kept as one run: a client may subscribe to a thousand names at once, and a
    microsecond for each of them would block everybody else for a millisecond.
    """

    def __init__(self) -> None:
        self._epoch = secrets.token_hex(5)
        self._kept: deque[Run] = deque()
        # How many changes the runs have.
        self._size = 0
        self._waiting: set[asyncio.Future[None]] = set()
        # All changes after this place are kept.
        self._floor: Place = (0, 0)
        # The offset of the newest report that was read.
        self._read = 0
        self.place: Place = (0, 0)

    @abstractmethod
    async def begin(self, place: Place | None = None) -> None:
        """Get ready to answer, about what came after `place`; raises BrokerUnavailable if that takes too long."""

    @abstractmethod
    def heard(self) -> list[str]:
        """The channels that are heard now. Patterns with wildcards may be among them; callers leave those out."""

    def renew(self) -> None:
        """A reader is still interested: go on for another LEASE seconds."""

    def after(self, place: Place) -> list[Run] | None:
        """The changes after a place, oldest first; None if they are not kept any more."""
        if place < self._floor or place[0] > self._read:
            return None
        found = []
        for run in reversed(self._kept):
            if run.last <= place:
                break
            found.append(run.after(place))
        return found[::-1]

    async def wait(self) -> None:
        """Return when something has changed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def wake(self) -> None:
        """Wake all who `wait`."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def cursor(self, place: Place) -> bytes:
        """A place as a cursor for pubcontrol, which reads base64 of a text with `_` in it."""
        return binascii.b2a_base64(f"{self._epoch}_{place[0]}.{place[1]}".encode(), newline=False)

    def parse(self, cursor: str) -> Place | None:
        """The place of a cursor; None if it is invalid, or was made before the changes were last forgotten."""
        try:
            epoch, _, place = base64.b64decode(cursor, validate=True).decode("ascii").partition("_")
        except (binascii.Error, ValueError):
            return None
        numbers = place.split(".")
        if epoch != self._epoch or len(numbers) != 2 or not all(each.isdigit() and len(each) < 19 for each in numbers):
            return None
        return int(numbers[0]), int(numbers[1])

    def _note(self, report: int, first: int, channels: Sequence[str], heard: bool) -> None:
        """Keep changes that came together, numbered from `first` on. Call `wake` afterwards."""
        run = Run(self.place, report, first, channels, heard)
        self._kept.append(run)
        self._size += len(channels)
        self.place = run.last
        while self._size > MAX_CHANGES:
            oldest = self._kept.popleft()
            self._size -= len(oldest.channels)
            self._floor = oldest.last

    def _forget(self, floor: Place) -> None:
        """Drop all changes up to a place."""
        self._kept.clear()
        self._size = 0
        self.place = self._floor = floor


class Own(Changes):
    """The changes of a single process, which knows every subscriber."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry

    async def begin(self, place: Place | None = None) -> None:
        if self._registry.on_change is None:
            self._registry.on_change = self._changed

    def heard(self) -> list[str]:
        return list(self._registry.audiences)

    def _changed(self, patterns: Sequence[str], heard: bool) -> None:
        wild = set(wild_ones(patterns))
        channels = [pattern for pattern in patterns if pattern not in wild] if wild else patterns
        if channels:
            self._read += 1
            self._note(self._read, 0, channels, heard)
            self.wake()


class Shared(Changes):
    """The changes at all workers on a node's log. Call `start` after the node's."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node
        self._presence: Presence | None = None
        # The channels that are heard at any worker, according to the reports read so far.
        self._heard: set[str] = set()
        self._until = 0.0
        self._renewed = -RENEW
        # When all workers will have reported; None until our own first report has come back from the log.
        self._settled: float | None = None
        self._ready = False
        self._unsent: list[Draft] = []
        self._sending = self._stuck = False
        # Whether channels are heard here that were not counted, because there were too many.
        self._overflowed = False
        # Changes at this worker that are not counted yet, in order; and how many names of the first of them are.
        self._changes: deque[tuple[Sequence[str], bool]] = deque()
        self._counted = 0
        self._key = f"heard:{secrets.token_hex(8)}"
        self._numbers = itertools.count(1)
        node.take_from(REPORTS, self._take)
        node.when_lost.append(self._lost)

    def start(self) -> None:
        """Report for LEASE seconds unasked: the other workers may have been asked before this one started."""
        self._activate()

    async def begin(self, place: Place | None = None) -> None:
        self._activate()
        self.renew()
        if self._node.draining:
            raise BrokerUnavailable("the hub is stopping")
        try:
            async with asyncio.timeout(PATIENCE + SETTLE):
                while not self._ready or (place is not None and place[0] > self._read):
                    await self.wait()
        except TimeoutError:
            raise BrokerUnavailable("what is heard at other workers is not known yet") from None
        if self._overflowed:
            raise BrokerUnavailable("too many names are heard")

    def renew(self) -> None:
        now = self._node.time()
        if now - self._renewed >= RENEW:
            self._renewed = now
            self._unsent.append(Draft(REPORTS, dumps({"worker": self._node.worker, "follow": True}), self._new_key()))

    def heard(self) -> list[str]:
        return list(self._heard)

    def _new_key(self) -> str:
        return f"{self._key}:{next(self._numbers)}"

    # Reports that are read

    def _take(self, publications: Sequence[Publication]) -> None:
        now = self._node.time()
        for publication in publications:
            try:
                report = loads(publication.data)
                check_report(report)
            except (LookupError, TypeError, ValueError, AttributeError, ProtocolError):
                # Another release writes to our log. Its report counts as lost, like an entry that was not received.
                logger.error("report can't be read", extra={"channel": REPORTS})
                continue
            if report.get("follow") is True:
                self._activate()
            presence = self._presence
            if presence is None:
                continue
            if publication.position.epoch != self._epoch:
                # Places in another epoch of the log mean nothing.
                if self._ready:
                    presence.lost()
                self._begin_anew(publication.position.epoch)
            self._read = publication.position.offset
            if "hello" in report and report["worker"] == self._node.worker:
                self._settled = now + SETTLE
            presence.take(report, now)
            self._compare(presence, report)
        self.wake()

    def _compare(self, presence: Presence, report: Mapping[str, Any]) -> None:
        """Note what this report has changed. Most reports name the channels; the others may have changed any."""
        rooms = presence.everywhere.rooms
        suspects = report["channels"] if "channels" in report else self._heard ^ rooms.keys()
        changed = sorted(name for name in suspects if (name in rooms) != (name in self._heard))
        number = 1
        for heard, some in groupby(changed, rooms.__contains__):
            channels = list(some)
            if heard:
                self._heard.update(channels)
            else:
                self._heard.difference_update(channels)
            self._note(self._read, number, channels, heard)
            number += len(channels)

    def _lost(self) -> None:
        if self._presence is not None:
            self._presence.lost()
            self._begin_anew(self._epoch)

    def _begin_anew(self, epoch: str) -> None:
        """Drop all changes, so that readers must ask for the whole list again."""
        self._epoch = epoch
        self._ready, self._settled = False, None
        self._read = 0
        self._forget((0, 0))
        self.wake()

    # Reports that are sent

    def _activate(self) -> None:
        self._until = self._node.time() + LEASE
        if self._presence is not None or self._node.draining:
            return
        registry = self._node.registry
        presence = self._presence = Presence(
            self._node.worker,
            PACE,
            self._new_key,
            alone=False,
            reports=REPORTS,
            tells=False,
            # All in one piece: workers that start wait for everybody's report, but no longer than SETTLE.
            piece=MAX_CHANNELS,
        )
        self._count(presence)
        registry.on_change = self._changed
        self._turn()

    def _count(self, presence: Presence) -> None:
        """Count every channel that is heard here and is not counted already."""
        before = presence.here.uncounted
        for name in self._node.registry.audiences:
            if not is_wild(name):
                presence.here.came(name, None, name)
        self._overflowed = presence.here.uncounted > before

    def _changed(self, patterns: Sequence[str], heard: bool) -> None:
        if self._presence is None:
            return
        self._changes.append((patterns, heard))
        if len(self._changes) == 1 and not self._count_some():
            return
        if len(self._changes) == 1:
            # For nine hundred names it would take 2 ms in one go. Later changes queue behind these.
            self._node.turns.add(self._count_some)

    def _count_some(self) -> bool:
        """Count the next PIECE names of what has changed; True if there are more."""
        presence, changes = self._presence, self._changes
        if presence is None or not changes:
            return False
        patterns, heard = changes[0]
        self._count_each(presence, patterns[self._counted : self._counted + PIECE], heard)
        self._counted += PIECE
        if self._counted >= len(patterns):
            changes.popleft()
            self._counted = 0
        return bool(changes)

    def _count_each(self, presence: Presence, patterns: Sequence[str], heard: bool) -> None:
        here, now, before = presence.here, self._node.time(), presence.here.uncounted
        for pattern in patterns:
            if is_wild(pattern):
                continue
            if heard:
                here.came(pattern, None, pattern)
            else:
                here.went(pattern, pattern, now)
        self._overflowed = self._overflowed or here.uncounted > before

    def _rest(self) -> None:
        """Nobody has asked for long: drop all, and report nothing."""
        self._presence = None
        self._overflowed = False
        self._changes.clear()
        self._counted = 0
        self._node.registry.on_change = None
        self._heard.clear()
        self._unsent = []
        self._begin_anew(self._epoch)

    def _turn(self, _: object = None) -> None:
        node, presence = self._node, self._presence
        if presence is None or node.draining:
            return
        now = node.time()
        if now >= self._until:
            self._rest()
            return
        if self._settled is not None and now >= self._settled and not self._ready:
            self._ready = True
            # Including all that the last report has changed.
            self._forget((self._read, LAST))
            self.wake()
        # Only when there is some room again: to count looks at every name.
        if self._overflowed and presence.here.channels < MAX_CHANNELS * 0.9:
            self._count(presence)
        if not self._sending:
            # First repeat what was not accepted, with the same idempotency keys.
            if not self._stuck:
                self._unsent += presence.tick(now)
            if self._unsent:
                self._sending = True
                node.spawn(self._send())
        node.wheel.add(now + PACE.tick, self._turn, None)

    async def _send(self) -> None:
        drafts, self._unsent = self._unsent, []
        try:
            await self._node.publish(drafts)
        except BrokerUnavailable:
            self._unsent = drafts + self._unsent
            self._stuck = True
            logger.debug("report not published")
        else:
            self._stuck = False
        finally:
            self._sending = False
