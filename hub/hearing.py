"""Which names somebody hears, and how that changes: of one process, or of all workers on one log.

Nothing is kept or told before somebody asks. Then, with several workers, each tells the others through the
log which names begin and cease to be heard with it, as it tells of presence (`presence`): by reports to a meta
channel that all read in the same order. A change has the place of the report that made it, so a place that one
worker gave means the same at another. Workers stop when nobody has asked for LEASE seconds.
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

#: Changes remembered; a reader that is further behind starts anew.
MAX_CHANGES = 10_000

#: Where workers tell each other. Nobody else can publish to a meta channel.
REPORTS = "/meta/heard"

#: Seconds for which workers go on telling after somebody asked, and between two notes that somebody does.
LEASE = 60.0
RENEW = 15.0

#: How workers tell each other. Nobody waits for a leave here: who ceases to be heard is not missed.
PACE = Pace(leave=5.0, tick=0.2, wait=0.5)

#: Seconds until all have told what is heard with them: those that begin now wait `PACE.wait` first, and a tick or two.
SETTLE = 2.0

#: Seconds an answer waits for this worker to have read what another has.
PATIENCE = 3.0

#: Names that are counted at once, at 2 µs each.
PIECE = 64

#: Where a change is: the offset of the report that made it, and its number within.
Place = tuple[int, int]


#: Beyond the number of any change within a report.
LAST = 10**9


class Run(NamedTuple):
    """Channels that began or ceased to be heard together. Their places are one report's, numbered from `first` on.

    before: the place of the change before them.
    """

    before: Place
    report: int
    first: int
    channels: Sequence[str]
    heard: bool

    @property
    def last(self) -> Place:
        """The place of the last one."""
        return self.report, self.first + len(self.channels) - 1

    def after(self, place: Place) -> Run:
        """What of it came after a place, all or some of it."""
        skipped = place[1] - self.first + 1 if place[0] == self.report else 0
        if skipped <= 0:
            return self
        return Run(place, self.report, self.first + skipped, self.channels[skipped:], self.heard)


class Changes(ABC):
    """Changes in the order of their places. place: of the newest.

    Those that come together are kept together: a client may begin to hear a thousand names at once, and what takes a
    microsecond for each of them keeps everybody else waiting for a millisecond.
    """

    def __init__(self) -> None:
        self._epoch = secrets.token_hex(5)
        self._kept: deque[Run] = deque()
        # How many changes they are.
        self._size = 0
        self._waiting: set[asyncio.Future[None]] = set()
        # What came after it is kept.
        self._floor: Place = (0, 0)
        # How far the reports are read.
        self._read = 0
        self.place: Place = (0, 0)

    @abstractmethod
    async def begin(self, place: Place | None = None) -> None:
        """Be ready to be asked, for what came after `place`; raises BrokerUnavailable if that may not be known soon."""

    @abstractmethod
    def heard(self) -> list[str]:
        """The channels that somebody hears now; patterns with wildcards may be among them, which do not count."""

    def renew(self) -> None:
        """A reader is still there."""

    def after(self, place: Place) -> list[Run] | None:
        """The changes after a place, oldest first; None if they are not kept."""
        if place < self._floor or place[0] > self._read:
            return None
        found = []
        for run in reversed(self._kept):
            if run.last <= place:
                break
            found.append(run.after(place))
        return found[::-1]

    async def wait(self) -> None:
        """Until something changes."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def wake(self) -> None:
        """Let everybody who waits look."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def cursor(self, place: Place) -> bytes:
        """A place, as pubcontrol reads it: base64 of something with `_` in it."""
        return binascii.b2a_base64(f"{self._epoch}_{place[0]}.{place[1]}".encode(), newline=False)

    def parse(self, cursor: str) -> Place | None:
        """The place of a cursor; None for one of another life of this account, or none at all."""
        try:
            epoch, _, place = base64.b64decode(cursor, validate=True).decode("ascii").partition("_")
        except (binascii.Error, ValueError):
            return None
        numbers = place.split(".")
        if epoch != self._epoch or len(numbers) != 2 or not all(each.isdigit() and len(each) < 19 for each in numbers):
            return None
        return int(numbers[0]), int(numbers[1])

    def _note(self, report: int, first: int, channels: Sequence[str], heard: bool) -> None:
        """Remember changes that came together, numbered from `first` on. `wake` must follow."""
        run = Run(self.place, report, first, channels, heard)
        self._kept.append(run)
        self._size += len(channels)
        self.place = run.last
        while self._size > MAX_CHANGES:
            oldest = self._kept.popleft()
            self._size -= len(oldest.channels)
            self._floor = oldest.last

    def _forget(self, floor: Place) -> None:
        """Keep nothing of what is up to a place."""
        self._kept.clear()
        self._size = 0
        self.place = self._floor = floor


class Own(Changes):
    """Those of one process, which knows every subscriber."""

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
    """Those of all workers on a node's log. `start` once the node has."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node
        self._presence: Presence | None = None
        # What is heard anywhere, as far as the reports are read.
        self._heard: set[str] = set()
        self._until = 0.0
        self._renewed = -RENEW
        # When everybody has told what is heard with them, None until our own word has come back.
        self._settled: float | None = None
        self._ready = False
        self._unsent: list[Draft] = []
        self._sending = self._stuck = False
        # Whether names are heard here that were not counted, for there being too many.
        self._overflowed = False
        # What changed here and is not counted yet, in order; and how many of the first have been.
        self._changes: deque[tuple[Sequence[str], bool]] = deque()
        self._counted = 0
        self._key = f"heard:{secrets.token_hex(8)}"
        self._numbers = itertools.count(1)
        node.take_from(REPORTS, self._take)
        node.when_lost.append(self._lost)

    def start(self) -> None:
        """Tell for a while unasked: the others may have been asked before this worker began."""
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

    # What is read

    def _take(self, publications: Sequence[Publication]) -> None:
        now = self._node.time()
        for publication in publications:
            try:
                report = loads(publication.data)
                check_report(report)
            except (LookupError, TypeError, ValueError, AttributeError, ProtocolError):
                # Another version writes to our log. What it said is lost to us, as an unread entry is.
                logger.error("report can't be read", extra={"channel": REPORTS})
                continue
            if report.get("follow") is True:
                self._activate()
            presence = self._presence
            if presence is None:
                continue
            if publication.position.epoch != self._epoch:
                # The places of another life of the log mean nothing.
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
        """Note what this report changed. Most name the channels; others may have changed any."""
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
        """Who reads must ask for all there is once more."""
        self._epoch = epoch
        self._ready, self._settled = False, None
        self._read = 0
        self._forget((0, 0))
        self.wake()

    # What is told

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
            # Those that begin wait for what all tell, and for no longer than SETTLE.
            piece=MAX_CHANNELS,
        )
        self._count(presence)
        registry.on_change = self._changed
        self._turn()

    def _count(self, presence: Presence) -> None:
        """Count every name that is heard here, but for those counted already."""
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
            # Of nine hundred names that would be 2 ms at once. The others wait behind them.
            self._node.turns.add(self._count_some)

    def _count_some(self) -> bool:
        """Count PIECE names more of what changed; whether there are more."""
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
        """Nobody has asked for long: keep nothing, tell nothing."""
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
            # Past whatever the last report changed.
            self._forget((self._read, LAST))
            self.wake()
        # With some room to spare: to count takes a look at every name.
        if self._overflowed and presence.here.channels < MAX_CHANNELS * 0.9:
            self._count(presence)
        if not self._sending:
            # What was not accepted is repeated first, under the same keys.
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
