"""What a node of the hub has done since its start, as numbers."""

from __future__ import annotations


class Counters:
    """What has happened since the start; read by /metrics."""

    __slots__ = (
        "adopted",
        "carried",
        "delivered",
        "dropped",
        "expired",
        "fenced",
        "flushes",
        "held",
        "lost",
        "moved",
        "opened",
        "overdue",
        "oversized",
        "published",
        "received",
        "recovered",
        "slow",
        "taken_over",
        "unheld",
        "unrecovered",
        "withheld",
    )

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    adopted: int
    carried: int
    fenced: int
    moved: int
    taken_over: int
    opened: int
    expired: int
    published: int
    received: int
    delivered: int
    flushes: int
    slow: int
    lost: int
    recovered: int
    unrecovered: int
    held: int
    overdue: int
    oversized: int
    dropped: int
    unheld: int
    withheld: int
