"""The order that `prev-id` asks for: which items of a body go together, and which wait. Pure.

An item with a `prev-id` follows the item of its channel that has it as `id`. Pushpin holds such an item
while another is the channel's last, for some seconds, and sends it then anyway; it drops an item whose
`prev-id` is that of one it holds. So do we, but for two things: the items of one body are put in order
first, and it is enough that the one before has been published at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from .fanout import Item, key_of


class Run:
    """Items of one body that go one after the other.

    channel: of all of them. items: their places in the body, in the order in which they go. after: the
    idempotency key of the item before the first, None if it follows none. id: the first item's.
    """

    __slots__ = ("after", "channel", "id", "items")

    def __init__(self, channel: str, items: list[int], after: str | None, id: str | None) -> None:
        self.channel = channel
        self.items = items
        self.after = after
        self.id = id


def arrange(items: Sequence[Item]) -> list[Run]:
    """The runs of a body. One that follows no item goes first as it stands; those in a circle wait in vain."""
    own: dict[str, int] = {}
    followers: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        if item.id is not None:
            own.setdefault(key_of(item.channel, item.id), index)
    firsts = []
    for index, item in enumerate(items):
        before = None if item.prev_id is None else key_of(item.channel, item.prev_id)
        if before is None or own.get(before, index) == index:
            firsts.append(index)
        else:
            followers.setdefault(before, []).append(index)
    runs = []
    placed: set[int] = set()
    # What is in a circle is reached from no first; its earliest item is made one.
    for first in (*firsts, *range(len(items))):
        if first in placed:
            continue
        run, left = [], [first]
        while left:
            index = left.pop()
            if index in placed:
                continue
            placed.add(index)
            run.append(index)
            id = items[index].id
            if id is not None:
                left += reversed(followers.get(key_of(items[index].channel, id), ()))
        head = items[first]
        after = None if head.prev_id is None else key_of(head.channel, head.prev_id)
        runs.append(Run(head.channel, run, after, head.id))
    return runs


class Waiting:
    """The runs that wait for the item before them: one for each such item, so many a channel and in all."""

    def __init__(self, per_channel: int, in_all: int) -> None:
        self._per_channel = per_channel
        self._in_all = in_all
        self._runs: dict[str, Run] = {}
        self._channels: dict[str, int] = {}
        self._items = 0

    def __bool__(self) -> bool:
        return bool(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._runs.values()))

    def fits(self, runs: Iterable[Run]) -> bool:
        """Whether there is room for all of these."""
        channels: dict[str, int] = {}
        for run in runs:
            channels[run.channel] = channels.get(run.channel, 0) + len(run.items)
        return self._items + sum(channels.values()) <= self._in_all and all(
            self._channels.get(channel, 0) + count <= self._per_channel for channel, count in channels.items()
        )

    def hold(self, run: Run) -> Run | None:
        """Let a run wait; or return the one that waits for the same item, and do nothing."""
        assert run.after is not None
        other = self._runs.get(run.after)
        if other is None:
            self._runs[run.after] = run
            self._count(run, len(run.items))
        return other

    def take(self, key: str) -> Run | None:
        """The run that waits for the item with this key, which has come: it waits no more."""
        run = self._runs.pop(key, None)
        if run is not None:
            self._count(run, -len(run.items))
        return run

    def some(self, count: int) -> list[Run]:
        """So many of them to ask for, others each time."""
        found = list(islice(self._runs.values(), count))
        for run in found:
            assert run.after is not None
            self._runs[run.after] = self._runs.pop(run.after)
        return found

    def _count(self, run: Run, change: int) -> None:
        self._items += change
        left = self._channels.get(run.channel, 0) + change
        if left:
            self._channels[run.channel] = left
        else:
            del self._channels[run.channel]
