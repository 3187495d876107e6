"""A WebSocket's batches in the order in which they came, whatever clients they are of, though some have to wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .sessions.links import Link


class _Queue:
    """The batches of a link that wait until the one before is done with."""

    __slots__ = ("batches", "bytes", "ready")

    def __init__(self) -> None:
        self.ready: Callable[[], None] | None = None
        self.batches: list[tuple[Sequence[object], str, int]] = []
        self.bytes = 0


class LinkQueues:
    """The links of a node that have a batch under way. `taken`: what they sent meanwhile, by link.

    A link that is gone has none any more: what still waits for its turn then is not taken.
    """

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken: dict[Link, _Queue] = {}

    def hold(self, link: Link | None) -> None:
        """A batch of this link goes on later. None is a request of its own, which is in no order."""
        if link is not None and link not in self.taken:
            self.taken[link] = _Queue()

    def is_gone(self, link: Link | None) -> bool:
        """Whether the link of a batch that is under way has gone meanwhile."""
        return link is not None and link not in self.taken

    def drop(self, link: Link) -> _Queue | None:
        """The link is free, or gone; returns what it had sent."""
        return self.taken.pop(link, None)
