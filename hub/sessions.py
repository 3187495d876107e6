"""What the hub remembers of a client, and who listens to what. Pure: no waiting, no clock.

A session lives from handshake to expiry and outlives its connections. It is in one of three
states: *attached* to a link that can be written to at any time (a WebSocket), with a *held*
connect that can be answered once (a poll), or neither, and then it expires. Of the last, those for
whom something waits already *sleep*: what else comes is kept once for all of them, so that a
publication costs the same however many they are.
"""

from __future__ import annotations

import logging
import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar, Literal, Protocol

from .backlog import Backlog, Numbered
from .errors import BadMessage, ProtocolError, SlowSession
from .parted import Parted
from .peers import Peer
from .protocol.access import NOBODY, Access, Claims, Grant, Verdicts, Who
from .protocol.channels import is_wild, patterns_of, wild_ones
from .protocol.publications import Position, Publication, conflate
from .recent import Recent

logger = logging.getLogger(__name__)

#: Times the publications that may wait for a session that one is given to conflate as it wakes.
MANY = 4

#: Ids of connects that a session's record names. Clients have two under way at once at most, one of them given up.
CONNECTS = 4

#: Seconds by which a connect that comes after another must have come to its worker before it, to be the older one. Of
#: one that is carried again it is known only up to the time that its mail took.
LATE_CONNECT = 1.0

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


class Bucket:
    """An allowance of so many a second, which fills up to `burst` while it is not used."""

    __slots__ = ("_at", "_left")

    def __init__(self, now: float, burst: float) -> None:
        self._at = now
        self._left = burst

    def take(self, now: float, rate: float, burst: float) -> bool:
        """Take one; False if there is none."""
        self._left = min(burst, self._left + (now - self._at) * rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def full(self, now: float, rate: float, burst: float) -> bool:
        """Whether it is as good as a new one."""
        return self._left + (now - self._at) * rate >= burst


class Batch:
    """One channel's publications of one tick, encoded once for every link that takes them.

    `forms` keeps the encodings, by the name of the form; links fill it. The batch of a tick is
    the unit of fan-out: a link writes one batch with one call. number: its own in `Recent`, 0 for
    what is written to one session alone.
    """

    __slots__ = ("channel", "forms", "number", "publications")

    def __init__(self, channel: str, publications: list[Publication], number: int = 0) -> None:
        self.channel = channel
        self.publications = publications
        self.number = number
        self.forms: dict[str, bytes] = {}


class Link(Protocol):
    """A connection that can be written to at any time. The node's side of a transport.

    blocked: whether its buffer is full; batches then wait in the session's queue, and the link
    calls `Node.writable` when there is room again. session: the session it is the link of.
    closed_by: the format of a Fanout item whose action `close` ends it, empty where none does.
    """

    blocked: bool
    session: Session | None
    closed_by: str

    def offer(self, batch: Batch) -> None:
        """Write a batch now; raises LinkClosed. Called only while the link is a session's `sink`."""

    def send(self, parts: list[bytes]) -> None:
        """Write encoded Bayeux messages as one batch (`messages.join`)."""

    def tell_lost(self, channels: Iterable[str]) -> bool:
        """Say that publications of these channels may have been missed; False if a connect's reply must."""

    def leave(self, code: int, reason: str) -> None:
        """Say why, and close."""


class Answers(Protocol):
    """Where the answer to a request goes, a WebSocket or the one response of a poll; peer: and whose it is."""

    @property
    def peer(self) -> Peer: ...

    def send(self, parts: list[bytes]) -> None:
        """Send encoded Bayeux messages as one batch (`messages.join`)."""


class Hold:
    """A connect whose answer waits.

    id: the message's id, for the reply. to: where the answer goes. deadline: when to answer
    with nothing to deliver. error and advice: what the answer says if not the usual. sync: the
    answer's ext.timesync, but for the time that it was held.
    """

    __slots__ = ("advice", "deadline", "error", "id", "session", "sync", "to")

    def __init__(self, session: Session, id: object, deadline: float, to: Answers) -> None:
        self.session = session
        self.id = id
        self.deadline = deadline
        self.to = to
        self.error: ProtocolError | None = None
        self.advice: dict[str, Any] | None = None
        self.sync: dict[str, Any] | None = None

    def is_for(self, link: object) -> bool:
        """Whether its answer goes there."""
        return self.to is link


class Session:
    """What the hub remembers of one client.

    id: the clientId, 128 random bits or more. patterns: what it subscribes to, in order.
    seen: when the client last gave a sign of life (hub clock, seconds). connected: whether
    its first connect was answered. sink: the link to write batches to at once, None while
    they must be queued (no link, a full buffer, a recovery under way, acknowledgements).
    user: the site's visitor, if it knows one. grant: what the client's token allows. bearer: the user
    of the last token that named one, and when that was made. It outlives the token, and serves kicks
    only, never permissions. slept: the patterns that it sleeps on, None while it is awake.
    address: whose it is, empty where nothing is counted by it.

    Its fields are read everywhere and assigned in this module alone: by its own methods, and by the
    registry's where the change is the registry's too (`Registry.subscribe`, `attach`, `sleep`, `wake`, `end`).
    """

    __slots__ = (
        "__weakref__",
        "_grant",
        "ack",
        "address",
        "alone",
        "answered",
        "arrived",
        "bearer",
        "begun",
        "connected",
        "connects",
        "delivered",
        "due",
        "earlier",
        "ended",
        "fence",
        "floors",
        "hold",
        "id",
        "life",
        "link",
        "lost",
        "opened",
        "patterns",
        "polled",
        "publishes",
        "queue",
        "queued_bytes",
        "recovering",
        "renumbered",
        "replayed",
        "seen",
        "sink",
        "slept",
        "tracks",
        "unacked",
        "user",
    )

    #: How often any session with subscriptions was given a grant, or lost it.
    grants: ClassVar[int] = 0

    def __init__(self, id: str, now: float, user: str | None = None, opened: float = 0.0, address: str = "") -> None:
        self.id = id
        self.seen = now
        self.user = user
        self.address = address
        #: The audience of each pattern that nobody else subscribes to, None before there is one.
        self.alone: frozenset[Session] | None = None
        self._grant: Grant | None = None
        self.bearer: tuple[str, float | None] | None = None
        # When that of a site's visitor was opened, in seconds since 1970: who is sent away may come again.
        self.opened = opened
        # The allowance of a client that publishes, None until it does.
        self.publishes: Bucket | None = None
        self.patterns: list[str] = []
        self.connected = False
        self.ended = False
        self.link: Link | None = None
        self.sink: Link | None = None
        self.hold: Hold | None = None
        # When the node looks next whether its hold is due, 0 if it does not.
        self.due = 0.0
        self.queue: list[Publication] | None = None
        self.queued_bytes = 0
        self.slept: list[str] | None = None
        # With several nodes: the fence under which this one owns it (0: it has no record, -1: it has no more), and the
        # lease in which that was known for certain.
        self.fence = 0
        self.life = 0
        # With several nodes: what the client certainly has, by channel, for its record.
        self.delivered: dict[str, Position] | None = None
        # Whether the client keeps positions (it asked for one), and channels it must be told to refetch.
        self.tracks = False
        self.lost: set[str] | None = None
        # How many recoveries are under way, and positions below which live publications repeat history.
        self.recovering = 0
        self.floors: dict[str, Position] | None = None
        # CometD's ack extension: the number of the newest batch, or None; and what is not acknowledged.
        self.ack: int | None = None
        # The connect that was answered last over HTTP, with what the answer delivered: a client that
        # repeats its id (Faye does) never saw that answer. With `ack`, (batch, publications) pairs.
        self.answered: object = None
        # When its newest connect came to a worker, by the node's clock.
        self.polled = 0.0
        # With several nodes: the newest connects over HTTP, oldest first, for its record. Where it was taken over,
        # those before the one answered last (`resend`): they may be carried here again.
        self.connects: tuple[object, ...] = ()
        self.earlier: tuple[object, ...] = ()
        self.unacked: list[tuple[int, list[Publication]]] | None = None
        # With `ack`: of what went in a batch, and goes again in a later one, the number of the first.
        self.renumbered: dict[Publication, int] | None = None
        # Once it had a link: up to which number of `Recent` everything arrived, and of patterns subscribed
        # to since, the number they began after. -n: something that can't be given again is on its way;
        # it has arrived when n has.
        self.arrived: int | None = None
        self.begun: dict[str, int] | None = None
        # Whether a history was put into its queue since it last had a new link: `Recent` may lack some of that.
        self.replayed = False

    @property
    def grant(self) -> Grant | None:
        """What its client's token allows."""
        return self._grant

    @grant.setter
    def grant(self, grant: Grant | None) -> None:
        self._grant = grant
        if self.patterns:
            Session.grants += 1

    @property
    def who(self) -> Who:
        """Who asks, for the rules of access."""
        grant = self._grant
        return NOBODY if self.user is None and grant is None else Who(self.user, grant)

    @property
    def name(self) -> str | None:
        """The user it belongs to: the token's, else the site's visitor; None for nobody in particular."""
        grant = self.grant
        return grant.user if grant is not None and grant.user is not None else self.user

    @property
    def reachable(self) -> bool:
        """Whether something can be sent now or when something comes."""
        return self.link is not None or self.hold is not None

    @property
    def has_ready(self) -> bool:
        """Whether something waits that may be sent: not before its client was told of a recovery under way."""
        return self.queue is not None and not self.recovering

    @property
    def may_sleep(self) -> bool:
        """Whether what comes can wait with what comes for others, until the client says something.

        Not what comes first between two polls: it would be woken at once, which costs more than a list.
        """
        return (
            self.link is None
            and self.hold is None
            and not self.recovering
            and (self.queue is not None or self.slept is not None or not self.connected)
        )

    # The client

    def touch(self, now: float) -> None:
        """Count its silence from now: it gave a sign of life, or lost what it could be reached by."""
        self.seen = now

    def connect(self) -> bool:
        """Its client connects; whether for the first time."""
        first, self.connected = not self.connected, True
        return first

    def authorize(self, grant: Grant | None) -> None:
        """Let it do what a token allows, or no token any more."""
        self.grant = grant
        if grant is not None and grant.user is not None:
            self.bearer = grant.user, grant.made

    def keep_only(self, is_for: Callable[[str], bool]) -> None:
        """Drop what waits, or is not acknowledged, of channels that are not for it."""
        if self.queue:
            self.queue = [each for each in self.queue if is_for(each.channel)] or None
            self.queued_bytes = sum(each.size for each in self.queue or ())
        if self.unacked:
            for _, items in self.unacked:
                # The list itself: the poll that carried it gives it back (`return_batch`).
                items[:] = [each for each in items if is_for(each.channel)]

    def use_acks(self) -> None:
        """Number its batches from now on, for the client to acknowledge (CometD's extension)."""
        self.ack = 0

    def track(self) -> None:
        """Its client keeps positions, so it can be told what to refetch."""
        self.tracks = True

    def may_publish(self, now: float, rate: float, burst: float) -> bool:
        """Take one from its allowance of `rate` publishes a second; False if there is none left."""
        if self.publishes is None:
            # One that another worker had may have spent its allowance there: who moves had another full one each time.
            self.publishes = Bucket(now, max(1.0, rate / 10) if self.fence > 1 else burst)
        return self.publishes.take(now, rate, burst)

    # Its connection: a link or a held connect

    def attach(self, link: Link) -> None:
        """Make a link its own, which has no other session then. Once it had one: `Registry.attach`."""
        other = link.session
        if other is not None and other is not self:
            # A client that handshakes again on its socket leaves its old session to expire.
            other.link = other.sink = None
        self.link = link
        link.session = self
        self.settle()

    def detach(self) -> Link | None:
        """The link is gone, or is to go: have none. Returns the one it had, for which it still is the session."""
        link = self.link
        if link is not None:
            self.link = self.sink = None
            if self.hold is not None and self.hold.is_for(link):
                # Its answer could go nowhere, and would take with it what waits.
                self.hold = None
        return link

    def depart(self) -> Link | None:
        """Go on elsewhere, at another connection or worker. Returns the link it had, which knows it no more."""
        link = self.link
        if link is not None:
            self.link = self.sink = link.session = None
        return link

    def begin_hold(self, hold: Hold) -> None:
        """Hold a connect, to be answered when there is something to say or when it is due."""
        self.hold = hold

    def await_due(self, deadline: float) -> bool:
        """A hold is due then; whether the node has to be told, since it does not look before."""
        if 0 < self.due <= deadline:
            return False
        self.due = deadline
        return True

    def is_awaited(self, now: float) -> bool:
        """Whether the node looks again later than now; else it does not."""
        if self.due > now:
            return True
        self.due = 0.0
        return False

    def end_hold(self) -> Hold | None:
        """Hold no connect any more; returns the one to answer, if there was any."""
        hold, self.hold = self.hold, None
        return hold

    # What waits for it

    def enqueue(self, publications: Iterable[Publication], count: int, size: int) -> None:
        """Keep publications until they can be sent; raise SlowSession beyond `count` or `size` bytes.

        Before giving up, hints are conflated to the newest of each channel. What a recovery has
        already covered (`floors`) is dropped, so that live follows history without overlap.
        """
        queue = self.queue
        if queue is None:
            queue = self.queue = []
        for publication in publications:
            if self.floors is not None and self._covered(publication):
                continue
            queue.append(publication)
            self.queued_bytes += publication.size
        if (len(queue) > count or self.queued_bytes > size) and not self.shrink(count, size):
            raise SlowSession(f"{len(self.queue or ())} publications, {self.queued_bytes} bytes")

    def shrink(self, count: int, size: int) -> bool:
        """Conflate the queue's hints if it is beyond `count` or `size` bytes; whether it is within them then."""
        queue = self.queue
        if queue is None or (len(queue) <= count and self.queued_bytes <= size):
            return True
        self.queue = conflate(queue)
        self.queued_bytes = sum(publication.size for publication in self.queue)
        return len(self.queue) <= count and self.queued_bytes <= size

    def has_room(self, channel: str, publications: Sequence[Publication], count: int, size: int) -> bool:
        """Whether the queue would be within these bounds with these in place of what it has of their channel."""
        queued = [each.size for each in self.queue or () if each.channel != channel]
        queued += [each.size for each in publications]
        return len(queued) <= count and sum(queued) <= size

    def awaits(self, channel: str) -> bool:
        """Whether something of a channel waits, or was sent and is not acknowledged."""
        sent = (item for _, items in self.unacked or () for item in items)
        return any(each.channel == channel for each in (*(self.queue or ()), *sent))

    @property
    def waiting(self) -> set[str]:
        """The channels of what waits, or was sent and is not acknowledged."""
        found = {each.channel for each in self.queue or ()}
        return found.union(each.channel for _, items in self.unacked or () for each in items)

    def take(self) -> list[Publication]:
        """Empty the queue and return what was in it, oldest first."""
        queue = self.queue
        if queue is None:
            return []
        self.queue = None
        self.queued_bytes = 0
        return queue

    def take_batch(self, number: object) -> list[Publication]:
        """Take what waits, to go with the answer to the connect of this id. What arrived, the next connect says."""
        publications = [] if self.recovering else self.take()
        if self.ack is not None:
            self.ack += 1
            if publications:
                self.unacked = [*(self.unacked or ()), (self.ack, publications)]
        elif publications:
            self.unacked = [(0, publications)]
            self.answered = number
        return publications

    def note_connect(self, began: float, number: object) -> None:
        """Its newest connect came at this time; over HTTP with this id, for the session's record."""
        self.polled = began
        if self.delivered is not None and isinstance(number, str | int) and number not in self.connects:
            self.connects = (*self.connects[1 - CONNECTS :], number)

    def is_older(self, began: float, number: object) -> bool:
        """Whether a connect of this id, which came to a worker at this time, came before the newest.

        By LATE_CONNECT seconds, or at the node that this one was taken over from before the one answered last. It says
        nothing of what was answered since then. The first that is not such a connect is newer than all of them; and of
        each id there is one, as a client may count anew.
        """
        if number in self.earlier:
            self.earlier = tuple(each for each in self.earlier if each != number)
            return True
        if began < self.polled - LATE_CONNECT and (number is None or number != self.answered):
            return True
        self.earlier = ()
        return False

    def return_batch(self, publications: list[Publication]) -> None:
        """The answer that carried these was not written: they wait again. publications: as `take_batch` returned them.

        What was put back since, as the next connect said that it had not arrived, is not among them any more. Other
        answers than this one stay unacknowledged.
        """
        unacked = self.unacked or []
        place = next((place for place, (_, items) in enumerate(unacked) if items is publications), None)
        if place is not None:
            # With what went after it, to keep the order.
            self.unacked = unacked[:place] or None
            self._put_back_all(unacked[place:])
        elif self.ack is None:
            # Another connect came in between, and said by its id that they had arrived.
            self.put_back(publications)
        self.settle()

    def acknowledge(self, batch: int) -> None:
        """The client has all batches up to this number; what went after it waits again.

        What is given again keeps the number of the batch that it first went in, as with CometD's server
        (`BatchArrayQueue`): an older connect may have asked for it again before this one says that it has come.
        """
        unacked, self.unacked = self.unacked or (), None
        if self.renumbered is None and (not unacked or unacked[-1][0] <= batch):
            # All of them, as nearly always.
            if self.delivered is not None:
                for _, items in unacked:
                    self.got(items)
            return
        first, self.renumbered = self.renumbered or {}, None
        self.got([item for number, items in unacked for item in items if first.get(item, number) <= batch])
        again = {item: first.get(item, number) for number, items in unacked if number > batch for item in items}
        self._put_back_all([each for each in unacked if each[0] > batch])
        if self.ack is not None and (first or again):
            again = first | again
            queue = [each for each in self.queue or () if each not in again or again[each] > batch]
            self.renumbered = {each: again[each] for each in queue if each in again} or None
            self.queue = queue or None
            self.queued_bytes = sum(each.size for each in queue)

    def _put_back_all(self, batches: Sequence[tuple[int, list[Publication]]]) -> None:
        """Batches wait again; the polls that carried them (`Poll.taken`) have nothing to give back then."""
        self.put_back([item for _, items in batches for item in items])
        for _, items in batches:
            items.clear()

    def mark_lost(self, channels: Collection[str]) -> None:
        """Something of these channels may have been missed: its client must be told to refetch (`take_lost`).

        What comes to its link waits behind that word: a client that had what is newer, and lost the link before the
        word, would come back from there and never learn.
        """
        self.lost = set(channels) if self.lost is None else self.lost.union(channels)
        self.sink = None

    def take_lost(self) -> list[str]:
        """What its client is told now to refetch, sorted. Once it is, `settle` lets more follow."""
        lost, self.lost = sorted(self.lost or ()), None
        return lost

    def put_back(self, publications: Sequence[Publication]) -> None:
        """Publications whose sending failed go to the head of the queue again."""
        if publications:
            self.queue = [*publications, *(self.queue or ())]
            self.queued_bytes = sum(publication.size for publication in self.queue)

    def began(self, channel: str, top: Position) -> None:
        """As `begin`, where the channel's top was when it was asked for: its client may have what came since then."""
        known = (self.delivered or {}).get(channel)
        if known is None or not _is_up_to(top, known):
            self.begin(channel, top)

    def begin(self, channel: str, position: Position) -> None:
        """The client said or was told that it is here: a node that takes the session over begins here."""
        if self.delivered is not None:
            self.delivered[channel] = position

    def got(self, publications: Iterable[Publication]) -> None:
        """The client has these. What it unsubscribed from meanwhile, or began later with, does not begin there.

        It may have the first of a channel before it is known where that was when it subscribed (`began`).
        """
        delivered = self.delivered
        if delivered is None:
            return
        for publication in publications:
            channel, known = publication.channel, delivered.get(publication.channel)
            if not _is_up_to(publication.position, known) and (known is not None or channel in self.patterns):
                delivered[channel] = publication.position

    def resend(self, sent: dict[str, Position], answered: object, connects: Sequence[object]) -> None:
        """Of what waits, this was sent elsewhere in the answers that the next connect acknowledges or not.

        answered: the connect whose answer was the last of them. connects: the newest that came there, oldest first.
        """
        unacked = [each for each in self.queue or () if _is_up_to(each.position, sent.get(each.channel))]
        if unacked:
            rest = [each for each in self.queue or () if not _is_up_to(each.position, sent.get(each.channel))]
            self.queue = rest or None
            self.queued_bytes = sum(each.size for each in rest)
            self.unacked = [(self.ack or 0, unacked)]
            self.answered = answered
            if answered in connects:
                self.earlier = tuple(connects[: connects.index(answered)])

    def begin_recovery(self) -> None:
        """What comes waits until `end_recovery`, behind the history that is read for it and the answer to its client.

        Behind the answer too: it may say that something is missing, and a client that has what is newer, and not the
        answer, comes back from there and never learns.
        """
        self.recovering += 1
        self.sink = None

    def end_recovery(self) -> None:
        """The answer goes out, in this turn of the loop; then `settle` lets more follow."""
        self.recovering -= 1

    def recovered(self, channel: str, publications: Sequence[Publication], top: Position) -> None:
        """Merge a channel's history, up to `top`, with what came live meanwhile."""
        live = [
            publication
            for publication in self.queue or ()
            if not (
                publication.channel == channel
                and publication.position.epoch == top.epoch
                and publication.position.offset <= top.offset
            )
        ]
        if publications:
            self.replayed = True
        if self.unacked:
            # The client said where it is. Of the channel, what last answers carried does not count any more.
            for _, items in self.unacked:
                items[:] = [each for each in items if each.channel != channel]
            self.unacked = [(number, items) for number, items in self.unacked if items] or None
        if self.renumbered:
            self.renumbered = {each: number for each, number in self.renumbered.items() if each.channel != channel}
        # An empty one would have the next connect answered with nothing.
        self.queue = [*publications, *live] or None
        self.queued_bytes = sum(publication.size for publication in self.queue or ())
        if self.floors is None:
            self.floors = {}
        self.floors[channel] = top

    def drop_floor(self, channel: str) -> None:
        """What the recovery of a channel covered can't come again."""
        if self.floors is not None:
            self.floors.pop(channel, None)
            if not self.floors:
                self.floors = None
                self.settle()

    def _covered(self, publication: Publication) -> bool:
        assert self.floors is not None
        floor = self.floors.get(publication.channel)
        if floor is None or publication.position.epoch != floor.epoch:
            return False
        if publication.position.offset <= floor.offset:
            return True
        # Live has passed what history covered; nothing can repeat it any more.
        del self.floors[publication.channel]
        if not self.floors:
            self.floors = None
        return False

    # Its record, with several nodes

    def own(self, fence: int, life: int | None = None) -> None:
        """This node has it under a fence: 0 if it has no record. life: the lease in which that is certain, if it is."""
        self.fence = fence
        if life is not None:
            self.life = life

    def disown(self) -> None:
        """Another node has it."""
        self.fence, self.life = -1, 0

    def keep_positions(self) -> dict[str, Position]:
        """Note from now on what its client certainly has; returns what is known of that, by channel."""
        if self.delivered is None:
            self.delivered = {}
        return self.delivered

    def place(self, channel: str, position: Position) -> None:
        """Where a channel was when it subscribed, unless its place there is known by now."""
        self.keep_positions().setdefault(channel, position)

    def restore(
        self,
        *,
        grant: Grant | None,
        bearer: tuple[str, float | None] | None = None,
        connected: bool,
        tracks: bool,
        ack: int | None,
        delivered: dict[str, Position],
        connects: Sequence[object] = (),
    ) -> None:
        """Be what another node remembered; its subscriptions, and what waits for it, come after."""
        self.connects = tuple(connects)
        self.bearer = bearer
        self.authorize(grant)
        self.connected = connected
        self.tracks = tracks
        self.ack = ack
        self.delivered = delivered

    def skip_acks(self, count: int) -> None:
        """Leave out numbers of batches that its last node may have given to some that nobody knows of."""
        if self.ack is not None:
            self.ack += count

    def settle(self) -> None:
        """Choose the sink: write straight to the link if nothing stands between."""
        direct = (
            self.link is not None
            and not self.link.blocked
            and self.ack is None
            and not self.recovering
            and self.lost is None
            and self.floors is None
            and self.queue is None
            and not self.ended
        )
        self.sink = self.link if direct else None

    def __repr__(self) -> str:
        state = "ended" if self.ended else "attached" if self.link else "held" if self.hold else "silent"
        state = state if self.slept is None else "asleep"
        return f"<Session {self.id[:6]}… {state}, {len(self.patterns)} patterns, {len(self.queue or ())} queued>"


def _is_up_to(position: Position, last: Position | None) -> bool:
    return last is not None and position.epoch == last.epoch and position.offset <= last.offset


EventName = Literal["handshake", "subscribe", "unsubscribe", "publish", "disconnect"]

#: Told what happened: the session's id, the channel or pattern (empty for a session), and who it is.
Watcher = Callable[[str, str, Who], None]


class Events:
    """What code that embeds the hub is told. Watchers must not wait; one that raises is logged."""

    def __init__(self) -> None:
        self._watchers: dict[EventName, list[Watcher]] = {}

    def on(self, name: EventName, watcher: Watcher) -> None:
        """Call `watcher` at each of these from now on."""
        self._watchers.setdefault(name, []).append(watcher)

    def tell(self, name: EventName, session: Session, channel: str = "") -> None:
        """Something happened to a session."""
        for watcher in self._watchers.get(name, ()):
            try:
                watcher(session.id, channel, session.who)
            except Exception:
                # Code of the site must not stop the hub.
                logger.exception("watcher failed", extra={"event": name})


class Attendance(Protocol):
    """Keeps account of who is in which channel (`reporter`). Told of every session; must not wait or raise."""

    def came(self, session: Session, pattern: str) -> None:
        """A session has a new subscription."""

    def went(self, session: Session, pattern: str) -> None:
        """A session has a subscription no more."""

    def away(self, session: Session) -> None:
        """A session lost its connection; it may come back."""

    def back(self, session: Session) -> None:
        """A session has a connection; maybe it had one all the time."""

    def renamed(self, session: Session) -> None:
        """A session is perhaps another user's now."""

    def adopted(self, session: Session) -> None:
        """A session that another worker had goes on here."""

    def lost(self) -> None:
        """What other workers said may have been missed."""

    def start(self) -> None:
        """The log is open."""

    async def stop(self) -> None:
        """The log is about to be closed."""


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
