"""Who is with this worker, and what of that must still be reported to the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from .pace import Pace
from .reports import Parts

#: How many channels a worker counts; nobody is counted in any more than that.
MAX_CHANNELS = 100_000

#: Channels in one piece: of reports, and of events. To make such a piece, to publish it, and to receive it take about
#: 0.5 ms each.
PIECE = 100

#: For each channel of a piece: how many channels, leaving users and held changes are looked at to find one; and how
#: many names it may have.
LOOKED = 5

NAMES = 10

#: How many addresses with held changes are looked at in a tick.
ADDRESSES = 100


class _Member:
    """A session with subscriptions that are counted.

    present: whether it has a connection. channels: those it is subscribed to, and whether its user is named there.
    """

    __slots__ = ("address", "channels", "present", "user")

    def __init__(self, user: str | None, address: str) -> None:
        self.user = user
        self.address = address
        self.present = True
        self.channels: dict[str, bool] = {}


class _Place:
    """A channel at this worker.

    count: sessions in it. told: the count that was last reported. lower: since when `count` is less than `told`; None
    if it is not. users: how many sessions each named user has in it; 0 while the user is leaving. joined, left: users
    of whom that must be reported.
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
    """Who is with this worker. What a call costs depends on the channels of one session only.

    piece: channels in one piece of a report. may_tell: whether a change made from this address may be reported now. If
    not, the change is held until it may, however often it is made again. None: every change may.
    """

    def __init__(self, pace: Pace, *, piece: int = PIECE, may_tell: Callable[[str], bool] | None = None) -> None:
        self.may_tell = may_tell
        self._pace = pace
        self._piece = piece
        self._members: dict[str, _Member] = {}
        self._places: dict[str, _Place] = {}
        # Leaving users, by channel and user: when they count as gone, and their address.
        self._leaving: dict[tuple[str, str], tuple[float, str]] = {}
        self._changed: dict[str, None] = {}
        # Channels still to be reported now, and whether this is a snapshot of all.
        self._telling: deque[str] = deque()
        self._whole = False
        # Whether users are due to count as gone whom `_expire` has not come to yet.
        self._behind = False
        # By address: channels with changes that wait until `may_tell` allows them.
        self._held: dict[str, dict[str, None]] = {}
        #: Named users, counted once for each channel they are in.
        self.named = 0
        #: Subscriptions whose user was not named, and those not counted, because there were too many.
        self.unnamed = 0
        self.uncounted = 0
        #: Changes that were held.
        self.held = 0

    @property
    def more(self) -> bool:
        """Whether `tell` must be called again: to report more, or because more users count as gone."""
        return self.tells or self._behind

    @property
    def tells(self) -> bool:
        """Whether something is left to report of what there was at the last `begin`."""
        return bool(self._telling)

    @property
    def channels(self) -> int:
        """How many channels are counted."""
        return len(self._places)

    def has(self, channel: str) -> bool:
        """Whether this channel is counted: somebody is in it here, or was a moment ago."""
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
        """A session unsubscribed. When a session ends, call this for each of its channels."""
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
        """A session belongs to this user from now on."""
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
        """Have a change in this channel reported, now or when `may_tell` allows it."""
        if channel in self._changed:
            return
        # Queue behind what waits already; else the first changes of an address that never stops would wait for ever.
        if address and self.may_tell is not None and (address in self._held or not self.may_tell(address)):
            self._held.setdefault(address, {})[channel] = None
            self.held += 1
        else:
            self._changed[channel] = None

    def _let_go(self) -> None:
        """Release held changes that may be reported now."""
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
                # To the end, so that next time the other addresses are looked at first.
                self._held[address] = held

    def _expire(self, now: float) -> None:
        due: list[tuple[tuple[str, str], str]] = []
        self._behind = False
        # All wait for the same number of seconds, so the dict is in order of time.
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
        """Have `tell` report what has changed until now, or, if `whole`, everybody who is here.

        A snapshot replaces a report that is under way; later changes count from it.
        """
        self._expire(now)
        self._let_go()
        self._whole = whole
        self._telling = deque(self._places if whole else self._changed)
        self._changed = {}

    def tell(self, now: float) -> list[dict[str, list[Any]]]:
        """The next piece, in parts of one report each: `[count, joined, left]` by channel.

        In a snapshot it is `[count, users]`. Empty if there is no more, or if what changed has changed back meanwhile.
        """
        if self._behind:
            self._expire(now)
        parts, told, looked, names = Parts(), 0, 0, 0
        while self._telling and told < self._piece and looked < LOOKED * self._piece and names < NAMES * self._piece:
            channel = self._telling.popleft()
            looked += 1
            place = self._places.get(channel)
            if place is None:
                # It changed again, and was reported as empty, before its turn came.
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
        """Drop the report that is under way: a snapshot follows soon."""
        self._telling.clear()
        self._behind = False

    def _steady(self, place: _Place, now: float) -> int:
        """The count to report: still the last one while it has been lower for less than `Pace.dip`."""
        return place.told if place.lower is not None and now < place.lower + self._pace.dip else place.count

    def _told(self, channel: str, place: _Place, count: int) -> None:
        place.told = count
        place.joined, place.left = set(), set()
        if count != place.count:
            # Look at it again at the next tick.
            self._changed[channel] = None
            return
        place.lower = None
        if not place.count and not place.users:
            del self._places[channel]


def _swap(user: str, undone: set[str], done: set[str]) -> None:
    """Note in `done` what happened to a user, unless it undoes the opposite: then there is nothing to report."""
    if user in undone:
        undone.remove(user)
    else:
        done.add(user)
