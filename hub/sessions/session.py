"""What the hub remembers of one client, and the state that it is in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import ClassVar

from ..errors import SlowSession
from ..protocol.access import NOBODY, Grant, Who
from ..protocol.publications import Position, Publication, conflate
from .bucket import Bucket
from .links import Hold, Link

#: How many ids of connects a session's record has. A client has at most two under way, and has given up one of them.
CONNECTS = 4

#: A connect counts as older than one that was processed before it only if it reached a worker this many seconds
#: earlier: for a connect carried from another worker that time is known only up to the delay of the mail between them.
LATE_CONNECT = 1.0


class Session:
    """What the hub remembers of one client.

    id: the clientId, at least 128 random bits. patterns: what it subscribes to, in order. seen: when the client last
    gave a sign of life (the hub's clock, seconds). connected: whether it has sent a connect. sink: the link to which
    batches are written at once; None while they must be queued (no link, a full buffer, a recovery under way,
    acknowledgements). user: the site's visitor, if the site knows one. grant: what the client's token allows. bearer:
    the user of the last token that named one, and when that token was made; kept after the token has expired, and used
    for kicks only, never for permissions. slept: the patterns that it sleeps on, None while it is awake. address: the
    client's, empty where addresses are not limited.

    The fields are read everywhere, but assigned only here, by its own methods, and in `registry`, by methods that
    change the registry with them (`Registry.subscribe`, `attach`, `sleep`, `wake`, `end`).
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

    #: How often the grant of any session with subscriptions has changed.
    grants: ClassVar[int] = 0

    def __init__(self, id: str, now: float, user: str | None = None, opened: float = 0.0, address: str = "") -> None:
        self.id = id
        self.seen = now
        self.user = user
        self.address = address
        #: A set of this session only, shared by all patterns that nobody else subscribes to; None before there is one.
        self.alone: frozenset[Session] | None = None
        self._grant: Grant | None = None
        self.bearer: tuple[str, float | None] | None = None
        # When a session of a site's visitor was opened, in seconds since 1970: a kick ends only older ones.
        self.opened = opened
        # What is left of its publish rate; None until it publishes.
        self.publishes: Bucket | None = None
        self.patterns: list[str] = []
        self.connected = False
        self.ended = False
        self.link: Link | None = None
        self.sink: Link | None = None
        self.hold: Hold | None = None
        # When the node will look whether its held connect is due; 0 if it will not.
        self.due = 0.0
        self.queue: list[Publication] | None = None
        self.queued_bytes = 0
        self.slept: list[str] | None = None
        # With several nodes: the fence under which this node owns it (0: not saved yet, -1: not owned any more), and
        # the lease during which that was last certain.
        self.fence = 0
        self.life = 0
        # With several nodes: the position that the client has certainly got to, by channel, for its record.
        self.delivered: dict[str, Position] | None = None
        # Whether the client keeps positions (it asked for one), and channels it must be told to refetch.
        self.tracks = False
        self.lost: set[str] | None = None
        # How many recoveries are under way; and by channel, the position up to which history was given already: live
        # publications up to there are dropped.
        self.recovering = 0
        self.floors: dict[str, Position] | None = None
        # CometD's ack extension: the number of the newest batch, or None; and what is not acknowledged.
        self.ack: int | None = None
        # The id of the connect that was answered last over HTTP. A client that repeats the id, as Faye does, never got
        # that answer; what was in it is in `unacked`, as (batch, publications) pairs; batch is 0 without `ack`.
        self.answered: object = None
        # When its newest connect reached a worker, by the node's clock.
        self.polled = 0.0
        # With several nodes: ids of the newest connects over HTTP, oldest first, for its record. And, after this node
        # took it over, those before the one answered last (`resend`): they may arrive here once more.
        self.connects: tuple[object, ...] = ()
        self.earlier: tuple[object, ...] = ()
        self.unacked: list[tuple[int, list[Publication]]] | None = None
        # With `ack`: of publications that are sent again in a later batch, the number of their first batch.
        self.renumbered: dict[Publication, int] | None = None
        # Once it has had a link: the number in `Recent` up to which everything has certainly arrived; and for patterns
        # subscribed to since then, the number they begin after. -n: something that `Recent` does not have is on its
        # way; it has arrived when number n has.
        self.arrived: int | None = None
        self.begun: dict[str, int] | None = None
        # Whether history was put into its queue since its last new link; `Recent` may not have all of that.
        self.replayed = False

    @property
    def grant(self) -> Grant | None:
        """What the client's token allows."""
        return self._grant

    @grant.setter
    def grant(self, grant: Grant | None) -> None:
        self._grant = grant
        if self.patterns:
            Session.grants += 1

    @property
    def who(self) -> Who:
        """Who the client is, for the access rules."""
        grant = self._grant
        return NOBODY if self.user is None and grant is None else Who(self.user, grant)

    @property
    def name(self) -> str | None:
        """The user: the token's, else the site's visitor; None if neither names one."""
        grant = self.grant
        return grant.user if grant is not None and grant.user is not None else self.user

    @property
    def reachable(self) -> bool:
        """Whether the client can be sent something at any time, by its link or as the answer to a held connect."""
        return self.link is not None or self.hold is not None

    @property
    def has_ready(self) -> bool:
        """Whether something waits that may be sent now; during a recovery it may not, before the answer to that."""
        return self.queue is not None and not self.recovering

    @property
    def may_sleep(self) -> bool:
        """Whether the session may sleep: what comes for it is then kept together with what comes for others.

        Not for the first thing that comes between two polls: the next poll would wake it at once, and that costs more
        than a queue of its own.
        """
        return (
            self.link is None
            and self.hold is None
            and not self.recovering
            and (self.queue is not None or self.slept is not None or not self.connected)
        )

    # The client

    def touch(self, now: float) -> None:
        """Count the time to its expiry from now: it gave a sign of life, or lost its connection."""
        self.seen = now

    def connect(self) -> bool:
        """The client sent a connect; True for the first one."""
        first, self.connected = not self.connected, True
        return first

    def authorize(self, grant: Grant | None) -> None:
        """Set what the client's token allows; None if it has no token any more."""
        self.grant = grant
        if grant is not None and grant.user is not None:
            self.bearer = grant.user, grant.made

    def keep_only(self, is_for: Callable[[str], bool]) -> None:
        """Drop what waits, or is not acknowledged, in channels that it may not hear any more."""
        if self.queue:
            self.queue = [each for each in self.queue if is_for(each.channel)] or None
            self.queued_bytes = sum(each.size for each in self.queue or ())
        if self.unacked:
            for _, items in self.unacked:
                # In place: the poll that carried it gives this list back if it failed (`return_batch`).
                items[:] = [each for each in items if is_for(each.channel)]

    def use_acks(self) -> None:
        """Number its batches from now on, for the client to acknowledge (CometD's extension)."""
        self.ack = 0

    def track(self) -> None:
        """The client keeps positions, so it can be told which channels to refetch."""
        self.tracks = True

    def may_publish(self, now: float, rate: float, burst: float) -> bool:
        """Take one from its allowance of `rate` publishes a second; False if there is none left."""
        if self.publishes is None:
            # After a move from another worker it starts with little: it may have used up its allowance there, and would
            # get a full one with each move.
            self.publishes = Bucket(now, max(1.0, rate / 10) if self.fence > 1 else burst)
        return self.publishes.take(now, rate, burst)

    # Its connection: a link or a held connect

    def attach(self, link: Link) -> None:
        """Make this its link, and itself the link's only session. If it has had a link before: `Registry.attach`."""
        other = link.session
        if other is not None and other is not self:
            # A client that handshakes again on its socket leaves its old session to expire.
            other.link = other.sink = None
        self.link = link
        link.session = self
        self.settle()

    def detach(self) -> Link | None:
        """Have no link any more, as it is gone, or about to be closed. Returns it; `link.session` stays as it is."""
        link = self.link
        if link is not None:
            self.link = self.sink = None
            if self.hold is not None and self.hold.is_for(link):
                # Its answer could go nowhere, and what waits would be lost with it.
                self.hold = None
        return link

    def depart(self) -> Link | None:
        """Leave its link for another connection or worker. Returns the link, which has no session any more."""
        link = self.link
        if link is not None:
            self.link = self.sink = link.session = None
        return link

    def begin_hold(self, hold: Hold) -> None:
        """Hold a connect, to answer it when there is something to say, or at its deadline."""
        self.hold = hold

    def await_due(self, deadline: float) -> bool:
        """Note a hold's deadline; True if the node must be told, as it would look later or not at all."""
        if 0 < self.due <= deadline:
            return False
        self.due = deadline
        return True

    def is_awaited(self, now: float) -> bool:
        """Whether the node will look again, later than now; if not, note that."""
        if self.due > now:
            return True
        self.due = 0.0
        return False

    def end_hold(self) -> Hold | None:
        """Hold no connect any more. Returns the one that was held, to be answered, or None."""
        hold, self.hold = self.hold, None
        return hold

    # What waits for it

    def enqueue(self, publications: Iterable[Publication], count: int, size: int) -> None:
        """Queue publications until they can be sent; raises SlowSession beyond `count` of them, or `size` bytes.

        Before it raises, hints are conflated to the newest of each channel. What a recovery has given already
        (`floors`) is dropped, so live publications follow history without overlap.
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
        """If the queue is beyond `count` or `size` bytes, conflate its hints. True if it is within them now."""
        queue = self.queue
        if queue is None or (len(queue) <= count and self.queued_bytes <= size):
            return True
        self.queue = conflate(queue)
        self.queued_bytes = sum(publication.size for publication in self.queue)
        return len(self.queue) <= count and self.queued_bytes <= size

    def has_room(self, channel: str, publications: Sequence[Publication], count: int, size: int) -> bool:
        """Whether the queue stays within these bounds if these replace what it has of their channel."""
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
        """Take what waits, to go with the answer to the connect of this id. The next connect says if it arrived."""
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
        """Note its newest connect: when it reached a worker, and, over HTTP, its id, for the session's record."""
        self.polled = began
        if self.delivered is not None and isinstance(number, str | int) and number not in self.connects:
            self.connects = (*self.connects[1 - CONNECTS :], number)

    def is_older(self, began: float, number: object) -> bool:
        """Whether a connect of this id, which reached a worker at `began`, is older than the newest.

        It is if it came LATE_CONNECT seconds earlier, or if the node that had the session before knew it as older than
        the one it answered last. An older connect says nothing about what was answered since. The ids from that node
        count until the first connect that is not one of them, and each only once, as a client may start counting again.
        """
        if number in self.earlier:
            self.earlier = tuple(each for each in self.earlier if each != number)
            return True
        if began < self.polled - LATE_CONNECT and (number is None or number != self.answered):
            return True
        self.earlier = ()
        return False

    def return_batch(self, publications: list[Publication]) -> None:
        """The answer that carried these could not be written: queue them again.

        publications: the very list that `take_batch` returned. What was put back meanwhile, because the next connect
        said that it had not arrived, is no longer in it. Answers before this one stay unacknowledged.
        """
        unacked = self.unacked or []
        place = next((place for place, (_, items) in enumerate(unacked) if items is publications), None)
        if place is not None:
            # With what went after it, to keep the order.
            self.unacked = unacked[:place] or None
            self._put_back_all(unacked[place:])
        elif self.ack is None:
            # Another connect came in between and said by its id that they had arrived.
            self.put_back(publications)
        self.settle()

    def acknowledge(self, batch: int) -> None:
        """The client has all batches up to this number; later ones are queued again.

        What is sent again keeps the number of its first batch, as with CometD's server (`BatchArrayQueue`): it may have
        been sent again for an older connect, before this one says that it had arrived the first time.
        """
        unacked, self.unacked = self.unacked or (), None
        if self.renumbered is None and (not unacked or unacked[-1][0] <= batch):
            # It has all of them, as nearly always.
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
        """Queue batches again.

        Their lists are emptied, so that the polls that carried them (`Poll.taken`) have nothing to give back.
        """
        self.put_back([item for _, items in batches for item in items])
        for _, items in batches:
            items.clear()

    def mark_lost(self, channels: Collection[str]) -> None:
        """Publications of these channels may have been missed: the client must be told to refetch (`take_lost`).

        What comes is queued until then. If the client got newer publications first, and lost its link before it was
        told, it would come back with their position and never learn of the gap.
        """
        self.lost = set(channels) if self.lost is None else self.lost.union(channels)
        self.sink = None

    def take_lost(self) -> list[str]:
        """The channels to tell the client to refetch, sorted. Once it is told, `settle` lets more follow."""
        lost, self.lost = sorted(self.lost or ()), None
        return lost

    def put_back(self, publications: Sequence[Publication]) -> None:
        """Put publications that could not be sent back at the head of the queue."""
        if publications:
            self.queue = [*publications, *(self.queue or ())]
            self.queued_bytes = sum(publication.size for publication in self.queue)

    def began(self, channel: str, top: Position) -> None:
        """As `begin`, with the channel's newest position when that was read; the client may be further by now."""
        known = (self.delivered or {}).get(channel)
        if known is None or not _is_up_to(top, known):
            self.begin(channel, top)

    def begin(self, channel: str, position: Position) -> None:
        """The client said, or was told, that it is at this position: a node that takes it over starts there."""
        if self.delivered is not None:
            self.delivered[channel] = position

    def got(self, publications: Iterable[Publication]) -> None:
        """The client has these publications: move its positions on.

        Not of channels it has unsubscribed from, and not back. A channel's first publication may arrive before the
        channel's position at the subscribe is known (`began`).
        """
        delivered = self.delivered
        if delivered is None:
            return
        for publication in publications:
            channel, known = publication.channel, delivered.get(publication.channel)
            if not _is_up_to(publication.position, known) and (known is not None or channel in self.patterns):
                delivered[channel] = publication.position

    def resend(self, sent: dict[str, Position], answered: object, connects: Sequence[object]) -> None:
        """After a take-over: mark what the node before has sent, and the client's next connect will confirm or not.

        sent: up to which position, by channel. answered: the id of the connect that node answered last. connects: ids
        of the newest connects there, oldest first.
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
        """Queue what comes until `end_recovery`: it must follow the history that is being read, and the answer.

        The answer too, as it may say that something is missing. If the client got newer publications first, and never
        the answer, it would come back with their position and never learn of the gap.
        """
        self.recovering += 1
        self.sink = None

    def end_recovery(self) -> None:
        """The answer goes out, in this turn of the event loop; `settle` then lets more follow."""
        self.recovering -= 1

    def recovered(self, channel: str, publications: Sequence[Publication], top: Position) -> None:
        """Put a channel's history, which reaches up to `top`, before what came live meanwhile."""
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
            # The client has said where it is in this channel, so what the last answers carried of it is settled.
            for _, items in self.unacked:
                items[:] = [each for each in items if each.channel != channel]
            self.unacked = [(number, items) for number, items in self.unacked if items] or None
        if self.renumbered:
            self.renumbered = {each: number for each, number in self.renumbered.items() if each.channel != channel}
        # None rather than empty: an empty queue would have the next connect answered with nothing.
        self.queue = [*publications, *live] or None
        self.queued_bytes = sum(publication.size for publication in self.queue or ())
        if self.floors is None:
            self.floors = {}
        self.floors[channel] = top

    def drop_floor(self, channel: str) -> None:
        """Nothing that a channel's recovery has given can come again as live."""
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
        # Live publications are past the history by now, so none can repeat it.
        del self.floors[publication.channel]
        if not self.floors:
            self.floors = None
        return False

    # Its record, with several nodes

    def own(self, fence: int, life: int | None = None) -> None:
        """This node owns it under this fence, 0 if it is not saved. life: the lease in which that is certain."""
        self.fence = fence
        if life is not None:
            self.life = life

    def disown(self) -> None:
        """Another node owns it now."""
        self.fence, self.life = -1, 0

    def keep_positions(self) -> dict[str, Position]:
        """Keep the client's confirmed positions from now on. Returns those known so far, by channel."""
        if self.delivered is None:
            self.delivered = {}
        return self.delivered

    def place(self, channel: str, position: Position) -> None:
        """Start at this position in a channel, unless the client's position there is known already."""
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
        """Take on what another node has saved. Subscriptions, and what waits, are restored separately."""
        self.connects = tuple(connects)
        self.bearer = bearer
        self.authorize(grant)
        self.connected = connected
        self.tracks = tracks
        self.ack = ack
        self.delivered = delivered

    def skip_acks(self, count: int) -> None:
        """Skip batch numbers that the node before may have used after it last saved the session."""
        if self.ack is not None:
            self.ack += count

    def settle(self) -> None:
        """Choose the sink: the link, if nothing requires that publications are queued first."""
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
