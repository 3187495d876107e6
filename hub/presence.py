"""Who is in which channel, over all workers: reports in, events out. Pure; the time is given.

Each worker knows who is with it (`Here`) and reports what changes to a meta channel of the log,
`/meta/presence`. All workers read all reports in the same order, so all have the same picture of
the whole (`Everywhere`). For each channel one of them, by a rule that all compute alike, *leads*: it
publishes what changed there as events, one a tick at the most, and so in order. When the workers
are others than before, a new leader repeats what was new lately: an event may come twice, and a
repeated "joined" changes nothing.

Reports, as JSON objects with `worker`, the name of who reports, and one of

    hello: true              it begins, or may have missed reports: everybody answers with a snapshot
    channels: {name: [count, joined, left]}
                             what changed with it since its last report; {} is a sign of life
    snapshot: {name: [count, users]}, more: bool
                             all that is with it, in parts of which the last has no `more`
    moved: [session ids]     sessions that went on at this worker
    gone: name               that worker is no more, and nobody is with it; the first to say so counts
    bye: true                it is about to end: nobody is connected to it, its users may come elsewhere

A user who leaves a worker stays in its reports for `leave` seconds. So a page that is loaded again,
and a session that goes on at another worker, change nothing, and a user who left everywhere is told of
at once, wherever the time ran out. A worker that was silent for `silence` seconds, counted by how far
the log carries our own reports, is said to be gone; one that was not reads that and reports anew.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .protocol.access import PRESENCE
from .protocol.messages import dumps
from .protocol.publications import Draft

#: Where workers tell each other. Nobody else can publish to a meta channel.
REPORTS = "/meta/presence"

#: Bytes of a report before the next begins, about; the log holds it as one entry.
REPORT_BYTES = 48 * 1024

#: Names in an event or a list; beyond it there is a number.
MAX_NAMES = 1000

#: Channels a worker keeps account of; more are not counted.
MAX_CHANNELS = 100_000

#: Changes remembered for a new leader to repeat.
MAX_RECENT = 10_000

#: Changes before a worker's time that it may repeat: those of a second or so.
RECENT_REPLAYED = 100

#: Seconds between the turns of workers to say that one is gone, so that they don't all say it.
TURN_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Times in seconds, and the bound of named users of a worker.

    leave: how long a user may be away before that is told. tick: least time between reports, and
    between events of a channel. wait: what a new worker gives the others to say who is with them.
    """

    leave: float = 5.0
    tick: float = 0.2
    wait: float = 1.0
    users: int = 100_000

    @property
    def silence(self) -> float:
        """How long a worker may say nothing before it counts as gone."""
        return min(10.0, 2 * self.leave)

    @property
    def dip(self) -> float:
        """How long a count must be lower to be reported so: pages loaded again, and polls, are back within."""
        return min(1.0, self.leave / 2)

    @property
    def beat(self) -> float:
        """Time between signs of life."""
        return self.silence / 5


class _Member:
    """A session with subscriptions that count. channels: whether its user is named in each."""

    __slots__ = ("channels", "present", "user")

    def __init__(self, user: str | None) -> None:
        self.user = user
        self.present = True
        self.channels: dict[str, bool] = {}


class _Place:
    """A channel at this worker. users: sessions of each, 0 while one is leaving.

    told: the count last reported. lower: since when `count` is less, None if it isn't.
    """

    __slots__ = ("count", "joined", "left", "lower", "told", "users")

    def __init__(self) -> None:
        self.count = 0
        self.told = 0
        self.lower: float | None = None
        self.users: dict[str, int] = {}
        self.joined: set[str] = set()
        self.left: set[str] = set()


class Here:
    """Who is with this worker. Every call costs the channels of one session, whoever else is there."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._members: dict[str, _Member] = {}
        self._places: dict[str, _Place] = {}
        self._leaving: dict[tuple[str, str], float] = {}
        self._changed: set[str] = set()
        #: Users named now, counted in each channel.
        self.named = 0
        #: Subscriptions whose user was not named, and those not counted, for there being too many.
        self.unnamed = 0
        self.uncounted = 0

    @property
    def channels(self) -> int:
        """Channels counted now."""
        return len(self._places)

    def has(self, channel: str) -> bool:
        """Whether account is kept of this channel now."""
        return channel in self._places

    def came(self, session_id: str, user: str | None, channel: str) -> None:
        """A session subscribed."""
        if channel not in self._places and len(self._places) >= MAX_CHANNELS:
            self.uncounted += 1
            return
        member = self._members.get(session_id)
        if member is None:
            member = self._members[session_id] = _Member(user)
        if channel not in member.channels:
            member.channels[channel] = False
            if member.present:
                self._enter(member, channel)

    def went(self, session_id: str, channel: str, now: float) -> None:
        """A session unsubscribed, or ended: then of each of its channels."""
        member = self._members.get(session_id)
        if member is None or channel not in member.channels:
            return
        if member.present:
            self._exit(member, channel, now)
        del member.channels[channel]
        if not member.channels:
            del self._members[session_id]

    def away(self, session_id: str, now: float) -> None:
        """A session lost its connection."""
        member = self._members.get(session_id)
        if member is not None and member.present:
            member.present = False
            for channel in member.channels:
                self._exit(member, channel, now)

    def back(self, session_id: str) -> None:
        """A session has a connection again."""
        member = self._members.get(session_id)
        if member is not None and not member.present:
            member.present = True
            for channel in member.channels:
                self._enter(member, channel)

    def renamed(self, session_id: str, user: str | None, now: float) -> None:
        """A session is this user's."""
        member = self._members.get(session_id)
        if member is not None and member.user != user:
            present = member.present
            self.away(session_id, now)
            member.user = user
            if present:
                self.back(session_id)

    def _enter(self, member: _Member, channel: str) -> None:
        place = self._places.get(channel)
        if place is None:
            place = self._places[channel] = _Place()
        place.count += 1
        if place.count >= place.told:
            place.lower = None
        self._changed.add(channel)
        user = member.user
        if user is None:
            return
        sessions = place.users.get(user)
        if sessions is None:
            if self.named >= self._pace.users:
                self.unnamed += 1
                return
            self.named += 1
            _swap(user, place.left, place.joined)
        elif not sessions:
            del self._leaving[channel, user]
        place.users[user] = (sessions or 0) + 1
        member.channels[channel] = True

    def _exit(self, member: _Member, channel: str, now: float) -> None:
        place = self._places[channel]
        place.count -= 1
        if place.count < place.told and place.lower is None:
            place.lower = now
        self._changed.add(channel)
        if member.channels[channel] and member.user is not None:
            member.channels[channel] = False
            place.users[member.user] -= 1
            if not place.users[member.user]:
                self._leaving[channel, member.user] = now + self._pace.leave

    def _expire(self, now: float) -> None:
        while self._leaving:
            # All wait for the same time, so they are in order.
            channel, user = next(iter(self._leaving))
            if self._leaving[channel, user] > now:
                return
            del self._leaving[channel, user]
            place = self._places[channel]
            del place.users[user]
            self.named -= 1
            _swap(user, place.joined, place.left)
            self._changed.add(channel)

    def changes(self, now: float) -> list[dict[str, list[Any]]]:
        """What changed since the last time, in parts: [count, joined, left] of channels."""
        self._expire(now)
        parts = _Parts()
        changed, self._changed = self._changed, set()
        for channel in changed:
            place = self._places[channel]
            count = self._steady(place, now)
            if count != place.told or place.joined or place.left:
                parts.add(channel, [count], (sorted(place.joined), sorted(place.left)))
            self._told(channel, place, count)
        return parts.parts

    def all(self, now: float) -> list[dict[str, list[Any]]]:
        """All that is here, in parts, at least one: [count, users] of channels. The next `changes` follow it."""
        self._expire(now)
        parts = _Parts()
        self._changed.clear()
        for channel, place in list(self._places.items()):
            count = self._steady(place, now)
            parts.add(channel, [count], (list(place.users),))
            self._told(channel, place, count)
        return parts.parts or [{}]

    def _steady(self, place: _Place, now: float) -> int:
        """The count to report: the last one while it is lower for a moment only."""
        return place.told if place.lower is not None and now < place.lower + self._pace.dip else place.count

    def _told(self, channel: str, place: _Place, count: int) -> None:
        place.told = count
        place.joined, place.left = set(), set()
        if count != place.count:
            # Looked at again at the next tick.
            self._changed.add(channel)
            return
        place.lower = None
        if not place.count and not place.users:
            del self._places[channel]


def _swap(user: str, undone: set[str], done: set[str]) -> None:
    """Note what happened to a user; if it undoes what is noted, there is nothing to tell."""
    if user in undone:
        undone.remove(user)
    else:
        done.add(user)


class _Parts:
    """Splits what is reported into parts of about REPORT_BYTES; a long list of a channel too."""

    def __init__(self) -> None:
        self.parts: list[dict[str, list[Any]]] = []
        self._size = REPORT_BYTES

    def add(self, channel: str, head: list[Any], lists: tuple[list[str], ...]) -> None:
        """`[*head, *lists]` of a channel, over as many parts as it takes."""
        self._begin(channel, head, len(lists))
        for number, names in enumerate(lists):
            for name in names:
                if self._size >= REPORT_BYTES:
                    self._begin(channel, head, len(lists))
                self.parts[-1][channel][len(head) + number].append(name)
                self._size += len(name) + 3

    def _begin(self, channel: str, head: list[Any], lists: int) -> None:
        if self._size >= REPORT_BYTES:
            self.parts.append({})
            self._size = 0
        self.parts[-1][channel] = [*head, *([] for _ in range(lists))]
        self._size += len(channel) + 16


class Room:
    """A channel everywhere. count: sessions. users: at how many workers each is."""

    __slots__ = ("count", "users")

    def __init__(self) -> None:
        self.count = 0
        self.users: dict[str, int] = {}


@dataclass(slots=True)
class Change:
    """Who joined and who left a channel, in which the count may be another too."""

    joined: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)

    def add(self, joined: Iterable[str], left: Iterable[str]) -> None:
        """And this: what happened to a user last is what counts."""
        for user in joined:
            self.left.discard(user)
            self.joined.add(user)
        for user in left:
            self.joined.discard(user)
            self.left.add(user)


class _Worker:
    """What a worker said. heard: when it last did. leads: whether it may lead. ends: when it is gone, after a bye."""

    __slots__ = ("channels", "ends", "heard", "leads", "parts")

    def __init__(self, now: float) -> None:
        self.heard = now
        self.leads = False
        self.ends: float | None = None
        self.channels: dict[str, tuple[int, set[str]]] = {}
        self.parts: dict[str, tuple[int, set[str]]] = {}


class Everywhere:
    """Who is in which channel, as the workers reported. `me` is this worker's name."""

    def __init__(self, me: str, pace: Pace) -> None:
        self._me = me
        self._pace = pace
        self.workers: dict[str, _Worker] = {}
        self.rooms: dict[str, Room] = {}
        #: Users named now, counted once in each channel.
        self.named = 0
        self._leaders: tuple[str, ...] = ()
        self._due: dict[str, Change] = {}
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
        # Most reports say what changed, and they are many.
        self._settle(changes, now, name, leads="channels" not in report)

    def _replace(self, worker: _Worker, channels: dict[str, tuple[int, set[str]]], changes: dict[str, Change]) -> None:
        for channel in list(worker.channels):
            if channel not in channels:
                self._change(worker, channel, 0, (), tuple(worker.channels[channel][1]), changes)
        for channel, (count, users) in channels.items():
            before = worker.channels.get(channel, (0, set()))[1]
            self._change(worker, channel, count, users - before, before - users, changes)

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
        """Note what this worker must publish: what changed where it leads, and what changed lately where it did not.

        leads: whether it may be that others lead now.
        """
        before = leaders = self._leaders
        if leads:
            leaders = self._leaders = tuple(sorted(name for name, worker in self.workers.items() if worker.leads))
        if leaders != before:
            # The new leader tells it: what comes from two at a time is in no order.
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
        """What was taken until now is of the past. If somebody leads, all but the last of it is told already."""
        while self._leaders and len(self._recent) > RECENT_REPLAYED:
            self._recent.popleft()

    def users(self, channel: str) -> Mapping[str, int]:
        """The users named in a channel."""
        room = self.rooms.get(channel)
        return {} if room is None else room.users

    def count(self, channel: str) -> int:
        """How many sessions there are in a channel."""
        room = self.rooms.get(channel)
        return 0 if room is None else room.count

    def silent(self, now: float) -> Iterator[str]:
        """Workers that this one should say are gone, now."""
        # If the log carries nothing, our own reports don't come back either, and nobody can be judged.
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

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What this worker has to publish now: channels with the data of their event."""
        due, self._due = self._due, {}
        for channel, change in due.items():
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
    """Who publishes about a channel; while nobody leads, who reported."""
    return leaders[zlib.crc32(channel.encode("utf-8", "surrogatepass")) % len(leaders)] if leaders else reporter


class Presence:
    """One worker's part in it: call `tick` every `Pace.tick` seconds and publish what it returns, in order.

    me: the worker's name, like no other's. alone: whether there can't be others. new_key: makes a
    key for a draft that no other has. reports: where workers tell each other. tells: whether what
    changed is published.
    """

    def __init__(
        self,
        me: str,
        pace: Pace,
        new_key: Callable[[], str],
        *,
        alone: bool,
        reports: str = REPORTS,
        tells: bool = True,
    ) -> None:
        self.here = Here(pace)
        self.everywhere = Everywhere(me, pace)
        self.events = 0
        self.reports = 0
        #: Whether the picture is whole: what is asked before can't be answered.
        self.ready = False
        self._me = me
        self._pace = pace
        self._new_key = new_key
        self._alone = alone
        self._reports = reports
        self._tells = tells
        self._must_greet = True
        self._must_show = False
        self._ready_at: float | None = None
        self._said = 0.0
        self._moved: list[str] = []

    def knows(self, channel: str) -> bool:
        """Whether somebody is in this channel, here or elsewhere."""
        return channel in self.everywhere.rooms or self.here.has(channel)

    def adopted(self, session_id: str) -> None:
        """A session of another worker's goes on here."""
        self._moved.append(session_id)

    def lost(self) -> None:
        """Reports may have been missed: begin anew. What was known counts until it is told otherwise."""
        self._must_greet = True
        self.ready = False
        self._ready_at = None

    def take(self, report: Mapping[str, Any], now: float) -> None:
        """Read one report of the log, one's own too."""
        name = report["worker"]
        if "hello" in report:
            if name == self._me:
                self._ready_at = now + (0.0 if self._alone else self._pace.wait)
            else:
                self._must_show = True
        elif report.get("gone") == self._me:
            # It was slow, not gone.
            self._must_show = True
        elif "moved" in report and name != self._me:
            for session_id in report["moved"]:
                self.here.away(session_id, now)
        self.everywhere.take(report, now)

    def tick(self, now: float) -> list[Draft]:
        """What is to be published now: reports, then events."""
        if self._must_greet:
            self._must_greet = False
            return [self._report(now, hello=True)]
        if not self.ready:
            if self._ready_at is None or now < self._ready_at:
                return []
            self.ready = self._must_show = True
        drafts = []
        if self._must_show:
            self._must_show = False
            parts = self.here.all(now)
            drafts += [self._report(now, snapshot=part, more=True) for part in parts[:-1]]
            drafts.append(self._report(now, snapshot=parts[-1]))
        else:
            drafts += [self._report(now, channels=part) for part in self.here.changes(now)]
        if not self._alone:
            moved, self._moved = self._moved, []
            drafts += [self._report(now, moved=moved[at : at + 500]) for at in range(0, len(moved), 500)]
            drafts += [self._report(now, gone=name) for name in self.everywhere.silent(now)]
            if now - self._said >= self._pace.beat:
                drafts.append(self._report(now, channels={}))
        for channel, data in self.everywhere.events():
            if not self._tells:
                continue
            self.events += 1
            drafts.append(Draft(PRESENCE + channel, dumps(data), key=self._new_key()))
        return drafts

    def replay(self, reports: Iterable[Mapping[str, Any]], now: float) -> None:
        """Read the reports that the log has kept, before `tick` is called: of workers that are all gone, perhaps."""
        for report in reports:
            self.everywhere.take(report, now)
        self.everywhere.replayed()

    def bye(self, now: float) -> list[Draft]:
        """What is to be published at the end."""
        if self._alone or not self.ready:
            return []
        # Whole, for a worker that begins when no other is left.
        self._must_show = True
        return [*self.tick(now), self._report(now, bye=True)]

    def _report(self, now: float, **what: Any) -> Draft:
        self._said = now
        self.reports += 1
        return Draft(self._reports, dumps({"worker": self._me, **what}), key=self._new_key())


def check_report(report: Any) -> None:
    """Raise LookupError, TypeError or ValueError for what is no report: another version may write to our log."""
    if not isinstance(report["worker"], str):
        raise TypeError("worker is not a name")
    for count, *lists in (*report.get("snapshot", {}).values(), *report.get("channels", {}).values()):
        if not isinstance(count, int) or not all(isinstance(name, str) for names in lists for name in names):
            raise TypeError("not a count with names")
    if {len(each) for each in report.get("snapshot", {}).values()} - {2}:
        raise ValueError("not a snapshot")
    if {len(each) for each in report.get("channels", {}).values()} - {3}:
        raise ValueError("not changes")
