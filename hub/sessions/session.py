"""What the hub remembers of one client, and the state that it is in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import ClassVar

from ..errors import SlowSession
from ..protocol.access import NOBODY, Grant, Who
from ..protocol.publications import Position, Publication, conflate
from .bucket import Bucket
from .links import Hold, Link

#: Ids of connects that a session's record names. Clients have two under way at once at most, one of them given up.
CONNECTS = 4

#: Seconds by which a connect that comes after another must have come to its worker before it, to be the older one. Of
#: one that is carried again it is known only up to the time that its mail took.
LATE_CONNECT = 1.0


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
