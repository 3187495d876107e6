"""Every session of this process, who listens to which channels, and who sleeps."""

from __future__ import annotations

import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet

from ..errors import BadMessage
from ..parted import Parted
from ..protocol.access import Access, Claims, Verdicts
from ..protocol.channels import is_wild, patterns_of, wild_ones
from ..protocol.publications import Position, Publication
from .backlog import Backlog, Numbered
from .links import Link
from .recent import Recent
from .session import Session
from .watchers import Attendance, Events

#: When a session wakes, it may be given up to so many times the publications that may wait for it, to conflate them.
MANY = 4

#: How many ids of ended sessions are remembered, so that publishes that clients repeat under them are accepted.
MAX_TOMBSTONES = 10_000

#: Names are interned, for sessions to share one copy, only while there are at most so many patterns: Python's table of
#: interned strings is a dict, which is copied as a whole when it grows, so a flood of names must not go into it.
MANY_PATTERNS = 65_536

#: About how many microseconds may be spent in one go on checking which listeners with wildcards may hear a guarded
#: channel.
ASKED = 250.0

#: For how many wildcards the listeners are kept grouped by their rights; beyond that all groups are dropped.
MANY_GROUPS = 1000

#: Bytes that a subscription counts for beside its name: a quarter of what its positions take in the session's record.
BESIDE = 24


def size_of(patterns: Collection[str]) -> int:
    """How many bytes subscriptions count for. In a session's record they take at most four times as many."""
    return sum(map(len, patterns)) + BESIDE * len(patterns)


#: Sessions with the same rights to hear, by: whether the site knows the visitor, and what their token lets them hear.
_Groups = dict[tuple[bool, Claims | None], list["Session"]]


def _weight(claims: Claims | None) -> int:
    return 1 if claims is None else 1 + claims.weight


class Sleepers:
    """The sessions that sleep on a pattern.

    since: by session, the number of the first batch that it has missed. backlog: what came since the first fell asleep.
    """

    __slots__ = ("backlog", "since")

    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog
        self.since: dict[Session, int] = {}


class Registry:
    """Every session of this process, and who listens to what. recent: the batches that were delivered lately."""

    def __init__(self, recent: Recent | None = None) -> None:
        self.recent = recent or Recent()
        self.sessions: dict[str, Session] = {}
        #: By pattern, the sessions that subscribe to it, without those that sleep. A pattern without subscribers has no
        #: entry, one whose subscribers all sleep an empty one. All patterns with a single subscriber use its one frozen
        #: set (`Session.alone`): in a flood of names each then costs a reference, not a set that is made, kept, and
        #: walked by the garbage collector.
        self.audiences: Parted[str, AbstractSet[Session]] = Parted()
        #: By pattern, the sessions that sleep on it; without any there is no entry.
        self.asleep: dict[str, Sleepers] = {}
        #: How many sessions sleep.
        self.sleeping = 0
        #: Bytes of all subscriptions, as `size_of` counts them.
        self.subscribed = 0
        #: Called with what came for a session while it slept, in order; None if that was too much to keep.
        self.on_wake: Callable[[Session, list[Numbered] | None], None] | None = None
        #: Called with a session after `resume` has queued again what its last link may have lost.
        self.on_resume: Callable[[Session], None] | None = None
        #: Called with a session that may hear less than before (`judge_again`).
        self.on_judge: Callable[[Session], None] | None = None
        #: The access rules, which keep guarded channels from subscribers with wildcards; set by `Bayeux`.
        self.access: Access | None = None
        #: Called with patterns that have got their first subscriber (True) or lost their last (False). It must not
        #: change the list.
        self.on_change: Callable[[Sequence[str], bool], None] | None = None
        #: Set if code that embeds the hub watches sessions.
        self.events: Events | None = None
        #: Set if a rule lets anybody see who is in a channel.
        self.attendance: Attendance | None = None
        #: How many patterns in `audiences` have a wildcard.
        self.wild = 0
        # By pattern with a wildcard: its listeners who may have rights, grouped by them, and the cost of checking all
        # the groups. Valid for this value of `Session.grants`.
        self._groups: dict[str, tuple[_Groups, int]] = {}
        self._grants = 0
        self._tombstones: OrderedDict[str, str | None] = OrderedDict()

    def add(self, session: Session) -> None:
        """Add a new session."""
        self.sessions[session.id] = session
        if self.events is not None:
            self.events.tell("handshake", session)

    def get(self, client_id: object) -> Session | None:
        """The session with this clientId, or None; it is awake then. client_id: anything, as a client sent it."""
        session = self.sessions.get(client_id) if isinstance(client_id, str) else None
        if session is not None and session.slept is not None:
            self.wake(session)
            return None if session.ended else session
        return session

    def peek(self, client_id: object) -> Session | None:
        """As `get`, but without waking the session."""
        return self.sessions.get(client_id) if isinstance(client_id, str) else None

    def subscribe(self, session: Session, pattern: str) -> bool:
        """Add a subscription; return whether it is new."""
        audience = self.audiences.get(pattern)
        if audience is not None:
            if session in audience or (session.slept is not None and self._sleeps(session, pattern)):
                return False
            if len(self.audiences) <= MANY_PATTERNS:
                # Each request brings its own copy of a name; let thousands of sessions share one.
                pattern = sys.intern(pattern)
        if isinstance(audience, set) and pattern[-1] != "*":
            audience.add(session)
        else:
            self._join(session, pattern, audience)
            if audience is None and self.on_change is not None:
                self.on_change([pattern], True)
        self.subscribed += len(pattern) + BESIDE
        self._begin(session, (pattern,))
        if session.patterns:
            session.patterns.append(pattern)
        else:
            # Most sessions have one; `append` to an empty list allocates room for four.
            session.patterns = [pattern]
        if self.events is not None or self.attendance is not None:
            self._tell_subscribed(session, (pattern,))
        return True

    def subscribe_all(self, session: Session, patterns: Sequence[str]) -> None:
        """Add subscriptions that the session does not have yet (`news`), without duplicates. A thousand take 0.2 ms."""
        if not patterns:
            return
        if session.alone is None:
            session.alone = frozenset((session,))
        first, shared = self.audiences.fill(patterns, session.alone)
        for pattern in shared:
            self._join(session, pattern, self.audiences[pattern])
        if shared and len(self.audiences) <= MANY_PATTERNS:
            interned = {pattern: sys.intern(pattern) for pattern in shared}
            patterns = [interned.get(pattern, pattern) for pattern in patterns]
        self.wild += len(wild_ones(first))
        self.subscribed += size_of(patterns)
        self._begin(session, patterns)
        session.patterns += patterns
        if first and self.on_change is not None:
            self.on_change(first, True)
        self._tell_subscribed(session, patterns)

    def _join(self, session: Session, pattern: str, audience: AbstractSet[Session] | None) -> None:
        """Put a session into a pattern's audience. audience: that audience now, None if there is none."""
        if self._groups and pattern[-1] == "*":
            self._groups.clear()
        if isinstance(audience, set):
            audience.add(session)
        elif audience:
            self.audiences[pattern] = {*audience, session}
        else:
            if session.alone is None:
                session.alone = frozenset((session,))
            self.audiences[pattern] = session.alone
            if audience is None:
                self.wild += is_wild(pattern)

    def _part(self, session: Session, pattern: str) -> AbstractSet[Session]:
        """Take a session out of the audience of a pattern; returns what is left of it."""
        if self._groups and pattern[-1] == "*":
            self._groups.clear()
        audience = self.audiences[pattern]
        if isinstance(audience, set):
            audience.discard(session)
        elif session in audience:
            audience = self.audiences[pattern] = frozenset()
        return audience

    def _begin(self, session: Session, patterns: Iterable[str]) -> None:
        """Note where new subscriptions begin, if the session may be sent older publications again."""
        newest = self.recent.newest
        if session.queue is not None or self.recent.written != newest or session.arrived not in (None, newest):
            # After a broken connection it must not be sent again what was published before it subscribed.
            if session.begun is None:
                session.begun = {}
            session.begun.update(dict.fromkeys(patterns, newest))

    def _tell_subscribed(self, session: Session, patterns: Iterable[str]) -> None:
        if self.events is not None:
            for pattern in patterns:
                self.events.tell("subscribe", session, pattern)
        if self.attendance is not None:
            for pattern in patterns:
                self.attendance.came(session, pattern)

    def unsubscribe(self, session: Session, pattern: str) -> bool:
        """Remove a subscription; return whether there was one."""
        return bool(self.unsubscribe_all(session, (pattern,)))

    def unsubscribe_all(self, session: Session, patterns: Iterable[str]) -> list[str]:
        """Remove subscriptions; return those that there were."""
        removed = [pattern for pattern in dict.fromkeys(patterns) if self.listens(session, pattern)]
        self._withdraw(session, removed)
        if len(removed) == 1:
            session.patterns.remove(removed[0])
        elif removed:
            # One by one, each `remove` would search the whole list.
            left = set(removed)
            session.patterns = [pattern for pattern in session.patterns if pattern not in left]
        if session.delivered is not None:
            for pattern in removed:
                # If it subscribes again, what comes until then is not for it.
                session.delivered.pop(pattern, None)
        self._tell_unsubscribed(session, removed)
        return removed

    def _tell_unsubscribed(self, session: Session, patterns: Iterable[str]) -> None:
        if self.events is not None:
            for pattern in patterns:
                self.events.tell("unsubscribe", session, pattern)
        if self.attendance is not None:
            for pattern in patterns:
                self.attendance.went(session, pattern)

    def news(self, session: Session, patterns: Collection[str]) -> list[str]:
        """Those of these patterns that a session does not subscribe to yet."""
        audiences = self.audiences
        # Look at those that have subscribers only: of a thousand names most have none.
        heard = {pattern for pattern in audiences.among(patterns) if session in audiences[pattern]}
        new = [pattern for pattern in patterns if pattern not in heard] if heard else list(patterns)
        return new if session.slept is None else [pattern for pattern in new if not self._sleeps(session, pattern)]

    def listens(self, session: Session, pattern: str) -> bool:
        """Whether the session has exactly this subscription."""
        return session in self.audiences.get(pattern, ()) or self._sleeps(session, pattern)

    def _sleeps(self, session: Session, pattern: str) -> bool:
        return session.slept is not None and pattern in self.asleep and session in self.asleep[pattern].since

    def audience(self, channel: str) -> Collection[Session]:
        """The sessions to which a publication of this channel goes, each once; without those that sleep.

        For a channel of n segments it takes n + 2 look-ups, whatever else is subscribed to, and one if there are no
        wildcards. If only one pattern matches, the live set is returned: copy it before anything may subscribe.
        """
        if not self.wild:
            return self.audiences.get(channel, ())
        if self.access is not None and self.access.guards(channel):
            # Those who subscribed to exactly this channel were checked then; those with a wildcard are checked now.
            return self._reach(channel, self.access, math.inf)[0]
        return self._open_audience(channel)

    def _open_audience(self, channel: str) -> Collection[Session]:
        found: AbstractSet[Session] | None = None
        merged: set[Session] | None = None
        for pattern in patterns_of(channel):
            audience = self.audiences.get(pattern)
            if audience is None:
                continue
            if found is None:
                found = audience
            elif merged is None:
                found = merged = {*found, *audience}
            else:
                merged |= audience
        return found if found is not None else ()

    def reach(self, channel: str, most: float) -> tuple[Collection[Session], Sequence[Session], float]:
        """The audience as far as it is known, sessions still to be checked with `may_hear`, and what is left of `most`.

        most: about how many microseconds may be spent on checking.
        """
        if not self.wild:
            return self.audiences.get(channel, ()), (), most
        if self.access is not None and self.access.guards(channel):
            return self._reach(channel, self.access, most)
        return self._open_audience(channel), (), most

    def _reach(self, channel: str, access: Access, most: float) -> tuple[set[Session], list[Session], float]:
        # Sessions with the same rights are checked once together. One by one it took 6 ms for 300 sessions whose tokens
        # name the same hundred patterns, and 0.5 ms for 1,500 sessions without a token or user.
        found = set(self.audiences.get(channel, ()))
        left: list[Session] = []
        for pattern in patterns_of(channel)[1:]:
            for (_, claims), sessions in self._groups_of(pattern)[0].items():
                most -= _weight(claims)
                if most < 0:
                    left += sessions
                elif access.may_hear(channel, sessions[0].who):
                    found.update(sessions)
        return found, [session for session in dict.fromkeys(left) if session not in found], most

    def cost(self, channel: str) -> int:
        """About how many microseconds it takes to check who may hear a channel; 0 if nothing is checked."""
        if not self.wild or self.access is None or not self.access.guards(channel):
            return 0
        return 3 + sum(self._groups_of(pattern)[1] for pattern in patterns_of(channel)[1:])

    def _groups_of(self, pattern: str) -> tuple[_Groups, int]:
        """A wildcard's listeners by their rights, and what it costs to check all groups.

        Without those that have neither token nor user, as they may hear nothing guarded (`Access.guards`).
        """
        if self._grants != Session.grants or len(self._groups) > MANY_GROUPS:
            self._groups.clear()
            self._grants = Session.grants
        known = self._groups.get(pattern)
        if known is None:
            audience = self.audiences.get(pattern)
            if not audience:
                return {}, 0
            groups: _Groups = {}
            for session in [each for each in audience if each._grant is not None or each.user is not None]:
                grant = session._grant
                key = (session.user is not None, None if grant is None else grant.hears)
                groups.setdefault(key, []).append(session)
            known = self._groups[pattern] = groups, sum(_weight(claims) for _, claims in groups)
        return known

    def subscribers(self, channel: str) -> Collection[Session]:
        """The sessions that a publication of this channel is for, awake or asleep. Copy it, as that of `audience`."""
        audience = self.audience(channel)
        if not self.asleep:
            return audience
        found = set(audience)
        for pattern in self.matching(channel):
            sleepers = self.asleep.get(pattern)
            if sleepers is not None:
                found.update(each for each in sleepers.since if pattern == channel or self.may_hear(each, channel))
        return found

    def count(self, channel: str) -> int:
        """How many `subscribers` a channel has, without looking at each that sleeps.

        So of those that sleep, one that subscribes by two patterns counts twice, and those with a wildcard are not
        counted if the channel is guarded.
        """
        found = len(self.audience(channel))
        return found + self._count_asleep(channel) if self.asleep else found

    def count_some(self, channel: str, most: float) -> tuple[int, Sequence[Session], float]:
        """As `count`, without sessions still to be checked; those, and what is left of `most`, as with `reach`."""
        found, asked, left = self.reach(channel, most)
        return len(found) + (self._count_asleep(channel) if self.asleep else 0), asked, left

    def _count_asleep(self, channel: str) -> int:
        asleep = self.asleep
        guarded = self.access is not None and self.access.guards(channel)
        patterns = (channel,) if guarded else self.matching(channel)
        return sum(len(asleep[pattern].since) for pattern in patterns if pattern in asleep)

    def matching(self, channel: str) -> tuple[str, ...]:
        """The patterns that match a channel; only the channel itself while there are no wildcards."""
        return patterns_of(channel) if self.wild else (channel,)

    def sleeps_on(self, channel: str) -> list[Backlog]:
        """The backlogs in which publications of this channel are kept for sessions that sleep."""
        asleep = self.asleep
        return [asleep[pattern].backlog for pattern in self.matching(channel) if pattern in asleep]

    def sleep(self, session: Session, pattern: str, number: int, backlog: Backlog | None = None) -> None:
        """Take a session out of a pattern's audience from this batch on, until `wake`.

        backlog: needed for the first session that sleeps on the pattern; it has all batches from this number on that
        match.
        """
        sleepers = self.asleep.get(pattern)
        if sleepers is None:
            assert backlog is not None
            sleepers = self.asleep[pattern] = Sleepers(backlog)
        # What was published before it subscribed may be on its way to others, with a number after this batch.
        begun = session.begun
        sleepers.since[session] = number if begun is None else max(number, begun.get(pattern, -1) + 1)
        self._part(session, pattern)
        if session.slept is None:
            session.slept = [pattern]
            self.sleeping += 1
        else:
            session.slept.append(pattern)

    def wake(self, session: Session) -> None:
        """Put a session back into its audiences, and call `on_wake` with what came while it slept."""
        batches: dict[int, Sequence[Publication]] = {}
        complete, count = True, 0
        known = None if self.access is None else Verdicts(self.access, session.who)
        for pattern in session.slept or ():
            if not self._sleeps(session, pattern):
                # Unsubscribed meanwhile.
                continue
            number, backlog = self._rise(session, pattern)
            self._join(session, pattern, self.audiences[pattern])
            # More than may wait is fine, as hints of several patterns may be conflated yet; but not any number.
            found = backlog.since(number) if complete and count <= MANY * backlog.count else None
            complete = found is not None
            for each, publications in found or ():
                channel = publications[0].channel
                if each not in batches and (pattern == channel or known is None or known[channel]):
                    batches[each] = publications
                    count += len(publications)
        session.slept = None
        self.sleeping -= 1
        if self.on_wake is not None:
            self.on_wake(session, sorted(batches.items()) if complete else None)

    def _rise(self, session: Session, pattern: str) -> tuple[int, Backlog]:
        sleepers = self.asleep[pattern]
        number = sleepers.since.pop(session)
        if not sleepers.since:
            del self.asleep[pattern]
        return number, sleepers.backlog

    def attach(self, session: Session, link: Link) -> None:
        """Make a link a session's own (`Session.attach`), and note that what is delivered now may not arrive."""
        if session.arrived is None and session.ack is None:
            session.arrived = self._mark_of_queue(session) if session.queue else self.recent.written
        session.replayed = False
        session.attach(link)

    def _mark_of_queue(self, session: Session) -> int:
        """The mark (`Session.arrived`) of a session whose queue is about to be written."""
        # In the queue each channel is in order, but channels are mixed, so take the oldest of each. A history may begin
        # with publications that are in `recent` and go on with some that are not, as nobody here subscribed then.
        oldest = {publication.channel: publication for publication in reversed(session.queue or ())}
        before = [None] if session.replayed else [self.recent.before(each) for each in oldest.values()]
        marks = [self.recent.written, *before]
        known = [mark for mark in marks if mark is not None]
        return min(known) if len(known) == len(marks) else -self.recent.step()

    def arrived(self, session: Session, number: int) -> None:
        """Everything up to this number of `recent` has arrived by a session's link: something later has."""
        if session.arrived is None or not abs(session.arrived) <= number <= self.recent.written:
            return
        session.arrived = number
        if session.begun is not None and max(session.begun.values()) <= number:
            session.begun = None

    def saw(self, session: Session, position: str) -> None:
        """A session's client says at which position the last publication was that it received. position: as it came."""
        try:
            number = self.recent.number(Position.parse(position))
        except BadMessage:
            return
        if number is not None:
            self.arrived(session, number)

    def return_batch(self, session: Session, publications: list[Publication]) -> None:
        """As `Session.return_batch`. If the session has a link by now, they may be lost with that."""
        session.return_batch(publications)
        if session.arrived is not None and session.queue:
            session.arrived = min(session.arrived, self._mark_of_queue(session))

    def unsure(self, session: Session) -> None:
        """Something that is not in `recent` is about to be written to a session's link."""
        if session.arrived is not None:
            session.arrived = -self.recent.step()

    def resume(self, session: Session) -> bool:
        """Queue again what may not have arrived by a session's last link; False if that is forgotten by now.

        Clients that say what they have, by positions or acknowledgements, need none of this. What is queued already is
        among what is found if it came after that link. If not, it was in the answer to a poll before that link, was
        queued again because the answer did not arrive, and goes first.
        """
        is_needed = self._is_resumed(session)
        found = self._not_arrived(session) if is_needed else None
        # `begun` stays: the next link's `arrived` may be before it.
        session.arrived = None
        if not is_needed:
            return True
        if found is None:
            self.recent.forgotten += 1
            return False
        known = set(found)
        waiting = [each for each in session.queue or () if each not in known]
        session.queue, session.queued_bytes = None, 0
        session.put_back([*waiting, *found])
        self.recent.repeated += len(found)
        if self.on_resume is not None:
            self.on_resume(session)
        return True

    def is_resumable(self, session: Session) -> bool:
        """Whether `resume` would succeed."""
        return not self._is_resumed(session) or self._not_arrived(session) is not None

    def _is_resumed(self, session: Session) -> bool:
        return session.arrived is not None and not session.tracks and session.ack is None

    def _not_arrived(self, session: Session) -> list[Publication] | None:
        """What may not have arrived by a session's last link; None if that is forgotten, or too much."""
        mark, begun = session.arrived, session.begun
        if mark is None or mark < 0:
            return None
        marks = {each: max(mark, begun.get(each, 0)) if begun else mark for each in session.patterns}
        found = self.recent.after(marks, lambda channel: self.may_hear(session, channel))
        if found is None or sum(publication.size for publication in found) > self.recent.session_size:
            return None
        return found

    def judge_again(self, session: Session, known: Verdicts | None = None) -> None:
        """A session's rights have changed: drop what waits for it that it may not hear any more.

        That may be something that came by a wildcard, or in a channel that it has left since. known: decisions that
        were made already.
        """
        if self.access is not None and (session.queue or session.unacked):
            if known is None or known.who != session.who:
                known = Verdicts(self.access, session.who)
            session.keep_only(known.__getitem__)
        if self.on_judge is not None:
            self.on_judge(session)

    def may_hear(self, session: Session, channel: str) -> bool:
        """Whether a session that subscribes to a channel by a wildcard may hear it."""
        access = self.access
        if access is None or not access.guards(channel):
            return True
        # Without a token or a user nobody may hear a guarded channel.
        return (session.grant is not None or session.user is not None) and access.may_hear(channel, session.who)

    def end(self, session: Session) -> None:
        """End a session: nothing is delivered to it any more. Its id is remembered as that of an ended session."""
        if not session.ended:
            self.forget(session)
            self.bury(session.id, session.user)

    def forget(self, session: Session) -> None:
        """As `end`, for a session that goes on at another worker: its id is not noted as ended."""
        if session.ended:
            return
        session.ended = True
        session.link = session.sink = None
        del self.sessions[session.id]
        self._withdraw(session, session.patterns)
        self._tell_unsubscribed(session, session.patterns)
        if self.events is not None:
            self.events.tell("disconnect", session)
        session.patterns = []
        # It contains the session itself, and a cycle would be left to the garbage collector.
        session.alone = None
        if session.slept is not None:
            session.slept = None
            self.sleeping -= 1
        session.queue = None
        session.unacked = None

    def _withdraw(self, session: Session, patterns: Collection[str]) -> None:
        """Take a session out of the audiences of some of its patterns, and of those who sleep on them."""
        if not patterns:
            return
        self.subscribed -= size_of(patterns)
        if session.slept is not None:
            for pattern in patterns:
                if self._sleeps(session, pattern):
                    self._rise(session, pattern)
        audiences, asleep = self.audiences, self.asleep
        # Most patterns have no other subscriber. Those that sessions sleep on keep their entry.
        last, others = audiences.drop(patterns, session.alone, asleep)
        for pattern in others:
            if not self._part(session, pattern) and pattern not in asleep:
                del audiences[pattern]
                last.append(pattern)
        if wild := wild_ones(last):
            self.wild -= len(wild)
            self._groups.clear()
        if last and self.on_change is not None:
            self.on_change(last, False)

    def bury(self, client_id: str, user: str | None) -> None:
        """Remember the id of a session that has ended, here or on another node."""
        self._tombstones[client_id] = user
        if len(self._tombstones) > MAX_TOMBSTONES:
            self._tombstones.popitem(last=False)

    def dig_up(self, client_id: str) -> None:
        """Forget that a session has ended: it goes on elsewhere."""
        self._tombstones.pop(client_id, None)

    def ended_lately(self, client_id: object) -> bool:
        """Whether this was the id of a session that ended not long ago."""
        return isinstance(client_id, str) and client_id in self._tombstones

    def user_of_ended(self, client_id: str) -> str | None:
        """The user of an ended session; None if it had none, or is not remembered."""
        return self._tombstones.get(client_id)

    @property
    def subscriptions(self) -> int:
        """How many subscriptions there are in all; looks at every session."""
        return sum(len(session.patterns) for session in self.sessions.values())
