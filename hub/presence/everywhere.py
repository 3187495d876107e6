"""Who is with any worker, as all their reports say, and what this worker must publish of it."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any

from .pace import Pace

#: Most names in an event or a list; of the others only the number is given.
MAX_NAMES = 1000

#: How many changes are remembered, for a new leader to repeat.
MAX_RECENT = 10_000

#: How many changes from before its start a worker may repeat: those of a second or so.
RECENT_REPLAYED = 100

#: A worker that is gone is reported by one of the others, then by the next this many seconds later if need be, so that
#: they don't all do it at once.
TURN_SECONDS = 0.5


class Room:
    """A channel at all workers. count: sessions in it. users: at how many workers each named user is."""

    __slots__ = ("count", "users")

    def __init__(self) -> None:
        self.count = 0
        self.users: dict[str, int] = {}


@dataclass(slots=True)
class Change:
    """Who joined a channel and who left it; both may be empty if only the count changed."""

    joined: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)

    def add(self, joined: Iterable[str], left: Iterable[str]) -> None:
        """Add a later change: what happened to a user last is what counts."""
        for user in joined:
            self.left.discard(user)
            self.joined.add(user)
        for user in left:
            self.joined.discard(user)
            self.left.add(user)


class _Worker:
    """What a worker has reported.

    heard: when it last reported. leads: whether it may lead channels: it has sent a snapshot, and neither a hello nor a
    bye since. ends: when it counts as gone after a bye, else None. channels: count and users of each channel with it.
    parts: the same from a snapshot that is not complete yet.
    """

    __slots__ = ("channels", "ends", "heard", "leads", "parts")

    def __init__(self, now: float) -> None:
        self.heard = now
        self.leads = False
        self.ends: float | None = None
        self.channels: dict[str, tuple[int, set[str]]] = {}
        self.parts: dict[str, tuple[int, set[str]]] = {}


class Everywhere:
    """Who is in which channel, as all workers have reported. me: this worker's name. rooms: by channel."""

    def __init__(self, me: str, pace: Pace) -> None:
        self._me = me
        self._pace = pace
        self.workers: dict[str, _Worker] = {}
        self.rooms: dict[str, Room] = {}
        #: Named users, counted once for each channel they are in.
        self.named = 0
        self._leaders: tuple[str, ...] = ()
        # Changes that this worker has to publish, and when it last published of a channel, if that is within a tick.
        self._due: dict[str, Change] = {}
        self._lately: dict[str, float] = {}
        self._recent: deque[tuple[float, str, Change]] = deque(maxlen=MAX_RECENT)

    def take(self, report: Mapping[str, Any], now: float) -> None:
        """Read one report."""
        name = report["worker"]
        changes: dict[str, Change] = {}
        worker = self.workers.get(name)
        if worker is not None:
            worker.heard = now
        if "snapshot" in report:
            if worker is None:
                worker = self.workers[name] = _Worker(now)
            for channel, (count, users) in report["snapshot"].items():
                worker.parts.setdefault(channel, (count, set()))[1].update(users)
            if not report.get("more"):
                parts, worker.parts = worker.parts, {}
                self._replace(worker, parts, changes)
                worker.leads, worker.ends = True, None
        elif "channels" in report and worker is not None and worker.leads:
            for channel, (count, joined, left) in report["channels"].items():
                self._change(worker, channel, count, joined, left, changes)
        elif "hello" in report and worker is not None:
            worker.leads = False
            worker.parts = {}
        elif "bye" in report and worker is not None:
            for channel in list(worker.channels):
                self._change(worker, channel, 0, (), (), changes)
            worker.leads, worker.ends = False, now + self._pace.leave
        elif "gone" in report and (gone := self.workers.pop(report["gone"], None)) is not None:
            self._replace(gone, {}, changes)
        # Leaders change with snapshots, hello, bye and gone only; most reports are of changes.
        self._settle(changes, now, name, leads="channels" not in report)

    def _replace(self, worker: _Worker, channels: dict[str, tuple[int, set[str]]], changes: dict[str, Change]) -> None:
        for channel in list(worker.channels):
            if channel not in channels:
                self._change(worker, channel, 0, (), tuple(worker.channels[channel][1]), changes)
        nobody: tuple[int, set[str]] = (0, set())
        for channel, (count, users) in channels.items():
            known = worker.channels.get(channel, nobody)
            # Most are the same: whenever a worker starts, all the others send snapshots.
            if known != (count, users):
                self._change(worker, channel, count, users - known[1], known[1] - users, changes)

    def _change(
        self,
        worker: _Worker,
        channel: str,
        count: int,
        joined: Iterable[str],
        left: Iterable[str],
        changes: dict[str, Change],
    ) -> None:
        before, users = worker.channels.get(channel, (0, set()))
        room = self.rooms.get(channel)
        if room is None:
            room = self.rooms[channel] = Room()
        change = Change()
        room.count += count - before
        for user in joined:
            if user not in users:
                users.add(user)
                room.users[user] = room.users.get(user, 0) + 1
                if room.users[user] == 1:
                    self.named += 1
                    change.joined.add(user)
        for user in left:
            if user in users:
                users.remove(user)
                room.users[user] -= 1
                if not room.users[user]:
                    del room.users[user]
                    self.named -= 1
                    change.left.add(user)
        if count != before or change.joined or change.left:
            changes[channel] = change
        if count or users:
            worker.channels[channel] = (count, users)
        else:
            worker.channels.pop(channel, None)
        if not room.count and not room.users:
            del self.rooms[channel]

    def _settle(self, changes: dict[str, Change], now: float, reporter: str, *, leads: bool) -> None:
        """Note what this worker must publish: changes in channels that it leads, recent ones too if it did not before.

        leads: whether the leaders may be others now.
        """
        before = leaders = self._leaders
        if leads:
            leaders = self._leaders = tuple(sorted(name for name, worker in self.workers.items() if worker.leads))
        if leaders != before:
            # The new leader publishes it: events of a channel from two workers would be in no order.
            self._due = {
                name: change for name, change in self._due.items() if _leader(leaders, name, self._me) == self._me
            }
        for channel, change in changes.items():
            self._recent.append((now, channel, change))
            if _leader(leaders, channel, reporter) == self._me:
                self._due.setdefault(channel, Change()).add(change.joined, change.left)
        if leaders != before:
            for when, channel, change in self._recent:
                newly = _leader(leaders, channel, "") == self._me != _leader(before, channel, "")
                if newly and when >= now - 2 * self._pace.silence:
                    self._due.setdefault(channel, Change()).add(change.joined, change.left)

    def replayed(self) -> None:
        """All reports so far are from before this worker's start.

        If there is a leader, all but the latest changes have been published already.
        """
        while self._leaders and len(self._recent) > RECENT_REPLAYED:
            self._recent.popleft()

    def users(self, channel: str) -> Mapping[str, int]:
        """The named users in a channel, and at how many workers each is."""
        room = self.rooms.get(channel)
        return {} if room is None else room.users

    def count(self, channel: str) -> int:
        """How many sessions there are in a channel."""
        room = self.rooms.get(channel)
        return 0 if room is None else room.count

    def silent(self, now: float) -> Iterator[str]:
        """Names of workers that this one should report as gone now."""
        # If the log carries nothing, our own reports don't come back either, and nobody can be called silent.
        mine = self.workers.get(self._me)
        if mine is None:
            return
        for turn, name in enumerate(sorted(self.workers)):
            worker = self.workers[name]
            if name == self._me:
                continue
            late = turn * TURN_SECONDS
            silent = mine.heard - worker.heard > self._pace.silence + late
            if silent or (worker.ends is not None and min(now, mine.heard) > worker.ends + late):
                yield name

    @property
    def due(self) -> int:
        """In how many channels this worker has changes to publish."""
        return len(self._due)

    def is_shown(self, now: float) -> bool:
        """Whether a worker is in the middle of a snapshot."""
        return any(worker.parts and now < worker.heard + self._pace.wait for worker in self.workers.values())

    def forget_events(self) -> None:
        """Drop the changes to publish: nobody is to be told of them."""
        self._due.clear()

    def end_tick(self) -> None:
        """Let events of all channels be published at once, however recent their last ones are."""
        self._lately.clear()

    def events(self, most: int, now: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """Up to `most` channels of which this worker must publish now, each with its event's data. The rest waits."""
        lately = self._lately
        for channel in list(takewhile(lambda each: lately[each] + self._pace.tick <= now, lately)):
            del lately[channel]
        for channel in list(islice((each for each in self._due if each not in lately), most)):
            change = self._due.pop(channel)
            lately[channel] = now
            users = self.users(channel)
            joined = sorted(user for user in change.joined if user in users)
            left = sorted(user for user in change.left if user not in users)
            data: dict[str, Any] = {
                "joined": joined[:MAX_NAMES],
                "left": left[:MAX_NAMES],
                "users": len(users),
                "count": self.count(channel),
            }
            more = len(joined[MAX_NAMES:]) + len(left[MAX_NAMES:])
            yield channel, data | ({"more": more} if more else {})


def _leader(leaders: tuple[str, ...], channel: str, reporter: str) -> str:
    """The worker that publishes a channel's events; while there are no leaders, the one that reported the change."""
    return leaders[zlib.crc32(channel.encode("utf-8", "surrogatepass")) % len(leaders)] if leaders else reporter
