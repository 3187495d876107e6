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

Of much that changed at once a piece is told at a time, as reports and as events, the rest behind it, and what changes
meanwhile behind that. What is told of a channel is how it is when it is told. A snapshot told in pieces is whole all
the same: what changed in channels that it has named already is reported behind it.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, takewhile
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

#: Channels told of at a time, in reports and in as many events: to say, to publish and to hear them are 0.5 ms each.
PIECE = 100

#: Channels looked at, users who have left and what was held, for each of these; and names told.
LOOKED = 5
NAMES = 10

#: Addresses of which something is held that are looked at in a tick.
ADDRESSES = 100

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

    __slots__ = ("address", "channels", "present", "user")

    def __init__(self, user: str | None, address: str) -> None:
        self.user = user
        self.address = address
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
    """Who is with this worker. Every call costs the channels of one session, whoever else is there.

    piece: channels told of at a time. may_tell: whether a change that somebody at this address made may be told with
    the next ones; else it waits, however often it is made again, until it may. None: all may.
    """

    def __init__(self, pace: Pace, *, piece: int = PIECE, may_tell: Callable[[str], bool] | None = None) -> None:
        self.may_tell = may_tell
        self._pace = pace
        self._piece = piece
        self._members: dict[str, _Member] = {}
        self._places: dict[str, _Place] = {}
        # When they have left, and the address from where.
        self._leaving: dict[tuple[str, str], tuple[float, str]] = {}
        self._changed: dict[str, None] = {}
        # What is being told now, and whether that is all there is.
        self._telling: deque[str] = deque()
        self._whole = False
        # Whether more users have left than could be noted at a time.
        self._behind = False
        # Channels that wait until another change of an address may be told.
        self._held: dict[str, dict[str, None]] = {}
        #: Users named now, counted in each channel.
        self.named = 0
        #: Subscriptions whose user was not named, and those not counted, for there being too many.
        self.unnamed = 0
        self.uncounted = 0
        #: Changes that had to wait.
        self.held = 0

    @property
    def more(self) -> bool:
        """Whether `tell` has more to do: to tell, or to note."""
        return self.tells or self._behind

    @property
    def tells(self) -> bool:
        """Whether there is more to tell of what was there when that began."""
        return bool(self._telling)

    @property
    def channels(self) -> int:
        """Channels counted now."""
        return len(self._places)

    def has(self, channel: str) -> bool:
        """Whether account is kept of this channel now."""
        return channel in self._places

    def came(self, session_id: str, user: str | None, channel: str, address: str = "") -> None:
        """A session subscribed."""
        if channel not in self._places and len(self._places) >= MAX_CHANNELS:
            self.uncounted += 1
            return
        member = self._members.get(session_id)
        if member is None:
            member = self._members[session_id] = _Member(user, address)
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
        self._note(channel, member.address)
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
        self._note(channel, member.address)
        if member.channels[channel] and member.user is not None:
            member.channels[channel] = False
            place.users[member.user] -= 1
            if not place.users[member.user]:
                self._leaving[channel, member.user] = now + self._pace.leave, member.address

    def _note(self, channel: str, address: str) -> None:
        """A channel has changed."""
        if channel in self._changed:
            return
        # Behind what waits already: an address that goes on and on would have its first changes never told.
        if address and self.may_tell is not None and (address in self._held or not self.may_tell(address)):
            self._held.setdefault(address, {})[channel] = None
            self.held += 1
        else:
            self._changed[channel] = None

    def _let_go(self) -> None:
        """Have told what waited and may be told now."""
        left = LOOKED * self._piece
        for address in list(islice(self._held, ADDRESSES)):
            held = self._held.pop(address)
            for channel in list(islice(held, left)):
                if self.may_tell is not None and not self.may_tell(address):
                    break
                del held[channel]
                self._changed[channel] = None
                left -= 1
            if held:
                # The others are looked at first the next time.
                self._held[address] = held

    def _expire(self, now: float) -> None:
        due: list[tuple[tuple[str, str], str]] = []
        self._behind = False
        # All wait for the same time, so they are in order.
        for key, (when, address) in self._leaving.items():
            if when > now:
                break
            if len(due) == LOOKED * self._piece:
                self._behind = True
                break
            due.append((key, address))
        for (channel, user), address in due:
            del self._leaving[channel, user]
            place = self._places[channel]
            del place.users[user]
            self.named -= 1
            _swap(user, place.joined, place.left)
            self._note(channel, address)

    def begin(self, now: float, *, whole: bool = False) -> None:
        """Have `tell` tell what changed until now, or all that is here, of which the next changes are changes.

        All that is here takes the place of what is being told.
        """
        self._expire(now)
        self._let_go()
        self._whole = whole
        self._telling = deque(self._places if whole else self._changed)
        self._changed = {}

    def tell(self, now: float) -> list[dict[str, list[Any]]]:
        """The next piece, in parts: of what changed [count, joined, left] of channels; of all [count, users].

        Nothing, if there is no more. What changed may be nothing to tell.
        """
        if self._behind:
            self._expire(now)
        parts, told, looked, names = _Parts(), 0, 0, 0
        while self._telling and told < self._piece and looked < LOOKED * self._piece and names < NAMES * self._piece:
            channel = self._telling.popleft()
            looked += 1
            place = self._places.get(channel)
            if place is None:
                # It changed again before it was told, and was told then: there was nobody any more.
                continue
            count = self._steady(place, now)
            lists = (list(place.users),) if self._whole else (sorted(place.joined), sorted(place.left))
            if self._whole or count != place.told or any(lists):
                parts.add(channel, [count], lists)
                told += 1
                names += sum(map(len, lists))
            self._told(channel, place, count)
        return parts.parts

    def forget(self) -> None:
        """Tell no more of what is being told: all is told soon."""
        self._telling.clear()
        self._behind = False

    def _steady(self, place: _Place, now: float) -> int:
        """The count to report: the last one while it is lower for a moment only."""
        return place.told if place.lower is not None and now < place.lower + self._pace.dip else place.count

    def _told(self, channel: str, place: _Place, count: int) -> None:
        place.told = count
        place.joined, place.left = set(), set()
        if count != place.count:
            # Looked at again at the next tick.
            self._changed[channel] = None
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
        # What this worker has to publish, and the channels it did publish of within a tick, by when.
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
        # Most reports say what changed, and they are many.
        self._settle(changes, now, name, leads="channels" not in report)

    def _replace(self, worker: _Worker, channels: dict[str, tuple[int, set[str]]], changes: dict[str, Change]) -> None:
        for channel in list(worker.channels):
            if channel not in channels:
                self._change(worker, channel, 0, (), tuple(worker.channels[channel][1]), changes)
        nobody: tuple[int, set[str]] = (0, set())
        for channel, (count, users) in channels.items():
            known = worker.channels.get(channel, nobody)
            # Most are as they were: whenever a worker begins all the others say all.
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

    @property
    def due(self) -> int:
        """Channels of which this worker has something to publish."""
        return len(self._due)

    def is_shown(self, now: float) -> bool:
        """Whether a worker is in the middle of saying who is with it."""
        return any(worker.parts and now < worker.heard + self._pace.wait for worker in self.workers.values())

    def forget_events(self) -> None:
        """Nobody hears of what changed."""
        self._due.clear()

    def end_tick(self) -> None:
        """Of all channels events may be published again at once."""
        self._lately.clear()

    def events(self, most: int, now: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """What this worker has to publish now, of so many channels: with the data of their event. The rest waits."""
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
    """Who publishes about a channel; while nobody leads, who reported."""
    return leaders[zlib.crc32(channel.encode("utf-8", "surrogatepass")) % len(leaders)] if leaders else reporter


class Presence:
    """One worker's part in it: call `tick` every `Pace.tick` seconds and publish what it returns, in order.

    While there is `more`, that is but the first piece: `rest` returns the next, as does `tick`.

    me: the worker's name, like no other's. alone: whether there can't be others. new_key: makes a
    key for a draft that no other has. reports: where workers tell each other. tells: whether what
    changed is published. piece: channels told of at a time.
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
        piece: int = PIECE,
    ) -> None:
        self.here = Here(pace, piece=piece)
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
        self._piece = piece
        # Whether there may be more events to publish than there were in the last piece.
        self._has_events = False
        self._showing = False
        self._must_greet = True
        self._must_show = False
        self._ready_at: float | None = None
        self._said = 0.0
        # Sessions that came from other workers; and those said to have when what changed is told, they among it. Said
        # before, they would be nowhere meanwhile.
        self._moved: list[str] = []
        self._moving: list[str] = []

    def knows(self, channel: str) -> bool:
        """Whether somebody is in this channel, here or elsewhere."""
        return channel in self.everywhere.rooms or self.here.has(channel)

    def adopted(self, session_id: str) -> None:
        """A session of another worker's goes on here."""
        self._moved.append(session_id)

    def lost(self) -> None:
        """Reports may have been missed: begin anew. What was known counts until it is told otherwise."""
        self.here.forget()
        self._showing = self._has_events = False
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

    @property
    def more(self) -> bool:
        """Whether `rest` has more to say of the tick under way."""
        return self._showing or self.here.more or self._has_events

    @property
    def shows(self) -> bool:
        """Whether what is said now is all that is here, for which others wait."""
        return self._showing

    def tick(self, now: float) -> list[Draft]:
        """What is to be published now: reports, then events; or a piece of it."""
        if self._must_greet:
            self._must_greet = False
            return [self._report(now, hello=True)]
        if not self.ready:
            if self._ready_at is None or now < self._ready_at or self.everywhere.is_shown(now):
                return []
            self.ready = self._must_show = True
        if not self.here.more and not self._showing and not self._must_show:
            self._begin(now)
        return self.rest(now)

    def _begin(self, now: float) -> None:
        self._showing, self._must_show = self._must_show, False
        self._moving += self._moved
        self._moved = []
        self.here.begin(now, whole=self._showing)

    def rest(self, now: float) -> list[Draft]:
        """The next piece of what `tick` began; also nothing, while there is more."""
        if not self.ready:
            return []
        if self._must_show and not self._showing:
            # Those that begin wait for it, and all has what was being told.
            self._begin(now)
        drafts = []
        parts = self.here.tell(now)
        if self._showing:
            self._showing = self.here.tells
            if not self._showing:
                last = parts.pop() if parts else {}
            drafts += [self._report(now, snapshot=part, more=True) for part in parts]
            if not self._showing:
                drafts.append(self._report(now, snapshot=last))
        else:
            drafts += [self._report(now, channels=part) for part in parts]
        if not self._alone:
            if not self.here.tells:
                moving, self._moving = self._moving, []
                drafts += [self._report(now, moved=moving[at : at + 500]) for at in range(0, len(moving), 500)]
            drafts += [self._report(now, gone=name) for name in self.everywhere.silent(now)]
            if now - self._said >= self._pace.beat:
                drafts.append(self._report(now, channels={}))
        if not self._tells:
            self.everywhere.forget_events()
            return drafts
        events = list(self.everywhere.events(self._piece, now))
        self._has_events = len(events) == self._piece
        self.events += len(events)
        drafts += [Draft(PRESENCE + channel, dumps(data), key=self._new_key()) for channel, data in events]
        return drafts

    def replay(self, reports: Iterable[Mapping[str, Any]], now: float) -> None:
        """Read the reports that the log has kept, before `tick` is called: of workers that are all gone, perhaps."""
        for report in reports:
            self.everywhere.take(report, now)
        self.everywhere.replayed()

    def bye(self, now: float) -> Iterator[list[Draft]]:
        """What is to be published at the end, in pieces."""
        if self._alone or not self.ready:
            return
        # Whole, for a worker that begins when no other is left.
        self._must_show = True
        self.everywhere.end_tick()
        yield self.rest(now)
        while self.more or self._must_show:
            yield self.rest(now)
        yield [self._report(now, bye=True)]

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
