"""The books of channels that a client hears for a while: from which answer on, and until which one. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .accounts import Account

#: A channel's newest change: saved before it is published, so that nothing newer has been sent to anybody.
Newest = Callable[[str], int]


@dataclass(slots=True)
class Side:
    """A channel beside a client's own. account: from the answer to its subscribe on, None before that.

    asked: when the first subscribe was sent that has no answer yet.
    """

    channel: str
    account: Account | None = None
    position: str | None = None
    leaving: bool = False
    asked: float | None = None


@dataclass(slots=True)
class Sides:
    """One client's other channels, one at a time.

    What is published after a subscribe was answered must come, until an unsubscribe is asked for; what is published
    after that was answered must not. strays: what came so all the same. past: accounts that are closed.

    apart: whether answers come by other connections than publications, as with polls. Then what is newer may come
    before the answer that says that something is missing: what was passed over since the subscribe was sent, it covers.
    On one connection nothing is covered that was passed over before the answer.
    """

    newest: Newest
    open: Side | None = None
    apart: bool = False
    strays: int = 0
    past: list[Account] = field(default_factory=list)
    # Channels that were left, with the newest change when that was answered.
    _left: dict[str, int] = field(default_factory=dict)
    # Subscribes that were sent and not answered, by channel: what a broken connection carried may arrive after what the
    # next one did, so such a channel may be heard for as long as the session lives. Unsubscribes likewise.
    _unanswered: dict[str, int] = field(default_factory=dict)
    _parting: dict[str, int] = field(default_factory=dict)

    def asked(self, channel: str, now: float, kind: str = "subscribe") -> None:
        """A subscribe or unsubscribe is sent."""
        sent = self._unanswered if kind == "subscribe" else self._parting
        sent[channel] = sent.get(channel, 0) + 1
        side = self.open
        if kind == "subscribe" and side is not None and side.channel == channel and side.asked is None:
            side.asked = now

    def may_hear(self, channel: str) -> bool:
        """Whether no unsubscribe from a channel may still come to the hub, and end a later subscription."""
        return self._parting.get(channel, 0) <= 0

    def subscribed(self, channel: str, position: str | None, recovered: bool | None, now: float) -> None:
        """A subscribe was answered: the first, or a later one, which says whether what was missed comes."""
        self._unanswered[channel] = self._unanswered.get(channel, 0) - 1
        side = self.open
        if side is None or side.channel != channel:
            return
        asked, side.asked = side.asked, None
        if side.account is None:
            side.account = Account(self.newest(channel))
            side.position = position
        elif recovered is False:
            self.lost(channel, position, now, grace=now - asked if self.apart and asked is not None else 0.0)

    def lost(self, channel: str, position: str | None, now: float, grace: float) -> None:
        """Told "lost": the position first, then the state, so that nothing can fall between."""
        side = self.open
        if side is None or side.channel != channel or side.account is None:
            return
        if position is not None:
            side.position = position
        side.account.fetched(self.newest(channel), now, grace=grace)

    def got(self, channel: str, number: int, position: str | None, now: float) -> None:
        """A delivery. position: of a client that drops repeats by it, else None."""
        side = self.open
        if side is None or side.channel != channel:
            if number > self._left.get(channel, -1) and self._unanswered.get(channel, 0) <= 0:
                self.strays += 1
            return
        if side.account is None:
            return
        if side.leaving:
            # What an answer carried that got lost is not asked for again, and what the session still had comes.
            side.account.deliveries += 1
            return
        if position is not None:
            if covers(side.position, position):
                side.account.deliveries += 1
                side.account.duplicates += 1
                return
            side.position = position
        side.account.got(number, now)

    def left(self) -> None:
        """The unsubscribe was answered."""
        side = self.open
        if side is not None:
            self._parting[side.channel] = self._parting.get(side.channel, 0) - 1
            self._left[side.channel] = self.newest(side.channel)
            self._close()

    def forget(self) -> None:
        """The client has another session, which hears nothing of this."""
        self._left.clear()
        self._unanswered.clear()
        self._parting.clear()
        self._close()

    def is_waiting(self, goal: Callable[[str], int]) -> bool:
        """Whether something that was told is still to come, or a hole to be explained."""
        side = self.open
        if side is None or side.account is None or side.leaving:
            return False
        return bool(side.account.holes) or side.account.upto < goal(side.channel)

    def end(self, goal: Callable[[str], int]) -> None:
        """The run is over: what was told by now must have come."""
        side = self.open
        if side is not None and side.account is not None and not side.leaving:
            side.account.close(goal(side.channel))
        self._close()

    def _close(self) -> None:
        side, self.open = self.open, None
        if side is not None and side.account is not None:
            self.past.append(side.account)


def covers(mine: str | None, other: str) -> bool:
    """Whether a client at this position has what is at the other; False of another life of the log."""
    epoch, _, offset = other.partition(".")
    own, _, at = (mine or "").partition(".")
    return epoch == own and int(offset) <= int(at or 0)
