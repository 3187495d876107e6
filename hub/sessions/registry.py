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

#: Times the publications that may wait for a session that one is given to conflate as it wakes.
MANY = 4

#: Ids of ended sessions remembered, so that what a client sends again under one is understood.
MAX_TOMBSTONES = 10_000

#: Patterns up to which sessions share one copy of a name. Python's table of shared strings is a dict, copied as a whole
#: when it grows, so a flood of names must not go into it.
MANY_PATTERNS = 65_536

#: Microseconds, about, that may be spent in one go on asking which listeners with wildcards may hear a guarded channel.
ASKED = 250.0

#: Wildcards whose listeners are kept grouped by their rights; beyond that all groups are dropped and made anew.
MANY_GROUPS = 1000

#: Bytes that a subscription counts beside its name: its positions in the session's record, a quarter of them.
BESIDE = 24


def size_of(patterns: Collection[str]) -> int:
    """Bytes that subscriptions count. In a session's record they have four times as many at the most."""
    return sum(map(len, patterns)) + BESIDE * len(patterns)


#: Sessions by what they may hear: whether the site knows the visitor, and what a token of theirs names.
_Groups = dict[tuple[bool, Claims | None], list["Session"]]


def _weight(claims: Claims | None) -> int:
    return 1 if claims is None else 1 + claims.weight


class Sleepers:
    """Who sleeps on a pattern, with the number of the first batch each sleeps through, and what came meanwhile."""

    __slots__ = ("backlog", "since")

    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog
        self.since: dict[Session, int] = {}


class Registry:
    """Every session of this process, and who listens to what. recent: what was delivered lately."""

    def __init__(self, recent: Recent | None = None) -> None:
        self.recent = recent or Recent()
        self.sessions: dict[str, Session] = {}
        #: Sessions by the pattern they subscribe to, without those that sleep; a pattern nobody subscribes to has
        #: no entry, and one of which all sleep an empty one. Those of one session alone share one frozen set
        #: (`Session.alone`): of a flood of names each costs a reference, not a set that is made, kept, and walked for
        #: garbage.
        self.audiences: Parted[str, AbstractSet[Session]] = Parted()
        #: Who sleeps, by pattern; a pattern that nobody sleeps on has no entry.
        self.asleep: dict[str, Sleepers] = {}
        #: How many sessions sleep.
        self.sleeping = 0
        #: Bytes of all subscriptions, as `size_of` has them.
        self.subscribed = 0
        #: Told what came for a session while it slept, in order; None if some of it was too much to keep.
        self.on_wake: Callable[[Session, list[Numbered] | None], None] | None = None
        #: Told of a session that was given again what its last link may not have carried (`resume`).
        self.on_resume: Callable[[Session], None] | None = None
        #: Told of a session that may hear less than before (`judge_again`).
        self.on_judge: Callable[[Session], None] | None = None
        #: What keeps guarded channels from subscribers with wildcards; set by the rules.
        self.access: Access | None = None
        #: Told which patterns have their first subscriber now (True), or have lost their last (False); keep the list.
        self.on_change: Callable[[Sequence[str], bool], None] | None = None
        #: Set when somebody wants to know.
        self.events: Events | None = None
        #: Set where somebody may see who is in a channel.
        self.attendance: Attendance | None = None
        #: Patterns in `audiences` that stand for more than one name.
        self.wild = 0
        # Of such patterns the listeners of whom something is known, by what that is, and what it takes to ask about all
        # of them; and for which grants this is so.
        self._groups: dict[str, tuple[_Groups, int]] = {}
        self._grants = 0
        self._tombstones: OrderedDict[str, str | None] = OrderedDict()

    def add(self, session: Session) -> None:
        """Remember a new session."""
        self.sessions[session.id] = session
        if self.events is not None:
            self.events.tell("handshake", session)

    def get(self, client_id: object) -> Session | None:
        """The session of a clientId, awake, or None. Anything may be asked for: nothing is made of it."""
        session = self.sessions.get(client_id) if isinstance(client_id, str) else None
        if session is not None and session.slept is not None:
            self.wake(session)
            return None if session.ended else session
        return session

    def peek(self, client_id: object) -> Session | None:
        """As `get`, but lets a session sleep that does."""
        return self.sessions.get(client_id) if isinstance(client_id, str) else None

    def subscribe(self, session: Session, pattern: str) -> bool:
        """Add a subscription; return whether it is new."""
        audience = self.audiences.get(pattern)
        if audience is not None:
            if session in audience or (session.slept is not None and self._sleeps(session, pattern)):
                return False
            if len(self.audiences) <= MANY_PATTERNS:
                # Every request brings its own copy of a name; thousands of sessions share one.
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
            # Most have one; a list that was appended to has room for four.
            session.patterns = [pattern]
        if self.events is not None or self.attendance is not None:
            self._tell_subscribed(session, (pattern,))
        return True

    def subscribe_all(self, session: Session, patterns: Sequence[str]) -> None:
        """Add subscriptions that are new to a session (`news`), each once. A thousand take 0.2 ms."""
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
        """Put a session into the audience of a pattern, which is this one now."""
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
        """Note where new subscriptions of a session begin, if something older may be given to it again."""
        newest = self.recent.newest
        if session.queue is not None or self.recent.written != newest or session.arrived not in (None, newest):
            # What is given again after a broken connection is not what came before this.
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
            # One by one it would be looked for in all the others.
            left = set(removed)
            session.patterns = [pattern for pattern in session.patterns if pattern not in left]
        if session.delivered is not None:
            for pattern in removed:
                # Should it subscribe again, what comes till then is not for it.
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
        """The patterns that a session does not subscribe to."""
        audiences = self.audiences
        # Of a thousand names most have no subscriber yet.
        heard = {pattern for pattern in audiences.among(patterns) if session in audiences[pattern]}
        new = [pattern for pattern in patterns if pattern not in heard] if heard else list(patterns)
        return new if session.slept is None else [pattern for pattern in new if not self._sleeps(session, pattern)]

    def listens(self, session: Session, pattern: str) -> bool:
        """Whether the session has exactly this subscription."""
        return session in self.audiences.get(pattern, ()) or self._sleeps(session, pattern)

    def _sleeps(self, session: Session, pattern: str) -> bool:
        return session.slept is not None and pattern in self.asleep and session in self.asleep[pattern].since

    def audience(self, channel: str) -> Collection[Session]:
        """The sessions that what is published to a channel reaches, each once, but for those that sleep.

        Look-ups for n segments are n + 2, whatever else is subscribed to, and one where nobody has
        a wildcard. The common case, one pattern, returns the live set: copy it before anything may subscribe.
        """
        if not self.wild:
            return self.audiences.get(channel, ())
        if self.access is not None and self.access.guards(channel):
            # Who subscribed to exactly this channel was allowed to; who has a wildcard is asked now.
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
        """The audience that is known, those whose rights must be checked yet (`may_hear`), and what is left of `most`.

        most: about how many microseconds may be spent on asking.
        """
        if not self.wild:
            return self.audiences.get(channel, ()), (), most
        if self.access is not None and self.access.guards(channel):
            return self._reach(channel, self.access, most)
        return self._open_audience(channel), (), most

    def _reach(self, channel: str, access: Access, most: float) -> tuple[set[Session], list[Session], float]:
        # Rights are asked about once for all who have the same: of 300 with a token of the same hundred patterns each
        # was, which took 6 ms, and so was each of 1,500 of whom nothing is known, for 0.5.
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
        """About how many microseconds it takes to ask who may hear a channel, if that is asked at all."""
        if not self.wild or self.access is None or not self.access.guards(channel):
            return 0
        return 3 + sum(self._groups_of(pattern)[1] for pattern in patterns_of(channel)[1:])

    def _groups_of(self, pattern: str) -> tuple[_Groups, int]:
        """The listeners of a wildcard who may hear what is guarded, by their rights. Strangers may not (`guards`)."""
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
        """The sessions that what is published to a channel is for, awake or asleep. Don't keep it either."""
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
        """How many `subscribers` a channel has, without a look at each that sleeps.

        One of these that subscribes to it in two ways may count twice; and those with a wildcard do not count where a
        rule guards the channel.
        """
        found = len(self.audience(channel))
        return found + self._count_asleep(channel) if self.asleep else found

    def count_some(self, channel: str, most: float) -> tuple[int, Sequence[Session], float]:
        """As `count`, but for who is to be asked yet, as `reach` has it."""
        found, asked, left = self.reach(channel, most)
        return len(found) + (self._count_asleep(channel) if self.asleep else 0), asked, left

    def _count_asleep(self, channel: str) -> int:
        asleep = self.asleep
        guarded = self.access is not None and self.access.guards(channel)
        patterns = (channel,) if guarded else self.matching(channel)
        return sum(len(asleep[pattern].since) for pattern in patterns if pattern in asleep)

    def matching(self, channel: str) -> tuple[str, ...]:
        """The patterns that match a channel, without wildcards where nobody has one."""
        return patterns_of(channel) if self.wild else (channel,)

    def sleeps_on(self, channel: str) -> list[Backlog]:
        """Where what is published to a channel waits for those who sleep."""
        asleep = self.asleep
        return [asleep[pattern].backlog for pattern in self.matching(channel) if pattern in asleep]

    def sleep(self, session: Session, pattern: str, number: int, backlog: Backlog | None = None) -> None:
        """Keep a session out of a pattern's audience from this batch on, until `wake`.

        backlog: for the first that sleeps on it, with all batches from this number on that match it.
        """
        sleepers = self.asleep.get(pattern)
        if sleepers is None:
            assert backlog is not None
            sleepers = self.asleep[pattern] = Sleepers(backlog)
        # What it subscribed after may be on its way to others, with a later number than this batch.
        begun = session.begun
        sleepers.since[session] = number if begun is None else max(number, begun.get(pattern, -1) + 1)
        self._part(session, pattern)
        if session.slept is None:
            session.slept = [pattern]
            self.sleeping += 1
        else:
            session.slept.append(pattern)

    def wake(self, session: Session) -> None:
        """Let a session hear again at once, and tell `on_wake` what came while it slept."""
        batches: dict[int, Sequence[Publication]] = {}
        complete, count = True, 0
        known = None if self.access is None else Verdicts(self.access, session.who)
        for pattern in session.slept or ():
            if not self._sleeps(session, pattern):
                # Unsubscribed meanwhile.
                continue
            number, backlog = self._rise(session, pattern)
            self._join(session, pattern, self.audiences[pattern])
            # Hints may yet be conflated with those of other patterns, but not any number of them.
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
        """Make a link a session's own (`Session.attach`): from now on what is delivered may not arrive."""
        if session.arrived is None and session.ack is None:
            session.arrived = self._mark_of_queue(session) if session.queue else self.recent.written
        session.replayed = False
        session.attach(link)

    def _mark_of_queue(self, session: Session) -> int:
        """The mark (`Session.arrived`) of a session whose queue is about to be written."""
        # Of each channel the oldest comes first, of different ones perhaps not. A history may begin with what is in
        # `recent`, and go on with what was published while nobody here subscribed to it, which is not.
        oldest = {publication.channel: publication for publication in reversed(session.queue or ())}
        before = [None] if session.replayed else [self.recent.before(each) for each in oldest.values()]
        marks = [self.recent.written, *before]
        known = [mark for mark in marks if mark is not None]
        return min(known) if len(known) == len(marks) else -self.recent.step()

    def arrived(self, session: Session, number: int) -> None:
        """Everything up to this number of `recent` has arrived at a session's link, for what came after it has."""
        if session.arrived is None or not abs(session.arrived) <= number <= self.recent.written:
            return
        session.arrived = number
        if session.begun is not None and max(session.begun.values()) <= number:
            session.begun = None

    def saw(self, session: Session, position: str) -> None:
        """A session's client says which position the last publication had that it got, if it says any."""
        try:
            number = self.recent.number(Position.parse(position))
        except BadMessage:
            return
        if number is not None:
            self.arrived(session, number)

    def return_batch(self, session: Session, publications: list[Publication]) -> None:
        """As `Session.return_batch`. If the session has had a link since then, they may be lost with that now."""
        session.return_batch(publications)
        if session.arrived is not None and session.queue:
            session.arrived = min(session.arrived, self._mark_of_queue(session))

    def unsure(self, session: Session) -> None:
        """Something that is not in `recent` is about to be written to a session's link."""
        if session.arrived is not None:
            session.arrived = -self.recent.step()

    def resume(self, session: Session) -> bool:
        """Let what may not have arrived on a session's last link wait in its queue; False if it is forgotten.

        Sessions whose clients say what they have, by position or acknowledgement, need nothing. What waits already is
        part of what is found, if it came after that link; else an answer to a poll from before took it, and it waits
        again since that did not arrive.
        """
        is_needed = self._is_resumed(session)
        found = self._not_arrived(session) if is_needed else None
        # `begun` stays: the next link's mark may be before it.
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
        """Whether `resume` would find what may not have arrived."""
        return not self._is_resumed(session) or self._not_arrived(session) is not None

    def _is_resumed(self, session: Session) -> bool:
        return session.arrived is not None and not session.tracks and session.ack is None

    def _not_arrived(self, session: Session) -> list[Publication] | None:
        """What may not have arrived on a session's last link, None if it is forgotten."""
        mark, begun = session.arrived, session.begun
        if mark is None or mark < 0:
            return None
        marks = {each: max(mark, begun.get(each, 0)) if begun else mark for each in session.patterns}
        found = self.recent.after(marks, lambda channel: self.may_hear(session, channel))
        if found is None or sum(publication.size for publication in found) > self.recent.session_size:
            return None
        return found

    def judge_again(self, session: Session, known: Verdicts | None = None) -> None:
        """Drop what waits for a session and is not for it any more, as its rights have changed.

        What came by a wildcard, or for a channel that it left, was its own by the older ones alone. known: what was
        asked already.
        """
        if self.access is not None and (session.queue or session.unacked):
            if known is None or known.who != session.who:
                known = Verdicts(self.access, session.who)
            session.keep_only(known.__getitem__)
        if self.on_judge is not None:
            self.on_judge(session)

    def may_hear(self, session: Session, channel: str) -> bool:
        """Whether what is published to a channel is for a session that subscribes to it by a wildcard."""
        access = self.access
        if access is None or not access.guards(channel):
            return True
        # Nothing that is guarded is for those of whom nothing is known.
        return (session.grant is not None or session.user is not None) and access.may_hear(channel, session.who)

    def end(self, session: Session) -> None:
        """Forget a session; nothing is delivered to it any more. Its id stays known as an ended one."""
        if not session.ended:
            self.forget(session)
            self.bury(session.id, session.user)

    def forget(self, session: Session) -> None:
        """As `end`, of a session that goes on elsewhere: its id is not that of an ended one."""
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
        # It holds the session itself.
        session.alone = None
        if session.slept is not None:
            session.slept = None
            self.sleeping -= 1
        session.queue = None
        session.unacked = None

    def _withdraw(self, session: Session, patterns: Collection[str]) -> None:
        """Take a session out of the audiences of some of its patterns, or from those who sleep on them."""
        if not patterns:
            return
        self.subscribed -= size_of(patterns)
        if session.slept is not None:
            for pattern in patterns:
                if self._sleeps(session, pattern):
                    self._rise(session, pattern)
        audiences, asleep = self.audiences, self.asleep
        # Most have no other subscriber. Patterns that sessions sleep on keep their entry.
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
        """Forget that a session ended: it goes on elsewhere."""
        self._tombstones.pop(client_id, None)

    def ended_lately(self, client_id: object) -> bool:
        """Whether this was the id of a session that ended not long ago."""
        return isinstance(client_id, str) and client_id in self._tombstones

    def user_of_ended(self, client_id: str) -> str | None:
        """Whose such a session was."""
        return self._tombstones.get(client_id)

    @property
    def subscriptions(self) -> int:
        """How many subscriptions there are in all; walks the sessions."""
        return sum(len(session.patterns) for session in self.sessions.values())
